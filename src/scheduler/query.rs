//! What may be asked of the scheduler between two events: why a job waits, what the workers are doing, counts.

use super::job::Place;
use super::worker::{Class, Worker};
use super::{Phase, PickUp, PublicState, Scheduler, WaitReason, WorkerKind, WorkerReason};
use crate::policy::starlark::Faults;
use crate::units::{EndpointId, HostId, JobId, Time, WorkerId};

/// A worker as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Which.
    pub id: WorkerId,
    /// Whose.
    pub endpoint: EndpointId,
    /// Where.
    pub host: Option<HostId>,
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Release.
    pub version: u32,
    /// Number of its latest start.
    pub epoch: u32,
    /// Fine phase.
    pub phase: Phase,
    /// What users see.
    pub state: PublicState,
    /// Why.
    pub reason: WorkerReason,
    /// Since when it is in its phase.
    pub since: Time,
    /// Jobs in hand.
    pub in_hand: u32,
}

/// Jobs of an endpoint that have no outcome yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Waiting, all priorities.
    pub in_queue: u32,
    /// With a worker.
    pub in_progress: u32,
}

impl Scheduler {
    /// How many endpoints there are, deleted ones included.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    /// How many hosts there are, lost ones included.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// The images known, by number: those of the configuration and those that became known while running.
    pub fn images(&self) -> &[super::Image] {
        &self.config.images
    }

    /// Jobs without an outcome. `None` for an unknown endpoint.
    pub fn job_counts(&self, endpoint: EndpointId) -> Option<JobCounts> {
        let entry = self.endpoints.get(endpoint.index())?;
        Some(JobCounts { in_queue: entry.waiting(), in_progress: entry.in_progress })
    }

    /// Current release of the endpoint. `None` for an unknown endpoint.
    pub fn version(&self, endpoint: EndpointId) -> Option<u32> {
        self.endpoints.get(endpoint.index()).map(|entry| entry.version)
    }

    /// Policies of the endpoint that failed and were answered by another, with `scaler` or `keep_alive`; none for an unknown
    /// endpoint.
    pub fn policy_faults(&self, endpoint: EndpointId) -> Vec<(&'static str, &Faults)> {
        let Some(entry) = self.endpoints.get(endpoint.index()) else { return Vec::new() };
        let policies = &entry.policies;
        let all = [("scaler", policies.scaling.faults()), ("keep_alive", policies.keep_alive.faults())];
        all.into_iter().filter_map(|(kind, faults)| Some((kind, faults?))).collect()
    }

    /// The endpoint's workers in order of creation; empty for an unknown endpoint.
    pub fn workers_of(&self, endpoint: EndpointId) -> Vec<WorkerStatus> {
        let ids = self.endpoints.get(endpoint.index()).map_or(&[][..], |entry| &entry.workers);
        ids.iter().filter_map(|id| self.workers.get(id.0)).map(status).collect()
    }

    /// One worker; `None` once it is removed.
    pub fn worker_status(&self, id: WorkerId) -> Option<WorkerStatus> {
        self.workers.get(id.0).map(status)
    }

    /// Jobs and workers alive, for checks of memory.
    pub fn live_entries(&self) -> (usize, usize) {
        (self.jobs.len(), self.workers.len())
    }

    /// Jobs and workers ever known.
    pub fn ever(&self) -> (u64, u64) {
        (self.jobs.ever(), self.workers.ever())
    }

    /// Why a job is still in the queue; `None` if it is not.
    pub fn job_wait_reason(&self, id: JobId) -> Option<WaitReason> {
        let job = self.jobs.get(id.0)?;
        let entry = &self.endpoints[job.endpoint.index()];
        match job.place {
            Place::Held(_) => return None,
            Place::Bound(_) => return Some(WaitReason::BoundWorkerStarting),
            Place::Queued => {}
        }
        let workers = || entry.workers.iter().filter_map(|id| self.workers.get(id.0));
        let count = |class| entry.tally.get(class);
        if entry.max == 0 {
            return Some(WaitReason::MaxZero);
        }
        let pacing = |worker: &Worker| {
            worker.phase == Phase::Ready
                && worker.in_hand() < entry.spec.concurrency
                && entry.spec.pick_up == PickUp::Pull
                && worker.open_takes == 0
        };
        if workers().any(pacing) {
            return Some(WaitReason::WorkerPacing);
        }
        if job.low_priority {
            return Some(WaitReason::LowPriority);
        }
        if workers().any(|worker| worker.phase == Phase::Starting) {
            return Some(WaitReason::WorkerStarting);
        }
        if workers().any(|worker| worker.wanted && worker.phase == Phase::Pulling) {
            return Some(WaitReason::ImagePulling);
        }
        if count(Class::Throttled) > 0 {
            return Some(WaitReason::Throttled);
        }
        let serving = count(Class::Idle) + count(Class::Busy);
        if serving == 0 && count(Class::Unhealthy) > 0 {
            return Some(WaitReason::CrashLoop);
        }
        if workers().any(|worker| worker.phase == Phase::Placing && worker.reason == WorkerReason::NoCapacity) {
            return Some(WaitReason::NoCapacity);
        }
        if entry.rolling && count(Class::Leaving) > 0 {
            return Some(WaitReason::RollingOut);
        }
        let at_max = entry.tally.up_or_coming() + count(Class::Unhealthy) + count(Class::Leaving) >= entry.max;
        Some(if at_max { WaitReason::AtMax } else { WaitReason::BelowScaleThreshold })
    }
}

fn status(worker: &Worker) -> WorkerStatus {
    WorkerStatus {
        id: worker.id,
        endpoint: worker.endpoint,
        host: worker.host,
        kind: worker.kind,
        version: worker.version,
        epoch: worker.epoch,
        phase: worker.phase,
        state: PublicState::of(worker.phase, worker.in_hand(), worker.outdated)
            .expect("a live worker has a public state"),
        reason: worker.reason,
        since: worker.since,
        in_hand: worker.in_hand(),
    }
}
