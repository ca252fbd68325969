//! The document of a comparison of policies: what `compare --json` prints. Nothing but data.
//!
//! Amounts are US dollars, times seconds. Every figure is over replications: one number per run, never pooled jobs. Intervals
//! are 95 %, and absent below 10 replications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the document; changes when a field changes its meaning or goes.
pub const COMPARISON_VERSION: u32 = 1;

/// A mean with its 95 % interval; no interval below 10 replications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Interval {
    /// Half of its length.
    pub fn half(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }

    /// As [`Self::half`], but none where it is nothing beside the mean: what never varies has an interval of rounding errors.
    pub fn spread(&self) -> Option<f64> {
        self.half().filter(|half| *half > 1e-9 * self.mean.abs())
    }

    /// -1 if it lies below zero, 1 if above, 0 if it holds zero or does not exist.
    pub fn side(&self) -> i32 {
        match (self.low, self.high) {
            (_, Some(high)) if high < 0.0 => -1,
            (Some(low), _) if low > 0.0 => 1,
            _ => 0,
        }
    }

    /// The same on another scale; `scale` must not decrease.
    pub fn map(&self, scale: impl Fn(f64) -> f64) -> Interval {
        Interval { mean: scale(self.mean), low: self.low.map(&scale), high: self.high.map(&scale) }
    }
}

/// Policies held against each other in several scenarios.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Version of this document.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// The billing profile that is ranked by, `documented` or `seed`.
    pub profile: String,
    /// One table each.
    pub scenarios: Vec<ScenarioComparison>,
}

/// Policies held against each other in one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioComparison {
    /// Name of the scenario.
    pub scenario: String,
    /// Its own description.
    pub description: String,
    /// XXH3-128 of its effective configuration without any policy laid over it. Traces count by their names.
    pub hash: String,
    /// Seeds of the replications, in order. Every policy meets the same ones.
    pub seeds: Vec<u64>,
    /// Parts of the trace, in seconds of the trace, when the replications are parts of it; empty otherwise.
    pub windows: Vec<[f64; 2]>,
    /// What differs from one replication to the next, in words.
    pub varies: String,
    /// Figures count from this second of a run on.
    pub warm_up_s: f64,
    /// Wanted half-width relative to the mean, if replications were added until it was reached.
    pub precision: Option<f64>,
    /// Most replications that were allowed.
    pub cap: u64,
    /// The cap was reached before the wanted precision.
    pub cap_hit: bool,
    /// The policy that the others are compared with.
    pub baseline: String,
    /// What no policy that keeps every job within its target can go below, in dollars of the profile; where a bound is known,
    /// over the first ten replications.
    pub bound_usd: Option<Interval>,
    /// The policies, cheapest first.
    pub policies: Vec<PolicyRow>,
    /// Names of those that may be the cheapest (multiple comparison with the best, joint confidence 95 %).
    pub may_be_cheapest: Vec<String>,
    /// Names of those that no other is cheaper than and quicker (p95 wait) at once, cheapest first.
    pub front: Vec<String>,
    /// Remarks that the figures must not be read without.
    pub notes: Vec<String>,
}

/// One policy in one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRow {
    /// Its name.
    pub policy: String,
    /// What it is.
    pub summary: String,
    /// Its figures.
    pub figures: PolicyFigures,
    /// Against the baseline; absent for the baseline itself.
    pub against: Option<Against>,
    /// No other policy is significantly cheaper.
    pub may_be_cheapest: bool,
    /// A policy that is both cheaper and quicker; absent for those on the Pareto front.
    pub dominated_by: Option<String>,
    /// Cost beyond the bound, where one is known, over the first ten replications.
    pub regret: Option<Regret>,
}

/// The figures of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyFigures {
    /// Dollars per run, every billed second counted.
    pub cost_documented_usd: Interval,
    /// Dollars per run, idle flex workers free.
    pub cost_seed_usd: Interval,
    /// Dollars per 1,000 completed jobs, jackknife; absent without any.
    pub per_1000_documented_usd: Option<Interval>,
    /// The same with idle flex workers free.
    pub per_1000_seed_usd: Option<Interval>,
    /// Mean wait.
    pub wait_mean_s: Interval,
    /// Mean over runs of the median wait.
    pub wait_p50_s: Interval,
    /// Mean over runs of the p95 wait.
    pub wait_p95_s: Interval,
    /// Mean over runs of the p99 wait.
    pub wait_p99_s: Interval,
    /// Share of jobs that met the endpoint's targets; absent without targets.
    pub slo_attainment: Option<Interval>,
    /// Share of jobs whose worker became ready only after they came; absent without jobs.
    pub cold_start_share: Option<Interval>,
    /// Starts, resumes and stops of workers per hour.
    pub changes_per_hour: Interval,
    /// Jobs per run without a result: failed, timed out, refused, unfinished.
    pub lost_jobs: Interval,
    /// Jobs per run with a result.
    pub completed_jobs: Interval,
}

/// A policy against the baseline, run by run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Against {
    /// Cost in the profile that is ranked by.
    pub cost: Difference,
    /// Mean wait.
    pub wait_mean: Difference,
    /// P95 wait.
    pub wait_p95: Difference,
}

/// A paired difference to the baseline: negative is better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Mean difference per run.
    pub difference: Interval,
    /// Relative change, by the mean of logarithms; absent where a value is zero.
    pub relative: Option<Interval>,
    /// P-value of no difference (paired t test).
    pub p: Option<f64>,
    /// The same after Holm's correction for all policies of the table.
    pub p_holm: Option<f64>,
    /// How many times as many runs independent random numbers would have needed; absent where nothing varies.
    pub variance_reduction: Option<f64>,
    /// Runs in which the policy was below the baseline.
    pub below_in: u64,
    /// The interval is a bootstrap's, because the differences are skewed or mostly zero.
    pub bootstrap: bool,
    /// -1 significantly below the baseline, 1 above, 0 no difference detected (interval and corrected p agree, 5 %).
    pub verdict: i32,
}

/// Cost beyond what hindsight could have reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Regret {
    /// Dollars per run above the bound of somebody who is late with as many jobs and loses as many.
    pub usd: Interval,
    /// Cost over that bound; absent where it is zero.
    pub ratio: Option<f64>,
}
