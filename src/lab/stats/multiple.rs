//! Many comparisons at once: Holm's adjusted p-values, and which of many may be the best.

use super::student::quantile;
use super::{LEAST, mean, variance};

/// Joint confidence with which the best is among those that may be.
pub const MAY_BE_BEST_LEVEL: f64 = 0.95;

/// Holm's adjusted p-values, in the order given: the chance of even one false claim stays below the level that they are held
/// against (Holm 1979).
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]).then(a.cmp(b)));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        largest = largest.max((p_values.len() - rank) as f64 * p_values[place]).min(1.0);
        adjusted[place] = largest;
    }
    adjusted
}

/// Whose mean may be the smallest of all: those that no other is significantly below. Multiple comparison with the best (Hsu
/// 1984) on paired differences, which may depend on each other as they like: t at 1 - 0.05 / (k - 1), one-sided (Nelson and
/// Matejcik 1995, without their assumption on the variances). All of them below 10 replications.
///
/// `samples[i]` are the values of the i-th, one per replication.
pub fn may_be_best(samples: &[&[f64]]) -> Vec<bool> {
    let n = samples.first().map_or(0, |values| values.len());
    if n < LEAST || samples.len() < 2 {
        return vec![true; samples.len()];
    }
    let t = quantile(1.0 - (1.0 - MAY_BE_BEST_LEVEL) / (samples.len() - 1) as f64, (n - 1) as f64);
    let beaten_by = |own: &[f64], other: &[f64]| {
        let differences: Vec<f64> = own.iter().zip(other).map(|(own, other)| own - other).collect();
        mean(&differences) > t * (variance(&differences) / n as f64).sqrt()
    };
    samples.iter().map(|own| !samples.iter().any(|other| beaten_by(own, other))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::stats::random::Stream;

    #[test]
    fn holm_by_hand() {
        // 4 x 0.01, 3 x 0.015 = 0.045, 2 x 0.03 = 0.06, then 0.04 must not fall below: 0.06.
        let adjusted = holm(&[0.03, 0.01, 0.04, 0.015]);
        let expected = [0.06, 0.04, 0.06, 0.045];
        assert!(adjusted.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{adjusted:?}");
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    #[test]
    fn the_set_that_may_be_best_is_a_set() {
        let base: Vec<f64> = (0..10).map(|x| f64::from(x % 3)).collect();
        let noisy: Vec<f64> = base.iter().enumerate().map(|(n, x)| x + if n % 2 == 0 { 0.3 } else { -0.29 }).collect();
        let worse: Vec<f64> = base.iter().enumerate().map(|(n, x)| x + 1.0 + 0.1 * (n % 2) as f64).collect();
        assert_eq!(may_be_best(&[&base, &noisy, &worse]), [true, true, false]);
        assert_eq!(may_be_best(&[&base, &base]), [true, true], "twins are both");
        assert_eq!(may_be_best(&[&base[..5], &worse[..5]]), [true, true], "five replications tell nothing");
        // A difference without spread is a difference.
        let shifted: Vec<f64> = base.iter().map(|x| x + 0.5).collect();
        assert_eq!(may_be_best(&[&base, &shifted]), [true, false]);
    }

    #[test]
    fn the_best_is_kept_as_often_as_the_level_says() {
        // Five equal candidates, 400 experiments: the first one is a best one and may be dropped in at most 5 % of them; 4.5
        // standard errors above that is 9.9 %.
        let mut stream = Stream::new(11, 0);
        let mut dropped = 0;
        for _ in 0..400 {
            let samples: Vec<Vec<f64>> = (0..5).map(|_| (0..12).map(|_| stream.uniform()).collect()).collect();
            let views: Vec<&[f64]> = samples.iter().map(Vec::as_slice).collect();
            dropped += usize::from(!may_be_best(&views)[0]);
        }
        assert!(dropped <= 39, "{dropped} of 400");
    }
}
