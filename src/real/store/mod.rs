//! The durable store: what must survive a `kill -9` at any instant.
//!
//! The log of the scheduler's events, with a snapshot now and then, restores the scheduler, the ledger and the metrics exactly;
//! beside it lie what those do not hold: inputs, outputs, stream chunks, endpoints' definitions, keys and the outbox of
//! webhooks. The core hands over everything that one batch of requests changed and answers those requests when
//! [`Store::commit`] has returned (group commit). One trait, so that a networked store can take the place of the embedded one.

pub mod memory;
pub mod sqlite;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::EndpointConfig;
use crate::scheduler::{Event, JobOutcome, JobPolicy};
use crate::units::Time;

/// A job as the store keeps it, without its payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// The core's number for this submission (a retry gets a new one under the same id).
    pub client_ref: u64,
    /// Public id.
    pub id: String,
    /// Endpoint id.
    pub endpoint: String,
    /// Generation: rises with each `/retry`, from 1.
    pub generation: u32,
    /// Came by `/runsync`.
    pub sync: bool,
    /// What the request set for itself.
    pub policy: JobPolicy,
    /// Wall time of acceptance, ms since 1970.
    pub submitted_ms: u64,
    /// Where its outcome is to be posted.
    pub webhook: Option<String>,
    /// The end, once there is one.
    pub end: Option<JobEnd>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// The final state.
    pub outcome: JobOutcome,
    /// Machine-readable cause (`handler_error`, `ttl`, `execution_timeout`, `cancelled` ...).
    pub cause: String,
    /// Wall time, ms since 1970.
    pub finished_ms: u64,
    /// Submission to the start of the last attempt.
    pub delay_ms: u64,
    /// Length of the last attempt; 0 if there was none.
    pub execution_ms: u64,
    /// Name of the worker of the last attempt.
    pub worker: Option<String>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Error text as given by the handler, or ours.
    pub error: Option<String>,
    /// Every attempt: worker, start, end, how it ended.
    pub attempts: Vec<Attempt>,
    /// When the result is dropped, ms since 1970.
    pub expires_ms: u64,
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Name of the worker.
    pub worker: String,
    /// Wall time of the hand-over, ms since 1970.
    pub started_ms: u64,
    /// Wall time of its end, ms since 1970; none while it runs.
    pub ended_ms: Option<u64>,
    /// `completed`, `failed`, `worker_lost` ...; empty while it runs.
    pub end: String,
}

/// An attempt to deliver a webhook is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Public id of the job.
    pub job: String,
    /// Generation of the job: a retried job that ends again is delivered again.
    pub generation: u32,
    /// Endpoint of the job.
    pub endpoint: String,
    /// Where to.
    pub url: String,
    /// Tries so far.
    pub tries: u32,
    /// When the next try is due, ms since 1970.
    pub due_ms: u64,
    /// What the last try gave (`200`, `refused: private address` ...); empty before the first.
    pub last: String,
    /// Delivered or given up; kept as long as the job's result so that its state can be seen.
    pub state: DeliveryState,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Further tries will be made.
    Pending,
    /// Acknowledged.
    Delivered,
    /// No try left, or the address is refused.
    Failed,
}

/// An API key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Public part, shown in lists.
    pub id: String,
    /// For people.
    pub label: String,
    /// SHA-256 of the whole key, hexadecimal.
    pub sha256: String,
    /// Endpoints it is good for; empty = all, and the management API.
    pub endpoints: Vec<String>,
    /// Wall time of creation, ms since 1970.
    pub created_ms: u64,
    /// Wall time of revocation, ms since 1970.
    pub revoked_ms: Option<u64>,
}

/// One change. All changes of a batch become durable together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The scheduler was told `event` at `at`; `seq` has no gaps.
    Event {
        /// Number.
        seq: u64,
        /// When.
        at: Time,
        /// What.
        event: Box<Event>,
    },
    /// Everything up to and including `seq`, folded: older events and snapshots may go.
    Snapshot {
        /// Last event in it.
        seq: u64,
        /// Time of that event.
        at: Time,
        /// Opaque to the store.
        state: Bytes,
    },
    /// A job was accepted for storing (its submission event follows in the same batch).
    JobAdded {
        /// The job.
        row: Box<JobRow>,
        /// The `input` value, JSON text.
        input: Bytes,
        /// `s3Config`, JSON text: handed to workers, shown to nobody, deleted with the job.
        s3: Option<Bytes>,
        /// Client's idempotency key; a second submission with it within the life of the job's row gets the first's id.
        idempotency_key: Option<String>,
    },
    /// The job waits again under a new number after `/retry`: its end and output are dropped.
    JobRetried {
        /// Public id.
        id: String,
        /// New number.
        client_ref: u64,
        /// New generation.
        generation: u32,
        /// Wall time, ms since 1970.
        submitted_ms: u64,
    },
    /// The job has its outcome.
    JobEnded {
        /// Public id.
        id: String,
        /// How.
        end: Box<JobEnd>,
        /// Output, JSON text.
        output: Option<Bytes>,
    },
    /// The result of an ended job is dropped at `at_ms`, if that is before the time set so far.
    JobExpires {
        /// Public id.
        id: String,
        /// Wall time, ms since 1970.
        at_ms: u64,
    },
    /// The job and everything of it is dropped; a tombstone stays until `until_ms`.
    JobDropped {
        /// Public id.
        id: String,
        /// Why (`expired`, `purged`, `ttl`).
        reason: String,
        /// Wall time, ms since 1970.
        until_ms: u64,
    },
    /// A piece of a stream arrived.
    ChunkAdded {
        /// Public id of the job.
        id: String,
        /// Number within the generation, from 0.
        number: u64,
        /// JSON text of the value.
        value: Bytes,
    },
    /// The client fetched all pieces before `next`.
    ChunksTaken {
        /// Public id of the job.
        id: String,
        /// First number not fetched.
        next: u64,
    },
    /// An endpoint was created or changed. `number` is the scheduler's id of it.
    EndpointSet {
        /// The scheduler's number.
        number: u32,
        /// Release that this definition is.
        version: u32,
        /// Wall time, ms since 1970.
        at_ms: u64,
        /// The definition.
        config: Box<EndpointConfig>,
        /// It comes from the application file (and goes with it) rather than from the management API.
        from_file: bool,
    },
    /// An endpoint was deleted; its id is never used again.
    EndpointGone {
        /// The scheduler's number.
        number: u32,
    },
    /// A webhook is to be delivered, or a try was made.
    Delivery(Box<Delivery>),
    /// A key was created or revoked.
    Key(Box<KeyRow>),
    /// A named value of the core's own.
    Meta {
        /// Name.
        key: String,
        /// Value.
        value: Bytes,
    },
}

/// One definition of an endpoint, as recovered.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRow {
    /// The scheduler's number.
    pub number: u32,
    /// Release.
    pub version: u32,
    /// Wall time, ms since 1970.
    pub at_ms: u64,
    /// The definition.
    pub config: EndpointConfig,
    /// From the application file.
    pub from_file: bool,
    /// Deleted.
    pub gone: bool,
}

/// What a restart finds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Latest snapshot: last event in it, its time, the state.
    pub snapshot: Option<(u64, Time, Bytes)>,
    /// Events after the snapshot, in order.
    pub events: Vec<(u64, Time, Event)>,
    /// Jobs without an end, by number.
    pub jobs: Vec<JobRow>,
    /// Highest number of a job ever used; 0 if none.
    pub last_client_ref: u64,
    /// All definitions of all endpoints, by number and release.
    pub endpoints: Vec<EndpointRow>,
    /// Named values.
    pub meta: Vec<(String, Bytes)>,
}

/// Why a store does not do what it should.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was written and nothing is lost; try again when there is space.
    #[error("the store is full: {0}")]
    Full(String),
    /// Nothing was written and nothing is lost; try again when it can be written to.
    #[error("the store cannot be written to: {0}")]
    ReadOnly(String),
    /// The state on disk is not known any more: stop, and recover at the next start.
    #[error("the store failed: {0}")]
    Fatal(String),
    /// What is on disk makes no sense: refuse to start.
    #[error("{place}: {what}; {fix}")]
    Corrupt {
        /// File and place in it.
        place: String,
        /// What was found.
        what: String,
        /// What to do.
        fix: String,
    },
}

/// The one writer. Lives on the core's thread.
pub trait Store: Send {
    /// What is on record. Called once, first.
    fn load(&mut self) -> Result<Recovered, StoreError>;
    /// Makes all of `batch` durable, or nothing of it. A `Full` or `ReadOnly` store may be asked again with the same batch.
    fn commit(&mut self, batch: &[Write]) -> Result<(), StoreError>;
    /// A reader that can be used from any thread while the writer works.
    fn reader(&self) -> Arc<dyn StoreReader>;
}

/// Reads what is durable. Every call may block for the time of a disk access.
pub trait StoreReader: Send + Sync {
    /// A job by its public id.
    fn job(&self, id: &str) -> Result<Option<JobRow>, StoreError>;
    /// Its `input` and `s3Config`.
    fn input(&self, id: &str) -> Result<Option<(Bytes, Option<Bytes>)>, StoreError>;
    /// Its output.
    fn output(&self, id: &str) -> Result<Option<Bytes>, StoreError>;
    /// Pieces of its stream that have not been fetched, in order, and the number of the first.
    fn chunks(&self, id: &str) -> Result<(u64, Vec<Bytes>), StoreError>;
    /// Why a job that was here is not any more.
    fn tombstone(&self, id: &str) -> Result<Option<String>, StoreError>;
    /// The job first submitted with this key, if it is still here.
    fn by_idempotency_key(&self, endpoint: &str, key: &str) -> Result<Option<String>, StoreError>;
    /// Jobs of an endpoint, newest first, and how many there are in all.
    fn list(&self, endpoint: &str, offset: u64, limit: u32) -> Result<(Vec<JobRow>, u64), StoreError>;
    /// Ids of jobs whose results have expired at `now_ms`, at most `limit`; not those whose webhook has tries left.
    fn expired(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, StoreError>;
    /// Pending deliveries due at `now_ms`, earliest first, and when the next one after them is due.
    fn due(&self, now_ms: u64, limit: u32) -> Result<(Vec<Delivery>, Option<u64>), StoreError>;
    /// The deliveries of a job.
    fn deliveries(&self, job: &str) -> Result<Vec<Delivery>, StoreError>;
    /// All API keys, revoked ones included.
    fn keys(&self) -> Result<Vec<KeyRow>, StoreError>;
}
