//! Facts: what the driver tells the scheduler. All are in the past tense; any of them may come late, twice or out of order.

use serde::{Deserialize, Serialize};

use super::config::{EndpointSpec, GpuClass, HostSpec, Image};
use crate::units::{EndpointId, HostId, ImageId, JobId, Millis, WorkerId};

/// What one request may set for itself (`policy` of the request body). Absent fields take the endpoint's setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPolicy {
    /// Life of the job from submission; 10 s to 7 d on the wire.
    pub ttl: Option<Millis>,
    /// Longest run of one attempt; 5 s to 7 d on the wire.
    pub execution_timeout: Option<Millis>,
    /// Never causes a scale-up, never overtakes a job of normal priority.
    pub low_priority: bool,
}

/// The stages of a cold start on the host, in order. The pull comes before them and is not part of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStage {
    /// Create and start the container.
    Container,
    /// CUDA context.
    Cuda,
    /// Interpreter, framework and user imports, fitness checks.
    Import,
    /// Weights from storage to GPU memory.
    Weights,
    /// Engine: profile, compile, graph capture, warm-up.
    Engine,
    /// From ready to the first take.
    FirstTake,
    /// Thaw of a frozen worker: replaces all the others.
    Resume,
}

impl StartStage {
    /// Every stage, in order.
    pub const ALL: [StartStage; 7] = [
        StartStage::Container,
        StartStage::Cuda,
        StartStage::Import,
        StartStage::Weights,
        StartStage::Engine,
        StartStage::FirstTake,
        StartStage::Resume,
    ];
}

/// How an attempt ended on the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// The handler returned an output.
    Completed,
    /// The handler returned or raised an error: final, never retried.
    Failed,
}

/// Why a worker's process is gone without having been asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The image could not be run or its start command failed.
    StartFailed,
    /// Exit code other than 0 or a signal, while starting or serving.
    Crashed,
    /// Fitness checks failed (GPU, memory, disk, network).
    Unfit,
    /// Exit code 0: the worker left by itself.
    Left,
    /// Nothing was heard from it for the length of a lease.
    Silent,
}

/// A fact. `epoch` numbers the starts of one worker: a fact of an earlier start is recognised and ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A host joined; it gets the next [`HostId`].
    HostAdded {
        /// What the host has.
        host: Box<HostSpec>,
    },
    /// Other tenants came or went: `gpus` is what is left for us in all, those we hold included.
    HostCapacityChanged {
        /// Which host.
        host: HostId,
        /// GPUs that we may use there.
        gpus: u32,
    },
    /// A host is gone with every worker on it.
    HostLost {
        /// Which host.
        host: HostId,
    },
    /// A lost host is back, its disk as it was, nothing running.
    HostReturned {
        /// Which host.
        host: HostId,
    },
    /// A new endpoint; it gets the next [`EndpointId`].
    EndpointCreated {
        /// Its settings.
        spec: Box<EndpointSpec>,
    },
    /// New settings: a change that needs new containers becomes a release, everything else holds at once.
    EndpointUpdated {
        /// Which endpoint.
        endpoint: EndpointId,
        /// All settings, changed or not.
        spec: Box<EndpointSpec>,
    },
    /// The endpoint is to go: queued jobs are cancelled, running ones finish, workers leave.
    EndpointDeleted {
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// A client submitted a job. `client_ref` is the driver's own number for it and comes back in every command about it.
    JobSubmitted {
        /// Where to.
        endpoint: EndpointId,
        /// The driver's number.
        client_ref: u64,
        /// What the request set for itself.
        policy: JobPolicy,
    },
    /// A client asked to cancel a job.
    CancelRequested {
        /// Which job.
        job: JobId,
    },
    /// A client asked to drop every queued job; running ones are untouched.
    PurgeRequested {
        /// Whose queue.
        endpoint: EndpointId,
    },
    /// The image (and a cached model) is complete on the host.
    ImagePulled {
        /// Where.
        host: HostId,
        /// Which image.
        image: ImageId,
    },
    /// The pull ended without an image.
    ImagePullFailed {
        /// Where.
        host: HostId,
        /// Which image.
        image: ImageId,
    },
    /// One stage of a start is over.
    StageEnded {
        /// Whose start.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
        /// Which stage.
        stage: StartStage,
    },
    /// The worker can serve.
    WorkerReady {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
    },
    /// The worker's process ended although nobody asked.
    WorkerExited {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
        /// Why.
        cause: ExitCause,
    },
    /// A stop that was asked for is complete; the GPU is free. Where nobody asked it counts as a worker that left by itself.
    WorkerStopped {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
        /// A snapshot was kept: the next start on this slot may be a resume.
        frozen: bool,
    },
    /// The snapshot of a frozen worker is gone (host memory pressure, age): its next start is a full one.
    SnapshotLost {
        /// Which worker.
        worker: WorkerId,
        /// Of which start the snapshot was.
        epoch: u32,
    },
    /// Proof of life from a worker that holds jobs; renews its lease.
    WorkerPinged {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
    },
    /// The worker asks for work: it will accept up to `slots` more jobs now (pull pick-up only).
    TakeOpened {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
        /// Free places.
        slots: u32,
    },
    /// The worker's request for work ended without a job.
    TakeClosed {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
    },
    /// The worker reported the end of an attempt.
    JobFinished {
        /// Who.
        worker: WorkerId,
        /// In which start.
        epoch: u32,
        /// Which job.
        job: JobId,
        /// Which attempt, from 1.
        attempt: u32,
        /// How it ended.
        result: JobResult,
        /// The result asked for a reset of the worker (`refresh_worker`).
        refresh: bool,
    },
    /// The worker no longer runs a job that it was told to stop.
    JobStopped {
        /// Who.
        worker: WorkerId,
        /// In which start.
        epoch: u32,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
    },
    /// The worker never got a job that was handed to it (the answer to its take was lost): not an attempt.
    TakeLost {
        /// Who.
        worker: WorkerId,
        /// In which start.
        epoch: u32,
        /// Which job.
        job: JobId,
        /// Which attempt.
        attempt: u32,
    },
    /// A deadline of the scheduler's own has come.
    DeadlineReached,
    /// An image that endpoints may name from now on; it gets the next [`ImageId`].
    ImageAdded {
        /// Its layers.
        image: Box<Image>,
    },
    /// A GPU class that hosts and endpoints may name from now on; it gets the next [`GpuClassId`](super::GpuClassId).
    GpuClassAdded {
        /// Its name and prices.
        class: Box<GpuClass>,
    },
}
