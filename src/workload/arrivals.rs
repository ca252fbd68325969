//! Arrival processes, and their superposition into one stream in order of time.

use std::sync::Arc;

use super::{Distribution, TraceSource};
use crate::units::{Millis, Time};

/// One step of a rate curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// Seconds from the start of the source (or of its period).
    pub at_s: f64,
    /// Requests per second from there on.
    pub rate: f64,
}

/// When requests of one source come. Rates per second, times in seconds.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum ArrivalSpec {
    /// Independent arrivals at a constant rate.
    Poisson { rate: f64 },
    /// Independent gaps of one distribution.
    Renewal { gap: Distribution },
    /// Markov-modulated Poisson: in state i at `rates[i]` for an exponential time of mean `mean_stay_s[i]`, then the next state,
    /// cyclically. On/off traffic is the case of two states with a zero rate.
    Mmpp { rates: Vec<f64>, mean_stay_s: Vec<f64> },
    /// Poisson with a rate that follows points, linearly between them or in steps; repeats after `period_s` if given.
    RateCurve { points: Vec<RatePoint>, linear: bool, period_s: Option<f64> },
    /// Poisson with rate `mean * (1 + amplitude * sin(2 pi (t + phase_s) / period_s))`, 0 <= amplitude <= 1.
    Sine { mean: f64, amplitude: f64, period_s: f64, phase_s: f64 },
    /// Batches at Poisson instants; `size` is rounded to a whole number of at least 1.
    Batch { rate: f64, size: Distribution },
    /// Self-exciting: `base_rate + sum of branching * decay * exp(-decay * age)` over past arrivals; branching < 1.
    Hawkes { base_rate: f64, branching: f64, decay: f64 },
    /// `users` clients, each of whom thinks, submits, and waits for the outcome before thinking again.
    ClosedLoop { users: u32, think: Distribution },
    /// Exactly these times.
    Times { at_s: Arc<Vec<f64>> },
    /// The rows of a trace for this endpoint.
    Trace(TraceSource),
}

/// One source of requests for one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSource {
    /// When.
    pub arrivals: ArrivalSpec,
    /// First moment at which it is active.
    pub from: Time,
    /// It ends here (exclusive), if anywhere.
    pub until: Option<Time>,
    /// Share of its requests that are low priority, 0..=1.
    pub low_priority_share: f64,
    /// TTL of each request, drawn in seconds; `None` = the endpoint's.
    pub ttl: Option<Distribution>,
    /// Execution timeout that each request asks for.
    pub execution_timeout: Option<Millis>,
}

/// All sources of one endpoint, superposed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// The sources.
    pub sources: Vec<TrafficSource>,
}

/// What a trace knows of a job's work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkHint {
    /// Seconds on a worker as the source measured it.
    pub service_s: Option<f64>,
    /// Input tokens.
    pub input_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: Option<u32>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When.
    pub at: Time,
    /// What is known of its work.
    pub work: WorkHint,
    /// Its own TTL.
    pub ttl: Option<Millis>,
    /// Its own execution timeout.
    pub execution_timeout: Option<Millis>,
    /// Low priority.
    pub low_priority: bool,
    /// Which source it came from (closed loops must be told when it ends).
    pub source: u32,
}
