//! Rules in proportion to the load: target utilization, in-flight with a buffer, and draining a backlog in a given time.
//!
//! L = jobs waiting and in progress, c = jobs per worker at once, S = mean service time measured, lam = arrival rate measured.
//! - `target_utilization`: `ceil(L / (c u*))` for the load averaged with a half-life, and at least what waits now; up by at most
//!   `max(+4, x2)` per 15 s, down to the highest answer of `down_window_s`. Source: Knative's target, Kubernetes' behaviour; policies 1.5.
//! - `inflight`: `ceil(L / (c share)) + buffer`, the buffer only while there are jobs; down by the idle timeout, with a buffer not below
//!   the highest answer of `buffer_s`: a buffer that idles out between two jobs is started again at the next. Source: beta9
//!   pkg/abstractions/endpoint/autoscaler.go, Modal's guide "Scaling out"; autoscalers 8.
//! - `backlog_drain`: `ceil(lam S / c + Q S / (c drain_s))`, the steady load and what empties the queue in `drain_s`; down by the idle
//!   timeout. Source: policies 1.6.
//!
//! They do badly on: starts that take longer than jobs (all of them answer a queue with workers that come too late), and on service
//! times that vary a lot (`backlog_drain` knows the mean only).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::queue_delay::tick;
use super::registry::Entry;
use super::signal::{Load, ceil};
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const TICK: ParamSpec = ParamSpec {
    name: "tick_s",
    kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 1.0 },
    doc: "period of the check in seconds; 0 = at every event",
};

pub(super) const TARGET_UTILIZATION: Entry<dyn ScalingPolicy> = Entry {
    name: "target_utilization",
    summary: "target tracking: keep workers busy for a given share of the time",
    formula: "max(ceil(mean L / (c utilization)), ceil(L / c)); up by max(+4, x2) per 15 s, down to the maximum of down_window_s",
    source: "Knative's target, Kubernetes' behaviour; policies 1.5",
    weakness: "bursts shorter than a start; pays for a whole window after each",
    params: &[
        ParamSpec {
            name: "utilization",
            kind: ParamKind::Number { min: 0.01, max: 1.0, default: 0.7 },
            doc: "share of the workers' places that is aimed at (Knative 0.7)",
        },
        ParamSpec {
            name: "half_life_s",
            kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 30.0 },
            doc: "seconds after which an old load counts half (0 = only the present counts)",
        },
        ParamSpec {
            name: "down_window_s",
            kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 300.0 },
            doc: "down only to the highest answer of so many seconds (Kubernetes 300)",
        },
        TICK,
    ],
    build: |params| Box::new(TargetUtilization::new(params)),
};

pub(super) const INFLIGHT: Entry<dyn ScalingPolicy> = Entry {
    name: "inflight",
    summary: "as many workers as jobs need, and a few more while there are jobs",
    formula: "ceil((Q + P) / (c fill)) + (buffer if Q + P > 0); down by the idle timeout",
    source: "beta9 pkg/abstractions/endpoint/autoscaler.go; Modal guide, Scaling out; autoscalers 8",
    weakness: "short jobs with long starts (starts a worker for a wait of moments); the buffer is paid day and night",
    params: &[
        ParamSpec {
            name: "buffer",
            kind: ParamKind::Whole { min: 0, max: 100_000, default: 0 },
            doc: "idle workers kept ready while the endpoint has jobs (Modal buffer_containers)",
        },
        ParamSpec {
            name: "buffer_s",
            kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 60.0 },
            doc: "seconds for which a buffer and what it stood beside are kept from idling out (Modal scaledown_window 60)",
        },
        ParamSpec {
            name: "fill",
            kind: ParamKind::Number { min: 0.01, max: 100.0, default: 1.0 },
            doc: "jobs per place of a worker: below 1 spare places, above 1 a queue (beta9 tasks_per_container / c)",
        },
        TICK,
    ],
    build: |params| {
        Box::new(Inflight {
            buffer: params.whole("buffer"),
            fill: params.number("fill"),
            asked_at: tick(params.number("tick_s")),
            kept: Span::from_secs(params.number("buffer_s")),
            recent: VecDeque::new(),
        })
    },
};

pub(super) const BACKLOG_DRAIN: Entry<dyn ScalingPolicy> = Entry {
    name: "backlog_drain",
    summary: "the steady load, and what empties the queue in a given time",
    formula: "ceil(lam S / c + Q S / (c drain_s)) while jobs wait; down by the idle timeout",
    source: "policies 1.6",
    weakness: "service times that vary a lot; starts longer than drain_s",
    params: &[
        ParamSpec {
            name: "drain_s",
            kind: ParamKind::Number { min: 0.1, max: 86_400.0, default: 30.0 },
            doc: "seconds in which the queue is to be empty: the wait that is bearable",
        },
        ParamSpec {
            name: "half_life_s",
            kind: ParamKind::Number { min: 1.0, max: 86_400.0, default: 60.0 },
            doc: "seconds after which an old arrival counts half",
        },
        ParamSpec {
            name: "service_s",
            kind: ParamKind::Number { min: 0.001, max: 86_400.0, default: 10.0 },
            doc: "seconds that a job is taken to last before one has ended",
        },
        TICK,
    ],
    build: |params| {
        Box::new(BacklogDrain {
            drain_s: params.number("drain_s"),
            half_life_s: params.number("half_life_s"),
            service_s: params.number("service_s"),
            asked_at: tick(params.number("tick_s")),
            load: Load::default(),
        })
    },
};

/// See the module.
#[derive(Clone, Debug)]
pub struct TargetUtilization {
    utilization: f64,
    half_life_s: f64,
    down_window: Span,
    asked_at: AskedAt,
    memory: Tracked,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tracked {
    at: Time,
    mean: f64,
    answers: VecDeque<(Time, u32)>,
    added: VecDeque<(Time, u32)>,
}

impl TargetUtilization {
    fn new(params: &Params) -> TargetUtilization {
        TargetUtilization {
            utilization: params.number("utilization"),
            half_life_s: params.number("half_life_s"),
            down_window: Span::from_secs(params.number("down_window_s")),
            asked_at: tick(params.number("tick_s")),
            memory: Tracked::default(),
        }
    }

    /// Up by at most `max(+4, x2)` of what there was 15 s ago.
    fn rate_limited(&mut self, now: Time, wanted: u32, current: u32) -> u32 {
        const PERIOD: Span = Span::from_whole_secs(15);
        let added = &mut self.memory.added;
        added.retain(|(at, _)| now.since(*at) < PERIOD);
        let start = current.saturating_sub(added.iter().map(|(_, more)| more).sum());
        let workers = wanted.min((start + 4).max(start * 2).max(current));
        if workers > current {
            added.push_back((now, workers - current));
        }
        workers
    }
}

impl ScalingPolicy for TargetUtilization {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let (now, current) = (seen.now, seen.up_or_coming());
        let load = f64::from(seen.queued + seen.in_progress);
        let places = f64::from(seen.concurrency.max(1));
        let keep = if self.half_life_s > 0.0 {
            libm::exp2(-now.since(self.memory.at).as_secs() / self.half_life_s)
        } else {
            0.0
        };
        self.memory.mean = self.memory.mean * keep + load * (1.0 - keep);
        self.memory.at = now;
        // What is here now must be served whatever the mean says; the spare places are for what usually comes.
        let mean = if load == 0.0 && self.memory.mean < 0.05 { 0.0 } else { self.memory.mean };
        let wanted = ceil(mean / (places * self.utilization)).max(ceil(load / places));
        let answers = &mut self.memory.answers;
        // Asked for the first time it knows nothing of the time before, which made the workers that are there.
        if answers.is_empty() {
            answers.push_back((now, current));
        }
        while answers.back().is_some_and(|(_, older)| *older <= wanted) {
            answers.pop_back();
        }
        answers.push_back((now, wanted));
        while answers.front().is_some_and(|(at, _)| now.since(*at) > self.down_window) {
            answers.pop_front();
        }
        let held = answers.front().map_or(wanted, |(_, most)| *most).min(current);
        let workers = self.rate_limited(now, wanted.max(held), current);
        let reason = if workers < current { ScaleReason::LoadFell } else { ScaleReason::Policy };
        let ask_again = (self.asked_at == AskedAt::Events && workers > 0).then_some(Span::SECOND);
        Advice { workers, surplus: Surplus::StopIdle, reason, ask_again }
    }

    fn uses_idle_timeout(&self) -> bool {
        false
    }

    fn save(&self) -> Value {
        json!(self.memory)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.memory = Tracked::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Inflight {
    buffer: u32,
    fill: f64,
    asked_at: AskedAt,
    kept: Span,
    /// Answers of the last `kept` where there is a buffer, decreasing: the front is the highest.
    recent: VecDeque<(Time, u32)>,
}

impl ScalingPolicy for Inflight {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let load = seen.queued + seen.in_progress;
        let current = seen.up_or_coming();
        let needed = ceil(f64::from(load) / (f64::from(seen.concurrency.max(1)) * self.fill));
        let workers = if load > 0 { needed.saturating_add(self.buffer) } else { 0 };
        if self.buffer > 0 {
            while self.recent.back().is_some_and(|(_, older)| *older <= workers) {
                self.recent.pop_back();
            }
            self.recent.push_back((seen.now, workers));
            while self.recent.front().is_some_and(|(at, _)| seen.now.since(*at) > self.kept) {
                self.recent.pop_front();
            }
        }
        let reason = if current == 0 { ScaleReason::FromZero } else { ScaleReason::Policy };
        // Asked at events, it must look again to see the end of what it keeps.
        let ask_again = (self.asked_at == AskedAt::Events && self.floor() > 0).then_some(Span::SECOND);
        Advice { workers: workers.max(current), surplus: Surplus::KeepAlive, reason, ask_again }
    }

    fn floor(&self) -> u32 {
        self.recent.front().map_or(0, |(_, highest)| *highest)
    }

    fn save(&self) -> Value {
        json!(self.recent)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        // Without a buffer there was nothing to remember, and null was saved.
        let recent: Option<VecDeque<(Time, u32)>> =
            Deserialize::deserialize(state).map_err(|error: serde_json::Error| BadPolicyState(error.to_string()))?;
        self.recent = recent.unwrap_or_default();
        Ok(())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct BacklogDrain {
    drain_s: f64,
    half_life_s: f64,
    service_s: f64,
    asked_at: AskedAt,
    load: Load,
}

impl ScalingPolicy for BacklogDrain {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        self.load.see(seen, self.half_life_s);
        let current = seen.up_or_coming();
        let places = f64::from(seen.concurrency.max(1));
        let service_s = self.load.service_s(self.service_s);
        let wanted = (self.load.rate() + f64::from(seen.queued) / self.drain_s) * service_s / places;
        // More workers than jobs have nothing to do.
        let most = (seen.queued + seen.in_progress).div_ceil(seen.concurrency.max(1));
        let workers = if seen.queued > 0 { ceil(wanted).min(most).max(1) } else { 0 };
        let reason = if current == 0 { ScaleReason::FromZero } else { ScaleReason::Policy };
        Advice { workers: workers.max(current), surplus: Surplus::KeepAlive, reason, ask_again: None }
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
    use super::super::testing::seen;
    use super::super::{PolicyChoice, registry};
    use super::*;

    fn built(choice: PolicyChoice) -> Box<dyn ScalingPolicy> {
        registry::scaling(&choice).expect("it is in the registry")
    }

    #[test]
    fn target_utilization_settles_at_the_load_over_the_target() {
        let mut policy = built(PolicyChoice::named("target_utilization"));
        let mut up = 0;
        for second in 0..600 {
            up = policy.advise(&seen(f64::from(second), (0, 7), (up, 0, 0))).workers;
        }
        assert_eq!(up, 10);
        for second in 600..1_300 {
            up = policy.advise(&seen(f64::from(second), (0, 0), (up, 0, 0))).workers;
        }
        assert_eq!(up, 0, "without load it lets go of everything");
    }

    #[test]
    fn inflight_adds_its_buffer_only_while_there_are_jobs() {
        let mut policy = built(PolicyChoice::named("inflight").with("buffer", 2.0));
        assert_eq!(policy.advise(&seen(0.0, (1, 2), (0, 2, 0))).workers, 5);
        assert_eq!(policy.floor(), 5, "the buffer does not idle out while there are jobs");
        assert_eq!(policy.advise(&seen(1.0, (0, 0), (0, 0, 0))).workers, 0);
        assert_eq!(policy.floor(), 5, "and not in a gap between two of them");
        policy.advise(&seen(61.0, (0, 0), (5, 0, 0)));
        assert_eq!(policy.floor(), 0);
        let mut full = built(PolicyChoice::named("inflight").with("fill", 4.0));
        assert_eq!(full.advise(&seen(0.0, (9, 0), (0, 0, 0))).workers, 3);
    }

    #[test]
    fn backlog_drain_asks_for_what_empties_the_queue_in_time() {
        let mut policy = built(PolicyChoice::named("backlog_drain").with("drain_s", 10.0));
        policy.advise(&seen(0.0, (0, 0), (0, 0, 0)));
        // 60 wait, 5 s each, 10 s: 30 workers for the queue, none for a rate that is still unknown.
        let mut later = seen(1.0, (60, 0), (0, 0, 0));
        later.arrived = 100;
        let answer = policy.advise(&later).workers;
        assert!((30..=60).contains(&answer), "{answer}");
    }
}
