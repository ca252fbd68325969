//! What clients ask: submit, cancel, retry, purge, stream, and places on load-balancing workers.

use bytes::Bytes;

use super::super::config::EndpointKind;
use super::super::ids;
use super::super::spans::{self, TraceParent};
use super::super::store::{JobRow, Write};
use super::api::{JobNotice, JobStatus, JobView, Place, Refusal, Submission};
use super::handle::Answer;
use super::tables::TICKET_BIT;
use super::{Core, PAYLOAD_BUDGET, Submitted, reply};
use crate::policy::Phase;
use crate::scheduler::{Event, JobOutcome, JobPolicy, JobResult};
use crate::units::{Millis, WorkerId};

/// Longest life of a request that goes straight to a worker: 2 min until one is free and 5.5 min in all (RunPod docs, load
/// balancing) are the gateway's to watch; this is for a gateway that forgot it.
const TICKET_TTL_MS: u32 = 600_000;

impl Core {
    pub(super) fn submit(&mut self, submission: Submission, answer: Answer<Result<(String, bool), Refusal>>) {
        if self.shutting_down {
            return reply(answer, Err(Refusal::ShuttingDown));
        }
        match self.definitions.queue(&submission.endpoint) {
            Err(refusal) => return reply(answer, Err(refusal)),
            Ok(_) => {
                if let Some(key) = &submission.idempotency_key
                    && let Some(earlier) = self.earlier(&submission.endpoint, key)
                {
                    // The earlier one may be in this very batch: its id is told when it is durable.
                    return self.answer(answer, Ok((earlier, true)));
                }
            }
        }
        let id = ids::job_id(submission.sync);
        self.enqueue(id, submission, Some(answer));
    }

    fn earlier(&self, endpoint: &str, key: &str) -> Option<String> {
        let in_batch = self.batch.iter().find_map(|write| match write {
            Write::JobAdded { row, idempotency_key: Some(other), .. } if other == key && row.endpoint == endpoint => {
                Some(row.id.clone())
            }
            _ => None,
        });
        in_batch.or_else(|| self.reader.by_idempotency_key(endpoint, key).ok().flatten())
    }

    fn enqueue(&mut self, id: String, submission: Submission, answer: Option<Answer<Result<(String, bool), Refusal>>>) {
        let Ok(endpoint) = self.definitions.queue(&submission.endpoint) else { return };
        self.last_ref += 1;
        let number = self.last_ref;
        let row = JobRow {
            client_ref: number,
            id: id.clone(),
            endpoint: submission.endpoint,
            generation: 1,
            sync: submission.sync,
            policy: submission.policy,
            submitted_ms: self.clock.unix_ms(self.now),
            webhook: submission.webhook,
            end: None,
        };
        if self.outside.spans.is_some() {
            self.desk.job(number).trace = submission.trace;
        }
        self.desk.keep_payload(number, &submission.input, submission.s3.as_ref(), PAYLOAD_BUDGET);
        self.tables.add_job(row.clone(), endpoint, self.now);
        self.submitted.push(Submitted { number, id: id.clone(), answer });
        let notice = JobNotice {
            endpoint: row.endpoint.clone(),
            id: id.clone(),
            status: JobStatus::InQueue,
            attempt: 0,
            worker: None,
            at_ms: row.submitted_ms,
        };
        // The row before the event: an assignment that follows at once may have to read the input.
        let at = self.batch.len();
        let policy = submission.policy;
        self.batch.push(Write::JobAdded {
            row: Box::new(row),
            input: submission.input,
            s3: submission.s3,
            idempotency_key: submission.idempotency_key,
        });
        self.tell(Event::JobSubmitted { endpoint, client_ref: number, policy });
        if self.tables.job(number).is_none() && self.submitted.iter().all(|submitted| submitted.number != number) {
            // Refused: the event stays on record, the job was never there.
            self.batch.remove(at);
        } else {
            self.notice(notice);
        }
    }

    /// The output of a job becomes the input of the endpoints that its own feeds.
    pub(super) fn feed(&mut self, row: &JobRow, trace: Option<TraceParent>, output: Option<&Bytes>) {
        let Some(output) = output else { return };
        for next in self.definitions.feeds(&row.endpoint) {
            let submission = Submission {
                endpoint: next,
                sync: false,
                input: output.clone(),
                s3: None,
                webhook: None,
                policy: JobPolicy::default(),
                idempotency_key: None,
                trace: Some(spans::below(row, trace)),
            };
            self.housekeeping.fed.push(submission);
        }
    }

    /// Submits what finished jobs feed, after the command that finished them is dealt with.
    pub(super) fn submit_fed(&mut self) {
        for submission in std::mem::take(&mut self.housekeeping.fed) {
            self.enqueue(ids::job_id(false), submission, None);
        }
    }

    pub(super) fn cancel(&mut self, endpoint: &str, id: &str, answer: Answer<Result<(), Refusal>>) {
        let live = self.tables.job_by_id(id).filter(|entry| entry.row.endpoint == endpoint).map(|entry| entry.job);
        match live {
            Some(job) => {
                if let Some(job) = job {
                    self.tell(Event::CancelRequested { job });
                }
                self.answer(answer, Ok(()));
            }
            None => {
                let found = self.stored(endpoint, id).map(|_| ());
                reply(answer, found);
            }
        }
    }

    fn stored(&self, endpoint: &str, id: &str) -> Result<JobRow, Refusal> {
        let row = self.reader.job(id).map_err(|error| {
            tracing::error!(%error, "a job cannot be read");
            Refusal::StoreUnavailable
        })?;
        row.filter(|row| row.endpoint == endpoint).ok_or(Refusal::UnknownJob)
    }

    pub(super) fn retry(&mut self, endpoint: &str, id: &str, answer: Answer<Result<(), Refusal>>) {
        if self.shutting_down {
            return reply(answer, Err(Refusal::ShuttingDown));
        }
        if self.tables.job_by_id(id).is_some() {
            return reply(answer, Err(Refusal::WrongState));
        }
        let found = self.stored(endpoint, id).and_then(|row| Ok((self.definitions.queue(endpoint)?, row)));
        let (number, row) = match found {
            Ok(found) => found,
            Err(refusal) => return reply(answer, Err(refusal)),
        };
        let retryable = [JobOutcome::Failed, JobOutcome::TimedOut];
        if !row.end.as_ref().is_some_and(|end| retryable.contains(&end.outcome)) {
            return reply(answer, Err(Refusal::WrongState));
        }
        self.last_ref += 1;
        let submitted_ms = self.clock.unix_ms(self.now);
        let row = JobRow { client_ref: self.last_ref, generation: row.generation + 1, submitted_ms, end: None, ..row };
        self.batch.push(Write::JobRetried {
            id: row.id.clone(),
            client_ref: row.client_ref,
            generation: row.generation,
            submitted_ms,
        });
        let (client_ref, policy) = (row.client_ref, row.policy);
        self.tables.add_job(row, number, self.now);
        self.tell(Event::JobSubmitted { endpoint: number, client_ref, policy });
        self.answer(answer, Ok(()));
    }

    pub(super) fn purge(&mut self, endpoint: &str, answer: Answer<Result<u64, Refusal>>) {
        match self.definitions.queue(endpoint) {
            Err(refusal) => reply(answer, Err(refusal)),
            Ok(number) => {
                let count = self.scheduler.job_counts(number).map_or(0, |counts| u64::from(counts.in_queue));
                self.tell(Event::PurgeRequested { endpoint: number });
                self.answer(answer, Ok(count));
            }
        }
    }

    pub(super) fn chunks_taken(&mut self, id: &str, next: u64) {
        if let Some(number) = self.tables.job_by_id(id).map(|entry| entry.row.client_ref) {
            let desk = self.desk.job(number);
            desk.chunks_taken = desk.chunks_taken.max(next);
        }
        self.batch.push(Write::ChunksTaken { id: id.to_owned(), next });
    }

    pub(super) fn wait_chunk(&mut self, id: &str, answer: Answer<()>) {
        match self.tables.job_by_id(id).map(|entry| entry.row.client_ref) {
            Some(number) => {
                let desk = self.desk.job(number);
                desk.chunk_waiters.retain(|waiter| !waiter.is_closed());
                if desk.chunks > desk.chunks_taken {
                    reply(answer, ());
                } else {
                    desk.chunk_waiters.push(answer);
                }
            }
            None => reply(answer, ()),
        }
    }

    pub(super) fn wait_end(&mut self, id: &str, answer: Answer<Option<Box<JobView>>>) {
        match self.tables.job_by_id(id).map(|entry| entry.row.client_ref) {
            Some(number) => {
                let desk = self.desk.job(number);
                desk.waiters.retain(|waiter| !waiter.is_closed());
                desk.waiters.push(answer);
            }
            None => reply(answer, None),
        }
    }

    pub(super) fn acquire(
        &mut self,
        endpoint: &str,
        affinity: Option<&str>,
        ticket: u64,
        answer: Answer<Result<Place, Refusal>>,
    ) {
        let number = match self.definitions.with_port(endpoint) {
            Ok(number) => number,
            Err(refusal) => return reply(answer, Err(refusal)),
        };
        if self.shutting_down {
            return reply(answer, Err(Refusal::ShuttingDown));
        }
        if let Some(affinity) = affinity {
            let (strict, name) = match affinity.strip_prefix("strict ").or(affinity.strip_prefix("strict-resume ")) {
                Some(name) => (true, name),
                None => (false, affinity),
            };
            if let Some(place) = self.direct_place(number, name, ticket) {
                return reply(answer, Ok(place));
            }
            if strict {
                return reply(answer, Err(Refusal::UnknownWorker));
            }
        }
        self.tables.add_ticket(ticket, number);
        self.acquiring.insert(ticket, answer);
        let policy = JobPolicy { ttl: Millis::new(TICKET_TTL_MS), ..JobPolicy::default() };
        self.tell(Event::JobSubmitted { endpoint: number, client_ref: ticket | TICKET_BIT, policy });
    }

    /// A worker named by its client, if it is up: beyond the scheduler's count, as affinity is on the platform.
    fn direct_place(&self, endpoint: crate::units::EndpointId, name: &str, ticket: u64) -> Option<Place> {
        let (worker, epoch) = ids::parse_worker_name(name)?;
        let entry = self.tables.worker(worker)?;
        let up = entry.endpoint == endpoint && entry.epoch == epoch && entry.phase == Phase::Ready;
        let address = self.address(worker).filter(|_| up)?;
        Some(Place { ticket, worker: name.to_owned(), address })
    }

    /// `host:port` to which requests for the worker go: its OpenAI port if it works for a queue, else its first.
    pub(super) fn address(&self, worker: WorkerId) -> Option<String> {
        let ports = &self.desk.known_seat(worker)?.ports;
        let config = &self.definitions.by_number(self.tables.worker(worker)?.endpoint)?.config;
        let wanted = config.run.openai_port.filter(|_| config.kind == EndpointKind::Queue);
        let found = wanted.map_or(ports.first(), |wanted| ports.iter().find(|(port, _)| *port == wanted));
        found.map(|(_, address)| address.clone())
    }

    pub(super) fn release(&mut self, _endpoint: &str, ticket: u64, ok: bool) {
        self.acquiring.remove(&ticket);
        let Some(entry) = self.tables.ticket(ticket).copied() else { return };
        let Some(job) = entry.job else { return };
        match entry.holder {
            Some((worker, epoch, attempt)) => {
                let result = if ok { JobResult::Completed } else { JobResult::Failed };
                self.tell(Event::JobFinished { worker, epoch, job, attempt, result, refresh: false });
            }
            None => self.tell(Event::CancelRequested { job }),
        }
    }
}
