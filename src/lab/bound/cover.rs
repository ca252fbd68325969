//! The bound for workers that run many jobs at once: as if one worker could run any number of them at full speed.
//!
//! What is left of the problem then is when a worker is up at all. Wherever several workers are up, their union is no dearer and serves
//! the same jobs, so one is enough. Among the jobs that need at least q seconds, each taken to need q, the one with arrival `a` is served
//! in time by an interval `[u, v]` iff `u <= a + L` and `v >= max(a, u) + q`. An interval is cheapest if it begins when its first job can
//! wait no longer and ends with its last one, so it serves a run of jobs in order of arrival, i to k, for
//! `K + q + max(0, a_k - a_i - L)` seconds of rent (K: a start and its stop). The least sum over all ways to cut the arrivals into runs,
//! each job left out costing `penalty`, takes one pass:
//!
//! ```text
//! f(k) = min( f(k-1) + penalty, min over i of f(i-1) + K + q + max(0, a_k - a_i - L) )
//! ```
//!
//! Whoever is late with some jobs or loses some, n in all, leaves out n at most: it costs at least `f - penalty n`, for every penalty.
//! The linear program of `lp` cannot see any of this: there half a worker, up all the time, serves every job in two halves.
//! Source: own derivation.

use std::collections::VecDeque;

use super::rent::Wish;

/// Shares of the jobs, longest first, among which a bound is looked for: with fewer, each needs longer.
const SHARES: [f64; 5] = [1.0, 0.75, 0.5, 0.25, 0.1];
/// Penalties for a job left out, in starts.
const PENALTIES: [f64; 7] = [0.02, 0.05, 0.125, 0.25, 0.5, 1.0, 2.0];
/// Floating-point sums may be wrong in the last digits; the bound gives that away.
const SAFETY: f64 = 1.0 - 1e-9;

/// Lower bounds in seconds of rent: each a value without anybody left out, and what one job left out takes off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cover {
    lines: Vec<(f64, f64)>,
}

impl Cover {
    /// Of jobs that may wait for `limit_s`. `restart_s`: a start and its stop; `unpaid_s`: what of the first start and the last stop may
    /// not be billed.
    pub fn of(wishes: &[Wish], limit_s: f64, restart_s: f64, unpaid_s: f64) -> Cover {
        if wishes.is_empty() || !limit_s.is_finite() {
            return Cover::default();
        }
        let mut lengths: Vec<f64> = wishes.iter().map(|wish| wish.service).collect();
        lengths.sort_by(|a, b| b.total_cmp(a));
        let mut lines = Vec::new();
        for share in SHARES {
            let place = (share * lengths.len() as f64).ceil() as usize;
            let length_s = lengths[place.clamp(1, lengths.len()) - 1];
            let mut arrivals: Vec<f64> =
                wishes.iter().filter(|wish| wish.service >= length_s).map(|wish| wish.at).collect();
            arrivals.sort_by(f64::total_cmp);
            let interval_s = restart_s + length_s;
            let penalties = PENALTIES.iter().map(|starts| starts * interval_s).chain([f64::INFINITY]);
            lines.extend(
                penalties
                    .map(|penalty| (least(&arrivals, limit_s, interval_s, penalty) * SAFETY - unpaid_s, penalty))
                    .filter(|(value, _)| *value > 0.0),
            );
        }
        Cover { lines }
    }

    /// The bound if `left_out` jobs are late or lost.
    pub fn bound(&self, left_out: u64) -> f64 {
        let value = |(value, penalty): &(f64, f64)| {
            if left_out == 0 { *value } else { value - penalty * left_out as f64 }
        };
        self.lines.iter().map(value).fold(0.0, f64::max)
    }
}

/// `f(n)` of the module, for sorted arrivals; `interval_s` is `K + q`.
fn least(arrivals: &[f64], limit_s: f64, interval_s: f64, penalty: f64) -> f64 {
    // Runs that begin so recently that their last job, too, can be waited for: f grows, so the earliest beginning is best.
    let mut recent: VecDeque<(f64, f64)> = VecDeque::new();
    // The least f(i-1) - a_i of all that began earlier.
    let mut earlier = f64::INFINITY;
    let mut before = 0.0;
    for &at in arrivals {
        recent.push_back((at, before));
        while let Some(&(began, sum)) = recent.front()
            && began < at - limit_s
        {
            earlier = earlier.min(sum - began);
            recent.pop_front();
        }
        let near = recent.front().map_or(f64::INFINITY, |(_, sum)| *sum);
        let far = earlier + at - limit_s;
        before = (before + penalty).min(near.min(far) + interval_s);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bound::rent::Wish;

    fn wishes(all: &[(f64, f64)]) -> Vec<Wish> {
        all.iter().map(|(at, service)| Wish { at: *at, service: *service }).collect()
    }

    #[test]
    fn jobs_that_can_wait_for_each_other_share_a_start() {
        let three = wishes(&[(0.0, 1.0), (6.0, 1.0), (30.0, 1.0)]);
        // Up from 10 to 11 for the first two, again at 40 for the third: two starts of 5 s and a second each.
        assert!((Cover::of(&three, 10.0, 5.0, 0.0).bound(0) - 12.0).abs() < 1e-6);
        // Without waiting the first two are bridged: 7 s up; or a start each.
        assert!((Cover::of(&three, 0.0, 7.0, 0.0).bound(0) - 22.0).abs() < 1e-6);
        assert!((Cover::of(&three, 0.0, 5.0, 0.0).bound(0) - 18.0).abs() < 1e-6);
        assert!((Cover::of(&three, 10.0, 5.0, 2.0).bound(0) - 10.0).abs() < 1e-6);
        assert_eq!(Cover::of(&three, f64::INFINITY, 5.0, 0.0).bound(0), 0.0);
    }

    #[test]
    fn arrivals_without_a_pause_keep_a_worker_up() {
        let steady: Vec<Wish> = (0..3_600).map(|at| Wish { at: f64::from(at), service: 0.5 }).collect();
        let cover = Cover::of(&steady, 5.0, 10.0, 0.0);
        assert!((3_590.0..3_610.0).contains(&cover.bound(0)), "{}", cover.bound(0));
        // A hundred that are late do not change much: each start is for several.
        assert!((2_800.0..3_600.0).contains(&cover.bound(100)), "{}", cover.bound(100));
    }

    /// Every set of seconds in which the worker is up; the cheapest that serves all but `left_out`.
    fn exhaustive(jobs: &[Wish], limit: usize, restart_s: f64, left_out: usize) -> f64 {
        const SECONDS: usize = 14;
        (0_u32..1 << SECONDS)
            .filter(|up| {
                let is_up = |from: usize, length: usize| {
                    from + length <= SECONDS && (from..from + length).all(|second| up >> second & 1 == 1)
                };
                let served = |job: &Wish| (0..=limit).any(|wait| is_up(job.at as usize + wait, job.service as usize));
                jobs.iter().filter(|job| !served(job)).count() <= left_out
            })
            .map(|up| f64::from(up.count_ones()) + restart_s * f64::from((up & !(up << 1)).count_ones()))
            .fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn no_set_of_seconds_is_cheaper() {
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut met = 0;
        for _ in 0..60 {
            let alike = draw(2) == 0;
            let jobs: Vec<Wish> = (0..2 + draw(4))
                .map(|_| Wish { at: draw(8) as f64, service: if alike { 2.0 } else { 1.0 + draw(3) as f64 } })
                .collect();
            let (limit, restart_s) = (draw(4) as usize, draw(5) as f64);
            let cover = Cover::of(&jobs, limit as f64, restart_s, 0.0);
            for left_out in 0..3 {
                let exact = exhaustive(&jobs, limit, restart_s, left_out);
                let bound = cover.bound(left_out as u64);
                assert!(bound <= exact + 1e-6, "{jobs:?} {limit} {restart_s} {left_out}: {bound} > {exact}");
                if alike && left_out == 0 {
                    assert!(bound > exact - 1e-6, "{jobs:?} {limit} {restart_s}: {bound} < {exact}");
                    met += 1;
                }
            }
        }
        assert!(met > 10, "{met} cases in which it is exact");
    }
}
