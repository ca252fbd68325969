//! The race: successive halving (Jamieson and Talwalkar 2016) over growing data, then small steps from the best.
//!
//! Of the budget, three fifths go into the race, the rest into steps. A trial that misses the goal stays in the race with a
//! surcharge on its cost: little data often shows a miss that more data does not confirm.

use rayon::prelude::*;

use super::goal::{Goal, Limit};
use super::space::{Base, Trial};
use super::{Options, TuneError, mean};
use crate::lab::candidate::Candidate;
use crate::lab::compare::Replication;
use crate::lab::compare::sample::{self, Sample};
use crate::lab::stats::random::Stream;
use crate::lab::traces::TraceTimes;
use crate::results::tuning::Refused;
use crate::scenario::Scenario;

/// Of the trials of a rung, one in this many goes on.
const KEPT_ONE_IN: usize = 3;
/// Share of the budget that the race may use.
const RACE_SHARE: f64 = 0.6;
/// Times its cost that a trial is charged for missing a limit by one unit, on all of the training data. On a part of it as much less,
/// and for one unit at most: on minutes of a trace the defaults may do well by chance, and what misses that wildly may be the best.
const SURCHARGE: f64 = 3.0;
/// Best trials from which steps are made.
const PARENTS: usize = 4;
/// Share of the budget that is kept for a second look at the best ones, and most of them that are looked at.
const SECOND_LOOK_SHARE: f64 = 0.1;
const FINALISTS: usize = 12;
/// Steps are this long at first, and shrink by this factor from one generation to the next.
const FIRST_STEP: (f64, f64) = (0.25, 0.75);

/// Settings with their runs on all of the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The settings.
    pub trial: Trial,
    /// One sample per replication of the last rung.
    pub samples: Vec<Sample>,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Everything that was run on all of the training data.
    pub all: Vec<Evaluated>,
    /// The platform's defaults there.
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
            limits: Vec::new(),
            judged: Vec::new(),
            all: Vec::new(),
            seen: Vec::new(),
            runs: 0,
            refused: None,
            stream: Stream::new(options.seed, 0),
        };
        let last = search.last_rung();
        search.default_last = search.run(&search.default, last).map_err(TuneError::Input)?;
        search.runs += last.len();
        Ok(search)
    }

    fn last_rung(&self) -> &'a [Replication] {
        self.rungs.last().map_or(&[], Vec::as_slice)
    }

    /// What was found.
    pub fn finish(self) -> Found {
        let tried = self.seen.len();
        Found { all: self.all, default: self.default_last, runs: self.runs, tried, refused: self.refused }
    }

    /// The cheapest that misses no limit on all of the training data with `margin` to it, and the cheapest of these that misses none on
    /// any of the earlier rungs, either. On a trace those are its later parts: a promise relative to the defaults is worth little where
    /// these did badly for an hour only.
    pub fn cheapest(&mut self, margin: f64) -> [Option<Evaluated>; 2] {
        let limits = self.options.goal.limits(&self.default_last);
        let meets = |of: &&Evaluated, limits: &[Limit]| limits.iter().all(|one| one.missed(&of.samples, margin) == 0.0);
        let mut fit: Vec<Evaluated> = self.all.iter().filter(|of| meets(of, &limits)).cloned().collect();
        fit.sort_by(|a, b| self.cost(a).total_cmp(&self.cost(b)));
        let first = fit.first().cloned();
        let kept = fit.into_iter().take(FINALISTS).find(|of| self.keeps_in_parts(&of.trial));
        [first, kept]
    }

    /// Whether limits relative to the defaults hold on every earlier rung that is other data than the last one; no, if the budget is
    /// spent. Limits that are given are for all of the data.
    fn keeps_in_parts(&mut self, trial: &Trial) -> bool {
        if self.options.goal != Goal::NoWorseThanDefault {
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
            kept = again.first().is_some_and(|of| limits.iter().all(|limit| limit.missed(&of.samples, 0.0) == 0.0));
        }
        self.judged.push((trial.clone(), kept));
        kept
    }

    /// Cheaper than the platform's defaults.
    pub fn saves(&self, of: &Evaluated) -> bool {
        self.cost(of) < mean(&self.default_last, |sample| sample.cost(self.options.profile))
    }

    fn cost(&self, of: &Evaluated) -> f64 {
        mean(&of.samples, |sample| sample.cost(self.options.profile))
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
            ranked.truncate(ranked.len().div_ceil(KEPT_ONE_IN));
            open = ranked.into_iter().map(|of| of.trial).collect();
        }
        self.steps(watch);
    }

    /// Every policy as it is, then draws from each in turn, as many as the race can afford.
    fn first_trials(&mut self) -> Vec<Trial> {
        // Runs per trial that enters: what is left of it at each rung.
        let mut share = 1.0;
        let mut per_trial = 0.0;
        for rung in self.rungs {
            per_trial += share * rung.len() as f64;
            share /= KEPT_ONE_IN as f64;
        }
        // The defaults run on every rung as well, for limits that are relative to them.
        let for_defaults: usize = self.rungs.iter().map(Vec::len).sum();
        let left = RACE_SHARE * self.options.budget as f64 - for_defaults as f64;
        let wanted = (left / per_trial).max(0.0) as usize;
        let mut trials: Vec<Trial> = (0..self.bases.len()).map(|base| Trial { base, places: Vec::new() }).collect();
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
                false => self.bases[base].near(&[], FIRST_STEP.0, &mut self.stream),
            };
            let trial = Trial { base, places };
            if self.is_new(&trial) {
                trials.push(trial);
            }
        }
        trials
    }

    fn is_new(&mut self, trial: &Trial) -> bool {
        let text = self.bases[trial.base].settings_at(&trial.places).to_string();
        let new = !self.seen.contains(&text);
        if new {
            self.seen.push(text);
        }
        new
    }

    /// The limits of a rung: those relative to the defaults need the defaults on the same data.
    fn limits(&mut self, rung: &[Replication], last: bool) -> Vec<Limit> {
        if last {
            return self.options.goal.limits(&self.default_last);
        }
        // The defaults ran on all of the data: on a part of it they run as well.
        let default = self.run(&self.default, rung).unwrap_or_else(|_| self.default_last.clone());
        self.runs += rung.len();
        self.options.goal.limits(&default)
    }

    fn run(&self, scenario: &Scenario, rung: &[Replication]) -> Result<Vec<Sample>, String> {
        let options = sample::run_options(scenario);
        let one = |replication: &Replication| match (self.times, replication.window) {
            (Some(times), Some(window)) => sample::run(&times.part(&scenario.plan, window), replication.seed, &options),
            _ => sample::run(&scenario.plan, replication.seed, &options),
        };
        let ran: Vec<Result<Sample, String>> =
            rung.par_iter().map(|replication| one(replication).map_err(|error| error.to_string())).collect();
        ran.into_iter().collect()
    }

    fn evaluate(&mut self, trials: Vec<Trial>, rung: &[Replication]) -> Vec<Evaluated> {
        let one = |trial: &Trial| -> Result<Vec<Sample>, String> {
            let settings = self.bases[trial.base].settings_at(&trial.places);
            let candidate = Candidate::of_settings(&self.bases[trial.base].name, "", &settings);
            let scenario = candidate.load(&self.options.file, &self.options.overrides);
            self.run(&scenario.map_err(|problems| problems.to_string())?, rung)
        };
        let results: Vec<Result<Vec<Sample>, String>> = trials.par_iter().map(one).collect();
        let mut evaluated = Vec::new();
        for (trial, result) in trials.into_iter().zip(results) {
            match result {
                Ok(samples) => {
                    self.runs += rung.len();
                    evaluated.push(Evaluated { trial, samples });
                }
                Err(first) => {
                    let refused = self.refused.get_or_insert(Refused { settings: 0, first });
                    refused.settings += 1;
                }
            }
        }
        evaluated
    }

    /// Share of the training data that a rung is.
    fn trust(&self, number: usize) -> f64 {
        let length = |rung: &Vec<Replication>| -> f64 {
            rung.iter().map(|replication| replication.window.map_or(1.0, |[from, until]| until - from)).sum()
        };
        let [own, whole] = [self.rungs.get(number), self.rungs.last()].map(|rung| rung.map_or(1.0, length));
        (own / whole).min(1.0)
    }

    /// Best first: by cost with the surcharge, equal ones in the order in which they were tried.
    fn ranked(&self, mut evaluated: Vec<Evaluated>, limits: &[Limit], trust: f64) -> Vec<Evaluated> {
        evaluated.sort_by(|a, b| self.score(a, limits, trust).total_cmp(&self.score(b, limits, trust)));
        evaluated
    }

    fn score(&self, of: &Evaluated, limits: &[Limit], trust: f64) -> f64 {
        let missed: f64 = limits.iter().map(|limit| limit.missed(&of.samples, self.options.margin)).sum();
        let counted = if trust < 1.0 { missed.min(1.0) } else { missed };
        self.cost(of) * (1.0 + SURCHARGE * trust * counted)
    }

    /// Small steps from the best so far, on all of the training data, until the budget is spent or nothing new comes up.
    fn steps(&mut self, watch: &(dyn Fn(usize, usize) + Sync)) {
        let rung = self.last_rung();
        let limits = self.options.goal.limits(&self.default_last);
        let (mut step, shrink) = FIRST_STEP;
        // The number of threads must not show: a generation has a size of its own.
        let generation = 3 * PARENTS;
        let budget = self.options.budget - (SECOND_LOOK_SHARE * self.options.budget as f64) as usize;
        while self.runs + rung.len() <= budget && !self.all.is_empty() {
            let all = std::mem::take(&mut self.all);
            self.all = self.ranked(all, &limits, 1.0);
            let parents: Vec<Trial> = self.all.iter().take(PARENTS).map(|of| of.trial.clone()).collect();
            let affordable = (budget - self.runs) / rung.len();
            let mut children = Vec::new();
            for attempt in 0..4 * generation {
                if children.len() >= generation.min(affordable) {
                    break;
                }
                let parent = &parents[attempt % parents.len()];
                let places = self.bases[parent.base].near(&parent.places, step, &mut self.stream);
                let child = Trial { base: parent.base, places };
                if self.is_new(&child) {
                    children.push(child);
                }
            }
            if children.is_empty() {
                return;
            }
            let mut evaluated = self.evaluate(children, rung);
            if evaluated.is_empty() {
                return;
            }
            self.all.append(&mut evaluated);
            watch(self.runs, self.options.budget);
            step *= shrink;
        }
    }
}
