//! One file, two modes: an application is rehearsed by the simulator, then served for real with the same requests at the same
//! moments, and the scheduler decides the same things in the same order.
//!
//! Method: an hour of traffic is played 200 times as fast in both. The decisions of the rehearsal are recorded; those of the
//! served run come from its event log, told once more to a fresh scheduler. Compared is the sequence of starts, hand-overs and
//! stops, not their moments: those are the wall clock's.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use thermocline::real::store::Store;
use thermocline::real::store::sqlite::SqliteStore;
use thermocline::scenario::{self, serving};
use thermocline::scheduler::{Command, Event, Recorder, Scheduler};
use thermocline::sim::Simulation;
use thermocline::units::{Time, WorkerId};

use super::harness::App;

/// Moments of the requests in seconds of the trace.
const TRACE_S: [u32; 6] = [0, 200, 1_600, 1_800, 1_940, 3_600];
/// Trace seconds per second of both runs.
const TIME_LAPSE: f64 = 200.0;

/// Decisions in the words of this test: jobs and workers by the order in which they come up.
#[derive(Default)]
struct Decisions {
    jobs: BTreeMap<u64, usize>,
    workers: BTreeMap<WorkerId, usize>,
    made: Vec<String>,
}

impl Decisions {
    fn worker(&mut self, worker: WorkerId) -> usize {
        let next = self.workers.len();
        *self.workers.entry(worker).or_insert(next)
    }
}

impl Recorder for Decisions {
    fn event(&mut self, _: Time, _: &Event) {}

    fn command(&mut self, _: Time, command: &Command) {
        let line = match command {
            Command::StartWorker { worker, .. } => format!("start worker {}", self.worker(*worker)),
            Command::StopWorker { worker, .. } => format!("stop worker {}", self.worker(*worker)),
            Command::AssignJob { client_ref, worker, attempt, .. } => {
                let next = self.jobs.len();
                let job = *self.jobs.entry(*client_ref).or_insert(next);
                format!("job {job} to worker {}, attempt {attempt}", self.worker(*worker))
            }
            _ => return,
        };
        self.made.push(line);
    }
}

#[test]
fn what_was_rehearsed_is_what_is_served() {
    let binary = env!("CARGO_BIN_EXE_thermocline");
    let command = [binary, "worker", "sleep", "--seconds", "1.5", "--start-seconds", "0.5"].map(str::to_owned);
    let settings = [
        "workers: {active: 0, max: 2, extra: 0}",
        "scaler: {type: per_job}",
        "idle_timeout_s: 2",
        "flashboot: false",
        "start: {container_s: 0, cuda_s: 0, import_s: 0.5, stop_s: 0.2}",
        "service: {type: drawn, work_s: 1.5}",
        "traffic: {type: trace, file: hour.csv, time_scale: 0.005}",
    ];
    let Some(app) = App::new() else { return };
    let app = app.endpoint_running("e", &command, &[], &settings);
    // The same host for both: which worker is started next depends on where the workers are.
    let mut server = app
        .serve("hosts: {local: {gpu_class: ADA_24, places: 8}}")
        .top("hosts: {local: {gpu_class: ADA_24, gpus: 8}}")
        .start("rehearse");
    let rows: String = TRACE_S.iter().map(|at| format!("{at},e\n")).collect();
    fs::write(server.path("hour.csv"), format!("arrival_s,endpoint\n{rows}")).expect("the trace can be written");
    let file = server.path("app.yaml");

    let rehearsal = scenario::load(&file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let mut expected = Decisions::default();
    let mut simulation = Simulation::new(&rehearsal.plan).expect("a valid plan");
    simulation.run(&mut expected, &mut |_| {}).expect("it comes to its end");
    assert!(expected.made.len() >= TRACE_S.len() * 2, "{:?}", expected.made);

    let began = Instant::now();
    let ids: Vec<String> = TRACE_S
        .iter()
        .map(|at| {
            let due = Duration::from_secs_f64(f64::from(*at) / TIME_LAPSE);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            server.submit("e", json!({}))
        })
        .collect();
    for id in &ids {
        server.until_status("e", id, "COMPLETED");
    }
    // As many stops as the rehearsal has: the last worker leaves after its idle timeout.
    crate::support::patience::eventually("no process", || server.worker_processes().is_empty().then_some(()));
    server.kill();

    let served = serving::load(&file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let mut scheduler = Scheduler::new(served.plan.scheduler).expect("policies that exist");
    let mut store = SqliteStore::open(&server.path("data/store.sqlite")).expect("nobody else has it open");
    let mut found = Decisions::default();
    let recovered = store.load().expect("it can be read");
    assert!(recovered.snapshot.is_none(), "so short a run has no snapshot");
    for (_, at, event) in &recovered.events {
        scheduler.handle(*at, event);
        while let Some(command) = scheduler.poll_command() {
            found.command(*at, &command);
        }
    }
    assert_eq!(found.made, expected.made);
}
