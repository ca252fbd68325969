//! Folders of many runs read back: what `sweep --out` wrote, and the folder above those of several runs.

use std::path::Path;

use super::folder::{FolderError, document, numbers, words};
use super::reader;
use super::summary::Summary;
use super::sweep::{Manifest, Sweep, SweptPoint};
use super::tables::OutputError;

/// What a sweep is, its table of runs, and its finished points.
const MANIFEST: &str = "sweep.json";
const TABLE: &str = "sweep.parquet";
const POINTS: &str = "points";

/// The sweep in this folder; none if there is none.
pub(super) fn sweep(path: &Path) -> Result<Option<Sweep>, FolderError> {
    let manifest = path.join(MANIFEST);
    if !manifest.exists() {
        return Ok(None);
    }
    let manifest: Manifest = document(&manifest)?;
    let table = path.join(TABLE);
    if !table.exists() {
        let there = std::fs::read_dir(path.join(POINTS)).into_iter().flatten().flatten();
        let whole = there.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        return Err(FolderError::Unfinished {
            path: path.display().to_string(),
            there: whole.count() as u64,
            points: manifest.points,
        });
    }
    let paths: Vec<String> =
        manifest.vary.iter().map(|typed| typed.split('=').next().unwrap_or("").trim().to_owned()).collect();
    let points = points(&table, &paths)?;
    Ok(Some(Sweep { manifest, paths, points }))
}

/// Means over the seeds, in the order of the table: by point, then by policy.
fn points(table: &Path, paths: &[String]) -> Result<Vec<SweptPoint>, FolderError> {
    let columns = reader::table(table).map_err(FolderError::Table)?;
    let missing = |name: &str| {
        let error = std::io::Error::other(format!("there is no column `{name}`"));
        FolderError::Table(OutputError::Io { path: table.display().to_string(), error })
    };
    let number = |name: &str| numbers(&columns, name).ok_or_else(|| missing(name));
    let text = |name: &str| words(&columns, name).ok_or_else(|| missing(name));
    let (point, policy) = (number("point")?, text("policy")?);
    let values = paths.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
    let figures = ["cost_documented_usd", "cost_seed_usd", "wait_mean_s", "wait_p95_s", "lost_jobs"];
    let figures = figures.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let is_next = |row: usize| row == 0 || point[row] != point[row - 1] || policy[row] != policy[row - 1];
    let firsts: Vec<usize> = (0..point.len()).filter(|row| is_next(*row)).collect();
    let ends = firsts.iter().skip(1).copied().chain([point.len()]);
    let mean_of_rows = |(first, end): (usize, usize)| {
        let mean = |figure: &Vec<f64>| figure[first..end].iter().sum::<f64>() / (end - first) as f64;
        let [documented, seed, wait_mean, wait_p95, lost] = [0, 1, 2, 3, 4].map(|place: usize| mean(&figures[place]));
        SweptPoint {
            point: point[first] as u64,
            values: values.iter().map(|values| values[first].clone().unwrap_or_default()).collect(),
            policy: policy[first].clone().unwrap_or_default(),
            cost_documented_usd: documented,
            cost_seed_usd: seed,
            wait_mean_s: wait_mean,
            wait_p95_s: wait_p95,
            lost_jobs: lost,
        }
    };
    Ok(firsts.iter().copied().zip(ends).map(mean_of_rows).collect())
}

/// The runs one level down, by scenario, then by seed, each with the name of its folder.
pub(super) fn runs(path: &Path) -> Result<Vec<(String, Summary)>, FolderError> {
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()) {
        let summary = folder.join("summary.json");
        if summary.exists() {
            let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            all.push((name, document::<Summary>(&summary)?));
        }
    }
    all.sort_by(|a, b| (&a.1.scenario, a.1.seed, &a.0).cmp(&(&b.1.scenario, b.1.seed, &b.0)));
    Ok(all)
}
