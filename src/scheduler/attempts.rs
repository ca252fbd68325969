//! Job out: results, timeouts, stops, and attempts that end with their worker.

use super::job::Place;
use super::worker::AfterStop;
use super::{Command, FinishCause, JobOutcome, JobResult, RequeueCause, Scheduler, StopMode, WorkerReason};
use crate::units::{JobId, Time, WorkerId};

/// Hand-outs of one job that may get lost on the way before they count as attempts.
const TAKE_LOSSES_FREE: u32 = 10;

impl Scheduler {
    pub(super) fn job_finished(
        &mut self,
        id: WorkerId,
        epoch: u32,
        job: JobId,
        attempt: u32,
        result: JobResult,
        refresh: bool,
    ) {
        let outcome = match result {
            JobResult::Completed => (JobOutcome::Completed, FinishCause::Result),
            JobResult::Failed => (JobOutcome::Failed, FinishCause::HandlerError),
        };
        match self.let_go(id, epoch, job, attempt) {
            Some(stopping) => {
                if !stopping {
                    self.finish_held(job, outcome.0, outcome.1);
                }
                self.place_freed(id, refresh);
            }
            None => self.salvage(id, job, attempt, outcome),
        }
    }

    /// The attempt leaves the worker's hands; tells whether the job already had its outcome. `None` for a fact that concerns no
    /// attempt in hand: late, doubled, or of an earlier start.
    #[inline]
    fn let_go(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) -> Option<bool> {
        let now = self.now;
        let worker = self.workers.get_mut(id.0).filter(|worker| worker.is_current(epoch))?;
        let at = worker.held.iter().position(|held| held.job == job && held.attempt == attempt)?;
        let before = worker.class();
        let held = worker.held.remove(at);
        let entry = &mut self.endpoints[worker.endpoint.index()];
        entry.tally.shift(before, worker.class());
        entry.ended += 1;
        entry.service_total += now.since(held.started);
        Some(held.stopping)
    }

    /// Records the outcome of a job that is (or was until now) in a worker's hands.
    fn finish_held(&mut self, id: JobId, outcome: JobOutcome, cause: FinishCause) {
        if let Some(job) = self.jobs.remove(id.0) {
            self.endpoints[job.endpoint.index()].in_progress -= 1;
            self.commands.push_back(Command::FinishJob { job: id, client_ref: job.client_ref, outcome, cause });
        }
    }

    /// A result from a worker that was given up: it counts if the job still waits and this was its latest attempt.
    fn salvage(&mut self, id: WorkerId, job: JobId, attempt: u32, outcome: (JobOutcome, FinishCause)) {
        let counts = self
            .jobs
            .get(job.0)
            .is_some_and(|job| job.place == Place::Queued && job.attempt == attempt && job.last_worker == Some(id));
        if counts {
            self.finish_waiting(job, outcome.0, outcome.1);
        }
    }

    pub(super) fn job_stopped(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) {
        match self.let_go(id, epoch, job, attempt) {
            Some(true) => self.place_freed(id, false),
            // It stopped a job that nobody told it to stop: the attempt is lost.
            Some(false) => {
                self.lose_attempt(id, job, RequeueCause::WorkerLeft);
                self.place_freed(id, false);
            }
            None => {}
        }
    }

    pub(super) fn take_lost(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) {
        if let Some(stopping) = self.let_go(id, epoch, job, attempt) {
            if !stopping {
                self.lose_attempt(id, job, RequeueCause::TakeLost);
            }
            self.place_freed(id, false);
        }
    }

    /// The attempt ended without an outcome: the job goes back to its old place, or fails when its attempts are used up.
    pub(super) fn lose_attempt(&mut self, worker: WorkerId, id: JobId, cause: RequeueCause) {
        let Some(job) = self.jobs.get_mut(id.0) else { return };
        let endpoint = job.endpoint;
        if cause == RequeueCause::TakeLost && job.take_losses < TAKE_LOSSES_FREE {
            job.take_losses += 1;
        } else {
            job.losses += 1;
        }
        if job.losses >= self.endpoints[endpoint.index()].spec.max_attempts {
            return self.finish_held(id, JobOutcome::Failed, FinishCause::AttemptsExhausted);
        }
        self.endpoints[endpoint.index()].in_progress -= 1;
        self.emit(Command::RequeueJob { job: id, worker, cause });
        self.enqueue(id);
        if self.now >= self.jobs.get(id.0).map_or(Time::MAX, |job| job.expires) {
            self.finish_waiting(id, JobOutcome::TimedOut, FinishCause::TtlInQueue);
        }
        self.start_ticking(endpoint);
        self.unsettle(endpoint);
    }

    /// Everything in the worker's hands is lost with it.
    pub(super) fn lose_all(&mut self, id: WorkerId, cause: RequeueCause) {
        let worker = self.workers.get_mut(id.0).expect("called for a live worker");
        if worker.held.is_empty() {
            return;
        }
        let before = worker.class();
        let held = std::mem::take(&mut worker.held);
        let after = worker.class();
        worker.lease_deadline = Time::MAX;
        self.endpoints[worker.endpoint.index()].tally.shift(before, after);
        for held in held.into_iter().filter(|held| !held.stopping) {
            self.lose_attempt(id, held.job, cause);
        }
    }

    /// Gives a running job its outcome now and tells the worker to stop it; its place is free when the worker has let go.
    pub(super) fn abort_attempt(&mut self, id: WorkerId, job: JobId, cause: FinishCause) {
        let now = self.now;
        let worker = self.workers.get_mut(id.0).expect("a held job names a live worker");
        let grace = self.endpoints[worker.endpoint.index()].spec.stop_job_grace;
        let epoch = worker.epoch;
        let Some(held) = worker.held.iter_mut().find(|held| held.job == job && !held.stopping) else { return };
        held.stopping = true;
        held.deadline = now + grace;
        let (attempt, deadline) = (held.attempt, held.deadline);
        let outcome = match cause {
            FinishCause::Cancelled | FinishCause::Purged | FinishCause::EndpointDeleted => JobOutcome::Cancelled,
            _ => JobOutcome::TimedOut,
        };
        self.finish_held(job, outcome, cause);
        self.emit(Command::StopJob { job, worker: id, epoch, attempt });
        self.worker_deadlines.arm(id.slot(), deadline);
    }

    /// Attempts whose time is up: the first deadline ends the job, the second the worker that ignored the stop signal.
    pub(super) fn time_out_attempts(&mut self, id: WorkerId) {
        let now = self.now;
        loop {
            let Some(worker) = self.workers.get(id.0) else { return };
            let Some(held) = worker.held.iter().find(|held| held.deadline <= now).copied() else { return };
            if held.stopping {
                let after = match worker.phase {
                    super::Phase::Draining => worker.after_stop,
                    _ => AfterStop::Sleep,
                };
                return self.stop(id, StopMode::Kill, after, WorkerReason::IgnoredStop);
            }
            let expired = self.jobs.get(held.job.0).is_some_and(|job| job.expires <= now);
            let timed_out = self.jobs.get(held.job.0).is_some_and(|job| held.started + job.execution_timeout <= now);
            let cause = if expired && !timed_out { FinishCause::TtlRunning } else { FinishCause::ExecutionTimeout };
            self.abort_attempt(id, held.job, cause);
        }
    }

    pub(super) fn worker_pinged(&mut self, id: WorkerId, epoch: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(id.0).filter(|worker| worker.is_current(epoch)) else { return };
        if let (Some(lease), false) = (self.endpoints[worker.endpoint.index()].spec.lease, worker.held.is_empty()) {
            worker.lease_deadline = now + lease;
        }
    }
}
