//! From what was typed to what real mode does: hosts with their GPUs, endpoints with how they are run, and what does not go
//! together in them.

use std::net::SocketAddr;
use std::path::Path;

use super::amounts::joined;
use super::{Context, typed};
use crate::scenario::node::{Node, Sources, clean, printable};
use crate::scenario::problem::Problems;
use crate::scenario::serving::{LOCAL_CLASS, ServePlan, ServedEndpoint, ServedHost};
use crate::scenario::types::endpoint::{Endpoint, Volume};
use crate::scenario::types::serve::{Docker, InputSchema, Kind, LauncherKind, Port, Run, Serve, ServeHost};
use crate::scenario::{parse, read};
use crate::scheduler::{EndpointSpec, GpuClassId, HostSpec};

/// What placement scores count with on a real host: an ordinary line of 1 Gbit/s.
const PULL_BYTES_PER_S: u64 = 125_000_000;

/// Lowers a checked tree for real hosts. `None` when something could not be read at all; mistakes go to `problems`.
pub fn lower(tree: &Node, sources: &Sources, base: &Path, problems: &mut Problems) -> Option<(ServePlan, Vec<String>)> {
    let app = typed(tree, problems)?;
    let serve = app.serve.as_ref()?;
    let mut context =
        Context { tree, sources, base, app: &app, problems, notes: Vec::new(), images: Vec::new(), serving: true };
    context.images = context.images();
    context.gateway(serve);
    let mut endpoints = context.served_endpoints();
    let hosts = context.served_hosts(serve, &mut endpoints);
    context.everything_can_be_run(&endpoints, &hosts);
    let plan = ServePlan { serve: serve.clone(), scheduler: context.scheduler(), hosts, endpoints };
    Some((plan, context.notes))
}

impl Context<'_> {
    fn gateway(&mut self, serve: &Serve) {
        if serve.listen.parse::<SocketAddr>().is_err() {
            let fix = "write an IP address and a port";
            self.problem(&["serve", "listen"], quoted(&serve.listen), "an address such as `0.0.0.0:8080`", fix);
        }
        let urls = [
            ("worker_url", &serve.worker_url, "a URL such as `http://10.0.0.5:8080`"),
            ("otlp", &serve.otlp, "the address of a collector such as `http://localhost:4318`"),
        ];
        for (key, url, allowed) in urls {
            if let Some(url) = url
                && !["http://", "https://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
            {
                self.problem(&["serve", key], quoted(url), allowed, "");
            }
        }
        if serve.data_dir.is_empty() {
            let fix = "remove it, or `store: memory` to keep nothing";
            self.problem(&["serve", "data_dir"], "an empty path".to_owned(), "a folder", fix);
        }
        for (index, allowed) in serve.webhook_allow.0.iter().enumerate() {
            if !is_host_or_network(allowed) {
                let index = index.to_string();
                let what = "a host, an address or a network such as `10.0.0.0/8`";
                self.problem(&["serve", "webhook_allow", &index], quoted(allowed), what, "");
            }
        }
        self.docker(&serve.docker, &["serve", "docker"]);
    }

    fn docker(&mut self, docker: &Docker, path: &[&str]) {
        if let Some(endpoint) = &docker.endpoint
            && !["unix://", "tcp://", "ssh://", "http://", "https://", "npipe://"]
                .iter()
                .any(|scheme| endpoint.starts_with(scheme))
        {
            let what = "`unix:///var/run/docker.sock`, `tcp://host:2376` or `ssh://user@host`";
            self.problem(&joined(path, "endpoint"), quoted(endpoint), what, "");
        }
    }

    fn served_endpoints(&mut self) -> Vec<ServedEndpoint> {
        let app = self.app;
        if app.endpoints.0.is_empty() {
            self.problem(&["endpoints"], "no endpoint".to_owned(), "one or more", "add `endpoints: {name: {...}}`");
        }
        let mut served = Vec::with_capacity(app.endpoints.0.len());
        let mut always = Vec::with_capacity(app.endpoints.0.len());
        for (name, endpoint) in &app.endpoints.0 {
            let path = ["endpoints", name.as_str()];
            if !is_id(name) {
                let what = "1 to 64 letters, digits, `-` or `_`: the name stands in URLs";
                self.problem(&path, format!("the name `{}`", clean(name)), what, "rename it");
            }
            let spec = self.spec(name, endpoint, &path);
            let feeds = self.feeds(endpoint, &path);
            if feeds.iter().any(|feed| feed.probability < 1.0 || feed.delay.0 > 0) {
                let at = path.join(".");
                self.notes
                    .push(format!("{at}.feeds: every output goes on at once; share and delay are for simulations"));
            }
            let to: Vec<usize> = feeds.iter().map(|feed| feed.to.index()).collect();
            let names = to.iter().map(|index| app.endpoints.0[*index].0.clone()).collect();
            always.push(to);
            let image = self.images.get(spec.image.index()).cloned();
            let Some(image) = image else { continue };
            served.push(ServedEndpoint {
                image,
                kind: endpoint.kind,
                run: self.run_of(endpoint, &path),
                input_schema: self.input_schema(endpoint, &path),
                feeds: names,
                webhook_secret_env: self.secret_name(endpoint, &path),
                spec,
            });
        }
        self.feeds_end(&always, "remove one feed of the cycle");
        served
    }

    /// The `run` of an endpoint on top of its own command, environment and volumes.
    fn run_of(&mut self, endpoint: &Endpoint, path: &[&str]) -> Run {
        let at = joined(path, "run");
        // `prepare` put one there, so that its defaults are filled in and shown with their sources.
        let mut run = endpoint.run.clone().expect("a file that is served has a `run` in every endpoint");
        if run.command.is_empty() {
            run.command.clone_from(&endpoint.command);
        }
        for (name, value) in &endpoint.env {
            run.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if endpoint.kind == Kind::LoadBalancer && run.ports.0.is_empty() {
            // The platform's PORT (contract §4.6).
            run.ports.0.push(Port(80));
        }
        run.volumes = endpoint.volumes.iter().chain(&run.volumes).cloned().collect();
        if run.command.iter().any(|word| word.contains('\0')) || run.command.first().is_some_and(String::is_empty) {
            let found = "a program without a name, or a zero byte".to_owned();
            self.problem(&joined(&at, "command"), found, "a program and its arguments", "");
        }
        for (name, value) in &run.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let what = "names without `=`, values without zero bytes";
                self.problem(&joined(&at, "env"), quoted(name), what, "");
            }
        }
        for Volume { source, mount, .. } in &run.volumes {
            if source.is_empty() || !mount.starts_with('/') {
                let found = format!("`{}` at `{}`", clean(source), clean(mount));
                self.problem(&joined(&at, "volumes"), found, "a source, and a `mount` that begins with `/`", "");
            }
        }
        if !run.health_path.starts_with('/') {
            self.problem(&joined(&at, "health_path"), quoted(&run.health_path), "a path such as `/ping`", "");
        }
        run
    }

    fn input_schema(&mut self, endpoint: &Endpoint, path: &[&str]) -> Option<serde_json::Value> {
        let at = joined(path, "input_schema");
        let schema = match endpoint.input_schema.as_ref()? {
            InputSchema::Inline(map) => serde_json::Value::Object(map.clone()),
            InputSchema::File(file) => {
                let file = self.base.join(file);
                let shown = printable(&file.display().to_string());
                let content = read::text(&file, &shown).map_err(|problem| format!("{shown}: {}", problem.found));
                let origin = crate::scenario::node::Origin::Rule(shown.clone());
                let tree = content.and_then(|text| {
                    parse::parse(&text, &shown, &|_, _| origin.clone()).map_err(|problems| problems.to_string())
                });
                match tree {
                    Ok(tree) => tree.to_json(),
                    Err(found) => {
                        self.problem(&at, found, "a JSON Schema in JSON or YAML", "");
                        return None;
                    }
                }
            }
        };
        if let Err(error) = jsonschema::validator_for(&schema) {
            self.problem(&at, clean(&error.to_string()), "a JSON Schema", "");
        }
        Some(schema)
    }

    fn secret_name(&mut self, endpoint: &Endpoint, path: &[&str]) -> Option<String> {
        let name = endpoint.webhook_secret_env.as_ref()?;
        let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if name.is_empty() || !letters || name.as_bytes()[0].is_ascii_digit() {
            let what = "the name of an environment variable (not the key itself)";
            // Somebody may have put the key here: it is not repeated.
            self.problem(&joined(path, "webhook_secret_env"), "something else".to_owned(), what, "");
        }
        Some(name.clone())
    }

    /// The hosts. One that names no class has the class that all endpoints agree on, so that prices are the same as in a
    /// rehearsal; where they do not agree, it has the class `LOCAL`, which every endpoint then accepts last.
    fn served_hosts(&mut self, serve: &Serve, endpoints: &mut [ServedEndpoint]) -> Vec<ServedHost> {
        let names = self.app.prices.gpu_classes.names();
        let local = GpuClassId(names.iter().position(|name| *name == LOCAL_CLASS).unwrap_or(0) as u16);
        let open = agreed(endpoints).unwrap_or(local);
        let mut hosts = Vec::with_capacity(serve.hosts.0.len());
        for (name, host) in &serve.hosts.0 {
            let path = ["serve", "hosts", name.as_str()];
            let class = match &host.gpu_class {
                Some(class) => self.class(&card_or_class(class), &[path[0], path[1], path[2], "gpu_class"]),
                None => Some(open),
            };
            let gpu_ids = self.gpu_ids(host, &path);
            if let Some(docker) = &host.docker {
                self.docker(docker, &joined(&path, "docker"));
            }
            let Some(gpu_class) = class else { continue };
            let spec = HostSpec {
                name: name.clone(),
                data_center: host.data_center.clone(),
                gpu_class,
                gpus: if gpu_ids.is_empty() { host.places } else { gpu_ids.len() as u32 },
                memory_bytes: host.memory_gb.bytes(),
                disk_bytes: host.disk_gb.bytes(),
                pull_bytes_per_s: PULL_BYTES_PER_S,
                priority: host.priority,
                cached: Vec::new(),
            };
            let docker = host.docker.as_ref().unwrap_or(&serve.docker).clone();
            hosts.push(ServedHost { spec, launcher: host.launcher.unwrap_or(serve.launcher), docker, gpu_ids });
        }
        let mut offered: Vec<GpuClassId> = hosts.iter().map(|host| host.spec.gpu_class).collect();
        offered.sort_unstable();
        offered.dedup();
        for endpoint in endpoints {
            let classes = &mut endpoint.spec.gpu_classes;
            if classes.is_empty() {
                classes.clone_from(&offered);
            } else if open == local && offered.contains(&local) && !classes.contains(&local) {
                classes.push(local);
            }
        }
        hosts
    }

    fn gpu_ids(&mut self, host: &ServeHost, path: &[&str]) -> Vec<String> {
        let mut ids: Vec<String> = host.gpu_ids.0.iter().map(|id| id.0.clone()).collect();
        if let Some(twice) = ids.iter().enumerate().find(|(place, id)| ids[..*place].contains(id)) {
            let found = format!("GPU `{}` twice", clean(twice.1));
            self.problem(&joined(path, "gpu_ids"), found, "each GPU once", "");
        }
        if ids.iter().any(|id| id.is_empty() || id.contains([',', '\0'])) {
            let found = "a GPU without a name, or several in one".to_owned();
            self.problem(&joined(path, "gpu_ids"), found, "a list such as `[0, 1]`", "");
        }
        match host.gpus {
            Some(gpus) if !ids.is_empty() && gpus as usize != ids.len() => {
                let found = format!("{gpus} GPUs, and {} of them in `gpu_ids`", ids.len());
                self.problem(&joined(path, "gpus"), found, "one of the two", "remove `gpus`");
            }
            Some(gpus) if ids.is_empty() => ids = (0..gpus).map(|number| number.to_string()).collect(),
            _ => {}
        }
        ids
    }

    /// Every endpoint fits a host, and knows what to run there.
    fn everything_can_be_run(&mut self, endpoints: &[ServedEndpoint], hosts: &[ServedHost]) {
        let specs: Vec<&HostSpec> = hosts.iter().map(|host| &host.spec).collect();
        for endpoint in endpoints {
            let name = endpoint.spec.name.clone();
            let path = ["endpoints", name.as_str()];
            self.fits_some(&endpoint.spec, &specs, &path);
            let fits = |host: &&ServedHost| fits(&endpoint.spec, &host.spec);
            let mut kinds = hosts.iter().filter(fits).map(|host| host.launcher);
            let engines = kinds.clone().any(|kind| kind == LauncherKind::Docker);
            let processes = kinds.any(|kind| kind == LauncherKind::Process);
            if engines && processes && endpoint.run.command.is_empty() {
                let found = "no command, and hosts with and without a container engine".to_owned();
                let fix = "add `run: {command: [python, handler.py]}`, or give the endpoint hosts of one kind";
                self.problem(&[path[0], path[1], "run", "command"], found, "", fix);
            }
            if endpoint.kind == Kind::Queue && endpoint.spec.concurrency == 1 && endpoint.run.openai_port.is_some() {
                self.notes.push(format!("endpoints.{name}: one request at a time, although it speaks the OpenAI API"));
            }
        }
    }
}

fn fits(spec: &EndpointSpec, host: &HostSpec) -> bool {
    let center = spec.data_centers.is_empty() || spec.data_centers.contains(&host.data_center);
    center && spec.gpu_classes.contains(&host.gpu_class)
}

/// The class that every endpoint accepts which names any: the first one of the first such endpoint.
fn agreed(endpoints: &[ServedEndpoint]) -> Option<GpuClassId> {
    let mut choosy = endpoints.iter().map(|endpoint| &endpoint.spec.gpu_classes).filter(|classes| !classes.is_empty());
    let first = choosy.next()?;
    let others: Vec<_> = choosy.collect();
    first.iter().copied().find(|class| others.iter().all(|classes| classes.contains(class)))
}

fn card_or_class(name: &str) -> String {
    crate::scenario::prices::class_of_card(name).unwrap_or(name).to_owned()
}

fn quoted(text: &str) -> String {
    format!("`{}`", clean(text))
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// `localhost`, `10.1.2.3`, `fd00::/8`, `10.0.0.0/8`.
fn is_host_or_network(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    if let Some((address, bits)) = text.split_once('/') {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        return bits.parse::<u8>().is_ok_and(|bits| bits <= most);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}
