//! How long an idle worker stays up: a fixed time, for ever, or not at all.
//!
//! Sources: RunPod 5 s (contract §1.1); policies §4. A fixed time does badly where gaps are just longer than it.

use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{KeepAlivePolicy, WorkerView};
use crate::units::Span;

pub(super) const ENTRIES: &[Entry<dyn KeepAlivePolicy>] = &[
    Entry {
        name: "fixed",
        summary: "stop after a fixed idle time",
        formula: "idle_timeout_s after the last job",
        source: "RunPod docs: 5 s; contract 1.1",
        weakness: "gaps just longer than the timeout",
        params: &[ParamSpec {
            name: "idle_timeout_s",
            kind: ParamKind::Number { min: 0.0, max: 31_536_000.0, default: 5.0 },
            doc: "seconds (documented default 5, platform range 1 to 3600; 0 = stop at once)",
        }],
        build: |params| Box::new(Fixed { idle_timeout: Span::from_secs(params.number("idle_timeout_s")) }),
    },
    Entry {
        name: "infinite",
        summary: "never stop",
        formula: "infinite",
        source: "baseline; policies 4",
        weakness: "sparse traffic",
        params: &[],
        build: |_| Box::new(Infinite),
    },
];

/// A fixed idle timeout.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    idle_timeout: Span,
}

impl KeepAlivePolicy for Fixed {
    fn idle_timeout(&mut self, _: &WorkerView, _: u64) -> Option<Span> {
        Some(self.idle_timeout)
    }
}

/// No idle timeout.
#[derive(Clone, Copy, Debug)]
pub struct Infinite;

impl KeepAlivePolicy for Infinite {
    fn idle_timeout(&mut self, _: &WorkerView, _: u64) -> Option<Span> {
        None
    }
}
