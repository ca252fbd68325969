//! A fixed number of workers, whatever happens: the baseline, and the M/M/c of theory.
//!
//! Formula: `workers`, always. Does badly on: any traffic that is not constant.

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{Advice, AskedAt, Observation, ScalingPolicy, Surplus};

const PARAMS: &[ParamSpec] = &[ParamSpec {
    name: "workers",
    kind: ParamKind::Whole { min: 0, max: 1_000_000, default: 1 },
    doc: "workers kept up",
}];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "fixed",
    summary: "a fixed number of workers",
    formula: "workers",
    source: "baseline",
    weakness: "any traffic that is not constant: too few workers then, and too many without any",
    params: PARAMS,
    build: |params| Box::new(Fixed { workers: params.whole("workers") }),
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    workers: u32,
}

impl ScalingPolicy for Fixed {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, _: &Observation<'_>) -> Advice {
        Advice { workers: self.workers, surplus: Surplus::CancelStarts, reason: ScaleReason::Fixed, ask_again: None }
    }

    fn uses_idle_timeout(&self) -> bool {
        false
    }
}
