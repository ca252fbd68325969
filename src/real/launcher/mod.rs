//! Launchers: how the scheduler's wishes about images and workers are carried out.
//!
//! A launcher is told what to do and reports what came of it, later, through a [`Reporter`]; no call waits for the outcome.
//! It decides nothing: which worker runs where and when is the scheduler's. Reports may come late or twice; they carry the
//! worker's name, which stands for one launch only.

pub mod docker;
pub mod external;
pub mod gpus;
pub mod logs;
pub mod process;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::config::RunConfig;
use crate::scheduler::{ExitCause, StartStage, StopMode};
use crate::units::{HostId, ImageId};

/// Everything a launcher needs to start one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchSpec {
    /// Name of the launch (`RUNPOD_POD_ID`), see [`worker_name`](super::ids::worker_name).
    pub name: String,
    /// Endpoint id as in URLs.
    pub endpoint: String,
    /// Where.
    pub host: HostId,
    /// Release.
    pub version: u32,
    /// Image reference; its digest too where it was pinned (`name@sha256:…`).
    pub image: String,
    /// Number of GPUs (or places on a host without GPUs).
    pub gpus: u32,
    /// How it is run.
    pub run: RunConfig,
    /// Environment of the worker protocol (`RUNPOD_*`), exact, never through a shell.
    pub env: Vec<(String, String)>,
    /// The name of the earlier launch whose frozen state is to be thawed; a full start if that is gone.
    pub resume: Option<String>,
}

/// Every port of a worker that the gateway may reach: those asked for in their order, then that of its OpenAI API.
pub fn ports_of(run: &RunConfig) -> Vec<u16> {
    let mut ports = run.ports.clone();
    ports.extend(run.openai_port);
    let mut seen = Vec::new();
    ports.retain(|port| {
        !seen.contains(port) && {
            seen.push(*port);
            true
        }
    });
    ports
}

/// An image reference without tag and digest. The port of a registry is not a tag: `host:5000/name`.
pub fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

/// What came of a wish, or what happened without one.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The image is there. `digest` is what the reference meant at that moment.
    Pulled {
        /// Where.
        host: HostId,
        /// Which.
        image: ImageId,
        /// Content digest, if the engine tells.
        digest: Option<String>,
        /// Time from the wish to the end.
        took_ms: u64,
    },
    /// A pull goes on: for people only.
    PullProgress {
        /// Where.
        host: HostId,
        /// Which.
        image: ImageId,
        /// Bytes so far and in all (0 = not known yet).
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// No image. The detail is for people.
    PullFailed {
        /// Where.
        host: HostId,
        /// Which.
        image: ImageId,
        /// Why.
        detail: String,
    },
    /// A stage of the start is over (created, started); the worker's own stages are seen by the gateway.
    StageEnded {
        /// Which launch.
        worker: String,
        /// Which stage.
        stage: StartStage,
    },
    /// The worker can be reached at this address (load balancing, OpenAI pass-through).
    Address {
        /// Which launch.
        worker: String,
        /// `host:port` per port asked for.
        ports: Vec<(u16, String)>,
    },
    /// The worker is gone although nobody asked. `Unfit` means exit code 1: what failed fitness checks give, and a crash if the
    /// worker had taken jobs before (which the core knows and the launcher does not).
    Exited {
        /// Which launch.
        worker: String,
        /// Why.
        cause: ExitCause,
        /// Exit code or signal and the last lines it said, for people.
        detail: String,
    },
    /// A stop that was asked for is complete.
    Stopped {
        /// Which launch.
        worker: String,
        /// Its state was kept and can be thawed.
        frozen: bool,
    },
    /// The engine cannot be reached any more (`false`) or again (`true`). Workers there are looked for on its return.
    HostReachable {
        /// Which host.
        host: HostId,
        /// From now on.
        reachable: bool,
        /// Why not.
        detail: String,
    },
    /// GPUs that work there, of those configured.
    HostGpus {
        /// Which host.
        host: HostId,
        /// How many.
        gpus: u32,
    },
}

/// Where reports go. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Report) + Send + Sync>);

impl Reporter {
    /// Calls `sink` for each report.
    pub fn new(sink: impl Fn(Report) + Send + Sync + 'static) -> Reporter {
        Reporter(Arc::new(sink))
    }

    /// Puts reports into a channel, for tests.
    pub fn channel(sender: Sender<Report>) -> Reporter {
        Reporter::new(move |report| drop(sender.send(report)))
    }

    /// Tells what happened.
    pub fn report(&self, report: Report) {
        (self.0)(report);
    }
}

/// A launch that the core believes to be alive when it starts, to be re-adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Where it ran.
    pub host: HostId,
    /// A stop had been asked for and was not complete.
    pub stopping: bool,
    /// Frozen.
    pub frozen: bool,
}

/// Carries out wishes on one or more hosts. Every method returns at once; outcomes are reported.
pub trait Launcher: Send + Sync {
    /// At start, before anything else: takes up the launches that still run (their later exit is reported as usual), reports `Exited`
    /// or `Stopped` for those that are gone, and removes whatever runs under our label that is not in `known`.
    fn adopt(&self, host: HostId, known: &[Known]);
    /// Fetches an image. Answer: `Pulled` or `PullFailed`.
    fn pull(&self, host: HostId, image: ImageId, reference: &str);
    /// Drops an image. No answer.
    fn evict(&self, host: HostId, image: ImageId, reference: &str);
    /// Starts (or thaws) a worker. Answer: `StageEnded`*, later perhaps `Exited`. Readiness is seen by the gateway.
    fn start(&self, spec: LaunchSpec);
    /// Stops a worker and everything it started. Answer: `Stopped`. A second call with `Kill` hastens the first.
    fn stop(&self, host: HostId, worker: &str, mode: StopMode);
    /// The last lines of a worker's output, kept after it is gone: at most `lines`, oldest first.
    fn logs(&self, worker: &str, lines: usize) -> Vec<LogLine>;
    /// The gateway goes down for a restart: forget, but leave the workers running.
    fn detach(&self);
}

/// A line of a worker's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Wall time in ms since 1970.
    pub unix_ms: u64,
    /// From the worker itself (`true`) or from the launcher about it.
    pub container: bool,
    /// The text, without its line break, control characters escaped.
    pub text: String,
}
