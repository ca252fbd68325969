//! How fast the jobs on one worker get on when they share its speed: a virtual clock of work done per job.

use crate::units::{MICROS_PER_S, Span, Time};
use crate::workload::SharedSpeed;

/// Units of work that each of `jobs` jobs has had since the worker was last without shared work. A job that enters is done
/// when the clock has moved on by its own work: one number to compare, whatever the others do.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpeedClock {
    done: f64,
    /// Units per second for each job.
    rate: f64,
    jobs: u32,
    at: Time,
}

impl SpeedClock {
    /// Nobody has worked yet.
    pub const fn new() -> SpeedClock {
        SpeedClock { done: 0.0, rate: 0.0, jobs: 0, at: Time::ZERO }
    }

    /// Moves on to `now`.
    pub fn advance(&mut self, now: Time) {
        let elapsed = now.since(self.at).0;
        self.at = now;
        if elapsed > 0 && self.jobs > 0 {
            self.done += self.rate * elapsed as f64 / MICROS_PER_S as f64;
        }
    }

    /// A job with `work` units enters at the time of the last advance; returns the reading at which it is done.
    pub fn enter(&mut self, work: f64, speed: SharedSpeed) -> f64 {
        if self.jobs == 0 {
            self.done = 0.0;
        }
        self.jobs += 1;
        self.rate = speed.rate(self.jobs);
        self.done + work
    }

    /// A job leaves, done or not.
    pub fn leave(&mut self, speed: SharedSpeed) {
        self.jobs -= 1;
        self.rate = speed.rate(self.jobs);
    }

    /// Time until the reading is `target` if nobody enters or leaves, to the nearest microsecond.
    pub fn until(&self, target: f64) -> Span {
        let left = target - self.done;
        if left > 0.0 { Span::from_secs(left / self.rate) } else { Span::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PS: SharedSpeed = SharedSpeed::Power { exponent: 0.0 };

    #[test]
    fn two_jobs_of_processor_sharing_end_when_the_closed_form_says() {
        // Works 1 and 3 from time 0 on: the short one ends at 2, the long one at 4.
        let mut clock = SpeedClock::new();
        let short = clock.enter(1.0, PS);
        let long = clock.enter(3.0, PS);
        assert_eq!(clock.until(short), Span::from_secs(2.0));
        clock.advance(Time::from_secs(2.0));
        assert_eq!(clock.until(short), Span::ZERO);
        clock.leave(PS);
        assert_eq!(clock.until(long), Span::from_secs(2.0));
    }

    #[test]
    fn a_late_job_takes_half_of_the_rest() {
        let mut clock = SpeedClock::new();
        let first = clock.enter(2.0, PS);
        clock.advance(Time::from_secs(1.0));
        let second = clock.enter(5.0, PS);
        assert_eq!(clock.until(first), Span::from_secs(2.0));
        clock.advance(Time::from_secs(3.0));
        clock.leave(PS);
        assert_eq!(clock.until(second), Span::from_secs(4.0));
    }

    #[test]
    fn a_batch_slows_down_by_its_formula() {
        let batch = SharedSpeed::Batch { step_s: 0.010, per_job_s: 0.002 };
        let mut clock = SpeedClock::new();
        let target = clock.enter(100.0, batch);
        assert_eq!(clock.until(target), Span::from_secs(1.0));
        for _ in 0..5 {
            clock.enter(1_000.0, batch);
        }
        // Six in the batch: 0.010 + 5 * 0.002 = 0.020 s a token.
        assert_eq!(clock.until(target), Span::from_secs(2.0));
    }

    #[test]
    fn the_clock_starts_again_with_each_busy_period() {
        let mut clock = SpeedClock::new();
        clock.enter(1e9, PS);
        clock.advance(Time::from_secs(1e9));
        clock.leave(PS);
        assert_eq!(clock.enter(0.001, PS), 0.001);
    }
}
