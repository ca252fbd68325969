//! The bound for workers that run many jobs at once: as if one worker could run any number of them at full speed.
//!
//! What is left of the problem then is when a worker is up at all. Wherever several workers are up, their union is no dearer and serves
//! the same jobs, so one is enough, in intervals apart from each other. A job with arrival `a` that needs `s` seconds is served in time
//! by an interval `[u, v]` iff `u <= a + L` and `v >= max(a, u) + s`.
//!
//! Let `i` be the first job that nothing before has served. Its interval begins at `u = a_i + L` at the latest, so it costs at least what
//! it would if it began then (`K + v - u` with `v >= u + s_i`; K: a start and its stop), and so does serving a job `k` that comes after
//! `u` (`v >= a_k + s_k`). Those that come in `(a_i, u]` are given away. The next first job is the first one after `u` with
//! `a_k + s_k > v`; no earlier interval has served it, either, as they all end before `u`. So the least cost over all ways to choose the
//! ends is a bound, found in one pass over the jobs that keeps the open intervals `(v, cost)`. Each job that is left out costs
//! `penalty`: whoever is late with some jobs or loses some, n in all, pays at least `f - penalty n`, for every penalty.
//!
//! What is given away is most where a short job comes just before a long one. Any part of the jobs proves a bound for all of them, so it
//! is tried without those that are followed by a longer one within their patience, too, and with the longest alone.
//! The linear program of `lp` cannot see any of this: there half a worker, up all the time, serves every job in two halves.
//! Source: own derivation.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::rent::Wish;

/// Shares of the jobs, longest first, with which a bound is looked for.
const LONGEST: [f64; 4] = [0.75, 0.5, 0.25, 0.1];
/// A job is left away if one that is so many times as long comes within such a share of its patience.
const FOLLOWED: [(f64, f64); 6] = [(1.0 / 3.0, 1.2), (1.0 / 3.0, 2.0), (1.0, 1.0), (1.0, 1.2), (1.0, 2.0), (1.0, 4.0)];
/// Penalties for a job left out, in starts.
const PENALTIES: [f64; 7] = [0.02, 0.05, 0.125, 0.25, 0.5, 1.0, 2.0];
/// Floating-point sums may be wrong in the last digits; the bound gives that away.
const SAFETY: f64 = 1.0 - 1e-9;
/// Open intervals that are kept apart; beyond, two become one that is as good as either.
const OPEN_MOST: usize = 48;

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
        let mut jobs = wishes.to_vec();
        jobs.sort_by(|a, b| a.at.total_cmp(&b.at));
        let longest = LONGEST.iter().map(|share| longest(&jobs, *share));
        let unfollowed = FOLLOWED.iter().map(|(share, times)| unfollowed(&jobs, share * limit_s, *times));
        let mut parts: Vec<Vec<Wish>> = longest.chain(unfollowed).filter(|part| !part.is_empty()).collect();
        parts.dedup_by_key(|part| part.len());
        parts.push(jobs);
        let mean_s = wishes.iter().map(|wish| wish.service).sum::<f64>() / wishes.len() as f64;
        let penalties: Vec<f64> =
            PENALTIES.iter().map(|starts| starts * (restart_s + mean_s)).chain([f64::INFINITY]).collect();
        let lines = parts
            .par_iter()
            .flat_map(|part| penalties.par_iter().map(move |penalty| (part, *penalty)))
            .map(|(part, penalty)| (least(part, limit_s, restart_s, penalty) * SAFETY - unpaid_s, penalty))
            .filter(|(value, _)| *value > 0.0)
            .collect();
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

/// The longest `share` of `jobs`, in order of time.
fn longest(jobs: &[Wish], share: f64) -> Vec<Wish> {
    let mut lengths: Vec<f64> = jobs.iter().map(|job| job.service).collect();
    lengths.sort_by(|a, b| b.total_cmp(a));
    let place = (share * lengths.len() as f64).ceil() as usize;
    let least = lengths[place.clamp(1, lengths.len()) - 1];
    jobs.iter().filter(|job| job.service >= least).copied().collect()
}

/// The jobs, in order of time, that are not followed within `within_s` by one that is more than `times` as long.
fn unfollowed(jobs: &[Wish], within_s: f64, times: f64) -> Vec<Wish> {
    let mut kept = Vec::new();
    // Jobs after the one looked at, each shorter than those before it: the first is the longest.
    let mut ahead: VecDeque<Wish> = VecDeque::new();
    let mut next = 0;
    for (place, job) in jobs.iter().enumerate() {
        while let Some(other) = jobs.get(next)
            && (next <= place || other.at <= job.at + within_s)
        {
            while ahead.back().is_some_and(|last| last.service <= other.service) {
                ahead.pop_back();
            }
            ahead.push_back(*other);
            next += 1;
        }
        while ahead.front().is_some_and(|first| first.at < job.at) {
            ahead.pop_front();
        }
        if ahead.front().is_none_or(|first| first.service <= times * job.service) {
            kept.push(*job);
        }
    }
    kept
}

/// Up to `until`, at a cost in seconds of rent; the next job that it cannot serve is served or left out by somebody else.
#[derive(Clone, Copy, Debug)]
struct Open {
    until: f64,
    cost: f64,
}

/// Open intervals of which none is both longer and cheaper than another: from the longest, which is the dearest, to the shortest.
#[derive(Debug)]
struct Front(Vec<Open>);

impl Front {
    fn add(&mut self, new: Open) {
        let place = self.0.partition_point(|open| open.until >= new.until);
        if place > 0 && self.0[place - 1].cost <= new.cost {
            return;
        }
        let beaten = self.0[place..].iter().take_while(|open| open.cost >= new.cost).count();
        self.0.splice(place..place + beaten, [new]);
        if self.0.len() > OPEN_MOST {
            // The two with the least between their ends: as long as the longer, as cheap as the cheaper.
            let gap = |at: &usize| self.0[*at].until - self.0[at + 1].until;
            let near = (0..self.0.len() - 1).min_by(|a, b| gap(a).total_cmp(&gap(b))).unwrap_or(0);
            let shorter = self.0.remove(near + 1);
            self.0[near].cost = shorter.cost;
        }
    }
}

/// `f` of the module, for jobs in order of time.
fn least(jobs: &[Wish], limit_s: f64, restart_s: f64, penalty: f64) -> f64 {
    let mut front = Front(vec![Open { until: f64::NEG_INFINITY, cost: 0.0 }]);
    // Intervals that begin when their first job can wait no longer, after the jobs looked at so far.
    let mut ahead: VecDeque<(f64, Open)> = VecDeque::new();
    for job in jobs {
        while let Some((_, open)) = ahead.pop_front_if(|(begins, _)| *begins < job.at) {
            front.add(open);
        }
        let until = job.at + job.service;
        // Those that end too early for this job: one more start, a longer stay, or without it.
        let first = front.0.partition_point(|open| open.until >= until);
        let short = front.0.split_off(first);
        let Some(cheapest) = short.last().map(|open| open.cost) else { continue };
        let stayed = short.iter().map(|open| open.cost + until - open.until).fold(f64::INFINITY, f64::min);
        if stayed.is_finite() {
            front.add(Open { until, cost: stayed });
        }
        if penalty.is_finite() {
            short.into_iter().for_each(|open| front.add(Open { cost: open.cost + penalty, ..open }));
        }
        let begins = job.at + limit_s;
        let cost = cheapest + restart_s + job.service;
        ahead.push_back((begins, Open { until: begins + job.service, cost }));
    }
    front.0.iter().chain(ahead.iter().map(|(_, open)| open)).map(|open| open.cost).fold(f64::INFINITY, f64::min)
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
    fn a_long_job_after_a_short_one_is_not_given_away() {
        // Up from 10 on for both: 5 s of start and the ten of the long one.
        let two = wishes(&[(0.0, 1.0), (5.0, 10.0)]);
        assert!((Cover::of(&two, 10.0, 5.0, 0.0).bound(0) - 15.0).abs() < 1e-6);
        let part = |jobs: &[(f64, f64)], within_s, times| unfollowed(&wishes(jobs), within_s, times).len();
        let four = [(0.0, 2.0), (1.0, 3.0), (20.0, 2.0), (21.0, 1.0)];
        assert_eq!([part(&four, 5.0, 1.0), part(&four, 5.0, 2.0), part(&four, 0.5, 1.0)], [3, 4, 4]);
        assert_eq!(part(&[(0.0, 1.0), (0.0, 9.0)], 0.0, 1.0), 1, "at once is within no time");
        // It pays to stay for the second one, which ends after the long first one; the third is a start of its own.
        let three = wishes(&[(0.0, 30.0), (20.0, 15.0), (90.0, 1.0)]);
        assert!((Cover::of(&three, 0.0, 8.0, 0.0).bound(0) - (8.0 + 35.0 + 9.0)).abs() < 1e-6);
    }

    #[test]
    fn few_open_intervals_lose_little_and_never_prove_too_much() {
        let mut front = Front(Vec::new());
        // Each a little longer and a little dearer than the next.
        (0..1_000).rev().for_each(|k| front.add(Open { until: f64::from(k), cost: f64::from(k) + 0.5 }));
        assert_eq!(front.0.len(), OPEN_MOST);
        assert!(front.0.windows(2).all(|pair| pair[0].until > pair[1].until && pair[0].cost > pair[1].cost));
        for k in 0..1_000 {
            let as_good = |open: &Open| open.until >= f64::from(k) && open.cost <= f64::from(k) + 0.5;
            assert!(front.0.iter().any(as_good), "{k}");
        }
        let given_away = |open: &Open| open.until + 0.5 - open.cost;
        assert!(front.0.iter().all(|open| given_away(open) < 80.0), "{front:?}");
        front.add(Open { until: 2_000.0, cost: 0.0 });
        assert_eq!(front.0.len(), 1, "as long and cheaper");
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
