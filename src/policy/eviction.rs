//! Which image leaves a full disk. Images in use or being pulled are never candidates.
//!
//! Sources: policies §6.3; theory.csv lru-*, fifo-* (independent requests).

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
];

struct ByKey {
    key: fn(&CachedImageView) -> u64,
}

impl EvictionPolicy for ByKey {
    fn key(&self, image: &CachedImageView) -> u64 {
        (self.key)(image)
    }
}
