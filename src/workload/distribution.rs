//! Distributions of times, sizes and counts. All mathematics that is not exact in IEEE arithmetic goes through `libm`, so that
//! every machine draws the same numbers.
//!
//! A [`Distribution`] is what a file says; a [`Sampler`] is its prepared form, whose parameters are solved once.

use rand::Rng;

use super::Sampler;

/// A distribution of a non-negative quantity (seconds unless said otherwise).
#[allow(missing_docs, reason = "the line above each variant names its fields")]
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

/// Coefficients of variation above this are mistakes, and beyond what the moment matching resolves.
const CV_MAX: f64 = 100.0;
/// Nesting of mixtures.
const DEPTH_MAX: u32 = 8;

impl Distribution {
    /// One draw. Solves the parameters anew: for more than a few draws prepare a [`Sampler`].
    pub fn sample(&self, rng: &mut impl Rng) -> f64 {
        self.sampler().sample(rng)
    }

    /// The prepared form.
    ///
    /// # Panics
    /// If [`Distribution::check`] would complain: what comes from outside is checked before it gets here.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(self)
    }

    /// Mean; infinite for a Pareto with `alpha <= 1`.
    pub fn mean(&self) -> f64 {
        self.moments().0
    }

    /// Squared coefficient of variation, variance / mean^2; `None` where the variance is infinite or the mean is zero.
    pub fn scv(&self) -> Option<f64> {
        let (mean, square) = self.moments();
        let scv = match self {
            // Known without the detour over the second moment, which cancels.
            Distribution::Constant { .. } => 0.0,
            Distribution::Exponential { .. } => 1.0,
            Distribution::Gamma { cv, .. }
            | Distribution::Weibull { cv, .. }
            | Distribution::LogNormalMean { cv, .. } => cv * cv,
            Distribution::LogNormal { sigma, .. } => libm::expm1(sigma * sigma),
            Distribution::HyperExponential { scv, .. } => *scv,
            _ => (square / (mean * mean) - 1.0).max(0.0),
        };
        (mean > 0.0 && scv.is_finite()).then_some(scv)
    }

    /// First and second moment.
    fn moments(&self) -> (f64, f64) {
        let by_scv = |mean: f64, scv: f64| (mean, mean * mean * (1.0 + scv));
        match self {
            Distribution::Constant { value } => by_scv(*value, 0.0),
            Distribution::Uniform { min, max } => ((min + max) / 2.0, (min * min + min * max + max * max) / 3.0),
            Distribution::Exponential { mean } => by_scv(*mean, 1.0),
            Distribution::Gamma { mean, cv }
            | Distribution::Weibull { mean, cv }
            | Distribution::LogNormalMean { mean, cv } => by_scv(*mean, cv * cv),
            Distribution::LogNormal { median, sigma } => {
                by_scv(median * libm::exp(sigma * sigma / 2.0), libm::expm1(sigma * sigma))
            }
            Distribution::HyperExponential { mean, scv } => by_scv(*mean, *scv),
            Distribution::Pareto { min, alpha } => {
                let moment = |k: f64, power: f64| {
                    if *alpha > k { alpha * power / (alpha - k) } else { f64::INFINITY }
                };
                (moment(1.0, *min), moment(2.0, min * min))
            }
            Distribution::Geometric { mean } => by_scv(*mean, (mean - 1.0) / mean),
            Distribution::Empirical { values } => {
                let n = values.len() as f64;
                (values.iter().sum::<f64>() / n, values.iter().map(|x| x * x).sum::<f64>() / n)
            }
            Distribution::Mixture { parts } => {
                let total: f64 = parts.iter().map(|part| part.0).sum();
                parts.iter().filter(|part| part.0 > 0.0).fold((0.0, 0.0), |sum, (weight, part)| {
                    let (mean, square) = part.moments();
                    (sum.0 + weight / total * mean, sum.1 + weight / total * square)
                })
            }
        }
    }

    /// Whether every parameter is finite and in its range.
    ///
    /// # Errors
    /// Names the distribution, the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        self.check_nested(0)
    }

    fn check_nested(&self, depth: u32) -> Result<(), String> {
        let name = self.name();
        let not_negative = |what: &str, value: f64| bounded(name, what, value, 0.0, f64::MAX);
        let positive = |what: &str, value: f64| bounded(name, what, value, f64::MIN_POSITIVE, f64::MAX);
        match self {
            Distribution::Constant { value } => not_negative("value", *value),
            Distribution::Uniform { min, max } => {
                not_negative("min", *min)?;
                bounded(name, "max", *max, *min, f64::MAX)
            }
            Distribution::Exponential { mean } => not_negative("mean", *mean),
            Distribution::Gamma { mean, cv }
            | Distribution::Weibull { mean, cv }
            | Distribution::LogNormalMean { mean, cv } => {
                not_negative("mean", *mean)?;
                bounded(name, "cv", *cv, 0.0, CV_MAX)
            }
            Distribution::LogNormal { median, sigma } => {
                not_negative("median", *median)?;
                // A sigma of 3.04 is a cv of 100.
                bounded(name, "sigma", *sigma, 0.0, 10.0)
            }
            Distribution::HyperExponential { mean, scv } => {
                not_negative("mean", *mean)?;
                bounded(name, "scv", *scv, 1.0, CV_MAX * CV_MAX)
            }
            Distribution::Pareto { min, alpha } => {
                not_negative("min", *min)?;
                positive("alpha", *alpha)
            }
            Distribution::Geometric { mean } => bounded(name, "mean", *mean, 1.0, 1e15),
            Distribution::Empirical { values } if values.is_empty() => Err(format!("{name}: values is empty")),
            Distribution::Empirical { values } => {
                values.iter().enumerate().try_for_each(|(i, value)| not_negative(&format!("values[{i}]"), *value))
            }
            Distribution::Mixture { .. } if depth == DEPTH_MAX => {
                Err(format!("{name}: more than {DEPTH_MAX} mixtures inside each other"))
            }
            Distribution::Mixture { parts } => {
                for (i, (weight, part)) in parts.iter().enumerate() {
                    not_negative(&format!("weight of part {}", i + 1), *weight)?;
                    part.check_nested(depth + 1).map_err(|error| format!("{name}, part {}: {error}", i + 1))?;
                }
                positive("sum of the weights", parts.iter().map(|part| part.0).sum())
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Distribution::Constant { .. } => "constant",
            Distribution::Uniform { .. } => "uniform",
            Distribution::Exponential { .. } => "exponential",
            Distribution::Gamma { .. } => "gamma",
            Distribution::Weibull { .. } => "weibull",
            Distribution::LogNormal { .. } | Distribution::LogNormalMean { .. } => "lognormal",
            Distribution::HyperExponential { .. } => "hyperexponential",
            Distribution::Pareto { .. } => "pareto",
            Distribution::Geometric { .. } => "geometric",
            Distribution::Empirical { .. } => "empirical",
            Distribution::Mixture { .. } => "mixture",
        }
    }
}

/// Whether `value` is a number in `min..=max`; the message names `owner` and `what`.
pub(super) fn bounded(owner: &str, what: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    if value.is_finite() && value >= min && value <= max {
        return Ok(());
    }
    let range = match (min, max) {
        (f64::MIN_POSITIVE, f64::MAX) => "a finite number greater than 0".to_owned(),
        (_, f64::MAX) => format!("a finite number of at least {min}"),
        _ => format!("a number from {min} to {max}"),
    };
    Err(format!("{owner}: {what} is {value}, but must be {range}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_the_textbook() {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
        let uniform = Distribution::Uniform { min: 1.0, max: 3.0 };
        assert!(close(uniform.mean(), 2.0) && close(uniform.scv().unwrap(), 1.0 / 12.0));
        let lognormal = Distribution::LogNormal { median: 24.4, sigma: 0.549 };
        assert!((lognormal.mean() - 28.37).abs() < 0.01);
        let pareto = Distribution::Pareto { min: 2.0, alpha: 3.0 };
        assert!(close(pareto.mean(), 3.0) && close(pareto.scv().unwrap(), 1.0 / 3.0));
        assert_eq!(Distribution::Pareto { min: 1.0, alpha: 1.0 }.mean(), f64::INFINITY);
        assert_eq!(Distribution::Pareto { min: 1.0, alpha: 2.0 }.scv(), None);
        let mixture = Distribution::Mixture {
            parts: vec![(1.0, Distribution::Constant { value: 1.0 }), (3.0, Distribution::Exponential { mean: 5.0 })],
        };
        assert!(close(mixture.mean(), 4.0) && close(mixture.scv().unwrap(), (0.25 + 0.75 * 50.0) / 16.0 - 1.0));
        assert_eq!(Distribution::Constant { value: 0.0 }.scv(), None);
    }

    #[test]
    fn a_bad_parameter_is_named_with_its_range() {
        let error = |distribution: Distribution| distribution.check().unwrap_err();
        assert_eq!(
            error(Distribution::Exponential { mean: -1.0 }),
            "exponential: mean is -1, but must be a finite number of at least 0"
        );
        assert!(error(Distribution::Constant { value: f64::NAN }).contains("value is NaN"));
        assert!(error(Distribution::Uniform { min: 2.0, max: 1.0 }).contains("at least 2"));
        assert!(error(Distribution::HyperExponential { mean: 1.0, scv: 0.5 }).contains("from 1 to 10000"));
        assert!(error(Distribution::Weibull { mean: 1.0, cv: f64::INFINITY }).contains("cv is inf"));
        assert!(error(Distribution::Pareto { min: 1.0, alpha: 0.0 }).contains("greater than 0"));
        assert!(error(Distribution::Empirical { values: vec![] }).contains("empty"));
        assert!(error(Distribution::Empirical { values: vec![1.0, -2.0] }).contains("values[1] is -2"));
        let part = (1.0, Distribution::Geometric { mean: 0.5 });
        assert_eq!(
            error(Distribution::Mixture { parts: vec![part] }),
            "mixture, part 1: geometric: mean is 0.5, but must be a number from 1 to 1000000000000000"
        );
        assert!(error(Distribution::Mixture { parts: vec![] }).contains("sum of the weights"));
    }

    #[test]
    fn mixtures_nest_only_so_deep() {
        let mut nested = Distribution::Constant { value: 1.0 };
        for _ in 0..DEPTH_MAX {
            nested = Distribution::Mixture { parts: vec![(1.0, nested)] };
        }
        assert_eq!(nested.check(), Ok(()));
        let deeper = Distribution::Mixture { parts: vec![(1.0, nested)] };
        assert!(deeper.check().unwrap_err().contains("inside each other"));
    }
}
