//! Running figures over a stream: means, variances, counts in windows of time, and quantiles, in bounded memory.

use std::collections::BTreeMap;

use serde::Serialize;

/// Distinct values that are kept exactly.
const EXACT_MAX: usize = 1 << 18;
/// After that values are rounded to this many significant digits, so that some 10^5 remain at most.
const DIGITS_KEPT: u32 = 4;

/// Mean and variance (B. Welford, 1962).
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Variance over mean, of all the values there are; `None` without a value or with mean 0.
    pub fn dispersion(&self) -> Option<f64> {
        (self.mean > 0.0).then(|| self.squares / self.count as f64 / self.mean)
    }

    /// Standard deviation over mean; `None` without a value or with mean 0.
    pub fn cv(&self) -> Option<f64> {
        (self.mean > 0.0).then(|| (self.squares / self.count as f64).sqrt() / self.mean)
    }
}

/// Arrivals in consecutive windows of one length, the first from time 0 on.
#[derive(Clone, Debug)]
pub struct Windows {
    length_ms: u64,
    /// The window in progress and the arrivals in it.
    index: u64,
    inside: u64,
    counts: Moments,
    empty: u64,
    peak: u64,
}

impl Windows {
    /// Windows of `length_s` seconds.
    pub fn new(length_s: u64) -> Windows {
        Windows { length_ms: length_s * 1_000, index: 0, inside: 0, counts: Moments::default(), empty: 0, peak: 0 }
    }

    /// An arrival; times do not go back.
    pub fn add(&mut self, at_ms: u64) {
        self.advance(at_ms / self.length_ms);
        self.inside += 1;
    }

    /// Ends with the window in which `end_ms` lies.
    pub fn finish(&mut self, end_ms: u64) {
        self.advance(end_ms / self.length_ms);
        // The share of empty windows is of whole ones, so the last one does not count.
        let empty = self.empty;
        self.close();
        self.empty = empty;
    }

    /// Windows are closed one by one only where they hold something: a gap of years is one step.
    fn advance(&mut self, index: u64) {
        if index > self.index {
            self.close();
            let skipped = index - self.index - 1;
            self.counts.add_zeros(skipped);
            self.empty += skipped;
            self.index = index;
        }
    }

    fn close(&mut self) {
        self.counts.add(self.inside as f64);
        self.empty += u64::from(self.inside == 0);
        self.peak = self.peak.max(self.inside);
        self.inside = 0;
    }

    /// Most arrivals in a window.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Index of dispersion: variance over mean of the counts.
    pub fn dispersion(&self) -> Option<f64> {
        self.counts.dispersion()
    }

    /// Share of whole windows without an arrival; `None` if there is no whole window.
    pub fn empty_share(&self) -> Option<f64> {
        (self.index > 0).then(|| self.empty as f64 / self.index as f64)
    }
}

impl Moments {
    /// Adds `count` zeros at once.
    fn add_zeros(&mut self, count: u64) {
        let total = self.count + count;
        if count > 0 {
            let share = count as f64 / total as f64;
            self.squares += self.mean * self.mean * self.count as f64 * share;
            self.mean -= self.mean * share;
            self.count = total;
        }
    }
}

/// How often each value came, for quantiles. Values are whole numbers (milliseconds, tokens).
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<u64, u64>,
    total: u64,
    sum: f64,
    rounded: bool,
}

/// Quantiles of a tally; quantile q is the value at place ceil(q n) of the sorted values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Quantile 0.5.
    pub p50: f64,
    /// Quantile 0.9.
    pub p90: f64,
    /// Quantile 0.99.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
    /// There were so many different values that all but the mean are rounded to four significant digits.
    pub rounded: bool,
}

impl Tally {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.total += 1;
        self.sum += value as f64;
        let value = if self.rounded { rounded(value) } else { value };
        *self.counts.entry(value).or_default() += 1;
        if self.counts.len() > EXACT_MAX && !self.rounded {
            self.rounded = true;
            for (value, count) in std::mem::take(&mut self.counts) {
                *self.counts.entry(rounded(value)).or_default() += count;
            }
        }
    }

    /// Quantiles in units of `unit` values; `None` without a value.
    pub fn quantiles(&self, unit: f64) -> Option<Quantiles> {
        let max = *self.counts.last_key_value()?.0;
        let at = |q: f64| self.quantile(q) as f64 / unit;
        Some(Quantiles {
            count: self.total,
            mean: self.sum / self.total as f64 / unit,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: max as f64 / unit,
            rounded: self.rounded,
        })
    }

    fn quantile(&self, q: f64) -> u64 {
        // sorted[ceil(q n) - 1]. q n = 0.9 * 10 is 9.000000000000002 for some n: such dust is not a reason to go one further.
        let place = (q * self.total as f64 - 1e-9).ceil().max(1.0) as u64;
        let mut passed = 0;
        let found = self.counts.iter().find(|(_, count)| {
            passed += **count;
            passed >= place
        });
        found.map_or(0, |(value, _)| *value)
    }
}

/// To [`DIGITS_KEPT`] significant digits, downwards.
fn rounded(value: u64) -> u64 {
    let digits = value.checked_ilog10().unwrap_or(0) + 1;
    let step = 10u64.pow(digits.saturating_sub(DIGITS_KEPT));
    value / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut tally = Tally::default();
        (1..=10).rev().for_each(|value| tally.add(value * 100));
        let found = tally.quantiles(100.0).unwrap();
        assert_eq!((found.p50, found.p90, found.p99, found.max), (5.0, 9.0, 10.0, 10.0));
        assert_eq!((found.mean, found.count, found.rounded), (5.5, 10, false));
        assert_eq!(Tally::default().quantiles(1.0), None);
    }

    #[test]
    fn many_different_values_are_rounded_not_kept() {
        let mut tally = Tally::default();
        (0..1_000_000).for_each(|value| tally.add(value));
        assert!(tally.counts.len() < 100_000, "{}", tally.counts.len());
        let found = tally.quantiles(1.0).unwrap();
        assert!(found.rounded && (found.p90 - 900_000.0).abs() < 200.0, "{found:?}");
        assert_eq!(found.mean, 499_999.5);
        assert_eq!((rounded(123_456), rounded(999), rounded(0)), (123_400, 999, 0));
    }

    #[test]
    fn windows_count_from_time_zero_and_skip_silence() {
        let mut windows = Windows::new(60);
        // Counts per minute: 0, 2, then 97 times 0, then 1 in a minute that is not whole.
        [60_000, 119_999, 5_940_000].into_iter().for_each(|at_ms| windows.add(at_ms));
        windows.finish(5_940_000);
        assert_eq!((windows.peak(), windows.index), (2, 99));
        assert_eq!(windows.empty_share(), Some(98.0 / 99.0));
        let mean = 3.0 / 100.0;
        let variance = (4.0 + 1.0) / 100.0 - mean * mean;
        assert!((windows.dispersion().unwrap() - variance / mean).abs() < 1e-12);
        let mut short = Windows::new(60);
        short.add(5);
        short.finish(5);
        assert_eq!((short.empty_share(), short.dispersion()), (None, Some(0.0)));
    }

    #[test]
    fn variation_is_that_of_the_whole_population() {
        let mut moments = Moments::default();
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter().for_each(|value| moments.add(value));
        assert!((moments.cv().unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(Moments::default().cv(), None);
    }
}
