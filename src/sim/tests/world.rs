//! One concern of the world at a time, with times that can be checked by hand.

use std::sync::Arc;

use super::*;
use crate::policy::PolicyChoice;
use crate::scheduler::{PickUp, StartStage, WorkerReason};
use crate::sim::plan::{Action, ActionKind, Feed, StageModel, TenantPlan};
use crate::sim::{Clean, EndReason};
use crate::units::{EndpointId, HostId, WorkerId};
use crate::workload::{ArrivalSpec, Distribution, Traffic};

fn constant(value: f64) -> Distribution {
    Distribution::Constant { value }
}

/// One worker at most, jobs of 2 s at the given times, cold start 10 s, idle timeout 60 s.
fn plan(times: &[f64]) -> Plan {
    Plan::clean(Clean {
        arrivals: ArrivalSpec::Times { at_s: Arc::new(times.to_vec()) },
        service: constant(2.0),
        max: 1,
        jobs: times.len() as u64,
        ..Clean::default()
    })
}

fn always_on(times: &[f64], service: f64) -> Plan {
    let arrivals = ArrivalSpec::Times { at_s: Arc::new(times.to_vec()) };
    Plan::clean(Clean { jobs: times.len() as u64, ..Clean::always_on(arrivals, constant(service), 1) })
}

fn hand_outs(transcript: &Transcript) -> Vec<f64> {
    transcript.asked(|command| matches!(command, Command::AssignJob { .. }))
}

fn stages(transcript: &Transcript) -> Vec<(f64, StartStage)> {
    let stage = |row: &(Time, Event)| match row.1 {
        Event::StageEnded { stage, .. } => Some((row.0.as_secs(), stage)),
        _ => None,
    };
    transcript.events.iter().filter_map(stage).collect()
}

#[test]
fn a_new_endpoint_pulls_before_it_starts_stage_by_stage() {
    let mut plan = plan(&[1.0]);
    plan.deployed = false;
    plan.hosts[0].spec.cached.clear();
    plan.hosts[0].pull_bytes_per_s = 100.0;
    plan.hosts[0].slowdown = 2.0;
    let stage = |stage, seconds| StageModel { stage, time: constant(seconds) };
    plan.endpoints[0].release.start.stages =
        vec![stage(StartStage::Container, 1.0), stage(StartStage::Import, 0.0), stage(StartStage::Weights, 3.0)];
    let (_, transcript) = run(&plan);
    // 1,000 bytes at 100 a second from time 0; then everything takes twice as long on this host.
    assert_eq!(transcript.when(|event| matches!(event, Event::ImagePulled { .. })), [10.0]);
    assert_eq!(stages(&transcript), [(12.0, StartStage::Container), (18.0, StartStage::Weights)]);
    assert_eq!(transcript.ready(), [18.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [22.0]);
}

#[test]
fn a_worker_with_one_place_takes_one_job_a_second() {
    let mut plan = always_on(&[0.5, 0.5, 0.5, 7.0], 0.25);
    plan.endpoints[0].spec.pick_up = PickUp::Pull;
    plan.endpoints[0].pacing.period = Span::SECOND;
    plan.endpoints[0].pacing.latency = constant(0.05);
    let (_, transcript) = run(&plan);
    assert_eq!(hand_outs(&transcript), [0.5, 1.5, 2.5, 7.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [0.8, 1.8, 2.8, 7.3]);
    let takes = transcript.when(|event| matches!(event, Event::TakeOpened { .. }));
    assert_eq!(takes, [0.0, 1.5, 2.5, 3.5], "the last take is filled at 7 s, the run ends before the next");
}

#[test]
fn a_worker_with_places_left_goes_on_asking() {
    let mut plan = always_on(&[0.5, 0.75, 1.0, 1.25], 4.0);
    plan.endpoints[0].spec.pick_up = PickUp::Pull;
    plan.endpoints[0].spec.concurrency = 3;
    plan.endpoints[0].pacing.period = Span::SECOND;
    let (_, transcript) = run(&plan);
    // The third take fills it at 1.0; a place is free at 4.5, the next whole second after that take is 5.0.
    assert_eq!(hand_outs(&transcript), [0.5, 0.75, 1.0, 5.0]);
}

#[test]
fn a_frozen_worker_thaws_unless_its_snapshot_is_gone() {
    let mut plan = plan(&[0.0, 100.0, 300.0]);
    let endpoint = &mut plan.endpoints[0];
    endpoint.spec.flashboot = true;
    endpoint.release.start.freeze_probability = 1.0;
    endpoint.release.start.resume = constant(1.5);
    endpoint.release.start.snapshot_life = Some(constant(50.0));
    endpoint.release.start.stop = constant(3.0);
    let (_, transcript) = run(&plan);
    // Up 0-12, frozen at 75; thawed at 100 for the second job, frozen at 166.5; that snapshot is gone at 216.5.
    let stages = stages(&transcript);
    assert_eq!(stages, [(10.0, StartStage::Container), (101.5, StartStage::Resume), (310.0, StartStage::Container)]);
    assert_eq!(transcript.when(|event| matches!(event, Event::SnapshotLost { .. })), [216.5]);
    // Stops at 75, 166.5 and 375: the run ends before the last snapshot does.
    let kept = transcript.when(|event| matches!(event, Event::WorkerStopped { frozen: true, .. }));
    assert_eq!(kept, [75.0, 166.5, 375.0]);
}

#[test]
fn tenants_take_what_is_free_and_nothing_else() {
    let mut plan = plan(&[5.0, 100.0]);
    plan.hosts[0].tenants = Some(TenantPlan { away: constant(90.0), stay: constant(20.0), gpus: constant(8.0) });
    let (_, transcript) = run(&plan);
    let capacity = |row: &(Time, Event)| match row.1 {
        Event::HostCapacityChanged { gpus, .. } => Some((row.0.as_secs(), gpus)),
        _ => None,
    };
    let changes: Vec<(f64, u32)> = transcript.events.iter().filter_map(capacity).collect();
    // Up from 5 to 77. The tenant has the only GPU from 90 to 110; the job of t=100 waits until it is free.
    assert_eq!(changes[..2], [(90.0, 0), (110.0, 1)]);
    assert_eq!(transcript.ready(), [15.0, 120.0]);
    // At 200 the GPU is ours (up from 110 to 182 and asleep since): the tenant comes again.
    assert!(changes.len() < 4, "{changes:?}");
}

#[test]
fn a_lost_host_loses_its_jobs_to_another_one() {
    let mut plan = plan(&[0.0]);
    plan.endpoints[0].release.service =
        crate::workload::ServiceModel::Traced { scale: 1.0, otherwise: Some(constant(30.0)) };
    plan.hosts.push(plan.hosts[0].clone());
    let at = Time::from_secs;
    plan.actions = vec![
        Action { at: at(60.0), kind: ActionKind::ReturnHost { host: HostId(0) } },
        Action { at: at(20.0), kind: ActionKind::LoseHost { host: HostId(0) } },
    ];
    let (_, transcript) = run(&plan);
    assert_eq!(transcript.ready(), [10.0, 30.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [60.0]);
    let requeued = transcript.asked(|command| matches!(command, Command::RequeueJob { .. }));
    assert_eq!(requeued, [20.0]);
}

#[test]
fn a_release_that_never_starts_is_rolled_back_and_runs_what_was_before_it() {
    let mut plan = plan(&[0.0, 200.0, 1_000.0]);
    let mut spec = plan.endpoints[0].spec.clone();
    spec.container_digest = 7;
    let mut release = plan.endpoints[0].release.clone();
    release.faults.start_failure_probability = 1.0;
    release.service = crate::workload::ServiceModel::Traced { scale: 1.0, otherwise: Some(constant(99.0)) };
    let kind = ActionKind::Update { endpoint: EndpointId(0), spec: Box::new(spec), release: Box::new(release) };
    plan.actions = vec![Action { at: Time::from_secs(100.0), kind }];
    let (end, transcript) = run(&plan);
    let failed = transcript.when(|event| matches!(event, Event::WorkerExited { .. }));
    // Starts at 200 and after backoffs of 10 and 20 s, each 10 s long; the third failure rolls back.
    assert_eq!(failed, [210.0, 230.0, 260.0]);
    let outcomes = transcript.outcomes(JobOutcome::Completed);
    assert_eq!((outcomes.len(), end.reason), (3, EndReason::Finished));
    assert_eq!(outcomes[2], 1_012.0, "the work is that of the first release again");
}

#[test]
fn an_output_becomes_an_input() {
    let mut plan = plan(&[0.0]);
    let mut second = plan.endpoints[0].clone();
    second.spec.name = "second".to_owned();
    second.traffic = Traffic::default();
    plan.hosts[0].spec.gpus = 2;
    plan.endpoints[0].feeds = vec![Feed { to: EndpointId(1), probability: 1.0, delay: Span::from_millis(500) }];
    plan.endpoints.push(second);
    let (end, transcript) = run(&plan);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [12.0, 24.5]);
    assert_eq!((end.jobs, end.unfinished), (2, 0));
}

#[test]
fn a_host_starts_as_many_workers_at_once_as_it_can_and_the_others_in_turn() {
    let mut plan = plan(&[0.0, 0.0, 0.0]);
    plan.hosts[0].spec.gpus = 3;
    plan.hosts[0].max_starts = 1;
    plan.endpoints[0].spec.max = 3;
    let (_, transcript) = run(&plan);
    assert_eq!(transcript.ready(), [10.0, 20.0, 30.0]);
    let starts = transcript.asked(|command| matches!(command, Command::StartWorker { .. }));
    assert_eq!(starts, [0.0, 0.0, 0.0]);
}

#[test]
fn a_worker_that_falls_silent_loses_its_job_after_the_lease() {
    let mut plan = always_on(&[1.0], 2.0);
    plan.endpoints[0].spec.lease = Some(Span::from_whole_secs(30));
    plan.endpoints[0].spec.max_attempts = 2;
    plan.endpoints[0].release.faults.hang_probability = 1.0;
    plan.endpoints[0].release.faults.hang_silent = true;
    let (_, transcript) = run(&plan);
    let requeued = transcript.asked(|command| matches!(command, Command::RequeueJob { .. }));
    assert_eq!(requeued, [31.0]);
    let silent = |command: &Command| matches!(command, Command::WorkerChanged { reason: WorkerReason::Silent, .. });
    assert!(!transcript.asked(silent).is_empty());
    assert_eq!(transcript.outcomes(JobOutcome::Failed).len(), 1);

    // With pings it hangs until the execution timeout. A second job at 150 s keeps the run going until the first has let go.
    plan.endpoints[0].traffic.sources[0].arrivals = ArrivalSpec::Times { at_s: Arc::new(vec![1.0, 150.0]) };
    plan.max_jobs = Some(2);
    plan.endpoints[0].release.faults.hang_silent = false;
    plan.endpoints[0].spec.execution_timeout = Some(Span::from_whole_secs(100));
    let (_, transcript) = run(&plan);
    let pings = transcript.when(|event| matches!(event, Event::WorkerPinged { .. }));
    assert_eq!(pings[..10], [11.0, 21.0, 31.0, 41.0, 51.0, 61.0, 71.0, 81.0, 91.0, 101.0]);
    assert_eq!(transcript.outcomes(JobOutcome::TimedOut), [101.0, 250.0]);
    assert_eq!(transcript.when(|event| matches!(event, Event::JobStopped { .. })), [101.05]);
}

#[test]
fn the_job_that_has_waited_longest_is_cancelled() {
    let mut plan = always_on(&[0.0, 1.0, 2.0], 10.0);
    let kind = ActionKind::CancelOldest { endpoint: EndpointId(0) };
    let at = |seconds, kind| Action { at: Time::from_secs(seconds), kind };
    // At 3 s the second job is the one that waits longest; at 15 s nobody waits and the third, which runs, is taken.
    plan.actions = vec![at(3.0, kind.clone()), at(15.0, kind)];
    let (_, transcript) = run(&plan);
    assert_eq!(transcript.outcomes(JobOutcome::Completed), [10.0]);
    assert_eq!(transcript.outcomes(JobOutcome::Cancelled), [3.0, 15.0]);
    assert_eq!(hand_outs(&transcript), [0.0, 10.0]);
}

#[test]
fn a_crash_in_a_job_is_retried_by_a_new_start() {
    let mut plan = always_on(&[1.0], 4.0);
    plan.endpoints[0].release.faults.crash_probability = 1.0;
    let (_, transcript) = run(&plan);
    let crashes = transcript.when(|event| matches!(event, Event::WorkerExited { .. }));
    assert_eq!(crashes.len(), 3, "three attempts are allowed");
    assert!(crashes[0] > 1.0 && crashes[0] < 5.0, "{crashes:?}");
    assert_eq!(transcript.outcomes(JobOutcome::Failed), [crashes[2]]);
}

#[test]
fn late_facts_arrive_and_change_nothing_in_the_end() {
    let mut plan = Plan::clean(Clean { jobs: 3_000, max: 100, ..Clean::default() });
    plan.endpoints[0].spec.lease = Some(Span::from_whole_secs(30));
    plan.faults.duplicate_fact_probability = 0.2;
    plan.faults.late_fact_probability = 0.2;
    plan.faults.fact_delay = Some(Distribution::Exponential { mean: 0.5 });
    let (end, transcript) = run(&plan);
    assert_eq!((end.reason, end.unfinished), (EndReason::Finished, 0));
    assert_eq!(transcript.outcomes(JobOutcome::Completed).len(), 3_000);
}

#[test]
fn memory_does_not_grow_with_the_number_of_jobs() {
    let mut simulation = Simulation::new(&Plan::clean(Clean { jobs: 30_000, ..Clean::default() })).expect("sound");
    simulation.run(&mut (), &mut |_| {}).expect("it ends");
    let world = simulation.world();
    // About 50 run at a time, some hundreds wait for the first cold starts.
    assert!(world.jobs.places() < 2_000, "{}", world.jobs.places());
    assert!(world.workers.len() <= 201, "{}", world.workers.len());
    assert_eq!(world.workers.iter().map(|worker| worker.attempts.len()).sum::<usize>(), 0);
    assert!(world.workers.iter().all(|worker| worker.id != WorkerId(u64::MAX)));
}

#[test]
fn mistakes_in_a_plan_are_named() {
    let fails = |change: fn(&mut Plan)| {
        let mut plan = plan(&[0.0]);
        change(&mut plan);
        Simulation::new(&plan).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let slow = fails(|plan| plan.hosts[0].slowdown = 0.0);
    assert!(slow.contains("host 0 (host): slowdown is 0"), "{slow}");
    let share = fails(|plan| plan.endpoints[0].release.faults.crash_probability = 1.5);
    assert!(share.contains("endpoint 0 (clean): crash_probability is 1.5"), "{share}");
    let policy = fails(|plan| plan.endpoints[0].spec.policies.scaling = PolicyChoice::named("per_jobb"));
    assert!(policy.contains("per_job"), "{policy}");
    let endless = fails(|plan| {
        plan.max_jobs = None;
        plan.endpoints[0].traffic.sources[0].arrivals = ArrivalSpec::Poisson { rate: 1.0 };
    });
    assert!(endless.contains("never ends"), "{endless}");
    let host = fails(|plan| {
        plan.actions = vec![Action { at: Time::ZERO, kind: ActionKind::LoseHost { host: HostId(4) } }];
    });
    assert!(host.contains("no host h4"), "{host}");
}
