//! Rows of the tables `workers` and `jobs`: listeners that write one row when a worker or a job is gone, or at the end.

use std::io::Write;

use crate::ledger::{Meter, Rounding, Situation, billed, enabled_as_active, price_of_worker};
use crate::policy::Phase;
use crate::results::tables::{Cell, Kind, Table};
use crate::scheduler::watch::{LiveJob, Member, Watcher};
use crate::scheduler::{EndpointSpec, FinishCause, GpuClass, GpuClassId, HostSpec, JobOutcome, RejectReason};
use crate::units::{EndpointId, HostId, Money, Time, UsdPerSecond};

/// Columns of the table `workers`.
pub const WORKER_COLUMNS: &[(&str, Kind)] = &[
    ("worker", Kind::Count),
    ("endpoint", Kind::Text),
    ("type", Kind::Text),
    ("host", Kind::Count),
    ("gpu_class", Kind::Text),
    ("version", Kind::Count),
    ("created_s", Kind::Number),
    ("removed_s", Kind::Number),
    ("placing_s", Kind::Number),
    ("pulling_s", Kind::Number),
    ("asleep_s", Kind::Number),
    ("frozen_s", Kind::Number),
    ("throttled_s", Kind::Number),
    ("starting_s", Kind::Number),
    ("warm_idle_s", Kind::Number),
    ("busy_s", Kind::Number),
    ("draining_s", Kind::Number),
    ("stopping_s", Kind::Number),
    ("unhealthy_s", Kind::Number),
    ("starts", Kind::Count),
    ("jobs", Kind::Count),
    ("last_reason", Kind::Text),
    ("cost_seed_usd", Kind::Number),
    ("cost_documented_usd", Kind::Number),
];

/// Columns of the table `jobs`.
pub const JOB_COLUMNS: &[(&str, Kind)] = &[
    ("job", Kind::Count),
    ("client_ref", Kind::Count),
    ("endpoint", Kind::Text),
    ("submitted_s", Kind::Number),
    ("wait_s", Kind::Number),
    ("last_start_s", Kind::Number),
    ("finished_s", Kind::Number),
    ("response_s", Kind::Number),
    ("attempts", Kind::Count),
    ("attempts_lost", Kind::Count),
    ("worker", Kind::Count),
    ("waited_for_start", Kind::Count),
    ("outcome", Kind::Text),
    ("cause", Kind::Text),
];

/// Names of the endpoints, for the rows.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn note(&mut self, endpoint: EndpointId, spec: &EndpointSpec) {
        if self.0.len() <= endpoint.index() {
            self.0.resize(endpoint.index() + 1, String::new());
        }
        self.0[endpoint.index()].clone_from(&spec.name);
    }

    fn of(&self, endpoint: EndpointId) -> Option<&str> {
        self.0.get(endpoint.index()).map(String::as_str)
    }
}

/// What is known of a worker so far.
struct Life {
    since: Time,
    /// Microseconds by phase, `Ready` without a job; busy time is apart.
    phases: [u64; 11],
    busy: u64,
    jobs: u64,
    starts: u64,
    enabled: bool,
    meter: Meter,
    cost: [Money; 2],
    /// Its last host: a worker that is removed has none any more.
    host: Option<HostId>,
}

/// Writes a row for every worker.
pub struct WorkerRows<W: Write> {
    table: Table<W>,
    classes: Vec<GpuClass>,
    rounding: Rounding,
    hosts: Vec<GpuClassId>,
    names: Names,
    lives: Vec<Option<Life>>,
}

impl<W: Write> WorkerRows<W> {
    /// Writes to `table`, which has [`WORKER_COLUMNS`].
    pub fn new(table: Table<W>, classes: &[GpuClass], rounding: Rounding) -> WorkerRows<W> {
        let classes = classes.to_vec();
        WorkerRows { table, classes, rounding, hosts: Vec::new(), names: Names::default(), lives: Vec::new() }
    }

    /// The table, to be finished.
    pub fn into_table(self) -> Table<W> {
        self.table
    }

    fn class_of(&self, host: Option<HostId>) -> Option<GpuClassId> {
        host.and_then(|host| self.hosts.get(host.index())).copied()
    }

    /// Books the time up to `now` to what `was`, then turns the meter to what `is`.
    fn follow(&mut self, now: Time, was: &Member, is: &Member) {
        let price = price_of_worker(&self.classes, self.class_of(is.host), is);
        let Some(life) = self.lives.get_mut(is.id.slot()).and_then(Option::as_mut) else { return };
        life.book_time(now, was);
        life.enabled = enabled_as_active(life.enabled, is);
        let (spent, old_price) = life.meter.reprice(now, price);
        life.add(spent.map(|spent| spent.cost(old_price)));
        life.meter.turn(now, billed(Situation::of(is, life.enabled)));
        life.host = is.host.or(life.host);
        life.starts += u64::from(is.phase == Phase::Starting && was.phase != Phase::Starting);
    }

    fn write(&mut self, now: Time, worker: &Member, removed: Option<Time>) {
        let Some(mut life) = self.lives.get_mut(worker.id.slot()).and_then(Option::take) else { return };
        life.book_time(now, worker);
        let price = life.meter.price();
        let rest = life.meter.end(now).map(|spent| spent.cost(price));
        life.add(rest);
        let class = self.class_of(life.host).and_then(|class| self.classes.get(usize::from(class.0)));
        let of = |phase: Phase| Cell::from(seconds(life.phases[phase as usize]));
        self.table.row(&[
            worker.id.sequence().into(),
            self.names.of(worker.endpoint).into(),
            worker.kind.as_str().into(),
            Cell::Count(life.host.map(|host| u64::from(host.0))),
            class.map(|class| class.name.as_str()).into(),
            worker.version.into(),
            worker.created.as_secs().into(),
            removed.map(Time::as_secs).into(),
            of(Phase::Placing),
            of(Phase::Pulling),
            of(Phase::Asleep),
            of(Phase::Frozen),
            of(Phase::Throttled),
            of(Phase::Starting),
            of(Phase::Ready),
            seconds(life.busy).into(),
            of(Phase::Draining),
            of(Phase::Stopping),
            of(Phase::Unhealthy),
            life.starts.into(),
            life.jobs.into(),
            worker.reason.as_str().into(),
            life.cost[0].as_usd().into(),
            life.cost[1].as_usd().into(),
        ]);
    }
}

impl Life {
    fn book_time(&mut self, now: Time, was: &Member) {
        let span = now.since(self.since).0;
        self.since = now;
        if was.is_busy() {
            self.busy += span;
        } else {
            self.phases[was.phase as usize] += span;
        }
    }

    fn add(&mut self, costs: [[Money; 5]; 2]) {
        for (sum, cost) in self.cost.iter_mut().zip(costs) {
            *sum += cost.into_iter().sum();
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl<W: Write> Watcher for WorkerRows<W> {
    fn host_added(&mut self, _: Time, _: HostId, spec: &HostSpec) {
        self.hosts.push(spec.gpu_class);
    }

    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, spec: &EndpointSpec) {
        self.names.note(endpoint, spec);
    }

    fn worker_placed(&mut self, now: Time, worker: &Member, was: Option<&Member>) {
        if was.is_none() {
            let slot = worker.id.slot();
            if self.lives.len() <= slot {
                self.lives.resize_with(slot + 1, || None);
            }
            self.lives[slot] = Some(Life {
                since: now,
                phases: [0; 11],
                busy: 0,
                jobs: 0,
                starts: 0,
                enabled: false,
                meter: Meter::new(now, UsdPerSecond(0), self.rounding),
                cost: [Money::ZERO; 2],
                host: worker.host,
            });
        }
        self.follow(now, was.unwrap_or(worker), worker);
    }

    fn phase_changed(&mut self, now: Time, worker: &Member, was: &Member) {
        self.follow(now, was, worker);
        if worker.phase == Phase::Removed {
            self.write(now, worker, Some(now));
        }
    }

    fn hands_changed(&mut self, now: Time, worker: &Member, was: u32) {
        self.follow(now, &Member { in_hand: was, ..worker.clone() }, worker);
        if let Some(life) = self.lives.get_mut(worker.id.slot()).and_then(Option::as_mut) {
            life.jobs += u64::from(worker.in_hand > was);
        }
    }

    fn worker_left(&mut self, now: Time, worker: &Member) {
        self.write(now, worker, None);
    }
}

/// Writes a row for every job.
pub struct JobRows<W: Write> {
    table: Table<W>,
    names: Names,
}

impl<W: Write> JobRows<W> {
    /// Writes to `table`, which has [`JOB_COLUMNS`].
    pub fn new(table: Table<W>) -> JobRows<W> {
        JobRows { table, names: Names::default() }
    }

    /// The table, to be finished.
    pub fn into_table(self) -> Table<W> {
        self.table
    }

    fn write(&mut self, job: &LiveJob, finished: Option<Time>, outcome: &str, cause: Option<&str>) {
        let started = job.was_assigned().then(|| job.assigned.as_secs());
        self.table.row(&[
            job.id.sequence().into(),
            job.client_ref.into(),
            self.names.of(job.endpoint).into(),
            job.accepted.as_secs().into(),
            job.wait().map(|wait| wait.as_secs()).into(),
            started.into(),
            finished.map(Time::as_secs).into(),
            finished.map(|finished| finished.since(job.accepted).as_secs()).into(),
            job.attempt.into(),
            job.requeues.into(),
            Cell::Count(job.worker.map(|worker| worker.sequence())),
            Cell::Count(job.was_assigned().then_some(u64::from(job.cold))),
            outcome.into(),
            cause.into(),
        ]);
    }
}

impl<W: Write> Watcher for JobRows<W> {
    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, spec: &EndpointSpec) {
        self.names.note(endpoint, spec);
    }

    fn job_finished(&mut self, now: Time, job: &LiveJob, outcome: JobOutcome, cause: FinishCause) {
        let outcome = match outcome {
            JobOutcome::Completed => "COMPLETED",
            JobOutcome::Failed => "FAILED",
            JobOutcome::TimedOut => "TIMED_OUT",
            JobOutcome::Cancelled => "CANCELLED",
        };
        self.write(job, Some(now), outcome, Some(cause.as_str()));
    }

    fn job_rejected(&mut self, now: Time, endpoint: EndpointId, reason: RejectReason) {
        let none = Cell::Number(None);
        self.table.row(&[
            Cell::Count(None),
            Cell::Count(None),
            self.names.of(endpoint).into(),
            now.as_secs().into(),
            none,
            none,
            none,
            none,
            Cell::Count(Some(0)),
            Cell::Count(Some(0)),
            Cell::Count(None),
            Cell::Count(None),
            "REJECTED".into(),
            reason.as_str().into(),
        ]);
    }

    fn job_left(&mut self, _: Time, job: &LiveJob) {
        let outcome = if job.worker.is_some() { "IN_PROGRESS" } else { "IN_QUEUE" };
        self.write(job, None, outcome, None);
    }
}
