//! What the engine is asked for, word for word, and what no setting can make of it.

use serde_json::{Value, json};

use super::*;
use crate::real::config::RunConfig;
use crate::units::HostId;

fn spec() -> LaunchSpec {
    LaunchSpec {
        name: "w2a-3".into(),
        endpoint: "sdxl".into(),
        host: HostId(0),
        version: 7,
        image: "registry.example:5000/team/sdxl@sha256:0123".into(),
        gpus: 2,
        run: RunConfig::default(),
        env: vec![("RUNPOD_WEBHOOK_GET_JOB".into(), "http://host.docker.internal:8080/sdxl/job-take/$ID?gpu=x".into())],
        resume: None,
    }
}

fn request(spec: &LaunchSpec, gpus: GpuRequest, ids: &[&str]) -> Result<Value, String> {
    let engine = DockerConfig { gpus, ..DockerConfig::default() };
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let place = Place { store: "5eed", network: "thermocline-sdxl", engine: &engine, gpus: &ids };
    create_request(spec, &place).map(|body| serde_json::to_value(body).unwrap())
}

/// A worker without GPUs and without settings.
fn bare() -> Value {
    json!({
        "Hostname": "w2a-3",
        "Image": "registry.example:5000/team/sdxl@sha256:0123",
        "Env": [
            "CUDA_VISIBLE_DEVICES=",
            "NVIDIA_VISIBLE_DEVICES=void",
            "RUNPOD_LOG_LEVEL=INFO",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true",
            "RUNPOD_WEBHOOK_GET_JOB=http://host.docker.internal:8080/sdxl/job-take/$ID?gpu=x",
        ],
        "Labels": {
            "thermocline.endpoint": "sdxl",
            "thermocline.worker": "w2a-3",
            "thermocline.version": "7",
            "thermocline.store": "5eed",
            "thermocline.gpus": "",
            "thermocline.ports": "",
        },
        "StopTimeout": 30,
        "HostConfig": {
            "PidsLimit": 4096,
            "ShmSize": 1_073_741_824,
            "IpcMode": "private",
            "Privileged": false,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": false,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}},
            "NetworkMode": "thermocline-sdxl",
            "ExtraHosts": ["host.docker.internal:host-gateway"],
        },
    })
}

/// The bare request with GPUs: environment and labels differ in what the GPUs are.
fn with_gpus(visible: &str, label: &str) -> Value {
    let mut expected = bare();
    expected["Env"] = json!([
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        format!("NVIDIA_VISIBLE_DEVICES={visible}"),
        "RUNPOD_LOG_LEVEL=INFO",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true",
        "RUNPOD_WEBHOOK_GET_JOB=http://host.docker.internal:8080/sdxl/job-take/$ID?gpu=x",
    ]);
    expected["Labels"]["thermocline.gpus"] = json!(label);
    expected
}

#[test]
fn without_gpus() {
    assert_eq!(request(&spec(), GpuRequest::DeviceRequest, &[]).unwrap(), bare());
    assert_eq!(request(&spec(), GpuRequest::Runtime, &[]).unwrap(), bare());
}

#[test]
fn gpus_by_device_request() {
    let mut expected = with_gpus("GPU-a,GPU-b", "GPU-a,GPU-b");
    expected["HostConfig"]["DeviceRequests"] =
        json!([{"Driver": "nvidia", "DeviceIDs": ["GPU-a", "GPU-b"], "Capabilities": [["gpu"]]}]);
    assert_eq!(request(&spec(), GpuRequest::DeviceRequest, &["GPU-a", "GPU-b"]).unwrap(), expected);
}

#[test]
fn gpus_by_cdi_name() {
    let mut expected = with_gpus("void", "0,nvidia.com/gpu=GPU-b");
    expected["HostConfig"]["DeviceRequests"] =
        json!([{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-b"]}]);
    assert_eq!(request(&spec(), GpuRequest::Cdi, &["0", "nvidia.com/gpu=GPU-b"]).unwrap(), expected);
}

#[test]
fn gpus_by_the_nvidia_runtime() {
    let mut expected = with_gpus("0,1", "0,1");
    expected["HostConfig"]["Runtime"] = json!("nvidia");
    assert_eq!(request(&spec(), GpuRequest::Runtime, &["0", "1"]).unwrap(), expected);
}

#[test]
fn every_setting_has_its_field() {
    let mut spec = spec();
    spec.run = RunConfig {
        command: vec!["python".into(), "-u".into(), "/handler.py; rm -rf /".into()],
        env: [("MODEL".to_owned(), "a b\n--privileged".to_owned())].into(),
        volumes: vec![
            VolumeMount { source: "/srv/models".into(), target: "/models:/etc:rw".into(), read_only: true },
            VolumeMount { source: "cache".into(), target: "/cache".into(), read_only: false },
        ],
        memory_limit_bytes: 8 << 30,
        cpus: 1.5,
        pids_limit: 100,
        shm_bytes: 1 << 20,
        read_only_root: true,
        ports: vec![80],
        openai_port: Some(8000),
        ..RunConfig::default()
    };
    let mut expected = bare();
    expected["Cmd"] = json!(["python", "-u", "/handler.py; rm -rf /"]);
    expected["Env"].as_array_mut().unwrap().insert(1, json!("MODEL=a b\n--privileged"));
    expected["ExposedPorts"] = json!({"80/tcp": {}, "8000/tcp": {}});
    expected["Labels"]["thermocline.ports"] = json!("80,8000");
    let host = expected["HostConfig"].as_object_mut().unwrap();
    host.insert("Memory".into(), json!(8_i64 << 30));
    host.insert("MemorySwap".into(), json!(8_i64 << 30));
    host.insert("NanoCpus".into(), json!(1_500_000_000));
    host.insert("PidsLimit".into(), json!(100));
    host.insert("ShmSize".into(), json!(1 << 20));
    host.insert("ReadonlyRootfs".into(), json!(true));
    host.insert("Tmpfs".into(), json!({"/tmp": "rw,exec,nosuid,nodev,size=1073741824,mode=1777"}));
    host.insert("PortBindings".into(), json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}], "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}));
    host.insert(
        "Mounts".into(),
        json!([
            {"Type": "bind", "Source": "/srv/models", "Target": "/models:/etc:rw", "ReadOnly": true},
            {"Type": "volume", "Source": "cache", "Target": "/cache", "ReadOnly": false},
        ]),
    );
    assert_eq!(request(&spec, GpuRequest::DeviceRequest, &[]).unwrap(), expected);
}

#[test]
fn an_endpoint_can_neither_bend_the_protocol_nor_see_more_gpus() {
    let mut spec = spec();
    let own =
        [("RUNPOD_WEBHOOK_GET_JOB", "http://evil/"), ("NVIDIA_VISIBLE_DEVICES", "all"), ("CUDA_VISIBLE_DEVICES", "7")];
    spec.run.env = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(request(&spec, GpuRequest::DeviceRequest, &[]).unwrap(), bare());
    let mut expected = with_gpus("0", "0");
    expected["HostConfig"]["Runtime"] = json!("nvidia");
    assert_eq!(request(&spec, GpuRequest::Runtime, &["0"]).unwrap(), expected);
}

#[test]
fn hostile_names_are_refused() {
    let with = |change: &dyn Fn(&mut LaunchSpec)| {
        let mut spec = spec();
        change(&mut spec);
        request(&spec, GpuRequest::DeviceRequest, &[])
    };
    for image in ["", "--privileged", "a b", "a\nb", "a;b", "../x", "$(x)", "a?x=1", "a#b", "a%2e", &"a".repeat(513)] {
        assert!(with(&|spec| spec.image = image.into()).unwrap_err().contains("image reference"), "{image}");
    }
    for name in ["", "a/b", "a b", "x\0"] {
        assert!(with(&|spec| spec.name = name.into()).is_err() && with(&|spec| spec.endpoint = name.into()).is_err());
    }
    for name in ["", "A=B", "A\0"] {
        assert!(with(&|spec| drop(spec.run.env.insert(name.into(), "v".into()))).is_err(), "{name:?}");
    }
    assert!(with(&|spec| spec.run.command = vec!["a\0b".into()]).is_err());
    assert!(with(&|spec| spec.run.ports = vec![0]).is_err());
}

#[test]
fn hostile_volumes_are_refused() {
    let with = |source: &str, target: &str| {
        let mut spec = spec();
        spec.run.volumes = vec![VolumeMount { source: source.into(), target: target.into(), read_only: false }];
        request(&spec, GpuRequest::DeviceRequest, &[])
    };
    let sources = [
        "/",
        "//",
        "/.",
        "/var",
        "/var/run",
        "/var/run/",
        "/run",
        "/var/run/docker.sock",
        "/var/run/./docker.sock",
        "/run//docker.sock",
        "/srv/../var/run/docker.sock",
        "/proc",
        "/proc/1/root",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/nvidia0",
        "/var/lib/docker/volumes",
        "/run/containerd",
        "relative/path",
        "..",
        ".",
        "",
        "a:b",
        "a b",
        "-v",
        "/a\0b",
    ];
    for source in sources {
        assert!(with(source, "/data").is_err(), "{source:?}");
    }
    for target in ["", "data", "/", "//", "/../x", "/a/../..", "/proc", "/proc/self", "/sys", "/dev/shm", "/a\0"] {
        assert!(with("cache", target).is_err(), "{target:?}");
    }
    assert!(with("/srv/models", "/models").is_ok() && with("cache-1.x", "/a/b").is_ok());
    let engine = DockerConfig { endpoint: Some("unix:///srv/engine/own.sock".into()), ..DockerConfig::default() };
    let place = Place { store: "s", network: "n", engine: &engine, gpus: &[] };
    let mut spec = spec();
    spec.run.volumes = vec![VolumeMount { source: "/srv/engine".into(), target: "/x".into(), read_only: true }];
    assert!(create_request(&spec, &place).unwrap_err().contains("power over the host"));
}

#[test]
fn ports_are_published_only_next_to_the_gateway() {
    let mut spec = spec();
    spec.run.ports = vec![8000];
    for (endpoint, fits) in
        [("unix:///var/run/docker.sock", true), ("tcp://10.0.0.5:2376", false), ("ssh://root@gpu1", false)]
    {
        let engine = DockerConfig { endpoint: Some(endpoint.into()), ..DockerConfig::default() };
        let place = Place { store: "s", network: "n", engine: &engine, gpus: &[] };
        assert_eq!(create_request(&spec, &place).is_ok(), fits, "{endpoint}");
    }
}
