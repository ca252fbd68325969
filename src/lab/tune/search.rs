//! The race: successive halving (Jamieson and Talwalkar 2016) over growing data, then small steps from the best.
//!
//! Of the budget, three fifths go into the race, the rest into steps. A trial that misses the goal stays in the race with a
//! surcharge on its cost: little data often shows a miss that more data does not confirm. Endpoints race with the same settings; the
//! steps give each its own ([`apart`]).

mod steps;

use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value as Json};

use super::apart::{self, Part};
use super::goal::{Figure, Limit};
use super::space::{Base, Setting, Trial};
use super::{Options, TuneError};
use crate::experiment::Outcome;
use crate::lab::candidate::Candidate;
use crate::lab::compare::Replication;
use crate::lab::compare::sample::{self, Sample};
use crate::lab::stats::random::Stream;
use crate::lab::traces::TraceTimes;
use crate::results::tuning::Refused;
use crate::scenario::Scenario;

/// Of the trials of a rung, one in this many goes on.
const KEPT_ONE_IN: usize = 3;
/// The best one of each policy goes on as well, unless it is this many times worse than the best of all: a part of the data says more
/// about settings of one policy than about policies.
const HOPELESS: f64 = 3.0;
/// Share of the budget that the race may use, and share of that which trials get that enter it without being kept like this.
const RACE_SHARE: f64 = 0.6;
const ENTRY_SHARE: f64 = 0.6;
/// What a trial is charged for missing a limit by one unit, in units of what is made small (as much of it as the defaults have), on all
/// of the training data. On a part of it as much less, and for one unit at most, but for a limit on the bill: on minutes of a trace the
/// defaults' waits may be short by chance, and what misses that wildly may be the best.
const SURCHARGE: f64 = 3.0;
/// Figures that differ by such a share of one, or by such a share of their unit, are the same, as far as anybody can tell.
const ALIKE: f64 = 0.002;
/// Best trials of which is kept what each endpoint yielded, for combinations.
const POOL: usize = 64;
/// Share of the budget that is kept for a second look at the best ones, and most of them that are looked at.
const SECOND_LOOK_SHARE: f64 = 0.1;
const FINALISTS: usize = 12;
/// Settings with their runs on all of the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The settings.
    pub trial: Trial,
    /// One sample per replication of the last rung.
    pub samples: Vec<Sample>,
    /// What each endpoint yielded in all of them, where each may get settings of its own; empty if it was not kept.
    pub parts: Arc<Vec<Part>>,
}

/// A sample per replication, and what each endpoint yielded in all of them.
type Ran = (Vec<Sample>, Vec<Part>);

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The platform's defaults on all of the training data.
    pub default: Vec<Sample>,
    /// Runs made.
    pub runs: usize,
    /// Settings tried.
    pub tried: usize,
    /// Settings that could not be run.
    pub refused: Option<Refused>,
}

/// A search under way.
pub struct Search<'a> {
    options: &'a Options,
    rungs: &'a [Vec<Replication>],
    times: Option<&'a TraceTimes>,
    bases: &'a [Base],
    default: Scenario,
    /// The defaults on the last rung.
    default_last: Vec<Sample>,
    /// What each endpoint yielded then, where each may get settings of its own.
    default_parts: Vec<Part>,
    /// What must hold on each rung, as far as they were run.
    limits: Vec<Vec<Limit>>,
    /// Who was looked at a second time, and whether the limits held.
    judged: Vec<(Trial, bool)>,
    all: Vec<Evaluated>,
    /// Settings that were tried, as text.
    seen: Vec<String>,
    runs: usize,
    refused: Option<Refused>,
    stream: Stream,
    /// Names of the endpoints, where each may get settings of its own.
    apart: Vec<String>,
}

impl<'a> Search<'a> {
    /// Gets ready; runs the platform's defaults on all of the training data.
    ///
    /// # Errors
    /// If they cannot be run.
    pub fn new(
        options: &'a Options,
        rungs: &'a [Vec<Replication>],
        times: Option<&'a TraceTimes>,
        bases: &'a [Base],
    ) -> Result<Search<'a>, TuneError> {
        let default = Candidate::platform_default().load(&options.file, &options.overrides)?;
        let mut search = Search {
            options,
            rungs,
            times,
            bases,
            default,
            default_last: Vec::new(),
            default_parts: Vec::new(),
            limits: Vec::new(),
            judged: Vec::new(),
            all: Vec::new(),
            seen: Vec::new(),
            runs: 0,
            refused: None,
            stream: Stream::new(options.seed, 0),
            apart: Vec::new(),
        };
        let last = search.last_rung();
        let names = search.default.plan.endpoints.iter().map(|endpoint| endpoint.spec.name.clone());
        search.apart = names.collect();
        if options.common || search.apart.len() < 2 {
            search.apart.clear();
        }
        (search.default_last, search.default_parts) = search.run(&search.default, last).map_err(TuneError::Input)?;
        search.runs += last.len();
        Ok(search)
    }

    fn last_rung(&self) -> &'a [Replication] {
        self.rungs.last().map_or(&[], Vec::as_slice)
    }

    /// Everything that was run on all of the training data.
    pub fn all(&self) -> &[Evaluated] {
        &self.all
    }

    /// The platform's defaults there.
    pub fn default_samples(&self) -> &[Sample] {
        &self.default_last
    }

    /// What was found.
    pub fn finish(self) -> Found {
        let tried = self.seen.len();
        Found { default: self.default_last, runs: self.runs, tried, refused: self.refused }
    }

    /// The best (of alike ones by what is looked at next) that misses no limit on all of the training data with `margin` to it, and the
    /// best of these that misses none on any of the earlier rungs, either. On a trace those are its later parts: a promise relative to
    /// the defaults is worth little where these did badly for an hour only.
    pub fn best(&mut self, margin: f64) -> [Option<Evaluated>; 2] {
        let limits = self.options.goal.limits(&self.default_last, self.options.profile);
        let meets = |of: &&Evaluated| {
            neglect_of(&of.samples) == 0.0
                && limits.iter().all(|one| one.missed(&of.samples, margin, self.options.profile) == 0.0)
        };
        let mut fit: Vec<Evaluated> = self.all.iter().filter(meets).cloned().collect();
        let mut alike = fit.len();
        for figure in self.options.goal.order() {
            let value = |of: &Evaluated| self.figure(figure, &of.samples);
            fit[..alike].sort_by(|a, b| value(a).total_cmp(&value(b)));
            let least = fit.first().map_or(0.0, &value);
            alike =
                fit[..alike].partition_point(|of| value(of) <= least + figure.alike().max(ALIKE * figure.unit(least)));
        }
        let first = fit.first().cloned();
        // The best ones are mostly alike: half of those that are looked at again are the best of other policies.
        let mut seen = vec![0; self.bases.len()];
        let mut finalists: Vec<Evaluated> = Vec::new();
        for of in fit {
            let of_policy = &mut seen[of.trial.common.base];
            *of_policy += 1;
            if finalists.len() < FINALISTS / 2 || *of_policy == 1 && finalists.len() < FINALISTS {
                finalists.push(of);
            }
        }
        let kept = finalists.into_iter().find(|of| self.keeps_in_parts(&of.trial));
        [first, kept]
    }

    /// Whether limits relative to the defaults hold on every earlier rung that is other data than the last one; no, if the budget is
    /// spent. Limits that are given are for all of the data.
    fn keeps_in_parts(&mut self, trial: &Trial) -> bool {
        if self.options.goal.as_default.is_empty() {
            return true;
        }
        if let Some((_, known)) = self.judged.iter().find(|(judged, _)| judged == trial) {
            return *known;
        }
        let last = self.last_rung().first().map(|replication| replication.window);
        let rungs = self.rungs;
        let parts = rungs.iter().take_while(|rung| rung.first().map(|replication| replication.window) != last);
        let mut kept = true;
        for (number, rung) in parts.enumerate() {
            kept = kept && self.runs + rung.len() <= self.options.budget;
            let again = if kept { self.evaluate(vec![trial.clone()], rung) } else { Vec::new() };
            let limits = self.limits.get(number).map_or(&[][..], Vec::as_slice);
            kept = again.first().is_some_and(|of| {
                let as_default = |limit: &&Limit| !self.options.goal.limits.contains(limit);
                limits
                    .iter()
                    .filter(as_default)
                    .all(|limit| limit.missed(&of.samples, 0.0, self.options.profile) == 0.0)
            });
        }
        self.judged.push((trial.clone(), kept));
        kept
    }

    /// What is gained over the platform's defaults, as a share of what they have.
    pub fn gain(&self, of: &Evaluated) -> f64 {
        let minimized = self.options.goal.minimized;
        let default = self.figure(minimized, &self.default_last);
        (default - self.value(of)) / minimized.unit(default)
    }

    /// What is made small.
    fn value(&self, of: &Evaluated) -> f64 {
        self.figure(self.options.goal.minimized, &of.samples)
    }

    fn figure(&self, figure: Figure, samples: &[Sample]) -> f64 {
        figure.mean(samples, self.options.profile)
    }

    /// Spends the budget.
    pub fn race(&mut self, watch: &(dyn Fn(usize, usize) + Sync)) {
        let mut open = self.first_trials();
        for (number, rung) in self.rungs.iter().enumerate() {
            let last = number + 1 == self.rungs.len();
            let limits = self.limits(rung, last);
            self.limits.push(limits.clone());
            let evaluated = self.evaluate(open, rung);
            watch(self.runs, self.options.budget);
            let mut ranked = self.ranked(evaluated, &limits, self.trust(number));
            if last {
                self.all.append(&mut ranked);
                break;
            }
            open = self.kept(ranked, &limits, number);
        }
        self.steps(watch);
    }

    /// What every endpoint gets, and what single ones get instead.
    pub fn settings_of(&self, trial: &Trial) -> (Json, Map<String, Json>) {
        let of = |setting: &Setting| self.bases[setting.base].settings_at(&setting.places);
        let own = trial.own.iter().filter_map(|(number, own)| Some((self.apart.get(*number)?.clone(), of(own))));
        (of(&trial.common), own.collect())
    }

    /// Runs that a trial costs on average that enters the race at rung `from`: ever fewer of them go on.
    fn runs_per_trial(&self, from: usize) -> f64 {
        let rungs = self.rungs.iter().skip(from);
        rungs.rev().fold(0.0, |later, rung| rung.len() as f64 + later / KEPT_ONE_IN as f64)
    }

    /// Every policy as it is, then draws from each in turn, as many as the race can afford.
    fn first_trials(&mut self) -> Vec<Trial> {
        // The defaults run on every rung as well, for limits that are relative to them.
        let for_defaults: usize = self.rungs.iter().map(Vec::len).sum();
        let left = RACE_SHARE * self.options.budget as f64 - for_defaults as f64;
        let wanted = (ENTRY_SHARE * left / self.runs_per_trial(0)).max(0.0) as usize;
        let mut trials: Vec<Trial> = (0..self.bases.len()).map(|base| Trial::of(base, Vec::new())).collect();
        trials.retain(|trial| self.is_new(trial));
        // A policy without settings to vary yields no further trials: bounded attempts instead of an endless search for them.
        for attempt in 0..4 * wanted {
            if trials.len() >= wanted {
                break;
            }
            let base = attempt % self.bases.len().max(1);
            // Half of them anywhere, half around the policy as it is: in many dimensions most places are bad ones.
            let anywhere = (attempt / self.bases.len().max(1)).is_multiple_of(2);
            let places = match anywhere {
                true => self.bases[base].drawn(&mut self.stream),
                false => self.bases[base].near(&[], steps::FIRST_STEP, &mut self.stream),
            };
            let trial = Trial::of(base, places);
            if self.is_new(&trial) {
                trials.push(trial);
            }
        }
        trials
    }

    fn is_new(&mut self, trial: &Trial) -> bool {
        let (common, own) = self.settings_of(trial);
        let text = if own.is_empty() { common.to_string() } else { format!("{common} {own:?}") };
        let new = !self.seen.contains(&text);
        if new {
            self.seen.push(text);
        }
        new
    }

    /// The limits of a rung: those relative to the defaults need the defaults on the same data.
    fn limits(&mut self, rung: &[Replication], last: bool) -> Vec<Limit> {
        if last {
            return self.options.goal.limits(&self.default_last, self.options.profile);
        }
        // The defaults ran on all of the data: on a part of it they run as well.
        let default = self.run(&self.default, rung).map_or_else(|_| self.default_last.clone(), |(samples, _)| samples);
        self.runs += rung.len();
        self.options.goal.limits(&default, self.options.profile)
    }

    fn run(&self, scenario: &Scenario, rung: &[Replication]) -> Result<Ran, String> {
        let options = sample::run_options(scenario);
        let apart = !self.apart.is_empty();
        let one = |replication: &Replication| {
            let seed = replication.seed;
            let outcome = match (self.times, replication.window) {
                (Some(times), Some(window)) => sample::outcome(&times.part(&scenario.plan, window), seed, &options),
                _ => sample::outcome(&scenario.plan, seed, &options),
            };
            let parts = |outcome: &Outcome| if apart { Part::of_each(outcome) } else { Vec::new() };
            outcome.map(|outcome| (Sample::of(&outcome.summary), parts(&outcome))).map_err(|error| error.to_string())
        };
        let ran: Vec<Result<(Sample, Vec<Part>), String>> = rung.par_iter().map(one).collect();
        let (mut samples, mut all) = (Vec::new(), vec![Part::default(); self.apart.len()]);
        for result in ran {
            let (sample, parts) = result?;
            samples.push(sample);
            all.iter_mut().zip(&parts).for_each(|(sum, part)| sum.add(part));
        }
        Ok((samples, all))
    }

    fn evaluate(&mut self, trials: Vec<Trial>, rung: &[Replication]) -> Vec<Evaluated> {
        let one = |trial: &Trial| -> Result<Ran, String> {
            let (common, own) = self.settings_of(trial);
            let candidate = Candidate::of_all_settings(&self.bases[trial.common.base].name, "", &common, &own);
            let scenario = candidate.load(&self.options.file, &self.options.overrides);
            self.run(&scenario.map_err(|problems| problems.to_string())?, rung)
        };
        let results: Vec<Result<Ran, String>> = trials.par_iter().map(one).collect();
        let last = rung == self.last_rung();
        let mut evaluated = Vec::new();
        for (trial, result) in trials.into_iter().zip(results) {
            match result {
                Ok((mut samples, parts)) => {
                    self.runs += rung.len();
                    if last {
                        let neglect = self.neglect(&parts, rung.len());
                        samples.iter_mut().for_each(|sample| sample.neglect = neglect);
                    }
                    evaluated.push(Evaluated { trial, samples, parts: Arc::new(parts) });
                }
                Err(first) => {
                    let refused = self.refused.get_or_insert(Refused { settings: 0, first });
                    refused.settings += 1;
                }
            }
        }
        evaluated
    }

    /// How far single endpoints are beyond the limits, all together; nothing where all have the same settings.
    fn neglect(&self, parts: &[Part], runs: usize) -> f64 {
        let limits = self.options.goal.limits(&self.default_last, self.options.profile);
        let pairs = parts.iter().zip(&self.default_parts);
        pairs.map(|(part, default)| apart::neglect(part, default, runs, &limits, self.options.goal.minimized)).sum()
    }

    /// Share of the training data that a rung is.
    fn trust(&self, number: usize) -> f64 {
        let length = |rung: &Vec<Replication>| -> f64 {
            rung.iter().map(|replication| replication.window.map_or(1.0, |[from, until]| until - from)).sum()
        };
        let [own, whole] = [self.rungs.get(number), self.rungs.last()].map(|rung| rung.map_or(1.0, length));
        (own / whole).min(1.0)
    }

    /// Best first: by what is made small with the surcharge, then by the rest; equal ones in the order in which they were tried.
    fn ranked(&self, mut evaluated: Vec<Evaluated>, limits: &[Limit], trust: f64) -> Vec<Evaluated> {
        let [_, then @ ..] = self.options.goal.order();
        // In steps, so that alike is alike: differences from one to the next would go round in a circle.
        let stepped = |figure: Figure, of: &Evaluated| {
            let (value, step) = (self.figure(figure, &of.samples), figure.alike());
            if step > 0.0 { (value / step).round() } else { value }
        };
        evaluated.sort_by(|a, b| {
            let by_score = self.score(a, limits, trust).total_cmp(&self.score(b, limits, trust));
            then.iter()
                .fold(by_score, |order, figure| order.then_with(|| stepped(*figure, a).total_cmp(&stepped(*figure, b))))
        });
        evaluated
    }

    /// Who goes on to more data from rung `number`, of all from the best to the worst.
    fn kept(&self, ranked: Vec<Evaluated>, limits: &[Limit], number: usize) -> Vec<Trial> {
        let trust = self.trust(number);
        let best = ranked.len().div_ceil(KEPT_ONE_IN);
        let affordable = (RACE_SHARE * self.options.budget as f64 - self.runs as f64) / self.runs_per_trial(number + 1);
        let most = affordable.max(0.0) as usize;
        let least = ranked.first().map_or(0.0, |of| self.score(of, limits, trust));
        let mut seen = vec![false; self.bases.len()];
        let mut kept = Vec::new();
        for (place, of) in ranked.into_iter().enumerate() {
            let first = !std::mem::replace(&mut seen[of.trial.common.base], true);
            let hopes = || self.score(&of, limits, trust) <= HOPELESS * least;
            if place < best || first && kept.len() < most && hopes() {
                kept.push(of.trial);
            }
        }
        kept
    }

    fn score(&self, of: &Evaluated, limits: &[Limit], trust: f64) -> f64 {
        self.score_of(&of.samples, limits, trust)
    }

    fn score_of(&self, samples: &[Sample], limits: &[Limit], trust: f64) -> f64 {
        self.surcharged(samples, limits, trust, self.options.margin, SURCHARGE)
    }

    fn surcharged(&self, samples: &[Sample], limits: &[Limit], trust: f64, margin: f64, surcharge: f64) -> f64 {
        let minimized = self.options.goal.minimized;
        // Not of its own value: where nobody waits, each miss of a limit would be free.
        let unit = minimized.unit(self.figure(minimized, &self.default_last));
        let missed = |limit: &Limit| {
            let missed = limit.missed(samples, margin, self.options.profile);
            // Minutes tell less of waits than of the bill.
            if limit.figure == Figure::Cost || trust >= 1.0 { missed } else { trust * missed.min(1.0) }
        };
        let missed: f64 = limits.iter().map(missed).sum();
        self.figure(minimized, samples) + surcharge * unit * (missed + neglect_of(samples))
    }
}

/// As found when all of the endpoints were looked at.
pub(super) fn neglect_of(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.neglect).fold(0.0, f64::max)
}
