//! Samples of a time, and the lognormal that fits them.

use serde::Serialize;

/// Fewer than this say nothing about a spread: their median stands for all.
const ENOUGH: usize = 5;
/// What a clock of microseconds cannot tell from nothing.
const NOTHING_S: f64 = 1e-6;

/// Times in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

/// Samples in figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many.
    pub count: usize,
    /// Median, seconds.
    pub median_s: f64,
    /// 95th percentile (nearest rank), seconds.
    pub p95_s: f64,
    /// Mean, seconds.
    pub mean_s: f64,
    /// What fits them.
    pub fit: Fit,
}

/// What fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Fit {
    /// Too few, or no spread: always this.
    Constant {
        /// Seconds.
        value: f64,
    },
    /// By maximum likelihood: median = exp(mean of the logarithms), sigma = their standard deviation.
    Lognormal {
        /// Seconds.
        median: f64,
        /// Of the logarithm.
        sigma: f64,
    },
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, seconds: f64) {
        self.0.push(seconds.max(0.0));
    }

    /// In figures; none without samples.
    pub fn figures(&self) -> Option<Figures> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at = |share: f64| sorted.get(((share * count as f64).ceil() as usize).clamp(1, count.max(1)) - 1).copied();
        let median_s = at(0.5)?;
        let mean_s = sorted.iter().sum::<f64>() / count as f64;
        Some(Figures { count, median_s, p95_s: at(0.95)?, mean_s, fit: fit(&sorted, median_s) })
    }
}

fn fit(sorted: &[f64], median: f64) -> Fit {
    let constant = Fit::Constant { value: median };
    if sorted.len() < ENOUGH || median <= NOTHING_S {
        return constant;
    }
    let logarithms: Vec<f64> = sorted.iter().map(|seconds| seconds.max(NOTHING_S).ln()).collect();
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    let variance = logarithms.iter().map(|ln| (ln - mean) * (ln - mean)).sum::<f64>() / count;
    let sigma = variance.sqrt().min(10.0);
    if sigma < 1e-3 { constant } else { Fit::Lognormal { median: mean.exp(), sigma } }
}
