//! The properties, each a situation and what must not be seen in it.

use super::world::{AllOverdue, Scene, Seen, World};
use super::{Make, Outcome, Verdict};
use crate::policy::{
    Advice, AskedAt, IdleStart, KeepAlivePolicy, Phase, ScalingPolicy, Surplus, Trigger, WorkerKind, WorkerView,
};
use crate::units::{HostId, Span, Time, UsdPerSecond, WorkerId};

/// Offered load of 4.5 workers: 9 requests in 60 s, 30 s of work each.
const STEADY: Scene =
    Scene { requests: 9, per_s: 60, until_s: u64::MAX, pause: None, service_s: 30, start_s: Some(60), max: 20 };
/// Lengths of starts under which a policy must settle, in seconds.
const STARTS_S: [u64; 3] = [1, 60, 600];
/// How long there is load where it comes and goes.
const LOAD_S: u64 = 1_200;
/// How long a policy is watched once it must have settled.
const WATCHED_S: u64 = 1_800;
/// How long load is gone before everything must be: longer than any usual wait.
const SILENCE_S: u64 = 3 * 3_600;
/// Workers by which the number may go up and down for ever under a constant load: bursts of whole jobs need as much.
const RIPPLE_MAX: u32 = 2;
/// Changes of the number in half an hour under a constant load: one a minute. Each is a start that is paid.
const CHANGES_MAX: usize = 30;
/// Requests by which the queue may grow in that time: those of a minute.
const GROWTH_MAX: u32 = 9;
/// A policy that lets go sooner after the last request has no delay that could be told from the gaps between two requests.
const DELAY_MIN_S: u64 = 30;

type Seeing<'a> = Make<'a, dyn ScalingPolicy>;

pub(super) fn scaling(make: Seeing<'_>) -> Vec<Verdict> {
    vec![
        answers(make),
        repeats(make),
        wakes(make),
        goes(make),
        settles(make),
        monotone(make),
        stuck_starts(make),
        dips(make),
        no_data(make),
        restores(make),
    ]
}

fn verdict(id: &'static str, property: &'static str, outcome: Outcome, seen: String) -> Verdict {
    Verdict { id, property, outcome, seen }
}

fn judged(id: &'static str, property: &'static str, seen: Result<String, String>) -> Verdict {
    match seen {
        Ok(seen) => verdict(id, property, Outcome::Holds, seen),
        Err(seen) => verdict(id, property, Outcome::Fails, seen),
    }
}

/// What came of a day.
struct Day {
    answers: Vec<(u64, Advice)>,
    clamped: u64,
    fault: Option<String>,
}

/// Steady load for a while, then silence.
fn day(make: Seeing<'_>, start_s: u64) -> Day {
    let mut policy = make();
    let scene = Scene { until_s: LOAD_S, start_s: Some(start_s), ..STEADY };
    let mut world = World::new(&mut *policy, scene);
    world.run(LOAD_S + SILENCE_S);
    let (answers, clamped) = (std::mem::take(&mut world.answers), world.clamped);
    let fault = policy.faults().map(|faults| {
        format!("{} calls failed; the first: {}", faults.count, faults.first.clone().unwrap_or_default())
    });
    Day { answers, clamped, fault }
}

pub(super) fn busy_day(policy: &mut dyn ScalingPolicy) -> u64 {
    let mut world = World::new(policy, STEADY);
    world.run(86_400);
    world.answers.len() as u64
}

fn answers(make: Seeing<'_>) -> Verdict {
    let mut seen = String::new();
    let mut failed = None;
    for start_s in STARTS_S {
        let Day { answers, clamped, fault } = day(make, start_s);
        failed = failed.or(fault);
        seen = format!("{} answers; {clamped} above the maximum, which the scheduler clamps", answers.len());
    }
    judged("P1", "every call is answered, within the bounds or clamped to them", failed.map_or(Ok(seen), Err))
}

fn repeats(make: Seeing<'_>) -> Verdict {
    let (first, second) = (day(make, 60).answers, day(make, 60).answers);
    let differs = first.iter().zip(&second).find(|(one, other)| one != other);
    let seen = match differs {
        Some(((at, one), (_, other))) => {
            Err(format!("after {at} s it wants {} workers, and {} when all is repeated", one.workers, other.workers))
        }
        None if first.len() != second.len() => {
            Err("it asks to be asked at other times when all is repeated".to_owned())
        }
        None => Ok(format!("{} answers, twice the same", first.len())),
    };
    judged("P2", "the same situation gives the same answer", seen)
}

fn wakes(make: Seeing<'_>) -> Verdict {
    let property = "a waiting job and no worker: a worker within one tick";
    let mut policy = make();
    let scene = Scene { requests: 1, per_s: 7_200, until_s: 7_200, service_s: 5, start_s: Some(10), max: 5, ..STEADY };
    let tick_s = match policy.asked_at() {
        AskedAt::Ticks(tick) => tick.0.div_ceil(1_000_000).max(1),
        AskedAt::Events | AskedAt::WaitingJobs => 0,
    };
    // The one request comes at the last second of its period.
    let came = 7_199;
    let mut world = World::new(&mut *policy, scene);
    world.run(came + tick_s + 1);
    let since = &world.up[came as usize..];
    let seen = match since.iter().position(|up| *up > 0) {
        Some(0) => Ok(format!("a job after two hours without any: {} worker at once", since[0])),
        Some(later) => Ok(format!("a job after two hours without any: {} worker {later} s later", since[later])),
        None if tick_s > 1 => {
            Err(format!("a job waits, no worker is up or coming, and within its tick of {tick_s} s it asks for none"))
        }
        None => Err("a job waits, no worker is up or coming, and it asks for none".to_owned()),
    };
    judged("P3", property, seen)
}

fn goes(make: Seeing<'_>) -> Verdict {
    let mut policy = make();
    let scene = Scene { until_s: LOAD_S, ..STEADY };
    let mut world = World::new(&mut *policy, scene);
    world.run(LOAD_S + SILENCE_S);
    let last = world.up.last().copied().unwrap_or(0);
    let since = world.up.iter().rposition(|up| *up > 0).map_or(0, |at| at as u64 + 1);
    let seen = if last == 0 {
        Ok(format!("the last worker left {} after the last request", length(since.saturating_sub(LOAD_S))))
    } else {
        Err(format!("{last} workers are up three hours after the last request, the endpoint's minimum is 0"))
    };
    judged("P4", "without load it goes to the minimum", seen)
}

fn settles(make: Seeing<'_>) -> Verdict {
    let mut seen = Vec::new();
    let mut failed = None;
    for start_s in STARTS_S {
        let mut policy = make();
        let mut world = World::new(&mut *policy, Scene { start_s: Some(start_s), ..STEADY });
        let settled_s = 1_800 + 10 * start_s;
        world.run(settled_s + WATCHED_S);
        let watched = &world.up[settled_s as usize..];
        let (least, most) = (watched.iter().min().copied().unwrap_or(0), watched.iter().max().copied().unwrap_or(0));
        let changes = watched.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let range = if least == most { format!("{most} workers") } else { format!("{least} to {most} workers") };
        let queue = &world.waiting[settled_s as usize..];
        let (first, last) = (queue[0], queue[queue.len() - 1]);
        let text = format!("starts of {}: {range}, {changes} changes in half an hour, {last} wait", length(start_s));
        let problem = if most - least > RIPPLE_MAX || changes > CHANGES_MAX {
            Some("it does not settle")
        } else if last > first + GROWTH_MAX {
            Some("the queue grows without end")
        } else {
            None
        };
        let told = problem.map(|problem| format!("under a constant load of 4.5 workers, {text}: {problem}"));
        failed = failed.or(told);
        seen.push(text);
    }
    judged(
        "P5",
        "under a constant load it settles and keeps up, however long a start takes",
        failed.map_or(Ok(seen.join("; ")), Err),
    )
}

fn monotone(make: Seeing<'_>) -> Verdict {
    let ask = |queued: u32, busy: u32, idle: u32| {
        let seen = Seen {
            now_s: 600,
            trigger: Trigger::Tick,
            queued,
            busy,
            idle,
            starting: 0,
            oldest_wait_s: (queued > 0).then_some(30),
            arrived: u64::from(queued + busy) + 100,
            ended: 100,
            service_s: 30,
            last_start_s: Some(20),
            max: 1_000,
        };
        make().advise(&seen.observation(&AllOverdue(queued))).workers
    };
    let mut failed = None;
    let mut pairs = 0_u32;
    let mut compare = |case: String, steps: &[u32], ask: &dyn Fn(u32) -> u32| {
        let mut before = (steps[0], ask(steps[0]));
        for step in &steps[1..] {
            let wanted = ask(*step);
            pairs += 1;
            if wanted < before.1 {
                let (less, fewer) = before;
                failed = failed
                    .take()
                    .or_else(|| Some(format!("{case}: {fewer} workers for {less}, but {wanted} for {step}")));
            }
            before = (*step, wanted);
        }
    };
    for (busy, idle) in [(0, 0), (1, 0), (3, 0), (3, 2), (10, 0), (50, 5)] {
        let case = format!("waiting jobs, with {busy} busy and {idle} idle workers");
        compare(case, &[0, 1, 2, 3, 5, 8, 13, 40, 100, 400], &|queued| ask(queued, busy, idle));
    }
    for queued in [0, 1, 7, 40] {
        let case = format!("jobs in progress, a worker each, with {queued} waiting jobs");
        compare(case, &[0, 1, 2, 3, 5, 8, 13, 25, 40, 60, 80, 100, 200, 400], &|busy| ask(queued, busy, 0));
    }
    let seen = failed.map_or(Ok(format!("{pairs} pairs of situations that differ in one number alone")), Err);
    judged("P6", "more jobs, waiting or in progress, never fewer workers", seen)
}

/// A silence half as long as the policy lets one last before it lets go of a worker.
fn dips(make: Seeing<'_>) -> Verdict {
    let property = "a dip shorter than its delay shrinks nothing, neither at once nor afterwards";
    let settled_s = 2_400;
    let run = |scene: Scene, until_s: u64| {
        let mut policy = make();
        let mut world = World::new(&mut *policy, scene);
        world.run(until_s);
        world.up
    };
    // From the last request on, until there is one worker less than ever before.
    let quiet = run(Scene { until_s: settled_s, ..STEADY }, settled_s + SILENCE_S);
    let least = |up: &[u32]| up.iter().min().copied().unwrap_or(0);
    let usual = least(&quiet[1_200..settled_s as usize]);
    let delay_s = quiet[settled_s as usize..].iter().position(|up| *up < usual).map(|at| at as u64);
    let Some(delay_s) = delay_s.filter(|_| usual > 0) else {
        return verdict("P8", property, Outcome::NotJudged, "it never lets go of a worker, or has none".to_owned());
    };
    if delay_s < DELAY_MIN_S {
        let seen = format!("it lets go of a worker {delay_s} s after the last request: there is no shorter dip");
        return verdict("P8", property, Outcome::NotJudged, seen);
    }
    let dip_s = delay_s / 2;
    let up = run(Scene { pause: Some((settled_s, dip_s)), ..STEADY }, settled_s + dip_s + 2 * delay_s.max(600));
    let fewest = least(&up[settled_s as usize..]);
    let case = format!("{} without requests, half of what it waits before it lets go", length(dip_s));
    let seen = if fewest < usual {
        Err(format!("{case}: {usual} workers before, {fewest} after"))
    } else {
        Ok(format!("{case}: {usual} workers before, at least {fewest} since"))
    };
    judged("P8", property, seen)
}

fn stuck_starts(make: Seeing<'_>) -> Verdict {
    let mut policy = make();
    // One job that nobody ever takes: any worker beyond the first few is asked for because time goes by.
    let scene = Scene { requests: 1, per_s: 1, until_s: 1, start_s: None, ..STEADY };
    let mut world = World::new(&mut *policy, scene);
    world.run(3_600);
    let (after_minute, last) = (world.up.get(60).copied().unwrap_or(0), world.up.last().copied().unwrap_or(0));
    let starts = world.starts;
    let seen = if last > after_minute.max(2) {
        Err(format!(
            "one job, starts that never end: {after_minute} workers wanted after a minute, {last} after an hour"
        ))
    } else if starts > 2 * u64::from(scene.max) {
        Err(format!("one job, starts that never end: {starts} starts asked for in an hour"))
    } else if last > 2 {
        Err(format!("one job, starts that never end: {last} workers wanted within a minute"))
    } else {
        Ok(format!("one job, starts that never end: workers wanted after an hour: {last}, starts asked for: {starts}"))
    };
    judged("P7", "starts that never end are not asked for again and again", seen)
}

fn no_data(make: Seeing<'_>) -> Verdict {
    let mut failed = None;
    for idle in [0, 1, 4] {
        let seen = Seen {
            now_s: 0,
            trigger: Trigger::Tick,
            queued: 0,
            busy: 0,
            idle,
            starting: 0,
            oldest_wait_s: None,
            arrived: 0,
            ended: 0,
            service_s: 0,
            last_start_s: None,
            max: 20,
        };
        let mut policy = make();
        let advice = policy.advise(&seen.observation(&AllOverdue(0)));
        let fault = policy.faults().and_then(|faults| faults.first.clone());
        let wanted = advice.workers;
        let more = format!("before any request it wants {wanted} workers where {idle} are up");
        let fewer = format!("before any request it stops idle workers: {wanted} wanted, {idle} are up");
        let stops = advice.surplus == Surplus::StopIdle && wanted < idle;
        let found = fault.or((wanted > idle).then_some(more)).or(stops.then_some(fewer));
        failed = failed.or(found);
    }
    let seen = failed.map_or(Ok("asked before the first request, it starts nothing and stops nothing".to_owned()), Err);
    judged("P9", "without data it holds what is there", seen)
}

/// When the one that is restored is cut off.
const CUT_S: u64 = 777;

fn restores(make: Seeing<'_>) -> Verdict {
    let property = "saved and restored in mid-run, it goes on as if nothing had been";
    let scene = Scene { until_s: LOAD_S, ..STEADY };
    let mut whole = make();
    let mut world = World::new(&mut *whole, scene);
    world.run(2 * LOAD_S);
    let expected = std::mem::take(&mut world.answers);
    let (mut first, mut second) = (make(), make());
    let mut world = World::new(&mut *first, scene);
    world.run(CUT_S);
    let saved = world.policy().save();
    // Through text, as a restart takes it.
    let again = serde_json::from_str(&saved.to_string()).map_err(|error| error.to_string());
    if let Err(error) = again.and_then(|state| second.load(&state).map_err(|error| error.to_string())) {
        return judged("P10", property, Err(format!("what it saved after {CUT_S} s cannot be loaded: {error}")));
    }
    let mut world = world.hand_over(&mut *second);
    world.run(2 * LOAD_S);
    let differs = expected.iter().zip(&world.answers).find(|(one, other)| one != other);
    let seen = match differs {
        Some(((at, one), (_, other))) => Err(format!(
            "restored after {CUT_S} s: at {at} s it wants {} workers where it would have wanted {}",
            other.workers, one.workers
        )),
        None if expected.len() != world.answers.len() => {
            Err(format!("restored after {CUT_S} s it is asked at other times"))
        }
        None => Ok(format!("{} answers, the same without and with a restart after {CUT_S} s", expected.len())),
    };
    judged("P10", property, seen)
}

fn length(seconds: u64) -> String {
    if seconds >= 120 && seconds.is_multiple_of(60) { format!("{} min", seconds / 60) } else { format!("{seconds} s") }
}

pub(super) fn keep_alive(make: Make<'_, dyn KeepAlivePolicy>) -> Vec<Verdict> {
    let run = |restart: bool| {
        let mut policy = make();
        let mut timeouts = Vec::new();
        for ordinal in 0..200_u64 {
            if restart && ordinal == 77 {
                let saved = policy.save();
                policy = make();
                if let Err(error) = policy.load(&saved) {
                    return (timeouts, Some(format!("what it saved cannot be loaded: {error}")));
                }
            }
            timeouts.push(idle(&mut *policy, ordinal));
        }
        let fault = policy.faults().map(|faults| {
            format!("{} calls failed; the first: {}", faults.count, faults.first.clone().unwrap_or_default())
        });
        (timeouts, fault)
    };
    let ((once, fault), (twice, _), (restarted, refused)) = (run(false), run(false), run(true));
    let longest = once.iter().copied().max_by_key(|timeout| timeout.map_or(u64::MAX, |span| span.0)).flatten();
    let shortest = once.iter().flatten().min().copied();
    let range = match (once.contains(&None), shortest, longest) {
        (false, Some(from), Some(to)) => Ok(format!("idle workers stay {} to {} s", from.as_secs(), to.as_secs())),
        _ => Err("it keeps idle workers for ever: without load they are paid for without end".to_owned()),
    };
    let same = |seen: &str, other: &[Option<Span>]| match once.iter().zip(other).position(|(one, other)| one != other) {
        Some(at) => Err(format!("idle period {at}: {:?}, {seen} {:?}", once[at], other[at])),
        None => Ok(format!("{} idle periods", once.len())),
    };
    let restart = refused.map_or_else(|| same("after a restart", &restarted), Err);
    vec![
        judged("K1", "every call is answered", fault.map_or(Ok(format!("{} idle periods", once.len())), Err)),
        judged("K2", "the same situation gives the same answer", same("when repeated", &twice)),
        judged("K3", "an idle worker leaves in the end", range),
        judged("K4", "saved and restored in mid-run, it goes on as if nothing had been", restart),
    ]
}

/// One question to a keep-alive policy.
fn idle(policy: &mut dyn KeepAlivePolicy, ordinal: u64) -> Option<Span> {
    let worker = idle_worker(ordinal);
    policy.idle_timeout(&IdleStart {
        now: worker.last_used,
        worker: &worker,
        ordinal,
        rank: 1 + (ordinal % 4) as u32,
        mean_start: (ordinal > 0).then_some(Span::from_whole_secs(20)),
        mean_stop: (ordinal > 1).then_some(Span::from_whole_secs(3)),
        flex_price: worker.price,
        active_price: worker.price,
    })
}

/// A worker that becomes idle for the so-manieth time: one of four, busy for ever longer stretches.
fn idle_worker(ordinal: u64) -> WorkerView {
    let at = |second: u64| Time::ZERO + Span::from_whole_secs(second);
    WorkerView {
        id: WorkerId::new(ordinal % 4, 0),
        kind: WorkerKind::Flex,
        phase: Phase::Ready,
        since: at(60 + 37 * ordinal),
        in_hand: 0,
        started: at(10 * (ordinal % 4)),
        last_used: at(60 + 37 * ordinal),
        version: 1,
        outdated: false,
        host: Some(HostId(0)),
        gpus: 1,
        price: UsdPerSecond::from_usd(0.000_19),
    }
}
