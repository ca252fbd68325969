//! Statistics for comparisons, over replications and never over pooled jobs (Law, Simulation Modeling and Analysis, ch. 9-11).
//!
//! [`student`]: the t distribution. [`estimate`]: means, paired differences, ratios, bootstrap. [`multiple`]: many comparisons
//! at once. [`random`]: its own random numbers. Everything is a pure function of its numbers; the bootstrap has a seed of its own.

pub mod estimate;
pub mod multiple;
pub mod random;
pub mod student;

pub use estimate::{Paired, bootstrap_mean, jackknife_ratio, mean_interval, relative_change, variance_reduction};
pub use multiple::{MAY_BE_BEST_LEVEL, holm, may_be_best};
pub use student::{quantile, two_sided_p};

/// Fewer replications carry no interval.
pub const LEAST: usize = 10;

/// Mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Sample variance (n - 1 below); 0 of fewer than two.
pub fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    values.iter().map(|value| (value - middle) * (value - middle)).sum::<f64>() / (values.len() - 1) as f64
}
