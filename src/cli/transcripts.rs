//! Transcripts on disk, as several verbs take them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::scheduler::transcript_json::{Header, JsonReader};

/// The transcripts at `source` (one, a folder of them, or the data folder of a gateway), oldest first.
pub(super) fn list(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    if source.is_file() {
        return Ok(vec![source.to_owned()]);
    }
    let below = source.join("transcripts");
    let folder = if below.is_dir() { below } else { source.to_owned() };
    let listed = std::fs::read_dir(&folder).map_err(|error| Failure::in_file(&folder, &error))?;
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl") && path.is_file())
        .collect();
    // Their numbers have eight digits: the order of names is that of time.
    files.sort();
    if files.is_empty() {
        return Err(Failure::input(format!(
            "{}: no transcripts (*.jsonl) there; `thermocline run FILE --out DIR --transcript=jsonl` writes one, a gateway with a \
             data folder keeps them",
            folder.display()
        )));
    }
    Ok(files)
}

/// The text of a transcript.
pub(super) fn text(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path).map(BufReader::new).map_err(|error| Failure::in_file(path, &error))
}

/// The header of a transcript, and a reader of its records.
pub(super) fn open(path: &Path) -> Result<(Header, JsonReader<BufReader<File>>), Failure> {
    JsonReader::new(text(path)?).map_err(|error| Failure::in_file(path, &error))
}
