//! The table of legal changes of phase (contract §2.3), written down from the contract and not from the scheduler.

use thermocline::scheduler::Phase;

/// True when a worker may go from `from` to `to`. The same phase again (a new reason, the outdated flag) is always legal.
pub fn legal(from: Phase, to: Phase) -> bool {
    use Phase::*;
    if from == to {
        return from != Removed;
    }
    match from {
        // A host is found (2, 3), or the worker is no longer wanted.
        Placing => matches!(to, Pulling | Asleep | Throttled | Starting | Removed),
        // The image is there (3, 4), or cannot be had; a lost host sends the worker looking again.
        Pulling => matches!(to, Asleep | Starting | Throttled | Unhealthy | Placing | Removed),
        // Woken (5, 6), moved, replaced by a release (13).
        Asleep => matches!(to, Starting | Throttled | Placing | Pulling | Removed),
        // As asleep; the snapshot may be lost (12).
        Frozen => matches!(to, Asleep | Starting | Throttled | Placing | Pulling | Removed),
        // Room at last, another host, or no longer wanted.
        Throttled => matches!(to, Starting | Asleep | Frozen | Placing | Pulling | Removed),
        // Up (7), failed (8), called off, or its host is gone.
        Starting => matches!(to, Ready | Unhealthy | Stopping | Placing | Removed),
        // Drained or stopped (11, 13, 14, 16), crashed (15), left by itself, or its host is gone.
        Ready => matches!(to, Draining | Stopping | Unhealthy | Asleep | Placing | Removed),
        // Finished its jobs, or is wanted again.
        Draining => matches!(to, Ready | Stopping | Unhealthy | Asleep | Placing | Removed),
        // Stopped; may be wanted again at that very instant.
        Stopping => {
            matches!(to, Asleep | Frozen | Starting | Throttled | Placing | Pulling | Unhealthy | Removed)
        }
        // Backoff over, given up, replaced.
        Unhealthy => matches!(to, Starting | Throttled | Placing | Pulling | Asleep | Removed),
        Removed => false,
    }
}

/// Phases that a worker may begin with.
pub fn first(phase: Phase) -> bool {
    matches!(phase, Phase::Placing | Phase::Pulling | Phase::Asleep | Phase::Throttled | Phase::Starting)
}
