//! Kubernetes' horizontal pod autoscaler on jobs per worker, and KEDA's way of putting zero below it.
//!
//! Formula, every `tick_s` of 15 s (L = jobs waiting and in progress, N = workers up or coming): `ratio = L / (target N)`; within
//! `1 +- tolerance` nothing changes, else `ceil(L / target)`; down to the highest proposal of the last 300 s; up by at most
//! `max(+4, x2)` per 15 s. `hpa` keeps `min_workers` up; `keda` goes to zero `cooldown_s` after the last job and looks for the first one
//! every `poll_s` only. Sources: Kubernetes pkg/controller/podautoscaler/horizontal.go, pkg/apis/autoscaling/v2/defaults.go; KEDA
//! pkg/scaling/executor/scale_scaledobjects.go, apis/keda/v1alpha1 (defaults). They do badly on: anything faster than 15 s, and on bursts
//! (five minutes of idling after each).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::signal::ceil;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const TARGET: ParamSpec = ParamSpec {
    name: "jobs_per_worker",
    kind: ParamKind::Number { min: 0.01, max: 100_000.0, default: 1.0 },
    doc: "average of waiting and running jobs per worker that is aimed at",
};
const TOLERANCE: ParamSpec = ParamSpec {
    name: "tolerance",
    kind: ParamKind::Number { min: 0.0, max: 1.0, default: 0.1 },
    doc: "no change while the ratio is within 1 +- this (Kubernetes 0.1)",
};
const DOWN_WINDOW: ParamSpec = ParamSpec {
    name: "down_window_s",
    kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 300.0 },
    doc: "down only to the highest proposal of so many seconds (Kubernetes 300)",
};
const UP_WORKERS: ParamSpec = ParamSpec {
    name: "up_workers",
    kind: ParamKind::Whole { min: 0, max: 100_000, default: 4 },
    doc: "workers that may be added per period, or up_percent where that is more (Kubernetes 4)",
};
const UP_PERCENT: ParamSpec = ParamSpec {
    name: "up_percent",
    kind: ParamKind::Number { min: 0.0, max: 100_000.0, default: 100.0 },
    doc: "percent of the workers that may be added per period (Kubernetes 100)",
};
const UP_PERIOD: ParamSpec = ParamSpec {
    name: "up_period_s",
    kind: ParamKind::Number { min: 1.0, max: 1_800.0, default: 15.0 },
    doc: "that period in seconds (Kubernetes 15)",
};
const TICK: ParamSpec = ParamSpec {
    name: "tick_s",
    kind: ParamKind::Number { min: 1.0, max: 600.0, default: 15.0 },
    doc: "period of decisions in seconds (Kubernetes 15)",
};

pub(super) const HPA: Entry<dyn ScalingPolicy> = Entry {
    name: "hpa",
    summary: "Kubernetes HPA on jobs per worker: proportional, 300 s of caution downwards, never to zero by itself",
    formula: "ceil((Q + P) / jobs_per_worker) outside a tolerance; up by max(+4, x2) per 15 s; down to the maximum over 300 s",
    source: "Kubernetes pkg/controller/podautoscaler/horizontal.go, autoscaling/v2 defaults",
    weakness: "anything faster than 15 s; bursts (five idle minutes after each); nights (does not go to zero)",
    params: &[
        TARGET,
        TOLERANCE,
        DOWN_WINDOW,
        UP_WORKERS,
        UP_PERCENT,
        UP_PERIOD,
        TICK,
        ParamSpec {
            name: "min_workers",
            kind: ParamKind::Whole { min: 0, max: 100_000, default: 1 },
            doc: "workers kept up (Kubernetes 1; 0 = to zero as soon as the window allows)",
        },
    ],
    build: |params| Box::new(Hpa::new(params, params.whole("min_workers"), None)),
};

pub(super) const KEDA: Entry<dyn ScalingPolicy> = Entry {
    name: "keda",
    summary: "KEDA: zero or the HPA, looked at every 30 s, zero again 300 s after the last job",
    formula: "no job for cooldown_s: 0; N = 0 and jobs at a poll: 1; else the HPA's number, at least 1",
    source: "KEDA pkg/scaling/executor/scale_scaledobjects.go, apis/keda/v1alpha1; Kubernetes HPA",
    weakness: "the first job waits for a poll; the cool-down governs only the step to zero, the HPA's window the others; idle \
               workers that were there before it was go at once",
    params: &[
        TARGET,
        TOLERANCE,
        DOWN_WINDOW,
        UP_WORKERS,
        UP_PERCENT,
        UP_PERIOD,
        TICK,
        ParamSpec {
            name: "poll_s",
            kind: ParamKind::Number { min: 1.0, max: 3_600.0, default: 30.0 },
            doc: "seconds between looks at the queue while there is no worker (KEDA 30)",
        },
        ParamSpec {
            name: "cooldown_s",
            kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 300.0 },
            doc: "seconds without jobs before the last worker stops (KEDA 300)",
        },
    ],
    build: |params| {
        let zero = Zero {
            poll: Span::from_secs(params.number("poll_s")),
            cooldown: Span::from_secs(params.number("cooldown_s")),
        };
        Box::new(Hpa::new(params, 0, Some(zero)))
    },
};

/// KEDA's half: when there are no workers at all.
#[derive(Clone, Copy, Debug)]
struct Zero {
    poll: Span,
    cooldown: Span,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Hpa {
    target: f64,
    tolerance: f64,
    down_window: Span,
    up_workers: u32,
    up_percent: f64,
    up_period: Span,
    tick: Span,
    min: u32,
    zero: Option<Zero>,
    memory: Memory,
}

/// What it remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// Proposals of the window, decreasing: the front is their maximum.
    proposals: VecDeque<(Time, u32)>,
    /// Workers added, and when.
    added: VecDeque<(Time, u32)>,
    last_active: Option<Time>,
}

impl Hpa {
    fn new(params: &Params, min: u32, zero: Option<Zero>) -> Hpa {
        Hpa {
            target: params.number("jobs_per_worker"),
            tolerance: params.number("tolerance"),
            down_window: Span::from_secs(params.number("down_window_s")),
            up_workers: params.whole("up_workers"),
            up_percent: params.number("up_percent"),
            up_period: Span::from_secs(params.number("up_period_s")),
            tick: Span::from_secs(params.number("tick_s")),
            min,
            zero,
            memory: Memory::default(),
        }
    }

    fn proposal(&self, load: u32, current: u32) -> u32 {
        let wanted = f64::from(load) / self.target;
        let near = (1.0 - wanted / f64::from(current.max(1))).abs() <= self.tolerance + 1e-9;
        if current > 0 && near { current } else { ceil(wanted) }
    }

    /// Upwards at once, downwards to the highest proposal of the window.
    fn stabilized(&mut self, now: Time, proposal: u32, current: u32) -> u32 {
        let kept = &mut self.memory.proposals;
        while kept.back().is_some_and(|(_, older)| *older <= proposal) {
            kept.pop_back();
        }
        kept.push_back((now, proposal));
        while kept.front().is_some_and(|(at, _)| now.since(*at) > self.down_window) {
            kept.pop_front();
        }
        let highest = kept.front().map_or(proposal, |(_, highest)| *highest);
        if proposal >= current { proposal } else { highest.min(current) }
    }

    /// At most what the rate allows from where the period began.
    fn rate_limited(&mut self, now: Time, wanted: u32, current: u32) -> u32 {
        self.memory.added.retain(|(at, _)| now.since(*at) < self.up_period);
        let added: u32 = self.memory.added.iter().map(|(_, more)| more).sum();
        let start = current.saturating_sub(added);
        let limit = up_limit(start, self.up_workers, self.up_percent).max(current);
        let workers = wanted.min(limit);
        if workers > current {
            self.memory.added.push_back((now, workers - current));
        }
        workers
    }

    /// KEDA's answer where it does not leave it to the HPA: none, none yet (and when to look), the first one.
    fn at_zero(&self, zero: Zero, seen: &Observation<'_>, active: bool) -> Option<(u32, Option<Span>)> {
        let now = seen.now;
        if seen.up_or_coming() > 0 {
            let quiet_for = self.memory.last_active.map_or(zero.cooldown, |last| now.since(last));
            return (!active && quiet_for >= zero.cooldown).then_some((0, None));
        }
        let since_poll = Span(now.0 % zero.poll.0);
        let due = since_poll.is_zero();
        Some(match (active, due) {
            (false, _) => (0, None),
            (true, true) => (1, None),
            (true, false) => (0, Some(zero.poll - since_poll)),
        })
    }
}

/// Where the fleet may grow to from `start` workers within a period: the more generous of the two policies.
fn up_limit(start: u32, workers: u32, percent: f64) -> u32 {
    (start + workers).max(ceil(f64::from(start) * (1.0 + percent / 100.0)))
}

impl ScalingPolicy for Hpa {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Ticks(self.tick)
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let (now, current) = (seen.now, seen.up_or_coming());
        let load = seen.queued + seen.in_progress;
        let active = load > 0;
        if active {
            self.memory.last_active = Some(now);
        }
        let advice = |workers: u32, ask_again| {
            let reason = match workers {
                _ if current == 0 && seen.queued > 0 => ScaleReason::FromZero,
                fewer if fewer < current => ScaleReason::LoadFell,
                _ => ScaleReason::Policy,
            };
            Advice { workers, surplus: Surplus::StopIdle, reason, ask_again }
        };
        if let Some(zero) = self.zero
            && let Some((workers, ask_again)) = self.at_zero(zero, seen, active)
        {
            return advice(workers, ask_again);
        }
        let least = if self.zero.is_some() { 1 } else { self.min };
        let proposal = self.proposal(load, current).max(least);
        let wanted = self.stabilized(now, proposal, current);
        let mut workers = self.rate_limited(now, wanted, current).max(least);
        if self.zero.is_none() && current == 0 && seen.queued > 0 {
            workers = workers.max(1);
        }
        advice(workers, None)
    }

    fn uses_idle_timeout(&self) -> bool {
        false
    }

    fn first_ask(&self) -> Option<Span> {
        (self.min > 0).then_some(Span::ZERO)
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

    fn built(name: &str) -> Box<dyn ScalingPolicy> {
        registry::scaling(&PolicyChoice::named(name)).expect("it is in the registry")
    }

    #[test]
    fn the_limit_upwards_is_that_of_kubernetes() {
        let limits: Vec<u32> = [1, 2, 4, 5, 10, 100].into_iter().map(|start| up_limit(start, 4, 100.0)).collect();
        assert_eq!(limits, [5, 6, 8, 10, 20, 200]);
    }

    #[test]
    fn within_the_tolerance_nothing_changes() {
        let mut policy = built("hpa");
        assert_eq!(policy.advise(&seen(0.0, (0, 11), (0, 10, 0))).workers, 10);
        assert_eq!(policy.advise(&seen(15.0, (2, 10), (0, 10, 0))).workers, 12);
    }

    #[test]
    fn a_dip_shorter_than_the_window_shrinks_nothing() {
        let mut policy = built("hpa");
        for tick in 0..40_u32 {
            let jobs = if tick % 10 == 0 { (0, 8) } else { (0, 1) };
            let answer = policy.advise(&seen(f64::from(tick * 15), jobs, (7, 1, 0))).workers;
            assert_eq!(answer, 8, "tick {tick}");
        }
    }

    #[test]
    fn growth_within_one_period_is_limited_from_where_it_began() {
        let mut policy = built("hpa");
        assert_eq!(policy.advise(&seen(0.0, (100, 2), (0, 2, 0))).workers, 6);
        assert_eq!(policy.advise(&seen(14.0, (100, 2), (0, 2, 4))).workers, 6, "the four are counted");
        assert_eq!(policy.advise(&seen(15.0, (100, 6), (0, 6, 0))).workers, 12);
    }

    #[test]
    fn keda_polls_from_zero_and_cools_down_to_it() {
        let mut policy = built("keda");
        let early = policy.advise(&seen(10.0, (1, 0), (0, 0, 0)));
        assert_eq!((early.workers, early.ask_again), (0, Some(Span::from_whole_secs(20))));
        assert_eq!(policy.advise(&seen(30.0, (1, 0), (0, 0, 0))).workers, 1);
        assert_eq!(policy.advise(&seen(45.0, (0, 1), (0, 1, 0))).workers, 1);
        assert_eq!(policy.advise(&seen(330.0, (0, 0), (1, 0, 0))).workers, 1);
        assert_eq!(policy.advise(&seen(345.0, (0, 0), (1, 0, 0))).workers, 0);
    }
}
