//! Staffing by queueing theory: how many workers hold a wait, from the measured arrival rate and service time.
//!
//! R = lam S, the load in workers (lam and S measured with a half-life; jobs here now count as well).
//! - `erlang_slo`: the fewest n > R with `P(wait > slo_s) = C(n, R) exp(-(n / S - lam) T) <= miss`, C = Erlang C, `T = slo_s / ((ca2 +
//!   cs2) / 2)` (Allen-Cunneen). Source: Erlang 1917; Kleinrock 1975; policies 2.1.
//! - `sqrt_staffing`: `n = ceil(R + beta sqrt(I R))`, beta from the wanted probability of waiting. Source: Halfin and Whitt 1981; Borst,
//!   Mandelbaum, Reiman 2004; policies 2.2.
//!
//! Both are floors under the plain need (every job that is here gets a place) and let idle ones go when they want fewer. With c jobs per worker, servers are places. They do badly on: sparse traffic (below a load of about a worker theory keeps one
//! up, paid all the time: `min_load` gives it up) and rates that change within the half-life.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::queue_delay::tick;
use super::registry::Entry;
use super::signal::{Load, ceil, erlang_c};
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::Span;

const HALF_LIFE: ParamSpec = ParamSpec {
    name: "half_life_s",
    kind: ParamKind::Number { min: 1.0, max: 86_400.0, default: 120.0 },
    doc: "seconds after which an old arrival counts half",
};
const SERVICE: ParamSpec = ParamSpec {
    name: "service_s",
    kind: ParamKind::Number { min: 0.001, max: 86_400.0, default: 10.0 },
    doc: "seconds that a job is taken to last before one has ended",
};
const MIN_LOAD: ParamSpec = ParamSpec {
    name: "min_load",
    kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 0.2 },
    doc: "load in workers below which none is kept up without jobs",
};
const TICK: ParamSpec = ParamSpec {
    name: "tick_s",
    kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 1.0 },
    doc: "period of the check in seconds; 0 = at every event",
};

pub(super) const ERLANG_SLO: Entry<dyn ScalingPolicy> = Entry {
    name: "erlang_slo",
    summary: "the fewest workers with which the wait exceeds slo_s in at most a share of the cases",
    formula: "least n > R: C(n, R) exp(-(n / S - lam) slo_s 2 / (ca2 + cs2)) <= miss",
    source: "Erlang 1917; Kleinrock 1975; Allen-Cunneen; policies 2.1",
    weakness: "sparse or bursty traffic (theory is of a steady rate); rates that change within the half-life; idle workers that \
               were there before it measured any go at once",
    params: &[
        ParamSpec {
            name: "slo_s",
            kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 2.0 },
            doc: "seconds of waiting that are allowed; the endpoint's slo.wait_s where there is one",
        },
        ParamSpec {
            name: "miss",
            kind: ParamKind::Number { min: 0.000_001, max: 0.999, default: 0.05 },
            doc: "share of jobs that may wait longer",
        },
        ParamSpec {
            name: "variability",
            kind: ParamKind::Number { min: 0.01, max: 100.0, default: 1.0 },
            doc: "(ca2 + cs2) / 2: mean of the squared coefficients of variation of gaps and service times; 1 = Poisson, exponential",
        },
        HALF_LIFE,
        SERVICE,
        MIN_LOAD,
        TICK,
    ],
    build: |params| {
        let rule = Rule::Erlang {
            slo_s: params.number("slo_s"),
            miss: params.number("miss"),
            variability: params.number("variability"),
        };
        Box::new(Staffing::new(params, rule))
    },
};

pub(super) const SQRT_STAFFING: Entry<dyn ScalingPolicy> = Entry {
    name: "sqrt_staffing",
    summary: "the load and a reserve in proportion to its square root",
    formula: "ceil(R + beta sqrt(dispersion R)), beta from P(wait): 1 / (1 + beta Phi(beta) / phi(beta))",
    source: "Halfin and Whitt 1981; Borst, Mandelbaum, Reiman 2004; policies 2.2",
    weakness: "a handful of workers (an asymptotic rule); bursts beyond Poisson unless dispersion says so; idle workers that \
               were there before it measured any go at once",
    params: &[
        ParamSpec {
            name: "wait_probability",
            kind: ParamKind::Number { min: 0.001, max: 0.999, default: 0.1 },
            doc: "share of jobs that may have to wait at all",
        },
        ParamSpec {
            name: "dispersion",
            kind: ParamKind::Number { min: 0.01, max: 1_000.0, default: 1.0 },
            doc: "variance of the jobs at hand over their mean; 1 = Poisson",
        },
        HALF_LIFE,
        SERVICE,
        MIN_LOAD,
        TICK,
    ],
    build: |params| {
        let rule =
            Rule::Sqrt { beta: beta(params.number("wait_probability")), dispersion: params.number("dispersion") };
        Box::new(Staffing::new(params, rule))
    },
};

#[derive(Clone, Copy, Debug)]
enum Rule {
    Erlang { slo_s: f64, miss: f64, variability: f64 },
    Sqrt { beta: f64, dispersion: f64 },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Staffing {
    rule: Rule,
    half_life_s: f64,
    service_s: f64,
    min_load: f64,
    asked_at: AskedAt,
    load: Load,
}

impl Staffing {
    fn new(params: &Params, rule: Rule) -> Staffing {
        Staffing {
            rule,
            half_life_s: params.number("half_life_s"),
            service_s: params.number("service_s"),
            min_load: params.number("min_load"),
            asked_at: tick(params.number("tick_s")),
            load: Load::default(),
        }
    }

    /// Places wanted for `rate` jobs a second of `service_s` seconds; at most `most`.
    fn places(&self, rate: f64, service_s: f64, most: u32) -> u32 {
        let r = rate * service_s;
        match self.rule {
            Rule::Sqrt { beta, dispersion } => ceil(r + beta * libm::sqrt(dispersion * r)).min(most),
            Rule::Erlang { slo_s, miss, variability } => {
                erlang_places(rate, service_s, slo_s / variability, miss, most)
            }
        }
    }
}

/// The fewest servers of M/M/n whose wait exceeds `slo_s` with probability `miss` at most; at most `most`.
pub(super) fn erlang_places(rate: f64, service_s: f64, slo_s: f64, miss: f64, most: u32) -> u32 {
    let r = rate * service_s;
    let mut servers = (r.floor() as u32).saturating_add(1);
    while servers < most {
        let late = erlang_c(servers, r) * libm::exp(-(f64::from(servers) / service_s - rate) * slo_s);
        if late <= miss {
            break;
        }
        servers += 1;
    }
    servers.min(most)
}

/// The reserve factor for a wanted probability of waiting: the root of a falling function, by bisection.
fn beta(wait_probability: f64) -> f64 {
    let waits = |beta: f64| {
        let density = libm::exp(-beta * beta / 2.0) / libm::sqrt(2.0 * std::f64::consts::PI);
        let below = 0.5 * libm::erfc(-beta / std::f64::consts::SQRT_2);
        1.0 / (1.0 + beta * below / density)
    };
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if waits(middle) > wait_probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

impl ScalingPolicy for Staffing {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        self.load.see(seen, self.half_life_s);
        let current = seen.up_or_coming();
        let places = seen.concurrency.max(1);
        let service_s = self.load.service_s(self.service_s);
        let rate = self.load.rate();
        let most = (seen.max + seen.extra).saturating_mul(places);
        let steady = if rate * service_s < self.min_load { 0 } else { self.places(rate, service_s, most) };
        // Whatever theory says: those who are here are served.
        let here = seen.in_progress + seen.queued;
        let workers = steady.max(here).div_ceil(places);
        let reason = match workers {
            fewer if fewer < current => ScaleReason::LoadFell,
            _ if current == 0 && seen.queued > 0 => ScaleReason::FromZero,
            _ => ScaleReason::Policy,
        };
        let ask_again = (self.asked_at == AskedAt::Events && current > 0).then_some(Span::from_whole_secs(5));
        Advice { workers, surplus: Surplus::StopIdle, reason, ask_again }
    }

    fn uses_idle_timeout(&self) -> bool {
        false
    }

    fn save(&self) -> Value {
        json!(self.load)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.load = Load::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_is_that_of_halfin_and_whitt() {
        for (alpha, expected) in [(0.5, 0.506), (0.3, 0.829), (0.2, 1.062), (0.1, 1.420), (0.05, 1.740), (0.01, 2.375)]
        {
            assert!((beta(alpha) - expected).abs() < 0.001, "{alpha}: {}", beta(alpha));
        }
    }

    #[test]
    fn staffing_for_a_load_of_twenty() {
        let reserve = |alpha: f64| ceil(20.0 + beta(alpha) * 20.0_f64.sqrt());
        let square_root: Vec<u32> = [0.5, 0.3, 0.2, 0.1, 0.05, 0.01].into_iter().map(reserve).collect();
        assert_eq!(square_root, [23, 24, 25, 27, 28, 31]);
        // Any wait at all: Erlang C itself.
        let exact = |alpha: f64| erlang_places(20.0, 1.0, 0.0, alpha, 1_000);
        let exact: Vec<u32> = [0.5, 0.3, 0.2, 0.1, 0.05, 0.01].into_iter().map(exact).collect();
        assert_eq!(exact, [23, 24, 26, 27, 29, 32]);
    }

    #[test]
    fn a_longer_bearable_wait_needs_fewer_workers() {
        let needed: Vec<u32> =
            [0.0, 2.0, 10.0, 60.0].into_iter().map(|slo| erlang_places(0.8, 10.0, slo, 0.05, 100)).collect();
        assert!(needed.is_sorted_by(|a, b| a >= b) && needed[3] == 9, "{needed:?}");
    }
}
