//! What an explanation is made of: lines with a time, a machine-readable reason and a sentence.

use serde::Serialize;

use crate::units::{HostId, Time};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// When it was over, for things that last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_s: Option<f64>,
    /// What it was, in one word: a phase, `submitted`, `attempt`, `wait` ...
    pub what: &'static str,
    /// Why, in the words of the transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The sentence.
    pub text: String,
}

impl Line {
    pub(super) fn new(at: Time, what: &'static str, text: String) -> Line {
        Line { at_s: at.as_secs(), until_s: None, what, reason: None, text }
    }

    pub(super) fn because(mut self, reason: &'static str) -> Line {
        self.reason = Some(reason);
        self
    }

    pub(super) fn until(mut self, end: Time) -> Line {
        self.until_s = Some(end.as_secs());
        self
    }
}

/// An answer to `explain`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Explanation {
    /// Who it is about, such as `w3`.
    pub subject: String,
    /// One sentence on the whole.
    pub headline: String,
    /// What happened, in order of time.
    pub lines: Vec<Line>,
    /// Counts by reason, largest first; empty where there is nothing to count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub totals: Vec<Total>,
}

/// How often something happened for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Total {
    pub what: &'static str,
    pub reason: &'static str,
    pub count: u64,
    /// The reason in words.
    pub text: &'static str,
}

impl Explanation {
    /// For people; at most `most` lines of what happened, the first and the last ones.
    pub(super) fn text(&self, most: usize) -> String {
        let mut text = format!("{}: {}\n\n", self.subject, self.headline);
        let left_out = self.lines.len().saturating_sub(most);
        let head = if left_out > 0 { most.div_ceil(2) } else { self.lines.len() };
        for line in &self.lines[..head] {
            text.push_str(&shown(line));
        }
        if left_out > 0 {
            text.push_str(&format!("{:>14}  ({left_out} more; --all shows them)\n", "..."));
            for line in &self.lines[head + left_out..] {
                text.push_str(&shown(line));
            }
        }
        let mut last = "";
        for total in &self.totals {
            if total.what != last {
                text.push_str(&format!("\n{}\n", total.what));
                last = total.what;
            }
            text.push_str(&format!("{:>10}  {} ({})\n", total.count, total.text, total.reason));
        }
        text
    }
}

fn shown(line: &Line) -> String {
    let reason = line.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let span = line.until_s.map_or(String::new(), |until| format!(", {}", seconds(until - line.at_s)));
    format!("{:>12.3} s  {}{reason}{span}\n", line.at_s, line.text)
}

/// A length of time for people: milliseconds below a minute, then minutes, then hours.
pub(super) fn seconds(s: f64) -> String {
    let whole = s as u64;
    match whole {
        0..60 => format!("{} s", (s * 1_000.0).round() / 1_000.0),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
    }
}

/// A count with its noun: `1 start`, `2 starts`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// The names that people gave to hosts and endpoints, by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub hosts: Vec<String>,
    pub endpoints: Vec<String>,
}

impl Names {
    pub(super) fn host(&self, id: HostId) -> String {
        self.hosts.get(id.index()).cloned().unwrap_or_else(|| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stories_show_both_ends() {
        let line = |n: u64| Line::new(Time::from_secs(n as f64), "phase", format!("line {n}"));
        let story = Explanation {
            subject: "w1".into(),
            headline: "x".into(),
            lines: (0..9).map(line).collect(),
            totals: vec![],
        };
        let text = story.text(4);
        assert!(text.contains("line 1\n") && !text.contains("line 2\n"), "{text}");
        assert!(text.contains("(5 more; --all shows them)") && text.contains("line 7\n"), "{text}");
        assert!(!story.text(9).contains("more"));
    }

    #[test]
    fn lengths_of_time_are_short_to_read() {
        assert_eq!(seconds(1.2345), "1.235 s");
        assert_eq!(seconds(75.9), "1 min 15 s");
        assert_eq!(seconds(7_260.0), "2 h 01 min");
    }
}
