//! `replay TRANSCRIPT`: does the scheduler still decide as recorded; or, with other settings, what would it have decided?

mod what_if;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Failure, output};
use crate::report::format::{count, seconds};
use crate::scheduler::replay::{Difference, ReplayError, replay};
use crate::scheduler::transcript_json::{Entry, JsonReader, Record, TranscriptError};
use crate::scheduler::transcript_text::TextLine;
use crate::units::Time;

/// Records shown before the first difference.
const CONTEXT: usize = 8;

/// What can be typed after `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without further options every recorded fact is told to the scheduler again, and what it asks for is held against what is recorded:
identical is exit code 0, the first difference is shown with what led to it and is exit code 1.
With --policy or --set the recorded requests, service times and starts are met again under the changed settings. Paths are those of
an application file: endpoints.NAME.idle_timeout_s=30, endpoints.NAME.workers.max=5.")]
pub struct ReplayArgs {
    /// A transcript (.jsonl), a folder of them, or the data folder of a gateway
    #[arg(value_name = "TRANSCRIPT|DIR")]
    source: PathBuf,
    /// What if every endpoint had this policy: a policy file, a name of the registry, settings in braces
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// What if a setting were another one; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Differing decisions that are shown
    #[arg(long, value_name = "N", default_value_t = 15)]
    show: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let files = transcripts(&args.source)?;
    if args.policy.is_some() || !args.overrides.is_empty() {
        return what_if::run(args, &files);
    }
    let mut told = Vec::new();
    for path in &files {
        told.push(one(path)?);
    }
    let differs = told.iter().filter(|file| file.difference.is_some()).count();
    if args.json {
        output::answer_json(&told)?;
    } else {
        let pages: Vec<String> = told.iter().map(page).collect();
        output::answer(&pages.concat())?;
    }
    match differs {
        0 => Ok(()),
        _ => Err(Failure::other(format!("{differs} of {} transcript(s) replayed to something else", told.len()))),
    }
}

/// What came of one file.
#[derive(Debug, Serialize)]
struct Told {
    file: String,
    identical: bool,
    facts: u64,
    commands: u64,
    end_s: f64,
    torn: bool,
    difference: Option<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    record: u64,
    at_s: f64,
    recorded: Option<String>,
    replayed: Option<String>,
    before: Vec<String>,
}

fn one(path: &Path) -> Result<Told, Failure> {
    let replayed = replay(open(path)?).map_err(|error| refused(path, &error))?;
    let difference = match &replayed.difference {
        None => None,
        Some(difference) => Some(shown(path, difference)?),
    };
    Ok(Told {
        file: path.display().to_string(),
        identical: difference.is_none(),
        facts: replayed.events,
        commands: replayed.commands,
        end_s: replayed.end.as_secs(),
        torn: replayed.torn,
        difference,
    })
}

fn shown(path: &Path, difference: &Difference) -> Result<Shown, Failure> {
    let text = |command: &Option<_>| command.as_ref().map(|one| TextLine::Asked(difference.at, one).to_string());
    let mut before: VecDeque<String> = VecDeque::new();
    read(path, |entry| {
        if entry.seq < difference.seq {
            if before.len() == CONTEXT {
                before.pop_front();
            }
            before.push_back(line(entry));
        }
    })?;
    Ok(Shown {
        record: difference.seq,
        at_s: difference.at.as_secs(),
        recorded: text(&difference.expected),
        replayed: text(&difference.got),
        before: before.into(),
    })
}

fn line(entry: &Entry) -> String {
    let at = Time(entry.at_us);
    match &entry.record {
        Record::Event(event) => TextLine::Told(at, event).to_string(),
        Record::Command(command) => TextLine::Asked(at, command).to_string(),
    }
}

fn page(told: &Told) -> String {
    let torn = if told.torn { "; its last line is cut off" } else { "" };
    let Some(difference) = &told.difference else {
        return format!(
            "{}: identical: {} facts told, {} commands as recorded, up to {}{torn}\n",
            told.file,
            count(told.facts),
            count(told.commands),
            seconds(told.end_s)
        );
    };
    let mut text = format!(
        "{}: differs at record {}, t={} s, after {} equal commands{torn}\n\n",
        told.file,
        difference.record,
        difference.at_s,
        count(told.commands)
    );
    for line in &difference.before {
        text.push_str(&format!("             {line}\n"));
    }
    let nothing = || "nothing".to_owned();
    text.push_str(&format!("   recorded  {}\n", difference.recorded.clone().unwrap_or_else(nothing)));
    text.push_str(&format!("   replayed  {}\n", difference.replayed.clone().unwrap_or_else(nothing)));
    text
}

/// The transcripts at `source`, oldest first.
fn transcripts(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    if source.is_file() {
        return Ok(vec![source.to_owned()]);
    }
    let below = source.join("transcripts");
    let folder = if below.is_dir() { below } else { source.to_owned() };
    let listed =
        std::fs::read_dir(&folder).map_err(|error| Failure::input(format!("{}: {error}", folder.display())))?;
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl") && path.is_file())
        .collect();
    // Their numbers have eight digits: the order of names is that of time.
    files.sort();
    if files.is_empty() {
        return Err(Failure::input(format!(
            "{}: no transcripts (*.jsonl) there; `thermocline run FILE --out DIR --transcript=jsonl` writes one, a gateway with a \
             data folder keeps them",
            folder.display()
        )));
    }
    Ok(files)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path).map(BufReader::new).map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

fn refused(path: &Path, error: &ReplayError) -> Failure {
    Failure::input(format!("{}: {error}", path.display()))
}

/// Every record of a transcript, a torn last line left out.
fn read(path: &Path, each: impl FnMut(&Entry)) -> Result<(), Failure> {
    let wrong = |error: TranscriptError| Failure::input(format!("{}: {error}", path.display()));
    let (_, reader) = JsonReader::new(open(path)?).map_err(wrong)?;
    entries(reader, each).map_err(wrong)
}

fn entries<R: BufRead>(reader: JsonReader<R>, mut each: impl FnMut(&Entry)) -> Result<(), TranscriptError> {
    let mut last = None;
    for entry in reader {
        match entry {
            Ok(entry) => {
                if let Some(entry) = last.replace(entry) {
                    each(&entry);
                }
            }
            Err(TranscriptError::Parse { error, .. }) if error.is_eof() => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(entry) = last {
        each(&entry);
    }
    Ok(())
}
