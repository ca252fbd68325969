//! Sweeps: a scenario at many points of its settings, every run a row of a table.
//!
//! A point is a combination of values; it is run under every policy and every seed. Points are independent, so any part of them
//! can be run anywhere (`--shard i/n`), in any order and on any number of threads: the table comes out the same. What is
//! finished is kept on disk point by point ([`store`]), so a sweep that was cut off goes on where it was.

pub mod rows;
pub mod store;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::axes::{self, Axis};
use super::candidate::Candidate;
use super::compare::judge;
use super::compare::sample::{self, Sample};
use crate::results::OutputError;
use crate::results::sweep::{Manifest, SWEEP_VERSION, Sweep, SweptPoint, SweptPolicy};
use crate::scenario::{self, Scenario};
use rows::Rows;
use store::Store;

/// Points that are all read before the first is run, so that a mistake in the last one costs no time.
const CHECKED_FIRST: usize = 5_000;

/// What is swept.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The application file.
    pub file: PathBuf,
    /// Settings changed in every point.
    pub overrides: Vec<String>,
    /// What is varied, and how it was typed.
    pub axes: Vec<(Axis, String)>,
    /// Number of points and seed of the draw; a grid without.
    pub random: Option<(usize, u64)>,
    /// Seeds of every point.
    pub seeds: Vec<u64>,
    /// Policies of every point.
    pub policies: Vec<Candidate>,
}

/// A part of the points: those whose number leaves `index` when divided by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0 on.
    pub index: usize,
    /// Number of shards.
    pub of: usize,
}

/// Why a sweep cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// What was asked for is wrong.
    #[error("{0}")]
    Input(String),
    /// A folder or file cannot be read or written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A sweep that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    spec: Spec,
    manifest: Manifest,
    /// Names of the endpoints, for paths with a star.
    endpoints: Vec<String>,
    points: Vec<Vec<String>>,
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Points finished, those of earlier runs included.
    pub done: usize,
    /// Points of this shard.
    pub of: usize,
}

impl Prepared {
    /// Works out the points and reads each of them once.
    ///
    /// # Errors
    /// If the file, a policy or a varied setting is wrong.
    pub fn new(spec: Spec) -> Result<Prepared, SweepError> {
        let input = |error: &dyn std::fmt::Display| SweepError::Input(error.to_string());
        let plain = scenario::load(&spec.file, &spec.overrides).map_err(|error| input(&error))?;
        let axes: Vec<Axis> = spec.axes.iter().map(|(axis, _)| axis.clone()).collect();
        if let Some((place, axis)) =
            axes.iter().enumerate().find(|(place, axis)| axes[..*place].iter().any(|other| other.path == axis.path))
        {
            let typed = &spec.axes[place].1;
            return Err(SweepError::Input(format!("--vary {typed}: {} is varied already", axis.path)));
        }
        if let Some((_, typed)) = spec.axes.iter().find(|(axis, _)| axis.path == "seed") {
            return Err(SweepError::Input(format!(
                "--vary {typed}: every point has the same seeds; give --seeds instead"
            )));
        }
        let points = match spec.random {
            Some((count, seed)) if count <= axes::POINTS_MAX => axes::random(&axes, count, seed),
            Some((count, _)) => return Err(SweepError::Input(format!("{count} points; at most {}", axes::POINTS_MAX))),
            None => axes::grid(&axes).map_err(|error| input(&error))?,
        };
        let manifest = manifest(&spec, &plain, points.len());
        let endpoints = plain.plan.endpoints.iter().map(|endpoint| endpoint.spec.name.clone()).collect();
        let prepared = Prepared { spec, manifest, endpoints, points };
        if prepared.points.len() <= CHECKED_FIRST {
            let checks =
                (0..prepared.points.len()).into_par_iter().map(|number| prepared.scenarios(number).map(|_| ()));
            checks.collect::<Vec<_>>().into_iter().collect::<Result<(), SweepError>>()?;
        }
        Ok(prepared)
    }

    /// What the sweep is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Paths of the varied settings.
    pub fn paths(&self) -> Vec<String> {
        self.spec.axes.iter().map(|(axis, _)| axis.path.clone()).collect()
    }

    /// The scenario at a point, under every policy.
    fn scenarios(&self, number: usize) -> Result<Vec<Scenario>, SweepError> {
        let mut overrides = self.spec.overrides.clone();
        for ((axis, _), value) in self.spec.axes.iter().zip(&self.points[number]) {
            overrides.extend(spread(&axis.path, &self.endpoints).into_iter().map(|path| format!("{path}={value}")));
        }
        let load = |policy: &Candidate| {
            let loaded = policy.load(&self.spec.file, &overrides);
            loaded.map_err(|problems| SweepError::Input(format!("point {number}, policy {}: {problems}", policy.name)))
        };
        self.spec.policies.iter().map(load).collect()
    }

    /// Runs one point.
    ///
    /// # Errors
    /// If a run cannot be made.
    pub fn run_point(&self, number: usize) -> Result<Rows, SweepError> {
        let scenarios = self.scenarios(number)?;
        let seeds = &self.spec.seeds;
        let one = |place: usize| -> Result<Sample, SweepError> {
            let (scenario, seed) = (&scenarios[place / seeds.len()], seeds[place % seeds.len()]);
            let ran = sample::run(&scenario.plan, seed, &sample::run_options(scenario));
            ran.map_err(|error| {
                let policy = &self.spec.policies[place / seeds.len()].name;
                SweepError::Input(format!("point {number}, policy {policy}, seed {seed}: {error}"))
            })
        };
        let runs: Vec<Result<Sample, SweepError>> =
            (0..scenarios.len() * seeds.len()).into_par_iter().map(one).collect();
        let samples = runs.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Rows { point: number as u64, values: self.points[number].clone(), samples })
    }

    /// Runs what `shard` still lacks, keeps it in `store` if there is one, and gives every point of the sweep if all are there
    /// now (`None` if other shards are missing).
    ///
    /// # Errors
    /// If a run cannot be made or a file cannot be written. What was finished before stays.
    pub fn run(
        &self,
        store: Option<&Store>,
        shard: Shard,
        watch: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<Sweep>, SweepError> {
        let own: Vec<usize> = (0..self.points.len()).filter(|number| number % shard.of == shard.index).collect();
        let open: Vec<usize> = own
            .iter()
            .copied()
            .filter(|number| store.is_none_or(|store| store.load(self, *number).is_none()))
            .collect();
        let done = std::sync::atomic::AtomicUsize::new(own.len() - open.len());
        let one = |number: &usize| -> Result<Option<Rows>, SweepError> {
            let rows = self.run_point(*number)?;
            let kept = match store {
                Some(store) => store.save(self, &rows).map(|()| None)?,
                None => Some(rows),
            };
            watch(Progress { done: 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed), of: own.len() });
            Ok(kept)
        };
        let ran: Vec<Result<Option<Rows>, SweepError>> = open.par_iter().map(one).collect();
        let rows = ran.into_iter().collect::<Result<Vec<_>, _>>()?;
        match store {
            Some(store) => store.complete(self),
            None if shard.of > 1 => Ok(None),
            None => Ok(Some(self.sweep(rows.into_iter().flatten()))),
        }
    }

    /// The document of all points.
    fn sweep(&self, rows: impl Iterator<Item = Rows>) -> Sweep {
        let names: Vec<String> = self.manifest.policies.iter().map(|policy| policy.name.clone()).collect();
        let points = rows.flat_map(|rows| means(&rows, &names)).collect();
        Sweep { manifest: self.manifest.clone(), paths: self.paths(), points }
    }
}

/// The means of a point, one per policy.
pub(crate) fn means(rows: &Rows, policies: &[String]) -> Vec<SweptPoint> {
    let seeds = (rows.samples.len() / policies.len().max(1)).max(1);
    let of = |(policy, samples): (&String, &[Sample])| {
        let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / samples.len() as f64;
        SweptPoint {
            point: rows.point,
            values: rows.values.clone(),
            policy: policy.clone(),
            cost_documented_usd: mean(&|sample| sample.cost_usd[1]),
            cost_seed_usd: mean(&|sample| sample.cost_usd[0]),
            wait_mean_s: mean(&|sample| sample.wait_mean_s),
            wait_p95_s: mean(&|sample| sample.wait_p95_s),
            lost_jobs: mean(&|sample| sample.lost as f64),
        }
    };
    policies.iter().zip(rows.samples.chunks(seeds)).map(of).collect()
}

/// `endpoints.*.x` is a path for every endpoint; any other path is itself.
pub fn spread(path: &str, endpoints: &[String]) -> Vec<String> {
    match path.strip_prefix("endpoints.*.") {
        None => vec![path.to_owned()],
        Some(rest) => endpoints.iter().map(|name| format!("endpoints.\"{name}\".{rest}")).collect(),
    }
}

fn manifest(spec: &Spec, plain: &Scenario, points: usize) -> Manifest {
    let hash = |candidate: &Candidate| {
        let text: Vec<&str> = candidate.overlays.iter().map(|overlay| overlay.text.as_str()).collect();
        format!("{:032x}", xxh3_128(text.join("\n").as_bytes()))
    };
    let policy = |candidate: &Candidate| SweptPolicy { name: candidate.name.clone(), hash: hash(candidate) };
    Manifest {
        version: SWEEP_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: plain.settings.name.clone(),
        hash: contents(judge::hash(plain), spec),
        vary: spec.axes.iter().map(|(_, typed)| typed.clone()).collect(),
        random: spec.random.map(|(count, seed)| [count as u64, seed]),
        set: spec.overrides.clone(),
        seeds: spec.seeds.clone(),
        policies: spec.policies.iter().map(policy).collect(),
        points: points as u64,
    }
}

/// `hash` and what is in the files that are varied over: policies and traces.
fn contents(hash: String, spec: &Spec) -> String {
    let values = spec.axes.iter().flat_map(|(axis, _)| match &axis.values {
        axes::Values::List(texts) => texts.as_slice(),
        axes::Values::Range { .. } => &[],
    });
    let beside = spec.file.parent().unwrap_or(Path::new(""));
    let read = |text: &String| {
        let name = text.trim_matches(['"', '\'']);
        std::fs::read(beside.join(name)).or_else(|_| std::fs::read(name)).ok()
    };
    let all: Vec<Vec<u8>> = values.filter_map(read).collect();
    if all.is_empty() { hash } else { format!("{:032x}", xxh3_128(&[hash.into_bytes(), all.concat()].concat())) }
}

/// Brings the shards in `folders` together in `out`: the table `sweep.parquet` and the document.
///
/// # Errors
/// If they are not parts of one sweep, or points are missing.
pub fn merge(folders: &[PathBuf], out: &Path, force: bool) -> Result<Sweep, SweepError> {
    store::merge(folders, out, force)
}

#[cfg(test)]
mod tests;
