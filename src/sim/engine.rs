//! The driver with the virtual clock: takes what happens next, tells the scheduler, and lets the world act on its answers.
//!
//! Order is total. At one instant: what happens to workers by itself, then transfers, then everything else in the world (starts,
//! stops, tenants, late facts) in order of making, then actions of the plan, then arrivals, and last, when all facts of the
//! instant have settled, the scheduler's own deadlines. The facts that one of these brings about are told at once, in order.

use super::ending::{EndReason, Ending};
use super::plan::{Action, Plan};
use super::world::World;
use super::{check, plan};
use crate::policy::ParamError;
use crate::scheduler::{Event, Recorder, Scheduler};
use crate::units::{EndpointId, Time};
use crate::workload::WorkloadError;

/// Events between two calls of the progress callback.
const PROGRESS_INTERVAL: u64 = 1 << 16;

/// More events than this at one instant: time stands still.
const INSTANT_MAX: u64 = 10_000_000;

/// Why a plan cannot be run, or not to its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimError {
    /// Something in the plan is out of its range or names what is not there.
    #[error("{0}")]
    Plan(String),
    /// A policy does not exist, or a parameter of it is not allowed.
    #[error(transparent)]
    Policy(#[from] ParamError),
    /// Traffic cannot be made as asked for, or a trace cannot be read.
    #[error(transparent)]
    Traffic(#[from] WorkloadError),
    /// Time does not go on: such as a closed loop without thinking whose jobs take no time.
    #[error(
        "more than {INSTANT_MAX} events at t={at} s: time stands still; give think, service or delay times a length"
    )]
    TimeStandsStill {
        /// When.
        at: Time,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Simulated time.
    pub now: Time,
    /// When arrivals end, if the plan says so.
    pub arrivals_until: Option<Time>,
    /// Jobs submitted.
    pub jobs: u64,
    /// Jobs in all, if the plan says so.
    pub jobs_max: Option<u64>,
    /// Events handled.
    pub events: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// Simulated time at the end: the last event, or the plan's duration or drain limit where that is later.
    pub now: Time,
    /// Events handled by the scheduler.
    pub events: u64,
    /// Jobs submitted.
    pub jobs: u64,
    /// Jobs without an outcome.
    pub unfinished: u64,
    /// From here on nothing arrives: the plan's duration, or the last arrival.
    pub arrivals_end: Time,
    /// Why it ended.
    pub reason: EndReason,
}

/// A run of a plan.
pub struct Simulation {
    scheduler: Scheduler,
    world: World,
    actions: Vec<Action>,
    performed: usize,
    hosts: Vec<plan::HostPlan>,
    endpoints: Vec<plan::EndpointPlan>,
    ending: Ending,
    jobs_max: Option<u64>,
    now: Time,
    events: u64,
}

/// Where the next event comes from, in order of precedence at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Worker(usize),
    Transfer,
    Agenda,
    Action,
    Arrival,
    Deadline,
}

impl Simulation {
    /// Prepares a run.
    ///
    /// # Errors
    /// If the plan is not consistent, or a trace cannot be opened: see [`SimError`].
    pub fn new(plan: &Plan) -> Result<Simulation, SimError> {
        check::check(plan)?;
        let mut actions = plan.actions.clone();
        actions.sort_by_key(|action| action.at);
        Ok(Simulation {
            scheduler: Scheduler::new(plan.scheduler.clone())?,
            world: World::new(plan)?,
            actions,
            performed: 0,
            hosts: plan.hosts.clone(),
            endpoints: plan.endpoints.clone(),
            ending: Ending::new(plan),
            jobs_max: plan.max_jobs,
            now: Time::ZERO,
            events: 0,
        })
    }

    /// Runs to the end (see [`EndReason`]); `progress` is called about every 65,000 events.
    ///
    /// # Errors
    /// If a trace turns out to be unreadable on the way, or time stands still.
    ///
    /// # Panics
    /// If an invariant of the world is broken: a bug of the scheduler or of the world. The message has the time.
    pub fn run<R: Recorder>(
        &mut self,
        recorder: &mut R,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<RunEnd, SimError> {
        self.deploy(recorder);
        let mut instant_began = self.events;
        let mut next_report = PROGRESS_INTERVAL;
        loop {
            let (at, source) = self.next();
            if at > self.now {
                if self.world.arrivals.next_time() == Time::MAX
                    && let Some(reason) = self.over(at)
                {
                    return Ok(self.end(reason));
                }
                self.now = at;
                instant_began = self.events;
            } else if self.events - instant_began > INSTANT_MAX {
                return Err(SimError::TimeStandsStill { at });
            }
            self.step(source, recorder)?;
            if self.events >= next_report {
                next_report = self.events + PROGRESS_INTERVAL;
                progress(&self.progress());
            }
        }
    }

    /// The scheduler, to be asked about what is left at the end.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    #[cfg(test)]
    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// Hosts join and endpoints are created. What has been deployed long ago is in place before the first request.
    fn deploy<R: Recorder>(&mut self, recorder: &mut R) {
        for host in std::mem::take(&mut self.hosts) {
            self.tell(&Event::HostAdded { host: Box::new(host.spec) }, recorder);
        }
        for endpoint in std::mem::take(&mut self.endpoints) {
            self.tell(&Event::EndpointCreated { spec: Box::new(endpoint.spec) }, recorder);
        }
        self.settle(recorder);
        while self.world.deploying && self.scheduler.next_deadline().is_some_and(|at| at == Time::ZERO) {
            self.tell(&Event::DeadlineReached, recorder);
            self.settle(recorder);
            // A deadline of this instant that stays is the business of the run itself.
            if self.events > INSTANT_MAX {
                break;
            }
        }
        self.world.deploying = false;
    }

    /// The earliest of what may happen next.
    #[inline]
    fn next(&mut self) -> (Time, Source) {
        let (mut at, mut source) = match self.world.timers.next() {
            Some((at, slot)) => (at, Source::Worker(slot)),
            None => (Time::MAX, Source::Deadline),
        };
        let mut consider = |time: Time, from: Source| {
            if time < at {
                (at, source) = (time, from);
            }
        };
        consider(self.world.pulls.next_time(), Source::Transfer);
        consider(self.world.agenda.next_time(), Source::Agenda);
        consider(self.actions.get(self.performed).map_or(Time::MAX, |action| action.at), Source::Action);
        consider(self.world.arrivals.next_time(), Source::Arrival);
        let deadline = self.scheduler.next_deadline().unwrap_or(Time::MAX);
        // A deadline that has been reached while facts of an instant settled is due now.
        consider(if deadline == Time::MAX { deadline } else { deadline.max(self.now) }, Source::Deadline);
        (at, source)
    }

    #[inline]
    fn step<R: Recorder>(&mut self, source: Source, recorder: &mut R) -> Result<(), SimError> {
        let now = self.now;
        match source {
            Source::Worker(slot) => {
                if let Some(event) = &self.world.sole_job_due(now, slot) {
                    self.tell(event, recorder);
                } else {
                    self.world.worker_due(now, slot);
                }
            }
            Source::Transfer => {
                let agenda = &mut self.world.agenda;
                self.world.pulls.transfer_ended(now, agenda);
            }
            Source::Agenda => self.world.agenda_due(now),
            Source::Action => {
                let kind = &self.actions[self.performed].kind;
                self.world.perform(now, kind);
                self.performed += 1;
            }
            Source::Arrival => {
                if let Some(event) = &self.world.arrive(now)? {
                    self.tell(event, recorder);
                }
            }
            Source::Deadline => self.world.outbox.push_back(Event::DeadlineReached),
        }
        self.settle(recorder);
        Ok(())
    }

    /// Tells everything that the world has to say.
    #[inline]
    fn settle<R: Recorder>(&mut self, recorder: &mut R) {
        while let Some(event) = &self.world.outbox.pop_front() {
            self.tell(event, recorder);
        }
    }

    #[inline]
    fn tell<R: Recorder>(&mut self, event: &Event, recorder: &mut R) {
        let now = self.now;
        self.events += 1;
        recorder.event(now, event);
        self.scheduler.handle(now, event);
        // By reference: moving a command out of its option costs more than acting on it.
        while let Some(command) = &self.scheduler.poll_command() {
            recorder.command(now, command);
            self.world.act(now, command);
        }
        recorder.settled(now, &self.scheduler);
    }

    /// Whether the run is over before anything happens at `at`.
    fn over(&self, at: Time) -> Option<EndReason> {
        let pending_actions = self.performed < self.actions.len();
        self.ending.over(at, pending_actions, &self.world, &self.scheduler)
    }

    fn end(&self, reason: EndReason) -> RunEnd {
        RunEnd {
            now: self.ending.end_time(self.now, &self.world, reason),
            events: self.events,
            jobs: self.world.jobs.submitted(),
            unfinished: self.world.jobs.live(),
            arrivals_end: self.ending.arrivals_end(&self.world),
            reason,
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            now: self.now,
            arrivals_until: self.ending.duration(),
            jobs: self.world.jobs.submitted(),
            jobs_max: self.jobs_max,
            events: self.events,
        }
    }
}

impl std::fmt::Display for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t={} s, {} jobs, {} events: {}", self.now, self.jobs, self.events, self.reason)
    }
}

/// For messages about an endpoint of a plan.
pub(super) fn endpoint_name(plan: &Plan, id: EndpointId) -> &str {
    plan.endpoints.get(id.index()).map_or("?", |endpoint| &endpoint.spec.name)
}
