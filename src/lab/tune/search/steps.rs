//! Small steps from the best: from whom, how far, and what is combined where endpoints have settings of their own.

use std::sync::Arc;

use super::super::apart::{Part, combine, neglect};
use super::super::goal::Limit;
use super::super::space::{Setting, Trial};
use super::{Evaluated, POOL, SECOND_LOOK_SHARE, SURCHARGE, Search};
use crate::lab::compare::sample::Sample;

/// What a trial is charged for missing a limit by one unit where parents are chosen, in units of what is made small. Steep: none that
/// misses a limit is better than one that does not. Mild: what misses it by little and costs less is often a step away from the best.
const STEEP_SURCHARGE: f64 = 100.0;
const MILD_SURCHARGE: f64 = 0.5;
/// Best trials from which steps are made: half of them with, half without the margin to the limits, those with the steep surcharge;
/// and as many again that are the best of other policies with the mild one.
const PARENTS: usize = 4;
/// Steps are this long at first, and this long when the budget is spent.
pub(super) const FIRST_STEP: f64 = 0.25;
const LAST_STEP: f64 = 0.02;

impl Search<'_> {
    /// Small steps from the best so far, on all of the training data, until the budget is spent or nothing new comes up. Where endpoints
    /// may differ, first what looks best of all combinations of what is known.
    pub(super) fn steps(&mut self, watch: &(dyn Fn(usize, usize) + Sync)) {
        let rung = self.last_rung();
        let limits = self.options.goal.limits(&self.default_last, self.options.profile);
        // The number of threads must not show: a generation has a size of its own.
        let generation = 3 * PARENTS;
        let budget = self.options.budget - (SECOND_LOOK_SHARE * self.options.budget as f64) as usize;
        let begun = self.runs;
        while self.runs + rung.len() <= budget && !self.all.is_empty() {
            let all = std::mem::take(&mut self.all);
            self.all = self.ranked(all, &limits, 1.0);
            self.all.iter_mut().skip(POOL).for_each(|of| of.parts = Arc::default());
            let spent = (self.runs - begun) as f64 / (budget - begun).max(1) as f64;
            let step = FIRST_STEP * libm::pow(LAST_STEP / FIRST_STEP, spent);
            let parents = self.parents(&limits);
            let most = generation.min((budget - self.runs) / rung.len());
            let mut children = self.combinations(&limits, rung.len());
            children.truncate(most);
            for attempt in 0..4 * generation {
                if children.len() >= most {
                    break;
                }
                let child = self.child(&parents[attempt % parents.len()], step);
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
        }
    }

    /// The best trials in turn with the best ones of other policies.
    fn parents(&self, limits: &[Limit]) -> Vec<Trial> {
        let by = |margin: f64, surcharge: f64| {
            let score = |of: &Evaluated| self.surcharged(&of.samples, limits, 1.0, margin, surcharge);
            let mut sorted: Vec<&Evaluated> = self.all.iter().collect();
            sorted.sort_by(|a, b| score(a).total_cmp(&score(b)));
            sorted
        };
        let mut parents: Vec<&Trial> = self.all.iter().take(PARENTS / 2).map(|of| &of.trial).collect();
        for of in by(0.0, STEEP_SURCHARGE) {
            if parents.len() < PARENTS && !parents.contains(&&of.trial) {
                parents.push(&of.trial);
            }
        }
        for of in by(self.options.margin, MILD_SURCHARGE) {
            let is_new = || parents.iter().all(|trial| trial.common.base != of.trial.common.base);
            if parents.len() < 2 * PARENTS && is_new() {
                parents.push(&of.trial);
            }
        }
        parents.into_iter().cloned().collect()
    }

    /// What looks best of all combinations of the settings that endpoints had so far, as seen from each parent; new ones only.
    fn combinations(&mut self, limits: &[Limit], runs: usize) -> Vec<Trial> {
        let known: Vec<&Evaluated> = self.all.iter().filter(|of| !of.parts.is_empty()).collect();
        let pool: Vec<&[Part]> = known.iter().map(|of| of.parts.as_slice()).collect();
        let score = |sample: &Sample| self.score_of(std::slice::from_ref(sample), limits, 1.0);
        let from = 0..PARENTS.min(known.len());
        let minimized = self.options.goal.minimized;
        let unit = SURCHARGE * minimized.unit(self.figure(minimized, &self.default_last));
        let own = |endpoint: usize, part: &Part| {
            let default = self.default_parts.get(endpoint);
            unit * default.map_or(0.0, |default| neglect(part, default, runs, limits, minimized))
        };
        let best = from.map(|from| combine(&pool, from, runs, &score, &own));
        let each = |chosen: Vec<usize>| -> Vec<Setting> {
            chosen.iter().enumerate().map(|(number, of)| known[*of].trial.endpoint(number).clone()).collect()
        };
        let trials: Vec<Trial> = best.filter_map(|chosen| Trial::of_each(&each(chosen))).collect();
        trials.into_iter().filter(|trial| self.is_new(trial)).collect()
    }

    /// A step from `parent`. Where endpoints may differ each takes one of its own, some of them from other settings that are known: a
    /// run tells of all of them.
    fn child(&mut self, parent: &Trial, step: f64) -> Trial {
        if self.apart.is_empty() {
            return Trial { common: self.near(&parent.common, step), ..parent.clone() };
        }
        let each: Vec<Setting> = (0..self.apart.len())
            .map(|number| {
                let elsewhere = self.stream.uniform() < 0.5;
                let place = self.stream.below(self.all.len().min(POOL));
                let from = if elsewhere { &self.all[place].trial } else { parent }.endpoint(number).clone();
                self.near(&from, step)
            })
            .collect();
        Trial::of_each(&each).unwrap_or_else(|| parent.clone())
    }

    fn near(&mut self, setting: &Setting, step: f64) -> Setting {
        let base = &self.bases[setting.base];
        if base.dimensions.is_empty() {
            return setting.clone();
        }
        Setting { base: setting.base, places: base.near(&setting.places, step, &mut self.stream) }
    }
}
