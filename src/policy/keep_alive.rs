//! How long an idle worker stays up: a fixed time, for ever, not at all, or a random time; and the list of all such rules.
//!
//! Sources: RunPod 5 s (contract §1.1); policies §4. A fixed time does badly where gaps are just longer than it.

use super::hash::uniform;
use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{IdleStart, KeepAlivePolicy};
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
    Entry {
        name: "exponential",
        summary: "stop after an exponentially distributed idle time: M/M/k with delayed off, which theory solves exactly",
        formula: "-mean_s * ln(U), U from (seed, worker, idle period)",
        source: "Gandhi, Harchol-Balter, Adan 2010; theory.csv delayedoff-6, nocancel-5",
        weakness: "everything that a fixed time does well: it is a model, not a recommendation",
        params: &[
            ParamSpec {
                name: "mean_s",
                kind: ParamKind::Number { min: 0.0, max: 31_536_000.0, default: 5.0 },
                doc: "mean in seconds",
            },
            ParamSpec {
                name: "seed",
                kind: ParamKind::Whole { min: 0, max: u32::MAX, default: 1 },
                doc: "which sequence of random numbers",
            },
        ],
        build: |params| Box::new(Exponential { mean_s: params.number("mean_s"), seed: params.whole("seed") }),
    },
    super::ski::BREAK_EVEN,
    super::ski::SKI_RANDOM,
    super::ski::SKI_STATISTICAL,
    super::ski::RANK_TIMEOUT,
    super::histogram::HYBRID_HISTOGRAM,
    super::greedy_dual::GREEDY_DUAL,
];

/// A fixed idle timeout.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    idle_timeout: Span,
}

impl KeepAlivePolicy for Fixed {
    fn idle_timeout(&mut self, _: &IdleStart<'_>) -> Option<Span> {
        Some(self.idle_timeout)
    }
}

/// No idle timeout.
#[derive(Clone, Copy, Debug)]
pub struct Infinite;

impl KeepAlivePolicy for Infinite {
    fn idle_timeout(&mut self, _: &IdleStart<'_>) -> Option<Span> {
        None
    }
}

/// A random idle timeout. A policy owns no generator: each draw is a hash of what it is for, so that the same worker meets the
/// same timeouts whatever else happens.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    mean_s: f64,
    seed: u32,
}

impl KeepAlivePolicy for Exponential {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        let uniform = uniform(self.seed, idle.worker.id.sequence(), idle.ordinal);
        Some(Span::from_secs(-self.mean_s * libm::log(uniform)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{idle, worker};
    use super::*;

    #[test]
    fn exponential_timeouts_have_their_mean_and_repeat_by_key() {
        let mut policy = Exponential { mean_s: 10.0, seed: 7 };
        let draws: Vec<f64> = (0..20_000)
            .map(|n| policy.idle_timeout(&idle(&worker(n % 10), n / 10)).expect("never for ever").as_secs())
            .collect();
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let second = draws.iter().map(|x| x * x).sum::<f64>() / n;
        // Standard errors of the first two moments: 10 / sqrt(n) = 0.071 and 100 * sqrt(20) / sqrt(n) = 3.2.
        assert!((mean - 10.0).abs() < 4.5 * 0.071, "{mean}");
        assert!((second - 200.0).abs() < 4.5 * 3.2, "{second}");
        assert_eq!(policy.idle_timeout(&idle(&worker(3), 4)).map(Span::as_secs), Some(draws[43]));
    }
}
