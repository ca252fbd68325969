//! Job to worker: who has a free place, who is best, and the hand-out.

use super::job::Place;
use super::worker::{Class, Held};
use super::{Command, Phase, PickUp, Scheduler, TtlRunning};
use crate::policy::{AskedAt, IdleEnd, IdleStart, Trigger};
use crate::units::{EndpointId, JobId, Time, WorkerId};

impl Scheduler {
    /// Brings waiting jobs and free places together until one side is empty. A waiting job goes to the first worker that becomes
    /// free (late binding); jobs of low priority only when none of normal priority waits.
    pub(super) fn dispatch(&mut self, endpoint: EndpointId) {
        let mut handed_out = false;
        while self.dispatch_one(endpoint) {
            handed_out = true;
        }
        let entry = &self.endpoints[endpoint.index()];
        if handed_out && entry.waiting_normal() == 0 && entry.tally.get(Class::Throttled) > 0 {
            self.unsettle(endpoint);
        }
    }

    /// Hands out the next waiting job; false when none waits or nobody is free.
    fn dispatch_one(&mut self, endpoint: EndpointId) -> bool {
        let entry = &mut self.endpoints[endpoint.index()];
        let Some(&(_, best)) = entry.available.front() else { return false };
        let low = entry.queue.len() == 0;
        let queue = if low { &mut entry.queue_low } else { &mut entry.queue };
        let Some(id) = queue.front(&self.jobs) else { return false };
        let worker = self.avoiding_last_worker(endpoint, id, best);
        let entry = &mut self.endpoints[endpoint.index()];
        if low {
            entry.queue_low.pop_front();
        } else {
            entry.queue.pop_front();
        }
        if let Some(job) = self.jobs.get(id.0).filter(|job| job.own_ttl) {
            entry.own_ttls.remove(&(job.expires, id));
        }
        self.assign(worker, id);
        true
    }

    /// A job that lost its worker goes to another one where there is a choice (contract §3.4).
    fn avoiding_last_worker(&self, endpoint: EndpointId, id: JobId, best: WorkerId) -> WorkerId {
        match self.jobs.get(id.0) {
            Some(job) if job.losses > 0 && job.last_worker == Some(best) => {
                self.endpoints[endpoint.index()].available.get(1).map_or(best, |(_, second)| *second)
            }
            _ => best,
        }
    }

    /// Hands the job to the worker, which must have a free place.
    pub(super) fn assign(&mut self, worker_id: WorkerId, id: JobId) {
        let now = self.now;
        let job = self.jobs.get_mut(id.0).expect("a job that is handed out is alive");
        job.place = Place::Held(worker_id);
        job.attempt += 1;
        job.last_worker = Some(worker_id);
        let worker = self.workers.get_mut(worker_id.0).expect("an available worker is alive");
        let entry = &mut self.endpoints[job.endpoint.index()];
        let mut deadline = now + job.execution_timeout;
        if entry.spec.ttl_running == TtlRunning::TimedOut {
            deadline = deadline.min(job.expires);
        }
        let before = worker.class();
        if entry.keep_alive_learns && before == Class::Idle {
            let view = worker.view(entry.flex_price);
            entry.policies.keep_alive.idle_ended(now, &view, now.since(worker.last_used), IdleEnd::Job);
        }
        worker.held.push(Held { job: id, attempt: job.attempt, started: now, deadline, stopping: false });
        entry.tally.shift(before, worker.class());
        entry.in_progress += 1;
        if entry.keep_alive_learns {
            entry.policies.keep_alive.needed(now, entry.needed());
        }
        worker.idle_deadline = Time::MAX;
        worker.last_used = now;
        worker.open_takes = worker.open_takes.saturating_sub(1);
        if let Some(lease) = entry.spec.lease {
            worker.lease_deadline = now + lease;
            deadline = deadline.min(worker.lease_deadline);
        }
        self.worker_deadlines.arm(worker_id.slot(), deadline);
        let command = Command::AssignJob {
            job: id,
            client_ref: job.client_ref,
            worker: worker_id,
            epoch: worker.epoch,
            attempt: job.attempt,
        };
        self.commands.push_back(command);
        self.refresh_available(worker_id);
    }

    /// Puts the worker among the available ones, takes it out, or moves it, as its state now demands. A worker with a bound job
    /// (early binding) gets that one at once instead.
    pub(super) fn refresh_available(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(id.0).expect("called for a live worker");
        let entry = &mut self.endpoints[worker.endpoint.index()];
        let free = worker.phase == Phase::Ready
            && worker.in_hand() < entry.spec.concurrency
            && (entry.spec.pick_up == PickUp::Push || worker.open_takes > 0);
        if free && worker.bound.is_some() {
            return self.assign_bound(id);
        }
        let key = free.then(|| {
            let kind = worker.kind as u8 | u8::from(worker.outdated) << 2;
            (kind, entry.policies.dispatch.key(&worker.view(entry.flex_price)))
        });
        if key == worker.available {
            return;
        }
        if let Some(old) = worker.available.take() {
            entry.remove_available(old, id);
        }
        if let Some(key) = key {
            worker.available = Some(key);
            entry.insert_available(key, id);
        }
    }

    fn assign_bound(&mut self, id: WorkerId) {
        if let Some(job) = self.worker(id).bound
            && self.leave_queue(job, Place::Bound(id))
        {
            self.assign(id, job);
        }
    }

    /// The worker will accept `slots` more jobs now.
    pub(super) fn take_opened(&mut self, id: WorkerId, epoch: u32, slots: u32) {
        let Some(worker) = self.workers.get_mut(id.0).filter(|worker| worker.is_current(epoch)) else { return };
        if worker.open_takes == slots {
            return;
        }
        worker.open_takes = slots;
        let endpoint = worker.endpoint;
        self.refresh_available(id);
        self.dispatch(endpoint);
    }

    /// A place on the worker is free again: next job, or idle, or on with whatever waited for the jobs to end.
    pub(super) fn place_freed(&mut self, id: WorkerId, refresh: bool) {
        let now = self.now;
        let worker = self.workers.get_mut(id.0).expect("called for a live worker");
        worker.last_used = now;
        let (endpoint, phase, empty) = (worker.endpoint, worker.phase, worker.held.is_empty());
        if empty {
            worker.lease_deadline = Time::MAX;
        }
        if phase == Phase::Draining {
            if empty {
                self.stop_drained(id);
            }
            return;
        }
        if refresh {
            return self.refresh_worker(id);
        }
        self.refresh_available(id);
        self.dispatch(endpoint);
        if empty && self.worker(id).held.is_empty() {
            self.start_idle_timer(id);
        }
        if self.endpoints[endpoint.index()].asked_at == AskedAt::Events {
            self.ask_policy(endpoint, Trigger::JobEnded);
        }
    }

    /// Tells a keep-alive policy that learns how many workers are needed now.
    pub(super) fn tell_needed(&mut self, endpoint: EndpointId) {
        let entry = &mut self.endpoints[endpoint.index()];
        if entry.keep_alive_learns {
            let needed = entry.needed();
            entry.policies.keep_alive.needed(self.now, needed);
        }
    }

    /// Starts the idle timer of a worker without a job.
    pub(super) fn start_idle_timer(&mut self, id: WorkerId) {
        let now = self.now;
        let worker = self.workers.get_mut(id.0).expect("called for a live worker");
        let entry = &mut self.endpoints[worker.endpoint.index()];
        worker.idle_deadline = Time::MAX;
        if entry.keep_alive_learns {
            entry.policies.keep_alive.needed(now, entry.needed());
        }
        if worker.phase != Phase::Ready
            || !worker.held.is_empty()
            || worker.kind == super::WorkerKind::Active
            || !entry.uses_idle_timeout
        {
            return;
        }
        let ordinal = entry.idle_ordinal;
        entry.idle_ordinal += 1;
        let rank = entry.needed() + 1;
        let idle = IdleStart {
            now,
            worker: &worker.view(entry.flex_price),
            ordinal,
            rank,
            mean_start: entry.mean_start,
            mean_stop: entry.mean_stop,
            flex_price: entry.flex_price,
            active_price: entry.active_price,
        };
        let faults =
            |policies: &super::endpoint::Policies| policies.keep_alive.faults().map_or(0, |faults| faults.count);
        let before = faults(&entry.policies);
        if let Some(timeout) = entry.policies.keep_alive.idle_timeout(&idle) {
            worker.idle_deadline = now + timeout;
            self.worker_deadlines.arm(id.slot(), worker.idle_deadline);
        }
        let (failed, endpoint) = (faults(&entry.policies) > before, worker.endpoint);
        if failed {
            self.tell_policy_fault(endpoint, None);
        }
    }
}
