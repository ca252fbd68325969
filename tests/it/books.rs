//! The books follow the scheduler: what ledger and metrics believe of every worker and job is what the scheduler itself says,
//! and all totals agree, in every scenario and with facts that get lost, doubled and late.
//!
//! Method: replay nothing, trust nothing; run each scenario, cut short, and compare at every few settled events.

use std::path::Path;

use thermocline::experiment::{Outcome, RunOptions, run_with};
use thermocline::ledger::{Profile, Rounding, Timeline};
use thermocline::scenario;
use thermocline::scheduler::follow::Follower;
use thermocline::scheduler::{Command, Event, Recorder, Scheduler};
use thermocline::sim::plan::{FaultPlan, Plan};
use thermocline::units::{EndpointId, Money, Span, Time};
use thermocline::workload::Distribution;

use super::tidy::files;

/// Compares the follower's view with the scheduler's own every so many settled events.
const EVERY: u64 = 13;

struct Compare {
    follower: Follower<()>,
    settled: u64,
    workers: u64,
    name: String,
}

impl Recorder for Compare {
    fn event(&mut self, now: Time, event: &Event) {
        self.follower.event(now, event);
    }

    fn command(&mut self, now: Time, command: &Command) {
        self.follower.command(now, command);
    }

    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        self.settled += 1;
        if !self.settled.is_multiple_of(EVERY) {
            return;
        }
        let (members, jobs) = (self.follower.workers(), self.follower.jobs());
        let (mut alive, place) = (0, format!("{} at {now} s", self.name));
        for endpoint in (0..scheduler.endpoint_count()).map(|number| EndpointId(number as u32)) {
            for status in scheduler.workers_of(endpoint) {
                let member = members.iter().find(|member| member.id == status.id);
                let member = member.unwrap_or_else(|| panic!("{place}: nobody told of {}", status.id));
                let ours = (member.endpoint, member.phase, member.kind, member.version, member.in_hand, member.epoch);
                let theirs = (status.endpoint, status.phase, status.kind, status.version, status.in_hand, status.epoch);
                assert_eq!(ours, theirs, "{place}: {}", status.id);
                assert!(status.host.is_none() || member.host == status.host, "{place}: {} is elsewhere", status.id);
                alive += 1;
            }
            let counts = scheduler.job_counts(endpoint).expect("the endpoint exists");
            let own = || jobs.iter().filter(|job| job.endpoint == endpoint);
            let held = own().filter(|job| job.worker.is_some()).count();
            let ours = (own().count() - held, held);
            assert_eq!(ours, (counts.in_queue as usize, counts.in_progress as usize), "{place}: jobs of {endpoint}");
        }
        assert_eq!(members.len(), alive, "{place}: workers that the scheduler no longer has");
        self.workers += alive as u64;
    }
}

/// Short, so that every scenario can run several times.
fn cut(mut plan: Plan) -> Plan {
    let most = Span::from_whole_secs(1_800);
    plan.duration = Some(plan.duration.map_or(most, |duration| if duration > most { most } else { duration }));
    plan.max_jobs = Some(plan.max_jobs.map_or(3_000, |jobs| jobs.min(3_000)));
    plan.drain = plan.drain.or(Some(Span::from_whole_secs(3_600)));
    plan.warm_up = Span::ZERO;
    plan
}

fn shaken(mut plan: Plan) -> Plan {
    plan.faults = FaultPlan {
        host_uptime: Some(Distribution::Exponential { mean: 900.0 }),
        host_downtime: Some(Distribution::Exponential { mean: 120.0 }),
        host_return_probability: 1.0,
        lost_fact_probability: 0.01,
        duplicate_fact_probability: 0.05,
        late_fact_probability: 0.05,
        fact_delay: Some(Distribution::Exponential { mean: 5.0 }),
    };
    for endpoint in &mut plan.endpoints {
        endpoint.spec.execution_timeout = Some(Span::from_whole_secs(20));
        endpoint.release.faults.crash_probability = 0.02;
        endpoint.release.faults.start_failure_probability = 0.05;
        endpoint.release.faults.refresh_probability = 0.05;
        endpoint.release.faults.ignore_stop_probability = 0.1;
    }
    plan
}

fn check(path: &Path, plan: &Plan) {
    let name = format!("{}, seed {}", path.display(), plan.seed);
    let mut compare = Compare { follower: Follower::new(()), settled: 0, workers: 0, name: name.clone() };
    let timeline = Timeline::new(&plan.scheduler.gpu_classes, Rounding::UpToSeconds, 256);
    let run = run_with(plan, &RunOptions::default(), timeline, &mut compare, &mut |_| {});
    let (outcome, timeline) = run.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(compare.workers > 0, "{name}: nothing was compared");
    totals_agree(&name, &outcome, &timeline);
}

fn totals_agree(name: &str, outcome: &Outcome, timeline: &Timeline) {
    let (total, account) = (outcome.metrics.total(), outcome.ledger.total());
    let jobs = &total.jobs;
    let ended = jobs.outcomes.iter().sum::<u64>() + jobs.rejected + jobs.unfinished;
    assert_eq!(jobs.submitted, ended, "{name}: every job is somewhere");
    assert_eq!(
        jobs.finish_causes.iter().sum::<u64>(),
        jobs.outcomes.iter().sum::<u64>(),
        "{name}: every end has a cause"
    );
    let buckets = timeline.total();
    for profile in Profile::ALL {
        let spent: Money = buckets.iter().map(|bucket| bucket.cost[profile.index()]).sum();
        assert_eq!(spent, account.total(profile).total(), "{name}: {} over time", profile.as_str());
        let by_cause: Money = account.causes.values().map(|caused| caused.total[profile.index()]).sum();
        assert_eq!(by_cause, spent, "{name}: {} by cause", profile.as_str());
        assert!(account.failed_start_cost[profile.index()] <= spent, "{name}");
    }
    for (place, micros) in total.state_micros().into_iter().enumerate() {
        let spent: u64 = buckets.iter().map(|bucket| bucket.states[place]).sum();
        assert_eq!(spent, micros, "{name}: state {place}");
    }
    let queue: u64 = buckets.iter().map(|bucket| bucket.queue).sum();
    assert_eq!(queue, total.queue.integral(total.end), "{name}: queue");
    assert_eq!(buckets.iter().map(|bucket| bucket.arrivals).sum::<u64>(), jobs.submitted - jobs.rejected, "{name}");
}

fn plans() -> Vec<(std::path::PathBuf, Plan)> {
    let paths = files("scenarios", &[".yaml"]);
    assert!(paths.len() > 10, "the scenarios are there");
    let load = |path: std::path::PathBuf| {
        let loaded = scenario::load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        (path, cut(loaded.plan))
    };
    paths.into_iter().map(load).collect()
}

#[test]
fn books_follow_the_scheduler_in_every_scenario() {
    plans().iter().for_each(|(path, plan)| check(path, plan));
}

#[test]
fn books_follow_it_when_facts_get_lost_doubled_and_late() {
    for (path, plan) in plans() {
        let shaken = shaken(plan);
        (1..=2).for_each(|seed| check(&path, &Plan { seed, ..shaken.clone() }));
    }
}
