//! Figures of a live system: the same folds as in simulation (ledger and metrics), read while they run, in the text format of
//! Prometheus; and what only real mode sees (pulls under way, exits, results that came too late).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Core;
use super::api::BillView;
use super::views::snake;
use crate::ledger::{Ledger, Profile, Rounding};
use crate::metrics::{EndpointMetrics, Histogram, Metrics};
use crate::policy::WorkerKind;
use crate::scheduler::follow::Follower;
use crate::scheduler::watch::Window;
use crate::scheduler::{Command, Event, ExitCause, GpuClass, JobOutcome, PublicState, Recorder, Scheduler, StartStage};
use crate::units::{EndpointId, HostId, ImageId, Time};

/// The quantiles that are shown of every length.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// A pull under way or over.
#[derive(Clone, Debug, Default)]
struct Pull {
    done: u64,
    total: u64,
    failed: Option<String>,
    took_ms: Option<u64>,
}

/// The folds. What a restart would not know any more is not part of a snapshot: pulls are asked for again.
#[derive(Serialize, Deserialize)]
pub(super) struct Live {
    books: Follower<(Ledger, Metrics)>,
    #[serde(skip)]
    pulls: BTreeMap<(HostId, ImageId), Pull>,
    #[serde(skip)]
    exits: BTreeMap<(EndpointId, &'static str), u64>,
    ignored_results: u64,
    store_recoveries: u64,
}

impl Live {
    /// Nothing counted yet.
    pub fn new(classes: &[GpuClass]) -> Live {
        let ledger = Ledger::new(classes, Rounding::UpToSeconds, Window::ALL);
        let metrics = Metrics::new(Vec::new(), Window::ALL);
        Live {
            books: Follower::new((ledger, metrics)),
            pulls: BTreeMap::new(),
            exits: BTreeMap::new(),
            ignored_results: 0,
            store_recoveries: 0,
        }
    }

    pub fn event(&mut self, now: Time, event: &Event) {
        self.books.event(now, event);
    }

    pub fn command(&mut self, now: Time, command: &Command) {
        self.books.command(now, command);
    }

    pub fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        self.books.settled(now, scheduler);
    }

    pub fn pull_began(&mut self, host: HostId, image: ImageId, _now: Time) {
        self.pulls.insert((host, image), Pull::default());
    }

    pub fn pull_progress(&mut self, host: HostId, image: ImageId, done: u64, total: u64) {
        let pull = self.pulls.entry((host, image)).or_default();
        (pull.done, pull.total) = (done, total);
    }

    pub fn pulled(&mut self, host: HostId, image: ImageId, took_ms: u64) {
        self.pulls.insert((host, image), Pull { took_ms: Some(took_ms), ..Pull::default() });
    }

    pub fn pull_failed(&mut self, host: HostId, image: ImageId, detail: String) {
        self.pulls.insert((host, image), Pull { failed: Some(detail), ..Pull::default() });
    }

    pub fn exited(&mut self, endpoint: EndpointId, cause: ExitCause) {
        let cause = match cause {
            ExitCause::StartFailed => "start_failed",
            ExitCause::Crashed => "crashed",
            ExitCause::Unfit => "unfit",
            ExitCause::Left => "left",
            ExitCause::Silent => "silent",
        };
        *self.exits.entry((endpoint, cause)).or_default() += 1;
    }

    pub fn ignored_result(&mut self) {
        self.ignored_results += 1;
    }

    pub fn store_recovered(&mut self) {
        self.store_recoveries += 1;
    }

    /// The books as if everything ended now; the running ones go on.
    fn closed(&self, now: Time) -> (Ledger, Metrics) {
        self.books.clone().finish(now)
    }

    /// Spend of an endpoint until now.
    pub fn bill(&self, number: EndpointId, endpoint: String, now: Time) -> BillView {
        let account = self.closed(now).0.endpoint(number);
        let billed_s = WorkerKind::ALL.map(|kind| {
            let micros = account.bill(Profile::Documented, kind).billed_micros();
            (kind.as_str().to_owned(), micros as f64 / 1e6)
        });
        BillView {
            endpoint,
            seed_usd: account.total(Profile::Seed).total().as_usd(),
            documented_usd: account.total(Profile::Documented).total().as_usd(),
            billed_s: billed_s.to_vec(),
        }
    }
}

/// Text in the exposition format: families in order, each with its help once.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics: the ending of a counter's values is no part of its family's name.
        let family = name.strip_suffix("_total").unwrap_or(name);
        let _ = writeln!(self.0, "# HELP thermocline_{family} {help}\n# TYPE thermocline_{family} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.0, "thermocline_{name}");
        if !labels.is_empty() {
            // Label values are ids and words of ours: nothing in them needs escaping.
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn summary(&mut self, name: &str, labels: &[(&str, &str)], lengths: &Histogram) {
        for q in QUANTILES {
            if let Some(span) = lengths.quantile(q) {
                let text = q.to_string();
                let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("quantile", text.as_str())]).collect();
                self.value(name, &labels, span.as_secs());
            }
        }
        self.value(&format!("{name}_sum"), labels, lengths.sum() as f64 / 1e6);
        self.value(&format!("{name}_count"), labels, lengths.count() as f64);
    }
}

impl Core {
    /// Everything for Prometheus, in one text.
    pub(super) fn metrics_text(&self) -> String {
        let (ledger, metrics) = self.live.closed(self.now);
        let endpoints: Vec<(EndpointId, String)> =
            self.definitions.alive().map(|definition| (definition.number, definition.config.id.clone())).collect();
        let figures: Vec<(&str, Option<&EndpointMetrics>)> =
            endpoints.iter().map(|(number, id)| (id.as_str(), metrics.endpoint(*number))).collect();
        let mut text = Text::default();
        self.job_metrics(&mut text, &endpoints);
        lengths(&mut text, &figures);
        self.worker_metrics(&mut text, &endpoints);
        text.family("spend_usd_total", "counter", "Spend by billing profile in US dollars.");
        for (number, id) in &endpoints {
            let account = ledger.endpoint(*number);
            for (profile, name) in [(Profile::Seed, "seed"), (Profile::Documented, "documented")] {
                let usd = account.total(profile).total().as_usd();
                text.value("spend_usd_total", &[("endpoint", id), ("profile", name)], usd);
            }
        }
        text.family("late_results_total", "counter", "Results that came after their job's outcome and were ignored.");
        text.value("late_results_total", &[], self.live.ignored_results as f64);
        text.family("store_recoveries_total", "counter", "Times the store took writes again after refusing them.");
        text.value("store_recoveries_total", &[], self.live.store_recoveries as f64);
        self.pull_metrics(&mut text);
        text.0
    }

    fn job_metrics(&self, text: &mut Text, endpoints: &[(EndpointId, String)]) {
        text.family("jobs_total", "counter", "Jobs by outcome.");
        for (number, id) in endpoints {
            let counters = self.tables.counters(*number);
            let by_outcome = [
                (JobOutcome::Completed, counters.completed),
                (JobOutcome::Failed, counters.failed),
                (JobOutcome::TimedOut, counters.timed_out),
                (JobOutcome::Cancelled, counters.cancelled),
            ];
            for (outcome, count) in by_outcome {
                let outcome = snake(&outcome).to_lowercase();
                text.value("jobs_total", &[("endpoint", id), ("outcome", &outcome)], count as f64);
            }
        }
        for (name, help) in [
            ("jobs_accepted_total", "Jobs accepted."),
            ("jobs_rejected_total", "Jobs refused."),
            ("jobs_retried_total", "Attempts that ended without an outcome."),
        ] {
            text.family(name, "counter", help);
            for (number, id) in endpoints {
                let counters = self.tables.counters(*number);
                let count = match name {
                    "jobs_accepted_total" => counters.accepted,
                    "jobs_rejected_total" => counters.rejected,
                    _ => counters.retried,
                };
                text.value(name, &[("endpoint", id)], count as f64);
            }
        }
        text.family("jobs_open", "gauge", "Jobs without an outcome by state.");
        for (number, id) in endpoints {
            let counts = self.scheduler.job_counts(*number).unwrap_or_default();
            text.value("jobs_open", &[("endpoint", id), ("state", "in_queue")], f64::from(counts.in_queue));
            text.value("jobs_open", &[("endpoint", id), ("state", "in_progress")], f64::from(counts.in_progress));
        }
    }

    fn worker_metrics(&self, text: &mut Text, endpoints: &[(EndpointId, String)]) {
        text.family("workers", "gauge", "Workers by public state.");
        for (number, id) in endpoints {
            let workers = self.scheduler.workers_of(*number);
            for state in PublicState::ALL {
                let count = workers.iter().filter(|worker| worker.state == state).count();
                let state = snake(&state);
                text.value("workers", &[("endpoint", id), ("state", &state)], count as f64);
            }
        }
        text.family("worker_exits_total", "counter", "Processes of workers that ended without being asked to.");
        for ((number, cause), count) in &self.live.exits {
            if let Some((_, id)) = endpoints.iter().find(|(other, _)| other == number) {
                text.value("worker_exits_total", &[("endpoint", id), ("cause", cause)], *count as f64);
            }
        }
    }

    fn pull_metrics(&self, text: &mut Text) {
        text.family("image_pull_bytes", "gauge", "Bytes of image pulls under way.");
        for ((host, image), pull) in &self.live.pulls {
            if pull.took_ms.is_some() || pull.failed.is_some() {
                continue;
            }
            let host = self.config.hosts.get(host.index()).map(|host| host.spec.name.clone()).unwrap_or_default();
            let image = self.definitions.image_reference(*image).replace(['"', '\\', '\n'], "_");
            let labels = |kind| [("host", host.as_str()), ("image", image.as_str()), ("kind", kind)];
            text.value("image_pull_bytes", &labels("done"), pull.done as f64);
            text.value("image_pull_bytes", &labels("total"), pull.total as f64);
        }
    }
}

fn lengths(text: &mut Text, figures: &[(&str, Option<&EndpointMetrics>)]) {
    type Lengths = fn(&EndpointMetrics) -> &Histogram;
    let families: [(&str, &str, Lengths); 4] = [
        ("job_delay_seconds", "Time from submission to the first hand-over.", |of| &of.lengths.wait),
        ("job_execution_seconds", "Time of the last attempt.", |of| &of.lengths.service),
        ("job_response_seconds", "Time from submission to the outcome.", |of| &of.lengths.response),
        ("cold_start_seconds", "Time from the start of a worker to its readiness.", |of| &of.lengths.cold_start),
    ];
    for (name, help, of) in families {
        text.family(name, "summary", help);
        for (id, figures) in figures {
            if let Some(figures) = figures {
                text.summary(name, &[("endpoint", id)], of(figures));
            }
        }
    }
    text.family("cold_start_stage_seconds", "summary", "Time of each stage of a cold start.");
    for (id, figures) in figures {
        let Some(figures) = figures else { continue };
        for (stage, lengths) in StartStage::ALL.iter().zip(&figures.lengths.stages) {
            if lengths.count() > 0 {
                let stage = snake(stage);
                text.summary("cold_start_stage_seconds", &[("endpoint", id), ("stage", &stage)], lengths);
            }
        }
    }
}
