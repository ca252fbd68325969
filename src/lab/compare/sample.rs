//! One replication: a run of one policy under one seed, as the handful of numbers that comparisons are made of.

use crate::experiment::{self, Outcome, RunError, RunOptions};
use crate::ledger::{Profile, Rounding};
use crate::results::Summary;
use crate::results::summary::{Figures, Jobs};
use crate::scenario::Scenario;
use crate::sim::plan::Plan;

/// Jobs of an endpoint that did not get what they were promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Missed a target and yet had a result.
    pub late: u64,
    /// Had none.
    pub lost: u64,
}

/// What one run yields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Dollars, by [`Profile::index`].
    pub cost_usd: [f64; 2],
    /// Jobs with a result.
    pub completed: u64,
    /// Jobs without one: failed, timed out, refused, unfinished. Cancelled ones are nobody's loss.
    pub lost: u64,
    /// Mean wait; 0 when no job was started.
    pub wait_mean_s: f64,
    /// Median wait.
    pub wait_p50_s: f64,
    /// P95 wait.
    pub wait_p95_s: f64,
    /// P99 wait.
    pub wait_p99_s: f64,
    /// Share of jobs that met the targets.
    pub slo_attainment: Option<f64>,
    /// Share of jobs whose worker became ready only after they came.
    pub cold_start_share: Option<f64>,
    /// Starts and resumes of workers, each of which is followed by a stop.
    pub starts: u64,
    /// Observed hours.
    pub hours: f64,
    /// False when jobs were left that could never finish.
    pub complete: bool,
    /// What each endpoint missed; empty where it was not kept.
    pub missed: Vec<Missed>,
    /// In a search that gives each endpoint settings of its own: how far single ones are beyond the limits on waits, in units of these.
    pub neglect: f64,
}

impl Missed {
    fn of(figures: &Figures) -> Missed {
        let jobs = &figures.jobs;
        let lost = lost(jobs);
        let counted = jobs.submitted.saturating_sub(jobs.cancelled) as f64;
        let missed = figures.slo_attainment.map_or(0.0, |met| ((1.0 - met) * counted).round());
        Missed { late: (missed as u64).saturating_sub(lost), lost }
    }
}

fn lost(jobs: &Jobs) -> u64 {
    jobs.failed + jobs.timed_out + jobs.rejected + jobs.unfinished
}

impl Sample {
    /// Of a finished run.
    pub fn of(summary: &Summary) -> Sample {
        let total = &summary.total;
        let (jobs, wait) = (&total.jobs, &total.wait_s);
        let or_zero = |value: Option<f64>| value.unwrap_or(0.0);
        Sample {
            cost_usd: [total.cost_usd.seed.total, total.cost_usd.documented.total],
            completed: jobs.completed,
            lost: lost(jobs),
            wait_mean_s: or_zero(wait.mean),
            wait_p50_s: or_zero(wait.p50),
            wait_p95_s: or_zero(wait.p95),
            wait_p99_s: or_zero(wait.p99),
            slo_attainment: total.slo_attainment,
            cold_start_share: total.cold_start_share,
            starts: total.starts.asked,
            hours: summary.observed_s / 3_600.0,
            complete: summary.complete,
            missed: summary.endpoints.iter().map(|endpoint| Missed::of(&endpoint.figures)).collect(),
            neglect: 0.0,
        }
    }

    /// Dollars under `profile`.
    pub fn cost(&self, profile: Profile) -> f64 {
        self.cost_usd[profile.index()]
    }

    /// Starts and stops per hour.
    pub fn changes_per_hour(&self) -> f64 {
        if self.hours > 0.0 { 2.0 * self.starts as f64 / self.hours } else { 0.0 }
    }
}

/// How runs of `scenario` are evaluated.
pub fn run_options(scenario: &Scenario) -> RunOptions {
    RunOptions {
        name: scenario.settings.name.clone(),
        rounding: if scenario.settings.round_up { Rounding::UpToSeconds } else { Rounding::Exact },
        ..RunOptions::default()
    }
}

/// Runs `plan` under `seed`.
///
/// # Errors
/// As [`experiment::run()`].
pub fn outcome(plan: &Plan, seed: u64, options: &RunOptions) -> Result<Outcome, RunError> {
    let plan = Plan { seed, ..plan.clone() };
    experiment::run(&plan, options, &mut |_| {})
}

/// Runs `plan` under `seed`, for its handful of numbers.
///
/// # Errors
/// As [`experiment::run()`].
pub fn run(plan: &Plan, seed: u64, options: &RunOptions) -> Result<Sample, RunError> {
    outcome(plan, seed, options).map(|outcome| Sample::of(&outcome.summary))
}
