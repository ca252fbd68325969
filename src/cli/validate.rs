//! `validate FILE...`: are these application files right, and what do they describe?

use std::path::PathBuf;

use clap::Args;

use super::{Failure, output};
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
        match scenario::load(file, &args.overrides).map_err(Failure::from).and_then(ready) {
            Ok(scenario) => {
                output::answer(&format!("{}: ok: {}\n", file.display(), summary(&scenario)))?;
                for note in &scenario.notes {
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
