//! The requests of all endpoints in order of time, streamed, up to the run's end of arrivals.

use super::plan::Plan;
use super::streams::{Purpose, Stream, Streams};
use super::timers::Timers;
use crate::units::{EndpointId, Time};
use crate::workload::{Arrival, ArrivalSpec, TrafficSource, WorkloadError};
use crate::workload::{Draw, TrafficStream};

/// See the module.
#[derive(Debug)]
pub(super) struct Arrivals {
    sources: Vec<TrafficStream<Stream>>,
    /// Endpoints whose clients wait for outcomes.
    closed: Vec<bool>,
    /// Next arrival of each endpoint.
    next: Timers,
    /// Arrivals stop before this moment.
    until: Time,
    /// Jobs that may still come.
    left: u64,
    last: Time,
}

impl Arrivals {
    pub fn open(plan: &Plan, streams: &Streams) -> Result<Arrivals, WorkloadError> {
        let mut arrivals = Arrivals {
            sources: Vec::new(),
            closed: Vec::new(),
            next: Timers::new(),
            until: plan.duration.map_or(Time::MAX, |duration| Time::ZERO + duration),
            left: plan.max_jobs.unwrap_or(u64::MAX),
            last: Time::ZERO,
        };
        for (number, endpoint) in (0..).zip(&plan.endpoints) {
            let entity = u64::from(endpoint.stream.unwrap_or(EndpointId(number)).0) << 32;
            let source = TrafficStream::open(&endpoint.traffic, |draw, source| match draw {
                Draw::Instants => streams.stream(Purpose::Arrivals, entity | u64::from(source)),
                Draw::Priorities => streams.stream(Purpose::Marks, entity | u64::from(source)),
                Draw::Lifetimes => streams.stream(Purpose::Ttl, entity | u64::from(source)),
            })?;
            let waits = |source: &TrafficSource| matches!(source.arrivals, ArrivalSpec::ClosedLoop { .. });
            arrivals.closed.push(endpoint.traffic.sources.iter().any(waits));
            arrivals.next.set(number as usize, source.peek().unwrap_or(Time::MAX));
            arrivals.sources.push(source);
        }
        Ok(arrivals)
    }

    /// When the next request comes; [`Time::MAX`] if none is known of.
    #[inline]
    pub fn next_time(&self) -> Time {
        let at = self.next.next_time();
        if at < self.until && self.left > 0 { at } else { Time::MAX }
    }

    /// Takes the next request.
    #[inline]
    pub fn take(&mut self) -> Result<Option<(EndpointId, Arrival)>, WorkloadError> {
        let Some((at, number)) = self.next.next() else { return Ok(None) };
        let source = &mut self.sources[number];
        let arrival = source.pop()?;
        self.next.set(number, source.peek().unwrap_or(Time::MAX));
        self.left -= 1;
        self.last = at;
        Ok(arrival.map(|arrival| (EndpointId(number as u32), arrival)))
    }

    /// A request has its outcome: its client may think about the next one.
    #[inline]
    pub fn job_ended(&mut self, endpoint: EndpointId, source: u32, now: Time) {
        let number = endpoint.index();
        if self.closed[number] {
            self.sources[number].job_ended(source, now);
            self.next.set(number, self.sources[number].peek().unwrap_or(Time::MAX));
        }
    }

    /// The last request so far.
    pub fn last(&self) -> Time {
        self.last
    }

    /// Clients that wait for outcomes may send more.
    pub fn may_resume(&self, at: Time) -> bool {
        self.left > 0 && at < self.until && self.closed.contains(&true)
    }

    /// No more may come, whatever the clients do.
    pub fn are_used_up(&self) -> bool {
        self.left == 0
    }
}

/// A source that never ends by itself.
pub(super) fn is_endless(source: &TrafficSource) -> bool {
    let finite = match &source.arrivals {
        ArrivalSpec::Times { .. } | ArrivalSpec::Rows { .. } => true,
        ArrivalSpec::Trace(trace) => trace.options.repeat > 0,
        _ => false,
    };
    source.until.is_none() && !finite
}
