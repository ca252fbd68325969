//! Request traces: the plain CSV format (`arrival_s,endpoint[,service_s][,input_tokens][,output_tokens]`, also gzipped),
//! read as a stream with bounded memory. How a trace is sliced, scaled and looped while it is read: `playback.rs`.

use std::path::{Path, PathBuf};

use super::distribution::bounded;
use super::error::FileError;
use super::lines::{Field, Lines};

/// What is done to a trace while it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Only rows of this endpoint of the file; `None` = all rows.
    pub endpoint: Option<String>,
    /// Seconds of the trace that are skipped.
    pub from_s: f64,
    /// Seconds of the trace where it ends.
    pub until_s: Option<f64>,
    /// Times are multiplied by this (0.5 = twice as fast).
    pub time_scale: f64,
    /// Rate multiplier: 2 = every row twice on average (a copy comes up to one second of the trace later), 0.5 = every second
    /// row on average.
    pub rate_scale: f64,
    /// How often the slice is played; 0 = for ever. It is as long as `until_s - from_s`; without `until_s` it ends one mean gap
    /// after the last row of the file, whatever its endpoint, so that the endpoints of a file stay in step.
    pub repeat: u32,
    /// Instants that stand for an interval of this length are spread over it (coarse sources).
    pub spread_s: f64,
}

impl Default for TraceOptions {
    fn default() -> TraceOptions {
        TraceOptions {
            endpoint: None,
            from_s: 0.0,
            until_s: None,
            time_scale: 1.0,
            rate_scale: 1.0,
            repeat: 1,
            spread_s: 0.0,
        }
    }
}

/// A trace file and what is done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSource {
    /// `.csv` or `.csv.gz`.
    pub path: PathBuf,
    /// Reading options.
    pub options: TraceOptions,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRow {
    /// Seconds from the start of the trace.
    pub arrival_s: f64,
    /// Endpoint name.
    pub endpoint: String,
    /// Seconds on a worker.
    pub service_s: Option<f64>,
    /// Input tokens.
    pub input_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: Option<u32>,
}

/// The columns of the format, in their order.
pub const COLUMNS: [&str; 5] = ["arrival_s", "endpoint", "service_s", "input_tokens", "output_tokens"];

/// Most columns of a file.
const COLUMNS_MAX: usize = 256;
/// A trace spans at most about 300 years: times of day of an epoch, in seconds, pass; milliseconds do not.
const ARRIVAL_S_MAX: f64 = 1e10;
/// Longest service time, about 30 years.
const SERVICE_S_MAX: f64 = 1e9;

impl TraceOptions {
    /// Whether every option is in its range.
    ///
    /// # Errors
    /// Names the option, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        bounded("trace", "from_s", self.from_s, 0.0, ARRIVAL_S_MAX)?;
        if let Some(until_s) = self.until_s {
            bounded("trace", "until_s", until_s, 0.0, ARRIVAL_S_MAX)?;
            if until_s <= self.from_s {
                return Err(format!("trace: until_s is {until_s}, but must be later than from_s ({})", self.from_s));
            }
        }
        bounded("trace", "time_scale", self.time_scale, 1e-9, 1e9)?;
        bounded("trace", "rate_scale", self.rate_scale, 1e-9, 1e3)?;
        bounded("trace", "spread_s", self.spread_s, 0.0, ARRIVAL_S_MAX)
    }
}

/// Reads the rows of a trace in order.
#[derive(Debug)]
pub struct TraceReader {
    lines: Lines,
    /// Column of each of [`COLUMNS`].
    columns: [Option<usize>; 5],
    width: usize,
    fields: Vec<Field>,
    last_s: f64,
}

impl TraceReader {
    /// Opens a trace and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or its first line is not a header of this format.
    pub fn open(path: &Path) -> Result<TraceReader, FileError> {
        let mut lines = Lines::open(path)?;
        if !lines.advance()? {
            return Err(FileError::new(path, "the file is empty").help(format!("expected {}", header())));
        }
        let mut fields = Vec::new();
        lines.split(COLUMNS_MAX, &mut fields)?;
        let columns = read_header(&lines, &fields)?;
        Ok(TraceReader { lines, columns, width: fields.len(), fields, last_s: 0.0 })
    }

    /// Which of [`COLUMNS`] the file has.
    pub fn has(&self, column: &str) -> bool {
        COLUMNS.iter().zip(self.columns).any(|(name, place)| *name == column && place.is_some())
    }

    /// Reads the next row into `row`; false at the end. An empty field of an optional column means "not known".
    ///
    /// # Errors
    /// If the file cannot be read further, or the line is not a row: with line, column, the text found there and what to do.
    pub fn read(&mut self, row: &mut TraceRow) -> Result<bool, FileError> {
        if !self.lines.advance()? {
            return Ok(false);
        }
        self.lines.split(COLUMNS_MAX, &mut self.fields)?;
        if self.fields.len() != self.width {
            let what = format!("the row has {} columns, the header {}", self.fields.len(), self.width);
            return Err(self.lines.error(what).found(self.lines.line()));
        }
        row.arrival_s = self.required_number(0, ARRIVAL_S_MAX)?;
        if row.arrival_s < self.last_s {
            let what = format!("arrival_s goes back: the row before is at {}", self.last_s);
            return Err(self.field_error(0, what).help("sort the rows by arrival_s"));
        }
        self.last_s = row.arrival_s;
        self.read_endpoint(&mut row.endpoint)?;
        row.service_s = self.number(2, SERVICE_S_MAX)?;
        row.input_tokens = self.tokens(3)?;
        row.output_tokens = self.tokens(4)?;
        Ok(true)
    }

    /// The line of the last row.
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    fn read_endpoint(&self, endpoint: &mut String) -> Result<(), FileError> {
        let text = self.text(1).unwrap_or_default();
        let Ok(name) = std::str::from_utf8(&text) else {
            return Err(self.field_error(1, "endpoint is not UTF-8"));
        };
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(self.field_error(1, "endpoint is empty or holds control characters"));
        }
        endpoint.clear();
        endpoint.push_str(name);
        Ok(())
    }

    fn required_number(&self, column: usize, max: f64) -> Result<f64, FileError> {
        let missing = || self.field_error(column, format!("{} is empty", COLUMNS[column]));
        self.number(column, max)?.ok_or_else(missing)
    }

    fn number(&self, column: usize, max: f64) -> Result<Option<f64>, FileError> {
        let Some(text) = self.text(column).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let name = COLUMNS[column];
        let value: Option<f64> = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        match value {
            None => Err(self.field_error(column, format!("{name} is not a number"))),
            Some(value) if !value.is_finite() => Err(self.field_error(column, format!("{name} is not finite"))),
            Some(value) if value < 0.0 => Err(self.field_error(column, format!("{name} is negative"))),
            Some(value) if value > max => {
                let error = self.field_error(column, format!("{name} is larger than {max}"));
                Err(error.help("times are seconds from the start of the trace"))
            }
            // -0 is a way to write 0.
            Some(value) => Ok(Some(value.abs())),
        }
    }

    fn tokens(&self, column: usize) -> Result<Option<u32>, FileError> {
        let Some(text) = self.text(column).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let value = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        let what = || format!("{} is not a whole number from 0 to {}", COLUMNS[column], u32::MAX);
        value.map(Some).ok_or_else(|| self.field_error(column, what()))
    }

    fn text(&self, column: usize) -> Option<std::borrow::Cow<'_, [u8]>> {
        self.columns[column].map(|place| self.fields[place].text(self.lines.line()))
    }

    fn field_error(&self, column: usize, what: impl Into<String>) -> FileError {
        let place = self.columns[column].expect("only columns that the file has are read");
        self.lines.field_error(&self.fields[place], what)
    }
}

fn read_header(lines: &Lines, fields: &[Field]) -> Result<[Option<usize>; 5], FileError> {
    let mut columns = [None; 5];
    let mut next = 0;
    for (place, field) in fields.iter().enumerate() {
        let text = field.text(lines.line());
        let name = String::from_utf8_lossy(&text);
        let error = |what: &str| lines.field_error(field, what).help(format!("expected {}", header()));
        let Some(column) = COLUMNS.iter().position(|known| *known == name) else {
            if place == 0 && name.parse::<f64>().is_ok() {
                return Err(error("the header line is missing"));
            }
            let close = COLUMNS.iter().find(|known| strsim::jaro_winkler(known, &name) > 0.85);
            let hint = close.map_or(String::new(), |known| format!(" (did you mean {known}?)"));
            return Err(error(&format!("unknown column{hint}")));
        };
        if columns[column].is_some() {
            return Err(error("the column comes twice"));
        }
        if column < next {
            return Err(error("the column is not in its place"));
        }
        columns[column] = Some(place);
        next = column;
    }
    match COLUMNS[..2].iter().zip(columns).find(|(_, place)| place.is_none()) {
        Some((name, _)) => {
            let error = lines.error(format!("column {name} is missing")).found(lines.line());
            Err(error.help(format!("expected {}", header())))
        }
        None => Ok(columns),
    }
}

fn header() -> String {
    format!("the header {},{}[,{}][,{}][,{}]", COLUMNS[0], COLUMNS[1], COLUMNS[2], COLUMNS[3], COLUMNS[4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::TempFile;

    fn rows(content: &str) -> Result<Vec<TraceRow>, FileError> {
        let file = TempFile::new(content.as_bytes());
        let mut reader = TraceReader::open(file.path())?;
        let mut rows = Vec::new();
        let mut row = TraceRow::default();
        while reader.read(&mut row)? {
            rows.push(row.clone());
        }
        Ok(rows)
    }

    /// Line, column and the text after them.
    fn error(content: &str) -> (u64, u64, String) {
        let error = rows(content).unwrap_err();
        let text = error.to_string();
        let start = text.find(": ").map_or(0, |start| start + 2);
        (error.line(), error.column(), text[start..].to_owned())
    }

    #[test]
    fn any_subset_of_the_optional_columns_is_read() {
        let full =
            rows("arrival_s,endpoint,service_s,input_tokens,output_tokens\n0.5,a,1.5,10,20\n0.5,b,,,\n").unwrap();
        let expected = TraceRow {
            arrival_s: 0.5,
            endpoint: "a".to_owned(),
            service_s: Some(1.5),
            input_tokens: Some(10),
            output_tokens: Some(20),
        };
        assert_eq!(full[0], expected);
        assert_eq!((full[1].service_s, full[1].input_tokens, full[1].output_tokens), (None, None, None));
        assert_eq!(rows("arrival_s,endpoint\r\n1,\"x,y\"\r\n").unwrap()[0].endpoint, "x,y");
        assert_eq!(rows("arrival_s,endpoint,output_tokens\n1e1,x,7").unwrap()[0].output_tokens, Some(7));
        assert_eq!(rows("arrival_s,endpoint,service_s\n-0,x,-0.0").unwrap()[0].service_s, Some(0.0));
        assert_eq!(rows("arrival_s,endpoint\n").unwrap(), []);
    }

    #[test]
    fn a_bad_header_is_explained() {
        assert!(error("").2.contains("the file is empty; expected the header arrival_s,endpoint[,service_s]"));
        assert_eq!(error("0.1,a\n").2[..26], *"the header line is missing");
        let (line, column, text) = error("arrival_s,endpoint,servise_s\n");
        assert_eq!((line, column), (1, 20));
        assert!(text.starts_with("unknown column (did you mean service_s?): found \"servise_s\""), "{text}");
        assert!(error("arrival_s,endpoint,output_tokens,input_tokens\n").2.contains("not in its place"));
        assert!(error("arrival_s,endpoint,endpoint\n").2.contains("comes twice"));
        assert!(error("arrival_s,service_s\n").2.contains("column endpoint is missing"));
    }

    #[test]
    fn a_bad_row_has_a_place_and_a_way_out() {
        let row = |row: &str| error(&format!("arrival_s,endpoint,service_s,input_tokens\n0,a,1,1\n{row}\n"));
        assert_eq!(row("x,a,1,1"), (3, 1, "arrival_s is not a number: found \"x\"".to_owned()));
        assert_eq!(row(",a,1,1").2, "arrival_s is empty: found \"\"");
        assert_eq!(row("NaN,a,1,1").2, "arrival_s is not finite: found \"NaN\"");
        assert_eq!(row("1,a,-2,1"), (3, 5, "service_s is negative: found \"-2\"".to_owned()));
        assert_eq!(row("1,a,inf,1").2, "service_s is not finite: found \"inf\"");
        assert!(row("1e99,a,1,1").2.contains("larger than 10000000000"));
        assert!(row("1,a,1,1.5").2.contains("input_tokens is not a whole number"));
        assert_eq!(row("1,a,1"), (3, 0, "the row has 3 columns, the header 4: found \"1,a,1\"".to_owned()));
        assert!(row("1,,1,1").2.contains("endpoint is empty"));
        assert!(row("1,a\u{1b}[2J,1,1").2.contains("found \"a\\u{1b}[2J\""));
        let back = error("arrival_s,endpoint\n5,a\n4,a\n");
        assert_eq!((back.0, back.1), (3, 1));
        assert!(
            back.2.contains("the row before is at 5") && back.2.ends_with("sort the rows by arrival_s"),
            "{}",
            back.2
        );
        assert!(row(&"1,".repeat(300)).2.contains("more than 256 columns"));
    }

    #[test]
    fn options_have_ranges() {
        let check = |change: fn(&mut TraceOptions)| {
            let mut options = TraceOptions::default();
            change(&mut options);
            options.check()
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert!(check(|o| o.time_scale = 0.0).unwrap_err().contains("time_scale is 0"));
        assert!(check(|o| o.rate_scale = f64::NAN).unwrap_err().contains("rate_scale is NaN"));
        assert!(check(|o| o.from_s = -1.0).is_err());
        assert!(check(|o| (o.from_s, o.until_s) = (5.0, Some(5.0))).unwrap_err().contains("later than from_s"));
    }
}
