//! What workers say (the SDK's calls) and what launchers report about them.

use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::super::config::{EndpointKind, LauncherConfig};
use super::super::ids;
use super::super::launcher::Report;
use super::super::spans;
use super::super::store::Write;
use super::api::{Done, Ping, Refusal, Taken};
use super::desk::{OpenTake, PINGS_LACKING, STOP_HOLD};
use super::handle::Answer;
use super::{Core, ProbeTarget, reply};
use crate::policy::Phase;
use crate::scheduler::transcript_text::stage_name;
use crate::scheduler::{Event, ExitCause, JobResult, StartStage};
use crate::units::{EndpointId, JobId, WorkerId};

impl Core {
    /// The worker that a name stands for now, if it is of that endpoint and of its latest start.
    fn known_worker(&self, endpoint: &str, name: &str) -> Option<(WorkerId, u32)> {
        let number = self.definitions.number(endpoint)?;
        let id = match self.desk.by_alias(name) {
            Some(id) => id,
            None => {
                let (id, epoch) = ids::parse_worker_name(name)?;
                self.tables.worker(id).filter(|entry| entry.epoch == epoch)?;
                id
            }
        };
        let entry = self.tables.worker(id).filter(|entry| entry.endpoint == number)?;
        entry.phase.holds_gpus().then_some((id, entry.epoch))
    }

    /// A worker that somebody else started takes the place of one that the scheduler wants up.
    fn seat_external(&mut self, endpoint: &str, name: &str) -> Option<(WorkerId, u32)> {
        let number = self.definitions.number(endpoint)?;
        let vacant = self.tables.workers().find(|(id, entry)| {
            let external = entry.host.is_some_and(|host| {
                self.config.hosts.get(host.index()).is_some_and(|host| host.launcher == LauncherConfig::External)
            });
            let taken = self.desk.known_seat(*id).is_some_and(|seat| seat.alias.is_some());
            entry.endpoint == number && entry.phase == Phase::Starting && external && !taken
        });
        let (id, epoch) = vacant.map(|(id, entry)| (id, entry.epoch))?;
        self.desk.name(id, name);
        Some((id, epoch))
    }

    pub(super) fn take(
        &mut self,
        endpoint: &str,
        name: &str,
        slots: u32,
        in_progress: bool,
        ticket: u64,
        answer: Answer<Result<Taken, Refusal>>,
    ) {
        let found = self.known_worker(endpoint, name).or_else(|| self.seat_external(endpoint, name));
        let Some((worker, epoch)) = found else {
            // A poll of a worker that is gone, or that nobody needs now. Anything but 429 makes the SDK ask again at once.
            return reply(answer, Ok(Taken::KeepOff));
        };
        let now = self.now;
        let seat = self.desk.seat(worker);
        seat.epoch = epoch;
        seat.last_seen = now;
        if seat.leaving {
            return reply(answer, Ok(Taken::Nothing));
        }
        if let Some(old) = seat.take.replace(OpenTake { ticket, slots: slots.max(1), answer }) {
            let _ = old.answer.send(Ok(Taken::Nothing));
        }
        self.becomes_ready(worker, epoch);
        if !in_progress {
            self.holds_nothing(worker, epoch);
        }
        // A poll of a draining worker, or of a gateway that goes down, is held without being offered: an answer would only make it
        // ask again.
        if !self.shutting_down && self.tables.worker(worker).is_some_and(|entry| entry.phase == Phase::Ready) {
            self.tell(Event::TakeOpened { worker, epoch, slots: slots.max(1) });
        }
    }

    /// Readiness is the first take, not the first ping (SDK 1.12: pings come from a process of their own).
    fn becomes_ready(&mut self, worker: WorkerId, epoch: u32) {
        if self.tables.worker(worker).is_none_or(|entry| entry.phase != Phase::Starting) {
            return;
        }
        self.stage(worker, epoch, StartStage::Import);
        self.stage(worker, epoch, StartStage::FirstTake);
        self.desk.seat(worker).ready = true;
        self.desk.seat(worker).detail = None;
        self.tell(Event::WorkerReady { worker, epoch });
        self.trace_start(worker, epoch);
    }

    fn stage(&mut self, worker: WorkerId, epoch: u32, stage: StartStage) {
        let now = self.now;
        let stages = &mut self.desk.seat(worker).stages;
        if let Entry::Vacant(vacant) = stages.entry(stage) {
            vacant.insert(now);
            self.tell(Event::StageEnded { worker, epoch, stage });
        }
    }

    /// Tells the collector of traces how long each phase of a start took.
    fn trace_start(&mut self, worker: WorkerId, epoch: u32) {
        let Some(sink) = self.outside.spans.clone() else { return };
        let (Some(entry), Some(seat)) = (self.tables.worker(worker), self.desk.known_seat(worker)) else { return };
        let Some(definition) = self.definitions.by_number(entry.endpoint) else { return };
        let unix_us = |at| self.clock.unix_ms(at) * 1_000;
        let mut phases: Vec<(&str, u64)> =
            seat.stages.iter().map(|(stage, at)| (stage_name(*stage), unix_us(*at))).collect();
        phases.sort_by_key(|(_, at)| *at);
        let spans =
            spans::of_start(&definition.config.id, &ids::worker_name(worker, epoch), unix_us(seat.began), &phases);
        self.effect(move || sink.send(spans));
    }

    /// The worker says that it holds no job: hand-overs it never got go back, stop signals are obeyed.
    fn holds_nothing(&mut self, worker: WorkerId, epoch: u32) {
        let hands = self.tables.worker(worker).map(|entry| entry.hands.clone()).unwrap_or_default();
        // A request that went straight to its port is not in the SDK's books.
        for hand in hands.into_iter().filter(|hand| !hand.is_ticket()) {
            let withheld = self.desk.seat(worker).withheld.iter().any(|(job, ..)| *job == hand.job);
            if withheld {
                continue;
            }
            self.gone_from_worker(worker, epoch, hand.job, hand.attempt, hand.stopping);
        }
    }

    fn gone_from_worker(&mut self, worker: WorkerId, epoch: u32, job: JobId, attempt: u32, stopping: bool) {
        if stopping {
            self.stop_confirmed(worker, job);
            self.tell(Event::JobStopped { worker, epoch, job, attempt });
        } else {
            self.tell(Event::TakeLost { worker, epoch, job, attempt });
        }
    }

    /// The signal need not be repeated; a later attempt at the same job may now be handed over.
    fn stop_confirmed(&mut self, worker: WorkerId, job: JobId) {
        let seat = self.desk.seat(worker);
        let Some(signal) = seat.stops.remove(&job) else { return };
        if !seat.stops.values().any(|other| other.id == signal.id) {
            let free: Vec<_> = seat.withheld.extract_if(.., |(_, _, handed)| handed.id == signal.id).collect();
            if !free.is_empty() {
                seat.pending.extend(free);
                self.desk.to_deliver.insert(worker);
            }
        }
    }

    pub(super) fn take_over(&mut self, name: &str, ticket: u64) {
        let id = self.desk.by_alias(name).or_else(|| ids::parse_worker_name(name).map(|(id, _)| id));
        let Some(id) = id else { return };
        let Some(seat) = self.desk.known_seat_mut(id) else { return };
        if seat.take.as_ref().is_some_and(|take| take.ticket == ticket) {
            seat.take = None;
            let epoch = seat.epoch;
            self.tell(Event::TakeClosed { worker: id, epoch });
        }
    }

    pub(super) fn done(
        &mut self,
        endpoint: &str,
        name: &str,
        id: &str,
        done: Done,
        answer: Answer<Result<(), Refusal>>,
    ) {
        let worker = self.known_worker(endpoint, name);
        if let Some((worker, _)) = worker {
            let now = self.now;
            self.desk.seat(worker).last_seen = now;
        }
        match done {
            Done::Progress(value) => {
                self.progress(worker, id, value);
                reply(answer, Ok(()));
            }
            Done::Final { output, error, refresh } => {
                self.result(endpoint, name, worker, id, (output, error), refresh);
                self.answer(answer, Ok(()));
            }
        }
    }

    /// A late progress must not reopen a job: only the current attempt's holder may report it.
    fn progress(&mut self, worker: Option<(WorkerId, u32)>, id: &str, value: Bytes) {
        let Some(entry) = self.tables.job_by_id(id) else { return };
        let (number, holder) = (entry.row.client_ref, entry.holder);
        if worker.is_some() && holder.map(|(worker, epoch, _)| (worker, epoch)) == worker {
            self.desk.job(number).progress = Some(value);
        }
    }

    fn result(
        &mut self,
        endpoint: &str,
        name: &str,
        worker: Option<(WorkerId, u32)>,
        id: &str,
        (output, error): (Option<Bytes>, Option<String>),
        refresh: bool,
    ) {
        let result = if error.is_some() { JobResult::Failed } else { JobResult::Completed };
        // In this worker's hands, stopped or not?
        let hand = worker.and_then(|(worker, epoch)| {
            let hands = &self.tables.worker(worker)?.hands;
            let hand = hands
                .iter()
                .find(|hand| hand.id == id && hand.stopping)
                .or_else(|| hands.iter().find(|hand| hand.id == id))?;
            Some((worker, epoch, hand.job, hand.attempt, hand.client_ref, hand.stopping))
        });
        if let Some((worker, epoch, job, attempt, number, stopping)) = hand {
            if stopping {
                self.stop_confirmed(worker, job);
                self.live.ignored_result();
            } else {
                self.desk.job(number).result = Some((output, error));
            }
            self.tell(Event::JobFinished { worker, epoch, job, attempt, result, refresh });
            return;
        }
        // Not (any more): it counts if the job waits again and this worker's was its latest attempt. The scheduler decides.
        let Some(entry) = self.tables.job_by_id(id).filter(|entry| entry.row.endpoint == endpoint) else {
            return self.live.ignored_result();
        };
        let latest = entry.attempts.last().is_some_and(|last| last.worker == name) && entry.holder.is_none();
        let (number, attempt) = (entry.row.client_ref, entry.attempts.len() as u32);
        let (Some(job), Some((worker, epoch)), true) = (entry.job, ids::parse_worker_name(name), latest) else {
            return self.live.ignored_result();
        };
        self.desk.job(number).result = Some((output, error));
        self.tell(Event::JobFinished { worker, epoch, job, attempt, result, refresh });
        if self.tables.job(number).is_some() {
            self.desk.job(number).result = None;
            self.live.ignored_result();
        }
    }

    pub(super) fn chunk(
        &mut self,
        endpoint: &str,
        name: &str,
        id: &str,
        value: Bytes,
        answer: Answer<Result<(), Refusal>>,
    ) {
        let worker = self.known_worker(endpoint, name);
        let current = self.tables.job_by_id(id).filter(|entry| {
            let holder = entry.holder.map(|(worker, epoch, _)| (worker, epoch));
            worker.is_some() && holder == worker
        });
        if let Some(number) = current.map(|entry| entry.row.client_ref) {
            let desk = self.desk.job(number);
            let chunk = desk.chunks;
            desk.chunks += 1;
            let waiters = std::mem::take(&mut desk.chunk_waiters);
            self.batch.push(Write::ChunkAdded { id: id.to_owned(), number: chunk, value });
            self.effect(move || waiters.into_iter().for_each(|waiter| reply(waiter, ())));
        }
        self.answer(answer, Ok(()));
    }

    pub(super) fn ping(&mut self, endpoint: &str, name: &str, ping: &Ping, answer: Answer<Result<(), Refusal>>) {
        let Some((worker, epoch)) = self.known_worker(endpoint, name) else {
            return reply(answer, Err(Refusal::UnknownWorker));
        };
        reply(answer, Ok(()));
        let now = self.now;
        let seat = self.desk.seat(worker);
        seat.last_seen = now;
        if let Some((check, reason)) = &ping.unhealthy {
            seat.detail = Some(format!("fitness check {check} failed: {reason}"));
            return;
        }
        self.stage(worker, epoch, StartStage::Import);
        let hands = self.tables.worker(worker).map(|entry| entry.hands.clone()).unwrap_or_default();
        if hands.is_empty() {
            return;
        }
        self.tell(Event::WorkerPinged { worker, epoch });
        for hand in hands.into_iter().filter(|hand| !hand.is_ticket()) {
            let seat = self.desk.seat(worker);
            let unsent = seat.withheld.iter().chain(&seat.pending).any(|(job, ..)| *job == hand.job);
            if unsent || ping.jobs.contains(&hand.id) {
                seat.lacking.remove(&hand.job);
                continue;
            }
            let sent = seat.stops.get(&hand.job).is_some_and(|signal| signal.sent);
            let lacking = seat.lacking.entry(hand.job).or_default();
            *lacking += 1;
            // One ping after the signal proves a stop; a hand-over is missed only when two in a row lack it.
            if (hand.stopping && sent) || *lacking >= PINGS_LACKING {
                seat.lacking.remove(&hand.job);
                self.gone_from_worker(worker, epoch, hand.job, hand.attempt, hand.stopping);
            }
        }
    }

    pub(super) fn stops(&mut self, endpoint: &str, name: &str, answer: Answer<Result<Vec<String>, Refusal>>) {
        let Some((worker, epoch)) = self.known_worker(endpoint, name) else {
            return reply(answer, Err(Refusal::UnknownWorker));
        };
        let now = self.now;
        let seat = self.desk.seat(worker);
        (seat.epoch, seat.last_seen) = (epoch, now);
        if let Some((old, _)) = seat.stop_poll.replace((answer, now + STOP_HOLD)) {
            let _ = old.send(Ok(Vec::new()));
        }
        seat.answer_stop_poll(now);
    }

    /// What a launcher reports.
    pub(super) fn reported(&mut self, report: Report) {
        match report {
            Report::Pulled { host, image, digest, took_ms } => {
                self.live.pulled(host, image, took_ms);
                if let Some(digest) = digest {
                    self.definitions.pin(image, digest);
                }
                self.tell(Event::ImagePulled { host, image });
            }
            Report::PullProgress { host, image, done, total } => self.live.pull_progress(host, image, done, total),
            Report::PullFailed { host, image, detail } => {
                tracing::warn!(image = self.definitions.image_reference(image), detail, "an image could not be pulled");
                self.live.pull_failed(host, image, detail);
                self.tell(Event::ImagePullFailed { host, image });
            }
            Report::StageEnded { worker, stage } => {
                if let Some((worker, epoch)) = self.latest(&worker) {
                    self.stage(worker, epoch, stage);
                }
            }
            Report::Address { worker, ports } => {
                if let Some((worker, _)) = self.latest(&worker) {
                    self.desk.seat(worker).ports = ports;
                    self.probe(worker);
                }
            }
            Report::Exited { worker, cause, detail } => self.exited(&worker, cause, detail),
            Report::Stopped { worker, frozen } => {
                if let Some((id, epoch)) = self.latest(&worker) {
                    self.tell(Event::WorkerStopped { worker: id, epoch, frozen });
                }
            }
            Report::HostReachable { host, reachable: false, detail } => {
                let name = self.config.hosts.get(host.index()).map(|host| host.spec.name.clone());
                tracing::error!(host = name, detail, "a host cannot be reached");
                self.tell(Event::HostLost { host });
            }
            Report::HostReachable { host, reachable: true, .. } => self.tell(Event::HostReturned { host }),
            Report::HostGpus { host, gpus } => self.tell(Event::HostCapacityChanged { host, gpus }),
        }
    }

    /// A load-balancing worker can be reached: whether it is well is asked from outside this thread.
    fn probe(&mut self, worker: WorkerId) {
        let Some(entry) = self.tables.worker(worker).filter(|entry| entry.phase == Phase::Starting) else { return };
        let Some(config) = self.definitions.of_release(entry.endpoint, entry.version) else { return };
        if config.kind != EndpointKind::LoadBalancer {
            return;
        }
        let path = config.run.health_path.clone().unwrap_or_else(|| "/ping".to_owned());
        let name = entry.name(worker);
        if let Some((_, address)) = self.desk.known_seat(worker).and_then(|seat| seat.ports.first()) {
            (self.outside.probe)(ProbeTarget { worker: name, url: format!("http://{address}{path}") });
        }
    }

    /// It is well: requests may go there.
    pub(super) fn probed(&mut self, name: &str) {
        if let Some((worker, epoch)) = self.latest(name) {
            self.becomes_ready(worker, epoch);
        }
    }

    /// The worker of a launch, if that launch is its latest.
    pub(super) fn latest(&self, name: &str) -> Option<(WorkerId, u32)> {
        if let Some(id) = self.desk.by_alias(name) {
            return self.tables.worker(id).map(|entry| (id, entry.epoch));
        }
        let (id, epoch) = ids::parse_worker_name(name)?;
        self.tables.worker(id).filter(|entry| entry.epoch == epoch).map(|_| (id, epoch))
    }

    fn exited(&mut self, name: &str, cause: ExitCause, detail: String) {
        let Some((worker, epoch)) = self.latest(name) else { return };
        let Some(phase) = self.tables.worker(worker).map(|entry| entry.phase) else { return };
        let seat = self.desk.seat(worker);
        if std::mem::take(&mut seat.restart_owed) && phase == Phase::Starting {
            // The gateway went down between the wish and the launch: it is made up for, nobody failed.
            return self.launch_again(worker);
        }
        // A fitness check that said why knows more than the exit code.
        let fitness = seat.detail.take().filter(|known| known.starts_with("fitness check"));
        let cause = match (cause, fitness.is_some(), seat.ready) {
            (ExitCause::Crashed, true, _) => ExitCause::Unfit,
            (ExitCause::Unfit, false, true) => ExitCause::Crashed,
            (cause, ..) => cause,
        };
        seat.detail = Some(fitness.map_or(detail.clone(), |fitness| format!("{fitness}; {detail}")));
        seat.dismiss();
        if cause != ExitCause::Left {
            tracing::warn!(worker = name, ?cause, detail, "a worker's process ended");
        }
        let endpoint = self.tables.worker(worker).map(|entry| entry.endpoint);
        self.live.exited(endpoint.unwrap_or(EndpointId(0)), cause);
        // A worker that leaves while it is being stopped has done what it was asked.
        let event = match phase {
            Phase::Stopping => Event::WorkerStopped { worker, epoch, frozen: false },
            _ => Event::WorkerExited { worker, epoch, cause },
        };
        self.tell(event);
    }
}
