//! `trace info FILE` and `trace import`: what a trace of requests is like, and how public ones become usable.

mod import;
mod plot;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use self::plot::{Bins, chart, line, time};
use super::{Failure, output};
use crate::workload::error::printable;
use crate::workload::info::{EndpointInfo, TraceInfo, histogram, info};
use crate::workload::tally::Quantiles;

/// Endpoints that the tables show.
const ENDPOINTS_SHOWN: usize = 20;

/// What can be typed after `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(subcommand)]
    verb: TraceVerb,
}

#[derive(Debug, Subcommand)]
enum TraceVerb {
    /// Rates, burstiness, lulls, tokens and service times of a trace, with a chart
    Info(InfoArgs),
    /// Turn a public trace in its own format into a trace that scenarios can use
    Import(import::ImportArgs),
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// A trace: .csv or .csv.gz with arrival_s,endpoint[,service_s][,input_tokens][,output_tokens]
    file: PathBuf,
    /// Print JSON
    #[arg(long, conflicts_with = "ascii")]
    json: bool,
    /// Plain ASCII characters only
    #[arg(long)]
    ascii: bool,
}

/// Runs the verb.
///
/// # Errors
/// If a file is not what it should be ([`Failure::Input`]), or the answer cannot be written.
pub(super) fn run(args: &TraceArgs) -> Result<(), Failure> {
    match &args.verb {
        TraceVerb::Info(args) => run_info(args),
        TraceVerb::Import(args) => import::run(args),
    }
}

fn run_info(args: &InfoArgs) -> Result<(), Failure> {
    let info = info(&args.file).map_err(Failure::input)?;
    if args.json {
        return output::answer_json(&info);
    }
    let width = output::width();
    let bins = Bins::new(info.span_s, width);
    let shown: Vec<&EndpointInfo> = info.endpoints.iter().take(ENDPOINTS_SHOWN).collect();
    let names: Vec<&str> = shown.iter().map(|endpoint| endpoint.endpoint.as_str()).collect();
    let counts = histogram(&args.file, bins.step.0, bins.count, &names).map_err(Failure::input)?;
    let page = Page { info: &info, shown: &shown, bins, width, ascii: args.ascii };
    let title = printable(args.file.to_string_lossy().as_bytes());
    output::answer(&format!(
        "{title}: {} of {} in {}\n\n{}\n{}\n{}",
        counted(info.all.rows, "request"),
        counted(info.endpoints.len() as u64, "endpoint"),
        time(info.span_s),
        page.charts(&counts),
        page.rates(),
        page.quantiles(),
    ))
}

/// A trace on a terminal.
struct Page<'a> {
    info: &'a TraceInfo,
    shown: &'a [&'a EndpointInfo],
    bins: Bins,
    width: u16,
    ascii: bool,
}

impl Page<'_> {
    fn charts(&self, counts: &[Vec<u64>]) -> String {
        let mut text = format!("requests per {}\n{}", self.bins.step.1, chart(&counts[0], self.bins, self.ascii));
        if self.shown.len() > 1 {
            text.push_str("\nby endpoint, each relative to its own peak\n");
            for (endpoint, counts) in self.shown.iter().zip(&counts[1..]) {
                let name: String = self.name(endpoint).chars().take(9).collect();
                text.push_str(format!("{name:>9}  {}", line(counts, self.bins, self.ascii)).trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn rates(&self) -> String {
        let header = [
            "endpoint",
            "requests",
            "mean /s",
            "peak minute /s",
            "peak /mean",
            "CV of gaps",
            "IoD 1 min",
            "IoD 10 min",
            "empty minutes",
            "in gaps >60 s",
        ];
        let mut table = self.table(&header);
        for endpoint in self.all_and_shown() {
            table.add_row([
                self.name(endpoint),
                endpoint.rows.to_string(),
                number(endpoint.mean_rate),
                number(Some(endpoint.peak_minute_rate)),
                number(endpoint.peak_to_mean),
                number(endpoint.gap_cv),
                number(endpoint.iod_1_min),
                number(endpoint.iod_10_min),
                percent(endpoint.empty_minutes),
                percent(endpoint.time_in_long_gaps),
            ]);
        }
        let more = self.info.endpoints.len() - self.shown.len();
        let rest = if more > 0 { format!("{more} more endpoints: see --json\n") } else { String::new() };
        format!("{}\n{rest}", table.trim_fmt())
    }

    fn quantiles(&self) -> String {
        let mut table = self.table(&["endpoint", "quantity", "known of", "mean", "p50", "p90", "p99", "max"]);
        for endpoint in self.all_and_shown() {
            let quantities: [(&str, Option<Quantiles>); 4] = [
                ("gap, s", endpoint.gap_s),
                ("service_s", endpoint.service_s),
                ("input_tokens", endpoint.input_tokens),
                ("output_tokens", endpoint.output_tokens),
            ];
            for (quantity, quantiles) in quantities {
                let Some(q) = quantiles else { continue };
                let values = [q.mean, q.p50, q.p90, q.p99, q.max].map(|value| number(Some(value)));
                table.add_row(
                    [vec![self.name(endpoint), quantity.to_owned(), q.count.to_string()], values.into()].concat(),
                );
            }
        }
        format!("{}\n", table.trim_fmt())
    }

    /// One endpoint is all there is to say if there is only one.
    fn all_and_shown(&self) -> impl Iterator<Item = &EndpointInfo> {
        let all = (self.shown.len() > 1).then_some(&self.info.all);
        all.into_iter().chain(self.shown.iter().copied())
    }

    fn name(&self, endpoint: &EndpointInfo) -> String {
        let name = shortened(&printable(endpoint.endpoint.as_bytes()));
        if self.ascii { name.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() } else { name }
    }

    fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        table.set_header(header);
        let words = header.iter().take_while(|name| ["endpoint", "quantity"].contains(name)).count();
        for (place, column) in table.column_iter_mut().enumerate() {
            if place < words {
                column.set_constraint(ColumnConstraint::ContentWidth);
            } else {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// `1 request`, `2 requests`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// At most 28 characters: the tables have ten columns.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 28 {
        return name.to_owned();
    }
    name.chars().take(27).chain(['…']).collect()
}

/// Four significant digits.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let whole_digits = (value.abs().max(1e-9).log10().floor() as i32) + 1;
    let decimals = (4 - whole_digits).clamp(0, 7) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_significant_digits() {
        let all = [0.002_731_6, 1.533_3, 151_592.0, 2.0, 0.0, 19.011].map(|value| number(Some(value)));
        assert_eq!(all, ["0.002732", "1.533", "151592", "2", "0", "19.01"]);
        assert_eq!((counted(1, "request"), shortened("ab")), ("1 request".to_owned(), "ab".to_owned()));
        assert_eq!(shortened(&"ä".repeat(40)).chars().count(), 28);
        assert_eq!((number(None), percent(Some(0.215))), ("-".to_owned(), "22 %".to_owned()));
    }
}
