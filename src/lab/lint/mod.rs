//! What a policy does in situations whose right answer is plain, seen from outside: the same checks for the policies of the
//! registry and for files of users.
//!
//! The properties and their numbers are those that the autoscalers in use are known to break: Knative #13075, KEDA #2900,
//! AIBrix #2670, Dynamo #14251 and others. A property that fails is a fact about the policy and not always a mistake: a fixed number
//! of workers does not go to the minimum.

mod properties;
mod world;

use serde::Serialize;

use crate::policy::{KeepAlivePolicy, ScalingPolicy};

/// What became of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Seen to hold.
    Holds,
    /// Seen to fail.
    Fails,
    /// Cannot be told from outside.
    NotJudged,
}

/// One property of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `P1` to `P10` of a scaling policy, `K1` to `K4` of a keep-alive policy.
    pub id: &'static str,
    /// What it says.
    pub property: &'static str,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was seen: the counter-example of one that fails.
    pub seen: String,
}

/// Builds the policy that is judged, anew for each situation.
pub type Make<'a, T> = &'a dyn Fn() -> Box<T>;

/// Judges a scaling policy.
pub fn scaling(make: Make<'_, dyn ScalingPolicy>) -> Vec<Verdict> {
    properties::scaling(make)
}

/// Judges a keep-alive policy.
pub fn keep_alive(make: Make<'_, dyn KeepAlivePolicy>) -> Vec<Verdict> {
    properties::keep_alive(make)
}

/// Asks a scaling policy about a busy day, second by second; gives how many answers there were. For whoever owns a clock.
pub fn busy_day(policy: &mut dyn ScalingPolicy) -> u64 {
    properties::busy_day(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::{Advice, AskedAt, BadPolicyState, Observation, PolicyChoice, ScaleReason, Surplus, registry};
    use crate::units::Span;

    fn verdicts(choice: &PolicyChoice) -> Vec<Verdict> {
        scaling(&|| registry::scaling(choice).expect("it is in the registry"))
    }

    fn failing(choice: &PolicyChoice) -> Vec<&'static str> {
        let all = verdicts(choice);
        all.iter().filter(|verdict| verdict.outcome == Outcome::Fails).map(|verdict| verdict.id).collect()
    }

    #[test]
    fn the_platforms_own_scalers_keep_what_can_be_seen_of_them() {
        assert_eq!(failing(&PolicyChoice::named("queue_delay")), [""; 0]);
        // It calls starts off when the queue is short for a moment, and asks for them again: with starts of 10 min for ever. Without a
        // delay it stops what is idle as soon as it is asked.
        assert_eq!(failing(&PolicyChoice::named("request_count")), ["P5", "P9"]);
    }

    /// Each of the registry with what it is known to break; its entry says so.
    #[test]
    fn the_policies_of_the_registry_break_what_they_are_known_to_break() {
        let known = |name: &str| -> &[&str] {
            match name {
                // One worker for ever is neither none without load nor enough for any.
                "fixed" => &["P4", "P5", "P9"],
                // A minimum of one, as Kubernetes has it.
                "hpa" => &["P4", "P9"],
                "request_count" => &["P5", "P9"],
                // They bring workers down by what they have seen of the load, and have seen none.
                "knative" | "keda" | "erlang_slo" | "sqrt_staffing" => &["P9"],
                // 30 s of looking back against starts of 10 min.
                "ray" => &["P5"],
                // A start that takes longer than any before is a start that may have failed: it tries one beside it.
                "slo_cost" => &["P7"],
                _ => &[],
            }
        };
        let mut wrong = Vec::new();
        for entry in registry::SCALING {
            let all = verdicts(&PolicyChoice::named(entry.name));
            let fails: Vec<&Verdict> = all.iter().filter(|verdict| verdict.outcome == Outcome::Fails).collect();
            if fails.iter().map(|verdict| verdict.id).ne(known(entry.name).iter().copied()) {
                wrong.push(format!("{}: {fails:?}", entry.name));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// A rule of one line; what it keeps is a moment.
    #[derive(Clone, Copy)]
    struct Rule {
        asked_at: AskedAt,
        floor: u32,
        first_ask: Option<Span>,
        since: Option<f64>,
        workers: fn(&Observation<'_>, &mut Option<f64>) -> u32,
        surplus: Surplus,
    }

    impl ScalingPolicy for Rule {
        fn asked_at(&self) -> AskedAt {
            self.asked_at
        }

        fn advise(&mut self, seen: &Observation<'_>) -> Advice {
            let workers = (self.workers)(seen, &mut self.since);
            Advice { workers, surplus: self.surplus, reason: ScaleReason::Policy, ask_again: None }
        }

        fn floor(&self) -> u32 {
            self.floor
        }

        fn first_ask(&self) -> Option<Span> {
            self.first_ask
        }

        fn save(&self) -> Value {
            json!(self.since)
        }

        fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
            self.since = state.as_f64();
            Ok(())
        }
    }

    fn load(seen: &Observation<'_>) -> u32 {
        seen.queued + seen.in_progress
    }

    /// It remembers one dip, and lets go of half of its workers five minutes later.
    fn resentful(seen: &Observation<'_>, dip: &mut Option<f64>) -> u32 {
        let now = seen.now.as_secs();
        if seen.ended > 20 && load(seen) <= 2 {
            dip.get_or_insert(now);
        }
        match dip {
            Some(at) if now >= *at + 300.0 => 4 * u32::from(load(seen) > 0),
            _ => 8 * u32::from(seen.arrived > 0),
        }
    }

    #[test]
    fn what_looks_well_for_a_moment_only_is_found_out() {
        let plain = Rule {
            asked_at: AskedAt::Ticks(Span::SECOND),
            floor: 0,
            first_ask: None,
            since: None,
            workers: |seen, _| load(seen),
            surplus: Surplus::KeepAlive,
        };
        let slow = AskedAt::Ticks(Span::from_whole_secs(10));
        for (what, rule, id) in [
            ("never a worker, every 10 s", Rule { asked_at: slow, workers: |_, _| 0, ..plain }, "P3"),
            ("one worker whatever waits", Rule { workers: |seen, _| u32::from(load(seen) > 0), ..plain }, "P5"),
            (
                "a spare one that idles out and is started again",
                Rule { workers: |seen, _| if load(seen) > 0 { load(seen) + 1 } else { 0 }, ..plain },
                "P5",
            ),
            (
                "fewer from 60 jobs in progress on",
                Rule { workers: |seen, _| if seen.in_progress < 60 { load(seen) } else { 1 }, ..plain },
                "P6",
            ),
            ("half as many after a dip", Rule { workers: resentful, surplus: Surplus::StopIdle, ..plain }, "P8"),
            ("stops what is there before the first job", Rule { surplus: Surplus::StopIdle, ..plain }, "P9"),
            // A floor holds idle workers, and a first question starts them: seen as the scheduler sees them.
            (
                "three workers from the beginning on",
                Rule { floor: 3, first_ask: Some(Span::ZERO), workers: |_, _| 3, ..plain },
                "P4",
            ),
        ] {
            let all = scaling(&|| Box::new(rule));
            let verdict = all.iter().find(|verdict| verdict.id == id).expect("each is judged");
            assert_eq!(verdict.outcome, Outcome::Fails, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn a_fixed_number_of_workers_does_not_go_to_the_minimum() {
        assert!(failing(&PolicyChoice::named("fixed").with("workers", 3.0)).contains(&"P4"));
    }

    #[test]
    fn a_rule_that_forgets_what_it_asked_for_is_found_out() {
        let text = "def advise(obs, state, params):\n    return obs.up + obs.queued\n";
        let choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("greedy.star") };
        let found = failing(&choice);
        assert!(found.contains(&"P7"), "it asks again each second for what is on its way: {found:?}");
        let text = "def advise(obs, state, params):\n    return {\"workers\": 0, \"surplus\": \"stop_idle\"}\n";
        let choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("lazy.star") };
        assert!(failing(&choice).contains(&"P3"));
        let text = "def advise(obs, state, params):\n    return max(0, 9 - obs.queued)\n";
        let choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("backwards.star") };
        assert!(failing(&choice).contains(&"P6"));
        let text = "def advise(obs, state, params):\n    return obs.queued / obs.idle\n";
        let choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("divides.star") };
        let all = verdicts(&choice);
        let first = all.iter().find(|verdict| verdict.id == "P1").expect("P1 is always judged");
        assert!(first.outcome == Outcome::Fails && first.seen.contains("divides.star:2:12"), "{first:?}");
    }
}
