//! The workload as an application file: for the search, and as the file that is handed over.

use serde_json::{Value, json};

use super::answer::Advice;
use super::log::Log;
use super::search::Workload;
use crate::scenario::presets::Preset;
use crate::scenario::{self, Problems};
use crate::workload::{Distribution, ServiceModel};

/// Values of a log that a distribution is made of; more are thinned evenly.
const VALUES_MAX: usize = 2_000;

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
    /// GPU class, where the preset's is not wanted.
    pub gpu_class: Option<&'a str>,
}

impl Given<'_> {
    /// The workload for the search, with room for `max` workers.
    ///
    /// # Errors
    /// If something given is not known.
    pub fn workload(&self, log: &Log, max: u32) -> Result<Workload, Problems> {
        let mut endpoint = json!({
            "workers": { "active": 0, "max": max, "extra": 2 },
            "traffic": { "type": "poisson", "rate_per_s": 1 },
        });
        if let Some(preset) = self.preset {
            endpoint["preset"] = json!(preset.name());
        }
        if let Some(class) = self.gpu_class {
            endpoint["gpu_classes"] = json!(class);
        }
        match self.service {
            Service::Preset => {}
            Service::Seconds(seconds) => endpoint["service"] = json!({ "type": "drawn", "work_s": seconds }),
            Service::Logged => {
                let values = thin(&log.services);
                endpoint["service"] = json!({ "type": "drawn", "work_s": { "type": "empirical", "values": values } });
            }
        }
        if !log.starts.is_empty() {
            let starts = json!({ "type": "empirical", "values": thin(&log.starts) });
            endpoint["start"] =
                json!({ "container_s": starts, "cuda_s": 0, "import_s": 0, "weights_s": 0, "engine_s": 0 });
        }
        let text = json!({ "max_jobs": 1, "endpoints": { self.name: endpoint } }).to_string();
        let mut plan = scenario::from_str(&text, "what was given", std::path::Path::new(""), &[])?.plan;
        if let ServiceModel::Tokens { input, output, .. } = &mut plan.endpoints[0].release.service {
            let told = |values: &[f64], model: &mut Distribution| {
                if !values.is_empty() {
                    *model = Distribution::Empirical { values: thin(values) };
                }
            };
            told(&log.input_tokens, input);
            told(&log.output_tokens, output);
        }
        Ok(Workload { plan })
    }

    /// The application file with the recommended settings; its trace lies at `trace`.
    pub fn file(&self, advice: &Advice, source: &str, trace: &str) -> String {
        let best = &advice.recommended;
        let settings = &best.settings;
        let quoted = |text: &str| Value::from(text).to_string();
        let kept = if advice.slo_missed { "the shortest waits found" } else { "the cheapest settings found" };
        let mut text = format!(
            "\
# Settings for the requests in {source}: {kept} with a p95 of the wait of {:.1} s.
# About {:.2} USD a month as documented, {:.2} USD where idle workers are free.
#
#   thermocline run THIS_FILE       rehearse it with the logged requests
#   thermocline serve THIS_FILE     serve it; needs a container engine and GPUs
description: advice from {} requests
seed: 1

endpoints:
  {}:
",
            best.figures.wait_p95_s,
            best.month_documented_usd,
            best.month_seed_usd,
            advice.requests,
            quoted(self.name),
        );
        match self.preset {
            Some(preset) => {
                text +=
                    &format!("    preset: {}      # start, service and GPU class of the rehearsal\n", preset.name());
            }
            None => text += "    image_gb: 10                # size of your image\n",
        }
        if let Some(class) = self.gpu_class {
            text += &format!("    gpu_classes: {}\n", quoted(class));
        }
        text += "    # image: your/worker:1.0     # what the workers run when it is served\n";
        match self.service {
            Service::Preset => {}
            Service::Seconds(seconds) => text += &format!("    service: {{type: drawn, work_s: {seconds}}}\n"),
            Service::Logged => {
                text += &format!("    service: {{type: traced, otherwise_s: {}}}\n", rounded(advice.service_s));
            }
        }
        text += &format!(
            "    workers: {{active: {}, max: {}, extra: {}}}\n    scaler: {}\n",
            settings.active,
            settings.max,
            settings.extra,
            settings.scaler_text()
        );
        if let Some(idle) = settings.idle_timeout_s {
            text += &format!("    idle_timeout_s: {idle}\n");
        }
        text += &format!("    traffic: {{type: trace, file: {}}}\n", quoted(trace));
        if advice.slo_wait_s > 0.0 {
            text += &format!("    slo: {{wait_s: {}}}\n", rounded(advice.slo_wait_s));
        }
        text + "
serve:
  listen: 127.0.0.1:8080
  launcher: docker
  hosts:
    this-machine:
      gpus: 1
"
    }
}

/// To four digits that count.
fn rounded(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let digits = libm::pow(10.0, 3.0 - libm::floor(libm::log10(value)));
    (value * digits).round() / digits
}

fn thin(values: &[f64]) -> Vec<f64> {
    let every = values.len().div_ceil(VALUES_MAX).max(1);
    values.iter().step_by(every).copied().collect()
}
