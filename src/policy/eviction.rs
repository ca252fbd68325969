//! Which image leaves a full disk. Images in use or being pulled are never candidates.
//!
//! Sources: policies §6.3; theory.csv lru-*, fifo-* (independent requests). A policy sees how often an image was used, since when and
//! until when, not each use.

use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{CachedImageView, EvictionPolicy};

macro_rules! entry {
    ($name:literal, $summary:literal, $formula:literal, $weakness:literal, $key:expr) => {
        Entry {
            name: $name,
            summary: $summary,
            formula: $formula,
            source: "policies 6.3",
            weakness: $weakness,
            params: &[],
            build: |_| Box::new(ByKey { key: $key }),
        }
    };
}

pub(super) const ENTRIES: &[Entry<dyn EvictionPolicy>] = &[
    entry!("lru", "least recently used", "smallest last_used", "one scan over many images empties the cache", |i| i
        .last_used
        .0),
    entry!(
        "fifo",
        "first come, first out",
        "smallest cached_at",
        "drops popular images as readily as rare ones",
        |i| i.cached_at.0
    ),
    entry!("lfu", "least often used", "smallest uses", "keeps images that were popular once", |i| i.uses),
    entry!("largest", "largest on disk", "largest disk bytes", "drops what takes longest to fetch again", |i| !i
        .disk_bytes),
    Entry {
        name: "lfu_decay",
        summary: "least often used, old uses counting less",
        formula: "smallest sum over uses of 2^(time / half-life), uses taken as spread evenly since the image came",
        source: "policies 6.3",
        weakness: "needs a half-life that fits the traffic; the times of single uses are not kept",
        params: &[HALF_LIFE],
        build: |params| Box::new(Decayed { half_life_s: params.number("half_life_s"), by_size: false }),
    },
    Entry {
        name: "gdsf",
        summary: "smallest worth per byte: frequency * pull time / size (greedy dual size frequency)",
        formula: "smallest decayed uses * pull bytes / disk bytes; aged by a half-life in place of the clock of victims",
        source: "Cherkasova 1998; policies 6.3",
        weakness: "compression alone tells large images from small ones",
        params: &[HALF_LIFE],
        build: |params| Box::new(Decayed { half_life_s: params.number("half_life_s"), by_size: true }),
    },
];

const HALF_LIFE: ParamSpec = ParamSpec {
    name: "half_life_s",
    kind: ParamKind::Number { min: 60.0, max: 31_536_000.0, default: 86_400.0 },
    doc: "seconds after which a use counts half (a day)",
};

struct Decayed {
    half_life_s: f64,
    by_size: bool,
}

impl EvictionPolicy for Decayed {
    fn key(&self, image: &CachedImageView) -> u64 {
        // The logarithm to base 2 of the decayed count as of time zero: the order of two images is the same at every later time.
        let from = image.cached_at.as_secs() / self.half_life_s;
        let length = image.last_used.since(image.cached_at).as_secs() / self.half_life_s;
        // Mean of 2^x over the uses' stretch, relative to its end.
        let spread = length * std::f64::consts::LN_2;
        let mean = if spread > 1e-6 { -libm::expm1(-spread) / spread } else { 1.0 };
        let mut worth = from + length + libm::log2(mean) + libm::log2(image.uses.max(1) as f64);
        if self.by_size {
            // The seconds of a pull are in proportion to its bytes.
            worth += libm::log2(image.pull_bytes.max(1) as f64) - libm::log2(image.disk_bytes.max(1) as f64);
        }
        // From a signed number of bits to an ordered whole number, a millionth of a bit apart.
        ((worth + 1e6) * 1e6).max(0.0) as u64
    }
}

struct ByKey {
    key: fn(&CachedImageView) -> u64,
}

impl EvictionPolicy for ByKey {
    fn key(&self, image: &CachedImageView) -> u64 {
        (self.key)(image)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PolicyChoice, registry};
    use super::*;
    use crate::units::Time;

    fn image(uses: u64, from_h: f64, until_h: f64, pull_gb: u64, disk_gb: u64) -> CachedImageView {
        CachedImageView {
            last_used: Time::from_secs(until_h * 3_600.0),
            uses,
            cached_at: Time::from_secs(from_h * 3_600.0),
            disk_bytes: disk_gb * 1_000_000_000,
            pull_bytes: pull_gb * 1_000_000_000,
        }
    }

    fn leaves_first(name: &str, a: CachedImageView, b: CachedImageView) -> bool {
        let policy = registry::eviction(&PolicyChoice::named(name)).expect("it is in the registry");
        policy.key(&a) < policy.key(&b)
    }

    #[test]
    fn what_was_popular_once_is_forgotten() {
        // A hundred uses a week ago against ten today, half-life a day: 100 / 128 < 10.
        let (old, fresh) = (image(100, 0.0, 1.0, 10, 20), image(10, 168.0, 169.0, 10, 20));
        assert!(leaves_first("lfu_decay", old, fresh));
        assert!(!leaves_first("lfu", old, fresh));
        // Ten uses spread over a day are worth less at its end than ten within its last hour.
        assert!(leaves_first("lfu_decay", image(10, 0.0, 24.0, 10, 20), image(10, 23.0, 24.0, 10, 20)));
    }

    #[test]
    fn gdsf_keeps_what_is_slow_to_fetch_for_its_size() {
        let (packed, plain) = (image(5, 0.0, 1.0, 5, 20), image(5, 0.0, 1.0, 18, 20));
        assert!(leaves_first("gdsf", packed, plain));
    }
}
