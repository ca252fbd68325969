//! How a worker asks for jobs (pull pick-up): one request for work at a time, and after a take that leaves no place free the
//! next one only at whole periods from that take.
//!
//! The loop of the worker SDK (1.12): while a place is free it polls; when none is, it sleeps 1 s and looks again. So a worker
//! with one place takes at most one job a second, however short they are (worker-protocol 3.7).

use super::workers::{State, Worker};
use super::world::World;
use crate::scheduler::Event;
use crate::units::{Span, Time};

/// A request for work is given up and repeated after this long (SDK: long poll of up to 90 s). It matters where facts get lost.
const TAKE_TIMEOUT: Span = Span::from_whole_secs(90);

impl World {
    /// The worker asks for as many jobs as it has places.
    pub(super) fn open_take(&mut self, now: Time, slot: usize) {
        let worker = &mut self.workers[slot];
        let places = self.endpoints[worker.endpoint as usize].spec.concurrency;
        let slots = places.saturating_sub(worker.attempts.len() as u32);
        worker.taking.open = slots > 0;
        worker.taking.at = Time::MAX;
        if slots == 0 {
            worker.taking.filled = now;
            return;
        }
        if self.channel.is_unreliable() {
            worker.taking.at = now + TAKE_TIMEOUT;
        }
        let (worker, epoch) = (worker.id, worker.epoch);
        self.report(now, Event::TakeOpened { worker, epoch, slots });
        let next = self.workers[slot].next_time(now);
        self.timers.set(slot, next);
    }
}

impl Worker {
    /// It was handed a job and has `places` left.
    pub(super) fn took(&mut self, now: Time, places: u32) {
        // With places left it asks again once everything that this take brings is in hand: at the same instant, but later.
        self.taking.open = places > 0;
        self.taking.at = if places > 0 { now } else { Time::MAX };
        if places == 0 {
            self.taking.filled = now;
        }
    }

    /// A place is free again.
    pub(super) fn place_freed(&mut self, now: Time, period: Span) {
        if self.taking.open || self.taking.at < Time::MAX || self.state != State::Ready {
            return;
        }
        self.taking.at = next_take(self.taking.filled, now, period);
    }
}

/// The first whole period after the take that filled the worker, at which a place is free.
fn next_take(filled: Time, freed: Time, period: Span) -> Time {
    if period.is_zero() {
        return freed;
    }
    let periods = freed.since(filled).0.div_ceil(period.0).max(1);
    filled + Span(periods.saturating_mul(period.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_worker_asks_again_at_whole_seconds_after_the_take() {
        let s = Time::from_secs;
        assert_eq!(next_take(s(5.3), s(5.3), Span::SECOND), s(6.3), "a job of no length still costs a second");
        assert_eq!(next_take(s(5.3), s(5.9), Span::SECOND), s(6.3));
        assert_eq!(next_take(s(5.3), s(6.3), Span::SECOND), s(6.3));
        assert_eq!(next_take(s(5.3), s(8.0), Span::SECOND), s(8.3));
        assert_eq!(next_take(s(5.3), s(8.0), Span::ZERO), s(8.0));
    }
}
