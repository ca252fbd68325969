//! How the same endpoints are served on real machines, as typed: the section `serve` and the `run` of each endpoint. The
//! simulator uses nothing of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::endpoint::Volume;
use super::numbers::{Gigabytes, NonNegative, PollSeconds, PositiveGigabytes, PositiveSeconds, Seconds};
use super::values::{Named, OneOrMany};

/// The gateway, its store and its hosts.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Address and port on which the gateway listens; port 0 takes a free one.
    #[schemars(extend("default" = "127.0.0.1:8080", "x-source" = "ours: this machine only"))]
    pub listen: String,
    /// How workers reach the gateway, such as `http://10.0.0.5:8080`; made from `listen` unless given.
    pub worker_url: Option<String>,
    /// Folder for the store, logs, transcripts and the workers' own folders. Taken from the folder of this file.
    #[schemars(extend("default" = "./.thermocline", "x-source" = "ours: beside the file"))]
    pub data_dir: String,
    /// Where jobs and results are kept.
    #[schemars(extend("default" = "sqlite", "x-source" = "ours: jobs survive a restart"))]
    pub store: StoreKind,
    /// How workers are launched on hosts that do not say.
    #[schemars(extend("default" = "process", "x-source" = "ours: works everywhere"))]
    pub launcher: LauncherKind,
    /// The container engine of hosts that name none of their own.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub docker: Docker,
    /// The hosts, by name; this machine alone, called `local`, with places for 8 workers without GPUs unless given.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub hosts: Named<ServeHost>,
    /// Certificate and key; plain HTTP unless given.
    pub tls: Option<Tls>,
    /// Who must show an API key. `auto`: everybody as soon as a key exists, or when others than this machine can connect.
    #[schemars(extend("default" = "auto", "x-source" = "ours"))]
    pub auth: Auth,
    /// How long results of `/run` jobs are kept.
    #[schemars(extend("default" = 1_800, "x-source" = "RunPod docs: 30 minutes"))]
    pub retention_s: PositiveSeconds,
    /// How long results of `/runsync` jobs are kept.
    #[schemars(extend("default" = 60, "x-source" = "RunPod docs: 1 minute"))]
    pub retention_sync_s: PositiveSeconds,
    /// Hosts and networks with private addresses to which webhooks may go, such as `localhost` or `10.0.0.0/8`.
    #[schemars(extend("default" = serde_json::json!([]), "x-source" = "ours: public addresses only"))]
    pub webhook_allow: OneOrMany<String>,
    /// OpenTelemetry collector to which traces of jobs and starts go (OTLP/HTTP), such as `http://localhost:4318`; none unless given.
    pub otlp: Option<String>,
    /// How many requests an endpoint lets through.
    #[schemars(extend("default" = "platform", "x-source" = "RunPod docs, rate limits"))]
    pub rate_limits: RateLimiting,
    /// Longest hold of a worker's poll.
    #[schemars(extend("default" = 30, "x-source" = "worker SDK 1.12 gives up at 90 s"))]
    pub poll_hold_s: PollSeconds,
}

/// Where jobs and results are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In a file of the data folder.
    Sqlite,
    /// In memory: gone with the process.
    Memory,
}

/// How many requests an endpoint lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimiting {
    /// As many as the platform, per operation: 1,000 `/run`, 2,000 `/runsync` and as many `/status` in 10 s, more with many workers.
    Platform,
    /// Any number.
    Off,
}

/// How workers are launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LauncherKind {
    /// As child processes of the gateway.
    Process,
    /// As containers of an engine.
    Docker,
    /// By somebody else: workers report here (`thermocline worker env`).
    External,
}

/// Who must show an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everybody as soon as a key exists; before that nobody if only this machine can connect.
    Auto,
    /// Everybody.
    Required,
    /// Nobody.
    Off,
}

/// How a container is given GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GpuAccess {
    /// As `docker run --gpus` does.
    DeviceRequest,
    /// By CDI names such as `nvidia.com/gpu=0`.
    Cdi,
    /// By the `nvidia` runtime.
    Runtime,
}

/// A container engine.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// `unix:///var/run/docker.sock`, `tcp://host:2376` or `ssh://user@host`; the engine's usual place unless given.
    pub endpoint: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for tcp with TLS.
    pub tls_dir: Option<String>,
    /// How a container is given GPUs.
    #[schemars(extend("default" = "device_request", "x-source" = "docker run --gpus"))]
    pub gpus: GpuAccess,
    /// Network on which workers reach the gateway; one of their own unless given.
    pub network: Option<String>,
}

/// Certificate and key.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain in PEM.
    pub certificate: String,
    /// Private key in PEM.
    pub key: String,
}

/// A real host.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServeHost {
    /// Name, in the list form only.
    pub name: Option<String>,
    /// How its workers are launched; as `serve.launcher` says unless given.
    pub launcher: Option<LauncherKind>,
    /// Its container engine; `serve.docker` unless given.
    pub docker: Option<Docker>,
    /// What its GPUs are: a class such as `ADA_24`, or a card such as `RTX 4090`. Without it the host takes every endpoint.
    pub gpu_class: Option<String>,
    /// How many GPUs; as many as `gpu_ids` names unless given, and none without those.
    #[schemars(range(max = 1_024))]
    pub gpus: Option<u32>,
    /// Which GPUs: their numbers, uuids or CDI names; 0, 1, ... unless given.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub gpu_ids: OneOrMany<GpuName>,
    /// Places for workers, on a host without GPUs.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 8, "x-source" = "ours"))]
    pub places: u32,
    /// RAM that its workers may count on.
    #[schemars(extend("default" = 1_000, "x-source" = "ours: ample"))]
    pub memory_gb: PositiveGigabytes,
    /// Disk that its images may take.
    #[schemars(extend("default" = 4_000, "x-source" = "ours: ample"))]
    pub disk_gb: PositiveGigabytes,
    /// Data centre or region.
    #[schemars(extend("default" = "default", "x-source" = "one data centre unless given"))]
    pub data_center: String,
    /// Higher is preferred by the placement `gpu_priority`.
    #[schemars(extend("default" = 0, "x-source" = "equal unless given"))]
    pub priority: i32,
}

/// How the workers of an endpoint are run on a real host.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Command and arguments, instead of the endpoint's `command`. Hosts without an engine need one or the other.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub command: Vec<String>,
    /// Environment beyond the endpoint's `env`.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub env: BTreeMap<String, String>,
    /// Working folder of child processes; each worker gets a folder of its own below the data folder unless given.
    pub working_dir: Option<String>,
    /// Volumes beyond the endpoint's `volumes`.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub volumes: Vec<Volume>,
    /// Most memory of a worker; 0 = no limit.
    #[schemars(extend("default" = 0, "x-source" = "no limit unless given"))]
    pub memory_limit_gb: Gigabytes,
    /// Most CPUs of a worker; 0 = no limit.
    #[schemars(extend("default" = 0, "x-source" = "no limit unless given"))]
    pub cpus: NonNegative,
    /// Most processes and threads of a worker.
    #[schemars(range(min = 1), extend("default" = 4_096, "x-source" = "ours: a fork bomb ends"))]
    pub pids_limit: u32,
    /// Shared memory of a container.
    #[schemars(extend("default" = 1, "x-source" = "ours: data loaders of PyTorch need more than the engine's 64 MB"))]
    pub shm_gb: PositiveGigabytes,
    /// The worker's root file system cannot be written to.
    #[schemars(extend("default" = false, "x-source" = "writable unless given"))]
    pub read_only_root: bool,
    /// Ports of the worker that the gateway may reach, the main one first; 80 for load balancing unless given.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub ports: OneOrMany<Port>,
    /// Path of the health probe of a load-balancing worker.
    #[schemars(extend("default" = "/ping", "x-source" = "RunPod docs, load balancing"))]
    pub health_path: String,
    /// From the polite stop signal to the forcible one.
    #[schemars(extend("default" = 30, "x-source" = "ours"))]
    pub stop_grace_s: Seconds,
    /// Port on which the worker speaks the OpenAI API; such requests become jobs unless given.
    pub openai_port: Option<Port>,
}

/// Queue or load balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Jobs wait in a queue; workers fetch them.
    Queue,
    /// Requests go straight to a worker's port.
    LoadBalancer,
}

/// A TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Port(#[schemars(range(min = 1, max = 65_535))] pub u16);

/// A GPU of a host: its number, its uuid or a CDI name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuName(pub String);

impl<'de> Deserialize<'de> for GpuName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GpuName, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(GpuName(number.to_string())),
            Value::String(name) => Ok(GpuName(name)),
            _ => Err(serde::de::Error::custom("neither a number nor a name")),
        }
    }
}

impl JsonSchema for GpuName {
    fn schema_name() -> Cow<'static, str> {
        "GpuName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A GPU of a host: its number, its uuid or a CDI name.",
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 1_023 }, { "type": "string" }]
        })
    }
}

/// A JSON Schema: written out, or the path of a file with it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum InputSchema {
    /// In a file (JSON or YAML), taken from the folder of this one.
    File(String),
    /// Here.
    Inline(serde_json::Map<String, Value>),
}

impl JsonSchema for InputSchema {
    fn schema_name() -> Cow<'static, str> {
        "InputSchema".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A JSON Schema: written out, or the path of a file with it.",
            "anyOf": [{ "type": "string" }, { "type": "object" }]
        })
    }
}
