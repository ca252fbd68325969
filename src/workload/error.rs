//! What can go wrong with a workload: a parameter out of range, or a file that cannot be used.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// A workload that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A parameter is out of its range; the text names it, its value and what it may be.
    #[error("{0}")]
    Spec(String),
    /// A trace file cannot be read, or holds something unexpected.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is wrong where in a file, and what to do about it. Printed as `path:line:column: what: found "text"; help`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError(Box<Report>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    path: PathBuf,
    line: u64,
    column: u64,
    what: String,
    found: Option<String>,
    help: Option<String>,
}

impl FileError {
    /// About a whole file.
    pub fn new(path: &Path, what: impl Into<String>) -> FileError {
        FileError(Box::new(Report {
            path: path.to_owned(),
            line: 0,
            column: 0,
            what: what.into(),
            found: None,
            help: None,
        }))
    }

    /// At a line and column, both counted from 1; column 0 means the whole line.
    pub fn at(mut self, line: u64, column: u64) -> FileError {
        (self.0.line, self.0.column) = (line, column);
        self
    }

    /// The offending text, as it stands in the file; it is shortened and made printable.
    pub fn found(mut self, text: &[u8]) -> FileError {
        self.0.found = Some(printable(text));
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> FileError {
        self.0.help = Some(help.into());
        self
    }

    /// Line, counted from 1; 0 for an error that concerns the whole file.
    pub fn line(&self) -> u64 {
        self.0.line
    }

    /// Column in characters, counted from 1; 0 for an error that concerns a whole line or file.
    pub fn column(&self) -> u64 {
        self.0.column
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        f.write_str(&printable_path(&report.path))?;
        for number in [report.line, report.column] {
            if number > 0 {
                write!(f, ":{number}")?;
            }
        }
        write!(f, ": {}", report.what)?;
        if let Some(found) = &report.found {
            write!(f, ": found \"{found}\"")?;
        }
        report.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// Longest piece of a file that an error repeats, in characters.
const SHOWN_MAX: usize = 60;

/// `text` on one line without control characters, shortened to what helps.
pub(crate) fn printable(text: &[u8]) -> String {
    // A character has at most four bytes, so this is enough for SHOWN_MAX of them; the cut may leave one broken.
    let start = &text[..text.len().min(4 * (SHOWN_MAX + 1))];
    let start = String::from_utf8_lossy(start);
    let mut shown = String::new();
    for character in start.chars().take(SHOWN_MAX) {
        escape(&mut shown, character);
    }
    if start.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    shown
}

fn printable_path(path: &Path) -> String {
    let mut shown = String::new();
    path.to_string_lossy().chars().for_each(|character| escape(&mut shown, character));
    shown
}

fn escape(shown: &mut String, character: char) {
    // Bidirectional controls are not control characters by category, but they rearrange a terminal line just as well.
    let rearranges = matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || rearranges || character == '\u{FEFF}' {
        // Writing to a String cannot fail.
        let _ = write!(shown, "{}", character.escape_default());
    } else {
        shown.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let error =
            FileError::new(Path::new("a.csv"), "arrival_s is not a number").at(3, 1).found(b"x").help("mend it");
        assert_eq!(error.to_string(), "a.csv:3:1: arrival_s is not a number: found \"x\"; mend it");
        assert_eq!(FileError::new(Path::new("a.csv"), "is empty").to_string(), "a.csv: is empty");
    }

    #[test]
    fn what_a_file_holds_cannot_drive_the_terminal() {
        assert_eq!(printable(b"\x1b[2Jred\r\n"), "\\u{1b}[2Jred\\r\\n");
        assert_eq!(printable("a\u{202E}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable(b"\xff\x00"), "\u{FFFD}\\u{0}");
        let long = printable("ä".repeat(500).as_bytes());
        assert_eq!(long.chars().count(), SHOWN_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
