//! Workers: kinds, the fine phases, and the six public states that they show.

use serde::{Deserialize, Serialize};

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

    /// Its GPUs are in use by it.
    #[inline]
    pub fn holds_gpus(self) -> bool {
        matches!(self, Phase::Starting | Phase::Ready | Phase::Draining | Phase::Stopping)
    }
}

/// The state that users see (contract §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicState {
    /// Image download and preparation, container start, code load.
    Initializing,
    /// Ready or asleep, not processing.
    Idle,
    /// Processing.
    Running,
    /// The host lacks the resources.
    Throttled,
    /// Marked for replacement.
    Outdated,
    /// Crashed; waits for its backoff.
    Unhealthy,
}

impl PublicState {
    /// Every state, in order.
    pub const ALL: [PublicState; 6] = [
        PublicState::Initializing,
        PublicState::Idle,
        PublicState::Running,
        PublicState::Throttled,
        PublicState::Outdated,
        PublicState::Unhealthy,
    ];

    /// The public state of a worker; `None` once it is removed. An unhealthy worker is unhealthy, outdated or not.
    #[inline]
    pub fn of(phase: Phase, jobs_in_hand: u32, outdated: bool) -> Option<PublicState> {
        Some(match phase {
            Phase::Removed => return None,
            Phase::Unhealthy => PublicState::Unhealthy,
            _ if outdated => PublicState::Outdated,
            Phase::Placing | Phase::Pulling | Phase::Starting => PublicState::Initializing,
            Phase::Throttled => PublicState::Throttled,
            Phase::Ready | Phase::Draining if jobs_in_hand > 0 => PublicState::Running,
            Phase::Asleep | Phase::Frozen | Phase::Ready | Phase::Draining | Phase::Stopping => PublicState::Idle,
        })
    }
}
