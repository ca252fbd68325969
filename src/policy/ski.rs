//! Keep-alive as ski rental: staying up is rent, the next start is the price of buying.
//!
//! Units: seconds. Billing begins with the start and ends with the end of the stop, so a restart costs as much as `D + E` idle seconds
//! (`D` = mean start length, measured, `start_s` before the first one; `E` = mean stop length, measured, 0 before the first one); with
//! `wait_value` v, each second that a job waits for that start is worth v idle seconds more: `K = D * (1 + v) + E`.
//! - `break_even`: wait K, then stop. At most twice the cost of whoever knows the future, on every traffic.
//! - `ski_random`: wait `K * ln(1 + (e - 1) U)`: at most e/(e-1) = 1.58 times, in expectation.
//! - `ski_statistical`: the timeout that would have been cheapest for the latest gaps, all ranks of workers together.
//! - `rank_timeout`: the same for each rank (see `levels`): the first worker waits long, the last one hardly.
//!
//! Sources: Karlin, Manasse, Rudolph, Sleator 1988; Karlin, Manasse, McGeoch, Owicki 1994; Lu and Chen, arXiv 1112.0442; policies 4,
//! 7.2. They do badly on: regular gaps just longer than K (the first two pay twice), and traffic whose gaps change faster than they
//! are learned (the last two).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hash::uniform;
use super::levels::{GapLaw, Ranks};
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{BadPolicyState, IdleStart, KeepAlivePolicy};
use crate::units::{Span, Time};

const START: ParamSpec = ParamSpec {
    name: "start_s",
    kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 10.0 },
    doc: "seconds that a start is taken to last before one was measured",
};
const WAIT_VALUE: ParamSpec = ParamSpec {
    name: "wait_value",
    kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 0.0 },
    doc: "what a second of a job's waiting for a start is worth, in paid worker seconds; 0 = only the bill counts",
};
const MAX: ParamSpec = ParamSpec {
    name: "max_s",
    kind: ParamKind::Number { min: 0.0, max: 604_800.0, default: 3_600.0 },
    doc: "seconds that are never exceeded (the platform's own range ends at 3600)",
};
const MAX_OTHERS: ParamSpec = ParamSpec {
    name: "max_others_s",
    kind: ParamKind::Number { min: 0.0, max: 604_800.0, default: 604_800.0 },
    doc: "max_s of all workers but the first: a job that comes later can often wait for another one, which the gaps do not tell",
};
const SEED: ParamSpec = ParamSpec {
    name: "seed",
    kind: ParamKind::Whole { min: 0, max: u32::MAX, default: 1 },
    doc: "which sequence of random numbers",
};
const WINDOW: ParamSpec = ParamSpec {
    name: "window_gaps",
    kind: ParamKind::Whole { min: 10, max: 100_000, default: 500 },
    doc: "latest gaps from which it learns",
};
const REFIT: ParamSpec = ParamSpec {
    name: "refit_gaps",
    kind: ParamKind::Whole { min: 1, max: 100_000, default: 20 },
    doc: "gaps after which the timeout is worked out again",
};
const ENOUGH: ParamSpec = ParamSpec {
    name: "min_gaps",
    kind: ParamKind::Whole { min: 1, max: 100_000, default: 10 },
    doc: "gaps below which the break-even timeout is used instead",
};

const SOURCE: &str = "Karlin et al. 1988, 1994; Lu and Chen, arXiv 1112.0442; policies 4";

pub(super) const BREAK_EVEN: Entry<dyn KeepAlivePolicy> = Entry {
    name: "break_even",
    summary: "stop when idling has cost as much as the next start will",
    formula: "K = D (1 + wait_value) + E, D and E = mean start and stop measured; at most twice the clairvoyant cost",
    source: SOURCE,
    weakness: "regular gaps just longer than a start: pays for both",
    params: &[START, WAIT_VALUE, MAX],
    build: |params| Box::new(BreakEven { price: RestartPrice::new(params), seed: None }),
};

pub(super) const SKI_RANDOM: Entry<dyn KeepAlivePolicy> = Entry {
    name: "ski_random",
    summary: "stop after a random idle time of at most one start: no traffic can exploit it",
    formula: "K ln(1 + (e - 1) U), K = D (1 + wait_value) + E, U from (seed, worker, idle period); at most 1.58 times the clairvoyant cost on average",
    source: SOURCE,
    weakness: "traffic that could have been learned",
    params: &[START, WAIT_VALUE, MAX, SEED],
    build: |params| Box::new(BreakEven { price: RestartPrice::new(params), seed: Some(params.whole("seed")) }),
};

pub(super) const SKI_STATISTICAL: Entry<dyn KeepAlivePolicy> = Entry {
    name: "ski_statistical",
    summary: "the timeout that was cheapest for the latest gaps, all workers together",
    formula: "argmin over t of sum min(gap, t) + K [gap > t], K = D (1 + wait_value) + E, over the latest window_gaps",
    source: SOURCE,
    weakness: "gaps that change faster than it learns; one timeout for busy and rare workers",
    params: &[START, WAIT_VALUE, MAX, WINDOW, REFIT, ENOUGH],
    build: |params| Box::new(Statistical::new(params, None)),
};

pub(super) const RANK_TIMEOUT: Entry<dyn KeepAlivePolicy> = Entry {
    name: "rank_timeout",
    summary: "per rank of worker the timeout that was cheapest for its latest gaps",
    formula: "per rank: argmin over t of sum min(gap, t) + K [gap > t], K = D (1 + wait_value) + E, over the latest window_gaps",
    source: "policies 4, 7.2: follows the structure of the clairvoyant optimum; Lu and Chen, arXiv 1112.0442",
    weakness: "gaps that change faster than it learns; dispatch other than mru or rank",
    params: &[START, WAIT_VALUE, MAX, MAX_OTHERS, WINDOW, REFIT, ENOUGH],
    build: |params| Box::new(Statistical::new(params, Some(params.number("max_others_s")))),
};

/// What a restart costs, in idle seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestartPrice {
    start_s: f64,
    wait_value: f64,
    max_s: f64,
}

impl RestartPrice {
    fn new(params: &Params) -> RestartPrice {
        RestartPrice {
            start_s: params.number("start_s"),
            wait_value: params.number("wait_value"),
            max_s: params.number("max_s"),
        }
    }

    fn restart_s(&self, idle: &IdleStart<'_>) -> f64 {
        idle.start_s(self.start_s) * (1.0 + self.wait_value) + idle.stop_s()
    }

    fn capped(&self, timeout_s: f64) -> Option<Span> {
        Some(Span::from_secs(timeout_s.min(self.max_s)))
    }
}

/// `break_even`, and with a seed `ski_random`.
#[derive(Clone, Copy, Debug)]
pub struct BreakEven {
    price: RestartPrice,
    seed: Option<u32>,
}

impl KeepAlivePolicy for BreakEven {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        let restart_s = self.price.restart_s(idle);
        let share = self.seed.map_or(1.0, |seed| {
            let drawn = uniform(seed, idle.worker.id.sequence(), idle.ordinal);
            libm::log1p((std::f64::consts::E - 1.0) * drawn)
        });
        self.price.capped(restart_s * share)
    }
}

/// `ski_statistical`, and with `max_others_s` `rank_timeout`.
#[derive(Clone, Debug)]
pub struct Statistical {
    price: RestartPrice,
    max_others_s: Option<f64>,
    window: usize,
    refit: u32,
    enough: usize,
    ranks: Ranks,
    laws: Vec<GapLaw>,
}

#[derive(Deserialize, Serialize)]
struct Learned {
    ranks: Ranks,
    laws: Vec<GapLaw>,
}

impl Statistical {
    fn new(params: &Params, max_others_s: Option<f64>) -> Statistical {
        Statistical {
            price: RestartPrice::new(params),
            max_others_s,
            window: params.whole("window_gaps") as usize,
            refit: params.whole("refit_gaps"),
            enough: params.whole("min_gaps") as usize,
            ranks: Ranks::default(),
            laws: Vec::new(),
        }
    }
}

impl KeepAlivePolicy for Statistical {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        let restart_s = self.price.restart_s(idle);
        let law = if self.max_others_s.is_some() { idle.rank as usize - 1 } else { 0 };
        let known = self.laws.get_mut(law).filter(|law| law.len() >= self.enough);
        let timeout_s = known.map_or(restart_s, |law| law.best_timeout(restart_s, self.refit));
        let most_s = self.max_others_s.filter(|_| idle.rank > 1).unwrap_or(f64::INFINITY);
        self.price.capped(timeout_s.min(most_s))
    }

    fn learns(&self) -> bool {
        true
    }

    fn needed(&mut self, now: Time, workers: u32) {
        let (laws, by_rank, window) = (&mut self.laws, self.max_others_s.is_some(), self.window);
        self.ranks.set(now, workers, |rank, gap_s| {
            let law = if by_rank { rank - 1 } else { 0 };
            if laws.len() <= law {
                laws.resize_with(law + 1, GapLaw::default);
            }
            laws[law].add(gap_s, window);
        });
    }

    fn save(&self) -> Value {
        json!(Learned { ranks: self.ranks.clone(), laws: self.laws.clone() })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let learned = Learned::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        (self.ranks, self.laws) = (learned.ranks, learned.laws);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{idle, worker};
    use super::super::{PolicyChoice, registry};
    use super::*;

    fn timeout_s(policy: &mut dyn KeepAlivePolicy, rank: u32, ordinal: u64) -> f64 {
        let worker = worker(1);
        let idle = IdleStart { rank, ..idle(&worker, ordinal) };
        policy.idle_timeout(&idle).expect("never for ever").as_secs()
    }

    #[test]
    fn break_even_is_one_start_and_more_where_waiting_matters() {
        let mut plain = registry::keep_alive(&PolicyChoice::named("break_even")).expect("it is in the registry");
        assert_eq!(timeout_s(&mut *plain, 1, 0), 10.0);
        let choice = PolicyChoice::named("break_even").with("wait_value", 2.0).with("max_s", 25.0);
        assert_eq!(timeout_s(&mut *registry::keep_alive(&choice).expect("allowed"), 1, 0), 25.0);
    }

    #[test]
    fn a_stop_is_part_of_the_price_and_no_wait() {
        let choice = PolicyChoice::named("break_even").with("wait_value", 2.0);
        let mut policy = registry::keep_alive(&choice).expect("allowed");
        let worker = worker(1);
        let stops = IdleStart { mean_stop: Some(Span::from_whole_secs(3)), ..idle(&worker, 0) };
        assert_eq!(
            policy.idle_timeout(&stops),
            Some(Span::from_whole_secs(33)),
            "10 s, two for each that is waited, 3 s"
        );
    }

    #[test]
    fn the_random_timeout_has_its_law_on_the_interval() {
        let mut policy = registry::keep_alive(&PolicyChoice::named("ski_random")).expect("it is in the registry");
        let draws: Vec<f64> = (0..20_000).map(|n| timeout_s(&mut *policy, 1, n)).collect();
        assert!(draws.iter().all(|x| (0.0..=10.0).contains(x)));
        // Density e^(x/K) / (K (e - 1)): mean K / (e - 1) = 0.582 K, standard error 0.0029 K / sqrt(20,000) ~ 0.02 for K = 10.
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 5.8198).abs() < 0.09, "{mean}");
    }

    #[test]
    fn low_ranks_learn_to_stay_and_high_ones_to_go() {
        let mut policy = registry::keep_alive(&PolicyChoice::named("rank_timeout")).expect("it is in the registry");
        // Rank 1 is free for 4 s of every 10; rank 2 is used for a second every 100 s.
        for second in 0..4_000_u32 {
            let needed = u32::from(second % 10 < 6) + u32::from(second % 100 == 3);
            policy.needed(Time::from_secs(f64::from(second)), needed);
        }
        assert_eq!(timeout_s(&mut *policy, 1, 0), 4.0);
        assert_eq!(timeout_s(&mut *policy, 2, 1), 0.0);
        assert_eq!(timeout_s(&mut *policy, 3, 2), 10.0, "nothing is known of rank 3: break-even");
    }

    #[test]
    fn workers_beside_others_may_have_a_limit_of_their_own() {
        let choice = PolicyChoice::named("rank_timeout").with("max_s", 8.0).with("max_others_s", 3.0);
        let mut policy = registry::keep_alive(&choice).expect("allowed");
        assert_eq!([1, 2, 5].map(|rank| timeout_s(&mut *policy, rank, 0)), [8.0, 3.0, 3.0], "10 s by themselves");
        let choice = PolicyChoice::named("rank_timeout").with("max_s", 2.0).with("max_others_s", 3.0);
        assert_eq!(timeout_s(&mut *registry::keep_alive(&choice).expect("allowed"), 2, 0), 2.0);
    }

    #[test]
    fn what_was_learned_survives_a_restart() {
        let choice = PolicyChoice::named("ski_statistical").with("refit_gaps", 1.0);
        let mut policy = registry::keep_alive(&choice).expect("it is in the registry");
        for n in 0..60_u32 {
            policy.needed(Time::from_secs(f64::from(n * 3)), n % 2);
        }
        let mut other = registry::keep_alive(&choice).expect("it is in the registry");
        other.load(&policy.save()).expect("its own state");
        assert_eq!(timeout_s(&mut *policy, 1, 0), 3.0);
        assert_eq!(timeout_s(&mut *other, 1, 0), 3.0);
        assert!(other.load(&json!({ "ranks": 3 })).is_err());
    }
}
