//! All sources of an endpoint, superposed into one stream of requests in order of time.
//!
//! In: a [`Traffic`], and a generator per source and kind of draw. Out: [`Arrival`]s one by one, never preloaded. What a policy
//! does changes nothing here, except that the clients of a closed loop wait for their outcomes
//! ([`TrafficStream::job_ended`]).

use rand::Rng;

use super::deviate::chance;
use super::process::Process;
use super::{Arrival, Sampler, Traffic, TrafficSource, WorkHint, WorkloadError};
use crate::units::{Millis, Time};

/// What the generator of a source is for. Each has its own, so that giving requests a TTL moves no arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// When requests come.
    Instants,
    /// Which of them are low priority.
    Priorities,
    /// How long they may live.
    Lifetimes,
}

/// The requests of an endpoint, in order of time; at the same time, in order of the sources.
#[derive(Debug)]
pub struct TrafficStream<R> {
    sources: Vec<Source<R>>,
    next: Winners,
}

#[derive(Debug)]
struct Source<R> {
    process: Process,
    instants: R,
    until: Time,
    /// Of the next request.
    work: WorkHint,
    low_priority: Option<(f64, R)>,
    ttl: Option<(Sampler, R)>,
    execution_timeout: Option<Millis>,
}

impl<R: Rng> TrafficStream<R> {
    /// Starts all sources. `generator` gives the generator of the source with this number and kind of draw.
    ///
    /// # Errors
    /// If a parameter is out of its range, or a trace cannot be opened, is not a trace, or has no row for its source.
    pub fn open(
        traffic: &Traffic,
        mut generator: impl FnMut(Draw, u32) -> R,
    ) -> Result<TrafficStream<R>, WorkloadError> {
        let mut sources = Vec::with_capacity(traffic.sources.len());
        let mut times = Vec::with_capacity(traffic.sources.len());
        for (number, spec) in (0..).zip(&traffic.sources) {
            let (source, first) = Source::open(spec, |draw| generator(draw, number))?;
            sources.push(source);
            times.push(first);
        }
        Ok(TrafficStream { sources, next: Winners::new(times) })
    }

    /// When the next request comes; `None` if there is none as far as is known now.
    #[inline]
    pub fn peek(&self) -> Option<Time> {
        let (at, _) = self.next.first();
        (at < Time::MAX).then_some(at)
    }

    /// Takes the next request.
    ///
    /// # Errors
    /// If a trace cannot be read further, or holds something unexpected after this request. The request is lost then: such a
    /// run cannot go on.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let (at, number) = self.next.first();
        if at == Time::MAX {
            return Ok(None);
        }
        let source = &mut self.sources[number];
        let arrival = source.arrival(at, number as u32);
        let next = source.advance()?;
        self.next.set(number, next);
        Ok(Some(arrival))
    }

    /// A request of `source` has its outcome, whatever that is (completed, failed, timed out, cancelled, refused). Only closed
    /// loops care; call it once for each of their requests.
    pub fn job_ended(&mut self, source: u32, now: Time) {
        let number = source as usize;
        let source = &mut self.sources[number];
        if let Process::ClosedLoop(clients) = &mut source.process {
            clients.outcome(now, &mut source.instants);
            let next = clients.peek();
            let next = source.within(next);
            self.next.set(number, next);
        }
    }
}

impl<R: Rng> Source<R> {
    fn open(spec: &TrafficSource, mut generator: impl FnMut(Draw) -> R) -> Result<(Source<R>, Time), WorkloadError> {
        spec.check().map_err(WorkloadError::Spec)?;
        let mut instants = generator(Draw::Instants);
        let process = Process::start(&spec.arrivals, spec.from, &mut instants)?;
        let share = spec.low_priority_share;
        let mut source = Source {
            process,
            instants,
            until: spec.until.unwrap_or(Time::MAX),
            work: WorkHint::default(),
            low_priority: (share > 0.0).then(|| (share, generator(Draw::Priorities))),
            ttl: spec.ttl.as_ref().map(|ttl| (ttl.sampler(), generator(Draw::Lifetimes))),
            execution_timeout: spec.execution_timeout,
        };
        let first = source.advance()?;
        Ok((source, first))
    }

    #[inline]
    fn arrival(&mut self, at: Time, source: u32) -> Arrival {
        let low_priority = self.low_priority.as_mut().is_some_and(|(share, rng)| chance(*share, rng));
        let ttl = self.ttl.as_mut().map(|(ttl, rng)| millis(ttl.sample(rng)));
        Arrival { at, work: self.work, ttl, execution_timeout: self.execution_timeout, low_priority, source }
    }

    /// Goes to the next request and tells when it comes.
    #[inline]
    fn advance(&mut self) -> Result<Time, WorkloadError> {
        let at = self.process.next(&mut self.instants, &mut self.work)?;
        Ok(self.within(at))
    }

    #[inline]
    fn within(&self, at: Time) -> Time {
        if at < self.until { at } else { Time::MAX }
    }
}

/// Nearest millisecond, at least one.
fn millis(seconds: f64) -> Millis {
    // `as` saturates: a lifetime beyond 49 days is 49 days.
    Millis::new(((seconds * 1e3).round() as u32).max(1)).expect("at least one millisecond is not zero")
}

/// The earliest of several times, the first of equal ones: a tournament tree, so that a change costs log2 n comparisons.
#[derive(Debug)]
struct Winners {
    /// Node 1 is the root, the children of node i are 2i and 2i + 1, and leaf j is node `leaves + j`.
    tree: Vec<(Time, usize)>,
    leaves: usize,
}

impl Winners {
    fn new(times: Vec<Time>) -> Winners {
        let leaves = times.len().next_power_of_two();
        let mut tree = vec![(Time::MAX, 0); 2 * leaves];
        for (number, time) in times.into_iter().enumerate() {
            tree[leaves + number] = (time, number);
        }
        let mut winners = Winners { tree, leaves };
        for node in (1..leaves).rev() {
            winners.play(node);
        }
        winners
    }

    #[inline]
    fn first(&self) -> (Time, usize) {
        self.tree[1]
    }

    #[inline]
    fn set(&mut self, number: usize, time: Time) {
        let mut node = self.leaves + number;
        self.tree[node].0 = time;
        while node > 1 {
            node /= 2;
            self.play(node);
        }
    }

    #[inline]
    fn play(&mut self, node: usize) {
        let (left, right) = (self.tree[2 * node], self.tree[2 * node + 1]);
        self.tree[node] = if right.0 < left.0 { right } else { left };
    }
}

#[cfg(test)]
mod tests;
