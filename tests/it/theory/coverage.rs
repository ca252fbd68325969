//! Intervals that claim 95 % must cover the truth that often: an M/M/1 queue at 50 % load, whose mean wait is 1 s.

use rayon::prelude::*;
use thermocline::sim::clean::Clean;
use thermocline::sim::plan::Plan;
use thermocline::units::{Span, Time};
use thermocline::workload::{ArrivalSpec, Distribution};

use super::judge::Estimate;
use super::measure::metric;
use super::plans::Setup;
use super::probe::Probe;
use super::simulate::simulate;

const INTERVALS: u64 = 1_000;
const REPLICATIONS: u64 = 20;
/// 97.5 % quantile of Student's t with 19 degrees of freedom.
const T_19: f64 = 2.093_024;

/// Waits of some 250 jobs after a warm-up of 60: long enough for the mean of 20 to be near to normal.
fn mean_wait(seed: u64) -> f64 {
    let arrivals = ArrivalSpec::Poisson { rate: 0.5 };
    let mut plan =
        Plan::clean(Clean { seed, ..Clean::always_on(arrivals, Distribution::Exponential { mean: 1.0 }, 1) });
    let (from, to) = (Time::from_secs(120.0), Time::from_secs(620.0));
    plan.max_jobs = None;
    plan.duration = Some(Span(to.0));
    let run = simulate(Setup { plan, probe: Probe::new(from, to), workers: 1.0 });
    metric(&run, "wait_mean").expect("a plain metric")
}

#[test]
fn ninety_five_percent_intervals_cover_the_truth_in_93_to_97_percent_of_the_seeds() {
    let covers = |interval: &u64| {
        let waits: Vec<f64> =
            (0..REPLICATIONS).map(|replication| mean_wait(1_000_000 + interval * REPLICATIONS + replication)).collect();
        let estimate = Estimate::of(&waits);
        (estimate.mean - 1.0).abs() <= T_19 * estimate.error
    };
    let covered = (0..INTERVALS).into_par_iter().filter(covers).count();
    println!("{covered} of {INTERVALS} intervals cover the mean wait");
    // A correct interval covers 950 +- 7; the skew of waits costs it some five.
    assert!((930..=970).contains(&covered), "{covered} of {INTERVALS}");
}
