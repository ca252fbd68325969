//! How many workers: asks the policy, clamps its answer, wakes the best slots or lets workers go.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::endpoint::Absent;
use super::job::{Jobs, Queue};
use super::slab::Slab;
use super::worker::{AfterStop, Class, Worker};
use super::{Command, ExtraMode, Phase, PickUp, ScaleReason, Scheduler, Slots, StopMode, WorkerKind, WorkerReason};
use crate::policy::{Advice, Details, Observation, Surplus, Trigger, WorkerView};
use crate::units::{EndpointId, JobId, Span, Time, UsdPerSecond, WorkerId};

/// A worker without an open take asks for its next job within such a time: the SDK polls once a second (worker-protocol).
const PICK_UP_LONGEST: Span = Span(2_000_000);
/// A worker that is kept up for that is looked at again after this.
const PICK_UP_LOOK: Span = Span(100_000);

struct Rows<'a> {
    now: Time,
    queue: &'a Queue,
    jobs: &'a Jobs,
    ids: &'a [WorkerId],
    workers: &'a Slab<Worker>,
    price: UsdPerSecond,
}

impl Details for Rows<'_> {
    fn waiting_longer_than(&self, span: Span) -> u32 {
        self.queue.submitted_before(Time(self.now.0.saturating_sub(span.0)), self.jobs)
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.ids.iter().filter_map(|id| self.workers.get(id.0)).map(|worker| worker.view(self.price)).collect()
    }
}

impl Scheduler {
    /// Asks the endpoint's policy and acts on the answer. Gives the first worker that was started for it.
    pub(super) fn ask_policy(&mut self, endpoint: EndpointId, trigger: Trigger) -> Option<WorkerId> {
        let now = self.now;
        let entry = &mut self.endpoints[endpoint.index()];
        if entry.max == 0 || entry.deleted {
            return None;
        }
        let mut policy = std::mem::replace(&mut entry.policies.scaling, Box::new(Absent));
        let entry = &self.endpoints[endpoint.index()];
        let tally = &entry.tally;
        let oldest = entry.queue.iter(&self.jobs).next();
        let rows = Rows {
            now,
            queue: &entry.queue,
            jobs: &self.jobs,
            ids: &entry.workers,
            workers: &self.workers,
            price: entry.flex_price,
        };
        let seen = Observation {
            now,
            trigger,
            queued: entry.queue.len() + entry.bound,
            queued_low: entry.queue_low.len(),
            in_progress: entry.in_progress,
            oldest_wait: oldest.map(|job| now.since(job.submitted)),
            arrived: entry.arrived,
            ended: entry.ended,
            service_total: entry.service_total,
            idle: tally.get(Class::Idle),
            busy: tally.get(Class::Busy),
            starting: tally.get(Class::Coming),
            throttled: tally.get(Class::Throttled),
            unhealthy: tally.get(Class::Unhealthy),
            asleep: tally.get(Class::Asleep),
            last_start: entry.last_start,
            mean_start: entry.mean_start,
            mean_stop: entry.mean_stop,
            active: entry.active,
            max: entry.max,
            extra: entry.spec.extra,
            concurrency: entry.spec.concurrency,
            flex_price: entry.flex_price,
            active_price: entry.active_price,
            details: &rows,
        };
        // A policy that panics must not take the endpoint down: it is as if it had said "as many as there are".
        let advice = catch_unwind(AssertUnwindSafe(|| policy.advise(&seen)));
        let trigger_job = oldest.map(|job| job.id);
        self.endpoints[endpoint.index()].policies.scaling = policy;
        match advice {
            Ok(advice) => {
                let told = self.commands.len();
                let first = self.follow(endpoint, advice, trigger_job);
                let is_told = |command: &Command| {
                    matches!(command, Command::ScaleDecided { reason: ScaleReason::PolicyFault, .. })
                };
                if advice.reason == ScaleReason::PolicyFault && !self.commands.iter().skip(told).any(is_told) {
                    self.tell_policy_fault(endpoint, trigger_job);
                }
                first
            }
            Err(_) => {
                self.tell_policy_fault(endpoint, trigger_job);
                None
            }
        }
    }

    /// A policy failed, and nothing changed for it: the transcript has it all the same.
    pub(super) fn tell_policy_fault(&mut self, endpoint: EndpointId, trigger: Option<JobId>) {
        let count = self.endpoints[endpoint.index()].tally.up_or_coming();
        let reason = ScaleReason::PolicyFault;
        self.emit(Command::ScaleDecided { endpoint, from: count, to: count, reason, trigger });
    }

    fn follow(&mut self, endpoint: EndpointId, advice: Advice, trigger: Option<JobId>) -> Option<WorkerId> {
        let now = self.now;
        let entry = &mut self.endpoints[endpoint.index()];
        if let Some(span) = advice.ask_again {
            entry.next_ask = now + span.max(Span(1));
            self.endpoint_deadlines.arm(endpoint.index(), entry.next_ask);
        }
        entry.keeps_surplus = advice.surplus == Surplus::KeepAlive;
        let count = entry.tally.wanted();
        let burst = if entry.spec.extra_mode == ExtraMode::Burst { entry.spec.extra } else { 0 };
        let wanted = advice.workers.clamp(entry.active.min(entry.max), entry.max + burst);
        if wanted > count {
            let reason = if advice.workers < wanted { ScaleReason::ActiveFloor } else { advice.reason };
            return self.scale_up(endpoint, wanted - count, reason, trigger);
        }
        let too_many = count - wanted;
        if too_many > 0 && advice.surplus != Surplus::KeepAlive {
            self.scale_down(endpoint, too_many, advice, trigger);
        }
        None
    }

    /// Starts up to `more` workers: sleeping slots first, then new ones up to max, then extra ones.
    pub(super) fn scale_up(
        &mut self,
        endpoint: EndpointId,
        more: u32,
        reason: ScaleReason,
        trigger: Option<JobId>,
    ) -> Option<WorkerId> {
        let mut wake = self.wakeable(endpoint);
        if reason == ScaleReason::ActiveFloor {
            wake.sort_by_key(|id| self.worker(*id).kind != WorkerKind::Active);
        }
        wake.truncate(more as usize);
        let entry = &self.endpoints[endpoint.index()];
        let left = more - wake.len() as u32;
        let room = (entry.max).saturating_sub(entry.regular_workers() + entry.gave_up);
        let new = if entry.spec.slots == Slots::OnDemand { left.min(room) } else { 0 };
        let extra = left - new;
        let extra = extra.min(self.extra_allowed(endpoint, entry.tally.up_or_coming() + more));
        let extra_hosts = self.hosts_for_extra(endpoint, extra);
        let from = self.endpoints[endpoint.index()].tally.wanted();
        let to = from + wake.len() as u32 + new + extra_hosts.len() as u32;
        if to == from {
            return None;
        }
        self.emit(Command::ScaleDecided { endpoint, from, to, reason, trigger });
        let cause = if reason == ScaleReason::ActiveFloor { WorkerReason::ActiveFloor } else { WorkerReason::ScaleUp };
        let mut first = None;
        for id in wake {
            self.wake(id, cause);
            first = first.or(Some(id));
        }
        for _ in 0..new {
            let id = self.create_slot(endpoint, true, cause);
            first = first.or(Some(id));
        }
        for host in extra_hosts {
            // One that was throttled just now may have got a stand-in already.
            let entry = &self.endpoints[endpoint.index()];
            if entry.extras >= entry.spec.extra {
                break;
            }
            let id = self.create_extra(endpoint, host);
            first = first.or(Some(id));
        }
        first.filter(|id| self.workers.get(id.0).is_some())
    }

    /// Extra workers that may serve now: as many as demand exceeds max, and one for each regular worker that is throttled or
    /// unhealthy (contract §2.1).
    fn extra_allowed(&self, endpoint: EndpointId, wanted: u32) -> u32 {
        let entry = &self.endpoints[endpoint.index()];
        let stuck = entry.tally.get(Class::Throttled) + entry.tally.get(Class::Unhealthy);
        match entry.spec.extra_mode {
            ExtraMode::Burst => wanted.saturating_sub(entry.max) + stuck,
            ExtraMode::ReplaceThrottled => stuck.saturating_sub(entry.extras),
            ExtraMode::PrecacheOnly => 0,
        }
    }

    /// Slots that could be started, best first: on a host with room before one without, frozen before asleep before still
    /// fetching, current release before outdated, active before flex, last used first.
    fn wakeable(&self, endpoint: EndpointId) -> Vec<WorkerId> {
        let entry = &self.endpoints[endpoint.index()];
        // Rooms on a host are given out in order, so that a burst does not crowd one host while another has room.
        let mut taken: Vec<(usize, u32)> = Vec::new();
        let mut ranked: Vec<_> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| !worker.wanted && worker.kind != WorkerKind::Extra)
            .filter_map(|worker| {
                let rank = match worker.phase {
                    Phase::Frozen => 0,
                    Phase::Asleep => 1,
                    Phase::Pulling => 2,
                    Phase::Placing => 3,
                    _ => return None,
                };
                Some((worker.outdated, rank, worker.kind, std::cmp::Reverse(worker.last_used), worker))
            })
            .collect();
        ranked
            .sort_by_key(|(outdated, rank, kind, last_used, worker)| (*outdated, *rank, *kind, *last_used, worker.id));
        let mut with_room = Vec::new();
        let mut without = Vec::new();
        for (_, _, _, _, worker) in ranked {
            let Some(host) = worker.host else {
                without.push(worker.id);
                continue;
            };
            let place = match taken.iter().position(|(host_index, _)| *host_index == host.index()) {
                Some(place) => place,
                None => {
                    taken.push((host.index(), 0));
                    taken.len() - 1
                }
            };
            if taken[place].1 + worker.gpus <= self.hosts[host.index()].free_gpus() {
                taken[place].1 += worker.gpus;
                with_room.push(worker.id);
            } else {
                without.push(worker.id);
            }
        }
        with_room.extend(without);
        with_room
    }

    /// Lets workers go: throttled ones and starts first, youngest first; then (if the rule allows) idle ones in the order of [`Self::idle_victims`].
    fn scale_down(&mut self, endpoint: EndpointId, too_many: u32, advice: Advice, trigger: Option<JobId>) {
        let mut victims = self.starts_to_cancel(endpoint);
        victims.truncate(too_many as usize);
        let starts = victims.len();
        if advice.surplus == Surplus::StopIdle {
            victims.extend(self.idle_victims(endpoint).into_iter().take(too_many as usize - starts));
        }
        if victims.is_empty() {
            return;
        }
        let from = self.endpoints[endpoint.index()].tally.wanted();
        let to = from - victims.len() as u32;
        self.emit(Command::ScaleDecided { endpoint, from, to, reason: advice.reason, trigger });
        for (at, id) in victims.into_iter().enumerate() {
            if at < starts {
                self.put_to_sleep(id, WorkerReason::StartCancelled);
            } else {
                self.put_to_sleep(id, WorkerReason::ScaleDown);
            }
        }
    }

    fn starts_to_cancel(&self, endpoint: EndpointId) -> Vec<WorkerId> {
        let entry = &self.endpoints[endpoint.index()];
        let mut starts: Vec<&Worker> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| matches!(worker.class(), Class::Coming | Class::Throttled))
            .filter(|worker| worker.kind != WorkerKind::Active && worker.bound.is_none())
            .collect();
        starts.sort_by_key(|worker| {
            let age = std::cmp::Reverse((worker.started, worker.epoch, worker.id));
            (worker.class() != Class::Throttled, age)
        });
        starts.into_iter().map(|worker| worker.id).collect()
    }

    /// Idle workers that may stop: extra, then outdated, then least wanted GPU class, then longest idle, then youngest
    /// (contract §10). Active ones never.
    fn idle_victims(&self, endpoint: EndpointId) -> Vec<WorkerId> {
        let entry = &self.endpoints[endpoint.index()];
        let class_rank = |worker: &Worker| {
            let class = worker.host.map(|host| self.hosts[host.index()].spec.gpu_class);
            entry.spec.gpu_classes.iter().position(|wanted| Some(*wanted) == class).unwrap_or(usize::MAX)
        };
        let mut idle: Vec<&Worker> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| worker.class() == Class::Idle && worker.kind != WorkerKind::Active)
            .collect();
        idle.sort_by_key(|worker| {
            let rank = class_rank(worker);
            (
                worker.kind != WorkerKind::Extra,
                !worker.outdated,
                std::cmp::Reverse(rank),
                worker.last_used,
                std::cmp::Reverse(worker.id),
            )
        });
        idle.into_iter().map(|worker| worker.id).collect()
    }

    /// A worker's idle timeout ended: it goes, unless the endpoint would fall below its active workers.
    pub(super) fn idle_timeout(&mut self, id: WorkerId) {
        let worker = self.worker_mut(id);
        worker.idle_deadline = Time::MAX;
        let endpoint = worker.endpoint;
        let idle = worker.class() == Class::Idle;
        let entry = &self.endpoints[endpoint.index()];
        // A rule that holds workers ahead of demand is as good a reason to stay as the endpoint's own lower bound.
        let floor = entry.active.max(entry.policies.scaling.floor().min(entry.max));
        if idle && entry.tally.up_or_coming() > floor {
            if self.is_about_to_take(id) {
                let look = self.now + PICK_UP_LOOK;
                self.worker_mut(id).idle_deadline = look;
                self.worker_deadlines.arm(id.slot(), look);
            } else {
                self.put_to_sleep(id, WorkerReason::IdleTimeout);
            }
        } else if idle {
            // Kept up in place of an active worker that is missing, or by the scaling policy; asked again after another timeout, but
            // not for ever at this very instant where the timeout is 0.
            self.start_idle_timer(id);
            let soonest = self.now + Span::SECOND;
            let worker = self.worker_mut(id);
            worker.idle_deadline = worker.idle_deadline.max(soonest);
        }
    }

    /// Jobs wait that the idle worker will take as soon as it asks: a stop now would be followed by a start for them.
    fn is_about_to_take(&self, id: WorkerId) -> bool {
        let worker = self.worker(id);
        let entry = &self.endpoints[worker.endpoint.index()];
        entry.spec.pick_up == PickUp::Pull
            && worker.open_takes == 0
            && !worker.outdated
            && entry.queue.len() + entry.queue_low.len() > 0
            && self.now.since(worker.last_used) < PICK_UP_LONGEST
    }

    /// The worker stops (frozen where the endpoint freezes its workers) and stays in its slot.
    pub(super) fn put_to_sleep(&mut self, id: WorkerId, reason: WorkerReason) {
        let worker = self.worker(id);
        let flashboot = self.endpoints[worker.endpoint.index()].spec.flashboot;
        let freeze = flashboot && worker.phase == Phase::Ready && worker.kind != WorkerKind::Extra;
        let mode = if freeze { StopMode::Freeze } else { StopMode::Sleep };
        self.stop(id, mode, AfterStop::Sleep, reason);
    }

    /// Keeps the active workers up.
    pub(super) fn hold_active_floor(&mut self, endpoint: EndpointId) {
        let entry = &self.endpoints[endpoint.index()];
        if entry.deleted {
            return;
        }
        let floor = entry.active.min(entry.max);
        let up = entry.tally.wanted();
        // An active worker never rests, even while a flex one stands in for it: it is paid for all the time.
        let rests = |worker: &&Worker| worker.kind == WorkerKind::Active && !worker.outdated && !worker.wanted;
        let resting = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(rests)
            .filter(|w| w.class() == Class::Asleep)
            .count();
        let missing = floor.saturating_sub(up).max(resting as u32);
        if missing > 0 {
            self.scale_up(endpoint, missing, ScaleReason::ActiveFloor, None);
        }
    }

    /// Throttled workers stop waiting for room once no job waits any more.
    pub(super) fn release_throttled(&mut self, endpoint: EndpointId) {
        let entry = &self.endpoints[endpoint.index()];
        if entry.tally.get(Class::Throttled) == 0 || entry.waiting_normal() > 0 || !entry.keeps_surplus {
            return;
        }
        let surplus = entry.tally.wanted().saturating_sub(entry.active);
        let mut throttled: Vec<WorkerId> = entry
            .workers
            .iter()
            .map(|id| self.worker(*id))
            .filter(|worker| worker.phase == Phase::Throttled && worker.kind != WorkerKind::Active)
            .map(|worker| worker.id)
            .collect();
        throttled.reverse();
        throttled.truncate(surplus as usize);
        for id in throttled {
            self.stop(id, StopMode::Sleep, AfterStop::Sleep, WorkerReason::NoDemand);
        }
    }
}
