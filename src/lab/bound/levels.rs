//! The cheapest workers for given start times: exact, in O(n log n).
//!
//! With B(t) jobs in service, X(t) >= B(t) ready workers suffice, and both the rent of X and its starts are sums over levels
//! l: "are there at least l workers". So each level is its own rent-or-restart problem: a gap g between two jobs of a level is bridged
//! iff `p * g <= K`, else the level is stopped and started again. The minimisers are nested, so together they are a schedule:
//!
//! ```text
//! OPT(S) = sum over levels [ K + p * busy + sum over its gaps of min(p * gap, K) ]
//! ```
//!
//! Workers that run c jobs at once have levels of c jobs each; OPT is then a lower bound, because a job may not move to another worker.
//! Source of the structure: Lu, Chen, arXiv 1112.0442.

use crate::units::{Span, Time};

/// One job that holds a worker from `from` to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it is handed to the worker.
    pub from: Time,
    /// When its result is there.
    pub until: Time,
}

/// What the l-th worker does in the cheapest schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Seconds with at least l jobs in service.
    pub busy_s: f64,
    /// Seconds between jobs that are cheaper to bridge than to restart after.
    pub idle_s: f64,
    /// Times that it is started.
    pub starts: u64,
}

impl Level {
    /// Cost in seconds of rent, with a start worth `start_s` of them. Not increasing from level to level.
    pub fn cost_s(&self, start_s: f64) -> f64 {
        self.busy_s + self.idle_s + start_s * self.starts as f64
    }
}

/// The cheapest schedule for given start times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels {
    /// The first worker first.
    pub levels: Vec<Level>,
    start_s: f64,
}

impl Levels {
    /// The optimum for `held`, in any order. `start_s`: what a start costs, in seconds of rent (the length of a cold start where
    /// billing begins with it). `places`: jobs per worker at once.
    pub fn of(held: &[Held], start_s: f64, places: u32) -> Levels {
        let mut levels = Levels { levels: Vec::new(), start_s };
        let places = places.max(1) as usize;
        // Ends before starts at the same moment: a job that begins when another one ends takes its worker.
        let mut events: Vec<(Time, bool)> = Vec::with_capacity(held.len() * 2);
        for job in held.iter().filter(|job| job.until > job.from) {
            events.push((job.from, true));
            events.push((job.until, false));
        }
        events.sort_unstable();
        let (mut jobs, mut workers) = (0_usize, 0_usize);
        let mut turned: Vec<Time> = Vec::new();
        for (at, begins) in events {
            jobs = if begins { jobs + 1 } else { jobs - 1 };
            let needed = jobs.div_ceil(places);
            if needed > workers {
                levels.wake(workers, at, &mut turned);
            } else if needed < workers {
                levels.levels[needed].busy_s += at.since(turned[needed]).as_secs();
                turned[needed] = at;
            }
            workers = needed;
        }
        levels
    }

    fn wake(&mut self, level: usize, at: Time, turned: &mut Vec<Time>) {
        if level == turned.len() {
            turned.push(at);
            self.levels.push(Level { starts: 1, ..Level::default() });
            return;
        }
        let gap = at.since(turned[level]).as_secs();
        if gap <= self.start_s {
            self.levels[level].idle_s += gap;
        } else {
            self.levels[level].starts += 1;
        }
        turned[level] = at;
    }

    /// The same where workers may stand at the beginning: the first start of each level costs nothing.
    pub fn begun(mut self) -> Levels {
        self.levels.iter_mut().for_each(|level| level.starts -= 1);
        self
    }

    /// Cost in seconds of flex rent if `active` workers are always on for `billed_s` at `ratio` of the flex price.
    pub fn cost_s(&self, active: usize, billed_s: f64, ratio: f64) -> f64 {
        let above: f64 = self.levels.iter().skip(active).map(|level| level.cost_s(self.start_s)).sum();
        above + active as f64 * billed_s * ratio
    }

    /// The number of always-on workers that would have been cheapest: level costs fall, so a prefix of the levels.
    pub fn best_active(&self, billed_s: f64, ratio: f64) -> usize {
        self.levels.iter().take_while(|level| level.cost_s(self.start_s) > billed_s * ratio).count()
    }

    /// Cost in seconds without always-on workers.
    pub fn flex_s(&self) -> f64 {
        self.cost_s(0, 0.0, 1.0)
    }

    /// Starts of all levels.
    pub fn starts(&self) -> u64 {
        self.levels.iter().map(|level| level.starts).sum()
    }

    /// Bridged seconds of all levels.
    pub fn idle_s(&self) -> f64 {
        self.levels.iter().map(|level| level.idle_s).sum()
    }
}

/// A job that starts when it comes.
pub fn at_once(at: Time, service: Span) -> Held {
    Held { from: at, until: at + service }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(jobs: &[(u64, u64)]) -> Vec<Held> {
        let second = |s: u64| Time::from_secs(s as f64);
        jobs.iter().map(|(from, until)| Held { from: second(*from), until: second(*until) }).collect()
    }

    #[test]
    fn a_gap_is_bridged_while_that_is_no_dearer_than_a_start() {
        let jobs = held(&[(0, 10), (20, 30)]);
        let bridged = Levels::of(&jobs, 10.0, 1);
        assert_eq!((bridged.flex_s(), bridged.starts(), bridged.idle_s()), (40.0, 1, 10.0));
        let stopped = Levels::of(&jobs, 9.0, 1);
        assert_eq!((stopped.flex_s(), stopped.starts(), stopped.idle_s()), (38.0, 2, 0.0));
    }

    #[test]
    fn jobs_that_touch_share_a_worker_and_jobs_that_overlap_do_not() {
        assert_eq!(Levels::of(&held(&[(0, 5), (5, 9)]), 3.0, 1).flex_s(), 12.0);
        let two = Levels::of(&held(&[(0, 5), (4, 9)]), 3.0, 1);
        assert_eq!(two.levels.len(), 2);
        assert_eq!((two.levels[0].busy_s, two.levels[1].busy_s), (9.0, 1.0));
        let shared = Levels::of(&held(&[(0, 5), (4, 9)]), 3.0, 2);
        assert_eq!((shared.levels.len(), shared.flex_s()), (1, 12.0));
    }

    #[test]
    fn jobs_of_no_length_need_nobody() {
        assert_eq!(Levels::of(&held(&[(3, 3)]), 3.0, 1), Levels { levels: Vec::new(), start_s: 3.0 });
    }

    #[test]
    fn level_costs_fall_and_the_best_number_of_always_on_workers_is_a_prefix() {
        let jobs = held(&[(0, 90), (10, 60), (20, 30), (70, 95)]);
        let levels = Levels::of(&jobs, 5.0, 1);
        let costs: Vec<f64> = levels.levels.iter().map(|level| level.cost_s(5.0)).collect();
        assert!(costs.windows(2).all(|pair| pair[0] >= pair[1]), "{costs:?}");
        let best = levels.best_active(100.0, 0.6);
        let all: Vec<f64> = (0..=3).map(|active| levels.cost_s(active, 100.0, 0.6)).collect();
        assert!(all.iter().all(|cost| *cost >= all[best]), "{best} of {all:?}");
        assert_eq!(best, 2);
    }
}
