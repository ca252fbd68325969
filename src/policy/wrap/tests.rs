//! Each stage alone, and that they compose with rules of both kinds.

use super::super::testing::seen;
use super::super::{PolicyChoice, registry};
use super::*;

/// `fixed` would answer the same number for ever: the rule here follows a script, one answer a second.
struct Script(Vec<u32>, Surplus);

impl ScalingPolicy for Script {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let at = (seen.now.as_secs() as usize).min(self.0.len() - 1);
        Advice { workers: self.0[at], surplus: self.1, reason: ScaleReason::Policy, ask_again: None }
    }
}

/// The fleet follows the answers at once, beginning with none.
fn follow(script: &[u32], keys: &[(&str, f64)], takes: &str) -> Vec<u32> {
    let mut choice = PolicyChoice::named("script").with_text("delay_takes", takes);
    for (name, value) in keys {
        choice = choice.with(name, *value);
    }
    let rule = Box::new(Script(script.to_vec(), Surplus::StopIdle));
    let mut policy = around(rule, &choice).expect("the keys are allowed");
    let mut up = 0;
    let mut series = Vec::new();
    for second in 0..script.len() as u32 {
        up = policy.advise(&seen(f64::from(second), (0, 0), (up, 0, 0))).workers;
        series.push(up);
    }
    series
}

#[test]
fn a_change_must_be_wanted_for_its_delay() {
    let script = [2, 2, 3, 5, 4, 4, 1, 4, 1, 1, 1, 1];
    let keys = [("delay_up_s", 2.0), ("delay_down_s", 3.0)];
    // Wanted upwards from second 0: the answer of second 2 counts; 5 of second 3 waits until 5; down from 8 until 11.
    assert_eq!(follow(&script, &keys, "last"), [0, 0, 3, 3, 3, 4, 4, 4, 4, 4, 4, 1]);
    assert_eq!(follow(&script, &keys, "max")[5], 5);
    // From 3 to 5: a second of 5, a second of 4: 4.5, rounded up.
    assert_eq!(follow(&script, &keys, "mean")[5], 5);
}

#[test]
fn stabilization_takes_the_least_upwards_and_the_most_downwards() {
    let script = [3, 5, 2, 2, 2, 2];
    assert_eq!(follow(&script, &[("stabilize_down_s", 2.0)], "last"), [3, 5, 5, 5, 2, 2]);
    assert_eq!(follow(&script, &[("stabilize_up_s", 2.0)], "last"), [3, 3, 2, 2, 2, 2]);
}

#[test]
fn the_rate_counts_from_the_beginning_of_the_period() {
    let script = [9, 9, 9, 9, 9, 9, 0, 0, 0, 0];
    let keys = [("rate_up", 2.0), ("rate_down", 4.0), ("rate_period_s", 2.0)];
    assert_eq!(follow(&script, &keys, "last"), [2, 2, 4, 4, 6, 6, 2, 2, 0, 0]);
}

#[test]
fn the_cool_down_counts_from_the_last_change() {
    let script = [1, 2, 2, 2, 1, 1, 1, 1];
    let keys = [("cooldown_up_s", 2.0), ("cooldown_down_s", 4.0)];
    assert_eq!(follow(&script, &keys, "last"), [1, 1, 2, 2, 2, 2, 1, 1]);
}

#[test]
fn floor_and_ceiling_come_last() {
    assert_eq!(follow(&[0, 9, 4], &[("floor", 2.0), ("ceiling", 6.0), ("rate_up", 1.0)], "last")[0], 2);
    assert_eq!(follow(&[0, 9, 4], &[("floor", 2.0), ("ceiling", 6.0)], "last"), [2, 6, 4]);
}

#[test]
fn the_first_worker_for_a_waiting_job_is_not_held_back() {
    let choice = PolicyChoice::named("per_job").with("delay_up_s", 60.0).with("rate_up", 1.0);
    let mut policy = registry::scaling(&choice).expect("keys of both kinds are allowed");
    assert_eq!(policy.advise(&seen(0.0, (3, 0), (0, 0, 0))).workers, 1);
}

#[test]
fn what_is_held_up_does_not_idle_out_and_is_not_started_again() {
    let choice = PolicyChoice::named("queue_delay").with("stabilize_down_s", 60.0);
    let mut policy = registry::scaling(&choice).expect("keys of both kinds are allowed");
    policy.advise(&seen(0.0, (0, 3), (0, 3, 0)));
    assert_eq!(policy.floor(), 3);
    let answer = policy.advise(&seen(30.0, (0, 0), (3, 0, 0)));
    assert_eq!((policy.floor(), answer.ask_again), (3, Some(Span::SECOND)));
    assert_eq!(policy.advise(&seen(31.0, (0, 0), (1, 0, 0))).workers, 1, "two were lost and nobody needs them");
    policy.advise(&seen(61.0, (0, 0), (1, 0, 0)));
    assert_eq!(policy.floor(), 0, "after the window nothing is held");
}

#[test]
fn what_is_held_for_a_rule_that_is_asked_at_jobs_only_is_looked_at_again() {
    for key in ["delay_down_s", "stabilize_down_s", "cooldown_down_s", "rate_down"] {
        for name in ["per_job", "schedule"] {
            let choice = PolicyChoice::named(name).with(key, 20.0);
            let mut policy = registry::scaling(&choice).expect("keys of both kinds are allowed");
            let answer = policy.advise(&seen(0.0, (1, 3), (0, 3, 0)));
            assert_eq!((answer.workers, policy.floor(), answer.ask_again.is_some()), (4, 4, true), "{name}, {key}");
        }
    }
}

#[test]
fn a_floor_above_the_ceiling_is_refused() {
    let choice = PolicyChoice::named("per_job").with("floor", 5.0).with("ceiling", 2.0);
    let message = registry::scaling(&choice).err().map(|error| error.to_string());
    let expected = "parameter `floor` of policy `per_job` is 5 and its ceiling 2, must be at most the ceiling";
    assert_eq!(message.as_deref(), Some(expected));
}

#[test]
fn keys_are_checked_and_shown_like_other_parameters() {
    let choice = PolicyChoice::named("queue_delay").with("floor", 1.5);
    let message = registry::scaling(&choice).err().map(|error| error.to_string());
    let expected = "parameter `floor` of policy `queue_delay` is 1.5, must be a whole number from 0 to 1000000";
    assert_eq!(message.as_deref(), Some(expected));
    for entry in registry::SCALING {
        for spec in entry.params {
            assert!(PARAMS.iter().all(|common| common.name != spec.name), "{}.{}", entry.name, spec.name);
        }
    }
}

#[test]
fn the_state_round_a_rule_survives_a_restart() {
    let choice = PolicyChoice::named("request_count").with("stabilize_down_s", 60.0).with("delay_up_s", 10.0);
    let built = || registry::scaling(&choice).expect("allowed");
    let mut policy = built();
    for second in 0..20_u32 {
        policy.advise(&seen(f64::from(second), (second % 7, 3), (1, 3, 0)));
    }
    let mut other = built();
    other.load(&policy.save()).expect("its own state");
    for second in 20..90_u32 {
        let now = seen(f64::from(second), (second % 5, 1), (2, 1, 1));
        assert_eq!(policy.advise(&now), other.advise(&now), "second {second}");
    }
    assert!(other.load(&Value::Null).is_err());
}
