//! Distributions of times, sizes and counts. All mathematics that is not exact in IEEE arithmetic goes through `libm`, so that
//! every machine draws the same numbers.

/// A distribution of a non-negative quantity (seconds unless said otherwise).
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always `value`.
    Constant { value: f64 },
    /// Between `min` and `max`.
    Uniform { min: f64, max: f64 },
    /// Exponential with this mean.
    Exponential { mean: f64 },
    /// Gamma by mean and coefficient of variation (Erlang-k: cv = 1/sqrt k).
    Gamma { mean: f64, cv: f64 },
    /// Weibull by mean and coefficient of variation.
    Weibull { mean: f64, cv: f64 },
    /// Lognormal by median and sigma of the logarithm.
    LogNormal { median: f64, sigma: f64 },
    /// Lognormal by mean and coefficient of variation.
    LogNormalMean { mean: f64, cv: f64 },
    /// Two exponentials with balanced means, by mean and squared coefficient of variation (>= 1).
    HyperExponential { mean: f64, scv: f64 },
    /// Pareto with minimum `min` and tail index `alpha`.
    Pareto { min: f64, alpha: f64 },
    /// Number of trials up to the first success, mean >= 1.
    Geometric { mean: f64 },
    /// One of the values, equally likely.
    Empirical { values: Vec<f64> },
    /// One of several distributions, by weight.
    Mixture { parts: Vec<(f64, Distribution)> },
}
