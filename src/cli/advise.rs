//! `advise LOG`: from a plain list of request times to the settings of an endpoint, with what they would cost and how long users
//! would wait.

mod page;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::bound::not_negative;
use super::{Failure, output, transcripts};
use crate::lab::advise::application::{Given, Service, file};
use crate::lab::advise::{Advice, AdviseError, Log, Workload, advise};
use crate::lab::replay::{RecordedEndpoint, Recording};
use crate::report::format::{count, seconds};
use crate::scenario::node::{clean, printable};
use crate::scenario::presets::{self, Preset};
use crate::scenario::problem::suggestion;

/// GPU class where neither a preset, a recording nor the user names one.
const CLASS: &str = "ADA_24";
/// What a cold start takes where nothing tells: the defaults of the stages.
const ASSUMED_START_S: f64 = 11.5;
/// A month from less than this, an hour less than a day, is a guess: there is no night in it, or no noon.
const SHORT_S: f64 = 82_800.0;

/// What can be typed after `advise`.
#[derive(Debug, Args)]
#[command(after_help = "\
The log is a file with one request per line: text, CSV with any separator, or JSON lines, also gzipped. Its times may be dates
(2026-05-08T12:34:56Z, 05/08/2026 12:34, those of a web server's log), an epoch in seconds or milliseconds, or rising seconds; the
column is found by its name and by what is in it, or named with --column. A trace (arrival_s,endpoint[,service_s]...) and a
recorded transcript (.jsonl) tell more.
What a job takes comes from --service-s, a --preset, or the log itself (service_s, duration_ms, ...).
Settings are searched on a part of a long log and judged on all of it; the intervals come from running blocks of it alone.")]
pub struct AdviseArgs {
    /// The log: .csv, .txt, .log, .jsonl (also gzipped), or a recorded transcript
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// The column with the times, by name or by number from 1
    #[arg(long, value_name = "NAME|N")]
    column: Option<String>,
    /// What the workers do, such as sdxl-image, whisper-large, llama3-8b-vllm: gives start and length of a job
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Seconds that a job takes on a worker
    #[arg(long, value_name = "S", value_parser = positive)]
    service_s: Option<f64>,
    /// Seconds that a cold start takes; the preset's, the recorded ones, or 11.5 s unless given
    #[arg(long, value_name = "S", value_parser = not_negative)]
    start_s: Option<f64>,
    /// GPU class or card, such as ADA_24 or "RTX 4090"; the preset's, the recorded one, or ADA_24 unless given
    #[arg(long, value_name = "CLASS")]
    gpu_class: Option<String>,
    /// Only the requests of this endpoint of a trace or transcript
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The p95 of the wait to keep, in seconds; what the platform's defaults reach unless given
    #[arg(long, value_name = "S", value_parser = not_negative)]
    slo_wait: Option<f64>,
    /// Write the recommended settings as an application file, and the requests as a trace beside it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long, requires = "write")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    not_negative(text).ok().filter(|value| *value > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

#[derive(Serialize)]
struct Answer<'a> {
    log: String,
    read_as: &'a str,
    preset: Option<&'a str>,
    notes: &'a [String],
    #[serde(flatten)]
    advice: &'a Advice,
}

impl From<AdviseError> for Failure {
    fn from(error: AdviseError) -> Failure {
        match error {
            AdviseError::Sim(error) => error.into(),
            AdviseError::File(problems) => problems.into(),
            AdviseError::TooLittle(text) => Failure::Input(text),
        }
    }
}

pub(super) fn run(args: &AdviseArgs) -> Result<(), Failure> {
    let preset = args.preset.as_deref().map(find).transpose()?;
    let shown = printable(&args.log.display().to_string());
    let recording = if transcripts::is_one(&args.log) { Some(recording(&args.log)?) } else { None };
    let recorded =
        recording.as_ref().map(|recording| Ok::<_, Failure>((recording, pick(args, recording)?))).transpose()?;
    let log = match recorded {
        Some((recording, known)) => Log::of_recording(recording, Some(&known.spec.name)),
        None => Log::read(&args.log, args.endpoint.as_deref(), args.column.as_deref()).map_err(Failure::input)?,
    };
    let name = recorded.map_or_else(|| name_of(args, &log), |(_, known)| known.spec.name.clone());
    let given = Given {
        name: &name,
        preset,
        service: service(args, &log, preset)?,
        gpu_class: args.gpu_class.as_deref().or((preset.is_none() && recorded.is_none()).then_some(CLASS)),
        start_s: args.start_s,
        recorded,
    };
    let paths = args.write.as_deref().map(|path| (path, path.with_extension("trace.csv")));
    if let Some((path, trace)) = &paths {
        output::refuse_existing(path, args.force)?;
        output::refuse_existing(trace, args.force)?;
    }
    output::remark("trying settings ...");
    let workload: Workload = given.workload(&log);
    let advice = advise(&log, &workload, args.slo_wait).map_err(|error| match error {
        AdviseError::TooLittle(text) => Failure::input(format!("{shown}: {text}")),
        error => error.into(),
    })?;
    let notes = notes(args, &log, &given, &advice);
    if args.json {
        let preset = given.preset.map(Preset::name);
        let answer = Answer { log: shown.clone(), read_as: &log.read_as, preset, notes: &notes, advice: &advice };
        output::answer_json(&answer)?;
    } else {
        output::answer(&page::page(&shown, &log, &given, &advice, &notes, args.write.is_some()))?;
    }
    let Some((path, trace)) = paths else { return Ok(()) };
    let file_name = trace.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    output::write_file(&trace, trace_of(&log, &name).as_bytes(), args.force)?;
    output::write_file(path, file(&workload, &advice, &shown, &file_name).as_bytes(), args.force)?;
    output::note(&format!("wrote {} and {}", path.display(), trace.display()));
    Ok(())
}

fn find(name: &str) -> Result<&'static Preset, Failure> {
    presets::find(name).ok_or_else(|| {
        let names: Vec<&str> = presets::all().iter().map(Preset::name).collect();
        let fix = suggestion(name, names.iter().copied()).unwrap_or_else(|| format!("allowed: {}", names.join(", ")));
        Failure::input(format!("--preset: no preset `{}`; {fix}", clean(name)))
    })
}

fn recording(path: &Path) -> Result<Recording, Failure> {
    let (header, mut reader) = transcripts::open(path)?;
    let mut recording = Recording::default();
    recording.begin(&header);
    for entry in reader.by_ref() {
        recording.entry(&entry.map_err(|error| Failure::in_file(path, &error))?);
    }
    recording.finish();
    if reader.torn() {
        recording.notes.push("its last line is cut off: what came after it is missing".to_owned());
    }
    Ok(recording)
}

/// The endpoint of a recording that is asked about: each has hardware and prices of its own.
fn pick<'a>(args: &AdviseArgs, recording: &'a Recording) -> Result<&'a RecordedEndpoint, Failure> {
    let busy: Vec<&RecordedEndpoint> = recording.endpoints.iter().filter(|known| !known.jobs.is_empty()).collect();
    let shown = printable(&args.log.display().to_string());
    let names = busy.iter().map(|known| format!("{} ({} requests)", known.spec.name, count(known.jobs.len() as u64)));
    let names: Vec<String> = names.collect();
    match (&args.endpoint, busy.as_slice()) {
        (_, []) => Err(Failure::input(format!("{shown}: no request is recorded there"))),
        (Some(name), _) => busy.iter().find(|known| known.spec.name == *name).copied().ok_or_else(|| {
            let text = format!("no request of endpoint `{}` in it; its endpoints: {}", clean(name), names.join(", "));
            Failure::input(format!("{shown}: {text}"))
        }),
        (None, [only]) => Ok(only),
        (None, _) => {
            let text = "several endpoints are recorded there, each with GPUs and prices of its own";
            Err(Failure::input(format!("{shown}: {text}; --endpoint NAME takes one of them: {}", names.join(", "))))
        }
    }
}

fn name_of(args: &AdviseArgs, log: &Log) -> String {
    let named = args.endpoint.clone().or_else(|| match log.endpoints.as_slice() {
        [only] => Some(only.clone()),
        _ => args.preset.clone(),
    });
    named.unwrap_or_else(|| "endpoint".to_owned())
}

fn service(args: &AdviseArgs, log: &Log, preset: Option<&Preset>) -> Result<Service, Failure> {
    if let Some(seconds) = args.service_s {
        return Ok(Service::Seconds(seconds));
    }
    match preset {
        Some(_) => Ok(Service::Preset),
        None if log.mean_service_s().is_some() => Ok(Service::Logged),
        None => {
            let fix = match log.has_tokens() {
                true => "--preset llama3-8b-vllm makes times of its tokens",
                false => "such as --service-s 4",
            };
            let text = "the log does not tell how long a job takes: give --service-s SECONDS or --preset NAME";
            let unit = log
                .notes
                .iter()
                .find(|note| note.contains("no unit"))
                .map_or(String::new(), |note| format!(" ({note})"));
            Err(Failure::input(format!("{}: {text}; {fix}{unit}", args.log.display())))
        }
    }
}

/// What people should know about the answer, most weighty first.
fn notes(args: &AdviseArgs, log: &Log, given: &Given<'_>, advice: &Advice) -> Vec<String> {
    let mut notes = Vec::new();
    if advice.span_s < SHORT_S {
        notes.push(format!(
            "The log lasts {}: a month of it is that time over and over, as if no hour differed. Some days would tell more.",
            seconds(advice.span_s)
        ));
    }
    if given.start_is_assumed() {
        notes.push(format!(
            "Starts are assumed: {} for a cold one, about 1 s for a worker that was only frozen. --start-s or --preset tell yours.",
            seconds(ASSUMED_START_S)
        ));
    }
    if log.disordered > 0 {
        notes.push(format!("{} line(s) were not in order of time; they are now.", count(log.disordered)));
    }
    if given.recorded.is_none() && args.endpoint.is_none() && log.endpoints.len() > 1 {
        let some: Vec<&str> = log.endpoints.iter().take(8).map(String::as_str).collect();
        let more = if log.endpoints.len() > 8 { ", ..." } else { "" };
        let number = log.endpoints.len();
        let names = some.join(", ");
        notes.push(format!("{number} endpoints are taken as one ({names}{more}); --endpoint NAME takes one of them."));
    }
    let (logged, option) =
        (given.service == Service::Logged, if given.preset.is_some() { "--preset" } else { "--service-s" });
    match (&log.service_column, log.note_on_service()) {
        (Some(_), Some(note)) if logged => notes.push(format!("{}.", capital(&note))),
        (Some(name), _) => notes.push(format!("Column `{name}` is not used: {option} says how long a job takes.")),
        _ if !logged && log.mean_service_s().is_some() => {
            notes.push(format!("The service times in it are not used: {option} says how long a job takes."));
        }
        _ => {}
    }
    if given.recorded.is_some() && given.preset.is_some() {
        notes.push("GPUs, starts and concurrency are the preset's, not the recorded ones.".to_owned());
    }
    let recorded = given.recorded.map(|(recording, _)| recording.notes.as_slice()).unwrap_or_default();
    notes.extend(log.notes.iter().chain(recorded).map(|note| format!("{}.", capital(note))));
    notes
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The requests as a trace with one endpoint; what is known of their work is kept.
fn trace_of(log: &Log, name: &str) -> String {
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let (services, tokens) =
        (log.mean_service_s().is_some(), log.work.iter().any(|work| work.input_tokens.is_some()) || log.has_tokens());
    let mut text = "arrival_s,endpoint".to_owned();
    text += if services { ",service_s" } else { "" };
    text += if tokens { ",input_tokens,output_tokens\n" } else { "\n" };
    for (number, at) in log.times.iter().enumerate() {
        let work = log.work.get(number).copied().unwrap_or_default();
        let _ = write!(text, "{at:.6},{quoted}");
        if services {
            let _ = write!(text, ",{}", work.service_s.map_or(String::new(), |value| value.to_string()));
        }
        if tokens {
            let cell = |tokens: Option<u32>| tokens.map_or(String::new(), |tokens| tokens.to_string());
            let _ = write!(text, ",{},{}", cell(work.input_tokens), cell(work.output_tokens));
        }
        text.push('\n');
    }
    text
}
