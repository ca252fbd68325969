//! Jobs in: submission, cancel, purge, and the end of a job's life in the queue.

use super::job::{Job, Place};
use super::{Command, FinishCause, JobOutcome, JobPolicy, RejectReason, Scheduler};
use crate::policy::{AskedAt, Trigger};
use crate::units::{EndpointId, JobId, Span, Time, WorkerId};

impl Scheduler {
    pub(super) fn submit(&mut self, endpoint: EndpointId, client_ref: u64, policy: JobPolicy) {
        let now = self.now;
        let reject = |reason| Command::RejectJob { endpoint, client_ref, reason };
        let Some(entry) = self.endpoints.get_mut(endpoint.index()).filter(|entry| !entry.deleted) else {
            return self.emit(reject(RejectReason::UnknownEndpoint));
        };
        let can_start_now = entry.waiting() == 0 && !entry.available.is_empty();
        if !can_start_now && entry.waiting() >= entry.spec.max_queued {
            return self.emit(reject(RejectReason::QueueFull));
        }
        entry.arrived += 1;
        entry.last_request = now;
        let ttl = policy.ttl.map_or(entry.spec.ttl, |ttl| ttl.span());
        let own_ttl = ttl != entry.uniform_ttl;
        let execution_timeout = policy.execution_timeout.map(|ms| ms.span()).or(entry.spec.execution_timeout);
        let id = JobId(self.jobs.insert(|id| Job {
            id: JobId(id),
            endpoint,
            client_ref,
            submitted: now,
            expires: now + ttl,
            execution_timeout: execution_timeout.unwrap_or(Span::MAX),
            low_priority: policy.low_priority,
            own_ttl,
            place: Place::Queued,
            attempt: 0,
            losses: 0,
            take_losses: 0,
            last_worker: None,
        }));
        self.emit(Command::AcceptJob { job: id, endpoint, client_ref });
        self.start_ticking(endpoint);
        if can_start_now {
            let (_, worker) = self.endpoints[endpoint.index()].available[0];
            self.assign(worker, id);
            if self.endpoints[endpoint.index()].asked_at == AskedAt::Events {
                self.ask_policy(endpoint, Trigger::JobTaken);
            }
            return;
        }
        self.enqueue(id);
        if !policy.low_priority {
            self.job_waits(endpoint, id);
        } else {
            self.dispatch(endpoint);
        }
    }

    /// Asks the policy on behalf of a job that nobody could take at once; with early binding the job then waits for the worker
    /// that was started for it.
    fn job_waits(&mut self, endpoint: EndpointId, job: JobId) {
        self.dispatch(endpoint);
        let entry = &self.endpoints[endpoint.index()];
        let nobody_coming = entry.tally.up_or_coming() == 0;
        if matches!(entry.asked_at, AskedAt::Ticks(_)) && !nobody_coming {
            return;
        }
        let started = self.ask_policy(endpoint, Trigger::JobWaits);
        if let Some(worker) = started
            && self.endpoints[endpoint.index()].spec.binding == super::Binding::Early
        {
            self.bind(job, worker);
        }
    }

    /// Puts a live job into its endpoint's queue, at its place by age.
    pub(super) fn enqueue(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id.0) else { return };
        job.place = Place::Queued;
        let (endpoint, low, expires, own_ttl) = (job.endpoint, job.low_priority, job.expires, job.own_ttl);
        let entry = &mut self.endpoints[endpoint.index()];
        if low {
            entry.queue_low.insert(id);
        } else {
            entry.queue.insert(id);
        }
        if own_ttl {
            entry.own_ttls.insert((expires, id));
        }
        self.endpoint_deadlines.arm(endpoint.index(), expires);
    }

    /// Takes a waiting job out of whatever it waits in; false if it does not wait.
    pub(super) fn leave_queue(&mut self, id: JobId, place: Place) -> bool {
        let Some(job) = self.jobs.get_mut(id.0) else { return false };
        let from = job.place;
        let (endpoint, low, expires, own_ttl) = (job.endpoint, job.low_priority, job.expires, job.own_ttl);
        job.place = place;
        let entry = &mut self.endpoints[endpoint.index()];
        match from {
            Place::Held(_) => {
                job.place = from;
                return false;
            }
            Place::Queued if low => entry.queue_low.forget(&self.jobs),
            Place::Queued => entry.queue.forget(&self.jobs),
            Place::Bound(worker) => {
                entry.bound -= 1;
                if let Some(worker) = self.workers.get_mut(worker.0) {
                    worker.bound = None;
                }
            }
        }
        if own_ttl {
            self.endpoints[endpoint.index()].own_ttls.remove(&(expires, id));
        }
        true
    }

    fn bind(&mut self, id: JobId, worker: WorkerId) {
        let waits = self.jobs.get(id.0).is_some_and(|job| job.place == Place::Queued);
        let free = self.workers.get(worker.0).is_some_and(|worker| worker.bound.is_none());
        if waits && free && self.leave_queue(id, Place::Bound(worker)) {
            let (endpoint, expires) = self.jobs.get(id.0).map(|job| (job.endpoint, job.expires)).expect("it waits");
            let entry = &mut self.endpoints[endpoint.index()];
            entry.bound += 1;
            // A bound job is in no queue, so its TTL is always kept in the ordered set.
            entry.own_ttls.insert((expires, id));
            if let Some(job) = self.jobs.get_mut(id.0) {
                job.own_ttl = true;
            }
            self.worker_mut(worker).bound = Some(id);
        }
    }

    /// The job bound to `worker` goes back to the queue.
    pub(super) fn unbind(&mut self, worker: WorkerId) {
        let Some(job) = self.worker_mut(worker).bound else { return };
        let endpoint = self.worker(worker).endpoint;
        if self.leave_queue(job, Place::Queued) {
            self.enqueue(job);
            self.unsettle(endpoint);
        }
    }

    /// Ends a job wherever it is. A running attempt is told to stop; its place on the worker is free once it has.
    pub(super) fn cancel(&mut self, id: JobId, cause: FinishCause) {
        let Some(job) = self.jobs.get(id.0) else { return };
        match job.place {
            Place::Held(worker) => self.abort_attempt(worker, id, cause),
            Place::Queued | Place::Bound(_) => self.finish_waiting(id, JobOutcome::Cancelled, cause),
        }
    }

    pub(super) fn purge(&mut self, endpoint: EndpointId, cause: FinishCause) {
        let Some(entry) = self.endpoints.get(endpoint.index()) else { return };
        let mut waiting: Vec<JobId> =
            entry.queue.iter(&self.jobs).chain(entry.queue_low.iter(&self.jobs)).map(|job| job.id).collect();
        waiting.extend(entry.workers.iter().filter_map(|worker| self.worker(*worker).bound));
        waiting.sort_unstable();
        for id in waiting {
            self.finish_waiting(id, JobOutcome::Cancelled, cause);
        }
        self.unsettle(endpoint);
    }

    /// Records the outcome of a job that waits.
    pub(super) fn finish_waiting(&mut self, id: JobId, outcome: JobOutcome, cause: FinishCause) {
        // Any place but `Queued` will do: the record is dropped right after.
        if !self.leave_queue(id, Place::Bound(WorkerId(u64::MAX))) {
            return;
        }
        if let Some(job) = self.jobs.remove(id.0) {
            self.emit(Command::FinishJob { job: id, client_ref: job.client_ref, outcome, cause });
            if self.endpoints[job.endpoint.index()].waiting() == 0 {
                self.unsettle(job.endpoint);
            }
        }
    }

    /// Ends every waiting job whose TTL is over.
    pub(super) fn expire_jobs(&mut self, endpoint: EndpointId) {
        let now = self.now;
        loop {
            let entry = &mut self.endpoints[endpoint.index()];
            let in_order = [&mut entry.queue, &mut entry.queue_low].into_iter().find_map(|queue| {
                queue.iter(&self.jobs).find(|job| !job.own_ttl).filter(|job| job.expires <= now).map(|job| job.id)
            });
            let own = entry.own_ttls.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id);
            let Some(id) = in_order.or(own) else { return };
            self.finish_waiting(id, JobOutcome::TimedOut, FinishCause::TtlInQueue);
        }
    }

    /// When the next waiting job's TTL ends.
    pub(super) fn next_expiry(&self, endpoint: usize) -> Time {
        let entry = &self.endpoints[endpoint];
        let own = entry.own_ttls.first().map_or(Time::MAX, |(at, _)| *at);
        if entry.own_ttls.len() as u32 >= entry.waiting() {
            return own;
        }
        [&entry.queue, &entry.queue_low]
            .into_iter()
            .filter_map(|queue| queue.iter(&self.jobs).find(|job| !job.own_ttl).map(|job| job.expires))
            .fold(own, Time::min)
    }
}
