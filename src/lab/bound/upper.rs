//! The best schedule that somebody who knows the future is known to reach: how far the lower bound can be from the truth.
//!
//! Start times are proposed (at once; behind each other on fewer workers), the cheapest workers for them are exact (`levels`), and
//! for small cases single start times are moved as long as that helps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::levels::{Held, Levels};
use super::rent::Waiting;
use crate::units::{Span, Time};

/// A job as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Come {
    /// When.
    pub at: Time,
    /// How long it holds a worker.
    pub service: Span,
}

/// What a schedule costs, in seconds of rent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// A start.
    pub start_s: f64,
    /// What waiting costs.
    pub waiting: Waiting,
    /// Seconds that an always-on worker is billed for and its share of the flex price; none where there may be none.
    pub always_on: Option<(f64, f64)>,
}

/// Jobs up to which single start times are moved.
const SMALL: usize = 300;
/// Schedules looked at while moving.
const MOVES: usize = 6_000;

/// The cost of the cheapest schedule found.
pub fn best(jobs: &[Come], terms: &Terms) -> f64 {
    let at_once: Vec<Time> = jobs.iter().map(|job| job.at).collect();
    let mut best = (cost(jobs, &at_once, terms), at_once);
    let total: f64 = jobs.iter().map(|job| job.service.as_secs()).sum();
    let mean = total / jobs.len().max(1) as f64;
    let patience = terms.waiting.limit.min((terms.start_s + mean) / terms.waiting.price.max(1e-12));
    if patience > 0.0 {
        for part in [1.0, 0.5, 0.25, 0.125, 0.03] {
            let starts = behind_each_other(jobs, Span::from_secs((patience * part).min(1e9)));
            let cost = cost(jobs, &starts, terms);
            if cost < best.0 {
                best = (cost, starts);
            }
        }
        if jobs.len() <= SMALL {
            descend(jobs, terms, &mut best);
        }
    }
    best.0
}

/// Worker cost and waiting of given start times.
pub fn cost(jobs: &[Come], starts: &[Time], terms: &Terms) -> f64 {
    let pairs = jobs.iter().zip(starts);
    let held: Vec<Held> =
        pairs.clone().map(|(job, start)| Held { from: *start, until: *start + job.service }).collect();
    let waited: f64 = pairs.map(|(job, start)| start.since(job.at).as_secs()).sum();
    let levels = Levels::of(&held, terms.start_s, 1);
    let mut workers = levels.flex_s();
    if let Some((billed_s, ratio)) = terms.always_on {
        // The best number by the formula lets jobs move to an always-on worker; without that slightly fewer or more may be better.
        let best = levels.best_active(billed_s, ratio);
        for active in best.saturating_sub(1)..=best + 1 {
            let flex = Levels::of(&beyond(&held, active), terms.start_s, 1);
            workers = workers.min(active as f64 * billed_s * ratio + flex.flex_s());
        }
    }
    workers + waited * terms.waiting.price
}

/// The jobs that find `active` always-on workers busy and stay on flex workers.
fn beyond(held: &[Held], active: usize) -> Vec<Held> {
    let mut order = held.to_vec();
    order.sort_by_key(|job| (job.from, job.until));
    let mut free: BinaryHeap<Reverse<Time>> = (0..active).map(|_| Reverse(Time::ZERO)).collect();
    order.retain(|job| match free.peek() {
        Some(Reverse(at)) if *at <= job.from => {
            free.pop();
            free.push(Reverse(job.until));
            false
        }
        _ => true,
    });
    order
}

/// Jobs in order of arrival; one that finds nobody free waits for whoever is free first, unless that takes longer than `patience`.
fn behind_each_other(jobs: &[Come], patience: Span) -> Vec<Time> {
    let mut free: BinaryHeap<Reverse<Time>> = BinaryHeap::new();
    let mut starts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let start = match free.peek() {
            Some(Reverse(at)) if at.since(job.at) <= patience => {
                let start = (*at).max(job.at);
                free.pop();
                start
            }
            _ => job.at,
        };
        free.push(Reverse(start + job.service));
        starts.push(start);
    }
    starts
}

/// Moves single start times: to the arrival, to the end of another job, so as to end when another one starts.
fn descend(jobs: &[Come], terms: &Terms, best: &mut (f64, Vec<Time>)) {
    let mut looks = 0;
    loop {
        let before = best.0;
        for place in 0..jobs.len() {
            let (job, now) = (jobs[place], best.1[place]);
            let limit = job.at + Span::from_secs(terms.waiting.limit.min(1e9));
            let mut candidates = vec![job.at];
            for (other, start) in best.1.iter().enumerate().filter(|(other, _)| *other != place) {
                candidates.push(*start + jobs[other].service);
                candidates.push(Time(start.0.saturating_sub(job.service.0)));
            }
            candidates.retain(|start| *start >= job.at && *start <= limit && *start != now);
            candidates.sort_unstable();
            candidates.dedup();
            for candidate in candidates {
                if looks == MOVES {
                    return;
                }
                looks += 1;
                let was = std::mem::replace(&mut best.1[place], candidate);
                let value = cost(jobs, &best.1, terms);
                if value < best.0 - 1e-9 {
                    best.0 = value;
                } else {
                    best.1[place] = was;
                }
            }
        }
        if best.0 >= before - 1e-9 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(at: u64, service: u64) -> Come {
        Come { at: Time::from_secs(at as f64), service: Span::from_whole_secs(service) }
    }

    #[test]
    fn a_job_waits_where_that_spares_a_start() {
        let jobs = [come(0, 4), come(0, 4)];
        let terms = |limit, price| Terms { start_s: 10.0, waiting: Waiting { limit, price }, always_on: None };
        assert_eq!(best(&jobs, &terms(0.0, 0.0)), 28.0);
        assert_eq!(best(&jobs, &terms(4.0, 0.0)), 18.0);
        assert_eq!(best(&jobs, &terms(3.9, 0.0)), 28.0);
        assert_eq!(best(&jobs, &terms(f64::INFINITY, 0.5)), 20.0);
        assert_eq!(best(&jobs, &terms(f64::INFINITY, 5.0)), 28.0);
    }
}
