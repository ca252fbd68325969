//! One arrival process: when the next request of a source comes.
//!
//! In: a checked specification and the source's generator. Out: times in order, [`Time::MAX`] for "never". Rate curves and
//! traces have files of their own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rand::Rng;

use super::clock::Clock;
use super::curve::{Curve, Sine};
use super::deviate::{exponential, uniform};
use super::playback::Playback;
use super::{ArrivalSpec, Sampler, WorkHint, WorkloadError};
use crate::units::{Span, Time};

/// The state of a source's arrival process.
#[derive(Debug)]
pub enum Process {
    /// Independent exponential gaps.
    Poisson { mean_gap_s: f64, clock: Clock },
    /// Independent gaps.
    Renewal { gap: Sampler, clock: Clock },
    /// Markov-modulated Poisson.
    Mmpp(Mmpp),
    /// Piecewise linear rate.
    Curve(Curve),
    /// Sinusoidal rate.
    Sine(Sine),
    /// Batches at Poisson instants; `left` more of the present one.
    Batch { mean_gap_s: f64, size: Sampler, left: u64, clock: Clock },
    /// Self-exciting.
    Hawkes(Hawkes),
    /// Clients that wait for their outcome.
    ClosedLoop(ClosedLoop),
    /// A list; `start` is its time 0.
    Times { at_s: Arc<Vec<f64>>, start: Time, index: usize },
    /// A list with what is known of each request's work.
    Rows { at_s: Arc<Vec<f64>>, work: Arc<Vec<WorkHint>>, start: Time, index: usize },
    /// A file.
    Trace(Box<Playback>),
}

impl Process {
    /// A process that starts at `start`; `spec` has been checked.
    ///
    /// # Errors
    /// If a trace cannot be opened.
    pub fn start(spec: &ArrivalSpec, start: Time, rng: &mut impl Rng) -> Result<Process, WorkloadError> {
        let clock = Clock::at(start);
        Ok(match spec {
            ArrivalSpec::Poisson { rate } => Process::Poisson { mean_gap_s: 1.0 / rate, clock },
            ArrivalSpec::Renewal { gap } => Process::Renewal { gap: gap.sampler(), clock },
            ArrivalSpec::Mmpp { rates, mean_stay_s } => Process::Mmpp(Mmpp::start(rates, mean_stay_s, clock, rng)),
            ArrivalSpec::RateCurve { points, linear, period_s } => {
                Process::Curve(Curve::new(points, *linear, *period_s, start))
            }
            ArrivalSpec::Sine { mean, amplitude, period_s, phase_s } => {
                Process::Sine(Sine::new(*mean, *amplitude, *period_s, *phase_s, start))
            }
            ArrivalSpec::Batch { rate, size } => {
                Process::Batch { mean_gap_s: 1.0 / rate, size: size.sampler(), left: 0, clock }
            }
            ArrivalSpec::Hawkes { base_rate, branching, decay } => Process::Hawkes(Hawkes {
                base_rate: *base_rate,
                branching: *branching,
                decay: *decay,
                excess: 0.0,
                clock,
            }),
            ArrivalSpec::ClosedLoop { users, think } => {
                Process::ClosedLoop(ClosedLoop::start(*users, think.sampler(), start, rng))
            }
            ArrivalSpec::Times { at_s } => Process::Times { at_s: Arc::clone(at_s), start, index: 0 },
            ArrivalSpec::Rows { at_s, work } => {
                Process::Rows { at_s: Arc::clone(at_s), work: Arc::clone(work), start, index: 0 }
            }
            ArrivalSpec::Trace(source) => Process::Trace(Box::new(Playback::open(source, start)?)),
        })
    }

    /// The next arrival; what a trace knows of its work goes into `work`, which stays empty otherwise.
    ///
    /// # Errors
    /// If a trace cannot be read further.
    #[inline]
    pub fn next(&mut self, rng: &mut impl Rng, work: &mut WorkHint) -> Result<Time, WorkloadError> {
        // The commonest one is short enough to be inlined into the loop that asks.
        if let Process::Poisson { mean_gap_s, clock } = self {
            clock.advance(*mean_gap_s * exponential(rng));
            return Ok(clock.time());
        }
        self.next_other(rng, work)
    }

    fn next_other(&mut self, rng: &mut impl Rng, work: &mut WorkHint) -> Result<Time, WorkloadError> {
        let next = match self {
            Process::Trace(playback) => playback.next(rng)?,
            Process::Rows { at_s, work, start, index } => {
                *index += 1;
                let row = at_s.get(*index - 1).zip(work.get(*index - 1));
                row.map(|(at_s, work)| (*start + Span::from_secs(*at_s), *work))
            }
            _ => return Ok(self.next_time(rng)),
        };
        let Some((at, known)) = next else { return Ok(Time::MAX) };
        *work = known;
        Ok(at)
    }

    fn next_time(&mut self, rng: &mut impl Rng) -> Time {
        match self {
            Process::Renewal { gap, clock } => {
                clock.advance(gap.sample(rng));
                clock.time()
            }
            Process::Mmpp(mmpp) => mmpp.next(rng),
            Process::Curve(curve) => curve.next(rng),
            Process::Sine(sine) => sine.next(rng),
            Process::Batch { mean_gap_s, size, left, clock } => {
                if *left == 0 {
                    clock.advance(*mean_gap_s * exponential(rng));
                    *left = (size.sample(rng).round() as u64).max(1);
                }
                *left -= 1;
                clock.time()
            }
            Process::Hawkes(hawkes) => hawkes.next(rng),
            Process::ClosedLoop(clients) => clients.next(),
            Process::Times { at_s, start, index } => {
                let at = at_s.get(*index).map_or(Time::MAX, |at_s| *start + Span::from_secs(*at_s));
                *index += 1;
                at
            }
            Process::Poisson { .. } | Process::Rows { .. } | Process::Trace(_) => {
                unreachable!("next() deals with these itself")
            }
        }
    }
}

/// Poisson at the rate of the present state, for an exponential stay in each state, in turn.
#[derive(Debug)]
pub struct Mmpp {
    /// Rate and mean stay of each state.
    states: Vec<(f64, f64)>,
    state: usize,
    stay_ends: Clock,
    clock: Clock,
}

impl Mmpp {
    /// The first state is drawn by its share of time. Stays are exponential, so what is left of the first one is as long as a
    /// whole one: the process is stationary from its start.
    fn start(rates: &[f64], mean_stay_s: &[f64], clock: Clock, rng: &mut impl Rng) -> Mmpp {
        let states: Vec<(f64, f64)> = rates.iter().copied().zip(mean_stay_s.iter().copied()).collect();
        let mut rest = uniform(rng) * mean_stay_s.iter().sum::<f64>();
        let mut passed = |stay_s: &f64| {
            rest -= stay_s;
            rest >= 0.0
        };
        let state = mean_stay_s.iter().take_while(|stay_s| passed(stay_s)).count().min(states.len() - 1);
        let mut stay_ends = clock;
        stay_ends.advance(states[state].1 * exponential(rng));
        Mmpp { states, state, stay_ends, clock }
    }

    fn next(&mut self, rng: &mut impl Rng) -> Time {
        loop {
            let (rate, _) = self.states[self.state];
            let mut next = self.clock;
            // The gap in progress at a change of state starts anew: exponentials have no memory.
            next.advance(if rate > 0.0 { exponential(rng) / rate } else { f64::INFINITY });
            if next < self.stay_ends || self.stay_ends.time() == Time::MAX {
                self.clock = next;
                return next.time();
            }
            self.clock = self.stay_ends;
            self.state = (self.state + 1) % self.states.len();
            self.stay_ends.advance(self.states[self.state].1 * exponential(rng));
        }
    }
}

/// Self-exciting arrivals with an exponential kernel, drawn exactly (A. Dassios, H. Zhao: Exact simulation of Hawkes process
/// with exponentially decaying intensity, 2013). It starts without a past, so the rate rises to `base_rate / (1 - branching)`.
#[derive(Debug)]
pub struct Hawkes {
    base_rate: f64,
    branching: f64,
    decay: f64,
    /// Rate above the base, right after the last arrival.
    excess: f64,
    clock: Clock,
}

impl Hawkes {
    fn next(&mut self, rng: &mut impl Rng) -> Time {
        // The earlier of two: the next one of the base, and the next one of the decaying excess, which may never come.
        let of_base = exponential(rng) / self.base_rate;
        let left = 1.0 - self.decay * exponential(rng) / self.excess;
        let of_excess = if left > 0.0 { -libm::log(left) / self.decay } else { f64::INFINITY };
        let gap = of_base.min(of_excess);
        self.excess = self.excess * libm::exp(-self.decay * gap) + self.branching * self.decay;
        self.clock.advance(gap);
        self.clock.time()
    }
}

/// Clients, each of whom thinks, submits, and waits for the outcome.
#[derive(Debug)]
pub struct ClosedLoop {
    think: Sampler,
    thinking: BinaryHeap<Reverse<Time>>,
    waiting: u32,
    offered: bool,
}

impl ClosedLoop {
    /// All clients begin by thinking.
    fn start(users: u32, think: Sampler, start: Time, rng: &mut impl Rng) -> ClosedLoop {
        let thinking = (0..users).map(|_| Reverse(start + think.span(rng))).collect();
        ClosedLoop { think, thinking, waiting: 0, offered: false }
    }

    /// When the next client will submit, as far as is known: an outcome may bring an earlier one.
    pub fn peek(&self) -> Time {
        self.thinking.peek().map_or(Time::MAX, |next| next.0)
    }

    /// The request that was offered has been taken: its client waits. Only the first call finds nothing offered.
    fn next(&mut self) -> Time {
        if self.offered && self.thinking.pop().is_some() {
            self.waiting += 1;
        }
        self.offered = true;
        self.peek()
    }

    /// One client has its outcome at `now` and thinks again, for at least a microsecond: a client whose requests are refused
    /// at once must not stop the clock.
    pub fn outcome(&mut self, now: Time, rng: &mut impl Rng) {
        if self.waiting > 0 {
            self.waiting -= 1;
            self.thinking.push(Reverse(now + self.think.span(rng).max(Span(1))));
        }
    }
}
