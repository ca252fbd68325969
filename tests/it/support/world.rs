//! A world of constants around the bare scheduler: every wish is answered after a fixed time, by a fixed kind of fact.
//!
//! It is not the simulator and shares nothing with it: no randomness, no bandwidth, no models. What it tells can be changed at any
//! time, and any fact can be told by hand, so that a script can show one behaviour of the scheduler at a time.

use std::collections::BTreeMap;

use thermocline::scheduler::{
    Command, EndpointSpec, Event, ExitCause, JobResult, PickUp, Recorder, Scheduler, SchedulerConfig, StartStage,
    StopMode,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Span, Time, WorkerId};

/// How a start ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StartEnd {
    Ready,
    Exit(ExitCause),
    Never,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JobEnd {
    Completed,
    Refresh,
    Error,
    Crash,
    Never,
    TakeLost,
}

/// How everything else ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Yes,
    No,
    Never,
}

/// What the world does, until told otherwise.
#[derive(Clone, Debug)]
pub struct Habits {
    pub start: Span,
    pub start_end: StartEnd,
    pub resume: Span,
    pub service: Span,
    pub job_end: JobEnd,
    pub pull: Span,
    pub pull_end: Answer,
    pub stop: Span,
    /// `No`: stopped, but the snapshot is not kept.
    pub stop_end: Answer,
    pub job_stop: Span,
    /// `No` and `Never`: the signal is ignored.
    pub job_stop_end: Answer,
    /// A worker whose places are full asks again at whole multiples of this after its last take.
    pub pace: Span,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            start: Span::from_whole_secs(10),
            start_end: StartEnd::Ready,
            resume: Span::SECOND,
            service: Span::from_whole_secs(3),
            job_end: JobEnd::Completed,
            pull: Span::from_whole_secs(20),
            pull_end: Answer::Yes,
            stop: Span::SECOND,
            stop_end: Answer::Yes,
            job_stop: Span::from_millis(100),
            job_stop_end: Answer::Yes,
            pace: Span::ZERO,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Process {
    epoch: u32,
    endpoint: u32,
    host: u32,
    jobs: BTreeMap<JobId, u32>,
    open: u32,
    last_take: Time,
}

/// The world, with the scheduler in it.
pub struct World<R: Recorder> {
    pub scheduler: Scheduler,
    pub recorder: R,
    pub habits: Habits,
    now: Time,
    agenda: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    specs: Vec<EndpointSpec>,
    processes: BTreeMap<WorkerId, Process>,
    /// The latest start of every worker ever placed, and the ids by their short names.
    epochs: BTreeMap<WorkerId, u32>,
    workers: BTreeMap<u64, WorkerId>,
    jobs: BTreeMap<u64, JobId>,
    submitted: u64,
}

impl<R: Recorder> World<R> {
    pub fn new(config: SchedulerConfig, habits: Habits, recorder: R) -> World<R> {
        World {
            scheduler: Scheduler::new(config).expect("the configuration names known policies"),
            recorder,
            habits,
            now: Time::ZERO,
            agenda: BTreeMap::new(),
            sequence: 0,
            specs: Vec::new(),
            processes: BTreeMap::new(),
            epochs: BTreeMap::new(),
            workers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            submitted: 0,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// The worker shown as `w<sequence>`.
    pub fn worker(&self, sequence: u64) -> Option<WorkerId> {
        self.workers.get(&sequence).copied()
    }

    /// The job shown as `j<sequence>`.
    pub fn job(&self, sequence: u64) -> Option<JobId> {
        self.jobs.get(&sequence).copied()
    }

    /// Number of the latest start of a worker.
    pub fn epoch(&self, worker: WorkerId) -> u32 {
        self.epochs.get(&worker).copied().unwrap_or(0)
    }

    /// A number for the next submission.
    pub fn next_client_ref(&mut self) -> u64 {
        self.submitted += 1;
        self.submitted - 1
    }

    /// Current settings of an endpoint.
    pub fn spec(&self, endpoint: EndpointId) -> &EndpointSpec {
        &self.specs[endpoint.index()]
    }

    /// Lets everything happen that is due up to and including `until`.
    pub fn run_until(&mut self, until: Time) {
        loop {
            let fact = self.agenda.keys().next().map(|(at, _)| *at);
            let deadline = self.scheduler.next_deadline();
            let Some(next) = [fact, deadline].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            assert!(next >= self.now, "deadline {next} s lies before {} s", self.now);
            self.now = next;
            if fact == Some(next) {
                let (_, event) = self.agenda.pop_first().expect("a fact is due");
                self.tell(&event);
            } else {
                self.tell(&Event::DeadlineReached);
                let again = self.scheduler.next_deadline();
                assert!(again.is_none_or(|at| at > next), "the deadline of {next} s is not over after it was reached");
            }
        }
        self.now = until;
    }

    /// Tells a fact now, and does what the scheduler then asks for.
    pub fn tell(&mut self, event: &Event) {
        self.happens(event);
        self.recorder.event(self.now, event);
        self.scheduler.handle(self.now, event);
        while let Some(command) = self.scheduler.poll_command() {
            self.recorder.command(self.now, &command);
            self.answer(&command);
        }
    }

    /// What the fact means for the world itself.
    fn happens(&mut self, event: &Event) {
        match event {
            Event::EndpointCreated { spec } => self.specs.push((**spec).clone()),
            Event::EndpointUpdated { endpoint, spec } => self.specs[endpoint.index()] = (**spec).clone(),
            Event::WorkerReady { worker, epoch } => self.take_later(*worker, *epoch, Span::ZERO),
            Event::TakeOpened { worker, epoch, slots } => {
                if let Some(process) = self.process(*worker, *epoch) {
                    process.open = *slots;
                }
            }
            Event::JobFinished { worker, epoch, job, .. }
            | Event::JobStopped { worker, epoch, job, .. }
            | Event::TakeLost { worker, epoch, job, .. } => self.job_left(*worker, *epoch, *job),
            Event::WorkerExited { worker, epoch, .. } | Event::WorkerStopped { worker, epoch, .. }
                if self.process(*worker, *epoch).is_some() =>
            {
                self.forget(*worker);
            }
            Event::HostLost { host } => {
                let lost: Vec<WorkerId> =
                    self.processes.iter().filter(|(_, p)| p.host == host.0).map(|(id, _)| *id).collect();
                lost.into_iter().for_each(|worker| self.forget(worker));
                self.agenda.retain(|_, event| !is_pull_on(event, *host));
            }
            _ => {}
        }
    }

    fn process(&mut self, worker: WorkerId, epoch: u32) -> Option<&mut Process> {
        self.processes.get_mut(&worker).filter(|process| process.epoch == epoch)
    }

    /// The process is gone: nothing more comes from it.
    fn forget(&mut self, worker: WorkerId) {
        self.processes.remove(&worker);
        self.agenda.retain(|_, event| author(event) != Some(worker));
    }

    fn job_left(&mut self, worker: WorkerId, epoch: u32, job: JobId) {
        let pace = self.habits.pace;
        let now = self.now;
        let Some(process) = self.process(worker, epoch) else { return };
        if process.jobs.remove(&job).is_none() {
            return;
        }
        let since = now.since(process.last_take).0;
        let wait = if pace.is_zero() { 0 } else { since.div_ceil(pace.0) * pace.0 - since };
        self.take_later(worker, epoch, Span(wait));
    }

    /// The worker asks for jobs after `wait`, for as many as it has places.
    fn take_later(&mut self, worker: WorkerId, epoch: u32, wait: Span) {
        let Some(process) = self.process(worker, epoch).cloned() else { return };
        let spec = &self.specs[process.endpoint as usize];
        if spec.pick_up == PickUp::Pull {
            let slots = spec.concurrency.saturating_sub(process.jobs.len() as u32);
            self.later(wait, Event::TakeOpened { worker, epoch, slots });
        }
    }

    fn later(&mut self, wait: Span, event: Event) {
        self.agenda.insert((self.now + wait, self.sequence), event);
        self.sequence += 1;
    }

    /// Does what was asked for.
    fn answer(&mut self, command: &Command) {
        match *command {
            Command::PullImage { host, image } => self.answer_pull(host, image),
            Command::StartWorker { worker, epoch, endpoint, host, resume, .. } => {
                let process = Process { epoch, endpoint: endpoint.0, host: host.0, ..Process::default() };
                self.processes.insert(worker, process);
                self.epochs.insert(worker, epoch);
                self.answer_start(worker, epoch, resume);
            }
            Command::StopWorker { worker, epoch, mode } => self.answer_stop(worker, epoch, mode),
            Command::AssignJob { job, worker, epoch, attempt, .. } => self.answer_assign(job, worker, epoch, attempt),
            Command::StopJob { job, worker, epoch, attempt } if self.habits.job_stop_end == Answer::Yes => {
                self.agenda.retain(|_, event| !is_end_of(event, job));
                self.later(self.habits.job_stop, Event::JobStopped { worker, epoch, job, attempt });
            }
            Command::WorkerPlaced { worker, .. } => {
                self.workers.insert(worker.sequence(), worker);
            }
            Command::AcceptJob { job, .. } => {
                self.jobs.insert(job.sequence(), job);
            }
            _ => {}
        }
    }

    fn answer_pull(&mut self, host: HostId, image: ImageId) {
        match self.habits.pull_end {
            Answer::Yes => self.later(self.habits.pull, Event::ImagePulled { host, image }),
            Answer::No => self.later(self.habits.pull, Event::ImagePullFailed { host, image }),
            Answer::Never => {}
        }
    }

    fn answer_start(&mut self, worker: WorkerId, epoch: u32, resume: bool) {
        let (wait, stage) =
            if resume { (self.habits.resume, StartStage::Resume) } else { (self.habits.start, StartStage::Container) };
        match self.habits.start_end {
            StartEnd::Ready => {
                self.later(wait, Event::StageEnded { worker, epoch, stage });
                self.later(wait, Event::WorkerReady { worker, epoch });
            }
            StartEnd::Exit(cause) => self.later(wait, Event::WorkerExited { worker, epoch, cause }),
            StartEnd::Never => {}
        }
    }

    fn answer_stop(&mut self, worker: WorkerId, epoch: u32, mode: StopMode) {
        self.agenda.retain(|_, event| author(event) != Some(worker));
        let frozen = mode == StopMode::Freeze && self.habits.stop_end == Answer::Yes;
        if self.habits.stop_end != Answer::Never || mode == StopMode::Kill {
            self.later(self.habits.stop, Event::WorkerStopped { worker, epoch, frozen });
        }
    }

    fn answer_assign(&mut self, job: JobId, worker: WorkerId, epoch: u32, attempt: u32) {
        let now = self.now;
        if let Some(process) = self.process(worker, epoch) {
            process.jobs.insert(job, attempt);
            process.last_take = now;
        }
        let ended = |result, refresh| Event::JobFinished { worker, epoch, job, attempt, result, refresh };
        let event = match self.habits.job_end {
            JobEnd::Completed => ended(JobResult::Completed, false),
            JobEnd::Refresh => ended(JobResult::Completed, true),
            JobEnd::Error => ended(JobResult::Failed, false),
            JobEnd::Crash => Event::WorkerExited { worker, epoch, cause: ExitCause::Crashed },
            JobEnd::TakeLost => Event::TakeLost { worker, epoch, job, attempt },
            JobEnd::Never => return,
        };
        self.later(self.habits.service, event);
    }
}

/// The worker that a fact comes from.
fn author(event: &Event) -> Option<WorkerId> {
    match event {
        Event::StageEnded { worker, .. }
        | Event::WorkerReady { worker, .. }
        | Event::WorkerExited { worker, .. }
        | Event::WorkerStopped { worker, .. }
        | Event::WorkerPinged { worker, .. }
        | Event::TakeOpened { worker, .. }
        | Event::TakeClosed { worker, .. }
        | Event::JobFinished { worker, .. }
        | Event::JobStopped { worker, .. }
        | Event::TakeLost { worker, .. } => Some(*worker),
        _ => None,
    }
}

fn is_pull_on(event: &Event, lost: HostId) -> bool {
    matches!(event, Event::ImagePulled { host, .. } | Event::ImagePullFailed { host, .. } if *host == lost)
}

fn is_end_of(event: &Event, ended: JobId) -> bool {
    matches!(event, Event::JobFinished { job, .. } if *job == ended)
}
