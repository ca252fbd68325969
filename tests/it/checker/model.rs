//! The checker's own picture of the platform: plain maps, filled from the transcript alone.

use std::collections::{BTreeMap, BTreeSet};

use thermocline::policy::ParamValue;
use thermocline::scheduler::{
    EndpointSpec, Event, FinishCause, GpuClass, HostSpec, Image, JobOutcome, Phase, RequeueCause, SchedulerConfig,
    StopMode, WorkerKind, WorkerReason,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Span, Time, WorkerId};

/// A host.
#[derive(Clone, Debug)]
pub struct HostNow {
    pub spec: HostSpec,
    /// GPUs that other tenants leave.
    pub gpus: u32,
    pub up: bool,
    pub complete: BTreeSet<ImageId>,
    /// Pulls under way, and when they were last asked for.
    pub pulling: BTreeMap<ImageId, Time>,
    /// GPUs held after the batch before.
    pub held_before: u32,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct EndpointNow {
    pub spec: EndpointSpec,
    /// Newest release.
    pub version: u32,
    /// Settings of every release.
    pub releases: BTreeMap<u32, EndpointSpec>,
    /// Releases that were given up.
    pub rolled_back: BTreeSet<u32>,
    pub active: u32,
    pub max: u32,
    pub deleted: bool,
    /// When settings last changed.
    pub changed: Time,
    pub last_request: Time,
    /// Workers (extra ones, all others) after the batch before.
    pub count_before: (u32, u32),
    /// Outdated workers on their way out after the batch before.
    pub replaced_before: u32,
    /// The old and the new idle timeout, when an update changed it while workers were idle.
    pub idle_timeouts: Vec<Option<Span>>,
    pub accepted: u64,
    pub outcomes: u64,
    /// Since when more workers are up or starting than are always on.
    pub above_floor_since: Option<Time>,
}

impl EndpointNow {
    /// The fixed idle timeouts that may apply now; empty when the policy's timeout is not known from its settings.
    pub fn fixed_idle_timeout(spec: &EndpointSpec) -> Option<Option<Span>> {
        let choice = &spec.policies.keep_alive;
        match (choice.name.as_str(), choice.params.get("idle_timeout_s")) {
            ("fixed", None) => Some(Some(Span::from_whole_secs(5))),
            ("fixed", Some(ParamValue::Number(seconds))) => Some(Some(Span::from_secs(*seconds))),
            ("infinite", _) => Some(None),
            _ => None,
        }
    }

    /// The scaling policy wants workers for other reasons than the jobs of the moment: a fixed number, load that it remembers, what
    /// it expects. Only those that look at waiting jobs alone are held to rule 17.
    pub fn wants_of_its_own(spec: &EndpointSpec) -> bool {
        const FOR_JOBS_ONLY: [&str; 6] =
            ["queue_delay", "request_count", "per_job", "inflight", "backlog_drain", "slo_cost"];
        !FOR_JOBS_ONLY.contains(&spec.policies.scaling.name.as_str())
    }

    /// The newest release is given up: the next one has the settings of the one before it.
    pub fn go_back(&mut self) {
        let good = (1..self.version).rev().find(|older| !self.rolled_back.contains(older)).unwrap_or(1);
        let old = &self.releases[&good];
        self.spec.image = old.image;
        self.spec.container_digest = old.container_digest;
        self.spec.gpu_classes.clone_from(&old.gpu_classes);
        self.spec.gpus_per_worker = old.gpus_per_worker;
        self.spec.memory_bytes = old.memory_bytes;
        self.spec.data_centers.clone_from(&old.data_centers);
        self.version += 1;
        self.releases.insert(self.version, self.spec.clone());
    }

    /// Workers that may be replaced at once.
    pub fn rollout_batch(&self) -> u32 {
        (u64::from(self.max) * u64::from(self.spec.rollout.batch_percent)).div_ceil(100).max(1) as u32
    }
}

/// A worker.
#[derive(Clone, Debug)]
pub struct WorkerNow {
    pub endpoint: EndpointId,
    pub host: Option<HostId>,
    pub kind: WorkerKind,
    pub version: u32,
    /// None until its first `WorkerChanged`.
    pub phase: Option<Phase>,
    /// The phase before.
    pub came_from: Option<Phase>,
    /// A start that began with this phase ends before.
    pub ready_until: Time,
    pub since: Time,
    pub outdated: bool,
    pub reason: Option<WorkerReason>,
    /// Number of the latest start; 0 before the first.
    pub epoch: u32,
    /// The latest start has not ended.
    pub alive: bool,
    /// Jobs without an outcome that it was given.
    pub jobs: BTreeMap<JobId, u32>,
    /// Jobs with an outcome that it has been told to stop, and until when it must have.
    pub stopping: BTreeMap<JobId, (u32, Time)>,
    /// Places that it has asked to be filled.
    pub open: u32,
    /// When it last became idle (ready, or its last job ended).
    pub idle_since: Time,
    pub ready_at: Option<Time>,
    pub stop: Option<StopMode>,
    /// It leaves for another reason than its release: the bounds went down, its idle timeout ended.
    pub surplus: bool,
    /// A result asked for its reset.
    pub refresh: bool,
    pub failures: u32,
    pub first_failure: Time,
    pub retry_at: Option<Time>,
    pub last_heard: Time,
    /// Snapshot of this start is believed to be there.
    pub snapshot: Option<u32>,
}

impl WorkerNow {
    /// Places taken.
    pub fn in_hand(&self) -> u32 {
        (self.jobs.len() + self.stopping.len()) as u32
    }

    pub fn is(&self, phase: Phase) -> bool {
        self.phase == Some(phase)
    }

    /// Its GPUs are in use.
    pub fn holds_gpus(&self) -> bool {
        self.phase.is_some_and(Phase::holds_gpus)
    }

    /// On its way out.
    pub fn leaving(&self) -> bool {
        self.is(Phase::Draining) || self.is(Phase::Stopping)
    }
}

/// Where a job without an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobPlace {
    Queued,
    Held { worker: WorkerId, epoch: u32, attempt: u32, since: Time },
}

/// A job without an outcome.
#[derive(Clone, Debug)]
pub struct JobNow {
    pub endpoint: EndpointId,
    pub client_ref: u64,
    pub expires: Time,
    /// What the request set itself.
    pub own_timeout: Option<Span>,
    pub low: bool,
    pub place: JobPlace,
    /// Longest run of the attempt, as of its hand-out and as of now.
    pub timeouts: (Option<Span>, Option<Span>),
    /// Hand-outs.
    pub attempt: u32,
    /// Attempts that ended with their worker.
    pub losses: u32,
    pub takes_lost: u32,
    /// Who had the latest attempt.
    pub last: Option<(WorkerId, u32, u32)>,
    /// A worker that lost it.
    pub avoid: Option<WorkerId>,
    /// Early binding may hold it for one worker.
    pub may_be_bound: bool,
}

/// What the event of this batch makes compulsory or possible.
#[derive(Clone, Debug)]
pub struct Batch {
    pub event: Event,
    /// Why the event is about something that is over, if it is.
    pub stale: Option<&'static str>,
    /// A job that must get an outcome of this cause.
    pub must_finish: Vec<(JobId, JobOutcome, FinishCause)>,
    /// Submission that must be answered once.
    pub must_answer: Option<(EndpointId, u64)>,
    /// A worker that said it is ready.
    pub must_be_up: Option<WorkerId>,
    /// Jobs that must leave their worker: requeued, or failed for good.
    pub must_leave: Vec<(JobId, RequeueCause)>,
    /// Jobs that got an outcome while a worker runs them.
    pub must_stop: Vec<(JobId, WorkerId)>,
    pub stops: Vec<(JobId, WorkerId)>,
    pub commands: u32,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Model {
    pub now: Time,
    pub classes: Vec<GpuClass>,
    pub images: Vec<Image>,
    pub hosts: Vec<HostNow>,
    pub endpoints: Vec<EndpointNow>,
    pub workers: BTreeMap<WorkerId, WorkerNow>,
    pub jobs: BTreeMap<JobId, JobNow>,
    /// Sequence numbers given: an id is never given again.
    pub jobs_given: BTreeSet<u64>,
    pub workers_given: BTreeSet<u64>,
    pub batch: Option<Batch>,
}

impl Model {
    pub fn new(config: &SchedulerConfig) -> Model {
        Model {
            now: Time::ZERO,
            classes: config.gpu_classes.clone(),
            images: config.images.clone(),
            hosts: Vec::new(),
            endpoints: Vec::new(),
            workers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            jobs_given: BTreeSet::new(),
            workers_given: BTreeSet::new(),
            batch: None,
        }
    }

    pub fn host(&self, id: HostId) -> Option<&HostNow> {
        self.hosts.get(id.index())
    }

    pub fn endpoint(&self, id: EndpointId) -> Option<&EndpointNow> {
        self.endpoints.get(id.index())
    }

    /// Settings of the release that a worker runs.
    pub fn release_of(&self, worker: &WorkerNow) -> Option<&EndpointSpec> {
        self.endpoint(worker.endpoint)?.releases.get(&worker.version)
    }

    /// Workers of an endpoint.
    pub fn workers_of(&self, endpoint: EndpointId) -> impl Iterator<Item = (&WorkerId, &WorkerNow)> {
        self.workers.iter().filter(move |(_, worker)| worker.endpoint == endpoint)
    }

    /// Waiting jobs of an endpoint, oldest first.
    pub fn queue(&self, endpoint: EndpointId) -> impl Iterator<Item = (&JobId, &JobNow)> {
        self.jobs.iter().filter(move |(_, job)| job.endpoint == endpoint && job.place == JobPlace::Queued)
    }

    /// GPUs in use on a host.
    pub fn gpus_held(&self, host: HostId) -> u32 {
        let held = self.workers.values().filter(|worker| worker.host == Some(host) && worker.holds_gpus());
        held.map(|worker| self.release_of(worker).map_or(0, |spec| spec.gpus_per_worker)).sum()
    }

    /// Bytes of disk that a set of images takes: every layer once.
    pub fn disk_bytes<'a>(&self, images: impl Iterator<Item = &'a ImageId>) -> u64 {
        let layers: BTreeMap<&str, u64> = images
            .filter_map(|image| self.images.get(image.index()))
            .flat_map(|image| image.layers.iter().map(|layer| (layer.digest.as_str(), layer.disk_bytes)))
            .collect();
        layers.values().sum()
    }
}
