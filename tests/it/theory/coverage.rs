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

/// Mean wait and utilization over some 500 jobs after a warm-up of 60: long enough for the mean of 20 to be near to normal.
fn run(seed: u64) -> [f64; 2] {
    let arrivals = ArrivalSpec::Poisson { rate: 0.5 };
    let mut plan =
        Plan::clean(Clean { seed, ..Clean::always_on(arrivals, Distribution::Exponential { mean: 1.0 }, 1) });
    let (from, to) = (Time::from_secs(120.0), Time::from_secs(1_120.0));
    plan.max_jobs = None;
    plan.duration = Some(Span(to.0));
    let run = simulate(Setup { plan, probe: Probe::new(from, to), workers: 1.0 });
    ["wait_mean", "utilization"].map(|name| metric(&run, name).expect("a plain metric"))
}

#[test]
fn ninety_five_percent_intervals_cover_the_truth_in_93_to_97_percent_of_the_seeds() {
    let covers = |interval: u64| -> [bool; 2] {
        let first = 1_000_000 + interval * REPLICATIONS;
        let runs: Vec<[f64; 2]> = (first..first + REPLICATIONS).map(run).collect();
        [(0, 1.0), (1, 0.5)].map(|(figure, truth)| {
            let estimate = Estimate::of(&runs.iter().map(|run| run[figure]).collect::<Vec<f64>>());
            (estimate.mean - truth).abs() <= T_19 * estimate.error
        })
    };
    let covered: Vec<[bool; 2]> = (0..INTERVALS).into_par_iter().map(covers).collect();
    // A correct interval covers 950 +- 7; the skew of waits costs theirs some ten.
    for (figure, name) in ["mean wait", "utilization"].into_iter().enumerate() {
        let count = covered.iter().filter(|covers| covers[figure]).count();
        println!("{count} of {INTERVALS} intervals cover the {name}");
        assert!((930..=970).contains(&count), "{name}: {count} of {INTERVALS}");
    }
}
