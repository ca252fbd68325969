//! Which of the workers with a free place gets the next job.
//!
//! The rule changes results a lot: with idle timeouts `mru` lets the fleet shrink, `lru` keeps every timer fresh and the fleet
//! never shrinks (simulators.md: 81 against 200 workers on the matched workload). Sources: policies §5.

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
        "pack",
        "most jobs in hand that still leave a place, then most recently used",
        "largest in_hand, largest last_used",
        "slows jobs down where sharing costs speed",
        |w| (u64::from(!(w.in_hand as u8)) << 52) | (!w.last_used.0 & ((1 << 52) - 1))
    ),
];

struct ByKey {
    key: fn(&WorkerView) -> u64,
}

impl DispatchPolicy for ByKey {
    fn key(&self, worker: &WorkerView) -> u64 {
        (self.key)(worker)
    }
}
