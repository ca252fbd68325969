//! What the world knows of an endpoint: how its releases start, work and fail, and the keys of its draws.

use super::plan::{EndpointPlan, Feed, PacingModel, ReleaseFaults, ReleasePlan};
use super::streams::{Keyed, Purpose, Streams};
use crate::scheduler::{EndpointSpec, PickUp, StartStage};
use crate::units::{EndpointId, ImageId, Span};
use crate::workload::{Sampler, ServiceSampler, SharedSpeed};

/// A release, ready to be drawn from.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub stages: Vec<(StartStage, Sampler)>,
    pub resume: Sampler,
    pub stop: Sampler,
    pub freeze_probability: f64,
    pub snapshot_life: Option<Sampler>,
    pub warm_up_jobs: u32,
    pub warm_up_factor: f64,
    pub service: ServiceSampler,
    pub speed: SharedSpeed,
    pub faults: ReleaseFaults,
    pub uptime: Option<Sampler>,
    /// Some fault strikes attempts: only then their fate is drawn.
    pub attempts_fail: bool,
    pub image: ImageId,
    pub gpus: u32,
}

impl Release {
    fn new(plan: &ReleasePlan, spec: &EndpointSpec) -> Release {
        let faults = &plan.faults;
        Release {
            stages: plan.start.stages.iter().map(|model| (model.stage, model.time.sampler())).collect(),
            resume: plan.start.resume.sampler(),
            stop: plan.start.stop.sampler(),
            freeze_probability: plan.start.freeze_probability,
            snapshot_life: plan.start.snapshot_life.as_ref().map(|life| life.sampler()),
            warm_up_jobs: plan.start.warm_up_jobs,
            warm_up_factor: plan.start.warm_up_factor,
            service: plan.service.sampler(),
            speed: plan.service.speed(),
            uptime: faults.uptime.as_ref().map(|uptime| uptime.sampler()),
            attempts_fail: faults.crash_probability > 0.0
                || faults.hang_probability > 0.0
                || faults.handler_error_probability > 0.0
                || faults.refresh_probability > 0.0,
            faults: faults.clone(),
            image: spec.image,
            gpus: spec.gpus_per_worker,
        }
    }
}

/// Draws that belong to an attempt, keyed by job and attempt, so that two policies meet the same luck.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptStreams {
    pub service: Keyed,
    pub pick_up: Keyed,
    pub crash: Keyed,
    pub hang: Keyed,
    pub handler_error: Keyed,
    pub refresh: Keyed,
    pub stop_signal: Keyed,
}

/// Index of an attempt's draws: the first attempts of all jobs, then the second ones, and so on.
#[inline]
pub(super) fn attempt_index(job_index: u64, attempt: u32) -> u64 {
    job_index ^ (u64::from(attempt.max(1) - 1) << 48)
}

/// An endpoint as the world sees it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub spec: EndpointSpec,
    pub releases: Vec<Release>,
    /// Which release each version is; version 1 first.
    versions: Vec<u32>,
    pub streams: AttemptStreams,
    /// None when it is always zero.
    pub latency: Option<Sampler>,
    pub period: Span,
    pub feeds: Vec<Feed>,
    pub feed_streams: Keyed,
    /// Jobs submitted to it so far: the next one's index.
    pub submitted: u64,
    /// Workers that start, are up or stop.
    pub up: u32,
    pub deleted: bool,
}

impl Endpoint {
    pub fn new(id: EndpointId, plan: &EndpointPlan, streams: &Streams) -> Endpoint {
        let entity = u64::from(plan.stream.unwrap_or(id).0);
        let keyed = |purpose| streams.keyed(purpose, entity);
        Endpoint {
            spec: plan.spec.clone(),
            releases: vec![Release::new(&plan.release, &plan.spec)],
            versions: vec![0],
            streams: AttemptStreams {
                service: keyed(Purpose::Service),
                pick_up: keyed(Purpose::PickUp),
                crash: keyed(Purpose::Crash),
                hang: keyed(Purpose::Hang),
                handler_error: keyed(Purpose::HandlerError),
                refresh: keyed(Purpose::Refresh),
                stop_signal: keyed(Purpose::StopSignal),
            },
            latency: latency(&plan.pacing),
            period: plan.pacing.period,
            feeds: plan.feeds.clone(),
            feed_streams: keyed(Purpose::Feed),
            submitted: 0,
            up: 0,
            deleted: false,
        }
    }

    /// New settings. What needs new containers becomes the next version, which `release` describes.
    pub fn update(&mut self, spec: &EndpointSpec, release: &ReleasePlan) {
        if self.spec.needs_release(spec) {
            self.versions.push(self.releases.len() as u32);
            self.releases.push(Release::new(release, spec));
        }
        self.spec = spec.clone();
    }

    /// `version` did not come up: the next version has the containers of the one before it.
    pub fn rolled_back(&mut self, version: u32) {
        let before = self.versions.get(version.saturating_sub(2) as usize).copied();
        let release = before.unwrap_or(0);
        if self.versions.len() == version as usize {
            self.versions.push(release);
        }
        let good = &self.releases[release as usize];
        self.spec.image = good.image;
        self.spec.gpus_per_worker = good.gpus;
    }

    /// Index of a version's release.
    pub fn release_of(&self, version: u32) -> Option<u32> {
        self.versions.get((version as usize).checked_sub(1)?).copied()
    }

    pub fn pulls_jobs(&self) -> bool {
        self.spec.pick_up == PickUp::Pull
    }

    /// Workers beyond this number wait for their idle timeout; with an endless one they wait for nothing.
    pub fn workers_that_stay(&self) -> u32 {
        match self.spec.policies.keep_alive.name.as_str() {
            _ if self.deleted => 0,
            "infinite" => u32::MAX,
            _ => self.spec.active,
        }
    }
}

fn latency(pacing: &PacingModel) -> Option<Sampler> {
    let sampler = pacing.latency.sampler();
    (sampler.constant() != Some(0.0)).then_some(sampler)
}
