//! The matched workload as a bare event loop: one `BinaryHeap` for everything, timers cancelled lazily, basic metrics. It has no
//! scheduler, no policies, no transcript; it is what a simulator of exactly this model and nothing else would cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The model: Poisson arrivals, exponential service, one start per arrival that finds none idle (while fewer are starting than
/// jobs wait), first come first served, the worker that became idle last is taken first.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub rate: f64,
    pub service_mean_s: f64,
    pub cold_start_s: f64,
    pub idle_timeout_s: f64,
    pub max_workers: u32,
    pub jobs: u64,
    pub seed: u64,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub jobs: u64,
    pub cold_starts: u64,
    pub wait_mean_s: f64,
    pub workers_mean: f64,
    pub wait_p99_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Ready,
    Departure { worker: u32 },
    IdleTimeout { worker: u32, period: u32 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    /// Counts idle periods: a timer of an earlier one is void.
    period: u32,
}

struct Loop {
    model: Model,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    state: u64,
    workers: Vec<Worker>,
    free: Vec<u32>,
    /// Idle workers, the longest idle first.
    idle: VecDeque<u32>,
    waiting: VecDeque<u64>,
    busy: u32,
    starting: u32,
    arrived: u64,
    cold_starts: u64,
    wait_total: u64,
    worker_time: u64,
    waits: Vec<u64>,
}

/// Runs the model until every job is served and every worker is gone.
pub fn run(model: Model) -> Outcome {
    let mut this = Loop {
        model,
        now: 0,
        events: BinaryHeap::new(),
        scheduled: 0,
        state: model.seed,
        workers: Vec::new(),
        free: Vec::new(),
        idle: VecDeque::new(),
        waiting: VecDeque::new(),
        busy: 0,
        starting: 0,
        arrived: 0,
        cold_starts: 0,
        wait_total: 0,
        worker_time: 0,
        waits: vec![0; 64 * 128],
    };
    this.schedule_arrival();
    while let Some(Reverse((at, _, event))) = this.events.pop() {
        this.advance(at);
        this.handle(event);
    }
    this.outcome()
}

impl Loop {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Ready => {
                self.starting -= 1;
                let worker = self.free.pop().unwrap_or_else(|| {
                    self.workers.push(Worker::default());
                    self.workers.len() as u32 - 1
                });
                self.become_free(worker);
            }
            Event::Departure { worker } => {
                self.busy -= 1;
                self.become_free(worker);
            }
            Event::IdleTimeout { worker, period } => {
                if self.workers[worker as usize].period == period {
                    // Equal timeouts end in the order in which they began.
                    let gone = self.idle.pop_front();
                    debug_assert_eq!(gone, Some(worker));
                    self.workers[worker as usize].period += 1;
                    self.free.push(worker);
                }
            }
        }
    }

    fn arrive(&mut self) {
        self.arrived += 1;
        if let Some(worker) = self.idle.pop_back() {
            self.workers[worker as usize].period += 1;
            self.serve(worker, self.now);
        } else {
            self.waiting.push_back(self.now);
            let up = self.busy + self.starting;
            if up < self.model.max_workers && (self.starting as usize) < self.waiting.len() {
                self.starting += 1;
                self.cold_starts += 1;
                self.schedule(micros(self.model.cold_start_s), Event::Ready);
            }
        }
        self.schedule_arrival();
    }

    fn become_free(&mut self, worker: u32) {
        if let Some(arrived) = self.waiting.pop_front() {
            self.serve(worker, arrived);
        } else {
            self.idle.push_back(worker);
            let period = self.workers[worker as usize].period;
            self.schedule(micros(self.model.idle_timeout_s), Event::IdleTimeout { worker, period });
        }
    }

    fn serve(&mut self, worker: u32, arrived: u64) {
        let wait = self.now - arrived;
        self.wait_total += wait;
        self.waits[bucket(wait)] += 1;
        self.busy += 1;
        let service = self.exponential(self.model.service_mean_s);
        self.schedule(service, Event::Departure { worker });
    }

    fn schedule_arrival(&mut self) {
        if self.arrived < self.model.jobs {
            let gap = self.exponential(1.0 / self.model.rate);
            self.schedule(gap, Event::Arrival);
        }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now + after, self.scheduled, event)));
    }

    fn advance(&mut self, to: u64) {
        let up = u64::from(self.busy + self.starting) + self.idle.len() as u64;
        self.worker_time += up * (to - self.now);
        self.now = to;
    }

    /// SplitMix64 and the inverse of the distribution function.
    fn exponential(&mut self, mean_s: f64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let uniform = (((word ^ (word >> 31)) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        micros(-mean_s * uniform.ln())
    }

    fn outcome(&self) -> Outcome {
        let mut seen = 0;
        let p99 = self.waits.iter().position(|&count| {
            seen += count;
            seen as f64 >= 0.99 * self.arrived as f64
        });
        Outcome {
            jobs: self.arrived,
            cold_starts: self.cold_starts,
            wait_mean_s: self.wait_total as f64 / 1e6 / self.arrived as f64,
            workers_mean: self.worker_time as f64 / self.now as f64,
            wait_p99_s: p99.map_or(0.0, bucket_s),
        }
    }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// Logarithmic buckets, 128 to a power of two.
fn bucket(wait: u64) -> usize {
    let exponent = 63 - (wait | 128).leading_zeros() as usize;
    (exponent - 7) * 128 + (wait >> (exponent - 7)) as usize
}

fn bucket_s(bucket: usize) -> f64 {
    let exponent = (bucket / 128).saturating_sub(1);
    (((bucket - exponent * 128) as u64) << exponent) as f64 / 1e6
}
