//! What the core knows of jobs and workers beyond the scheduler: names, times for people, attempts, counters.
//!
//! Tables are a fold over the scheduler's events and commands and nothing else, so a restart rebuilds them by folding the log
//! again (or from a snapshot of them): the same code runs live and in recovery.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::ids;
use super::super::store::{Attempt, JobEnd, JobRow};
use crate::policy::{Phase, WorkerKind};
use crate::scheduler::{Command, Event, FinishCause, JobOutcome, ReleaseStatus, WorkerReason};
use crate::units::{EndpointId, HostId, JobId, Time, WorkerId};

/// Numbers from here on are requests of load-balancing endpoints, which live in no queue of ours and in no store.
pub const TICKET_BIT: u64 = 1 << 63;

/// A job without an end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobEntry {
    /// As the store keeps it.
    pub row: JobRow,
    /// Whose.
    pub endpoint: EndpointId,
    /// The scheduler's id, once it has one.
    pub job: Option<JobId>,
    /// When it was submitted.
    pub submitted: Time,
    /// Start of the last attempt.
    pub started: Option<Time>,
    /// Who has it: worker, start, attempt.
    pub holder: Option<(WorkerId, u32, u32)>,
    /// Every attempt so far.
    pub attempts: Vec<Attempt>,
}

/// A request of a load-balancing endpoint.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TicketEntry {
    /// Whose.
    pub endpoint: EndpointId,
    /// The scheduler's id, once it has one.
    pub job: Option<JobId>,
    /// Who serves it: worker, start, attempt.
    pub holder: Option<(WorkerId, u32, u32)>,
}

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    /// Public id, which outlives the job's entry while the worker is told to stop; empty for requests of load-balancing endpoints.
    pub id: String,
    /// The scheduler's id.
    pub job: JobId,
    /// The core's number.
    pub client_ref: u64,
    /// Number of the attempt.
    pub attempt: u32,
    /// It was told to stop and has not confirmed it.
    pub stopping: bool,
}

impl InHand {
    /// A request that went straight to the worker's port.
    pub fn is_ticket(&self) -> bool {
        self.client_ref & TICKET_BIT != 0
    }
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// Whose.
    pub endpoint: EndpointId,
    /// Where.
    pub host: Option<HostId>,
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Release.
    pub version: u32,
    /// Number of its latest start; 0 before the first.
    pub epoch: u32,
    /// Fine phase.
    pub phase: Phase,
    /// Why.
    pub reason: WorkerReason,
    /// In its phase since.
    pub since: Time,
    /// Latest start.
    pub started: Option<Time>,
    /// Jobs in hand, those told to stop included.
    pub hands: Vec<InHand>,
    /// Its release is not the current one.
    pub outdated: bool,
    /// Had work since (while it has).
    busy_since: Time,
    /// Time with work in the latest start, µs.
    busy_us: u64,
    /// The launch whose frozen state it holds.
    pub frozen_as: Option<u32>,
}

impl WorkerEntry {
    /// Name of the latest launch.
    pub fn name(&self, id: WorkerId) -> String {
        ids::worker_name(id, self.epoch)
    }

    /// Share of its time up in which it had work.
    pub fn utilization(&self, now: Time) -> f64 {
        let Some(started) = self.started.filter(|_| self.phase.holds_gpus()) else { return 0.0 };
        let busy = self.busy_us + if self.hands.is_empty() { 0 } else { now.since(self.busy_since).0 };
        busy as f64 / now.since(started).0.max(1) as f64
    }

    fn take_up(&mut self, now: Time, hand: InHand) {
        if self.hands.is_empty() {
            self.busy_since = now;
        }
        self.hands.push(hand);
    }

    fn let_go(&mut self, now: Time, keep: impl Fn(&InHand) -> bool) {
        if self.hands.is_empty() {
            return;
        }
        self.hands.retain(keep);
        if self.hands.is_empty() {
            self.busy_us += now.since(self.busy_since).0;
        }
    }
}

/// What `/health` counts since the endpoint exists.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Jobs accepted.
    pub accepted: u64,
    /// Jobs refused.
    pub rejected: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended with an error.
    pub failed: u64,
    /// TTL or execution timeout.
    pub timed_out: u64,
    /// Cancelled or purged.
    pub cancelled: u64,
    /// Attempts that ended without an outcome.
    pub retried: u64,
    /// Latest hand-over of a job.
    pub last_dispatch: Time,
}

/// What happened to a release, for lists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseEntry {
    /// Number.
    pub version: u32,
    /// How it stands.
    pub status: ReleaseStatus,
}

/// The tables.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tables {
    epoch_unix_us: u64,
    jobs: BTreeMap<u64, JobEntry>,
    tickets: BTreeMap<u64, TicketEntry>,
    workers: BTreeMap<WorkerId, WorkerEntry>,
    counters: Vec<Counters>,
    releases: Vec<Vec<ReleaseEntry>>,
    #[serde(skip)]
    by_id: BTreeMap<String, u64>,
    #[serde(skip)]
    by_job: BTreeMap<JobId, u64>,
}

/// What the end of a job leaves to be written.
#[derive(Debug)]
pub struct Ended {
    /// The job as it was.
    pub entry: JobEntry,
    /// Its end, without output, error and life of the result.
    pub end: JobEnd,
}

impl Tables {
    /// Empty tables of a scheduler whose time zero was at that wall time, µs since 1970.
    pub fn new(epoch_unix_us: u64) -> Tables {
        Tables { epoch_unix_us, ..Tables::default() }
    }

    /// Rebuilds the look-ups after reading tables from a snapshot.
    pub fn index(&mut self) {
        self.by_id = self.jobs.iter().map(|(number, entry)| (entry.row.id.clone(), *number)).collect();
        self.by_job = self.jobs.iter().filter_map(|(number, entry)| Some((entry.job?, *number))).collect();
    }

    /// A job that is about to be submitted.
    pub fn add_job(&mut self, row: JobRow, endpoint: EndpointId, submitted: Time) {
        self.by_id.insert(row.id.clone(), row.client_ref);
        let entry = JobEntry { job: None, endpoint, submitted, started: None, holder: None, attempts: Vec::new(), row };
        self.jobs.insert(entry.row.client_ref, entry);
    }

    /// A request that is about to ask for a worker.
    pub fn add_ticket(&mut self, number: u64, endpoint: EndpointId) {
        self.tickets.insert(number | TICKET_BIT, TicketEntry { endpoint, job: None, holder: None });
    }

    /// A job by its number.
    pub fn job(&self, number: u64) -> Option<&JobEntry> {
        self.jobs.get(&number)
    }

    /// A job by its public id.
    pub fn job_by_id(&self, id: &str) -> Option<&JobEntry> {
        self.jobs.get(self.by_id.get(id)?)
    }

    /// A job by the scheduler's id.
    pub fn job_by_job(&self, job: JobId) -> Option<&JobEntry> {
        self.jobs.get(self.by_job.get(&job)?)
    }

    /// All jobs without an end, oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = &JobEntry> {
        self.jobs.values()
    }

    /// How many jobs have no end.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// A request of a load-balancing endpoint, by its ticket.
    pub fn ticket(&self, number: u64) -> Option<&TicketEntry> {
        self.tickets.get(&(number | TICKET_BIT))
    }

    /// All open requests of load-balancing endpoints.
    pub fn tickets(&self) -> impl Iterator<Item = (u64, &TicketEntry)> {
        self.tickets.iter().map(|(number, entry)| (number & !TICKET_BIT, entry))
    }

    /// A worker.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerEntry> {
        self.workers.get(&id)
    }

    /// All workers, oldest first.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, &WorkerEntry)> {
        self.workers.iter().map(|(id, entry)| (*id, entry))
    }

    /// Counters of an endpoint.
    pub fn counters(&self, endpoint: EndpointId) -> Counters {
        self.counters.get(endpoint.index()).copied().unwrap_or_default()
    }

    /// Releases of an endpoint, oldest first.
    pub fn releases(&self, endpoint: EndpointId) -> &[ReleaseEntry] {
        self.releases.get(endpoint.index()).map_or(&[], Vec::as_slice)
    }

    /// Forgets a refused job.
    pub fn drop_job(&mut self, number: u64) {
        if let Some(entry) = self.jobs.remove(&number) {
            self.by_id.remove(&entry.row.id);
        }
    }

    /// Folds an event, before the scheduler handles it.
    pub fn event(&mut self, now: Time, event: &Event) {
        match *event {
            Event::JobFinished { worker, job, attempt, .. }
            | Event::JobStopped { worker, job, attempt, .. }
            | Event::TakeLost { worker, job, attempt, .. } => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.let_go(now, |hand| !(hand.job == job && hand.attempt == attempt));
                }
            }
            Event::WorkerStopped { worker, epoch, frozen } => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.frozen_as = frozen.then_some(epoch);
                }
            }
            Event::SnapshotLost { worker, .. } => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.frozen_as = None;
                }
            }
            _ => {}
        }
    }

    /// Folds a command. The end of a queued job is handed back to be written down.
    pub fn command(&mut self, now: Time, command: &Command) -> Option<Ended> {
        match *command {
            Command::AcceptJob { job, client_ref, endpoint } => self.accepted(job, client_ref, endpoint),
            Command::RejectJob { endpoint, client_ref, .. } => {
                self.counters_mut(endpoint).rejected += 1;
                self.tickets.remove(&client_ref);
            }
            Command::AssignJob { job, client_ref, worker, epoch, attempt } => {
                let id = self.jobs.get(&client_ref).map(|entry| entry.row.id.clone()).unwrap_or_default();
                self.assigned(now, InHand { id, job, client_ref, attempt, stopping: false }, worker, epoch);
            }
            Command::StopJob { job, worker, attempt, .. } => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    let hand = entry.hands.iter_mut().find(|hand| hand.job == job && hand.attempt == attempt);
                    hand.into_iter().for_each(|hand| hand.stopping = true);
                }
            }
            Command::RequeueJob { job, worker, cause } => self.requeued(now, job, worker, &cause.to_string()),
            Command::FinishJob { job, client_ref, outcome, cause } => {
                return self.finished(now, job, client_ref, outcome, cause);
            }
            Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
                let new = || WorkerEntry {
                    endpoint,
                    host,
                    kind,
                    version,
                    epoch: 0,
                    phase: Phase::Placing,
                    reason: WorkerReason::NoCapacity,
                    since: now,
                    started: None,
                    hands: Vec::new(),
                    outdated: false,
                    busy_since: now,
                    busy_us: 0,
                    frozen_as: None,
                };
                let entry = self.workers.entry(worker).or_insert_with(new);
                (entry.host, entry.kind, entry.version) = (host, kind, version);
            }
            Command::WorkerChanged { worker, phase, outdated, reason } => {
                self.worker_changed(now, worker, phase, outdated, reason);
            }
            Command::StartWorker { worker, epoch, .. } => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.epoch = epoch;
                    entry.started = Some(now);
                    entry.hands.clear();
                    entry.busy_us = 0;
                }
            }
            Command::ReleaseChanged { endpoint, version, status } => self.release_changed(endpoint, version, status),
            _ => {}
        }
        None
    }

    fn counters_mut(&mut self, endpoint: EndpointId) -> &mut Counters {
        if self.counters.len() <= endpoint.index() {
            self.counters.resize(endpoint.index() + 1, Counters::default());
        }
        &mut self.counters[endpoint.index()]
    }

    fn accepted(&mut self, job: JobId, client_ref: u64, endpoint: EndpointId) {
        if let Some(ticket) = self.tickets.get_mut(&client_ref) {
            ticket.job = Some(job);
        } else {
            self.counters_mut(endpoint).accepted += 1;
            if let Some(entry) = self.jobs.get_mut(&client_ref) {
                entry.job = Some(job);
                self.by_job.insert(job, client_ref);
            }
        }
    }

    fn assigned(&mut self, now: Time, hand: InHand, worker: WorkerId, epoch: u32) {
        let Some(taker) = self.workers.get_mut(&worker) else { return };
        let holder = Some((worker, epoch, hand.attempt));
        let number = hand.client_ref;
        taker.take_up(now, hand);
        let endpoint = taker.endpoint;
        self.counters_mut(endpoint).last_dispatch = now;
        if let Some(ticket) = self.tickets.get_mut(&number) {
            ticket.holder = holder;
        }
        let started_ms = self.unix_ms(now);
        if let Some(entry) = self.jobs.get_mut(&number) {
            entry.started = Some(now);
            entry.holder = holder;
            let worker = ids::worker_name(worker, epoch);
            entry.attempts.push(Attempt { worker, started_ms, ended_ms: None, end: String::new() });
        }
    }

    fn requeued(&mut self, now: Time, job: JobId, worker: WorkerId, cause: &str) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.let_go(now, |hand| hand.job != job);
            let endpoint = entry.endpoint;
            self.counters_mut(endpoint).retried += 1;
        }
        let ended_ms = Some(self.unix_ms(now));
        for ticket in self.tickets.values_mut().filter(|ticket| ticket.job == Some(job)) {
            ticket.holder = None;
        }
        let Some(entry) = self.by_job.get(&job).and_then(|number| self.jobs.get_mut(number)) else { return };
        entry.holder = None;
        if let Some(last) = entry.attempts.last_mut() {
            (last.ended_ms, last.end) = (ended_ms, cause.to_owned());
        }
    }

    fn finished(
        &mut self,
        now: Time,
        job: JobId,
        client_ref: u64,
        outcome: JobOutcome,
        cause: FinishCause,
    ) -> Option<Ended> {
        if self.tickets.remove(&client_ref).is_some() {
            return None;
        }
        self.by_job.remove(&job);
        let mut entry = self.jobs.remove(&client_ref)?;
        self.by_id.remove(&entry.row.id);
        let counters = self.counters_mut(entry.endpoint);
        match outcome {
            JobOutcome::Completed => counters.completed += 1,
            JobOutcome::Failed => counters.failed += 1,
            JobOutcome::TimedOut => counters.timed_out += 1,
            JobOutcome::Cancelled => counters.cancelled += 1,
        }
        let finished_ms = self.unix_ms(now);
        let cause = cause.to_string();
        if let Some(last) = entry.attempts.last_mut().filter(|last| last.ended_ms.is_none()) {
            last.ended_ms = Some(finished_ms);
            last.end.clone_from(&cause);
        }
        let started = entry.started.unwrap_or(now);
        let end = JobEnd {
            outcome,
            cause,
            finished_ms,
            delay_ms: started.since(entry.submitted).0 / 1_000,
            execution_ms: now.since(started).0 / 1_000,
            worker: entry.attempts.last().map(|last| last.worker.clone()),
            retries: entry.attempts.len().saturating_sub(1) as u32,
            error: None,
            attempts: entry.attempts.clone(),
            expires_ms: 0,
        };
        Some(Ended { entry, end })
    }

    fn worker_changed(&mut self, now: Time, id: WorkerId, phase: Phase, outdated: bool, reason: WorkerReason) {
        if phase == Phase::Removed {
            self.workers.remove(&id);
            return;
        }
        let Some(entry) = self.workers.get_mut(&id) else { return };
        if entry.phase != phase {
            entry.since = now;
        }
        (entry.phase, entry.outdated, entry.reason) = (phase, outdated, reason);
        if !matches!(phase, Phase::Ready | Phase::Draining) {
            entry.let_go(now, |_| false);
        }
        if matches!(phase, Phase::Placing | Phase::Pulling) {
            entry.frozen_as = None;
        }
    }

    fn release_changed(&mut self, endpoint: EndpointId, version: u32, status: ReleaseStatus) {
        if self.releases.len() <= endpoint.index() {
            self.releases.resize(endpoint.index() + 1, Vec::new());
        }
        let releases = &mut self.releases[endpoint.index()];
        match releases.iter_mut().find(|release| release.version == version) {
            Some(release) => release.status = status,
            None => releases.push(ReleaseEntry { version, status }),
        }
    }

    fn unix_ms(&self, at: Time) -> u64 {
        (self.epoch_unix_us + at.0) / 1_000
    }
}
