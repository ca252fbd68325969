//! Knative's pod autoscaler (KPA): mean concurrency over a long and a short window, divided by a target; a panic that never scales
//! down.
//!
//! Formula, every `tick_s` (L = jobs waiting and in progress, R = workers up, target = utilization x jobs per worker):
//! `want = ceil(mean L / target)` within `[floor(R / max_scale_down_rate), ceil(max_scale_up_rate R)]`, for 60 s and for 6 s; when the
//! short one asks for twice R, panic: the highest of all answers until it has been calm for the stable window. Zero only after
//! `zero_grace_s` of it. Source: Knative serving, pkg/autoscaler/scaling/autoscaler.go and config/core/configmaps/autoscaler.yaml
//! (defaults); the sum of Q and P is told exactly here, not sampled. Does badly on: starts longer than the window (what is starting
//! is not counted as capacity, the deficit is answered with panic) and bursts a minute apart (each pays the window at the end).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::signal::{Buckets, ceil};
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "target_concurrency",
        kind: ParamKind::Number { min: 0.0, max: 100_000.0, default: 0.0 },
        doc: "jobs per worker at full use; 0 = the endpoint's concurrency",
    },
    ParamSpec {
        name: "utilization",
        kind: ParamKind::Number { min: 0.01, max: 1.0, default: 0.7 },
        doc: "share of it that is aimed at (Knative 0.7: one busy worker already asks for a second)",
    },
    ParamSpec {
        name: "stable_window_s",
        kind: ParamKind::Number { min: 6.0, max: 3_600.0, default: 60.0 },
        doc: "seconds of the long window (Knative 60)",
    },
    ParamSpec {
        name: "panic_window_percentage",
        kind: ParamKind::Number { min: 1.0, max: 100.0, default: 10.0 },
        doc: "the short window, in percent of the long one (Knative 10)",
    },
    ParamSpec {
        name: "panic_threshold_percentage",
        kind: ParamKind::Number { min: 110.0, max: 1_000.0, default: 200.0 },
        doc: "panic when the short window asks for so many percent of the workers up (Knative 200)",
    },
    ParamSpec {
        name: "max_scale_up_rate",
        kind: ParamKind::Number { min: 1.01, max: 1_000_000.0, default: 1_000.0 },
        doc: "at most so many times the workers up, each tick (Knative 1000)",
    },
    ParamSpec {
        name: "max_scale_down_rate",
        kind: ParamKind::Number { min: 1.01, max: 1_000_000.0, default: 2.0 },
        doc: "at least the workers up divided by this, each tick (Knative 2)",
    },
    ParamSpec {
        name: "zero_grace_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 30.0 },
        doc: "seconds for which zero must have been wanted before the last worker stops (Knative 30)",
    },
    ParamSpec {
        name: "tick_s",
        kind: ParamKind::Number { min: 1.0, max: 600.0, default: 2.0 },
        doc: "period of decisions in seconds (Knative 2); load is measured every second",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "knative",
    summary: "Knative KPA: mean concurrency over 60 s (6 s in panic) against 70 % of what workers take",
    formula: "ceil(mean(Q + P) / (utilization * concurrency)), rate-limited; panic at 200 %; zero after a grace",
    source: "Knative serving, pkg/autoscaler/scaling/autoscaler.go; its defaults",
    weakness: "starts longer than the window; bursts that each pay for a window of idling; workers that were there before it \
               was (half of them go at once)",
    params: PARAMS,
    build: |params| Box::new(Knative::new(params)),
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Knative {
    rule: Rule,
    target_concurrency: f64,
    utilization: f64,
    stable_s: u64,
    panic_s: u64,
    zero_grace: Span,
    tick: Span,
    memory: Memory,
}

/// The part of the rule that sees only numbers.
#[derive(Clone, Copy, Debug)]
struct Rule {
    threshold: f64,
    up_rate: f64,
    down_rate: f64,
    stable: Span,
}

/// What it remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    load: Buckets,
    panic: Panic,
    decided: Option<(Time, u32)>,
    zero_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Panic {
    since: Option<Time>,
    peak: u32,
}

impl Rule {
    /// The number wanted, for the means over both windows and `up` workers up.
    fn decide(&self, panic: &mut Panic, now: Time, means: (f64, f64), target: f64, up: u32) -> u32 {
        let ready = f64::from(up.max(1));
        let most = ceil(self.up_rate * ready);
        let least = (ready / self.down_rate).floor() as u32;
        let (want_stable, want_panic) = (ceil(means.0 / target), ceil(means.1 / target));
        let stable = want_stable.max(least).min(most);
        let short = want_panic.max(least).min(most);
        if f64::from(want_panic) / ready >= self.threshold {
            panic.since = Some(now);
        } else if panic.since.is_some_and(|since| now.since(since) > self.stable) {
            *panic = Panic::default();
        }
        if panic.since.is_none() {
            return stable;
        }
        panic.peak = panic.peak.max(stable).max(short);
        panic.peak
    }
}

impl Knative {
    fn new(params: &Params) -> Knative {
        let stable_s = params.number("stable_window_s").round();
        Knative {
            rule: Rule {
                threshold: params.number("panic_threshold_percentage") / 100.0,
                up_rate: params.number("max_scale_up_rate"),
                down_rate: params.number("max_scale_down_rate"),
                stable: Span::from_secs(stable_s),
            },
            target_concurrency: params.number("target_concurrency"),
            utilization: params.number("utilization"),
            stable_s: stable_s as u64,
            panic_s: (stable_s * params.number("panic_window_percentage") / 100.0).round().max(1.0) as u64,
            zero_grace: Span::from_secs(params.number("zero_grace_s")),
            tick: Span::from_secs(params.number("tick_s")),
            memory: Memory::default(),
        }
    }

    fn target(&self, concurrency: u32) -> f64 {
        let concurrency = f64::from(concurrency);
        let total = if self.target_concurrency > 0.0 { self.target_concurrency.min(concurrency) } else { concurrency };
        (total * self.utilization).max(0.01)
    }

    /// Zero is held back at one worker until it has been wanted for the grace.
    fn after_grace(&mut self, now: Time, wanted: u32, current: u32) -> u32 {
        if wanted > 0 || current == 0 {
            self.memory.zero_since = None;
            return wanted;
        }
        let since = *self.memory.zero_since.get_or_insert(now);
        u32::from(now.since(since) < self.zero_grace)
    }
}

impl ScalingPolicy for Knative {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Ticks(Span::SECOND)
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let now = seen.now;
        let load = f64::from(seen.queued + seen.in_progress);
        self.memory.load.put(now, load, self.stable_s);
        let current = seen.up_or_coming();
        let from_zero = current == 0 && seen.queued > 0;
        let workers = match self.memory.decided {
            Some((at, workers)) if now.since(at) < self.tick && !from_zero => workers,
            _ => {
                let mean = |window| self.memory.load.mean(now, window).unwrap_or(load);
                let means = (mean(self.stable_s), mean(self.panic_s));
                let target = self.target(seen.concurrency);
                let up = seen.idle + seen.busy;
                let wanted = self.rule.decide(&mut self.memory.panic, now, means, target, up);
                let wanted = self.after_grace(now, wanted.max(u32::from(from_zero)), current);
                self.memory.decided = Some((now, wanted));
                wanted
            }
        };
        let reason = if from_zero {
            ScaleReason::FromZero
        } else if workers < current {
            ScaleReason::LoadFell
        } else {
            ScaleReason::Policy
        };
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

    const RULE: Rule = Rule { threshold: 2.0, up_rate: 1_000.0, down_rate: 2.0, stable: Span::from_whole_secs(60) };

    #[test]
    fn the_rule_answers_as_knative_does() {
        // (stable mean, panic mean, target, ready) -> (desired, panics). 21 / 0.7 is 30 here; Go's quotient is a hair more: 31.
        for (means, target, up, wanted, panics) in [
            ((7.0, 7.0), 0.7, 10, 10, false),
            ((0.0, 0.0), 0.7, 10, 5, false),
            ((3.5, 21.0), 0.7, 5, 30, true),
            ((3.5, 21.5), 0.7, 5, 31, true),
            ((35.0, 35.0), 0.7, 1, 50, true),
            ((0.0, 0.0), 70.0, 1, 0, false),
        ] {
            let mut panic = Panic::default();
            assert_eq!(RULE.decide(&mut panic, Time::ZERO, means, target, up), wanted, "{means:?}");
            assert_eq!(panic.since.is_some(), panics, "{means:?}");
        }
    }

    #[test]
    fn without_load_the_fleet_halves_at_every_tick() {
        let mut panic = Panic::default();
        let mut up = 10;
        let mut series = Vec::new();
        while up > 0 {
            up = RULE.decide(&mut panic, Time::ZERO, (0.0, 0.0), 0.7, up);
            series.push(up);
        }
        assert_eq!(series, [5, 2, 1, 0]);
    }

    #[test]
    fn a_panic_holds_its_peak_for_a_stable_window() {
        let mut panic = Panic::default();
        let at = |second: u32| Time::from_secs(f64::from(second));
        assert_eq!(RULE.decide(&mut panic, at(0), (10.0, 30.0), 1.0, 10), 30);
        assert_eq!(RULE.decide(&mut panic, at(60), (2.0, 2.0), 1.0, 30), 30, "never down in panic");
        assert_eq!(RULE.decide(&mut panic, at(62), (2.0, 2.0), 1.0, 30), 15, "then down by half");
    }

    #[test]
    fn the_last_worker_stays_for_the_window_and_the_grace() {
        let mut policy = registry::scaling(&PolicyChoice::named("knative")).expect("it is in the registry");
        let mut last_up = 0;
        for second in 0..300 {
            let jobs = if second < 120 { (0, 1) } else { (0, 0) };
            if policy.advise(&seen(f64::from(second), jobs, (0, 1, 0))).workers > 0 {
                last_up = second;
            }
        }
        // The last job is seen at 119; the mean over 60 s is zero from 179 on, and the grace is 30 s.
        assert!((205..=212).contains(&last_up), "{last_up}");
    }
}
