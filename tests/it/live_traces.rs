//! What the platform itself was seen to do (contract §1.2, §13.2), replayed in the simulator: jobs of 8 s on CPU workers, max 3,
//! idle timeout 5 s. Method: the boot time and the places on the host are fitted to the trace, the rest is the scheduler's.

use std::collections::BTreeSet;
use std::sync::Arc;

use thermocline::policy::PolicyChoice;
use thermocline::scheduler::{Command, Event, PickUp, Recorder};
use thermocline::sim::plan::{PacingModel, Plan};
use thermocline::sim::{Clean, Simulation};
use thermocline::units::{JobId, Span, Time, WorkerId};
use thermocline::workload::{ArrivalSpec, Distribution};

use crate::checker::Checker;

/// How many workers run a job, and how many are up, from each moment on.
#[derive(Debug, Default)]
struct Gauge {
    now: Time,
    busy: BTreeSet<(WorkerId, JobId)>,
    up: BTreeSet<WorkerId>,
    history: Vec<(Time, usize, usize)>,
    ended: Vec<Time>,
}

impl Recorder for Gauge {
    fn event(&mut self, now: Time, event: &Event) {
        if let Event::WorkerReady { worker, .. } = event {
            self.up.insert(*worker);
        }
        self.note(now);
    }

    fn command(&mut self, now: Time, command: &Command) {
        match command {
            Command::AssignJob { job, worker, .. } => drop(self.busy.insert((*worker, *job))),
            Command::FinishJob { job, .. } => {
                self.busy.retain(|(_, other)| other != job);
                self.ended.push(now);
            }
            Command::StopWorker { worker, .. } => drop(self.up.remove(worker)),
            _ => {}
        }
        self.note(now);
    }
}

impl Gauge {
    fn note(&mut self, now: Time) {
        self.now = now;
        self.history.push((now, self.busy.len(), self.up.len()));
    }

    /// Workers that run a job, and workers up, at `seconds`.
    fn at(&self, seconds: f64) -> (usize, usize) {
        let before = self.history.iter().take_while(|(at, ..)| *at <= Time::from_secs(seconds));
        before.last().map_or((0, 0), |(_, busy, up)| (*busy, *up))
    }

    fn most_running(&self) -> usize {
        self.history.iter().map(|(_, busy, _)| *busy).max().unwrap_or(0)
    }
}

/// `jobs` at once at time 0, on a host with `places`, of which `warm` are always up.
fn trace(jobs: usize, warm: u32, places: u32, scaling: PolicyChoice) -> Gauge {
    let mut plan = Plan::clean(Clean {
        arrivals: ArrivalSpec::Times { at_s: Arc::new(vec![0.0; jobs]) },
        service: Distribution::Constant { value: 8.0 },
        cold_start: Distribution::Constant { value: 8.5 },
        idle_timeout_s: Some(5.0),
        active: warm,
        max: 3,
        scaling,
        jobs: jobs as u64,
        ..Clean::default()
    });
    plan.hosts[0].spec.gpus = places;
    plan.hosts[0].max_starts = 1;
    plan.drain = Some(Span::from_whole_secs(300));
    let endpoint = &mut plan.endpoints[0];
    endpoint.spec.pick_up = PickUp::Pull;
    // A worker of the SDK asks at whole seconds after its last take, and picks up within a tenth of a second.
    endpoint.pacing = PacingModel { latency: Distribution::Uniform { min: 0.0, max: 0.1 }, period: Span::SECOND };
    let mut recorder = (Gauge::default(), Checker::new(&plan.scheduler));
    let mut simulation = Simulation::new(&plan).expect("the plan is sound");
    simulation.run(&mut recorder, &mut |_| {}).expect("the run ends");
    let (gauge, mut checker) = recorder;
    checker.finish();
    assert_eq!(checker.complaint(), "");
    assert_eq!(gauge.ended.len(), jobs, "every job has its outcome");
    gauge
}

fn request_count() -> PolicyChoice {
    PolicyChoice::named("request_count").with("requests_per_worker", 1.0)
}

/// REQUEST_COUNT 1, six jobs from cold: seen were 0 running at 8 s, 1 at 12 s, a second one ready at 18 s, 2 running at 32 s, all done
/// at 52 s, never 3. Container starts one after the other (8.5 s each) and only two places on the host explain it.
#[test]
fn six_jobs_from_cold_are_limited_by_provisioning() {
    let seen = trace(6, 0, 2, request_count());
    assert_eq!(seen.at(8.0).0, 0);
    assert_eq!(seen.at(12.0).0, 1);
    assert_eq!(seen.at(18.0).1, 2);
    assert_eq!(seen.at(32.0).0, 2);
    assert_eq!(seen.most_running(), 2, "the third worker finds no place");
    let done = seen.ended.last().expect("jobs ended").as_secs();
    assert!((40.0..=57.0).contains(&done), "all done at {done} s, seen 52 s");
}

/// REQUEST_COUNT 1, nine jobs on three warm workers: seen were 3 running at 16 s.
#[test]
fn nine_jobs_keep_three_warm_workers_busy() {
    let seen = trace(9, 3, 3, request_count());
    assert_eq!(seen.at(16.0).0, 3);
    assert_eq!(seen.most_running(), 3);
    let done = seen.ended.last().expect("jobs ended").as_secs();
    assert!((24.0..=30.0).contains(&done), "three rounds of 8 s, done at {done} s");
}

/// QUEUE_DELAY 4, six jobs on two warm workers: seen was that they stayed at 2 and drained in 34 s, although jobs waited far longer
/// than 4 s. The rule asks for a third worker; on a host without a place for it nothing comes of that.
#[test]
fn queue_delay_stays_at_two_warm_workers_where_there_is_no_third_place() {
    let seen = trace(6, 2, 2, PolicyChoice::named("queue_delay"));
    assert_eq!(seen.most_running(), 2);
    assert_eq!(seen.history.iter().map(|(.., up)| *up).max(), Some(2));
    let done = seen.ended.last().expect("jobs ended").as_secs();
    assert!((24.0..=37.0).contains(&done), "drained at {done} s, seen 34 s");
}
