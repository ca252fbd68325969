//! The transcript as JSON lines, for machines and for replay: a header line, then one object per record with its number
//! and time. Events carry an `event` field, wishes and notices a `command` field; both have the fields of their type.

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::SchedulerConfig;
use super::transcript::Recorder;
use super::{Command, Event, SchedulerState};
use crate::units::Time;

/// Version of the file format.
pub const TRANSCRIPT_FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`TRANSCRIPT_FORMAT`].
    pub thermocline_transcript: u32,
    /// What was run, for people.
    pub name: String,
    /// Master seed of the run; none for a recorded real day.
    pub seed: Option<u64>,
    /// What the scheduler knew before the first event: enough to replay the events through it.
    pub scheduler: SchedulerConfig,
    /// What the scheduler knew where it had been told something before the first event in this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Box<SchedulerState>>,
    /// Number of the first record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_seq: u64,
}

fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

/// One record, as read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// Told.
    Event(Event),
    /// Asked or noted.
    Command(Command),
}

/// One line after the header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the record, from 0.
    pub seq: u64,
    /// Time in microseconds since the start.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub record: Record,
}

#[derive(Serialize)]
struct EntryRef<'a, R: Serialize> {
    seq: u64,
    at_us: u64,
    #[serde(flatten)]
    record: &'a R,
}

/// A recorder that writes JSON lines. The first error is kept and given back by [`JsonTranscript::finish`].
pub struct JsonTranscript<W: Write> {
    writer: W,
    seq: u64,
    error: Option<io::Error>,
}

impl<W: Write> JsonTranscript<W> {
    /// Writes the header to `writer`, which should be buffered.
    pub fn new(writer: W, header: &Header) -> JsonTranscript<W> {
        let mut transcript = JsonTranscript { writer, seq: header.first_seq, error: None };
        transcript.line(header);
        transcript
    }

    /// Number of the next record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The writer.
    pub fn get_ref(&self) -> &W {
        &self.writer
    }

    /// Hands what was written to the writer's end.
    ///
    /// # Errors
    /// The first error, of this call or an earlier one.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.writer.flush(),
        }
    }

    /// Flushes; the writer and the number of the next record, or the first error.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        match self.error {
            Some(error) => Err(error),
            None => self.writer.flush().map(|()| (self.writer, self.seq)),
        }
    }

    fn line(&mut self, value: &impl Serialize) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.writer, value).map_err(io::Error::from);
            self.error = written.and_then(|()| self.writer.write_all(b"\n")).err();
        }
    }

    fn record(&mut self, now: Time, record: &impl Serialize) {
        self.line(&EntryRef { seq: self.seq, at_us: now.0, record });
        self.seq += 1;
    }
}

impl<W: Write> Recorder for JsonTranscript<W> {
    fn event(&mut self, now: Time, event: &Event) {
        self.record(now, event);
    }
    fn command(&mut self, now: Time, command: &Command) {
        self.record(now, command);
    }
}

/// Why a transcript file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// The file could not be read.
    #[error("line {line}: {error}")]
    Io {
        /// Number of the line, from 1.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The line is not what it should be.
    #[error("line {line}: not a transcript {what}: {error}")]
    Parse {
        /// Number of the line, from 1.
        line: u64,
        /// Header or record.
        what: &'static str,
        /// What the parser said.
        error: serde_json::Error,
    },
    /// The form for people.
    #[error(
        "this is a transcript for people; `thermocline run FILE --out DIR --transcript=jsonl` writes one that can be read"
    )]
    Text,
    /// Written by another version.
    #[error("this transcript has format {found}; this program reads format {TRANSCRIPT_FORMAT}")]
    Version {
        /// Version in the file.
        found: u32,
    },
    /// Time goes back from one record to the next.
    #[error("line {line}: time goes back from {before} s to {at} s: the transcript was changed or mixed up")]
    Time {
        /// Number of the line, from 1.
        line: u64,
        /// Time of the record before it.
        before: Time,
        /// Its own.
        at: Time,
    },
    /// Records are missing or out of order.
    #[error("line {line}: record {found} where {expected} was expected: the transcript is cut or mixed up")]
    Sequence {
        /// Number of the line, from 1.
        line: u64,
        /// Number found.
        found: u64,
        /// Number expected.
        expected: u64,
    },
}

/// This is a line of the text form (`12.500000 < job_submitted ...`).
pub fn is_text(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next().is_some_and(|time| time.parse::<f64>().is_ok())
        && words.next().is_some_and(|sign| sign == "<" || sign == ">")
        && words.next().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

/// Reads a transcript line by line. A last line that is cut off (whoever wrote it was killed) is the end of it, and no error.
pub struct JsonReader<R> {
    lines: io::Lines<R>,
    line: u64,
    first_seq: u64,
    last: Time,
    torn: bool,
}

impl<R: BufRead> JsonReader<R> {
    /// Reads and checks the header.
    pub fn new(reader: R) -> Result<(Header, JsonReader<R>), TranscriptError> {
        let mut reader = JsonReader { lines: reader.lines(), line: 0, first_seq: 0, last: Time::ZERO, torn: false };
        let text = reader.next_line().transpose()?.unwrap_or_default();
        if is_text(&text) {
            return Err(TranscriptError::Text);
        }
        let header: Header = reader.parse(&text, "header")?;
        match header.thermocline_transcript {
            TRANSCRIPT_FORMAT => {
                reader.first_seq = header.first_seq;
                Ok((header, reader))
            }
            found => Err(TranscriptError::Version { found }),
        }
    }

    /// Number of the line read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The last line was cut off.
    pub fn torn(&self) -> bool {
        self.torn
    }

    fn next_line(&mut self) -> Option<Result<String, TranscriptError>> {
        self.line += 1;
        let line = self.line;
        self.lines.next().map(|text| text.map_err(|error| TranscriptError::Io { line, error }))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str, what: &'static str) -> Result<T, TranscriptError> {
        crate::json::read(text.as_bytes()).map_err(|error| TranscriptError::Parse { line: self.line, what, error })
    }
}

impl<R: BufRead> Iterator for JsonReader<R> {
    type Item = Result<Entry, TranscriptError>;

    fn next(&mut self) -> Option<Self::Item> {
        let expected = self.first_seq + self.line - 1;
        let text = match self.next_line()? {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        match self.parse(&text, "record") {
            Err(TranscriptError::Parse { error, .. }) if error.is_eof() && self.lines.next().is_none() => {
                self.torn = true;
                None
            }
            entry => Some(entry.and_then(|entry: Entry| {
                let (line, found, before, at) = (self.line, entry.seq, self.last, Time(entry.at_us));
                if found != expected {
                    return Err(TranscriptError::Sequence { line, found, expected });
                }
                if at < before {
                    return Err(TranscriptError::Time { line, before, at });
                }
                self.last = at;
                Ok(entry)
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyChoice, WorkerKind};
    use crate::scheduler::script::{Line, Script, classes};

    fn header() -> Header {
        let scheduler =
            SchedulerConfig { gpu_classes: classes(), images: Vec::new(), eviction: PolicyChoice::named("lru") };
        Header {
            thermocline_transcript: TRANSCRIPT_FORMAT,
            name: "test".to_owned(),
            seed: Some(7),
            scheduler,
            snapshot: None,
            first_seq: 0,
        }
    }

    fn script() -> Script {
        let mut script = Script::with_endpoints(1);
        script.at(1.0).place(0, 0, 0, WorkerKind::Flex).submit(0, 0).start(0, 1);
        script.at(3.0).ready(0, 1).assign(0, 0, 1, 1).at(4.25).complete(0, 0, 1, 1).told(Event::DeadlineReached);
        script
    }

    fn written() -> String {
        let mut json = JsonTranscript::new(Vec::new(), &header());
        script().play(&mut json);
        String::from_utf8(json.finish().unwrap().0).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let text = written();
        let (read, reader) = JsonReader::new(text.as_bytes()).unwrap();
        assert_eq!(read, header());
        let entries: Vec<Entry> = reader.map(Result::unwrap).collect();
        assert_eq!(entries.len(), script().lines.len());
        for (entry, (time, line)) in entries.iter().zip(&script().lines) {
            assert_eq!(entry.at_us, time.0);
            match (&entry.record, line) {
                (Record::Event(read), Line::Fact(told)) => assert_eq!(read, told),
                (Record::Command(read), Line::Wish(asked)) => assert_eq!(read, asked),
                other => panic!("mixed up: {other:?}"),
            }
        }
        assert!(text.contains(r#"{"seq":8,"at_us":3000000,"event":"worker_ready","worker":0,"epoch":1}"#), "{text}");
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let text = written();
        let without_line_3: String =
            text.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n")).collect();
        let (_, reader) = JsonReader::new(without_line_3.as_bytes()).unwrap();
        let error = reader.filter_map(Result::err).next().unwrap();
        assert!(error.to_string().starts_with("line 3: record 2 where 1 was expected"), "{error}");
        let earlier = text.replacen("\"seq\":9,\"at_us\":3000000", "\"seq\":9,\"at_us\":2999999", 1);
        let (_, reader) = JsonReader::new(earlier.as_bytes()).unwrap();
        let error = reader.filter_map(Result::err).next().unwrap();
        assert!(error.to_string().starts_with("line 11: time goes back from 3.000000 s to 2.999999 s"), "{error}");
        let newer = text.replacen("\"thermocline_transcript\":1", "\"thermocline_transcript\":9", 1);
        let error = JsonReader::new(newer.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), "this transcript has format 9; this program reads format 1");
        let people = JsonReader::new(&b"0.000000 < host_added ampere_80-1 gpus 8 class 5\n"[..]).err().unwrap();
        assert!(people.to_string().contains("--transcript=jsonl"), "{people}");
        assert!(matches!(JsonReader::new(&b""[..]), Err(TranscriptError::Parse { line: 1, .. })));
    }
}
