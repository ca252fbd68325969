//! A search for settings as text: what was found, whether it held, how sure that is, and what else there is to choose from.

use serde_json::Value as Json;

use super::comparison::{body, plain};
use super::format::{money, seconds};
use super::text::section;
use crate::results::comparison::Comparison;
use crate::results::tuning::{TunedPoint, Tuning};

/// Points of the front that are shown.
const FRONT_MAX: usize = 12;
/// Columns below which the tables are not made any narrower.
const WIDTH_MIN: usize = 80;

/// The report of a search, `width` columns wide.
pub fn text(tuning: &Tuning, width: u16) -> String {
    let width = usize::from(width).max(WIDTH_MIN);
    let mut text = plain(
        &format!(
            "{} ({}): {} with {}. {} settings tried in {} runs (of {}) on {}; thermocline {}.",
            tuning.scenario,
            tuning.hash,
            minimized(tuning),
            tuning.goal,
            tuning.tried,
            tuning.runs,
            tuning.budget,
            tuning.trained_on,
            tuning.program
        ),
        width,
    );
    text += "\n";
    for line in answer(tuning) {
        text += &plain(&line, width);
    }
    if let Some(chosen) = &tuning.chosen {
        let every = if chosen.endpoints.is_empty() { "every endpoint" } else { "every other endpoint" };
        for (name, own) in &chosen.endpoints {
            text += &format!("\nSettings of {name}\n{}", settings(own));
        }
        text += &format!("\nSettings of {every} (policy {})\n", chosen.policy);
        text += &settings(&chosen.settings);
    }
    let title = "To choose from: the front of cost and p95 wait on the training data";
    text += &section(title, front(tuning), width);
    if let Some(validation) = &tuning.validation {
        let comparison =
            Comparison { profile: tuning.profile.clone(), program: tuning.program.clone(), ..Comparison::default() };
        text += &format!("\nOn data that it was not found on: {}\n", tuning.validated_on);
        text += &body(validation, &comparison, width);
    }
    text
}

/// What is made small, in words. Which bill counts is always said.
pub fn minimized(tuning: &Tuning) -> String {
    let bill = &tuning.profile;
    match tuning.minimized.as_str() {
        "cost_usd" => format!("the least cost ({bill})"),
        "cold_start_share" => format!("the smallest share of cold starts ({bill} bill)"),
        "lost_jobs" => format!("the fewest lost jobs ({bill} bill)"),
        wait => format!("the shortest {} ({bill} bill)", wait.trim_end_matches("_s").replace('_', " ")),
    }
}

/// What was found, in sentences.
fn answer(tuning: &Tuning) -> Vec<String> {
    let mut lines = Vec::new();
    let verdict = &tuning.verdict;
    let percent = |change: f64| format!("{:+.1} %", 100.0 * change);
    if let (Some(trained), Some(validated)) = (verdict.trained_cost_change, verdict.validated_cost_change) {
        lines.push(format!(
            "Cost against the platform's defaults: {} where it was found, {} on held-back data.",
            percent(trained),
            percent(validated)
        ));
    }
    if let Some(change) = verdict.validated_wait_p95_change_s {
        lines.push(format!("P95 wait on held-back data: {change:+.2} s."));
    }
    match verdict.holds {
        Some(true) => lines.push("The goal holds on held-back data.".to_owned()),
        Some(false) => lines.push(
            "THE GOAL DOES NOT HOLD on held-back data: take a wider --margin, or a point further right on the front."
                .to_owned(),
        ),
        None => lines.push("No settings that were tried meet the goal.".to_owned()),
    }
    if let Some([parts, cheaper, no_slower]) = verdict.parts {
        lines.push(format!(
            "How sure: of {parts} parts of the held-back trace it is cheaper in {cheaper} and its p95 wait no longer in \
             {no_slower}."
        ));
    }
    if let Some(refused) = &tuning.refused {
        lines.push(format!("{} settings could not be run; the first: {}", refused.settings, refused.first));
    }
    lines.extend(tuning.notes.iter().cloned());
    lines
}

/// Settings as YAML of one line each.
fn settings(settings: &Json) -> String {
    let lines = settings.as_object().into_iter().flatten().map(|(key, value)| format!("  {key}: {}\n", flow(value)));
    lines.collect()
}

/// A value as YAML on one line.
fn flow(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn front(tuning: &Tuning) -> Vec<Vec<String>> {
    let mut lines =
        vec![["policy", "documented", "seed", "mean wait", "p95 wait", "goal", "settings"].map(str::to_owned).to_vec()];
    let line = |name: String, point: &TunedPoint| {
        vec![
            name,
            money(point.cost_documented_usd),
            money(point.cost_seed_usd),
            seconds(point.wait_mean_s),
            seconds(point.wait_p95_s),
            if point.meets { "met".to_owned() } else { "missed".to_owned() },
            match point.endpoints.len() {
                0 => short(&point.settings),
                own => format!("{own} of the endpoints with settings of their own; others: {}", short(&point.settings)),
            },
        ]
    };
    lines.push(line("(defaults)".to_owned(), &tuning.baseline));
    // Evenly over the front, so that both ends are among those shown.
    let count = tuning.front.len();
    let shown = count.min(FRONT_MAX);
    for number in 0..shown {
        let place = if shown > 1 { number * (count - 1) / (shown - 1) } else { 0 };
        let point = &tuning.front[place];
        let mark = if tuning.chosen.as_ref() == Some(point) { "> " } else { "" };
        lines.push(line(format!("{mark}{}", point.policy), point));
    }
    lines
}

/// The settings in few words: the scaler's parameters, then the rest.
fn short(settings: &Json) -> String {
    let mut words = Vec::new();
    for (key, value) in settings.as_object().into_iter().flatten() {
        match value {
            Json::Object(map) => {
                words.extend(
                    map.iter().map(
                        |(key, value)| {
                            if key == "type" { flow(value) } else { format!("{key} {}", flow(value)) }
                        },
                    ),
                );
            }
            other => words.push(format!("{key} {}", flow(other))),
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tuning::Verdict;
    use serde_json::json;

    #[test]
    fn the_answer_comes_first_and_failures_are_loud() {
        let chosen = TunedPoint {
            policy: "per_job".to_owned(),
            settings: json!({ "scaler": { "type": "per_job" }, "idle_timeout_s": 3.5 }),
            cost_documented_usd: 1.0,
            wait_p95_s: 2.0,
            meets: true,
            ..Default::default()
        };
        let mut tuning = Tuning {
            scenario: "app".to_owned(),
            profile: "documented".to_owned(),
            goal: "p95_wait_s<=2".to_owned(),
            chosen: Some(chosen.clone()),
            front: vec![chosen],
            verdict: Verdict {
                trained_cost_change: Some(-0.4),
                validated_cost_change: Some(-0.35),
                validated_wait_p95_change_s: Some(-0.5),
                holds: Some(true),
                parts: Some([10, 9, 8]),
            },
            ..Default::default()
        };
        let shown = text(&tuning, 100);
        for words in
            ["-40.0 %", "-35.0 %", "of 10 parts", "scaler: {type: per_job}", "idle_timeout_s: 3.5", "> per_job"]
        {
            assert!(shown.contains(words), "no `{words}` in\n{shown}");
        }
        tuning.verdict.holds = Some(false);
        assert!(text(&tuning, 100).contains("DOES NOT HOLD"));
    }
}
