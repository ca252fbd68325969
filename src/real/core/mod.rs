//! The core: the one thread that owns the scheduler and decides.
//!
//! Requests from the gateway and reports from the launchers become events; the scheduler's commands become writes and effects. A
//! batch is: everything that is there, decided; one commit; then, and only then, the effects (answers, hand-overs, launches). So
//! nothing that anybody was told can be lost, and the cost of a durable write is shared by all who wait for it.
//!
//! A store that is full or read-only stops new effects, not the thread: what is in the batch waits and is tried again every half
//! second, submissions in it are answered 503 and cancelled, reads go on. A store that failed ends the thread with an error.

pub mod api;
mod clients;
mod desk;
mod endpoints;
pub mod handle;
mod housekeeping;
mod metrics;
mod recover;
mod shutdown;
mod tables;
mod views;
mod wishes;
mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::clock::Clock;
use super::config::ServeConfig;
use super::ids::TokenKey;
use super::launcher::{Launcher, Report};
use super::spans::Sink;
use super::store::{Store, StoreError, StoreReader, Write};
use super::transcript::LiveTranscript;
use crate::scheduler::{Event, Recorder, Scheduler};
use crate::units::{Span, Time};
use api::{JobNotice, Refusal};
use desk::Desk;
use endpoints::Definitions;
use handle::{Answer, Request};
use housekeeping::Housekeeping;
use tables::Tables;

pub use recover::{StartError, Started, start};

/// Requests taken into one batch at most: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 1_024;
/// How long a change that nobody waits for may stay uncommitted. A poll that is answered or opened is such a change: two of the four
/// commits that a job on an idle gateway would need otherwise.
const COMMIT_WITHIN: Span = Span::from_millis(100);
/// How often a store that refused a batch is asked again.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Payloads kept at hand; the rest is read from the store when a worker takes the job.
const PAYLOAD_BUDGET: usize = 256 << 20;

/// Something to do once the batch is durable.
type Effect = Box<dyn FnOnce() + Send>;

/// Who is told about what the core does.
pub struct Outside {
    /// One launcher per host, by host number.
    pub launchers: Vec<Arc<dyn Launcher>>,
    /// Every change of every job.
    pub notices: broadcast::Sender<JobNotice>,
    /// Rung when a webhook is due.
    pub webhooks: Arc<Notify>,
    /// How workers of each host reach the gateway, without a slash at the end, by host number.
    pub worker_base_urls: Vec<String>,
    /// Where spans go, if anywhere.
    pub spans: Option<Sink>,
    /// Asks a load-balancing worker for its health until it is well, then sends [`Request::Probed`].
    pub probe: Box<dyn Fn(ProbeTarget) + Send>,
}

/// A load-balancing worker that is to be asked for its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Name of the worker.
    pub worker: String,
    /// URL that answers 200 when it can serve.
    pub url: String,
}

/// The core's state.
pub struct Core {
    clock: Clock,
    now: Time,
    config: ServeConfig,
    store: Box<dyn Store>,
    reader: Arc<dyn StoreReader>,
    scheduler: Scheduler,
    tables: Tables,
    live: metrics::Live,
    definitions: Definitions,
    desk: Desk,
    outside: Outside,
    tokens: TokenKey,
    /// Number of the last event.
    seq: u64,
    /// Number of the last job.
    last_ref: u64,
    batch: Vec<Write>,
    /// When the batch is committed although nobody waits for it.
    commit_by: Option<Time>,
    effects: Vec<Effect>,
    /// Questions about jobs that end in the batch: answered when it is durable.
    postponed: Vec<Request>,
    /// Submissions in the batch: answered when it is durable.
    submitted: Vec<Submitted>,
    /// Facts that follow from carrying out the last batch.
    facts: VecDeque<Event>,
    /// Answers of load-balancing requests that wait for a worker, by ticket.
    acquiring: BTreeMap<u64, Answer<Result<api::Place, Refusal>>>,
    housekeeping: Housekeeping,
    transcript: Option<LiveTranscript>,
    shutting_down: bool,
    /// Answered when no job is with a worker.
    draining: Vec<Answer<()>>,
    /// Told to end: whether workers are kept, and who waits for it.
    shut_down: Option<(bool, Answer<()>)>,
}

struct Submitted {
    number: u64,
    id: String,
    answer: Option<Answer<Result<(String, bool), Refusal>>>,
}

impl Core {
    /// Serves requests until it is shut down or the store fails.
    pub fn run(mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        loop {
            self.now = self.clock.now();
            let wait = self.next_deadline().map(|at| self.clock.until(at));
            let first = match wait {
                Some(wait) if wait.is_zero() => requests.try_recv().ok(),
                Some(wait) => match requests.recv_timeout(wait) {
                    Ok(request) => Some(request),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return self.finish(requests),
                },
                None => match requests.recv() {
                    Ok(request) => Some(request),
                    Err(_) => return self.finish(requests),
                },
            };
            self.now = self.clock.now();
            let more = std::iter::from_fn(|| requests.try_recv().ok()).take(BATCH_MAX);
            for request in first.into_iter().chain(more) {
                self.request(request);
            }
            self.deadlines();
            self.settle(requests)?;
            self.answer_drained();
            if self.shut_down.is_some() {
                return self.finish(requests);
            }
        }
    }

    /// Commits and carries out until nothing follows any more. What nobody waits for is committed with what follows it, a little
    /// later at most: a crash before that forgets only what nobody was told.
    fn settle(&mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        loop {
            self.snapshot_if_due();
            if !self.batch.is_empty() && self.commit_by.is_none() {
                self.commit_by = Some(self.now + COMMIT_WITHIN);
            }
            if self.is_awaited() || self.commit_by.is_some_and(|by| by <= self.now) {
                self.commit(requests)?;
                self.commit_by = None;
            }
            self.carry_out_effects();
            if self.facts.is_empty() {
                return Ok(());
            }
            self.tell_facts();
        }
    }

    /// Something is to be done that the batch has to be durable for.
    fn is_awaited(&self) -> bool {
        !self.effects.is_empty()
            || !self.submitted.is_empty()
            || !self.desk.to_deliver.is_empty()
            || !self.postponed.is_empty()
    }

    fn tell_facts(&mut self) {
        while let Some(fact) = self.facts.pop_front() {
            self.tell(fact);
        }
    }

    /// Tells the scheduler a fact, writes it down, and notes what it asks for.
    fn tell(&mut self, event: Event) {
        let now = self.now;
        self.tables.event(now, &event);
        self.live.event(now, &event);
        self.transcript.event(now, &event);
        self.scheduler.handle(now, &event);
        self.seq += 1;
        self.batch.push(Write::Event { seq: self.seq, at: now, event: Box::new(event) });
        while let Some(command) = self.scheduler.poll_command() {
            self.live.command(now, &command);
            self.transcript.command(now, &command);
            let ended = self.tables.command(now, &command);
            self.wish(&command, ended);
        }
        self.live.settled(now, &self.scheduler);
        self.transcript.settled(now, &self.scheduler);
    }

    fn next_deadline(&mut self) -> Option<Time> {
        let times =
            [self.scheduler.next_deadline(), self.desk.next_deadline(), self.housekeeping.next(), self.commit_by];
        times.into_iter().flatten().min()
    }

    fn deadlines(&mut self) {
        self.now = self.clock.now();
        if self.scheduler.next_deadline().is_some_and(|at| at <= self.now) {
            self.tell(Event::DeadlineReached);
        }
        self.desk.answer_stop_polls(self.now);
        self.keep_house();
    }

    /// Makes the batch durable. While the store refuses it, requests are answered as far as they change nothing.
    fn commit(&mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut refused = false;
        loop {
            match self.store.commit(&self.batch) {
                Ok(()) => break,
                Err(error @ (StoreError::Full(_) | StoreError::ReadOnly(_))) => {
                    if !refused {
                        tracing::error!(%error, "the store refuses writes: new jobs are answered 503 until it takes them");
                        self.disown_submissions();
                    }
                    refused = true;
                    self.serve_reads_for(RETRY_EVERY, requests);
                }
                Err(error) => return Err(error),
            }
        }
        if refused {
            tracing::info!("the store takes writes again");
            self.live.store_recovered();
        }
        self.batch.clear();
        Ok(())
    }

    /// The submissions of a batch that is not durable are refused, and cancelled as soon as the store takes writes again.
    fn disown_submissions(&mut self) {
        for submitted in &mut self.submitted {
            if let Some(answer) = submitted.answer.take() {
                reply(answer, Err(Refusal::StoreUnavailable));
                let job = self.tables.job(submitted.number).and_then(|entry| entry.job);
                self.facts.extend(job.map(|job| Event::CancelRequested { job }));
            }
        }
    }

    fn serve_reads_for(&mut self, span: Duration, requests: &Receiver<Request>) {
        let until = std::time::Instant::now() + span;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return;
            }
            match requests.recv_timeout(left) {
                Ok(request) => self.request_while_stalled(request),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(left);
                    return;
                }
            }
        }
    }

    fn carry_out_effects(&mut self) {
        for submitted in std::mem::take(&mut self.submitted) {
            if let Some(answer) = submitted.answer {
                reply(answer, Ok((submitted.id, false)));
            }
        }
        for effect in std::mem::take(&mut self.effects) {
            effect();
        }
        for request in std::mem::take(&mut self.postponed) {
            self.read(request);
        }
        self.deliver();
        for report in std::mem::take(&mut self.housekeeping.backlog) {
            self.report(report);
        }
    }

    fn effect(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.effects.push(Box::new(effect));
    }

    /// Answers when the batch is durable.
    fn answer<T: Send + 'static>(&mut self, answer: Answer<T>, value: T) {
        self.effect(move || reply(answer, value));
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Submit(submission, answer) => self.submit(*submission, answer),
            Request::Expire { id, keep_ms, answer } => {
                let at_ms = self.clock.unix_ms(self.now) + keep_ms;
                self.batch.push(Write::JobExpires { id, at_ms });
                self.answer(answer, ());
            }
            Request::Cancel { endpoint, id, answer } => self.cancel(&endpoint, &id, answer),
            Request::Retry { endpoint, id, answer } => self.retry(&endpoint, &id, answer),
            Request::Purge { endpoint, answer } => self.purge(&endpoint, answer),
            Request::ChunksTaken { id, next } => self.chunks_taken(&id, next),
            Request::Take { endpoint, worker, slots, in_progress, ticket, answer } => {
                self.take(&endpoint, &worker, slots, in_progress, ticket, answer);
            }
            Request::TakeOver { worker, ticket } => self.take_over(&worker, ticket),
            Request::Done { endpoint, worker, id, done, answer } => self.done(&endpoint, &worker, &id, done, answer),
            Request::Chunk { endpoint, worker, id, value, answer } => {
                self.chunk(&endpoint, &worker, &id, value, answer);
            }
            Request::Ping { endpoint, worker, ping, answer } => self.ping(&endpoint, &worker, &ping, answer),
            Request::Stops { endpoint, worker, answer } => self.stops(&endpoint, &worker, answer),
            Request::Acquire { endpoint, affinity, ticket, answer } => {
                self.acquire(&endpoint, affinity.as_deref(), ticket, answer);
            }
            Request::Release { endpoint, ticket, ok } => self.release(&endpoint, ticket, ok),
            Request::Create { config, answer } => self.create(*config, answer),
            Request::Update { config, answer } => self.update(*config, answer),
            Request::Delete { endpoint, answer } => self.delete(&endpoint, answer),
            Request::Reconcile { endpoints, answer } => {
                let result = self.reconcile(endpoints);
                self.answer(answer, result);
            }
            Request::Report(report) => self.report(report),
            Request::Probed { worker } => self.probed(&worker),
            Request::Delivered(delivery) => self.batch.push(Write::Delivery(delivery)),
            Request::Key(row, answer) => {
                self.batch.push(Write::Key(row));
                self.answer(answer, Ok(()));
            }
            Request::Drain(answer) => self.drain(answer),
            Request::ShutDown { keep_workers, answer } => self.shut_down = Some((keep_workers, answer)),
            Request::Live { ref id, .. } | Request::Wait { ref id, .. } | Request::WaitChunk { ref id, .. }
                if self.ends_in_batch(id) =>
            {
                self.postponed.push(request);
            }
            read => self.read(read),
        }
    }

    /// The job is not alive any more, and the store does not know its end yet: whoever is told the one would not find the other.
    fn ends_in_batch(&self, id: &str) -> bool {
        let ends = |write: &Write| matches!(write, Write::JobEnded { id: ended, .. } if ended == id);
        self.tables.job_by_id(id).is_none() && self.batch.iter().any(ends)
    }

    /// What may be asked while nothing can be written.
    fn request_while_stalled(&mut self, request: Request) {
        let unavailable = Refusal::StoreUnavailable;
        match request {
            Request::Submit(_, answer) => reply(answer, Err(unavailable)),
            Request::Cancel { answer, .. } | Request::Retry { answer, .. } | Request::Delete { answer, .. } => {
                reply(answer, Err(unavailable));
            }
            Request::Purge { answer, .. } => reply(answer, Err(unavailable)),
            Request::Expire { answer, .. } => reply(answer, ()),
            Request::Take { answer, .. } => reply(answer, Ok(api::Taken::KeepOff)),
            Request::Done { answer, .. } | Request::Chunk { answer, .. } => reply(answer, Err(unavailable)),
            Request::Stops { answer, .. } => reply(answer, Ok(Vec::new())),
            Request::Ping { answer, .. } => reply(answer, Ok(())),
            Request::Acquire { answer, .. } => reply(answer, Err(unavailable)),
            Request::Create { answer, .. } | Request::Update { answer, .. } => {
                reply(answer, Err((unavailable, "the store cannot be written to".to_owned())));
            }
            Request::Reconcile { answer, .. } => reply(answer, Err("the store cannot be written to".to_owned())),
            Request::Key(_, answer) => reply(answer, Err(unavailable)),
            Request::Report(report) => self.housekeeping.backlog.push(report),
            Request::Release { ticket, .. } => self.housekeeping.released.push(ticket),
            // Told again: by the worker's next poll, the client's next fetch, the outbox's next look.
            Request::TakeOver { .. } | Request::ChunksTaken { .. } | Request::Delivered(_) | Request::Probed { .. } => {
            }
            Request::Drain(answer) => reply(answer, ()),
            Request::ShutDown { keep_workers, answer } => self.shut_down = Some((keep_workers, answer)),
            read => self.read(read),
        }
    }

    /// A notice for whoever listens to the changes of jobs.
    fn notice(&mut self, notice: JobNotice) {
        let sender = self.outside.notices.clone();
        if sender.receiver_count() > 0 {
            self.effect(move || drop(sender.send(notice)));
        }
    }

    fn report(&mut self, report: Report) {
        self.reported(report);
    }
}

/// Answers; whoever asked may have gone meanwhile, which is its own affair.
fn reply<T>(answer: Answer<T>, value: T) {
    let _ = answer.send(value);
}
