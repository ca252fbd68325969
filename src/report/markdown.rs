//! Runs and comparisons as Markdown: the tables and findings of the text report, with links to pictures that lie beside it.

use super::comparison::{self, basis, costs, service};
use super::findings::findings;
use super::overview::Overview;
use super::text::{header, tables};
use crate::results::Summary;
use crate::results::comparison::Comparison;

/// A picture beside the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its file, relative to the document.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub caption: String,
}

/// A run.
pub fn run(summary: &Summary, pictures: &[Picture]) -> String {
    let name = if summary.scenario.is_empty() { "Run" } else { &summary.scenario };
    let mut text = format!("# {}\n\n{}\n", safe(name), safe(header(summary).trim()));
    let found = findings(summary);
    if !found.is_empty() {
        text += "\n## What stands out\n\n";
    }
    for finding in &found {
        text += &format!("- {}\n", safe(finding));
    }
    text += &shown(pictures);
    for (title, lines) in tables(summary) {
        text += &format!("\n## {title}\n\n{}", table(&lines));
    }
    text + &format!("\nTranscript `{}`, thermocline {}\n", summary.transcript_hash, summary.program)
}

/// A comparison; `pictures` are those of each scenario.
pub fn comparison(compared: &Comparison, pictures: &[Vec<Picture>]) -> String {
    let mut text = String::new();
    for (place, scenario) in compared.scenarios.iter().enumerate() {
        let gap = if place == 0 { "" } else { "\n" };
        text += &format!("{gap}# Policies in {}\n\n{}\n", safe(&scenario.scenario), safe(scenario.description.trim()));
        for sentence in basis(scenario, compared) {
            text += &format!("\n{}\n", safe(&sentence));
        }
        text += "\n## What can be said\n\n";
        for finding in comparison::findings(scenario, compared) {
            text += &format!("- {}\n", safe(&finding));
        }
        text += &shown(pictures.get(place).map_or(&[], Vec::as_slice));
        let title = format!("Cost per run, US dollars (ranked by {})", compared.profile);
        text += &format!("\n## {title}\n\n{}", table(&costs(scenario, compared)));
        text += &format!("\n## Waiting (seconds) and workers, per run\n\n{}", table(&service(scenario)));
    }
    text
}

/// A sweep or several runs.
pub fn overview(overview: &Overview, pictures: &[Picture]) -> String {
    let mut text = format!("# {}\n\n{}\n", safe(&overview.title), safe(&overview.lead));
    text += &shown(pictures);
    for section in &overview.sections {
        text += &format!("\n## {}\n\n{}\n\n{}", safe(&section.title), safe(&section.note), table(&section.lines));
    }
    text + &format!("\n{}\n", safe(&overview.footer))
}

fn shown(pictures: &[Picture]) -> String {
    let each =
        |picture: &Picture| format!("\n![{}]({})\n\n{}\n", safe(&picture.title), picture.file, safe(&picture.caption));
    pictures.iter().map(each).collect()
}

/// A table: the first line is the head, the first column words, the others numbers.
pub fn table(lines: &[Vec<String>]) -> String {
    let Some((head, body)) = lines.split_first() else { return String::new() };
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| safe(cell.trim())).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<&str> = (0..head.len()).map(|place| if place == 0 { "---" } else { "---:" }).collect();
    let mut text = row(head) + &format!("| {} |\n", rule.join(" | "));
    body.iter().for_each(|line| text += &row(line));
    text
}

/// Words that mean nothing to Markdown: no tags, no cells, no emphasis, one line.
pub fn safe(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '|' | '`' | '[' | ']' | '*' | '_' | '\\' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::summary::EndpointSummary;

    #[test]
    fn hostile_names_stay_words() {
        let mut summary = Summary { scenario: "a | b\n# c".to_owned(), complete: true, ..Summary::default() };
        let name = "<script>alert(1)</script>|`x`".to_owned();
        summary.endpoints.push(EndpointSummary { name, ..EndpointSummary::default() });
        let text = run(&summary, &[]);
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"), "{text}");
        assert!(text.starts_with("# a \\| b # c\n"), "{text}");
        let widths = text.lines().filter(|line| line.contains("&lt;script")).map(|line| line.matches(" | ").count());
        assert!(widths.into_iter().all(|cells| cells >= 7), "{text}");
    }

    #[test]
    fn a_table_has_a_head_and_a_rule() {
        let lines = [["a", "b"], ["x", "1"]].map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(table(&lines), "| a | b |\n| --- | ---: |\n| x | 1 |\n");
        assert_eq!(table(&[]), "");
    }
}
