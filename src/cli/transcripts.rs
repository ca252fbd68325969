//! Transcripts on disk, as several verbs take them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

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
        .filter(|path| is_named_so(path) && path.is_file())
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

/// The name is that of a transcript.
fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")
}

/// The file holds a transcript, or one without its header, whatever its name: its first bytes say so.
pub(super) fn is_one(path: &Path) -> bool {
    let mut begin = Vec::new();
    // Opening a pipe would wait for a writer.
    let read = path.is_file() && text(path).is_ok_and(|text| text.take(64).read_to_end(&mut begin).is_ok());
    let begin = String::from_utf8_lossy(&begin);
    let is_record = begin.starts_with("{\"seq\":") && begin.contains(",\"at_us\":");
    read && (begin.starts_with("{\"thermocline_transcript\"") || is_record)
}

/// The text of a transcript; gzip is recognised by its content.
pub(super) fn text(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    let wrong = |error: std::io::Error| Failure::in_file(path, &error);
    let mut file = BufReader::new(File::open(path).map_err(wrong)?);
    if file.fill_buf().map_err(wrong)?.starts_with(&[0x1F, 0x8B]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// The header of a transcript, and a reader of its records.
pub(super) fn open(path: &Path) -> Result<(Header, JsonReader<Box<dyn BufRead>>), Failure> {
    JsonReader::new(text(path)?).map_err(|error| Failure::in_file(path, &error))
}
