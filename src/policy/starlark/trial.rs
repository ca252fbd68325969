//! A file tried on a few made-up situations when it is loaded: what fails on each of them is better told then than in the middle
//! of a run.

use super::super::{
    Details, IdleStart, KeepAlivePolicy, Observation, Phase, ScalingPolicy, Trigger, WorkerKind, WorkerView,
};
use super::keep_alive::StarlarkKeepAlive;
use super::scaling::StarlarkScaling;
use super::{Program, StarlarkError};
use crate::units::{HostId, Span, Time, UsdPerSecond, WorkerId};

/// One made-up situation: jobs waiting, jobs running, workers up, workers starting.
struct Situation {
    name: &'static str,
    at_s: u64,
    queued: u32,
    in_progress: u32,
    starting: u32,
}

const SITUATIONS: [Situation; 5] = [
    Situation { name: "nothing to do and no worker", at_s: 0, queued: 0, in_progress: 0, starting: 0 },
    Situation { name: "a first job and no worker", at_s: 60, queued: 1, in_progress: 0, starting: 0 },
    Situation { name: "a queue while a worker starts", at_s: 61, queued: 7, in_progress: 0, starting: 1 },
    Situation { name: "busy workers and a queue", at_s: 120, queued: 40, in_progress: 3, starting: 0 },
    Situation { name: "the last job ended an hour ago", at_s: 3_720, queued: 0, in_progress: 0, starting: 0 },
];

/// Asks `advise` in situations without load, with load and after it, one after the other.
///
/// # Errors
/// What failed, with the situation.
pub fn scaling(program: Program) -> Result<(), StarlarkError> {
    let missing = program.missing("advise");
    let Ok(mut policy) = StarlarkScaling::new(program) else { return Err(missing) };
    for situation in &SITUATIONS {
        let rows = Rows { waiting: situation.queued, busy: situation.in_progress, at: situation.at_s };
        policy.call(&situation.observation(&rows)).map_err(|error| situation.told(error))?;
    }
    let saved = policy.save();
    let again = policy.load(&saved);
    again.map_err(|error| StarlarkError::of_file("", error.to_string()))
}

/// Asks `idle_timeout` for a worker that becomes idle three times.
///
/// # Errors
/// What failed.
pub fn keep_alive(program: Program) -> Result<(), StarlarkError> {
    let missing = program.missing("idle_timeout");
    let Ok(mut policy) = StarlarkKeepAlive::new(program) else { return Err(missing) };
    for ordinal in 1..=3 {
        let price = UsdPerSecond::from_usd(0.000_19);
        policy.call(&IdleStart {
            now: Time::ZERO + Span::from_whole_secs(60 * ordinal),
            worker: &worker(ordinal, 60 * ordinal, 0),
            ordinal,
            rank: 1,
            mean_start: (ordinal > 1).then_some(Span::from_whole_secs(20)),
            mean_stop: (ordinal > 2).then_some(Span::from_whole_secs(3)),
            flex_price: price,
            active_price: price,
        })?;
    }
    let saved = policy.save();
    policy.load(&saved).map_err(|error| StarlarkError::of_file("", error.to_string()))
}

impl Situation {
    fn told(&self, error: StarlarkError) -> StarlarkError {
        StarlarkError { message: format!("{} (tried with {})", error.message, self.name), ..error }
    }

    fn observation<'a>(&self, rows: &'a Rows) -> Observation<'a> {
        let price = UsdPerSecond::from_usd(0.000_19);
        Observation {
            now: Time::ZERO + Span::from_whole_secs(self.at_s),
            trigger: Trigger::Tick,
            queued: self.queued,
            queued_low: 0,
            in_progress: self.in_progress,
            oldest_wait: (self.queued > 0).then_some(Span::from_whole_secs(u64::from(self.queued))),
            arrived: u64::from(self.queued + self.in_progress) + self.at_s / 10,
            ended: self.at_s / 10,
            service_total: Span::from_whole_secs(self.at_s),
            idle: 0,
            busy: self.in_progress,
            starting: self.starting,
            throttled: 0,
            unhealthy: 0,
            asleep: 1,
            last_start: (self.at_s > 60).then_some(Span::from_whole_secs(20)),
            mean_start: (self.at_s > 60).then_some(Span::from_whole_secs(20)),
            mean_stop: (self.at_s > 60).then_some(Span::from_whole_secs(3)),
            active: 0,
            max: 10,
            extra: 0,
            concurrency: 1,
            flex_price: price,
            active_price: price,
            details: rows,
        }
    }
}

/// The rows behind a situation: every other job overdue, every worker alike.
struct Rows {
    waiting: u32,
    busy: u32,
    at: u64,
}

impl Details for Rows {
    fn waiting_longer_than(&self, _: Span) -> u32 {
        self.waiting / 2
    }

    fn workers(&self) -> Vec<WorkerView> {
        (0..self.busy).map(|index| worker(u64::from(index), self.at, 1)).collect()
    }
}

fn worker(id: u64, at_s: u64, in_hand: u32) -> WorkerView {
    let since = Time::ZERO + Span::from_whole_secs(at_s);
    WorkerView {
        id: WorkerId::new(id, 0),
        kind: WorkerKind::Flex,
        phase: Phase::Ready,
        since,
        in_hand,
        started: since,
        last_used: since,
        version: 1,
        outdated: false,
        host: Some(HostId(0)),
        gpus: 1,
        price: UsdPerSecond::from_usd(0.000_19),
    }
}
