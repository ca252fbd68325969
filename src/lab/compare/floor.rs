//! The floor of a comparison: the clairvoyant bound of [`crate::lab::bound`], for somebody who is late with as many jobs.

use super::Floor;
use super::sample::Missed;
use crate::lab::bound::{self, Bounds, Effort};
use crate::ledger::Profile;
use crate::sim::plan::Plan;

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
            // The bound of the seed bill is the work of all jobs: it says nothing of somebody who loses some.
            Profile::Seed if missed.iter().any(|missed| missed.lost > 0) => 0.0,
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
