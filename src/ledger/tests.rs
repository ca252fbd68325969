//! The books against an offline fold that knows nothing of meters, over random lives of workers; and the money invariants.

use proptest::prelude::*;

use super::*;
use crate::scheduler::WorkerReason;
use crate::scheduler::script::{Line, Script, classes, worker};
use crate::scheduler::{Command, Event};
use crate::units::{MICROS_PER_S, Span};

/// One random step: which worker, microseconds since the step before, and what happens.
#[derive(Clone, Debug)]
enum Step {
    Phase(Phase),
    Refresh,
    Kind(WorkerKind),
    Host(u32),
    Assign,
    Finish,
}

fn step() -> impl Strategy<Value = (u64, u64, Step)> {
    let what = prop_oneof![
        4 => prop::sample::select(&Phase::ALL[..10]).prop_map(Step::Phase),
        1 => Just(Step::Refresh),
        1 => prop::sample::select(&WorkerKind::ALL[..]).prop_map(Step::Kind),
        1 => (0..2_u32).prop_map(Step::Host),
        4 => Just(Step::Assign),
        4 => Just(Step::Finish),
    ];
    let gap = prop_oneof![2 => Just(0_u64), 3 => 1..5_000_000_u64, 1 => (1..4_u64).prop_map(|s| s * MICROS_PER_S)];
    (0..3_u64, gap, what)
}

/// Turns random steps into a transcript of three workers, the third of the second endpoint.
fn script(steps: &[(u64, u64, Step)], shift: Span, offset: u64, only: Option<u32>) -> Script {
    let mut script = Script::with_endpoints(2);
    script.after(shift);
    let endpoint = |n: u64| u32::from(n == 2);
    let wanted = |n: u64| only.is_none_or(|only| only == endpoint(n));
    let mut life = [(WorkerKind::Flex, 0_u32); 3];
    let mut held: [Vec<u64>; 3] = Default::default();
    let mut next_job = 0;
    for n in (0..3).filter(|n| wanted(*n)) {
        script.place(n, endpoint(n), 0, WorkerKind::Flex);
    }
    for (n, gap, step) in steps {
        script.after(Span(*gap + offset));
        let at = *n as usize;
        if !wanted(*n) {
            continue;
        }
        match step {
            Step::Phase(phase) => {
                script.phase(*n, *phase, WorkerReason::ColdStart);
                if !matches!(phase, Phase::Ready | Phase::Draining) {
                    held[at].clear();
                }
            }
            Step::Refresh => {
                script.phase(*n, Phase::Starting, WorkerReason::Refresh);
                held[at].clear();
            }
            Step::Kind(kind) => {
                life[at].0 = *kind;
                script.place(*n, endpoint(*n), life[at].1, *kind);
            }
            Step::Host(host) => {
                life[at].1 = *host;
                script.place(*n, endpoint(*n), *host, life[at].0);
            }
            Step::Assign => {
                script.submit(next_job, endpoint(*n)).assign(next_job, *n, 0, 1);
                held[at].push(next_job);
                next_job += 1;
            }
            Step::Finish => {
                if let Some(job) = held[at].pop() {
                    script.complete(job, *n, 0, 1);
                }
            }
        }
    }
    script
}

/// The offline fold: cuts each worker's life into constant pieces, joins billable ones that touch, rounds and adds up.
fn naive(script: &Script, classes: &[GpuClass]) -> [Money; 2] {
    let mut total = [Money::ZERO; 2];
    for n in 0..3 {
        let pieces = pieces(script, n, classes);
        for (place, profile) in Profile::ALL.into_iter().enumerate() {
            let mut sessions: Vec<(Time, Time, UsdPerSecond)> = Vec::new();
            // A change of the price ends a session, even one that is taken back in the same instant.
            let (mut last_price, mut repriced) = (None, false);
            for (from, to, at, price) in &pieces {
                repriced |= last_price.replace(*price) != Some(*price);
                if from == to || billable(profile, *at).is_none() {
                    continue;
                }
                match sessions.last_mut() {
                    Some((_, end, _)) if *end == *from && !repriced => *end = *to,
                    _ => sessions.push((*from, *to, *price)),
                }
                repriced = false;
            }
            for (from, to, price) in sessions {
                total[place] += price.cost(Span::from_whole_secs(to.since(from).ceil_secs()));
            }
        }
    }
    total
}

fn pieces(script: &Script, n: u64, classes: &[GpuClass]) -> Vec<(Time, Time, Situation, UsdPerSecond)> {
    let mut pieces = Vec::new();
    let mut at =
        Situation { kind: WorkerKind::Flex, phase: Phase::Placing, busy: false, refreshing: false, enabled: false };
    let (mut jobs, mut host, mut since) = (Vec::new(), 0_usize, Time::ZERO);
    let end = (script.now(), &Line::Fact(Event::DeadlineReached));
    for (now, line) in script.lines.iter().map(|(now, line)| (*now, line)).chain([end]) {
        let price = if at.kind == WorkerKind::Active { classes[host].active } else { classes[host].flex };
        pieces.push((since, now, at, price));
        since = now;
        match line {
            Line::Wish(Command::WorkerPlaced { worker: id, host: to, kind, .. }) if *id == worker(n) => {
                host = to.expect("scripts name a host").index();
                at.kind = *kind;
            }
            Line::Wish(Command::WorkerChanged { worker: id, phase, reason, .. }) if *id == worker(n) => {
                let restart = matches!(phase, Phase::Starting | Phase::Stopping);
                at.refreshing = restart && (at.refreshing || *reason == WorkerReason::Refresh);
                at.phase = *phase;
                if !matches!(phase, Phase::Ready | Phase::Draining) {
                    jobs.clear();
                }
            }
            Line::Wish(Command::AssignJob { job, worker: id, .. }) if *id == worker(n) => jobs.push(*job),
            Line::Wish(Command::FinishJob { job, .. }) => jobs.retain(|held| held != job),
            _ => {}
        }
        at.busy = !jobs.is_empty() && matches!(at.phase, Phase::Ready | Phase::Draining);
        at.enabled = at.kind == WorkerKind::Active && (at.enabled || at.phase.holds_gpus());
    }
    pieces
}

fn books(script: &Script, classes: &[GpuClass], rounding: Rounding) -> Ledger {
    script.fold(Ledger::new(classes, rounding, Window::ALL))
}

fn totals(ledger: &Ledger) -> [Money; 2] {
    Profile::ALL.map(|profile| ledger.total().total(profile).total())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// M1: the running fold equals the offline one, to the last femto-dollar.
    #[test]
    fn the_books_equal_an_offline_fold(steps in prop::collection::vec(step(), 0..80)) {
        let script = script(&steps, Span::ZERO, 0, None);
        prop_assert_eq!(totals(&books(&script, &classes(), Rounding::UpToSeconds)), naive(&script, &classes()));
    }

    /// M3, M4, M6, M7: rounding is bounded by a second per session; every split of the total adds up to it.
    #[test]
    fn every_split_adds_up(steps in prop::collection::vec(step(), 0..80)) {
        let ledger = books(&script(&steps, Span::ZERO, 0, None), &classes(), Rounding::UpToSeconds);
        for profile in Profile::ALL {
            let bill = ledger.total().total(profile);
            let rounding = bill.micros[CostPhase::Rounding.index()];
            prop_assert!(rounding == 0 || rounding < u128::from(bill.sessions) * u128::from(MICROS_PER_S));
            prop_assert_eq!(bill.billed_micros() % u128::from(MICROS_PER_S), 0);
            let by_host: Money = (0..2).map(|host| ledger.host(HostId(host), profile)).sum();
            let by_class: Money = (0..2).map(|class| ledger.gpu_class(GpuClassId(class), profile)).sum();
            let by_endpoint: Money = (0..2).map(|e| ledger.endpoint(EndpointId(e)).total(profile).total()).sum();
            let by_cause: Money = ledger.total().causes.values().map(|caused| caused.total[profile.index()]).sum();
            for split in [by_host, by_class, by_endpoint, by_cause, bill.exact() + bill.of(CostPhase::Rounding)] {
                prop_assert_eq!(split, bill.total());
            }
        }
    }

    /// M7 by time: the buckets of the timeline add up to the books, whatever their width.
    #[test]
    fn the_timeline_adds_up_to_the_books(
        steps in prop::collection::vec(step(), 0..80),
        buckets in prop::sample::select(&[2_usize, 16, 2_048][..]),
    ) {
        let script = script(&steps, Span::ZERO, 0, None);
        let ledger = books(&script, &classes(), Rounding::UpToSeconds);
        let timeline = script.fold(Timeline::new(&classes(), Rounding::UpToSeconds, buckets));
        for profile in Profile::ALL {
            let sum: Money = timeline.total().iter().map(|bucket| bucket.cost[profile.index()]).sum();
            prop_assert_eq!(sum, totals(&ledger)[profile.index()]);
        }
        for phase in CostPhase::ALL {
            let sum: Money = timeline.total().iter().map(|bucket| bucket.phases[phase.index()]).sum();
            let kinds = [WorkerKind::Active, WorkerKind::Flex, WorkerKind::Extra];
            let booked: Money =
                kinds.iter().map(|kind| ledger.total().bill(Profile::Documented, *kind).of(phase)).sum();
            prop_assert_eq!(sum, booked);
        }
        let lived: u64 = timeline.total().iter().flat_map(|bucket| bucket.states).sum();
        prop_assert_eq!(lived, 3 * script.now().0, "three workers exist all the time");
        prop_assert!(timeline.total().len() <= buckets);
        prop_assert!(script.now().0 <= timeline.width().0 * buckets as u64);
    }

    /// M9: prices scale, time shifts, and independent endpoints add.
    #[test]
    fn the_total_scales_shifts_and_merges(steps in prop::collection::vec(step(), 0..60), factor in 1..1_000_u64) {
        let plain = script(&steps, Span::ZERO, 0, None);
        let total = totals(&books(&plain, &classes(), Rounding::UpToSeconds));
        let mut dear = classes();
        for class in &mut dear {
            (class.flex.0, class.active.0) = (class.flex.0 * factor, class.active.0 * factor);
        }
        let scaled = totals(&books(&plain, &dear, Rounding::UpToSeconds));
        prop_assert_eq!(scaled, total.map(|money| Money(money.0 * i128::from(factor))));
        let shifted = script(&steps, Span(123_456_789), 0, None);
        prop_assert_eq!(totals(&books(&shifted, &classes(), Rounding::UpToSeconds)), total);
        let apart = [0, 1].map(|only| {
            totals(&books(&script(&steps, Span::ZERO, 0, Some(only)), &classes(), Rounding::UpToSeconds))
        });
        prop_assert_eq!([apart[0][0] + apart[1][0], apart[0][1] + apart[1][1]], total);
    }

    /// M5, M8: nothing is negative, and the seed profile bills no flex worker that has no job.
    #[test]
    fn seed_bills_work_alone(steps in prop::collection::vec(step(), 0..80)) {
        let ledger = books(&script(&steps, Span::ZERO, 0, None), &classes(), Rounding::Exact);
        for kind in [WorkerKind::Flex, WorkerKind::Extra] {
            let bill = *ledger.total().bill(Profile::Seed, kind);
            prop_assert_eq!(bill.total(), bill.of(CostPhase::Work));
            prop_assert_eq!(bill.of(CostPhase::Work), ledger.total().bill(Profile::Documented, kind).of(CostPhase::Work));
        }
        for money in Profile::ALL.into_iter().flat_map(|profile| ledger.total().total(profile).cost) {
            prop_assert!(money >= Money::ZERO);
        }
    }
}

/// A flex worker: 2 s start, 1.5 s job, 3 s idle, 0.5 s stop, at $0.001 a second.
fn one_session() -> Script {
    let mut script = Script::with_endpoints(1);
    script.at(0.0).place(0, 0, 0, WorkerKind::Flex).phase(0, Phase::Asleep, WorkerReason::Precache);
    script.at(10.0).submit(0, 0).start(0, 1).at(12.0).ready(0, 1).assign(0, 0, 1, 1).at(13.5).complete(0, 0, 1, 1);
    script.at(16.5).phase(0, Phase::Stopping, WorkerReason::IdleTimeout);
    script.at(17.0).phase(0, Phase::Asleep, WorkerReason::NoDemand).at(99.0);
    script
}

#[test]
fn one_session_costs_what_the_table_says() {
    let ledger = books(&one_session(), &classes(), Rounding::UpToSeconds);
    let seconds = |profile| ledger.total().total(profile).micros.map(|micros| micros as f64 / 1e6);
    assert_eq!(seconds(Profile::Seed), [0.0, 1.5, 0.0, 0.0, 0.5]);
    assert_eq!(seconds(Profile::Documented), [2.0, 1.5, 3.0, 0.5, 0.0]);
    assert_eq!(ledger.total().total(Profile::Documented).total().as_usd(), 0.007);
    let causes = ledger.total().causes;
    let caused: Vec<_> = causes.iter().filter(|(_, bill)| bill.starts > 0).collect();
    assert_eq!(caused.len(), 1);
    assert_eq!(caused[0].1.start_cost.map(Money::as_usd), [0.0, 0.002]);
    assert_eq!(caused[0].1.total.map(Money::as_usd), [0.002, 0.007]);
}

#[test]
fn a_failed_start_and_a_lost_attempt_are_lines_of_their_own() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1);
    script.at(4.0).phase(0, Phase::Unhealthy, WorkerReason::StartFailed);
    script.at(10.0).start(0, 2).at(11.0).ready(0, 2).submit(0, 0).assign(0, 0, 2, 1);
    script.at(13.0).phase(0, Phase::Unhealthy, WorkerReason::Crashed);
    let (job, worker) = (crate::scheduler::script::job(0), worker(0));
    script.asked(Command::RequeueJob { job, worker, cause: RequeueCause::WorkerCrashed });
    let account = books(&script, &classes(), Rounding::UpToSeconds).total();
    assert_eq!((account.failed_starts, account.wasted_attempts), (1, 1));
    assert_eq!(account.failed_start_cost.map(Money::as_usd), [0.0, 0.004]);
    assert_eq!(account.wasted_cost.as_usd(), 0.002);
}

#[test]
fn only_time_inside_the_window_is_billed() {
    let window = Window { from: Time::from_secs(11.0), until: Time::from_secs(13.0) };
    let ledger = one_session().fold(Ledger::new(&classes(), Rounding::Exact, window));
    assert_eq!(ledger.total().total(Profile::Seed).billed_micros(), 1_000_000);
    assert_eq!(ledger.total().total(Profile::Documented).billed_micros(), 2_000_000);
}

#[test]
fn a_worker_that_still_runs_is_billed_up_to_the_end() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 1, WorkerKind::Active).start(0, 1).at(1.0).ready(0, 1).at(3_600.0);
    let ledger = books(&script, &classes(), Rounding::UpToSeconds);
    for profile in Profile::ALL {
        assert_eq!(ledger.total().bill(profile, WorkerKind::Active).total().as_usd(), 3_600.0 * 0.0014);
    }
}

#[test]
fn a_cancelled_job_keeps_its_worker_billed_until_it_has_stopped() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1).ready(0, 1).submit(0, 0).assign(0, 0, 1, 1);
    script.at(2.0).finish(0, JobOutcome::Cancelled, FinishCause::Cancelled);
    let (job, worker) = (crate::scheduler::script::job(0), worker(0));
    script.at(3.0).told(Event::JobStopped { worker, epoch: 1, job, attempt: 2 });
    script.at(5.0).told(Event::JobStopped { worker, epoch: 1, job, attempt: 1 });
    script.at(7.0).told(Event::JobStopped { worker, epoch: 1, job, attempt: 1 });
    let ledger = books(&script, &classes(), Rounding::Exact);
    assert_eq!(ledger.total().total(Profile::Seed).billed_micros(), 5_000_000);
}
