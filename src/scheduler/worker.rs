//! The six public states that a worker shows, from its fine phase.

use serde::{Deserialize, Serialize};

use crate::policy::Phase;

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
