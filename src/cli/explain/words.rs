//! Reasons in plain words. Every sentence is followed by the machine-readable reason, so that both can be searched for.

use crate::policy::{Phase, ScaleReason};
use crate::scheduler::{FinishCause, RequeueCause, StartStage, WaitReason, WorkerReason};

/// What a worker does from here on.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Placing => "looks for a host",
        Phase::Pulling => "its host fetches the image",
        Phase::Asleep => "asleep: placed, image there, costs nothing",
        Phase::Frozen => "frozen: placed, with a snapshot that thaws in about a second",
        Phase::Throttled => "throttled: wants to start, the host's GPUs are taken",
        Phase::Starting => "starts",
        Phase::Ready => "ready",
        Phase::Draining => "drains: takes no new jobs, finishes those in hand",
        Phase::Stopping => "stops",
        Phase::Unhealthy => "unhealthy: waits for its next try",
        Phase::Removed => "removed",
    }
}

pub(super) fn worker_reason(reason: WorkerReason) -> &'static str {
    match reason {
        WorkerReason::Precache => "placed ahead of demand, so that its host holds the image",
        WorkerReason::ScaleUp => "the scaler wants one more worker",
        WorkerReason::ActiveFloor => "the endpoint's active workers are always kept up",
        WorkerReason::Burst => "a spike: an extra worker where the image is already cached",
        WorkerReason::NoCapacity => "no host has room for it",
        WorkerReason::HostFull => "its host's GPUs are taken",
        WorkerReason::ImagePull => "its image is being fetched",
        WorkerReason::ImagePullFailed => "its image could not be fetched",
        WorkerReason::ColdStart => "a cold start",
        WorkerReason::WarmResume => "thawed from its snapshot",
        WorkerReason::WaitingForJobs => "waits for jobs",
        WorkerReason::IdleTimeout => "its idle timeout ended",
        WorkerReason::ScaleDown => "more workers than the scaler wants",
        WorkerReason::StartCancelled => "the start is no longer needed",
        WorkerReason::NoDemand => "nothing to do",
        WorkerReason::SnapshotLost => "its snapshot is gone",
        WorkerReason::Outdated => "its release is no longer the current one",
        WorkerReason::Refresh => "a result asked for a reset",
        WorkerReason::Crashed => "its process ended by itself",
        WorkerReason::StartFailed => "its image or start command failed",
        WorkerReason::Unfit => "fitness checks failed",
        WorkerReason::InitTimeout => "not ready within the init timeout",
        WorkerReason::Silent => "nothing heard from it for a lease",
        WorkerReason::IgnoredStop => "it ignored a stop signal for a job",
        WorkerReason::HostLost => "its host is gone",
        WorkerReason::MaxLowered => "the endpoint's maximum went down",
        WorkerReason::EndpointDeleted => "the endpoint is being deleted",
        WorkerReason::GaveUp => "it kept failing for the endpoint's limit",
        WorkerReason::Replaced => "its host stayed full for too long: it looks for another",
        WorkerReason::Left => "it left by itself with exit code 0",
        WorkerReason::MadeRoom => "it was idle, and another worker wanted its GPUs",
    }
}

pub(super) fn scale_reason(reason: ScaleReason) -> &'static str {
    match reason {
        ScaleReason::FromZero => "jobs wait and no worker is up or coming",
        ScaleReason::QueueDelay => "a job has waited longer than the scaler's delay",
        ScaleReason::RequestCount => "requests in flight, divided by the scaler's value",
        ScaleReason::PerJob => "a job found no idle worker",
        ScaleReason::Fixed => "a fixed number of workers",
        ScaleReason::ActiveFloor => "the endpoint's lower bound",
        ScaleReason::LoadFell => "load fell",
        ScaleReason::Policy => "the policy's own rule",
        ScaleReason::PolicyFault => "the policy's answer was unusable: the default's was taken",
        ScaleReason::Update => "settings changed",
        ScaleReason::Dormant => "no request for days",
        ScaleReason::Suspended => "too many start failures in a row",
        ScaleReason::EndpointDeleted => "the endpoint is being deleted",
    }
}

pub(super) fn wait_reason(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::WorkerStarting => "a worker is starting and will take it",
        WaitReason::ImagePulling => "a worker's image is still being fetched",
        WaitReason::Throttled => "every wanted worker sits on a host whose GPUs are taken",
        WaitReason::NoCapacity => "no host fits the endpoint's needs",
        WaitReason::AtMax => "all workers are busy and the endpoint is at its maximum",
        WaitReason::BelowScaleThreshold => "all workers are busy and the scaler does not want more yet",
        WaitReason::WorkerPacing => "an idle worker has not asked for its next job yet",
        WaitReason::CrashLoop => "workers fail to start: the next try waits for its backoff",
        WaitReason::LowPriority => "low priority: jobs of normal priority come first, no worker is started for it",
        WaitReason::MaxZero => "the endpoint may run no workers",
        WaitReason::RollingOut => "workers are being replaced by a new release",
        WaitReason::BoundWorkerStarting => "the worker bound to this job is not ready",
    }
}

pub(super) fn requeue_cause(cause: RequeueCause) -> &'static str {
    match cause {
        RequeueCause::WorkerCrashed => "the worker's process ended",
        RequeueCause::WorkerSilent => "nothing heard from the worker for a lease",
        RequeueCause::HostLost => "the worker's host is gone",
        RequeueCause::WorkerKilled => "the worker was killed",
        RequeueCause::WorkerLeft => "the worker left",
        RequeueCause::TakeLost => "the worker never got it (not an attempt)",
    }
}

pub(super) fn finish_cause(cause: FinishCause) -> &'static str {
    match cause {
        FinishCause::Result => "the handler's result",
        FinishCause::HandlerError => "the handler's error",
        FinishCause::TtlInQueue => "its TTL ended while it waited",
        FinishCause::TtlRunning => "its TTL ended while it ran",
        FinishCause::ExecutionTimeout => "the attempt ran longer than its execution timeout",
        FinishCause::AttemptsExhausted => "the attempts allowed are used up",
        FinishCause::Cancelled => "a client cancelled it",
        FinishCause::Purged => "a client purged the queue",
        FinishCause::EndpointDeleted => "its endpoint was deleted",
    }
}

pub(super) fn stage(stage: StartStage) -> &'static str {
    match stage {
        StartStage::Container => "container",
        StartStage::Cuda => "CUDA",
        StartStage::Import => "imports",
        StartStage::Weights => "weights",
        StartStage::Engine => "engine",
        StartStage::FirstTake => "first take",
        StartStage::Resume => "thaw",
    }
}
