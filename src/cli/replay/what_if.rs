//! `replay --policy | --set`: the recorded day under other settings, beside the same day as it was.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::ReplayArgs;
use crate::cli::{Failure, output, transcripts};
use crate::experiment::{RunOptions, run_with};
use crate::lab::candidate::Candidate;
use crate::lab::replay::application::{application, trace};
use crate::lab::replay::{Decision, Decisions, Difference, Recording, differences};
use crate::ledger::{Ledger, Profile, Rounding};
use crate::metrics::Metrics;
use crate::report::format::{count, maybe_seconds, maybe_share, money, seconds};
use crate::report::text::wrapped;
use crate::results::Summary;
use crate::scenario::{self, Scenario};
use crate::scheduler::Recorder;
use crate::scheduler::follow::Follower;
use crate::scheduler::transcript_json::Record;
use crate::scheduler::watch::Window;
use crate::units::{Span, Time};

/// Decisions of the same kind within this are the same decision: recorded lengths are kept to the microsecond.
const ALIKE: Span = Span::from_millis(1);

/// A simulated recording that is further from the recorded one than this says so.
const OFF: f64 = 0.1;
/// Waits that differ by less than this are alike.
const ALIKE_S: f64 = 0.05;

/// One column of the answer.
#[derive(Clone, Debug, Serialize)]
struct Column {
    cost_documented_usd: f64,
    cost_seed_usd: f64,
    completed: u64,
    wait_p50_s: Option<f64>,
    wait_p95_s: Option<f64>,
    wait_p99_s: Option<f64>,
    cold_start_share: Option<f64>,
    starts: u64,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    recording: &'a str,
    length_s: f64,
    endpoints: Vec<&'a str>,
    notes: &'a [String],
    /// What the recording itself adds up to; none if it begins in the middle of things.
    recorded: Option<Column>,
    /// The recorded settings, simulated.
    as_was: Column,
    /// The changed settings, simulated.
    what_if: Column,
    /// Figures of the simulated recording that are more than 10 % from the recorded ones: no trust in the last column.
    off: Vec<String>,
    /// Decisions of only one of the two simulated runs.
    differences: &'a [Difference],
}

pub fn run(args: &ReplayArgs, files: &[PathBuf]) -> Result<(), Failure> {
    let (recording, recorded) = take_up(files)?;
    if recording.endpoints.iter().all(|endpoint| endpoint.jobs.is_empty()) {
        return Err(Failure::input(format!("{}: no request is recorded there", args.source.display())));
    }
    let candidate = args.policy.as_deref().map_or_else(|| Ok(Candidate::as_written()), Candidate::find)?;
    let scratch = Scratch::new(&trace(&recording))?;
    let text = application(&recording, &scratch.0.display().to_string()).to_string();
    let load = |overlays: &[_], overrides: &[String]| {
        scenario::from_str_with(&text, "the recording", Path::new(""), overlays, overrides)
    };
    let as_was = load(&[], &[])?;
    let changed = load(&candidate.overlays, &args.overrides)?;
    let (was, was_decided) = simulate(&as_was)?;
    let (is, is_decided) = simulate(&changed)?;
    let found = differences(&was_decided, &is_decided, ALIKE);
    let names: Vec<&str> = as_was.plan.endpoints.iter().map(|endpoint| endpoint.spec.name.as_str()).collect();
    let as_was_column = of_summary(&was);
    let answer = Answer {
        off: recorded.as_ref().map_or_else(Vec::new, |recorded| off(recorded, &as_was_column)),
        recording: &recording.name,
        length_s: recording.length().as_secs(),
        endpoints: names,
        notes: &recording.notes,
        recorded,
        as_was: as_was_column,
        what_if: of_summary(&is),
        differences: &found,
    };
    if args.json {
        return output::answer_json(&answer);
    }
    let known = unknown(&recording);
    if answer.off.is_empty() {
        recording.notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    output::answer(&page(&answer, &known, &changes(args), args.show))
}

/// Reads the files, one after the other; the books of the recording if it begins at the beginning.
fn take_up(files: &[PathBuf]) -> Result<(Recording, Option<Column>), Failure> {
    let mut recording = Recording::default();
    let mut books = None;
    let mut next = None;
    for path in files {
        let wrong = |error: &dyn std::fmt::Display| Failure::in_file(path, error);
        let (header, mut reader) = transcripts::open(path)?;
        if next.is_some_and(|next| next != header.first_seq) {
            let text = "records are missing between this transcript and the one before it; give one of them";
            return Err(wrong(&text));
        }
        recording.begin(&header);
        let books = books.get_or_insert_with(|| {
            let ledger = Ledger::new(&header.scheduler.gpu_classes, Rounding::UpToSeconds, Window::ALL);
            Follower::new((ledger, Metrics::new(Vec::new(), Window::ALL)))
        });
        let mut seq = header.first_seq;
        let whole = !recording.from_the_middle;
        for entry in reader.by_ref() {
            let entry = entry.map_err(|error| wrong(&error))?;
            recording.entry(&entry);
            seq = entry.seq + 1;
            let at = Time(entry.at_us);
            match &entry.record {
                _ if !whole => {}
                Record::Event(event) => books.event(at, event),
                Record::Command(command) => books.command(at, command),
            }
        }
        next = Some(seq);
        if reader.torn() {
            recording
                .notes
                .push(format!("the last line of {} is cut off: what came after it is missing", path.display()));
        }
    }
    recording.finish();
    let end = recording.span.map_or(Time::ZERO, |(_, end)| end);
    let column = books.filter(|_| !recording.from_the_middle).map(|books| {
        let (ledger, metrics) = books.finish(end);
        of_books(&ledger, &metrics)
    });
    Ok((recording, column))
}

/// Figures of `was` that are far from the recorded ones.
fn off(recorded: &Column, was: &Column) -> Vec<String> {
    let far = |name: &str, before: f64, now: f64, alike: f64, shown: fn(f64) -> String| {
        let is = (now - before).abs() > (OFF * before).max(alike);
        is.then(|| format!("{name} {} instead of {}", shown(now), shown(before)))
    };
    let bill = |name: &str, of: fn(&Column) -> f64| far(name, of(recorded), of(was), 0.0, money);
    let wait = |name: &str, of: fn(&Column) -> Option<f64>| {
        far(name, of(recorded).unwrap_or(0.0), of(was).unwrap_or(0.0), ALIKE_S, seconds)
    };
    let figures = [
        bill("bill, documented", |column| column.cost_documented_usd),
        bill("bill, seed", |column| column.cost_seed_usd),
        wait("wait p50", |column| column.wait_p50_s),
        wait("wait p95", |column| column.wait_p95_s),
        wait("wait p99", |column| column.wait_p99_s),
    ];
    figures.into_iter().flatten().collect()
}

/// What a recording has that the same day simulated does not.
fn unknown(recording: &Recording) -> Vec<String> {
    let mut unknown = recording.notes.clone();
    let busy = recording.endpoints.iter().filter(|endpoint| !endpoint.jobs.is_empty()).count();
    if busy > 1 {
        unknown.push(format!("{busy} endpoints share the hosts: who was in whose way there is met again only in part"));
    }
    if recording.left > 0 {
        let text = "worker(s) left, or were up at the end, without having been told to stop: simulated, they are billed up to the end of \
                    their idle time";
        unknown.push(format!("{} {text}", recording.left));
    }
    unknown
}

fn of_books(ledger: &Ledger, metrics: &Metrics) -> Column {
    let (total, cost) = (metrics.total(), ledger.total());
    let wait = |q| total.lengths.wait.quantile(q).map(Span::as_secs);
    Column {
        cost_documented_usd: cost.total(Profile::Documented).total().as_usd(),
        cost_seed_usd: cost.total(Profile::Seed).total().as_usd(),
        completed: total.jobs.of(crate::scheduler::JobOutcome::Completed),
        wait_p50_s: wait(0.5),
        wait_p95_s: wait(0.95),
        wait_p99_s: wait(0.99),
        cold_start_share: total.cold_share(),
        starts: total.workers.starts,
    }
}

fn of_summary(summary: &Summary) -> Column {
    let total = &summary.total;
    Column {
        cost_documented_usd: total.cost_usd.documented.total,
        cost_seed_usd: total.cost_usd.seed.total,
        completed: total.jobs.completed,
        wait_p50_s: total.wait_s.p50,
        wait_p95_s: total.wait_s.p95,
        wait_p99_s: total.wait_s.p99,
        cold_start_share: total.cold_start_share,
        starts: total.starts.asked,
    }
}

fn simulate(scenario: &Scenario) -> Result<(Summary, Vec<Decision>), Failure> {
    let mut decisions = Decisions::default();
    let options = RunOptions { name: scenario.settings.name.clone(), ..RunOptions::default() };
    let (outcome, ()) = run_with(&scenario.plan, &options, (), &mut decisions, &mut |_| {})?;
    Ok((outcome.summary, decisions.made))
}

fn changes(args: &ReplayArgs) -> String {
    let policy = args.policy.iter().map(|policy| format!("policy {policy}"));
    policy.chain(args.overrides.iter().cloned()).collect::<Vec<_>>().join(", ")
}

fn page(answer: &Answer<'_>, unknown: &[String], changes: &str, show: usize) -> String {
    let mut text = format!("{}, {}; what if: {changes}\n\n", answer.recording, seconds(answer.length_s));
    text += &table(answer);
    if answer.recorded.is_some() {
        text += "\nas was: the recorded settings simulated; how far it is from the recording is how far to trust the last\ncolumn\n";
    }
    if !answer.off.is_empty() {
        let width = usize::from(output::width());
        let percent = OFF * 100.0;
        text += &format!("\nWarning: as was is more than {percent:.0} % off, so do not trust the last column:\n");
        answer.off.iter().for_each(|figure| text += &wrapped(figure, width));
        text += match unknown.is_empty() {
            true => "What the recording has that makes the difference is not known.\n",
            false => "The recording has what the simulated day does not know:\n",
        };
        unknown.iter().for_each(|note| text += &wrapped(note, width));
    }
    let found = answer.differences;
    if found.is_empty() {
        return text + "\nEvery worker is started and stopped at the same moments.\n";
    }
    text += &format!("\n{} starts and stops differ", count(found.len() as u64));
    text += &if found.len() > show { format!("; the first {show}:\n\n") } else { ":\n\n".to_owned() };
    text + &decisions(answer, show)
}

fn table(answer: &Answer<'_>) -> String {
    let columns: Vec<&Column> = answer.recorded.iter().chain([&answer.as_was, &answer.what_if]).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let heads = if answer.recorded.is_some() {
        &["", "recorded", "as was", "what if", "change"][..]
    } else {
        &["", "as was", "what if", "change"]
    };
    table.set_header(heads);
    let mut row = |what: &str, value: fn(&Column) -> String, figure: Option<fn(&Column) -> f64>| {
        let mut cells = vec![what.to_owned()];
        cells.extend(columns.iter().map(|column| value(column)));
        let change = figure.map(|figure| change(figure(&answer.as_was), figure(&answer.what_if)));
        cells.push(change.unwrap_or_default());
        table.add_row(cells);
    };
    row("bill, documented", |c| money(c.cost_documented_usd), Some(|c| c.cost_documented_usd));
    row("bill, seed", |c| money(c.cost_seed_usd), Some(|c| c.cost_seed_usd));
    row("jobs completed", |c| count(c.completed), None);
    row("wait p50", |c| maybe_seconds(c.wait_p50_s), None);
    row("wait p95", |c| maybe_seconds(c.wait_p95_s), Some(|c| c.wait_p95_s.unwrap_or(0.0)));
    row("wait p99", |c| maybe_seconds(c.wait_p99_s), Some(|c| c.wait_p99_s.unwrap_or(0.0)));
    row("jobs that waited for a start", |c| maybe_share(c.cold_start_share), None);
    row("starts", |c| count(c.starts), Some(|c| c.starts as f64));
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{}\n", table.trim_fmt())
}

fn change(from: f64, to: f64) -> String {
    if from == to {
        return "same".to_owned();
    }
    if from <= 0.0 {
        return "from nothing".to_owned();
    }
    format!("{:+.1} %", (to / from - 1.0) * 100.0)
}

fn decisions(answer: &Answer<'_>, show: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["time", "endpoint", "as was", "what if"]);
    let told = |decision: &Option<Decision>| match decision {
        None => "-".to_owned(),
        Some(one) => {
            let reason = if one.reason.is_empty() { String::new() } else { format!(" ({})", one.reason) };
            let verb = if one.start { "starts" } else { "stops" };
            format!("{verb} a worker, then {} up{reason}", one.workers)
        }
    };
    for one in answer.differences.iter().take(show) {
        let Some(decision) = one.first.as_ref().or(one.second.as_ref()) else { continue };
        let name = answer.endpoints.get(decision.endpoint as usize).copied().unwrap_or("?");
        table.add_row([format!("{:.1} s", decision.at_s), name.to_owned(), told(&one.first), told(&one.second)]);
    }
    format!("{}\n", table.trim_fmt())
}

/// The trace in a file of its own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Result<Scratch, Failure> {
        let path = std::env::temp_dir().join(format!("thermocline-replay-{}.csv", std::process::id()));
        std::fs::write(&path, text).map_err(|error| output::cannot_write(&path, &error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from the folder for temporary files is the system's to clear.
        let _ = std::fs::remove_file(&self.0);
    }
}
