//! The page of one run: what was asked, the main figures under both bills, what stands out, pictures, tables.

use maud::{Markup, html};

use super::{card, figures, list, table};
use crate::report::findings::findings;
use crate::report::format::{ABSENT, count, maybe_seconds, maybe_share, mean, money, seconds};
use crate::report::plot::Plot;
use crate::report::text::{header, shown, tables};
use crate::results::{RunFolder, Summary};

/// Name of the page.
pub(super) fn title(summary: &Summary) -> String {
    let name = if summary.scenario.is_empty() { "run" } else { &summary.scenario };
    format!("{name}, seed {}", summary.seed)
}

/// Everything below the title bar.
pub(super) fn body(run: &RunFolder, plots: &[Plot]) -> Markup {
    let summary = &run.summary;
    let missing = missing(run);
    let found = findings(summary);
    html! {
        h1 { @if summary.scenario.is_empty() { "Run" } @else { (summary.scenario) } }
        p.lead { (header(summary).trim()) }
        (cards(summary))
        @if !found.is_empty() { h2 { "What stands out" } (list(&found)) }
        h2 { "What was asked" }
        p { "Billing profile shown first: " strong { (summary.profile) } ". "
            @if summary.round_up { "Billed time is rounded up to whole seconds, session by session." }
            @else { "Billed time is exact." } }
        (table(&settings(summary), 1))
        h2 { "Pictures" }
        (figures(plots))
        @if !missing.is_empty() { p.note { (missing) } }
        h2 { "Tables" }
        p.note {
            strong { "seed" } ": flex workers pay only while they work. " strong { "documented" }
            ": they pay from the wake signal to the full stop. * marks the profile shown first." }
        @for (title, lines) in tables(summary) {
            h3 { (title) }
            (table(&lines, if title == "Waiting and responding" { 2 } else { 1 }))
        }
        footer { p { "Transcript " code { (summary.transcript_hash) } ", " (count(summary.events)) " events, thermocline "
            (summary.program) ". The same file, seed and version give the same transcript on every machine." } }
    }
}

/// Which pictures could not be drawn, and what to do about it.
fn missing(run: &RunFolder) -> String {
    let tables = [("timeline", &run.timeline), ("workers", &run.workers), ("jobs", &run.jobs)];
    let absent: Vec<&str> = tables.iter().filter(|(_, table)| table.is_none()).map(|(name, _)| *name).collect();
    match absent.as_slice() {
        [] => String::new(),
        names => format!(
            "The folder holds no table {}: the pictures that need it are left out. Run again with --out to have all of them.",
            names.join(", ")
        ),
    }
}

fn cards(summary: &Summary) -> Markup {
    let total = &summary.total;
    let bill = |name: &str| {
        let bill = if name == "seed" { &total.cost_usd.seed } else { &total.cost_usd.documented };
        let per_1000 = bill.per_1000_completed.map_or_else(|| ABSENT.to_owned(), money);
        card(&format!("{name} bill"), &money(bill.total), &format!("{per_1000} per 1,000 completed"))
    };
    let waits = &total.wait_s;
    let quantiles = format!("median {}, p99 {}", maybe_seconds(waits.p50), maybe_seconds(waits.p99));
    let jobs = format!("of {} submitted", count(total.jobs.submitted));
    let starts = format!("{} starts, p95 {}", count(total.starts.asked), maybe_seconds(total.cold_start_s.p95));
    let workers = format!("{} at most, {} busy", count(total.workers.all.max), maybe_share(total.utilization));
    html! {
        div.cards {
            (bill("documented"))
            (bill("seed"))
            (card("p95 wait", &maybe_seconds(waits.p95), &quantiles))
            (card("of jobs met a cold start", &maybe_share(total.cold_start_share), &starts))
            (card("jobs completed", &count(total.jobs.completed), &jobs))
            (card("workers up in the mean", &mean(total.workers.all.mean), &workers))
            @if let Some(met) = total.slo_attainment { (card("of jobs met their target", &maybe_share(Some(met)), "")) }
        }
    }
}

/// Settings by endpoint.
fn settings(summary: &Summary) -> Vec<Vec<String>> {
    let head = [
        "endpoint",
        "scaler",
        "idle timeout",
        "active",
        "max",
        "extra",
        "concurrency",
        "GPUs",
        "flex $/h",
        "active $/h",
        "binding",
        "dispatch",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for endpoint in shown(summary) {
        let of = &endpoint.settings;
        lines.push(vec![
            endpoint.name.clone(),
            of.scaling.clone(),
            of.idle_timeout_s.map_or_else(|| ABSENT.to_owned(), seconds),
            of.active.to_string(),
            of.max.to_string(),
            of.extra.to_string(),
            of.concurrency.to_string(),
            of.gpus_per_worker.to_string(),
            money(of.flex_usd_per_s * 3_600.0),
            money(of.active_usd_per_s * 3_600.0),
            of.binding.clone(),
            of.dispatch.clone(),
        ]);
    }
    lines
}
