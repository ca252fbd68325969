//! Azure LLM inference traces of 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! The first year's times look like `2023-11-16 18:17:03.9799600`, the second's like `2024-05-10 00:00:00.009930+00:00`; both
//! are read to the microsecond. One file is one service, so one endpoint.

use std::path::Path;

use super::order::{Request, Source};
use super::table::Table;
use crate::workload::WorkHint;
use crate::workload::error::FileError;

const COLUMNS: &[&str] = &["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

/// A file of this format.
pub struct AzureLlm {
    table: Table,
    endpoint: u32,
}

impl AzureLlm {
    /// Opens a file whose requests go to `endpoint`.
    ///
    /// # Errors
    /// If it cannot be read or has other columns.
    pub fn open(path: &Path, endpoint: u32) -> Result<AzureLlm, FileError> {
        Ok(AzureLlm { table: Table::open(path, COLUMNS, 3)?, endpoint })
    }
}

impl Source for AzureLlm {
    fn next(&mut self) -> Result<Option<Request>, FileError> {
        if !self.table.advance()? {
            return Ok(None);
        }
        let Some(at_us) = micros(&self.table.text(0)) else {
            let error = self.table.error(0, "is not a time");
            return Err(
                error.help("expected YYYY-MM-DD HH:MM:SS, with decimals and an offset such as +00:00 if there are any")
            );
        };
        let tokens = |column| self.table.count(column).map(Some);
        let work = WorkHint { service_s: None, input_tokens: tokens(1)?, output_tokens: tokens(2)? };
        Ok(Some(Request { at_us, endpoint: self.endpoint, work }))
    }
}

/// Microseconds since 1970 of `YYYY-MM-DD HH:MM:SS[.digits][Z|+HH:MM|-HH:MM]`, with a `T` or a blank in the middle.
fn micros(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix([' ', 'T'])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let micros = format!("{:0<6}", &rest[..digits.min(6)]);
            ((1..=9).contains(&digits).then(|| micros.parse().ok())??, &rest[digits..])
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - offset_s(zone)?) * 1_000_000 + fraction)
}

fn offset_s(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    Some(sign * (hours * 3_600 + minutes * 60))
}

/// Numbers of so many digits each, between separators.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days of the Gregorian calendar, counted in years that begin in March, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::import::testing::import_error;
    use crate::workload::import::{Format, testing::imported};

    #[test]
    fn times_of_both_years_are_read() {
        assert_eq!(micros(b"1970-01-01 00:00:00"), Some(0));
        assert_eq!(micros(b"2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960));
        assert_eq!(micros(b"2024-05-10 00:00:00.009930+00:00"), Some(1_715_299_200_009_930));
        assert_eq!(micros(b"2024-05-10T02:00:00.5+02:00"), Some(1_715_299_200_500_000));
        assert_eq!(micros(b"2024-02-29 00:00:00Z"), Some(1_709_164_800_000_000));
        for wrong in
            ["", "2024-05-10", "2024-13-10 00:00:00", "2024-05-10 00:00:00.", "24-5-1 0:0:0", "2024-05-10 25:00:00"]
        {
            assert_eq!(micros(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_becomes_one_endpoint() {
        let sample = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
            2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319569,3180,8\n2023-11-16 18:17:04.0781490,110,27\n";
        let expected = "arrival_s,endpoint,input_tokens,output_tokens\n\
            0.000,llm,4808,10\n0.052,llm,3180,8\n0.098,llm,110,27\n";
        assert_eq!(
            imported(Format::AzureLlm, &[sample], |options| options.endpoint = Some("llm".to_owned())),
            expected
        );
    }

    #[test]
    fn two_files_are_merged_on_one_clock() {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens";
        let a = format!("{header}\n2024-05-10 00:00:01+00:00,1,1\n2024-05-10 00:00:05+00:00,2,2\n");
        let b = format!("{header}\n2024-05-10 00:00:00.5+00:00,3,3\n2024-05-10 00:00:03+00:00,4,4\n");
        let all = imported(Format::AzureLlm, &[&a, &b], |options| options.endpoint = Some("llm".to_owned()));
        let rows: Vec<&str> = all.lines().skip(1).collect();
        assert_eq!(rows, ["0.000,llm,3,3", "0.500,llm,1,1", "2.500,llm,4,4", "4.500,llm,2,2"]);
    }

    #[test]
    fn mistakes_have_a_place() {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens";
        let error = import_error(Format::AzureLlm, &format!("{header}\n2024-05-10 00:00:01,1,1\nyesterday,1,1\n"));
        assert!(error.contains(":3:1: TIMESTAMP is not a time: found \"yesterday\"; expected YYYY-MM-DD"), "{error}");
        let error = import_error(Format::AzureLlm, &format!("{header}\n2024-05-10 00:00:01,1,-4\n"));
        assert!(error.contains(":2:23: GeneratedTokens is not a number of at least 0: found \"-4\""), "{error}");
        let error = import_error(Format::AzureLlm, "Timestamp,Model\n");
        assert!(error.contains("column TIMESTAMP is missing") && error.contains("is --format right?"), "{error}");
    }
}
