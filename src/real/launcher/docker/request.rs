//! From a [`LaunchSpec`] to the engine's create request: a pure function, so that what a container may do can be read and
//! tested in one place.
//!
//! Names and values of an endpoint end up as JSON strings in fields that mean exactly that; none of them is ever part of a
//! string that the engine takes apart (`-v a:b:c`, `--device`), so nothing in them adds a mount, a device, a privilege or a
//! network. What cannot be passed on as it is, is refused with a reason.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::super::{LaunchSpec, ports_of};
use crate::real::config::{DockerConfig, GpuRequest, VolumeMount};
use crate::real::ids::is_id;

/// Label: endpoint id.
pub const ENDPOINT: &str = "thermocline.endpoint";
/// Label: name of the launch.
pub const WORKER: &str = "thermocline.worker";
/// Label: release.
pub const VERSION: &str = "thermocline.version";
/// Label: whose containers these are. One engine may serve several gateways.
pub const STORE: &str = "thermocline.store";
/// Label: ids of the GPUs it holds, with commas between.
pub const GPUS: &str = "thermocline.gpus";
/// Label: its ports in the order asked for, with commas between.
pub const PORTS: &str = "thermocline.ports";

/// Most processes and threads, unless the endpoint says otherwise: a fork bomb ends here.
const PIDS: u32 = 4_096;
/// Shared memory, unless the endpoint says otherwise: PyTorch's data loaders need more than the engine's 64 MiB.
const SHM_BYTES: u64 = 1 << 30;
/// Sockets of engines: who can write to one owns the machine.
const SOCKETS: [&str; 5] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
];
/// Host folders that give a container power over the host.
const FORBIDDEN: [&str; 5] = ["/proc", "/sys", "/dev", "/boot", "/var/lib/docker"];

/// What the launcher adds to a [`LaunchSpec`].
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Mark of our containers.
    pub store: &'a str,
    /// Network to be in: one that exists.
    pub network: &'a str,
    /// How GPUs are asked for, and where the engine is.
    pub engine: &'a DockerConfig,
    /// GPUs allotted.
    pub gpus: &'a [String],
}

/// The request. The text of an error is for people.
///
/// # Errors
/// Something in the endpoint's settings cannot be given to a container.
pub fn create_request(spec: &LaunchSpec, place: &Place<'_>) -> Result<ContainerCreateBody, String> {
    check(spec)?;
    let ports: Vec<String> = ports_of(&spec.run).iter().map(|port| format!("{port}/tcp")).collect();
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: (!spec.run.command.is_empty()).then(|| spec.run.command.clone()),
        env: Some(environment(spec, place)),
        hostname: Some(spec.name.clone()),
        working_dir: spec.run.working_dir.as_ref().map(|path| path.display().to_string()),
        exposed_ports: (!ports.is_empty()).then_some(ports),
        labels: Some(labels(spec, place)),
        // Not used by us; a later gateway reads the grace period here, and so does an engine that shuts down.
        stop_timeout: Some(super::life::grace(spec.run.stop_grace_s).as_secs_f64().ceil() as i64),
        host_config: Some(host_config(spec, place)?),
        ..ContainerCreateBody::default()
    })
}

/// Whether a text can be an image reference: nothing that the engine could read as an option or a path of its own.
pub fn is_reference(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b))
}

fn check(spec: &LaunchSpec) -> Result<(), String> {
    if !is_id(&spec.name) || !is_id(&spec.endpoint) {
        return Err(format!("{:?} of {:?} cannot be the name of a worker", spec.name, spec.endpoint));
    }
    if !is_reference(&spec.image) {
        return Err(format!("{:?} is no image reference: letters, digits and . _ : / @ - only", spec.image));
    }
    if spec.run.command.iter().any(|part| part.contains('\0')) {
        return Err("the command has a NUL byte".to_owned());
    }
    if ports_of(&spec.run).contains(&0) {
        return Err("0 is no port".to_owned());
    }
    for (name, value) in spec.run.env.iter().chain(spec.env.iter().map(|(name, value)| (name, value))) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!(
                "{name:?} cannot be an environment variable: a name has no `=`, nothing has NUL bytes"
            ));
        }
    }
    Ok(())
}

/// Defaults, the endpoint's own, the worker protocol (which an endpoint cannot bend), and what the launcher alone knows.
fn environment(spec: &LaunchSpec, place: &Place<'_>) -> Vec<String> {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    // The SDK's own checks want 4 GB of memory and a way to 8.8.8.8; its default level prints up to 4 KB of every output.
    all.insert("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned());
    all.insert("RUNPOD_LOG_LEVEL", "INFO".to_owned());
    all.extend(spec.run.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
    // Always set: CUDA images say `all`, and where the nvidia runtime is the engine's default that would give every GPU away.
    let visible = match place.engine.gpus {
        _ if place.gpus.is_empty() => "void".to_owned(),
        // The engine's CDI support has put the devices in; the runtime must not add any.
        GpuRequest::Cdi => "void".to_owned(),
        GpuRequest::DeviceRequest | GpuRequest::Runtime => place.gpus.join(","),
    };
    all.insert("NVIDIA_VISIBLE_DEVICES", visible);
    if place.gpus.is_empty() {
        all.insert("CUDA_VISIBLE_DEVICES", String::new());
    } else {
        // Inside, the GPUs given are all there are and are numbered from 0: the names of the outside mean nothing.
        all.remove("CUDA_VISIBLE_DEVICES");
        all.entry("NVIDIA_DRIVER_CAPABILITIES").or_insert_with(|| "compute,utility".to_owned());
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn labels(spec: &LaunchSpec, place: &Place<'_>) -> HashMap<String, String> {
    [
        (ENDPOINT, spec.endpoint.clone()),
        (WORKER, spec.name.clone()),
        (VERSION, spec.version.to_string()),
        (STORE, place.store.to_owned()),
        (GPUS, place.gpus.join(",")),
        (PORTS, ports_of(&spec.run).iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn host_config(spec: &LaunchSpec, place: &Place<'_>) -> Result<HostConfig, String> {
    let run = &spec.run;
    let memory = (run.memory_limit_bytes > 0).then(|| signed(run.memory_limit_bytes));
    let pids = if run.pids_limit > 0 { run.pids_limit } else { PIDS };
    let shm = if run.shm_bytes > 0 { run.shm_bytes } else { SHM_BYTES };
    let (device_requests, runtime) = gpu_request(place);
    let mounts: Vec<Mount> = run.volumes.iter().map(|volume| mount(volume, place.engine)).collect::<Result<_, _>>()?;
    Ok(HostConfig {
        memory,
        // Equal to the memory: no swap on top of it.
        memory_swap: memory,
        nano_cpus: (run.cpus > 0.0).then_some((run.cpus * 1e9) as i64),
        pids_limit: Some(i64::from(pids)),
        shm_size: Some(signed(shm)),
        ipc_mode: Some("private".to_owned()),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(run.read_only_root),
        tmpfs: run.read_only_root.then(|| {
            // Compilers of kernels (Triton) run what they write there.
            [("/tmp".to_owned(), "rw,exec,nosuid,nodev,size=1073741824,mode=1777".to_owned())].into()
        }),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some([("max-size", "10m"), ("max-file", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        }),
        network_mode: Some(place.network.to_owned()),
        extra_hosts: Some(vec!["host.docker.internal:host-gateway".to_owned()]),
        port_bindings: published(&ports_of(run), place.engine)?,
        mounts: (!mounts.is_empty()).then_some(mounts),
        device_requests,
        runtime,
        ..HostConfig::default()
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn gpu_request(place: &Place<'_>) -> (Option<Vec<DeviceRequest>>, Option<String>) {
    if place.gpus.is_empty() {
        return (None, None);
    }
    let ids = place.gpus.to_vec();
    let request = |driver: &str, ids| DeviceRequest {
        driver: Some(driver.into()),
        device_ids: Some(ids),
        ..DeviceRequest::default()
    };
    match place.engine.gpus {
        GpuRequest::DeviceRequest => {
            let capabilities = Some(vec![vec!["gpu".to_owned()]]);
            (Some(vec![DeviceRequest { capabilities, ..request("nvidia", ids) }]), None)
        }
        GpuRequest::Cdi => {
            let named = |id: String| if id.contains('=') { id } else { format!("nvidia.com/gpu={id}") };
            (Some(vec![request("cdi", ids.into_iter().map(named).collect())]), None)
        }
        GpuRequest::Runtime => (None, Some("nvidia".to_owned())),
    }
}

/// Per port of the container, where it can be reached.
type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

/// Ports are published on the loopback address alone, on a port of the engine's choice: the gateway is the way in.
fn published(ports: &[u16], engine: &DockerConfig) -> Result<Option<Bindings>, String> {
    if ports.is_empty() {
        return Ok(None);
    }
    if !super::engine::is_local(engine) {
        return Err("ports of workers can be reached only where the engine is on the gateway's own machine".to_owned());
    }
    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
    Ok(Some(ports.iter().map(|port| (format!("{port}/tcp"), Some(vec![binding.clone()]))).collect()))
}

fn mount(volume: &VolumeMount, engine: &DockerConfig) -> Result<Mount, String> {
    let VolumeMount { source, target, read_only } = volume;
    let inside = plain(target).ok_or_else(|| format!("volume target {target:?} is no absolute path without `..`"))?;
    if inside == "/" || ["/proc", "/sys", "/dev"].iter().any(|no| Path::new(&inside).starts_with(no)) {
        return Err(format!("a volume cannot be mounted at {target:?}"));
    }
    let typ = if source.starts_with('/') {
        let path = plain(source).ok_or_else(|| format!("volume source {source:?} is no absolute path without `..`"))?;
        let own = engine.endpoint.as_deref().and_then(|endpoint| endpoint.strip_prefix("unix://"));
        let holds = |socket: &str| Path::new(socket).starts_with(&path);
        let below = |folder: &&str| Path::new(&path).starts_with(folder);
        if SOCKETS.into_iter().chain(own).any(holds) || FORBIDDEN.iter().any(below) {
            return Err(format!("volume source {source:?} would give the worker power over the host"));
        }
        MountType::BIND
    } else {
        let first = source.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || source.len() > 255 || !source.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return Err(format!("{source:?} is neither an absolute path nor the name of a volume"));
        }
        MountType::VOLUME
    };
    let (source, target) = (Some(source.clone()), Some(target.clone()));
    Ok(Mount { typ: Some(typ), source, target, read_only: Some(*read_only), ..Mount::default() })
}

/// An absolute path in its plain spelling; nothing if it goes up or has a NUL byte.
fn plain(path: &str) -> Option<String> {
    let usable = path.starts_with('/') && !path.contains('\0');
    let mut plain = String::new();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                plain.push('/');
                plain.push_str(name.to_str()?);
            }
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    usable.then(|| if plain.is_empty() { "/".to_owned() } else { plain })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
