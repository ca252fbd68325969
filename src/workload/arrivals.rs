//! What arrivals are made of: the processes of the sources of an endpoint, and the requests that come out. The processes run in
//! `process.rs`, `curve.rs` and `playback.rs`, their superposition in `traffic.rs`.

use std::sync::Arc;

use super::distribution::bounded;
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

/// When requests of one source come. Rates per second, times in seconds since the source's `from`.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum ArrivalSpec {
    /// Independent arrivals at a constant rate.
    Poisson { rate: f64 },
    /// Independent gaps of one distribution; the first request comes after the first gap.
    Renewal { gap: Distribution },
    /// Markov-modulated Poisson: in state i at `rates[i]` for an exponential time of mean `mean_stay_s[i]`, then the next state,
    /// cyclically; the first state is drawn by its share of time. On/off traffic is the case of two states with a zero rate.
    Mmpp { rates: Vec<f64>, mean_stay_s: Vec<f64> },
    /// Poisson with a rate that follows points, linearly between them or in steps; repeats after `period_s` if given. Without a
    /// period the rate is 0 before the first point and stays after the last.
    RateCurve { points: Vec<RatePoint>, linear: bool, period_s: Option<f64> },
    /// Poisson with rate `mean * (1 + amplitude * sin(2 pi (t + phase_s) / period_s))`, 0 <= amplitude <= 1.
    Sine { mean: f64, amplitude: f64, period_s: f64, phase_s: f64 },
    /// Batches at Poisson instants; `size` is rounded to a whole number of at least 1.
    Batch { rate: f64, size: Distribution },
    /// Self-exciting: `base_rate + sum of branching * decay * exp(-decay * age)` over past arrivals; branching < 1. It starts
    /// without a past.
    Hawkes { base_rate: f64, branching: f64, decay: f64 },
    /// `users` clients, each of whom thinks, submits, and waits for the outcome before thinking again (at least 1 us).
    ClosedLoop { users: u32, think: Distribution },
    /// Exactly these times.
    Times { at_s: Arc<Vec<f64>> },
    /// Exactly these times, and what is known of the work of each request: a trace in memory.
    Rows { at_s: Arc<Vec<f64>>, work: Arc<Vec<WorkHint>> },
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

/// Most clients of a closed loop, and most times of a list: each takes memory.
const COUNT_MAX: usize = 10_000_000;
/// Most rows in memory: twice the longest log that is read, 40 bytes each.
const ROWS_MAX: usize = 40_000_000;
/// Times lie within about 300 years.
const SECONDS_MAX: f64 = 1e10;
/// Highest rate: one arrival per microsecond, the resolution of time.
const RATE_MAX: f64 = 1e6;

impl ArrivalSpec {
    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let rate = |what: &str, value: f64| bounded("arrivals", what, value, 0.0, RATE_MAX);
        let length = |what: &str, value: f64| bounded("arrivals", what, value, 1e-6, SECONDS_MAX);
        let within =
            |what: &str, part: &Distribution| part.check().map_err(|error| format!("arrivals: {what}: {error}"));
        match self {
            ArrivalSpec::Poisson { rate: value } => rate("rate", *value),
            ArrivalSpec::Renewal { gap } => {
                within("gap", gap)?;
                bounded("arrivals", "mean of gap", gap.mean().min(f64::MAX), 1e-6, f64::MAX)
            }
            ArrivalSpec::Mmpp { rates, mean_stay_s } => check_mmpp(rates, mean_stay_s),
            ArrivalSpec::RateCurve { points, period_s, .. } => check_curve(points, *period_s),
            ArrivalSpec::Sine { mean, amplitude, period_s, phase_s } => {
                rate("mean", *mean)?;
                bounded("arrivals", "amplitude", *amplitude, 0.0, 1.0)?;
                length("period_s", *period_s)?;
                bounded("arrivals", "phase_s", *phase_s, 0.0, SECONDS_MAX)
            }
            ArrivalSpec::Batch { rate: value, size } => {
                rate("rate", *value)?;
                within("size", size)
            }
            ArrivalSpec::Hawkes { base_rate, branching, decay } => {
                rate("base_rate", *base_rate)?;
                // At 1 every arrival would bring another one on average, for ever.
                bounded("arrivals", "branching", *branching, 0.0, 0.999)?;
                bounded("arrivals", "decay", *decay, 1e-9, RATE_MAX)
            }
            ArrivalSpec::ClosedLoop { users, think } => {
                bounded("arrivals", "users", f64::from(*users), 0.0, COUNT_MAX as f64)?;
                within("think", think)
            }
            ArrivalSpec::Times { at_s } => {
                bounded("arrivals", "number of times", at_s.len() as f64, 0.0, COUNT_MAX as f64)?;
                check_ascending("at_s", at_s.iter().copied(), SECONDS_MAX)
            }
            ArrivalSpec::Rows { at_s, work } => {
                bounded("arrivals", "number of rows", at_s.len() as f64, 0.0, ROWS_MAX as f64)?;
                if work.len() != at_s.len() {
                    return Err(format!("arrivals: {} times, but the work of {} requests", at_s.len(), work.len()));
                }
                check_ascending("at_s", at_s.iter().copied(), SECONDS_MAX)
            }
            ArrivalSpec::Trace(trace) => trace.options.check(),
        }
    }

    /// Requests per second in the long run; `None` where the specification alone does not say.
    pub fn mean_rate(&self) -> Option<f64> {
        match self {
            ArrivalSpec::Poisson { rate } => Some(*rate),
            ArrivalSpec::Renewal { gap } => Some(1.0 / gap.mean()),
            ArrivalSpec::Mmpp { rates, mean_stay_s } => {
                let arrivals: f64 = rates.iter().zip(mean_stay_s).map(|(rate, stay_s)| rate * stay_s).sum();
                Some(arrivals / mean_stay_s.iter().sum::<f64>())
            }
            ArrivalSpec::Sine { mean, .. } => Some(*mean),
            ArrivalSpec::Hawkes { base_rate, branching, .. } => Some(base_rate / (1.0 - branching)),
            ArrivalSpec::Batch { rate, size: Distribution::Constant { value } } => Some(rate * value.round().max(1.0)),
            ArrivalSpec::Batch { .. }
            | ArrivalSpec::RateCurve { .. }
            | ArrivalSpec::ClosedLoop { .. }
            | ArrivalSpec::Times { .. }
            | ArrivalSpec::Rows { .. }
            | ArrivalSpec::Trace(_) => None,
        }
    }
}

impl TrafficSource {
    /// `arrivals` from the start to the end of the run, all of normal priority, with the endpoint's TTL and timeout.
    pub fn new(arrivals: ArrivalSpec) -> TrafficSource {
        TrafficSource {
            arrivals,
            from: Time::ZERO,
            until: None,
            low_priority_share: 0.0,
            ttl: None,
            execution_timeout: None,
        }
    }

    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        self.arrivals.check()?;
        bounded("traffic", "low_priority_share", self.low_priority_share, 0.0, 1.0)?;
        match self.until {
            Some(until) if until <= self.from => {
                Err(format!("traffic: until is {until} s, but must be later than from ({} s)", self.from))
            }
            _ => self.ttl.as_ref().map_or(Ok(()), |ttl| ttl.check().map_err(|error| format!("traffic: ttl: {error}"))),
        }
    }
}

fn check_mmpp(rates: &[f64], mean_stay_s: &[f64]) -> Result<(), String> {
    if rates.is_empty() || rates.len() != mean_stay_s.len() {
        let counts = format!("{} rates and {} mean stays", rates.len(), mean_stay_s.len());
        return Err(format!("arrivals: {counts}, but there must be one of each per state"));
    }
    for (state, (rate, stay_s)) in rates.iter().zip(mean_stay_s).enumerate() {
        bounded("arrivals", &format!("rate of state {}", state + 1), *rate, 0.0, RATE_MAX)?;
        bounded("arrivals", &format!("mean_stay_s of state {}", state + 1), *stay_s, 1e-6, SECONDS_MAX)?;
    }
    // With fewer, millions of changes of state would pass between two arrivals.
    let per_cycle: f64 = rates.iter().zip(mean_stay_s).map(|(rate, stay_s)| rate * stay_s).sum();
    bounded("arrivals", "mean number of arrivals per cycle of states", per_cycle, 1e-6, f64::MAX)
}

fn check_curve(points: &[RatePoint], period_s: Option<f64>) -> Result<(), String> {
    if points.is_empty() {
        return Err("arrivals: a rate curve needs at least one point".to_owned());
    }
    for (index, point) in points.iter().enumerate() {
        bounded("arrivals", &format!("rate of point {}", index + 1), point.rate, 0.0, RATE_MAX)?;
    }
    if let Some(period_s) = period_s {
        bounded("arrivals", "period_s", period_s, 1e-3, SECONDS_MAX)?;
    }
    check_ascending("at_s", points.iter().map(|point| point.at_s), period_s.unwrap_or(SECONDS_MAX))
}

fn check_ascending(what: &str, times: impl Iterator<Item = f64>, most: f64) -> Result<(), String> {
    let mut last = 0.0;
    for (index, at_s) in times.enumerate() {
        bounded("arrivals", &format!("{what} {}", index + 1), at_s, 0.0, most)?;
        if at_s < last {
            return Err(format!(
                "arrivals: {what} {} is {at_s}, but must not be before the one in front ({last})",
                index + 1
            ));
        }
        last = at_s;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(spec: &ArrivalSpec) -> String {
        spec.check().unwrap_err()
    }

    fn times(at_s: &[f64]) -> ArrivalSpec {
        ArrivalSpec::Times { at_s: Arc::new(at_s.to_vec()) }
    }

    #[test]
    fn a_bad_parameter_is_named_with_its_range() {
        let rate = f64::NAN;
        assert_eq!(
            error(&ArrivalSpec::Poisson { rate }),
            "arrivals: rate is NaN, but must be a number from 0 to 1000000"
        );
        let gap = Distribution::Constant { value: 0.0 };
        assert!(error(&ArrivalSpec::Renewal { gap }).contains("mean of gap is 0"));
        let one_of_two = ArrivalSpec::Mmpp { rates: vec![1.0, 2.0], mean_stay_s: vec![1.0] };
        assert!(error(&one_of_two).contains("2 rates and 1 mean stays"));
        let silent = ArrivalSpec::Mmpp { rates: vec![0.0, 0.0], mean_stay_s: vec![1.0, 1.0] };
        assert!(error(&silent).contains("arrivals per cycle of states is 0"));
        assert!(error(&ArrivalSpec::Hawkes { base_rate: 1.0, branching: 1.0, decay: 1.0 }).contains("branching is 1"));
        let amplitude = 1.5;
        let sine = ArrivalSpec::Sine { mean: 1.0, amplitude, period_s: 60.0, phase_s: 0.0 };
        assert!(error(&sine).contains("amplitude is 1.5"));
    }

    #[test]
    fn times_and_points_must_ascend() {
        assert!(error(&times(&[1.0, 0.5])).contains("at_s 2 is 0.5, but must not be before the one in front (1)"));
        assert!(error(&times(&[-1.0])).contains("at_s 1 is -1"));
        assert_eq!(times(&[1.0, 1.0]).check(), Ok(()));
        let rows = |work: usize| ArrivalSpec::Rows {
            at_s: Arc::new(vec![1.0]),
            work: Arc::new(vec![WorkHint::default(); work]),
        };
        assert_eq!(rows(1).check(), Ok(()));
        assert!(error(&rows(2)).contains("1 times, but the work of 2 requests"));
        let point = |at_s: f64| RatePoint { at_s, rate: 1.0 };
        let late = ArrivalSpec::RateCurve { points: vec![point(20.0)], linear: true, period_s: Some(10.0) };
        assert!(error(&late).contains("at_s 1 is 20, but must be a number from 0 to 10"));
        assert!(
            error(&ArrivalSpec::RateCurve { points: vec![], linear: true, period_s: None }).contains("at least one")
        );
    }

    #[test]
    fn windows_and_shares_are_checked() {
        let mut source = TrafficSource::new(ArrivalSpec::Poisson { rate: 1.0 });
        assert_eq!(source.check(), Ok(()));
        source.until = Some(Time::ZERO);
        assert!(source.check().unwrap_err().contains("later than from"));
        source.until = None;
        source.low_priority_share = 1.5;
        assert!(source.check().unwrap_err().contains("low_priority_share is 1.5"));
    }
}
