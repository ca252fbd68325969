//! What a job costs and how a worker starts, as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::numbers::{Factor, NonNegative, Positive, PositiveSeconds, Seconds, Share, Sigma};
use super::values::Amount;

/// How much work a job is.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Service {
    /// Drawn for each attempt.
    Drawn {
        /// Seconds on a worker that does nothing else.
        work_s: Amount,
        /// What several jobs on one worker do to each other; without it each runs at full speed.
        sharing: Option<Sharing>,
    },
    /// The `service_s` column of the trace.
    Traced {
        /// The column is multiplied by this.
        #[schemars(extend("default" = 1, "x-source" = "as measured"))]
        scale: Positive,
        /// Seconds for rows that have no `service_s`.
        otherwise_s: Option<Amount>,
    },
    /// A language model: overhead + prefill x input tokens + output tokens x a decode step that grows with the batch.
    Tokens {
        /// Seconds per request before the first token.
        #[schemars(extend("default" = 0, "x-source" = "none"))]
        overhead_s: NonNegative,
        /// Seconds per input token.
        prefill_s_per_token: NonNegative,
        /// Seconds per output token when alone on the worker.
        decode_step_s: Positive,
        /// Further seconds per output token for each other sequence on the worker.
        #[schemars(extend("default" = 0, "x-source" = "none"))]
        decode_step_s_per_seq: NonNegative,
        /// Input tokens of requests whose trace row tells none. Default: the Azure conversation trace 2023 (median 1020, mean 1155).
        #[schemars(extend("default" = serde_json::json!({ "type": "lognormal", "median": 1020, "sigma": 0.5 }),
            "x-source" = "Azure LLM trace 2023, conversation: median 1020, mean 1155"))]
        input_tokens: Amount,
        /// Output tokens of such requests. Default: the same trace (median 129, mean 211).
        #[schemars(extend("default" = serde_json::json!({ "type": "lognormal", "median": 129, "sigma": 0.99 }),
            "x-source" = "Azure LLM trace 2023, conversation: median 129, mean 211"))]
        output_tokens: Amount,
        /// Overhead and prefill are multiplied by a lognormal of this sigma; 0 = not.
        #[schemars(extend("default" = 0, "x-source" = "none"))]
        sigma: Sigma,
    },
}

/// What several jobs on one worker do to each other.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sharing {
    /// Nothing: each runs at full speed.
    Independent {},
    /// n jobs run at total speed n^exponent: 0 = they share one speed, 1 = independent.
    Power {
        /// See above.
        exponent: Share,
    },
    /// A step of all takes `step_s + per_job_s * (n - 1)`; `work_s` then counts steps.
    Batch {
        /// Seconds of a step when alone.
        step_s: Positive,
        /// Further seconds for each other job.
        per_job_s: NonNegative,
    },
}

/// How a worker starts, resumes and stops. Seconds of each stage, the image being on the host.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Create and start the container.
    #[schemars(extend("default" = 2, "x-source" = "estimate of the presets; Modal: about 1 s"))]
    pub container_s: Amount,
    /// CUDA context.
    #[schemars(extend("default" = 4.5, "x-source" = "StreamBox README: mean 4.47 s"))]
    pub cuda_s: Amount,
    /// Interpreter, framework and user imports, fitness checks.
    #[schemars(extend("default" = 5, "x-source" = "estimate of the presets"))]
    pub import_s: Amount,
    /// Weights from storage to GPU memory.
    #[schemars(extend("default" = 0, "x-source" = "no model unless given"))]
    pub weights_s: Amount,
    /// Engine: profile, compile, graph capture, warm-up.
    #[schemars(extend("default" = 0, "x-source" = "no engine unless given"))]
    pub engine_s: Amount,
    /// From ready to the first take.
    #[schemars(extend("default" = 0, "x-source" = "the wait for the next take is modelled by `pacing`"))]
    pub first_take_s: Amount,
    /// Thaw of a frozen worker: replaces all the stages above.
    #[schemars(extend("default" = serde_json::json!({ "type": "lognormal", "median": 1.1, "sigma": 0.45 }),
        "x-source" = "RunPod FlashBoot blog: P90 2.0 s, P95 2.3 s"))]
    pub resume_s: Amount,
    /// Share of freezes that keep their snapshot at all.
    #[schemars(extend("default" = 1, "x-source" = "ours; no rate is published"))]
    pub freeze_probability: Share,
    /// How long a snapshot survives on its host; for ever unless given.
    pub snapshot_life_s: Option<Amount>,
    /// From the stop command to the GPU being free.
    #[schemars(extend("default" = 3, "x-source" = "RunPod worker log: 3 s"))]
    pub stop_s: Amount,
    /// The first this many jobs after a start are slower.
    #[schemars(extend("default" = 0, "x-source" = "none unless given"))]
    pub warm_up_jobs: u32,
    /// By this factor.
    #[schemars(extend("default" = 1, "x-source" = "none unless given"))]
    pub warm_up_factor: Factor,
}

/// How workers ask for jobs.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pacing {
    /// From the hand-out of a job to the start of its handler.
    #[schemars(extend("default" = serde_json::json!({ "type": "uniform", "min": 0, "max": 0.1 }),
        "x-source" = "worker SDK 1.12"))]
    pub latency_s: Amount,
    /// A worker whose places are full asks again at whole multiples of this after the take that filled it; 0 = at once.
    #[schemars(extend("default" = 1, "x-source" = "worker SDK 1.12"))]
    pub period_s: Seconds,
}

/// What goes wrong with the workers of one release.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointFaults {
    /// Share of starts that fail, at their end.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub start_failure_probability: Share,
    /// Share of attempts in which the worker's process dies.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub crash_probability: Share,
    /// Share of attempts that never end.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub hang_probability: Share,
    /// A hang silences the worker's pings too, so that its lease ends.
    #[schemars(extend("default" = false, "x-source" = "the SDK pings from a process of its own"))]
    pub hang_silent: bool,
    /// Share of completed attempts that end in a handler error (final, never retried).
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub handler_error_probability: Share,
    /// Share of results that ask for a refresh of the worker.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub refresh_probability: Share,
    /// Time between crashes of a worker that is up, busy or idle.
    pub uptime_s: Option<Amount>,
    /// Share of stop signals for a job that the worker ignores.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub ignore_stop_probability: Share,
}

/// A moment and a rate from there on.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// From the start of the source, or of its period.
    pub at_s: Seconds,
    /// Requests per second from there on.
    pub rate_per_s: super::numbers::Rate,
}

/// One state of a Markov-modulated source.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MmppState {
    /// Requests per second while in it.
    pub rate_per_s: super::numbers::Rate,
    /// Mean length of a stay.
    pub mean_stay_s: PositiveSeconds,
}
