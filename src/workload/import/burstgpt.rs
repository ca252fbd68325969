//! BurstGPT: `Timestamp,[Session ID,Elapsed time,]Model,Request tokens,Response tokens,Total tokens,Log Type`.
//!
//! Times are seconds since the first midnight, whole ones in the older releases. Every model is an endpoint. `Elapsed time`,
//! where there is one, is the time from a request to its last token, so it becomes `service_s` although it includes the
//! service's own waiting. Requests without a response token failed; they are left out unless they are asked for.

use std::path::Path;

use super::order::{Request, Source};
use super::table::Table;
use super::{Counter, Names};
use crate::workload::WorkHint;
use crate::workload::error::FileError;

const COLUMNS: &[&str] = &["Timestamp", "Model", "Request tokens", "Response tokens", "Elapsed time"];
const ELAPSED: usize = 4;

/// A file of this format.
pub struct BurstGpt {
    table: Table,
    names: Names,
    /// The name of every endpoint, or else the model.
    endpoint: Option<String>,
    keep_failed: bool,
    failed: Counter,
}

impl BurstGpt {
    /// Opens a file; requests that are left out are counted in `failed`.
    ///
    /// # Errors
    /// If it cannot be read or has other columns.
    pub fn open(
        path: &Path,
        names: &Names,
        endpoint: Option<&str>,
        keep_failed: bool,
        failed: &Counter,
    ) -> Result<BurstGpt, FileError> {
        let table = Table::open(path, COLUMNS, ELAPSED)?;
        let endpoint = endpoint.map(str::to_owned);
        Ok(BurstGpt { table, names: names.clone(), endpoint, keep_failed, failed: failed.clone() })
    }

    /// Whether the file has service times.
    pub fn has_elapsed(&self) -> bool {
        self.table.has(ELAPSED)
    }
}

impl Source for BurstGpt {
    fn next(&mut self) -> Result<Option<Request>, FileError> {
        while self.table.advance()? {
            let table = &self.table;
            let output_tokens = table.count(3)?;
            if output_tokens == 0 && !self.keep_failed {
                self.failed.add();
                continue;
            }
            let known = !table.text(ELAPSED).is_empty();
            let work = WorkHint {
                service_s: if known { Some(table.number(ELAPSED)?) } else { None },
                input_tokens: Some(table.count(2)?),
                output_tokens: Some(output_tokens),
            };
            let endpoint = match &self.endpoint {
                Some(name) => self.names.index(name),
                None => self.names.index(&table.name(1)?.to_ascii_lowercase()),
            };
            return Ok(Some(Request { at_us: (table.number(0)? * 1e6).round() as i64, endpoint, work }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use crate::workload::import::Format;
    use crate::workload::import::testing::{import_error, imported, report};

    const OLD: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
        5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,230,1317,API log\n50,ChatGPT,9,0,9,API log\n";

    #[test]
    fn models_become_endpoints_and_failures_are_counted() {
        let expected = "arrival_s,endpoint,input_tokens,output_tokens\n0.000,chatgpt,472,18\n40.000,gpt-4,1087,230\n";
        assert_eq!(imported(Format::BurstGpt, &[OLD], |_| ()), expected);
        let report = report(Format::BurstGpt, &[OLD], |_| ());
        assert_eq!((report.rows, report.left_out), (2, vec![("failed, without a response token".to_owned(), 1)]));
        let all = imported(Format::BurstGpt, &[OLD], |options| options.keep_failed = true);
        assert!(all.ends_with("45.000,chatgpt,9,0\n"), "{all}");
    }

    #[test]
    fn elapsed_times_of_newer_releases_are_service_times() {
        let new = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
            19440110.0,abc,1.25,ChatGPT,10,20,30,Conversation log\n19440111.5,,,GPT-4,1,2,3,API log\n";
        let expected = "arrival_s,endpoint,service_s,input_tokens,output_tokens\n\
            0.000,chatgpt,1.250,10,20\n1.500,gpt-4,,1,2\n";
        assert_eq!(imported(Format::BurstGpt, &[new], |_| ()), expected);
        let day = imported(Format::BurstGpt, &[new], |options| options.align_to_day = true);
        // 19440110 s is 110 s after the 225th midnight.
        assert!(day.contains("\n110.000,chatgpt"), "{day}");
    }

    #[test]
    fn mistakes_have_a_place() {
        let error = import_error(Format::BurstGpt, &OLD.replace("1087", "many"));
        assert!(error.contains(":3:10: Request tokens is not a number of at least 0: found \"many\""), "{error}");
    }
}
