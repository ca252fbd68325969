//! What theory asks about a run, measured from the transcript alone and independently of the ledger and the metrics.
//!
//! Jobs count if they arrive within the window, time integrals run over the window. All sums are integers of microseconds.

use thermocline::policy::{Phase, WorkerKind};
use thermocline::scheduler::{Command, Event, FinishCause, JobOutcome, Recorder};
use thermocline::sim::streams::Keyed;
use thermocline::units::{JobId, Span, Time, WorkerId};
use thermocline::workload::{ServiceSampler, WorkHint};

/// Time integrals that the probe keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Gauge {
    /// Jobs accepted and not finished.
    Jobs,
    /// Jobs accepted and not with a worker.
    Queued,
    /// Workers on their way up.
    Starting,
    /// Workers up without a job.
    Idle,
    /// Workers up with a job.
    Busy,
    /// Active ones among the busy.
    BusyActive,
}
const GAUGES: usize = 6;

/// Numbers of jobs or workers up to this have their own share of time; the last place takes all above.
pub const LEVELS: usize = 16;

/// Sums over waits of one priority class.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    pub jobs: u64,
    pub total: u128,
}

/// The probe. Fields are what was seen; [`super::measure`] turns them into the metrics of theory.
#[derive(Debug, Default)]
pub struct Probe {
    pub from: Time,
    pub to: Time,
    // Jobs that arrived within the window.
    pub arrivals: u64,
    pub first_arrivals: u64,
    pub rejected: u64,
    pub abandoned: u64,
    pub completed: u64,
    pub attempts: u64,
    pub arrivals_that_start: u64,
    pub on_flex: u64,
    /// Wait of every job that was served, in order of completion.
    pub waits: Vec<Span>,
    /// Time in queue of all accepted jobs, abandoned ones included, and how many of them had to wait.
    pub queue_time: u128,
    pub had_to_wait: u64,
    pub by_class: [Waits; 2],
    pub response: u128,
    pub response_squared: f64,
    /// Times from the first submission to the completion of the last job that came of it (jobs that rejoin the queue).
    pub chain_response: u128,
    pub chains: u64,
    pub slowdown: f64,
    /// From one completion to the next arrival, where nothing was in the system.
    pub gaps: Vec<Span>,
    // Events within the window.
    pub finished: u64,
    pub starts: u64,
    pub exits: u64,
    pub downs: u64,
    pub down_time: u128,
    pub pulls: u64,
    pub pulls_of_first: u64,
    pub starts_of_first: u64,
    pub evictions: u64,
    pub eviction_age: u64,
    // Time integrals over the window.
    pub integrals: [u128; GAUGES],
    pub jobs_time: [u64; LEVELS + 1],
    pub up_time: [u64; LEVELS + 1],
    pub billed_zero_time: u64,
    pub last_active_busy: u64,
    /// Fourier sums of the number of jobs in service: seconds, and seconds times sine and cosine of `2 pi t / period_s`.
    pub period_s: f64,
    pub fourier: [f64; 3],
    /// Number of the youngest active worker: the last choice among them under `oldest` dispatch.
    pub last_active: u64,
    /// Serve waiting jobs as if the last to come were the first: a deliberate error, for tests of the tests.
    pub last_come_first: bool,
    /// How the simulator draws the work of the first endpoint's jobs, for slowdowns.
    pub work: Option<(Keyed, ServiceSampler)>,

    last: Time,
    gauges: [u32; GAUGES],
    jobs: Vec<Job>,
    workers: Vec<Worker>,
    waiting_times: Vec<Time>,
    submitted: Option<Submitted>,
    last_finish: Option<(Time, Time)>,
    requests: u64,
    last_use: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Job {
    arrived: Time,
    chain: Time,
    started: Time,
    first_start: Option<Time>,
    worker: Option<WorkerId>,
    attempts: u64,
    counted: bool,
    low: bool,
    /// Seconds, where they are drawn again.
    work: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    phase: Option<Phase>,
    in_hand: u32,
    active: bool,
    endpoint: usize,
    busy_since: Time,
    down_since: Option<Time>,
}

/// The submission whose consequences the scheduler is telling.
#[derive(Clone, Copy, Debug)]
struct Submitted {
    chain: Time,
    low: bool,
    started_one: bool,
}

impl Probe {
    /// Counts from `from` to `to`.
    pub fn new(from: Time, to: Time) -> Probe {
        Probe { from, to, last_active: u64::MAX, ..Probe::default() }
    }

    /// A time integral in seconds.
    pub fn integral_s(&self, gauge: Gauge) -> f64 {
        self.integrals[gauge as usize] as f64 / 1e6
    }

    /// The `q`-quantile of the waits: the smallest that at least the share `q` does not exceed.
    pub fn wait_quantile(&self, q: f64) -> Span {
        let mut waits = self.waits.clone();
        let rank = (q * waits.len() as f64).ceil() as usize - 1;
        *waits.select_nth_unstable(rank).1
    }

    /// Length of the window in seconds.
    pub fn window_s(&self) -> f64 {
        self.to.since(self.from).as_secs()
    }

    /// The run has ended at `now`.
    pub fn close(&mut self, now: Time) {
        self.advance(now);
    }

    fn within(&self, now: Time) -> bool {
        self.from <= now && now < self.to
    }

    fn advance(&mut self, now: Time) {
        if now == self.last {
            return;
        }
        let span = now.min(self.to).since(self.last.max(self.from)).0;
        self.last = now;
        if span == 0 {
            return;
        }
        for (integral, gauge) in self.integrals.iter_mut().zip(&self.gauges) {
            *integral += u128::from(span) * u128::from(*gauge);
        }
        let [jobs, _, starting, idle, busy, _] = self.gauges.map(|gauge| gauge as usize);
        self.jobs_time[jobs.min(LEVELS)] += span;
        self.up_time[(idle + busy).min(LEVELS)] += span;
        if starting + idle + busy == 0 {
            self.billed_zero_time += span;
        }
    }

    fn change(&mut self, gauge: Gauge, up: bool) {
        let gauge = &mut self.gauges[gauge as usize];
        *gauge = if up { *gauge + 1 } else { gauge.checked_sub(1).expect("a gauge never goes below zero") };
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        if self.workers.len() <= id.slot() {
            self.workers.resize(id.slot() + 1, Worker::default());
        }
        &mut self.workers[id.slot()]
    }

    /// Adds (or takes away) what the worker contributes to the gauges.
    fn weigh(&mut self, id: WorkerId, up: bool) {
        let worker = *self.worker(id);
        match worker.phase {
            Some(Phase::Starting) => self.change(Gauge::Starting, up),
            Some(Phase::Ready | Phase::Draining) if worker.in_hand == 0 => self.change(Gauge::Idle, up),
            Some(Phase::Ready | Phase::Draining) => {
                self.change(Gauge::Busy, up);
                if worker.active {
                    self.change(Gauge::BusyActive, up);
                }
            }
            _ => {}
        }
    }

    fn hand(&mut self, now: Time, id: WorkerId, took: bool) {
        self.weigh(id, false);
        let (from, to) = (self.from, self.to);
        let worker = self.worker(id);
        if took {
            worker.in_hand += 1;
            if worker.in_hand == 1 {
                worker.busy_since = now;
            }
        } else {
            worker.in_hand = worker.in_hand.checked_sub(1).expect("a worker gives back only what it was given");
            let busy = now.min(to).since(worker.busy_since.max(from)).0;
            if worker.in_hand == 0 && id.sequence() == self.last_active {
                self.last_active_busy += busy;
            }
        }
        self.weigh(id, true);
    }
}

impl Recorder for Probe {
    fn event(&mut self, now: Time, event: &Event) {
        self.advance(now);
        self.submitted = None;
        match event {
            Event::JobSubmitted { endpoint, policy, .. } => self.submit(now, endpoint.index(), policy.low_priority),
            Event::WorkerExited { worker, .. } => {
                if self.within(now) {
                    self.exits += 1;
                }
                let worker = self.worker(*worker);
                if worker.phase == Some(Phase::Ready) {
                    worker.down_since = Some(now);
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        match command {
            Command::AcceptJob { job, .. } => self.accept(now, *job),
            Command::RejectJob { .. } if self.within(now) => self.rejected += 1,
            Command::AssignJob { job, worker, .. } => self.assign(now, *job, *worker),
            Command::RequeueJob { job, .. } => self.release(now, *job),
            Command::FinishJob { job, outcome, cause, .. } => self.finish(now, *job, *outcome, *cause),
            Command::WorkerPlaced { worker, endpoint, kind, .. } => {
                self.weigh(*worker, false);
                let (endpoint, active) = (endpoint.index(), *kind == WorkerKind::Active);
                let entry = self.worker(*worker);
                entry.endpoint = endpoint;
                entry.active = active;
                self.weigh(*worker, true);
            }
            Command::WorkerChanged { worker, phase, .. } => self.enter(now, *worker, *phase),
            Command::StartWorker { worker, endpoint, .. } => self.start(now, *worker, endpoint.index()),
            Command::PullImage { image, .. } if self.within(now) => {
                self.pulls += 1;
                self.pulls_of_first += u64::from(image.0 == 0);
            }
            Command::EvictImage { image, .. } if self.within(now) => {
                self.evictions += 1;
                self.eviction_age += self.requests - self.last_use.get(image.index()).copied().unwrap_or(0);
            }
            _ => {}
        }
    }
}

impl Probe {
    fn submit(&mut self, now: Time, endpoint: usize, low: bool) {
        self.requests += 1;
        if self.last_use.len() <= endpoint {
            self.last_use.resize(endpoint + 1, 0);
        }
        self.last_use[endpoint] = self.requests;
        // A job that comes at the very moment of a completion is what the completed job left behind: with microseconds and
        // Poisson arrivals any other coincidence is one in a million.
        let fed = self.last_finish.take_if(|(at, _)| *at == now);
        if let (None, Some((at, _)), 0) = (fed, self.last_finish, self.gauges[Gauge::Jobs as usize])
            && self.within(now)
        {
            self.gaps.push(now.since(at));
        }
        if self.within(now) {
            self.arrivals += 1;
            self.first_arrivals += u64::from(fed.is_none());
        }
        let chain = fed.map_or(now, |(_, chain)| chain);
        if fed.is_some() && self.within(chain) {
            // Its last completion was not the end of the chain.
            self.chains -= 1;
            self.chain_response -= u128::from(now.since(chain).0);
        }
        self.submitted = Some(Submitted { chain, low, started_one: false });
    }

    fn accept(&mut self, now: Time, id: JobId) {
        let Some(submitted) = self.submitted else { panic!("{id} was accepted without having been submitted") };
        if self.jobs.len() <= id.slot() {
            self.jobs.resize(id.slot() + 1, Job::default());
        }
        self.jobs[id.slot()] = Job {
            arrived: now,
            chain: submitted.chain,
            low: submitted.low,
            counted: self.within(now),
            // The work of a job's first attempt is drawn from the stream of its number among the endpoint's jobs.
            work: self.work.as_ref().map(|(streams, sampler)| {
                sampler.demand(&WorkHint::default(), &mut streams.at(self.requests - 1)).shared
            }),
            ..Job::default()
        };
        self.change(Gauge::Jobs, true);
        self.change(Gauge::Queued, true);
        if self.last_come_first {
            self.waiting_times.push(now);
        }
    }

    fn assign(&mut self, now: Time, id: JobId, worker: WorkerId) {
        self.change(Gauge::Queued, false);
        self.hand(now, worker, true);
        let active = self.worker(worker).active;
        let job = &mut self.jobs[id.slot()];
        job.worker = Some(worker);
        job.attempts += 1;
        job.started = now;
        if self.last_come_first {
            // Which job is served next changes neither the service times nor what waits: only whose wait is how long.
            job.arrived = self.waiting_times.pop().expect("every assigned job has waited");
            job.counted = self.from <= job.arrived && job.arrived < self.to;
        }
        if job.first_start.replace(job.first_start.unwrap_or(now)).is_none() && job.counted {
            self.on_flex += u64::from(!active);
        }
    }

    /// The job leaves its worker.
    fn release(&mut self, now: Time, id: JobId) {
        if let Some(worker) = self.jobs[id.slot()].worker.take() {
            self.hand(now, worker, false);
            self.change(Gauge::Queued, true);
        }
    }

    fn finish(&mut self, now: Time, id: JobId, outcome: JobOutcome, cause: FinishCause) {
        self.release(now, id);
        self.change(Gauge::Queued, false);
        self.change(Gauge::Jobs, false);
        let job = self.jobs[id.slot()];
        self.last_finish = Some((now, job.chain));
        self.finished += u64::from(self.within(now) && outcome == JobOutcome::Completed);
        if self.period_s > 0.0 && job.first_start.is_some() {
            self.add_fourier(job.started.max(self.from), now.min(self.to));
        }
        if self.within(job.chain) && outcome == JobOutcome::Completed {
            self.chains += 1;
            self.chain_response += u128::from(now.since(job.chain).0);
        }
        if !job.counted {
            return;
        }
        let in_queue = job.first_start.unwrap_or(now).since(job.arrived);
        self.queue_time += u128::from(in_queue.0);
        self.had_to_wait += u64::from(!in_queue.is_zero());
        self.abandoned += u64::from(cause == FinishCause::TtlInQueue);
        if outcome == JobOutcome::Completed {
            self.complete(now, &job, in_queue);
        }
    }

    fn complete(&mut self, now: Time, job: &Job, wait: Span) {
        let response = now.since(job.arrived);
        self.completed += 1;
        self.attempts += job.attempts;
        self.waits.push(wait);
        self.response += u128::from(response.0);
        self.response_squared += response.as_secs() * response.as_secs();
        let class = &mut self.by_class[usize::from(job.low)];
        class.jobs += 1;
        class.total += u128::from(wait.0);
        if let Some(work) = job.work {
            self.slowdown += response.as_secs() / work;
        }
    }

    fn add_fourier(&mut self, start: Time, end: Time) {
        if start >= end {
            return;
        }
        let omega = std::f64::consts::TAU / self.period_s;
        let (start, end) = (start.as_secs(), end.as_secs());
        self.fourier[0] += end - start;
        self.fourier[1] += (libm::cos(omega * start) - libm::cos(omega * end)) / omega;
        self.fourier[2] += (libm::sin(omega * end) - libm::sin(omega * start)) / omega;
    }

    fn enter(&mut self, now: Time, id: WorkerId, phase: Phase) {
        self.weigh(id, false);
        let within = self.within(now);
        let worker = self.worker(id);
        worker.phase = Some(phase);
        let down = if phase == Phase::Ready { worker.down_since.take() } else { None };
        if phase == Phase::Removed {
            *worker = Worker::default();
        } else {
            self.weigh(id, true);
        }
        if let Some(since) = down.filter(|_| within) {
            self.downs += 1;
            self.down_time += u128::from(now.since(since).0);
        }
    }

    fn start(&mut self, now: Time, id: WorkerId, endpoint: usize) {
        if !self.within(now) {
            return;
        }
        self.starts += 1;
        self.starts_of_first += u64::from(endpoint == 0);
        let _ = id;
        if let Some(submitted) = &mut self.submitted
            && !std::mem::replace(&mut submitted.started_one, true)
        {
            self.arrivals_that_start += 1;
        }
    }
}
