//! A folder of results read back: what `run --out`, `compare --out` or `sweep --out` wrote. Tables come as Parquet or as CSV.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::comparison::Comparison;
use super::reader::{self, Column, Columns};
use super::several;
use super::summary::Summary;
use super::sweep::Sweep;
use super::tables::{Format, OutputError};

/// Columns of CSV tables that hold words; all others hold numbers.
const WORDS: [&str; 9] =
    ["endpoint", "type", "gpu_class", "last_reason", "outcome", "cause", "name", "data_center", "state"];

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Folder {
    /// One run.
    Run(Box<RunFolder>),
    /// A comparison of policies.
    Comparison(Comparison),
    /// A sweep over settings: means over the seeds of each point.
    Sweep(Sweep),
    /// Several runs, a folder each below it: by scenario, then by seed, with the names of their folders.
    Runs(Vec<(String, Summary)>),
}

/// A run with those of its tables that are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFolder {
    /// The summary document.
    pub summary: Summary,
    /// The table `timeline`.
    pub timeline: Option<Columns>,
    /// The table `workers`.
    pub workers: Option<Columns>,
    /// The table `placements`; folders of older versions have none.
    pub placements: Option<Columns>,
    /// The table `hosts`; folders of older versions have none.
    pub hosts: Option<Columns>,
    /// The table `jobs`.
    pub jobs: Option<Columns>,
}

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is nothing to report in it.
    #[error(
        "{0} holds neither summary.json nor comparison.json nor sweep.json: give the folder that `thermocline run FILE --out DIR`, \
         or `compare` or `sweep` with --out, wrote{1}"
    )]
    Empty(String, String),
    /// It is not there.
    #[error("{0}: there is no such folder{1}")]
    Missing(String, &'static str),
    /// A sweep that was cut off, or of which shards are missing.
    #[error(
        "the sweep in {path} is not finished: {there} of {points} points are there; give its command again and it goes on, or bring \
         its shards together with `thermocline sweep merge`"
    )]
    Unfinished {
        /// Which folder.
        path: String,
        /// Points that are there.
        there: u64,
        /// Points in all.
        points: u64,
    },
    /// A document is not what this program writes.
    #[error("{path}: not a document of thermocline {version}: {error}")]
    Document {
        /// Which file.
        path: String,
        /// Of this program.
        version: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A table cannot be read.
    #[error("{0}")]
    Table(OutputError),
    /// A CSV table holds something else than its column should.
    #[error("{path}, line {line}: {problem}")]
    Csv {
        /// Which file.
        path: String,
        /// Counted from 1, the header.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Folder {
    /// Reads the folder at `path`.
    ///
    /// # Errors
    /// If there are no results in it, or they cannot be read.
    pub fn read(path: &Path) -> Result<Folder, FolderError> {
        if !path.is_dir() {
            let found = if path.exists() { "; it is a file" } else { "" };
            return Err(FolderError::Missing(path.display().to_string(), found));
        }
        let summary = path.join("summary.json");
        if summary.exists() {
            let table = |name| table(path, name);
            return Ok(Folder::Run(Box::new(RunFolder {
                summary: document(&summary)?,
                timeline: table("timeline")?,
                workers: table("workers")?,
                placements: table("placements")?,
                hosts: table("hosts")?,
                jobs: table("jobs")?,
            })));
        }
        let comparison = path.join("comparison.json");
        if comparison.exists() {
            return Ok(Folder::Comparison(document(&comparison)?));
        }
        if let Some(sweep) = several::sweep(path)? {
            return Ok(Folder::Sweep(sweep));
        }
        match several::runs(path)? {
            runs if !runs.is_empty() => Ok(Folder::Runs(runs)),
            _ => Err(FolderError::Empty(path.display().to_string(), below(path))),
        }
    }
}

/// Folders with results one level down, for the hint.
fn below(path: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return String::new() };
    let documents = ["comparison.json", "sweep.json"];
    let holds = |path: &PathBuf| documents.iter().any(|name| path.join(name).exists());
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(holds).collect();
    found.sort();
    found.first().map_or(String::new(), |first| format!("; such as {}", first.display()))
}

/// A document of this program.
pub(super) fn document<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FolderError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| FolderError::Io { path: shown.clone(), error })?;
    crate::json::read(text.as_bytes()).map_err(|error| FolderError::Document {
        path: shown,
        version: env!("CARGO_PKG_VERSION"),
        error,
    })
}

fn table(folder: &Path, name: &str) -> Result<Option<Columns>, FolderError> {
    let parquet = folder.join(format!("{name}.{}", Format::Parquet.extension()));
    if parquet.exists() {
        return reader::table(&parquet).map(Some).map_err(FolderError::Table);
    }
    let csv = folder.join(format!("{name}.{}", Format::Csv.extension()));
    if csv.exists() { csv_table(&csv).map(Some) } else { Ok(None) }
}

fn csv_table(path: &Path) -> Result<Columns, FolderError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| FolderError::Io { path: shown.clone(), error })?;
    let wrong = |line: usize, problem: String| FolderError::Csv { path: shown.clone(), line, problem };
    let mut reader = csv::Reader::from_reader(file);
    let head = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    let empty = |name: &str| match WORDS.contains(&name) {
        true => Column::Text(Vec::new()),
        false => Column::Number(Vec::new()),
    };
    let mut columns: Columns = head.iter().map(|name| (name.to_owned(), empty(name))).collect();
    for (place, record) in reader.records().enumerate() {
        let record = record.map_err(|error| wrong(place + 2, error.to_string()))?;
        for ((name, column), text) in columns.iter_mut().zip(&record) {
            match column {
                Column::Text(values) => values.push((!text.is_empty()).then(|| plain(text).to_owned())),
                Column::Number(values) if text.is_empty() => values.push(None),
                Column::Number(values) => {
                    let value = text.parse::<f64>();
                    values
                        .push(Some(value.map_err(|_| wrong(place + 2, format!("{name} is `{text}`, not a number")))?));
                }
                Column::Count(_) => {}
            }
        }
    }
    Ok(columns)
}

/// A text without the apostrophe that keeps spreadsheets from taking it for a formula.
fn plain(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '\t', '\r']) => rest,
        _ => text,
    }
}

/// The numbers of a column, not-a-number where there is none; nothing if there is no such column.
pub fn numbers(columns: &Columns, name: &str) -> Option<Vec<f64>> {
    match &columns.iter().find(|(column, _)| column == name)?.1 {
        Column::Count(values) => {
            Some(values.iter().map(|value| value.map_or(f64::NAN, |value| value as f64)).collect())
        }
        Column::Number(values) => Some(values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()),
        Column::Text(_) => None,
    }
}

/// The words of a column; nothing if there is no such column.
pub fn words<'a>(columns: &'a Columns, name: &str) -> Option<&'a [Option<String>]> {
    match &columns.iter().find(|(column, _)| column == name)?.1 {
        Column::Text(values) => Some(values),
        Column::Count(_) | Column::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tables::{Cell, Kind, Table};

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("thermocline-folder-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn both_forms_of_a_table_read_the_same() {
        let mut read = Vec::new();
        for format in [Format::Parquet, Format::Csv] {
            let path = folder(format.extension());
            std::fs::write(path.join("summary.json"), serde_json::to_string(&Summary::default()).unwrap()).unwrap();
            let file = path.join(format!("jobs.{}", format.extension()));
            let columns = [("endpoint", Kind::Text), ("wait_s", Kind::Number), ("attempts", Kind::Count)];
            let mut table =
                Table::new(File::create(&file).unwrap(), file.display().to_string(), format, &columns).unwrap();
            table.row(&["=1+1".into(), 0.5.into(), 3_u64.into()]);
            table.row(&["12".into(), Cell::Number(None), 1_u64.into()]);
            table.finish().unwrap();
            let Folder::Run(run) = Folder::read(&path).unwrap() else { panic!("a run was written") };
            let jobs = run.jobs.unwrap();
            let waits = numbers(&jobs, "wait_s").unwrap();
            assert!(waits[0] == 0.5 && waits[1].is_nan());
            read.push((words(&jobs, "endpoint").unwrap().to_vec(), numbers(&jobs, "attempts").unwrap()));
            assert!(run.timeline.is_none());
            std::fs::remove_dir_all(&path).unwrap();
        }
        assert_eq!(read[0], read[1]);
        assert_eq!(read[0].0[0].as_deref(), Some("=1+1"));
    }

    #[test]
    fn several_runs_come_by_scenario_and_seed() {
        let path = folder("several");
        for (scenario, seed) in [("b", 1), ("a", 10), ("a", 2)] {
            let inner = path.join(format!("{scenario}-{seed}"));
            std::fs::create_dir_all(&inner).unwrap();
            let summary = Summary { scenario: scenario.to_owned(), seed, ..Summary::default() };
            std::fs::write(inner.join("summary.json"), serde_json::to_string(&summary).unwrap()).unwrap();
        }
        let Folder::Runs(runs) = Folder::read(&path).unwrap() else { panic!("three runs were written") };
        assert_eq!(runs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a-2", "a-10", "b-1"]);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_folder_without_results_says_what_to_do() {
        let path = folder("empty");
        let message = |path: &Path| Folder::read(path).unwrap_err().to_string();
        assert!(message(&path).contains("thermocline run FILE --out DIR"));
        assert!(message(&path.join("nowhere")).contains("nowhere: there is no such folder"));
        let swept = path.join("swept");
        std::fs::create_dir_all(&swept).unwrap();
        let manifest = super::super::sweep::Manifest { points: 3, ..Default::default() };
        std::fs::write(swept.join("sweep.json"), serde_json::to_string(&manifest).unwrap()).unwrap();
        assert!(message(&path).contains("such as") && message(&path).contains("swept"), "{}", message(&path));
        assert!(message(&swept).contains("0 of 3 points are there"), "{}", message(&swept));
        std::fs::remove_dir_all(&swept).unwrap();
        let inner = path.join("quickstart-1");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("summary.json"), "{\"version\": \"x\"}").unwrap();
        assert!(message(&path).contains("quickstart-1"), "{}", message(&path));
        assert!(message(&inner).contains("summary.json: not a document"), "{}", message(&inner));
        std::fs::write(path.join("summary.json"), serde_json::to_string(&Summary::default()).unwrap()).unwrap();
        std::fs::write(path.join("jobs.csv"), "wait_s\nmany\n").unwrap();
        assert!(message(&path).contains("line 2: wait_s is `many`"), "{}", message(&path));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
