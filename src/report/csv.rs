//! The figures of runs and comparisons as CSV: one row per endpoint or policy, units in the names of the columns.

use crate::results::comparison::{Comparison, Interval};
use crate::results::summary::{Figures, Summary};
use crate::results::sweep::Sweep;
use crate::results::tables::{Cell, Kind, Table};
use crate::results::{Format, OutputError};

/// A column of numbers, and where they come from.
type Figure = (&'static str, fn(&Figures) -> Option<f64>);

/// Columns of numbers of an endpoint.
const FIGURES: [Figure; 30] = [
    ("submitted", |of| Some(of.jobs.submitted as f64)),
    ("completed", |of| Some(of.jobs.completed as f64)),
    ("failed", |of| Some(of.jobs.failed as f64)),
    ("timed_out", |of| Some(of.jobs.timed_out as f64)),
    ("cancelled", |of| Some(of.jobs.cancelled as f64)),
    ("rejected", |of| Some(of.jobs.rejected as f64)),
    ("unfinished", |of| Some(of.jobs.unfinished as f64)),
    ("wait_mean_s", |of| of.wait_s.mean),
    ("wait_p50_s", |of| of.wait_s.p50),
    ("wait_p95_s", |of| of.wait_s.p95),
    ("wait_p99_s", |of| of.wait_s.p99),
    ("wait_max_s", |of| of.wait_s.max),
    ("response_mean_s", |of| of.response_s.mean),
    ("response_p50_s", |of| of.response_s.p50),
    ("response_p95_s", |of| of.response_s.p95),
    ("response_p99_s", |of| of.response_s.p99),
    ("cold_start_mean_s", |of| of.cold_start_s.mean),
    ("cold_start_p95_s", |of| of.cold_start_s.p95),
    ("cold_start_share", |of| of.cold_start_share),
    ("slo_attainment", |of| of.slo_attainment),
    ("queue_mean", |of| Some(of.queue.mean)),
    ("workers_mean", |of| Some(of.workers.all.mean)),
    ("workers_max", |of| Some(of.workers.all.max as f64)),
    ("utilization", |of| of.utilization),
    ("starts", |of| Some(of.starts.asked as f64)),
    ("starts_failed", |of| Some(of.starts.failed as f64)),
    ("documented_usd", |of| Some(of.cost_usd.documented.total)),
    ("documented_per_1000_usd", |of| of.cost_usd.documented.per_1000_completed),
    ("seed_usd", |of| Some(of.cost_usd.seed.total)),
    ("seed_per_1000_usd", |of| of.cost_usd.seed.per_1000_completed),
];

/// A run: a row per endpoint, then one for all together, called `total` in the column `row`.
///
/// # Errors
/// As the writer says.
pub fn run(summary: &Summary) -> Result<String, OutputError> {
    let mut columns = vec![("row", Kind::Text), ("name", Kind::Text)];
    columns.extend(FIGURES.iter().map(|(name, _)| (*name, Kind::Number)));
    written(&columns, |table| {
        let mut row = |kind, name, figures: &Figures| {
            let mut cells = vec![Cell::from(kind), Cell::from(name)];
            cells.extend(FIGURES.iter().map(|(_, figure)| Cell::Number(figure(figures))));
            table.row(&cells);
        };
        for endpoint in &summary.endpoints {
            row("endpoint", endpoint.name.as_str(), &endpoint.figures);
        }
        row("total", summary.scenario.as_str(), &summary.total);
    })
}

/// Several runs: the rows of each, with the folder, the scenario and the seed in front.
///
/// # Errors
/// As the writer says.
pub fn runs(runs: &[(String, Summary)]) -> Result<String, OutputError> {
    let mut columns = vec![
        ("run", Kind::Text),
        ("scenario", Kind::Text),
        ("seed", Kind::Count),
        ("row", Kind::Text),
        ("name", Kind::Text),
    ];
    columns.extend(FIGURES.iter().map(|(name, _)| (*name, Kind::Number)));
    written(&columns, |table| {
        for (folder, summary) in runs {
            let own = summary.endpoints.iter().map(|endpoint| ("endpoint", endpoint.name.as_str(), &endpoint.figures));
            for (kind, name, figures) in own.chain([("total", summary.scenario.as_str(), &summary.total)]) {
                let mut cells: Vec<Cell<'_>> = vec![folder.as_str().into(), summary.scenario.as_str().into()];
                cells.extend([Cell::from(summary.seed), Cell::from(kind), Cell::from(name)]);
                cells.extend(FIGURES.iter().map(|(_, figure)| Cell::Number(figure(figures))));
                table.row(&cells);
            }
        }
    })
}

/// A sweep: a row per point and policy, means over the seeds. What was varied is called by its path.
///
/// # Errors
/// As the writer says.
pub fn sweep(sweep: &Sweep) -> Result<String, OutputError> {
    let owned = |name: &str, kind| (name.to_owned(), kind);
    let mut columns = vec![owned("point", Kind::Count), owned("policy", Kind::Text)];
    columns.extend(sweep.paths.iter().map(|path| owned(path, Kind::Text)));
    let figures = ["documented_usd", "seed_usd", "wait_mean_s", "wait_p95_s", "lost_jobs"];
    columns.extend(figures.map(|name| owned(name, Kind::Number)));
    written_named(columns, |table| {
        for point in &sweep.points {
            let mut cells: Vec<Cell<'_>> = vec![point.point.into(), point.policy.as_str().into()];
            cells.extend(point.values.iter().map(|value| Cell::from(value.as_str())));
            let costs = [point.cost_documented_usd, point.cost_seed_usd];
            cells.extend(
                costs.into_iter().chain([point.wait_mean_s, point.wait_p95_s, point.lost_jobs]).map(Cell::from),
            );
            table.row(&cells);
        }
    })
}

/// A comparison: a row per scenario and policy.
///
/// # Errors
/// As the writer says.
pub fn comparison(comparison: &Comparison) -> Result<String, OutputError> {
    const FIGURES: [&str; 13] = [
        "documented_usd",
        "seed_usd",
        "documented_per_1000_usd",
        "seed_per_1000_usd",
        "wait_mean_s",
        "wait_p50_s",
        "wait_p95_s",
        "wait_p99_s",
        "slo_attainment",
        "cold_start_share",
        "changes_per_hour",
        "lost_jobs",
        "regret_usd",
    ];
    let names: Vec<String> =
        FIGURES.iter().flat_map(|name| ["", "_low", "_high"].map(|ending| format!("{name}{ending}"))).collect();
    let mut columns = vec![("scenario", Kind::Text), ("policy", Kind::Text), ("replications", Kind::Count)];
    columns.extend(names.iter().map(|name| (name.as_str(), Kind::Number)));
    let columns: Vec<(String, Kind)> = columns.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    written_named(columns, |table| {
        for scenario in &comparison.scenarios {
            for row in &scenario.policies {
                let of = &row.figures;
                let figures: [Option<Interval>; 13] = [
                    Some(of.cost_documented_usd),
                    Some(of.cost_seed_usd),
                    of.per_1000_documented_usd,
                    of.per_1000_seed_usd,
                    Some(of.wait_mean_s),
                    Some(of.wait_p50_s),
                    Some(of.wait_p95_s),
                    Some(of.wait_p99_s),
                    of.slo_attainment,
                    of.cold_start_share,
                    Some(of.changes_per_hour),
                    Some(of.lost_jobs),
                    row.regret.as_ref().map(|regret| regret.usd),
                ];
                let mut cells = vec![Cell::from(scenario.scenario.as_str()), Cell::from(row.policy.as_str())];
                cells.push(Cell::from(scenario.seeds.len() as u64));
                cells.extend(figures.into_iter().flat_map(|figure| {
                    let ends = figure.map(|figure| [Some(figure.mean), figure.low, figure.high]);
                    ends.unwrap_or_default().map(Cell::Number)
                }));
                table.row(&cells);
            }
        }
    })
}

fn written(columns: &[(&str, Kind)], rows: impl FnOnce(&mut Table<&mut Vec<u8>>)) -> Result<String, OutputError> {
    written_named(columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(), rows)
}

fn written_named(
    columns: Vec<(String, Kind)>,
    rows: impl FnOnce(&mut Table<&mut Vec<u8>>),
) -> Result<String, OutputError> {
    let mut bytes = Vec::new();
    let mut table = Table::with_columns(&mut bytes, "figures.csv".to_owned(), Format::Csv, columns)?;
    rows(&mut table);
    table.finish()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::comparison::{PolicyRow, ScenarioComparison};
    use crate::results::summary::EndpointSummary;

    #[test]
    fn every_row_has_all_columns() {
        let mut summary = Summary { scenario: "s".to_owned(), ..Summary::default() };
        summary.endpoints.push(EndpointSummary { name: "=1+1".to_owned(), ..EndpointSummary::default() });
        summary.endpoints[0].figures.wait_s.p95 = Some(2.5);
        let row = PolicyRow { policy: "a, b".to_owned(), ..PolicyRow::default() };
        let scenario = ScenarioComparison { policies: vec![row], ..ScenarioComparison::default() };
        let compared = Comparison { scenarios: vec![scenario], ..Comparison::default() };
        let several = [("a".to_owned(), summary.clone()), ("b".to_owned(), summary.clone())];
        let point = crate::results::sweep::SweptPoint { values: vec!["5, 6".to_owned()], ..Default::default() };
        let swept = Sweep { paths: vec!["a.b".to_owned()], points: vec![point], ..Sweep::default() };
        let texts = [run(&summary), comparison(&compared), runs(&several), sweep(&swept)].map(Result::unwrap);
        assert_eq!(texts[2].lines().count(), 5, "{}", texts[2]);
        assert!(texts[3].starts_with("point,policy,a.b,documented_usd,"), "{}", texts[3]);
        for text in texts {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            assert!(reader.records().all(|record| record.is_ok()), "{text}");
        }
        let text = run(&summary).unwrap();
        assert!(text.contains("endpoint,'=1+1,") && text.contains(",2.5,") && text.ends_with('\n'), "{text}");
    }
}
