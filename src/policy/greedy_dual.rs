//! Greedy-dual keep-alive: idle workers stay until somebody else wants their GPUs; then the least worthy leaves.
//!
//! Formula: worth of an idle worker = clock when it was last used + frequency * D / GPUs. Frequency = idle periods of the endpoint's
//! workers since it was last entirely gone, D = mean start measured (seconds), GPUs of the worker unless `size` says what counts; clock
//! = worth of the latest victim
//! on any host. A start that finds its host full makes idle workers there leave, least worthy first, if that frees enough; an idle
//! timeout of `max_s` still applies where it is not 0. Source: Fuerst and Sharma, ASPLOS 2021 (FaasCache); policies 4. Meant for own GPUs,
//! where idling costs nothing until another endpoint needs the place: billed by the second it is the dearest of all. Does badly on: a
//! fleet that is never full (nobody ever leaves) and on popular endpoints that fall silent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::params::{ParamKind, ParamSpec};
use super::registry::Entry;
use super::{BadPolicyState, IdleEnd, IdleStart, KeepAlivePolicy, WorkerView};
use crate::units::{Span, Time};

pub(super) const GREEDY_DUAL: Entry<dyn KeepAlivePolicy> = Entry {
    name: "greedy_dual",
    summary: "stay until another worker wants the GPUs, then the least worthy idle one leaves (for own GPUs)",
    formula: "clock at last use + frequency * mean start / size; clock = worth of the latest victim",
    source: "Fuerst and Sharma, ASPLOS 2021; policies 4",
    weakness: "billing by the second; a fleet that is never full; popular endpoints that fall silent",
    params: &[
        ParamSpec {
            name: "size",
            kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 0.0 },
            doc: "what a worker occupies (0 = as many as it has GPUs)",
        },
        ParamSpec {
            name: "start_s",
            kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 10.0 },
            doc: "seconds that a start is taken to last before one was measured",
        },
        ParamSpec {
            name: "max_s",
            kind: ParamKind::Number { min: 0.0, max: 31_536_000.0, default: 0.0 },
            doc: "idle seconds after which a worker leaves even if nobody wants its place (0 = never)",
        },
    ],
    build: |params| {
        Box::new(GreedyDual {
            size: params.number("size"),
            start_s: params.number("start_s"),
            max_s: params.number("max_s"),
            clock: 0.0,
            frequency: 0.0,
            cost_s: 0.0,
            used_at: BTreeMap::new(),
            needed: 0,
        })
    },
};

/// See the module.
#[derive(Clone, Debug)]
pub struct GreedyDual {
    size: f64,
    start_s: f64,
    max_s: f64,
    clock: f64,
    frequency: f64,
    cost_s: f64,
    /// The clock when each idle worker was last used, by worker.
    used_at: BTreeMap<u64, f64>,
    needed: u32,
}

impl KeepAlivePolicy for GreedyDual {
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span> {
        self.frequency += 1.0;
        self.cost_s = idle.mean_start.map_or(self.start_s, Span::as_secs);
        self.used_at.insert(idle.worker.id.0, self.clock);
        (self.max_s > 0.0).then(|| Span::from_secs(self.max_s))
    }

    fn learns(&self) -> bool {
        true
    }

    fn idle_ended(&mut self, _: Time, worker: &WorkerView, _: Span, end: IdleEnd) {
        self.used_at.remove(&worker.id.0);
        if end != IdleEnd::Job && self.used_at.is_empty() && self.needed == 0 {
            self.frequency = 0.0;
        }
    }

    fn needed(&mut self, _: Time, workers: u32) {
        self.needed = workers;
    }

    fn worth(&self, worker: &WorkerView) -> Option<f64> {
        let clock = self.used_at.get(&worker.id.0).copied().unwrap_or(self.clock);
        let size = if self.size > 0.0 { self.size } else { f64::from(worker.gpus.max(1)) };
        Some(clock + self.frequency * self.cost_s / size)
    }

    fn made_room(&mut self, worth: f64) {
        self.clock = self.clock.max(worth);
    }

    fn save(&self) -> Value {
        json!([self.clock, self.frequency, self.cost_s, self.used_at.iter().collect::<Vec<_>>(), self.needed])
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let (clock, frequency, cost_s, used_at, needed): (f64, f64, f64, Vec<(u64, f64)>, u32) =
            Deserialize::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        (self.clock, self.frequency, self.cost_s, self.needed) = (clock, frequency, cost_s, needed);
        self.used_at = used_at.into_iter().collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{idle, worker};
    use super::super::{PolicyChoice, registry};
    use super::*;

    #[test]
    fn worth_grows_with_use_and_ages_with_every_victim() {
        let mut policy = registry::keep_alive(&PolicyChoice::named("greedy_dual")).expect("it is in the registry");
        let (one, two) = (worker(1), worker(2));
        assert_eq!(policy.idle_timeout(&idle(&one, 0)), None, "nobody leaves by time");
        policy.idle_timeout(&idle(&two, 1));
        assert_eq!((policy.worth(&one), policy.worth(&two)), (Some(20.0), Some(20.0)));
        // A victim elsewhere ages those who were used before it: the one used afterwards is worth more.
        policy.made_room(7.0);
        policy.idle_ended(Time::ZERO, &two, Span::SECOND, IdleEnd::Job);
        policy.idle_timeout(&idle(&two, 2));
        assert_eq!((policy.worth(&one), policy.worth(&two)), (Some(30.0), Some(37.0)));
        let mut other = registry::keep_alive(&PolicyChoice::named("greedy_dual")).expect("it is in the registry");
        other.load(&policy.save()).expect("its own state");
        assert_eq!(other.worth(&two), Some(37.0));
        // Entirely gone: it begins from nothing.
        policy.idle_ended(Time::ZERO, &one, Span::SECOND, IdleEnd::Stopped);
        policy.idle_ended(Time::ZERO, &two, Span::SECOND, IdleEnd::Stopped);
        policy.idle_timeout(&idle(&one, 3));
        assert_eq!(policy.worth(&one), Some(17.0));
        // Two GPUs are worth half as much each, unless something else counts.
        let wide = WorkerView { gpus: 2, ..one };
        assert_eq!(policy.worth(&wide), Some(12.0));
        let sized = PolicyChoice::named("greedy_dual").with("size", 1.0);
        let mut policy = registry::keep_alive(&sized).expect("it is in the registry");
        policy.idle_timeout(&idle(&wide, 0));
        assert_eq!(policy.worth(&wide), Some(10.0));
    }
}
