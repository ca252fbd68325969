//! The run over time, in at most 2,048 buckets: arrivals, outcomes, queue, workers by public state, cost under both profiles.
//!
//! Buckets start a second wide; when the run outgrows them, neighbours are joined and the width doubles, so memory is bounded
//! and no length has to be known beforehand. Levels are spread exactly over the buckets that they last through (integer
//! microseconds); what rounding adds to a bill falls into the bucket in which it is booked. Sums over the buckets equal the
//! totals of ledger and metrics to the last digit.

use serde::{Deserialize, Serialize};

use super::billing::{CostPhase, Profile, Situation, billed};
use super::meter::{Meter, Rounding};
use super::{enabled_as_active, price_of_worker};
use crate::scheduler::Phase;
use crate::scheduler::watch::{LiveJob, Member, Watcher};
use crate::scheduler::{
    EndpointSpec, Event, FinishCause, GpuClass, GpuClassId, HostSpec, JobOutcome, PublicState, RequeueCause,
};
use crate::units::{EndpointId, HostId, MICROS_PER_S, Money, Span, Time, UsdPerSecond};

/// Most buckets of a line.
pub const BUCKETS_MAX: usize = 2_048;

/// What one bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Jobs accepted.
    pub arrivals: u64,
    /// Jobs that got an outcome.
    pub finished: u64,
    /// Waiting jobs times microseconds.
    pub queue: u64,
    /// Worker-microseconds by public state, in the order of [`PublicState::ALL`].
    pub states: [u64; 6],
    /// Worker-microseconds asleep or frozen: the part of the state idle that costs nothing.
    pub asleep: u64,
    /// Cost by profile.
    pub cost: [Money; 2],
    /// Cost under the profile `documented` by what it was spent on, in the order of [`CostPhase::ALL`].
    pub phases: [Money; 5],
}

impl Bucket {
    fn add(&mut self, other: &Bucket) {
        self.arrivals += other.arrivals;
        self.finished += other.finished;
        self.queue += other.queue;
        self.states.iter_mut().zip(other.states).for_each(|(mine, theirs)| *mine += theirs);
        self.asleep += other.asleep;
        self.cost.iter_mut().zip(other.cost).for_each(|(mine, theirs)| *mine += theirs);
        self.phases.iter_mut().zip(other.phases).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// One endpoint over time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Line {
    at: Time,
    queue: u64,
    states: [u64; 6],
    asleep: u64,
    /// Sum of the prices of the workers that bill now, by profile.
    rates: [UsdPerSecond; 2],
    /// That of the profile `documented` by what is billed; rounding has none.
    phase_rates: [UsdPerSecond; 5],
    buckets: Vec<Bucket>,
}

/// A worker's part in its line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    enabled: bool,
    meter: Meter,
}

/// The recorder; a watcher like the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    classes: Vec<GpuClass>,
    rounding: Rounding,
    hosts: Vec<GpuClassId>,
    lines: Vec<Line>,
    parts: Vec<Option<Part>>,
    width: Span,
    buckets_max: usize,
    end: Time,
}

impl Timeline {
    /// An empty timeline of at most `buckets_max` (2 to 2,048, even) buckets per endpoint.
    pub fn new(classes: &[GpuClass], rounding: Rounding, buckets_max: usize) -> Timeline {
        assert!((2..=BUCKETS_MAX).contains(&buckets_max) && buckets_max.is_multiple_of(2));
        Timeline {
            classes: classes.to_vec(),
            rounding,
            hosts: Vec::new(),
            lines: Vec::new(),
            parts: Vec::new(),
            width: Span(MICROS_PER_S),
            buckets_max,
            end: Time::ZERO,
        }
    }

    /// Width of a bucket.
    pub fn width(&self) -> Span {
        self.width
    }

    /// The end of the run: the last bucket may be shorter than the others.
    pub fn end(&self) -> Time {
        self.end
    }

    /// Buckets of an endpoint, from time 0 on; later ones are empty.
    pub fn endpoint(&self, endpoint: EndpointId) -> &[Bucket] {
        self.lines.get(endpoint.index()).map_or(&[], |line| &line.buckets)
    }

    /// Number of endpoints seen.
    pub fn endpoints(&self) -> usize {
        self.lines.len()
    }

    /// All endpoints together.
    pub fn total(&self) -> Vec<Bucket> {
        let mut total = Vec::new();
        for line in &self.lines {
            if total.len() < line.buckets.len() {
                total.resize(line.buckets.len(), Bucket::default());
            }
            total.iter_mut().zip(&line.buckets).for_each(|(sum, bucket)| sum.add(bucket));
        }
        total
    }

    /// Makes room for `now`, then brings the line of `endpoint` up to it.
    fn advance(&mut self, now: Time, endpoint: EndpointId) -> Option<&mut Line> {
        while now.0 / self.width.0 >= self.buckets_max as u64 {
            self.widen();
        }
        let width = self.width.0;
        let line = self.lines.get_mut(endpoint.index())?;
        while line.at < now {
            let end = Time(((line.at.0 / width + 1) * width).min(now.0));
            let span = end.since(line.at);
            let (queue, states, asleep) = (line.queue, line.states, line.asleep);
            let (rates, phase_rates) = (line.rates, line.phase_rates);
            let bucket = line.bucket(line.at, width);
            bucket.queue += queue * span.0;
            bucket.states.iter_mut().zip(states).for_each(|(sum, count)| *sum += count * span.0);
            bucket.asleep += asleep * span.0;
            bucket.cost.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate.cost(span));
            bucket.phases.iter_mut().zip(phase_rates).for_each(|(sum, rate)| *sum += rate.cost(span));
            line.at = end;
        }
        Some(line)
    }

    fn widen(&mut self) {
        self.width = Span(self.width.0 * 2);
        for line in &mut self.lines {
            let joined = line.buckets.chunks(2).map(|pair| {
                let mut sum = pair[0].clone();
                pair[1..].iter().for_each(|other| sum.add(other));
                sum
            });
            line.buckets = joined.collect();
        }
    }

    /// The bucket of `now` in a line that was brought up to it.
    fn bucket(&mut self, now: Time, endpoint: EndpointId) -> Option<&mut Bucket> {
        self.advance(now, endpoint)?;
        let width = self.width.0;
        self.lines.get_mut(endpoint.index()).map(|line| line.bucket(now, width))
    }

    fn change(&mut self, now: Time, endpoint: EndpointId, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.advance(now, endpoint) {
            change(line);
        }
    }

    /// Turns the worker's meter to its present situation and its line's rates with it.
    fn meter(&mut self, now: Time, worker: &Member) {
        let class = worker.host.and_then(|host| self.hosts.get(host.index())).copied();
        let price = price_of_worker(&self.classes, class, worker);
        let Some(part) = self.parts.get_mut(worker.id.slot()).and_then(Option::as_mut) else { return };
        part.enabled = enabled_as_active(part.enabled, worker);
        let (old_price, old_phases) = (part.meter.price(), part.meter.phases());
        let (spent, spent_at) = part.meter.reprice(now, price);
        let phases = billed(Situation::of(worker, part.enabled));
        part.meter.turn(now, phases);
        let rounded = spent.map(|spent| spent_at.cost(spent.rounding()));
        let booked = part.meter.take(now).map(|spent| price.cost(spent.rounding()));
        self.change(now, worker.endpoint, |line| {
            for profile in 0..2 {
                let rate = &mut line.rates[profile].0;
                *rate -= if old_phases[profile].is_some() { old_price.0 } else { 0 };
                *rate += if phases[profile].is_some() { price.0 } else { 0 };
            }
            line.phase_rate(old_phases, old_price, false);
            line.phase_rate(phases, price, true);
        });
        self.book(now, worker.endpoint, rounded);
        self.book(now, worker.endpoint, booked);
    }

    /// Books what rounding added to the two bills.
    fn book(&mut self, now: Time, endpoint: EndpointId, amounts: [Money; 2]) {
        if amounts != [Money::ZERO; 2]
            && let Some(bucket) = self.bucket(now, endpoint)
        {
            bucket.cost.iter_mut().zip(amounts).for_each(|(sum, amount)| *sum += amount);
            bucket.phases[CostPhase::Rounding.index()] += amounts[Profile::Documented.index()];
        }
    }

    fn close(&mut self, now: Time, worker: &Member) {
        let Some(mut part) = self.parts.get_mut(worker.id.slot()).and_then(Option::take) else { return };
        let (phases, price) = (part.meter.phases(), part.meter.price());
        let rounded = part.meter.end(now).map(|spent| price.cost(spent.rounding()));
        self.change(now, worker.endpoint, |line| {
            for (rate, phase) in line.rates.iter_mut().zip(phases) {
                rate.0 -= if phase.is_some() { price.0 } else { 0 };
            }
            line.phase_rate(phases, price, false);
        });
        self.book(now, worker.endpoint, rounded);
    }
}

impl Line {
    fn bucket(&mut self, at: Time, width: u64) -> &mut Bucket {
        let place = (at.0 / width) as usize;
        if self.buckets.len() <= place {
            self.buckets.resize(place + 1, Bucket::default());
        }
        &mut self.buckets[place]
    }

    /// A worker at this price begins or ceases to be billed under `documented` for what it does.
    fn phase_rate(&mut self, phases: [Option<CostPhase>; 2], price: UsdPerSecond, begins: bool) {
        if let Some(phase) = phases[Profile::Documented.index()] {
            let rate = &mut self.phase_rates[phase.index()].0;
            *rate = if begins { *rate + price.0 } else { *rate - price.0 };
        }
    }

    fn state(&mut self, worker: &Member, enters: bool) {
        if let Some(state) = PublicState::of(worker.phase, worker.in_hand, worker.outdated) {
            let counts = [&mut self.states[state as usize], &mut self.asleep];
            let is_asleep = state == PublicState::Idle && matches!(worker.phase, Phase::Asleep | Phase::Frozen);
            for count in counts.into_iter().take(1 + usize::from(is_asleep)) {
                *count = if enters { *count + 1 } else { *count - 1 };
            }
        }
    }
}

impl Watcher for Timeline {
    fn host_added(&mut self, _: Time, _: HostId, spec: &HostSpec) {
        self.hosts.push(spec.gpu_class);
    }

    fn endpoint_changed(&mut self, now: Time, endpoint: EndpointId, _: &EndpointSpec) {
        if self.lines.len() <= endpoint.index() {
            self.lines.push(Line { at: now, ..Line::default() });
        }
    }

    fn worker_placed(&mut self, now: Time, worker: &Member, was: Option<&Member>) {
        if was.is_none() {
            let slot = worker.id.slot();
            if self.parts.len() <= slot {
                self.parts.resize_with(slot + 1, || None);
            }
            let meter = Meter::new(now, UsdPerSecond(0), self.rounding);
            self.parts[slot] = Some(Part { enabled: false, meter });
            self.change(now, worker.endpoint, |line| line.state(worker, true));
        }
        self.meter(now, worker);
    }

    fn phase_changed(&mut self, now: Time, worker: &Member, was: &Member) {
        self.change(now, worker.endpoint, |line| {
            line.state(was, false);
            line.state(worker, true);
        });
        self.meter(now, worker);
        if worker.phase == Phase::Removed {
            self.close(now, worker);
        }
    }

    fn hands_changed(&mut self, now: Time, worker: &Member, was: u32) {
        if (was == 0) != (worker.in_hand == 0) {
            self.change(now, worker.endpoint, |line| {
                line.state(&Member { in_hand: was, ..worker.clone() }, false);
                line.state(worker, true);
            });
            self.meter(now, worker);
        }
    }

    fn job_accepted(&mut self, now: Time, job: &LiveJob) {
        if let Some(bucket) = self.bucket(now, job.endpoint) {
            bucket.arrivals += 1;
        }
        self.change(now, job.endpoint, |line| line.queue += 1);
    }

    fn job_assigned(&mut self, now: Time, job: &LiveJob, _: bool) {
        self.change(now, job.endpoint, |line| line.queue -= 1);
    }

    fn job_requeued(&mut self, now: Time, job: &LiveJob, _: RequeueCause) {
        self.change(now, job.endpoint, |line| line.queue += 1);
    }

    fn job_finished(&mut self, now: Time, job: &LiveJob, _: JobOutcome, _: FinishCause) {
        if let Some(bucket) = self.bucket(now, job.endpoint) {
            bucket.finished += 1;
        }
        self.change(now, job.endpoint, |line| line.queue -= u64::from(job.worker.is_none()));
    }

    fn fact(&mut self, _: Time, event: &Event) {
        if let Event::GpuClassAdded { class } = event {
            self.classes.push((**class).clone());
        }
    }

    fn worker_left(&mut self, now: Time, worker: &Member) {
        self.close(now, worker);
    }

    fn run_ended(&mut self, now: Time) {
        self.end = now;
        for endpoint in 0..self.lines.len() {
            self.advance(now, EndpointId(endpoint as u32));
        }
    }
}
