//! A transcript of a few starts and jobs, measured; and that what comes out can be rehearsed.

use std::path::Path;

use super::fit::{Fit, Samples};
use super::*;
use crate::policy::PolicyChoice;
use crate::scheduler::transcript_json::{Entry, Header, Record, TRANSCRIPT_FORMAT};
use crate::scheduler::{
    Command, EndpointSpec, Event, GpuClass, GpuClassId, HostSpec, Image, JobPolicy, JobResult, Layer, SchedulerConfig,
    StartStage, StopMode,
};
use crate::units::{EndpointId, HostId, ImageId, JobId, UsdPerSecond, WorkerId};

fn header(first_seq: u64) -> Header {
    let usd = UsdPerSecond::from_usd;
    let layer = Layer { digest: "l".to_owned(), pull_bytes: 1_000_000_000, disk_bytes: 2_000_000_000 };
    let scheduler = SchedulerConfig {
        gpu_classes: vec![GpuClass { name: "LOCAL".to_owned(), flex: usd(0.001), active: usd(0.0007) }],
        images: vec![Image { name: "i".to_owned(), layers: vec![layer] }],
        eviction: PolicyChoice::named("lru"),
    };
    let name = "test".to_owned();
    Header { thermocline_transcript: TRANSCRIPT_FORMAT, name, seed: None, scheduler, snapshot: None, first_seq }
}

#[derive(Default)]
struct Tape {
    entries: Vec<Entry>,
}

impl Tape {
    fn told(&mut self, at_s: f64, event: Event) {
        self.push(at_s, Record::Event(event));
    }

    fn asked(&mut self, at_s: f64, command: Command) {
        self.push(at_s, Record::Command(command));
    }

    fn push(&mut self, at_s: f64, record: Record) {
        self.entries.push(Entry { seq: self.entries.len() as u64, at_us: (at_s * 1e6) as u64, record });
    }

    /// A start that takes `container` and then `import` seconds, a job of one second, a stop of two.
    fn life(&mut self, at: f64, number: u64, container: f64, import: f64) {
        let (worker, epoch, endpoint) = (WorkerId(number), 1, EndpointId(0));
        self.asked(at, Command::StartWorker { worker, epoch, endpoint, host: HostId(0), version: 1, resume: false });
        self.told(at + container, Event::StageEnded { worker, epoch, stage: StartStage::Container });
        let ready = at + container + import;
        self.told(ready, Event::WorkerReady { worker, epoch });
        let policy = JobPolicy::default();
        self.told(ready, Event::JobSubmitted { endpoint, client_ref: number, policy });
        let job = JobId(number);
        self.asked(ready, Command::AssignJob { job, client_ref: number, worker, epoch, attempt: 1 });
        let done = Event::JobFinished { worker, epoch, job, attempt: 1, result: JobResult::Completed, refresh: false };
        self.told(ready + 1.0, done);
        self.asked(ready + 1.0, Command::StopWorker { worker, epoch, mode: StopMode::Sleep });
        self.told(ready + 3.0, Event::WorkerStopped { worker, epoch, frozen: false });
    }
}

fn tape() -> Tape {
    let mut tape = Tape::default();
    let host = HostSpec {
        name: "box".to_owned(),
        data_center: "here".to_owned(),
        gpu_class: GpuClassId(0),
        gpus: 8,
        memory_bytes: 64_000_000_000,
        disk_bytes: 500_000_000_000,
        pull_bytes_per_s: 1,
        priority: 0,
        cached: Vec::new(),
    };
    tape.told(0.0, Event::HostAdded { host: Box::new(host) });
    let spec = Box::new(EndpointSpec::with_defaults("a", ImageId(0), GpuClassId(0)));
    tape.told(0.0, Event::EndpointCreated { spec });
    tape.asked(0.0, Command::PullImage { host: HostId(0), image: ImageId(0) });
    tape.told(4.0, Event::ImagePulled { host: HostId(0), image: ImageId(0) });
    for number in 0..10_u32 {
        tape.life(10.0 + 20.0 * f64::from(number), u64::from(number), 0.5, 2.0 + f64::from(number) * 0.1);
    }
    tape
}

fn measured() -> Seen {
    let mut seen = Seen::default();
    seen.begin(&header(0));
    tape().entries.iter().for_each(|entry| seen.entry(entry));
    seen.finish();
    seen
}

#[test]
fn stages_jobs_and_pulls_are_measured() {
    let figures = measured().figures();
    let times = &figures["endpoints"]["a"]["times"];
    assert_eq!(
        (times["container_s"]["count"].as_u64(), times["container_s"]["median_s"].as_f64()),
        (Some(10), Some(0.5))
    );
    let import = &times["import_s"];
    assert!((import["median_s"].as_f64().unwrap_or(0.0) - 2.4).abs() < 1e-6, "{import}");
    assert!((import["p95_s"].as_f64().unwrap_or(0.0) - 2.9).abs() < 1e-6, "{import}");
    assert_eq!((times["work_s"]["median_s"].as_f64(), times["stop_s"]["median_s"].as_f64()), (Some(1.0), Some(2.0)));
    assert_eq!(figures["pulls"][0]["times"]["median_s"].as_f64(), Some(4.0));
    assert_eq!(figures["endpoints"]["a"]["requests"], 10);
}

#[test]
fn what_comes_out_can_be_rehearsed() {
    let text = write::yaml(&measured());
    let scenario = crate::scenario::from_str(&text, "calibration.yaml", Path::new("."), &[]);
    let scenario = scenario.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let endpoint = &scenario.plan.endpoints[0];
    let stages: Vec<StartStage> = endpoint.release.start.stages.iter().map(|stage| stage.stage).collect();
    assert_eq!(stages, [StartStage::Container, StartStage::Import]);
    assert_eq!(scenario.plan.hosts[0].pull_bytes_per_s, 250_000_000.0);
    assert!(crate::sim::Simulation::new(&scenario.plan).is_ok());
}

#[test]
fn what_is_under_way_at_a_gap_is_not_measured() {
    let mut seen = Seen::default();
    seen.begin(&header(0));
    let entries = tape().entries;
    let start = entries.iter().position(|entry| matches!(entry.record, Record::Command(Command::StartWorker { .. })));
    let cut = start.expect("there is one") + 1;
    entries[..cut].iter().for_each(|entry| seen.entry(entry));
    seen.begin(&header(cut as u64 + 7));
    entries[cut..cut + 2].iter().for_each(|entry| seen.entry(entry));
    assert!(seen.is_empty());
}

#[test]
fn a_lognormal_is_found_again() {
    let mut samples = Samples::default();
    for z in [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5_f64] {
        samples.add(3.0 * (0.4 * z).exp());
    }
    let figures = samples.figures().expect("there are samples");
    let Fit::Lognormal { median, sigma } = figures.fit else { panic!("{figures:?}") };
    assert!((median - 3.0).abs() < 1e-9 && (sigma - 0.4).abs() < 1e-9, "{figures:?}");
    let mut few = Samples::default();
    few.add(2.0);
    assert_eq!(few.figures().map(|figures| figures.fit), Some(Fit::Constant { value: 2.0 }));
    assert_eq!(Samples::default().figures(), None);
}
