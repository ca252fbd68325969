//! Waits, cold starts, worker counts and everything else that is counted: a fold over the transcript.
//!
//! Integers only; quantiles from histograms of stated error whose memory does not depend on the number of jobs. Use
//! [`Metrics`] as the watcher of a [`Follower`], alone ([`Metrics::recorder`]) or in a tuple.

pub mod endpoint;
pub mod histogram;
pub mod level;
pub mod live;

pub use endpoint::{Activity, EndpointMetrics, JobCounts, Lengths, SloTarget, WorkerCounts};
pub use histogram::{Histogram, RELATIVE_ERROR};
pub use level::{Gauge, Level};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scheduler::Phase;
use crate::scheduler::compact::pairs;
use crate::scheduler::follow::Follower;
use crate::scheduler::watch::{LiveJob, Member, Watcher, Window};
use crate::scheduler::{Command, EndpointSpec, Event, FinishCause, JobOutcome, RejectReason, RequeueCause, StartStage};
use crate::units::{EndpointId, HostId, ImageId, Time};

/// Image pulls of all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullCounts {
    /// Asked for.
    pub asked: u64,
    /// Ended without an image.
    pub failed: u64,
    /// Images dropped.
    pub evicted: u64,
    /// Length of the pulls that brought an image.
    pub length: Histogram,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Endpoint {
    figures: EndpointMetrics,
    slo: SloTarget,
    concurrency: u64,
    serving: u64,
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metrics {
    window: Window,
    targets: Vec<SloTarget>,
    endpoints: Vec<Endpoint>,
    /// Jobs sent to endpoints that do not exist.
    unknown: JobCounts,
    queue: Gauge,
    up: [Gauge; 3],
    up_all: Gauge,
    pulls: PullCounts,
    #[serde(with = "pairs")]
    pulling: BTreeMap<(HostId, ImageId), Time>,
    /// When the last stage of the start of the worker at this slot ended.
    stage_ends: Vec<Time>,
    end: Time,
}

impl Metrics {
    /// Nothing counted yet. `targets` by endpoint; jobs submitted and time spent outside `window` do not count.
    pub fn new(targets: Vec<SloTarget>, window: Window) -> Metrics {
        Metrics {
            window,
            targets,
            endpoints: Vec::new(),
            unknown: JobCounts::default(),
            queue: Gauge::default(),
            up: Default::default(),
            up_all: Gauge::default(),
            pulls: PullCounts::default(),
            pulling: BTreeMap::new(),
            stage_ends: Vec::new(),
            end: window.from,
        }
    }

    /// A recorder that counts and does nothing else.
    pub fn recorder() -> Follower<Metrics> {
        Follower::new(Metrics::new(Vec::new(), Window::ALL))
    }

    /// Number of endpoints seen.
    pub fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The figures of one endpoint.
    pub fn endpoint(&self, endpoint: EndpointId) -> Option<&EndpointMetrics> {
        self.endpoints.get(endpoint.index()).map(|row| &row.figures)
    }

    /// The figures of all endpoints together.
    pub fn total(&self) -> EndpointMetrics {
        let mut total = EndpointMetrics::default();
        self.endpoints.iter().for_each(|row| total.add(&row.figures));
        total.jobs.add(&self.unknown);
        (total.queue, total.up, total.up_all) = (self.queue, self.up, self.up_all);
        self.observed(&mut total);
        total
    }

    /// Image pulls.
    pub fn pulls(&self) -> &PullCounts {
        &self.pulls
    }

    /// Length of the observed part of the run, in seconds.
    pub fn observed_s(&self) -> f64 {
        self.end.since(self.window.from).as_secs()
    }

    fn observed(&self, figures: &mut EndpointMetrics) {
        (figures.end, figures.observed) = (self.end, self.end.since(self.window.from));
    }

    fn slo_missed(&mut self, endpoint: EndpointId) {
        if let Some(row) = self.endpoints.get_mut(endpoint.index())
            && row.slo.is_set()
        {
            row.figures.jobs.slo_judged += 1;
        }
    }
}

impl Endpoint {
    /// Counts a worker's way from `was` to `is` (either may be absent) in every level that depends on it.
    fn move_worker(&mut self, now: Time, was: Option<&Member>, is: Option<&Member>) {
        let figures = &mut self.figures;
        if let Some(was) = was {
            if let Some(activity) = Activity::of(was) {
                figures.activities[activity as usize].leave(now);
                figures.outdated[activity as usize].lower(now, u64::from(was.outdated));
            }
            figures.in_service.lower(now, u64::from(was.in_hand));
            if serves(was) {
                figures.places.lower(now, self.concurrency);
                self.serving -= 1;
            }
        }
        if let Some(is) = is {
            if let Some(activity) = Activity::of(is) {
                figures.activities[activity as usize].enter(now);
                figures.outdated[activity as usize].change(now, u64::from(is.outdated));
            }
            figures.in_service.change(now, u64::from(is.in_hand));
            if serves(is) {
                figures.places.change(now, self.concurrency);
                self.serving += 1;
            }
        }
    }

    fn count_change(&mut self, worker: &Member, was: &Member) {
        let counts = &mut self.figures.workers;
        let entered = |phase| worker.phase == phase && was.phase != phase;
        if entered(Phase::Starting) {
            *counts.start_causes.entry(worker.cause).or_default() += 1;
        }
        if entered(Phase::Unhealthy) {
            *counts.unhealthy_reasons.entry(worker.reason).or_default() += 1;
            match worker.failed_to_start(was) {
                Some(true) => counts.failed_starts += 1,
                Some(false) => counts.crashes += 1,
                None => {}
            }
        }
        counts.refreshes += u64::from(worker.refreshing && entered(Phase::Starting));
        match image_found(was.phase, worker.phase).filter(|_| !worker.refreshing) {
            Some(true) => counts.image_hits += 1,
            Some(false) => counts.image_misses += 1,
            None => {}
        }
        if was.phase == Phase::Starting && worker.phase == Phase::Ready {
            counts.ready += 1;
        }
    }
}

fn serves(worker: &Member) -> bool {
    matches!(worker.phase, Phase::Ready | Phase::Draining)
}

/// Whether a placement or a wake found its image on the host; `None` for changes that say nothing about it.
fn image_found(was: Phase, is: Phase) -> Option<bool> {
    use Phase as P;
    match (was, is) {
        (P::Pulling, P::Pulling) => None,
        (_, P::Pulling) => Some(false),
        (P::Placing, P::Asleep | P::Starting | P::Throttled) => Some(true),
        (P::Asleep | P::Unhealthy, P::Starting) => Some(true),
        _ => None,
    }
}

impl Watcher for Metrics {
    fn endpoint_changed(&mut self, now: Time, endpoint: EndpointId, spec: &EndpointSpec) {
        if self.endpoints.len() <= endpoint.index() {
            let slo = self.targets.get(endpoint.index()).copied().unwrap_or_default();
            self.endpoints.push(Endpoint { slo, ..Endpoint::default() });
        }
        let row = &mut self.endpoints[endpoint.index()];
        let now = self.window.clamp(now);
        row.figures.places.lower(now, row.serving * row.concurrency);
        row.concurrency = u64::from(spec.concurrency);
        row.figures.places.change(now, row.serving * row.concurrency);
    }

    fn worker_placed(&mut self, now: Time, worker: &Member, was: Option<&Member>) {
        let Some(row) = self.endpoints.get_mut(worker.endpoint.index()) else { return };
        match was {
            None => {
                row.figures.workers.created += u64::from(self.window.contains(now));
                row.move_worker(self.window.clamp(now), None, Some(worker));
            }
            Some(was) if worker.is_up() && was.kind != worker.kind => {
                for gauges in [&mut row.figures.up, &mut self.up] {
                    gauges[was.kind as usize].leave(now, &self.window);
                    gauges[worker.kind as usize].enter(now, &self.window);
                }
            }
            Some(_) => {}
        }
    }

    fn phase_changed(&mut self, now: Time, worker: &Member, was: &Member) {
        let Some(row) = self.endpoints.get_mut(worker.endpoint.index()) else { return };
        row.move_worker(self.window.clamp(now), Some(was), Some(worker));
        let kind = worker.kind as usize;
        let gauges = [&mut row.figures.up[kind], &mut row.figures.up_all, &mut self.up[kind], &mut self.up_all];
        match (was.is_up(), worker.is_up()) {
            (false, true) => gauges.into_iter().for_each(|gauge| gauge.enter(now, &self.window)),
            (true, false) => gauges.into_iter().for_each(|gauge| gauge.leave(now, &self.window)),
            _ => {}
        }
        if worker.phase == Phase::Starting && was.phase != Phase::Starting {
            let slot = worker.id.slot();
            if self.stage_ends.len() <= slot {
                self.stage_ends.resize(slot + 1, Time::ZERO);
            }
            self.stage_ends[slot] = now;
        }
        if self.window.contains(now) {
            row.count_change(worker, was);
            let start = now.since(was.started);
            if was.phase == Phase::Starting && worker.phase == Phase::Ready && !start.is_zero() {
                row.figures.lengths.cold_start.record(start);
            }
        }
    }

    #[inline]
    fn hands_changed(&mut self, now: Time, worker: &Member, was: u32) {
        let Some(row) = self.endpoints.get_mut(worker.endpoint.index()) else { return };
        let now = self.window.clamp(now);
        let figures = &mut row.figures;
        let idle = if worker.phase == Phase::Ready { Activity::Idle } else { Activity::Draining };
        if worker.in_hand > was {
            figures.in_service.enter(now);
            if was == 0 && serves(worker) {
                figures.move_one(now, idle, Activity::Busy, worker.outdated);
            }
        } else {
            figures.in_service.leave(now);
            if worker.in_hand == 0 && serves(worker) {
                figures.move_one(now, Activity::Busy, idle, worker.outdated);
            }
        }
    }

    fn start_asked(&mut self, now: Time, worker: &Member) {
        if self.window.contains(now)
            && let Some(row) = self.endpoints.get_mut(worker.endpoint.index())
        {
            row.figures.workers.starts += 1;
            row.figures.workers.resumes += u64::from(worker.resume);
        }
    }

    fn stage_ended(&mut self, now: Time, worker: &Member, stage: StartStage) {
        let Some(mark) = self.stage_ends.get_mut(worker.id.slot()) else { return };
        let length = now.since(*mark);
        *mark = now;
        if self.window.contains(now)
            && let Some(row) = self.endpoints.get_mut(worker.endpoint.index())
        {
            row.figures.lengths.stages[stage as usize].record(length);
        }
    }

    #[inline]
    fn job_submitted(&mut self, now: Time, endpoint: EndpointId) {
        if self.window.contains(now) {
            let row = self.endpoints.get_mut(endpoint.index()).map_or(&mut self.unknown, |row| &mut row.figures.jobs);
            row.submitted += 1;
        }
    }

    #[inline]
    fn job_accepted(&mut self, now: Time, job: &LiveJob) {
        let Some(row) = self.endpoints.get_mut(job.endpoint.index()) else { return };
        row.figures.queue.enter(now, &self.window);
        row.figures.in_system.enter(self.window.clamp(now));
        self.queue.enter(now, &self.window);
    }

    fn job_rejected(&mut self, now: Time, endpoint: EndpointId, reason: RejectReason) {
        if self.window.contains(now) {
            let row = self.endpoints.get_mut(endpoint.index()).map_or(&mut self.unknown, |row| &mut row.figures.jobs);
            row.rejected += 1;
            *row.reject_reasons.entry(reason).or_default() += 1;
            self.slo_missed(endpoint);
        }
    }

    #[inline]
    fn job_assigned(&mut self, now: Time, job: &LiveJob, first: bool) {
        let Some(row) = self.endpoints.get_mut(job.endpoint.index()) else { return };
        row.figures.queue.leave(now, &self.window);
        self.queue.leave(now, &self.window);
        if first && self.window.contains(job.accepted) {
            row.figures.jobs.started += 1;
            row.figures.jobs.cold += u64::from(job.cold);
            row.figures.lengths.wait.record(now.since(job.accepted));
        }
    }

    fn job_requeued(&mut self, now: Time, job: &LiveJob, cause: RequeueCause) {
        let Some(row) = self.endpoints.get_mut(job.endpoint.index()) else { return };
        row.figures.queue.enter(now, &self.window);
        self.queue.enter(now, &self.window);
        if self.window.contains(job.accepted) {
            *row.figures.jobs.requeue_causes.entry(cause).or_default() += 1;
            if cause != RequeueCause::TakeLost {
                row.figures.jobs.retries += 1;
                row.figures.jobs.retried += u64::from(job.requeues == 1);
            }
        }
    }

    #[inline]
    fn job_finished(&mut self, now: Time, job: &LiveJob, outcome: JobOutcome, cause: FinishCause) {
        let Some(row) = self.endpoints.get_mut(job.endpoint.index()) else { return };
        row.figures.in_system.leave(self.window.clamp(now));
        if job.worker.is_none() {
            row.figures.queue.leave(now, &self.window);
            self.queue.leave(now, &self.window);
        }
        if !self.window.contains(job.accepted) {
            return;
        }
        let jobs = &mut row.figures.jobs;
        jobs.outcomes[outcome as usize] += 1;
        jobs.finish_causes[cause as usize] += 1;
        let response = now.since(job.accepted);
        let served = matches!(cause, FinishCause::Result | FinishCause::HandlerError);
        if served {
            row.figures.lengths.response.record(response);
            if job.requeues > 0 {
                row.figures.lengths.delay.record(job.assigned.since(job.accepted));
            }
            row.figures.lengths.service.record(now.since(job.assigned));
        }
        if row.slo.is_set() && outcome != JobOutcome::Cancelled {
            let in_time = row.slo.response.is_none_or(|target| response <= target)
                && row.slo.wait.is_none_or(|target| job.wait().is_some_and(|wait| wait <= target));
            row.figures.jobs.slo_judged += 1;
            row.figures.jobs.slo_met += u64::from(served && in_time);
        }
    }

    fn fact(&mut self, now: Time, event: &Event) {
        match event {
            Event::ImagePulled { host, image } => {
                if let Some(asked) = self.pulling.remove(&(*host, *image))
                    && self.window.contains(asked)
                {
                    self.pulls.length.record(now.since(asked));
                }
            }
            Event::ImagePullFailed { host, image } => {
                let asked = self.pulling.remove(&(*host, *image));
                self.pulls.failed += u64::from(asked.is_some_and(|asked| self.window.contains(asked)));
            }
            Event::HostLost { host } => self.pulling.retain(|(on, _), _| on != host),
            _ => {}
        }
    }

    fn note(&mut self, now: Time, command: &Command) {
        let counts = self.window.contains(now);
        match command {
            Command::PullImage { host, image } => {
                self.pulling.insert((*host, *image), now);
                self.pulls.asked += u64::from(counts);
            }
            Command::EvictImage { .. } => self.pulls.evicted += u64::from(counts),
            Command::ScaleDecided { endpoint, reason, .. } if counts => {
                if let Some(row) = self.endpoints.get_mut(endpoint.index()) {
                    *row.figures.workers.scale_reasons.entry(*reason).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn job_left(&mut self, _: Time, job: &LiveJob) {
        if self.window.contains(job.accepted)
            && let Some(row) = self.endpoints.get_mut(job.endpoint.index())
        {
            row.figures.jobs.unfinished += 1;
        }
    }

    fn run_ended(&mut self, now: Time) {
        self.end = self.window.clamp(now);
        for place in 0..self.endpoints.len() {
            let mut figures = std::mem::take(&mut self.endpoints[place].figures);
            self.observed(&mut figures);
            self.endpoints[place].figures = figures;
        }
    }
}

#[cfg(test)]
mod tests;
