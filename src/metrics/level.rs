//! Numbers that go up and down over time: their integral, mean and maximum in integer arithmetic.
//!
//! The integral of a count is the sum over its members of leaving minus entering time, so a change costs one addition and
//! nobody has to be told the time in between. The sum is kept modulo 2^64: while members are inside it is "negative".

use serde::{Deserialize, Serialize};

use crate::scheduler::compact::as_array;
use crate::scheduler::watch::Window;
use crate::units::Time;

/// A count with its integral over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    count: u64,
    ledger: u64,
}

as_array!(Level { count, ledger });

impl Level {
    /// One more from `now` (clamped to the window by the caller) on.
    #[inline]
    pub fn enter(&mut self, now: Time) {
        self.count = self.count.wrapping_add(1);
        self.ledger = self.ledger.wrapping_sub(now.0);
    }

    /// One fewer from `now` on.
    #[inline]
    pub fn leave(&mut self, now: Time) {
        self.count = self.count.wrapping_sub(1);
        self.ledger = self.ledger.wrapping_add(now.0);
    }

    /// `by` more from `now` on.
    #[inline]
    pub fn change(&mut self, now: Time, by: u64) {
        self.count = self.count.wrapping_add(by);
        self.ledger = self.ledger.wrapping_sub(now.0.wrapping_mul(by));
    }

    /// `by` fewer from `now` on.
    #[inline]
    pub fn lower(&mut self, now: Time, by: u64) {
        self.count = self.count.wrapping_sub(by);
        self.ledger = self.ledger.wrapping_add(now.0.wrapping_mul(by));
    }

    /// The count now.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Count times microseconds up to `now`.
    pub fn integral(&self, now: Time) -> u64 {
        self.ledger.wrapping_add(self.count.wrapping_mul(now.0))
    }

    /// Both counts and integrals together.
    pub fn add(&mut self, other: &Level) {
        self.count = self.count.wrapping_add(other.count);
        self.ledger = self.ledger.wrapping_add(other.ledger);
    }
}

/// A level that also remembers its maximum inside the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    level: Level,
    max: u64,
}

impl Gauge {
    /// One more from `now` on.
    #[inline]
    pub fn enter(&mut self, now: Time, window: &Window) {
        let inside = window.clamp(now);
        self.level.enter(inside);
        if inside == now {
            self.max = self.max.max(self.level.count());
        }
    }

    /// One fewer from `now` on.
    #[inline]
    pub fn leave(&mut self, now: Time, window: &Window) {
        if window.from > Time::ZERO && window.contains(now) {
            // Those who came before the window may have been the most.
            self.max = self.max.max(self.level.count());
        }
        self.level.leave(window.clamp(now));
    }

    /// The count now.
    pub fn count(&self) -> u64 {
        self.level.count()
    }

    /// The largest count inside the window.
    pub fn max(&self) -> u64 {
        self.max.max(self.level.count())
    }

    /// Count times microseconds up to `now`, which lies inside the window.
    pub fn integral(&self, now: Time) -> u64 {
        self.level.integral(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_is_the_sum_of_stays() {
        let mut level = Level::default();
        level.enter(Time(10));
        level.enter(Time(20));
        assert_eq!(level.integral(Time(25)), 15 + 5);
        level.leave(Time(30));
        assert_eq!((level.count(), level.integral(Time(100))), (1, 90 + 10));
    }

    #[test]
    fn a_gauge_counts_inside_its_window_only() {
        let window = Window { from: Time(100), until: Time(200) };
        let mut gauge = Gauge::default();
        gauge.enter(Time(10), &window);
        gauge.enter(Time(20), &window);
        gauge.leave(Time(150), &window);
        gauge.enter(Time(250), &window);
        gauge.leave(Time(260), &window);
        assert_eq!(gauge.integral(window.clamp(Time(300))), 2 * 50 + 50);
        assert_eq!(gauge.max(), 2);
    }
}
