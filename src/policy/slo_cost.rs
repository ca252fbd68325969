//! Ours: start a worker only for a job that would otherwise wait beyond the objective, and only if the start comes in time to help.
//!
//! At every event with waiting jobs, their future is worked out as it would go without a start: each busy place is free after the mean
//! rest of its job (measured service times, given how long it has run), each start in flight after what is left of a mean start D, and
//! jobs go to them in order of age. Job k would wait `w_k + t_k` in all.
//! Formula: start one for job k iff `w_k + caution t_k > slo_s` and `t_k > D` and `w_k >= patience (slo_s - D)`; count it from then on.
//! `patience` > 0 lets a job use up that share of the time that it may wait anyway, so that others can share its start; 0 starts at once.
//! Down by the keep-alive policy: meant for `rank_timeout`, which weighs idling against the next start for each rank of workers.
//! With `cancel_starts`, starts that no waiting job needs any more are called off.
//!
//! Source: own; the structure is that of the clairvoyant optimum (policies 7.2: which ranks to bridge) with list scheduling in place of
//! knowledge. Does badly on: service times without a usable mean (heavy tails: half the waits are guessed wrong), starts that vary a
//! lot, and steady growth within a start (each job is judged alone; those who will come are not foreseen).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{Advice, AskedAt, BadPolicyState, Observation, Phase, ScaleReason, ScalingPolicy, Surplus, WorkerView};
use crate::units::Span;

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "slo_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 10.0 },
        doc: "seconds that a job may wait",
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
    formula: "start for job k iff w_k + caution t_k > slo_s, t_k > D, w_k >= patience (slo_s - D); t_k by list scheduling",
    source: "own; structure of the clairvoyant optimum, policies 7.2",
    weakness: "heavy-tailed service times, starts that vary a lot, growth within the length of a start",
    params: PARAMS,
    build: |params| Box::new(SloCost::new(params)),
};

/// Service times that are kept.
const SAMPLES: usize = 256;
/// Samples below which the mean rest of a job is its mean length.
const ENOUGH: usize = 16;
/// A start that has taken so many times its mean length is not counted upon any more.
const HOPELESS: f64 = 4.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct SloCost {
    slo_s: f64,
    patience: f64,
    caution: f64,
    cancel_starts: bool,
    start_s: f64,
    service: Service,
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
            cancel_starts: params.switch("cancel_starts"),
            start_s: params.number("start_s"),
            service: Service { prior_s: params.number("service_s"), ..Service::default() },
        }
    }

    /// When each place is free, seconds from now.
    fn places(&self, seen: &Observation<'_>, start_s: f64) -> BinaryHeap<Reverse<u64>> {
        let mut free = BinaryHeap::new();
        for worker in seen.details.workers() {
            match worker.phase {
                Phase::Ready => {
                    let ran_s = seen.now.since(worker.last_used).as_secs();
                    let rest = micros(self.service.rest_s(ran_s));
                    free.extend((0..worker.in_hand).map(|_| Reverse(rest)));
                    free.extend((worker.in_hand..seen.concurrency).map(|_| Reverse(0)));
                }
                Phase::Starting => {
                    let left = start_left_s(&worker, seen, start_s);
                    free.extend(
                        left.into_iter().flat_map(|left| (0..seen.concurrency).map(move |_| Reverse(micros(left)))),
                    );
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

    /// Starts that the waiting jobs need now, and when to look again for one that can still wait.
    fn starts(&self, seen: &Observation<'_>) -> (u32, Option<Span>) {
        let start_s = seen.mean_start.map_or(self.start_s, Span::as_secs);
        let service = micros(self.service.mean_s());
        let mut free = self.places(seen, start_s);
        let room = (seen.max + seen.extra).saturating_sub(seen.up_or_coming());
        let hold_s = self.patience * (self.slo_s - start_s).max(0.0);
        let held = if hold_s > 0.0 { seen.details.waiting_longer_than(Span::from_secs(hold_s)) } else { u32::MAX };
        let (mut starts, mut look_again) = (0, None);
        for job in 1..=seen.queued {
            let soonest = free.peek().map(|Reverse(at)| *at);
            let wait_s = soonest.map_or(f64::INFINITY, |at| Span(at).as_secs());
            if wait_s > start_s && starts < room && self.is_late(seen, job, wait_s * self.caution) {
                if held >= job {
                    starts += 1;
                    free.extend((0..seen.concurrency).map(|_| Reverse(micros(start_s))));
                } else if look_again.is_none() {
                    let waited_s = seen.oldest_wait.unwrap_or_default().as_secs();
                    // The wait of any but the oldest is not told: look often.
                    look_again = Some(Span::from_secs((hold_s - waited_s).max(0.25)));
                }
            }
            match free.pop() {
                Some(Reverse(at)) => free.push(Reverse(at + service)),
                // Nobody is there or coming: the rest can tell nothing new.
                None => break,
            }
            if starts == room && look_again.is_none() {
                break;
            }
        }
        (starts, look_again)
    }

    /// The `job`-th oldest would wait longer than allowed if it went on waiting for so many seconds.
    fn is_late(&self, seen: &Observation<'_>, job: u32, wait_s: f64) -> bool {
        wait_s > self.slo_s || seen.details.waiting_longer_than(Span::from_secs(self.slo_s - wait_s)) >= job
    }
}

/// What is left of a start; none for one on which nobody should count.
fn start_left_s(worker: &WorkerView, seen: &Observation<'_>, start_s: f64) -> Option<f64> {
    let ran_s = seen.now.since(worker.started).as_secs();
    (ran_s < HOPELESS * start_s.max(1.0)).then(|| (start_s - ran_s).max(0.1 * start_s))
}

impl ScalingPolicy for SloCost {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        self.service.see(seen);
        let current = seen.up_or_coming();
        let advice = |workers, surplus, ask_again| {
            let reason = if current == 0 { ScaleReason::FromZero } else { ScaleReason::Policy };
            Advice { workers, surplus, reason, ask_again }
        };
        if seen.queued > 0 {
            let (starts, look_again) = self.starts(seen);
            return advice(current + starts, Surplus::KeepAlive, look_again);
        }
        if self.cancel_starts && seen.starting + seen.throttled > 0 {
            return advice(seen.idle + seen.busy, Surplus::CancelStarts, None);
        }
        advice(current, Surplus::KeepAlive, None)
    }

    fn save(&self) -> Value {
        json!(self.service)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.service = Service::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{seen, worker};
    use super::super::{Details, PolicyChoice, registry};
    use super::*;
    use crate::units::Time;

    /// Workers, and how long the waiting jobs have waited, oldest first.
    struct Scene(Vec<WorkerView>, Vec<f64>);

    impl Details for Scene {
        fn waiting_longer_than(&self, span: Span) -> u32 {
            self.1.iter().filter(|wait| **wait > span.as_secs()).count() as u32
        }

        fn workers(&self) -> Vec<WorkerView> {
            self.0.clone()
        }
    }

    fn busy(sequence: u64, since_s: f64) -> WorkerView {
        WorkerView { in_hand: 1, last_used: Time::from_secs(since_s), ..worker(sequence) }
    }

    /// Starts take 10 s, jobs 5 s (from the observation), at t = 100.
    fn wanted(keys: &[(&str, f64)], workers: Vec<WorkerView>, waits: Vec<f64>) -> (u32, Option<Span>) {
        let choice =
            keys.iter().fold(PolicyChoice::named("slo_cost"), |choice, (name, value)| choice.with(name, *value));
        let mut policy = registry::scaling(&choice).expect("the keys are allowed");
        let up = workers.len() as u32;
        let (queued, oldest) = (waits.len() as u32, waits.first().copied().unwrap_or_default());
        let scene = Scene(workers, waits);
        let now = Observation {
            oldest_wait: Some(Span::from_secs(oldest)),
            details: &scene,
            ..seen(100.0, (queued, up), (0, up, 0))
        };
        let answer = policy.advise(&now);
        (answer.workers, answer.ask_again)
    }

    #[test]
    fn a_job_that_will_be_served_in_time_starts_nobody() {
        assert_eq!(wanted(&[("slo_s", 8.0)], vec![busy(1, 98.0)], vec![0.0]), (1, None));
        // The third would wait 3 + 5 + 5 s: beyond 8 s, and a start takes 10.
        assert_eq!(wanted(&[("slo_s", 8.0)], vec![busy(1, 98.0)], vec![2.0, 1.0, 0.0]).0, 2);
        // Where waiting for a worker is shorter than a start, a start would not help.
        assert_eq!(wanted(&[("slo_s", 1.0)], vec![busy(1, 98.0)], vec![2.0, 1.0]).0, 1);
    }

    #[test]
    fn from_zero_it_starts_at_once_or_when_patience_ends() {
        assert_eq!(wanted(&[], vec![], vec![0.0]).0, 1);
        let patient = [("slo_s", 30.0), ("patience", 0.5)];
        assert_eq!(wanted(&patient, vec![], vec![4.0]), (0, Some(Span::from_whole_secs(6))));
        assert_eq!(wanted(&patient, vec![], vec![10.1]).0, 1);
    }

    #[test]
    fn one_start_is_counted_for_all_whom_it_serves() {
        // 12 jobs of 5 s at once and 60 s of time: a worker that is there after 10 s serves ten of them, two serve all.
        assert_eq!(wanted(&[("slo_s", 60.0)], vec![], vec![0.0; 12]).0, 2);
        assert_eq!(wanted(&[("slo_s", 10.0)], vec![], vec![0.0; 12]).0, 12);
    }

    #[test]
    fn the_rest_of_a_job_is_learned_from_how_long_jobs_take() {
        let mut service = Service { prior_s: 10.0, ..Service::default() };
        assert_eq!(service.rest_s(4.0), 6.0);
        for n in 0..64_u64 {
            // Half the jobs take 1 s, half 9 s.
            let mut now = seen(0.0, (0, 0), (0, 0, 0));
            now.ended = n + 1;
            now.service_total = Span::from_whole_secs(n.div_ceil(2) * 9 + n / 2 + 1);
            service.see(&now);
        }
        assert!((service.rest_s(0.0) - 5.0).abs() < 0.5, "{}", service.rest_s(0.0));
        assert_eq!(service.rest_s(2.0), 7.0, "one that has run for 2 s is a long one");
        assert!(service.rest_s(12.0) > 0.0);
    }
}
