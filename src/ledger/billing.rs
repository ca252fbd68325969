//! Which moments of a worker's life are billed: one table for both profiles, and nothing else decides.
//!
//! | Profile | Flex and extra | Active |
//! | --- | --- | --- |
//! | `seed` | only while running a job | from its first start on, whatever it does, except looking for a host, pulling, throttled, unhealthy |
//! | `documented` | from the wake signal to fully stopped: start, work, warm idle, drain | the same |
//!
//! Both leave free: slots asleep or frozen (of flex and extra workers), pulls, throttled and unhealthy time. `documented`
//! also leaves free the restart that a result asked for (contract C9).

use serde::{Deserialize, Serialize};

use crate::scheduler::watch::Member;
use crate::scheduler::{Phase, WorkerKind};

/// How the platform bills. Both profiles are computed from one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// The platform's seed text: idle workers are not charged.
    Seed,
    /// The documentation of 2026-08: everything between the wake signal and the full stop is charged.
    Documented,
}

impl Profile {
    /// Both, in order.
    pub const ALL: [Profile; 2] = [Profile::Seed, Profile::Documented];

    /// Position in [`Profile::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name used in files and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Seed => "seed",
            Profile::Documented => "documented",
        }
    }
}

/// What billed time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CostPhase {
    /// Container start, loading, thaw.
    Start,
    /// A job in hand.
    Work,
    /// Up without a job (and, for an active worker, asleep between two starts).
    WarmIdle,
    /// Without a job on the way down.
    Drain,
    /// Partial seconds at the end of a session, rounded up.
    Rounding,
}

impl CostPhase {
    /// Every phase, in order.
    pub const ALL: [CostPhase; 5] =
        [CostPhase::Start, CostPhase::Work, CostPhase::WarmIdle, CostPhase::Drain, CostPhase::Rounding];

    /// Position in [`CostPhase::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// All that the bill depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Fine phase.
    pub phase: Phase,
    /// It works on a job.
    pub busy: bool,
    /// It is being reset at the wish of a result.
    pub refreshing: bool,
    /// It has begun to start at least once as an active worker.
    pub enabled: bool,
}

impl Situation {
    /// The situation of `worker`.
    #[inline]
    pub fn of(worker: &Member, enabled: bool) -> Situation {
        Situation {
            kind: worker.kind,
            phase: worker.phase,
            busy: worker.is_busy(),
            refreshing: worker.refreshing,
            enabled,
        }
    }
}

/// What a worker in this situation is billed for; `None` = it costs nothing now.
#[inline]
pub fn billable(profile: Profile, at: Situation) -> Option<CostPhase> {
    use CostPhase::{Drain, Start, WarmIdle, Work};
    let continuous = at.kind == WorkerKind::Active && at.enabled;
    let whole_session = continuous || (profile == Profile::Documented && !at.refreshing);
    match at.phase {
        Phase::Placing | Phase::Pulling | Phase::Throttled | Phase::Unhealthy | Phase::Removed => None,
        Phase::Ready | Phase::Draining if at.busy => Some(Work),
        Phase::Starting => whole_session.then_some(Start),
        Phase::Ready => whole_session.then_some(WarmIdle),
        Phase::Draining | Phase::Stopping => whole_session.then_some(Drain),
        Phase::Asleep | Phase::Frozen => continuous.then_some(WarmIdle),
    }
}

/// Both profiles at once, in the order of [`Profile::ALL`].
#[inline]
pub fn billed(at: Situation) -> [Option<CostPhase>; 2] {
    [billable(Profile::Seed, at), billable(Profile::Documented, at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: WorkerKind, phase: Phase, busy: bool) -> Situation {
        Situation { kind, phase, busy, refreshing: false, enabled: true }
    }

    #[test]
    fn seed_bills_flex_and_extra_only_while_a_job_runs() {
        for kind in [WorkerKind::Flex, WorkerKind::Extra] {
            for phase in Phase::ALL {
                assert_eq!(billable(Profile::Seed, at(kind, phase, false)), None, "{kind:?} {phase:?}");
            }
            assert_eq!(billable(Profile::Seed, at(kind, Phase::Ready, true)), Some(CostPhase::Work));
            assert_eq!(billable(Profile::Seed, at(kind, Phase::Draining, true)), Some(CostPhase::Work));
        }
    }

    #[test]
    fn documented_bills_from_the_wake_signal_to_the_full_stop() {
        let expected = |phase| match phase {
            Phase::Starting => Some(CostPhase::Start),
            Phase::Ready => Some(CostPhase::WarmIdle),
            Phase::Draining | Phase::Stopping => Some(CostPhase::Drain),
            _ => None,
        };
        for kind in [WorkerKind::Flex, WorkerKind::Extra] {
            for phase in Phase::ALL {
                assert_eq!(billable(Profile::Documented, at(kind, phase, false)), expected(phase), "{phase:?}");
            }
        }
    }

    #[test]
    fn a_refresh_is_free_for_flex_and_continuous_for_active() {
        let restart = Situation { refreshing: true, ..at(WorkerKind::Flex, Phase::Starting, false) };
        assert_eq!(billed(restart), [None, None]);
        let active = Situation { kind: WorkerKind::Active, ..restart };
        assert_eq!(billed(active), [Some(CostPhase::Start); 2]);
    }

    #[test]
    fn active_workers_bill_alike_in_both_profiles_from_their_first_start_on() {
        let unpaid = [Phase::Placing, Phase::Pulling, Phase::Throttled, Phase::Unhealthy, Phase::Removed];
        for phase in Phase::ALL {
            let [seed, documented] = billed(at(WorkerKind::Active, phase, false));
            assert_eq!(seed, documented);
            assert_eq!(seed.is_none(), unpaid.contains(&phase), "{phase:?}");
        }
        let before = Situation { enabled: false, ..at(WorkerKind::Active, Phase::Asleep, false) };
        assert_eq!(billed(before), [None, None]);
    }
}
