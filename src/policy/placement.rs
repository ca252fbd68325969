//! Which host gets a worker. All hard needs (GPUs, class, memory, disk, data centre) are met by every candidate.
//!
//! Sources: policies §6.1; contract §1.1 (GPU types in order of preference). Scores are compared element by element.

use super::registry::Entry;
use super::{HostView, PlacementPolicy};

macro_rules! entry {
    ($name:literal, $summary:literal, $formula:literal, $weakness:literal, $score:expr) => {
        Entry {
            name: $name,
            summary: $summary,
            formula: $formula,
            source: "policies 6.1; contract 1.1",
            weakness: $weakness,
            params: &[],
            build: |_| Box::new(ByScore { score: $score }),
        }
    };
}

fn full(host: &HostView, gpus: u32) -> i64 {
    i64::from(host.gpus_free < gpus)
}

fn rank(host: &HostView) -> i64 {
    i64::from(host.class_rank)
}

pub(super) const ENTRIES: &[Entry<dyn PlacementPolicy>] = &[
    entry!(
        "image_locality",
        "wanted GPU class, free GPUs, fewest bytes to fetch, then most free GPUs",
        "(class rank, full, missing bytes, slots there)",
        "piles workers of one endpoint on the hosts that already hold its image",
        |host, gpus| [rank(host), full(host, gpus), host.missing_bytes as i64, i64::from(host.slots)]
    ),
    entry!(
        "bin_pack",
        "wanted GPU class, then the host with the fewest free GPUs that still fits",
        "(class rank, full, free GPUs, missing bytes)",
        "one lost host takes many workers",
        |host, gpus| [
            rank(host),
            full(host, gpus),
            i64::from(host.gpus_free) * 1_024 - i64::from(host.slots),
            host.missing_bytes as i64
        ]
    ),
    entry!(
        "spread",
        "wanted GPU class, then the host with the fewest own workers and most free GPUs",
        "(class rank, full, own slots, -free GPUs)",
        "many hosts need the image",
        |host, gpus| [rank(host), full(host, gpus), i64::from(host.own_slots), -i64::from(host.gpus_free)]
    ),
    entry!(
        "gpu_priority",
        "the host's own priority first, then the wanted GPU class, then bytes to fetch",
        "(full, -priority, class rank, missing bytes)",
        "ignores where the image is",
        |host, gpus| [full(host, gpus), -i64::from(host.priority), rank(host), host.missing_bytes as i64]
    ),
];

struct ByScore {
    score: fn(&HostView, u32) -> [i64; 4],
}

impl PlacementPolicy for ByScore {
    fn score(&self, host: &HostView, gpus_wanted: u32) -> [i64; 4] {
        (self.score)(host, gpus_wanted)
    }
}
