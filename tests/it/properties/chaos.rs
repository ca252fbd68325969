//! Arbitrary facts straight into the scheduler: true ones, late ones, doubled ones, and nonsense.
//!
//! Nothing that a driver tells may make it panic or break a promise; a fact told twice changes nothing the second time; nothing
//! happens before the next deadline unless something is told; equal input gives equal output, over restarts too; and what the
//! scheduler says of itself when asked is what the transcript says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use thermocline::policy::PolicyChoice;
use thermocline::scheduler::{
    Command, Event, ExitCause, GpuClassId, HostSpec, JobPolicy, JobResult, Recorder, Scheduler, SchedulerConfig,
    StartStage,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Millis, Span, Time, WorkerId};

use super::plans::{Dice, Knobs, knobs, plan, spec};
use super::restore::Shadow;
use super::{check, fail};
use crate::checker::{Checker, JobPlace};

/// What is done next. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    /// Time goes on, deadlines are honoured.
    Wait(u32),
    /// A deadline is told before its time.
    Early,
    Submit {
        endpoint: u8,
        low: bool,
        ttl_ms: Option<u32>,
        timeout_ms: Option<u32>,
    },
    /// An open wish is answered.
    Answer {
        pick: u16,
        how: u8,
    },
    /// A worker asks for jobs.
    Take {
        pick: u16,
        slots: u8,
    },
    /// A fact of the past is told again.
    Repeat(u16),
    /// Any fact about any ids.
    Nonsense {
        kind: u8,
        worker: u16,
        epoch: u8,
        job: u16,
        number: u8,
    },
    /// A client or an operator does something.
    Admin {
        kind: u8,
        pick: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_000u32).prop_map(Step::Wait),
        1 => Just(Step::Early),
        6 => (any::<u8>(), any::<bool>(), proptest::option::of(1..60_000u32), proptest::option::of(1..30_000u32))
            .prop_map(|(endpoint, low, ttl_ms, timeout_ms)| Step::Submit { endpoint, low, ttl_ms, timeout_ms }),
        12 => (any::<u16>(), any::<u8>()).prop_map(|(pick, how)| Step::Answer { pick, how }),
        5 => (any::<u16>(), 0..4u8).prop_map(|(pick, slots)| Step::Take { pick, slots }),
        2 => any::<u16>().prop_map(Step::Repeat),
        4 => (any::<u8>(), any::<u16>(), 0..3u8, any::<u16>(), any::<u8>())
            .prop_map(|(kind, worker, epoch, job, number)| Step::Nonsense { kind, worker, epoch, job, number }),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(kind, pick)| Step::Admin { kind, pick }),
    ]
}

#[test]
fn no_fact_however_strange_breaks_a_promise() {
    let strategy = (knobs(1..2), proptest::collection::vec(step(), 1..400));
    check("tests/testdata/properties-chaos.txt", 250, &strategy, |(knobs, steps)| {
        let first = Driver::run(&knobs, &steps)?;
        if steps.len() % 4 == 0 && Driver::run(&knobs, &steps)?.transcript != first.transcript {
            return fail("the same facts give different commands".to_owned());
        }
        Ok(())
    });
}

struct Driver {
    knobs: Knobs,
    dice: Dice,
    scheduler: Scheduler,
    checker: Checker,
    now: Time,
    open: Vec<Command>,
    told: Vec<Event>,
    /// Every worker ever placed with its latest start, and every job ever accepted.
    workers: Vec<(WorkerId, u32)>,
    jobs: Vec<JobId>,
    submitted: u64,
    transcript: Vec<(Time, Command)>,
    shadow: Shadow,
}

impl Driver {
    fn run(knobs: &Knobs, steps: &[Step]) -> Result<Driver, TestCaseError> {
        let plan = plan(knobs);
        let mut driver = Driver::new(knobs, &plan.scheduler);
        for host in plan.hosts {
            driver.tell(&Event::HostAdded { host: Box::new(host.spec) })?;
        }
        for endpoint in plan.endpoints {
            driver.tell(&Event::EndpointCreated { spec: Box::new(endpoint.spec) })?;
        }
        for step in steps {
            driver.step(step)?;
        }
        driver.checker.finish();
        driver.judged()?;
        Ok(driver)
    }

    fn new(knobs: &Knobs, config: &SchedulerConfig) -> Driver {
        Driver {
            dice: Dice(knobs.seed ^ 0xC4A0),
            knobs: knobs.clone(),
            scheduler: Scheduler::new(config.clone()).expect("the policies of a plan exist"),
            checker: Checker::new(config),
            now: Time::ZERO,
            open: Vec::new(),
            told: Vec::new(),
            workers: Vec::new(),
            jobs: Vec::new(),
            submitted: 0,
            transcript: Vec::new(),
            shadow: Shadow::new(config, knobs.seed, 24),
        }
    }

    fn judged(&self) -> TestCaseResult {
        if self.checker.violations().is_empty() { Ok(()) } else { fail(self.checker.complaint()) }
    }

    /// Tells a fact and gives what followed.
    fn tell(&mut self, event: &Event) -> Result<Vec<Command>, TestCaseError> {
        self.checker.event(self.now, event);
        self.shadow.event(self.now, event);
        self.scheduler.handle(self.now, event);
        let mut followed = Vec::new();
        while let Some(command) = self.scheduler.poll_command() {
            self.checker.command(self.now, &command);
            self.shadow.command(self.now, &command);
            self.note(&command);
            self.transcript.push((self.now, command.clone()));
            followed.push(command);
        }
        self.shadow.settled(self.now, &self.scheduler);
        self.shadow.judged()?;
        self.judged()?;
        self.agrees()?;
        Ok(followed)
    }

    fn note(&mut self, command: &Command) {
        match command {
            Command::WorkerPlaced { worker, .. } if !self.workers.iter().any(|(known, _)| known == worker) => {
                self.workers.push((*worker, 0));
            }
            Command::StartWorker { worker, epoch, .. } => {
                if let Some(known) = self.workers.iter_mut().find(|(known, _)| known == worker) {
                    known.1 = *epoch;
                }
                self.open.push(command.clone());
            }
            Command::AcceptJob { job, .. } => self.jobs.push(*job),
            Command::PullImage { .. }
            | Command::StopWorker { .. }
            | Command::AssignJob { .. }
            | Command::StopJob { .. } => {
                self.open.push(command.clone());
            }
            _ => {}
        }
    }

    /// What the scheduler says of itself is what the transcript says.
    fn agrees(&self) -> TestCaseResult {
        let model = self.checker.model();
        let live = (
            model.jobs.len(),
            model.workers.values().filter(|worker| !worker.is(thermocline::scheduler::Phase::Removed)).count(),
        );
        if self.scheduler.live_entries() != live {
            return fail(format!(
                "{:?} jobs and workers live, {live:?} by the transcript",
                self.scheduler.live_entries()
            ));
        }
        for (id, job) in &model.jobs {
            let reason = self.scheduler.job_wait_reason(*id);
            if reason.is_some() != (job.place == JobPlace::Queued) {
                return fail(format!("{id} is {:?}, the scheduler says it waits for {reason:?}", job.place));
            }
        }
        let mut counts: BTreeMap<EndpointId, (u32, u32)> = BTreeMap::new();
        for job in model.jobs.values() {
            let count = counts.entry(job.endpoint).or_default();
            *(if job.place == JobPlace::Queued { &mut count.0 } else { &mut count.1 }) += 1;
        }
        for (number, endpoint) in model.endpoints.iter().enumerate() {
            let id = EndpointId(number as u32);
            let counted = self.scheduler.job_counts(id).map(|counts| (counts.in_queue, counts.in_progress));
            let expected = counts.get(&id).copied().unwrap_or_default();
            if counted != Some(expected) || self.scheduler.version(id) != Some(endpoint.version) {
                return fail(format!(
                    "{id}: {counted:?} jobs, {expected:?} by the transcript; {:?}",
                    self.scheduler.version(id)
                ));
            }
        }
        Ok(())
    }

    /// Tells a fact, and then the same fact once more: nothing may follow from that.
    fn tell_twice(&mut self, event: &Event) -> TestCaseResult {
        let followed = self.tell(event)?;
        self.told.push(event.clone());
        let deadline = self.scheduler.next_deadline();
        if is_new_each_time(event) {
            return Ok(());
        }
        // Another pull of the same image may be under way by now: that it failed is news.
        let pulls_again = |command: &Command| match (command, event) {
            (Command::PullImage { host, image }, Event::ImagePullFailed { host: h, image: i }) => {
                (host, image) == (h, i)
            }
            _ => false,
        };
        if followed.iter().any(pulls_again) {
            return Ok(());
        }
        let again = self.tell(event)?;
        if !again.is_empty() || self.scheduler.next_deadline() != deadline {
            let moved = self.scheduler.next_deadline();
            return fail(format!("told twice, {event:?} brings {again:?}, deadline {deadline:?} to {moved:?}"));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        match *step {
            Step::Wait(ms) => self.wait(Span::from_millis(u64::from(ms))),
            Step::Early => self.early(),
            Step::Submit { endpoint, low, ttl_ms, timeout_ms } => {
                let endpoint = EndpointId(u32::from(endpoint) % (self.endpoints() + 1));
                let policy = JobPolicy {
                    ttl: ttl_ms.and_then(Millis::new),
                    execution_timeout: timeout_ms.and_then(Millis::new),
                    low_priority: low,
                };
                self.submitted += 1;
                self.tell(&Event::JobSubmitted { endpoint, client_ref: self.submitted, policy }).map(drop)
            }
            Step::Answer { pick, how } => match self.answer(pick, how) {
                Some(event) => self.tell_twice(&event),
                None => Ok(()),
            },
            Step::Take { pick, slots } => match pick_from(&self.workers, pick) {
                Some((worker, epoch)) => self.tell_twice(&Event::TakeOpened { worker, epoch, slots: u32::from(slots) }),
                None => Ok(()),
            },
            Step::Repeat(pick) => match pick_from(&self.told, pick) {
                Some(event) => self.tell(&event).map(drop),
                None => Ok(()),
            },
            Step::Nonsense { kind, worker, epoch, job, number } => {
                let event = self.nonsense(kind, worker, epoch, job, number);
                self.tell_twice(&event)
            }
            Step::Admin { kind, pick } => {
                let event = self.admin(kind, pick);
                self.tell_twice(&event)
            }
        }
    }

    fn endpoints(&self) -> u32 {
        self.scheduler.endpoint_count() as u32
    }

    fn wait(&mut self, span: Span) -> TestCaseResult {
        let until = self.now + span;
        while let Some(at) = self.scheduler.next_deadline().filter(|at| *at <= until) {
            if at < self.now {
                return fail(format!("a deadline of {at} s is still open at {} s", self.now));
            }
            self.now = at;
            self.tell(&Event::DeadlineReached)?;
            if self.scheduler.next_deadline().is_some_and(|next| next <= at) {
                return fail(format!("the deadline of {at} s is not over after it was reached"));
            }
        }
        self.now = until;
        Ok(())
    }

    /// Before the next deadline nothing happens.
    fn early(&mut self) -> TestCaseResult {
        let deadline = self.scheduler.next_deadline();
        if deadline.is_some_and(|at| at <= self.now) {
            return Ok(());
        }
        let followed = self.tell(&Event::DeadlineReached)?;
        if !followed.is_empty() || self.scheduler.next_deadline() != deadline {
            return fail(format!("told early of its deadline {deadline:?}, the scheduler asks for {followed:?}"));
        }
        Ok(())
    }

    /// An answer to one of the open wishes, mostly the hoped-for one.
    fn answer(&mut self, pick: u16, how: u8) -> Option<Event> {
        if self.open.is_empty() {
            return None;
        }
        let wish = self.open.swap_remove(usize::from(pick) % self.open.len());
        Some(match wish {
            Command::PullImage { host, image } if how.is_multiple_of(8) => Event::ImagePullFailed { host, image },
            Command::PullImage { host, image } => Event::ImagePulled { host, image },
            Command::StartWorker { worker, epoch, .. } => match how % 10 {
                0 => Event::WorkerExited { worker, epoch, cause: ExitCause::StartFailed },
                1 => Event::WorkerExited { worker, epoch, cause: ExitCause::Unfit },
                _ => Event::WorkerReady { worker, epoch },
            },
            Command::StopWorker { worker, epoch, .. } => {
                Event::WorkerStopped { worker, epoch, frozen: how.is_multiple_of(2) }
            }
            Command::AssignJob { job, worker, epoch, attempt, .. } => match how % 12 {
                0 => Event::WorkerExited { worker, epoch, cause: ExitCause::Crashed },
                1 => Event::WorkerExited { worker, epoch, cause: ExitCause::Silent },
                2 => Event::WorkerExited { worker, epoch, cause: ExitCause::Left },
                3 => Event::TakeLost { worker, epoch, job, attempt },
                other => Event::JobFinished {
                    worker,
                    epoch,
                    job,
                    attempt,
                    result: if other == 4 { JobResult::Failed } else { JobResult::Completed },
                    refresh: other == 5,
                },
            },
            Command::StopJob { job, worker, epoch, attempt } => Event::JobStopped { worker, epoch, job, attempt },
            _ => return None,
        })
    }

    fn nonsense(&mut self, kind: u8, worker: u16, epoch: u8, job: u16, number: u8) -> Event {
        let (worker, latest) =
            pick_from(&self.workers, worker).filter(|_| number != 0).unwrap_or((WorkerId::new(9_999, 1), 1));
        let epoch = (latest + u32::from(epoch)).saturating_sub(1);
        let job = pick_from(&self.jobs, job).filter(|_| number != 1).unwrap_or(JobId::new(9_999, 1));
        let attempt = u32::from(number % 4);
        let host = HostId(u32::from(number % 4));
        let image = ImageId(u32::from(number / 4 % 5));
        let slots = u32::from(number);
        match kind % 16 {
            0 => Event::StageEnded { worker, epoch, stage: StartStage::Cuda },
            1 => Event::WorkerReady { worker, epoch },
            2 => Event::WorkerExited { worker, epoch, cause: ExitCause::Crashed },
            3 => Event::WorkerExited { worker, epoch, cause: ExitCause::Left },
            4 => Event::WorkerStopped { worker, epoch, frozen: number.is_multiple_of(2) },
            5 => Event::SnapshotLost { worker, epoch },
            6 => Event::WorkerPinged { worker, epoch },
            7 => Event::TakeOpened { worker, epoch, slots },
            8 => Event::TakeClosed { worker, epoch },
            9 => Event::JobFinished {
                worker,
                epoch,
                job,
                attempt,
                result: JobResult::Completed,
                refresh: number.is_multiple_of(3),
            },
            10 => Event::JobStopped { worker, epoch, job, attempt },
            11 => Event::TakeLost { worker, epoch, job, attempt },
            12 => Event::ImagePulled { host, image },
            13 => Event::ImagePullFailed { host, image },
            14 => Event::CancelRequested { job },
            _ => Event::HostCapacityChanged { host, gpus: slots % 10 },
        }
    }

    fn admin(&mut self, kind: u8, pick: u16) -> Event {
        let endpoint = EndpointId(u32::from(pick) % (self.endpoints() + 1));
        let host = HostId(u32::from(pick) % (self.checker.model().hosts.len() as u32 + 1));
        match kind % 12 {
            0..=2 => {
                let mut spec = spec(&self.knobs, &mut self.dice);
                spec.container_digest = u64::from(kind % 2);
                if kind.is_multiple_of(7) {
                    spec.policies.scaling = PolicyChoice::named("no such policy");
                }
                Event::EndpointUpdated { endpoint, spec: Box::new(spec) }
            }
            3..=4 => Event::PurgeRequested { endpoint },
            5..=6 => Event::HostLost { host },
            7..=8 => Event::HostReturned { host },
            9 => Event::EndpointDeleted { endpoint },
            10 if self.endpoints() < 6 => Event::EndpointCreated { spec: Box::new(spec(&self.knobs, &mut self.dice)) },
            _ => Event::HostAdded { host: Box::new(another_host()) },
        }
    }
}

fn pick_from<T: Clone>(all: &[T], pick: u16) -> Option<T> {
    all.get(usize::from(pick) % all.len().max(1)).cloned()
}

/// Telling it twice makes two of it: jobs, hosts, endpoints; settings and takes may be looked at anew.
fn is_new_each_time(event: &Event) -> bool {
    matches!(
        event,
        Event::HostAdded { .. }
            | Event::EndpointCreated { .. }
            | Event::EndpointUpdated { .. }
            | Event::JobSubmitted { .. }
            | Event::TakeOpened { .. }
    )
}

fn another_host() -> HostSpec {
    HostSpec {
        name: "late".to_owned(),
        data_center: "EU".to_owned(),
        gpu_class: GpuClassId(0),
        gpus: 2,
        memory_bytes: 1 << 36,
        disk_bytes: 30_000_000_000,
        pull_bytes_per_s: 1,
        priority: 0,
        cached: Vec::new(),
    }
}
