//! How many workers were worth holding: the newsvendor's choice, learned from a past window, as a floor of flex workers.
//!
//! Formula, reviewed every `review_s`: rank l (the l-th worker needed at once) is held iff what it would have cost without being held,
//! `busy_l + sum over its gaps g of (g if g <= K, else 2 K)`, exceeds `price_ratio T` over the window T, with `K = D (1 + wait_value)`:
//! the worker idles as long as a start costs, then stops and starts again. That cost falls with the rank, so the held ranks are the first
//! ones. Under it: one worker per job that finds none idle; down by the idle timeout, not below the floor. `price_ratio` 1 asks whether
//! holding pays at the flex price that it is billed at; active / flex tells what the endpoint's `active` should be. Source: policies 2.3b,
//! 7.2; Lu and Chen, arXiv 1112.0442 (ranks). Does badly on: traffic that changes within the window; nights within a day (one floor for
//! all hours: use `schedule` or `forecast_floor`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::levels::Ranks;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "window_s",
        kind: ParamKind::Number { min: 600.0, max: 2_592_000.0, default: 86_400.0 },
        doc: "seconds of the past that count (a day; a week where days differ)",
    },
    ParamSpec {
        name: "review_s",
        kind: ParamKind::Number { min: 60.0, max: 86_400.0, default: 900.0 },
        doc: "seconds between two choices",
    },
    ParamSpec {
        name: "price_ratio",
        kind: ParamKind::Number { min: 0.01, max: 10.0, default: 1.0 },
        doc: "what a held second costs, in flex seconds: 1 as it is billed, active / flex price to learn what `active` should be",
    },
    ParamSpec {
        name: "wait_value",
        kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 0.0 },
        doc: "what a second of a job's waiting for a start is worth, in paid worker seconds",
    },
    ParamSpec {
        name: "start_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 10.0 },
        doc: "seconds that a start is taken to last before one was measured",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "newsvendor",
    summary: "hold as many workers as would have cost more to stop and start over a past window",
    formula: "ranks l with busy_l + sum(g if g <= K else 2 K) > price_ratio T; per job above; K = D (1 + wait_value)",
    source: "policies 2.3b, 7.2; Lu and Chen, arXiv 1112.0442",
    weakness: "traffic that changes within the window; quiet nights (one floor for all hours)",
    params: PARAMS,
    build: |params| Box::new(Newsvendor::new(params)),
};

/// Gaps kept per rank: beyond, the oldest are forgotten and the window is in effect shorter.
const GAPS_MAX: usize = 20_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Newsvendor {
    window: Span,
    review: Span,
    price_ratio: f64,
    wait_value: f64,
    start_s: f64,
    memory: Memory,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    ranks: Ranks,
    /// By rank - 1: when the gap ended, and its seconds.
    gaps: Vec<VecDeque<(Time, f64)>>,
    since: Option<Time>,
    review_at: Time,
    floor: u32,
}

impl Newsvendor {
    fn new(params: &Params) -> Newsvendor {
        Newsvendor {
            window: Span::from_secs(params.number("window_s")),
            review: Span::from_secs(params.number("review_s")),
            price_ratio: params.number("price_ratio"),
            wait_value: params.number("wait_value"),
            start_s: params.number("start_s"),
            memory: Memory::default(),
        }
    }

    /// Ranks worth holding, judged by the window that ends now.
    fn worth_holding(&mut self, now: Time, start_s: f64) -> u32 {
        let window_s = now.since(self.memory.since.unwrap_or(now)).min(self.window).as_secs();
        let restart_s = start_s * (1.0 + self.wait_value);
        // Less than a few starts' worth of the past proves nothing.
        if window_s < 10.0 * restart_s.max(1.0) {
            return self.memory.floor;
        }
        let mut held = 0;
        for rank in 1..=self.memory.ranks.seen() {
            let (mut idle_s, mut paid_s) = (0.0, 0.0);
            let mut gap = |length_s: f64| {
                let length_s = length_s.min(window_s);
                idle_s += length_s;
                paid_s += if length_s <= restart_s { length_s } else { 2.0 * restart_s };
            };
            let kept = self.memory.gaps.get_mut(rank - 1);
            if let Some(kept) = kept {
                while kept.front().is_some_and(|(at, _)| now.since(*at) > self.window) || kept.len() > GAPS_MAX {
                    kept.pop_front();
                }
                kept.iter().for_each(|(_, length_s)| gap(*length_s));
            }
            gap(self.memory.ranks.free_for(rank, now).unwrap_or(window_s));
            let busy_s = (window_s - idle_s).max(0.0);
            // Bridging every gap costs the same as holding: a rounding error must not decide.
            if busy_s + paid_s <= self.price_ratio * window_s * (1.0 + 1e-9) {
                break;
            }
            held = rank as u32;
        }
        held
    }
}

impl ScalingPolicy for Newsvendor {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let (now, current) = (seen.now, seen.up_or_coming());
        self.memory.since.get_or_insert(now);
        let gaps = &mut self.memory.gaps;
        self.memory.ranks.set(now, current - seen.idle.min(current), |rank, length_s| {
            if gaps.len() < rank {
                gaps.resize_with(rank, VecDeque::new);
            }
            gaps[rank - 1].push_back((now, length_s));
        });
        if now >= self.memory.review_at {
            let start_s = seen.mean_start.map_or(self.start_s, Span::as_secs);
            let restart_s = start_s + seen.stop_s();
            self.memory.floor = self.worth_holding(now, restart_s);
            self.memory.review_at = now + self.review;
        }
        let jobs_in_workers = (seen.queued + seen.in_progress).div_ceil(seen.concurrency.max(1));
        let needed = if seen.queued > 0 { jobs_in_workers } else { 0 };
        let workers = current.max(needed).max(self.memory.floor);
        let reason = if self.memory.floor > needed.max(current) { ScaleReason::Policy } else { ScaleReason::PerJob };
        // A floor that nothing happens to must be reviewed all the same.
        let ask_again = (self.memory.floor > 0).then(|| self.memory.review_at.since(now));
        Advice { workers, surplus: Surplus::KeepAlive, reason, ask_again }
    }

    fn floor(&self) -> u32 {
        self.memory.floor
    }

    fn save(&self) -> Value {
        json!(self.memory)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.memory = Memory::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::seen;
    use super::super::{PolicyChoice, registry};

    /// A day in which the first worker is busy for 20 s of every `period`, starts take 10 s. Gives the floor at its end.
    fn floor(period: u32, price_ratio: f64) -> u32 {
        let choice = PolicyChoice::named("newsvendor").with("price_ratio", price_ratio);
        let mut policy = registry::scaling(&choice).expect("it is in the registry");
        for second in (0..86_400_u32).step_by(5) {
            let busy = u32::from(second % period < 20);
            policy.advise(&seen(f64::from(second), (0, busy), (1 - busy, busy, 0)));
        }
        policy.floor()
    }

    #[test]
    fn a_worker_is_held_where_stopping_it_between_jobs_costs_more() {
        // Gaps of 5 s are bridged anyway: nothing to gain. Of 15 s: 20 s for stopping and starting. Of 30 s: 20 s are less.
        assert_eq!(floor(25, 1.0), 0);
        assert_eq!(floor(35, 1.0), 1);
        assert_eq!(floor(50, 1.0), 0);
        // At 70 % of the price it pays even with gaps of 30 s: 40 of 50 s are paid; with 180 s it does not.
        assert_eq!(floor(50, 0.7), 1);
        assert_eq!(floor(200, 0.7), 0);
    }
}
