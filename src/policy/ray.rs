//! Ray Serve's rule: the mean number of ongoing requests against a target per worker, acted upon only after a long delay.
//!
//! Formula, every `tick_s` (T = mean of Q + P over `look_back_s`): `want = T / target_ongoing`; `n = ceil(target + factor (want -
//! target))`; the target becomes n after wanting more for `upscale_delay_s`, or less for `downscale_delay_s`; from zero at once; to zero
//! only from one. Source: Ray 2.60, python/ray/serve/autoscaling_policy.py, config.py (defaults), _private/autoscaling_state.py. Ours: a tick
//! of 1 s (Ray 0.1 s). Does badly on: spikes (30 s before the second worker) and sparse traffic (ten idle minutes after each burst).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::signal::{Steps, ceil};
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "target_ongoing",
        kind: ParamKind::Number { min: 0.01, max: 100_000.0, default: 2.0 },
        doc: "jobs waiting and in progress per worker that are aimed at (Ray 2)",
    },
    ParamSpec {
        name: "look_back_s",
        kind: ParamKind::Number { min: 1.0, max: 3_600.0, default: 30.0 },
        doc: "seconds over which jobs are averaged (Ray 30)",
    },
    ParamSpec {
        name: "aggregation",
        kind: ParamKind::Word { choices: &["mean", "max", "min"], default: "mean" },
        doc: "how the window becomes one number (Ray mean, weighted by time)",
    },
    ParamSpec {
        name: "upscale_delay_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 30.0 },
        doc: "more workers after wanting them for so many seconds (Ray 30)",
    },
    ParamSpec {
        name: "downscale_delay_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 600.0 },
        doc: "fewer workers after wanting fewer for so many seconds (Ray 600)",
    },
    ParamSpec {
        name: "to_zero_delay_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 600.0 },
        doc: "the same for the step from one to zero (Ray: as downscale_delay_s)",
    },
    ParamSpec {
        name: "upscaling_factor",
        kind: ParamKind::Number { min: 0.01, max: 100.0, default: 1.0 },
        doc: "share of the way up that is taken at once (Ray 1)",
    },
    ParamSpec {
        name: "downscaling_factor",
        kind: ParamKind::Number { min: 0.01, max: 100.0, default: 1.0 },
        doc: "share of the way down that is taken at once (Ray 1)",
    },
    ParamSpec {
        name: "tick_s",
        kind: ParamKind::Number { min: 0.1, max: 600.0, default: 1.0 },
        doc: "period of the control loop in seconds (Ray 0.1)",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "ray",
    summary: "Ray Serve: mean ongoing requests per worker over 30 s, up after 30 s, down after 600 s",
    formula: "ceil(target + factor (mean(Q + P) / target_ongoing - target)) once wanted for the delay; from zero at once",
    source: "Ray 2.60 python/ray/serve/autoscaling_policy.py, config.py",
    weakness: "spikes (30 s before the second worker); sparse traffic (ten idle minutes after each burst); starts of minutes, \
               against which it swings",
    params: PARAMS,
    build: |params| Box::new(Ray::new(params)),
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Ray {
    target_ongoing: f64,
    look_back: Span,
    aggregation: String,
    up_delay: Span,
    down_delay: Span,
    zero_delay: Span,
    up_factor: f64,
    down_factor: f64,
    tick: Span,
    memory: Memory,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    load: Steps,
    target: u32,
    /// The direction that is wanted, and since when.
    wanting: Option<(bool, Time)>,
}

/// Where the rule would go from `target` workers for a mean load of `total` jobs.
fn step(target: u32, total: f64, target_ongoing: f64, factors: (f64, f64)) -> u32 {
    let want = total / target_ongoing;
    let delta = want - f64::from(target);
    let factor = if delta > 0.0 { factors.0 } else { factors.1 };
    let wanted = ceil(f64::from(target) + factor * delta);
    // A small factor must not get stuck one worker too high.
    if ceil(want) < target && wanted == target { wanted - 1 } else { wanted }
}

impl Ray {
    fn new(params: &Params) -> Ray {
        let span = |name| Span::from_secs(params.number(name));
        Ray {
            target_ongoing: params.number("target_ongoing"),
            look_back: span("look_back_s"),
            aggregation: params.word("aggregation").to_owned(),
            up_delay: span("upscale_delay_s"),
            down_delay: span("downscale_delay_s"),
            zero_delay: span("to_zero_delay_s"),
            up_factor: params.number("upscaling_factor"),
            down_factor: params.number("downscaling_factor"),
            tick: span("tick_s"),
            memory: Memory::default(),
        }
    }

    fn mean_load(&mut self, now: Time, load: f64) -> f64 {
        self.memory.load.put(now, load, self.look_back);
        let (mean, most, least) = self.memory.load.over(now, self.look_back).unwrap_or((load, load, load));
        match self.aggregation.as_str() {
            "max" => most,
            "min" => least,
            _ => mean,
        }
    }

    /// The target after what is wanted now.
    fn target(&mut self, now: Time, mut wanted: u32) -> u32 {
        let target = self.memory.target;
        if wanted == 0 && target > 1 {
            wanted = 1;
        }
        if wanted == target {
            self.memory.wanting = None;
            return target;
        }
        let up = wanted > target;
        let since = match self.memory.wanting {
            Some((same, since)) if same == up => since,
            _ => now,
        };
        self.memory.wanting = Some((up, since));
        let delay = match (up, target) {
            (true, _) => self.up_delay,
            (false, 1) => self.zero_delay,
            (false, _) => self.down_delay,
        };
        if now.since(since) >= delay {
            self.memory.target = wanted;
            self.memory.wanting = None;
        }
        self.memory.target
    }
}

impl ScalingPolicy for Ray {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Ticks(self.tick)
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let current = seen.up_or_coming();
        let load = f64::from(seen.queued + seen.in_progress);
        // Workers that were there before it was are its own: it waits as long to let them go.
        if self.memory.load == Steps::default() {
            self.memory.target = current;
        }
        let mean = self.mean_load(seen.now, load);
        let mut reason = ScaleReason::Policy;
        if current == 0 {
            if seen.queued > 0 {
                self.memory.target = self.memory.target.max(ceil(self.up_factor)).max(1);
                reason = ScaleReason::FromZero;
            } else {
                self.memory.target = 0;
            }
            self.memory.wanting = None;
        } else {
            // Bounds are applied by whoever follows the advice; a target beyond them would never be left again.
            self.memory.target = self.memory.target.min(seen.max + seen.extra).max(seen.active);
            let factors = (self.up_factor, self.down_factor);
            let wanted = step(self.memory.target, mean, self.target_ongoing, factors);
            self.target(seen.now, wanted.min(seen.max + seen.extra));
        }
        let workers = self.memory.target;
        if workers < current {
            reason = ScaleReason::LoadFell;
        }
        Advice { workers, surplus: Surplus::StopIdle, reason, ask_again: None }
    }

    fn uses_idle_timeout(&self) -> bool {
        false
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
    use super::*;

    #[test]
    fn steps_are_those_of_ray() {
        assert_eq!(step(2, 13.76, 2.0, (1.0, 1.0)), 7);
        assert_eq!(step(2, 13.76, 2.0, (0.5, 1.0)), 5);
        assert_eq!(step(3, 4.0, 2.0, (1.0, 0.3)), 2, "the rule that frees what is stuck");
        assert_eq!(step(4, 0.0, 2.0, (1.0, 0.5)), 2);
    }

    #[test]
    fn up_after_its_delay_down_after_a_longer_one_to_zero_from_one_only() {
        let mut policy = registry::scaling(&PolicyChoice::named("ray")).expect("it is in the registry");
        let mut changes = Vec::new();
        let mut up = 0;
        for second in 0..2_000_u32 {
            let jobs = if second < 100 { (up / 4, 8 - up / 4) } else { (0, 0) };
            let jobs = if up == 0 && second == 0 { (8, 0) } else { jobs };
            let answer = policy.advise(&seen(f64::from(second), jobs, (up, 0, 0))).workers;
            if answer != up {
                changes.push((second, answer));
                up = answer;
            }
        }
        // From zero at once; 8 ongoing need 4, after 30 s of wanting it; at 108 the mean over 30 s needs only 3,
        // and 600 s later the last answer counts: one, not zero; then zero.
        assert_eq!(changes, [(0, 1), (31, 4), (708, 1), (1_309, 0)]);
    }
}
