//! What real mode is told: where to listen and to store, which hosts there are and how they are reached, and for each endpoint
//! everything that the scheduler does not need to know (command, environment, mounts, limits of its containers).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::scheduler::{EndpointSpec, HostSpec, Image, SchedulerConfig};

/// Where the store is in a data folder.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join("store.sqlite")
}

/// Everything `serve` needs, checked and with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// Where the gateway listens. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// How workers reach the gateway (`http://host:port`); derived from `listen` unless given.
    pub worker_base_url: Option<String>,
    /// Where the store, logs, transcripts and workers' folders are; `None` = the memory store and a temporary folder.
    pub data_dir: Option<PathBuf>,
    /// Certificate chain and key in PEM; `None` = plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Requests without a valid API key are refused with 401. Default: true as soon as a key exists.
    pub auth: AuthMode,
    /// Longest hold of a worker's poll in seconds, 1-60. Default 30 (the SDK gives up at 90).
    pub poll_hold_s: f64,
    /// How long results of `/run` jobs are kept, seconds. Default 1,800.
    pub retention_s: f64,
    /// How long results of `/runsync` jobs are kept, seconds. Default 60.
    pub retention_sync_s: f64,
    /// Webhooks to private addresses are allowed to these hosts or networks (`10.0.0.0/8`, `localhost`). Default none.
    pub webhook_allow: Vec<String>,
    /// The OpenTelemetry collector to which traces go (OTLP/HTTP), `http://host:4318`. Default none.
    pub otlp: Option<String>,
    /// The platform's rate limits hold (contract §4.4); otherwise none do. Default true.
    pub rate_limits: bool,
    /// What the scheduler knows before the first event.
    pub scheduler: SchedulerConfig,
    /// The hosts, in order of their ids.
    pub hosts: Vec<HostConfig>,
    /// The endpoints of the application file.
    pub endpoints: Vec<EndpointConfig>,
}

/// Who must show a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Everybody, once a key has been created; nobody before that if the gateway listens on a loopback address only.
    #[default]
    Auto,
    /// Everybody, always.
    Required,
    /// Nobody.
    Off,
}

/// TLS by rustls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// A host and how workers are launched there.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// As the scheduler sees it.
    pub spec: HostSpec,
    /// How its workers are launched.
    pub launcher: LauncherConfig,
    /// GPU ids of the host in order (`0`, `GPU-uuid` or CDI names); empty = a host without GPUs whose `gpus` are places.
    pub gpu_ids: Vec<String>,
}

/// How workers are launched on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum LauncherConfig {
    /// As child processes of this machine.
    Process,
    /// As containers of an engine.
    Docker(DockerConfig),
    /// Not at all: somebody else starts workers and they report here.
    External,
}

/// An engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DockerConfig {
    /// `unix:///var/run/docker.sock`, `tcp://host:2376`, `ssh://user@host`; the engine's usual place unless given.
    pub endpoint: Option<String>,
    /// Folder with `ca.pem`, `cert.pem`, `key.pem` for tcp with TLS.
    pub tls_dir: Option<PathBuf>,
    /// How GPUs are asked for.
    pub gpus: GpuRequest,
    /// Network whose gateway address workers use to reach us; a bridge per endpoint unless given.
    pub network: Option<String>,
}

/// How a container is given GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuRequest {
    /// `DeviceRequests` with driver `nvidia` and device ids (`--gpus`).
    #[default]
    DeviceRequest,
    /// CDI names (`nvidia.com/gpu=0`).
    Cdi,
    /// The `nvidia` runtime with `NVIDIA_VISIBLE_DEVICES`.
    Runtime,
}

/// Queue or load balancing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndpointKind {
    /// Jobs wait in a queue; workers fetch them.
    #[default]
    Queue,
    /// Requests go straight to a worker's port.
    LoadBalancer,
}

/// An endpoint in real mode. Kept in the store, shown by the management API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointConfig {
    /// Its name in URLs: `[A-Za-z0-9_-]{1,64}`, never reused.
    pub id: String,
    /// Queue or load balancing.
    pub kind: EndpointKind,
    /// What the scheduler knows of it. `spec.image` is an index into the images known to the scheduler.
    pub spec: EndpointSpec,
    /// The image that `spec.image` stands for.
    pub image: Image,
    /// How its workers are run.
    pub run: RunConfig,
    /// JSON Schema that `input` must fit; anything unless given.
    pub input_schema: Option<serde_json::Value>,
    /// Endpoints whose input this one's output becomes.
    pub feeds: Vec<String>,
    /// Key of the HMAC of its webhooks; no signature unless given.
    pub webhook_secret: Option<String>,
}

/// How the workers of an endpoint are run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// Command and arguments. Process launcher: needed. Docker: the image's own unless given.
    pub command: Vec<String>,
    /// Environment beyond what the launcher sets.
    pub env: BTreeMap<String, String>,
    /// Working folder (process launcher): each worker gets a folder of its own below the data folder unless given.
    pub working_dir: Option<PathBuf>,
    /// Volumes: host path or volume name, path in the container, read-only.
    pub volumes: Vec<VolumeMount>,
    /// Most memory in bytes; 0 = no limit.
    pub memory_limit_bytes: u64,
    /// CPUs; 0 = no limit.
    pub cpus: f64,
    /// Most processes and threads; 0 = the launcher's default of 4,096.
    pub pids_limit: u32,
    /// Shared memory in bytes; 0 = the launcher's default of 1 GiB.
    pub shm_bytes: u64,
    /// The root file system is read-only.
    pub read_only_root: bool,
    /// Ports of the worker that the gateway may reach (load balancing, OpenAI pass-through).
    pub ports: Vec<u16>,
    /// Path of the health probe of a load-balancing worker. `/ping` unless given.
    pub health_path: Option<String>,
    /// Time from SIGTERM to SIGKILL in seconds; 0 = the default of 30.
    pub stop_grace_s: f64,
    /// Base URL at which the worker speaks the OpenAI API, such as `http://127.0.0.1:8000/v1`; as jobs unless given.
    pub openai_port: Option<u16>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Host path or volume name.
    pub source: String,
    /// Where the worker sees it.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}
