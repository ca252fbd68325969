//! The floor of a comparison: the clairvoyant bound of [`crate::lab::bound`], for somebody who is late with as many jobs.

use super::Floor;
use super::sample::Missed;
use crate::lab::bound::{self, Bounds, Effort};
use crate::ledger::Profile;
use crate::sim::plan::{ActionKind, Plan};

/// Where entrants differ in more than their policies (GPU class, jobs per worker, starts, ...): nobody can pay less than with the
/// cheapest of these.
pub struct Cheapest(pub Vec<Box<dyn Floor>>);

impl Floor for Cheapest {
    fn least_usd(&self, profile: Profile, missed: &[Missed]) -> f64 {
        let least = self.0.iter().map(|floor| floor.least_usd(profile, missed)).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }
}

/// The plans that differ in what a bound depends on, each once: in anything but policies and the number of always-on workers.
pub fn kinds<'a>(plans: impl Iterator<Item = &'a Plan>) -> Vec<Plan> {
    let mut kinds: Vec<Plan> = Vec::new();
    for plan in plans {
        let mut kind = plan.clone();
        if let Some(first) = kinds.first() {
            let all = kind.endpoints.iter_mut().zip(&first.endpoints);
            all.for_each(|(own, first)| own.spec.policies.clone_from(&first.spec.policies));
            let all = kind.actions.iter_mut().zip(&first.actions);
            for (own, first) in all {
                if let (ActionKind::Update { spec: own, .. }, ActionKind::Update { spec: first, .. }) =
                    (&mut own.kind, &first.kind)
                {
                    own.policies.clone_from(&first.policies);
                }
            }
        }
        for action in &mut kind.actions {
            if let ActionKind::Update { spec, .. } = &mut action.kind {
                spec.active = 0;
            }
        }
        kind.endpoints.iter_mut().for_each(|endpoint| endpoint.spec.active = 0);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

impl Floor for Bounds {
    fn least_usd(&self, profile: Profile, missed: &[Missed]) -> f64 {
        let of = |number: usize| missed.get(number).copied().unwrap_or_default();
        match profile {
            Profile::Documented => {
                let least = |(number, endpoint): (usize, &bound::EndpointBounds)| {
                    endpoint.lb_for(of(number).late, of(number).lost)
                };
                self.endpoints.iter().enumerate().map(least).sum()
            }
            // The bound of the seed bill is the work of all jobs: it says nothing of somebody who loses some, or who puts some off beyond
            // the end of what counts.
            Profile::Seed if missed.iter().any(|missed| missed.lost > 0 || missed.late > 0 && !self.to_the_end) => 0.0,
            Profile::Seed => self.seed_usd,
        }
    }
}

/// The bound of a plan whose every endpoint has one; quick rather than tight, and never wrong.
pub fn bound_of(plan: &Plan) -> Option<Box<dyn Floor>> {
    let options = bound::Options { effort: Effort::Quick, ..bound::Options::default() };
    let bounds = bound::for_plan(plan, &options).ok()?;
    let known = bounds.endpoints.iter().all(|endpoint| endpoint.unbounded.is_none());
    known.then(|| Box::new(bounds) as Box<dyn Floor>)
}
