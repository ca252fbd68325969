//! The scheduler's time in real mode: microseconds since the store was made, never backwards.
//!
//! Within one run it follows the monotonic clock alone, so a wall clock that jumps moves no lease, timeout or backoff. Across
//! a restart the wall clock tells how long the gateway was away; a wall clock that went backwards counts as no time away.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::units::Time;

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// The scheduler's time at `started`.
    base: Time,
    /// Wall time (µs since 1970) at the scheduler's time zero.
    epoch_unix_us: u64,
}

impl Clock {
    /// Continues from `last`, the latest time on record, of a store whose time zero was at `epoch_unix_us`.
    pub fn resume(epoch_unix_us: u64, last: Time) -> Clock {
        let away = unix_us().saturating_sub(epoch_unix_us);
        Clock { started: Instant::now(), base: Time(away.max(last.0)), epoch_unix_us }
    }

    /// Begins at zero, now.
    pub fn start() -> Clock {
        Clock { started: Instant::now(), base: Time::ZERO, epoch_unix_us: unix_us() }
    }

    /// The scheduler's time.
    pub fn now(&self) -> Time {
        Time(self.base.0 + u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// How long from now until `at`; zero if it has passed.
    pub fn until(&self, at: Time) -> Duration {
        Duration::from_micros(at.0.saturating_sub(self.now().0))
    }

    /// Wall time of the scheduler's time zero, in µs since 1970: kept in the store.
    pub fn epoch_unix_us(&self) -> u64 {
        self.epoch_unix_us
    }

    /// Wall time of a moment, in ms since 1970, for people and for documents.
    pub fn unix_ms(&self, at: Time) -> u64 {
        (self.epoch_unix_us + at.0) / 1_000
    }
}

/// Wall time now, in µs since 1970.
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
