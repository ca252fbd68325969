//! What the gateway (and everything else outside the core's thread) may ask of the core.
//!
//! Every method sends a request to the core's thread and waits for the answer, which comes when everything that the request
//! changed is durable. Dropping a returned future withdraws what can be withdrawn (a worker's open take).

use super::super::spans::TraceParent;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::config::EndpointConfig;
use super::super::launcher::LogLine;
use super::super::store::{Attempt, DeliveryState, JobEnd, JobRow};
use crate::policy::{Phase, WorkerKind};
use crate::scheduler::{JobOutcome, JobPolicy, PublicState, WaitReason, WorkerReason};

/// A job that a client submits. The gateway has checked sizes, ranges of the policy and the endpoint's schema.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Endpoint id.
    pub endpoint: String,
    /// Came by `/runsync`.
    pub sync: bool,
    /// JSON text of `input`.
    pub input: Bytes,
    /// JSON text of `s3Config`.
    pub s3: Option<Bytes>,
    /// Where the outcome is to be posted.
    pub webhook: Option<String>,
    /// What the request sets for itself.
    pub policy: JobPolicy,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<TraceParent>,
}

/// What became of a request that names an endpoint, job or worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such endpoint.
    UnknownEndpoint,
    /// No such job (any more), or of another endpoint.
    UnknownJob,
    /// No such worker, or one that is gone.
    UnknownWorker,
    /// The queue is full (429).
    QueueFull,
    /// Not in this state (400): a retry of a job that did not fail.
    WrongState,
    /// The request makes no sense for this kind of endpoint (400).
    WrongKind,
    /// The store cannot take it now (503).
    StoreUnavailable,
    /// The gateway is going down (503).
    ShuttingDown,
    /// The settings are not allowed (422).
    Invalid,
    /// The id is or was another endpoint's (409).
    Exists,
}

/// A job's state on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Waiting.
    InQueue,
    /// With a worker.
    InProgress,
    /// Output stored.
    Completed,
    /// Handler error or attempts used up.
    Failed,
    /// Cancelled or purged.
    Cancelled,
    /// TTL or execution timeout.
    TimedOut,
}

impl From<JobOutcome> for JobStatus {
    fn from(outcome: JobOutcome) -> JobStatus {
        match outcome {
            JobOutcome::Completed => JobStatus::Completed,
            JobOutcome::Failed => JobStatus::Failed,
            JobOutcome::Cancelled => JobStatus::Cancelled,
            JobOutcome::TimedOut => JobStatus::TimedOut,
        }
    }
}

impl JobStatus {
    /// No further change, except by `/retry`.
    pub fn is_final(self) -> bool {
        !matches!(self, JobStatus::InQueue | JobStatus::InProgress)
    }
}

/// A job as a client may see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Public id.
    pub id: String,
    /// Endpoint id.
    pub endpoint: String,
    /// State.
    pub status: JobStatus,
    /// ms from submission to the start of the last attempt (so far, if it waits).
    pub delay_ms: u64,
    /// ms of the last attempt (so far, if it runs); none before the first.
    pub execution_ms: Option<u64>,
    /// Name of the worker of the last attempt.
    pub worker: Option<String>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Final output, or the latest progress while it runs. JSON text.
    pub output: Option<Bytes>,
    /// Error text.
    pub error: Option<String>,
    /// Why it waits; only in `InQueue`.
    pub reason: Option<WaitReason>,
    /// Why it ended; only at the end.
    pub cause: Option<String>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
    /// Where its webhook stands.
    pub webhook: Option<DeliveryState>,
    /// Wall time of submission, ms since 1970.
    pub submitted_ms: u64,
    /// Wall time of the end, ms since 1970.
    pub finished_ms: Option<u64>,
}

impl JobView {
    /// A job that has ended.
    pub fn ended(row: &JobRow, end: &JobEnd, output: Option<Bytes>, webhook: Option<DeliveryState>) -> JobView {
        JobView {
            id: row.id.clone(),
            endpoint: row.endpoint.clone(),
            status: end.outcome.into(),
            delay_ms: end.delay_ms,
            execution_ms: Some(end.execution_ms),
            worker: end.worker.clone(),
            retries: end.retries,
            output,
            error: end.error.clone(),
            reason: None,
            cause: Some(end.cause.clone()),
            attempts: end.attempts.clone(),
            webhook,
            submitted_ms: row.submitted_ms,
            finished_ms: Some(end.finished_ms),
        }
    }
}

/// A change of a job, for server-sent events.
#[derive(Clone, Debug, Serialize)]
pub struct JobNotice {
    /// Endpoint id.
    pub endpoint: String,
    /// Job id.
    pub id: String,
    /// State from now on.
    pub status: JobStatus,
    /// Attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Name of the worker, if one has it.
    pub worker: Option<String>,
    /// Wall time, ms since 1970.
    pub at_ms: u64,
}

/// A job handed to a worker.
#[derive(Clone, Debug)]
pub struct HandedJob {
    /// Public id.
    pub id: String,
    /// JSON text of `input`.
    pub input: Bytes,
    /// JSON text of `s3Config`, for the worker alone.
    pub s3: Option<Bytes>,
}

/// Answer to a worker's take.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Work.
    Jobs(Vec<HandedJob>),
    /// No work while the poll was held, or none for a worker that is to leave: 204.
    Nothing,
    /// Keep off for a while: 429.
    KeepOff,
}

/// What a worker posted to job-done, parsed leniently.
#[derive(Clone, Debug)]
pub enum Done {
    /// `{"status": "IN_PROGRESS", "output": x}`.
    Progress(Bytes),
    /// Final.
    Final {
        /// JSON text of `output`, absent if none was sent.
        output: Option<Bytes>,
        /// The `error`, as text; any truthy value.
        error: Option<String>,
        /// `stopPod`: reset the worker.
        refresh: bool,
    },
}

/// A ping.
#[derive(Clone, Debug, Default)]
pub struct Ping {
    /// Ids of the jobs it holds.
    pub jobs: Vec<String>,
    /// `status=unhealthy`: which check failed and why.
    pub unhealthy: Option<(String, String)>,
}

/// A worker as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// Name of its latest launch.
    pub id: String,
    /// Endpoint id.
    pub endpoint: String,
    /// Public state.
    pub state: PublicState,
    /// Finer phase.
    pub phase: Phase,
    /// Why.
    pub reason: WorkerReason,
    /// What people should know about the last failure: exit code, last lines.
    pub detail: Option<String>,
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Its release is not the current one.
    pub outdated: bool,
    /// Release.
    pub version: u32,
    /// Host name.
    pub host: Option<String>,
    /// GPUs or places.
    pub gpus: u32,
    /// Image reference.
    pub image: String,
    /// Jobs in hand.
    pub jobs: Vec<String>,
    /// In its phase since, ms since 1970.
    pub since_ms: u64,
    /// Up since (latest start), ms since 1970.
    pub started_ms: Option<u64>,
    /// Share of its time up in which it had work.
    pub utilization: f64,
}

/// Counters of `/health`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthJobs {
    /// Ended well since the endpoint exists.
    pub completed: u64,
    /// Ended badly (failed, timed out).
    pub failed: u64,
    /// With a worker.
    pub in_progress: u64,
    /// Waiting.
    pub in_queue: u64,
    /// Attempts beyond the first.
    pub retried: u64,
}

/// Counters of `/health`; our finer ones after the platform's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthWorkers {
    /// Ready without a job, or asleep.
    pub idle: u32,
    /// Coming up.
    pub initializing: u32,
    /// Same as `idle`, as the platform reports it.
    pub ready: u32,
    /// With a job.
    pub running: u32,
    /// Waiting for a host's capacity.
    pub throttled: u32,
    /// Failed.
    pub unhealthy: u32,
    /// Of an older release.
    pub outdated: u32,
    /// Ready and polling, part of `idle`.
    pub warm: u32,
    /// Frozen, part of `idle`.
    pub frozen: u32,
    /// Placed and stopped, part of `idle`.
    pub asleep: u32,
}

/// `/health`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// Jobs.
    pub jobs: HealthJobs,
    /// Workers.
    pub workers: HealthWorkers,
    /// Why the longest-waiting job waits.
    pub reason: Option<WaitReason>,
    /// Jobs wait, capacity is there, and nothing was handed out for 60 s.
    pub degraded: bool,
}

/// An endpoint as an operator sees it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Its definition.
    pub config: EndpointConfig,
    /// Current release.
    pub version: u32,
    /// Of the application file.
    pub from_file: bool,
    /// Wall time of creation, ms since 1970.
    pub created_ms: u64,
    /// Its counters.
    pub health: Health,
}

/// A release of an endpoint.
#[derive(Clone, Debug)]
pub struct ReleaseView {
    /// Number.
    pub version: u32,
    /// Wall time, ms since 1970.
    pub created_ms: u64,
    /// `rolling`, `complete`, `rolled_back`.
    pub status: String,
    /// Workers of it.
    pub workers: u32,
    /// The definition.
    pub config: EndpointConfig,
}

/// Spend of an endpoint so far, both profiles, by kind of worker, in dollars.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BillView {
    /// Endpoint id.
    pub endpoint: String,
    /// Profile `seed`.
    pub seed_usd: f64,
    /// Profile `documented`.
    pub documented_usd: f64,
    /// Billed seconds by kind (`active`, `flex`, `extra`) under `documented`.
    pub billed_s: Vec<(String, f64)>,
}

/// A place on a worker for one request of a load-balancing endpoint. Give it back with [`Handle::release`](super::handle::Handle::release).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the request.
    pub ticket: u64,
    /// Name of the worker.
    pub worker: String,
    /// `host:port` of its main port.
    pub address: String,
}

/// The last lines of a worker.
pub type Logs = Vec<LogLine>;
