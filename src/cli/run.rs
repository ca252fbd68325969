//! `run`: simulates application files and prints what came out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::progress::Progress;
use super::{Failure, output};
use crate::experiment::{self, Outcome, RunOptions};
use crate::ledger::{Profile, Rounding};
use crate::results::Summary;
use crate::scenario::{self, Scenario};

/// What can be typed after `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
One run answers with one report (or one JSON object), several with one after the other (or a JSON list), in the order of
files, then seeds. The same file, seed and settings give the same bytes on every machine.")]
pub struct RunArgs {
    /// Application files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Seeds, one run each; the file's own unless given
    #[arg(long, value_name = "N", value_delimiter = ',')]
    seed: Vec<u64>,
    /// Change a setting, such as endpoints.sdxl.workers.max=5; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    // Every file is read before the first one is run: a typing error in the last one should not cost the time of the others.
    let scenarios = args.files.iter().map(|file| load(file, &args.overrides)).collect::<Result<Vec<_>, _>>()?;
    let mut summaries = Vec::new();
    for scenario in &scenarios {
        for seed in seeds(args, scenario) {
            summaries.push(run_one(scenario, seed)?.summary);
        }
    }
    answer(args, &summaries)
}

fn load(file: &Path, overrides: &[String]) -> Result<Scenario, Failure> {
    let scenario = scenario::load(file, overrides)?;
    for note in &scenario.notes {
        output::note(&format!("note: {}: {note}", scenario.settings.name));
    }
    Ok(scenario)
}

fn seeds(args: &RunArgs, scenario: &Scenario) -> Vec<u64> {
    if args.seed.is_empty() { vec![scenario.plan.seed] } else { args.seed.clone() }
}

fn run_one(scenario: &Scenario, seed: u64) -> Result<Outcome, Failure> {
    let mut plan = scenario.plan.clone();
    plan.seed = seed;
    let started = Instant::now();
    let mut progress = Progress::new();
    let outcome = experiment::run(&plan, &options(scenario), &mut |state| progress.show(state))?;
    drop(progress);
    output::remark(&format!("{} events in {:.2} s", outcome.summary.events, started.elapsed().as_secs_f64()));
    Ok(outcome)
}

fn options(scenario: &Scenario) -> RunOptions {
    let settings = &scenario.settings;
    RunOptions {
        name: settings.name.clone(),
        profile: match settings.profile {
            scenario::Profile::Seed => Profile::Seed,
            scenario::Profile::Documented => Profile::Documented,
        },
        rounding: if settings.round_up { Rounding::UpToSeconds } else { Rounding::Exact },
        ..RunOptions::default()
    }
}

fn answer(args: &RunArgs, summaries: &[Summary]) -> Result<(), Failure> {
    match summaries {
        [one] if args.json => output::answer_json(one),
        several if args.json => output::answer_json(&several),
        several => {
            let reports: Vec<String> = several
                .iter()
                .map(|summary| format!("{}\ntranscript {}\n", summary.scenario, summary.transcript_hash))
                .collect();
            output::answer(&reports.join("\n"))
        }
    }
}
