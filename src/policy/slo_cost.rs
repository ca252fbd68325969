//! Ours: start a worker only for a job that would otherwise wait beyond the objective, and only if the start comes in time to help.
//!
//! At every event with waiting jobs, their future is worked out as it would go without a start: each busy place is free after the mean
//! rest of its job (measured service times, given how long it has run; of n jobs on one worker the i-th ends after 2 i / (n + 1) of the
//! mean rest of a job that is met at work, `E[S^2] / 2 E[S]`), each start in flight after what is left of a mean start D, and
//! jobs go to them in order of age. Job k would wait `w_k + t_k` in all; it is late iff `w_k + caution t_k > slo_s` and helped by a
//! start iff `t_k > D`.
//!
//! - A job that is late, and would not be if a worker were started for it (`w_k + D <= slo_s`), gets one, counted from then on, as
//!   soon as `w_k >= patience (slo_s - D)`: before that others may come to share the start. It gets it sooner if a job behind it that
//!   would be in time on the same worker has no more than that left: where a job fills a worker for most of the objective, the wait
//!   is better spent behind each other than before the start.
//! - The N jobs that are late whatever is done share `c = N sqrt(wait_value S / (2 (D + E) m))` workers (S = mean service time, E = mean
//!   stop, m = jobs at once on a worker; one worker at least): c starts and stops cost c (D + E) paid seconds, and N jobs on c workers wait for `N^2 S / (2 c m)` job
//!   seconds for each other; c makes the sum least.
//! - While any job is late, there are no fewer workers than hold the objective in a steady state: the smallest number with
//!   P(wait > slo_s) <= `miss` by Erlang's C formula for the arrival rate of the last `half_life_s`. Without this a queue could stay for
//!   ever in which everybody is late and nobody is helped by a start alone.
//!
//! With `late_share`, patience is steered so that this share of the jobs is late (see `budget`): a promise about p95 leaves one in twenty.
//!
//! Down by the keep-alive policy: meant for `rank_timeout`, which weighs idling against the next start for each rank of workers.
//! With `cancel_starts`, starts that no waiting job needs any more are called off.
//!
//! Source: own; the structure is that of the clairvoyant optimum (policies 7.2: which ranks to bridge) with list scheduling in place of
//! knowledge. Does badly on: service times without a usable mean (heavy tails: half the waits are guessed wrong), starts that vary a
//! lot, and growth within the length of a start (those who will come are not foreseen).

mod budget;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use budget::{Budget, Late};

use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::signal::Load;
use super::staffing::erlang_places;
use super::{Advice, AskedAt, BadPolicyState, Observation, Phase, ScaleReason, ScalingPolicy, Surplus, WorkerView};
use crate::units::Span;

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "slo_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 10.0 },
        doc: "seconds that a job may wait; the endpoint's slo.wait_s where there is one",
    },
    ParamSpec {
        name: "patience",
        kind: ParamKind::Number { min: 0.0, max: 1.0, default: 0.0 },
        doc: "share of the time left after a start (slo_s - D) that a job waits before one is made for it",
    },
    ParamSpec {
        name: "caution",
        kind: ParamKind::Number { min: 0.0, max: 100.0, default: 1.0 },
        doc: "factor on the expected wait for a busy worker: above 1 starts sooner, 2 to 3 where service times vary a lot",
    },
    ParamSpec {
        name: "wait_value",
        kind: ParamKind::Number { min: 0.0, max: 1_000.0, default: 1.0 },
        doc: "paid worker seconds that a second of waiting is worth to a job that is late whatever is done",
    },
    ParamSpec {
        name: "half_life_s",
        kind: ParamKind::Number { min: 1.0, max: 86_400.0, default: 120.0 },
        doc: "seconds after which an arrival counts half in the load",
    },
    ParamSpec {
        name: "miss",
        kind: ParamKind::Number { min: 0.0001, max: 1.0, default: 0.05 },
        doc: "share of jobs that may wait beyond slo_s in a steady state; 1 = only the jobs that are there count",
    },
    ParamSpec {
        name: "late_share",
        kind: ParamKind::Number { min: 0.0, max: 0.5, default: 0.0 },
        doc: "share of the jobs that may wait beyond slo_s: patience grows while fewer do and shrinks while more do; 0 = patience stays",
    },
    ParamSpec {
        name: "cancel_starts",
        kind: ParamKind::Switch { default: false },
        doc: "call off starts that no waiting job needs any more, youngest first",
    },
    ParamSpec {
        name: "start_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 10.0 },
        doc: "seconds that a start is taken to last before one was measured",
    },
    ParamSpec {
        name: "service_s",
        kind: ParamKind::Number { min: 0.001, max: 86_400.0, default: 10.0 },
        doc: "seconds that a job is taken to last before one has ended",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "slo_cost",
    summary: "start a worker only for a job that would wait beyond slo_s and is helped by it (use with rank_timeout)",
    formula: "start for job k iff w_k + D <= slo_s < w_k + caution t_k, t_k by list scheduling; for N that are late anyway N sqrt(wait_value S / 2 (D + E))",
    source: "own; structure of the clairvoyant optimum, policies 7.2",
    weakness: "heavy-tailed service times, starts that vary a lot, growth within the length of a start",
    params: PARAMS,
    build: |params| Box::new(SloCost::new(params)),
};

/// Service times that are kept.
const SAMPLES: usize = 256;
/// Samples below which the mean rest of a job is its mean length.
const ENOUGH: usize = 16;
/// A start that has lasted for longer than the mean is taken to last for such a share of that time more: those that are overdue are
/// mostly of the long kind (a cold start among resumes).
const OVERDUE: f64 = 0.25;
/// Before any start was measured, one takes so many times as long as the oldest one under way has lasted.
const FIRST: f64 = 2.0;
/// While jobs are held back, the next look is no sooner than this.
const LOOK_S: f64 = 0.25;

/// See the module.
#[derive(Clone, Debug)]
pub struct SloCost {
    slo_s: f64,
    patience: f64,
    caution: f64,
    wait_value: f64,
    half_life_s: f64,
    miss: f64,
    cancel_starts: bool,
    start_s: f64,
    service: Service,
    load: Load,
    budget: Budget,
}

/// Which of the waiting jobs may get a start: the oldest that are late anyway, and those that have waited long enough for one.
#[derive(Clone, Copy, Debug)]
struct Limits {
    lost: u32,
    held: u32,
    hold_s: f64,
    start_s: f64,
    room: u32,
}

#[derive(Deserialize)]
struct Learned {
    service: Service,
    load: Load,
    #[serde(default)]
    late: Late,
}

/// Measured service times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Service {
    prior_s: f64,
    ended: u64,
    total: Span,
    samples: VecDeque<f64>,
    fresh: u32,
    /// The samples in order, each with the sum of itself and all larger ones.
    sorted: Vec<(f64, f64)>,
    /// Mean rest of a job that is met at work at some moment: `E[S^2] / 2 E[S]`.
    #[serde(default)]
    met_s: f64,
}

impl Service {
    fn see(&mut self, seen: &Observation<'_>) {
        let ended = seen.ended.saturating_sub(self.ended);
        if ended == 0 {
            return;
        }
        // Asked at every end of a job, this is its own length; after a silence it is a mean.
        let mean_s = Span(seen.service_total.0.saturating_sub(self.total.0)).as_secs() / ended as f64;
        (self.ended, self.total) = (seen.ended, seen.service_total);
        self.samples.push_back(mean_s);
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        self.fresh += 1;
        if self.fresh as usize * 8 >= self.samples.len() {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.fresh = 0;
        let mut sorted: Vec<f64> = self.samples.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let total: f64 = sorted.iter().sum();
        self.met_s = if total > 0.0 { sorted.iter().map(|one| one * one).sum::<f64>() / (2.0 * total) } else { 0.0 };
        let mut sum = 0.0;
        self.sorted = sorted
            .into_iter()
            .rev()
            .map(|sample| {
                sum += sample;
                (sample, sum)
            })
            .collect();
        self.sorted.reverse();
    }

    fn mean_s(&self) -> f64 {
        self.sorted.first().map_or(self.prior_s, |(_, sum)| sum / self.sorted.len() as f64)
    }

    /// When the jobs on one worker end, the last of which has run for `ran_s`: of several each may have run for any time, and they end one
    /// after the other.
    fn ends_s(&self, jobs: u32, ran_s: f64) -> impl Iterator<Item = f64> {
        let mean_s = match jobs {
            0 | 1 => self.rest_s(ran_s),
            _ if self.sorted.len() < ENOUGH => self.mean_s(),
            _ => self.met_s,
        };
        (1..=jobs).map(move |job| 2.0 * mean_s * f64::from(job) / f64::from(jobs + 1))
    }

    /// Mean rest of a job that has run for `ran_s`.
    fn rest_s(&self, ran_s: f64) -> f64 {
        let mean_s = self.mean_s();
        if self.sorted.len() < ENOUGH {
            return (mean_s - ran_s).max(0.25 * mean_s);
        }
        let longer = self.sorted.partition_point(|(sample, _)| *sample <= ran_s);
        match self.sorted.get(longer) {
            Some((_, sum)) => sum / (self.sorted.len() - longer) as f64 - ran_s,
            // Longer than all that were seen: as long again as it has run beyond the longest, a quarter of the mean at least.
            None => (ran_s - self.sorted.last().map_or(0.0, |(longest, _)| *longest)).max(0.25 * mean_s),
        }
    }
}

/// Seconds from now as a whole number of microseconds, so that they have an order.
fn micros(seconds: f64) -> u64 {
    Span::from_secs(seconds).0
}

impl SloCost {
    fn new(params: &Params) -> SloCost {
        SloCost {
            slo_s: params.number("slo_s"),
            patience: params.number("patience"),
            caution: params.number("caution"),
            wait_value: params.number("wait_value"),
            half_life_s: params.number("half_life_s"),
            miss: params.number("miss"),
            cancel_starts: params.switch("cancel_starts"),
            start_s: params.number("start_s"),
            service: Service { prior_s: params.number("service_s"), ..Service::default() },
            load: Load::default(),
            budget: Budget::new(params.number("late_share")),
        }
    }

    /// When each place is free, seconds from now.
    fn places(&self, seen: &Observation<'_>, start_s: f64) -> BinaryHeap<Reverse<u64>> {
        let mut free = BinaryHeap::new();
        for worker in seen.details.workers() {
            match worker.phase {
                Phase::Ready => {
                    let ran_s = seen.now.since(worker.last_used).as_secs();
                    free.extend(self.service.ends_s(worker.in_hand, ran_s).map(|end_s| Reverse(micros(end_s))));
                    free.extend((worker.in_hand..seen.concurrency).map(|_| Reverse(0)));
                }
                Phase::Starting => {
                    let left = micros(start_left_s(&worker, seen, start_s));
                    free.extend((0..seen.concurrency).map(|_| Reverse(left)));
                }
                _ => {}
            }
        }
        // Wanted, but still looking for a host, fetching, or in want of GPUs.
        let on_their_way = (seen.starting + seen.throttled) as usize;
        let counted = seen.details.workers().iter().filter(|worker| worker.phase == Phase::Starting).count();
        let others = on_their_way.saturating_sub(counted) * seen.concurrency as usize;
        free.extend((0..others).map(|_| Reverse(micros(start_s))));
        free
    }

    /// Length of a start before one was measured.
    fn first_start_s(&self, seen: &Observation<'_>) -> f64 {
        let workers = seen.details.workers();
        let starting = workers.iter().filter(|worker| worker.phase == Phase::Starting);
        starting.map(|worker| FIRST * seen.now.since(worker.started).as_secs()).fold(self.start_s, f64::max)
    }

    /// Starts that the waiting jobs need now, and when to look again for one that can still wait.
    fn starts(&self, seen: &Observation<'_>) -> (u32, Option<Span>) {
        let start_s = seen.mean_start.map_or_else(|| self.first_start_s(seen), Span::as_secs);
        let service = micros(self.service.mean_s());
        let mut free = self.places(seen, start_s);
        let current = seen.up_or_coming();
        let room = (seen.max + seen.extra).saturating_sub(current);
        // Those that have waited longer than this are late even if a worker is started for them now.
        let lost = match Span::from_secs((self.slo_s - start_s).max(0.0)) {
            Span::ZERO => u32::MAX,
            latest => seen.details.waiting_longer_than(latest),
        };
        let lost = lost.min(seen.queued);
        let late = late(free.clone(), lost, start_s, service);
        let restart_s = start_s + seen.stop_s();
        let shared = self.workers_for(late, restart_s, seen.concurrency);
        // Jobs that are still patient ask for nothing.
        let spare_s = (self.slo_s - start_s).max(0.0);
        let fills = self.service.mean_s() / (f64::from(seen.concurrency) * spare_s.max(1e-3));
        let hold_s = self.budget.patience(self.patience, fills) * spare_s;
        let held = if hold_s > 0.0 { seen.details.waiting_longer_than(Span::from_secs(hold_s)) } else { u32::MAX };
        let steady = if self.any_late(seen, free.clone(), held.max(lost)) { self.steady(seen) } else { 0 };
        let starts = shared.max(steady).saturating_sub(current).min(room);
        free.extend((0..starts * seen.concurrency).map(|_| Reverse(micros(start_s))));
        let limits = Limits { lost, held, hold_s, start_s, room: room - starts };
        let (rescues, look_again) = self.rescues(seen, free, &limits);
        (starts + rescues, look_again)
    }

    /// One of the `oldest` would wait beyond the objective without a start.
    fn any_late(&self, seen: &Observation<'_>, mut free: BinaryHeap<Reverse<u64>>, oldest: u32) -> bool {
        let service = micros(self.service.mean_s());
        (1..=seen.queued.min(oldest)).any(|job| {
            let wait_s = free.peek().map_or(f64::INFINITY, |Reverse(at)| Span(*at).as_secs());
            take(&mut free, service);
            self.is_late(seen, job, wait_s * self.caution)
        })
    }

    /// Workers that hold the objective under the load of late.
    fn steady(&self, seen: &Observation<'_>) -> u32 {
        let most = (seen.max + seen.extra).saturating_mul(seen.concurrency);
        if self.miss >= 1.0 {
            return 0;
        }
        erlang_places(self.load.rate(), self.service.mean_s(), self.slo_s, self.miss, most).div_ceil(seen.concurrency)
    }

    /// Starts by which jobs that may wait are in time, those that are lost aside.
    fn rescues(
        &self,
        seen: &Observation<'_>,
        mut free: BinaryHeap<Reverse<u64>>,
        limits: &Limits,
    ) -> (u32, Option<Span>) {
        let Limits { lost, held, hold_s, start_s, room } = *limits;
        let service = micros(self.service.mean_s());
        for _ in 0..lost {
            take(&mut free, service);
        }
        let (mut starts, mut look_again) = (0, None);
        for job in lost + 1..=seen.queued {
            let wait_s = free.peek().map_or(f64::INFINITY, |Reverse(at)| Span(*at).as_secs());
            if wait_s > start_s && self.is_late(seen, job, wait_s * self.caution) {
                if starts == room {
                    break;
                } else if held < job && !self.is_pressing(seen, job, free.clone(), limits) {
                    let waited_s = seen.oldest_wait.unwrap_or_default().as_secs();
                    // The wait of any but the oldest is not told: look often.
                    look_again = Some(Span::from_secs((hold_s - waited_s).max(LOOK_S)));
                    break;
                }
                starts += 1;
                free.extend((0..seen.concurrency).map(|_| Reverse(micros(start_s))));
            }
            take(&mut free, service);
        }
        (starts, look_again)
    }

    /// With a start now for `job`, one of those behind it would be in time with no more left than `job` may have when it gets its start.
    fn is_pressing(
        &self,
        seen: &Observation<'_>,
        job: u32,
        mut free: BinaryHeap<Reverse<u64>>,
        limits: &Limits,
    ) -> bool {
        let service = micros(self.service.mean_s());
        free.extend((0..seen.concurrency).map(|_| Reverse(micros(limits.start_s))));
        take(&mut free, service);
        (job + 1..=seen.queued).any(|behind| {
            let wait_s = free.peek().map_or(0.0, |Reverse(at)| Span(*at).as_secs());
            take(&mut free, service);
            // What `job` has left when its patience ends, for one that is served later than at the end of a start.
            let latest_s = limits.hold_s - (wait_s - limits.start_s).max(0.0);
            let has_waited = |longer_than_s: f64| {
                longer_than_s <= 0.0 || seen.details.waiting_longer_than(Span::from_secs(longer_than_s)) >= behind
            };
            has_waited(latest_s) && !self.is_late(seen, behind, wait_s)
        })
    }

    /// How many workers are worth their starts for so many jobs that are late whatever is done.
    fn workers_for(&self, late: u32, restart_s: f64, concurrency: u32) -> u32 {
        let jobs = f64::from(late);
        let worth = self.wait_value * self.service.mean_s() / (2.0 * restart_s.max(1e-3) * f64::from(concurrency));
        let all = (jobs / f64::from(concurrency)).ceil();
        (jobs * worth.sqrt()).round().clamp(jobs.min(1.0), all) as u32
    }

    /// The `job`-th oldest would wait longer than allowed if it went on waiting for so many seconds.
    fn is_late(&self, seen: &Observation<'_>, job: u32, wait_s: f64) -> bool {
        wait_s > self.slo_s || seen.details.waiting_longer_than(Span::from_secs(self.slo_s - wait_s)) >= job
    }
}

/// The next job takes the place that is free first.
fn take(free: &mut BinaryHeap<Reverse<u64>>, service: u64) {
    if let Some(Reverse(at)) = free.pop() {
        free.push(Reverse(at + service));
    }
}

/// How many of the `jobs` oldest are served later than a start takes.
fn late(mut free: BinaryHeap<Reverse<u64>>, jobs: u32, start_s: f64, service: u64) -> u32 {
    let start = micros(start_s);
    for job in 0..jobs {
        if free.peek().is_none_or(|Reverse(at)| *at > start) {
            // Places are free in order: nor is any later job served sooner.
            return jobs - job;
        }
        take(&mut free, service);
    }
    0
}

/// What is left of a start.
fn start_left_s(worker: &WorkerView, seen: &Observation<'_>, start_s: f64) -> f64 {
    let ran_s = seen.now.since(worker.started).as_secs();
    (start_s - ran_s).max(OVERDUE * ran_s)
}

impl ScalingPolicy for SloCost {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        self.service.see(seen);
        self.load.see(seen, self.half_life_s);
        self.budget.see(seen, self.slo_s);
        let current = seen.up_or_coming();
        let advice = |workers, surplus, ask_again| {
            let reason = if current == 0 { ScaleReason::FromZero } else { ScaleReason::Policy };
            Advice { workers, surplus, reason, ask_again }
        };
        if seen.queued > 0 {
            let (starts, look_again) = self.starts(seen);
            let look_again = [look_again, self.budget.look_again(seen, self.slo_s)].into_iter().flatten().min();
            return advice(current + starts, Surplus::KeepAlive, look_again);
        }
        if self.cancel_starts && seen.starting + seen.throttled > 0 {
            return advice(seen.idle + seen.busy, Surplus::CancelStarts, None);
        }
        advice(current, Surplus::KeepAlive, None)
    }

    fn save(&self) -> Value {
        json!({ "service": self.service, "load": self.load, "late": self.budget.late })
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let kept = Learned::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        (self.service, self.load, self.budget.late) = (kept.service, kept.load, kept.late);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
