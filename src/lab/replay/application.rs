//! A recording as an application file (YAML in its JSON form) and a trace with the recorded requests and service times.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::recording::{RecordedEndpoint, Recording};
use crate::policy::{ParamValue, PolicyChoice};
use crate::scheduler::{Binding, EndpointSpec, ExtraMode, GpuClassId, PickUp, Slots, TtlRunning};
use crate::units::{Span, Time};

/// Starts of one kind that are kept as they were; more are thinned evenly.
const LENGTHS_MAX: usize = 2_000;

/// The trace: `arrival_s,endpoint,service_s`, seconds from the first record on.
pub fn trace(recording: &Recording) -> String {
    let from = recording.span.map_or(Time::ZERO, |(from, _)| from);
    let mut rows: Vec<(Time, usize, Option<Span>)> = Vec::new();
    for (number, endpoint) in recording.endpoints.iter().enumerate() {
        rows.extend(endpoint.jobs.iter().map(|job| (job.at, number, job.service)));
    }
    rows.sort_by_key(|row| (row.0, row.1));
    let mut text = "arrival_s,endpoint,service_s\n".to_owned();
    for (at, number, service) in rows {
        let service = service.map_or_else(String::new, |span| span.as_secs().to_string());
        let name = csv_field(&recording.endpoints[number].spec.name);
        let _ = writeln!(text, "{},{name},{service}", at.since(from).as_secs());
    }
    text
}

fn csv_field(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The application file, whose trace lies at `trace`.
pub fn application(recording: &Recording, trace: &str) -> Value {
    let mut endpoints = Map::new();
    for endpoint in recording.endpoints.iter().filter(|endpoint| !endpoint.jobs.is_empty()) {
        endpoints.insert(endpoint.spec.name.clone(), one_endpoint(recording, endpoint, trace));
    }
    json!({
        "description": format!("recorded as {}", recording.name),
        "endpoints": endpoints,
        "hosts": hosts(recording),
        "prices": { "gpu_classes": prices(recording) },
    })
}

fn prices(recording: &Recording) -> Map<String, Value> {
    let of_hosts = recording.hosts.iter().map(|host| host.gpu_class);
    let of_endpoints = recording.endpoints.iter().flat_map(|endpoint| endpoint.spec.gpu_classes.iter().copied());
    prices_of(recording, &of_hosts.chain(of_endpoints).collect::<Vec<_>>())
}

/// The recorded prices of these classes, as the section `prices: gpu_classes` has them.
pub fn prices_of(recording: &Recording, used: &[GpuClassId]) -> Map<String, Value> {
    let row = |class: &crate::scheduler::GpuClass| {
        let prices = json!({ "flex_usd_per_s": class.flex.as_usd(), "active_usd_per_s": class.active.as_usd() });
        (class.name.clone(), prices)
    };
    let is_used = |number: usize| used.iter().any(|id| usize::from(id.0) == number);
    recording.classes.iter().enumerate().filter(|(number, _)| is_used(*number)).map(|(_, class)| row(class)).collect()
}

/// Hosts that are alike are one group: names do not matter to a run.
fn hosts(recording: &Recording) -> Map<String, Value> {
    let mut groups: BTreeMap<String, (Value, u32)> = BTreeMap::new();
    for host in &recording.hosts {
        let Some(class) = recording.classes.get(usize::from(host.gpu_class.0)) else { continue };
        let group = json!({
            "gpu_class": class.name,
            "gpus": host.gpus.max(1),
            "memory_gb": (host.memory_bytes as f64 / 1e9).max(1.0),
            "disk_gb": (host.disk_bytes as f64 / 1e9).max(100_000.0),
            "data_center": host.data_center,
            "priority": host.priority,
        });
        groups.entry(group.to_string()).or_insert((group, 0)).1 += 1;
    }
    let named = groups.into_values().enumerate().map(|(number, (mut group, count))| {
        group["count"] = json!(count);
        (format!("recorded-{}", number + 1), group)
    });
    named.collect()
}

fn one_endpoint(recording: &Recording, endpoint: &RecordedEndpoint, trace: &str) -> Value {
    let spec = &endpoint.spec;
    let mut map = Value::Object(setup(recording, endpoint));
    map["workers"] = json!({ "active": spec.active, "max": spec.max.max(spec.active).max(1), "extra": spec.extra });
    map["extra_mode"] = json!(extra_mode(spec.extra_mode));
    map["scaler"] = policy(&spec.policies.scaling);
    map["service"] = json!({ "type": "traced", "otherwise_s": endpoint.mean_service_s().unwrap_or(1.0) });
    map["traffic"] = json!({ "type": "trace", "file": trace, "rows": spec.name });
    keep_alive(&mut map, spec);
    map
}

/// What an endpoint is, but how many workers it has when, its jobs and its requests.
pub fn setup(recording: &Recording, endpoint: &RecordedEndpoint) -> Map<String, Value> {
    let spec = &endpoint.spec;
    let classes: Vec<&str> = spec
        .gpu_classes
        .iter()
        .filter_map(|id| recording.classes.get(usize::from(id.0)))
        .map(|class| class.name.as_str())
        .collect();
    let map = json!({
        "gpu_classes": classes,
        "gpus_per_worker": spec.gpus_per_worker,
        "memory_gb": spec.memory_bytes as f64 / 1e9,
        "data_centers": spec.data_centers,
        "image_gb": 1,
        "concurrency": spec.concurrency,
        "execution_timeout_s": spec.execution_timeout.map_or(0.0, Span::as_secs),
        "ttl_s": spec.ttl.as_secs().min(1e9),
        "ttl_running": if spec.ttl_running == TtlRunning::TimedOut { "timed_out" } else { "ignore" },
        "flashboot": spec.flashboot,
        "init_timeout_s": spec.init_timeout.as_secs().min(1e9),
        "binding": if spec.binding == Binding::Late { "late" } else { "early" },
        "pick_up": if spec.pick_up == PickUp::Pull { "pull" } else { "push" },
        "slots": if spec.slots == Slots::Ahead { "ahead" } else { "on_demand" },
        "dispatch": policy(&spec.policies.dispatch),
        "placement": policy(&spec.policies.placement),
        "start": start(endpoint),
        // What was recorded runs from the hand-out to the result: the pick-up is in it.
        "pacing": { "latency_s": 0, "period_s": endpoint.pacing_s() },
    });
    match map {
        Value::Object(map) => map,
        _ => unreachable!("an object was written"),
    }
}

fn extra_mode(mode: ExtraMode) -> &'static str {
    match mode {
        ExtraMode::Burst => "burst",
        ExtraMode::ReplaceThrottled => "replace_throttled",
        ExtraMode::PrecacheOnly => "precache_only",
    }
}

/// The idle timeout by its short name, so that `--set endpoints.NAME.idle_timeout_s=...` replaces it.
fn keep_alive(map: &mut Value, spec: &EndpointSpec) {
    let choice = &spec.policies.keep_alive;
    let timeout = choice.params.get("idle_timeout_s").and_then(|value| match value {
        ParamValue::Number(seconds) => Some(*seconds),
        _ => None,
    });
    match (choice.name.as_str(), timeout) {
        ("fixed", Some(seconds)) if choice.params.len() == 1 => {
            // A scaler that stops workers itself refuses an idle timeout, and has none of its own making.
            if spec.policies.scaling.name != "request_count" {
                map["idle_timeout_s"] = json!(seconds);
            }
        }
        ("fixed", None) => {}
        _ => map["keep_alive"] = policy(choice),
    }
}

fn policy(choice: &PolicyChoice) -> Value {
    let mut map = Map::new();
    map.insert("type".to_owned(), json!(choice.name));
    for (name, value) in &choice.params {
        let value = match value {
            ParamValue::Bool(on) => json!(on),
            ParamValue::Number(number) => json!(number),
            ParamValue::Text(word) => json!(word),
        };
        map.insert(name.clone(), value);
    }
    Value::Object(map)
}

/// The recorded lengths themselves, each as likely as another.
fn start(endpoint: &RecordedEndpoint) -> Value {
    let drawn = |lengths: &[Span]| -> Option<Value> {
        let every = lengths.len().div_ceil(LENGTHS_MAX).max(1);
        let values: Vec<f64> = lengths.iter().step_by(every).map(|span| span.as_secs()).collect();
        match values.as_slice() {
            [] => None,
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Some(json!(first)),
            _ => Some(json!({ "type": "empirical", "values": values })),
        }
    };
    let mut start = json!({ "cuda_s": 0, "import_s": 0, "weights_s": 0, "engine_s": 0, "first_take_s": 0 });
    // Where only one kind of start was seen, the default stands for the other.
    match drawn(&endpoint.cold_starts) {
        Some(cold) => start["container_s"] = cold,
        None => start = json!({}),
    }
    if let Some(resume) = drawn(&endpoint.resumes) {
        start["resume_s"] = resume;
    }
    // Real processes cannot be frozen: they start anew each time.
    if let (asked @ 1.., kept) = endpoint.freezes {
        start["freeze_probability"] = json!(kept as f64 / asked as f64);
    }
    if let Some(stop) = drawn(&endpoint.stops) {
        start["stop_s"] = stop;
    }
    start
}
