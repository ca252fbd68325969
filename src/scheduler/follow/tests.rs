//! What a follower believes after short transcripts written by hand.

use super::*;
use crate::scheduler::script::{Script, job, worker};
use crate::scheduler::{EndpointSpec, FinishCause, GpuClassId, JobOutcome};
use crate::units::ImageId;

fn followed(script: &Script) -> Follower<()> {
    let mut follower = Follower::new(());
    script.play(&mut follower);
    follower
}

fn spec(image: u32, gpus: u32) -> Box<EndpointSpec> {
    let spec = EndpointSpec::with_defaults("a", ImageId(image), GpuClassId(0));
    Box::new(EndpointSpec { gpus_per_worker: gpus, ..spec })
}

fn placed(script: &mut Script, n: u64, version: u32) {
    let (worker, endpoint, host) = (worker(n), EndpointId(0), Some(HostId(0)));
    script.asked(Command::WorkerPlaced { worker, endpoint, host, kind: WorkerKind::Flex, version });
}

/// The GPUs (and so the price) of a worker are those of its release, also after a roll-back, whose workers are told of before
/// the release is.
#[test]
fn workers_take_the_gpus_of_their_release() {
    let mut script = Script::default();
    let endpoint = EndpointId(0);
    script.told(Event::EndpointCreated { spec: spec(0, 1) });
    placed(&mut script, 0, 1);
    script.told(Event::EndpointUpdated { endpoint, spec: Box::new(EndpointSpec { max: 9, ..*spec(0, 1) }) });
    script.told(Event::EndpointUpdated { endpoint, spec: spec(1, 4) });
    script.asked(Command::ReleaseChanged { endpoint, version: 2, status: ReleaseStatus::Rolling });
    placed(&mut script, 1, 2);
    script.asked(Command::ReleaseChanged { endpoint, version: 2, status: ReleaseStatus::RolledBack });
    placed(&mut script, 0, 3);
    script.asked(Command::ReleaseChanged { endpoint, version: 3, status: ReleaseStatus::Rolling });
    placed(&mut script, 2, 3);
    script.told(Event::EndpointUpdated { endpoint, spec: spec(2, 2) });
    placed(&mut script, 3, 4);
    let gpus: Vec<u32> = followed(&script).workers().iter().map(|worker| worker.gpus).collect();
    assert_eq!(gpus, [1, 4, 1, 2]);
}

#[test]
fn a_stopped_job_holds_its_place_until_the_worker_lets_go_even_if_its_id_is_reused() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1).ready(0, 1).submit(0, 0).assign(0, 0, 1, 1);
    script.finish(0, JobOutcome::TimedOut, FinishCause::ExecutionTimeout);
    // The next job gets the same place in the table of live jobs.
    let next = JobId::new(1, 0);
    script.asked(Command::AcceptJob { job: next, endpoint: EndpointId(0), client_ref: 1 });
    script.asked(Command::AssignJob { job: next, client_ref: 1, worker: worker(0), epoch: 1, attempt: 1 });
    assert_eq!(followed(&script).workers()[0].in_hand, 2);
    script.told(Event::JobStopped { worker: worker(0), epoch: 1, job: job(0), attempt: 1 });
    let follower = followed(&script);
    assert_eq!((follower.workers()[0].in_hand, follower.jobs()[0].id), (1, next));
}

#[test]
fn a_restart_forgets_what_the_worker_held() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1).ready(0, 1).submit(0, 0).assign(0, 0, 1, 1);
    script.finish(0, JobOutcome::Cancelled, FinishCause::Cancelled);
    script.phase(0, Phase::Stopping, WorkerReason::IgnoredStop).phase(0, Phase::Asleep, WorkerReason::NoDemand);
    script.start(0, 2).ready(0, 2).submit(1, 0).assign(1, 0, 2, 1);
    script.told(Event::JobStopped { worker: worker(0), epoch: 1, job: job(0), attempt: 1 });
    assert_eq!(followed(&script).workers()[0].in_hand, 1);
}

#[test]
fn causes_of_starts_are_the_scalers_the_floors_or_the_failures() {
    let mut script = Script::with_endpoints(1);
    let (endpoint, reason) = (EndpointId(0), ScaleReason::QueueDelay);
    script.asked(Command::ScaleDecided { endpoint, from: 0, to: 1, reason, trigger: None });
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1);
    script.place(1, 0, 0, WorkerKind::Active).phase(1, Phase::Starting, WorkerReason::ActiveFloor);
    script.place(2, 0, 0, WorkerKind::Flex).start(2, 1).phase(2, Phase::Unhealthy, WorkerReason::Crashed);
    script.phase(2, Phase::Starting, WorkerReason::ColdStart);
    let causes: Vec<&str> = followed(&script).workers().iter().map(|worker| worker.cause.as_str()).collect();
    assert_eq!(causes, ["queue_delay", "active_floor", "crashed"]);
}

#[test]
fn what_is_left_is_told_at_the_end() {
    #[derive(Default)]
    struct Left(u64, u64, bool);
    impl Watcher for Left {
        fn job_left(&mut self, _: Time, _: &LiveJob) {
            self.0 += 1;
        }
        fn worker_left(&mut self, _: Time, _: &Member) {
            self.1 += 1;
        }
        fn run_ended(&mut self, _: Time) {
            self.2 = true;
        }
    }
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).place(1, 0, 0, WorkerKind::Flex).submit(0, 0).submit(1, 0).submit(2, 0);
    script.phase(1, Phase::Removed, WorkerReason::ScaleDown).finish(1, JobOutcome::Cancelled, FinishCause::Purged);
    let (left, nobody) = script.fold((Left::default(), None::<Left>));
    assert_eq!((left.0, left.1, left.2), (2, 1, true));
    assert!(nobody.is_none());
}
