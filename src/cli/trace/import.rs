//! `trace import`: a public trace in its own format becomes one in the plain format, under a temporary name until it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::counted;
use super::plot::time;
use crate::cli::{Failure, output};
use crate::sim::streams::{Purpose, Streams};
use crate::workload::import::{Format, ImportError, ImportOptions, ImportReport, import};

/// What can be typed after `trace import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files as they are published, plain or gzipped; several are merged, those of Functions 2019 are consecutive days
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// What the inputs are
    #[arg(long, value_enum)]
    format: FormatArg,
    /// Where the trace goes; gzipped if the name ends in .gz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One endpoint for all requests [default: by file, model or function]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only the functions with the most invocations [default: 20 of azure-functions-2019, all of azure-functions-2021]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Percentiles of durations, one file per input, in the same order (azure-functions-2019)
    #[arg(long, value_name = "FILE")]
    durations: Vec<PathBuf>,
    /// Keep requests that failed (burstgpt)
    #[arg(long)]
    keep_failed: bool,
    /// Let time 0 be the midnight before the first request, not the first request
    #[arg(long)]
    align_to_day: bool,
    /// Requests held back per input to put them in order of time, 64 bytes each
    #[arg(long, value_name = "N", default_value_t = crate::workload::import::WINDOW)]
    window: usize,
    /// Seed of what the source does not say, such as instants within a minute
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Overwrite FILE
    #[arg(long)]
    force: bool,
}

/// The formats by the names of their files' publishers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Azure LLM inference 2023 and 2024: TIMESTAMP,ContextTokens,GeneratedTokens
    AzureLlm,
    /// Azure Functions 2019: invocations per function and minute
    #[value(name = "azure-functions-2019")]
    AzureFunctions2019,
    /// Azure Functions 2021: app,func,end_timestamp,duration
    #[value(name = "azure-functions-2021")]
    AzureFunctions2021,
    /// BurstGPT: Timestamp,Model,Request tokens,Response tokens,...
    #[value(name = "burstgpt")]
    BurstGpt,
    /// Mooncake: JSON lines with timestamp, input_length, output_length
    Mooncake,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Format {
        match format {
            FormatArg::AzureLlm => Format::AzureLlm,
            FormatArg::AzureFunctions2019 => Format::AzureFunctions2019,
            FormatArg::AzureFunctions2021 => Format::AzureFunctions2021,
            FormatArg::BurstGpt => Format::BurstGpt,
            FormatArg::Mooncake => Format::Mooncake,
        }
    }
}

pub(super) fn run(args: &ImportArgs) -> Result<(), Failure> {
    output::answer(&convert(args)?)
}

fn convert(args: &ImportArgs) -> Result<String, Failure> {
    output::refuse_existing(&args.out, args.force)?;
    let options = ImportOptions {
        format: args.format.into(),
        inputs: args.inputs.clone(),
        endpoint: args.endpoint.clone(),
        top: args.top,
        durations: args.durations.clone(),
        keep_failed: args.keep_failed,
        align_to_day: args.align_to_day,
        window: args.window,
    };
    options.check().map_err(Failure::input)?;
    let draft = Draft::create(&args.out)?;
    let mut rng = Streams::new(args.seed).stream(Purpose::Other, 0);
    let (written, report) = import(&options, draft.open()?, &mut rng).map_err(|error| match error {
        ImportError::Options(_) | ImportError::File(_) => Failure::input(error),
        ImportError::Output(error) => output::cannot_write(&args.out, &error),
    })?;
    written.finish().map_err(|error| output::cannot_write(&args.out, &error))?;
    draft.publish(args.force)?;
    Ok(summary(&args.out, &report))
}

fn summary(path: &Path, report: &ImportReport) -> String {
    let span = time(report.last_ms as f64 / 1e3);
    let (requests, endpoints) = (counted(report.rows, "request"), counted(report.endpoints as u64, "endpoint"));
    let mut text = format!("{}: {requests} of {endpoints} in {span}\n", path.display());
    report.left_out.iter().for_each(|(why, count)| text.push_str(&format!("left out: {count} {why}\n")));
    report.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    text
}

/// A file under a temporary name beside its real one; removed unless it is published.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
}

impl Draft {
    fn create(path: &Path) -> Result<Draft, Failure> {
        let Some(name) = path.file_name() else {
            return Err(Failure::Input(format!("{} is not the name of a file", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        Ok(Draft { path: path.to_owned(), draft: path.with_file_name(hidden) })
    }

    fn open(&self) -> Result<Written, Failure> {
        let file = File::create(&self.draft).map_err(|error| output::cannot_write(&self.path, &error))?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let gzip = self.path.extension().is_some_and(|extension| extension == "gz");
        Ok(if gzip {
            Written::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Written::Plain(file)
        })
    }

    fn publish(self, force: bool) -> Result<(), Failure> {
        // Looked at again: reading the inputs may have taken minutes.
        output::refuse_existing(&self.path, force)?;
        std::fs::rename(&self.draft, &self.path).map_err(|error| output::cannot_write(&self.path, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publishing there is nothing left to remove, and after a failure that failure is what matters.
        let _ = std::fs::remove_file(&self.draft);
    }
}

/// What is written, compressed or not.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one per import")]
enum Written {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl Written {
    /// Brings everything to the disk.
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Written::Plain(file) => file,
            Written::Gzip(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Written::Plain(file) => file.write(bytes),
            Written::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Written::Plain(file) => file.flush(),
            Written::Gzip(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::info::info;

    const SAMPLE: &str = "app,func,end_timestamp,duration\na,f,10,2\na,g,12,1\n";

    /// A folder of its own for a test, with the sample in it.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("thermocline-import-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("in.csv"), SAMPLE).unwrap();
        folder
    }

    fn args(folder: &Path, out: &str) -> ImportArgs {
        ImportArgs {
            inputs: vec![folder.join("in.csv")],
            format: FormatArg::AzureFunctions2021,
            out: folder.join(out),
            endpoint: Some("all".to_owned()),
            top: None,
            durations: Vec::new(),
            keep_failed: false,
            align_to_day: false,
            window: 10,
            seed: 1,
            force: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_gzipped_trace_is_written_whole_or_not_at_all() {
        let folder = folder("gzip");
        let summary = convert(&args(&folder, "out.csv.gz")).unwrap();
        assert!(summary.ends_with("out.csv.gz: 2 requests of 1 endpoint in 3 s\n"), "{summary}");
        assert_eq!(info(&folder.join("out.csv.gz")).unwrap().all.rows, 2);
        std::fs::write(folder.join("in.csv"), format!("{SAMPLE}a,f,x,1\n")).unwrap();
        let failure = convert(&args(&folder, "half.csv")).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("in.csv:4:5: end_timestamp is not a number"), "{failure}");
        assert_eq!(names(&folder), ["in.csv", "out.csv.gz"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let folder = folder("force");
        let mut args = args(&folder, "in.csv");
        assert!(convert(&args).unwrap_err().to_string().contains("--force"));
        args.force = true;
        convert(&args).unwrap();
        let text = std::fs::read_to_string(folder.join("in.csv")).unwrap();
        assert_eq!(text, "arrival_s,endpoint,service_s\n0.000,all,2.000\n3.000,all,1.000\n");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
