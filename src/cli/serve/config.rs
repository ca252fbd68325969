//! From an application file, as it was read for serving, to what real mode is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Failure;
use crate::real::config::{
    AuthMode, DockerConfig, EndpointConfig, EndpointKind, GpuRequest, HostConfig, LauncherConfig, RunConfig,
    ServeConfig, TlsConfig, VolumeMount,
};
use crate::scenario::serving::{ServedEndpoint, ServedHost, Serving};
use crate::scenario::types::serve::{Auth, Docker, GpuAccess, Kind, LauncherKind, RateLimiting, Run, StoreKind};

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Address and port, such as 0.0.0.0:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Folder for the store, logs and workers; .thermocline beside the file unless given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep nothing: everything is gone when the gateway stops
    #[arg(long, conflicts_with = "data_dir")]
    pub memory: bool,
}

/// What real mode is told, and remarks about what was filled in.
pub fn serve_config(serving: &Serving, overrides: &Overrides) -> Result<(ServeConfig, Vec<String>), Failure> {
    let serve = &serving.plan.serve;
    let listen = match overrides.listen {
        Some(listen) => listen,
        None => serve.listen.parse().map_err(|error| Failure::input(format!("serve.listen: {error}")))?,
    };
    let mut notes = serving.notes.clone();
    let config = ServeConfig {
        listen,
        worker_base_url: serve.worker_url.clone(),
        data_dir: data_dir(serving, overrides),
        tls: serve.tls.as_ref().map(|tls| TlsConfig {
            certificate: serving.base.join(&tls.certificate),
            key: serving.base.join(&tls.key),
        }),
        auth: match serve.auth {
            Auth::Auto => AuthMode::Auto,
            Auth::Required => AuthMode::Required,
            Auth::Off => AuthMode::Off,
        },
        poll_hold_s: serve.poll_hold_s.get(),
        retention_s: serve.retention_s.get(),
        retention_sync_s: serve.retention_sync_s.get(),
        webhook_allow: serve.webhook_allow.0.clone(),
        otlp: serve.otlp.clone(),
        rate_limits: serve.rate_limits == RateLimiting::Platform,
        scheduler: serving.plan.scheduler.clone(),
        hosts: serving.plan.hosts.iter().map(|host| host_config(host, &serving.base)).collect(),
        endpoints: endpoint_configs(serving, &mut notes)?,
    };
    Ok((config, notes))
}

/// Where the store is; `None` in memory.
pub fn data_dir(serving: &Serving, overrides: &Overrides) -> Option<PathBuf> {
    let serve = &serving.plan.serve;
    let given = overrides.data_dir.clone();
    let memory = overrides.memory || given.is_none() && serve.store == StoreKind::Memory;
    // Child processes run in folders of their own: the path must not depend on where somebody stands.
    let folder = given.unwrap_or_else(|| serving.base.join(&serve.data_dir));
    (!memory).then(|| std::path::absolute(&folder).unwrap_or(folder))
}

/// The endpoints alone, as a reload reads them.
pub fn endpoint_configs(serving: &Serving, notes: &mut Vec<String>) -> Result<Vec<EndpointConfig>, Failure> {
    let plan = &serving.plan;
    let engines = plan.hosts.iter().any(|host| host.launcher == LauncherKind::Docker);
    let processes = plan.hosts.iter().any(|host| host.launcher == LauncherKind::Process);
    let mut configs = Vec::with_capacity(plan.endpoints.len());
    for endpoint in &plan.endpoints {
        let mut config = endpoint_config(endpoint, &serving.base)?;
        if config.run.command.is_empty() && processes && !engines {
            config.run.command = echo_command(&config)?;
            let name = &config.id;
            notes.push(format!(
                "endpoints.{name}: no `run.command`: served by the built-in echo worker, which answers with its input"
            ));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn endpoint_config(endpoint: &ServedEndpoint, base: &Path) -> Result<EndpointConfig, Failure> {
    let id = endpoint.spec.name.clone();
    let webhook_secret = match &endpoint.webhook_secret_env {
        None => None,
        Some(name) => match std::env::var(name) {
            Ok(secret) if !secret.is_empty() => Some(secret),
            _ => {
                let text =
                    format!("endpoints.{id}.webhook_secret_env: the environment has no {name}; set it, or remove this");
                return Err(Failure::input(text));
            }
        },
    };
    Ok(EndpointConfig {
        kind: match endpoint.kind {
            Kind::Queue => EndpointKind::Queue,
            Kind::LoadBalancer => EndpointKind::LoadBalancer,
        },
        spec: endpoint.spec.clone(),
        image: endpoint.image.clone(),
        run: run_config(&endpoint.run, base),
        input_schema: endpoint.input_schema.clone(),
        feeds: endpoint.feeds.clone(),
        webhook_secret,
        id,
    })
}

fn run_config(run: &Run, base: &Path) -> RunConfig {
    let volume = |volume: &crate::scenario::types::endpoint::Volume| VolumeMount {
        source: volume.source.clone(),
        target: volume.mount.clone(),
        read_only: volume.read_only,
    };
    RunConfig {
        command: run.command.clone(),
        env: run.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>(),
        working_dir: run.working_dir.as_ref().map(|folder| {
            let folder = base.join(folder);
            std::path::absolute(&folder).unwrap_or(folder)
        }),
        volumes: run.volumes.iter().map(volume).collect(),
        memory_limit_bytes: run.memory_limit_gb.bytes(),
        cpus: run.cpus.get(),
        pids_limit: run.pids_limit,
        shm_bytes: run.shm_gb.bytes(),
        read_only_root: run.read_only_root,
        ports: run.ports.0.iter().map(|port| port.0).collect(),
        health_path: Some(run.health_path.clone()),
        stop_grace_s: run.stop_grace_s.get(),
        openai_port: run.openai_port.map(|port| port.0),
    }
}

/// The worker that is built into this program.
fn echo_command(config: &EndpointConfig) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::other(format!("where is this program? {error}")))?;
    let program = program.to_str().ok_or_else(|| Failure::other("the path of this program is not UTF-8"))?;
    let mut command = vec![program.to_owned(), "worker".to_owned(), "echo".to_owned()];
    match config.kind {
        EndpointKind::LoadBalancer => command.push("--http".to_owned()),
        EndpointKind::Queue if config.spec.concurrency > 1 => {
            command.extend(["--concurrency".to_owned(), config.spec.concurrency.to_string()]);
        }
        EndpointKind::Queue => {}
    }
    Ok(command)
}

fn host_config(host: &ServedHost, base: &Path) -> HostConfig {
    let launcher = match host.launcher {
        LauncherKind::Process => LauncherConfig::Process,
        LauncherKind::External => LauncherConfig::External,
        LauncherKind::Docker => LauncherConfig::Docker(docker_config(&host.docker, base)),
    };
    HostConfig { spec: host.spec.clone(), launcher, gpu_ids: host.gpu_ids.clone() }
}

fn docker_config(docker: &Docker, base: &Path) -> DockerConfig {
    DockerConfig {
        endpoint: docker.endpoint.clone(),
        tls_dir: docker.tls_dir.as_ref().map(|folder| base.join(folder)),
        gpus: match docker.gpus {
            GpuAccess::DeviceRequest => GpuRequest::DeviceRequest,
            GpuAccess::Cdi => GpuRequest::Cdi,
            GpuAccess::Runtime => GpuRequest::Runtime,
        },
        network: docker.network.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::serving;
    use crate::units::Span;

    fn serving(text: &str) -> Serving {
        serving::from_str(text, "app.yaml", Path::new("apps"), &[]).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn config(text: &str) -> (ServeConfig, Vec<String>) {
        serve_config(&serving(text), &Overrides::default()).expect("it can be served")
    }

    #[test]
    fn an_endpoint_alone_is_served_on_this_machine_by_the_echo_worker() {
        let (config, notes) = config("endpoints: {a: {}}");
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert!(config.data_dir.as_ref().is_some_and(|folder| folder.ends_with("apps/.thermocline")));
        let [host] = config.hosts.as_slice() else { panic!("one host") };
        assert_eq!((host.spec.name.as_str(), host.spec.gpus, &host.launcher), ("local", 8, &LauncherConfig::Process));
        let [endpoint] = config.endpoints.as_slice() else { panic!("one endpoint") };
        assert_eq!(endpoint.spec.gpu_classes, [host.spec.gpu_class]);
        assert_eq!(endpoint.spec.lease, Some(Span::from_whole_secs(30)));
        assert_eq!(endpoint.run.command[1..], ["worker", "echo"]);
        assert!(notes.iter().any(|note| note.contains("echo worker")), "{notes:?}");
        assert_eq!((config.retention_s, config.retention_sync_s, config.poll_hold_s), (1_800.0, 60.0, 30.0));
    }

    #[test]
    fn a_host_without_a_class_has_the_one_that_endpoints_agree_on() {
        let (agreed, _) = config("endpoints: {a: {gpu_classes: [A100, RTX 4090]}, b: {gpu_classes: ADA_24}, c: {}}");
        let name = |config: &ServeConfig, id: crate::scheduler::GpuClassId| {
            config.scheduler.gpu_classes[usize::from(id.0)].name.clone()
        };
        assert_eq!(name(&agreed, agreed.hosts[0].spec.gpu_class), "ADA_24");
        let (apart, _) = config("endpoints: {a: {gpu_classes: A100}, b: {gpu_classes: ADA_24}}");
        assert_eq!(name(&apart, apart.hosts[0].spec.gpu_class), "LOCAL");
        for endpoint in &apart.endpoints {
            assert_eq!(endpoint.spec.gpu_classes.last(), Some(&apart.hosts[0].spec.gpu_class));
        }
    }

    #[test]
    fn everything_that_is_typed_arrives() {
        let text = "
endpoints:
  a:
    env: {A: '1', B: '1'}
    gpu_classes: ADA_24
    kind: load_balancer
    run: {command: [serve], env: {B: '2'}, memory_limit_gb: 2, ports: [80, 81], openai_port: 8000, stop_grace_s: 5, volumes: [{source: v, mount: /v, read_only: true}]}
    feeds: {to: b}
  b: {gpu_classes: ADA_24, input_schema: {type: object}, command: [python, -u, b.py]}
serve:
  listen: 0.0.0.0:9000
  worker_url: http://10.0.0.5:9000
  store: memory
  auth: off
  tls: {certificate: c.pem, key: k.pem}
  hosts:
    box: {gpus: 2, gpu_class: RTX 4090}
    far: {launcher: docker, docker: {endpoint: 'ssh://me@far', gpus: cdi}, gpu_ids: ['nvidia.com/gpu=0'], gpu_class: A100}
    pod: {launcher: external, places: 3}
";
        let (config, notes) = config(text);
        assert_eq!((config.listen.port(), config.auth, config.data_dir), (9000, AuthMode::Off, None));
        assert_eq!(config.tls.map(|tls| tls.key), Some(PathBuf::from("apps/k.pem")));
        let gpus: Vec<(u32, usize)> = config.hosts.iter().map(|host| (host.spec.gpus, host.gpu_ids.len())).collect();
        assert_eq!(gpus, [(2, 2), (1, 1), (3, 0)]);
        assert!(matches!(&config.hosts[1].launcher, LauncherConfig::Docker(docker) if docker.gpus == GpuRequest::Cdi));
        let (a, b) = (&config.endpoints[0], &config.endpoints[1]);
        assert_eq!((a.kind, a.spec.pick_up), (EndpointKind::LoadBalancer, crate::scheduler::PickUp::Push));
        assert_eq!((a.run.env["A"].as_str(), a.run.env["B"].as_str(), &a.run.ports[..]), ("1", "2", &[80, 81][..]));
        assert_eq!((a.run.memory_limit_bytes, a.run.openai_port, a.run.stop_grace_s), (2_000_000_000, Some(8000), 5.0));
        assert_eq!((a.feeds.as_slice(), a.run.volumes[0].target.as_str()), (&["b".to_owned()][..], "/v"));
        assert_eq!(b.run.command, ["python", "-u", "b.py"]);
        assert!(b.input_schema.is_some() && b.spec.pick_up == crate::scheduler::PickUp::Pull);
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn mistakes_have_a_place_and_a_way_out() {
        let refused = |text: &str| {
            serving::from_str(text, "app.yaml", Path::new("apps"), &[]).expect_err("it is wrong").to_string()
        };
        for (text, expected) in [
            ("{endpoints: {a: {}}, serve: {listen: 8080}}", "serve.listen: 8080; allowed: a text; put it in quotes"),
            (
                "{endpoints: {a: {}}, serve: {listen: 'here:80'}}",
                "serve.listen: `here:80`; allowed: an address such as",
            ),
            ("{endpoints: {a b: {}}}", "endpoints.a b: the name `a b`; allowed: 1 to 64 letters"),
            ("{endpoints: {a: {feeds: {to: b}}, b: {feeds: {to: a}}}}", "remove one feed of the cycle"),
            ("{endpoints: {a: {input_schema: {type: nonsense}}}}", "endpoints.a.input_schema: "),
            ("{endpoints: {a: {input_schema: none.json}}}", "apps/none.json: no such file"),
            ("{endpoints: {a: {run: {command: ['']}}}}", "endpoints.a.run.command: a program without a name"),
            ("{endpoints: {a: {webhook_secret_env: 'my key!'}}}", "allowed: the name of an environment variable"),
            (
                "{endpoints: {a: {}}, serve: {hosts: {h: {gpus: 3, gpu_ids: [0, 1]}}}}",
                "3 GPUs, and 2 of them in `gpu_ids`",
            ),
            (
                "{endpoints: {a: {gpu_classes: A100}}, serve: {hosts: {h: {gpus: 1, gpu_class: L4}}}}",
                "GPU classes that no host has",
            ),
            ("{endpoints: {a: {}}, serve: {poll_hold_s: 90}}", "from 1 to 60"),
            ("{endpoints: {a: {}}, serve: {launcher: podman}}", "process, docker, external"),
            ("{endpoints: {a: {}}, serve: {webhook_allow: 10.0.0.0/99}}", "serve.webhook_allow.0: `10.0.0.0/99`"),
        ] {
            let found = refused(text);
            assert!(found.starts_with("app.yaml:") && found.contains(expected), "{text}\n{found}");
        }
        let secret = refused("{endpoints: {a: {webhook_secret_env: 'hunter 2'}}}");
        assert!(!secret.contains("hunter"), "{secret}");
    }
}
