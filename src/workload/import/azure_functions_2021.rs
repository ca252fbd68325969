//! Azure Functions invocations of 2021: `app,func,end_timestamp,duration`, in seconds.
//!
//! A request arrives when its invocation began, `end_timestamp - duration`; the service times include whatever the platform
//! counted as the invocation. Every function of an application is an endpoint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::order::{Request, Source};
use super::table::Table;
use super::{Counter, Names, function_name, most_invoked};
use crate::workload::WorkHint;
use crate::workload::error::FileError;

const COLUMNS: &[&str] = &["app", "func", "end_timestamp", "duration"];

/// A file of this format.
pub struct AzureFunctions2021 {
    table: Table,
    names: Names,
    endpoint: Option<String>,
    /// Only these functions.
    wanted: Option<BTreeSet<String>>,
    others: Counter,
}

impl AzureFunctions2021 {
    /// Opens a file; invocations of functions that are not `wanted` are counted in `others`.
    ///
    /// # Errors
    /// If it cannot be read or has other columns.
    pub fn open(
        path: &Path,
        names: &Names,
        endpoint: Option<&str>,
        wanted: Option<BTreeSet<String>>,
        others: &Counter,
    ) -> Result<AzureFunctions2021, FileError> {
        let table = Table::open(path, COLUMNS, 4)?;
        let endpoint = endpoint.map(str::to_owned);
        Ok(AzureFunctions2021 { table, names: names.clone(), endpoint, wanted, others: others.clone() })
    }
}

impl Source for AzureFunctions2021 {
    fn next(&mut self) -> Result<Option<Request>, FileError> {
        while self.table.advance()? {
            let name = function_name(&self.table.name(0)?, &self.table.name(1)?);
            if self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&name)) {
                self.others.add();
                continue;
            }
            let (end_s, service_s) = (self.table.number(2)?, self.table.number(3)?);
            let endpoint = self.names.index(self.endpoint.as_ref().unwrap_or(&name));
            let work = WorkHint { service_s: Some(service_s), ..WorkHint::default() };
            return Ok(Some(Request { at_us: ((end_s - service_s) * 1e6).round() as i64, endpoint, work }));
        }
        Ok(None)
    }
}

/// The `top` functions with the most invocations in all of `paths`; memory grows with the number of functions only.
///
/// # Errors
/// If a file cannot be read or holds something unexpected.
pub fn wanted(paths: &[PathBuf], top: usize) -> Result<BTreeSet<String>, FileError> {
    let mut counts = std::collections::BTreeMap::new();
    for path in paths {
        let mut table = Table::open(path, COLUMNS, 4)?;
        while table.advance()? {
            *counts.entry(function_name(&table.name(0)?, &table.name(1)?)).or_insert(0) += 1;
        }
    }
    Ok(most_invoked(counts, top))
}

#[cfg(test)]
mod tests {
    use crate::workload::import::Format;
    use crate::workload::import::testing::{import_error, imported, report};

    const SAMPLE: &str = "app,func,end_timestamp,duration\n\
        734272c01926d196,313c03f53a0d31f7,5160.142,0.134\n\
        17c37a0fdd5d1932,c9f8e30e36d1aef6,5161.281,0.013\n\
        7fa05b607ae861b8,9bc86d6cd1ee254a,5241.568,142.356\n\
        17c37a0fdd5d1932,c9f8e30e36d1aef6,5253.000,0.500\n";

    #[test]
    fn requests_arrive_when_their_invocations_began() {
        let expected = "arrival_s,endpoint,service_s\n\
            0.000,7fa05b607ae8-9bc86d6cd1ee,142.356\n\
            60.796,734272c01926-313c03f53a0d,0.134\n\
            62.056,17c37a0fdd5d-c9f8e30e36d1,0.013\n\
            153.288,17c37a0fdd5d-c9f8e30e36d1,0.500\n";
        assert_eq!(imported(Format::AzureFunctions2021, &[SAMPLE], |_| ()), expected);
    }

    #[test]
    fn only_the_busiest_functions_can_be_kept() {
        let report = report(Format::AzureFunctions2021, &[SAMPLE], |options| options.top = Some(1));
        assert_eq!((report.rows, report.endpoints), (2, 1));
        assert_eq!(report.left_out, [("of functions beyond the top 1".to_owned(), 2)]);
    }

    #[test]
    fn mistakes_have_a_place() {
        let error = import_error(Format::AzureFunctions2021, &SAMPLE.replace("0.134", "nan"));
        assert!(error.contains(":2:44: duration is not a number of at least 0: found \"nan\""), "{error}");
    }
}
