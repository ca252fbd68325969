//! `config FILE`: every setting of an application file, with its value and where that comes from.

use std::path::PathBuf;

use clap::Args;

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
    /// Print a JSON list of {path, value, source} instead of YAML
    #[arg(long)]
    json: bool,
    /// Only settings whose path begins with this, such as `endpoints.sdxl`
    #[arg(long, value_name = "PATH", requires = "json")]
    only: Option<String>,
}

/// Prints YAML that is an application file again (from the folder of the original, so that traces are found).
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let scenario = scenario::load(&args.file, &args.overrides)?;
    for note in &scenario.notes {
        output::note(&format!("note: {note}"));
    }
    if !args.json {
        return output::answer(&scenario.effective.to_yaml());
    }
    let mut rows = scenario.effective.to_json();
    if let (Some(only), Some(rows)) = (&args.only, rows.as_array_mut()) {
        rows.retain(|row| row["path"].as_str().is_some_and(|path| path.starts_with(only)));
    }
    output::answer_json(&rows)
}
