//! `calibrate DATA_DIR`: from the transcripts of a live gateway to the figures of a rehearsal: how workers really start and stop,
//! how long jobs really take, how fast images really come.

mod fit;
mod fold;
mod write;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, output};
use crate::scheduler::transcript_json::{JsonReader, TranscriptError};
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
    let files = transcripts(&args.source)?;
    let mut seen = Seen::default();
    for file in &files {
        read(file, &mut seen).map_err(|error| Failure::input(format!("{}: {error}", file.display())))?;
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

/// The transcripts of a folder, oldest first.
fn transcripts(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    if source.is_file() {
        return Ok(vec![source.to_owned()]);
    }
    let below = source.join("transcripts");
    let folder = if below.is_dir() { below } else { source.to_owned() };
    let listed =
        std::fs::read_dir(&folder).map_err(|error| Failure::input(format!("{}: {error}", folder.display())))?;
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl") && path.is_file())
        .collect();
    // Their numbers have eight digits: the order of names is that of time.
    files.sort();
    if files.is_empty() {
        let text = format!("{}: no transcripts (*.jsonl); a gateway with a data folder writes them", folder.display());
        return Err(Failure::input(text));
    }
    Ok(files)
}

fn read(path: &Path, seen: &mut Seen) -> Result<(), TranscriptError> {
    let file = File::open(path).map_err(|error| TranscriptError::Io { line: 0, error })?;
    let (header, reader) = JsonReader::new(BufReader::new(file))?;
    seen.begin(&header);
    let mut last = None;
    for entry in reader {
        match entry {
            Ok(entry) => {
                if let Some(entry) = last.replace(entry) {
                    seen.entry(&entry);
                }
            }
            // A gateway that was killed leaves half a line at the end; half a line elsewhere is damage.
            Err(TranscriptError::Parse { error, .. }) if error.is_eof() => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(entry) = last {
        seen.entry(&entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
