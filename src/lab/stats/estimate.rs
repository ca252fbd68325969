//! Means, paired differences, relative changes, ratios: each over replications, with a 95 % interval.

use super::random::Stream;
use super::student::{quantile, two_sided_p};
use super::{LEAST, mean, variance};
use crate::results::Interval;

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 2_000;
/// Beyond this skewness the t interval is not trusted.
const SKEWED: f64 = 1.0;

fn around(middle: f64, standard_error: f64, n: usize) -> Interval {
    if n < LEAST {
        return Interval { mean: middle, low: None, high: None };
    }
    let half = quantile(0.5 + CONFIDENCE / 2.0, (n - 1) as f64) * standard_error;
    Interval { mean: middle, low: Some(middle - half), high: Some(middle + half) }
}

/// Mean of independent values, t interval.
pub fn mean_interval(values: &[f64]) -> Interval {
    around(mean(values), (variance(values) / values.len().max(1) as f64).sqrt(), values.len())
}

/// Differences of pairs: mean with an interval, and the two-sided p-value of "no difference". Student's t, or the bootstrap over
/// replications where the differences are skewed or many of them are zero; the p-value is always Student's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Mean difference.
    pub difference: Interval,
    /// P-value; absent below 10 replications.
    pub p: Option<f64>,
    /// The interval is a bootstrap's.
    pub bootstrap: bool,
    /// Replications in which the difference is below zero.
    pub below: usize,
}

impl Paired {
    /// Of `a` against `b`, replication by replication.
    pub fn of(a: &[f64], b: &[f64]) -> Paired {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let n = differences.len();
        let zeros = differences.iter().filter(|difference| **difference == 0.0).count();
        let all_equal = variance(&differences) == 0.0;
        let bootstrap = n >= LEAST && !all_equal && (skewness(&differences).abs() > SKEWED || 4 * zeros > n);
        let difference = if bootstrap { bootstrap_mean(&differences) } else { mean_interval(&differences) };
        let below = differences.iter().filter(|difference| **difference < 0.0).count();
        Paired { difference, p: p_of(&differences), bootstrap, below }
    }
}

/// Two-sided p-value of a mean of zero; differences that are all the same are no coincidence.
fn p_of(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n < LEAST {
        return None;
    }
    let (middle, spread) = (mean(differences), variance(differences).sqrt());
    Some(match (middle == 0.0, spread == 0.0) {
        (true, _) => 1.0,
        (false, true) => 0.0,
        (false, false) => two_sided_p(middle / (spread / (n as f64).sqrt()), (n - 1) as f64),
    })
}

/// a/b - 1 by the mean of log(a/b); `None` unless all values are above zero.
pub fn relative_change(a: &[f64], b: &[f64]) -> Option<Interval> {
    if a.is_empty() || a.iter().chain(b).any(|value| *value <= 0.0) {
        return None;
    }
    let logs: Vec<f64> = a.iter().zip(b).map(|(a, b)| libm::log(a / b)).collect();
    Some(mean_interval(&logs).map(libm::expm1))
}

/// sum(numerators) / sum(denominators) with a jackknife interval over replications; `None` when the denominators sum to 0.
pub fn jackknife_ratio(numerators: &[f64], denominators: &[f64]) -> Option<Interval> {
    let (top, bottom): (f64, f64) = (numerators.iter().sum(), denominators.iter().sum());
    if bottom <= 0.0 {
        return None;
    }
    let (n, ratio) = (numerators.len(), top / bottom);
    let without = |(x, y): (&f64, &f64)| if bottom - y > 0.0 { (top - x) / (bottom - y) } else { ratio };
    let left_out: Vec<f64> = numerators.iter().zip(denominators).map(without).collect();
    let count = n as f64;
    let pseudo: Vec<f64> = left_out.iter().map(|left_out| count * ratio - (count - 1.0) * left_out).collect();
    Some(Interval { mean: ratio, ..around(ratio, (variance(&pseudo) / count).sqrt(), n) })
}

/// Mean with a percentile bootstrap interval of 2,000 resamples, always the same ones.
pub fn bootstrap_mean(values: &[f64]) -> Interval {
    let n = values.len();
    if n < LEAST {
        return Interval { mean: mean(values), low: None, high: None };
    }
    let mut stream = Stream::new(1, n as u64);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| values[stream.below(n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    let at = |q: f64| means[((q * RESAMPLES as f64).ceil() as usize).clamp(1, RESAMPLES) - 1];
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Interval { mean: mean(values), low: Some(at(tail)), high: Some(at(1.0 - tail)) }
}

/// (var A + var B) / var(A - B): what common random numbers gained; `None` when the differences do not vary.
pub fn variance_reduction(a: &[f64], b: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let spread = variance(&differences);
    (spread > 0.0).then(|| (variance(a) + variance(b)) / spread)
}

fn skewness(values: &[f64]) -> f64 {
    let (n, middle, spread) = (values.len() as f64, mean(values), variance(values).sqrt());
    if spread == 0.0 {
        return 0.0;
    }
    values.iter().map(|value| ((value - middle) / spread).powi(3)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} {b}");
    }

    #[test]
    fn a_paired_difference_by_hand() {
        // Differences 1..=10: mean 5.5, variance 55/6, t(9) = 2.262157, half = 2.262157 * sqrt(55/60).
        let a: Vec<f64> = (0..10).map(|x| f64::from(3 * x)).collect();
        let b: Vec<f64> = (0..10).map(|x| f64::from(2 * x - 1)).collect();
        let paired = Paired::of(&a, &b);
        close(paired.difference.mean, 5.5);
        close(paired.difference.half().unwrap(), quantile(0.975, 9.0) * (55.0_f64 / 60.0).sqrt());
        assert_eq!((paired.bootstrap, paired.below, paired.difference.side()), (false, 0, 1));
        // t = 5.5 / sqrt(55/60) = 5.7446, two-sided p with 9 df = 0.000277.
        assert!((paired.p.unwrap() - 0.000_277).abs() < 2e-6, "{:?}", paired.p);
        // var A = 9 * 55/6, var B = 4 * 55/6, var(A - B) = 55/6.
        close(variance_reduction(&a, &b).unwrap(), 13.0);
    }

    #[test]
    fn ratios_are_of_sums_and_relative_changes_of_logs() {
        let (cost, jobs) = (vec![10.0; 10], vec![4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0]);
        let ratio = jackknife_ratio(&cost, &jobs).unwrap();
        close(ratio.mean, 2.0);
        // Pseudo-values 20 - 9 * 90 / (50 - y): 2.391304 and 1.590909; half of both: sd = 0.400198 * sqrt(10/9).
        let sd = (10.0_f64 / 9.0).sqrt() * (2.391_304_347_826 - 1.590_909_090_909) / 2.0;
        let half = quantile(0.975, 9.0) * sd / 10.0_f64.sqrt();
        assert!((ratio.half().unwrap() - half).abs() < 1e-9, "{ratio:?} {half}");
        let change = relative_change(&[2.0; 12], &[4.0; 12]).unwrap();
        close(change.mean, -0.5);
        close(change.low.unwrap(), -0.5);
        assert_eq!(relative_change(&[0.0; 12], &[4.0; 12]), None);
        assert_eq!(jackknife_ratio(&cost, &[0.0; 10]), None);
    }

    #[test]
    fn few_replications_carry_no_interval() {
        assert_eq!(mean_interval(&[1.0, 3.0]), Interval { mean: 2.0, low: None, high: None });
        assert_eq!((Paired::of(&[1.0], &[2.0]).p, Paired::of(&[1.0], &[2.0]).difference.side()), (None, 0));
        assert_eq!(mean_interval(&[]).mean, 0.0);
    }

    #[test]
    fn what_never_varies_is_certain() {
        let paired = Paired::of(&[1.0; 10], &[2.0; 10]);
        assert_eq!((paired.p, paired.difference.side(), paired.bootstrap), (Some(0.0), -1, false));
        assert_eq!(Paired::of(&[1.0; 10], &[1.0; 10]).p, Some(1.0));
        assert_eq!(variance_reduction(&[1.0; 10], &[2.0; 10]), None);
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        // 2,000 samples of 10 uniform numbers: the truth 0.5 lies in the t interval in 95 % of them within 4.5 standard errors
        // (0.5 points each), and in the bootstrap's in less, as is known of small samples, but not below 86 %.
        let mut stream = Stream::new(7, 0);
        let (mut student, mut resampled) = (0, 0);
        for sample in 0..2_000 {
            let values: Vec<f64> = (0..10).map(|_| stream.uniform()).collect();
            let covers = |interval: Interval| interval.low.unwrap() <= 0.5 && 0.5 <= interval.high.unwrap();
            student += usize::from(covers(mean_interval(&values)));
            if sample < 400 {
                resampled += usize::from(covers(bootstrap_mean(&values)));
            }
        }
        assert!((1_856..=1_944).contains(&student), "{student} of 2,000");
        assert!((344..=384).contains(&resampled), "{resampled} of 400");
    }

    #[test]
    fn skewed_differences_and_ties_are_resampled() {
        let mut rare = vec![0.0; 12];
        rare[3] = 5.0;
        assert!(Paired::of(&rare, &[0.0; 12]).bootstrap);
        assert_eq!(bootstrap_mean(&rare), bootstrap_mean(&rare), "the seed is fixed");
        let interval = bootstrap_mean(&rare);
        assert!(interval.low == Some(0.0) && interval.high > Some(0.5), "{interval:?}");
    }
}
