//! Which of the workers with a free place gets the next job.
//!
//! The rule changes results a lot: with idle timeouts `mru` lets the fleet shrink, `lru` keeps every timer fresh and the fleet
//! never shrinks (simulators.md: 81 against 200 workers on the matched workload). Sources: policies §5.

use super::hash::word;
use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{DispatchPolicy, WorkerView};

macro_rules! entry {
    ($name:literal, $summary:literal, $formula:literal, $weakness:literal, $key:expr) => {
        Entry {
            name: $name,
            summary: $summary,
            formula: $formula,
            source: "policies 5",
            weakness: $weakness,
            params: &[],
            build: |_| Box::new(ByKey { key: $key }),
        }
    };
}

pub(super) const ENTRIES: &[Entry<dyn DispatchPolicy>] = &[
    entry!("mru", "most recently used idle worker", "largest last_used", "nothing else stays warm", |w| !w.last_used.0),
    entry!("lru", "longest idle worker", "smallest last_used", "with idle timeouts the fleet never shrinks", |w| w
        .last_used
        .0),
    entry!("newest", "most recently started worker", "largest started", "old workers idle out first", |w| !w.started.0),
    entry!("oldest", "earliest started worker", "smallest started", "new workers idle out first", |w| w.started.0),
    entry!(
        "least_loaded",
        "fewest jobs in hand, then most recently used",
        "smallest in_hand, largest last_used",
        "spreads thin load over many workers",
        |w| (u64::from(w.in_hand) << 52) | (!w.last_used.0 & ((1 << 52) - 1))
    ),
    entry!(
        "rank",
        "the earliest made worker, active ones first: ranks stay in order",
        "smallest worker id",
        "a worker on a bad host is used most",
        |w| w.id.sequence()
    ),
    Entry {
        name: "random",
        summary: "any idle worker: the baseline",
        formula: "smallest hash of (seed, worker, when it was last used)",
        source: "policies 5",
        weakness: "keeps many workers half warm: the fleet shrinks late",
        params: &[ParamSpec {
            name: "seed",
            kind: ParamKind::Whole { min: 0, max: u32::MAX, default: 1 },
            doc: "which sequence of random numbers",
        }],
        build: |params| Box::new(Random { seed: params.whole("seed") }),
    },
    entry!(
        "pack",
        "most jobs in hand that still leave a place, then most recently used",
        "largest in_hand, largest last_used",
        "slows jobs down where sharing costs speed",
        |w| (u64::from(!(w.in_hand as u8)) << 52) | (!w.last_used.0 & ((1 << 52) - 1))
    ),
];

struct Random {
    seed: u32,
}

impl DispatchPolicy for Random {
    fn key(&self, worker: &WorkerView) -> u64 {
        word(self.seed, worker.id.sequence(), worker.last_used.0 ^ u64::from(worker.in_hand))
    }
}

struct ByKey {
    key: fn(&WorkerView) -> u64,
}

impl DispatchPolicy for ByKey {
    fn key(&self, worker: &WorkerView) -> u64 {
        (self.key)(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::worker;
    use super::super::{PolicyChoice, registry};
    use super::*;
    use crate::units::Time;

    #[test]
    fn random_is_fair_and_repeats() {
        let policy = registry::dispatch(&PolicyChoice::named("random")).expect("it is in the registry");
        let mut first = [0_u32; 4];
        for second in 0..4_000_u64 {
            let key = |n: &u64| policy.key(&WorkerView { last_used: Time(second * 1_000_000 + n), ..worker(*n) });
            let picked = (0..4).min_by_key(key).expect("there are four");
            first[picked as usize] += 1;
        }
        // A thousand each, with a standard deviation of 27.
        assert!(first.iter().all(|n| n.abs_diff(1_000) < 125), "{first:?}");
    }

    #[test]
    fn rank_prefers_the_earliest_made_worker() {
        let policy = registry::dispatch(&PolicyChoice::named("rank")).expect("it is in the registry");
        let recent = WorkerView { last_used: Time::from_secs(9.0), ..worker(7) };
        assert!(policy.key(&worker(3)) < policy.key(&recent));
    }
}
