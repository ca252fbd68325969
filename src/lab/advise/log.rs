//! A request log: when requests came, and what is known of their work.

use std::path::Path;

use super::columns::Columns;
use super::names::holds_waiting;
use super::timestamp::{DateOrder, Stamp, parse};
use crate::lab::replay::Recording;
use crate::units::{Span, Time};
use crate::workload::lines::Lines;
use crate::workload::{FileError, TraceReader, TraceRow, WorkHint};

/// Most requests that are read: an 8-byte number each, and 32 bytes for what is known of their work.
const REQUESTS_MAX: usize = 20_000_000;
/// Lines that are looked at before it is decided where they hold their time.
const LOOKED_AT: usize = 1_000;
/// Times that are all whole multiples of this many seconds say little about waits.
const COARSE_S: [(f64, &str); 3] = [(86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")];

/// When requests came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Seconds from the first request on, ascending.
    pub times: Vec<f64>,
    /// What is known of the work of each request; empty if it is nothing of any.
    pub work: Vec<WorkHint>,
    /// What it was read as, for people.
    pub read_as: String,
    /// Lines that were not in order of time; they have been put in order.
    pub disordered: u64,
    /// Endpoints named in it.
    pub endpoints: Vec<String>,
    /// What people should know about how it was read.
    pub notes: Vec<String>,
    /// The column with the length of a job, where there is one that is understood.
    pub service_column: Option<String>,
}

impl Log {
    /// Reads a log or a trace; `endpoint`: only the requests of this endpoint; `column`: the name or number of the column with the
    /// times, which is looked for unless given.
    ///
    /// # Errors
    /// If the file cannot be read, or a line has no timestamp where the others have theirs.
    pub fn read(path: &Path, endpoint: Option<&str>, column: Option<&str>) -> Result<Log, FileError> {
        let mut lines = Lines::open(path)?;
        if !advance(&mut lines)? {
            return Err(FileError::new(path, "the file is empty").help("expected one request per line, with its time"));
        }
        let first = String::from_utf8_lossy(lines.line()).into_owned();
        if let Some((time, rest)) = first.split_once(" < ")
            && time.parse::<f64>().is_ok()
            && rest.starts_with(|c: char| c.is_ascii_lowercase())
        {
            let text = "`thermocline run FILE --out DIR --transcript=jsonl` writes one that can be read";
            return Err(FileError::new(path, "this is a transcript for people").at(lines.number(), 0).help(text));
        }
        let has = |name: &str| first.split(',').any(|column| column.trim() == name);
        let mut log = if has("arrival_s") && has("endpoint") && column.is_none() {
            Log::of_trace(path, endpoint)?
        } else {
            Log::of_lines(lines, endpoint, column)?
        };
        log.put_in_order();
        if log.times.is_empty() {
            let what =
                endpoint.map_or("no request in it".to_owned(), |name| format!("no request of endpoint `{name}` in it"));
            let error = FileError::new(path, what);
            return Err(match log.endpoints.is_empty() {
                true => error.help("expected one request per line, with its time"),
                false => error.help(format!("its endpoints: {}", log.endpoints.join(", "))),
            });
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
            let work =
                |service: Option<Span>| WorkHint { service_s: service.map(Span::as_secs), ..WorkHint::default() };
            log.work.extend(known.jobs.iter().map(|job| work(job.service)));
        }
        log.put_in_order();
        log.disordered = 0;
        log
    }

    /// From the first to the last request, in seconds.
    pub fn span_s(&self) -> f64 {
        self.times.last().copied().unwrap_or(0.0)
    }

    /// Mean seconds on a worker of the requests that tell them; none if none does.
    pub fn mean_service_s(&self) -> Option<f64> {
        let known = || self.work.iter().filter_map(|work| work.service_s);
        let count = known().count();
        (count > 0).then(|| known().sum::<f64>() / count as f64)
    }

    /// Some request tells its output tokens.
    pub fn has_tokens(&self) -> bool {
        self.work.iter().any(|work| work.output_tokens.is_some())
    }

    fn of_trace(path: &Path, endpoint: Option<&str>) -> Result<Log, FileError> {
        let mut log = Log { read_as: "a trace".to_owned(), ..Log::default() };
        let mut reader = TraceReader::open(path)?;
        let hints = ["service_s", "input_tokens", "output_tokens"].iter().any(|column| reader.has(column));
        let mut row = TraceRow::default();
        while reader.read(&mut row)? {
            log.meet(&row.endpoint);
            if endpoint.is_some_and(|name| name != row.endpoint) {
                continue;
            }
            log.add(path, row.arrival_s)?;
            if hints {
                log.work.push(WorkHint {
                    service_s: row.service_s,
                    input_tokens: row.input_tokens,
                    output_tokens: row.output_tokens,
                });
            }
        }
        Ok(log)
    }

    /// From the first line on, which `lines` holds.
    fn of_lines(mut lines: Lines, endpoint: Option<&str>, column: Option<&str>) -> Result<Log, FileError> {
        let mut looked_at = vec![(lines.number(), String::from_utf8_lossy(lines.line()).into_owned())];
        let mut more = true;
        while more && looked_at.len() < LOOKED_AT {
            more = advance(&mut lines)?;
            if more {
                looked_at.push((lines.number(), String::from_utf8_lossy(lines.line()).into_owned()));
            }
        }
        let texts: Vec<&str> = looked_at.iter().map(|(_, line)| line.as_str()).collect();
        let columns = Columns::find(&texts, column).map_err(|(what, help)| {
            let error = FileError::new(lines.path(), what).at(looked_at[0].0, 0);
            error.found(texts[0].as_bytes()).help(help)
        })?;
        let mut log =
            Log { service_column: columns.service.as_ref().map(|(_, _, name)| name.clone()), ..Log::default() };
        for (number, line) in looked_at.iter().skip(usize::from(columns.heading)) {
            log.line(lines.path(), *number, line, &columns, endpoint)?;
        }
        while more && advance(&mut lines)? {
            let line = String::from_utf8_lossy(lines.line()).into_owned();
            log.line(lines.path(), lines.number(), &line, &columns, endpoint)?;
        }
        log.tell(&columns);
        Ok(log)
    }

    fn line(
        &mut self,
        path: &Path,
        number: u64,
        line: &str,
        columns: &Columns,
        endpoint: Option<&str>,
    ) -> Result<(), FileError> {
        let wrong = || {
            let of = columns.name.as_ref().map_or(String::new(), |name| format!(" in column `{name}`"));
            let error = FileError::new(path, format!("no timestamp{of} like that of the lines before it"));
            error
                .at(number, 0)
                .found(line.as_bytes())
                .help("expected an ISO 8601 time or an epoch, as on the other lines")
        };
        let text = columns.time.of(line).ok_or_else(wrong)?;
        let seconds = match parse(&text, columns.order) {
            Some(Stamp::Date(seconds)) if columns.dates => seconds,
            Some(Stamp::Number(number)) if !columns.dates => number * columns.unit.0,
            _ => return Err(wrong()),
        };
        if let Some(place) = &columns.endpoint {
            let name = place.of(line).unwrap_or_default();
            self.meet(name.trim());
            if endpoint.is_some_and(|only| only != name.trim()) {
                return Ok(());
            }
        }
        self.add(path, seconds)?;
        if columns.service.is_some() || columns.output_tokens.is_some() || columns.input_tokens.is_some() {
            let number = |place: &super::columns::Place| {
                let value = place.of(line)?.trim().parse::<f64>().ok()?;
                (value.is_finite() && value >= 0.0).then_some(value)
            };
            let service = columns.service.as_ref();
            let tokens = |place: &Option<_>| place.as_ref().and_then(number).map(|value| value as u32);
            self.work.push(WorkHint {
                // To the microsecond: 700 ms are 0.7 s.
                service_s: service.and_then(|(place, unit, _)| Some((number(place)? * unit * 1e6).round() / 1e6)),
                input_tokens: tokens(&columns.input_tokens),
                output_tokens: tokens(&columns.output_tokens),
            });
        }
        Ok(())
    }

    /// What people should know about how the lines were read.
    fn tell(&mut self, columns: &Columns) {
        let of = columns.name.as_ref().map_or(String::new(), |name| format!(" in column `{name}`"));
        self.read_as = match columns.dates {
            true => format!("dates{of}"),
            false => format!("{}{of}", columns.unit.1),
        };
        if columns.ambiguous {
            let read = if columns.order == DateOrder::MonthFirst { "month/day/year" } else { "day/month/year" };
            self.notes.push(format!("dates are read as {read}; both would do"));
        }
        let whole = |every: f64| columns.dates && self.times.iter().all(|time| time % every == 0.0);
        if let Some((_, unit)) = COARSE_S.iter().find(|(every, _)| self.times.len() > 1 && whole(*every)) {
            let text = format!(
                "times are whole {unit}: requests of one of them are taken to come together, and to wait for each other"
            );
            self.notes.push(text);
        }
        if let Some(name) = &columns.unused {
            let text = format!("column `{name}` is not used: its name tells no unit, as {name}_s or {name}_ms would");
            self.notes.push(text);
        }
    }

    /// What is to be said if the lengths in [`Log::service_column`] are taken as the time on a worker.
    pub fn note_on_service(&self) -> Option<String> {
        let name = self.service_column.as_ref()?;
        let waits = if holds_waiting(name) { "; if waiting is in it, that counts as work, too" } else { "" };
        Some(format!("column `{name}` is taken as the time on a worker{waits}"))
    }

    fn meet(&mut self, endpoint: &str) {
        if self.endpoints.len() < 1_000 && !self.endpoints.iter().any(|known| known == endpoint) {
            self.endpoints.push(endpoint.to_owned());
        }
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

    /// In order, from the first request on, to the microsecond: as a trace holds them.
    fn put_in_order(&mut self) {
        if self.work.iter().all(|work| *work == WorkHint::default()) {
            self.work = Vec::new();
            self.times.sort_by(f64::total_cmp);
        } else if !self.times.is_sorted() {
            let mut rows: Vec<(f64, WorkHint)> = self.times.iter().copied().zip(self.work.iter().copied()).collect();
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            (self.times, self.work) = rows.into_iter().unzip();
        }
        let first = self.times.first().copied().unwrap_or(0.0);
        self.times.iter_mut().for_each(|time| *time = ((*time - first) * 1e6).round() / 1e6);
    }
}

/// To the next line that is not empty and no comment.
fn advance(lines: &mut Lines) -> Result<bool, FileError> {
    while lines.advance()? {
        if !lines.line().trim_ascii().is_empty() && !lines.line().starts_with(b"#") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(name: &str, text: &str, column: Option<&str>) -> Result<Log, String> {
        let path = std::env::temp_dir().join(format!("thermocline-log-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let log = Log::read(&path, None, column).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        log
    }

    fn read(name: &str, text: &str) -> Result<Log, String> {
        read_with(name, text, None)
    }

    /// Three requests at 0, 1.5 and 60 s, the times written by `line`.
    fn three(line: impl Fn(&str, &str) -> String) -> String {
        [("12:00:00", "0"), ("12:00:01.5", "1"), ("12:01:00", "2")].map(|(clock, number)| line(clock, number)).concat()
    }

    #[test]
    fn logs_in_the_usual_forms_are_read() {
        let expected = vec![0.0, 1.5, 60.0];
        let iso = |clock: &str| format!("2026-05-08T{clock}Z");
        let forms = [
            ("iso", "timestamp\n".to_owned() + &three(|clock, _| iso(clock) + "\n")),
            ("millis", "1778241600000\n1778241601500\n1778241660000\n".to_owned()),
            ("seconds", "0\n1.5\n60\n".to_owned()),
            ("columns", "path,when\n".to_owned() + &three(|clock, _| format!("/a,2026-05-08 {clock}\n"))),
            ("words", three(|clock, _| format!("2026-05-08 {clock} GET /a\n"))),
            ("disorder", "1.5\n0\n60\n".to_owned()),
            ("nginx", three(|clock, _| format!("10.0.0.1 - - [08/May/2026:{clock} +0000] \"GET /\" 200\n"))),
            ("alone", "arrival_s\n7\n8.5\n67\n".to_owned()),
            ("alone;", "arrival_s;endpoint\n7;a\n8.5;a\n67;b\n".to_owned()),
            ("arrival_ms", "arrival_ms\n0\n1500\n60000\n".to_owned()),
            ("comments", "# exported\n# twice\ntime\n".to_owned() + &three(|clock, _| iso(clock) + "\n")),
            ("json", three(|clock, n| format!("{{\"n\":{n},\"time\":\"{}\",\"m\":\"a,b\"}}\n", iso(clock)))),
            ("us", "time\n".to_owned() + &three(|clock, _| format!("05/31/2026 {clock}\n"))),
            ("eu", "time,x\n".to_owned() + &three(|clock, _| format!("31/05/2026 {clock},1\n"))),
            ("german", "time;x\n".to_owned() + &three(|clock, _| format!("08.05.2026 {clock};1\n"))),
            ("two columns", "date,time\n".to_owned() + &three(|clock, _| format!("2026-05-08,{clock}\n"))),
        ];
        for (name, text) in forms {
            let log = read(name, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((log.times, log.disordered), (expected.clone(), u64::from(name == "disorder")), "{name}");
        }
        let log = read("trace", "arrival_s,endpoint,service_s\n3,a,2.5\n4,b,\n").unwrap();
        let services: Vec<Option<f64>> = log.work.iter().map(|work| work.service_s).collect();
        assert_eq!((log.times, services), (vec![0.0, 1.0], vec![Some(2.5), None]));
        assert_eq!(log.endpoints, ["a", "b"]);
    }

    #[test]
    fn the_time_is_found_by_its_name_and_its_kind_and_not_by_being_first() {
        let iso = |clock: &str| format!("2026-05-08T{clock}Z");
        let forms = [
            (
                "id,time,status\n".to_owned() + &three(|clock, n| format!("{n},{},200\n", iso(clock))),
                "dates in column `time`",
            ),
            ("status,time\n".to_owned() + &three(|clock, _| format!("200,{}\n", iso(clock))), "dates in column `time`"),
            (three(|clock, n| format!("{n};200;{}\n", iso(clock))), "dates in column `3`"),
            (
                "status,latency_ms,epoch_ms\n200,9,1778241600000\n200,1,1778241601500\n200,5,1778241660000\n"
                    .to_owned(),
                "milliseconds in column `epoch_ms`",
            ),
            (
                "\"path\",\"time\"\n".to_owned()
                    + &three(|clock, n| format!("\"/a{},{n}\",\"{}\"\n", &"b,"[..1], iso(clock))),
                "dates in column `time`",
            ),
            (
                "finished_at,started_at\n".to_owned()
                    + &three(|clock, _| format!("2026-05-09T00:00:00Z,{}\n", iso(clock))),
                "dates in column `started_at`",
            ),
        ];
        for (text, read_as) in forms {
            let log = read("find", &text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((log.times, log.read_as.as_str()), (vec![0.0, 1.5, 60.0], read_as), "{text}");
        }
        let two = "a,b\n1,0\n2,5\n4,9\n";
        assert_eq!(read_with("two", two, Some("b")).unwrap().times, [0.0, 5.0, 9.0]);
        assert_eq!(read_with("two", two, Some("2")).unwrap().times, [0.0, 5.0, 9.0]);
        let error = read_with("two", two, Some("c")).unwrap_err();
        assert!(error.contains("there is no column `c`") && error.contains("its columns: a, b"), "{error}");
        let error = read("ids", "id,size\n0,9\n1,3\n2,7\n3,1\n").unwrap_err();
        assert!(error.contains("--column NAME") && error.contains("its columns: id, size"), "{error}");
        let error = read("odd", "id,time\n10,yesterday\n20,today\n40,now\n").unwrap_err();
        assert!(error.contains("column `time` holds `yesterday`"), "{error}");
    }

    #[test]
    fn lengths_of_jobs_are_taken_by_the_name_of_their_column_if_that_tells_their_unit() {
        let with = |name: &str| read("length", &format!("time,{name}\n10,500\n20,\n40,700\n")).unwrap();
        let log = with("duration_ms");
        let services: Vec<Option<f64>> = log.work.iter().map(|work| work.service_s).collect();
        assert_eq!(services, [Some(0.5), None, Some(0.7)]);
        assert_eq!(log.note_on_service().unwrap(), "column `duration_ms` is taken as the time on a worker");
        assert!(with("Response Time (s)").note_on_service().unwrap().contains("if waiting is in it"));
        let log = with("duration");
        assert!(log.work.is_empty() && log.notes[0].contains("its name tells no unit"), "{:?}", log.notes);
        assert!(with("queue_duration_ms").work.is_empty());
        let tokens = read("tokens", "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-05-08 10:00:00.1,7,9\n").unwrap();
        assert_eq!((tokens.work[0].input_tokens, tokens.work[0].output_tokens), (Some(7), Some(9)));
    }

    #[test]
    fn a_line_without_a_time_is_named() {
        let error = read("odd", "when\n2026-05-08T12:00:00Z\nyesterday\n").unwrap_err();
        assert!(error.contains(":3") && error.contains("yesterday") && error.contains("ISO 8601"), "{error}");
        let error = read("none", "a,b\nc,d\n").unwrap_err();
        assert!(error.contains("no timestamp in the line"), "{error}");
        assert!(read("empty", "").unwrap_err().contains("the file is empty"));
        assert!(read("heading", "id,timestamp\n").unwrap_err().contains("no request below the heading"));
        let error = read("feb", "2026-02-28T00:00:00Z\n2026-02-30T00:00:00Z\n").unwrap_err();
        assert!(error.contains(":2") && error.contains("2026-02-30"), "{error}");
        let error = read("people", "0.000000 < host_added ampere_80-1 gpus 8\n").unwrap_err();
        assert!(error.contains("--transcript=jsonl"), "{error}");
    }

    #[test]
    fn coarse_and_ambiguous_times_are_told() {
        let log = read("days", "2026-02-01\n2026-02-02\n2026-02-02\n").unwrap();
        assert!(log.notes[0].contains("whole days"), "{:?}", log.notes);
        let log = read("both", "time\n05/08/2026 12:00:01\n05/08/2026 12:00:02\n").unwrap();
        assert!(log.notes[0].contains("month/day/year"), "{:?}", log.notes);
    }
}
