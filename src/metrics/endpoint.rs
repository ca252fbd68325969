//! The figures of one endpoint, or of all together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::level::{Gauge, Level};
use crate::scheduler::Phase;
use crate::scheduler::compact::pairs;
use crate::scheduler::watch::{Member, StartCause};
use crate::scheduler::{FinishCause, JobOutcome, PublicState, RejectReason, RequeueCause, ScaleReason, WorkerReason};
use crate::units::{Span, Time};

/// What a worker does, finer than its public state: the phase, with `Ready` cut into idle and busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Looks for a host.
    Placing,
    /// Fetches its image.
    Pulling,
    /// Placed, stopped.
    Asleep,
    /// Placed, with a snapshot.
    Frozen,
    /// Its host is full.
    Throttled,
    /// Container start, loading, thaw.
    Starting,
    /// Up without a job.
    Idle,
    /// Up with a job.
    Busy,
    /// Without a job on its way down.
    Draining,
    /// Told to stop, not yet gone.
    Stopping,
    /// Waits for its backoff.
    Unhealthy,
}

impl Activity {
    /// Every activity, in order.
    pub const ALL: [Activity; 11] = [
        Activity::Placing,
        Activity::Pulling,
        Activity::Asleep,
        Activity::Frozen,
        Activity::Throttled,
        Activity::Starting,
        Activity::Idle,
        Activity::Busy,
        Activity::Draining,
        Activity::Stopping,
        Activity::Unhealthy,
    ];

    /// What `worker` does; `None` once it is removed.
    #[inline]
    pub fn of(worker: &Member) -> Option<Activity> {
        Some(match worker.phase {
            Phase::Removed => return None,
            _ if worker.is_busy() => Activity::Busy,
            Phase::Placing => Activity::Placing,
            Phase::Pulling => Activity::Pulling,
            Phase::Asleep => Activity::Asleep,
            Phase::Frozen => Activity::Frozen,
            Phase::Throttled => Activity::Throttled,
            Phase::Starting => Activity::Starting,
            Phase::Ready => Activity::Idle,
            Phase::Draining => Activity::Draining,
            Phase::Stopping => Activity::Stopping,
            Phase::Unhealthy => Activity::Unhealthy,
        })
    }
}

impl Activity {
    /// The public state of a worker that does this: the same answer as [`PublicState::of`].
    pub fn public(self, outdated: bool) -> PublicState {
        use Activity as A;
        match self {
            A::Unhealthy => PublicState::Unhealthy,
            _ if outdated => PublicState::Outdated,
            A::Placing | A::Pulling | A::Starting => PublicState::Initializing,
            A::Throttled => PublicState::Throttled,
            A::Busy => PublicState::Running,
            A::Asleep | A::Frozen | A::Idle | A::Draining | A::Stopping => PublicState::Idle,
        }
    }
}

/// What counts as well served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloTarget {
    /// The first attempt begins within this.
    pub wait: Option<Span>,
    /// The response is there within this.
    pub response: Option<Span>,
}

impl SloTarget {
    /// There is something to attain.
    pub fn is_set(&self) -> bool {
        self.wait.is_some() || self.response.is_some()
    }
}

/// Jobs by what became of them. Only jobs submitted inside the window count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// Submitted, refused ones included.
    pub submitted: u64,
    /// By [`JobOutcome`].
    pub outcomes: [u64; 4],
    /// Refused.
    pub rejected: u64,
    /// Jobs that lost at least one attempt.
    pub retried: u64,
    /// Attempts lost.
    pub retries: u64,
    /// No outcome at the end of the run.
    pub unfinished: u64,
    /// Started within the first attempt: jobs that were ever handed out.
    pub started: u64,
    /// Of those, handed to a worker that became ready only after their submission.
    pub cold: u64,
    /// Judged against the targets.
    pub slo_judged: u64,
    /// Of those, well served.
    pub slo_met: u64,
    /// By what ended them, in the order of [`FinishCause::ALL`].
    pub finish_causes: [u64; FinishCause::ALL.len()],
    /// Lost attempts by cause.
    pub requeue_causes: BTreeMap<RequeueCause, u64>,
    /// Refusals by reason.
    pub reject_reasons: BTreeMap<RejectReason, u64>,
}

impl JobCounts {
    /// Jobs that ended so.
    pub fn of(&self, outcome: JobOutcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Share of started jobs whose worker became ready only after they came; `None` without jobs.
    pub fn cold_share(&self) -> Option<f64> {
        ratio(self.cold, self.started)
    }

    /// Share of well-served jobs; `None` without targets or jobs.
    pub fn slo_attainment(&self) -> Option<f64> {
        ratio(self.slo_met, self.slo_judged)
    }

    /// Adds the jobs of another endpoint or run.
    pub fn add(&mut self, theirs: &JobCounts) {
        self.submitted += theirs.submitted;
        self.outcomes.iter_mut().zip(theirs.outcomes).for_each(|(mine, theirs)| *mine += theirs);
        self.rejected += theirs.rejected;
        self.retried += theirs.retried;
        self.retries += theirs.retries;
        self.unfinished += theirs.unfinished;
        self.started += theirs.started;
        self.cold += theirs.cold;
        self.slo_judged += theirs.slo_judged;
        self.slo_met += theirs.slo_met;
        self.finish_causes.iter_mut().zip(theirs.finish_causes).for_each(|(mine, theirs)| *mine += theirs);
        add_counts(&mut self.requeue_causes, &theirs.requeue_causes);
        add_counts(&mut self.reject_reasons, &theirs.reject_reasons);
    }
}

/// Starts, failures and decisions inside the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    /// Workers created.
    pub created: u64,
    /// Starts asked for.
    pub starts: u64,
    /// Of those, thaws.
    pub resumes: u64,
    /// Starts that became ready.
    pub ready: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Up workers that went unhealthy: crashed, silent, killed.
    pub crashes: u64,
    /// Resets that results asked for.
    pub refreshes: u64,
    /// Placements and wakes on a host that had the image.
    pub image_hits: u64,
    /// Those that had to pull.
    pub image_misses: u64,
    /// Starts by who asked.
    #[serde(with = "pairs")]
    pub start_causes: BTreeMap<StartCause, u64>,
    /// Ways to unhealthy, by reason.
    pub unhealthy_reasons: BTreeMap<WorkerReason, u64>,
    /// Decisions of the scaler that changed the wanted number, by reason.
    pub scale_reasons: BTreeMap<ScaleReason, u64>,
}

/// Histograms of lengths of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Submission to the first hand-out.
    pub wait: Histogram,
    /// Submission to the hand-out of the attempt that brought the result, jobs only that had lost an attempt before.
    pub delay: Histogram,
    /// Hand-out of that attempt to its end.
    pub service: Histogram,
    /// Submission to the result, jobs with a result only.
    pub response: Histogram,
    /// Start asked for to ready; starts that took no time are not counted.
    pub cold_start: Histogram,
    /// Stages of starts, in the order of [`crate::scheduler::StartStage::ALL`].
    pub stages: [Histogram; 7],
}

/// All figures of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointMetrics {
    /// Jobs.
    pub jobs: JobCounts,
    /// Workers.
    pub workers: WorkerCounts,
    /// Lengths of time.
    pub lengths: Lengths,
    /// Jobs that wait.
    pub queue: Gauge,
    /// Jobs that wait or run.
    pub in_system: Level,
    /// Jobs on workers, those told to stop included.
    pub in_service: Level,
    /// Places for jobs on ready workers: their number times the concurrency.
    pub places: Level,
    /// Workers by [`Activity`].
    pub activities: [Level; 11],
    /// Those of them that are outdated.
    pub outdated: [Level; 11],
    /// Workers up (starting to stopping), by kind.
    pub up: [Gauge; 3],
    /// Workers up, all kinds: its maximum is not the sum of theirs.
    pub up_all: Gauge,
    /// Length of the window that was observed.
    pub observed: Span,
    /// End of that window.
    pub end: Time,
}

impl EndpointMetrics {
    /// Mean number of workers that do `activity`.
    pub fn mean(&self, activity: Activity) -> f64 {
        self.mean_of(self.activities[activity as usize].integral(self.end))
    }

    /// `integral` (microseconds times a number) over the observed time.
    pub fn mean_of(&self, integral: u64) -> f64 {
        if self.observed.is_zero() { 0.0 } else { integral as f64 / self.observed.0 as f64 }
    }

    /// Worker-microseconds by public state, in the order of [`PublicState::ALL`].
    pub fn state_micros(&self) -> [u64; 6] {
        let mut states = [0; 6];
        for activity in Activity::ALL {
            let outdated = self.outdated[activity as usize].integral(self.end);
            states[activity.public(true) as usize] += outdated;
            states[activity.public(false) as usize] += self.activities[activity as usize].integral(self.end) - outdated;
        }
        states
    }

    /// Worker-microseconds up.
    pub fn up_micros(&self) -> u64 {
        self.up_all.integral(self.end)
    }

    /// Busy worker-seconds over up worker-seconds; `None` when no worker was up.
    pub fn utilization(&self) -> Option<f64> {
        ratio(self.activities[Activity::Busy as usize].integral(self.end), self.up_micros())
    }

    /// Job-seconds over the places of ready workers; `None` when there were none.
    pub fn slot_utilization(&self) -> Option<f64> {
        ratio(self.in_service.integral(self.end), self.places.integral(self.end))
    }

    /// Share of jobs whose first worker was not ready when they came; `None` without jobs.
    pub fn cold_share(&self) -> Option<f64> {
        self.jobs.cold_share()
    }

    /// Share of well-served jobs; `None` without targets or jobs.
    pub fn slo_attainment(&self) -> Option<f64> {
        self.jobs.slo_attainment()
    }

    /// Share of placements and wakes that found the image; `None` without any.
    pub fn image_hit_rate(&self) -> Option<f64> {
        ratio(self.workers.image_hits, self.workers.image_hits + self.workers.image_misses)
    }

    /// Share of started jobs that waited at all; `None` without jobs.
    pub fn p_wait(&self) -> Option<f64> {
        let waits = &self.lengths.wait;
        ratio(waits.count() - waits.zeros(), waits.count())
    }

    /// One worker goes from one activity to another.
    #[inline]
    pub(super) fn move_one(&mut self, now: Time, from: Activity, to: Activity, outdated: bool) {
        self.activities[from as usize].leave(now);
        self.activities[to as usize].enter(now);
        if outdated {
            self.outdated[from as usize].leave(now);
            self.outdated[to as usize].enter(now);
        }
    }

    /// Adds the figures of another endpoint, gauges excepted: their maxima do not add.
    pub(super) fn add(&mut self, other: &EndpointMetrics) {
        self.jobs.add(&other.jobs);
        add_workers(&mut self.workers, &other.workers);
        let (mine, theirs) = (&mut self.lengths, &other.lengths);
        mine.wait.merge(&theirs.wait);
        mine.delay.merge(&theirs.delay);
        mine.service.merge(&theirs.service);
        mine.response.merge(&theirs.response);
        mine.cold_start.merge(&theirs.cold_start);
        mine.stages.iter_mut().zip(&theirs.stages).for_each(|(mine, theirs)| mine.merge(theirs));
        self.in_system.add(&other.in_system);
        self.in_service.add(&other.in_service);
        self.places.add(&other.places);
        self.activities.iter_mut().zip(&other.activities).for_each(|(mine, theirs)| mine.add(theirs));
        self.outdated.iter_mut().zip(&other.outdated).for_each(|(mine, theirs)| mine.add(theirs));
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn add_workers(mine: &mut WorkerCounts, theirs: &WorkerCounts) {
    mine.created += theirs.created;
    mine.starts += theirs.starts;
    mine.resumes += theirs.resumes;
    mine.ready += theirs.ready;
    mine.failed_starts += theirs.failed_starts;
    mine.crashes += theirs.crashes;
    mine.refreshes += theirs.refreshes;
    mine.image_hits += theirs.image_hits;
    mine.image_misses += theirs.image_misses;
    add_counts(&mut mine.start_causes, &theirs.start_causes);
    add_counts(&mut mine.unhealthy_reasons, &theirs.unhealthy_reasons);
    add_counts(&mut mine.scale_reasons, &theirs.scale_reasons);
}

fn add_counts<K: Ord + Copy>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (key, count) in theirs {
        *mine.entry(*key).or_default() += count;
    }
}
