//! The workload as parts of an application file: the search lowers them, and they are the file that is handed over.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::answer::Advice;
use super::log::Log;
use super::search::Workload;
use crate::lab::replay::application::{prices_of, setup};
use crate::lab::replay::{RecordedEndpoint, Recording};
use crate::scenario::presets::Preset;

/// Recorded lengths of starts that are handed over, from the shortest to the longest: a line that can still be read.
const LENGTHS_MAX: usize = 40;

/// Where a job's length comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Of the preset.
    Preset,
    /// Always this many seconds.
    Seconds(f64),
    /// As the log tells.
    Logged,
}

/// What is known besides the log.
pub struct Given<'a> {
    /// Name of the endpoint.
    pub name: &'a str,
    /// Workload of the catalogue.
    pub preset: Option<&'a Preset>,
    /// Length of a job.
    pub service: Service,
    /// GPU class, where the preset's or the recorded one is not wanted.
    pub gpu_class: Option<&'a str>,
    /// Seconds of a cold start, where those of the preset, the recording or the defaults are not wanted.
    pub start_s: Option<f64>,
    /// The recording of the log and the endpoint in it, whose hardware, prices and starts hold where nothing else is given.
    pub recorded: Option<(&'a Recording, &'a RecordedEndpoint)>,
}

impl Given<'_> {
    /// The endpoint but for its settings.
    pub fn workload(&self, log: &Log) -> Workload {
        let mut endpoint = String::new();
        let mut line = |key: &str, value: &str, why: &str| {
            let line = format!("    {key}: {value}");
            let why = if why.is_empty() {
                String::new()
            } else {
                format!("{:1$}# {why}", "", 32_usize.saturating_sub(line.len()).max(1))
            };
            let _ = writeln!(endpoint, "{line}{why}");
        };
        let mut tail = String::new();
        let recorded = self.recorded.filter(|_| self.preset.is_none());
        match (self.preset, recorded) {
            (Some(preset), _) => line("preset", preset.name(), "start, service and GPU class of the rehearsal"),
            (None, Some((recording, known))) => {
                for (key, value) in recorded_setup(recording, known) {
                    let own = (key == "gpu_classes" && self.gpu_class.is_some())
                        || (key == "start" && self.start_s.is_some());
                    if !own {
                        line(&key, &value.to_string(), if key == "start" { "as recorded" } else { "" });
                    }
                }
                if self.gpu_class.is_none() {
                    let prices: Map<String, Value> = prices_of(recording, &known.spec.gpu_classes);
                    tail = format!("\nprices:\n  gpu_classes: {}\n", Value::Object(prices));
                }
            }
            (None, None) => line("image_gb", "10", "size of your image"),
        }
        if let Some(class) = self.gpu_class {
            line("gpu_classes", &Value::from(class).to_string(), "");
        }
        if let Some(seconds) = self.start_s {
            let start = json!({ "container_s": seconds, "cuda_s": 0, "import_s": 0, "weights_s": 0, "engine_s": 0, "first_take_s": 0 });
            line("start", &start.to_string(), "");
        }
        line("# image", "your/worker:1.0", "what the workers run when it is served");
        match self.service {
            Service::Preset => {}
            Service::Seconds(seconds) => line("service", &format!("{{type: drawn, work_s: {seconds}}}"), ""),
            Service::Logged => {
                let mean = rounded(log.mean_service_s().unwrap_or(1.0));
                line("service", &format!("{{type: traced, otherwise_s: {mean}}}"), "");
            }
        }
        Workload { name: self.name.to_owned(), endpoint, tail }
    }

    /// Nothing tells how long a start takes: the defaults stand for it.
    pub fn start_is_assumed(&self) -> bool {
        let recorded = self.recorded.is_some_and(|(_, known)| !known.cold_starts.is_empty());
        self.preset.is_none() && self.start_s.is_none() && !recorded
    }
}

/// The application file with the recommended settings; its trace lies at `trace`.
pub fn file(workload: &Workload, advice: &Advice, source: &str, trace: &str) -> String {
    let best = &advice.recommended;
    let quoted = |text: &str| Value::from(text).to_string();
    let kept = if advice.slo_missed { "the shortest waits found" } else { "the cheapest settings found" };
    let traffic = format!("{{type: trace, file: {}}}", quoted(trace));
    let mut workload = workload.clone();
    if advice.slo_wait_s > 0.0 {
        let _ = writeln!(workload.endpoint, "    slo: {{wait_s: {}}}", rounded(advice.slo_wait_s));
    }
    format!(
        "\
# Settings for the requests in {source}:
# {kept} with a p95 of the wait of {:.1} s.
# About {:.2} USD a month as documented, {:.2} USD where idle workers are free.
#
#   thermocline run THIS_FILE       rehearse it with the logged requests
#   thermocline serve THIS_FILE     serve it; needs a container engine and GPUs
description: advice from {} requests
seed: 1

{}
serve:
  listen: 127.0.0.1:8080
  launcher: docker
  hosts:
    this-machine:
      gpus: 1
",
        best.figures.wait_p95_s,
        best.month_documented_usd,
        best.month_seed_usd,
        advice.requests,
        workload.text(&best.settings, &traffic),
    )
}

/// What is recorded of an endpoint and is not a setting that is searched.
fn recorded_setup(recording: &Recording, known: &RecordedEndpoint) -> Map<String, Value> {
    let mut map = setup(recording, known);
    // Hosts are not those of the recording, but as many as are wanted.
    map.remove("data_centers");
    let image = recording.images.get(known.spec.image.index());
    let bytes: u64 = image.map_or(0, |image| image.layers.iter().map(|layer| layer.pull_bytes).sum());
    if bytes > 0 {
        map.insert("image_gb".to_owned(), json!(bytes as f64 / 1e9));
    }
    if let Some(Value::Object(start)) = map.get_mut("start") {
        start.values_mut().for_each(thin);
    }
    map
}

/// Fewer values of a distribution of recorded lengths: evenly from the shortest to the longest.
fn thin(amount: &mut Value) {
    let Some(values) = amount.get_mut("values").and_then(Value::as_array_mut) else { return };
    let mut lengths: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    lengths.sort_by(f64::total_cmp);
    let most = lengths.len().min(LENGTHS_MAX);
    // The middle of each of equal parts.
    *values = (0..most).map(|part| json!(lengths[(2 * part + 1) * lengths.len() / (2 * most)])).collect();
}

/// To four digits that count.
fn rounded(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let digits = libm::pow(10.0, 3.0 - libm::floor(libm::log10(value)));
    (value * digits).round() / digits
}
