//! Clean mode: what theory and arithmetic say.

use std::sync::Arc;

use super::*;
use crate::policy::PolicyChoice;
use crate::sim::{Clean, EndReason};
use crate::workload::{ArrivalSpec, Distribution, SharedSpeed};

fn at(times: &[f64]) -> ArrivalSpec {
    ArrivalSpec::Times { at_s: Arc::new(times.to_vec()) }
}

fn constant(value: f64) -> Distribution {
    Distribution::Constant { value }
}

#[test]
fn a_cold_start_then_the_queue_then_the_idle_timeout() {
    let plan = Plan::clean(Clean {
        arrivals: at(&[5.0, 6.0]),
        service: constant(2.0),
        cold_start: constant(10.0),
        idle_timeout_s: Some(60.0),
        max: 1,
        jobs: 2,
        ..Clean::default()
    });
    let (end, transcript) = run(&plan);
    assert_eq!(transcript.ready(), [15.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [17.0, 19.0]);
    assert_eq!(transcript.when(|event| matches!(event, Event::WorkerStopped { .. })), [79.0]);
    assert_eq!((end.now, end.reason, end.jobs), (Time::from_secs(79.0), EndReason::Finished, 2));
    assert_eq!((end.arrivals_end, end.unfinished), (Time::from_secs(6.0), 0));
}

#[test]
fn always_on_workers_are_up_before_the_first_job_and_wait_for_nothing_at_the_end() {
    let plan = Plan::clean(Clean { jobs: 3, ..Clean::always_on(at(&[0.0, 0.5, 4.0]), constant(1.0), 1) });
    let (end, transcript) = run(&plan);
    assert_eq!(transcript.ready(), [0.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [1.0, 2.0, 5.0]);
    assert_eq!((end.now, end.reason), (Time::from_secs(5.0), EndReason::Finished));
}

#[test]
fn the_run_lasts_as_long_as_its_duration() {
    let mut plan = Plan::clean(Clean::always_on(at(&[1.0, 99.0, 100.0]), constant(3.0), 1));
    plan.duration = Some(Span::from_whole_secs(100));
    plan.max_jobs = None;
    let (end, transcript) = run(&plan);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [4.0, 102.0], "nothing arrives at the end itself");
    assert_eq!((end.now, end.arrivals_end), (Time::from_secs(102.0), Time::from_secs(100.0)));
    plan.drain = Some(Span::SECOND);
    let (end, _) = run(&plan);
    assert_eq!((end.now, end.reason), (Time::from_secs(101.0), EndReason::DrainLimit { jobs: 1 }));
    plan.duration = Some(Span::from_whole_secs(50));
    let (end, _) = run(&plan);
    assert_eq!((end.now, end.reason), (Time::from_secs(50.0), EndReason::Finished));
}

#[test]
fn mean_wait_of_mm1_and_mm3() {
    // M/M/1 at rho 0.5: 1 s. M/M/3 at load 2: Erlang C 4/9, wait 0.4444.
    for (workers, rate, wait) in [(1, 0.5, 1.0), (3, 2.0, 4.0 / 9.0)] {
        let arrivals = ArrivalSpec::Poisson { rate };
        let service = Distribution::Exponential { mean: 1.0 };
        let plan = Plan::clean(Clean { jobs: 100_000, ..Clean::always_on(arrivals, service, workers) });
        let (_, transcript) = run(&plan);
        let found = mean(transcript.waits_and_services().iter().map(|row| row.0));
        assert!((found - wait).abs() < 0.06 * wait, "{workers} workers: {found} against {wait}");
    }
}

#[test]
fn processor_sharing_takes_as_long_as_theory_says() {
    // M/M/1-PS at rho 0.5: mean response 1 / (1 - 0.5) = 2 s, as if all places were one worker.
    let plan = Plan::clean(Clean {
        jobs: 60_000,
        concurrency: 1_000,
        speed: SharedSpeed::Power { exponent: 0.0 },
        ..Clean::always_on(ArrivalSpec::Poisson { rate: 0.5 }, Distribution::Exponential { mean: 1.0 }, 1)
    });
    let (_, transcript) = run(&plan);
    let found = mean(transcript.waits_and_services().iter().map(|row| row.1));
    assert!((found - 2.0).abs() < 0.1, "{found}");
}

#[test]
fn the_same_seed_gives_the_same_transcript_and_another_seed_another() {
    let plan = |seed| Plan::clean(Clean { jobs: 2_000, max: 120, seed, ..Clean::default() });
    assert_eq!(run(&plan(1)).1.hash, run(&plan(1)).1.hash);
    assert_ne!(run(&plan(1)).1.hash, run(&plan(2)).1.hash);
}

#[test]
fn two_policies_meet_the_same_work() {
    let plan = |scaling| Plan::clean(Clean { jobs: 500, max: 100, scaling, ..Clean::default() });
    let services = |plan| {
        let (_, transcript) = run(&plan);
        let mut finished: Vec<(JobId, Span)> = Vec::new();
        let mut handed = BTreeMap::new();
        for (now, command) in &transcript.commands {
            match command {
                Command::AssignJob { job, .. } => drop(handed.insert(*job, *now)),
                Command::FinishJob { job, .. } => finished.push((*job, now.since(handed[job]))),
                _ => {}
            }
        }
        finished.sort_unstable();
        finished.iter().map(|row| row.1).collect::<Vec<Span>>()
    };
    let fixed = PolicyChoice::named("fixed").with("workers", 60.0);
    assert_eq!(services(plan(PolicyChoice::named("per_job"))), services(plan(fixed)));
}

#[test]
fn a_queue_that_can_never_empty_is_named() {
    let mut plan = Plan::clean(Clean { arrivals: at(&[1.0]), jobs: 1, ..Clean::default() });
    plan.hosts[0].spec.gpus = 0;
    let (end, _) = run(&plan);
    assert!(matches!(end.reason, EndReason::JobsWaiting { jobs: 1, cause: Some(_), .. }), "{}", end.reason);
    let mut plan = Plan::clean(Clean { arrivals: at(&[1.0]), jobs: 1, max: 0, ..Clean::default() });
    plan.endpoints[0].spec.ttl = Span::from_whole_secs(3_600);
    let (end, transcript) = run(&plan);
    assert_eq!(transcript.outcomes(JobOutcome::TimedOut), [3_601.0], "a time to live ends it after all");
    assert_eq!(end.reason, EndReason::Finished);
}
