//! Commands about workers: placement, starts, changes of phase.

use std::collections::BTreeMap;

use thermocline::scheduler::{Command, EndpointSpec, ExtraMode, Phase, WorkerKind, WorkerReason};
use thermocline::units::{EndpointId, HostId, Span, Time, WorkerId};

use super::model::{EndpointNow, JobNow, JobPlace, WorkerNow};
use super::{Checker, about, phases};

impl Checker {
    pub(super) fn judge_worker_command(&mut self, command: &Command) {
        match *command {
            Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
                self.placed(worker, endpoint, host, kind, version);
            }
            Command::StartWorker { worker, epoch, endpoint, host, version, resume } => {
                self.start(worker, epoch, (endpoint, host, version), resume);
            }
            Command::WorkerChanged { worker, phase, outdated, reason } => self.changed(worker, phase, outdated, reason),
            _ => unreachable!("only commands about workers come here"),
        }
    }

    fn placed(&mut self, id: WorkerId, endpoint: EndpointId, host: Option<HostId>, kind: WorkerKind, version: u32) {
        let now = self.model.now;
        let Some(found) = self.model.endpoint(endpoint) else {
            return self.broken(19, about!(id), format!("{id} is placed for {endpoint}, which does not exist"));
        };
        let Some(spec) = found.releases.get(&version).cloned() else {
            return self.broken(11, about!(id), format!("{id} is placed with release {version}, which does not exist"));
        };
        let (newest, deleted) = (found.version, found.deleted);
        if let Some(host) = host {
            self.must_fit(id, host, &spec, kind);
        }
        let Some(worker) = self.model.workers.get_mut(&id) else {
            if !self.model.workers_given.insert(id.sequence()) {
                self.broken(4, about!(id), format!("the id of {id} was given before"));
            }
            if version != newest || deleted {
                let text = format!("{id} begins with release {version} of {endpoint}, the newest is {newest}");
                self.broken(11, about!(id), text);
            }
            self.model.workers.insert(id, new_worker(endpoint, host, kind, version, now));
            return;
        };
        if worker.version != version {
            // A new release is a new life: its backoff begins anew.
            worker.retry_at = None;
            worker.snapshot = None;
        }
        let moved = worker.host != host;
        (worker.host, worker.kind, worker.version) = (host, kind, version);
        let (owner, busy) = (worker.endpoint, worker.holds_gpus() && worker.alive);
        if moved {
            worker.snapshot = None;
        }
        if owner != endpoint {
            self.broken(19, about!(id), format!("{id} of {owner} is placed for {endpoint}"));
        }
        if moved && busy {
            self.broken(2, about!(id), format!("{id} moves to {host:?} while it runs"));
        }
    }

    fn must_fit(&mut self, id: WorkerId, host: HostId, spec: &EndpointSpec, kind: WorkerKind) {
        let Some(found) = self.model.host(host).filter(|found| found.up) else {
            return self.broken(27, about!(id, host), format!("{id} is placed on {host}, which is lost or unknown"));
        };
        let fits = spec.gpu_classes.contains(&found.spec.gpu_class)
            && spec.gpus_per_worker <= found.spec.gpus
            && spec.memory_bytes <= found.spec.memory_bytes
            && (spec.data_centers.is_empty() || spec.data_centers.contains(&found.spec.data_center));
        let cached = found.complete.contains(&spec.image);
        if !fits {
            self.broken(2, about!(id, host), format!("{id} is placed on {host}, which does not meet its needs"));
        }
        if kind == WorkerKind::Extra && !cached && spec.extra_mode != ExtraMode::PrecacheOnly {
            self.broken(6, about!(id, host), format!("extra worker {id} on {host}, where its image is not cached"));
        }
    }

    fn start(&mut self, id: WorkerId, epoch: u32, what: (EndpointId, HostId, u32), resume: bool) {
        let Some(worker) = self.model.workers.get(&id).cloned() else {
            return self.broken(1, about!(id), format!("{id} starts but does not exist"));
        };
        let (endpoint, host, version) = what;
        if (worker.endpoint, worker.host, worker.version) != (endpoint, Some(host), version) {
            self.broken(1, about!(id), format!("{id} starts as {what:?}, it is {worker:?}"));
        }
        if worker.alive {
            self.broken(1, about!(id), format!("{id} starts while its start {} lives", worker.epoch));
        }
        if epoch <= worker.epoch {
            self.broken(29, about!(id), format!("start {epoch} of {id} follows start {}", worker.epoch));
        }
        if resume && worker.snapshot.is_none() {
            self.broken(20, about!(id), format!("{id} is to be thawed without a snapshot"));
        }
        let spec = self.model.release_of(&worker).cloned();
        let image = spec.as_ref().map(|spec| spec.image);
        let cached =
            self.model.host(host).is_some_and(|found| found.up && image.is_some_and(|i| found.complete.contains(&i)));
        if !cached {
            self.broken(20, about!(id, host), format!("{id} starts on {host} without its image there"));
        }
        if worker.kind == WorkerKind::Extra
            && spec.as_ref().is_some_and(|spec| spec.extra_mode == ExtraMode::PrecacheOnly)
        {
            self.broken(6, about!(id), format!("extra worker {id} starts, but extra workers only keep caches warm"));
        }
        self.starts_for_somebody(id, &worker);
        let runs = |one: &WorkerNow| one.holds_gpus() && !one.leaving();
        let up = self.model.workers_of(endpoint).filter(|(other, one)| **other != id && runs(one)).count() as u32;
        let max = self.model.endpoint(endpoint).map_or(0, |found| found.max);
        let replaces = spec.as_ref().is_some_and(|spec| spec.extra_mode == ExtraMode::ReplaceThrottled);
        if replaces && worker.kind == WorkerKind::Extra && worker.epoch == 0 && up >= max {
            self.broken(7, about!(id), format!("extra worker {id} starts beside {up} others, at most {max} may run"));
        }
        if let Some(worker) = self.model.workers.get_mut(&id) {
            worker.epoch = epoch;
            worker.alive = true;
            worker.open = 0;
            worker.stop = None;
            worker.refresh = false;
            worker.snapshot = None;
            worker.ready_at = None;
        }
    }

    /// Rule 17: jobs of low priority alone start nobody.
    fn starts_for_somebody(&mut self, id: WorkerId, worker: &WorkerNow) {
        let own = |job: &&JobNow| job.endpoint == worker.endpoint;
        let low_waits = self.model.jobs.values().filter(own).any(|job| job.low && job.place == JobPlace::Queued);
        let normal = self.model.jobs.values().filter(own).any(|job| !job.low || job.place != JobPlace::Queued);
        let endpoint = &self.model.endpoints[worker.endpoint.index()];
        let runs = |one: &WorkerNow| one.holds_gpus() && !one.leaving();
        let up = self.model.workers_of(worker.endpoint).filter(|(other, one)| **other != id && runs(one)).count();
        // A start that was wanted before, and waited for its image or for room, is not called off.
        let decided_now = matches!(worker.came_from, Some(Phase::Asleep | Phase::Frozen | Phase::Unhealthy));
        let own_accord = !decided_now
            || EndpointNow::wants_of_its_own(&endpoint.spec)
            || up < endpoint.active as usize
            || matches!(worker.kind, WorkerKind::Active)
            || worker.reason == Some(WorkerReason::Refresh);
        if low_waits && !normal && !own_accord {
            self.broken(
                17,
                about!(id, worker.endpoint),
                format!("{id} starts ({:?}) for jobs of low priority alone", worker.reason),
            );
        }
    }

    fn changed(&mut self, id: WorkerId, to: Phase, outdated: bool, reason: WorkerReason) {
        let Some(before) = self.model.workers.get(&id).cloned() else {
            return self.broken(1, about!(id), format!("{id} changes to {to:?} but does not exist"));
        };
        let allowed = before.phase.map_or(phases::first(to) || to == Phase::Removed, |from| phases::legal(from, to));
        if !allowed {
            self.broken(1, about!(id), format!("{id} goes from {:?} to {to:?} ({reason})", before.phase));
        }
        if before.phase != Some(to) {
            self.left_phase(id, &before, to, reason);
        }
        let now = self.model.now;
        let Some(worker) = self.model.workers.get_mut(&id) else { return };
        if before.phase != Some(to) {
            worker.since = now;
            worker.came_from = before.phase;
            let limit = self.model.endpoints[worker.endpoint.index()].spec.init_timeout;
            worker.ready_until = now + limit;
            let leaves = matches!(to, Phase::Draining | Phase::Stopping);
            worker.surplus = leaves && (reason != WorkerReason::Outdated || before.surplus);
        }
        (worker.phase, worker.outdated, worker.reason) = (Some(to), outdated, Some(reason));
        if to != Phase::Ready {
            worker.open = 0;
            let healthy = before.ready_at.filter(|_| before.is(Phase::Ready)).map(|ready| now.since(ready));
            let reset_after = self.model.endpoints[worker.endpoint.index()].spec.backoff.reset_after;
            if healthy.is_some_and(|healthy| healthy >= reset_after) {
                worker.failures = 0;
            }
        }
        if to == Phase::Ready && before.is(Phase::Starting) {
            (worker.ready_at, worker.idle_since, worker.last_heard) = (Some(now), now, now);
        }
        if to == Phase::Unhealthy && !before.is(Phase::Unhealthy) {
            self.failed(id);
        }
    }

    /// The worker enters another phase: was it time?
    fn left_phase(&mut self, id: WorkerId, before: &WorkerNow, to: Phase, reason: WorkerReason) {
        let now = self.model.now;
        if matches!(to, Phase::Stopping | Phase::Draining) {
            self.may_leave(id, before, to, reason);
        }
        let tries = matches!(to, Phase::Starting | Phase::Throttled | Phase::Pulling | Phase::Placing);
        let host_up = before.host.and_then(|host| self.model.host(host)).is_none_or(|host| host.up);
        if before.is(Phase::Unhealthy) && tries && host_up && before.retry_at.is_some_and(|at| now < at) {
            let at = before.retry_at.unwrap_or(now);
            self.broken(18, about!(id), format!("{id} is tried again at {now} s, its backoff ends at {at} s"));
        }
        if to != Phase::Removed {
            return;
        }
        if !before.jobs.is_empty() || (before.alive && host_up) {
            self.broken(4, about!(id), format!("{id} is removed, alive {}, with {:?}", before.alive, before.jobs));
        }
        let limit = self.model.endpoint(before.endpoint).map(|found| found.spec.backoff.give_up_after);
        let next = before.retry_at.unwrap_or(now).since(before.first_failure);
        if reason == WorkerReason::GaveUp && limit.is_none_or(|limit| next <= limit) {
            self.broken(18, about!(id), format!("{id} is given up, its failures began at {} s", before.first_failure));
        }
    }

    /// Rules 8, 9 and 11 at the moment when a worker is sent away.
    fn may_leave(&mut self, id: WorkerId, before: &WorkerNow, to: Phase, reason: WorkerReason) {
        let now = self.model.now;
        let Some(endpoint) = self.model.endpoint(before.endpoint).cloned() else { return };
        let idle_for = now.since(before.idle_since);
        if reason == WorkerReason::IdleTimeout {
            let shortest = shortest_timeout(&endpoint);
            if before.in_hand() > 0 || before.kind == WorkerKind::Active {
                self.broken(9, about!(id), format!("{id} ({:?}) idles out with {:?}", before.kind, before.jobs));
            }
            if shortest.is_some_and(|shortest| idle_for < shortest) {
                self.broken(9, about!(id), format!("{id} idles out after {idle_for}, its timeout is {shortest:?}"));
            }
        }
        let up = |worker: &WorkerNow| {
            matches!(
                worker.phase,
                Some(Phase::Ready | Phase::Starting | Phase::Throttled | Phase::Placing | Phase::Pulling)
            )
        };
        let others =
            self.model.workers_of(before.endpoint).filter(|(other, worker)| **other != id && up(worker)).count();
        if matches!(reason, WorkerReason::IdleTimeout | WorkerReason::ScaleDown) && (others as u32) < endpoint.active {
            let active = endpoint.active;
            self.broken(8, about!(id), format!("{id} leaves {others} workers behind, {active} are always on"));
        }
        if to == Phase::Stopping && reason == WorkerReason::Outdated && !before.jobs.is_empty() {
            self.broken(11, about!(id), format!("outdated {id} is stopped with {:?}", before.jobs));
        }
    }

    /// One more failure of a worker: when may it be tried again?
    fn failed(&mut self, id: WorkerId) {
        let now = self.model.now;
        let Some(worker) = self.model.workers.get_mut(&id) else { return };
        let backoff = self.model.endpoints[worker.endpoint.index()].spec.backoff;
        if worker.failures == 0 {
            worker.first_failure = now;
        }
        worker.failures += 1;
        let mut delay = backoff.base;
        for _ in 1..worker.failures {
            let next = (delay.0 as f64 * backoff.factor).min(backoff.cap.0 as f64);
            delay = Span(next as u64);
        }
        worker.retry_at = Some(now + delay.min(backoff.cap));
    }
}

/// The shortest idle timeout that may apply; `None` when the settings do not tell.
fn shortest_timeout(endpoint: &EndpointNow) -> Option<Span> {
    EndpointNow::fixed_idle_timeout(&endpoint.spec)?;
    endpoint.idle_timeouts.iter().map(|timeout| timeout.unwrap_or(Span::MAX)).min()
}

fn new_worker(endpoint: EndpointId, host: Option<HostId>, kind: WorkerKind, version: u32, now: Time) -> WorkerNow {
    WorkerNow {
        endpoint,
        host,
        kind,
        version,
        phase: None,
        came_from: None,
        ready_until: Time::MAX,
        since: now,
        outdated: false,
        reason: None,
        epoch: 0,
        alive: false,
        jobs: BTreeMap::new(),
        stopping: BTreeMap::new(),
        open: 0,
        idle_since: now,
        ready_at: None,
        stop: None,
        surplus: false,
        refresh: false,
        failures: 0,
        first_failure: now,
        retry_at: None,
        last_heard: now,
        snapshot: None,
    }
}
