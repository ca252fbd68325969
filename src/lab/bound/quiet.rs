//! The bound from the times in which nobody can be in service.
//!
//! The jobs that arrived up to `a_k` have been served by `e_k`, the latest `a_j + L + s_j` among them; the next one arrives at `a_(k+1)`.
//! Whatever is up between the two is up for nothing. So whoever knows the future either keeps a worker up for all of that quiet time,
//! or has none up at some moment of it and needs a start before the next quiet time. With the work itself, which lies outside,
//!
//! ```text
//! J >= sum of s_j / c + K + sum over k of min(K, max(0, a_(k+1) - e_k))
//! ```
//!
//! in seconds of rent, without always-on workers (K: a start and its stop, c: jobs per worker at once). A job that is late may be served in a
//! quiet time and shorten it by its service; without a job two quiet times may become one. So each late or lost job takes off `s_j + K`
//! at most. The linear program of `lp` cannot see this where jobs may wait for long: there half a worker serves every job at half speed.
//! Source: own derivation.

use super::rent::Wish;

/// Floating-point sums may be wrong in the last digits; the bound gives that away.
const SAFETY: f64 = 1.0 - 1e-9;

/// A lower bound in seconds of rent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quiet {
    whole: f64,
    /// Sums of what leaving out so many jobs takes off at most, the largest first.
    off: Vec<f64>,
}

impl Quiet {
    /// Of jobs that may wait for `limit_s`, `places` of them on a worker at once. `restart_s`: a start and its stop; `unpaid_s`: what of
    /// starts before what counts, and of stops after it, may not be billed.
    pub fn of(wishes: &[Wish], places: u32, limit_s: f64, restart_s: f64, unpaid_s: f64) -> Quiet {
        if wishes.is_empty() || !limit_s.is_finite() {
            return Quiet::default();
        }
        let mut jobs: Vec<(f64, f64)> = wishes.iter().map(|wish| (wish.at, wish.service)).collect();
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut served_by = f64::NEG_INFINITY;
        let mut restarts_s = restart_s;
        for pair in jobs.windows(2) {
            served_by = served_by.max(pair[0].0 + limit_s + pair[0].1);
            restarts_s += (pair[1].0 - served_by).clamp(0.0, restart_s);
        }
        let work_s: f64 = jobs.iter().map(|(_, service)| service).sum();
        let mut off: Vec<f64> = jobs.iter().map(|(_, service)| service + restart_s).collect();
        off.sort_by(|a, b| b.total_cmp(a));
        let mut sum = 0.0;
        for each in &mut off {
            sum += *each;
            *each = sum;
        }
        Quiet { whole: (work_s / f64::from(places) + restarts_s) * SAFETY - unpaid_s, off }
    }

    /// The bound if `left_out` jobs are late or lost.
    pub fn bound(&self, left_out: u64) -> f64 {
        let place = usize::try_from(left_out).unwrap_or(usize::MAX).min(self.off.len());
        let off = place.checked_sub(1).map_or(0.0, |last| self.off[last]);
        (self.whole - off).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bound::levels::{Held, Levels};
    use crate::units::Time;

    fn wish(at: f64, service: f64) -> Wish {
        Wish { at, service }
    }

    #[test]
    fn a_quiet_time_costs_a_restart_or_is_bridged() {
        let far = [wish(0.0, 2.0), wish(100.0, 3.0)];
        assert!((Quiet::of(&far, 1, 10.0, 5.0, 0.0).bound(0) - 15.0).abs() < 1e-6);
        // Served by 12, the next one comes at 15: 3 s are cheaper than 5.
        let near = [wish(0.0, 2.0), wish(15.0, 3.0)];
        assert!((Quiet::of(&near, 1, 10.0, 5.0, 0.0).bound(0) - 13.0).abs() < 1e-6);
        assert!((Quiet::of(&near, 1, 20.0, 5.0, 0.0).bound(0) - 10.0).abs() < 1e-6, "they can meet");
        assert!((Quiet::of(&near, 2, 20.0, 5.0, 4.0).bound(0) - 3.5).abs() < 1e-6);
        assert!((Quiet::of(&far, 1, 10.0, 5.0, 0.0).bound(1) - 7.0).abs() < 1e-6);
        assert_eq!(Quiet::of(&far, 1, 10.0, 5.0, 0.0).bound(9), 0.0);
        assert_eq!(Quiet::of(&far, 1, f64::INFINITY, 5.0, 0.0).bound(0), 0.0);
    }

    /// The cheapest workers over all whole start times, `late` of the jobs at any time and `lost` of them never.
    fn exhaustive(jobs: &[Wish], limit: u32, restart_s: f64, places: u32, late: u32, lost: u32) -> f64 {
        let mut best = f64::INFINITY;
        for chosen in 0_u32..1 << (2 * jobs.len()) {
            let (are_late, are_lost) = (chosen & ((1 << jobs.len()) - 1), chosen >> jobs.len());
            if are_late.count_ones() > late || are_lost.count_ones() > lost || are_late & are_lost != 0 {
                continue;
            }
            let waits = |job: usize| match (are_lost >> job & 1, are_late >> job & 1) {
                (1, _) => 0,
                (_, 1) => 16,
                _ => limit,
            };
            let mut tried: Vec<u32> = vec![0; jobs.len()];
            loop {
                let held: Vec<Held> = jobs
                    .iter()
                    .enumerate()
                    .filter(|(job, _)| are_lost >> job & 1 == 0)
                    .map(|(job, wish)| {
                        let from = wish.at + f64::from(tried[job]);
                        Held { from: Time::from_secs(from), until: Time::from_secs(from + wish.service) }
                    })
                    .collect();
                best = best.min(Levels::of(&held, restart_s, places).flex_s());
                let Some(next) = (0..jobs.len()).find(|job| tried[*job] < waits(*job)) else { break };
                tried[..next].fill(0);
                tried[next] += 1;
            }
        }
        best
    }

    #[test]
    fn no_start_times_are_cheaper() {
        let mut state = 5_u64;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32 % below
        };
        let mut met = 0;
        for _ in 0..40 {
            let jobs: Vec<Wish> = (0..2 + draw(2)).map(|_| wish(f64::from(draw(16)), f64::from(1 + draw(3)))).collect();
            let (limit, restart, places) = (draw(3), f64::from(1 + draw(6)), 1 + draw(2));
            let quiet = Quiet::of(&jobs, places, f64::from(limit), restart, 0.0);
            for (late, lost) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let exact = exhaustive(&jobs, limit, restart, places, late, lost);
                let bound = quiet.bound(u64::from(late + lost));
                assert!(bound <= exact + 1e-6, "{jobs:?} {limit} {restart} {places} {late} {lost}: {bound} > {exact}");
                met += u32::from((late, lost) == (0, 0) && bound > exact - 1e-6);
            }
        }
        assert!(met >= 5, "{met} cases in which it is exact");
    }
}
