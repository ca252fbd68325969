//! What stands out, in sentences: a finding that many endpoints share, each with its own figures, is said once. Few endpoints are
//! compared by their figures, so theirs are all said.

use super::advice::{Advice, advice};
use crate::results::Summary;

/// A finding of more endpoints than this is said once.
const EACH_MAX: usize = 3;
/// Endpoints that are named beside the first; the others are counted.
const NAMED: usize = 8;

/// Units of figures, which say as little about the kind of a finding as the figures.
const UNITS: [&str; 7] = ["µs", "ms", "s", "min", "h", "d", "%"];

/// All findings of a run. Of a finding that many endpoints share, that of the dearest endpoint comes in full; the same with other
/// figures only names who else it is about.
pub(super) fn findings(summary: &Summary) -> Vec<String> {
    let several = summary.endpoints.len() > 1;
    let cost = |finding: &Advice| {
        let own = summary.endpoints.iter().find(|endpoint| Some(&endpoint.name) == finding.endpoint.as_ref());
        own.map_or(0.0, |endpoint| endpoint.figures.cost_usd.documented.total)
    };
    let all: Vec<(String, Advice)> =
        advice(summary).into_iter().map(|finding| (kind(&finding.text), finding)).collect();
    let mut said: Vec<&str> = Vec::new();
    let mut sentences = Vec::new();
    for (kind, finding) in &all {
        let shared = |other: &&(String, Advice)| other.0 == *kind && other.1.endpoint.is_some();
        let mut group: Vec<&Advice> = all.iter().filter(shared).map(|(_, finding)| finding).collect();
        if group.len() <= EACH_MAX || finding.endpoint.is_none() {
            sentences.push(sentence(finding, several));
        } else if !said.contains(&kind.as_str()) {
            said.push(kind);
            group.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
            sentences.push(format!(
                "{} The same, with other figures: {}.",
                sentence(group[0], several),
                names(&group[1..])
            ));
        }
    }
    sentences
}

/// A finding with the name of its endpoint, where there are several.
fn sentence(finding: &Advice, several: bool) -> String {
    match &finding.endpoint {
        Some(name) if several => format!("{name}: {}", finding.text),
        _ => finding.text.clone(),
    }
}

/// Whose findings they are, the last ones counted.
fn names(findings: &[&Advice]) -> String {
    let names: Vec<&str> = findings.iter().filter_map(|finding| finding.endpoint.as_deref()).collect();
    match names.split_at_checked(NAMED) {
        Some((shown, rest)) if !rest.is_empty() => format!("{} and {} more", shown.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// The words of a finding without figures and their units.
fn kind(text: &str) -> String {
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '%').to_owned();
    let says = |word: &String| !word.chars().any(|c| c.is_ascii_digit()) && !UNITS.contains(&word.as_str());
    text.split_whitespace().map(bare).filter(says).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::summary::EndpointSummary;

    /// An endpoint of which only a part of the jobs met their target.
    fn late(name: &str, usd: f64, met: f64) -> EndpointSummary {
        let mut endpoint = EndpointSummary { name: name.to_owned(), ..EndpointSummary::default() };
        endpoint.figures.slo_attainment = Some(met);
        endpoint.figures.wait_s.p95 = Some(100.0 * met);
        endpoint.figures.response_s.p95 = Some(150.0);
        endpoint.figures.cost_usd.documented.total = usd;
        endpoint
    }

    #[test]
    fn what_differs_in_figures_alone_is_said_once() {
        let mut summary = Summary { complete: true, ..Summary::default() };
        summary.endpoints =
            (0..12).map(|place| late(&format!("e{place}"), place as f64, 0.5 + place as f64 / 100.0)).collect();
        let found = findings(&summary);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("e11: Only 61.0 % of jobs met the target"), "{found:?}");
        assert!(
            found[0].ends_with("The same, with other figures: e10, e9, e8, e7, e6, e5, e4, e3 and 3 more."),
            "{found:?}"
        );
        summary.endpoints.truncate(3);
        let each = findings(&summary);
        assert_eq!(each.len(), 3, "{each:?}");
        assert!(each[1].starts_with("e1: Only 51.0 %"), "few endpoints are compared by their figures: {each:?}");
        summary.endpoints.truncate(1);
        assert!(findings(&summary)[0].starts_with("Only 50.0 %"), "one endpoint needs no name");
        summary.complete = false;
        assert_eq!(findings(&summary).len(), 2);
    }

    #[test]
    fn figures_and_units_say_nothing_about_the_kind() {
        assert_eq!(kind("It took 2.5 min (17 %) in all."), kind("It took 61.7 s ($0.35) in all."));
        assert_ne!(kind("It took 2.5 min."), kind("It cost 2.5 min."));
    }
}
