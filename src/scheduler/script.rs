//! Transcripts written by hand, for tests of the folds over them.

use super::follow::Follower;
use super::watch::Watcher;
use super::*;
use crate::units::{EndpointId, HostId, ImageId, JobId, Span, Time, UsdPerSecond, WorkerId};

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Told.
    Fact(Event),
    /// Asked or noted.
    Wish(Command),
}

/// A transcript in the making.
#[derive(Clone, Debug, Default)]
pub struct Script {
    now: Time,
    /// Its lines so far.
    pub lines: Vec<(Time, Line)>,
}

/// The `n`-th worker, at slot `n`.
pub fn worker(n: u64) -> WorkerId {
    WorkerId::new(n, n as usize)
}

/// The `n`-th job, at slot `n`.
pub fn job(n: u64) -> JobId {
    JobId::new(n, n as usize)
}

/// Two classes: flex $0.001 and active $0.0007 per second, and twice that.
pub fn classes() -> Vec<GpuClass> {
    let class = |name: &str, nano: u64| GpuClass {
        name: name.to_owned(),
        flex: UsdPerSecond(nano * 10),
        active: UsdPerSecond(nano * 7),
    };
    vec![class("SMALL", 100_000), class("LARGE", 200_000)]
}

/// A host of a class.
pub fn host_spec(class: u16) -> HostSpec {
    HostSpec {
        name: "host".to_owned(),
        data_center: "here".to_owned(),
        gpu_class: GpuClassId(class),
        gpus: 8,
        memory_bytes: 1 << 40,
        disk_bytes: 1 << 40,
        pull_bytes_per_s: 1 << 30,
        priority: 0,
        cached: vec![ImageId(0)],
    }
}

impl Script {
    /// Two hosts, one of each class, and `endpoints` endpoints.
    pub fn with_endpoints(endpoints: u32) -> Script {
        let mut script = Script::default();
        for class in 0..2 {
            script.told(Event::HostAdded { host: Box::new(host_spec(class)) });
        }
        for number in 0..endpoints {
            let spec = EndpointSpec::with_defaults(&format!("endpoint-{number}"), ImageId(0), GpuClassId(0));
            script.told(Event::EndpointCreated { spec: Box::new(spec) });
        }
        script
    }

    /// What follows happens at `seconds`.
    pub fn at(&mut self, seconds: f64) -> &mut Script {
        self.now = Time::from_secs(seconds);
        self
    }

    /// What follows happens `span` later.
    pub fn after(&mut self, span: Span) -> &mut Script {
        self.now = self.now + span;
        self
    }

    /// The time of the last line.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A fact.
    pub fn told(&mut self, event: Event) -> &mut Script {
        self.lines.push((self.now, Line::Fact(event)));
        self
    }

    /// A wish or notice.
    pub fn asked(&mut self, command: Command) -> &mut Script {
        self.lines.push((self.now, Line::Wish(command)));
        self
    }

    /// A worker is placed (or changed).
    pub fn place(&mut self, n: u64, endpoint: u32, host: u32, kind: WorkerKind) -> &mut Script {
        self.asked(Command::WorkerPlaced {
            worker: worker(n),
            endpoint: EndpointId(endpoint),
            host: Some(HostId(host)),
            kind,
            version: 1,
        })
    }

    /// A worker enters a phase.
    pub fn phase(&mut self, n: u64, phase: Phase, reason: WorkerReason) -> &mut Script {
        self.asked(Command::WorkerChanged { worker: worker(n), phase, outdated: false, reason })
    }

    /// A worker is started.
    pub fn start(&mut self, n: u64, epoch: u32) -> &mut Script {
        let (endpoint, host) = (EndpointId(0), HostId(0));
        self.asked(Command::StartWorker { worker: worker(n), epoch, endpoint, host, version: 1, resume: false });
        self.phase(n, Phase::Starting, WorkerReason::ScaleUp)
    }

    /// A worker is ready.
    pub fn ready(&mut self, n: u64, epoch: u32) -> &mut Script {
        self.told(Event::WorkerReady { worker: worker(n), epoch });
        self.phase(n, Phase::Ready, WorkerReason::WaitingForJobs)
    }

    /// A job is submitted and taken.
    pub fn submit(&mut self, n: u64, endpoint: u32) -> &mut Script {
        let endpoint = EndpointId(endpoint);
        self.told(Event::JobSubmitted { endpoint, client_ref: n, policy: JobPolicy::default() });
        self.asked(Command::AcceptJob { job: job(n), endpoint, client_ref: n })
    }

    /// A job is handed out.
    pub fn assign(&mut self, n: u64, to: u64, epoch: u32, attempt: u32) -> &mut Script {
        self.asked(Command::AssignJob { job: job(n), client_ref: n, worker: worker(to), epoch, attempt })
    }

    /// A job ends well.
    pub fn complete(&mut self, n: u64, on: u64, epoch: u32, attempt: u32) -> &mut Script {
        let (worker, job) = (worker(on), job(n));
        let result = JobResult::Completed;
        self.told(Event::JobFinished { worker, epoch, job, attempt, result, refresh: false });
        self.finish(n, JobOutcome::Completed, FinishCause::Result)
    }

    /// A job has its outcome.
    pub fn finish(&mut self, n: u64, outcome: JobOutcome, cause: FinishCause) -> &mut Script {
        self.asked(Command::FinishJob { job: job(n), client_ref: n, outcome, cause })
    }

    /// Shows everything to `recorder`.
    pub fn play<R: Recorder>(&self, recorder: &mut R) {
        for (time, line) in &self.lines {
            match line {
                Line::Fact(event) => recorder.event(*time, event),
                Line::Wish(command) => recorder.command(*time, command),
            }
        }
    }

    /// Shows everything to a watcher and ends the run now.
    pub fn fold<W: Watcher>(&self, watcher: W) -> W {
        let mut follower = Follower::new(watcher);
        self.play(&mut follower);
        follower.finish(self.now)
    }
}
