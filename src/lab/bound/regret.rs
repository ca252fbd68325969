//! How far a policy is from what nobody can beat, and in which of its two decisions.

use serde::Serialize;

use super::EndpointBounds;
use super::levels::{Held, Levels};
use super::served::Served;
use crate::units::Time;

/// Regret of one policy at one endpoint, USD of the `documented` bill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Regret {
    /// What the policy's workers cost.
    pub cost_usd: f64,
    /// What its jobs' waiting cost, where waiting has a price.
    pub waiting_usd: f64,
    /// Proven least for a policy that is late with as many jobs and loses as many as this one.
    pub lb_usd: f64,
    /// Jobs that waited for longer than allowed.
    pub late: u64,
    /// Jobs without a result.
    pub lost: u64,
    /// Cost and waiting beyond the bound.
    pub regret_usd: f64,
    /// Cost and waiting over the bound; none where the bound is zero.
    pub ratio: Option<f64>,
    /// Cheapest workers for the policy's own start times.
    pub opt_of_starts_usd: f64,
    /// Part of the regret: its workers cost more than its start times need. What a better keep-alive could save.
    pub provisioning_usd: f64,
    /// The rest: other start times would have needed less. What a better forecast and other waits could save.
    pub timing_usd: f64,
}

impl EndpointBounds {
    /// A policy that was never late and lost nothing has reached what it cost: nobody needs to pay more.
    pub fn reached(&mut self, regret: &Regret) {
        if regret.late + regret.lost == 0 {
            self.ub_usd = self.ub_usd.min(regret.cost_usd + regret.waiting_usd);
        }
    }

    /// The regret of a policy that cost `cost_usd` in the documented bill and served the jobs as in `served`.
    pub fn regret(&self, cost_usd: f64, served: &Served) -> Regret {
        let (late, lost) = (self.slo_wait_s.map_or(0, |limit| served.late(limit)), served.lost());
        let lb_usd = self.lb_for(late, lost);
        let waiting_usd = served.waited_s() * self.state.wait_price;
        let levels = self.levels_of(served);
        let ratio = if self.flex_usd_per_s > 0.0 { self.active_usd_per_s / self.flex_usd_per_s } else { 1.0 };
        let best = match self.state.proof.always_on {
            Some(_) => levels.best_active(self.span_s, ratio),
            None => 0,
        };
        let opt_of_starts_usd = levels.cost_s(best, self.span_s, ratio) * self.flex_usd_per_s;
        let total = cost_usd + waiting_usd;
        Regret {
            cost_usd,
            waiting_usd,
            lb_usd,
            late,
            lost,
            regret_usd: total - lb_usd,
            ratio: (lb_usd > 0.0).then(|| total / lb_usd),
            opt_of_starts_usd,
            provisioning_usd: cost_usd - opt_of_starts_usd,
            timing_usd: opt_of_starts_usd + waiting_usd - lb_usd,
        }
    }

    /// The cheapest workers for what was served, within what is billed.
    fn levels_of(&self, served: &Served) -> Levels {
        if !self.state.begun {
            return Levels::of(&served.held, self.start_s + self.stop_s, self.state.places);
        }
        let until = if self.state.closed { self.state.span.1 } else { f64::INFINITY };
        let (from, until) = (Time::from_secs(self.state.span.0), Time::from_secs(until));
        let within = |held: &Held| Held { from: held.from.clamp(from, until), until: held.until.clamp(from, until) };
        let held: Vec<Held> = served.held.iter().map(within).collect();
        Levels::of(&held, self.start_s + self.stop_s, self.state.places).begun()
    }

    /// The proven bound for a policy that lets `late` jobs wait for longer than allowed and brings no result for `lost`. Holds
    /// whichever jobs these are.
    pub fn lb_for(&self, late: u64, lost: u64) -> f64 {
        self.state.proof.bound(late, lost).0 * self.flex_usd_per_s
    }

    /// The bound if a share (0..=1) of the jobs may wait for longer than allowed: what "p95 within the limit" asks, with 0.05.
    pub fn lb_at(&self, late_share: f64) -> f64 {
        self.lb_for((late_share.clamp(0.0, 1.0) * self.jobs as f64).floor() as u64, 0)
    }
}
