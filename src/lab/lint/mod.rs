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
    use super::*;
    use crate::policy::{PolicyChoice, registry};

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
        // It calls starts off when the queue is short for a moment, and asks for them again: with starts of 10 min for ever.
        assert_eq!(failing(&PolicyChoice::named("request_count")), ["P5"]);
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
