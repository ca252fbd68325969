//! The cheapest settings that hold a promise: found on one part of the data, checked on another.
//!
//! Settings race: many are tried on little data, the better third goes on to more ([`search`]), and the best are improved in
//! small steps on all of the training data. Every round is run under common random numbers. What wins is then held against the
//! platform's defaults on data that no decision was made on: the later part of a trace, or other seeds.

pub mod apart;
pub mod goal;
pub mod search;
pub mod space;

use std::path::PathBuf;

use serde_json::Value as Json;

use super::axes::Axis;
use super::candidate::Candidate;
use super::compare::sample::Sample;
use super::compare::{
    self, BoundOf, CompareError, Entrant, Options as CompareOptions, Replication, Replications, judge,
};
use super::traces::{Origin, PartError, RUN_IN_S, TraceTimes, origin};
use crate::ledger::Profile;
use crate::results::comparison::ScenarioComparison;
use crate::results::tuning::{TUNING_VERSION, TunedPoint, Tuning, Verdict};
use crate::scenario::{self, Problems, Scenario};
use crate::sim::plan::EndpointPlan;
use goal::{Figure, Goal};
use search::{Evaluated, Search};
use space::Base;

/// Share of a trace that is trained on unless told otherwise.
pub const SPLIT: f64 = 0.6;
/// Seeds of the validation, far from those of the training.
const VALIDATION_FIRST: u64 = 1_001;
/// Replications of the validation: enough for intervals.
const VALIDATION_RUNS: usize = 20;
/// As many on a recorded trace, where seeds vary service times and failures only.
const VALIDATION_RUNS_TRACE: usize = 10;
/// Shortest part of a trace that settings race on: minutes tell of chance, and whole kinds of policies would be out by it.
const RUNG_LEAST_S: f64 = 1_800.0;
/// Most of the training data that its first part gives away so as to be run in, as a share.
const RUN_IN_SHARE: f64 = 0.1;
/// Parts of the margin that are tried, in turn, until one pays.
const MARGIN_PARTS: [f64; 4] = [1.0, 0.5, 0.2, 0.0];
/// Share of what is gained without any margin that has to be left with one.
const MARGIN_WORTH: f64 = 0.25;
/// Most parts of the validation data that are looked at one by one.
const PARTS: usize = 10;
/// Shorter parts than an hour tell more of the cold starts at their beginnings than of the settings.
const PART_LEAST_S: f64 = 3_600.0;
/// Fewer parts tell nothing.
const PARTS_LEAST: usize = 3;
/// How the choice is called in tables.
pub const TUNED: &str = "tuned";

/// How a search is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The application file.
    pub file: PathBuf,
    /// Settings changed in every run.
    pub overrides: Vec<String>,
    /// Policies whose settings are varied.
    pub policies: Vec<Candidate>,
    /// What is varied instead of the usual settings; paths below the endpoint.
    pub params: Vec<Axis>,
    /// What must hold.
    pub goal: Goal,
    /// All endpoints get the same settings.
    pub common: bool,
    /// Which bill is made small.
    pub profile: Profile,
    /// Most runs, validation not counted.
    pub budget: usize,
    /// Second of the trace from which on it is held back; by [`SPLIT`] unless given.
    pub validate_from_s: Option<f64>,
    /// Share of the trace that is trained on.
    pub split: f64,
    /// Share of each limit that the choice stays away from on the training data, as far as that pays.
    pub margin: f64,
    /// Seed of the search's own draws.
    pub seed: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The file or a policy is wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The trace cannot be taken in parts.
    #[error(transparent)]
    Parts(#[from] PartError),
    /// A run of the defaults or of the choice failed.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Input(String),
}

/// What is trained and validated on.
#[derive(Clone, Debug)]
struct Data {
    times: Option<TraceTimes>,
    /// The rungs of the race: replications of each.
    rungs: Vec<Vec<Replication>>,
    trained_on: String,
    validation: Replications,
    parts: Option<Replications>,
    validated_on: String,
}

/// Searches.
///
/// # Errors
/// If the file or a policy is wrong, or the platform's defaults themselves cannot be run.
pub fn tune(
    options: &Options,
    bound: Option<BoundOf<'_>>,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<Tuning, TuneError> {
    let plain = scenario::load(&options.file, &options.overrides)?;
    let has_target = |endpoint: &EndpointPlan| endpoint.slo_wait.is_some() || endpoint.slo_response.is_some();
    let of_targets = |limit: &goal::Limit| limit.figure == Figure::SloAttainment;
    if options.goal.limits.iter().any(of_targets) && !plain.plan.endpoints.iter().any(has_target) {
        let what = "a limit on slo_attainment needs a target in the file, such as `slo: {wait_s: 5}` of an endpoint: \
                    without one every job is in time";
        return Err(TuneError::Input(what.to_owned()));
    }
    let data = data(&plain, options)?;
    // Every endpoint gets the same number of active workers, so the smallest max limits it.
    let active_most = plain.plan.endpoints.iter().map(|endpoint| endpoint.spec.max).min().unwrap_or(0);
    let bases: Vec<Base> = options
        .policies
        .iter()
        .map(|candidate| Base::new(candidate, &options.params, active_most))
        .collect::<Result<_, _>>()?;
    can_be_varied(options, &bases)?;
    let mut search = Search::new(options, &data.rungs, data.times.as_ref(), &bases)?;
    if search.default_samples().iter().all(|sample| sample.completed + sample.lost == 0) {
        return Err(TuneError::Input(format!("there is no request in the training data ({})", data.trained_on)));
    }
    search.race(watch);
    let kept = choose(&mut search, options, &bases);
    let limits = options.goal.limits(search.default_samples(), options.profile);
    let tuned_point = |of: &Evaluated| tuned_point(of, &search, &bases, meets(&of.samples, &limits, options.profile));
    let chosen = kept.as_ref().map(|kept| &kept.of);
    let tuned = chosen.map(tuned_point);
    let front: Vec<TunedPoint> = front(search.all(), options.profile).into_iter().map(tuned_point).collect();
    let found = search.finish();
    let baseline = point(Candidate::platform_default(), &found.default, &limits, options.profile)?;
    let mut tuning = Tuning {
        version: TUNING_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: plain.settings.name.clone(),
        hash: judge::hash(&plain),
        profile: options.profile.as_str().to_owned(),
        minimized: options.goal.minimized.name().to_owned(),
        goal: options.goal.to_string(),
        trained_on: data.trained_on.clone(),
        validated_on: data.validated_on.clone(),
        budget: options.budget as u64,
        runs: found.runs as u64,
        tried: found.tried as u64,
        refused: found.refused.clone(),
        baseline,
        chosen: tuned,
        front,
        ..Tuning::default()
    };
    // The defaults are settings too.
    let better_than_default = |of: &Evaluated| options.goal.is_better(&of.samples, &found.default, options.profile);
    if tuning.baseline.meets && chosen.is_none_or(|of| !better_than_default(of)) {
        tuning.chosen = Some(tuning.baseline.clone());
        let better = if options.goal.minimized == Figure::Cost { "cheaper" } else { "better" };
        tuning
            .notes
            .push(format!("nothing that was tried is {better} than the platform's defaults, which meet the goal"));
    } else if let Some(kept) = &kept {
        tuning.notes.extend(kept.notes(options.margin, options.goal.minimized));
    }
    if let Some(chosen) = tuning.chosen.clone() {
        validate(options, &plain, &data, &chosen, bound, &mut tuning)?;
    } else {
        tuning
            .notes
            .push("nothing that was tried meets the goal; the front shows what there is to choose from".to_owned());
    }
    Ok(tuning)
}

/// What is typed to be varied can be: some policy can be run with it, somewhere in its range.
fn can_be_varied(options: &Options, bases: &[Base]) -> Result<(), Problems> {
    let mut first = None;
    for base in bases.iter().filter(|_| !options.params.is_empty()) {
        for place in [0.1, 0.5, 0.9] {
            let settings = base.settings_at(&vec![place; base.dimensions.len()]);
            match Candidate::of_settings(&base.name, "", &settings).load(&options.file, &options.overrides) {
                Ok(_) => return Ok(()),
                Err(problems) => first = first.or(Some(problems)),
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// What is chosen, and how far it is from the limits on the training data.
struct Kept {
    of: Evaluated,
    margin: f64,
    /// It keeps the limits on the later parts of the training data, too.
    in_parts: bool,
    /// What would have been chosen without a margin, if it is better: its policy and how much of what is made small it has.
    closer: Option<(String, f64)>,
}

impl Kept {
    /// What is less than was asked for.
    fn notes(&self, margin: f64, minimized: Figure) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((policy, value)) = &self.closer {
            notes.push(format!(
                "the choice stays {:.0} % away from the limits; without that (--margin 0) {policy} with {} {value:.4} keeps them on the \
                 training data as well",
                100.0 * self.margin,
                minimized.name(),
            ));
        }
        if self.margin < margin {
            notes.push(format!(
                "a margin of {:.0} % to the limits on the training data would give away most of the gain: the choice keeps {:.0} %",
                100.0 * margin,
                100.0 * self.margin
            ));
        }
        if !self.in_parts {
            notes.push("nothing worth it keeps the limits on each of the later parts of the training data".to_owned());
        }
        notes
    }
}

/// The best with as much of the margin as pays; first among those that keep the limits on parts of the data as well.
fn choose(search: &mut Search<'_>, options: &Options, bases: &[Base]) -> Option<Kept> {
    let all: Vec<(f64, [Option<Evaluated>; 2])> =
        MARGIN_PARTS.map(|part| part * options.margin).map(|margin| (margin, search.best(margin))).into();
    let defaults = search.default_samples();
    let beatable = meets(defaults, &options.goal.limits(defaults, options.profile), options.profile);
    for (place, in_parts) in [(1, true), (0, false)] {
        let gain = |found: &[Option<Evaluated>; 2]| found[place].as_ref().map_or(0.0, |of| search.gain(of));
        let most = all.iter().map(|(_, found)| gain(found)).fold(0.0, f64::max);
        // The margin is there to be safe, not to give away most of what is gained over the defaults, if these meet the goal.
        let pays = |found: &[Option<Evaluated>; 2], of: &Evaluated| {
            let better = || options.goal.is_better(&of.samples, search.default_samples(), options.profile);
            options.goal.as_default.is_empty() || !beatable || better() && gain(found) >= MARGIN_WORTH * most
        };
        let paying = |(margin, found): &(f64, [Option<Evaluated>; 2])| {
            let of = found[place].as_ref().filter(|of| pays(found, of))?;
            let value = |of: &Evaluated| options.goal.minimized.mean(&of.samples, options.profile);
            let closest = all.last().and_then(|(_, found)| found[0].as_ref());
            let closer = closest.filter(|other| *margin > 0.0 && value(other) < 0.995 * value(of));
            let closer = closer.map(|other| (bases[other.trial.common.base].name.clone(), value(other)));
            Some(Kept { of: of.clone(), margin: *margin, in_parts, closer })
        };
        if let Some(kept) = all.iter().find_map(paying) {
            return Some(kept);
        }
    }
    all.into_iter()
        .next_back()
        .and_then(|(margin, [of, _])| Some(Kept { of: of?, margin, in_parts: false, closer: None }))
}

fn mean(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(value).sum::<f64>() / samples.len().max(1) as f64
}

fn meets(samples: &[Sample], limits: &[goal::Limit], profile: Profile) -> bool {
    search::neglect_of(samples) == 0.0 && limits.iter().all(|limit| limit.missed(samples, 0.0, profile) == 0.0)
}

fn point(
    candidate: Candidate,
    samples: &[Sample],
    limits: &[goal::Limit],
    profile: Profile,
) -> Result<TunedPoint, Problems> {
    let settings = candidate.overlays.first().map_or(Ok(Json::Null), scenario::Overlay::settings)?;
    let meets = meets(samples, limits, profile);
    Ok(TunedPoint { policy: candidate.name, settings, meets, ..of_samples(samples) })
}

fn tuned_point(of: &Evaluated, search: &Search<'_>, bases: &[Base], meets: bool) -> TunedPoint {
    let (settings, endpoints) = search.settings_of(&of.trial);
    let mut names: Vec<&str> = Vec::new();
    for setting in std::iter::once(&of.trial.common).chain(of.trial.own.values()) {
        let name = bases[setting.base].name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    TunedPoint { policy: names.join(" + "), settings, endpoints, meets, ..of_samples(&of.samples) }
}

fn of_samples(samples: &[Sample]) -> TunedPoint {
    TunedPoint {
        cost_documented_usd: mean(samples, |sample| sample.cost(Profile::Documented)),
        cost_seed_usd: mean(samples, |sample| sample.cost(Profile::Seed)),
        wait_mean_s: mean(samples, |sample| sample.wait_mean_s),
        wait_p95_s: mean(samples, |sample| sample.wait_p95_s),
        ..TunedPoint::default()
    }
}

/// Those that none other is cheaper than and quicker at once, cheapest first.
fn front(all: &[Evaluated], profile: Profile) -> Vec<&Evaluated> {
    let key = |of: &Evaluated| {
        (mean(&of.samples, |sample| sample.cost(profile)), mean(&of.samples, |sample| sample.wait_p95_s))
    };
    let mut sorted: Vec<&Evaluated> = all.iter().collect();
    sorted.sort_by(|a, b| key(a).0.total_cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
    let mut quickest = f64::INFINITY;
    sorted.retain(|of| {
        let better = key(of).1 < quickest;
        quickest = quickest.min(key(of).1);
        better
    });
    sorted
}

/// What to train and to validate on.
fn data(plain: &Scenario, options: &Options) -> Result<Data, TuneError> {
    if origin(&plain.plan) != Origin::Trace {
        if options.validate_from_s.is_some() {
            let what = "--validate-from needs traffic from a trace; drawn traffic is validated on other seeds";
            return Err(TuneError::Input(what.to_owned()));
        }
        return Ok(drawn_data());
    }
    let times = TraceTimes::read(&plain.plan)?;
    let [from, until] = times.span();
    let middle = options.validate_from_s.unwrap_or(from + options.split * (until - from));
    if !(from < middle && middle < until) {
        return Err(TuneError::Input(format!(
            "validation from {middle} s on leaves nothing on one side: the trace lasts from {from} s to {until:.0} s"
        )));
    }
    let window = |from: f64, until: f64, seed: u64| Replication { seed, window: Some([from, until]) };
    // The search is not for the first cold start of the trace.
    let from = from + RUN_IN_S.min(RUN_IN_SHARE * (middle - from));
    // Growing from the split backwards: the later traffic is, the more it tells of what comes after it.
    let rung = |share: f64, seeds: u64| {
        let length = (share * (middle - from)).max(RUNG_LEAST_S).min(middle - from);
        (1..=seeds).map(|seed| window(middle - length, middle, seed)).collect::<Vec<_>>()
    };
    let mut rungs = vec![rung(0.125, 1), rung(0.25, 1), rung(0.5, 1), rung(1.0, 1), rung(1.0, 2)];
    rungs.dedup();
    let validation = (0..VALIDATION_RUNS_TRACE as u64).map(|n| window(middle, until, VALIDATION_FIRST + n)).collect();
    let parts = (((until - middle) / PART_LEAST_S) as usize).min(PARTS);
    let length = (until - middle) / parts.max(1) as f64;
    let part = |n: usize| {
        let begin = middle + n as f64 * length;
        window(begin, begin + length, VALIDATION_FIRST + n as u64)
    };
    Ok(Data {
        rungs,
        trained_on: format!("the trace from {from:.0} s to {middle:.0} s"),
        validation: Replications::Given {
            all: validation,
            says: format!("service times and failures only (the trace from {middle:.0} s to {until:.0} s, held back)"),
        },
        parts: (parts >= PARTS_LEAST).then(|| Replications::Given {
            all: (0..parts).map(part).collect(),
            says: format!("the part of the held-back trace ({length:.0} s each, {})", compare::RUN_IN),
        }),
        validated_on: format!(
            "the trace from {middle:.0} s to {until:.0} s ({}), by which nothing was chosen",
            compare::RUN_IN
        ),
        times: Some(times),
    })
}

fn drawn_data() -> Data {
    let seeds = |first: u64, count: usize| -> Vec<Replication> {
        (0..count as u64).map(|number| Replication { seed: first + number, window: None }).collect()
    };
    let last = VALIDATION_FIRST + VALIDATION_RUNS as u64 - 1;
    Data {
        times: None,
        rungs: [1, 2, 4, 8].map(|count| seeds(1, count)).to_vec(),
        trained_on: "seeds 1 to 8".to_owned(),
        validation: Replications::Given {
            all: seeds(VALIDATION_FIRST, VALIDATION_RUNS),
            says: "traffic, service times and failures (seeds that the search has not seen)".to_owned(),
        },
        parts: None,
        validated_on: format!("seeds {VALIDATION_FIRST} to {last}, which the search has not seen"),
    }
}

/// Holds the choice against the defaults and the file as written, on data that it was not chosen by.
fn validate(
    options: &Options,
    plain: &Scenario,
    data: &Data,
    chosen: &TunedPoint,
    bound: Option<BoundOf<'_>>,
    tuning: &mut Tuning,
) -> Result<(), TuneError> {
    let summary = format!("{} with the settings found", chosen.policy);
    let tuned = Candidate::of_all_settings(TUNED, &summary, &chosen.settings, &chosen.endpoints);
    let candidates = [Candidate::platform_default(), Candidate::as_written(), tuned];
    let entrant = |candidate: &Candidate| -> Result<Entrant, Problems> {
        let scenario = candidate.load(&options.file, &options.overrides)?;
        Ok(Entrant { name: candidate.name.clone(), summary: candidate.summary.clone(), scenario })
    };
    let entrants = candidates.iter().map(entrant).collect::<Result<Vec<_>, _>>()?;
    let run = |replications: &Replications, bound: Option<BoundOf<'_>>| -> Result<ScenarioComparison, CompareError> {
        let options = CompareOptions { replications: replications.clone(), profile: options.profile, baseline: 0 };
        compare::compare(plain, &entrants, &options, bound, &|_| {})
    };
    // The limits of the validation data are those that the defaults yield there, where the goal is relative to them.
    let samples = compare::samples_of(&entrants, &data.validation, data.times.as_ref())?;
    let limits = options.goal.limits(&samples[0], options.profile);
    let holds = limits.iter().all(|limit| limit.missed(&samples[2], 0.0, options.profile) == 0.0);
    let cost = |samples: &[Sample]| mean(samples, |sample| sample.cost(options.profile));
    let change = |new: f64, old: f64| (old > 0.0).then_some(new / old - 1.0);
    let trained = |point: &TunedPoint| match options.profile {
        Profile::Seed => point.cost_seed_usd,
        Profile::Documented => point.cost_documented_usd,
    };
    let p95 = |samples: &[Sample]| mean(samples, |sample| sample.wait_p95_s);
    let mut verdict = Verdict {
        trained_cost_change: change(trained(chosen), trained(&tuning.baseline)),
        validated_cost_change: change(cost(&samples[2]), cost(&samples[0])),
        validated_wait_p95_change_s: Some(p95(&samples[2]) - p95(&samples[0])),
        holds: Some(holds),
        parts: None,
    };
    tuning.validation = Some(run(&data.validation, bound)?);
    if let Some(parts) = &data.parts {
        let samples = compare::samples_of(&entrants, parts, data.times.as_ref())?;
        let pairs = || samples[2].iter().zip(&samples[0]);
        let cheaper = pairs().filter(|(tuned, default)| tuned.cost(options.profile) < default.cost(options.profile));
        let no_slower = pairs().filter(|(tuned, default)| tuned.wait_p95_s <= default.wait_p95_s);
        verdict.parts = Some([samples[0].len() as u64, cheaper.count() as u64, no_slower.count() as u64]);
        tuning.by_part = Some(run(parts, None)?);
    }
    tuning.verdict = verdict;
    Ok(())
}

#[cfg(test)]
mod tests;
