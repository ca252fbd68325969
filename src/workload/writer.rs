//! Writes traces in the plain CSV format: three decimals, unknown values left empty, names quoted where they must be.

use std::borrow::Cow;
use std::io::{self, Write};

use super::WorkHint;
use super::trace::COLUMNS;

/// Which optional columns a written trace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `service_s`.
    pub service: bool,
    /// `input_tokens` and `output_tokens`.
    pub tokens: bool,
}

/// A trace being written.
#[derive(Debug)]
pub struct TraceWriter<W> {
    output: W,
    columns: Columns,
}

impl<W: Write> TraceWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// If `output` cannot be written.
    pub fn new(mut output: W, columns: Columns) -> io::Result<TraceWriter<W>> {
        let names = COLUMNS.iter().enumerate().filter(|(column, _)| match column {
            2 => columns.service,
            3 | 4 => columns.tokens,
            _ => true,
        });
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        writeln!(output, "{}", names.join(","))?;
        Ok(TraceWriter { output, columns })
    }

    /// Writes a row; `at_ms` does not go back from row to row.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn write(&mut self, at_ms: u64, endpoint: &str, work: &WorkHint) -> io::Result<()> {
        write!(self.output, "{}.{:03},{}", at_ms / 1_000, at_ms % 1_000, quoted(endpoint))?;
        if self.columns.service {
            match work.service_s {
                Some(service_s) => write!(self.output, ",{service_s:.3}")?,
                None => write!(self.output, ",")?,
            }
        }
        if self.columns.tokens {
            for tokens in [work.input_tokens, work.output_tokens] {
                match tokens {
                    Some(tokens) => write!(self.output, ",{tokens}")?,
                    None => write!(self.output, ",")?,
                }
            }
        }
        writeln!(self.output)
    }

    /// Gives the output back, to be finished by whoever opened it.
    pub fn into_inner(self) -> W {
        self.output
    }
}

fn quoted(name: &str) -> Cow<'_, str> {
    if name.contains([',', '"']) || name.trim() != name {
        return Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")));
    }
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::TempFile;
    use crate::workload::{TraceReader, TraceRow};

    fn written(columns: Columns, name: &str, work: &WorkHint) -> String {
        let mut writer = TraceWriter::new(Vec::new(), columns).unwrap();
        writer.write(61_070_005, name, work).unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    #[test]
    fn only_the_columns_that_are_known_are_written() {
        let work = WorkHint { service_s: Some(1.23456), input_tokens: Some(7), output_tokens: None };
        assert_eq!(written(Columns::default(), "a", &work), "arrival_s,endpoint\n61070.005,a\n");
        let service = Columns { service: true, tokens: false };
        assert_eq!(written(service, "a", &work), "arrival_s,endpoint,service_s\n61070.005,a,1.235\n");
        let all = Columns { service: true, tokens: true };
        let expected = "arrival_s,endpoint,service_s,input_tokens,output_tokens\n61070.005,a,1.235,7,\n";
        assert_eq!(written(all, "a", &work), expected);
    }

    #[test]
    fn every_name_can_be_read_again() {
        for name in ["a", "a,b", "say \"hi\"", " x ", "ä"] {
            let file = TempFile::new(written(Columns::default(), name, &WorkHint::default()).as_bytes());
            let mut row = TraceRow::default();
            assert!(TraceReader::open(file.path()).unwrap().read(&mut row).unwrap());
            assert_eq!(row.endpoint, name);
        }
    }
}
