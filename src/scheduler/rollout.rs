//! Releases: outdated workers are replaced a batch at a time; a release that does not come up is rolled back.
//!
//! Batch = `ceil(batch_percent of max)`, at least one. A worker is in the batch from the moment it is told to go until the worker
//! that takes its place is ready (or placed and asleep, where nobody is wanted). Idle ones go before busy ones; a busy one finishes
//! its jobs. Outdated workers outside the batch go on serving, but only when no current one is free (contract §8).

use super::worker::{AfterStop, Class};
use super::{Command, EndpointSpec, Phase, ReleaseStatus, Scheduler, Slots, StopMode, WorkerKind, WorkerReason};
use crate::units::{EndpointId, WorkerId};

impl Scheduler {
    /// `spec` becomes the current release; `fallback` is what to go back to if it does not come up.
    pub(super) fn begin_release(&mut self, endpoint: EndpointId, fallback: Option<(Box<EndpointSpec>, u32)>) {
        let entry = &mut self.endpoints[endpoint.index()];
        entry.version += 1;
        entry.release_failures = 0;
        entry.gave_up = 0;
        entry.rolling = true;
        let version = entry.version;
        match fallback {
            Some((spec, version)) => {
                entry.previous = Some(spec);
                entry.previous_version = version;
            }
            None => entry.previous = None,
        }
        self.emit(Command::ReleaseChanged { endpoint, version, status: ReleaseStatus::Rolling });
        for id in self.endpoints[endpoint.index()].workers.clone() {
            self.mark_outdated(id);
        }
        self.unsettle(endpoint);
    }

    fn mark_outdated(&mut self, id: WorkerId) {
        let worker = self.worker_mut(id);
        let (endpoint, phase) = (worker.endpoint, worker.phase);
        // A replacement that is itself overtaken leaves its batch; the one that is already on its way out stays in it.
        if worker.replacing && !matches!(phase, Phase::Draining | Phase::Stopping) {
            worker.replacing = false;
            self.endpoints[endpoint.index()].replacing -= 1;
        }
        let worker = self.worker_mut(id);
        if worker.outdated || worker.version == self.endpoints[endpoint.index()].version {
            return;
        }
        self.worker_mut(id).outdated = true;
        let reason = WorkerReason::Outdated;
        self.emit(Command::WorkerChanged { worker: id, phase, outdated: true, reason });
        if phase == Phase::Ready {
            self.refresh_available(id);
        }
    }

    /// Tells as many outdated workers to go as the batch has room for.
    pub(super) fn advance_rollout(&mut self, endpoint: EndpointId) {
        while self.endpoints[endpoint.index()].rolling {
            let entry = &self.endpoints[endpoint.index()];
            let batch =
                (u64::from(entry.spec.rollout.batch_percent) * u64::from(entry.max)).div_ceil(100).max(1) as u32;
            let victim = self.next_outdated(endpoint);
            match victim {
                Some(id) if self.endpoints[endpoint.index()].replacing < batch => self.retire_outdated(id),
                Some(_) => return,
                None => {
                    let entry = &mut self.endpoints[endpoint.index()];
                    let left =
                        entry.workers.iter().any(|id| self.workers.get(id.0).is_some_and(|worker| worker.outdated));
                    if !left && entry.replacing == 0 {
                        entry.rolling = false;
                        let version = entry.version;
                        self.emit(Command::ReleaseChanged { endpoint, version, status: ReleaseStatus::Complete });
                    }
                    return;
                }
            }
        }
    }

    /// The next outdated worker to go: at rest, then idle, then starting, then busy; older before younger.
    fn next_outdated(&self, endpoint: EndpointId) -> Option<WorkerId> {
        self.endpoints[endpoint.index()]
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| worker.outdated && !worker.replacing)
            .min_by_key(|worker| {
                let rank = match worker.class() {
                    Class::Unhealthy | Class::Asleep | Class::Throttled | Class::Leaving => 0,
                    Class::Idle => 1,
                    Class::Coming => 2,
                    Class::Busy => 3,
                };
                (rank, worker.id)
            })
            .map(|worker| worker.id)
    }

    fn retire_outdated(&mut self, id: WorkerId) {
        let worker = self.worker_mut(id);
        worker.replacing = true;
        let (endpoint, phase) = (worker.endpoint, worker.phase);
        self.endpoints[endpoint.index()].replacing += 1;
        match phase {
            Phase::Ready | Phase::Draining => self.drain(id, AfterStop::Replace, WorkerReason::Outdated),
            _ => self.stop(id, StopMode::Sleep, AfterStop::Replace, WorkerReason::Outdated),
        }
    }

    /// The outdated worker is gone; one of the current release takes its place in the batch. An active worker starts at once,
    /// a flex worker sleeps until the scaler wants it, an extra one is not replaced.
    pub(super) fn replace_outdated(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let (endpoint, kind) = (worker.endpoint, worker.kind);
        self.remove(id, WorkerReason::Outdated);
        let entry = &self.endpoints[endpoint.index()];
        // Bounds may have changed since the worker was told to go.
        let actives = entry.workers.iter().filter(|id| self.worker(**id).kind == WorkerKind::Active).count() as u32;
        let always_on = actives < entry.active;
        let on_demand = entry.spec.slots == Slots::OnDemand && !always_on;
        if kind == WorkerKind::Extra || on_demand || entry.regular_workers() + entry.gave_up >= entry.max {
            return;
        }
        let wanted = always_on || entry.waiting_normal() > 0;
        let kind = if always_on { WorkerKind::Active } else { WorkerKind::Flex };
        self.endpoints[endpoint.index()].replacing += 1;
        let new = self.create_replacement(endpoint, kind, wanted);
        if let Some(worker) = self.workers.get(new.0) {
            debug_assert_eq!(worker.version, self.endpoints[endpoint.index()].version);
        }
    }

    fn create_replacement(&mut self, endpoint: EndpointId, kind: WorkerKind, wanted: bool) -> WorkerId {
        let cause = if kind == WorkerKind::Active { WorkerReason::ActiveFloor } else { WorkerReason::Outdated };
        let id = self.create_worker(endpoint, kind, wanted, cause);
        let worker = self.worker_mut(id);
        worker.replacing = true;
        if matches!(worker.phase, Phase::Asleep | Phase::Frozen | Phase::Ready) {
            self.settle_replacement(id);
        }
        id
    }

    /// A worker of the current release has reached rest or readiness: its place in the batch is free.
    pub(super) fn settle_replacement(&mut self, id: WorkerId) {
        let worker = self.worker_mut(id);
        if worker.replacing && !worker.outdated {
            worker.replacing = false;
            let endpoint = worker.endpoint;
            self.endpoints[endpoint.index()].replacing -= 1;
            self.unsettle(endpoint);
        }
    }

    /// The current release does not come up: a new one with the settings before it. Workers that still have those settings are
    /// taken over as they are.
    pub(super) fn roll_back(&mut self, endpoint: EndpointId) {
        let entry = &mut self.endpoints[endpoint.index()];
        let Some(previous) = entry.previous.take() else { return };
        let (failed, good) = (entry.version, entry.previous_version);
        let spec = &mut entry.spec;
        spec.image = previous.image;
        spec.container_digest = previous.container_digest;
        spec.gpu_classes = previous.gpu_classes;
        spec.gpus_per_worker = previous.gpus_per_worker;
        spec.memory_bytes = previous.memory_bytes;
        spec.data_centers = previous.data_centers;
        self.emit(Command::ReleaseChanged { endpoint, version: failed, status: ReleaseStatus::RolledBack });
        let version = failed + 1;
        for id in self.endpoints[endpoint.index()].workers.clone() {
            let worker = self.worker_mut(id);
            if worker.version == good {
                worker.version = version;
                worker.outdated = false;
                let (host, kind, phase, reason) = (worker.host, worker.kind, worker.phase, worker.reason);
                self.emit(Command::WorkerPlaced { worker: id, endpoint, host, kind, version });
                self.emit(Command::WorkerChanged { worker: id, phase, outdated: false, reason });
            }
        }
        self.begin_release(endpoint, None);
        for id in self.endpoints[endpoint.index()].workers.clone() {
            if self.worker(id).phase == Phase::Ready {
                self.refresh_available(id);
            }
        }
        self.refresh_prices(endpoint);
    }
}
