//! What a [`Follower`](super::follow::Follower) of the transcript tells: workers and jobs as they change, one call per change.

use serde::{Deserialize, Serialize};

use super::compact::as_array;
use super::config::{EndpointSpec, HostSpec};
use super::event::StartStage;
use super::reason::{FinishCause, RejectReason, RequeueCause, WorkerReason};
use super::{Command, Event, JobOutcome};
use crate::policy::{Phase, ScaleReason, WorkerKind};
use crate::units::{EndpointId, HostId, JobId, Span, Time, WorkerId};

/// Who asked for a start: the scaler, by its reason, or the life of the worker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartCause {
    /// The scaler wanted more workers.
    Scale(ScaleReason),
    /// The active floor, a burst, a refresh, a release, a failure before it.
    Worker(WorkerReason),
}

impl StartCause {
    /// The name used in files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            StartCause::Scale(reason) => reason.as_str(),
            StartCause::Worker(reason) => reason.as_str(),
        }
    }
}

/// A worker as the transcript tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub id: WorkerId,
    /// Whose.
    pub endpoint: EndpointId,
    /// Where; none while it looks for a host.
    pub host: Option<HostId>,
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Its release, from 1.
    pub version: u32,
    /// GPUs that it takes.
    pub gpus: u32,
    /// Fine phase.
    pub phase: Phase,
    /// Its release is not the current one.
    pub outdated: bool,
    /// Why it is in its phase.
    pub reason: WorkerReason,
    /// Jobs that it holds; those told to stop count until they have stopped.
    pub in_hand: u32,
    /// Number of its current or last start.
    pub epoch: u32,
    /// That start is a thaw.
    pub resume: bool,
    /// It is being stopped and started again because a result asked for a reset.
    pub refreshing: bool,
    /// When it was first placed.
    pub created: Time,
    /// When its current or last start was asked for.
    pub started: Time,
    /// When that start became ready; zero before, and for a start that took no time.
    pub ready: Time,
    /// That start became ready.
    pub came_up: bool,
    /// Who asked for that start.
    pub cause: StartCause,
}

impl Member {
    /// Up, from the start to the end of the stop: it holds its GPUs.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.phase.holds_gpus()
    }

    /// It goes unhealthy from `was`: did it fail to start (true) or fail while it served (false)?
    pub fn failed_to_start(&self, was: &Member) -> Option<bool> {
        let ran = matches!(was.phase, Phase::Starting | Phase::Ready | Phase::Draining | Phase::Stopping);
        (self.phase == Phase::Unhealthy && ran).then_some(!self.came_up)
    }

    /// It works on a job.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.in_hand > 0 && matches!(self.phase, Phase::Ready | Phase::Draining)
    }
}

/// A job between its acceptance and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveJob {
    /// Which.
    pub id: JobId,
    /// Whose queue.
    pub endpoint: EndpointId,
    /// The driver's number for it.
    pub client_ref: u64,
    /// When it was submitted.
    pub accepted: Time,
    /// When it was first handed to a worker; [`Time::MAX`] before.
    pub first_assigned: Time,
    /// When it was last handed to a worker.
    pub assigned: Time,
    /// To whom; none while it waits.
    pub worker: Option<WorkerId>,
    /// In which start of that worker.
    pub epoch: u32,
    /// Number of its current or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that ended without an outcome (lost hand-outs are none).
    pub requeues: u32,
    /// Its first worker became ready after it was submitted: it waited for a start.
    pub cold: bool,
}

as_array!(LiveJob {
    id,
    endpoint,
    client_ref,
    accepted,
    first_assigned,
    assigned,
    worker,
    epoch,
    attempt,
    requeues,
    cold,
});

impl LiveJob {
    /// From submission to the first hand-out; none while it has not happened.
    #[inline]
    pub fn wait(&self) -> Option<Span> {
        (self.first_assigned != Time::MAX).then(|| self.first_assigned.since(self.accepted))
    }

    /// An attempt has begun at some time.
    #[inline]
    pub fn was_assigned(&self) -> bool {
        self.first_assigned != Time::MAX
    }
}

/// Part of a run in which figures count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From here on.
    pub from: Time,
    /// Up to here.
    pub until: Time,
}

impl Window {
    /// The whole run.
    pub const ALL: Window = Window { from: Time::ZERO, until: Time::MAX };

    /// The nearest time inside.
    #[inline]
    pub fn clamp(&self, time: Time) -> Time {
        time.max(self.from).min(self.until)
    }

    /// `time` lies inside, its ends included.
    #[inline]
    pub fn contains(&self, time: Time) -> bool {
        time >= self.from && time <= self.until
    }
}

/// Someone who is told every change by a [`Follower`](super::follow::Follower). All methods do nothing unless overridden.
pub trait Watcher {
    /// A host joined.
    fn host_added(&mut self, _now: Time, _host: HostId, _spec: &HostSpec) {}
    /// An endpoint was created or has new settings.
    fn endpoint_changed(&mut self, _now: Time, _endpoint: EndpointId, _spec: &EndpointSpec) {}
    /// A worker exists from now on (`was` is none) or has another host, kind or version.
    fn worker_placed(&mut self, _now: Time, _worker: &Member, _was: Option<&Member>) {}
    /// A worker's phase, reason or outdated mark changed. Jobs in hand are 0 from here on unless it serves.
    fn phase_changed(&mut self, _now: Time, _worker: &Member, _was: &Member) {}
    /// A worker's number of jobs in hand changed from `was`, by one, within a phase.
    fn hands_changed(&mut self, _now: Time, _worker: &Member, _was: u32) {}
    /// A start was asked for.
    fn start_asked(&mut self, _now: Time, _worker: &Member) {}
    /// A stage of the current start ended.
    fn stage_ended(&mut self, _now: Time, _worker: &Member, _stage: StartStage) {}
    /// A job was submitted; whether it is taken comes next.
    fn job_submitted(&mut self, _now: Time, _endpoint: EndpointId) {}
    /// A job is in the queue.
    fn job_accepted(&mut self, _now: Time, _job: &LiveJob) {}
    /// A job was refused.
    fn job_rejected(&mut self, _now: Time, _endpoint: EndpointId, _reason: RejectReason) {}
    /// A job was handed to a worker; `first` for the first time.
    fn job_assigned(&mut self, _now: Time, _job: &LiveJob, _first: bool) {}
    /// The attempt is over without an outcome; `job` still names the worker that it was with.
    fn job_requeued(&mut self, _now: Time, _job: &LiveJob, _cause: RequeueCause) {}
    /// The job's outcome; `job` still names the worker that it was with, if any.
    fn job_finished(&mut self, _now: Time, _job: &LiveJob, _outcome: JobOutcome, _cause: FinishCause) {}
    /// Any other fact.
    fn fact(&mut self, _now: Time, _event: &Event) {}
    /// Any other wish or notice.
    fn note(&mut self, _now: Time, _command: &Command) {}
    /// At the end of the run: a job that has no outcome, in order of acceptance.
    fn job_left(&mut self, _now: Time, _job: &LiveJob) {}
    /// At the end of the run: a worker that still exists, in order of creation.
    fn worker_left(&mut self, _now: Time, _worker: &Member) {}
    /// The end of the run, told once, after everything else.
    fn run_ended(&mut self, _now: Time) {}
}

/// Watches nothing.
impl Watcher for () {}

/// Lists every method of [`Watcher`] once, for the forwarding implementations below.
macro_rules! every_method {
    ($forward:ident) => {
        $forward! {
            host_added(now: Time, host: HostId, spec: &HostSpec);
            endpoint_changed(now: Time, endpoint: EndpointId, spec: &EndpointSpec);
            worker_placed(now: Time, worker: &Member, was: Option<&Member>);
            phase_changed(now: Time, worker: &Member, was: &Member);
            hands_changed(now: Time, worker: &Member, was: u32);
            start_asked(now: Time, worker: &Member);
            stage_ended(now: Time, worker: &Member, stage: StartStage);
            job_submitted(now: Time, endpoint: EndpointId);
            job_accepted(now: Time, job: &LiveJob);
            job_rejected(now: Time, endpoint: EndpointId, reason: RejectReason);
            job_assigned(now: Time, job: &LiveJob, first: bool);
            job_requeued(now: Time, job: &LiveJob, cause: RequeueCause);
            job_finished(now: Time, job: &LiveJob, outcome: JobOutcome, cause: FinishCause);
            fact(now: Time, event: &Event);
            note(now: Time, command: &Command);
            job_left(now: Time, job: &LiveJob);
            worker_left(now: Time, worker: &Member);
            run_ended(now: Time);
        }
    };
}

macro_rules! to_both {
    ($($name:ident($($argument:ident: $kind:ty),+);)+) => {
        /// Tells both, the first one first.
        impl<A: Watcher, B: Watcher> Watcher for (A, B) {
            $(#[inline] fn $name(&mut self, $($argument: $kind),+) {
                self.0.$name($($argument),+);
                self.1.$name($($argument),+);
            })+
        }
    };
}
every_method!(to_both);

macro_rules! to_some {
    ($($name:ident($($argument:ident: $kind:ty),+);)+) => {
        /// Tells it if it is there.
        impl<W: Watcher> Watcher for Option<W> {
            $(#[inline] fn $name(&mut self, $($argument: $kind),+) {
                if let Some(watcher) = self { watcher.$name($($argument),+); }
            })+
        }
    };
}
every_method!(to_some);

macro_rules! to_referenced {
    ($($name:ident($($argument:ident: $kind:ty),+);)+) => {
        /// Tells the one referred to.
        impl<W: Watcher> Watcher for &mut W {
            $(#[inline] fn $name(&mut self, $($argument: $kind),+) { (**self).$name($($argument),+); })+
        }
    };
}
every_method!(to_referenced);
