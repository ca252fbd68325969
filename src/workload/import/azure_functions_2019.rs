//! Azure Functions 2019: per function and day, the number of invocations in each of the day's 1,440 minutes
//! (`HashOwner,HashApp,HashFunction,Trigger,1,...,1440`), one file per day; optionally the file of the same day with
//! percentiles of durations (`HashOwner,HashApp,HashFunction,Average,...,percentile_Average_0,...,percentile_Average_100`).
//!
//! The counts are the source's; the instants within a minute are drawn evenly, and so are the service times between the
//! percentiles, so nothing faster than a minute is real. The whole trace has billions of invocations: the busiest functions are
//! taken. Memory: the counts of those functions for one day, and the requests of one minute.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::Rng;

use super::order::Request;
use super::table::Table;
use super::{Names, function_name, most_invoked};
use crate::workload::WorkHint;
use crate::workload::deviate::uniform;
use crate::workload::error::FileError;

const MINUTES: usize = 1_440;
const MINUTE_US: i64 = 60_000_000;
/// App, function and trigger; the minutes follow.
const NAMES: usize = 3;
/// Percentiles in the file of durations, as shares.
const SHARES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0];

const DURATIONS: &[&str] = &[
    "HashApp",
    "HashFunction",
    "percentile_Average_0",
    "percentile_Average_1",
    "percentile_Average_25",
    "percentile_Average_50",
    "percentile_Average_75",
    "percentile_Average_99",
    "percentile_Average_100",
];

/// The busiest functions of some days, and how many invocations of others there are.
pub struct AzureFunctions2019 {
    days: Vec<PathBuf>,
    durations: Vec<PathBuf>,
    wanted: BTreeSet<String>,
    /// Invocations of functions that are not taken.
    pub others: u64,
}

impl AzureFunctions2019 {
    /// Looks through all `days` for the `top` busiest functions; the files follow each other, a day each.
    ///
    /// # Errors
    /// If a file cannot be read or has other columns, or there are files of durations but not one per day.
    pub fn open(days: &[PathBuf], durations: &[PathBuf], top: usize) -> Result<AzureFunctions2019, FileError> {
        if !durations.is_empty() && durations.len() != days.len() {
            let what = format!("{} files of durations for {} of invocations", durations.len(), days.len());
            return Err(FileError::new(&durations[0], what).help("give one for each day, in the same order"));
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for day in days {
            read_day(day, |name, counted| {
                *counts.entry(name).or_default() += counted.iter().map(|count| u64::from(*count)).sum::<u64>();
            })?;
        }
        let all: u64 = counts.values().sum();
        let wanted = most_invoked(counts.clone(), top);
        let taken: u64 = wanted.iter().map(|name| counts[name]).sum();
        Ok(AzureFunctions2019 { days: days.to_vec(), durations: durations.to_vec(), wanted, others: all - taken })
    }

    /// Gives all requests in order of time to `take`, with time 0 at the start of the first day.
    ///
    /// # Errors
    /// If a file cannot be read any more, or `take` fails.
    pub fn requests<E: From<FileError>>(
        &self,
        names: &Names,
        endpoint: Option<&str>,
        rng: &mut impl Rng,
        mut take: impl FnMut(Request) -> Result<(), E>,
    ) -> Result<(), E> {
        for (day, path) in (0..).zip(&self.days) {
            let mut counts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
            read_day(path, |name, counted| {
                if self.wanted.contains(&name) {
                    let sums = counts.entry(name).or_insert_with(|| vec![0; MINUTES]);
                    sums.iter_mut().zip(counted).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
                }
            })?;
            let durations = match self.durations.get(day as usize) {
                Some(path) => read_durations(path, &self.wanted)?,
                None => BTreeMap::new(),
            };
            let mut minute_requests = Vec::new();
            for minute in 0..MINUTES {
                let start_us = (day * MINUTES as i64 + minute as i64) * MINUTE_US;
                for (name, counts) in &counts {
                    let endpoint = names.index(endpoint.unwrap_or(name));
                    for _ in 0..counts[minute] {
                        let at_us = start_us + (uniform(rng) * MINUTE_US as f64) as i64;
                        let service_s = durations.get(name).map(|percentiles| between(percentiles, uniform(rng)));
                        let work = WorkHint { service_s, ..WorkHint::default() };
                        minute_requests.push(Request { at_us, endpoint, work });
                    }
                }
                minute_requests.sort_by_key(|request: &Request| request.at_us);
                minute_requests.drain(..).try_for_each(&mut take)?;
            }
        }
        Ok(())
    }
}

/// Gives name and counts of every function of a day to `take`.
fn read_day(path: &Path, mut take: impl FnMut(String, &[u32])) -> Result<(), FileError> {
    let mut table = Table::open(path, day_columns(), NAMES + MINUTES)?;
    let mut counts = vec![0; MINUTES];
    while table.advance()? {
        for (minute, count) in counts.iter_mut().enumerate() {
            *count = table.count(NAMES + minute)?;
        }
        take(function_name(&table.name(0)?, &table.name(1)?), &counts);
    }
    Ok(())
}

/// Seconds at the [`SHARES`], by function.
fn read_durations(path: &Path, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, [f64; 7]>, FileError> {
    let mut table = Table::open(path, DURATIONS, DURATIONS.len())?;
    let mut durations = BTreeMap::new();
    while table.advance()? {
        let name = function_name(&table.name(0)?, &table.name(1)?);
        if wanted.contains(&name) {
            let mut seconds = [0.0; 7];
            for (column, value) in (2..).zip(&mut seconds) {
                *value = table.number(column)? / 1e3;
            }
            durations.insert(name, seconds);
        }
    }
    Ok(durations)
}

/// The value below which `share` lies, linearly between the percentiles.
fn between(percentiles: &[f64; 7], share: f64) -> f64 {
    let next = SHARES.iter().position(|known| share < *known).unwrap_or(SHARES.len() - 1).max(1);
    let weight = (share - SHARES[next - 1]) / (SHARES[next] - SHARES[next - 1]);
    percentiles[next - 1] + (percentiles[next] - percentiles[next - 1]) * weight
}

/// `HashApp,HashFunction,Trigger,1,...,1440`.
fn day_columns() -> &'static [&'static str] {
    static COLUMNS: std::sync::OnceLock<Vec<&'static str>> = std::sync::OnceLock::new();
    COLUMNS.get_or_init(|| {
        let minutes = (1..=MINUTES).map(|minute| &*minute.to_string().leak());
        ["HashApp", "HashFunction", "Trigger"].into_iter().chain(minutes).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::import::Format;
    use crate::workload::import::testing::{import_error, imported, report};
    use crate::workload::testing::TempFile;

    /// A day on which each function is invoked so often in the given minutes (counted from 0).
    fn day(functions: &[(&str, &[(usize, u32)])]) -> String {
        let minutes: Vec<String> = (1..=MINUTES).map(|minute| minute.to_string()).collect();
        let mut text = format!("HashOwner,HashApp,HashFunction,Trigger,{}\n", minutes.join(","));
        for (name, busy) in functions {
            let mut counts = vec!["0".to_owned(); MINUTES];
            busy.iter().for_each(|(minute, count)| counts[*minute] = count.to_string());
            text.push_str(&format!("owner,app,{name},http,{}\n", counts.join(",")));
        }
        text
    }

    #[test]
    fn counts_become_instants_within_their_minutes() {
        let first = day(&[("f", &[(0, 2), (1439, 1)]), ("g", &[(0, 1)])]);
        let second = day(&[("f", &[(10, 3)])]);
        let all = imported(Format::AzureFunctions2019, &[&first, &second], |_| ());
        let rows: Vec<(f64, &str)> = all
            .lines()
            .skip(1)
            .map(|row| row.split_once(',').unwrap())
            .map(|(at, name)| (at.parse().unwrap(), name))
            .collect();
        let minutes: Vec<u32> = rows.iter().map(|row| (row.0 / 60.0) as u32).collect();
        assert_eq!(minutes, [0, 0, 0, 1439, 1450, 1450, 1450]);
        assert_eq!(rows.iter().filter(|row| row.1 == "app-f").count(), 6);
        assert!(rows.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(all, imported(Format::AzureFunctions2019, &[&first, &second], |_| ()), "same seed, same instants");
    }

    #[test]
    fn the_busiest_functions_are_taken_and_the_rest_counted() {
        let day = day(&[("f", &[(0, 5)]), ("g", &[(3, 9)]), ("h", &[(4, 1)])]);
        let report = report(Format::AzureFunctions2019, &[&day], |options| options.top = Some(1));
        assert_eq!((report.rows, report.endpoints), (9, 1));
        assert_eq!(report.left_out, [("of functions beyond the top 1".to_owned(), 6)]);
    }

    #[test]
    fn durations_are_drawn_between_the_percentiles() {
        let durations = TempFile::new(
            format!("HashOwner,{},Count\no,app,f,100,100,100,200,300,1000,1000,9\n", DURATIONS.join(",")).as_bytes(),
        );
        let all = imported(Format::AzureFunctions2019, &[&day(&[("f", &[(0, 1_000)])])], |options| {
            options.durations = vec![durations.path().to_owned()];
        });
        let mut service: Vec<f64> =
            all.lines().skip(1).map(|row| row.rsplit(',').next().unwrap().parse().unwrap()).collect();
        service.sort_by(f64::total_cmp);
        assert_eq!((service[0], service[999]), (0.1, 1.0));
        // The standard error of the median of 1,000 is about 6 ms where 250 of them share 100 ms.
        assert!((service[500] - 0.2).abs() < 0.03, "{}", service[500]);
        let percentiles = [0.0, 1.0, 25.0, 50.0, 75.0, 99.0, 100.0];
        assert_eq!((between(&percentiles, 0.0), between(&percentiles, 0.625)), (0.0, 62.5));
    }

    #[test]
    fn mistakes_have_a_place() {
        let text = day(&[("f", &[(0, 7)])]);
        let error = import_error(Format::AzureFunctions2019, &text.replace("http,7", "http,x"));
        assert!(error.contains(":2:18: 1 is not a number of at least 0: found \"x\""), "{error}");
        let error = import_error(Format::AzureFunctions2019, "HashOwner,HashApp,HashFunction,Trigger,1,2\n");
        assert!(error.contains("column 3 is missing"), "{error}");
    }
}
