//! `config FILE`: every setting of an application file, with its value and where that comes from.

use std::path::PathBuf;

use clap::Args;

use super::under::Under;
use super::{Failure, output};
use crate::scenario;

/// What can be typed after `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Application file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Change one setting, such as `endpoints.sdxl.workers.active=1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    under: Under,
    /// Print a JSON list of {path, value, source} instead of YAML
    #[arg(long)]
    json: bool,
    /// Only settings whose path begins with this, such as `endpoints.sdxl`
    #[arg(long, value_name = "PATH", requires = "json")]
    only: Option<String>,
    /// As `serve` reads it: with the defaults of real mode, without what only a rehearsal needs
    #[arg(long, conflicts_with = "policy")]
    serve: bool,
}

/// Prints YAML that is an application file again (from the folder of the original, so that traces are found).
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let (effective, notes) = if args.serve {
        let serving = scenario::serving::load(&args.file, &args.overrides)?;
        (serving.effective, serving.notes)
    } else {
        let scenario = args.under.load(&args.file, &args.overrides)?;
        (scenario.effective, scenario.notes)
    };
    for note in &notes {
        output::note(&format!("note: {note}"));
    }
    if !args.json {
        return output::answer(&effective.to_yaml());
    }
    let mut rows = effective.to_json();
    if let (Some(only), Some(rows)) = (&args.only, rows.as_array_mut()) {
        rows.retain(|row| row["path"].as_str().is_some_and(|path| path.starts_with(only)));
    }
    output::answer_json(&rows)
}
