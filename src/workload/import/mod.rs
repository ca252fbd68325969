//! Importers: public traces in their own formats become traces in the plain CSV format.
//!
//! In: files as they are published, plain or gzipped. Out: rows in order of time, and a report of what was left out and what was
//! made up. Memory is bounded by the window of requests that are held back to be sorted (about 64 bytes each), by the
//! number of endpoints, and for the Functions trace of 2019 by one day of the functions taken.
//!
//! Adding one: a file that implements `order::Source`, a line in [`Format`], an arm in `sources`.

mod azure_functions_2019;
mod azure_functions_2021;
mod azure_llm;
mod burstgpt;
mod mooncake;
mod order;
mod table;
#[cfg(test)]
mod testing;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rand::Rng;

use self::azure_functions_2019::AzureFunctions2019;
use self::azure_functions_2021::AzureFunctions2021;
use self::azure_llm::AzureLlm;
use self::burstgpt::BurstGpt;
use self::mooncake::Mooncake;
use self::order::{Merge, Request, Source};
use super::error::FileError;
use super::writer::{Columns, TraceWriter};

/// Requests held back per file unless said otherwise: the whole Functions trace of 2021, some 130 MB.
pub const WINDOW: usize = 1 << 21;
/// Functions taken of the trace of 2019 unless said otherwise.
pub const TOP: usize = 20;
const DAY_US: i64 = 86_400_000_000;

/// A public format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Azure LLM inference 2023 and 2024.
    AzureLlm,
    /// Azure Functions 2019: counts per minute.
    AzureFunctions2019,
    /// Azure Functions 2021: invocations.
    AzureFunctions2021,
    /// BurstGPT.
    BurstGpt,
    /// Mooncake, JSON lines.
    Mooncake,
}

/// What is imported, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// The format of all inputs.
    pub format: Format,
    /// Files; those of Functions 2019 are consecutive days.
    pub inputs: Vec<PathBuf>,
    /// One name for the endpoint of all requests; otherwise by file, model or function.
    pub endpoint: Option<String>,
    /// Only the functions with the most invocations (Functions 2019 and 2021).
    pub top: Option<usize>,
    /// Files with percentiles of durations, one per input (Functions 2019).
    pub durations: Vec<PathBuf>,
    /// Keep requests that failed (BurstGPT).
    pub keep_failed: bool,
    /// Time 0 is the midnight before the first request instead of the first request.
    pub align_to_day: bool,
    /// Requests held back per file to be sorted.
    pub window: usize,
}

impl ImportOptions {
    /// All of `inputs`, as they are.
    pub fn new(format: Format, inputs: Vec<PathBuf>) -> ImportOptions {
        ImportOptions {
            format,
            inputs,
            endpoint: None,
            top: None,
            durations: Vec::new(),
            keep_failed: false,
            align_to_day: false,
            window: WINDOW,
        }
    }

    /// Options that the format has no use for.
    ///
    /// # Errors
    /// Names the option and the formats that it is for.
    pub fn check(&self) -> Result<(), String> {
        let functions = matches!(self.format, Format::AzureFunctions2019 | Format::AzureFunctions2021);
        if self.top.is_some() && !functions {
            return Err("--top is for the azure-functions formats".to_owned());
        }
        if self.top == Some(0) || self.window == 0 {
            return Err("--top and --window must be at least 1".to_owned());
        }
        if !self.durations.is_empty() && self.format != Format::AzureFunctions2019 {
            return Err("--durations is for azure-functions-2019".to_owned());
        }
        if self.keep_failed && self.format != Format::BurstGpt {
            return Err("--keep-failed is for burstgpt".to_owned());
        }
        match &self.endpoint {
            Some(name) if name.trim().is_empty() || name.chars().any(char::is_control) => {
                Err("--endpoint is empty or holds control characters".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportReport {
    /// Rows written.
    pub rows: u64,
    /// Endpoints among them.
    pub endpoints: usize,
    /// Time of the last row, in milliseconds.
    pub last_ms: u64,
    /// Requests that were left out, and why.
    pub left_out: Vec<(String, u64)>,
    /// What the source does not say and was drawn or assumed.
    pub notes: Vec<String>,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An option does not fit.
    #[error("{0}")]
    Options(String),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The output cannot be written.
    #[error("cannot write the trace ({0})")]
    Output(#[from] io::Error),
}

/// Writes the inputs as one trace to `output`; `rng` draws what the source does not say. Gives `output` back.
///
/// # Errors
/// If an option does not fit, an input cannot be read or is not of this format, or the output cannot be written.
pub fn import<W: Write>(
    options: &ImportOptions,
    output: W,
    rng: &mut impl Rng,
) -> Result<(W, ImportReport), ImportError> {
    options.check().map_err(ImportError::Options)?;
    let names = Names::default();
    if options.format == Format::AzureFunctions2019 {
        return import_counts(options, &names, output, rng);
    }
    let mut report = ImportReport::default();
    let left_out = Counter::default();
    let (sources, columns) = sources(options, &names, &left_out)?;
    let mut merge = Merge::new(sources, options.window)?;
    let mut rows = Rows::new(output, columns, options.align_to_day)?;
    while let Some(request) = merge.next()? {
        rows.write(&names, &request)?;
    }
    if left_out.get() > 0 {
        let why = match options.format {
            Format::BurstGpt => "failed, without a response token".to_owned(),
            _ => format!("of functions beyond the top {}", options.top.unwrap_or_default()),
        };
        report.left_out.push((why, left_out.get()));
    }
    if options.format == Format::BurstGpt && columns.service {
        report.notes.push("service_s is the source's elapsed time, its own waiting included".to_owned());
    }
    rows.finish(&names, report)
}

fn import_counts<W: Write>(
    options: &ImportOptions,
    names: &Names,
    output: W,
    rng: &mut impl Rng,
) -> Result<(W, ImportReport), ImportError> {
    let top = options.top.unwrap_or(TOP);
    let trace = AzureFunctions2019::open(&options.inputs, &options.durations, top)?;
    let mut report = ImportReport::default();
    if trace.others > 0 {
        report.left_out.push((format!("of functions beyond the top {top}"), trace.others));
    }
    report.notes.push("instants within a minute are drawn evenly: the source has counts per minute".to_owned());
    let columns = Columns { service: !options.durations.is_empty(), tokens: false };
    if columns.service {
        report.notes.push("service_s is drawn between the source's percentiles of the function and day".to_owned());
    }
    let mut rows = Rows::new(output, columns, true)?;
    trace.requests(names, options.endpoint.as_deref(), rng, |request| rows.write(names, &request))?;
    rows.finish(names, report)
}

type Sources = Vec<(PathBuf, Box<dyn Source>)>;

fn sources(options: &ImportOptions, names: &Names, left_out: &Counter) -> Result<(Sources, Columns), FileError> {
    let mut columns = Columns { service: false, tokens: options.format != Format::AzureFunctions2021 };
    let wanted = match (options.format, options.top) {
        (Format::AzureFunctions2021, Some(top)) => Some(azure_functions_2021::wanted(&options.inputs, top)?),
        _ => None,
    };
    let mut sources: Sources = Vec::with_capacity(options.inputs.len());
    for path in &options.inputs {
        let endpoint = options.endpoint.as_deref();
        let by_file = || names.index(&endpoint.map_or_else(|| file_name(path), str::to_owned));
        let source: Box<dyn Source> = match options.format {
            Format::AzureLlm => Box::new(AzureLlm::open(path, by_file())?),
            Format::Mooncake => Box::new(Mooncake::open(path, by_file())?),
            Format::BurstGpt => {
                let source = BurstGpt::open(path, names, endpoint, options.keep_failed, left_out)?;
                columns.service |= source.has_elapsed();
                Box::new(source)
            }
            Format::AzureFunctions2021 => {
                columns.service = true;
                Box::new(AzureFunctions2021::open(path, names, endpoint, wanted.clone(), left_out)?)
            }
            Format::AzureFunctions2019 => unreachable!("counts are imported by import_counts()"),
        };
        sources.push((path.clone(), source));
    }
    Ok((sources, columns))
}

/// The rows of the output, on its own clock.
struct Rows<W> {
    writer: TraceWriter<W>,
    align_to_day: bool,
    zero_us: Option<i64>,
    rows: u64,
    last_ms: u64,
}

impl<W: Write> Rows<W> {
    fn new(output: W, columns: Columns, align_to_day: bool) -> io::Result<Rows<W>> {
        Ok(Rows { writer: TraceWriter::new(output, columns)?, align_to_day, zero_us: None, rows: 0, last_ms: 0 })
    }

    fn write(&mut self, names: &Names, request: &Request) -> Result<(), ImportError> {
        let day_us = if self.align_to_day { DAY_US } else { 1 };
        let zero_us = *self.zero_us.get_or_insert(request.at_us.div_euclid(day_us) * day_us);
        // Nearest millisecond: keeps the order. Requests come in order, so none is before the first.
        self.last_ms = (request.at_us - zero_us).max(0).unsigned_abs().saturating_add(500) / 1_000;
        self.rows += 1;
        names.with(request.endpoint, |name| self.writer.write(self.last_ms, name, &request.work))?;
        Ok(())
    }

    fn finish(self, names: &Names, report: ImportReport) -> Result<(W, ImportReport), ImportError> {
        let mut output = self.writer.into_inner();
        output.flush()?;
        let endpoints = if self.rows > 0 { names.count() } else { 0 };
        Ok((output, ImportReport { rows: self.rows, endpoints, last_ms: self.last_ms, ..report }))
    }
}

/// Names of endpoints by index, shared by the sources of one import.
#[derive(Clone, Default)]
struct Names(Rc<RefCell<NameTable>>);

#[derive(Default)]
struct NameTable {
    by_name: BTreeMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn index(&self, name: &str) -> u32 {
        let table = &mut *self.0.borrow_mut();
        if let Some(index) = table.by_name.get(name) {
            return *index;
        }
        let index = table.names.len() as u32;
        table.by_name.insert(name.to_owned(), index);
        table.names.push(name.to_owned());
        index
    }

    fn with<T>(&self, index: u32, use_name: impl FnOnce(&str) -> T) -> T {
        use_name(&self.0.borrow().names[index as usize])
    }

    fn count(&self) -> usize {
        self.0.borrow().names.len()
    }
}

/// Requests left out, shared by the sources of one import.
#[derive(Clone, Default)]
struct Counter(Rc<Cell<u64>>);

impl Counter {
    fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A short name of a function: the first twelve characters of the hashes of application and function. Two functions would share
/// one with a probability of 2^-96.
fn function_name(app: &str, function: &str) -> String {
    let start = |hash: &str| hash.chars().take(12).collect::<String>();
    format!("{}-{}", start(app), start(function))
}

/// The `top` names with the highest counts; of equal ones, the first by name.
fn most_invoked(counts: BTreeMap<String, u64>, top: usize) -> BTreeSet<String> {
    let mut names: Vec<(u64, String)> = counts.into_iter().map(|(name, count)| (count, name)).collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.into_iter().take(top).map(|(_, name)| name).collect()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().map_or("requests".into(), |name| name.to_string_lossy().into_owned());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    stem.chars().map(|character| if character.is_control() { '_' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_named_after_their_file() {
        assert_eq!(file_name(Path::new("/data/AzureLLMInferenceTrace_code.csv.gz")), "AzureLLMInferenceTrace_code");
        assert_eq!(file_name(Path::new("trace.jsonl")), "trace");
        assert_eq!(file_name(Path::new(".csv")), ".csv");
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let check = |format: Format, change: fn(&mut ImportOptions)| {
            let mut options = ImportOptions::new(format, Vec::new());
            change(&mut options);
            options.check()
        };
        assert_eq!(check(Format::Mooncake, |_| ()), Ok(()));
        assert!(check(Format::Mooncake, |options| options.top = Some(3)).is_err());
        assert!(check(Format::AzureFunctions2019, |options| options.top = Some(0)).is_err());
        assert!(check(Format::AzureLlm, |options| options.keep_failed = true).unwrap_err().contains("burstgpt"));
        assert!(check(Format::BurstGpt, |options| options.durations.push("d".into())).is_err());
        assert!(check(Format::AzureLlm, |options| options.endpoint = Some("a\n".to_owned())).is_err());
    }

    #[test]
    fn an_empty_input_gives_an_empty_trace() {
        let report = testing::report(Format::AzureLlm, &["TIMESTAMP,ContextTokens,GeneratedTokens\n"], |_| ());
        assert_eq!((report.rows, report.endpoints), (0, 0));
    }
}
