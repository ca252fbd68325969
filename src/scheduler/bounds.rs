//! Settings: endpoints created, updated, deleted; bounds lowered and raised; dormancy and suspension.

use super::endpoint::{Endpoint, prices};
use super::worker::{AfterStop, Class};
use super::{
    Command, EndpointSpec, FinishCause, GpuClass, Phase, ScaleReason, Scheduler, StopMode, WorkerKind, WorkerReason,
};
use crate::policy::registry;
use crate::units::{EndpointId, Time, WorkerId};

impl Scheduler {
    /// An endpoint whose policies cannot be built is kept without workers; [`Scheduler::check`] tells beforehand.
    pub(super) fn endpoint_created(&mut self, spec: &EndpointSpec) {
        let id = EndpointId(self.endpoints.len() as u32);
        let mut usable = spec.clone();
        if Scheduler::check(spec).is_err() {
            usable.max = 0;
            usable.policies = EndpointSpec::with_defaults("", spec.image, super::GpuClassId(0)).policies;
        }
        let mut entry = Endpoint::new(usable, &self.config, self.now).expect("the default policies can be built");
        if let Some(after) = entry.policies.scaling.first_ask() {
            entry.next_ask = self.now + after;
        }
        self.endpoints.push(entry);
        self.unsettle(id);
    }

    pub(super) fn endpoint_updated(&mut self, endpoint: EndpointId, spec: &EndpointSpec) {
        let config = &self.config;
        let Some(entry) = self.endpoints.get_mut(endpoint.index()).filter(|entry| !entry.deleted) else { return };
        let old = std::mem::replace(&mut entry.spec, spec.clone());
        let old_version = entry.version;
        rebuild_policies(entry, &old);
        if let Some(after) = entry.policies.scaling.first_ask() {
            entry.next_ask = entry.next_ask.min(self.now + after);
        }
        (entry.flex_price, entry.active_price) = prices(&entry.spec, config);
        entry.gave_up = 0;
        entry.consecutive_failures = 0;
        entry.last_request = self.now;
        let needs_release = old.needs_release(&entry.spec);
        self.set_bounds(endpoint, spec.active.min(spec.max), spec.max, ScaleReason::Update);
        if needs_release {
            self.begin_release(endpoint, Some((Box::new(old), old_version)));
        }
        for id in self.endpoints[endpoint.index()].workers.clone() {
            let worker = self.worker_mut(id);
            if worker.phase == Phase::Ready {
                self.refresh_available(id);
                self.start_idle_timer(id);
            }
        }
        self.start_ticking(endpoint);
        self.unsettle(endpoint);
    }

    pub(super) fn endpoint_deleted(&mut self, endpoint: EndpointId) {
        let Some(entry) = self.endpoints.get_mut(endpoint.index()).filter(|entry| !entry.deleted) else { return };
        entry.deleted = true;
        self.purge(endpoint, FinishCause::EndpointDeleted);
        self.set_bounds(endpoint, 0, 0, ScaleReason::EndpointDeleted);
        self.unsettle(endpoint);
    }

    pub(super) fn refresh_prices(&mut self, endpoint: EndpointId) {
        let entry = &mut self.endpoints[endpoint.index()];
        (entry.flex_price, entry.active_price) = prices(&entry.spec, &self.config);
    }

    pub(super) fn gpu_class_added(&mut self, class: &GpuClass) {
        self.config.gpu_classes.push(class.clone());
        for endpoint in 0..self.endpoints.len() {
            self.refresh_prices(EndpointId(endpoint as u32));
        }
    }

    fn set_bounds(&mut self, endpoint: EndpointId, active: u32, max: u32, reason: ScaleReason) {
        let entry = &mut self.endpoints[endpoint.index()];
        if (entry.active, entry.max) != (active, max) {
            entry.active = active;
            entry.max = max;
            self.emit(Command::BoundsChanged { endpoint, active, max, reason });
        }
        self.assign_kinds(endpoint);
        self.unsettle(endpoint);
    }

    /// Makes as many regular workers active as the setting says: ready ones first, then by age.
    fn assign_kinds(&mut self, endpoint: EndpointId) {
        let entry = &self.endpoints[endpoint.index()];
        let mut regular: Vec<_> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| worker.kind != WorkerKind::Extra)
            // One that is being stopped counts if it stays in its slot.
            .filter(|worker| {
                let goes = matches!(worker.after_stop, AfterStop::Remove | AfterStop::Replace);
                worker.class() != Class::Leaving || !goes
            })
            .map(|worker| (worker.kind, !matches!(worker.phase, Phase::Ready | Phase::Starting), worker.id))
            .collect();
        regular.sort_unstable();
        let active = entry.active as usize;
        for (at, (old, _, id)) in regular.into_iter().enumerate() {
            let kind = if at < active { WorkerKind::Active } else { WorkerKind::Flex };
            if kind == old {
                continue;
            }
            let worker = self.worker_mut(id);
            worker.kind = kind;
            worker.idle_deadline = Time::MAX;
            let (host, version, phase) = (worker.host, worker.version, worker.phase);
            self.emit(Command::WorkerPlaced { worker: id, endpoint, host, kind, version });
            if phase == Phase::Ready {
                self.refresh_available(id);
                self.start_idle_timer(id);
            }
        }
    }

    /// Removes workers beyond max and extra: those at rest first, then idle, then starting ones; busy ones drain.
    pub(super) fn shed_surplus(&mut self, endpoint: EndpointId) {
        let entry = &self.endpoints[endpoint.index()];
        let extra = if entry.max == 0 { 0 } else { entry.spec.extra };
        if entry.regular_workers() <= entry.max && entry.extras <= extra {
            return;
        }
        let reason = if entry.deleted { WorkerReason::EndpointDeleted } else { WorkerReason::MaxLowered };
        let max = entry.max;
        self.shed(endpoint, |kind| kind == WorkerKind::Extra, extra, reason);
        self.shed(endpoint, |kind| kind != WorkerKind::Extra, max, reason);
    }

    fn shed(&mut self, endpoint: EndpointId, of: fn(WorkerKind) -> bool, keep: u32, reason: WorkerReason) {
        let entry = &self.endpoints[endpoint.index()];
        let mut staying: Vec<_> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| of(worker.kind))
            .filter(|worker| worker.class() != Class::Leaving || worker.after_stop != AfterStop::Remove)
            .map(|worker| {
                let rank = match worker.class() {
                    Class::Unhealthy | Class::Asleep | Class::Throttled | Class::Leaving => 0,
                    Class::Idle => 1,
                    Class::Coming => 2,
                    Class::Busy => 3,
                };
                (worker.kind == WorkerKind::Active, rank, !worker.outdated, std::cmp::Reverse(worker.id))
            })
            .collect();
        staying.sort_unstable();
        let surplus = staying.len().saturating_sub(keep as usize);
        let victims: Vec<WorkerId> = staying.into_iter().take(surplus).map(|(_, _, _, id)| id.0).collect();
        for id in victims {
            match self.worker(id).phase {
                Phase::Ready | Phase::Draining | Phase::Stopping => self.drain(id, AfterStop::Remove, reason),
                _ => self.stop(id, StopMode::Sleep, AfterStop::Remove, reason),
            }
        }
    }

    /// Too many start failures in a row: no workers until the next update.
    pub(super) fn suspend(&mut self, endpoint: EndpointId) {
        self.endpoints[endpoint.index()].consecutive_failures = 0;
        self.set_bounds(endpoint, 0, 0, ScaleReason::Suspended);
    }

    /// When the endpoint next falls (further) asleep for lack of requests.
    pub(super) fn dormancy_deadline(&self, endpoint: usize) -> Time {
        let entry = &self.endpoints[endpoint];
        match entry.spec.dormancy {
            Some(dormancy) if !entry.deleted && entry.max > 0 => {
                let reduced = entry.max <= dormancy.reduced_max;
                entry.last_request + if reduced { dormancy.zero_after } else { dormancy.reduce_after }
            }
            _ => Time::MAX,
        }
    }

    /// Reduces max after days without a request (contract §1.4).
    pub(super) fn fall_dormant(&mut self, endpoint: EndpointId) {
        if self.dormancy_deadline(endpoint.index()) > self.now {
            return;
        }
        let entry = &self.endpoints[endpoint.index()];
        let Some(dormancy) = entry.spec.dormancy else { return };
        let max = if self.now.since(entry.last_request) >= dormancy.zero_after { 0 } else { dormancy.reduced_max };
        let active = entry.active.min(max);
        self.set_bounds(endpoint, active, max, ScaleReason::Dormant);
    }
}

/// Builds anew those policies whose choice changed; the others keep what they have learned. A choice that cannot be built
/// leaves the old policy in place.
fn rebuild_policies(entry: &mut Endpoint, old: &EndpointSpec) {
    let new = &mut entry.spec.policies;
    macro_rules! rebuild {
        ($field:ident) => {
            if new.$field != old.policies.$field {
                match registry::$field(&new.$field) {
                    Ok(policy) => entry.policies.$field = policy,
                    Err(_) => new.$field = old.policies.$field.clone(),
                }
            }
        };
    }
    rebuild!(scaling);
    rebuild!(keep_alive);
    rebuild!(dispatch);
    rebuild!(placement);
    entry.asked_at = entry.policies.scaling.asked_at();
    entry.uses_idle_timeout = entry.policies.scaling.uses_idle_timeout();
    entry.keep_alive_learns = entry.policies.keep_alive.learns();
    entry.next_tick = Time::MAX;
}
