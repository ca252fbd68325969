//! What scaling rules measure: means over a window, decayed rates, service times. All in seconds, jobs and workers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Observation;
use crate::units::{Span, Time};

/// `x` rounded up to whole workers. A quotient that is whole up to rounding errors stays (7 / 0.7 is 10 workers, not 11); what is
/// negative or no number is none.
pub(super) fn ceil(x: f64) -> u32 {
    (x - x.abs().max(1.0) * 1e-9).ceil() as u32
}

/// One value a second, and the mean of the latest ones. A second without a value counts as 0 once there was a first one: a policy is
/// not asked while its endpoint is at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Buckets {
    first: Option<u64>,
    kept: VecDeque<(u64, f64)>,
}

impl Buckets {
    /// The value of the second in which `now` lies; the last one told counts. Values older than `longest_s` are forgotten.
    pub fn put(&mut self, now: Time, value: f64, longest_s: u64) {
        let second = now.0 / Span::SECOND.0;
        self.first.get_or_insert(second);
        match self.kept.back_mut() {
            Some((at, kept)) if *at == second => *kept = value,
            _ => self.kept.push_back((second, value)),
        }
        while self.kept.front().is_some_and(|(at, _)| *at + longest_s <= second) {
            self.kept.pop_front();
        }
    }

    /// Mean over the latest `window_s` seconds up to `now`, or since the first value; none before it.
    pub fn mean(&self, now: Time, window_s: u64) -> Option<f64> {
        let second = now.0 / Span::SECOND.0;
        let seconds = (second + 1 - self.first?.min(second)).min(window_s).max(1);
        let sum: f64 = self.kept.iter().filter(|(at, _)| at + window_s > second).map(|(_, value)| value).sum();
        Some(sum / seconds as f64)
    }
}

/// A step function of time and its mean over a window, weighted by time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Steps {
    kept: VecDeque<(Time, f64)>,
}

impl Steps {
    /// From `now` on it has this value. Steps that ended before the latest `window` are forgotten.
    pub fn put(&mut self, now: Time, value: f64, window: Span) {
        match self.kept.back_mut() {
            Some((at, kept)) if *at == now => *kept = value,
            Some((_, kept)) if *kept == value => {}
            _ => self.kept.push_back((now, value)),
        }
        while self.kept.get(1).is_some_and(|(at, _)| now.since(*at) >= window) {
            self.kept.pop_front();
        }
    }

    /// Mean, largest and smallest value over the latest `window`, or since the first one.
    pub fn over(&self, now: Time, window: Span) -> Option<(f64, f64, f64)> {
        let last = self.kept.back()?.1;
        let (mut sum, mut seconds, mut most, mut least) = (0.0, 0.0, last, last);
        for (at, (from, value)) in self.kept.iter().enumerate() {
            let until = self.kept.get(at + 1).map_or(now, |next| next.0);
            let shown = until.since(*from).min(window - now.since(until)).as_secs();
            if shown > 0.0 {
                sum += value * shown;
                seconds += shown;
                most = most.max(*value);
                least = least.min(*value);
            }
        }
        Some((if seconds > 0.0 { sum / seconds } else { last }, most, least))
    }
}

/// Arrival rate and mean service time, the latest counting most: every `half_life` the weight of what was seen halves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Load {
    at: Time,
    begun: bool,
    arrived: u64,
    ended: u64,
    service_us: u64,
    /// Decayed seconds, arrivals, jobs ended, seconds of service.
    sums: [f64; 4],
}

impl Load {
    /// Takes up what has happened since it was last asked.
    pub fn see(&mut self, seen: &Observation<'_>, half_life_s: f64) {
        let passed = seen.now.since(self.at).as_secs();
        let keep = if self.begun { libm::exp2(-passed / half_life_s.max(1e-3)) } else { 0.0 };
        // A steady rate r over `passed` seconds has the weight of its integral: the mean over the past stays r.
        let weight =
            if passed > 0.0 { (1.0 - keep) / (passed * std::f64::consts::LN_2 / half_life_s.max(1e-3)) } else { 1.0 };
        // A policy that takes over from another one does not know when all who came before did: only those here are news.
        let news = if self.begun { u64::MAX } else { u64::from(seen.queued + seen.in_progress) };
        let fresh = [
            if self.begun { passed } else { 0.0 },
            seen.arrived.saturating_sub(self.arrived).min(news) as f64,
            seen.ended.saturating_sub(self.ended) as f64,
            Span(seen.service_total.0.saturating_sub(self.service_us)).as_secs(),
        ];
        for (sum, fresh) in self.sums.iter_mut().zip(fresh) {
            *sum = *sum * keep + fresh * weight;
        }
        (self.at, self.begun) = (seen.now, true);
        (self.arrived, self.ended, self.service_us) = (seen.arrived, seen.ended, seen.service_total.0);
    }

    /// Jobs per second. Until a few seconds have been seen, no more than one job in each of them: one job in the first instant is
    /// no rate yet.
    pub fn rate(&self) -> f64 {
        self.sums[1] / self.sums[0].max(10.0)
    }

    /// Mean service time in seconds, `otherwise` before a job ended.
    pub fn service_s(&self, otherwise: f64) -> f64 {
        if self.sums[2] > 1e-6 { self.sums[3] / self.sums[2] } else { otherwise }
    }
}

/// Probability that an arrival waits in M/M/n with offered load `r < n` (Erlang C), by the stable recursion over Erlang B.
pub(super) fn erlang_c(servers: u32, r: f64) -> f64 {
    if r >= f64::from(servers) {
        return 1.0;
    }
    let blocked = (1..=servers).fold(1.0, |b, k| r * b / (f64::from(k) + r * b));
    blocked / (1.0 - (r / f64::from(servers)) * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::super::testing::seen;
    use super::*;

    #[test]
    fn whole_quotients_are_not_rounded_up() {
        assert_eq!(ceil(7.0 / 0.7), 10);
        assert_eq!(ceil(7.01 / 0.7), 11);
        assert_eq!(ceil(0.2), 1);
        assert_eq!((ceil(0.0), ceil(-3.0), ceil(f64::NAN)), (0, 0, 0));
    }

    #[test]
    fn the_mean_of_a_window_counts_seconds_at_rest() {
        let mut buckets = Buckets::default();
        for second in 0..10 {
            buckets.put(Time::from_secs(f64::from(second)), 6.0, 60);
        }
        assert_eq!(buckets.mean(Time::from_secs(9.0), 60), Some(6.0));
        assert_eq!(buckets.mean(Time::from_secs(19.0), 60), Some(3.0));
        assert_eq!(buckets.mean(Time::from_secs(19.0), 6), Some(0.0));
        let mut steps = Steps::default();
        let window = Span::from_whole_secs(30);
        steps.put(Time::ZERO, 2.0, window);
        steps.put(Time::from_secs(20.0), 8.0, window);
        assert_eq!(steps.over(Time::from_secs(40.0), window), Some((6.0, 8.0, 2.0)));
    }

    #[test]
    fn a_steady_load_is_measured_as_it_is() {
        let mut load = Load::default();
        for second in 0..600_u64 {
            let mut now = seen(second as f64, (0, 2), (0, 2, 0));
            (now.arrived, now.ended) = (second * 3, second * 3);
            now.service_total = Span::from_whole_secs(second * 6);
            load.see(&now, 60.0);
        }
        assert!((load.rate() - 3.0).abs() < 0.02, "{}", load.rate());
        assert!((load.service_s(9.0) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn erlang_c_agrees_with_published_values() {
        // M/M/1 at 0.5: 0.5; M/M/2 at load 1: 1/3; M/M/10 at load 8: 0.4092.
        assert!((erlang_c(1, 0.5) - 0.5).abs() < 1e-12);
        assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
        assert!((erlang_c(10, 8.0) - 0.409_18).abs() < 1e-4);
        assert_eq!(erlang_c(3, 3.0), 1.0);
    }
}
