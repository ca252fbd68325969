//! The document of a sweep: what was varied, and the means of every point. The runs themselves are rows of `sweep.parquet`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the documents; changes when a field changes its meaning or goes.
pub const SWEEP_VERSION: u32 = 1;

/// What a sweep is: two of them with equal manifests have equal results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of this document.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Name of the scenario.
    pub scenario: String,
    /// XXH3-128 of its effective configuration, `--set` included. Traces count by their names.
    pub hash: String,
    /// What is varied, as typed.
    pub vary: Vec<String>,
    /// Number of points drawn and the seed of the draw; absent for a grid.
    pub random: Option<[u64; 2]>,
    /// Settings changed in every point.
    pub set: Vec<String>,
    /// Seeds of every point.
    pub seeds: Vec<u64>,
    /// The policies, by name.
    pub policies: Vec<SweptPolicy>,
    /// Number of points.
    pub points: u64,
}

/// A policy of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweptPolicy {
    /// Its name.
    pub name: String,
    /// XXH3-128 of its text.
    pub hash: String,
}

/// A finished sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sweep {
    /// What it is.
    pub manifest: Manifest,
    /// Paths of the varied settings, in the order of the values.
    pub paths: Vec<String>,
    /// Means over the seeds, in order of points, then policies.
    pub points: Vec<SweptPoint>,
}

/// One point under one policy: means over the seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweptPoint {
    /// Number of the point.
    pub point: u64,
    /// Values of the varied settings, as typed.
    pub values: Vec<String>,
    /// The policy.
    pub policy: String,
    /// Dollars per run, every billed second counted.
    pub cost_documented_usd: f64,
    /// Dollars per run, idle flex workers free.
    pub cost_seed_usd: f64,
    /// Mean wait.
    pub wait_mean_s: f64,
    /// Mean over runs of the p95 wait.
    pub wait_p95_s: f64,
    /// Jobs per run without a result.
    pub lost_jobs: f64,
}
