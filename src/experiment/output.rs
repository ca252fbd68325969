//! One run into a directory: `summary.json`, the tables `timeline`, `workers`, `placements`, `hosts` and `jobs`, and the transcript
//! if asked for.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::places::{HOST_COLUMNS, PLACEMENT_COLUMNS, PlaceRows};
use super::rows::{JOB_COLUMNS, JobRows, WORKER_COLUMNS, WorkerRows};
use super::run::{Outcome, RunError, RunOptions, run_with};
use crate::ledger::Timeline;
use crate::ledger::timeline::{BUCKETS_MAX, Bucket};
use crate::results::tables::{Kind, Table};
use crate::results::{Directory, Format, OutputError, Summary};
use crate::scheduler::PublicState;
use crate::scheduler::transcript_json::{Header, JsonTranscript, TRANSCRIPT_FORMAT};
use crate::scheduler::transcript_text::TextTranscript;
use crate::sim::Progress;
use crate::sim::plan::Plan;
use crate::units::{EndpointId, Time};

/// Columns of the table `timeline`. `asleep_mean` is the part of `idle_mean` that is asleep or frozen, which costs nothing.
pub const TIMELINE_COLUMNS: &[(&str, Kind)] = &[
    ("endpoint", Kind::Text),
    ("from_s", Kind::Number),
    ("to_s", Kind::Number),
    ("arrivals", Kind::Count),
    ("finished", Kind::Count),
    ("queue_mean", Kind::Number),
    ("initializing_mean", Kind::Number),
    ("idle_mean", Kind::Number),
    ("asleep_mean", Kind::Number),
    ("running_mean", Kind::Number),
    ("throttled_mean", Kind::Number),
    ("outdated_mean", Kind::Number),
    ("unhealthy_mean", Kind::Number),
    ("cost_seed_usd", Kind::Number),
    ("cost_documented_usd", Kind::Number),
    ("documented_start_usd", Kind::Number),
    ("documented_work_usd", Kind::Number),
    ("documented_warm_idle_usd", Kind::Number),
    ("documented_drain_usd", Kind::Number),
    ("documented_rounding_usd", Kind::Number),
];

/// Buckets of all endpoints together: bounds the timeline of a run with very many endpoints.
const BUCKETS_IN_ALL: usize = 1 << 18;

/// How a transcript is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranscriptForm {
    /// `transcript.txt`, for people.
    Text,
    /// `transcript.jsonl`, for machines and for replay.
    JsonLines,
}

/// What goes into the directory.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// Where.
    pub directory: PathBuf,
    /// How tables are written.
    pub format: Format,
    /// Overwrite results that are there.
    pub force: bool,
    /// Write the table `jobs`, by far the longest.
    pub jobs: bool,
    /// Write the transcript.
    pub transcript: Option<TranscriptForm>,
}

impl OutputOptions {
    /// Everything but the transcript, as Parquet.
    pub fn new(directory: &Path) -> OutputOptions {
        let directory = directory.to_owned();
        OutputOptions { directory, format: Format::Parquet, force: false, jobs: true, transcript: None }
    }
}

/// Runs `plan` and leaves its results in a directory; the outcome and the files written. `complete` is called with the
/// summary before it is written: the moment to set `wall_s`.
///
/// # Errors
/// As [`run`](super::run()), and if something cannot be written; then nothing is left of this run.
pub fn run_into(
    plan: &Plan,
    options: &RunOptions,
    output: &OutputOptions,
    progress: &mut dyn FnMut(&Progress),
    complete: impl FnOnce(&mut Summary),
) -> Result<(Outcome, Vec<PathBuf>), RunError> {
    let mut directory = Directory::create(&output.directory, output.format, output.force)?;
    let classes = &plan.scheduler.gpu_classes;
    let mut table = |name, columns| -> Result<Table<BufWriter<File>>, OutputError> {
        let (file, path) = directory.file(name)?;
        Table::new(file, path, output.format, columns)
    };
    let timeline_table = table("timeline", TIMELINE_COLUMNS)?;
    let workers = WorkerRows::new(table("workers", WORKER_COLUMNS)?, classes, options.rounding);
    let places = PlaceRows::new(table("placements", PLACEMENT_COLUMNS)?, table("hosts", HOST_COLUMNS)?, classes);
    let jobs = output.jobs.then(|| table("jobs", JOB_COLUMNS)).transpose()?.map(JobRows::new);
    let timeline = Timeline::new(classes, options.rounding, buckets_per_endpoint(plan.endpoints.len()));
    let (mut text, mut json) = transcripts(plan, options, output, &mut directory)?;
    let watchers = (timeline, ((workers, places), jobs));
    let mut recorders = (text.as_mut().map(|(text, _)| text), json.as_mut().map(|(json, _)| json));
    let (mut outcome, watchers) = run_with(plan, options, watchers, &mut recorders, progress)?;
    let (timeline, ((workers, places), jobs)) = watchers;
    write_timeline(timeline_table, &timeline, plan)?;
    workers.into_table().finish()?;
    places.into_tables().into_iter().try_for_each(|table| table.finish().map(|_| ()))?;
    jobs.map(|jobs| jobs.into_table().finish()).transpose()?;
    if let Some((text, path)) = text {
        text.finish().map_err(|error| OutputError::Io { path, error })?;
    }
    if let Some((json, path)) = json {
        json.finish().map_err(|error| OutputError::Io { path, error })?;
    }
    complete(&mut outcome.summary);
    let document = serde_json::to_string_pretty(&outcome.summary).expect("the summary is plain data with text keys");
    directory.document("summary.json", &format!("{document}\n"))?;
    Ok((outcome, directory.commit()?))
}

/// As many as fit, even, at least 64.
fn buckets_per_endpoint(endpoints: usize) -> usize {
    (BUCKETS_IN_ALL / endpoints.max(1)).clamp(64, BUCKETS_MAX) & !1
}

type Named<T> = Option<(T, String)>;
type Transcripts = (Named<TextTranscript<Writer>>, Named<JsonTranscript<Writer>>);
type Writer = BufWriter<File>;

fn transcripts(
    plan: &Plan,
    options: &RunOptions,
    output: &OutputOptions,
    directory: &mut Directory,
) -> Result<Transcripts, OutputError> {
    match output.transcript {
        None => Ok((None, None)),
        Some(TranscriptForm::Text) => {
            let (file, path) = directory.file("transcript.txt")?;
            Ok((Some((TextTranscript::new(file), path)), None))
        }
        Some(TranscriptForm::JsonLines) => {
            let (file, path) = directory.file("transcript.jsonl")?;
            let header = Header {
                thermocline_transcript: TRANSCRIPT_FORMAT,
                name: options.name.clone(),
                seed: Some(plan.seed),
                scheduler: plan.scheduler.clone(),
                snapshot: None,
                first_seq: 0,
            };
            Ok((None, Some((JsonTranscript::new(file, &header), path))))
        }
    }
}

fn write_timeline(mut table: Table<Writer>, timeline: &Timeline, plan: &Plan) -> Result<(), OutputError> {
    write_line(&mut table, "total", &timeline.total(), timeline);
    for (number, endpoint) in plan.endpoints.iter().enumerate() {
        write_line(&mut table, &endpoint.spec.name, timeline.endpoint(EndpointId(number as u32)), timeline);
    }
    table.finish().map(|_| ())
}

fn write_line(table: &mut Table<Writer>, name: &str, buckets: &[Bucket], timeline: &Timeline) {
    let width = timeline.width().0;
    for (place, bucket) in buckets.iter().enumerate() {
        let from = Time(place as u64 * width);
        let to = Time(from.0 + width).min(timeline.end()).max(from);
        let length = to.since(from).0;
        let mean = |integral: u64| if length == 0 { 0.0 } else { integral as f64 / length as f64 };
        let state = |state: PublicState| mean(bucket.states[state as usize]);
        table.row(&[
            name.into(),
            from.as_secs().into(),
            to.as_secs().into(),
            bucket.arrivals.into(),
            bucket.finished.into(),
            mean(bucket.queue).into(),
            state(PublicState::Initializing).into(),
            state(PublicState::Idle).into(),
            mean(bucket.asleep).into(),
            state(PublicState::Running).into(),
            state(PublicState::Throttled).into(),
            state(PublicState::Outdated).into(),
            state(PublicState::Unhealthy).into(),
            bucket.cost[0].as_usd().into(),
            bucket.cost[1].as_usd().into(),
            bucket.phases[0].as_usd().into(),
            bucket.phases[1].as_usd().into(),
            bucket.phases[2].as_usd().into(),
            bucket.phases[3].as_usd().into(),
            bucket.phases[4].as_usd().into(),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sim::Clean;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("thermocline-output-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn written(scratch: &Scratch, form: TranscriptForm) -> Outcome {
        let plan = Plan::clean(Clean { jobs: 500, ..Clean::default() });
        let options = OutputOptions {
            format: Format::Csv,
            transcript: Some(form),
            force: true,
            ..OutputOptions::new(&scratch.0)
        };
        let complete = |summary: &mut Summary| summary.wall_s = 1.5;
        run_into(&plan, &RunOptions::default(), &options, &mut |_| {}, complete).unwrap().0
    }

    /// Sum of a column of a CSV table.
    fn sum(scratch: &Scratch, table: &str, column: &str) -> f64 {
        let mut reader = csv::Reader::from_path(scratch.0.join(table)).unwrap();
        let place = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
        reader.records().map(|row| row.unwrap()[place].parse::<f64>().unwrap_or(0.0)).sum()
    }

    /// Sum over buckets of a mean of the timeline times their lengths.
    fn weighted(scratch: &Scratch, column: &str) -> f64 {
        let mut reader = csv::Reader::from_path(scratch.0.join("timeline.csv")).unwrap();
        let head = reader.headers().unwrap().clone();
        let place = |name: &str| head.iter().position(|other| other == name).unwrap();
        let (from, to, column) = (place("from_s"), place("to_s"), place(column));
        let rows = reader.records().map(|row| {
            let row = row.unwrap();
            let value = |place: usize| row[place].parse::<f64>().unwrap();
            value(column) * (value(to) - value(from))
        });
        rows.sum()
    }

    #[test]
    fn tables_agree_with_the_summary() {
        let scratch = Scratch::new("tables");
        let outcome = written(&scratch, TranscriptForm::Text);
        let total = &outcome.summary.total;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} {b}");
        close(sum(&scratch, "workers.csv", "cost_seed_usd"), total.cost_usd.seed.total);
        close(sum(&scratch, "workers.csv", "cost_documented_usd"), total.cost_usd.documented.total);
        close(sum(&scratch, "workers.csv", "busy_s"), total.state_seconds.running);
        close(sum(&scratch, "workers.csv", "jobs"), 500.0);
        close(sum(&scratch, "jobs.csv", "wait_s") / 500.0, total.wait_s.mean.unwrap());
        close(sum(&scratch, "jobs.csv", "waited_for_start") / 500.0, total.cold_start_share.unwrap());
        close(
            weighted(&scratch, "asleep_mean"),
            2.0 * (sum(&scratch, "workers.csv", "asleep_s") + sum(&scratch, "workers.csv", "frozen_s")),
        );
        let stays = sum(&scratch, "placements.csv", "to_s") - sum(&scratch, "placements.csv", "from_s");
        let lives = [
            "pulling_s",
            "asleep_s",
            "frozen_s",
            "throttled_s",
            "starting_s",
            "warm_idle_s",
            "busy_s",
            "draining_s",
            "stopping_s",
            "unhealthy_s",
        ];
        close(stays, lives.map(|column| sum(&scratch, "workers.csv", column)).into_iter().sum());
        let hosts = sum(&scratch, "hosts.csv", "to_s") - sum(&scratch, "hosts.csv", "from_s");
        close(hosts, outcome.summary.simulated_s);
        // The total and its only endpoint.
        close(sum(&scratch, "timeline.csv", "arrivals"), 1_000.0);
        close(sum(&scratch, "timeline.csv", "cost_documented_usd"), 2.0 * total.cost_usd.documented.total);
        assert_eq!(outcome.summary.wall_s, 1.5);
        let document = serde_json::to_string_pretty(&outcome.summary).unwrap();
        assert_eq!(fs::read_to_string(scratch.0.join("summary.json")).unwrap(), format!("{document}\n"));
    }

    #[test]
    fn the_transcript_is_written_in_the_form_asked_for() {
        let scratch = Scratch::new("transcript");
        let outcome = written(&scratch, TranscriptForm::Text);
        let records = outcome.summary.events + outcome.summary.commands;
        let lines = |name| fs::read_to_string(scratch.0.join(name)).unwrap().lines().count() as u64;
        assert_eq!(lines("transcript.txt"), records);
        written(&scratch, TranscriptForm::JsonLines);
        assert_eq!(lines("transcript.jsonl"), records + 1);
        assert!(!scratch.0.join("transcript.txt").exists(), "results of an earlier run do not stay");
    }

    #[test]
    fn buckets_are_bounded_for_any_number_of_endpoints() {
        assert_eq!(buckets_per_endpoint(1), 2_048);
        assert_eq!(buckets_per_endpoint(1_000), 262);
        assert_eq!(buckets_per_endpoint(1_000_000), 64);
    }
}
