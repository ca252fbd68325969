//! What stands out, in sentences: a finding that many endpoints share, each with its own figures, is said once.

use super::advice::{Advice, advice};
use crate::results::Summary;

/// Endpoints that are named beside the first; the others are counted.
const NAMED: usize = 8;

/// Units of figures, which say as little about the kind of a finding as the figures.
const UNITS: [&str; 7] = ["µs", "ms", "s", "min", "h", "d", "%"];

/// All findings of a run. Those of the dearest endpoint come in full; the same with other figures only names who else it is about.
pub(super) fn findings(summary: &Summary) -> Vec<String> {
    let several = summary.endpoints.len() > 1;
    let cost = |finding: &Advice| {
        let own = summary.endpoints.iter().find(|endpoint| Some(&endpoint.name) == finding.endpoint.as_ref());
        own.map_or(0.0, |endpoint| endpoint.figures.cost_usd.documented.total)
    };
    let mut groups: Vec<(String, Vec<Advice>)> = Vec::new();
    for finding in advice(summary) {
        let kind = kind(&finding.text);
        match groups.iter_mut().find(|(other, of)| *other == kind && of[0].endpoint.is_some()) {
            Some((_, group)) if finding.endpoint.is_some() => group.push(finding),
            _ => groups.push((kind, vec![finding])),
        }
    }
    let sentence = |(_, mut group): (String, Vec<Advice>)| {
        group.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        let name = |finding: &Advice| finding.endpoint.clone().unwrap_or_default();
        let first = match &group[0].endpoint {
            Some(name) if several => format!("{name}: {}", group[0].text),
            _ => group[0].text.clone(),
        };
        let others: Vec<String> = group[1..].iter().map(name).collect();
        match others.as_slice() {
            [] => first,
            some if some.len() <= NAMED => format!("{first} The same, with other figures: {}.", some.join(", ")),
            some => {
                let (shown, rest) = some.split_at(NAMED);
                format!("{first} The same, with other figures: {} and {} more.", shown.join(", "), rest.len())
            }
        }
    };
    groups.into_iter().map(sentence).collect()
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
