//! The scheduler: a deterministic state machine without clock, randomness, sockets or files.
//!
//! It is told facts ([`Event`]) and answers with wishes and notices ([`Command`]). The contract of driving it:
//!
//! 1. `handle(now, event)` — one fact; `now` never goes backwards;
//! 2. `poll_command()` until it gives `None`;
//! 3. `next_deadline()` — with no further event, nothing changes before that time; then send [`Event::DeadlineReached`].
//!
//! Facts may be late, doubled or out of order. Every start of a worker has an `epoch`, every hand-out of a job an `attempt`, and
//! facts that name an old one are ignored, so no driver has to be careful. One concern, one file:
//! `intake` (jobs in), `dispatch` (job to worker), `attempts` (job out), `scaling` (how many), `lifecycle` (one worker up and down),
//! `placement` (which host), `health` (failures), `rollout` (releases), `bounds` (settings), `timers`, `query`.
//!
//! A driver that outlives its process keeps the [`SchedulerState`] (`state`) and goes on from it (`restore`); a recorded transcript
//! is told again and compared by `replay`.

mod attempts;
mod bounds;
pub mod command;
pub mod compact;
pub mod config;
mod deadlines;
mod dispatch;
mod endpoint;
pub mod event;
pub mod follow;
mod health;
mod hosts;
mod intake;
mod job;
mod lifecycle;
mod placement;
pub mod query;
pub mod reason;
pub mod replay;
pub mod restore;
mod rollout;
mod scaling;
#[cfg(test)]
pub mod script;
mod slab;
pub mod state;
mod timers;
pub mod transcript;
pub mod transcript_hash;
pub mod transcript_json;
pub mod transcript_text;
pub mod watch;
pub mod worker;

use std::collections::VecDeque;

pub use crate::policy::{Phase, ScaleReason, WorkerKind};
pub use command::{Command, JobOutcome, ReleaseStatus, StopMode};
pub use config::*;
pub use event::{Event, ExitCause, JobPolicy, JobResult, StartStage};
pub use lifecycle::STOP_ANSWER_TIMEOUT;
pub use reason::{FinishCause, RejectReason, RequeueCause, WaitReason, WorkerReason};
pub use restore::RestoreError;
pub use state::{STATE_FORMAT, SchedulerState};
pub use transcript::Recorder;
pub use worker::PublicState;

use crate::policy::{AskedAt, EvictionPolicy, ParamError, Trigger, registry};
use crate::units::{EndpointId, HostId, JobId, Time, WorkerId};
use deadlines::Deadlines;
use endpoint::Endpoint;
use hosts::{Catalogue, Host};
use job::Jobs;
use slab::Slab;
use worker::Worker;

/// The scheduler. See the module for how to drive it.
pub struct Scheduler {
    config: SchedulerConfig,
    catalogue: Catalogue,
    eviction: Box<dyn EvictionPolicy>,
    now: Time,
    endpoints: Vec<Endpoint>,
    hosts: Vec<Host>,
    workers: Slab<Worker>,
    jobs: Jobs,
    worker_deadlines: Deadlines,
    endpoint_deadlines: Deadlines,
    commands: VecDeque<Command>,
    /// Endpoints in which something changed that may call for more than the event itself.
    unsettled: VecDeque<EndpointId>,
    /// Hosts on which GPUs became free.
    freed: VecDeque<HostId>,
}

impl Scheduler {
    /// An empty scheduler: no hosts, no endpoints.
    pub fn new(config: SchedulerConfig) -> Result<Scheduler, ParamError> {
        Ok(Scheduler {
            eviction: registry::eviction(&config.eviction)?,
            catalogue: Catalogue::new(&config.images),
            config,
            now: Time::ZERO,
            endpoints: Vec::new(),
            hosts: Vec::new(),
            workers: Slab::new(WorkerId::SLOT_BITS),
            jobs: Slab::new(JobId::SLOT_BITS),
            worker_deadlines: Deadlines::default(),
            endpoint_deadlines: Deadlines::default(),
            commands: VecDeque::new(),
            unsettled: VecDeque::new(),
            freed: VecDeque::new(),
        })
    }

    /// Checks that the policies of `spec` exist and their parameters are allowed, before it is put into an event.
    pub fn check(spec: &EndpointSpec) -> Result<(), ParamError> {
        endpoint::Policies::build(spec).map(|_| ())
    }

    /// Tells a fact. A `now` before an earlier one is taken as that one.
    pub fn handle(&mut self, now: Time, event: &Event) {
        self.now = self.now.max(now);
        match *event {
            Event::JobSubmitted { endpoint, client_ref, policy } => self.submit(endpoint, client_ref, policy),
            Event::JobFinished { worker, epoch, job, attempt, result, refresh } => {
                self.job_finished(worker, epoch, job, attempt, result, refresh);
            }
            Event::TakeOpened { worker, epoch, slots } => self.take_opened(worker, epoch, slots),
            Event::TakeClosed { worker, epoch } => self.take_opened(worker, epoch, 0),
            Event::DeadlineReached => self.deadlines_reached(),
            Event::JobStopped { worker, epoch, job, attempt } => self.job_stopped(worker, epoch, job, attempt),
            Event::TakeLost { worker, epoch, job, attempt } => self.take_lost(worker, epoch, job, attempt),
            Event::CancelRequested { job } => self.cancel(job, FinishCause::Cancelled),
            Event::PurgeRequested { endpoint } => self.purge(endpoint, FinishCause::Purged),
            Event::WorkerPinged { worker, epoch } => self.worker_pinged(worker, epoch),
            Event::WorkerReady { worker, epoch } => self.worker_ready(worker, epoch),
            // Stages are for the transcript; only the end of the start changes what may be done with the worker.
            Event::StageEnded { .. } => {}
            Event::WorkerStopped { worker, epoch, frozen } => self.worker_stopped(worker, epoch, frozen),
            Event::WorkerExited { worker, epoch, cause } => self.worker_exited(worker, epoch, cause),
            Event::SnapshotLost { worker, epoch } => self.snapshot_lost(worker, epoch),
            Event::ImagePulled { host, image } => self.image_pulled(host, image),
            Event::ImagePullFailed { host, image } => self.image_pull_failed(host, image),
            Event::HostAdded { ref host } => self.host_added(host),
            Event::HostCapacityChanged { host, gpus } => self.host_capacity_changed(host, gpus),
            Event::HostLost { host } => self.host_lost(host),
            Event::HostReturned { host } => self.host_returned(host),
            Event::EndpointCreated { ref spec } => self.endpoint_created(spec),
            Event::EndpointUpdated { endpoint, ref spec } => self.endpoint_updated(endpoint, spec),
            Event::EndpointDeleted { endpoint } => self.endpoint_deleted(endpoint),
            Event::ImageAdded { ref image } => self.image_added(image),
            Event::GpuClassAdded { ref class } => self.gpu_class_added(class),
        }
        self.settle();
    }

    /// The next wish or notice, in the order in which they were made.
    #[inline]
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to send [`Event::DeadlineReached`] if nothing else happens before. Takes `&mut self` because finding the earliest
    /// deadline puts those in order that have moved to later since they were armed; nothing visible changes.
    #[inline]
    pub fn next_deadline(&mut self) -> Option<Time> {
        let worker = self.next_worker_deadline().map(|(at, _)| at);
        let endpoint = self.next_endpoint_deadline().map(|(at, _)| at);
        match (worker, endpoint) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    #[inline]
    fn emit(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// Puts the endpoint on the list of those to look at once the event itself is dealt with.
    #[inline]
    fn unsettle(&mut self, endpoint: EndpointId) {
        let entry = &mut self.endpoints[endpoint.index()];
        if !entry.unsettled {
            entry.unsettled = true;
            self.unsettled.push_back(endpoint);
        }
    }

    /// Carries on until nothing is left to decide at this instant.
    #[inline]
    fn settle(&mut self) {
        loop {
            if let Some(host) = self.freed.pop_front() {
                self.serve_throttled(host);
            } else if let Some(endpoint) = self.unsettled.pop_front() {
                self.endpoints[endpoint.index()].unsettled = false;
                self.settle_endpoint(endpoint);
            } else {
                return;
            }
        }
    }

    fn settle_endpoint(&mut self, endpoint: EndpointId) {
        self.advance_rollout(endpoint);
        self.shed_surplus(endpoint);
        self.fill_slots(endpoint);
        self.hold_active_floor(endpoint);
        self.dispatch(endpoint);
        let entry = &self.endpoints[endpoint.index()];
        let on_tick_only = matches!(entry.asked_at, AskedAt::Ticks(_)) && entry.tally.up_or_coming() > 0;
        if entry.queue.len() > 0 && !on_tick_only {
            self.ask_policy(endpoint, Trigger::WorkerGone);
        }
        self.release_throttled(endpoint);
        self.endpoint_deadlines.arm(endpoint.index(), self.endpoint_deadline(endpoint.index()));
    }

    fn worker(&self, id: WorkerId) -> &Worker {
        self.workers.get(id.0).expect("an id taken from the scheduler's own tables is alive")
    }

    #[inline]
    fn worker_mut(&mut self, id: WorkerId) -> &mut Worker {
        self.workers.get_mut(id.0).expect("an id taken from the scheduler's own tables is alive")
    }
}
