//! Facts: what each event does to the picture, and what it obliges the scheduler to do before the next one.

use std::collections::{BTreeMap, BTreeSet};

use thermocline::policy::registry;
use thermocline::scheduler::{
    EndpointSpec, Event, ExitCause, FinishCause, JobOutcome, JobPolicy, JobResult, Phase, RequeueCause,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Millis, WorkerId};

use super::Checker;
use super::model::{Batch, EndpointNow, HostNow, JobPlace};

/// The event changes nothing.
type Stale = Option<&'static str>;

impl Checker {
    pub(super) fn begin_batch(&mut self, event: &Event) {
        self.model.batch = Some(Batch {
            event: event.clone(),
            stale: None,
            must_finish: Vec::new(),
            must_answer: None,
            must_leave: Vec::new(),
            must_be_up: None,
            must_stop: Vec::new(),
            stops: Vec::new(),
            commands: 0,
        });
        let stale = self.apply(event);
        self.batch().stale = stale;
    }

    pub(super) fn batch(&mut self) -> &mut Batch {
        self.model.batch.as_mut().expect("a batch is open while an event or its commands are judged")
    }

    fn apply(&mut self, event: &Event) -> Stale {
        match event {
            Event::HostAdded { host } => {
                self.model.hosts.push(HostNow {
                    gpus: host.gpus,
                    up: true,
                    complete: host.cached.iter().copied().collect(),
                    pulling: BTreeMap::new(),
                    held_before: 0,
                    spec: (**host).clone(),
                });
                None
            }
            Event::HostCapacityChanged { host, gpus } => self.capacity(*host, *gpus),
            Event::HostLost { host } => self.host_lost(*host),
            Event::HostReturned { host } => match self.model.hosts.get_mut(host.index()) {
                Some(host) if !host.up => {
                    host.up = true;
                    None
                }
                _ => Some("the host is not lost"),
            },
            Event::EndpointCreated { spec } => {
                self.endpoint_created(spec);
                None
            }
            Event::EndpointUpdated { endpoint, spec } => self.endpoint_updated(*endpoint, spec),
            Event::EndpointDeleted { endpoint } => self.endpoint_deleted(*endpoint),
            Event::JobSubmitted { endpoint, client_ref, policy } => {
                self.submitted(*endpoint, *client_ref, policy);
                None
            }
            Event::CancelRequested { job } => self.cancel(*job),
            Event::PurgeRequested { endpoint } => self.purge(*endpoint),
            Event::ImagePulled { host, image } => self.pull_ended(*host, *image, true),
            Event::ImagePullFailed { host, image } => self.pull_ended(*host, *image, false),
            Event::ImageAdded { image } => {
                self.model.images.push((**image).clone());
                None
            }
            Event::GpuClassAdded { class } => {
                self.model.classes.push((**class).clone());
                None
            }
            Event::DeadlineReached => None,
            Event::JobFinished { worker, epoch, job, attempt, result, refresh } => {
                self.job_finished(*worker, *epoch, *job, *attempt, *result, *refresh)
            }
            Event::JobStopped { worker, epoch, job, attempt } => self.job_stopped(*worker, *epoch, *job, *attempt),
            Event::TakeLost { worker, epoch, job, attempt } => self.take_lost(*worker, *epoch, *job, *attempt),
            Event::StageEnded { worker, epoch, .. }
            | Event::WorkerReady { worker, epoch }
            | Event::WorkerExited { worker, epoch, .. }
            | Event::WorkerStopped { worker, epoch, .. }
            | Event::SnapshotLost { worker, epoch }
            | Event::WorkerPinged { worker, epoch }
            | Event::TakeOpened { worker, epoch, .. }
            | Event::TakeClosed { worker, epoch } => self.worker_fact(*worker, *epoch, event),
        }
    }

    fn capacity(&mut self, host: HostId, gpus: u32) -> Stale {
        match self.model.hosts.get_mut(host.index()) {
            Some(host) if host.gpus != gpus.min(host.spec.gpus) => {
                host.gpus = gpus.min(host.spec.gpus);
                None
            }
            _ => Some("no such host, or the same capacity again"),
        }
    }

    fn host_lost(&mut self, host: HostId) -> Stale {
        match self.model.hosts.get_mut(host.index()) {
            Some(found) if found.up => {
                found.up = false;
                found.pulling.clear();
            }
            _ => return Some("no such host, or it is lost already"),
        }
        let hit: Vec<WorkerId> =
            self.model.workers.iter().filter(|(_, worker)| worker.host == Some(host)).map(|(id, _)| *id).collect();
        for worker in hit {
            self.worker_ended(worker, RequeueCause::HostLost);
        }
        None
    }

    fn endpoint_created(&mut self, spec: &EndpointSpec) {
        self.model.endpoints.push(EndpointNow {
            version: 1,
            releases: BTreeMap::from([(1, spec.clone())]),
            rolled_back: BTreeSet::new(),
            active: spec.active.min(spec.max),
            max: spec.max,
            deleted: false,
            changed: self.model.now,
            last_request: self.model.now,
            count_before: (0, 0),
            replaced_before: 0,
            idle_timeouts: EndpointNow::fixed_idle_timeout(spec).into_iter().collect(),
            accepted: 0,
            outcomes: 0,
            above_floor_since: None,
            spec: spec.clone(),
        });
    }

    fn endpoint_updated(&mut self, endpoint: EndpointId, spec: &EndpointSpec) -> Stale {
        let now = self.model.now;
        let Some(found) = self.model.endpoints.get_mut(endpoint.index()).filter(|found| !found.deleted) else {
            return Some("no such endpoint");
        };
        let release = new_containers(&found.spec, spec);
        found.changed = now;
        found.last_request = now;
        let scaling = found.spec.policies.scaling.clone();
        found.spec = spec.clone();
        if registry::scaling(&spec.policies.scaling).is_err() {
            // A policy that does not exist replaces none.
            found.spec.policies.scaling = scaling;
        }
        (found.active, found.max) = (spec.active.min(spec.max), spec.max);
        if release {
            found.version += 1;
        }
        found.releases.insert(found.version, spec.clone());
        found.idle_timeouts.extend(EndpointNow::fixed_idle_timeout(spec));
        None
    }

    fn endpoint_deleted(&mut self, endpoint: EndpointId) -> Stale {
        let now = self.model.now;
        let Some(found) = self.model.endpoints.get_mut(endpoint.index()).filter(|found| !found.deleted) else {
            return Some("no such endpoint");
        };
        found.deleted = true;
        found.changed = now;
        (found.active, found.max) = (0, 0);
        self.queue_must_end(endpoint, FinishCause::EndpointDeleted);
        None
    }

    fn submitted(&mut self, endpoint: EndpointId, client_ref: u64, _policy: &JobPolicy) {
        let now = self.model.now;
        if let Some(found) = self.model.endpoints.get_mut(endpoint.index()) {
            found.last_request = now;
        }
        self.batch().must_answer = Some((endpoint, client_ref));
    }

    fn cancel(&mut self, job: JobId) -> Stale {
        if !self.model.jobs.contains_key(&job) {
            return Some("no such job, or it has an outcome");
        }
        self.batch().must_finish.push((job, JobOutcome::Cancelled, FinishCause::Cancelled));
        None
    }

    fn purge(&mut self, endpoint: EndpointId) -> Stale {
        self.queue_must_end(endpoint, FinishCause::Purged);
        None
    }

    fn queue_must_end(&mut self, endpoint: EndpointId, cause: FinishCause) {
        let waiting: Vec<JobId> = self.model.queue(endpoint).map(|(id, _)| *id).collect();
        let ends = waiting.into_iter().map(|job| (job, JobOutcome::Cancelled, cause));
        self.batch().must_finish.extend(ends);
    }

    fn pull_ended(&mut self, host: HostId, image: ImageId, complete: bool) -> Stale {
        let Some(found) = self.model.hosts.get_mut(host.index()).filter(|found| found.up) else {
            return Some("no such host, or it is lost");
        };
        if found.pulling.remove(&image).is_none() {
            return Some("no pull of that image is under way");
        }
        if complete {
            found.complete.insert(image);
        }
        None
    }

    fn worker_fact(&mut self, id: WorkerId, epoch: u32, event: &Event) -> Stale {
        let now = self.model.now;
        let Some(worker) = self.model.workers.get_mut(&id).filter(|worker| worker.epoch == epoch && epoch > 0) else {
            return Some("an unknown worker or an earlier start");
        };
        if let Event::SnapshotLost { .. } = event {
            return if worker.snapshot.take().is_some() { None } else { Some("there is no snapshot") };
        }
        if !worker.alive {
            return Some("that start is over");
        }
        worker.last_heard = now;
        match event {
            Event::StageEnded { .. } | Event::WorkerReady { .. } if !worker.is(Phase::Starting) => {
                Some("the worker is not starting")
            }
            Event::WorkerExited { cause, .. } => {
                self.worker_ended(id, requeue_cause(*cause));
                None
            }
            Event::WorkerStopped { frozen, .. } => {
                let asked = worker.is(Phase::Stopping);
                worker.snapshot = (asked && *frozen).then_some(epoch);
                self.worker_ended(id, if asked { RequeueCause::WorkerKilled } else { RequeueCause::WorkerLeft });
                None
            }
            Event::TakeOpened { slots, .. } => {
                worker.open = *slots;
                None
            }
            Event::TakeClosed { .. } => {
                worker.open = 0;
                Some("nothing follows from a closed take")
            }
            Event::WorkerReady { .. } => {
                self.batch().must_be_up = Some(id);
                None
            }
            Event::WorkerPinged { .. } | Event::StageEnded { .. } => Some("nothing follows from a sign of life"),
            _ => None,
        }
    }

    /// The worker's process is gone: what it ran must find a new place.
    pub(super) fn worker_ended(&mut self, id: WorkerId, cause: RequeueCause) {
        let Some(worker) = self.model.workers.get_mut(&id) else { return };
        worker.alive = false;
        worker.open = 0;
        worker.stopping.clear();
        let jobs: Vec<JobId> = worker.jobs.keys().copied().collect();
        self.batch().must_leave.extend(jobs.into_iter().map(|job| (job, cause)));
    }

    fn job_finished(
        &mut self,
        id: WorkerId,
        epoch: u32,
        job: JobId,
        attempt: u32,
        result: JobResult,
        refresh: bool,
    ) -> Stale {
        let now = self.model.now;
        let stopped = self.place_freed(id, epoch, job, attempt);
        // The number of the attempt tells all: no two hand-outs of a job share it.
        let latest = self.model.jobs.get(&job).is_some_and(|found| {
            let waits = found.place == JobPlace::Queued;
            found.last.is_some_and(|(w, e, a)| (w, a) == (id, attempt) && (e == epoch || waits))
        });
        if !latest {
            return if stopped { None } else { Some("the job has an outcome, or a later attempt") };
        }
        if let Some(worker) = self.model.workers.get_mut(&id).filter(|worker| worker.epoch == epoch) {
            worker.last_heard = now;
            worker.refresh |= refresh && worker.jobs.contains_key(&job);
        }
        let end = match result {
            JobResult::Completed => (job, JobOutcome::Completed, FinishCause::Result),
            JobResult::Failed => (job, JobOutcome::Failed, FinishCause::HandlerError),
        };
        self.batch().must_finish.push(end);
        None
    }

    /// A job that has its outcome already no longer takes a place on the worker.
    fn place_freed(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) -> bool {
        let now = self.model.now;
        let Some(worker) = self.model.workers.get_mut(&id).filter(|worker| worker.epoch == epoch && worker.alive)
        else {
            return false;
        };
        let freed = worker.stopping.get(&job).is_some_and(|(stopping, _)| *stopping == attempt);
        if freed {
            worker.last_heard = now;
            worker.stopping.remove(&job);
            if worker.in_hand() == 0 {
                worker.idle_since = now;
            }
        }
        freed
    }

    fn job_stopped(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) -> Stale {
        self.gone_from_worker(id, epoch, job, attempt, RequeueCause::WorkerLeft)
    }

    fn take_lost(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32) -> Stale {
        self.gone_from_worker(id, epoch, job, attempt, RequeueCause::TakeLost)
    }

    /// The worker does not run the job (any more), and there is no result.
    fn gone_from_worker(&mut self, id: WorkerId, epoch: u32, job: JobId, attempt: u32, cause: RequeueCause) -> Stale {
        let held = |place: JobPlace| matches!(place, JobPlace::Held { worker, epoch: e, attempt: a, .. } if (worker, e, a) == (id, epoch, attempt));
        if self.model.jobs.get(&job).is_some_and(|found| held(found.place)) {
            self.batch().must_leave.push((job, cause));
            return None;
        }
        if self.place_freed(id, epoch, job, attempt) { None } else { Some("the worker does not hold that job") }
    }
}

/// Settings that a container is made from (contract §8), listed anew.
pub(super) fn new_containers(old: &EndpointSpec, new: &EndpointSpec) -> bool {
    let container = |spec: &EndpointSpec| {
        (
            spec.image,
            spec.container_digest,
            spec.gpu_classes.clone(),
            spec.gpus_per_worker,
            spec.memory_bytes,
            spec.data_centers.clone(),
        )
    };
    container(old) != container(new)
}

fn requeue_cause(cause: ExitCause) -> RequeueCause {
    match cause {
        ExitCause::StartFailed | ExitCause::Crashed | ExitCause::Unfit => RequeueCause::WorkerCrashed,
        ExitCause::Left => RequeueCause::WorkerLeft,
        ExitCause::Silent => RequeueCause::WorkerSilent,
    }
}

/// A request's own span, if it set one.
pub(super) fn own(span: Option<Millis>) -> Option<thermocline::units::Span> {
    span.map(Millis::span)
}
