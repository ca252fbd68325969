//! `init`: writes an application file to begin with, for a well-known worker image or for the built-in echo worker. What it writes
//! can be validated, rehearsed and served as it is.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, output};
use crate::scenario::node::clean;
use crate::scenario::presets::{self, Preset};
use crate::scenario::problem::suggestion;

/// What can be typed after `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What the workers do, such as vllm, sdxl, flux, comfyui, whisper, embedding; the echo worker unless given
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// List the presets and end
    #[arg(long)]
    list: bool,
    /// File to write; `-` for stdout
    #[arg(long, value_name = "FILE", default_value = "app.yaml")]
    out: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

/// A worker image that many use, and what it needs to be told.
struct Known {
    /// Short name.
    word: &'static str,
    /// Preset of the catalogue, for the rehearsal.
    preset: &'static str,
    /// Name of the endpoint.
    endpoint: &'static str,
    /// Image with a tag that was published.
    image: &'static str,
    /// Its environment.
    env: &'static [(&'static str, &'static str)],
    /// An input to begin with, JSON on one line.
    input: &'static str,
    /// What people should know.
    remark: &'static str,
}

/// The images of github.com/runpod-workers, and what their READMEs ask for.
const KNOWN: [Known; 6] = [
    Known {
        word: "vllm",
        preset: "llama3-8b-vllm",
        endpoint: "llm",
        image: "runpod/worker-v1-vllm:v2.27.0",
        env: &[
            ("MODEL_NAME", "NousResearch/Meta-Llama-3-8B-Instruct"),
            ("MAX_MODEL_LEN", "8192"),
            ("MAX_CONCURRENCY", "30"),
        ],
        input: r#"{"prompt": "What is a thermocline?", "sampling_params": {"max_tokens": 100}}"#,
        remark: "A gated model needs HF_TOKEN in env. OpenAI clients: base URL .../v2/llm/openai/v1.",
    },
    Known {
        word: "sdxl",
        preset: "sdxl-image",
        endpoint: "sdxl",
        image: "runpod/worker-comfyui:5.5.0-sdxl",
        env: &[],
        input: r#"{"workflow": {}}"#,
        remark: "The input holds a workflow as ComfyUI exports it for its API.",
    },
    Known {
        word: "flux",
        preset: "flux-image",
        endpoint: "flux",
        image: "runpod/worker-comfyui:5.5.0-flux1-dev",
        env: &[],
        input: r#"{"workflow": {}}"#,
        remark: "The input holds a workflow as ComfyUI exports it for its API.",
    },
    Known {
        word: "comfyui",
        preset: "comfyui",
        endpoint: "comfyui",
        image: "runpod/worker-comfyui:5.5.1-base",
        env: &[],
        input: r#"{"workflow": {}}"#,
        remark: "The base image has no models: mount them at /runpod-volume, or build an image of your own on it.",
    },
    Known {
        word: "whisper",
        preset: "whisper-large",
        endpoint: "whisper",
        image: "runpod/ai-api-faster-whisper:1.0.10",
        env: &[],
        input: r#"{"audio": "https://github.com/runpod-workers/sample-inputs/raw/main/audio/gettysburg.wav", "model": "large-v3"}"#,
        remark: "The rehearsal's figures are for five minutes of audio.",
    },
    Known {
        word: "embedding",
        preset: "embedding",
        endpoint: "embedding",
        image: "runpod/worker-infinity-embedding:1.1.4",
        env: &[("MODEL_NAMES", "BAAI/bge-large-en-v1.5")],
        input: r#"{"model": "BAAI/bge-large-en-v1.5", "input": ["a lake in summer"]}"#,
        remark: "OpenAI clients: base URL .../v2/embedding/openai/v1.",
    },
];

pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    if args.list {
        return output::answer(&listing());
    }
    let text = match &args.preset {
        None => quick_start(),
        Some(name) => of_preset(name)?,
    };
    if args.out.as_os_str() == "-" {
        return output::answer(&text);
    }
    output::write_file(&args.out, text.as_bytes(), args.force)?;
    let file = args.out.display();
    output::note(&format!("wrote {file}; rehearse it: thermocline run {file}; serve it: thermocline serve {file}"));
    Ok(())
}

fn listing() -> String {
    let mut text = String::new();
    for known in &KNOWN {
        let _ = writeln!(text, "{:22} {}", known.word, known.image);
    }
    for preset in presets::all().iter().filter(|preset| KNOWN.iter().all(|known| known.word != preset.name())) {
        let _ = writeln!(text, "{:22} {}", preset.name(), preset.source());
    }
    text
}

fn of_preset(name: &str) -> Result<String, Failure> {
    let known = KNOWN.iter().find(|known| known.word == name);
    let known = known.or_else(|| KNOWN.iter().find(|known| known.preset == name));
    let preset = presets::find(known.map_or(name, |known| known.preset));
    let Some(preset) = preset else {
        let names: Vec<&str> =
            KNOWN.iter().map(|known| known.word).chain(presets::all().iter().map(Preset::name)).collect();
        let fix = suggestion(name, names.iter().copied()).unwrap_or_else(|| "see --list".to_owned());
        return Err(Failure::input(format!("no preset `{}`; {fix}", clean(name))));
    };
    Ok(file(preset, known))
}

/// The file of a preset, with comments.
fn file(preset: &Preset, known: Option<&Known>) -> String {
    let endpoint = known.map_or(preset.name(), |known| known.endpoint);
    let input = known.map_or("{}", |known| known.input);
    let rate = rate(preset);
    let settings = preset.settings();
    let gpus = settings["gpus_per_worker"].as_u64().unwrap_or(1);
    let mut text = format!(
        "\
# What would this endpoint cost, and how long would its users wait? Then: the same endpoint on your own machine.
#
#   thermocline run app.yaml        rehearse it, with the traffic below
#   thermocline serve app.yaml      serve it; needs a container engine and {gpus} GPU{s}
#   thermocline config app.yaml     every setting with its default and where that comes from
#
# The first request:  thermocline jobs run {endpoint} --wait --input '{input}'
",
        s = if gpus == 1 { "" } else { "s" },
    );
    if let Some(known) = known {
        let _ = writeln!(text, "# {}", known.remark);
    }
    let _ = write!(
        text,
        "\
description: {endpoint}, from the preset {preset}
seed: 1
duration_s: 1h                  # of the rehearsal

endpoints:
  {endpoint}:
    preset: {preset}      # start, service and GPU class of the rehearsal
",
        preset = preset.name(),
    );
    match known {
        Some(known) => {
            let _ = writeln!(text, "    image: {}", known.image);
        }
        None => text.push_str(
            "    # image: your/worker:1.0      # no public worker image is known for this preset: put yours here\n",
        ),
    }
    text.push_str(
        "    workers: {active: 0, max: 3, extra: 0}
    idle_timeout_s: 5
    scaler: {type: queue_delay, delay_s: 4}
    execution_timeout_s: 600
",
    );
    let env = known.map_or(&[][..], |known| known.env);
    if !env.is_empty() {
        text.push_str("    env:\n");
    }
    for (name, value) in env {
        let _ = writeln!(text, "      {name}: \"{value}\"");
    }
    let _ = write!(
        text,
        "    \
traffic: {{type: poisson, rate_per_s: {rate}}}     # put yours here: a trace, a daily swing, a burst
    slo: {{wait_s: 10}}
    run:
      shm_gb: 8
      # volumes: [{{source: models, mount: /runpod-volume}}]

serve:
  listen: 127.0.0.1:8080        # 0.0.0.0:8080 for others too; then make a key: thermocline keys create
  launcher: docker
  hosts:
    this-machine:
      gpus: {gpus}
"
    );
    text
}

/// Requests per second that keep about a third of one worker busy, in two digits.
fn rate(preset: &Preset) -> f64 {
    let rate = 0.3 / preset.typical_service_s().max(1e-3);
    let digits = 10_f64.powi(1 - rate.log10().floor() as i32);
    (rate * digits).round() / digits
}

fn quick_start() -> String {
    "\
# What does a serverless endpoint do? One that answers with its input, on this machine, without a GPU.
#
#   thermocline serve app.yaml      serve it
#   thermocline top                 watch it, in another terminal
#   thermocline jobs run hello --wait --input '{\"chunks\": 3, \"delay_s\": 2}'
#   thermocline run app.yaml        rehearse it: cost and waits with the traffic below
#
# Yours next: put `command: [python, -u, handler.py]` under `run`, or `launcher: docker` under `serve` and an `image`.
description: a first endpoint
seed: 1
duration_s: 1h                  # of the rehearsal

endpoints:
  hello:
    gpu_classes: ADA_24         # what it would run on at the platform: prices are those of this class
    workers: {active: 0, max: 3, extra: 0}
    idle_timeout_s: 5           # how long an idle worker stays up
    scaler: {type: queue_delay, delay_s: 0.5}
    # What the rehearsal is to believe about starts, jobs and requests:
    image_gb: 0.01
    start: {container_s: 0.1, cuda_s: 0, import_s: 0}
    service: {type: drawn, work_s: {type: lognormal, median: 0.5, sigma: 0.5}}
    traffic: {type: poisson, rate_per_s: 0.5}
    slo: {wait_s: 2}
    run:
      stop_grace_s: 5

serve:
  listen: 127.0.0.1:8080
  hosts:
    local:
      places: 8                 # workers without GPUs at the same time
"
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::{self, serving};

    /// What `init` writes can be rehearsed and served.
    fn accepted(text: &str) {
        let rehearsal = scenario::from_str(text, "app.yaml", Path::new("."), &[]);
        let rehearsal = rehearsal.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(rehearsal.notes, Vec::<String>::new());
        let served = serving::from_str(text, "app.yaml", Path::new("."), &[]);
        let served = served.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(served.notes, Vec::<String>::new());
        assert_eq!(served.plan.endpoints.len(), 1);
    }

    #[test]
    fn every_preset_gives_a_file_that_can_be_rehearsed_and_served() {
        accepted(&quick_start());
        for name in KNOWN.iter().map(|known| known.word).chain(presets::all().iter().map(Preset::name)) {
            accepted(&of_preset(name).expect("a preset of ours"));
        }
    }

    #[test]
    fn inputs_to_begin_with_are_json() {
        for known in &KNOWN {
            let input = serde_json::from_str::<serde_json::Value>(known.input);
            assert!(input.is_ok_and(|input| input.is_object()), "{}", known.word);
        }
    }

    #[test]
    fn a_misspelt_preset_gets_a_suggestion() {
        let failure = of_preset("whispr").expect_err("there is none").to_string();
        assert_eq!(failure, "no preset `whispr`; did you mean `whisper`?");
    }
}
