//! The words that policies and the scheduler share: kinds and phases of workers, reasons for a number of workers.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name used in files, metrics and messages.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// How a worker is paid for and who may start it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerKind {
    /// Always on, at a discount.
    Active,
    /// Comes and goes with traffic.
    Flex,
    /// Beyond max, only where the image is cached.
    Extra,
}

impl WorkerKind {
    /// Every kind, in order.
    pub const ALL: [WorkerKind; 3] = [WorkerKind::Active, WorkerKind::Flex, WorkerKind::Extra];

    /// The name used in files, metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerKind::Active => "active",
            WorkerKind::Flex => "flex",
            WorkerKind::Extra => "extra",
        }
    }
}

/// The fine phase of a worker. `Ready` covers idle and busy: which one is told by the jobs in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looks for a host.
    Placing,
    /// On a host that is fetching the image.
    Pulling,
    /// Placed, image there, container stopped: costs nothing, holds no GPU.
    Asleep,
    /// As asleep, with a snapshot that thaws in about a second.
    Frozen,
    /// Wants to start, the host's GPUs are taken.
    Throttled,
    /// Container starting and loading, or thawing; holds its GPUs.
    Starting,
    /// Up: idle without a job, running with one.
    Ready,
    /// Up, takes no new jobs, finishes those in hand.
    Draining,
    /// Told to stop, still holding its GPUs.
    Stopping,
    /// Failed; waits for its backoff.
    Unhealthy,
    /// Gone. Last phase.
    Removed,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 11] = [
        Phase::Placing,
        Phase::Pulling,
        Phase::Asleep,
        Phase::Frozen,
        Phase::Throttled,
        Phase::Starting,
        Phase::Ready,
        Phase::Draining,
        Phase::Stopping,
        Phase::Unhealthy,
        Phase::Removed,
    ];

    /// The name used in files, metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Placing => "placing",
            Phase::Pulling => "pulling",
            Phase::Asleep => "asleep",
            Phase::Frozen => "frozen",
            Phase::Throttled => "throttled",
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
            Phase::Unhealthy => "unhealthy",
            Phase::Removed => "removed",
        }
    }

    /// Its GPUs are in use by it.
    #[inline]
    pub fn holds_gpus(self) -> bool {
        matches!(self, Phase::Starting | Phase::Ready | Phase::Draining | Phase::Stopping)
    }
}

words! {
    /// Why a policy (or the scheduler itself) wants this many workers.
    ScaleReason {
        /// Jobs wait and no worker is up or coming.
        FromZero = "from_zero",
        /// A job has waited longer than the scaler's delay.
        QueueDelay = "queue_delay",
        /// Requests in flight divided by the scaler's value.
        RequestCount = "request_count",
        /// One worker per job that found none idle.
        PerJob = "per_job",
        /// A fixed number.
        Fixed = "fixed",
        /// The endpoint's lower bound.
        ActiveFloor = "active_floor",
        /// Load fell.
        LoadFell = "load_fell",
        /// Something a policy of the catalogue reports by its own name.
        Policy = "policy",
        /// The policy's answer was unusable; the default's was taken.
        PolicyFault = "policy_fault",
        /// Settings changed.
        Update = "update",
        /// No request for days.
        Dormant = "dormant",
        /// Too many start failures in a row.
        Suspended = "suspended",
        /// The endpoint is being deleted.
        EndpointDeleted = "endpoint_deleted",
    }
}
