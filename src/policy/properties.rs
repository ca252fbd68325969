//! What every scaling policy must do, whatever its rule (autoscalers 14): tried on all of the registry in a small closed world.
//!
//! The world has one endpoint, a start of fixed length, and follows advice as the scheduler does: bounds, starts, idle timeouts or
//! stopped surplus, the policy's floor. It shares no code with the scheduler.

use super::testing::{seen, worker};
use super::*;

/// A fleet of at most `MAX` workers, stepped once a second.
const MAX: u32 = 20;
const IDLE_TIMEOUT_S: u32 = 5;

struct World {
    policy: Box<dyn ScalingPolicy>,
    now: u32,
    start_s: u32,
    queued: u32,
    /// Seconds left of each job in progress, of each start, and seconds since each idle worker is idle.
    busy: Vec<u32>,
    starting: Vec<u32>,
    idle: Vec<u32>,
    service_s: u32,
    arrived: u64,
    ended: u64,
    started: u32,
    ask_at: Option<Time>,
    oldest: Option<u32>,
}

struct Rows {
    waits: Vec<u32>,
    rows: Vec<WorkerView>,
}

impl Details for Rows {
    fn waiting_longer_than(&self, span: Span) -> u32 {
        self.waits.iter().filter(|wait| f64::from(**wait) > span.as_secs()).count() as u32
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.rows.clone()
    }
}

impl World {
    fn new(name: &str, start_s: u32, service_s: u32) -> World {
        World::of(&PolicyChoice::named(name), start_s, service_s)
    }

    fn of(choice: &PolicyChoice, start_s: u32, service_s: u32) -> World {
        let policy = registry::scaling(choice).expect("it is in the registry");
        World {
            ask_at: policy.first_ask().map(|after| Time::ZERO + after),
            policy,
            now: 0,
            start_s,
            queued: 0,
            busy: Vec::new(),
            starting: Vec::new(),
            idle: Vec::new(),
            service_s,
            arrived: 0,
            ended: 0,
            started: 0,
            oldest: None,
        }
    }

    fn up(&self) -> u32 {
        (self.busy.len() + self.starting.len() + self.idle.len()) as u32
    }

    fn ask(&mut self, trigger: Trigger) -> Advice {
        let now = Time::from_secs(f64::from(self.now));
        let wait = self.oldest.map(|since| self.now - since);
        let mut rows: Vec<WorkerView> = Vec::new();
        for left in &self.busy {
            let ran = f64::from(self.service_s - left.min(&self.service_s));
            rows.push(WorkerView { in_hand: 1, last_used: Time::from_secs(now.as_secs() - ran), ..worker(1) });
        }
        rows.extend(self.starting.iter().map(|left| WorkerView {
            phase: Phase::Starting,
            started: Time::from_secs(f64::from((self.now + left).saturating_sub(self.start_s))),
            ..worker(2)
        }));
        rows.extend(self.idle.iter().map(|_| worker(3)));
        let rows = Rows { waits: vec![wait.unwrap_or(0); self.queued as usize], rows };
        let (busy, idle, starting) = (self.busy.len() as u32, self.idle.len() as u32, self.starting.len() as u32);
        let shown = Observation {
            trigger,
            max: MAX,
            arrived: self.arrived,
            ended: self.ended,
            service_total: Span::from_whole_secs(self.ended * u64::from(self.service_s)),
            oldest_wait: wait.map(|wait| Span::from_whole_secs(u64::from(wait))),
            mean_start: Some(Span::from_whole_secs(u64::from(self.start_s))),
            last_start: Some(Span::from_whole_secs(u64::from(self.start_s))),
            details: &rows,
            ..seen(now.as_secs(), (self.queued, busy), (idle, busy, starting))
        };
        let advice = self.policy.advise(&shown);
        self.ask_at = advice.ask_again.map(|after| now + after.max(Span(1)));
        advice
    }

    fn follow(&mut self, advice: Advice) {
        let wanted = advice.workers.min(MAX);
        while self.up() < wanted {
            self.starting.push(self.start_s);
            self.started += 1;
        }
        if advice.surplus != Surplus::KeepAlive {
            while self.up() > wanted && self.starting.pop().is_some() {}
        }
        if advice.surplus == Surplus::StopIdle {
            while self.up() > wanted && self.idle.pop().is_some() {}
        }
    }

    fn hand_out(&mut self) {
        while self.queued > 0 && self.idle.pop().is_some() {
            self.queued -= 1;
            self.busy.push(self.service_s);
        }
        if self.queued == 0 {
            self.oldest = None;
        }
    }

    /// A second passes, then so many jobs arrive.
    fn step(&mut self, arrivals: u32) {
        self.now += 1;
        let done = self.busy.iter().filter(|left| **left <= 1).count();
        self.busy.retain(|left| *left > 1);
        self.busy.iter_mut().for_each(|left| *left -= 1);
        self.ended += done as u64;
        let ready = self.starting.iter().filter(|left| **left <= 1).count();
        self.starting.retain(|left| *left > 1);
        self.starting.iter_mut().for_each(|left| *left -= 1);
        self.idle.iter_mut().for_each(|since| *since += 1);
        self.idle.extend(std::iter::repeat_n(0, done + ready));
        self.queued += arrivals;
        self.arrived += u64::from(arrivals);
        if self.queued > 0 && self.oldest.is_none() {
            self.oldest = Some(self.now);
        }
        self.hand_out();
        if self.policy.uses_idle_timeout() {
            let floor = self.policy.floor();
            while self.up() > floor && self.idle.iter().any(|since| *since >= IDLE_TIMEOUT_S) {
                let at = self.idle.iter().position(|since| *since >= IDLE_TIMEOUT_S).expect("there is one");
                self.idle.remove(at);
            }
        }
        let due = self.ask_at.is_some_and(|at| at <= Time::from_secs(f64::from(self.now)));
        let tick = match self.policy.asked_at() {
            AskedAt::Ticks(period) => {
                let quiet = self.queued == 0 && self.busy.is_empty() && self.up() == 0;
                !quiet && (u64::from(self.now) * 1_000_000) % period.0.max(1) < 1_000_000
            }
            AskedAt::Events => arrivals + done as u32 + ready as u32 > 0,
            AskedAt::WaitingJobs => self.queued > 0,
        };
        let from_zero = self.queued > 0 && self.up() == 0;
        if due || tick || from_zero {
            let trigger = if self.queued > 0 { Trigger::JobWaits } else { Trigger::Tick };
            let advice = self.ask(trigger);
            self.follow(advice);
            self.hand_out();
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    registry::SCALING.iter().map(|entry| entry.name)
}

/// Workers that a policy keeps with its defaults when there is nothing to do.
fn at_rest(name: &str) -> u32 {
    u32::from(matches!(name, "fixed" | "hpa"))
}

#[test]
fn p3_a_job_without_a_worker_gets_one_within_a_tick() {
    for name in names() {
        for warm_up in [0, 17, 1_000] {
            let mut world = World::new(name, 10, 5);
            (0..warm_up).for_each(|_| world.step(0));
            world.step(1);
            // The longest tick: KEDA looks every 30 s.
            let mut waited = 0;
            while world.up() == 0 && waited < 100 {
                world.step(0);
                waited += 1;
            }
            assert!(waited <= 31, "{name} lets a job wait for {waited} s and longer");
        }
    }
}

#[test]
fn p4_without_jobs_everybody_leaves() {
    for name in names() {
        let mut world = World::new(name, 10, 5);
        for second in 0..300 {
            world.step(u32::from(second % 3 == 0));
        }
        // The longest wait of any default: ten minutes of Ray's, five of KEDA after five of the HPA; a bin and a season of forecasts.
        let mut left = 0;
        while world.up() > at_rest(name) && left < 4_000 {
            world.step(0);
            left += 1;
        }
        assert!(left < 4_000, "{name} still has {} workers", world.up());
    }
}

#[test]
fn p4_holds_with_each_of_the_common_keys() {
    let keys = [
        ("delay_up_s", 20.0),
        ("delay_down_s", 20.0),
        ("stabilize_up_s", 20.0),
        ("stabilize_down_s", 20.0),
        ("rate_up", 1.0),
        ("rate_down", 1.0),
        ("cooldown_up_s", 20.0),
        ("cooldown_down_s", 20.0),
        ("floor", 2.0),
        ("ceiling", 3.0),
    ];
    for name in names() {
        for (key, value) in keys {
            let mut world = World::of(&PolicyChoice::named(name).with(key, value), 10, 5);
            for second in 0..120 {
                world.step(u32::from(second < 3) * 7 + u32::from(second % 3 == 0));
            }
            let rest = at_rest(name).max(if key == "floor" { value as u32 } else { 0 });
            let mut left = 0;
            while world.up() > rest && left < 5_500 {
                world.step(0);
                left += 1;
            }
            assert!(world.up() == rest, "{name} with {key} has {} workers, {rest} at rest", world.up());
        }
    }
}

#[test]
fn p5_constant_load_settles() {
    let mut swings = Vec::new();
    for name in names() {
        for start_s in [1, 60, 600] {
            let mut world = World::new(name, start_s, 7);
            let mut sizes = Vec::new();
            for second in 0..9_000_u32 {
                // Half a job a second, 7 s each: three and a half workers' worth.
                world.step(u32::from(second % 2 == 0));
                if second >= 6_000 {
                    sizes.push(world.up());
                }
            }
            let changes = sizes.windows(2).filter(|pair| pair[0] != pair[1]).count();
            let (least, most) = (sizes.iter().min().expect("some"), sizes.iter().max().expect("some"));
            // Starts of ten minutes against jobs of seconds: rules that answer a queue answer it for ten minutes on end.
            let limit = if start_s > 60 { 60 } else { 40 };
            // RunPod's REQUEST_COUNT calls its starts off as soon as the queue is shorter: that is how it is documented.
            if name == "request_count" {
                continue;
            }
            if changes > limit || (world.queued > 60 && name != "fixed") {
                swings.push(format!(
                    "{name}, starts of {start_s} s: {changes} changes, {least} to {most} workers, {} wait",
                    world.queued
                ));
            }
        }
    }
    assert!(swings.is_empty(), "{swings:#?}");
}

#[test]
fn p7_starts_that_never_end_are_not_repeated() {
    for name in names() {
        let mut world = World::new(name, 10, 5);
        world.start_s = 100_000;
        for second in 0..600 {
            world.step(u32::from(second < 50));
        }
        assert!(world.started <= MAX, "{name} started {} workers, all of them on their way", world.started);
    }
}

#[test]
fn p2_and_p10_a_restart_changes_nothing() {
    for name in names() {
        let mut one = World::new(name, 10, 5);
        let mut dice = 12_345_u64;
        let mut arrivals = || {
            dice = hash::mix(dice);
            u32::from(dice.is_multiple_of(5)) * (1 + (dice >> 32) as u32 % 3)
        };
        let traffic: Vec<u32> = (0..1_500).map(|_| arrivals()).collect();
        traffic[..700].iter().for_each(|n| one.step(*n));
        let mut other = World::new(name, 10, 5);
        let text = one.policy.save().to_string();
        let saved: Value = serde_json::from_str(&text).expect("what is saved is JSON");
        other.policy.load(&saved).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(other.policy.floor(), one.policy.floor(), "{name}: the floor is part of what is saved");
        (other.now, other.queued, other.oldest, other.ask_at) = (one.now, one.queued, one.oldest, one.ask_at);
        (other.busy, other.starting, other.idle) = (one.busy.clone(), one.starting.clone(), one.idle.clone());
        (other.arrived, other.ended, other.started) = (one.arrived, one.ended, one.started);
        for (second, n) in traffic[700..].iter().enumerate() {
            one.step(*n);
            other.step(*n);
            assert_eq!((one.up(), one.queued), (other.up(), other.queued), "{name}, {second} s after the restart");
        }
    }
}

#[test]
fn p9_nothing_seen_is_nothing_changed() {
    // An endpoint that has just come to be, with workers that somebody else made: no policy may bring down what is busy, and a
    // first answer without any past is a number within reason.
    for name in names() {
        let mut policy = registry::scaling(&PolicyChoice::named(name)).expect("it is in the registry");
        let mut bare = seen(1.0, (0, 0), (0, 0, 0));
        (bare.arrived, bare.ended, bare.service_total) = (0, 0, Span::ZERO);
        (bare.last_start, bare.mean_start) = (None, None);
        let answer = policy.advise(&bare);
        assert!(answer.workers <= at_rest(name), "{name} wants {} workers for nothing", answer.workers);
    }
}

#[test]
fn every_entry_says_what_it_is() {
    fn complete<T: ?Sized>(kind: &str, entries: &[registry::Entry<T>]) {
        for (at, entry) in entries.iter().enumerate() {
            let texts = [entry.summary, entry.formula, entry.source, entry.weakness];
            assert!(texts.iter().all(|text| text.len() > 2), "{kind} policy {}", entry.name);
            assert!(entries[..at].iter().all(|other| other.name != entry.name), "{} is there twice", entry.name);
            assert!(Params::check(&PolicyChoice::named(entry.name), entry.params).is_ok(), "{}", entry.name);
            for spec in entry.params {
                let mut choice = PolicyChoice::named(entry.name);
                choice.params.insert(spec.name.to_owned(), spec.kind.default_value());
                assert!(Params::check(&choice, entry.params).is_ok(), "{}: the default of {}", entry.name, spec.name);
            }
        }
    }
    complete("scaling", registry::SCALING);
    complete("keep-alive", registry::KEEP_ALIVE);
    complete("dispatch", registry::DISPATCH);
    complete("placement", registry::PLACEMENT);
    complete("eviction", registry::EVICTION);
}
