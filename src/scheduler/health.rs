//! Failures: exits, silence, start limits, and the exponential backoff of unhealthy workers.

use super::worker::AfterStop;
use super::{ExitCause, Phase, RequeueCause, Scheduler, StopMode, WorkerReason};
use crate::policy::Trigger;
use crate::units::{Span, WorkerId};

impl Scheduler {
    pub(super) fn worker_exited(&mut self, id: WorkerId, epoch: u32, cause: ExitCause) {
        let Some(worker) = self.workers.get(id.0).filter(|worker| worker.is_current(epoch)) else { return };
        let (phase, after, endpoint) = (worker.phase, worker.after_stop, worker.endpoint);
        let (reason, requeue) = match cause {
            ExitCause::StartFailed => (WorkerReason::StartFailed, RequeueCause::WorkerCrashed),
            ExitCause::Crashed => (WorkerReason::Crashed, RequeueCause::WorkerCrashed),
            ExitCause::Unfit => (WorkerReason::Unfit, RequeueCause::WorkerCrashed),
            ExitCause::Left => (WorkerReason::Left, RequeueCause::WorkerLeft),
            ExitCause::Silent => (WorkerReason::Silent, RequeueCause::WorkerSilent),
        };
        self.lose_all(id, requeue);
        match phase {
            // It was on its way out anyway.
            Phase::Stopping | Phase::Draining => self.stop_complete(id, after, false),
            // A start that ends with exit code 0 never served: as bad as any other, or it would be started for ever.
            _ if cause == ExitCause::Left && phase != Phase::Starting => {
                self.worker_mut(id).reason = reason;
                self.stop_complete(id, AfterStop::Sleep, false);
            }
            _ => self.fail(id, reason),
        }
        self.unsettle(endpoint);
    }

    /// Nothing heard for a lease: its jobs go to others at once, it is killed, and its start is fenced.
    pub(super) fn worker_silent(&mut self, id: WorkerId) {
        self.lose_all(id, RequeueCause::WorkerSilent);
        self.stop(id, StopMode::Kill, AfterStop::Fail(WorkerReason::Silent), WorkerReason::Silent);
    }

    /// The worker is unhealthy: it is tried again after its backoff, or given up when its series of failures is too old.
    pub(super) fn fail(&mut self, id: WorkerId, reason: WorkerReason) {
        let now = self.now;
        self.unbind(id);
        let worker = self.worker(id);
        let (endpoint, version, phase) = (worker.endpoint, worker.version, worker.phase);
        let entry = &mut self.endpoints[endpoint.index()];
        let in_start = phase == Phase::Starting || matches!(reason, WorkerReason::InitTimeout);
        if in_start {
            entry.consecutive_failures += 1;
        }
        let backoff = entry.spec.backoff;
        let release_fails = in_start && version == entry.version && entry.previous.is_some();
        if release_fails {
            entry.release_failures += 1;
        }
        self.set_phase(id, Phase::Unhealthy, reason);
        let worker = self.worker_mut(id);
        // Leaving `Ready` after a long enough healthy time has ended the series.
        worker.failures += 1;
        if worker.failures == 1 {
            worker.first_failure = now;
        }
        worker.wanted = false;
        let delay = backoff_delay(backoff.base, backoff.factor, backoff.cap, worker.failures);
        let retry_at = now + delay;
        if retry_at.since(worker.first_failure) > backoff.give_up_after {
            self.endpoints[endpoint.index()].gave_up += 1;
            return self.remove(id, WorkerReason::GaveUp);
        }
        self.worker_mut(id).phase_deadline = retry_at;
        self.worker_deadlines.arm(id.slot(), retry_at);
        self.unsettle(endpoint);
        let entry = &self.endpoints[endpoint.index()];
        if release_fails && reached(entry.release_failures, Some(entry.spec.rollout.rollback_after_failures)) {
            self.roll_back(endpoint);
        } else if reached(entry.consecutive_failures, entry.spec.suspend_after_failures) {
            self.suspend(endpoint);
        }
    }

    /// The backoff is over: up again if there is use for it, otherwise asleep until there is.
    pub(super) fn retry_unhealthy(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let (endpoint, reason) = (worker.endpoint, worker.reason);
        let entry = &self.endpoints[endpoint.index()];
        let up = entry.tally.wanted();
        let always_on = worker.kind == super::WorkerKind::Active;
        let needed = always_on || up < entry.active.min(entry.max) || (entry.waiting_normal() > 0 && up < entry.max);
        let never_up =
            worker.kind == super::WorkerKind::Extra && entry.spec.extra_mode == super::ExtraMode::PrecacheOnly;
        let needed = needed && !never_up;
        self.worker_mut(id).cause = reason;
        if needed {
            let worker = self.worker_mut(id);
            worker.wanted = true;
            return self.fetch_and_start(id);
        }
        let host = self.worker(id).host.map(|host| host.index());
        let image = self.worker(id).image;
        if host.is_some_and(|host| self.hosts[host].has(image)) {
            self.set_phase(id, Phase::Asleep, WorkerReason::NoDemand);
        } else {
            self.fetch_and_start(id);
        }
        self.ask_policy(endpoint, Trigger::WorkerGone);
    }
}

fn reached(count: u32, limit: Option<u32>) -> bool {
    limit.is_some_and(|limit| limit > 0 && count >= limit)
}

/// `base * factor^(failures - 1)`, at most `cap`. Plain multiplication: exact for the default factor 2.
fn backoff_delay(base: Span, factor: f64, cap: Span, failures: u32) -> Span {
    let mut delay = base.0 as f64;
    for _ in 1..failures.min(1_000) {
        delay *= factor;
        if delay >= cap.0 as f64 {
            break;
        }
    }
    Span(delay as u64).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let secs = |n| Span::from_whole_secs(n);
        let series: Vec<u64> = (1..=7).map(|n| backoff_delay(secs(10), 2.0, secs(300), n).ceil_secs()).collect();
        assert_eq!(series, [10, 20, 40, 80, 160, 300, 300]);
        let documented: Vec<u64> =
            (1..=7).map(|n| backoff_delay(secs(3_600), 2.0, Span::MAX, n).ceil_secs() / 3_600).collect();
        assert_eq!(documented, [1, 2, 4, 8, 16, 32, 64]);
    }
}
