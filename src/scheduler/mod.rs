//! The scheduler: a deterministic state machine without clock, randomness, sockets or files.

pub mod command;
pub mod config;
pub mod event;
pub mod follow;
pub mod reason;
#[cfg(test)]
pub mod script;
pub mod transcript;
pub mod transcript_hash;
pub mod watch;
pub mod worker;

pub use crate::policy::{Phase, ScaleReason, WorkerKind};
pub use command::{Command, JobOutcome, ReleaseStatus, StopMode};
pub use config::*;
pub use event::{Event, ExitCause, JobPolicy, JobResult, StartStage};
pub use reason::{FinishCause, RejectReason, RequeueCause, WaitReason, WorkerReason};
pub use transcript::Recorder;
pub use worker::PublicState;

use crate::policy::ParamError;
use crate::units::Time;

/// The scheduler. Drive it so: `handle` one event, then `poll_command` until `None`, then wait for the next event or for
/// `next_deadline`, whichever comes first (then the event is [`Event::DeadlineReached`]).
pub struct Scheduler {
    config: SchedulerConfig,
}

impl Scheduler {
    /// An empty scheduler: no hosts, no endpoints.
    pub fn new(config: SchedulerConfig) -> Result<Scheduler, ParamError> {
        crate::policy::registry::eviction(&config.eviction)?;
        Ok(Scheduler { config })
    }

    /// Tells a fact. `now` never goes backwards.
    pub fn handle(&mut self, _now: Time, _event: &Event) {
        let _ = &self.config;
    }

    /// The next wish or notice, in the order in which they were made.
    pub fn poll_command(&mut self) -> Option<Command> {
        None
    }

    /// When to send [`Event::DeadlineReached`] if nothing else happens before.
    pub fn next_deadline(&mut self) -> Option<Time> {
        None
    }
}
