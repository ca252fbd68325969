//! Wishes and notices: what the scheduler asks the driver to do, and what it has decided.
//!
//! A *wish* needs an action whose outcome comes back as an [`Event`](super::Event). A *notice* needs none: it makes the
//! transcript complete, so that ledger, metrics and `explain` are folds over it and nothing else.

use serde::{Deserialize, Serialize};

use super::reason::{FinishCause, RejectReason, RequeueCause, WorkerReason};
use crate::policy::{Phase, ScaleReason, WorkerKind};
use crate::units::{EndpointId, HostId, ImageId, JobId, WorkerId};

/// How a worker is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// SIGTERM, then SIGKILL after the grace period; the slot keeps the image.
    Sleep,
    /// Freeze with its state (FlashBoot); falls back to a plain stop.
    Freeze,
    /// SIGKILL now: jobs in hand are lost.
    Kill,
}

/// The final state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobOutcome {
    /// Output stored.
    Completed,
    /// Handler error or attempts used up.
    Failed,
    /// TTL or execution timeout.
    TimedOut,
    /// Cancelled, purged or its endpoint deleted.
    Cancelled,
}

/// What happened to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Workers of older versions are now outdated and being replaced.
    Rolling,
    /// Every worker has this version.
    Complete,
    /// It did not come up; the release named next goes back to the settings before it.
    RolledBack,
}

/// A wish or a notice. `epoch` numbers the starts of one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    // ---- wishes
    /// Fetch what the host lacks of the image. Answer: `ImagePulled` or `ImagePullFailed`.
    PullImage {
        /// Where.
        host: HostId,
        /// Which image.
        image: ImageId,
    },
    /// Drop the image (layers that no other cached image needs). No answer: the disk counts as free at once.
    EvictImage {
        /// Where.
        host: HostId,
        /// Which image.
        image: ImageId,
    },
    /// Start the worker's container, or thaw it. Answer: `StageEnded`*, then `WorkerReady` or `WorkerExited`.
    StartWorker {
        /// Which worker.
        worker: WorkerId,
        /// Number of this start.
        epoch: u32,
        /// Whose worker.
        endpoint: EndpointId,
        /// On which host.
        host: HostId,
        /// Release to run.
        version: u32,
        /// A snapshot is believed to be there.
        resume: bool,
    },
    /// Stop the worker. Answer: `WorkerStopped`.
    StopWorker {
        /// Which worker.
        worker: WorkerId,
        /// Which start.
        epoch: u32,
        /// How.
        mode: StopMode,
    },
    /// Hand the job to the worker. Answer, some day: `JobFinished`.
    AssignJob {
        /// Which job.
        job: JobId,
        /// The driver's number for it.
        client_ref: u64,
        /// To whom.
        worker: WorkerId,
        /// In which start of the worker.
        epoch: u32,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// Tell the worker to stop the job (cancel, timeout). Answer: `JobStopped` or a `JobFinished` that is ignored.
    StopJob {
        /// Which job.
        job: JobId,
        /// Who runs it.
        worker: WorkerId,
        /// In which start.
        epoch: u32,
        /// Which attempt.
        attempt: u32,
    },
    // ---- notices
    /// The job is in the queue under this id.
    AcceptJob {
        /// Its id from now on.
        job: JobId,
        /// Whose queue.
        endpoint: EndpointId,
        /// The driver's number for it.
        client_ref: u64,
    },
    /// The job was not taken.
    RejectJob {
        /// Whose queue.
        endpoint: EndpointId,
        /// The driver's number for it.
        client_ref: u64,
        /// Why.
        reason: RejectReason,
    },
    /// The attempt is over without an outcome; the job waits again at its old place.
    RequeueJob {
        /// Which job.
        job: JobId,
        /// Who had it.
        worker: WorkerId,
        /// Why.
        cause: RequeueCause,
    },
    /// The job's outcome, final.
    FinishJob {
        /// Which job.
        job: JobId,
        /// The driver's number for it.
        client_ref: u64,
        /// The final state.
        outcome: JobOutcome,
        /// What brought it about.
        cause: FinishCause,
    },
    /// A worker exists from now on, or its host, kind or version has changed.
    WorkerPlaced {
        /// Which worker.
        worker: WorkerId,
        /// Whose worker.
        endpoint: EndpointId,
        /// On which host; none while it looks for one.
        host: Option<HostId>,
        /// Active, flex or extra.
        kind: WorkerKind,
        /// Its release.
        version: u32,
    },
    /// The worker entered a phase.
    WorkerChanged {
        /// Which worker.
        worker: WorkerId,
        /// The phase from now on; `Removed` is the last one.
        phase: Phase,
        /// The worker's release is not the current one.
        outdated: bool,
        /// Why it is not running (or why it is).
        reason: WorkerReason,
    },
    /// The number of wanted workers changed.
    ScaleDecided {
        /// Whose.
        endpoint: EndpointId,
        /// Wanted before.
        from: u32,
        /// Wanted from now on, within the endpoint's bounds.
        to: u32,
        /// Why.
        reason: ScaleReason,
        /// The job that has waited longest at that moment.
        trigger: Option<JobId>,
    },
    /// A release began, ended or failed.
    ReleaseChanged {
        /// Whose.
        endpoint: EndpointId,
        /// Which.
        version: u32,
        /// What happened.
        status: ReleaseStatus,
    },
    /// The endpoint's bounds on workers changed (update, dormancy, suspension after repeated start failures).
    BoundsChanged {
        /// Whose.
        endpoint: EndpointId,
        /// Active workers from now on.
        active: u32,
        /// Max workers from now on.
        max: u32,
        /// Why.
        reason: ScaleReason,
    },
}
