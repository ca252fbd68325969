//! Where an arrival process stands: whole microseconds and the fraction of the next one.
//!
//! Gaps are real numbers; adding them to a float would lose precision as time passes, rounding each one would change the rate
//! of a fast source. So the whole microseconds are counted exactly, and only a fraction in [0, 1) is carried.

use crate::units::{MICROS_PER_S, Time};

/// A point in time, finer than a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Clock {
    micros: u64,
    fraction: f64,
}

impl Clock {
    /// Exactly at `time`.
    pub fn at(time: Time) -> Clock {
        Clock { micros: time.0, fraction: 0.0 }
    }

    /// Moves on by `seconds`, which are not negative; stops for good at [`Time::MAX`], after some 300,000 years at most.
    #[inline]
    pub fn advance(&mut self, seconds: f64) {
        let moved = self.fraction + seconds * MICROS_PER_S as f64;
        if moved < 9e18 {
            // Below 2^63, so the signed conversion is exact, and it is one instruction.
            let whole = moved as i64;
            self.fraction = moved - whole as f64;
            self.micros = self.micros.saturating_add(whole as u64);
        } else {
            // Infinite gaps, and NaN, end a process.
            self.micros = u64::MAX;
        }
    }

    /// The microsecond in which it stands.
    #[inline]
    pub fn time(&self) -> Time {
        Time(self.micros)
    }

    /// Seconds since `earlier`, with the fraction.
    pub fn seconds_since(&self, earlier: Time) -> f64 {
        (self.micros.saturating_sub(earlier.0) as f64 + self.fraction) / MICROS_PER_S as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_carried_not_lost() {
        let mut clock = Clock::at(Time(5));
        for _ in 0..1_000 {
            clock.advance(0.000_000_25);
        }
        assert_eq!(clock.time(), Time(255));
        assert!((clock.seconds_since(Time(5)) - 0.000_25).abs() < 1e-15);
    }

    #[test]
    fn the_end_of_time_is_kept() {
        for gap in [f64::INFINITY, f64::NAN, 1e300] {
            let mut clock = Clock::at(Time(5));
            clock.advance(gap);
            assert_eq!(clock.time(), Time::MAX);
            clock.advance(1.0);
            assert_eq!(clock.time(), Time::MAX);
        }
    }
}
