//! The clairvoyant optimum: what the cheapest schedule costs if all arrivals and service times are known.
//!
//! A worker costs `price` per second from the start of its cold start to its stop, so every start costs `start_fee = price *
//! cold_start`; waiting costs `wait_price` per job and second. Three answers: with all start times given (exact, one sweep over
//! levels; Lu, Chen: arXiv 1112.0442), with free start times on a grid of whole seconds (exact, dynamic program with bounds, for
//! small instances), and the linear relaxation of the latter, which bounds it from below for any size.

use std::collections::BTreeMap;

use super::simplex;

/// An instance on the grid of whole seconds.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Arrival and service of each job in seconds, in order of arrival.
    pub jobs: Vec<(u32, u32)>,
    /// Price of a worker per second.
    pub price: f64,
    /// Price of one start.
    pub start_fee: f64,
    /// Price of a job's waiting per second.
    pub wait_price: f64,
    /// Longest wait allowed in seconds.
    pub wait_limit: Option<u32>,
    /// Most workers up at once.
    pub max_workers: Option<usize>,
}

/// Cost of the best choice of workers for given start times, and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LevelOptimum {
    pub cost: f64,
    pub starts: u32,
    pub idle_s: f64,
    pub busy_s: f64,
}

/// The optimum for given busy intervals `(start, end)`: exact. A job takes the worker that became idle last; a gap of a level is
/// bridged if renting through it is no dearer than a start.
pub fn level_optimum(intervals: &[(f64, f64)], price: f64, start_fee: f64) -> LevelOptimum {
    let mut starts: Vec<(f64, f64)> = intervals.to_vec();
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ends: Vec<f64> = intervals.iter().map(|interval| interval.1).collect();
    ends.sort_by(f64::total_cmp);
    let mut ends = ends.into_iter().peekable();
    let mut free_since: Vec<f64> = Vec::new();
    let mut optimum = LevelOptimum::default();
    for (start, end) in starts {
        while let Some(free) = ends.next_if(|free| *free <= start) {
            free_since.push(free);
        }
        optimum.busy_s += end - start;
        match free_since.pop() {
            Some(since) if price * (start - since) <= start_fee => optimum.idle_s += start - since,
            _ => optimum.starts += 1,
        }
    }
    optimum.cost = price * (optimum.busy_s + optimum.idle_s) + start_fee * f64::from(optimum.starts);
    optimum
}

impl Instance {
    /// Every job starts when it arrives.
    pub fn zero_wait(&self) -> LevelOptimum {
        let intervals: Vec<(f64, f64)> =
            self.jobs.iter().map(|&(at, service)| (f64::from(at), f64::from(at + service))).collect();
        level_optimum(&intervals, self.price, self.start_fee)
    }

    /// The optimum over all start times on whole seconds. Exponential in the number of jobs that may overlap: for up to about 16.
    ///
    /// Dynamic program over time. A state holds the waiting jobs and, for every worker that is busy or was busy less than a
    /// break-even time ago, when it becomes (became) free; what a state has cost so far never falls, and a state that cannot
    /// beat the known schedules even if no further start or wait is needed is dropped.
    pub fn optimum(&self) -> f64 {
        let horizon = self.horizon();
        let mut best = self.feasible_cost();
        let mut states: BTreeMap<State, f64> = BTreeMap::from([(State::default(), 0.0)]);
        for now in 0..=horizon {
            let mut next: BTreeMap<State, f64> = BTreeMap::new();
            for (mut state, cost) in states {
                for (index, &(at, _)) in self.jobs.iter().enumerate() {
                    state.waiting |= u32::from(at == now) << index;
                }
                state.forget(now, self.break_even());
                self.branch(now, state, cost, 0, &mut best, &mut next);
            }
            states = next;
        }
        best
    }

    /// Starts any subset of the waiting jobs from `index` on now; the others wait a second more.
    fn branch(&self, now: u32, state: State, cost: f64, index: usize, best: &mut f64, next: &mut BTreeMap<State, f64>) {
        let unstarted = self.jobs.iter().enumerate().filter(|(j, job)| job.0 > now || state.waiting >> j & 1 == 1);
        let work: u32 = unstarted.map(|(_, job)| job.1).sum();
        // The small constant keeps states that only tie with the best known schedule from being explored again and again.
        if cost + self.price * f64::from(work) > *best - 1e-9 {
            return;
        }
        if work == 0 {
            *best = cost;
            return;
        }
        let Some(job) = (index..self.jobs.len()).find(|job| state.waiting >> job & 1 == 1) else {
            let cost = cost + self.wait_price * f64::from(state.waiting.count_ones());
            next.entry(state).and_modify(|known| *known = known.min(cost)).or_insert(cost);
            return;
        };
        let (at, service) = self.jobs[job];
        if self.wait_limit.is_none_or(|limit| now < at + limit) {
            self.branch(now, state.clone(), cost, job + 1, best, next);
        }
        let mut started = state;
        started.waiting &= !(1 << job);
        // The worker that became free last, if any is free; else a new one. A forgotten one would cost as much as a new one.
        let idle = started.free_at.iter().rposition(|&free| free <= now);
        let worker_cost = match idle {
            Some(worker) => self.price * f64::from(now - started.free_at.remove(worker)),
            None if self.max_workers.is_some_and(|max| started.free_at.len() >= max) => return,
            None => self.start_fee,
        };
        started.free_at.push(now + service);
        started.free_at.sort_unstable();
        self.branch(now, started, cost + worker_cost + self.price * f64::from(service), job + 1, best, next);
    }

    /// Seconds for which an idle worker is worth keeping.
    fn break_even(&self) -> f64 {
        self.start_fee / self.price
    }

    /// No schedule needs to start a job later: everything could run one after the other from the last arrival on.
    fn horizon(&self) -> u32 {
        let last = self.jobs.iter().map(|job| job.0).max().unwrap_or(0);
        last + self.jobs.iter().map(|job| job.1).sum::<u32>()
    }

    /// The cheaper of two schedules that are easily made: no wait at all (if workers suffice), and one worker in order.
    fn feasible_cost(&self) -> f64 {
        let mut free = 0;
        let mut waits = 0;
        let mut longest = 0;
        let mut intervals = Vec::new();
        for &(at, service) in &self.jobs {
            let start = free.max(at);
            free = start + service;
            waits += start - at;
            longest = longest.max(start - at);
            intervals.push((f64::from(start), f64::from(free)));
        }
        let in_order = match self.wait_limit {
            Some(limit) if longest > limit => f64::INFINITY,
            _ => level_optimum(&intervals, self.price, self.start_fee).cost + self.wait_price * f64::from(waits),
        };
        if self.max_workers.is_some() { in_order } else { in_order.min(self.zero_wait().cost) }
    }

    /// The linear relaxation of the time-indexed integer program, solved through its dual: prices `lambda` of a worker's
    /// seconds, such that renting at them never makes a profit, and what each job pays at least under them.
    ///
    /// Maximise the sum of `phi_j` subject to `phi_j - sum(lambda over [S, S + s_j)) <= wait_price * (S - a_j)` for every start
    /// `S`, `lambda_k - mu_k + mu_(k+1) <= price` and `mu_k <= start_fee` for every second `k`. All right sides are non-negative,
    /// so the origin is feasible and no first phase is needed.
    pub fn lp_bound(&self) -> f64 {
        let cells = self.horizon() as usize;
        let (lambda, mu) = (self.jobs.len(), self.jobs.len() + cells);
        let mut program = simplex::Program::new(mu + cells);
        for job in 0..self.jobs.len() {
            program.objective[job] = 1.0;
        }
        for (job, &(at, service)) in self.jobs.iter().enumerate() {
            let (at, service) = (at as usize, service as usize);
            for start in at..=cells - service {
                let mut row = vec![(job, 1.0)];
                row.extend((start..start + service).map(|cell| (lambda + cell, -1.0)));
                program.at_most(&row, self.wait_price * (start - at) as f64);
            }
        }
        for cell in 0..cells {
            let mut row = vec![(lambda + cell, 1.0), (mu + cell, -1.0)];
            if cell + 1 < cells {
                row.push((mu + cell + 1, 1.0));
            }
            program.at_most(&row, self.price);
            program.at_most(&[(mu + cell, 1.0)], self.start_fee);
        }
        program.maximum()
    }
}

/// What of the past matters for the future.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// Jobs that wait, a bit each.
    waiting: u32,
    /// When each worker becomes or became free, ascending.
    free_at: Vec<u32>,
}

impl State {
    /// Drops workers that have been idle for longer than a start is worth.
    fn forget(&mut self, now: u32, break_even: f64) {
        self.free_at.retain(|&free| free >= now || f64::from(now - free) < break_even);
    }
}
