//! RunPod's QUEUE_DELAY: the first waiting job starts a worker, then one more whenever a job has waited longer than the delay.
//!
//! Formula, every tick of 1 s: `Q > 0 and N = 0 -> 1`; else `oldest wait > delay_s` and no start under way covers it `-> N + step`.
//! Workers leave only by their idle timeout. Source: RunPod docs, endpoint configurations (contract §1.2); tick, step and "a start
//! under way suppresses the next step" are ours, fitted to a live trace in which a warm pair was never joined by a third worker.
//! Does badly on: short jobs in sudden spikes (adds one worker a step) and long jobs (waits the whole delay before each step).

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{Advice, AskedAt, Observation, ScalingPolicy, Surplus};
use crate::units::Span;

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "delay_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 4.0 },
        doc: "seconds a job may wait before a worker is added (documented default 4)",
    },
    ParamSpec {
        name: "step",
        kind: ParamKind::Word { choices: &["one", "per_overdue_job"], default: "one" },
        doc: "workers added per tick: one, or one for each job that has waited too long",
    },
    ParamSpec {
        name: "wait_for_start",
        kind: ParamKind::Switch { default: true },
        doc: "workers still starting cover one overdue job each and suppress further steps",
    },
    ParamSpec {
        name: "tick_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 1.0 },
        doc: "period of the check in seconds; 0 = at every event",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "queue_delay",
    summary: "RunPod QUEUE_DELAY: add a worker when a job has waited longer than delay_s",
    formula: "Q > 0 and N = 0: 1; oldest wait > delay_s: N + step; else N. Down by idle timeout only",
    source: "RunPod docs, endpoint configurations; contract 1.2",
    weakness: "sudden spikes of short jobs: one worker a step; long jobs: waits the whole delay each time",
    params: PARAMS,
    build: |params| Box::new(QueueDelay::new(params)),
};

/// See the module.
#[derive(Clone, Debug)]
pub struct QueueDelay {
    delay: Span,
    per_overdue_job: bool,
    wait_for_start: bool,
    asked_at: AskedAt,
}

impl QueueDelay {
    fn new(params: &Params) -> QueueDelay {
        QueueDelay {
            delay: Span::from_secs(params.number("delay_s")),
            per_overdue_job: params.word("step") == "per_overdue_job",
            wait_for_start: params.switch("wait_for_start"),
            asked_at: tick(params.number("tick_s")),
        }
    }
}

/// A period in seconds, where 0 means "at every event".
pub(super) fn tick(seconds: f64) -> AskedAt {
    if seconds == 0.0 { AskedAt::Events } else { AskedAt::Ticks(Span::from_secs(seconds)) }
}

impl ScalingPolicy for QueueDelay {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let current = seen.up_or_coming();
        let advice = |workers, reason, ask_again| Advice { workers, surplus: Surplus::KeepAlive, reason, ask_again };
        let Some(oldest) = seen.oldest_wait else {
            return advice(current, ScaleReason::QueueDelay, None);
        };
        if current == 0 {
            return advice(1, ScaleReason::FromZero, None);
        }
        if oldest <= self.delay {
            let overdue_in = (self.delay - oldest) + Span(1);
            // With a tick the next check sees it; without one this is the moment at which the rule changes its mind.
            let ask_again = (self.asked_at == AskedAt::Events).then_some(overdue_in);
            return advice(current, ScaleReason::QueueDelay, ask_again);
        }
        let covered = if self.wait_for_start { seen.starting + seen.throttled } else { 0 };
        let step = if self.per_overdue_job {
            seen.details.waiting_longer_than(self.delay).saturating_sub(covered)
        } else {
            u32::from(covered == 0)
        };
        advice(current + step, ScaleReason::QueueDelay, None)
    }
}
