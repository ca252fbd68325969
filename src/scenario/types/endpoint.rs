//! An endpoint as typed. Names are the platform's words, defaults the documented ones (contract §1.1 unless said otherwise).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::numbers::{Gigabytes, Positive, PositiveGigabytes, PositiveSeconds, Seconds, Share};
use super::serve::{InputSchema, Kind, Run};
use super::traffic::Source;
use super::values::{DispatchChoice, KeepAliveChoice, OneOrMany, PlacementChoice, ScalingChoice};
use super::work::{EndpointFaults, Pacing, Service, Start};
use crate::scheduler;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident => $target:ty { $($(#[$variant_doc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl From<$name> for $target {
            fn from(word: $name) -> $target {
                match word { $($name::$variant => <$target>::$variant,)+ }
            }
        }
    };
}

words! {
    /// What extra workers are for.
    ExtraMode => scheduler::ExtraMode {
        /// Beyond max when demand exceeds it.
        Burst,
        /// Only in place of throttled or unhealthy workers.
        ReplaceThrottled,
        /// Never started: they keep further hosts' caches warm.
        PrecacheOnly,
    }
}

words! {
    /// When a job and a worker are brought together.
    Binding => scheduler::Binding {
        /// A waiting job goes to the first worker that becomes free.
        Late,
        /// A job whose arrival started a worker waits for that worker.
        Early,
    }
}

words! {
    /// Who opens the conversation between scheduler and worker.
    PickUp => scheduler::PickUp {
        /// The worker asks; what the SDK does.
        Pull,
        /// A ready worker with a free place gets a job at once.
        Push,
    }
}

words! {
    /// When slots are placed on hosts.
    Slots => scheduler::Slots {
        /// All of max at once, asleep.
        Ahead,
        /// When a worker is wanted, and gone again when it stops.
        OnDemand,
    }
}

words! {
    /// What the end of a TTL does to a running job.
    TtlRunning => scheduler::TtlRunning {
        /// Ends it as TIMED_OUT.
        TimedOut,
        /// Nothing: the TTL bounds the time in the queue only.
        Ignore,
    }
}

/// How many workers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// Always-on workers, at the active price.
    #[schemars(range(max = 100_000), extend("default" = 0, "x-source" = "RunPod docs, endpoint configurations"))]
    pub active: u32,
    /// Most workers, extra ones not counted.
    #[schemars(range(max = 100_000), extend("default" = 3, "x-source" = "RunPod docs, endpoint configurations"))]
    pub max: u32,
    /// Further workers for spikes, only on hosts that hold the image.
    #[schemars(range(max = 100_000), extend("default" = 2, "x-source" = "RunPod docs, workers"))]
    pub extra: u32,
}

/// How outdated workers are replaced.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Percent of max that is replaced at a time, rounded up, at least one worker.
    #[schemars(range(min = 1, max = 100), extend("default" = 10, "x-source" = "RunPod docs, rolling releases"))]
    pub batch_percent: u32,
    /// Start failures in a row of a release that never came up, after which it is rolled back; 0 = never.
    #[schemars(extend("default" = 3, "x-source" = "ours; the platform documents no guard"))]
    pub rollback_after_failures: u32,
}

/// When a failed worker is tried again.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// First delay.
    #[schemars(extend("default" = 10, "x-source" = "ours; `documented` 1 h"))]
    pub base_s: PositiveSeconds,
    /// Growth per failure, at least 1.
    #[schemars(extend("default" = 2, "x-source" = "ours; the platform says exponential"))]
    pub factor: Positive,
    /// Longest delay.
    #[schemars(extend("default" = 300, "x-source" = "ours; `documented` 7 d"))]
    pub cap_s: PositiveSeconds,
    /// The worker is removed when the series is this old.
    #[schemars(extend("default" = 604_800, "x-source" = "RunPod docs, workers: 7 days"))]
    pub give_up_after_s: PositiveSeconds,
    /// Healthy time that ends a series.
    #[schemars(extend("default" = 600, "x-source" = "ours"))]
    pub reset_after_s: PositiveSeconds,
}

/// What happens to an endpoint that gets no requests for days.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dormancy {
    /// Max is reduced after this long.
    #[schemars(extend("default" = 259_200, "x-source" = "RunPod docs: 3 days"))]
    pub reduce_after_s: PositiveSeconds,
    /// To this many workers.
    #[schemars(extend("default" = 2, "x-source" = "RunPod docs"))]
    pub reduced_max: u32,
    /// Max becomes 0 after this long.
    #[schemars(extend("default" = 604_800, "x-source" = "RunPod docs: 7 days"))]
    pub zero_after_s: PositiveSeconds,
}

/// What the endpoint promises.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// A job should start within this long.
    pub wait_s: Option<PositiveSeconds>,
    /// A job should be answered within this long.
    pub response_s: Option<PositiveSeconds>,
}

/// An output that becomes an input of another endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedTo {
    /// Whose input.
    pub to: String,
    /// Share of completed jobs that go on.
    #[schemars(extend("default" = 1, "x-source" = "every job"))]
    pub probability: Share,
    /// Time between.
    #[schemars(extend("default" = 0, "x-source" = "at once"))]
    pub delay_s: Seconds,
}

/// A volume that workers mount.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Name or host path.
    pub source: String,
    /// Where the worker sees it.
    pub mount: String,
    /// Workers may not write to it.
    #[schemars(extend("default" = false, "x-source" = "writable unless given"))]
    pub read_only: bool,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Name, in the list form only; in the map form the key is the name.
    pub name: Option<String>,
    /// A workload of the catalogue: gives image, GPU class, start, service and concurrency, each of which may be set beside it.
    pub preset: Option<String>,
    /// Container image. The endpoint's own name unless given here or by the preset.
    pub image: Option<String>,
    /// Compressed size of the image, unless it is described under `images`.
    pub image_gb: Option<PositiveGigabytes>,
    /// Unpacked size of the image; 2.3 times the compressed one unless given.
    pub image_unpacked_gb: Option<PositiveGigabytes>,
    /// Acceptable GPU classes, most wanted first: a class such as `ADA_24` or a card such as `RTX 4090`. Needed unless the preset
    /// tells.
    pub gpu_classes: Option<OneOrMany<String>>,
    /// GPUs of one worker, all on one host.
    #[schemars(range(min = 1, max = 1_024), extend("default" = 1, "x-source" = "RunPod docs, endpoint configurations"))]
    pub gpus_per_worker: u32,
    /// RAM that a worker's host must have; 0 = any.
    #[schemars(extend("default" = 0, "x-source" = "any host; contract C24"))]
    pub memory_gb: Gigabytes,
    /// Data centres allowed; all unless given.
    #[schemars(extend("default" = serde_json::json!([]), "x-source" = "RunPod docs: all"))]
    pub data_centers: OneOrMany<String>,
    /// How many workers.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub workers: Workers,
    /// What the extra workers are for.
    #[schemars(extend("default" = "burst", "x-source" = "contract C8"))]
    pub extra_mode: ExtraMode,
    /// How long an idle worker stays up after its last job. Default 5 s; it has no effect under scalers that bring workers
    /// down themselves, such as `request_count`, and is refused there.
    pub idle_timeout_s: Option<Seconds>,
    /// How many workers are wanted: a scaling policy.
    #[schemars(extend("default" = serde_json::json!({ "type": "queue_delay" }), "x-source" = "RunPod docs: QUEUE_DELAY 4 s"))]
    pub scaler: ScalingChoice,
    /// How long an idle worker stays up: a keep-alive policy; `fixed` with `idle_timeout_s` unless given.
    pub keep_alive: Option<KeepAliveChoice>,
    /// Which idle worker gets the job: a dispatch policy.
    #[schemars(extend("default" = serde_json::json!({ "type": "mru" }), "x-source" = "ours; no rule is published"))]
    pub dispatch: DispatchChoice,
    /// Which host gets a new worker: a placement policy.
    #[schemars(extend("default" = serde_json::json!({ "type": "image_locality" }), "x-source" = "contract §2.3: hosts with the image first"))]
    pub placement: PlacementChoice,
    /// Jobs that one worker runs at once.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 1, "x-source" = "worker SDK"))]
    pub concurrency: u32,
    /// Longest run of one attempt; 0 = no limit.
    #[schemars(extend("default" = 600, "x-source" = "RunPod docs, endpoint configurations"))]
    pub execution_timeout_s: Seconds,
    /// Life of a job from submission.
    #[schemars(extend("default" = 86_400, "x-source" = "RunPod docs: 24 h"))]
    pub ttl_s: PositiveSeconds,
    /// What its end does to a running job.
    #[schemars(extend("default" = "timed_out", "x-source" = "contract C6"))]
    pub ttl_running: TtlRunning,
    /// Idle workers are frozen instead of stopped.
    #[schemars(extend("default" = true, "x-source" = "RunPod docs: on in the console"))]
    pub flashboot: bool,
    /// Longest start.
    #[schemars(extend("default" = 420, "x-source" = "RunPod docs: 7 minutes"))]
    pub init_timeout_s: PositiveSeconds,
    /// When a job and a worker are brought together.
    #[schemars(extend("default" = "late", "x-source" = "RunPod queue endpoints"))]
    pub binding: Binding,
    /// Who opens the conversation.
    #[schemars(extend("default" = "pull", "x-source" = "worker SDK 1.12"))]
    pub pick_up: PickUp,
    /// How workers ask for jobs.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub pacing: Pacing,
    /// When slots are placed on hosts.
    #[schemars(extend("default" = "ahead", "x-source" = "contract §0.1"))]
    pub slots: Slots,
    /// Most jobs in the queue; more are refused.
    #[schemars(range(min = 1), extend("default" = 1_000_000, "x-source" = "ours"))]
    pub max_queued: u32,
    /// Attempts of a job whose worker is lost.
    #[schemars(range(min = 1, max = 100), extend("default" = 3, "x-source" = "ours; `documented` 2"))]
    pub max_attempts: u32,
    /// A worker that holds jobs and is not heard of for this long is lost; exits are always seen unless given.
    pub lease_s: Option<PositiveSeconds>,
    /// A worker that ignores a job's stop signal for this long is killed.
    #[schemars(extend("default" = 10, "x-source" = "ours"))]
    pub stop_job_grace_s: Seconds,
    /// A throttled worker looks for another host after this long.
    #[schemars(extend("default" = 60, "x-source" = "ours"))]
    pub replace_throttled_after_s: PositiveSeconds,
    /// How outdated workers are replaced.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub rollout: Rollout,
    /// When a failed worker is tried again; `documented` is the platform's: 1 h, doubling, no cap.
    #[schemars(extend("default" = serde_json::json!({}), "x-words" = serde_json::json!(["documented"])))]
    pub backoff: Backoff,
    /// Start failures in a row, over all workers, after which max becomes 0; never unless given.
    #[schemars(range(min = 1))]
    pub suspend_after_failures: Option<u32>,
    /// What happens without requests for days; nothing unless given. `documented`: 2 workers after 3 d, none after 7 d.
    #[schemars(extend("x-words" = serde_json::json!(["documented"])))]
    pub dormancy: Option<Dormancy>,
    /// Environment of the workers.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub env: BTreeMap<String, String>,
    /// Start command, instead of the image's.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub command: Vec<String>,
    /// Volumes that workers mount.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub volumes: Vec<Volume>,
    /// How a worker starts, resumes and stops.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub start: Start,
    /// How much work a job is. Needed for a simulation, unless the preset tells.
    pub service: Option<Service>,
    /// Requests.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub traffic: OneOrMany<Source>,
    /// Whose random streams its requests are drawn from: endpoints of equal traffic that name the same one meet the same requests.
    pub stream: Option<String>,
    /// What the endpoint promises.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub slo: Slo,
    /// Where its outputs go.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub feeds: OneOrMany<FeedTo>,
    /// What goes wrong with its workers.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub faults: EndpointFaults,
    /// Jobs in a queue, or requests straight to a worker. In a simulation the latter only hands jobs out without being asked.
    #[schemars(extend("default" = "queue", "x-source" = "RunPod docs, endpoints"))]
    pub kind: Kind,
    /// How its workers are run on real hosts; not used by the simulator.
    pub run: Option<Run>,
    /// What the `input` of a request must look like; anything goes unless given. Not used by the simulator.
    pub input_schema: Option<InputSchema>,
    /// Environment variable of the gateway with the key that signs webhooks; they are not signed unless given.
    pub webhook_secret_env: Option<String>,
}
