//! Why the answers over real traffic are believed: what can be said from the trace alone, by sorting and adding up, holds in what
//! the simulator says about it.
//!
//! For each endpoint of each application in `tests/testdata/apps`, with the trace read here by a few lines of our own:
//!
//! - every request of the trace is a completed job, and mean response = mean wait + mean service;
//! - Little's law: mean number in the system × time = sum of the response times;
//! - where the trace says how long jobs took, the busy seconds are their sum (and the ways to the worker and back);
//! - where tokens are given, a job takes at least its prefill and its decode steps alone on the worker;
//! - without active workers all go to sleep in a gap longer than the idle timeout and the longest response, and in no shorter
//!   one than the idle timeout: the wakes from zero lie between the two counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use thermocline::{experiment, results, scenario};

use super::golden::traces_are_there;
use super::tidy::files;

/// One request of a trace: arrival, service time if known, tokens if known.
struct Row {
    arrival_s: f64,
    service_s: Option<f64>,
    tokens: Option<(f64, f64)>,
}

/// The requests of a trace by endpoint, in their order.
fn trace(path: &Path) -> BTreeMap<String, Vec<Row>> {
    let mut text = String::new();
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("a trace is text");
    } else {
        { file }.read_to_string(&mut text).expect("a trace is text");
    }
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let mut by_endpoint: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| columns.iter().position(|column| *column == name).map(|at| cells[at]);
        let number = |name: &str| cell(name).map(|text| text.parse::<f64>().expect("a number"));
        let row = Row {
            arrival_s: number("arrival_s").expect("an arrival"),
            service_s: number("service_s"),
            tokens: number("input_tokens").zip(number("output_tokens")),
        };
        by_endpoint.entry(cell("endpoint").expect("an endpoint").to_owned()).or_default().push(row);
    }
    by_endpoint
}

/// Value of a setting in an application, as its author wrote it; the endpoint's own comes before the one for all.
fn setting(app: &Value, endpoint: &str, path: &str) -> Option<Value> {
    app.pointer(&format!("/endpoints/{endpoint}/{path}")).cloned()
}

/// Name of the trace file in an application.
fn trace_file(app: &Value) -> String {
    let of_endpoint =
        || app["endpoints"].as_object()?.values().find_map(|endpoint| endpoint["traffic"]["file"].as_str());
    app["traffic"]["file"].as_str().or_else(of_endpoint).expect("a trace").to_owned()
}

fn near(what: &str, a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1e-9), "{what}: {a} is not {b} within {tolerance}");
}

/// What adding up the trace says about one endpoint.
fn check(name: &str, rows: &[Row], app: &Value, summary: &results::Summary) {
    let endpoint = summary.endpoints.iter().find(|endpoint| endpoint.name == name).expect("an endpoint of the trace");
    let figures = &endpoint.figures;
    let n = rows.len() as f64;
    assert_eq!((figures.jobs.submitted, figures.jobs.completed), (rows.len() as u64, rows.len() as u64), "{name}");
    let mean = |quantiles: &results::summary::Quantiles| quantiles.mean.expect("jobs were completed");
    let (wait, response, service) = (mean(&figures.wait_s), mean(&figures.response_s), mean(&figures.service_s));
    near(&format!("{name}: wait + service"), wait + service, response, 1e-6);
    near(&format!("{name}: Little"), figures.in_system_mean * summary.observed_s, n * response, 1e-6);
    let traced: Option<f64> = rows.iter().map(|row| row.service_s).sum();
    if let Some(traced) = traced {
        // A job's way to the worker and its result's way back are the worker's time too: at most 0.1 s a job.
        let busy = figures.activity_seconds["busy"];
        assert!(busy >= traced && busy <= traced + 0.1 * n, "{name}: busy for {busy} s, traced {traced} s");
    }
    let tokens: Option<Vec<(f64, f64)>> = rows.iter().map(|row| row.tokens).collect();
    if let (Some(tokens), Some("llama3-8b-vllm")) =
        (tokens, setting(app, name, "preset").as_ref().and_then(Value::as_str))
    {
        // workload-presets: 66.8 us a prompt token, 13.3 ms a step alone on the worker.
        let alone = tokens.iter().map(|(prompt, answer)| prompt * 66.8e-6 + answer * 13.3e-3).sum::<f64>() / n;
        assert!(service >= alone && service <= 3.0 * alone + 1.0, "{name}: {service} s a job, alone {alone} s");
    }
    let active = setting(app, name, "workers/active").and_then(|active| active.as_u64()).unwrap_or(0);
    let idle = setting(app, name, "idle_timeout_s").and_then(|idle| idle.as_f64()).expect("every application says it");
    if active == 0 {
        let longest = figures.response_s.max.expect("jobs were completed");
        let longer =
            |than: f64| rows.windows(2).filter(|pair| pair[1].arrival_s - pair[0].arrival_s > than).count() as u64;
        let wakes = figures.starts.by_cause.get("from_zero").copied().unwrap_or(0);
        let (least, most) = (1 + longer(idle + longest), 1 + longer(idle));
        assert!((least..=most).contains(&wakes), "{name}: {wakes} wakes from zero, not {least} to {most}");
    }
}

#[test]
fn answers_over_real_traffic_agree_with_what_the_traces_alone_say() {
    if !traces_are_there() {
        return;
    }
    let mut checked = 0;
    for path in files("tests/testdata/apps", &[".yaml"]) {
        let text = std::fs::read_to_string(&path).expect("a listed file can be read");
        let app: Value = serde_saphyr::from_str(&text).expect("a shipped application parses");
        let rows = trace(&path.parent().expect("a folder").join(trace_file(&app)));
        let plan = scenario::load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}")).plan;
        let outcome = experiment::run(&plan, &experiment::RunOptions::default(), &mut |_| {}).expect("it runs");
        for (name, rows) in &rows {
            check(name, rows, &app, &outcome.summary);
            checked += 1;
        }
    }
    assert_eq!(checked, 23, "endpoints of the seven traces");
}
