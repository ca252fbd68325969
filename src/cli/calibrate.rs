//! `calibrate DATA_DIR`: from the transcripts of a live gateway to the figures of a rehearsal: how workers really start and stop,
//! how long jobs really take, how fast images really come.

mod fit;
mod fold;
mod write;

use std::path::PathBuf;

use clap::Args;

use super::{Failure, output, transcripts};
use fold::Seen;

/// What can be typed after `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
What comes out is an application file. Rehearse with it as it is, or put `include: calibration.yaml` at the head of yours: what
stands in yours wins. Behind each figure stands how many were measured, their median and their 95th percentile.")]
pub struct CalibrateArgs {
    /// Data folder of a gateway, a folder with transcripts, or one transcript
    #[arg(value_name = "DATA_DIR|TRANSCRIPT")]
    source: PathBuf,
    /// File to write; stdout unless given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite a file that is there
    #[arg(long, requires = "out")]
    force: bool,
    /// Print what was measured as JSON instead
    #[arg(long, conflicts_with = "out")]
    json: bool,
}

pub(super) fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    let files = transcripts::list(&args.source)?;
    let mut seen = Seen::default();
    for file in &files {
        let (header, reader) = transcripts::open(file)?;
        seen.begin(&header);
        for entry in reader {
            seen.entry(&entry.map_err(|error| Failure::in_file(file, &error))?);
        }
    }
    seen.finish();
    if seen.is_empty() {
        let place = args.source.display();
        return Err(Failure::input(format!("{place}: no worker started in what is recorded: nothing to measure")));
    }
    if args.json {
        return output::answer_json(&seen.figures());
    }
    let text = write::yaml(&seen);
    match &args.out {
        None => output::answer(&text),
        Some(out) => {
            output::write_file(out, text.as_bytes(), args.force)?;
            output::note(&format!("wrote {}", out.display()));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
