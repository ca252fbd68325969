//! The page of a comparison: what it rests on, who is better, the Pareto front, and the tables, scenario by scenario.

use maud::{Markup, html};

use super::{card, figures, list, table};
use crate::report::comparison::{basis, costs, findings, known, service};
use crate::report::plot::Plot;
use crate::results::comparison::{Comparison, ScenarioComparison};

/// Name of the page.
pub(super) fn title(comparison: &Comparison) -> String {
    let names: Vec<&str> = comparison.scenarios.iter().map(|table| table.scenario.as_str()).collect();
    format!("Policies compared: {}", names.join(", "))
}

/// Everything below the title bar; `plots` are those of each scenario.
pub(super) fn body(comparison: &Comparison, plots: &[Vec<Plot>]) -> Markup {
    html! {
        h1 { "Policies compared" }
        p.lead { "Ranked by the " strong { (comparison.profile) } " bill. Under the bill called " strong { "seed" }
            " idle flex workers are free; under the one called " strong { "documented" }
            " every second from the wake signal to the full stop is paid." }
        @for (table, plots) in comparison.scenarios.iter().zip(plots) { (scenario(table, comparison, plots)) }
        footer { p { "thermocline " (comparison.program) ". Every policy met the same requests under the same seeds." } }
    }
}

fn scenario(compared: &ScenarioComparison, comparison: &Comparison, plots: &[Plot]) -> Markup {
    html! {
        h2 { (compared.scenario) }
        @if !compared.description.is_empty() { p { (compared.description) } }
        @for sentence in basis(compared, comparison) { p.note { (sentence) } }
        (cards(compared, &comparison.profile))
        h3 { "What can be said" }
        (list(&findings(compared, comparison)))
        (figures(plots))
        h3 { "Cost per run, US dollars (ranked by " (comparison.profile) ")" }
        (table(&costs(compared, comparison), 1))
        h3 { "Waiting (seconds) and workers, per run" }
        (table(&service(compared), 1))
        @if compared.policies.iter().any(|row| !row.summary.is_empty()) {
            h3 { "The policies" }
            dl { @for row in &compared.policies { dt { (row.policy) } dd { (row.summary) } } }
        }
    }
}

/// The cheapest, the quickest and what nobody can go below.
fn cards(table: &ScenarioComparison, profile: &str) -> Markup {
    let cost = |row: &crate::results::comparison::PolicyRow| match profile {
        "seed" => row.figures.cost_seed_usd,
        _ => row.figures.cost_documented_usd,
    };
    let quickest = table.policies.iter().min_by(|a, b| a.figures.wait_p95_s.mean.total_cmp(&b.figures.wait_p95_s.mean));
    html! {
        div.cards {
            @if let Some(row) = table.policies.first() {
                (card("cheapest", &row.policy, &format!("${}, p95 wait {} s", known(&cost(row)), known(&row.figures.wait_p95_s))))
            }
            @if let Some(row) = quickest {
                (card("shortest p95 wait", &row.policy, &format!("${}, p95 wait {} s", known(&cost(row)), known(&row.figures.wait_p95_s))))
            }
            @if let Some(bound) = &table.bound_usd { (card("bound: nobody pays less", &format!("${}", known(bound)), "even knowing the future")) }
        }
    }
}
