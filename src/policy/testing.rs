//! Workers, idle periods and observations to try policies on.

use super::{Details, IdleStart, Observation, Phase, Trigger, WorkerKind, WorkerView};
use crate::units::{Span, Time, UsdPerSecond, WorkerId};

/// A ready flex worker without a job.
pub fn worker(sequence: u64) -> WorkerView {
    WorkerView {
        id: WorkerId::new(sequence, 0),
        kind: WorkerKind::Flex,
        phase: Phase::Ready,
        since: Time::ZERO,
        in_hand: 0,
        started: Time::ZERO,
        last_used: Time::ZERO,
        version: 1,
        outdated: false,
        host: None,
        gpus: 1,
        price: UsdPerSecond::default(),
    }
}

/// `worker` becomes idle at rank 1; a start takes 10 s, nothing was stopped yet.
pub fn idle(worker: &WorkerView, ordinal: u64) -> IdleStart<'_> {
    IdleStart {
        now: Time::ZERO,
        worker,
        ordinal,
        rank: 1,
        mean_start: Some(Span::from_whole_secs(10)),
        mean_stop: None,
        flex_price: UsdPerSecond::from_usd(0.0003),
        active_price: UsdPerSecond::from_usd(0.0002),
    }
}

/// Nobody to look at.
pub struct Nobody;

impl Details for Nobody {
    fn waiting_longer_than(&self, _: Span) -> u32 {
        0
    }

    fn workers(&self) -> Vec<WorkerView> {
        Vec::new()
    }
}

/// At `now_s`: so many jobs waiting and in progress, so many workers idle, busy and starting. Starts take 10 s, jobs 5 s.
pub fn seen(now_s: f64, jobs: (u32, u32), workers: (u32, u32, u32)) -> Observation<'static> {
    let ((queued, in_progress), (idle, busy, starting)) = (jobs, workers);
    Observation {
        now: Time::from_secs(now_s),
        trigger: Trigger::Tick,
        queued,
        queued_low: 0,
        in_progress,
        oldest_wait: (queued > 0).then_some(Span::SECOND),
        arrived: u64::from(queued + in_progress) + 100,
        ended: 100,
        service_total: Span::from_whole_secs(500),
        idle,
        busy,
        starting,
        throttled: 0,
        unhealthy: 0,
        asleep: 0,
        last_start: Some(Span::from_whole_secs(10)),
        mean_start: Some(Span::from_whole_secs(10)),
        mean_stop: None,
        active: 0,
        max: 1_000,
        extra: 0,
        concurrency: 1,
        flex_price: UsdPerSecond::from_usd(0.0003),
        active_price: UsdPerSecond::from_usd(0.0002),
        details: &Nobody,
    }
}
