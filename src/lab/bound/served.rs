//! What a policy did, as far as its regret needs it: when each job was in service, who was late, who was lost.

use crate::scheduler::watch::{LiveJob, Watcher};
use crate::scheduler::{EndpointSpec, FinishCause, JobOutcome, RejectReason, RequeueCause};
use crate::units::{EndpointId, Time};

use super::levels::Held;

/// One endpoint's share of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// When workers had a job in hand, lost attempts included.
    pub held: Vec<Held>,
    /// Seconds from submission to the hand-out that brought the result, of jobs that were completed.
    pub waits_s: Vec<f64>,
    /// Jobs submitted.
    pub submitted: u64,
}

impl Served {
    /// Jobs without a result.
    pub fn lost(&self) -> u64 {
        self.submitted - self.waits_s.len() as u64
    }

    /// Completed jobs that waited for longer than `limit_s`.
    pub fn late(&self, limit_s: f64) -> u64 {
        // A microsecond of rounding is not lateness.
        self.waits_s.iter().filter(|wait| **wait > limit_s + 2e-6).count() as u64
    }

    /// Seconds waited in all.
    pub fn waited_s(&self) -> f64 {
        self.waits_s.iter().sum()
    }
}

/// Listens to a run: give it to [`run_with`](crate::experiment::run_with) as the watcher, alone or in a tuple.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedJobs(pub Vec<Served>);

impl ServedJobs {
    fn of(&mut self, endpoint: EndpointId) -> &mut Served {
        if self.0.len() <= endpoint.index() {
            self.0.resize_with(endpoint.index() + 1, Served::default);
        }
        &mut self.0[endpoint.index()]
    }

    fn hold(&mut self, now: Time, job: &LiveJob) {
        if job.worker.is_some() {
            self.of(job.endpoint).held.push(Held { from: job.assigned, until: now });
        }
    }
}

impl Watcher for ServedJobs {
    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, _: &EndpointSpec) {
        self.of(endpoint);
    }

    fn job_accepted(&mut self, _: Time, job: &LiveJob) {
        self.of(job.endpoint).submitted += 1;
    }

    fn job_rejected(&mut self, _: Time, endpoint: EndpointId, _: RejectReason) {
        self.of(endpoint).submitted += 1;
    }

    fn job_requeued(&mut self, now: Time, job: &LiveJob, _: RequeueCause) {
        self.hold(now, job);
    }

    fn job_finished(&mut self, now: Time, job: &LiveJob, outcome: JobOutcome, _: FinishCause) {
        self.hold(now, job);
        if outcome == JobOutcome::Completed {
            self.of(job.endpoint).waits_s.push(job.assigned.since(job.accepted).as_secs());
        }
    }
}
