//! A state is taken up whole or not at all; and facts that a restart makes likely: late, unasked, of names nobody knows.

use serde_json::{Value, json};

use super::*;
use crate::policy::PolicyChoice;
use crate::scheduler::script::{classes, host_spec};
use crate::scheduler::{Command, ExitCause, JobOutcome, JobResult, RequeueCause, WorkerReason};
use crate::scheduler::{EndpointSpec, Event, GpuClassId, JobPolicy, StopMode};
use crate::units::{ImageId, Time};

fn told(scheduler: &mut Scheduler, at: f64, event: &Event) -> Vec<Command> {
    scheduler.handle(Time::from_secs(at), event);
    std::iter::from_fn(|| scheduler.poll_command()).collect()
}

fn submit(scheduler: &mut Scheduler, at: f64, client_ref: u64) -> Vec<Command> {
    let (endpoint, policy) = (EndpointId(0), JobPolicy::default());
    told(scheduler, at, &Event::JobSubmitted { endpoint, client_ref, policy })
}

/// One host, one endpoint, a worker in its first start that runs the first of three jobs.
fn busy() -> (Scheduler, WorkerId, JobId) {
    let config = SchedulerConfig { gpu_classes: classes(), images: Vec::new(), eviction: PolicyChoice::named("lru") };
    let mut scheduler = Scheduler::new(config).unwrap();
    let mut spec = EndpointSpec::with_defaults("e", ImageId(0), GpuClassId(0));
    spec.max = 1;
    spec.extra = 0;
    spec.policies.scaling = PolicyChoice::named("request_count").with("scale_down_delay_s", 30.0);
    told(&mut scheduler, 0.0, &Event::HostAdded { host: Box::new(host_spec(0)) });
    told(&mut scheduler, 0.0, &Event::EndpointCreated { spec: Box::new(spec) });
    told(&mut scheduler, 0.0, &Event::ImagePulled { host: HostId(0), image: ImageId(0) });
    let mut asked = submit(&mut scheduler, 1.0, 1);
    for client_ref in 2..4 {
        asked.extend(submit(&mut scheduler, 1.0, client_ref));
    }
    asked.extend(told(&mut scheduler, 2.0, &Event::DeadlineReached));
    let started = asked.iter().find_map(|command| match command {
        Command::StartWorker { worker, .. } => Some(*worker),
        _ => None,
    });
    let worker = started.unwrap();
    told(&mut scheduler, 3.0, &Event::WorkerReady { worker, epoch: 1 });
    let asked = told(&mut scheduler, 3.0, &Event::TakeOpened { worker, epoch: 1, slots: 1 });
    let Some(Command::AssignJob { job, .. }) = asked.first() else { panic!("{asked:?}") };
    (scheduler, worker, *job)
}

#[test]
fn a_restored_scheduler_knows_what_the_saved_one_knew() {
    let (scheduler, worker, job) = busy();
    let text = serde_json::to_string(&scheduler.snapshot()).unwrap();
    let mut restored = Scheduler::restore(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(restored.snapshot(), scheduler.snapshot());
    assert_eq!(restored.worker_status(worker), scheduler.worker_status(worker));
    assert_eq!(restored.job_counts(EndpointId(0)), scheduler.job_counts(EndpointId(0)));
    let (result, refresh) = (JobResult::Completed, false);
    let asked = told(&mut restored, 4.0, &Event::JobFinished { worker, epoch: 1, job, attempt: 1, result, refresh });
    let (outcome, cause) = (JobOutcome::Completed, super::super::FinishCause::Result);
    assert_eq!(asked[0], Command::FinishJob { job, client_ref: 1, outcome, cause });
}

#[test]
fn a_stop_is_measured_from_its_command_to_its_end_and_kept() {
    let (mut scheduler, worker, job) = busy();
    let (result, refresh) = (JobResult::Completed, true);
    let asked = told(&mut scheduler, 4.0, &Event::JobFinished { worker, epoch: 1, job, attempt: 1, result, refresh });
    assert!(asked.iter().any(|command| matches!(command, Command::StopWorker { .. })), "{asked:?}");
    told(&mut scheduler, 7.0, &Event::WorkerStopped { worker, epoch: 1, frozen: false });
    let state = scheduler.snapshot();
    assert_eq!(serde_json::to_value(&state).unwrap()["endpoints"][0]["mean_stop"], json!(3_000_000));
    assert_eq!(Scheduler::restore(state.clone()).unwrap().snapshot(), state);
}

#[test]
fn commands_that_were_not_fetched_are_not_lost() {
    let (mut scheduler, _, job) = busy();
    scheduler.handle(Time::from_secs(4.0), &Event::CancelRequested { job });
    let mut restored = Scheduler::restore(scheduler.snapshot()).unwrap();
    let commands = |scheduler: &mut Scheduler| std::iter::from_fn(|| scheduler.poll_command()).collect::<Vec<_>>();
    assert_eq!(commands(&mut restored).len(), 2);
    assert!(!commands(&mut scheduler).is_empty());
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    let (scheduler, ..) = busy();
    let mut value = serde_json::to_value(scheduler.snapshot()).unwrap();
    change(&mut value);
    match serde_json::from_value(value).map(Scheduler::restore) {
        Ok(Ok(_)) => panic!("a damaged state was taken up"),
        Ok(Err(error)) => error.to_string(),
        Err(error) => panic!("not even read: {error}"),
    }
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let starts = |text: String, with: &str| assert!(text.starts_with(with), "{text}");
    starts(refused(|state| state["format"] = json!(9)), "this state of the scheduler has format 9");
    starts(
        refused(|state| state["endpoints"] = json!([])),
        "the state of the scheduler is damaged: w0 is of an endpoint",
    );
    starts(
        refused(|state| state["workers"]["rows"][0]["held"] = json!([])),
        "the state of the scheduler is damaged: j0",
    );
    starts(
        refused(|state| state["jobs"]["rows"][1][0] = json!(7)),
        "the state of the scheduler is damaged: the ids of jobs",
    );
    starts(
        refused(|state| state["jobs"]["free"] = json!([0])),
        "the state of the scheduler is damaged: the ids of jobs",
    );
    starts(
        refused(|state| state["hosts"][0]["workers"] = json!([])),
        "the state of the scheduler is damaged: 1 workers",
    );
    starts(refused(|state| state["endpoints"][0]["scaling"] = json!("x")), "endpoint `e`: what its policy has learned");
    starts(
        refused(|state| state["worker_deadlines"] = json!([[5, 77]])),
        "the state of the scheduler is damaged: a deadline",
    );
    starts(
        refused(|state| state["endpoints"][0]["spec"]["policies"]["scaling"]["name"] = json!("magic")),
        "endpoint `e`: no scaling policy is named `magic`",
    );
}

#[test]
fn a_stop_that_nobody_asked_for_is_an_end() {
    let (mut scheduler, worker, job) = busy();
    let asked = told(&mut scheduler, 4.0, &Event::WorkerStopped { worker, epoch: 1, frozen: true });
    assert_eq!(asked[0], Command::RequeueJob { job, worker, cause: RequeueCause::WorkerLeft });
    let down = |command: &Command| {
        matches!(command, Command::WorkerChanged { phase: Phase::Asleep, reason: WorkerReason::Left, .. })
    };
    assert!(asked.iter().any(down), "{asked:?}");
    assert!(told(&mut scheduler, 4.5, &Event::WorkerStopped { worker, epoch: 1, frozen: false }).is_empty());
    // What it had done before it went counts while the job waits, once.
    let (result, refresh) = (JobResult::Completed, false);
    let finished = Event::JobFinished { worker, epoch: 1, job, attempt: 1, result, refresh };
    assert!(matches!(told(&mut scheduler, 5.0, &finished)[0], Command::FinishJob { client_ref: 1, .. }));
    assert!(told(&mut scheduler, 5.0, &finished).is_empty());
}

#[test]
fn an_exit_while_stopping_completes_the_stop_and_unknown_names_change_nothing() {
    let (mut scheduler, worker, job) = busy();
    let mut deleted = told(&mut scheduler, 4.0, &Event::EndpointDeleted { endpoint: EndpointId(0) });
    let (result, refresh) = (JobResult::Completed, false);
    deleted.extend(told(
        &mut scheduler,
        4.5,
        &Event::JobFinished { worker, epoch: 1, job, attempt: 1, result, refresh },
    ));
    let stop = Command::StopWorker { worker, epoch: 1, mode: StopMode::Sleep };
    assert!(deleted.contains(&stop), "{deleted:?}");
    let asked = told(&mut scheduler, 5.0, &Event::WorkerExited { worker, epoch: 1, cause: ExitCause::Crashed });
    assert!(asked.iter().any(|command| matches!(command, Command::WorkerChanged { phase: Phase::Removed, .. })));
    let (nobody, nothing) = (WorkerId::new(99, 7), JobId::new(99, 9));
    for event in [
        Event::WorkerStopped { worker, epoch: 1, frozen: false },
        Event::WorkerReady { worker: nobody, epoch: 1 },
        Event::WorkerExited { worker: nobody, epoch: 1, cause: ExitCause::Left },
        Event::JobFinished { worker: nobody, epoch: 1, job: nothing, attempt: 1, result, refresh },
        Event::CancelRequested { job: nothing },
        Event::PurgeRequested { endpoint: EndpointId(7) },
        Event::ImagePulled { host: HostId(7), image: ImageId(7) },
        Event::HostLost { host: HostId(7) },
    ] {
        assert!(told(&mut scheduler, 6.0, &event).is_empty(), "{event:?}");
    }
}
