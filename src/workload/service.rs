//! How much work a job is, and how fast a worker does it when several jobs share it.

use super::Distribution;
use crate::units::Span;

/// How the jobs on one worker share its speed.
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
    /// Units of shared work: seconds at speed 1 for `Drawn`, output tokens for `Tokens`.
    pub shared: f64,
}
