//! One worker up and down: wake, start, ready, drain, stop, gone.

use super::worker::{AfterStop, Class};
use super::{Command, ExitCause, Phase, RequeueCause, Scheduler, Slots, StopMode, WorkerKind, WorkerReason};
use crate::policy::{AskedAt, IdleEnd, Trigger};
use crate::units::{HostId, Span, Time, WorkerId};

/// An unanswered stop is repeated, as a kill, after this long: the SDK's grace of 30 s and as much again.
pub const STOP_ANSWER_TIMEOUT: Span = Span::from_whole_secs(60);

impl Scheduler {
    /// The one place where a worker changes its phase: counts, GPUs, availability, timers and the notice follow from it.
    pub(super) fn set_phase(&mut self, id: WorkerId, phase: Phase, reason: WorkerReason) {
        let now = self.now;
        let worker = self.workers.get_mut(id.0).expect("called for a live worker");
        let entry = &mut self.endpoints[worker.endpoint.index()];
        let from = worker.phase;
        let before = worker.class();
        if from == Phase::Ready
            && phase != Phase::Ready
            && now.since(worker.ready_since) >= entry.spec.backoff.reset_after
        {
            worker.failures = 0;
        }
        if entry.keep_alive_learns && before == Class::Idle && phase != Phase::Ready {
            let end = if reason == WorkerReason::IdleTimeout { IdleEnd::TimedOut } else { IdleEnd::Stopped };
            let view = worker.view(entry.flex_price);
            entry.policies.keep_alive.idle_ended(now, &view, now.since(worker.last_used), end);
        }
        worker.phase = phase;
        worker.since = now;
        worker.reason = reason;
        worker.phase_deadline = Time::MAX;
        if !matches!(phase, Phase::Ready) {
            worker.idle_deadline = Time::MAX;
            worker.open_takes = 0;
            if let Some(key) = worker.available.take() {
                entry.remove_available(key, id);
            }
        }
        if !matches!(phase, Phase::Ready | Phase::Draining) {
            worker.lease_deadline = Time::MAX;
        }
        let after = worker.class();
        entry.tally.shift(before, after);
        let (outdated, host, gpus) = (worker.outdated, worker.host, worker.gpus);
        if let Some(host) = host {
            let place = &mut self.hosts[host.index()];
            match (from.holds_gpus(), phase.holds_gpus()) {
                (false, true) => place.used_gpus += gpus,
                (true, false) => {
                    place.used_gpus -= gpus;
                    self.freed.push_back(host);
                }
                _ => {}
            }
            if from == Phase::Throttled {
                self.hosts[host.index()].waiting.retain(|other| *other != id);
                // Whoever waits behind it may need less room.
                self.freed.push_back(host);
            }
        }
        self.emit(Command::WorkerChanged { worker: id, phase, outdated, reason });
    }

    fn arm_phase_deadline(&mut self, id: WorkerId, span: Span) {
        let at = self.now + span;
        self.worker_mut(id).phase_deadline = at;
        self.worker_deadlines.arm(id.slot(), at);
    }

    /// Sets the phase together with its time limit.
    pub(super) fn set_phase_for(&mut self, id: WorkerId, phase: Phase, reason: WorkerReason, limit: Span) {
        self.set_phase(id, phase, reason);
        self.arm_phase_deadline(id, limit);
    }

    /// The worker is to be up: starts it now if its image and GPUs are there, otherwise as soon as they are.
    pub(super) fn wake(&mut self, id: WorkerId, cause: WorkerReason) {
        let worker = self.worker_mut(id);
        let endpoint = worker.endpoint;
        let before = worker.class();
        worker.wanted = true;
        worker.cause = cause;
        let after = worker.class();
        self.endpoints[endpoint.index()].tally.shift(before, after);
        self.tell_needed(endpoint);
        match self.worker(id).phase {
            Phase::Asleep | Phase::Frozen => {
                self.try_start(id);
                self.tell_needed(endpoint);
            }
            // It is fetching its image or looking for a host already, and will go on from there.
            Phase::Pulling | Phase::Placing => {
                let worker = self.worker(id);
                let notice = Command::WorkerChanged {
                    worker: id,
                    phase: worker.phase,
                    outdated: worker.outdated,
                    reason: cause,
                };
                self.emit(notice);
            }
            _ => {}
        }
    }

    /// Starts a placed worker whose image is complete, or makes it wait for GPUs.
    pub(super) fn try_start(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let host = worker.host.expect("a worker with its image has a host");
        if self.hosts[host.index()].free_gpus() >= worker.gpus {
            self.start(id);
        } else {
            self.make_room(id, host);
            self.throttle(id);
        }
    }

    /// Idle workers whose keep-alive policy lets them make room leave, least worthy first, if that is enough for `id`.
    fn make_room(&mut self, id: WorkerId, host: HostId) {
        let place = &self.hosts[host.index()];
        let missing = self.worker(id).gpus.saturating_sub(place.free_gpus());
        if place.workers.len() < 2 || !place.waiting.is_empty() {
            return;
        }
        let mut idle: Vec<(f64, WorkerId, u32)> = Vec::new();
        for other in &place.workers {
            let worker = self.worker(*other);
            let entry = &self.endpoints[worker.endpoint.index()];
            let floor = entry.active.max(entry.policies.scaling.floor().min(entry.max));
            if worker.class() != Class::Idle || worker.kind == WorkerKind::Active || entry.tally.up_or_coming() <= floor
            {
                continue;
            }
            if let Some(worth) = entry.policies.keep_alive.worth(&worker.view(entry.flex_price)) {
                idle.push((worth, *other, worker.gpus));
            }
        }
        idle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut freed = 0;
        let enough = idle.iter().position(|(_, _, gpus)| {
            freed += gpus;
            freed >= missing
        });
        let Some(last) = enough else { return };
        for (worth, victim, _) in idle.into_iter().take(last + 1) {
            self.put_to_sleep(victim, WorkerReason::MadeRoom);
            for entry in &mut self.endpoints {
                entry.policies.keep_alive.made_room(worth);
            }
        }
    }

    pub(super) fn start(&mut self, id: WorkerId) {
        let now = self.now;
        let worker = self.worker_mut(id);
        let host = worker.host.expect("a worker that starts has a host");
        let (endpoint, image, cause, resume) = (worker.endpoint, worker.image, worker.cause, worker.frozen);
        worker.wanted = true;
        worker.epoch += 1;
        worker.started = now;
        worker.frozen = false;
        let (epoch, version) = (worker.epoch, worker.version);
        self.hosts[host.index()].touch(image, now);
        let limit = self.endpoints[endpoint.index()].spec.init_timeout;
        self.set_phase_for(id, Phase::Starting, cause, limit);
        self.emit(Command::StartWorker { worker: id, epoch, endpoint, host, version, resume });
        // A restart (refresh, backoff) may come when nothing else keeps the policy's tick going.
        self.start_ticking(endpoint);
    }

    pub(super) fn worker_ready(&mut self, id: WorkerId, epoch: u32) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(id.0).filter(|worker| worker.is_current(epoch)) else { return };
        if worker.phase != Phase::Starting {
            return;
        }
        worker.ready_since = now;
        worker.last_used = now;
        let (endpoint, version, started) = (worker.endpoint, worker.version, worker.started);
        let entry = &mut self.endpoints[endpoint.index()];
        // What is ready at the beginning of time was there before: nobody has seen how long it took.
        if now > Time::ZERO {
            entry.note_start(now.since(started));
        }
        entry.consecutive_failures = 0;
        if version == entry.version {
            entry.previous = None;
            entry.release_failures = 0;
        }
        self.set_phase(id, Phase::Ready, WorkerReason::WaitingForJobs);
        self.settle_replacement(id);
        self.refresh_available(id);
        self.dispatch(endpoint);
        self.start_idle_timer(id);
        if self.endpoints[endpoint.index()].asked_at == AskedAt::Events {
            self.ask_policy(endpoint, Trigger::WorkerReady);
        }
    }

    /// `refresh_worker`: no further jobs, then a fresh start in the same slot.
    pub(super) fn refresh_worker(&mut self, id: WorkerId) {
        self.worker_mut(id).cause = WorkerReason::Refresh;
        self.drain(id, AfterStop::Restart, WorkerReason::Refresh);
    }

    /// Lets the worker finish the jobs in hand and then stops it; at once if it has none.
    pub(super) fn drain(&mut self, id: WorkerId, after: AfterStop, reason: WorkerReason) {
        let worker = self.worker_mut(id);
        if worker.phase == Phase::Stopping {
            worker.after_stop = stronger(worker.after_stop, after);
        } else if worker.held.is_empty() {
            self.stop(id, StopMode::Sleep, after, reason);
        } else if worker.phase == Phase::Draining {
            worker.after_stop = stronger(worker.after_stop, after);
        } else {
            worker.after_stop = after;
            self.set_phase(id, Phase::Draining, reason);
        }
    }

    pub(super) fn stop_drained(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        self.stop(id, StopMode::Sleep, worker.after_stop, worker.reason);
    }

    /// Stops the worker whatever it does. Jobs in hand are lost to it (only `Kill` is ever used with any).
    pub(super) fn stop(&mut self, id: WorkerId, mode: StopMode, after: AfterStop, reason: WorkerReason) {
        let phase = self.worker(id).phase;
        match phase {
            Phase::Placing | Phase::Pulling | Phase::Asleep | Phase::Frozen | Phase::Throttled | Phase::Unhealthy => {
                self.worker_mut(id).reason = reason;
                self.stop_complete(id, after, false);
            }
            Phase::Starting | Phase::Ready | Phase::Draining => {
                self.unbind(id);
                self.worker_mut(id).wanted = false;
                self.worker_mut(id).after_stop = after;
                self.set_phase(id, Phase::Stopping, reason);
                self.lose_all(id, RequeueCause::WorkerKilled);
                self.ask_to_stop(id, mode, after);
            }
            Phase::Stopping => {
                let worker = self.worker_mut(id);
                worker.after_stop = stronger(worker.after_stop, after);
            }
            Phase::Removed => {}
        }
    }

    /// Sends the stop (again).
    pub(super) fn ask_to_stop(&mut self, id: WorkerId, mode: StopMode, after: AfterStop) {
        let worker = self.worker_mut(id);
        worker.after_stop = after;
        let epoch = worker.epoch;
        self.arm_phase_deadline(id, STOP_ANSWER_TIMEOUT);
        self.emit(Command::StopWorker { worker: id, epoch, mode });
    }

    pub(super) fn worker_stopped(&mut self, id: WorkerId, epoch: u32, frozen: bool) {
        let Some(worker) = self.workers.get(id.0).filter(|worker| worker.is_current(epoch)) else { return };
        match worker.phase {
            Phase::Stopping => {
                let (endpoint, after, length) = (worker.endpoint, worker.after_stop, self.now.since(worker.since));
                // A worker that failed is killed: that says nothing about how long others take.
                if !matches!(after, AfterStop::Fail(_)) {
                    self.endpoints[endpoint.index()].note_stop(length);
                }
                self.stop_complete(id, after, frozen);
            }
            // Nobody asked, but gone is gone: a worker that is taken for up would get jobs.
            _ => self.worker_exited(id, epoch, ExitCause::Left),
        }
    }

    /// Nothing runs any more in the worker's slot: what becomes of it.
    pub(super) fn stop_complete(&mut self, id: WorkerId, after: AfterStop, frozen: bool) {
        self.unbind(id);
        let worker = self.worker(id);
        let (endpoint, kind, reason) = (worker.endpoint, worker.kind, worker.reason);
        let on_demand = self.endpoints[endpoint.index()].spec.slots == Slots::OnDemand;
        match after {
            AfterStop::Sleep if kind == WorkerKind::Extra || (on_demand && kind != WorkerKind::Active) => {
                self.remove(id, reason);
            }
            AfterStop::Sleep => self.lay_to_rest(id, frozen, reason),
            AfterStop::Restart => {
                self.worker_mut(id).cause = WorkerReason::Refresh;
                self.set_phase(id, Phase::Asleep, WorkerReason::Refresh);
                self.try_start(id);
            }
            AfterStop::Replace => self.replace_outdated(id),
            AfterStop::Remove => self.remove(id, reason),
            AfterStop::Fail(cause) => self.fail(id, cause),
        }
        self.unsettle(endpoint);
    }

    /// The slot sleeps: on a host that holds the image it is asleep or frozen, elsewhere it goes on fetching unwanted.
    fn lay_to_rest(&mut self, id: WorkerId, frozen: bool, reason: WorkerReason) {
        let worker = self.worker_mut(id);
        let before = worker.class();
        let keeps_snapshot = frozen || (worker.frozen && worker.phase == Phase::Throttled);
        worker.frozen = keeps_snapshot;
        worker.wanted = false;
        let (endpoint, phase, after) = (worker.endpoint, worker.phase, worker.class());
        self.endpoints[endpoint.index()].tally.shift(before, after);
        match phase {
            Phase::Placing | Phase::Pulling => {
                let outdated = self.worker(id).outdated;
                self.emit(Command::WorkerChanged { worker: id, phase, outdated, reason });
            }
            _ => self.set_phase(id, if keeps_snapshot { Phase::Frozen } else { Phase::Asleep }, reason),
        }
        self.settle_replacement(id);
    }

    pub(super) fn snapshot_lost(&mut self, id: WorkerId, epoch: u32) {
        let Some(worker) = self.workers.get_mut(id.0).filter(|worker| worker.epoch == epoch && worker.frozen) else {
            return;
        };
        worker.frozen = false;
        if worker.phase == Phase::Frozen {
            self.set_phase(id, Phase::Asleep, WorkerReason::SnapshotLost);
        }
    }

    /// The worker is gone for good, with everything it held.
    pub(super) fn remove(&mut self, id: WorkerId, reason: WorkerReason) {
        self.unbind(id);
        let cause = if reason == WorkerReason::HostLost { RequeueCause::HostLost } else { RequeueCause::WorkerKilled };
        self.lose_all(id, cause);
        self.set_phase(id, Phase::Removed, reason);
        self.leave_host(id);
        let Some(worker) = self.workers.remove(id.0) else { return };
        let entry = &mut self.endpoints[worker.endpoint.index()];
        entry.tally.remove(worker.class());
        entry.workers.retain(|other| *other != id);
        entry.extras -= u32::from(worker.kind == WorkerKind::Extra);
        entry.replacing -= u32::from(worker.replacing);
        self.unsettle(worker.endpoint);
    }
}

/// Of two things that are to become of a stopping worker, the one that leaves less of it.
fn stronger(a: AfterStop, b: AfterStop) -> AfterStop {
    let rank = |after: AfterStop| match after {
        AfterStop::Sleep => 0,
        AfterStop::Restart => 1,
        AfterStop::Fail(_) => 2,
        AfterStop::Replace => 3,
        AfterStop::Remove => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}
