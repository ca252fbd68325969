//! `run`: simulates application files and prints what came out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::progress::Progress;
use super::under::Under;
use super::{Failure, output};
use crate::experiment::output::{OutputOptions, TranscriptForm, run_into};
use crate::experiment::{self, RunOptions};
use crate::ledger::{Profile, Rounding};
use crate::report;
use crate::results::{Format, Summary};
use crate::scenario::{self, Scenario};
use crate::sim::plan::Plan;

/// What can be typed after `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
One run answers with one report (or one JSON object), several with one after the other (or a JSON list), in the order of
files, then seeds. The same file, seed and settings give the same bytes on every machine
(but for `wall_s`, the time that the run took).")]
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
    #[command(flatten)]
    under: Under,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Write summary.json and the tables timeline, workers, placements, hosts and jobs into this folder (several runs: a folder each below it)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite results that are there
    #[arg(long, requires = "out")]
    force: bool,
    /// How tables are written
    #[arg(long, value_enum, default_value = "parquet", requires = "out")]
    format: TableFormat,
    /// Write every fact and every decision too, for people or as JSON lines
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "text", requires = "out")]
    transcript: Option<Form>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TableFormat {
    Parquet,
    Csv,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Text,
    Jsonl,
}

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    // Every file is read before the first one is run: a typing error in the last one should not cost the time of the others.
    let scenarios = args.files.iter().map(|file| load(file, args)).collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<(&Scenario, u64)> = scenarios
        .iter()
        .flat_map(|scenario| seeds(args, scenario).into_iter().map(move |seed| (scenario, seed)))
        .collect();
    let folders = folders(args, &runs)?;
    let mut summaries = Vec::new();
    for (place, (scenario, seed)) in runs.iter().enumerate() {
        summaries.push(run_one(args, scenario, *seed, folders.get(place))?);
    }
    answer(args, &summaries)
}

/// Where each run leaves its files: the folder asked for, or a folder of its own below it. None if none was asked for.
fn folders(args: &RunArgs, runs: &[(&Scenario, u64)]) -> Result<Vec<PathBuf>, Failure> {
    let Some(out) = &args.out else { return Ok(Vec::new()) };
    if runs.len() == 1 {
        return Ok(vec![out.clone()]);
    }
    let folders: Vec<PathBuf> =
        runs.iter().map(|(scenario, seed)| out.join(format!("{}-{seed}", scenario.settings.name))).collect();
    match folders.iter().enumerate().find(|(place, folder)| folders[..*place].contains(folder)) {
        Some((_, twice)) => {
            Err(Failure::Input(format!("two runs would write to {}: give --out for each", twice.display())))
        }
        None => Ok(folders),
    }
}

fn load(file: &Path, args: &RunArgs) -> Result<Scenario, Failure> {
    let scenario = args.under.load(file, &args.overrides)?;
    for note in &scenario.notes {
        output::note(&format!("note: {}: {note}", scenario.settings.name));
    }
    Ok(scenario)
}

fn seeds(args: &RunArgs, scenario: &Scenario) -> Vec<u64> {
    if args.seed.is_empty() { vec![scenario.plan.seed] } else { args.seed.clone() }
}

fn run_one(args: &RunArgs, scenario: &Scenario, seed: u64, folder: Option<&PathBuf>) -> Result<Summary, Failure> {
    let plan = Plan { seed, ..scenario.plan.clone() };
    let options = options(scenario);
    let started = Instant::now();
    let mut progress = Progress::new();
    let mut show = |state: &_| progress.show(state);
    let mut outcome = match folder {
        None => experiment::run(&plan, &options, &mut show)?,
        Some(folder) => {
            let output = output_options(args, folder);
            let (outcome, written) = run_into(&plan, &options, &output, &mut show, |_| {})?;
            written.iter().for_each(|path| output::note(&format!("wrote {}", path.display())));
            outcome
        }
    };
    drop(progress);
    outcome.summary.wall_s = started.elapsed().as_secs_f64();
    output::remark(&format!("{} events in {:.2} s", outcome.summary.events, outcome.summary.wall_s));
    Ok(outcome.summary)
}

fn output_options(args: &RunArgs, folder: &Path) -> OutputOptions {
    OutputOptions {
        format: match args.format {
            TableFormat::Parquet => Format::Parquet,
            TableFormat::Csv => Format::Csv,
        },
        force: args.force,
        transcript: args.transcript.map(|form| match form {
            Form::Text => TranscriptForm::Text,
            Form::Jsonl => TranscriptForm::JsonLines,
        }),
        ..OutputOptions::new(folder)
    }
}

/// How a scenario is run: its own name, profile and rounding.
pub(super) fn options(scenario: &Scenario) -> RunOptions {
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
            let reports: Vec<String> = several.iter().map(|summary| report::text(summary, output::width())).collect();
            output::answer(&reports.join("\n"))
        }
    }
}
