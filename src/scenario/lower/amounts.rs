//! Distributions, policies and the work of a job.

use super::Context;
use crate::policy::registry::Entry;
use crate::policy::{ParamValue, PolicyChoice, wrap};
use crate::scenario::types::values::{Amount, Drawn, Policy};
use crate::scenario::types::work::{Service, Sharing};
use crate::workload::{Distribution, ServiceModel, SharedSpeed};

/// The 95th percentile of the standard normal distribution.
const Z95: f64 = 1.644_853_626_951_472_2;

impl Context<'_> {
    /// A distribution that may be absent.
    pub fn optional(&mut self, amount: Option<&Amount>, path: &[&str]) -> Option<Distribution> {
        amount.map(|amount| self.amount(amount, path))
    }

    /// A distribution; parameters that do not go together are reported.
    pub fn amount(&mut self, amount: &Amount, path: &[&str]) -> Distribution {
        let known = self.problems.count();
        let distribution = match amount {
            Amount::Constant(value) => Distribution::Constant { value: *value },
            Amount::Drawn(drawn) => self.drawn(drawn, path),
        };
        // What is not said better above: the distribution's own limits.
        if self.problems.count() == known
            && let Err(error) = distribution.check()
        {
            self.problem(path, error, "", "");
        }
        distribution
    }

    fn drawn(&mut self, drawn: &Drawn, path: &[&str]) -> Distribution {
        match drawn {
            Drawn::Constant { value } => Distribution::Constant { value: value.get() },
            Drawn::Uniform { min, max } => {
                if min > max {
                    let found = format!("min {} above max {}", min.get(), max.get());
                    self.problem(&joined(path, "min"), found, "min up to max", "swap them");
                }
                Distribution::Uniform { min: min.get(), max: max.get() }
            }
            Drawn::Exponential { mean } => Distribution::Exponential { mean: mean.get() },
            Drawn::Gamma { mean, cv } => Distribution::Gamma { mean: mean.get(), cv: cv.get() },
            Drawn::Weibull { mean, cv } => Distribution::Weibull { mean: mean.get(), cv: cv.get() },
            Drawn::Lognormal { median, sigma } => Distribution::LogNormal { median: median.get(), sigma: sigma.get() },
            Drawn::LognormalMean { mean, cv } => Distribution::LogNormalMean { mean: mean.get(), cv: cv.get() },
            Drawn::LognormalP95 { p50, p95 } => {
                if p50 > p95 {
                    let found = format!("p50 {} above p95 {}", p50.get(), p95.get());
                    self.problem(&joined(path, "p50"), found, "p50 up to p95", "swap them");
                }
                Distribution::LogNormal { median: p50.get(), sigma: libm::log(p95.get() / p50.get()).max(0.0) / Z95 }
            }
            Drawn::Hyperexponential { mean, scv } => {
                if scv.get() < 1.0 {
                    self.problem(&joined(path, "scv"), scv.get().to_string(), "1 or more", "use `gamma` below 1");
                }
                Distribution::HyperExponential { mean: mean.get(), scv: scv.get() }
            }
            Drawn::Pareto { min, alpha } => Distribution::Pareto { min: min.get(), alpha: alpha.get() },
            Drawn::Geometric { mean } => {
                if mean.get() < 1.0 {
                    self.problem(&joined(path, "mean"), mean.get().to_string(), "1 or more", "");
                }
                Distribution::Geometric { mean: mean.get() }
            }
            Drawn::Empirical { values } => {
                Distribution::Empirical { values: values.iter().map(|value| value.get()).collect() }
            }
            Drawn::Mixture { parts } => {
                let mut lowered = Vec::with_capacity(parts.len());
                for (index, part) in parts.iter().enumerate() {
                    let index = index.to_string();
                    let path = [path, &["parts", &index, "of"]].concat();
                    lowered.push((part.weight.get(), self.amount(&part.of, &path)));
                }
                Distribution::Mixture { parts: lowered }
            }
        }
    }

    /// The work of a job.
    pub fn service(&mut self, service: &Service, path: &[&str]) -> ServiceModel {
        let known = self.problems.count();
        let model = self.service_model(service, path);
        if self.problems.count() == known
            && let Err(error) = model.check()
        {
            self.problem(path, error, "", "");
        }
        model
    }

    fn service_model(&mut self, service: &Service, path: &[&str]) -> ServiceModel {
        match service {
            Service::Drawn { work_s, sharing } => ServiceModel::Drawn {
                work: self.amount(work_s, &joined(path, "work_s")),
                speed: sharing.as_ref().map_or(SharedSpeed::Independent, shared_speed),
            },
            Service::Traced { scale, otherwise_s } => ServiceModel::Traced {
                scale: scale.get(),
                otherwise: self.optional(otherwise_s.as_ref(), &joined(path, "otherwise_s")),
            },
            Service::Tokens {
                overhead_s,
                prefill_s_per_token,
                decode_step_s,
                decode_step_s_per_seq,
                input_tokens,
                output_tokens,
                sigma,
            } => ServiceModel::Tokens {
                overhead_s: overhead_s.get(),
                prefill_s_per_token: prefill_s_per_token.get(),
                decode_step_s: decode_step_s.get(),
                decode_step_s_per_seq: decode_step_s_per_seq.get(),
                input: self.amount(input_tokens, &joined(path, "input_tokens")),
                output: self.amount(output_tokens, &joined(path, "output_tokens")),
                sigma_ln: sigma.get(),
            },
        }
    }
}

fn shared_speed(sharing: &Sharing) -> SharedSpeed {
    match sharing {
        Sharing::Independent {} => SharedSpeed::Independent,
        Sharing::Power { exponent } => SharedSpeed::Power { exponent: exponent.get() },
        Sharing::Batch { step_s, per_job_s } => SharedSpeed::Batch { step_s: step_s.get(), per_job_s: per_job_s.get() },
    }
}

/// `path` and one more step.
pub fn joined<'a>(path: &[&'a str], step: &'a str) -> Vec<&'a str> {
    [path, &[step]].concat()
}

/// A policy with the parameters that differ from its defaults, as [`PolicyChoice`] has it.
pub fn choice<T: ?Sized>(policy: &Policy, entries: &[Entry<T>]) -> PolicyChoice {
    let mut choice = policy.choice();
    if let Some(entry) = entries.iter().find(|entry| entry.name == choice.name) {
        // Common keys of scaling policies have the same names whoever has them.
        let specs = || entry.params.iter().chain(wrap::PARAMS);
        choice.params.retain(|name, value: &mut ParamValue| {
            specs().find(|spec| spec.name == name).is_none_or(|spec| spec.kind.default_value() != *value)
        });
    }
    choice
}

/// The least that a distribution can give; 0 where that is not plain.
pub fn least(distribution: &Distribution) -> f64 {
    match distribution {
        Distribution::Constant { value } => *value,
        Distribution::Uniform { min, .. } | Distribution::Pareto { min, .. } => *min,
        _ => 0.0,
    }
}
