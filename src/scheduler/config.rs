//! What the scheduler is told about hosts, images and endpoints. Every default is the documented one (source beside it).

use serde::{Deserialize, Serialize};

use crate::policy::PolicyChoice;
use crate::units::{ImageId, Span, UsdPerSecond};

/// A GPU class ("pool"), an index into [`SchedulerConfig::gpu_classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuClassId(pub u16);

/// What one GPU of a class is called and costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuClass {
    /// The pool's name, such as `ADA_24`.
    pub name: String,
    /// Flex and extra price per GPU.
    pub flex: UsdPerSecond,
    /// Active price per GPU.
    pub active: UsdPerSecond,
}

/// One layer of an image (or a cached model, which is fetched and kept in the same way).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Content digest: images that name the same digest share the layer.
    pub digest: String,
    /// Compressed bytes: what a pull transfers.
    pub pull_bytes: u64,
    /// Unpacked bytes: what it takes on the disk.
    pub disk_bytes: u64,
}

/// An image: the unit of caching and eviction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Reference, for people.
    pub name: String,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
}

/// A host as it announces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSpec {
    /// For people.
    pub name: String,
    /// Data centre or region; endpoints may be restricted to some.
    pub data_center: String,
    /// What kind of GPUs.
    pub gpu_class: GpuClassId,
    /// How many; a CPU-only host announces worker places here.
    pub gpus: u32,
    /// RAM in bytes: bounds frozen snapshots and `memory_bytes` of workers.
    pub memory_bytes: u64,
    /// Disk for images in bytes.
    pub disk_bytes: u64,
    /// Nominal pull bandwidth in bytes per second (for placement scores only).
    pub pull_bytes_per_s: u64,
    /// Higher is preferred by the `priority` placement.
    pub priority: i32,
    /// Images complete on its disk when it joins.
    pub cached: Vec<ImageId>,
}

/// When a job and a worker are brought together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// A waiting job goes to the first worker that becomes free.
    #[default]
    Late,
    /// A job whose arrival started a worker waits for that worker.
    Early,
}

/// Who opens the conversation between scheduler and worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PickUp {
    /// The worker asks (`TakeOpened`); jobs are handed out only to open requests. What the SDK does.
    #[default]
    Pull,
    /// A ready worker with a free place accepts at once (clean mode; load-balancing endpoints).
    Push,
}

/// How the extra workers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraMode {
    /// Beyond max when demand exceeds it (the seed's reading).
    #[default]
    Burst,
    /// Only in place of throttled or unhealthy workers: running stays within max.
    ReplaceThrottled,
    /// Never started: they only keep further hosts' caches warm.
    PrecacheOnly,
}

/// When slots are placed on hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// All of max at once, asleep: their hosts hold the image (contract §0.1).
    #[default]
    Ahead,
    /// When a worker is wanted, and gone again when it stops; only the image stays.
    OnDemand,
}

/// What the end of a TTL does to a job that is running (contract C6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlRunning {
    /// Ends it as TIMED_OUT.
    #[default]
    TimedOut,
    /// Nothing: the TTL bounds the time in the queue only.
    Ignore,
}

/// How outdated workers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// Share of max replaced at a time, in percent, rounded up, at least one worker. Default 10 (contract C4).
    pub batch_percent: u32,
    /// Start failures of a new release in a row, before any of its workers came up, that roll it back. Default 3 (ours); 0 = never.
    pub rollback_after_failures: u32,
}

/// When a failed worker is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackoffSpec {
    /// First delay. Default 10 s; `documented` 1 h (contract §9).
    pub base: Span,
    /// Growth per failure. Default 2.
    pub factor: f64,
    /// Longest delay. Default 300 s; `documented` none.
    pub cap: Span,
    /// The worker is removed when the series is this old. Default 7 d.
    pub give_up_after: Span,
    /// Healthy time that ends a series. Default 10 min.
    pub reset_after: Span,
}

/// No request for days (contract §1.4); off unless given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DormancySpec {
    /// Max is reduced after this long without a request. Documented 3 d.
    pub reduce_after: Span,
    /// To this many workers. Documented 2.
    pub reduced_max: u32,
    /// Max becomes 0 after this long. Documented 7 d.
    pub zero_after: Span,
}

/// The decisions of an endpoint that are policies. Eviction belongs to the hosts: see [`SchedulerConfig::eviction`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicySet {
    /// How many workers are wanted.
    pub scaling: PolicyChoice,
    /// How long an idle worker stays up.
    pub keep_alive: PolicyChoice,
    /// Which idle worker gets the job.
    pub dispatch: PolicyChoice,
    /// Which host gets a new worker.
    pub placement: PolicyChoice,
}

/// An endpoint. A change of a field marked † needs new containers and so makes a release; all others hold at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// For people.
    pub name: String,
    /// † Image of the current release.
    pub image: ImageId,
    /// † Digest of everything else that a container is made from (environment, start command, mounts).
    pub container_digest: u64,
    /// † Acceptable GPU classes, most wanted first.
    pub gpu_classes: Vec<GpuClassId>,
    /// † GPUs of one worker, all on one host.
    pub gpus_per_worker: u32,
    /// † RAM that a worker's host must have; 0 = any.
    pub memory_bytes: u64,
    /// † Data centres allowed; empty = all.
    pub data_centers: Vec<String>,
    /// Always-on workers. Default 0.
    pub active: u32,
    /// Most workers, extra ones not counted. Default 3.
    pub max: u32,
    /// Extra workers. Default 2.
    pub extra: u32,
    /// What they are used for.
    pub extra_mode: ExtraMode,
    /// Jobs that one worker runs at once. Default 1.
    pub concurrency: u32,
    /// Longest run of one attempt. Default 600 s; `None` = off.
    pub execution_timeout: Option<Span>,
    /// Life of a job from submission. Default 24 h.
    pub ttl: Span,
    /// What its end does to a running job.
    pub ttl_running: TtlRunning,
    /// Idle workers are frozen instead of stopped. Default on.
    pub flashboot: bool,
    /// Longest start. Default 420 s.
    pub init_timeout: Span,
    /// Job to worker.
    pub binding: Binding,
    /// Who opens the conversation.
    pub pick_up: PickUp,
    /// When slots are placed.
    pub slots: Slots,
    /// Most jobs in the queue; more are refused. Default 1,000,000.
    pub max_queued: u32,
    /// Attempts of a job whose worker is lost. Default 3; `documented` 2.
    pub max_attempts: u32,
    /// A worker that holds jobs and is not heard of for this long is lost. `None` = exits are always seen.
    pub lease: Option<Span>,
    /// A worker that ignores a job's stop signal for this long is killed. Default 10 s.
    pub stop_job_grace: Span,
    /// A throttled worker looks for another host after this long. Default 60 s.
    pub replace_throttled_after: Span,
    /// Replacement of outdated workers.
    pub rollout: RolloutSpec,
    /// Unhealthy workers.
    pub backoff: BackoffSpec,
    /// Start failures in a row, over all workers, after which max becomes 0; `None` = never.
    pub suspend_after_failures: Option<u32>,
    /// No requests for days; `None` = off, the default.
    pub dormancy: Option<DormancySpec>,
    /// The pluggable decisions.
    pub policies: PolicySet,
}

impl EndpointSpec {
    /// True when going from `self` to `other` needs new containers.
    pub fn needs_release(&self, other: &EndpointSpec) -> bool {
        self.image != other.image
            || self.container_digest != other.container_digest
            || self.gpu_classes != other.gpu_classes
            || self.gpus_per_worker != other.gpus_per_worker
            || self.memory_bytes != other.memory_bytes
            || self.data_centers != other.data_centers
    }

    /// The documented defaults, for an image and GPU class.
    pub fn with_defaults(name: &str, image: ImageId, gpu_class: GpuClassId) -> EndpointSpec {
        EndpointSpec {
            name: name.to_owned(),
            image,
            container_digest: 0,
            gpu_classes: vec![gpu_class],
            gpus_per_worker: 1,
            memory_bytes: 0,
            data_centers: Vec::new(),
            active: 0,
            max: 3,
            extra: 2,
            extra_mode: ExtraMode::Burst,
            concurrency: 1,
            execution_timeout: Some(Span::from_whole_secs(600)),
            ttl: Span::from_whole_secs(24 * 3_600),
            ttl_running: TtlRunning::TimedOut,
            flashboot: true,
            init_timeout: Span::from_whole_secs(420),
            binding: Binding::Late,
            pick_up: PickUp::Pull,
            slots: Slots::Ahead,
            max_queued: 1_000_000,
            max_attempts: 3,
            lease: None,
            stop_job_grace: Span::from_whole_secs(10),
            replace_throttled_after: Span::from_whole_secs(60),
            rollout: RolloutSpec { batch_percent: 10, rollback_after_failures: 3 },
            backoff: BackoffSpec {
                base: Span::from_whole_secs(10),
                factor: 2.0,
                cap: Span::from_whole_secs(300),
                give_up_after: Span::from_whole_secs(7 * 24 * 3_600),
                reset_after: Span::from_whole_secs(600),
            },
            suspend_after_failures: None,
            dormancy: None,
            policies: PolicySet {
                scaling: PolicyChoice::named("queue_delay"),
                keep_alive: PolicyChoice::named("fixed"),
                dispatch: PolicyChoice::named("mru"),
                placement: PolicyChoice::named("image_locality"),
            },
        }
    }
}

/// What is known before the first event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// GPU classes with their prices.
    pub gpu_classes: Vec<GpuClass>,
    /// Images that endpoints may name.
    pub images: Vec<Image>,
    /// What a full disk drops first.
    pub eviction: PolicyChoice,
}
