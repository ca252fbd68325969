//! How much work a job is, and how fast a worker does it when several jobs share it.

use rand::Rng;

use super::deviate::normal;
use super::distribution::bounded;
use super::{Distribution, Sampler, WorkHint};
use crate::units::Span;

/// How the jobs on one worker share its speed.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SharedSpeed {
    /// Each job runs at full speed however many there are.
    Independent,
    /// `n` jobs run at total speed n^exponent, shared equally (0 = processor sharing, 1 = independent).
    Power { exponent: f64 },
    /// The time per unit of work is `step_s + per_job_s * (n - 1)`: decoding tokens in a batch of n.
    Batch { step_s: f64, per_job_s: f64 },
}

/// Where a job's work comes from.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceModel {
    /// Seconds drawn per attempt; `speed` tells what sharing does to them.
    Drawn { work: Distribution, speed: SharedSpeed },
    /// The trace's own `service_s`, times `scale`; rows without one are drawn from `otherwise`.
    Traced { scale: f64, otherwise: Option<Distribution> },
    /// LLM: `overhead_s + prefill_s_per_token * input + output * (decode_step_s + decode_step_s_per_seq * (n - 1))`, n jobs on
    /// the worker. Tokens come from the trace or else from the two distributions (rounded to whole tokens, at least 1 output).
    Tokens {
        overhead_s: f64,
        prefill_s_per_token: f64,
        decode_step_s: f64,
        decode_step_s_per_seq: f64,
        input: Distribution,
        output: Distribution,
        /// Overhead and prefill are multiplied by a lognormal of this sigma (0 = not).
        sigma_ln: f64,
    },
}

/// What one attempt needs: first `fixed` of wall time whatever else runs, then `shared` units at the worker's shared speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Wall time that sharing does not change (overhead, prefill).
    pub fixed: Span,
    /// Units of shared work, see [`ServiceModel::speed`]: seconds at speed 1 for `Drawn`, output tokens for `Tokens`; zero
    /// for work that sharing does not touch (`Independent`, `Traced`), which is all `fixed`.
    pub shared: f64,
}

impl SharedSpeed {
    /// Units of shared work per second for each job, with `jobs` of them on the worker (0 counts as 1).
    #[inline]
    pub fn rate(&self, jobs: u32) -> f64 {
        let others = f64::from(jobs.max(1) - 1);
        match *self {
            SharedSpeed::Independent => 1.0,
            SharedSpeed::Power { .. } if jobs <= 1 => 1.0,
            SharedSpeed::Power { exponent } => libm::pow(f64::from(jobs), exponent - 1.0),
            SharedSpeed::Batch { step_s, per_job_s } => 1.0 / (step_s + per_job_s * others),
        }
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            SharedSpeed::Independent => Ok(()),
            SharedSpeed::Power { exponent } => bounded("speed", "exponent", exponent, 0.0, 1.0),
            SharedSpeed::Batch { step_s, per_job_s } => {
                bounded("speed", "step_s", step_s, f64::MIN_POSITIVE, f64::MAX)?;
                bounded("speed", "per_job_s", per_job_s, 0.0, f64::MAX)
            }
        }
    }
}

impl ServiceModel {
    /// How the jobs of a worker share its speed.
    pub fn speed(&self) -> SharedSpeed {
        match *self {
            ServiceModel::Drawn { speed, .. } => speed,
            ServiceModel::Traced { .. } => SharedSpeed::Independent,
            ServiceModel::Tokens { decode_step_s, decode_step_s_per_seq, .. } => {
                SharedSpeed::Batch { step_s: decode_step_s, per_job_s: decode_step_s_per_seq }
            }
        }
    }

    /// Seconds that a job without a hint takes on average when it is alone on its worker; `None` where only the trace knows.
    pub fn mean_s(&self) -> Option<f64> {
        match self {
            ServiceModel::Drawn { work, speed } => Some(work.mean() / speed.rate(1)),
            ServiceModel::Traced { otherwise, .. } => otherwise.as_ref().map(Distribution::mean),
            ServiceModel::Tokens {
                overhead_s, prefill_s_per_token, decode_step_s, input, output, sigma_ln, ..
            } => {
                let fixed = overhead_s + prefill_s_per_token * input.mean();
                Some(fixed * libm::exp(sigma_ln * sigma_ln / 2.0) + output.mean() * decode_step_s)
            }
        }
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let not_negative = |what: &str, value: f64| bounded("service", what, value, 0.0, f64::MAX);
        let within =
            |what: &str, part: &Distribution| part.check().map_err(|error| format!("service: {what}: {error}"));
        match self {
            ServiceModel::Drawn { work, speed } => {
                within("work", work)?;
                speed.check().map_err(|error| format!("service: {error}"))
            }
            ServiceModel::Traced { scale, otherwise } => {
                not_negative("scale", *scale)?;
                otherwise.as_ref().map_or(Ok(()), |otherwise| within("otherwise", otherwise))
            }
            ServiceModel::Tokens {
                overhead_s,
                prefill_s_per_token,
                decode_step_s,
                decode_step_s_per_seq,
                input,
                output,
                sigma_ln,
            } => {
                not_negative("overhead_s", *overhead_s)?;
                not_negative("prefill_s_per_token", *prefill_s_per_token)?;
                bounded("service", "decode_step_s", *decode_step_s, f64::MIN_POSITIVE, f64::MAX)?;
                not_negative("decode_step_s_per_seq", *decode_step_s_per_seq)?;
                bounded("service", "sigma_ln", *sigma_ln, 0.0, 10.0)?;
                within("input", input)?;
                within("output", output)
            }
        }
    }

    /// One draw. Prepares the model anew: for more than a few draws keep a [`ServiceSampler`].
    pub fn demand(&self, hint: &WorkHint, rng: &mut impl Rng) -> Demand {
        self.sampler().demand(hint, rng)
    }

    /// The prepared form.
    ///
    /// # Panics
    /// If [`ServiceModel::check`] would complain: what comes from outside is checked before it gets here.
    pub fn sampler(&self) -> ServiceSampler {
        if let Err(error) = self.check() {
            panic!("a service model was used unchecked: {error}");
        }
        let speed = self.speed();
        ServiceSampler(match self {
            ServiceModel::Drawn { work, .. } => {
                Form::Drawn { work: work.sampler(), independent: speed == SharedSpeed::Independent }
            }
            ServiceModel::Traced { scale, otherwise } => {
                Form::Traced { scale: *scale, otherwise: otherwise.as_ref().map(Distribution::sampler) }
            }
            ServiceModel::Tokens { overhead_s, prefill_s_per_token, input, output, sigma_ln, .. } => Form::Tokens {
                overhead_s: *overhead_s,
                prefill_s_per_token: *prefill_s_per_token,
                input: input.sampler(),
                output: output.sampler(),
                sigma_ln: *sigma_ln,
            },
        })
    }
}

/// A prepared [`ServiceModel`].
#[derive(Clone, Debug)]
pub struct ServiceSampler(Form);

#[derive(Clone, Debug)]
enum Form {
    Drawn { work: Sampler, independent: bool },
    Traced { scale: f64, otherwise: Option<Sampler> },
    Tokens { overhead_s: f64, prefill_s_per_token: f64, input: Sampler, output: Sampler, sigma_ln: f64 },
}

impl ServiceSampler {
    /// What one attempt needs. A `Traced` job whose row has no service time and whose model has no `otherwise` needs nothing.
    #[inline]
    pub fn demand(&self, hint: &WorkHint, rng: &mut impl Rng) -> Demand {
        match &self.0 {
            Form::Drawn { work, independent: true } => alone(work.sample(rng)),
            Form::Drawn { work, independent: false } => Demand { fixed: Span::ZERO, shared: work.sample(rng) },
            Form::Traced { scale, otherwise } => {
                let drawn = || otherwise.as_ref().map_or(0.0, |otherwise| otherwise.sample(rng));
                alone(hint.service_s.map_or_else(drawn, |service_s| service_s * scale))
            }
            Form::Tokens { overhead_s, prefill_s_per_token, input, output, sigma_ln } => {
                let input = hint.input_tokens.map_or_else(|| input.sample(rng).round(), f64::from);
                let output = hint.output_tokens.map_or_else(|| output.sample(rng).round().max(1.0), f64::from);
                let fixed = overhead_s + prefill_s_per_token * input;
                let luck = if *sigma_ln > 0.0 { libm::exp(sigma_ln * normal(rng)) } else { 1.0 };
                Demand { fixed: Span::from_secs(fixed * luck), shared: output }
            }
        }
    }
}

fn alone(seconds: f64) -> Demand {
    Demand { fixed: Span::from_secs(seconds), shared: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::{Moments, Words, assert_near};

    fn llama(sigma_ln: f64) -> ServiceModel {
        ServiceModel::Tokens {
            overhead_s: 0.05,
            prefill_s_per_token: 0.000_066_8,
            decode_step_s: 0.0133,
            decode_step_s_per_seq: 0.0004,
            input: Distribution::Constant { value: 1_155.0 },
            output: Distribution::Constant { value: 211.0 },
            sigma_ln,
        }
    }

    #[test]
    fn jobs_share_a_worker_by_the_formula() {
        let batch = llama(0.0).speed();
        assert_eq!(batch.rate(1), 1.0 / 0.0133);
        assert_eq!(batch.rate(31), 1.0 / (0.0133 + 0.0004 * 30.0));
        assert_eq!(SharedSpeed::Independent.rate(9), 1.0);
        assert_eq!(SharedSpeed::Power { exponent: 0.0 }.rate(4), 0.25);
        assert_eq!(SharedSpeed::Power { exponent: 1.0 }.rate(4), 1.0);
        assert_eq!(SharedSpeed::Power { exponent: 0.5 }.rate(0), 1.0);
    }

    #[test]
    fn tokens_of_the_trace_come_before_drawn_ones() {
        let rng = &mut Words::new(1);
        let drawn = llama(0.0).demand(&WorkHint::default(), rng);
        assert_eq!(drawn, Demand { fixed: Span(127_154), shared: 211.0 });
        let hint = WorkHint { input_tokens: Some(10_000), output_tokens: Some(0), service_s: Some(99.0) };
        let traced = llama(0.0).demand(&hint, rng);
        assert_eq!(traced, Demand { fixed: Span(718_000), shared: 0.0 });
        // The preset's typical service time, 2.9 s.
        assert!((llama(0.0).mean_s().unwrap() - 2.933).abs() < 0.001);
    }

    #[test]
    fn at_least_one_token_comes_out() {
        let ServiceModel::Tokens {
            overhead_s, prefill_s_per_token, decode_step_s, decode_step_s_per_seq, input, ..
        } = llama(0.0)
        else {
            unreachable!("llama() is a token model")
        };
        let output = Distribution::Constant { value: 0.2 };
        let model = ServiceModel::Tokens {
            overhead_s,
            prefill_s_per_token,
            decode_step_s,
            decode_step_s_per_seq,
            input,
            output,
            sigma_ln: 0.0,
        };
        assert_eq!(model.demand(&WorkHint::default(), &mut Words::new(1)).shared, 1.0);
    }

    #[test]
    fn the_spread_of_overhead_and_prefill_is_lognormal() {
        let model = llama(0.3);
        let sampler = model.sampler();
        let mut rng = Words::new(6);
        let alone = |demand: Demand| demand.fixed.as_secs() + demand.shared / model.speed().rate(1);
        let times: Vec<f64> = (0..50_000).map(|_| alone(sampler.demand(&WorkHint::default(), &mut rng))).collect();
        assert_near("mean service", Moments::of(&times).mean, model.mean_s().unwrap(), 0.01);
    }

    #[test]
    fn traced_rows_are_scaled_and_missing_ones_drawn() {
        let otherwise = Some(Distribution::Constant { value: 7.0 });
        let model = ServiceModel::Traced { scale: 0.5, otherwise };
        let rng = &mut Words::new(1);
        let hint = WorkHint { service_s: Some(43.0), ..WorkHint::default() };
        assert_eq!(model.demand(&hint, rng), Demand { fixed: Span(21_500_000), shared: 0.0 });
        assert_eq!(model.demand(&WorkHint::default(), rng), Demand { fixed: Span(7_000_000), shared: 0.0 });
        assert_eq!(ServiceModel::Traced { scale: 1.0, otherwise: None }.mean_s(), None);
    }

    #[test]
    fn drawn_work_is_fixed_only_if_nobody_shares_it() {
        let work = Distribution::Constant { value: 2.0 };
        let rng = &mut Words::new(1);
        let hint = WorkHint::default();
        let independent = ServiceModel::Drawn { work: work.clone(), speed: SharedSpeed::Independent };
        assert_eq!(independent.demand(&hint, rng), Demand { fixed: Span(2_000_000), shared: 0.0 });
        let shared = ServiceModel::Drawn { work, speed: SharedSpeed::Power { exponent: 0.0 } };
        assert_eq!(shared.demand(&hint, rng), Demand { fixed: Span::ZERO, shared: 2.0 });
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let model = ServiceModel::Traced { scale: -1.0, otherwise: None };
        assert_eq!(model.check().unwrap_err(), "service: scale is -1, but must be a finite number of at least 0");
        let work = Distribution::Exponential { mean: f64::NAN };
        let model = ServiceModel::Drawn { work: work.clone(), speed: SharedSpeed::Independent };
        assert!(model.check().unwrap_err().starts_with("service: work: exponential: mean is NaN"));
        let model = ServiceModel::Drawn {
            work: Distribution::Constant { value: 1.0 },
            speed: SharedSpeed::Batch { step_s: 0.0, per_job_s: 1.0 },
        };
        assert!(model.check().unwrap_err().contains("step_s is 0, but must be a finite number greater than 0"));
        assert_eq!(llama(0.1).check(), Ok(()));
    }
}
