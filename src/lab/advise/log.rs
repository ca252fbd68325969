//! A request log: when requests came, and what is known of their work.

use std::path::Path;

use super::timestamp::{Stamp, parse, unit_of};
use crate::lab::replay::Recording;
use crate::units::{Span, Time};
use crate::workload::lines::Lines;
use crate::workload::{FileError, TraceReader, TraceRow};

/// Most requests that are read: an 8-byte number each.
const REQUESTS_MAX: usize = 20_000_000;

/// When requests came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Seconds from the first request on, ascending.
    pub times: Vec<f64>,
    /// Seconds on a worker, of the requests whose line tells them.
    pub services: Vec<f64>,
    /// Input tokens of those that have them.
    pub input_tokens: Vec<f64>,
    /// Output tokens.
    pub output_tokens: Vec<f64>,
    /// Seconds of recorded cold starts.
    pub starts: Vec<f64>,
    /// What it was read as, for people.
    pub read_as: String,
    /// Lines that were not in order of time; they have been put in order.
    pub disordered: u64,
    /// Endpoints named in it.
    pub endpoints: Vec<String>,
}

/// Where a line holds its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The field of this number between separators.
    Field(char, usize),
    /// Between the first `[` and `]`.
    Brackets,
    /// The first two words.
    TwoWords,
    /// The word of this number.
    Word(usize),
}

const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

impl Log {
    /// Reads a log or a trace; `endpoint`: only the requests of this endpoint of a trace.
    ///
    /// # Errors
    /// If the file cannot be read, or a line has no timestamp where the others have theirs.
    pub fn read(path: &Path, endpoint: Option<&str>) -> Result<Log, FileError> {
        let mut lines = Lines::open(path)?;
        if !lines.advance()? {
            return Err(FileError::new(path, "the file is empty").help("expected one request per line, with its time"));
        }
        let first = String::from_utf8_lossy(lines.line()).into_owned();
        let mut log = if first.split(',').any(|name| name.trim() == "arrival_s") {
            Log::of_trace(path, endpoint)?
        } else {
            Log::of_lines(lines, first)?
        };
        log.put_in_order();
        if log.times.is_empty() {
            let what =
                endpoint.map_or("no request in it".to_owned(), |name| format!("no request of endpoint `{name}` in it"));
            return Err(FileError::new(path, what).help(format!("its endpoints: {}", log.endpoints.join(", "))));
        }
        Ok(log)
    }

    /// The requests of a recording, all endpoints or the one named.
    pub fn of_recording(recording: &Recording, endpoint: Option<&str>) -> Log {
        let mut log = Log { read_as: "a recorded transcript".to_owned(), ..Log::default() };
        for known in &recording.endpoints {
            log.endpoints.push(known.spec.name.clone());
            if endpoint.is_some_and(|name| name != known.spec.name) {
                continue;
            }
            log.times.extend(known.jobs.iter().map(|job| job.at.since(Time::ZERO).as_secs()));
            log.services.extend(known.jobs.iter().filter_map(|job| job.service).map(Span::as_secs));
            log.starts.extend(known.cold_starts.iter().map(|span| span.as_secs()));
        }
        log.put_in_order();
        log.disordered = 0;
        log
    }

    /// From the first to the last request, in seconds.
    pub fn span_s(&self) -> f64 {
        self.times.last().copied().unwrap_or(0.0)
    }

    fn of_trace(path: &Path, endpoint: Option<&str>) -> Result<Log, FileError> {
        let mut log = Log { read_as: "a trace".to_owned(), ..Log::default() };
        let mut reader = TraceReader::open(path)?;
        let mut row = TraceRow::default();
        while reader.read(&mut row)? {
            if !log.endpoints.contains(&row.endpoint) && log.endpoints.len() < 1_000 {
                log.endpoints.push(row.endpoint.clone());
            }
            if endpoint.is_some_and(|name| name != row.endpoint) {
                continue;
            }
            log.add(path, row.arrival_s)?;
            log.services.extend(row.service_s);
            log.input_tokens.extend(row.input_tokens.map(f64::from));
            log.output_tokens.extend(row.output_tokens.map(f64::from));
        }
        Ok(log)
    }

    fn of_lines(mut lines: Lines, first: String) -> Result<Log, FileError> {
        let help = "expected an ISO 8601 time, an epoch in seconds or milliseconds, or a trace with arrival_s,endpoint";
        let mut place = find(&first);
        let mut line = first;
        if place.is_none() {
            // A heading; the next line must have one.
            let no_time = lines.error("no timestamp in the line").found(lines.line()).help(help);
            if !lines.advance()? {
                return Err(no_time);
            }
            line = String::from_utf8_lossy(lines.line()).into_owned();
            place = find(&line);
        }
        let Some(place) = place else {
            return Err(lines.error("no timestamp in the line").found(lines.line()).help(help));
        };
        let mut log = Log::default();
        let mut unit = None;
        loop {
            match at(&line, place).and_then(parse) {
                Some(Stamp::Date(seconds)) if unit.is_none_or(|(_, name)| name == "dates") => {
                    unit = Some((1.0, "dates"));
                    log.add(lines.path(), seconds)?;
                }
                Some(Stamp::Number(number)) if unit.is_none_or(|(_, name)| name != "dates") => {
                    let (factor, _) = *unit.get_or_insert_with(|| unit_of(number));
                    log.add(lines.path(), number * factor)?;
                }
                _ => {
                    let error = lines.error("no timestamp like that of the lines before it").found(lines.line());
                    return Err(error.help(help));
                }
            }
            if !lines.advance()? {
                break;
            }
            line = String::from_utf8_lossy(lines.line()).into_owned();
        }
        log.read_as = match unit {
            Some((_, "dates")) | None => "a log with dates".to_owned(),
            Some((_, unit)) => format!("a log with numbers in {unit}"),
        };
        Ok(log)
    }

    fn add(&mut self, path: &Path, seconds: f64) -> Result<(), FileError> {
        if self.times.len() == REQUESTS_MAX {
            let what = format!("more than {REQUESTS_MAX} requests");
            return Err(FileError::new(path, what).help("give a part of the log: a few weeks say as much"));
        }
        if self.times.last().is_some_and(|last| seconds < *last) {
            self.disordered += 1;
        }
        self.times.push(seconds);
        Ok(())
    }

    fn put_in_order(&mut self) {
        self.times.sort_by(f64::total_cmp);
        let first = self.times.first().copied().unwrap_or(0.0);
        self.times.iter_mut().for_each(|time| *time -= first);
    }
}

/// The first place of the line that holds a timestamp.
fn find(line: &str) -> Option<Place> {
    let fields = SEPARATORS
        .into_iter()
        .filter(|separator| line.contains(*separator))
        .flat_map(|separator| (0..line.split(separator).count()).map(move |number| Place::Field(separator, number)));
    let words = (0..line.split_whitespace().count()).map(Place::Word);
    let mut places = fields.chain([Place::Brackets, Place::TwoWords]).chain(words);
    places.find(|place| at(line, *place).and_then(parse).is_some())
}

fn at(line: &str, place: Place) -> Option<&str> {
    match place {
        Place::Field(separator, number) => line.split(separator).nth(number),
        Place::Brackets => Some(line.split_once('[')?.1.split_once(']')?.0),
        Place::TwoWords => {
            let second = line.split_whitespace().nth(1)?;
            let end = second.as_ptr() as usize - line.as_ptr() as usize + second.len();
            line.get(..end)
        }
        Place::Word(number) => line.split_whitespace().nth(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Log, String> {
        let path = std::env::temp_dir().join(format!("thermocline-log-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let log = Log::read(&path, None).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        log
    }

    #[test]
    fn logs_in_the_usual_forms_are_read() {
        let expected = vec![0.0, 1.5, 60.0];
        let forms = [
            ("iso", "timestamp\n2026-05-08T12:00:00Z\n2026-05-08T12:00:01.500Z\n2026-05-08T12:01:00Z\n"),
            ("millis", "1778241600000\n1778241601500\n1778241660000\n"),
            ("seconds", "0\n1.5\n60\n"),
            ("columns", "path,when\n/a,2026-05-08 12:00:00\n/b,2026-05-08 12:00:01.5\n/c,2026-05-08 12:01:00\n"),
            ("words", "2026-05-08 12:00:00 GET /a\n2026-05-08 12:00:01.5 GET /b\n2026-05-08 12:01:00 GET /c\n"),
            ("disorder", "1.5\n0\n60\n"),
            (
                "nginx",
                "10.0.0.1 - - [08/May/2026:12:00:00 +0000] \"GET /\" 200\n10.0.0.1 - - [08/May/2026:12:00:01.5 +0000] \"GET /\" \
                 200\n10.0.0.1 - - [08/May/2026:12:01:00 +0000] \"GET /\" 200\n",
            ),
        ];
        for (name, text) in forms {
            let log = read(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((log.times, log.disordered), (expected.clone(), u64::from(name == "disorder")), "{name}");
        }
        let log = read("trace", "arrival_s,endpoint,service_s\n3,a,2.5\n4,b,\n").unwrap();
        assert_eq!(
            (log.times, log.services, log.endpoints),
            (vec![0.0, 1.0], vec![2.5], vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn a_line_without_a_time_is_named() {
        let error = read("odd", "when\n2026-05-08T12:00:00Z\nyesterday\n").unwrap_err();
        assert!(error.contains(":3") && error.contains("yesterday") && error.contains("ISO 8601"), "{error}");
        let error = read("none", "a,b\nc,d\n").unwrap_err();
        assert!(error.contains("no timestamp in the line"), "{error}");
        assert!(read("empty", "").unwrap_err().contains("the file is empty"));
    }
}
