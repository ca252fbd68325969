//! The rows of a point in a table: its columns, and the way there and back.

use std::io::Write;

use super::super::compare::sample::Sample;
use crate::results::reader::{Column, Columns};
use crate::results::tables::{Cell, Kind, OutputError, Table};
use crate::results::{Format, sweep::Manifest};

/// The runs of one point: under each policy every seed, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Number of the point.
    pub point: u64,
    /// Values of the varied settings, as typed.
    pub values: Vec<String>,
    /// One per run.
    pub samples: Vec<Sample>,
}

/// Columns before those of the varied settings.
const KEYS: [(&str, Kind); 3] = [("point", Kind::Count), ("policy", Kind::Text), ("seed", Kind::Count)];
/// Columns behind them.
const FIGURES: [(&str, Kind); 13] = [
    ("cost_documented_usd", Kind::Number),
    ("cost_seed_usd", Kind::Number),
    ("completed_jobs", Kind::Count),
    ("lost_jobs", Kind::Count),
    ("wait_mean_s", Kind::Number),
    ("wait_p50_s", Kind::Number),
    ("wait_p95_s", Kind::Number),
    ("wait_p99_s", Kind::Number),
    ("slo_attainment", Kind::Number),
    ("cold_start_share", Kind::Number),
    ("starts", Kind::Count),
    ("observed_hours", Kind::Number),
    ("complete", Kind::Count),
];

/// The columns of a sweep's table; those of varied settings have the settings' paths as names and hold what was typed.
pub fn columns(paths: &[String]) -> Vec<(String, Kind)> {
    let owned = |(name, kind): &(&str, Kind)| ((*name).to_owned(), *kind);
    let varied = paths.iter().map(|path| (path.clone(), Kind::Text));
    KEYS.iter().map(owned).chain(varied).chain(FIGURES.iter().map(owned)).collect()
}

/// Begins a table with those columns.
///
/// # Errors
/// If it cannot be written.
pub fn table<W: Write>(writer: W, path: String, paths: &[String]) -> Result<Table<W>, OutputError> {
    Table::with_columns(writer, path, Format::Parquet, columns(paths))
}

impl Rows {
    /// Writes them to a table of the sweep.
    pub fn write<W: Write>(&self, manifest: &Manifest, table: &mut Table<W>) {
        let runs = manifest.policies.iter().flat_map(|policy| manifest.seeds.iter().map(move |seed| (policy, seed)));
        for ((policy, seed), sample) in runs.zip(&self.samples) {
            let mut cells: Vec<Cell<'_>> = vec![self.point.into(), policy.name.as_str().into(), (*seed).into()];
            cells.extend(self.values.iter().map(|value| Cell::from(value.as_str())));
            cells.extend(figures(sample));
            table.row(&cells);
        }
    }

    /// Reads them back; `None` if the table is not that of a whole point of this sweep.
    pub fn of_columns(columns: &Columns, paths: &[String], manifest: &Manifest) -> Option<Rows> {
        let expected: Vec<String> = self::columns(paths).into_iter().map(|(name, _)| name).collect();
        let found: Vec<&String> = columns.iter().map(|(name, _)| name).collect();
        let runs = manifest.policies.len() * manifest.seeds.len();
        if !found.iter().copied().eq(expected.iter()) {
            return None;
        }
        let (keys, rest) = columns.split_at(KEYS.len());
        let (varied, figures) = rest.split_at(paths.len());
        let [(_, Column::Count(points)), (_, Column::Text(_)), (_, Column::Count(_))] = keys else { return None };
        let first = |(_, column): &(String, Column)| match column {
            Column::Text(texts) => texts.first().cloned().flatten(),
            _ => None,
        };
        let samples = (0..runs).map(|row| sample(figures, row)).collect::<Option<Vec<Sample>>>()?;
        if points.len() != runs {
            return None;
        }
        let values = varied.iter().map(first).collect::<Option<Vec<String>>>()?;
        Some(Rows { point: points.first().copied().flatten()?, values, samples })
    }
}

fn figures(sample: &Sample) -> [Cell<'static>; FIGURES.len()] {
    [
        sample.cost_usd[1].into(),
        sample.cost_usd[0].into(),
        sample.completed.into(),
        sample.lost.into(),
        sample.wait_mean_s.into(),
        sample.wait_p50_s.into(),
        sample.wait_p95_s.into(),
        sample.wait_p99_s.into(),
        sample.slo_attainment.into(),
        sample.cold_start_share.into(),
        sample.starts.into(),
        sample.hours.into(),
        u64::from(sample.complete).into(),
    ]
}

/// The inverse of [`figures`].
fn sample(columns: &[(String, Column)], row: usize) -> Option<Sample> {
    let number = |place: usize| match columns.get(place) {
        Some((_, Column::Number(values))) => values.get(row).copied(),
        _ => None,
    };
    let count = |place: usize| match columns.get(place) {
        Some((_, Column::Count(values))) => values.get(row).copied().flatten(),
        _ => None,
    };
    Some(Sample {
        cost_usd: [number(1)??, number(0)??],
        completed: count(2)?,
        lost: count(3)?,
        wait_mean_s: number(4)??,
        wait_p50_s: number(5)??,
        wait_p95_s: number(6)??,
        wait_p99_s: number(7)??,
        slo_attainment: number(8)?,
        cold_start_share: number(9)?,
        starts: count(10)?,
        hours: number(11)??,
        complete: count(12)? == 1,
        missed: Vec::new(),
        neglect: 0.0,
    })
}
