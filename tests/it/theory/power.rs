//! Tests of the tests: deliberate errors of the kind that a simulator is most likely to have must be found.

use rayon::prelude::*;
use thermocline::policy::PolicyChoice;
use thermocline::units::Time;
use thermocline::workload::{Distribution, ServiceModel, SharedSpeed};

use super::judge::{Estimate, Finding, Rule};
use super::measure::metric;
use super::observe::rate;
use super::plans::{Run, Setup, setup};
use super::reference::{Case, cases};
use super::simulate::{Measured, simulate};

const REPLICATIONS: u64 = 20;

/// Judges one metric of a case after `mutate` has been at the plan and the probe, and `mismeasure` at the result.
struct Trial {
    case: Case,
    metric: &'static str,
    jobs: f64,
    /// Half-width of the 95 % interval that the run must reach, as a share of the value.
    precision: f64,
}

impl Trial {
    fn new(case: &str, metric: &'static str, jobs: f64, precision: f64) -> Trial {
        let case = cases().into_iter().find(|known| known.id == case).expect("a case of the file");
        Trial { case, metric, jobs, precision }
    }

    fn judge(&self, mutate: fn(&mut Setup), measure: fn(&Measured, &str) -> f64) -> Finding {
        let window_s = self.jobs / REPLICATIONS as f64 / rate(&self.case);
        let (from, to) = (Time::from_secs(window_s / 9.0), Time::from_secs(window_s / 9.0 + window_s));
        let sample = |replication| {
            let mut setup = setup(&self.case, Run { from, to, seed: 5_000 + replication }, None);
            mutate(&mut setup);
            measure(&simulate(setup), self.metric)
        };
        let samples: Vec<f64> = (0..REPLICATIONS).into_par_iter().map(sample).collect();
        let row = self.case.rows.iter().find(|row| row.metric == self.metric).expect("a metric of the case");
        Finding::new(row, Rule::Equal, Estimate::of(&samples), self.precision)
    }

    /// The simulator passes, the mutant does not, and both are measured sharply.
    fn finds(&self, mutate: fn(&mut Setup), mismeasure: fn(&Measured, &str) -> f64) {
        let right = self.judge(|_| {}, plain);
        let wrong = self.judge(mutate, mismeasure);
        println!("{}\n{}", right.line(), wrong.line());
        assert!(right.passes(), "{}", right.line());
        assert!(!wrong.is_near(), "the error went unnoticed: {}", wrong.line());
    }
}

fn plain(run: &Measured, name: &str) -> f64 {
    metric(run, name).expect("a plain metric")
}

#[test]
fn services_that_take_3_percent_too_long_are_found() {
    let longer = |setup: &mut Setup| {
        let work = Distribution::Exponential { mean: 1.03 };
        setup.plan.endpoints[0].release.service = ServiceModel::Drawn { work, speed: SharedSpeed::Independent };
    };
    Trial::new("mmc-4", "utilization", 3e5, 0.01).finds(longer, plain);
}

#[test]
fn an_idle_timeout_that_is_one_tick_too_long_is_found() {
    let late = |setup: &mut Setup| {
        setup.plan.endpoints[0].spec.policies.keep_alive = PolicyChoice::named("fixed").with("idle_timeout_s", 16.0);
    };
    Trial::new("cold1-b", "idle_fraction", 2e5, 0.01).finds(late, plain);
}

#[test]
fn last_come_first_served_is_found_by_the_99th_percentile_and_not_by_the_mean() {
    let last_first = |setup: &mut Setup| setup.probe.last_come_first = true;
    Trial::new("mmc-1", "wait_p99", 3e5, 0.1).finds(last_first, plain);
    let mean = Trial::new("mmc-1", "wait_mean", 3e5, 0.1).judge(last_first, plain);
    assert!(mean.passes(), "the mean does not depend on the order: {}", mean.line());
}

#[test]
fn a_bill_without_the_cold_start_is_found() {
    let forgetful = |run: &Measured, name: &str| plain(run, name) - plain(run, "setup_fraction");
    Trial::new("cold1-b", "billed_fraction", 2e4, 0.02).finds(|_| {}, forgetful);
}
