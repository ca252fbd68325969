//! Policies held against each other: the same scenario, the same seeds, many runs, and what can honestly be said about them.
//!
//! Every policy meets every replication (common random numbers), so differences are taken run by run. Replications are added on a
//! doubling schedule until the intervals are narrow enough or a cap is reached; runs go to rayon's current pool, and the answer
//! is the same for any number of its threads. What is made of the runs: [`judge`].

pub mod floor;
pub mod judge;
pub mod sample;

use rayon::prelude::*;

use crate::experiment::RunError;
use crate::lab::stats::{LEAST, mean_interval};
use crate::lab::traces::{Origin, PartError, TraceTimes, origin};
use crate::ledger::Profile;
use crate::results::comparison::ScenarioComparison;
use crate::scenario::Scenario;
use crate::sim::plan::Plan;

pub use sample::{Missed, Sample};

/// A wait whose interval is this narrow is known well enough, however small it is.
const WAIT_TOLERANCE_S: f64 = 0.05;

/// Which replications are run.
#[derive(Clone, Debug, PartialEq)]
pub enum Replications {
    /// These seeds.
    Seeds(Vec<u64>),
    /// Seeds from `first` on: 10, then twice as many, until every policy's cost and p95 wait are known to `precision`, or `cap`.
    UntilPrecise {
        /// First seed.
        first: u64,
        /// Half-width of the intervals relative to the mean.
        precision: f64,
        /// Most replications.
        cap: usize,
    },
    /// These seeds, on these parts of the trace; `says` is what differs between them.
    Given {
        /// The replications.
        all: Vec<Replication>,
        /// In words.
        says: String,
    },
    /// Parts of the trace of this many seconds, one replication each, under seeds from `first` on.
    Parts {
        /// Seconds of the trace.
        length_s: f64,
        /// First seed.
        first: u64,
    },
}

/// How a comparison is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which runs.
    pub replications: Replications,
    /// Which bill is ranked by.
    pub profile: Profile,
    /// Place of the baseline among the policies.
    pub baseline: usize,
}

/// A policy, laid over the scenario.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Its name.
    pub name: String,
    /// What it is.
    pub summary: String,
    /// The scenario with it.
    pub scenario: Scenario,
}

/// What nobody can pay less than in one replication.
pub trait Floor: Send + Sync {
    /// Dollars of `profile`, for somebody who misses as much at each endpoint; nothing missed where the list is too short.
    fn least_usd(&self, profile: Profile, missed: &[Missed]) -> f64;
}

/// The floor of a plan; `None` where it is not known.
pub type BoundOf<'a> = &'a (dyn Fn(&Plan) -> Option<Box<dyn Floor>> + Sync);

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A run of one of the policies cannot be made.
    #[error("policy {policy}: {error}")]
    Run {
        /// Which.
        policy: String,
        /// Why.
        error: RunError,
    },
    /// The traffic has no parts.
    #[error(transparent)]
    Parts(#[from] PartError),
    /// Two policies of the same name could not be told apart.
    #[error("two policies are called `{0}`; give one of them another `name:`")]
    Twice(String),
}

/// How far a comparison is: runs made, and runs known to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Made so far.
    pub done: usize,
    /// To be made as far as is known.
    pub of: usize,
}

/// One replication of every policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Replication {
    /// Its seed.
    pub seed: u64,
    /// Its part of the trace.
    pub window: Option<[f64; 2]>,
}

/// Every sample: `of[policy][replication]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The replications, in order.
    pub replications: Vec<Replication>,
    /// The samples.
    pub of: Vec<Vec<Sample>>,
    /// The cap was reached before the precision.
    pub cap_hit: bool,
}

/// Compares `entrants` in the scenario that they are laid over; `plain` is that scenario without any of them.
///
/// # Errors
/// If a run cannot be made, two policies have one name, or the traffic has no parts.
pub fn compare(
    plain: &Scenario,
    entrants: &[Entrant],
    options: &Options,
    bound: Option<BoundOf<'_>>,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<ScenarioComparison, CompareError> {
    let names: Vec<&String> = entrants.iter().map(|entrant| &entrant.name).collect();
    if let Some((_, twice)) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return Err(CompareError::Twice((*twice).clone()));
    }
    let times = match options.replications {
        Replications::Parts { .. } => Some(TraceTimes::read(&plain.plan)?),
        Replications::Given { ref all, .. } if all.iter().any(|one| one.window.is_some()) => {
            Some(TraceTimes::read(&plain.plan)?)
        }
        _ => None,
    };
    let samples = samples(entrants, options, times.as_ref(), watch)?;
    let floors = bound.and_then(|bound| floors(entrants, &samples.replications, times.as_ref(), bound));
    Ok(judge::judge(plain, entrants, options, &samples, floors.as_deref()))
}

/// The samples of `entrants` under replications whose number is known: one list each.
///
/// # Errors
/// If a run cannot be made.
pub fn samples_of(
    entrants: &[Entrant],
    replications: &Replications,
    times: Option<&TraceTimes>,
) -> Result<Vec<Vec<Sample>>, CompareError> {
    run_batch(entrants, &first_batch(replications, times), times, 0, &|_| {})
}

/// Runs replications of `entrants` until there are enough.
fn samples(
    entrants: &[Entrant],
    options: &Options,
    times: Option<&TraceTimes>,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<Samples, CompareError> {
    let mut samples = Samples { of: vec![Vec::new(); entrants.len()], ..Samples::default() };
    let mut wanted = first_batch(&options.replications, times);
    loop {
        let made = samples.replications.len();
        let new = &wanted[made..];
        let base = made * entrants.len();
        run_batch(entrants, new, times, base, watch)?
            .into_iter()
            .zip(&mut samples.of)
            .for_each(|(new, all)| all.extend(new));
        samples.replications.clone_from(&wanted);
        let Replications::UntilPrecise { first, precision, cap } = options.replications else { return Ok(samples) };
        let precise = samples.of.iter().all(|of| is_precise(of, options.profile, precision));
        if precise || wanted.len() >= cap {
            samples.cap_hit = !precise;
            return Ok(samples);
        }
        let more = (2 * wanted.len()).min(cap);
        wanted = seeds(first, more);
    }
}

fn seeds(first: u64, count: usize) -> Vec<Replication> {
    (0..count as u64).map(|number| Replication { seed: first.wrapping_add(number), window: None }).collect()
}

fn first_batch(replications: &Replications, times: Option<&TraceTimes>) -> Vec<Replication> {
    match replications {
        Replications::Seeds(seeds) => seeds.iter().map(|seed| Replication { seed: *seed, window: None }).collect(),
        Replications::UntilPrecise { first, cap, .. } => seeds(*first, LEAST.min(*cap)),
        Replications::Given { all, .. } => all.clone(),
        Replications::Parts { length_s, first } => {
            let parts = times.map_or_else(Vec::new, |times| times.parts(*length_s));
            let numbered = parts.into_iter().zip(*first..);
            numbered.map(|(window, seed)| Replication { seed, window: Some(window) }).collect()
        }
    }
}

/// One list of samples per policy, in the order of `replications`.
fn run_batch(
    entrants: &[Entrant],
    replications: &[Replication],
    times: Option<&TraceTimes>,
    base: usize,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Vec<Sample>>, CompareError> {
    let done = std::sync::atomic::AtomicUsize::new(base);
    let of = base + entrants.len() * replications.len();
    let one = |place: usize| {
        let (entrant, replication) = (&entrants[place / replications.len()], &replications[place % replications.len()]);
        let options = sample::run_options(&entrant.scenario);
        let plan = &entrant.scenario.plan;
        let sample = match (times, replication.window) {
            (Some(times), Some(window)) => sample::run(&times.part(plan, window), replication.seed, &options),
            _ => sample::run(plan, replication.seed, &options),
        };
        watch(Progress { done: 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed), of });
        sample.map_err(|error| CompareError::Run { policy: entrant.name.clone(), error })
    };
    // All results are collected first: the error that is reported is the first in order, not the first in time.
    let results: Vec<Result<Sample, CompareError>> =
        (0..entrants.len() * replications.len()).into_par_iter().map(one).collect();
    let flat = results.into_iter().collect::<Result<Vec<Sample>, CompareError>>()?;
    Ok(flat.chunks(replications.len().max(1)).map(<[Sample]>::to_vec).collect())
}

/// Whether cost and p95 wait are known to `precision`. The half-width is held against g/(1+g) of the estimated mean, which
/// bounds the error relative to the true one (Law, section 9.4.1).
fn is_precise(samples: &[Sample], profile: Profile, precision: f64) -> bool {
    let share = precision / (1.0 + precision);
    let narrow = |value: &dyn Fn(&Sample) -> f64, tolerance: f64| {
        let interval = mean_interval(&samples.iter().map(value).collect::<Vec<_>>());
        interval.half().is_some_and(|half| half <= (share * interval.mean.abs()).max(tolerance))
    };
    narrow(&|sample| sample.cost(profile), 0.0) && narrow(&|sample| sample.wait_p95_s, WAIT_TOLERANCE_S)
}

/// The floors of every part of a trace, or of the first ten replications of the whole, as many as an interval needs: a floor takes longer
/// than a run. `None` unless all of them are known.
fn floors(
    entrants: &[Entrant],
    replications: &[Replication],
    times: Option<&TraceTimes>,
    bound: BoundOf<'_>,
) -> Option<Vec<Box<dyn Floor>>> {
    let plans = floor::kinds(entrants.iter().map(|entrant| &entrant.scenario.plan));
    let of = |replication: &Replication| -> Option<Box<dyn Floor>> {
        let part = |plan: &Plan| match (times, replication.window) {
            (Some(times), Some(window)) => times.part(plan, window),
            _ => plan.clone(),
        };
        let each = plans.iter().map(|plan| bound(&Plan { seed: replication.seed, ..part(plan) }));
        Some(Box::new(floor::Cheapest(each.collect::<Option<Vec<_>>>()?)))
    };
    let parts = replications.iter().any(|replication| replication.window.is_some());
    let few = if parts { replications.len() } else { replications.len().min(LEAST) };
    replications[..few].par_iter().map(of).collect::<Vec<_>>().into_iter().collect()
}

/// How parts of a trace begin, in words.
pub const RUN_IN: &str = "run in on up to an hour before it";

/// What differs from one replication to the next, in words.
fn varies(plan: &Plan, replications: &Replications) -> String {
    match (origin(plan), replications) {
        (_, Replications::Given { says, .. }) => says.clone(),
        (_, Replications::Parts { length_s, .. }) => {
            format!("the part of the trace ({length_s} s each, {RUN_IN}), service times and failures")
        }
        (Origin::Trace, _) => "service times and failures only: the trace is one sample of traffic, so intervals say \
                               nothing about other days"
            .to_owned(),
        (Origin::Mixed, _) => "drawn traffic, service times and failures; what is from traces is the same".to_owned(),
        (Origin::Synthetic, _) => "traffic, service times and failures".to_owned(),
    }
}

#[cfg(test)]
mod tests;
