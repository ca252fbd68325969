//! Mooncake: JSON lines with `timestamp` (milliseconds), `input_length`, `output_length` and `hash_ids`, which are dropped.
//!
//! The published times are batched, about 3 s apart: play such a trace with `spread_s: 3` where a smooth stream is wanted.

use std::path::Path;

use serde::Deserialize;

use super::order::{Request, Source};
use crate::workload::WorkHint;
use crate::workload::error::FileError;
use crate::workload::lines::Lines;

/// A file of this format.
pub struct Mooncake {
    lines: Lines,
    endpoint: u32,
}

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

impl Mooncake {
    /// Opens a file whose requests go to `endpoint`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path, endpoint: u32) -> Result<Mooncake, FileError> {
        Ok(Mooncake { lines: Lines::open(path)?, endpoint })
    }
}

impl Source for Mooncake {
    fn next(&mut self) -> Result<Option<Request>, FileError> {
        if !self.lines.advance()? {
            return Ok(None);
        }
        let error = |what: String, column: u64| {
            let error = self.lines.error(what).at(self.lines.number(), column).found(self.lines.line());
            error.help(r#"expected {"timestamp": MS, "input_length": N, "output_length": N, ...}; is --format right?"#)
        };
        let line: Line = serde_json::from_slice(self.lines.line())
            .map_err(|wrong| error(format!("not a request ({wrong})"), wrong.column() as u64))?;
        if !(0.0..1e15).contains(&line.timestamp) {
            return Err(error(format!("timestamp is {}, but must be at least 0", line.timestamp), 0));
        }
        let work = WorkHint {
            service_s: None,
            input_tokens: Some(line.input_length),
            output_tokens: Some(line.output_length),
        };
        Ok(Some(Request { at_us: (line.timestamp * 1e3).round() as i64, endpoint: self.endpoint, work }))
    }
}

#[cfg(test)]
mod tests {
    use crate::workload::import::Format;
    use crate::workload::import::testing::{import_error, imported};

    #[test]
    fn lines_become_rows_of_one_endpoint() {
        let sample = "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1, 2]}\n\
            {\"timestamp\": 3052.5, \"input_length\": 7322, \"output_length\": 490, \"hash_ids\": []}\n";
        let expected = "arrival_s,endpoint,input_tokens,output_tokens\n0.000,chat,6758,500\n3.053,chat,7322,490\n";
        assert_eq!(
            imported(Format::Mooncake, &[sample], |options| options.endpoint = Some("chat".to_owned())),
            expected
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        let error = import_error(Format::Mooncake, "{\"timestamp\": 0, \"input_length\": 1}\n");
        assert!(error.contains(":1:35: not a request (missing field `output_length`"), "{error}");
        let error = import_error(Format::Mooncake, "{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}\n");
        assert!(error.contains("timestamp is -1"), "{error}");
    }
}
