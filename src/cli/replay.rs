//! `replay TRANSCRIPT`: does the scheduler still decide as recorded; or, with other settings, what would it have decided?

mod what_if;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Failure, output, transcripts};
use crate::report::format::{count, seconds};
use crate::scheduler::replay::{Difference, replay};
use crate::scheduler::transcript_json::{Entry, Record};
use crate::scheduler::transcript_text::TextLine;
use crate::units::Time;

/// Records shown before the first difference.
const CONTEXT: usize = 8;

/// What can be typed after `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without further options every recorded fact is told to the scheduler again, and what it asks for, and when, is held against what is
recorded: identical is exit code 0, the first difference is shown with what led to it and is exit code 1.
With --policy or --set the recorded requests, service times and starts are met again under the changed settings. Paths are those of
an application file: endpoints.NAME.idle_timeout_s=30, endpoints.NAME.workers.max=5.")]
pub struct ReplayArgs {
    /// A transcript (.jsonl, also gzipped), a folder of them, or the data folder of a gateway
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
    let files = transcripts::list(&args.source)?;
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
    open_jobs: u64,
    torn: bool,
    difference: Option<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    record: u64,
    line: u64,
    at_s: f64,
    recorded: Option<String>,
    replayed: Option<String>,
    before: Vec<String>,
}

fn one(path: &Path) -> Result<Told, Failure> {
    let replayed = replay(transcripts::text(path)?).map_err(|error| Failure::in_file(path, &error))?;
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
        open_jobs: replayed.open_jobs,
        torn: replayed.torn,
        difference,
    })
}

fn shown(path: &Path, difference: &Difference) -> Result<Shown, Failure> {
    let text = |at, command: &Option<_>| command.as_ref().map(|one| TextLine::Asked(at, one).to_string());
    let mut before: VecDeque<String> = VecDeque::new();
    for entry in transcripts::open(path)?.1 {
        let entry = entry.map_err(|error| Failure::in_file(path, &error))?;
        if entry.seq >= difference.seq {
            break;
        }
        if before.len() == CONTEXT {
            before.pop_front();
        }
        before.push_back(line(&entry));
    }
    Ok(Shown {
        record: difference.seq,
        line: difference.line,
        at_s: difference.at.as_secs(),
        recorded: text(difference.at, &difference.expected),
        replayed: text(difference.told_at, &difference.got),
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
        let open = match told.open_jobs {
            0 => String::new(),
            jobs => {
                format!("; {} job(s) have no outcome there: the day went on, or the record was cut", count(jobs))
            }
        };
        return format!(
            "{}: identical: {} facts told, {} commands as recorded; the record goes up to {} ({} s){torn}{open}\n",
            told.file,
            count(told.facts),
            count(told.commands),
            seconds(told.end_s),
            told.end_s
        );
    };
    let mut text = format!(
        "{}: differs at record {} (line {}), t={} s, after {} equal commands{torn}\n\n",
        told.file,
        difference.record,
        difference.line,
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
