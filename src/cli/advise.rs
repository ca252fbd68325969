//! `advise LOG`: from a plain list of request times to the settings of an endpoint, with what they would cost and how long users
//! would wait.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets as style};
use serde::Serialize;

use super::bound::not_negative;
use super::{Failure, output, transcripts};
use crate::lab::advise::application::{Given, Service};
use crate::lab::advise::{Advice, AdviseError, Forecast, Log, Settings, Workload, advise};
use crate::lab::replay::Recording;
use crate::report::format::{count, money, seconds, share};
use crate::results::Interval;
use crate::scenario::node::{clean, printable};
use crate::scenario::presets::{self, Preset};
use crate::scenario::problem::suggestion;
use crate::workload::{TraceReader, TraceRow};

/// GPU class where neither a preset nor the user names one.
const CLASS: &str = "ADA_24";
/// Most workers that the search makes room for.
const ROOM: u32 = 400;

/// What can be typed after `advise`.
#[derive(Debug, Args)]
#[command(after_help = "\
The log is a file with one request per line: a column of times (2026-05-08T12:34:56Z, an epoch in seconds or milliseconds, the
time of a web server's log), a trace (arrival_s,endpoint[,service_s]...), or a recorded transcript (.jsonl).
What a job takes comes from --service-s, a --preset, or the log itself.
Settings are searched on a part of a long log and judged on all of it; the intervals come from running blocks of it alone.")]
pub struct AdviseArgs {
    /// The log: .csv, .txt, .log (also gzipped), or a transcript (.jsonl)
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// What the workers do, such as sdxl-image, whisper-large, llama3-8b-vllm: gives start and length of a job
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Seconds that a job takes on a worker
    #[arg(long, value_name = "S", value_parser = positive)]
    service_s: Option<f64>,
    /// GPU class or card, such as ADA_24 or "RTX 4090"; the preset's, or ADA_24, unless given
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
    #[serde(flatten)]
    advice: &'a Advice,
}

impl From<AdviseError> for Failure {
    fn from(error: AdviseError) -> Failure {
        match error {
            AdviseError::Sim(error) => error.into(),
            AdviseError::TooLittle(text) => Failure::Input(text),
        }
    }
}

pub(super) fn run(args: &AdviseArgs) -> Result<(), Failure> {
    let preset = args.preset.as_deref().map(find).transpose()?;
    let log = read(args)?;
    let name = name_of(args, &log);
    let given = Given {
        name: &name,
        preset,
        service: service(args, &log, preset)?,
        gpu_class: args.gpu_class.as_deref().or(preset.is_none().then_some(CLASS)),
    };
    let paths = args.write.as_deref().map(|path| (path, path.with_extension("trace.csv")));
    if let Some((path, trace)) = &paths {
        output::refuse_existing(path, args.force)?;
        output::refuse_existing(trace, args.force)?;
    }
    output::remark("trying settings ...");
    let workload: Workload = given.workload(&log, ROOM)?;
    let advice = advise(&log, &workload, args.slo_wait)?;
    let shown = printable(&args.log.display().to_string());
    if args.json {
        let preset = given.preset.map(Preset::name);
        output::answer_json(&Answer { log: shown.clone(), read_as: &log.read_as, preset, advice: &advice })?;
    } else {
        output::answer(&page(&shown, &log, &given, &advice, args.write.is_some()))?;
    }
    let Some((path, trace)) = paths else { return Ok(()) };
    let file_name = trace.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    output::write_file(&trace, trace_of(args, &log, &name)?.as_bytes(), args.force)?;
    output::write_file(path, given.file(&advice, &shown, &file_name).as_bytes(), args.force)?;
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

fn read(args: &AdviseArgs) -> Result<Log, Failure> {
    let only = args.endpoint.as_deref();
    let log = if args.log.extension().is_some_and(|extension| extension == "jsonl") {
        let recording = recording(&args.log)?;
        Log::of_recording(&recording, only)
    } else {
        Log::read(&args.log, only).map_err(Failure::input)?
    };
    if log.disordered > 0 {
        output::note(&format!("note: {} line(s) were not in order of time; they are now", count(log.disordered)));
    }
    if only.is_none() && log.endpoints.len() > 1 {
        let some: Vec<&str> = log.endpoints.iter().take(8).map(String::as_str).collect();
        let more = if log.endpoints.len() > 8 { ", ..." } else { "" };
        let number = log.endpoints.len();
        output::note(&format!(
            "note: {number} endpoints are taken as one ({}{more}); --endpoint NAME takes one of them",
            some.join(", ")
        ));
    }
    Ok(log)
}

fn recording(path: &Path) -> Result<Recording, Failure> {
    let (header, reader) = transcripts::open(path)?;
    let mut recording = Recording::default();
    recording.begin(&header);
    for entry in reader {
        recording.entry(&entry.map_err(|error| Failure::in_file(path, &error))?);
    }
    recording.finish();
    Ok(recording)
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
        None if !log.services.is_empty() => Ok(Service::Logged),
        None => {
            let tokens = !log.output_tokens.is_empty();
            let fix =
                if tokens { "--preset llama3-8b-vllm makes times of its tokens" } else { "such as --service-s 4" };
            let text = "the log does not tell how long a job takes: give --service-s SECONDS or --preset NAME";
            Err(Failure::input(format!("{}: {text}; {fix}", args.log.display())))
        }
    }
}

/// The requests as a trace with one endpoint; what a trace knew of their work is kept.
fn trace_of(args: &AdviseArgs, log: &Log, name: &str) -> Result<String, Failure> {
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    if log.read_as != "a trace" {
        let mut text = "arrival_s,endpoint\n".to_owned();
        for time in &log.times {
            let _ = writeln!(text, "{time:.6},{quoted}");
        }
        return Ok(text);
    }
    let mut reader = TraceReader::open(&args.log).map_err(Failure::input)?;
    let mut row = TraceRow::default();
    let mut text = "arrival_s,endpoint,service_s,input_tokens,output_tokens\n".to_owned();
    let mut first = None;
    while reader.read(&mut row).map_err(Failure::input)? {
        if args.endpoint.as_ref().is_some_and(|only| *only != row.endpoint) {
            continue;
        }
        let at = row.arrival_s - *first.get_or_insert(row.arrival_s);
        let cell = |value: Option<String>| value.unwrap_or_default();
        let service = cell(row.service_s.map(|value| value.to_string()));
        let (input, made) =
            (cell(row.input_tokens.map(|n| n.to_string())), cell(row.output_tokens.map(|n| n.to_string())));
        let _ = writeln!(text, "{at:.6},{quoted},{service},{input},{made}");
    }
    Ok(text)
}

fn page(shown: &str, log: &Log, given: &Given<'_>, advice: &Advice, writes: bool) -> String {
    let what = given.preset.map_or_else(String::new, |preset| format!(", preset {}", preset.name()));
    let class = given.gpu_class.map_or_else(String::new, |class| format!(" on {class}"));
    let rate = advice.requests as f64 / advice.span_s.max(1.0);
    let mut text = format!(
        "{shown}: {} requests in {} ({}{what}{class}); {} a minute, a job takes {}, the quickest start {}\n\n",
        count(advice.requests),
        seconds(advice.span_s),
        log.read_as,
        crate::report::format::mean(rate * 60.0),
        seconds(advice.service_s),
        seconds(advice.start_s)
    );
    text += &table(advice);
    text += &verdict(advice);
    text += &always_on(advice);
    text += &twice(advice);
    let ranges = &advice.recommended.ranges;
    let blocks =
        if ranges.days { format!("the {} days", ranges.blocks) } else { format!("{} equal parts", ranges.blocks) };
    let _ = writeln!(
        text,
        "\n(low - high): 95 % interval, from how {blocks} of the log differ; {} settings tried.",
        advice.tried
    );
    if !writes {
        text.push_str("Add --write app.yaml for an application file that can be rehearsed and served.\n");
    }
    text
}

fn table(advice: &Advice) -> String {
    let (best, platform) = (&advice.recommended, &advice.platform);
    let mut table = Table::new();
    table.load_style(style::NOTHING).set_header(["", "recommended", "platform default"]);
    let mut row = |what: &str, of: &dyn Fn(&Forecast) -> String| {
        table.add_row([what.to_owned(), of(best), of(platform)]);
    };
    row("scaler", &|one| scaler(&one.settings));
    row("idle timeout", &|one| one.settings.idle_timeout_s.map_or("the scaler's own".to_owned(), seconds));
    row("active workers", &|one| one.settings.active.to_string());
    row("max workers", &|one| one.settings.max.to_string());
    row("a month, documented", &|one| ranged(one.month_documented_usd, &one.ranges.month_documented_usd, money));
    row("a month, seed", &|one| ranged(one.month_seed_usd, &one.ranges.month_seed_usd, money));
    row("wait p50", &|one| seconds(one.figures.wait_p50_s));
    row("wait p95", &|one| ranged(one.figures.wait_p95_s, &one.ranges.wait_p95_s, seconds));
    row("wait p99", &|one| seconds(one.figures.wait_p99_s));
    row("waited for a start", &|one| ranged(one.figures.cold_share, &one.ranges.cold_share, share));
    if best.figures.lost + platform.figures.lost > 0 {
        row("jobs without a result", &|one| count(one.figures.lost));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{}\n\n", table.trim_fmt())
}

fn scaler(settings: &Settings) -> String {
    match settings.scaler {
        "queue_delay" => format!("queue delay {}", seconds(settings.value)),
        _ => format!("request count {}", settings.value),
    }
}

fn ranged(value: f64, interval: &Interval, shown: fn(f64) -> String) -> String {
    match (interval.low, interval.high) {
        (Some(low), Some(high)) => format!("{} ({} - {})", shown(value), shown(low), shown(high)),
        _ => shown(value),
    }
}

fn verdict(advice: &Advice) -> String {
    let (best, platform) = (&advice.recommended, &advice.platform);
    let asked = if advice.slo_given { "the wait asked for" } else { "what the platform's defaults reach" };
    if advice.slo_missed {
        return format!(
            "No settings tried keep a p95 of {} ({asked}); these wait least. A start takes {}: only workers that are up\n\
             before the request can do better (more always-on workers, a longer idle timeout).\n",
            seconds(advice.slo_wait_s),
            seconds(advice.start_s)
        );
    }
    let saved = platform.month_documented_usd - best.month_documented_usd;
    let relation = match saved / platform.month_documented_usd.max(1e-12) {
        part if part > 0.005 => format!("{} a month ({}) less than the platform's defaults", money(saved), share(part)),
        part if part < -0.005 => format!("{} a month more than the platform's defaults, which miss it", money(-saved)),
        _ => "as much as the platform's defaults".to_owned(),
    };
    format!("Cheapest found that keeps a p95 wait of {} ({asked}): {relation}.\n", seconds(advice.slo_wait_s))
}

fn always_on(advice: &Advice) -> String {
    let line = &advice.crossover;
    let pays = match line.best_active {
        0 => "so none pays by its price alone".to_owned(),
        1 => "so one pays".to_owned(),
        n => format!("and {n} of them pay"),
    };
    format!(
        "An always-on worker pays if it is needed for more than {} of the time (active over flex price). The first worker is\n\
         needed for {} here, its cheapest idle times and starts included, {pays}.\n",
        share(line.break_even),
        share(line.first_worker.min(1.0)),
    )
}

fn twice(advice: &Advice) -> String {
    let line = &advice.crossover;
    let figures = &advice.doubled;
    let change = match (line.best_active, line.best_active_doubled) {
        (before, after) if after > before => format!("; {after} always-on worker(s) would then pay"),
        _ => String::new(),
    };
    let factor = advice.doubled_month_documented_usd / advice.recommended.month_documented_usd.max(1e-12);
    format!(
        "If traffic doubles, the same settings cost {} a month ({factor:.2} times) and wait {} at the p95; the first worker is\n\
         then needed for {} of the time{change}.\n",
        money(advice.doubled_month_documented_usd),
        seconds(figures.wait_p95_s),
        share(line.first_worker_doubled.min(1.0)),
    )
}
