//! Golden transcripts: one behaviour of the platform's contract per file, in words, as a script and as what then happened.
//!
//! A file in `tests/testdata/transcripts/` has three parts: comment lines that say what is to be seen, a script (the language is
//! described in `support/script.rs`), and after a line `----` the transcript. The test runs the script against the bare
//! scheduler, lets the checker judge every record, and compares the transcript line by line. `THERMOCLINE_BLESS=1` writes the
//! files anew; read the difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use thermocline::ledger::{Ledger, Rounding};
use thermocline::scheduler::SchedulerConfig;

use crate::checker::{Checker, audit};
use crate::support::script;
use crate::support::text::Lines;

const RULER: &str = "----\n";

#[allow(clippy::disallowed_methods, reason = "recording anew is a choice of whoever runs the tests")]
#[test]
fn every_golden_transcript_is_reproduced_and_breaks_no_promise() {
    let bless = std::env::var_os("THERMOCLINE_BLESS").is_some();
    let mut wrong = String::new();
    let files = files();
    assert!(files.len() >= 30, "only {} transcripts are left", files.len());
    for path in files {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (script, expected) = text.split_once(RULER).unwrap_or((&text, ""));
        assert!(script.starts_with('#'), "{name} does not say what it shows");
        let (found, complaint) = play(script);
        if !complaint.is_empty() {
            wrong.push_str(&format!("{name}: {complaint}\n"));
        }
        if bless {
            fs::write(&path, format!("{script}{RULER}{found}")).unwrap_or_else(|error| panic!("{name}: {error}"));
        } else if found != expected {
            wrong.push_str(&format!("{name}: {}\n", first_difference(expected, &found)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Runs the script: the transcript, and what the checker found wrong with it and with the bill.
fn play(script: &str) -> (String, String) {
    let books = |config: &SchedulerConfig| Ledger::recorder(&config.gpu_classes, Rounding::UpToSeconds);
    let world = script::run(script, |config| (Lines::default(), (Checker::new(config), books(config))));
    let end = world.now();
    let (lines, (mut checker, ledger)) = world.recorder;
    checker.finish();
    let mut complaint = checker.complaint();
    complaint.push_str(&audit(&checker, &ledger.finish(end), end));
    (lines.text, complaint)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/transcripts");
    let entries = fs::read_dir(&folder).expect("the transcripts are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}

fn first_difference(expected: &str, found: &str) -> String {
    let (mut old, mut new) = (expected.lines(), found.lines());
    let mut line = 1;
    loop {
        match (old.next(), new.next()) {
            (None, None) => return "differs in its last line break".to_owned(),
            (old, new) if old != new => {
                return format!(
                    "line {line} of the transcript\n  was {}\n  is  {}",
                    old.unwrap_or("-"),
                    new.unwrap_or("-")
                );
            }
            _ => line += 1,
        }
    }
}
