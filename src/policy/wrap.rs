//! Delays, stabilization, rate limits, cool-down, floor and ceiling round any scaling rule.
//!
//! Optional common keys of `scaler:`, beside the rule's own. What the rule wants passes, in this order: **delay** (a change must be
//! wanted for so long) -> **stabilization** (up to the least, down to the most of a window) -> **rate** (so many workers per period) ->
//! **cool-down** (no change so soon after a change) -> **floor** -> **ceiling**. The first worker for a waiting job is never held back.
//! A rule that leaves surplus workers to their idle timeouts wants, when it starts none, as many as are in use; what a stage then
//! holds up is kept from idling out. Nothing that is merely held up is started again after a failure.
//!
//! Sources: Kubernetes HPA behaviour (stabilization, policies per period), Ray Serve (delays; whether the last, the highest or the mean
//! answer of the delay is taken: ray #46497), dstack (cool-down since the last change); autoscalers 12. Delays shorter than the rule's
//! own window make it swing: what they do badly on is traffic that changes faster than they let the fleet follow.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::params::{ParamError, ParamKind, ParamSpec, Params, PolicyChoice};
use super::signal::{Steps, ceil};
use super::starlark::Faults;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScaleReason, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const fn seconds(name: &'static str, doc: &'static str) -> ParamSpec {
    ParamSpec { name, kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 0.0 }, doc }
}

const fn workers(name: &'static str, doc: &'static str) -> ParamSpec {
    ParamSpec { name, kind: ParamKind::Whole { min: 0, max: 1_000_000, default: 0 }, doc }
}

/// The common keys, in the order in which they apply.
pub const PARAMS: &[ParamSpec] = &[
    seconds("delay_up_s", "more workers only after they were wanted for so many seconds on end (0 = at once)"),
    seconds("delay_down_s", "fewer workers only after they were wanted for so many seconds on end (0 = at once)"),
    ParamSpec {
        name: "delay_takes",
        kind: ParamKind::Word { choices: &["last", "max", "mean"], default: "last" },
        doc: "which answer of the delay then counts: the last, the highest, or the mean weighted by time",
    },
    seconds("stabilize_up_s", "more workers only up to the least that was wanted in so many seconds"),
    seconds("stabilize_down_s", "fewer workers only down to the most that was wanted in so many seconds"),
    workers("rate_up", "workers that may be added per rate period (0 = no limit)"),
    workers("rate_down", "workers that may be let go per rate period (0 = no limit)"),
    ParamSpec {
        name: "rate_period_s",
        kind: ParamKind::Number { min: 1.0, max: 86_400.0, default: 60.0 },
        doc: "the rate period in seconds",
    },
    seconds("cooldown_up_s", "no more workers within so many seconds of the last change"),
    seconds("cooldown_down_s", "no fewer workers within so many seconds of the last change"),
    workers("floor", "never fewer workers than this, paid as flex (0 = none)"),
    workers(
        "ceiling",
        "never more workers wanted than this; extra ones that stand in for throttled ones come on top (0 = none)",
    ),
];

/// Common keys apart from the rule's own.
pub(super) fn split(choice: &PolicyChoice) -> (PolicyChoice, PolicyChoice) {
    let (mut own, mut common) = (choice.clone(), choice.clone());
    own.params.retain(|name, _| PARAMS.iter().all(|spec| spec.name != name));
    common.params.retain(|name, _| PARAMS.iter().any(|spec| spec.name == name));
    (own, common)
}

/// `policy` with the common keys of `common` round it; `policy` itself where none differs from its default.
pub(super) fn around(
    policy: Box<dyn ScalingPolicy>,
    common: &PolicyChoice,
) -> Result<Box<dyn ScalingPolicy>, ParamError> {
    if common.params.is_empty() {
        return Ok(policy);
    }
    let params = Params::check(common, PARAMS)?;
    let (floor, ceiling) = (params.whole("floor"), params.whole("ceiling"));
    if ceiling > 0 && floor > ceiling {
        return Err(ParamError::BadValue {
            policy: common.name.clone(),
            param: "floor".to_owned(),
            found: format!("{floor} and its ceiling {ceiling}"),
            allowed: "at most the ceiling".to_owned(),
        });
    }
    let plain = PARAMS
        .iter()
        .all(|spec| params.iter().any(|(name, value)| name == spec.name && *value == spec.kind.default_value()));
    Ok(if plain { policy } else { Box::new(Wrapped { policy, keys: Keys::new(&params), memory: Memory::default() }) })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Takes {
    Last,
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug)]
struct Keys {
    delay_up: Span,
    delay_down: Span,
    takes: Takes,
    stabilize_up: Span,
    stabilize_down: Span,
    rate_up: u32,
    rate_down: u32,
    rate_period: Span,
    cooldown_up: Span,
    cooldown_down: Span,
    floor: u32,
    ceiling: u32,
}

/// A rule and what is round it.
struct Wrapped {
    policy: Box<dyn ScalingPolicy>,
    keys: Keys,
    memory: Memory,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// The number that the delays let through last, and the change that is being waited for.
    passed: Option<u32>,
    pending: Option<Pending>,
    /// What was wanted within the stabilization windows.
    wanted: VecDeque<(Time, u32)>,
    /// Numbers given out within the rate period; the front is the one at its beginning.
    given: VecDeque<(Time, u32)>,
    changed: Option<Time>,
    /// Workers that no idle timeout may go below.
    held: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    up: bool,
    since: Time,
    highest: u32,
    answers: Steps,
}

impl Keys {
    fn new(params: &Params) -> Keys {
        let span = |name| Span::from_secs(params.number(name));
        Keys {
            delay_up: span("delay_up_s"),
            delay_down: span("delay_down_s"),
            takes: match params.word("delay_takes") {
                "max" => Takes::Max,
                "mean" => Takes::Mean,
                _ => Takes::Last,
            },
            stabilize_up: span("stabilize_up_s"),
            stabilize_down: span("stabilize_down_s"),
            rate_up: params.whole("rate_up"),
            rate_down: params.whole("rate_down"),
            rate_period: span("rate_period_s"),
            cooldown_up: span("cooldown_up_s"),
            cooldown_down: span("cooldown_down_s"),
            floor: params.whole("floor"),
            ceiling: params.whole("ceiling"),
        }
    }

    fn holds_down(&self) -> bool {
        let spans = [self.delay_down, self.stabilize_down, self.cooldown_down];
        self.rate_down > 0 || spans.iter().any(|span| !span.is_zero())
    }

    fn delayed(&self, memory: &mut Memory, now: Time, wanted: u32, current: u32) -> u32 {
        let passed = memory.passed.unwrap_or(current);
        if wanted == passed {
            memory.pending = None;
            memory.passed = Some(passed);
            return passed;
        }
        let up = wanted > passed;
        let delay = if up { self.delay_up } else { self.delay_down };
        let fresh = || Pending { up, since: now, highest: wanted, answers: Steps::default() };
        let pending = match &mut memory.pending {
            Some(pending) if pending.up == up => pending,
            other => other.insert(fresh()),
        };
        pending.highest = pending.highest.max(wanted);
        pending.answers.put(now, f64::from(wanted), Span::MAX);
        if now.since(pending.since) < delay {
            memory.passed = Some(passed);
            // What is no longer there is not started again only because it was wanted once.
            return passed.min(current.max(wanted));
        }
        let taken = match self.takes {
            Takes::Last => wanted,
            Takes::Max => pending.highest,
            Takes::Mean => ceil(pending.answers.over(now, Span::MAX).map_or(0.0, |(mean, _, _)| mean)),
        };
        memory.pending = None;
        memory.passed = Some(taken);
        taken
    }

    fn stabilized(&self, memory: &mut Memory, now: Time, wanted: u32, current: u32) -> u32 {
        let longest = self.stabilize_up.max(self.stabilize_down);
        if longest.is_zero() {
            return wanted;
        }
        memory.wanted.retain(|(at, _)| now.since(*at) <= longest);
        memory.wanted.push_back((now, wanted));
        let within = |span: Span| memory.wanted.iter().filter(move |(at, _)| now.since(*at) <= span).map(|(_, n)| *n);
        let least = within(self.stabilize_up).min().unwrap_or(wanted);
        let most = within(self.stabilize_down).max().unwrap_or(wanted);
        if current < least { least } else { current.min(most) }
    }

    fn rate_limited(&self, memory: &mut Memory, now: Time, wanted: u32, current: u32) -> u32 {
        if memory.given.is_empty() {
            memory.given.push_back((Time::ZERO, current));
        }
        while memory.given.get(1).is_some_and(|(at, _)| now.since(*at) >= self.rate_period) {
            memory.given.pop_front();
        }
        let began = memory.given.front().map_or(current, |(_, given)| *given);
        let most = if self.rate_up > 0 { began.saturating_add(self.rate_up) } else { u32::MAX };
        let least = if self.rate_down > 0 { began.saturating_sub(self.rate_down) } else { 0 };
        wanted.clamp(least.min(current.max(wanted)), most)
    }

    fn cooled_down(&self, memory: &Memory, now: Time, wanted: u32) -> u32 {
        let (Some(changed), Some((_, given))) = (memory.changed, memory.given.back()) else { return wanted };
        let passed = now.since(changed);
        match wanted.cmp(given) {
            std::cmp::Ordering::Greater if passed < self.cooldown_up => *given,
            std::cmp::Ordering::Less if passed < self.cooldown_down => *given,
            _ => wanted,
        }
    }

    fn bounded(&self, wanted: u32) -> u32 {
        let most = if self.ceiling > 0 { self.ceiling } else { u32::MAX };
        wanted.max(self.floor).min(most)
    }
}

impl ScalingPolicy for Wrapped {
    fn asked_at(&self) -> AskedAt {
        self.policy.asked_at()
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let advice = self.policy.advise(seen);
        let (now, current) = (seen.now, seen.up_or_coming());
        let leaves = advice.surplus == Surplus::KeepAlive && advice.workers <= current;
        let wanted = if leaves { advice.workers.min(current - seen.idle.min(current)) } else { advice.workers };
        let (keys, memory) = (self.keys, &mut self.memory);
        let mut workers = keys.delayed(memory, now, wanted, current);
        workers = keys.stabilized(memory, now, workers, current);
        workers = keys.rate_limited(memory, now, workers, current);
        workers = keys.cooled_down(memory, now, workers);
        if current == 0 && seen.queued > 0 && wanted > 0 {
            workers = workers.max(1);
        }
        workers = keys.bounded(workers);
        if memory.given.back().is_none_or(|(_, given)| *given != workers) {
            memory.given.push_back((now, workers));
            memory.changed = Some(now);
        }
        memory.held = if keys.holds_down() { workers } else { keys.bounded(0) };
        // Something is being held back or up: look again when that may have changed, even if nothing happens by then. A rule
        // that is asked at jobs only would hold for ever what it held when the last one came.
        let held_back = workers != wanted && workers != keys.bounded(wanted);
        let ticks = matches!(self.policy.asked_at(), AskedAt::Ticks(_));
        let held_up = !ticks && memory.held > keys.bounded(self.policy.floor());
        let soon = (held_back || held_up).then_some(Span::SECOND);
        let ask_again = [advice.ask_again, soon].into_iter().flatten().min();
        let reason = if workers > advice.workers { ScaleReason::Policy } else { advice.reason };
        Advice { workers, ask_again, reason, ..advice }
    }

    fn uses_idle_timeout(&self) -> bool {
        self.policy.uses_idle_timeout()
    }

    fn floor(&self) -> u32 {
        self.keys.bounded(self.policy.floor()).max(self.memory.held)
    }

    fn faults(&self) -> Option<&Faults> {
        self.policy.faults()
    }

    fn first_ask(&self) -> Option<Span> {
        if self.keys.floor > 0 { Some(Span::ZERO) } else { self.policy.first_ask() }
    }

    fn save(&self) -> Value {
        json!({ "policy": self.policy.save(), "round": self.memory })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let part = |name| state.get(name).ok_or_else(|| BadPolicyState(format!("it has no `{name}`")));
        self.policy.load(part("policy")?)?;
        self.memory = Memory::deserialize(part("round")?).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
