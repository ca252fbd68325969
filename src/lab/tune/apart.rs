//! Settings of its own for each endpoint. Endpoints share nothing but hosts, so that a run tells what each one's settings do, whatever
//! the others have: a few runs say of all combinations of their settings what they would yield, nearly, and only those that look best
//! have to be run.

use super::goal::{Figure, Limit};
use crate::experiment::Outcome;
use crate::lab::compare::Sample;
use crate::ledger::Profile;
use crate::metrics::{Histogram, JobCounts};
use crate::scheduler::JobOutcome;
use crate::units::EndpointId;

/// Rounds in which each endpoint looks for something better; the second seldom finds anything.
const ROUNDS: usize = 4;

/// What the settings of one endpoint have yielded in some replications, all together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Dollars, by [`Profile::index`].
    pub cost_usd: [f64; 2],
    /// Waits of its jobs.
    pub wait: Histogram,
    jobs: JobCounts,
}

impl Part {
    /// Of each endpoint of a run.
    pub fn of_each(outcome: &Outcome) -> Vec<Part> {
        let one = |number: usize| {
            let id = EndpointId(number as u32);
            let (metrics, account) = (outcome.metrics.endpoint(id)?, outcome.ledger.endpoint(id));
            Some(Part {
                cost_usd: [Profile::Seed, Profile::Documented].map(|profile| account.total(profile).total().as_usd()),
                wait: metrics.lengths.wait.clone(),
                jobs: metrics.jobs.clone(),
            })
        };
        (0..outcome.metrics.endpoints()).filter_map(one).collect()
    }

    /// Adds another replication, or another endpoint.
    pub fn add(&mut self, other: &Part) {
        self.cost_usd.iter_mut().zip(other.cost_usd).for_each(|(mine, theirs)| *mine += theirs);
        self.wait.merge(&other.wait);
        self.jobs.add(&other.jobs);
    }

    /// As the figures of one run, where it is the sum of all endpoints in `runs` of them.
    pub fn sample(&self, runs: usize) -> Sample {
        let runs = runs.max(1) as u64;
        let jobs = &self.jobs;
        let lost = jobs.of(JobOutcome::Failed) + jobs.of(JobOutcome::TimedOut) + jobs.rejected + jobs.unfinished;
        let wait = |q: f64| self.wait.quantile(q).map_or(0.0, |wait| wait.as_secs());
        Sample {
            cost_usd: self.cost_usd.map(|cost| cost / runs as f64),
            completed: jobs.of(JobOutcome::Completed) / runs,
            lost: lost.div_ceil(runs),
            wait_mean_s: self.wait.mean_s().unwrap_or(0.0),
            wait_p50_s: wait(0.5),
            wait_p95_s: wait(0.95),
            wait_p99_s: wait(0.99),
            slo_attainment: jobs.slo_attainment(),
            cold_start_share: jobs.cold_share(),
            complete: true,
            ..Sample::default()
        }
    }
}

/// How far an endpoint is beyond the limits on waits, in units of these: each keeps them itself, or what it has under the platform's
/// defaults (`default`) where that is longer. A promise about the p95 wait of all jobs together would otherwise leave whole endpoints
/// without workers that have fewer than one job in twenty. A wait that is made small has no limit but the defaults'.
pub fn neglect(part: &Part, default: &Part, runs: usize, limits: &[Limit], minimized: Figure) -> f64 {
    let value = |of: &Part, figure: Figure| figure.mean(&[of.sample(runs)], Profile::Documented);
    let waits = limits.iter().filter(|limit| limit.figure.is_wait()).map(|limit| (limit.figure, limit.value));
    let small = minimized.is_wait().then_some((minimized, 0.0));
    let beyond = waits.chain(small).map(|(figure, limit)| {
        let allowed = limit.max(value(default, figure));
        let by = value(part, figure) - allowed - figure.alike();
        if by > 0.0 { by / figure.unit(allowed) } else { 0.0 }
    });
    beyond.sum()
}

/// For each endpoint, whose settings of `pool` to take: the combination with the least `score` that is reached by changing those of
/// one endpoint at a time, from those that number `from` has for all. `pool` holds what each endpoint yielded in `runs` replications;
/// `own_score` is added for each endpoint and what it yielded.
pub fn combine(
    pool: &[&[Part]],
    from: usize,
    runs: usize,
    score: &dyn Fn(&Sample) -> f64,
    own_score: &dyn Fn(usize, &Part) -> f64,
) -> Vec<usize> {
    let endpoints = pool.get(from).map_or(0, |parts| parts.len());
    let mut chosen = vec![from; endpoints];
    for _ in 0..ROUNDS {
        let before = chosen.clone();
        for endpoint in 0..endpoints {
            let mut others = Part::default();
            let beside = (0..endpoints).filter(|other| *other != endpoint);
            beside.for_each(|other| others.add(&pool[chosen[other]][other]));
            let with = |option: usize| {
                let mut all = others.clone();
                all.add(&pool[option][endpoint]);
                score(&all.sample(runs)) + own_score(endpoint, &pool[option][endpoint])
            };
            let now = (with(chosen[endpoint]), chosen[endpoint]);
            let options = (0..pool.len()).filter(|option| pool[*option].len() == endpoints);
            let best = options.map(|option| (with(option), option)).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or(now);
            if best.0 < now.0 {
                chosen[endpoint] = best.1;
            }
        }
        if chosen == before {
            break;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn part(cost: f64, waits: &[u64]) -> Part {
        let mut part = Part { cost_usd: [cost; 2], ..Part::default() };
        waits.iter().for_each(|wait| part.wait.record(Span::from_whole_secs(*wait)));
        part
    }

    #[test]
    fn each_endpoint_takes_what_serves_all_of_them_best() {
        // A big endpoint and a small one, each with a dear quick setting and a cheap slow one.
        let [quick, slow] = [[part(9.0, &[0; 90]), part(5.0, &[0; 4])], [part(4.0, &[8; 90]), part(1.0, &[8; 4])]];
        let pool: Vec<&[Part]> = vec![&quick, &slow];
        // The p95 wait of all jobs within 1 s: the small one may be slow, the big one must be quick.
        let held = |sample: &Sample| sample.cost_usd[1] + if sample.wait_p95_s > 1.0 { 100.0 } else { 0.0 };
        for from in [0, 1] {
            assert_eq!(combine(&pool, from, 1, &held, &|_, _| 0.0), [0, 1]);
        }
        assert_eq!(combine(&pool, 0, 1, &|sample| sample.cost_usd[1], &|_, _| 0.0), [1, 1]);
        assert_eq!(combine(&pool, 1, 1, &|sample| sample.wait_mean_s, &|_, _| 0.0), [0, 0]);
        assert!(combine(&[], 0, 1, &|_| 0.0, &|_, _| 0.0).is_empty());
        // But nobody is left behind: the small one has to keep the limit as well, or what it had under the defaults.
        let limits = [Limit { figure: Figure::WaitP95, value: 1.0 }];
        let fair = |default: &Part| {
            let own = |_: usize, part: &Part| 100.0 * neglect(part, default, 1, &limits, Figure::Cost);
            combine(&pool, 0, 1, &held, &own)
        };
        assert_eq!((fair(&part(9.0, &[0; 4])), fair(&part(9.0, &[9; 4]))), (vec![0, 0], vec![0, 1]));
        let quickest = |seconds: u64| neglect(&part(1.0, &[8; 4]), &part(1.0, &[seconds; 4]), 1, &[], Figure::WaitP95);
        assert!(quickest(8) == 0.0 && quickest(4) > 0.9, "a wait that is made small is made small for each");
    }

    #[test]
    fn parts_of_a_run_add_up_to_it() {
        use crate::experiment::{self, RunOptions};
        use crate::sim::Clean;
        use crate::sim::plan::Plan;

        let plan = Plan::clean(Clean { jobs: 500, ..Clean::default() });
        let outcome = experiment::run(&plan, &RunOptions::default(), &mut |_| {}).unwrap();
        let (whole, mut sum) = (Sample::of(&outcome.summary), Part::default());
        // Two replications of the same: the mean run is one of them.
        for _ in 0..2 {
            Part::of_each(&outcome).iter().for_each(|part| sum.add(part));
        }
        let sample = sum.sample(2);
        assert_eq!((sample.completed, sample.lost, sample.cold_start_share), (500, 0, whole.cold_start_share));
        assert_eq!([sample.wait_p50_s, sample.wait_p95_s], [whole.wait_p50_s, whole.wait_p95_s]);
        assert!((sample.cost_usd[1] - whole.cost_usd[1]).abs() < 1e-9 && sample.cost_usd[1] > 0.0);
    }
}
