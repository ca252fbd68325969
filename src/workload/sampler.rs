//! Distributions made ready to be drawn from: parameters are matched to the moments once, draws are then cheap.

use rand::Rng;

use super::Distribution;
use super::deviate::{exponential, normal, pick, uniform};
use crate::units::Span;

/// A prepared [`Distribution`]. Constant and exponential draws cost a few nanoseconds; nothing allocates.
#[derive(Clone, Debug)]
pub struct Sampler(Form);

#[derive(Clone, Debug)]
enum Form {
    Constant {
        value: f64,
    },
    Exponential {
        mean: f64,
    },
    Uniform {
        min: f64,
        width: f64,
    },
    /// Marsaglia and Tsang's d and c for a shape of at least 1; `boost` = 1 / shape for a shape below 1.
    Gamma {
        d: f64,
        c: f64,
        scale: f64,
        boost: Option<f64>,
    },
    /// scale * exponential^power.
    Weibull {
        scale: f64,
        power: f64,
    },
    LogNormal {
        median: f64,
        sigma: f64,
    },
    HyperExponential {
        first: f64,
        means: [f64; 2],
    },
    Pareto {
        min: f64,
        power: f64,
    },
    /// Exponentials of this mean, rounded up, are geometric.
    Geometric {
        mean: f64,
    },
    Empirical {
        values: Box<[f64]>,
    },
    /// Cumulated shares.
    Mixture {
        parts: Box<[(f64, Sampler)]>,
    },
}

impl Sampler {
    /// Prepares `distribution`.
    ///
    /// # Panics
    /// If [`Distribution::check`] would complain.
    pub fn new(distribution: &Distribution) -> Sampler {
        if let Err(error) = distribution.check() {
            panic!("a distribution was used unchecked: {error}");
        }
        Sampler(prepare(distribution))
    }

    /// One draw: finite and not negative.
    #[inline]
    pub fn sample(&self, rng: &mut impl Rng) -> f64 {
        match &self.0 {
            Form::Constant { value } => *value,
            Form::Exponential { mean } => mean * exponential(rng),
            other => draw(other, rng),
        }
    }

    /// One draw in seconds, as a span.
    #[inline]
    pub fn span(&self, rng: &mut impl Rng) -> Span {
        Span::from_secs(self.sample(rng))
    }

    /// The value, if it is always the same.
    pub fn constant(&self) -> Option<f64> {
        match self.0 {
            Form::Constant { value } => Some(value),
            _ => None,
        }
    }
}

fn prepare(distribution: &Distribution) -> Form {
    match distribution {
        Distribution::Constant { value } => Form::Constant { value: *value },
        Distribution::Uniform { min, max } if min == max => Form::Constant { value: *min },
        Distribution::Uniform { min, max } => Form::Uniform { min: *min, width: max - min },
        Distribution::Exponential { mean } => Form::Exponential { mean: *mean },
        Distribution::Gamma { mean, cv }
        | Distribution::Weibull { mean, cv }
        | Distribution::LogNormalMean { mean, cv }
            if *cv == 0.0 =>
        {
            Form::Constant { value: *mean }
        }
        Distribution::Gamma { mean, cv } => gamma(*mean, *cv),
        Distribution::Weibull { mean, cv } => weibull(*mean, *cv),
        Distribution::LogNormal { median, sigma: 0.0 } => Form::Constant { value: *median },
        Distribution::LogNormal { median, sigma } => Form::LogNormal { median: *median, sigma: *sigma },
        Distribution::LogNormalMean { mean, cv } => {
            let variance = libm::log1p(cv * cv);
            Form::LogNormal { median: mean * libm::exp(-variance / 2.0), sigma: variance.sqrt() }
        }
        Distribution::HyperExponential { mean, scv } => {
            let first = (1.0 + ((scv - 1.0) / (scv + 1.0)).sqrt()) / 2.0;
            Form::HyperExponential { first, means: [mean / (2.0 * first), mean / (2.0 * (1.0 - first))] }
        }
        Distribution::Pareto { min, alpha } => Form::Pareto { min: *min, power: 1.0 / alpha },
        Distribution::Geometric { mean: 1.0 } => Form::Constant { value: 1.0 },
        Distribution::Geometric { mean } => Form::Geometric { mean: -1.0 / libm::log1p(-1.0 / mean) },
        Distribution::Empirical { values } => Form::Empirical { values: values.clone().into_boxed_slice() },
        Distribution::Mixture { parts } => Form::Mixture { parts: cumulate(parts) },
    }
}

/// Shape 1 / cv^2; G. Marsaglia and W. Tsang: A simple method for generating gamma variables, ACM TOMS 26 (2000).
fn gamma(mean: f64, cv: f64) -> Form {
    let shape = 1.0 / (cv * cv);
    let boost = (shape < 1.0).then_some(1.0 / shape);
    let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
    Form::Gamma { d, c: 1.0 / (9.0 * d).sqrt(), scale: mean / shape, boost }
}

/// Solves cv^2 + 1 = G(1 + 2x) / G(1 + x)^2 for x = 1 / shape, which grows with cv: bisection to the last bit.
fn weibull(mean: f64, cv: f64) -> Form {
    let target = libm::log1p(cv * cv);
    let (mut low, mut high) = (0.0, 64.0);
    loop {
        let power = (low + high) / 2.0;
        if power <= low || power >= high {
            return Form::Weibull { scale: mean * libm::exp(-libm::lgamma(1.0 + power)), power };
        }
        let log_moment = libm::lgamma(1.0 + 2.0 * power) - 2.0 * libm::lgamma(1.0 + power);
        if log_moment < target { low = power } else { high = power }
    }
}

fn cumulate(parts: &[(f64, Distribution)]) -> Box<[(f64, Sampler)]> {
    let total: f64 = parts.iter().map(|part| part.0).sum();
    let mut sum = 0.0;
    let cumulated = parts.iter().filter(|part| part.0 > 0.0).map(|(weight, part)| {
        sum += weight;
        (sum / total, Sampler(prepare(part)))
    });
    cumulated.collect()
}

/// The forms off the hot path.
fn draw<R: Rng>(form: &Form, rng: &mut R) -> f64 {
    let value = match form {
        Form::Constant { value } => *value,
        Form::Exponential { mean } => mean * exponential(rng),
        Form::Uniform { min, width } => min + width * uniform(rng),
        Form::Gamma { d, c, scale, boost } => {
            let drawn = scale * gamma_deviate(*d, *c, rng);
            match boost {
                // U^(1 / shape) = exp(-E / shape) with an exponential E.
                Some(power) => drawn * libm::exp(-exponential(rng) * power),
                None => drawn,
            }
        }
        Form::Weibull { scale, power } => scale * libm::pow(exponential(rng), *power),
        Form::LogNormal { median, sigma } => median * libm::exp(sigma * normal(rng)),
        Form::HyperExponential { first, means } => {
            let branch = usize::from(uniform(rng) >= *first);
            means[branch] * exponential(rng)
        }
        Form::Pareto { min, power } => min * libm::exp(exponential(rng) * power),
        Form::Geometric { mean } => (exponential(rng) * mean).ceil().max(1.0),
        Form::Empirical { values } => values[pick(values.len(), rng)],
        Form::Mixture { parts } => {
            let share = uniform(rng);
            let last = parts.len() - 1;
            let chosen = parts[..last].iter().position(|part| share < part.0).unwrap_or(last);
            parts[chosen].1.sample(rng)
        }
    };
    // A tail index of 0.01 overflows; the largest number then stands for "for ever".
    value.min(f64::MAX)
}

fn gamma_deviate(d: f64, c: f64, rng: &mut impl Rng) -> f64 {
    loop {
        let x = normal(rng);
        let v = 1.0 + c * x;
        let e = exponential(rng);
        if v > 0.0 {
            let v = v * v * v;
            if -e < x * x / 2.0 + d * (1.0 - v + libm::log(v)) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::{Moments, Words, assert_near};

    const N: usize = 200_000;

    fn draws(distribution: &Distribution, seed: u64) -> Vec<f64> {
        let sampler = distribution.sampler();
        let mut rng = Words::new(seed);
        (0..N).map(|_| sampler.sample(&mut rng)).collect()
    }

    #[test]
    fn mean_and_variation_are_those_asked_for() {
        let cases = [
            Distribution::Uniform { min: 1.0, max: 4.0 },
            Distribution::Exponential { mean: 2.3 },
            Distribution::Gamma { mean: 2.0, cv: 0.25 },
            Distribution::Gamma { mean: 2.0, cv: 1.0 },
            Distribution::Gamma { mean: 2.0, cv: 3.0 },
            Distribution::Weibull { mean: 5.0, cv: 0.2 },
            Distribution::Weibull { mean: 5.0, cv: 1.0 },
            Distribution::Weibull { mean: 5.0, cv: 2.5 },
            Distribution::LogNormal { median: 24.4, sigma: 0.549 },
            Distribution::LogNormalMean { mean: 3.0, cv: 0.7 },
            Distribution::HyperExponential { mean: 1.5, scv: 4.0 },
            Distribution::HyperExponential { mean: 1.5, scv: 1.0 },
            Distribution::Pareto { min: 1.0, alpha: 6.0 },
            Distribution::Geometric { mean: 3.5 },
            Distribution::Empirical { values: vec![1.0, 2.0, 10.0] },
            Distribution::Mixture {
                parts: vec![
                    (0.36, Distribution::LogNormal { median: 3.0, sigma: 0.34 }),
                    (0.64, Distribution::LogNormal { median: 31.0, sigma: 0.32 }),
                ],
            },
        ];
        for (seed, case) in cases.iter().enumerate() {
            let found = Moments::of(&draws(case, seed as u64));
            assert_near(&format!("mean of {case:?}"), found.mean, case.mean(), 0.02);
            assert_near(&format!("scv of {case:?}"), found.scv, case.scv().unwrap(), 0.1);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_law() {
        // Share of draws below x against the distribution function; the standard error of a share is sqrt(p (1 - p) / N).
        let weibull = Distribution::Weibull { mean: 1.0, cv: 1.0 };
        let cases = [
            (Distribution::Exponential { mean: 2.0 }, 1.0, 1.0 - libm::exp(-0.5)),
            (weibull, 3.0, 1.0 - libm::exp(-3.0)),
            (Distribution::Gamma { mean: 2.0, cv: std::f64::consts::FRAC_1_SQRT_2 }, 1.0, 1.0 - 2.0 * libm::exp(-1.0)),
            (Distribution::Gamma { mean: 0.5, cv: std::f64::consts::SQRT_2 }, 0.1, libm::erf(0.1f64.sqrt())),
            (Distribution::LogNormal { median: 1.1, sigma: 0.45 }, 2.305_976, 0.95),
            (Distribution::Pareto { min: 1.0, alpha: 0.5 }, 4.0, 0.5),
            (Distribution::Geometric { mean: 4.0 }, 2.5, 1.0 - 0.75 * 0.75),
        ];
        for (seed, (case, x, p)) in cases.iter().enumerate() {
            let share = draws(case, 100 + seed as u64).iter().filter(|draw| *draw <= x).count() as f64 / N as f64;
            assert_near(&format!("P[{case:?} <= {x}]"), (share, (p * (1.0 - p) / N as f64).sqrt()), *p, 0.02);
        }
    }

    #[test]
    fn no_variation_is_a_constant() {
        let cases = [
            Distribution::Gamma { mean: 2.0, cv: 0.0 },
            Distribution::Weibull { mean: 2.0, cv: 0.0 },
            Distribution::LogNormalMean { mean: 2.0, cv: 0.0 },
            Distribution::LogNormal { median: 2.0, sigma: 0.0 },
            Distribution::Uniform { min: 2.0, max: 2.0 },
        ];
        for case in cases {
            assert_eq!(case.sampler().constant(), Some(2.0), "{case:?}");
        }
        assert_eq!(Distribution::Geometric { mean: 1.0 }.sampler().constant(), Some(1.0));
    }

    #[test]
    fn extreme_parameters_give_finite_numbers() {
        let cases = [
            Distribution::Gamma { mean: 1.0, cv: 100.0 },
            Distribution::Gamma { mean: 1.0, cv: 1e-6 },
            Distribution::Weibull { mean: 1.0, cv: 100.0 },
            Distribution::Weibull { mean: 1.0, cv: 1e-6 },
            Distribution::HyperExponential { mean: 1.0, scv: 10_000.0 },
            Distribution::Pareto { min: 1.0, alpha: 1e-3 },
            Distribution::Exponential { mean: 0.0 },
            Distribution::LogNormal { median: 1e300, sigma: 10.0 },
        ];
        for case in cases {
            let sampler = case.sampler();
            let mut rng = Words::new(8);
            for _ in 0..10_000 {
                let draw = sampler.sample(&mut rng);
                assert!(draw.is_finite() && draw >= 0.0, "{case:?} gave {draw}");
            }
        }
    }

    #[test]
    fn a_part_without_weight_is_never_drawn() {
        let parts = vec![(1.0, Distribution::Constant { value: 1.0 }), (0.0, Distribution::Constant { value: 9.0 })];
        assert!(draws(&Distribution::Mixture { parts }, 1).iter().all(|draw| *draw == 1.0));
    }
}
