//! Follows a transcript: keeps what every worker and every live job is doing, and tells [`Watcher`]s of each change.
//!
//! The one place that knows when a worker has how many jobs in hand. A job counts from its `AssignJob` on until its
//! `FinishJob` or `RequeueJob`; a job that was ended by a timeout or a client keeps its worker busy until the worker reports
//! that it stopped. Facts that are late, doubled or of an earlier start match nothing that is held and change nothing.
//!
//! Rows lie in vectors at the slots that the ids name: no map, no allocation while the number of live jobs stays below
//! its highest value so far.
//!
//! A follower is saved and read back with serde (JSON), its watcher with it, and goes on as if there had been no break.

use serde::{Deserialize, Serialize};

use super::config::EndpointSpec;
use super::reason::{FinishCause, WorkerReason};
use super::transcript::Recorder;
use super::watch::{LiveJob, Member, StartCause, Watcher};
use super::{Command, Event, ReleaseStatus};
use crate::policy::{Phase, ScaleReason, WorkerKind};
use crate::units::{EndpointId, HostId, JobId, Time, WorkerId};

const NO_JOB: JobId = JobId(u64::MAX);
const NO_WORKER: WorkerId = WorkerId(u64::MAX);

/// What is known of an endpoint beyond its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    spec: EndpointSpec,
    /// GPUs per worker of each release; version 1 is the first.
    gpus: Vec<u32>,
    /// Settings before the last release.
    previous: Option<EndpointSpec>,
    /// What the scaler last said.
    scaled: ScaleReason,
}

/// A job that has its outcome but still occupies its worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lingering {
    job: JobId,
    attempt: u32,
    worker: WorkerId,
    epoch: u32,
}

/// Turns the transcript into changes of workers and jobs.
#[derive(Clone)]
pub struct Follower<W> {
    watcher: W,
    endpoints: Vec<Known>,
    hosts: u32,
    workers: Vec<Member>,
    /// Who asked for the next start of the worker at the same place in `workers`.
    asked: Vec<Option<WorkerReason>>,
    jobs: Vec<LiveJob>,
    lingering: Vec<Lingering>,
}

impl<W: Watcher> Follower<W> {
    /// Follows a transcript from its beginning.
    pub fn new(watcher: W) -> Follower<W> {
        Follower {
            watcher,
            endpoints: Vec::new(),
            hosts: 0,
            workers: Vec::new(),
            asked: Vec::new(),
            jobs: Vec::new(),
            lingering: Vec::new(),
        }
    }

    /// Whoever is told.
    pub fn watcher(&self) -> &W {
        &self.watcher
    }

    /// The workers that exist, in order of creation.
    pub fn workers(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.workers.iter().filter(|worker| worker.id != NO_WORKER).collect();
        members.sort_by_key(|worker| worker.id);
        members
    }

    /// The jobs without an outcome, in order of acceptance.
    pub fn jobs(&self) -> Vec<&LiveJob> {
        let mut jobs: Vec<&LiveJob> = self.jobs.iter().filter(|job| job.id != NO_JOB).collect();
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    /// Closes the books at `now`: tells what is left over, then the end.
    pub fn finish(mut self, now: Time) -> W {
        let mut jobs: Vec<LiveJob> = self.jobs.drain(..).filter(|job| job.id != NO_JOB).collect();
        jobs.sort_by_key(|job| job.id);
        for job in &jobs {
            self.watcher.job_left(now, job);
        }
        let mut workers: Vec<Member> = self.workers.drain(..).filter(|worker| worker.id != NO_WORKER).collect();
        workers.sort_by_key(|worker| worker.id);
        for worker in &workers {
            self.watcher.worker_left(now, worker);
        }
        self.watcher.run_ended(now);
        self.watcher
    }
}

impl<W: Watcher> Recorder for Follower<W> {
    #[inline]
    fn event(&mut self, now: Time, event: &Event) {
        match event {
            Event::JobSubmitted { endpoint, .. } => self.watcher.job_submitted(now, *endpoint),
            Event::JobFinished { worker, epoch, job, attempt, .. }
            | Event::JobStopped { worker, epoch, job, attempt }
            | Event::TakeLost { worker, epoch, job, attempt } => {
                if !self.lingering.is_empty() {
                    self.end_lingering(now, *worker, *epoch, *job, *attempt);
                }
            }
            Event::WorkerReady { .. }
            | Event::TakeOpened { .. }
            | Event::TakeClosed { .. }
            | Event::WorkerPinged { .. }
            | Event::DeadlineReached => {}
            other => self.rare_event(now, other),
        }
    }

    #[inline]
    fn command(&mut self, now: Time, command: &Command) {
        match command {
            Command::AcceptJob { job, endpoint, client_ref } => self.accept(now, *job, *endpoint, *client_ref),
            Command::AssignJob { job, worker, epoch, attempt, .. } => self.assign(now, *job, *worker, *epoch, *attempt),
            Command::FinishJob { job, outcome, cause, .. } => {
                let Some(row) = self.jobs.get_mut(job.slot()).filter(|row| row.id == *job) else { return };
                self.watcher.job_finished(now, row, *outcome, *cause);
                row.id = NO_JOB;
                if let Some(worker) = row.worker {
                    let (epoch, attempt) = (row.epoch, row.attempt);
                    match cause {
                        FinishCause::Result | FinishCause::HandlerError | FinishCause::AttemptsExhausted => {
                            self.release(now, worker, epoch);
                        }
                        _ => self.lingering.push(Lingering { job: *job, attempt, worker, epoch }),
                    }
                }
            }
            other => self.rare_command(now, other),
        }
    }
}

impl<W: Watcher> Follower<W> {
    #[inline]
    fn accept(&mut self, now: Time, job: JobId, endpoint: EndpointId, client_ref: u64) {
        let row = LiveJob {
            id: job,
            endpoint,
            client_ref,
            accepted: now,
            first_assigned: Time::MAX,
            assigned: Time::MAX,
            worker: None,
            epoch: 0,
            attempt: 0,
            requeues: 0,
            cold: false,
        };
        let slot = job.slot();
        if slot >= self.jobs.len() {
            self.jobs.resize(slot + 1, LiveJob { id: NO_JOB, ..row.clone() });
        }
        let place = &mut self.jobs[slot];
        *place = row;
        self.watcher.job_accepted(now, place);
    }

    #[inline]
    fn assign(&mut self, now: Time, job: JobId, worker: WorkerId, epoch: u32, attempt: u32) {
        let Some(row) = self.jobs.get_mut(job.slot()).filter(|row| row.id == job) else { return };
        let member = self.workers.get_mut(worker.slot()).filter(|member| member.id == worker);
        let first = !row.was_assigned();
        if first {
            row.first_assigned = now;
            row.cold = member.as_ref().is_some_and(|member| member.ready > row.accepted);
        }
        (row.worker, row.epoch, row.attempt, row.assigned) = (Some(worker), epoch, attempt, now);
        self.watcher.job_assigned(now, row, first);
        if let Some(member) = member {
            member.in_hand += 1;
            self.watcher.hands_changed(now, member, member.in_hand - 1);
        }
    }

    /// A job left its worker. A worker that has stopped or restarted since holds none of its former jobs.
    #[inline]
    fn release(&mut self, now: Time, worker: WorkerId, epoch: u32) {
        let Some(member) = self.workers.get_mut(worker.slot()) else { return };
        if member.id == worker && member.epoch == epoch && member.in_hand > 0 {
            member.in_hand -= 1;
            self.watcher.hands_changed(now, member, member.in_hand + 1);
        }
    }

    fn end_lingering(&mut self, now: Time, worker: WorkerId, epoch: u32, job: JobId, attempt: u32) {
        let held =
            |row: &Lingering| row.job == job && row.worker == worker && row.epoch == epoch && row.attempt == attempt;
        if let Some(place) = self.lingering.iter().position(held) {
            self.lingering.swap_remove(place);
            self.release(now, worker, epoch);
        }
    }

    fn rare_event(&mut self, now: Time, event: &Event) {
        match event {
            Event::HostAdded { host } => {
                self.watcher.host_added(now, HostId(self.hosts), host);
                self.hosts += 1;
            }
            Event::EndpointCreated { spec } => {
                let endpoint = EndpointId(self.endpoints.len() as u32);
                self.endpoints.push(Known {
                    spec: (**spec).clone(),
                    gpus: vec![spec.gpus_per_worker],
                    previous: None,
                    scaled: ScaleReason::Policy,
                });
                self.watcher.endpoint_changed(now, endpoint, spec);
            }
            Event::EndpointUpdated { endpoint, spec } => {
                let Some(known) = self.endpoints.get_mut(endpoint.index()) else { return };
                let old = std::mem::replace(&mut known.spec, (**spec).clone());
                if old.needs_release(spec) {
                    known.gpus.push(spec.gpus_per_worker);
                    known.previous = Some(old);
                }
                self.watcher.endpoint_changed(now, *endpoint, spec);
            }
            Event::StageEnded { worker, epoch, stage } => {
                let starting = |member: &&Member| {
                    member.id == *worker && member.epoch == *epoch && member.phase == Phase::Starting
                };
                if let Some(member) = self.workers.get(worker.slot()).filter(starting) {
                    self.watcher.stage_ended(now, member, *stage);
                }
            }
            other => self.watcher.fact(now, other),
        }
    }

    fn rare_command(&mut self, now: Time, command: &Command) {
        match command {
            Command::RejectJob { endpoint, reason, .. } => self.watcher.job_rejected(now, *endpoint, *reason),
            Command::RequeueJob { job, worker, cause } => {
                let held = |row: &&mut LiveJob| row.id == *job && row.worker == Some(*worker);
                let Some(row) = self.jobs.get_mut(job.slot()).filter(held) else { return };
                row.requeues += u32::from(*cause != super::RequeueCause::TakeLost);
                self.watcher.job_requeued(now, row, *cause);
                row.worker = None;
                let epoch = row.epoch;
                self.release(now, *worker, epoch);
            }
            Command::StartWorker { worker, epoch, resume, .. } => {
                let Some(member) = self.workers.get_mut(worker.slot()).filter(|member| member.id == *worker) else {
                    return;
                };
                (member.epoch, member.resume, member.started, member.ready) = (*epoch, *resume, now, Time::ZERO);
                self.watcher.start_asked(now, member);
            }
            Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
                self.place(now, *worker, *endpoint, *host, *kind, *version);
            }
            Command::WorkerChanged { worker, phase, outdated, reason } => {
                self.change(now, *worker, *phase, *outdated, *reason);
            }
            Command::ScaleDecided { endpoint, reason, .. } => {
                if let Some(known) = self.endpoints.get_mut(endpoint.index()) {
                    known.scaled = *reason;
                }
                self.watcher.note(now, command);
            }
            Command::ReleaseChanged { endpoint, status, .. } => {
                if let Some(known) = self.endpoints.get_mut(endpoint.index()) {
                    known.release_changed(*status);
                }
                self.watcher.note(now, command);
            }
            other => self.watcher.note(now, other),
        }
    }

    fn place(
        &mut self,
        now: Time,
        worker: WorkerId,
        endpoint: EndpointId,
        host: Option<HostId>,
        kind: WorkerKind,
        version: u32,
    ) {
        let slot = worker.slot();
        let gpus = self.endpoints.get(endpoint.index()).map_or(1, |known| known.gpus_of(version));
        while self.workers.len() <= slot {
            self.workers.push(unplaced(NO_WORKER, endpoint, kind, now));
            self.asked.push(None);
        }
        let member = &mut self.workers[slot];
        let was = (member.id == worker).then(|| member.clone());
        if was.is_none() {
            *member = unplaced(worker, endpoint, kind, now);
            self.asked[slot] = None;
        }
        (member.host, member.kind, member.version, member.gpus) = (host, kind, version, gpus);
        self.watcher.worker_placed(now, member, was.as_ref());
    }

    fn change(&mut self, now: Time, worker: WorkerId, phase: Phase, outdated: bool, reason: WorkerReason) {
        let slot = worker.slot();
        let Some(member) = self.workers.get_mut(slot).filter(|member| member.id == worker) else { return };
        let was = member.clone();
        let restarting = matches!(phase, Phase::Stopping | Phase::Starting);
        member.refreshing = restarting && (reason == WorkerReason::Refresh || was.refreshing);
        (member.phase, member.outdated, member.reason) = (phase, outdated, reason);
        if asks_for_a_start(reason) || phase == Phase::Unhealthy {
            self.asked[slot] = Some(reason);
        } else if matches!(phase, Phase::Asleep | Phase::Frozen | Phase::Ready) {
            self.asked[slot] = None;
        }
        if phase == Phase::Starting && was.phase != Phase::Starting {
            member.started = now;
            member.ready = Time::ZERO;
            member.came_up = false;
            let scaled = self.endpoints.get(member.endpoint.index()).map_or(ScaleReason::Policy, |known| known.scaled);
            member.cause = cause_of_start(self.asked[slot], member.kind, scaled);
        }
        if phase == Phase::Ready && was.phase == Phase::Starting {
            member.ready = if now > member.started { now } else { Time::ZERO };
            member.came_up = true;
        }
        if !matches!(phase, Phase::Ready | Phase::Draining) {
            member.in_hand = 0;
            self.lingering.retain(|row| row.worker != worker);
        }
        self.watcher.phase_changed(now, member, &was);
        if phase == Phase::Removed {
            member.id = NO_WORKER;
        }
    }
}

impl Known {
    fn gpus_of(&self, version: u32) -> u32 {
        let place = (version.max(1) as usize - 1).min(self.gpus.len() - 1);
        self.gpus[place]
    }

    /// A roll-back is a release too: it takes from the settings before the one given up all that containers are made of.
    fn release_changed(&mut self, status: ReleaseStatus) {
        if status == ReleaseStatus::RolledBack
            && let Some(previous) = self.previous.take()
        {
            self.gpus.push(previous.gpus_per_worker);
            let spec = &mut self.spec;
            (spec.image, spec.container_digest) = (previous.image, previous.container_digest);
            (spec.gpu_classes, spec.gpus_per_worker) = (previous.gpu_classes, previous.gpus_per_worker);
            (spec.memory_bytes, spec.data_centers) = (previous.memory_bytes, previous.data_centers);
        }
    }
}

fn unplaced(id: WorkerId, endpoint: EndpointId, kind: WorkerKind, now: Time) -> Member {
    Member {
        id,
        endpoint,
        host: None,
        kind,
        version: 1,
        gpus: 1,
        phase: Phase::Placing,
        outdated: false,
        reason: WorkerReason::Precache,
        in_hand: 0,
        epoch: 0,
        resume: false,
        refreshing: false,
        created: now,
        started: Time::ZERO,
        ready: Time::ZERO,
        came_up: false,
        cause: StartCause::Scale(ScaleReason::Policy),
    }
}

fn asks_for_a_start(reason: WorkerReason) -> bool {
    use WorkerReason as R;
    matches!(reason, R::ScaleUp | R::ActiveFloor | R::Burst | R::Refresh | R::Outdated | R::Replaced)
}

fn cause_of_start(asked: Option<WorkerReason>, kind: WorkerKind, scaled: ScaleReason) -> StartCause {
    match (asked, kind) {
        (Some(WorkerReason::ScaleUp), _) | (None, WorkerKind::Flex) => StartCause::Scale(scaled),
        (Some(reason), _) => StartCause::Worker(reason),
        (None, WorkerKind::Active) => StartCause::Worker(WorkerReason::ActiveFloor),
        (None, WorkerKind::Extra) => StartCause::Worker(WorkerReason::Burst),
    }
}

mod saved;
#[cfg(test)]
mod tests;
