//! The document of a search for settings: what was looked for, what was found, and whether it held on data that it was not
//! found on. Nothing but data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::comparison::ScenarioComparison;

/// Version of the document; changes when a field changes its meaning or goes.
pub const TUNING_VERSION: u32 = 1;

/// A finished search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tuning {
    /// Version of this document.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Name of the scenario.
    pub scenario: String,
    /// XXH3-128 of its effective configuration. Traces count by their names.
    pub hash: String,
    /// The billing profile that counts, `documented` or `seed`.
    pub profile: String,
    /// The figure that is made small, such as `cost_usd` or `p95_wait_s`.
    #[serde(default = "cost")]
    pub minimized: String,
    /// What must hold, in words.
    pub goal: String,
    /// What it was found on, in words.
    pub trained_on: String,
    /// What it was checked on, in words.
    pub validated_on: String,
    /// Runs that were allowed.
    pub budget: u64,
    /// Runs that were made, validation not counted.
    pub runs: u64,
    /// Settings that were tried.
    pub tried: u64,
    /// Settings that could not be run, with the first reason.
    pub refused: Option<Refused>,
    /// The platform's defaults, on the training data.
    pub baseline: TunedPoint,
    /// The best settings that meet the goal with a margin; absent if none does.
    pub chosen: Option<TunedPoint>,
    /// Settings that none other is cheaper than and quicker (p95 wait) at once, by their means on all training data.
    pub front: Vec<TunedPoint>,
    /// The defaults, the file as written and what was chosen, on the validation data.
    pub validation: Option<ScenarioComparison>,
    /// The same on up to ten parts of the validation data of an hour or more, when it is recorded and long enough: how much the
    /// answer depends on the time.
    pub by_part: Option<ScenarioComparison>,
    /// What became of the goal.
    pub verdict: Verdict,
    /// Remarks.
    pub notes: Vec<String>,
}

/// What was made small before there was a choice.
fn cost() -> String {
    "cost_usd".to_owned()
}

/// Settings that were no use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// How many.
    pub settings: u64,
    /// Why the first of them.
    pub first: String,
}

/// Settings and what they yield: means over the training data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TunedPoint {
    /// The policy that they are settings of, or several with ` + ` between them.
    pub policy: String,
    /// What every endpoint is given.
    pub settings: serde_json::Value,
    /// What single endpoints are given instead, by their names; absent if all get the same.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub endpoints: serde_json::Map<String, serde_json::Value>,
    /// Dollars per run, every billed second counted.
    pub cost_documented_usd: f64,
    /// Dollars per run, idle flex workers free.
    pub cost_seed_usd: f64,
    /// Mean wait.
    pub wait_mean_s: f64,
    /// Mean over runs of the p95 wait.
    pub wait_p95_s: f64,
    /// They meet the goal.
    pub meets: bool,
}

/// The chosen settings against the platform's defaults, on training and validation data. Negative changes are better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Relative change of the cost on the training data.
    pub trained_cost_change: Option<f64>,
    /// Relative change of the cost on the validation data.
    pub validated_cost_change: Option<f64>,
    /// Change of the p95 wait on the validation data, seconds.
    pub validated_wait_p95_change_s: Option<f64>,
    /// The goal is met on the validation data; absent if nothing was chosen.
    pub holds: Option<bool>,
    /// Parts of the validation data, and in how many of them the choice is cheaper and its p95 wait no longer.
    pub parts: Option<[u64; 3]>,
}
