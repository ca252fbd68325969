//! The scheduler's commands carried out: launches, hand-overs, outcomes.

use super::super::ids;
use super::super::launcher::LaunchSpec;
use super::super::spans;
use super::super::store::{Delivery, DeliveryState, JobEnd, Write};
use super::api::{HandedJob, JobNotice, JobStatus, JobView, Place, Refusal};
use super::desk::StopSignal;
use super::tables::{Ended, TICKET_BIT};
use super::{Core, Submitted, reply};
use crate::policy::{Phase, ScaleReason};
use crate::scheduler::{Command, Event, JobOutcome, ReleaseStatus, StopMode};
use crate::units::{EndpointId, HostId, JobId, WorkerId};

impl Core {
    /// Notes what is to be done for a command once the batch is durable.
    pub(super) fn wish(&mut self, command: &Command, ended: Option<Ended>) {
        match *command {
            Command::PullImage { host, image } => {
                let reference = self.definitions.image_reference(image);
                if let Some(launcher) = self.outside.launchers.get(host.index()).cloned() {
                    self.live.pull_began(host, image, self.now);
                    self.effect(move || launcher.pull(host, image, &reference));
                }
            }
            Command::EvictImage { host, image } => {
                let reference = self.definitions.image_reference(image);
                if let Some(launcher) = self.outside.launchers.get(host.index()).cloned() {
                    self.effect(move || launcher.evict(host, image, &reference));
                }
            }
            Command::StartWorker { worker, epoch, .. } => self.start_worker(worker, epoch, command),
            Command::StopWorker { worker, epoch, mode } => self.stop_worker(worker, epoch, mode),
            Command::AssignJob { job, client_ref, worker, epoch, attempt } => {
                if client_ref & TICKET_BIT == 0 {
                    self.hand_over(job, client_ref, worker, attempt);
                } else {
                    self.seat_ticket(client_ref & !TICKET_BIT, worker, epoch);
                }
            }
            Command::StopJob { job, worker, attempt, .. } => self.signal_stop(job, worker, attempt),
            Command::RejectJob { client_ref, .. } => self.rejected(client_ref),
            Command::RequeueJob { job, .. } => self.changed(job, JobStatus::InQueue),
            Command::FinishJob { client_ref, outcome, .. } => match ended {
                Some(ended) => self.ended(ended, outcome),
                None => self.ticket_ended(client_ref & !TICKET_BIT),
            },
            Command::WorkerChanged { worker, phase, .. } => self.worker_changed(worker, phase),
            Command::ReleaseChanged { endpoint, version, status: ReleaseStatus::RolledBack } => {
                self.rolled_back(endpoint, version);
            }
            Command::ScaleDecided { endpoint, reason: ScaleReason::PolicyFault, .. } => self.policy_failed(endpoint),
            _ => {}
        }
    }

    /// Tells of the first failure of a policy; the count is in the transcript and survives restarts.
    fn policy_failed(&self, endpoint: EndpointId) {
        let name = self.definitions.by_number(endpoint).map_or("?", |definition| definition.config.id.as_str());
        for (kind, faults) in self.scheduler.policy_faults(endpoint).into_iter().filter(|(_, faults)| faults.count == 1)
        {
            let first = faults.first.as_deref().unwrap_or_default();
            tracing::warn!(
                endpoint = name,
                kind,
                first,
                "a policy failed; the platform's default answers in its place"
            );
        }
    }

    fn start_worker(&mut self, worker: WorkerId, epoch: u32, command: &Command) {
        let Command::StartWorker { endpoint, host, version, resume, .. } = *command else { return };
        let Some(definition) = self.definitions.of_release(endpoint, version) else { return };
        let id = definition.id.clone();
        let frozen_as = self.tables.worker(worker).and_then(|entry| entry.frozen_as);
        let name = ids::worker_name(worker, epoch);
        let spec = LaunchSpec {
            env: self.worker_env(&id, &name, host),
            name,
            endpoint: id,
            host,
            version,
            image: self.definitions.image_reference(definition.spec.image),
            gpus: definition.spec.gpus_per_worker,
            run: definition.run.clone(),
            resume: frozen_as.filter(|_| resume).map(|epoch| ids::worker_name(worker, epoch)),
        };
        let now = self.now;
        let seat = self.desk.begin(worker, epoch);
        (seat.last_seen, seat.began) = (now, now);
        if let Some(launcher) = self.outside.launchers.get(host.index()).cloned() {
            self.effect(move || launcher.start(spec));
        }
    }

    /// The environment that the worker SDK reads (SDK 1.12).
    fn worker_env(&self, endpoint: &str, name: &str, host: HostId) -> Vec<(String, String)> {
        let base = self.outside.worker_base_urls.get(host.index()).map_or("", String::as_str);
        let token = self.tokens.token(&format!("worker:{endpoint}:{name}"));
        [
            ("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/v2/{endpoint}/job-take/$ID?gpu=worker")),
            ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/v2/{endpoint}/job-done/$RUNPOD_POD_ID/$ID?gpu=worker")),
            ("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/v2/{endpoint}/job-stream/$RUNPOD_POD_ID/$ID?gpu=worker")),
            ("RUNPOD_WEBHOOK_PING", format!("{base}/v2/{endpoint}/ping/$RUNPOD_POD_ID?gpu=worker")),
            ("RUNPOD_PING_INTERVAL", "10000".to_owned()),
            ("RUNPOD_POD_ID", name.to_owned()),
            ("RUNPOD_POD_HOSTNAME", name.to_owned()),
            ("RUNPOD_AI_API_KEY", token),
            ("RUNPOD_ENDPOINT_ID", endpoint.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    fn stop_worker(&mut self, worker: WorkerId, epoch: u32, mode: StopMode) {
        let Some(host) = self.tables.worker(worker).and_then(|entry| entry.host) else { return };
        let name = self.desk.known_seat(worker).and_then(|seat| seat.alias.clone());
        let name = name.unwrap_or_else(|| ids::worker_name(worker, epoch));
        self.desk.seat(worker).leaving = true;
        if let Some(launcher) = self.outside.launchers.get(host.index()).cloned() {
            // The signal first, the answers to its polls after it: so the SDK's loops end instead of asking again.
            self.effect(move || launcher.stop(host, &name, mode));
        }
        self.desk.to_deliver.insert(worker);
    }

    /// Prepares a job for its worker; it goes out with the worker's open take when the batch is durable.
    fn hand_over(&mut self, job: JobId, number: u64, worker: WorkerId, attempt: u32) {
        let Some(entry) = self.tables.job(number) else { return };
        let (id, endpoint) = (entry.row.id.clone(), entry.row.endpoint.clone());
        let at_hand = self.desk.known_job(number).and_then(|desk| desk.payload.clone());
        let payload = match at_hand {
            Some(payload) => Some(payload),
            None => self.reader.input(&id).unwrap_or_else(|error| {
                tracing::error!(%error, job = %id, "the input of a job cannot be read");
                None
            }),
        };
        let Some((input, s3)) = payload else {
            let lost = self.tables.worker(worker).map(|entry| entry.epoch);
            let facts = lost.map(|epoch| Event::TakeLost { worker, epoch, job, attempt });
            return self.facts.extend(facts);
        };
        let at_ms = self.clock.unix_ms(self.now);
        let name = self.tables.worker(worker).map(|entry| entry.name(worker));
        let status = JobStatus::InProgress;
        self.notice(JobNotice { endpoint, id: id.clone(), status, attempt, worker: name, at_ms });
        let handed = HandedJob { id, input, s3 };
        let seat = self.desk.seat(worker);
        seat.lacking.remove(&job);
        // A signal for an earlier attempt at this very job would hit the new one: wait until it is confirmed.
        if seat.stops.values().any(|signal| signal.id == handed.id) {
            seat.withheld.push((job, attempt, handed));
        } else {
            seat.pending.push((job, attempt, handed));
            self.desk.to_deliver.insert(worker);
        }
    }

    /// Hands over what the batch assigned. What cannot be handed over (the poll is gone) goes back to the queue.
    pub(super) fn deliver(&mut self) {
        for worker in std::mem::take(&mut self.desk.to_deliver) {
            let Some(seat) = self.desk.known_seat_mut(worker) else { continue };
            let epoch = seat.epoch;
            if seat.leaving {
                seat.dismiss();
                let lost = std::mem::take(&mut seat.pending);
                self.facts.extend(lost.iter().map(|(job, attempt, _)| Event::TakeLost {
                    worker,
                    epoch,
                    job: *job,
                    attempt: *attempt,
                }));
                continue;
            }
            if seat.pending.is_empty() {
                continue;
            }
            let pending = std::mem::take(&mut seat.pending);
            let lost: Vec<(JobId, u32)> = pending.iter().map(|(job, attempt, _)| (*job, *attempt)).collect();
            let jobs = pending.into_iter().map(|(_, _, handed)| handed).collect();
            let open = seat.take.take();
            let sent = open.is_some_and(|open| open.answer.send(Ok(super::api::Taken::Jobs(jobs))).is_ok());
            if !sent {
                let back = |(job, attempt)| Event::TakeLost { worker, epoch, job, attempt };
                self.facts.extend(lost.into_iter().map(back));
            }
            // One answer ends the take, however many places it offered.
            self.facts.push_back(Event::TakeClosed { worker, epoch });
        }
    }

    fn signal_stop(&mut self, job: JobId, worker: WorkerId, attempt: u32) {
        let hand = self.tables.worker(worker).and_then(|entry| entry.hands.iter().find(|hand| hand.job == job));
        let Some((id, ticket)) = hand.map(|hand| (hand.id.clone(), hand.is_ticket())) else { return };
        let now = self.now;
        let seat = self.desk.seat(worker);
        if ticket {
            // No signal can reach a request that went straight to a port: the gateway's own time limit ends it.
            let epoch = seat.epoch;
            return self.facts.push_back(Event::JobStopped { worker, epoch, job, attempt });
        }
        let withheld = seat.withheld.iter().chain(&seat.pending).any(|(other, ..)| *other == job);
        if withheld {
            // It was never handed over.
            seat.withheld.retain(|(other, ..)| *other != job);
            seat.pending.retain(|(other, ..)| *other != job);
            let epoch = seat.epoch;
            return self.facts.push_back(Event::JobStopped { worker, epoch, job, attempt });
        }
        seat.stops.insert(job, StopSignal { id, next: now, sent: false });
    }

    fn rejected(&mut self, number: u64) {
        if let Some(answer) = self.acquiring.remove(&(number & !TICKET_BIT)) {
            return self.answer(answer, Err(Refusal::QueueFull));
        }
        let at = self.submitted.iter().position(|submitted| submitted.number == number);
        if let Some(Submitted { answer: Some(answer), .. }) = at.map(|at| self.submitted.remove(at)) {
            self.answer(answer, Err(Refusal::QueueFull));
        }
        self.tables.drop_job(number);
        self.desk.take_job(number);
    }

    fn changed(&mut self, job: JobId, status: JobStatus) {
        let Some(entry) = self.tables.job_by_job(job) else { return };
        let notice = JobNotice {
            endpoint: entry.row.endpoint.clone(),
            id: entry.row.id.clone(),
            status,
            attempt: entry.attempts.len() as u32,
            worker: entry.holder.map(|(worker, epoch, _)| ids::worker_name(worker, epoch)),
            at_ms: self.clock.unix_ms(self.now),
        };
        self.notice(notice);
    }

    /// Writes the outcome down, rings the webhook, answers who waits, feeds the next endpoint.
    fn ended(&mut self, ended: Ended, outcome: JobOutcome) {
        let Ended { entry, end } = ended;
        let row = entry.row;
        let desk = self.desk.take_job(row.client_ref).unwrap_or_default();
        let (output, error) = desk.result.unwrap_or_default();
        let error = error.or_else(|| failure_text(&end));
        let keep_s = if row.sync { self.config.retention_sync_s } else { self.config.retention_s };
        let expires_ms = end.finished_ms + (keep_s * 1_000.0) as u64;
        let end = JobEnd { error, expires_ms, ..end };
        let status = JobStatus::from(outcome);
        let notice = JobNotice {
            endpoint: row.endpoint.clone(),
            id: row.id.clone(),
            status,
            attempt: end.attempts.len() as u32,
            worker: end.worker.clone(),
            at_ms: end.finished_ms,
        };
        self.notice(notice);
        if let Some(url) = &row.webhook {
            let delivery = Delivery {
                job: row.id.clone(),
                generation: row.generation,
                endpoint: row.endpoint.clone(),
                url: url.clone(),
                tries: 0,
                due_ms: end.finished_ms,
                last: String::new(),
                state: DeliveryState::Pending,
            };
            self.batch.push(Write::Delivery(Box::new(delivery)));
            let bell = self.outside.webhooks.clone();
            self.effect(move || bell.notify_one());
        }
        if outcome == JobOutcome::Completed {
            self.feed(&row, desk.trace, output.as_ref());
        }
        if let Some(sink) = self.outside.spans.clone() {
            let spans = spans::of_job(&row, &end, desk.trace);
            self.effect(move || sink.send(spans));
        }
        let webhook = row.webhook.as_ref().map(|_| DeliveryState::Pending);
        let view = (!desk.waiters.is_empty()).then(|| JobView::ended(&row, &end, output.clone(), webhook));
        // With or without anybody who waits: from now on only the store knows the job, so this must not wait for another change.
        self.effect(move || {
            desk.waiters.into_iter().for_each(|waiter| reply(waiter, view.clone().map(Box::new)));
            desk.chunk_waiters.into_iter().for_each(|waiter| reply(waiter, ()));
        });
        self.batch.push(Write::JobEnded { id: row.id, end: Box::new(end), output });
    }

    fn worker_changed(&mut self, worker: WorkerId, phase: Phase) {
        match phase {
            Phase::Removed => drop(self.desk.end(worker)),
            // Whatever it had in hand is lost or done with; polls that are still open belong to a worker that is no more.
            Phase::Asleep | Phase::Frozen | Phase::Unhealthy => {
                if let Some(seat) = self.desk.known_seat_mut(worker) {
                    seat.dismiss();
                    seat.stops.clear();
                    seat.withheld.clear();
                    seat.lacking.clear();
                    seat.ready = false;
                }
            }
            _ => {}
        }
    }

    /// A worker is there for a request that goes straight to its port.
    fn seat_ticket(&mut self, ticket: u64, worker: WorkerId, epoch: u32) {
        // The poll that said that there is room is not answered by a request that goes past it.
        if let Some(take) = self.desk.known_seat(worker).and_then(|seat| seat.take.as_ref()) {
            self.facts.push_back(Event::TakeOpened { worker, epoch, slots: take.slots });
        }
        let Some(answer) = self.acquiring.remove(&ticket) else {
            // Whoever asked has gone: its place is given back.
            return self.housekeeping.released.push(ticket);
        };
        let address = self.address(worker).unwrap_or_default();
        let place = Place { ticket, worker: ids::worker_name(worker, epoch), address };
        self.answer(answer, Ok(place));
    }

    fn ticket_ended(&mut self, ticket: u64) {
        if let Some(answer) = self.acquiring.remove(&ticket) {
            self.answer(answer, Err(Refusal::UnknownWorker));
        }
    }
}

/// What a client reads about an end that no handler explained.
fn failure_text(end: &JobEnd) -> Option<String> {
    let attempts = end.attempts.len();
    match end.cause.as_str() {
        "attempts_exhausted" => {
            let ends: Vec<&str> = end.attempts.iter().map(|attempt| attempt.end.as_str()).collect();
            Some(format!("given up after {attempts} attempts: {}", ends.join(", ")))
        }
        "execution_timeout" => Some(format!("execution timeout after {} ms", end.execution_ms)),
        "ttl_in_queue" => Some("the job's ttl ended while it waited in the queue".to_owned()),
        "ttl_running" => Some("the job's ttl ended while it ran".to_owned()),
        _ => None,
    }
}
