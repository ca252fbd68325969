//! Which host gets a worker. All hard needs (GPUs, class, memory, disk, data centre) are met by every candidate.
//!
//! Sources: policies §6.1; contract §1.1 (GPU types in order of preference). Scores are compared element by element.

use super::hash::word;
use super::params::{ParamKind, ParamSpec};
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
    entry!(
        "fastest_start",
        "wanted GPU class, free GPUs, then the shortest pull at the host's bandwidth and with the pulls under way",
        "(class rank, full, missing bytes * (pulls + 1) / bandwidth in ms, free GPUs)",
        "piles workers on the hosts that already hold the image; nominal bandwidth only",
        |host, gpus| [rank(host), full(host, gpus), pull_ms(host), i64::from(host.gpus_free)]
    ),
    Entry {
        name: "image_locality_k8s",
        summary: "wanted GPU class, free GPUs, then Kubernetes' image locality score, then most free GPUs",
        formula: "(class rank, full, -100 (bytes there - min) / (max - min) within 0..100, -free GPUs)",
        source: "Kubernetes pkg/scheduler/framework/plugins/imagelocality: 23 MB and 1000 MB; policies 6.1",
        weakness: "images above max_mb, as GPU images are: every host with a part of one counts as holding it",
        params: &[ParamSpec {
            name: "max_mb",
            kind: ParamKind::Number { min: 24.0, max: 10_000_000.0, default: 1_000.0 },
            doc: "megabytes present from which the score is 100 (Kubernetes 1000 per container)",
        }],
        build: |params| Box::new(LocalityScore { max_mb: params.number("max_mb") }),
    },
    Entry {
        name: "random",
        summary: "wanted GPU class, free GPUs, then any host: the baseline",
        formula: "(class rank, full, hash of seed, host and its load)",
        source: "policies 6.1",
        weakness: "many hosts need the image",
        params: &[ParamSpec {
            name: "seed",
            kind: ParamKind::Whole { min: 0, max: u32::MAX, default: 1 },
            doc: "which sequence of random numbers",
        }],
        build: |params| Box::new(Random { seed: params.whole("seed") }),
    },
];

/// Megabytes below which Kubernetes does not count what is present.
const MIN_MB: f64 = 23.0;

struct LocalityScore {
    max_mb: f64,
}

impl PlacementPolicy for LocalityScore {
    fn score(&self, host: &HostView, gpus_wanted: u32) -> [i64; 4] {
        // The share of hosts that hold the image is the same for every host of one choice, so it is left out.
        let present_mb = host.image_bytes.saturating_sub(host.missing_bytes) as f64 / 1e6;
        let score = 100.0 * (present_mb.clamp(MIN_MB, self.max_mb) - MIN_MB) / (self.max_mb - MIN_MB);
        [rank(host), full(host, gpus_wanted), -(score as i64), -i64::from(host.gpus_free)]
    }
}

struct Random {
    seed: u32,
}

impl PlacementPolicy for Random {
    fn score(&self, host: &HostView, gpus_wanted: u32) -> [i64; 4] {
        // The host's load is the only thing that changes from one choice to the next.
        let load = (u64::from(host.slots) << 32) | u64::from(host.gpus_free);
        [rank(host), full(host, gpus_wanted), (word(self.seed, u64::from(host.id.0), load) >> 1) as i64, 0]
    }
}

fn pull_ms(host: &HostView) -> i64 {
    let bytes = host.missing_bytes as f64 * f64::from(host.pulls + 1);
    (bytes * 1e3 / host.pull_bytes_per_s.max(1) as f64) as i64
}

struct ByScore {
    score: fn(&HostView, u32) -> [i64; 4],
}

impl PlacementPolicy for ByScore {
    fn score(&self, host: &HostView, gpus_wanted: u32) -> [i64; 4] {
        (self.score)(host, gpus_wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PolicyChoice, registry};
    use super::*;
    use crate::units::HostId;

    fn host(id: u32, missing_gb: u64, gb_per_s: f64) -> HostView {
        HostView {
            id: HostId(id),
            class_rank: 0,
            priority: 0,
            gpus: 8,
            gpus_free: 8,
            own_slots: 0,
            slots: 0,
            missing_bytes: missing_gb * 1_000_000_000,
            pulls: 0,
            pull_bytes_per_s: (gb_per_s * 1e9) as u64,
            image_bytes: 20_000_000_000,
        }
    }

    fn best(name: &str, hosts: &[HostView]) -> u32 {
        let policy = registry::placement(&PolicyChoice::named(name)).expect("it is in the registry");
        hosts.iter().min_by_key(|host| policy.score(host, 1)).expect("there are hosts").id.0
    }

    #[test]
    fn a_fast_pull_beats_a_small_one() {
        let hosts = [host(0, 5, 0.1), host(1, 10, 1.0), host(2, 20, 1.0)];
        assert_eq!(best("image_locality", &hosts), 0);
        assert_eq!(best("fastest_start", &hosts), 1);
    }

    #[test]
    fn the_score_of_kubernetes_cannot_tell_large_images_apart() {
        // 2 GB present and all 20 GB present both score 100: the host with more free GPUs wins.
        let crowded = HostView { gpus_free: 1, ..host(1, 0, 1.0) };
        assert_eq!(best("image_locality_k8s", &[host(0, 18, 1.0), crowded]), 0);
        assert_eq!(best("image_locality_k8s", &[host(0, 20, 1.0), crowded]), 1);
    }
}
