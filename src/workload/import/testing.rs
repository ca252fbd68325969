//! Imports of small samples, for the tests of the formats.

use super::{Format, ImportError, ImportOptions, ImportReport, import};
use crate::workload::testing::{TempFile, Words};

fn run(
    format: Format,
    samples: &[&str],
    change: impl FnOnce(&mut ImportOptions),
) -> Result<(String, ImportReport), ImportError> {
    let files: Vec<TempFile> = samples.iter().map(|sample| TempFile::new(sample.as_bytes())).collect();
    let mut options = ImportOptions::new(format, files.iter().map(|file| file.path().to_owned()).collect());
    change(&mut options);
    let (output, report) = import(&options, Vec::new(), &mut Words::new(1))?;
    Ok((String::from_utf8(output).expect("traces are text"), report))
}

/// The trace that comes out.
pub fn imported(format: Format, samples: &[&str], change: impl FnOnce(&mut ImportOptions)) -> String {
    run(format, samples, change).expect("the sample is right").0
}

/// The report of the import.
pub fn report(format: Format, samples: &[&str], change: impl FnOnce(&mut ImportOptions)) -> ImportReport {
    run(format, samples, change).expect("the sample is right").1
}

/// What is wrong with `sample`.
pub fn import_error(format: Format, sample: &str) -> String {
    run(format, &[sample], |_| ()).expect_err("the sample is wrong").to_string()
}
