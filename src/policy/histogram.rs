//! Keep-alive by a histogram of idle times: wait for nearly all of the gaps that are usual, and no longer.
//!
//! Per rank of workers (see `levels`; rank 1 is the endpoint's own idle time), a histogram of gaps in `bins` of `bin_s`. With
//! at least `min_gaps` of them, most within the range, and concentrated (coefficient of variation of the counts per bin above `min_cv`):
//! `timeout = (1 + margin) * tail`, tail = upper edge of the bin in which 99 % of the gaps have ended. Otherwise the whole range; where
//! most gaps are longer than the range, one start's length (nothing within the range is worth waiting for).
//! Source: Shahrad et al., ATC 2020 (240 bins of a minute, 5 % and 99 %, margin 10 %, variation 2). Ours: bins of 10 s to fit starts of
//! GPU workers. Left out: the pre-warm before the next arrival, because a keep-alive policy cannot start workers. Does badly on: long
//! regular gaps (waits them out, where the original would unload and come back) and a young endpoint (keeps the whole range).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::levels::Ranks;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{BadPolicyState, IdleStart, KeepAlivePolicy};
use crate::units::{Span, Time};

pub(super) const HYBRID_HISTOGRAM: Entry<dyn KeepAlivePolicy> = Entry {
    name: "hybrid_histogram",
    summary: "wait as long as 99 % of the gaps seen, from a histogram; the whole range while there is no pattern",
    formula: "(1 + margin) * 99th percentile of gaps (bins of bin_s) if concentrated, else bins * bin_s; a start if most gaps are longer",
    source: "Shahrad et al., ATC 2020; bins for GPU starts are ours",
    weakness: "long regular gaps (no pre-warm here); young endpoints (the whole range)",
    params: &[
        ParamSpec {
            name: "bin_s",
            kind: ParamKind::Number { min: 0.1, max: 3_600.0, default: 10.0 },
            doc: "seconds per bin (ATC 2020: 60)",
        },
        ParamSpec {
            name: "bins",
            kind: ParamKind::Whole { min: 2, max: 10_000, default: 360 },
            doc: "bins; with bin_s the range, an hour (ATC 2020: 240 of a minute)",
        },
        ParamSpec {
            name: "tail_percent",
            kind: ParamKind::Number { min: 1.0, max: 100.0, default: 99.0 },
            doc: "percent of the gaps that are waited out (ATC 2020: 99)",
        },
        ParamSpec {
            name: "margin",
            kind: ParamKind::Number { min: 0.0, max: 10.0, default: 0.1 },
            doc: "added share (ATC 2020: 0.1)",
        },
        ParamSpec {
            name: "min_gaps",
            kind: ParamKind::Whole { min: 1, max: 100_000, default: 10 },
            doc: "gaps below which there is no pattern",
        },
        ParamSpec {
            name: "min_cv",
            kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 2.0 },
            doc: "coefficient of variation of the counts per bin below which there is no pattern (ATC 2020: 2)",
        },
        ParamSpec {
            name: "start_s",
            kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 10.0 },
            doc: "seconds that a start is taken to last before one was measured",
        },
    ],
    build: |params| Box::new(HybridHistogram::new(params)),
};

/// See the module.
#[derive(Clone, Debug)]
pub struct HybridHistogram {
    bin_s: f64,
    bins: usize,
    tail: f64,
    margin: f64,
    min_gaps: u32,
    min_cv: f64,
    start_s: f64,
    ranks: Ranks,
    counts: Vec<Counts>,
}

/// Gaps of one rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// By bin, as far as any gap reached.
    bins: Vec<u32>,
    within: u32,
    longer: u32,
}

impl Counts {
    /// Standard deviation of the counts of all bins over their mean.
    fn variation(&self, bins: usize) -> f64 {
        let n = bins as f64;
        let mean = f64::from(self.within) / n;
        let square = self.bins.iter().map(|count| f64::from(*count) * f64::from(*count)).sum::<f64>() / n;
        if mean > 0.0 { libm::sqrt((square - mean * mean).max(0.0)) / mean } else { 0.0 }
    }

    /// Bins after which a share `tail` of the gaps within the range have ended.
    fn tail_bins(&self, tail: f64) -> usize {
        let wanted = tail * f64::from(self.within) - 1e-9;
        let mut seen = 0.0;
        let found = self.bins.iter().position(|count| {
            seen += f64::from(*count);
            seen >= wanted
        });
        found.map_or(self.bins.len(), |bin| bin + 1)
    }
}

impl HybridHistogram {
    fn new(params: &Params) -> HybridHistogram {
        HybridHistogram {
            bin_s: params.number("bin_s"),
            bins: params.whole("bins") as usize,
            tail: params.number("tail_percent") / 100.0,
            margin: params.number("margin"),
            min_gaps: params.whole("min_gaps"),
            min_cv: params.number("min_cv"),
            start_s: params.number("start_s"),
            ranks: Ranks::default(),
            counts: Vec::new(),
        }
    }
}

impl KeepAlivePolicy for HybridHistogram {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        let range_s = self.bins as f64 * self.bin_s;
        let counts = self.counts.get(idle.rank as usize - 1);
        let timeout_s = match counts {
            Some(counts) if counts.within + counts.longer < self.min_gaps => range_s,
            Some(counts) if counts.longer > counts.within => idle.start_s(self.start_s) + idle.stop_s(),
            Some(counts) if counts.variation(self.bins) > self.min_cv => {
                counts.tail_bins(self.tail) as f64 * self.bin_s * (1.0 + self.margin)
            }
            _ => range_s,
        };
        Some(Span::from_secs(timeout_s.min(range_s)))
    }

    fn learns(&self) -> bool {
        true
    }

    fn needed(&mut self, now: Time, workers: u32) {
        let (counts, bin_s, bins) = (&mut self.counts, self.bin_s, self.bins);
        self.ranks.set(now, workers, |rank, gap_s| {
            if counts.len() < rank {
                counts.resize_with(rank, Counts::default);
            }
            let counts = &mut counts[rank - 1];
            let bin = (gap_s / bin_s) as usize;
            if bin >= bins {
                counts.longer += 1;
                return;
            }
            if counts.bins.len() <= bin {
                counts.bins.resize(bin + 1, 0);
            }
            counts.bins[bin] += 1;
            counts.within += 1;
        });
    }

    fn save(&self) -> Value {
        json!({ "ranks": self.ranks, "counts": self.counts })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let part = |name| state.get(name).ok_or_else(|| BadPolicyState(format!("it has no `{name}`")));
        let bad = |error: serde_json::Error| BadPolicyState(error.to_string());
        self.ranks = Ranks::deserialize(part("ranks")?).map_err(bad)?;
        self.counts = Deserialize::deserialize(part("counts")?).map_err(bad)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{idle, worker};
    use super::super::{PolicyChoice, registry};
    use super::*;

    /// Gaps of so many seconds, one after the other, each after a second of work; then the timeout.
    fn timeout_s(gaps: &[u32]) -> f64 {
        let mut policy = registry::keep_alive(&PolicyChoice::named("hybrid_histogram")).expect("it is in the registry");
        let mut now = 0;
        for gap in gaps {
            policy.needed(Time::from_secs(f64::from(now)), 1);
            policy.needed(Time::from_secs(f64::from(now + 1)), 0);
            now += 1 + gap;
        }
        policy.needed(Time::from_secs(f64::from(now)), 1);
        policy.idle_timeout(&idle(&worker(1), 0)).expect("never for ever").as_secs()
    }

    #[test]
    fn a_pattern_is_waited_out_with_a_margin() {
        assert_eq!(timeout_s(&[55; 3]), 3_600.0, "three gaps are no pattern");
        // All in the bin from 50 to 60 s: 60 s and a tenth.
        assert_eq!(timeout_s(&[55; 40]), 66.0);
        // One in forty is longer than the 99th percentile allows for: it is waited out, too.
        let mut mixed = vec![55; 39];
        mixed.push(305);
        assert!((timeout_s(&mixed) - 341.0).abs() < 1e-6);
    }

    #[test]
    fn without_a_pattern_the_whole_range_and_beyond_it_a_start() {
        let spread: Vec<u32> = (0..360).map(|n| n * 10 + 5).collect();
        assert_eq!(timeout_s(&spread), 3_600.0);
        assert_eq!(timeout_s(&[7_200; 20]), 10.0);
    }
}
