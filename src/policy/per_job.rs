//! One worker per job that finds none idle: the model of most papers on serverless platforms and of queueing theory.
//!
//! Formula, at every job that has to wait: `max(N, min(max, Q + P))`; with `cancel_starts` also `ready + min(Q, starting)`: starts
//! beyond the waiting jobs are called off, youngest first (M/M/k/setup). Down by the idle timeout. Sources: Gandhi, Harchol-Balter,
//! Adan 2010; pacslab/simfaas; policies 1.3 and 1.4. Does badly on: short jobs with long cold starts (a start for a wait of moments).

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{Advice, AskedAt, Observation, ScalingPolicy, Surplus};

const PARAMS: &[ParamSpec] = &[ParamSpec {
    name: "cancel_starts",
    kind: ParamKind::Switch { default: false },
    doc: "call off starts beyond the number of waiting jobs, youngest first",
}];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "per_job",
    summary: "scale per request: a job that finds no idle worker starts one",
    formula: "max(N, min(max, Q + P)) at every waiting job; cancel_starts: at most Q starting",
    source: "Gandhi, Harchol-Balter, Adan 2010; SimFaaS; policies 1.3, 1.4",
    weakness: "short jobs with long cold starts: starts a worker for a wait of moments",
    params: PARAMS,
    build: |params| Box::new(PerJob { cancel_starts: params.switch("cancel_starts") }),
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct PerJob {
    cancel_starts: bool,
}

impl ScalingPolicy for PerJob {
    fn asked_at(&self) -> AskedAt {
        if self.cancel_starts { AskedAt::Events } else { AskedAt::WaitingJobs }
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let up = seen.idle + seen.busy;
        let coming = seen.starting + seen.throttled;
        let jobs_in_workers = (seen.queued + seen.in_progress).div_ceil(seen.concurrency);
        if self.cancel_starts {
            let workers = up + seen.queued.div_ceil(seen.concurrency);
            return Advice { workers, surplus: Surplus::CancelStarts, reason: ScaleReason::PerJob, ask_again: None };
        }
        let workers = (up + coming).max(jobs_in_workers);
        Advice { workers, surplus: Surplus::KeepAlive, reason: ScaleReason::PerJob, ask_again: None }
    }
}
