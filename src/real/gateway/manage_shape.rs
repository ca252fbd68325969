//! Endpoints as the management API shows and takes them (contract §4.5), in both directions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config::{EndpointConfig, EndpointKind, RunConfig};
use super::super::core::api::{EndpointView, ReleaseView, WorkerView};
use crate::policy::{ParamValue, PolicyChoice};
use crate::scheduler::{EndpointSpec, GpuClassId, Image, PublicState};
use crate::units::{ImageId, Span};

/// What a client sends to create or to change an endpoint. What is absent keeps its value, or takes the default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    /// Name in URLs, only at creation; made from the name unless given.
    pub id: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// Only at creation.
    #[serde(rename = "type")]
    pub kind: Option<EndpointKind>,
    image: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    ports: Option<Vec<u16>>,
    gpu: Option<Gpu>,
    workers: Option<Workers>,
    scaling: Option<Scaling>,
    data_center_ids: Option<Vec<String>>,
    timeout: Option<u64>,
    ttl: Option<u64>,
    flashboot: Option<FlashBoot>,
    concurrency: Option<u32>,
    input_schema: Option<Value>,
    openai_port: Option<u16>,
    health_path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gpu {
    pools: Option<Vec<String>>,
    count: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Workers {
    min: Option<u32>,
    max: Option<u32>,
    extra: Option<u32>,
    idle_timeout: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Scaling {
    QueueDelay { queue_delay: Option<f64> },
    RequestCount { request_count: Option<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum FlashBoot {
    Off,
    Flashboot,
    PriorityFlashboot,
}

/// A field that is not allowed: its path and what is allowed.
pub type Wrong = (String, String);

/// Most workers of an endpoint that can be asked for here.
const WORKERS_MAX: u32 = 10_000;
const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// A new endpoint; the first class that hosts have unless pools are named.
pub fn created(wanted: Wanted, id: String, classes: &[String]) -> Result<EndpointConfig, Vec<Wrong>> {
    let mut wrong = Vec::new();
    if wanted.image.is_none() {
        wrong.push(("/image".to_owned(), "is needed".to_owned()));
    }
    let kind = wanted.kind.unwrap_or_default();
    let name = wanted.name.clone().unwrap_or_else(|| id.clone());
    let mut spec = EndpointSpec::with_defaults(&name, ImageId(0), GpuClassId(0));
    if kind == EndpointKind::LoadBalancer {
        spec.policies.scaling = PolicyChoice::named("request_count");
        spec.pick_up = crate::scheduler::PickUp::Push;
    }
    let config = EndpointConfig {
        id,
        kind,
        spec,
        image: Image { name: String::new(), layers: Vec::new() },
        run: RunConfig::default(),
        input_schema: None,
        feeds: Vec::new(),
        webhook_secret: None,
    };
    let mended = changed(config, wanted, classes);
    match mended {
        Ok(config) if wrong.is_empty() => Ok(config),
        Ok(_) => Err(wrong),
        Err(more) => {
            wrong.extend(more);
            Err(wrong)
        }
    }
}

/// The endpoint with everything that is `wanted`; all that is wrong with it otherwise.
pub fn changed(mut config: EndpointConfig, wanted: Wanted, classes: &[String]) -> Result<EndpointConfig, Vec<Wrong>> {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut say = |path: &str, what: &str| wrong.push((path.to_owned(), what.to_owned()));
    if let Some(name) = wanted.name {
        if name.is_empty() || name.chars().count() > 191 || name.chars().any(char::is_control) {
            say("/name", "1 to 191 printable characters");
        }
        config.spec.name = name;
    }
    if let Some(image) = wanted.image {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if image.is_empty() || image.len() > 512 || !image.chars().all(plain) {
            say("/image", "an image reference: letters, digits and `._:/@-`, at most 512");
        }
        if image != config.image.name {
            config.image = Image { name: image, layers: Vec::new() };
        }
    }
    if let Some(env) = wanted.env {
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                say("/env", "names without `=`, no NUL characters");
            }
            config.run.env.insert(name, value);
        }
    }
    if let Some(args) = wanted.args {
        if args.iter().any(|arg| arg.contains('\0')) {
            say("/args", "no NUL characters");
        }
        config.run.command = args;
    }
    if wanted.input_schema.as_ref().is_some_and(|schema| super::catalog::compile(schema).is_err()) {
        say("/inputSchema", "a JSON Schema");
    }
    config.input_schema = wanted.input_schema.or(config.input_schema);
    config.run.ports = wanted.ports.unwrap_or(config.run.ports);
    config.run.openai_port = wanted.openai_port.or(config.run.openai_port);
    config.run.health_path = wanted.health_path.or(config.run.health_path);
    config.spec.data_centers = wanted.data_center_ids.unwrap_or(config.spec.data_centers);
    config.spec.flashboot = wanted.flashboot.map_or(config.spec.flashboot, |flashboot| flashboot != FlashBoot::Off);
    if let Some(ms) = wanted.timeout {
        if ms != 0 && !(5_000..=WEEK_MS).contains(&ms) {
            say("/timeout", "5,000 to 604,800,000 ms, or 0 for none");
        }
        config.spec.execution_timeout = (ms != 0).then(|| Span::from_millis(ms.min(WEEK_MS)));
    }
    if let Some(ms) = wanted.ttl {
        if !(10_000..=WEEK_MS).contains(&ms) {
            say("/ttl", "10,000 to 604,800,000 ms");
        }
        config.spec.ttl = Span::from_millis(ms.min(WEEK_MS));
    }
    if let Some(concurrency) = wanted.concurrency {
        if !(1..=10_000).contains(&concurrency) {
            say("/concurrency", "1 to 10,000");
        }
        config.spec.concurrency = concurrency;
    }
    if let Some(gpu) = wanted.gpu {
        set_gpu(&mut config.spec, gpu, classes, &mut say);
    }
    set_scaling(&mut config, wanted.scaling, wanted.workers, &mut say);
    if wrong.is_empty() { Ok(config) } else { Err(wrong) }
}

fn set_gpu(spec: &mut EndpointSpec, gpu: Gpu, classes: &[String], say: &mut impl FnMut(&str, &str)) {
    if let Some(count) = gpu.count {
        if !(1..=1_024).contains(&count) {
            say("/gpu/count", "1 to 1,024");
        }
        spec.gpus_per_worker = count;
    }
    let Some(pools) = gpu.pools else { return };
    let number = |pool: &String| classes.iter().position(|class| class == pool);
    let known: Option<Vec<GpuClassId>> = pools.iter().map(|pool| number(pool).map(|n| GpuClassId(n as u16))).collect();
    match known {
        Some(known) if !known.is_empty() => spec.gpu_classes = known,
        Some(_) | None => say("/gpu/pools", &format!("one or more of {}", classes.join(", "))),
    }
}

fn set_scaling(
    config: &mut EndpointConfig,
    scaling: Option<Scaling>,
    workers: Option<Workers>,
    say: &mut impl FnMut(&str, &str),
) {
    match scaling {
        None => {}
        Some(Scaling::QueueDelay { queue_delay }) => {
            let delay = queue_delay.unwrap_or(4.0);
            if config.kind == EndpointKind::LoadBalancer {
                say("/scaling/type", "REQUEST_COUNT: load-balancing endpoints have no queue");
            }
            if !(0.5..=3_600.0).contains(&delay) {
                say("/scaling/queueDelay", "0.5 to 3,600 s");
            }
            config.spec.policies.scaling = PolicyChoice::named("queue_delay").with("delay_s", delay);
        }
        Some(Scaling::RequestCount { request_count }) => {
            let count = request_count.unwrap_or(4);
            if !(1..=1_000_000).contains(&count) {
                say("/scaling/requestCount", "1 to 1,000,000");
            }
            let choice = PolicyChoice::named("request_count").with("requests_per_worker", f64::from(count));
            config.spec.policies.scaling = choice;
        }
    }
    let Some(workers) = workers else { return };
    let spec = &mut config.spec;
    for (path, given, value) in [
        ("/workers/min", workers.min, &mut spec.active),
        ("/workers/max", workers.max, &mut spec.max),
        ("/workers/extra", workers.extra, &mut spec.extra),
    ] {
        let Some(given) = given else { continue };
        if given > WORKERS_MAX {
            say(path, "0 to 10,000");
        }
        *value = given;
    }
    if spec.active > spec.max {
        say("/workers/min", "at most workers.max");
    }
    if let Some(seconds) = workers.idle_timeout {
        if !(1.0..=3_600.0).contains(&seconds) {
            say("/workers/idleTimeout", "1 to 3,600 s");
        }
        if config.kind == EndpointKind::Queue && spec.policies.scaling.name == "request_count" {
            say("/workers/idleTimeout", "has no effect with REQUEST_COUNT: leave it out, or scale by QUEUE_DELAY");
        }
        spec.policies.keep_alive = PolicyChoice::named("fixed").with("idle_timeout_s", seconds);
    }
}

fn param(choice: &PolicyChoice, name: &str) -> Option<f64> {
    match choice.params.get(name) {
        Some(ParamValue::Number(number)) => Some(*number),
        Some(_) | None => None,
    }
}

/// An endpoint as everybody with a management key may see it.
pub fn endpoint(view: &EndpointView, base: &str, classes: &[String]) -> Value {
    let mut object = settings(&view.config, classes);
    let urls = match view.config.kind {
        EndpointKind::Queue => {
            let base = format!("{base}/v2/{}", view.config.id);
            json!({
                "run": format!("{base}/run"), "runSync": format!("{base}/runsync"), "status": format!("{base}/status/:id"),
                "stream": format!("{base}/stream/:id"), "cancel": format!("{base}/cancel/:id"),
                "retry": format!("{base}/retry/:id"), "purgeQueue": format!("{base}/purge-queue"),
                "health": format!("{base}/health"),
            })
        }
        EndpointKind::LoadBalancer => {
            let base = format!("{base}/v2/{}", view.config.id);
            json!({ "base": format!("{base}/lb"), "health": format!("{base}/health") })
        }
    };
    object["requestUrls"] = urls;
    object["version"] = json!(view.version);
    object["fromFile"] = json!(view.from_file);
    object["createdAt"] = json!(rfc3339(view.created_ms));
    object["health"] = json!(view.health);
    object
}

/// The settings alone. Values of the environment that look like secrets are hidden.
pub fn settings(config: &EndpointConfig, classes: &[String]) -> Value {
    let spec = &config.spec;
    let pool = |class: &GpuClassId| classes.get(usize::from(class.0)).cloned().unwrap_or_else(|| class.0.to_string());
    let pools: Vec<String> = spec.gpu_classes.iter().map(pool).collect();
    let scaling = &spec.policies.scaling;
    let scaling = match scaling.name.as_str() {
        "queue_delay" => json!({ "type": "QUEUE_DELAY", "queueDelay": param(scaling, "delay_s").unwrap_or(4.0) }),
        "request_count" => {
            let count = param(scaling, "requests_per_worker").unwrap_or(4.0) as u64;
            json!({ "type": "REQUEST_COUNT", "requestCount": count })
        }
        other => json!({ "type": other, "parameters": scaling.params }),
    };
    let env: BTreeMap<&str, &str> = config.run.env.iter().map(|(name, value)| (&**name, shown(name, value))).collect();
    json!({
        "id": config.id,
        "name": spec.name,
        "type": config.kind,
        "image": config.image.name,
        "args": config.run.command,
        "env": env,
        "ports": config.run.ports,
        "gpu": { "pools": pools, "count": spec.gpus_per_worker },
        "workers": {
            "min": spec.active, "max": spec.max, "extra": spec.extra,
            "idleTimeout": param(&spec.policies.keep_alive, "idle_timeout_s").unwrap_or(5.0),
        },
        "scaling": scaling,
        "dataCenterIds": spec.data_centers,
        "timeout": spec.execution_timeout.map_or(0, |span| span.0 / 1_000),
        "ttl": spec.ttl.0 / 1_000,
        "flashboot": if spec.flashboot { "FLASHBOOT" } else { "OFF" },
        "concurrency": spec.concurrency,
        "inputSchema": config.input_schema,
        "openaiPort": config.run.openai_port,
        "healthPath": config.run.health_path,
    })
}

fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    let name = name.to_ascii_uppercase();
    let secret = ["KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL"].iter().any(|word| name.contains(word));
    if secret { "(hidden)" } else { value }
}

/// A worker. `isStale` says that its release is an older one; its state is then the one that it would have without that.
pub fn worker(view: &WorkerView, now_ms: u64) -> Value {
    let state = match view.state {
        PublicState::Initializing => "INITIALIZING",
        PublicState::Idle => "IDLE",
        PublicState::Running => "RUNNING",
        PublicState::Throttled => "THROTTLED",
        PublicState::Unhealthy => "UNHEALTHY",
        PublicState::Outdated if view.jobs.is_empty() => "IDLE",
        PublicState::Outdated => "RUNNING",
    };
    json!({
        "id": view.id,
        "status": state,
        "isStale": view.outdated,
        "version": view.version,
        "gpuCount": view.gpus,
        "image": view.image,
        "uptimeSeconds": view.started_ms.map(|ms| now_ms.saturating_sub(ms) / 1_000),
        "startedAt": view.started_ms.map(rfc3339),
        "phase": view.phase,
        "reason": view.reason,
        "detail": view.detail,
        "kind": view.kind,
        "host": view.host,
        "jobs": view.jobs,
        "since": rfc3339(view.since_ms),
        "utilization": view.utilization,
    })
}

/// A release, with what changed against the one before it.
pub fn release(view: &ReleaseView, before: Option<&ReleaseView>, classes: &[String]) -> Value {
    let new = settings(&view.config, classes);
    let old = before.map(|before| settings(&before.config, classes));
    let mut diff = Vec::new();
    if let (Some(Value::Object(old)), Value::Object(new)) = (&old, &new) {
        for (field, value) in new.iter().filter(|(field, value)| old.get(*field) != Some(*value)) {
            diff.push(json!({ "field": field, "old": old.get(field), "new": value }));
        }
    }
    json!({
        "id": format!("{}-{}", view.config.id, view.version),
        "version": view.version,
        "source": "MANUAL",
        "buildId": null,
        "createdByUserId": null,
        "workerCount": view.workers,
        "createdAt": rfc3339(view.created_ms),
        "status": view.status,
        "diff": diff,
    })
}

/// A moment as `2026-11-22T10:00:00.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days since 1970-01-01 to a date: Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(body: Value) -> Wanted {
        serde_json::from_value(body).expect("fields that exist")
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_341_600_123), "2026-11-22T10:00:00.123Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }

    #[test]
    fn what_is_created_is_shown_as_it_was_asked_for() {
        let classes = vec!["ADA_24".to_owned(), "CPU".to_owned()];
        let body = json!({
            "name": "n", "image": "a/b:1", "gpu": {"pools": ["CPU"], "count": 2}, "workers": {"min": 1, "max": 4, "idleTimeout": 60},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": 2.5}, "timeout": 0, "flashboot": "OFF", "env": {"A": "1", "API_KEY": "s"},
        });
        let config = created(wanted(body), "e".to_owned(), &classes).expect("all is fine");
        let shown = settings(&config, &classes);
        assert_eq!(shown["gpu"], json!({"pools": ["CPU"], "count": 2}));
        assert_eq!(shown["workers"], json!({"min": 1, "max": 4, "extra": 2, "idleTimeout": 60.0}));
        assert_eq!(shown["scaling"], json!({"type": "QUEUE_DELAY", "queueDelay": 2.5}));
        assert_eq!(shown["timeout"], 0);
        assert_eq!(shown["flashboot"], "OFF");
        assert_eq!(shown["env"], json!({"A": "1", "API_KEY": "(hidden)"}));
        let more = changed(config, wanted(json!({"env": {"B": "2"}})), &classes).expect("fine");
        assert_eq!(more.run.env.len(), 3, "merged key by key");
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let body = json!({
            "image": "a b", "gpu": {"pools": ["NONE"]}, "workers": {"min": 5, "idleTimeout": 5}, "timeout": 1,
            "scaling": {"type": "REQUEST_COUNT"},
        });
        let wrong = created(wanted(body), "e".to_owned(), &["ADA_24".to_owned()]).expect_err("all is wrong");
        let paths: Vec<&str> = wrong.iter().map(|(path, _)| &**path).collect();
        let expected = ["/image", "/timeout", "/gpu/pools", "/workers/min", "/workers/idleTimeout"];
        assert_eq!(paths, expected);
        assert!(created(Wanted::default(), "e".to_owned(), &[]).is_err(), "an image is needed");
    }
}
