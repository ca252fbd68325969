//! When a run is over, and why.
//!
//! Arrivals end at the plan's duration, after its number of jobs, or with its traces. Then the run *drains*: until every job has
//! its outcome, every action is done, nobody is stopping, and no worker is up that still waits for its idle timeout (active
//! workers, and workers whose keep-alive is endless, wait for nothing). Workers that a policy keeps up for its own reasons are
//! waited for until two hours (or twice the longest idle timeout) after the last job. The run never ends before the plan's
//! duration, nor goes on beyond its drain limit. Where a queue can never empty it ends by itself and names the cause.

use std::fmt;

use super::plan::Plan;
use super::world::World;
use crate::policy::ParamValue;
use crate::scheduler::{Scheduler, WaitReason};
use crate::units::{EndpointId, Span, Time};

/// Jobs wait and none got on for this long: longer than any backoff series, time to live or execution timeout (7 days).
const STUCK_AFTER: Span = Span::from_whole_secs(8 * 24 * 3_600);

/// No jobs for this long, though workers are up: longer than the longest start and idle timeout of the platform (420 s, 3,600 s).
const QUIET_AFTER: Span = Span::from_whole_secs(2 * 3_600);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Every job has its outcome, and every worker that does not stay up is down.
    Finished,
    /// Every job has its outcome; workers are up that nothing brings down.
    WorkersStayUp {
        /// How many, beyond the active ones.
        workers: u32,
    },
    /// The plan's drain limit.
    DrainLimit {
        /// Jobs without an outcome.
        jobs: u64,
    },
    /// Jobs wait, and nothing that could still happen will free them.
    JobsWaiting {
        /// How many jobs have no outcome.
        jobs: u64,
        /// Whose the one is that has waited longest.
        endpoint: EndpointId,
        /// Why it waits; none if it is with a worker that never ends it.
        cause: Option<WaitReason>,
    },
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::Finished => f.write_str("finished"),
            EndReason::WorkersStayUp { workers } => write!(f, "finished, with {workers} workers that stay up"),
            EndReason::DrainLimit { jobs } => write!(f, "drain limit reached with {jobs} jobs unfinished"),
            EndReason::JobsWaiting { jobs, endpoint, cause: Some(cause) } => {
                write!(f, "{jobs} jobs can never finish: the oldest waits at {endpoint} because of {cause}")
            }
            EndReason::JobsWaiting { jobs, endpoint, cause: None } => {
                write!(f, "{jobs} jobs can never finish: the oldest hangs on a worker of {endpoint}")
            }
        }
    }
}

/// The rules of one plan.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    duration: Option<Time>,
    drain: Option<Span>,
    quiet: Span,
}

impl Ending {
    pub fn new(plan: &Plan) -> Ending {
        // Keep-alive parameters are mostly seconds; one that is not only makes the wait longer.
        let longest = plan.endpoints.iter().flat_map(|endpoint| {
            endpoint.spec.policies.keep_alive.params.values().filter_map(|value| match value {
                ParamValue::Number(seconds) => Some(Span::from_secs(*seconds)),
                _ => None,
            })
        });
        let quiet = longest.fold(QUIET_AFTER, |quiet, span| quiet.max(span + span));
        Ending { duration: plan.duration.map(|duration| Time::ZERO + duration), drain: plan.drain, quiet }
    }

    pub fn duration(&self) -> Option<Time> {
        self.duration
    }

    /// From here on nothing arrives.
    pub fn arrivals_end(&self, world: &World) -> Time {
        match self.duration {
            Some(duration) if !world.arrivals.are_used_up() => duration,
            _ => world.arrivals.last(),
        }
    }

    fn limit(&self, world: &World) -> Time {
        self.drain.map_or(Time::MAX, |drain| self.arrivals_end(world) + drain)
    }

    /// Whether nothing that matters happens from `at` on. Asked only when no further arrival is known.
    pub fn over(&self, at: Time, pending_actions: bool, world: &World, scheduler: &Scheduler) -> Option<EndReason> {
        let jobs = world.jobs.live();
        let on_the_way = world.feeding > 0 || world.channel.pending() > 0;
        let waits = jobs > 0 || pending_actions || on_the_way || at <= self.arrivals_end(world);
        let surplus = surplus(world);
        if !waits && surplus == 0 && world.stopping == 0 {
            return Some(EndReason::Finished);
        }
        if at > self.limit(world) && !world.arrivals.may_resume(at) {
            return Some(EndReason::DrainLimit { jobs });
        }
        let quiet_for = at.since(world.progress);
        if jobs > 0 {
            let stuck = at == Time::MAX || (!pending_actions && quiet_for > STUCK_AFTER);
            return stuck.then(|| stuck_reason(jobs, world, scheduler));
        }
        let quiet = at == Time::MAX || (!waits && quiet_for > self.quiet);
        quiet.then_some(EndReason::WorkersStayUp { workers: surplus })
    }

    /// The time of the end: costs run up to here.
    pub fn end_time(&self, now: Time, world: &World, reason: EndReason) -> Time {
        match reason {
            EndReason::DrainLimit { .. } => self.limit(world),
            _ => now.max(self.arrivals_end(world)),
        }
    }
}

/// Workers that are up and still wait for their idle timeout.
fn surplus(world: &World) -> u32 {
    world.endpoints.iter().map(|endpoint| endpoint.up.saturating_sub(endpoint.workers_that_stay())).sum()
}

fn stuck_reason(jobs: u64, world: &World, scheduler: &Scheduler) -> EndReason {
    let oldest = world.jobs.iter().min_by_key(|job| job.client_ref);
    let endpoint = oldest.map_or(EndpointId(0), |job| job.endpoint);
    let cause = oldest.and_then(|job| job.job).and_then(|job| scheduler.job_wait_reason(job));
    EndReason::JobsWaiting { jobs, endpoint, cause }
}
