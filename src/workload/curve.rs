//! Poisson arrivals whose rate changes with time: rate curves by exact inversion, a sine by thinning.
//!
//! Inversion: the next arrival is where the area under the rate since the last one reaches a unit exponential. The area under
//! a straight segment of rate `a + s u` is `a u + s u^2 / 2`, which is solved for u.

use rand::Rng;

use super::RatePoint;
use super::clock::Clock;
use super::deviate::{exponential, uniform};
use crate::units::{Span, Time};

/// A piecewise linear rate, once or for ever again.
#[derive(Clone, Debug)]
pub struct Curve {
    segments: Vec<Segment>,
    /// Length of a period and the area under it.
    period: Option<(Span, f64)>,
    /// Where the present period began, the present segment of it, and the last arrival.
    base: Time,
    index: usize,
    clock: Clock,
}

/// From `start` after the base for `length` (`Span::MAX`: for ever), with the rate from `from` to `to`.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: Span,
    length: Span,
    from: f64,
    to: f64,
}

impl Curve {
    /// A curve through `points`, which are in order of time and lie within the period; it starts at `start`.
    pub fn new(points: &[RatePoint], linear: bool, period_s: Option<f64>, start: Time) -> Curve {
        let segments = segments(points, linear, period_s);
        let period = period_s.map(|period_s| (Span::from_secs(period_s), segments.iter().map(Segment::area).sum()));
        Curve { segments, period, base: start, index: 0, clock: Clock::at(start) }
    }

    /// The next arrival; [`Time::MAX`] if there is none.
    pub fn next(&mut self, rng: &mut impl Rng) -> Time {
        let mut area = exponential(rng);
        while let Some(segment) = self.segments.get(self.index) {
            let start = self.base + segment.start;
            let done_s = self.clock.seconds_since(start);
            let (rate, left) = segment.rest(done_s);
            if area < left {
                let slope = segment.slope();
                self.clock.advance(2.0 * area / (rate + (rate * rate + 2.0 * slope * area).max(0.0).sqrt()));
                return self.clock.time();
            }
            area -= left;
            self.index += 1;
            self.clock = Clock::at(start + segment.length);
            if self.index == self.segments.len()
                && let Some((length, per_period)) = self.period.filter(|period| period.1 > 0.0)
            {
                // Whole periods that the area passes over are skipped at once: the rate may be tiny.
                let skipped = (area / per_period).floor();
                area -= skipped * per_period;
                self.base = self.base + length + Span((skipped as u64).saturating_mul(length.0));
                self.index = 0;
                self.clock = Clock::at(self.base);
                if self.base == Time::MAX {
                    break;
                }
            }
        }
        Time::MAX
    }
}

impl Segment {
    fn slope(&self) -> f64 {
        if self.from == self.to { 0.0 } else { (self.to - self.from) / self.length.as_secs() }
    }

    /// Rate after `done_s` seconds, and the area that is left then.
    fn rest(&self, done_s: f64) -> (f64, f64) {
        let rate = (self.from + self.slope() * done_s).max(0.0);
        if self.length == Span::MAX {
            return (rate, if rate > 0.0 { f64::INFINITY } else { 0.0 });
        }
        (rate, (rate + self.to) / 2.0 * (self.length.as_secs() - done_s).max(0.0))
    }

    fn area(&self) -> f64 {
        self.rest(0.0).1
    }
}

/// Without a period the rate is 0 before the first point and stays after the last; with one, the last point meets the first
/// of the next period.
fn segments(points: &[RatePoint], linear: bool, period_s: Option<f64>) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(points.len() + 1);
    let mut push = |start_s: f64, end: Span, from: f64, to: f64| {
        let start = Span::from_secs(start_s);
        if end > start {
            let length = if end == Span::MAX { end } else { end - start };
            segments.push(Segment { start, length, from, to: if linear { to } else { from } });
        }
    };
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let seam = period_s.map_or(0.0, |period_s| {
        let gap_s = period_s - last.at_s + first.at_s;
        let share = if gap_s > 0.0 { (period_s - last.at_s) / gap_s } else { 0.0 };
        if linear { last.rate + (first.rate - last.rate) * share } else { last.rate }
    });
    let before = if period_s.is_some() { first.rate } else { 0.0 };
    push(0.0, Span::from_secs(first.at_s), seam, before);
    for pair in points.windows(2) {
        push(pair[0].at_s, Span::from_secs(pair[1].at_s), pair[0].rate, pair[1].rate);
    }
    match period_s {
        Some(period_s) => push(last.at_s, Span::from_secs(period_s), last.rate, seam),
        None => push(last.at_s, Span::MAX, last.rate, last.rate),
    }
    segments
}

/// Rate `mean * (1 + amplitude * sin(2 pi (t + phase_s) / period_s))`, t since the start of the source.
#[derive(Clone, Debug)]
pub struct Sine {
    /// Arrivals per second on average.
    pub mean: f64,
    /// Relative amplitude, 0..=1.
    pub amplitude: f64,
    /// Seconds.
    pub period_s: f64,
    /// Seconds.
    pub phase_s: f64,
    start: Time,
    clock: Clock,
}

impl Sine {
    /// A source that starts at `start`.
    pub fn new(mean: f64, amplitude: f64, period_s: f64, phase_s: f64, start: Time) -> Sine {
        Sine { mean, amplitude, period_s, phase_s, start, clock: Clock::at(start) }
    }

    /// The next arrival; [`Time::MAX`] if there is none.
    pub fn next(&mut self, rng: &mut impl Rng) -> Time {
        let most = 1.0 + self.amplitude;
        loop {
            // Candidates at the highest rate, each kept with the share that the rate of its instant is of it; at least half
            // of them are.
            self.clock.advance(exponential(rng) / (self.mean * most));
            let turns = ((self.clock.seconds_since(self.start) + self.phase_s) / self.period_s).fract();
            let rate = 1.0 + self.amplitude * libm::sin(std::f64::consts::TAU * turns);
            if uniform(rng) * most < rate || self.clock.time() == Time::MAX {
                return self.clock.time();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::{Words, assert_near};

    /// Arrivals in each of `bins` equal parts of `until_s`, against the expected Poisson counts.
    fn assert_counts(what: &str, mut next: impl FnMut() -> Time, until_s: f64, expected: &[f64]) {
        let mut counts = vec![0.0; expected.len()];
        let mut last = Time::ZERO;
        loop {
            let at = next();
            assert!(at >= last, "{what}: {at} after {last}");
            last = at;
            if at >= Time::from_secs(until_s) {
                break;
            }
            counts[(at.as_secs() / until_s * expected.len() as f64) as usize] += 1.0;
        }
        for (bin, (count, expected)) in counts.iter().zip(expected).enumerate() {
            let error = (count - expected).abs();
            assert!(error <= 4.5 * expected.sqrt(), "{what}, part {bin}: {count}, expected {expected}");
        }
    }

    fn point(at_s: f64, rate: f64) -> RatePoint {
        RatePoint { at_s, rate }
    }

    #[test]
    fn a_linear_curve_has_the_area_under_it() {
        let mut rng = Words::new(1);
        // Nothing, a ramp up to 40, a ramp down to 20, then 20 for ever.
        let points = [point(100.0, 0.0), point(300.0, 40.0), point(400.0, 20.0)];
        let mut curve = Curve::new(&points, true, None, Time::ZERO);
        let expected = [0.0, 1_000.0, 3_000.0, 3_000.0, 2_000.0, 2_000.0];
        assert_counts("ramp", || curve.next(&mut rng), 600.0, &expected);
    }

    #[test]
    fn steps_repeat_with_their_period() {
        let mut rng = Words::new(2);
        // In each period of 100 s: the last rate (5) up to 20 s, 50 from there, 5 from 60 s on.
        let mut curve = Curve::new(&[point(20.0, 50.0), point(60.0, 5.0)], false, Some(100.0), Time::ZERO);
        let period = [100.0, 1_000.0, 1_000.0, 100.0, 100.0];
        assert_counts("steps", || curve.next(&mut rng), 300.0, &[period, period, period].concat());
    }

    #[test]
    fn a_linear_period_closes_on_itself() {
        let mut rng = Words::new(3);
        // 30 at 25 s and 10 at 75 s: between 75 s and 125 s back up, so 20 at the seam.
        let mut curve = Curve::new(&[point(25.0, 30.0), point(75.0, 10.0)], true, Some(100.0), Time::ZERO);
        let period = [625.0, 625.0, 375.0, 375.0];
        assert_counts("seam", || curve.next(&mut rng), 200.0, &[period, period].concat());
    }

    #[test]
    fn tiny_and_zero_rates_end_at_once() {
        let mut rng = Words::new(4);
        let mut never = Curve::new(&[point(0.0, 0.0)], false, Some(10.0), Time::ZERO);
        assert_eq!(never.next(&mut rng), Time::MAX);
        let mut over = Curve::new(&[point(0.0, 1.0), point(10.0, 0.0)], false, None, Time::ZERO);
        let arrivals = std::iter::repeat_with(|| over.next(&mut rng)).take_while(|at| *at < Time::MAX).count();
        assert!(arrivals < 40);
        let mut tiny = Curve::new(&[point(0.0, 1e-7)], false, Some(0.001), Time::ZERO);
        // 100 gaps of 1e7 s on average, with a relative standard error of 10 %.
        let last = (0..100).map(|_| tiny.next(&mut rng)).last().unwrap();
        assert_near("time of the 100th", (last.as_secs(), 1e8), 1e9, 0.11);
    }

    #[test]
    fn a_sine_swings_by_its_amplitude() {
        let mut rng = Words::new(5);
        let mut sine = Sine::new(20.0, 0.8, 400.0, 100.0, Time::ZERO);
        // The integral of 20 (1 + 0.8 cos x) over quarters of the period: 2 000 +- 20 * 0.8 * 400 / (2 pi).
        let swing = 6_400.0 / std::f64::consts::TAU;
        let expected = [2_000.0 + swing, 2_000.0 - swing, 2_000.0 - swing, 2_000.0 + swing];
        assert_counts("sine", || sine.next(&mut rng), 400.0, &expected);
    }
}
