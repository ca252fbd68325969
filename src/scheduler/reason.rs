//! One machine-readable reason for everything that waits, stops or is refused. Written in snake case wherever it is shown.

use crate::policy::vocabulary::words;

words! {
    /// Why a job in the queue is not running yet.
    WaitReason {
        /// A worker is starting and will take it.
        WorkerStarting = "worker_starting",
        /// A worker's image is still being fetched.
        ImagePulling = "image_pulling",
        /// Every wanted worker sits on a host whose GPUs are taken.
        Throttled = "throttled",
        /// No host fits the endpoint's needs at all.
        NoCapacity = "no_capacity",
        /// All workers are busy and the endpoint is at its maximum.
        AtMax = "at_max",
        /// All workers are busy and the scaler does not want more yet.
        BelowScaleThreshold = "below_scale_threshold",
        /// An idle worker has not asked for its next job yet (the SDK takes at most one a second).
        WorkerPacing = "worker_pacing",
        /// Workers fail to start; the next try waits for its backoff.
        CrashLoop = "crash_loop",
        /// Low priority, and jobs of normal priority come first or no worker may be started for it.
        LowPriority = "low_priority",
        /// The endpoint may run no workers (max 0, dormant or suspended).
        MaxZero = "max_zero",
        /// Workers are being replaced by a new release.
        RollingOut = "rolling_out",
        /// The worker bound to this job (early binding) is not ready.
        BoundWorkerStarting = "bound_worker_starting",
    }
}

words! {
    /// Why a worker is in its phase: for every worker that is not running, what it waits for.
    WorkerReason {
        /// Placed ahead of demand so that its host holds the image.
        Precache = "precache",
        /// The scaler wants it.
        ScaleUp = "scale_up",
        /// The endpoint's active workers are always kept up.
        ActiveFloor = "active_floor",
        /// A spike: an extra worker where the image is already cached.
        Burst = "burst",
        /// No host with room for it now; asked again when one changes.
        NoCapacity = "no_capacity",
        /// Its host's GPUs are taken, by other tenants or by other endpoints.
        HostFull = "host_full",
        /// Its image is being fetched.
        ImagePull = "image_pull",
        /// The image could not be fetched.
        ImagePullFailed = "image_pull_failed",
        /// Its container is starting, up to ready.
        ColdStart = "cold_start",
        /// It is being thawed.
        WarmResume = "warm_resume",
        /// Ready, without a job.
        WaitingForJobs = "waiting_for_jobs",
        /// Its idle timeout ended.
        IdleTimeout = "idle_timeout",
        /// More workers than the scaler wants.
        ScaleDown = "scale_down",
        /// A start that is no longer needed.
        StartCancelled = "start_cancelled",
        /// Asleep or frozen: nothing to do.
        NoDemand = "no_demand",
        /// Its snapshot is gone; still placed.
        SnapshotLost = "snapshot_lost",
        /// Its release is no longer the current one.
        Outdated = "outdated",
        /// A result asked for a reset.
        Refresh = "refresh",
        /// Its process ended by itself.
        Crashed = "crashed",
        /// Its image or start command failed.
        StartFailed = "start_failed",
        /// Fitness checks failed.
        Unfit = "unfit",
        /// Not ready within the init timeout.
        InitTimeout = "init_timeout",
        /// Nothing heard from it for a lease.
        Silent = "silent",
        /// It ignored a stop signal for a job and was killed.
        IgnoredStop = "ignored_stop",
        /// Its host is gone.
        HostLost = "host_lost",
        /// The endpoint's maximum went down.
        MaxLowered = "max_lowered",
        /// The endpoint is being deleted.
        EndpointDeleted = "endpoint_deleted",
        /// It failed for seven days (the endpoint's limit).
        GaveUp = "gave_up",
        /// Its host stayed full for too long; it looks for another.
        Replaced = "replaced",
        /// It left by itself with exit code 0.
        Left = "left",
        /// It was idle, and another worker wanted its GPUs.
        MadeRoom = "made_room",
    }
}

words! {
    /// Why a job was refused.
    RejectReason {
        /// The queue is at its limit.
        QueueFull = "queue_full",
        /// No such endpoint, or it is being deleted.
        UnknownEndpoint = "unknown_endpoint",
    }
}

words! {
    /// Why an attempt ended without an outcome.
    RequeueCause {
        /// The worker's process ended.
        WorkerCrashed = "worker_crashed",
        /// Nothing heard from the worker for a lease.
        WorkerSilent = "worker_silent",
        /// The worker's host is gone.
        HostLost = "host_lost",
        /// The worker was killed although it held the job.
        WorkerKilled = "worker_killed",
        /// The worker left with exit code 0 although it held the job.
        WorkerLeft = "worker_left",
        /// The worker never got it; not counted as an attempt.
        TakeLost = "take_lost",
    }
}

words! {
    /// What ended a job.
    FinishCause {
        /// The handler's result.
        Result = "result",
        /// The handler's error.
        HandlerError = "handler_error",
        /// TTL over while it waited.
        TtlInQueue = "ttl_in_queue",
        /// TTL over while it ran.
        TtlRunning = "ttl_running",
        /// The attempt ran longer than its execution timeout.
        ExecutionTimeout = "execution_timeout",
        /// The attempts allowed are used up.
        AttemptsExhausted = "attempts_exhausted",
        /// A client cancelled it.
        Cancelled = "cancelled",
        /// A client purged the queue.
        Purged = "purged",
        /// Its endpoint was deleted.
        EndpointDeleted = "endpoint_deleted",
    }
}
