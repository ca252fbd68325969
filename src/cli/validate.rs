//! `validate FILE...`: are these application files right, and what do they describe?

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, output};
use crate::scenario::serving::{self, Serving};
use crate::scenario::{self, Scenario};
use crate::sim::Simulation;

/// What can be typed after `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Application files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change one setting, such as `endpoints.sdxl.workers.active=1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
}

/// Checks each file; a line for each one that is right, all problems of the others.
pub fn run(args: &ValidateArgs) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for file in &args.files {
        match check(file, &args.overrides) {
            Ok((summary, notes)) => {
                output::answer(&format!("{}: ok: {summary}\n", file.display()))?;
                for note in &notes {
                    output::note(&format!("{}: note: {note}", file.display()));
                }
            }
            Err(Failure::Input(problems)) => refused.push(problems),
            Err(failure) => return Err(failure),
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let count = if args.files.len() == 1 {
        String::new()
    } else {
        format!("{} of {} files refused\n", refused.len(), args.files.len())
    };
    Err(Failure::Input(format!("{count}{}", refused.join("\n"))))
}

/// A file is held against what it is for: a rehearsal, serving, or both. One line on what it describes, and remarks.
fn check(file: &Path, overrides: &[String]) -> Result<(String, Vec<String>), Failure> {
    let (serves, rehearses) = serving::contents(file);
    let mut parts = Vec::new();
    let mut notes = Vec::new();
    if rehearses || !serves {
        let scenario = scenario::load(file, overrides).map_err(Failure::from).and_then(ready)?;
        parts.push(summary(&scenario));
        notes.extend(scenario.notes);
    }
    if serves {
        let serving = serving::load(file, overrides)?;
        parts.push(serving_summary(&serving, parts.is_empty()));
        for note in serving.notes {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    Ok((parts.join("; "), notes))
}

/// Where a file is served, on one line; with its endpoints unless they were told before.
fn serving_summary(serving: &Serving, endpoints: bool) -> String {
    let plan = &serving.plan;
    let names: Vec<&str> = plan.endpoints.iter().map(|endpoint| endpoint.spec.name.as_str()).collect();
    let hosts: Vec<&str> = plan.hosts.iter().map(|host| host.spec.name.as_str()).collect();
    let names = if endpoints { format!("{}; ", names.join(", ")) } else { String::new() };
    format!("{names}served at {} by {}", plan.serve.listen, hosts.join(", "))
}

/// The simulator's own look at the plan: it opens the traces and reads their headers.
fn ready(scenario: Scenario) -> Result<Scenario, Failure> {
    Simulation::new(&scenario.plan)?;
    Ok(scenario)
}

/// What a file describes, on one line.
fn summary(scenario: &Scenario) -> String {
    let plan = &scenario.plan;
    let endpoints: Vec<String> = plan
        .endpoints
        .iter()
        .map(|endpoint| {
            let spec = &endpoint.spec;
            let class = spec.gpu_classes.first().and_then(|id| plan.scheduler.gpu_classes.get(usize::from(id.0)));
            let class = class.map_or("no GPU", |class| class.name.as_str());
            let gpus = if spec.gpus_per_worker == 1 { String::new() } else { format!("{} x ", spec.gpus_per_worker) };
            format!("{} ({}..{}+{} workers, {gpus}{class})", spec.name, spec.active, spec.max, spec.extra)
        })
        .collect();
    let gpus: u64 = plan.hosts.iter().map(|host| u64::from(host.spec.gpus)).sum();
    let end = match (plan.duration, plan.max_jobs) {
        (Some(duration), Some(jobs)) => format!("{} s or {jobs} jobs", duration.as_secs()),
        (Some(duration), None) => format!("{} s", duration.as_secs()),
        (None, Some(jobs)) => format!("{jobs} jobs"),
        (None, None) => "to the end of its traces".to_owned(),
    };
    format!("{}; {} hosts with {gpus} GPUs; {end}", endpoints.join(", "), plan.hosts.len())
}
