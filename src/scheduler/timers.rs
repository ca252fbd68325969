//! The scheduler's own deadlines: one per worker, one per endpoint.

use super::worker::AfterStop;
use super::{Phase, Scheduler, StopMode, WorkerReason};
use crate::policy::{AskedAt, Trigger};
use crate::units::{EndpointId, Time, WorkerId};

impl Scheduler {
    #[inline]
    pub(super) fn next_worker_deadline(&mut self) -> Option<(Time, usize)> {
        let workers = &self.workers;
        self.worker_deadlines.peek(|slot| workers.at(slot).map_or(Time::MAX, super::worker::Worker::deadline))
    }

    #[inline]
    pub(super) fn next_endpoint_deadline(&mut self) -> Option<(Time, usize)> {
        let mut deadlines = std::mem::take(&mut self.endpoint_deadlines);
        let next = deadlines.peek(|endpoint| self.endpoint_deadline(endpoint));
        self.endpoint_deadlines = deadlines;
        next
    }

    /// When something about the endpoint itself is due.
    pub(super) fn endpoint_deadline(&self, endpoint: usize) -> Time {
        let entry = &self.endpoints[endpoint];
        entry.next_tick.min(entry.next_ask).min(self.next_expiry(endpoint)).min(self.dormancy_deadline(endpoint))
    }

    /// Deals with everything that is due: workers first, so that policies see the instant settled.
    pub(super) fn deadlines_reached(&mut self) {
        let now = self.now;
        loop {
            if let Some((_, slot)) = self.next_worker_deadline().filter(|(at, _)| *at <= now) {
                let id = self.workers.at(slot).expect("only live workers have deadlines").id;
                self.worker_deadline_reached(id);
            } else if let Some((_, endpoint)) = self.next_endpoint_deadline().filter(|(at, _)| *at <= now) {
                self.endpoint_deadline_reached(EndpointId(endpoint as u32));
            } else {
                return;
            }
            self.settle();
        }
    }

    fn worker_deadline_reached(&mut self, id: WorkerId) {
        let now = self.now;
        self.time_out_attempts(id);
        let Some(worker) = self.workers.get(id.0) else { return };
        if worker.lease_deadline <= now {
            return self.worker_silent(id);
        }
        if worker.idle_deadline <= now {
            return self.idle_timeout(id);
        }
        if worker.phase_deadline <= now {
            self.phase_deadline_reached(id);
        }
    }

    fn phase_deadline_reached(&mut self, id: WorkerId) {
        let worker = self.worker_mut(id);
        worker.phase_deadline = Time::MAX;
        let after = worker.after_stop;
        match worker.phase {
            Phase::Starting => {
                self.stop(id, StopMode::Kill, AfterStop::Fail(WorkerReason::InitTimeout), WorkerReason::InitTimeout);
            }
            // No answer to the stop: ask again, harder. Stop signals must be repeated until they are seen to work.
            Phase::Stopping => self.ask_to_stop(id, StopMode::Kill, after),
            Phase::Unhealthy => self.retry_unhealthy(id),
            Phase::Throttled => self.replace_throttled(id),
            Phase::Pulling => self.ask_for_pull_again(id),
            Phase::Placing | Phase::Asleep | Phase::Frozen | Phase::Ready | Phase::Draining | Phase::Removed => {}
        }
    }

    fn endpoint_deadline_reached(&mut self, endpoint: EndpointId) {
        let now = self.now;
        self.expire_jobs(endpoint);
        self.fall_dormant(endpoint);
        let entry = &mut self.endpoints[endpoint.index()];
        let mut due = false;
        if entry.next_ask <= now {
            entry.next_ask = Time::MAX;
            due = true;
        }
        if entry.next_tick <= now {
            entry.next_tick = Time::MAX;
            due = true;
        }
        if due {
            self.ask_policy(endpoint, Trigger::Tick);
            let entry = &self.endpoints[endpoint.index()];
            let quiet = entry.waiting() == 0
                && entry.in_progress == 0
                && entry.tally.up_or_coming() <= entry.active
                && entry.tally.get(super::worker::Class::Throttled) == 0;
            if !quiet {
                self.start_ticking(endpoint);
            }
        }
    }

    /// Makes sure that a policy with a period is asked at its next tick: a whole multiple of the period, after now.
    #[inline]
    pub(super) fn start_ticking(&mut self, endpoint: EndpointId) {
        let entry = &mut self.endpoints[endpoint.index()];
        if entry.next_tick != Time::MAX {
            return;
        }
        if let AskedAt::Ticks(period) = entry.asked_at {
            entry.next_tick = Time((self.now.0 / period.0 + 1) * period.0);
            self.endpoint_deadlines.arm(endpoint.index(), entry.next_tick);
        }
    }
}
