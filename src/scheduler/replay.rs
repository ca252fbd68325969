//! Replay: tells a scheduler the facts of a recorded transcript and holds what it asks for against what is recorded.
//!
//! A recorded day replays to the same commands, or the first difference says where not: another program, a file that was changed,
//! or a scheduler that depends on something that is not in the transcript.

use std::collections::VecDeque;
use std::fmt;
use std::io::BufRead;

use super::transcript_json::{Header, JsonReader, Record, TranscriptError};
use super::{Command, RestoreError, Scheduler};
use crate::policy::ParamError;
use crate::units::Time;

/// What came of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Facts told.
    pub events: u64,
    /// Commands compared and found equal.
    pub commands: u64,
    /// Time of the last fact; zero without any.
    pub end: Time,
    /// Jobs without an outcome there: the day went on, or the record was cut.
    pub open_jobs: u64,
    /// The last line is cut off: the recorder was killed while it wrote. Everything before it was compared.
    pub torn: bool,
    /// Where the scheduler first differed; nothing after it was compared.
    pub difference: Option<Difference>,
}

/// Two commands where one was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Number of the record.
    pub seq: u64,
    /// Line of the file, from 1, where it is recorded, or would be.
    pub line: u64,
    /// When it is recorded.
    pub at: Time,
    /// When the fact was told that it answers.
    pub told_at: Time,
    /// As recorded; none where the scheduler asked for more than is recorded.
    pub expected: Option<Command>,
    /// As asked for now; none where it asked for less.
    pub got: Option<Command>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |at: Time, command: &Option<Command>| match command {
            Some(command) => super::transcript_text::TextLine::Asked(at, command).to_string(),
            None => "nothing".to_owned(),
        };
        let (expected, got) = (text(self.at, &self.expected), text(self.told_at, &self.got));
        write!(f, "record {} (line {}): recorded is `{expected}`, replayed `{got}`", self.seq, self.line)
    }
}

/// Why a transcript cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    /// The scheduler that it begins with cannot be built.
    #[error(transparent)]
    Policy(#[from] ParamError),
    /// The state that it begins with cannot be taken up.
    #[error(transparent)]
    State(#[from] RestoreError),
}

/// The scheduler that a transcript begins with: a fresh one, or from the state in its header.
///
/// # Errors
/// If that one cannot be built.
pub fn scheduler_of(header: &Header) -> Result<Scheduler, ReplayError> {
    match &header.snapshot {
        Some(state) => Ok(Scheduler::restore((**state).clone())?),
        None => Ok(Scheduler::new(header.scheduler.clone())?),
    }
}

/// Replays one transcript file from its beginning.
///
/// # Errors
/// If it cannot be read to its end (a torn last line is none) or its scheduler cannot be built.
pub fn replay<R: BufRead>(reader: R) -> Result<Replayed, ReplayError> {
    let (header, reader) = JsonReader::new(reader)?;
    continue_with(&mut scheduler_of(&header)?, reader)
}

/// Replays what follows the header through a scheduler that is in the state of the header; with it, files that follow each other
/// are replayed as one.
///
/// # Errors
/// If the transcript cannot be read to its end (a torn last line is none).
pub fn continue_with<R: BufRead>(
    scheduler: &mut Scheduler,
    mut reader: JsonReader<R>,
) -> Result<Replayed, ReplayError> {
    let mut replayed =
        Replayed { events: 0, commands: 0, end: Time::ZERO, open_jobs: 0, torn: false, difference: None };
    let mut asked: VecDeque<Command> = VecDeque::new();
    let mut last_seq = 0;
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let line = reader.line();
        let (seq, at) = (entry.seq, Time(entry.at_us));
        last_seq = seq;
        let (expected, got) = match entry.record {
            Record::Command(expected) => (Some(expected), asked.pop_front()),
            Record::Event(event) => {
                if asked.is_empty() {
                    scheduler.handle(at, &event);
                    asked.extend(std::iter::from_fn(|| scheduler.poll_command()));
                    replayed.events += 1;
                    replayed.end = at;
                    continue;
                }
                (None, asked.pop_front())
            }
        };
        // A scheduler answers at the moment of the fact: another time was not recorded but written. Before the first fact of a file
        // there is nothing to answer.
        let told_at = replayed.end;
        if expected != got || (expected.is_some() && at != told_at) {
            replayed.difference = Some(Difference { seq, line, at, told_at, expected, got });
            return Ok(replayed);
        }
        replayed.commands += 1;
    }
    replayed.torn = reader.torn();
    replayed.open_jobs = scheduler.live_entries().0 as u64;
    if replayed.torn {
        return Ok(replayed);
    }
    if let Some(got) = asked.pop_front() {
        let (seq, at) = (last_seq + 1, replayed.end);
        let line = reader.line();
        replayed.difference = Some(Difference { seq, line, at, told_at: at, expected: None, got: Some(got) });
    }
    Ok(replayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyChoice;
    use crate::scheduler::script::{classes, host_spec};
    use crate::scheduler::transcript_json::{JsonTranscript, TRANSCRIPT_FORMAT};
    use crate::scheduler::{EndpointSpec, Event, GpuClassId, JobPolicy, Recorder, SchedulerConfig};
    use crate::units::{EndpointId, ImageId};

    fn config() -> SchedulerConfig {
        SchedulerConfig { gpu_classes: classes(), images: Vec::new(), eviction: PolicyChoice::named("lru") }
    }

    /// Facts of a small day; the host and the endpoint come first.
    fn facts() -> Vec<(Time, Event)> {
        let submit = |at: u64| {
            let (endpoint, policy) = (EndpointId(0), JobPolicy::default());
            (Time(at), Event::JobSubmitted { endpoint, client_ref: at, policy })
        };
        let spec = Box::new(EndpointSpec::with_defaults("e", ImageId(0), GpuClassId(0)));
        let mut facts = vec![
            (Time(0), Event::HostAdded { host: Box::new(host_spec(0)) }),
            (Time(0), Event::EndpointCreated { spec }),
        ];
        facts.extend((1..40).map(|n| submit(n * 700_000)));
        facts.push((Time(60_000_000), Event::DeadlineReached));
        facts.push((Time(61_000_000), Event::PurgeRequested { endpoint: EndpointId(0) }));
        facts
    }

    /// The transcript of the facts from the `from`-th on, the scheduler's state at that moment in its header.
    fn recorded(from: usize) -> String {
        let mut scheduler = Scheduler::new(config()).unwrap();
        let facts = facts();
        let (before, after) = facts.split_at(from);
        for (now, event) in before {
            scheduler.handle(*now, event);
            while scheduler.poll_command().is_some() {}
        }
        let header = Header {
            thermocline_transcript: TRANSCRIPT_FORMAT,
            name: "day".to_owned(),
            seed: None,
            scheduler: config(),
            snapshot: (from > 0).then(|| Box::new(scheduler.snapshot())),
            first_seq: from as u64 * 10,
        };
        let mut json = JsonTranscript::new(Vec::new(), &header);
        for (now, event) in after {
            json.event(*now, event);
            scheduler.handle(*now, event);
            while let Some(command) = scheduler.poll_command() {
                json.command(*now, &command);
            }
        }
        String::from_utf8(json.finish().unwrap().0).unwrap()
    }

    #[test]
    fn a_recorded_day_replays_to_the_same_commands_from_its_beginning_and_from_its_middle() {
        for from in [0, 1, 2, 20] {
            let replayed = replay(recorded(from).as_bytes()).unwrap();
            assert_eq!((replayed.difference, replayed.torn), (None, false), "from fact {from}");
            assert_eq!(replayed.events, (facts().len() - from) as u64);
            assert!(replayed.commands > 40 || from > 0, "{}", replayed.commands);
            assert_eq!(replayed.end, Time(61_000_000));
        }
    }

    #[test]
    fn the_first_difference_is_named_with_its_place() {
        let text = recorded(0);
        let line = text.lines().find(|line| line.contains("accept_job")).unwrap().to_owned();
        let entry: crate::scheduler::transcript_json::Entry = serde_json::from_str(&line).unwrap();
        let changed = text.replacen(&line, &line.replace("\"client_ref\":700000", "\"client_ref\":7"), 1);
        let difference = replay(changed.as_bytes()).unwrap().difference.unwrap();
        assert_eq!((difference.seq, difference.at), (entry.seq, Time(700_000)));
        assert!(difference.to_string().contains("accept_job j0 e0 ref 7`, replayed `"), "{difference}");
        // A command that is missing at the end, and one too many.
        let mut lines: Vec<&str> = text.lines().collect();
        let last = lines.pop().unwrap();
        let difference = replay(lines.join("\n").as_bytes()).unwrap().difference.unwrap();
        assert!(difference.expected.is_none() && difference.got.is_some(), "{difference}");
        let again = last.replacen(&format!("\"seq\":{}", lines.len() - 1), &format!("\"seq\":{}", lines.len()), 1);
        let difference = replay(format!("{text}{again}\n").as_bytes()).unwrap().difference.unwrap();
        assert!(difference.expected.is_some() && difference.got.is_none(), "{difference}");
    }

    #[test]
    fn a_command_at_another_time_than_its_fact_is_a_difference_and_time_never_goes_back() {
        let text = recorded(0);
        let (number, line) = text.lines().enumerate().find(|(_, line)| line.contains("accept_job")).unwrap();
        let later = text.replacen(line, &line.replace("\"at_us\":700000", "\"at_us\":700001"), 1);
        let difference = replay(later.as_bytes()).unwrap().difference.unwrap();
        assert_eq!(
            (difference.line, difference.at, difference.told_at),
            (number as u64 + 1, Time(700_001), Time(700_000))
        );
        assert_eq!(difference.expected, difference.got);
        assert!(difference.to_string().contains("recorded is `0.700001 > accept_job"), "{difference}");
        let back = text.replacen("\"at_us\":60000000", "\"at_us\":600000", 1);
        let error = replay(back.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("time goes back from") && error.starts_with("line "), "{error}");
    }

    #[test]
    fn a_record_that_is_cut_between_lines_tells_what_was_open() {
        let text = recorded(0);
        let lines: Vec<&str> = text.lines().collect();
        let place =
            lines.iter().position(|line| line.contains("job_submitted") && line.contains("\"at_us\":2100000")).unwrap();
        let replayed = replay(lines[..place].join("\n").as_bytes()).unwrap();
        assert_eq!((replayed.difference, replayed.open_jobs, replayed.end), (None, 2, Time(1_400_000)));
    }

    #[test]
    fn a_torn_last_line_is_the_end_and_damage_before_it_an_error() {
        let text = recorded(0);
        let torn = &text[..text.len() - 9];
        let replayed = replay(torn.as_bytes()).unwrap();
        assert!(replayed.torn && replayed.difference.is_none());
        let damaged = text.replacen("\"seq\":5", "\"seq\":x", 1);
        assert!(matches!(replay(damaged.as_bytes()), Err(ReplayError::Transcript(TranscriptError::Parse { .. }))));
        let other = text.replacen("\"lru\"", "\"magic\"", 1);
        assert!(matches!(replay(other.as_bytes()), Err(ReplayError::Policy(_))));
    }
}
