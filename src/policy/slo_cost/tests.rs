//! Decisions in single scenes, and what is learned between them.

use super::super::testing::{seen, worker};
use super::super::{Details, PolicyChoice, registry};
use super::*;
use crate::units::Time;

/// Workers, and how long the waiting jobs have waited, oldest first.
struct Scene(Vec<WorkerView>, Vec<f64>);

impl Details for Scene {
    fn waiting_longer_than(&self, span: Span) -> u32 {
        self.1.iter().filter(|wait| **wait > span.as_secs()).count() as u32
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.0.clone()
    }
}

fn busy(sequence: u64, since_s: f64) -> WorkerView {
    WorkerView { in_hand: 1, last_used: Time::from_secs(since_s), ..worker(sequence) }
}

/// Starts take 10 s, jobs 5 s (from the observation), at t = 100.
fn wanted(keys: &[(&str, f64)], workers: Vec<WorkerView>, waits: Vec<f64>) -> (u32, Option<Span>) {
    let choice = keys.iter().fold(PolicyChoice::named("slo_cost"), |choice, (name, value)| choice.with(name, *value));
    let mut policy = registry::scaling(&choice).expect("the keys are allowed");
    let up = workers.len() as u32;
    let (queued, oldest) = (waits.len() as u32, waits.first().copied().unwrap_or_default());
    let scene = Scene(workers, waits);
    let now = Observation {
        oldest_wait: Some(Span::from_secs(oldest)),
        details: &scene,
        arrived: 0,
        ..seen(100.0, (queued, up), (0, up, 0))
    };
    let answer = policy.advise(&now);
    (answer.workers, answer.ask_again)
}

#[test]
fn a_job_that_will_be_served_in_time_starts_nobody() {
    assert_eq!(wanted(&[("slo_s", 8.0)], vec![busy(1, 98.0)], vec![0.0]), (1, None));
    // The third would wait 3 + 5 + 5 s: beyond 12 s, and a start takes 10.
    assert_eq!(wanted(&[("slo_s", 12.0)], vec![busy(1, 98.0)], vec![2.0, 1.0, 0.0]).0, 2);
    // Where a start comes too late as well, one for the sake of 3 s is not worth its 10 s.
    assert_eq!(wanted(&[("slo_s", 8.0)], vec![busy(1, 98.0)], vec![2.0, 1.0, 0.0]).0, 1);
    // Where waiting for a worker is shorter than a start, a start would not help.
    assert_eq!(wanted(&[("slo_s", 1.0)], vec![busy(1, 98.0)], vec![2.0, 1.0]).0, 1);
}

#[test]
fn from_zero_it_starts_at_once_or_when_patience_ends() {
    assert_eq!(wanted(&[], vec![], vec![0.0]).0, 1);
    let patient = [("slo_s", 30.0), ("patience", 0.5)];
    assert_eq!(wanted(&patient, vec![], vec![4.0]), (0, Some(Span::from_whole_secs(6))));
    assert_eq!(wanted(&patient, vec![], vec![10.1]).0, 1);
}

#[test]
fn patience_ends_when_one_behind_has_no_more_left() {
    // A start of 10 s and 30 s of time: the first may wait for 10 s. One behind it is served 5 s after it, so it may wait for 5 s.
    let patient = |waits: &[f64]| wanted(&[("slo_s", 30.0), ("patience", 0.5)], vec![], waits.to_vec());
    assert_eq!((patient(&[6.0]).0, patient(&[6.0, 4.0]).0), (0, 0));
    assert_eq!(patient(&[6.0, 5.5]).0, 1);
    assert_eq!(
        patient(&[6.0, 5.5, 0.2]).0,
        1,
        "the third may not wait at all, and need not: it is in time behind them"
    );
    let short = |waits: &[f64]| wanted(&[("slo_s", 18.0), ("patience", 0.5)], vec![], waits.to_vec());
    assert_eq!(short(&[3.5, 3.2]).0, 0, "late behind the first whenever that starts: no reason to hurry");
}

#[test]
fn an_overdue_start_is_still_counted_upon() {
    let starting = |since_s: f64| WorkerView {
        phase: Phase::Starting,
        in_hand: 0,
        started: Time::from_secs(since_s),
        ..worker(1)
    };
    assert_eq!(
        [95.0, 84.0, 20.0].map(|since_s| start_left_s(&starting(since_s), &seen(100.0, (1, 1), (1, 0, 0)), 10.0)),
        [5.0, 4.0, 20.0]
    );
}

#[test]
fn one_start_is_counted_for_all_whom_it_serves() {
    // 12 jobs of 5 s at once and 60 s of time: a worker that is there after 10 s serves ten of them, two serve all.
    assert_eq!(wanted(&[("slo_s", 60.0)], vec![], vec![0.0; 12]).0, 2);
}

#[test]
fn jobs_that_are_late_anyway_share_as_many_workers_as_make_starts_and_waits_cheapest() {
    let late = |wait_value: f64| wanted(&[("slo_s", 5.0), ("wait_value", wait_value)], vec![], vec![0.0; 12]).0;
    assert_eq!((late(0.0), late(0.25), late(1.0), late(100.0)), (1, 3, 6, 12));
    // By search: c starts of 10 s, and the n-th job of a worker waits for n - 1 jobs of 5 s.
    let cost = |c: u32| f64::from(10 * c) + (0..12).map(|job: u32| f64::from(job / c) * 5.0).sum::<f64>();
    let least = (1..=12).map(cost).fold(f64::INFINITY, f64::min);
    assert!(cost(late(1.0)) <= 1.1 * least, "{} {least}", cost(late(1.0)));
}

#[test]
fn while_jobs_are_late_there_are_workers_for_a_steady_state() {
    let choice = PolicyChoice::named("slo_cost").with("slo_s", 5.0);
    let mut policy = registry::scaling(&choice).expect("the keys are allowed");
    let none = Scene(vec![], vec![]);
    policy.advise(&Observation { arrived: 500, details: &none, ..seen(100.0, (0, 0), (0, 0, 0)) });
    // A job a second for a minute, 5 s each, and one of them waits without a worker.
    let waits = Scene(vec![], vec![0.0]);
    let now =
        Observation { arrived: 560, oldest_wait: Some(Span::ZERO), details: &waits, ..seen(160.0, (1, 0), (0, 0, 0)) };
    // Offered load 5: P(wait > 5 s) is 0.59 exp(-1) = 0.22 with six workers and 0.32 exp(-2) = 0.04 with seven.
    assert_eq!(policy.advise(&now).workers, 7);
}

#[test]
fn the_rest_of_a_job_is_learned_from_how_long_jobs_take() {
    let mut service = Service { prior_s: 10.0, ..Service::default() };
    assert_eq!(service.rest_s(4.0), 6.0);
    for n in 0..64_u64 {
        // Half the jobs take 1 s, half 9 s.
        let mut now = seen(0.0, (0, 0), (0, 0, 0));
        now.ended = n + 1;
        now.service_total = Span::from_whole_secs(n.div_ceil(2) * 9 + n / 2 + 1);
        service.see(&now);
    }
    assert!((service.rest_s(0.0) - 5.0).abs() < 0.5, "{}", service.rest_s(0.0));
    assert_eq!(service.rest_s(2.0), 7.0, "one that has run for 2 s is a long one");
    assert!(service.rest_s(12.0) > 0.0);
    // One that is met at work is nearly always a long one, in the middle of it: 41 / 5 / 2 s. Three end one after the other.
    let ends: Vec<f64> = service.ends_s(3, 2.0).collect();
    assert!((ends[1] - 4.1).abs() < 0.2 && (ends[0] - ends[1] / 2.0).abs() < 1e-9, "{ends:?}");
    assert!((ends[2] - 1.5 * ends[1]).abs() < 1e-9);
    assert_eq!(service.ends_s(1, 2.0).collect::<Vec<_>>(), [7.0], "how long one alone has run is known");
}

/// Patience after jobs of which so many were late, where one in twenty may be.
fn patience_after(jobs: u64, late: u64, fills: f64) -> f64 {
    let mut budget = Budget::new(0.05);
    for job in 1..=jobs {
        // Each job is looked at when it has waited for 6 s (late) or 1 s, and is gone when the next one comes.
        let scene = Scene(vec![], vec![if job <= late { 6.0 } else { 1.0 }]);
        let now = Observation { arrived: job, details: &scene, ..seen(job as f64, (1, 0), (0, 0, 0)) };
        budget.see(&now, 5.0);
        // A second look at the same job counts nothing twice.
        budget.see(&now, 5.0);
    }
    budget.patience(0.6, fills)
}

#[test]
fn patience_follows_the_share_of_late_jobs() {
    // 200 jobs earn 10 late ones of the 20 that can be saved up.
    assert!((patience_after(200, 0, 0.0) - 0.8).abs() < 1e-9);
    assert!((patience_after(200, 10, 0.0) - 0.6).abs() < 1e-9, "as many as may be");
    assert!((patience_after(200, 20, 0.0) - 0.4).abs() < 1e-9, "{}", patience_after(200, 20, 0.0));
    assert_eq!((patience_after(4_000, 0, 0.0), patience_after(100, 100, 0.0)), (1.0, 0.19999999999999996));
    // Jobs that fill a worker for a quarter of the time do not wait longer before a start, but shorter.
    assert_eq!(patience_after(200, 0, 0.25), 0.6);
    assert!(patience_after(200, 20, 0.25) < 0.41);
    assert_eq!(Budget::new(0.0).patience(0.75, 0.0), 0.75);
}

#[test]
fn the_oldest_is_looked_at_when_it_becomes_late() {
    let look = |share: f64, waited_s: f64| {
        let scene = Scene(vec![], vec![waited_s]);
        let oldest_wait = Some(Span::from_secs(waited_s));
        Budget::new(share)
            .look_again(&Observation { details: &scene, oldest_wait, ..seen(9.0, (1, 0), (0, 0, 0)) }, 5.0)
    };
    assert_eq!((look(0.05, 2.0), look(0.05, 6.0), look(0.0, 2.0)), (Some(Span(3_001_000)), None, None));
}
