//! The same file and the same seed give the same transcript, in a debug and in a release build, today and tomorrow.
//!
//! Method: run every scenario and compare the transcript hash with the one on record in `tests/testdata/hashes.txt`. After a
//! change that is meant to change results: `THERMOCLINE_BLESS=1 cargo test --test it golden`, and a line in the changelog.

#![allow(clippy::disallowed_methods, reason = "the record is renewed when the environment says so")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use thermocline::{experiment, scenario};

use super::tidy::files;

/// Whether the traces are beside the repository. They are not part of it: tests over them skip where they are absent, unless
/// `THERMOCLINE_REQUIRE=traces` says that they must not.
pub fn traces_are_there() -> bool {
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces").is_dir();
    let required = std::env::var("THERMOCLINE_REQUIRE").unwrap_or_default();
    assert!(
        there || !required.split(',').any(|what| what == "traces"),
        "THERMOCLINE_REQUIRE=traces, but there are none"
    );
    there
}

/// Seeds of each scenario on record: its own and this one, so that no hash can depend on a lucky draw.
const SECOND_SEED: u64 = 20_261_122;

/// Applications over traces.
const TRACED: &str = "tests/testdata/apps";

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/hashes.txt")
}

/// `file seed` -> hash.
fn recorded() -> BTreeMap<String, String> {
    let text = fs::read_to_string(record()).unwrap_or_default();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.rsplit_once(' ')).map(|(run, hash)| (run.to_owned(), hash.to_owned())).collect()
}

/// Hash of a run, as recorded; its name is file and seed.
fn measured(path: &Path, seed: Option<u64>) -> (String, String) {
    let mut plan = scenario::load(path, &[]).unwrap_or_else(|problems| panic!("{problems}")).plan;
    plan.seed = seed.unwrap_or(plan.seed);
    let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("every file is below the root").display();
    let outcome = experiment::run(&plan, &experiment::RunOptions::default(), &mut |_| {})
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    (format!("{name} {}", plan.seed), outcome.summary.transcript_hash)
}

/// Every scenario with two seeds; every application over a trace once.
fn runs() -> Vec<(PathBuf, Option<u64>)> {
    let scenarios = files("scenarios", &[".yaml"]);
    let twice = scenarios.into_iter().flat_map(|path| [(path.clone(), None), (path, Some(SECOND_SEED))]);
    let traced = if traces_are_there() { files(TRACED, &[".yaml"]) } else { Vec::new() };
    twice.chain(traced.into_iter().map(|path| (path, None))).collect()
}

/// Runs all, on as many threads as there are cores.
fn measure_all() -> BTreeMap<String, String> {
    let runs = runs();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((path, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (run, hash) = measured(path, *seed);
                    found.lock().expect("no thread panicked with the lock").insert(run, hash);
                }
            });
        }
    });
    found.into_inner().expect("no thread panicked with the lock")
}

#[test]
fn golden_hashes_are_those_on_record() {
    let measured = measure_all();
    if std::env::var_os("THERMOCLINE_BLESS").is_some() {
        assert!(traces_are_there(), "the record holds runs over traces: bless where they are");
        let rows: String = measured.iter().map(|(run, hash)| format!("{run} {hash}\n")).collect();
        let header = "# scenario, seed, transcript hash; renewed by THERMOCLINE_BLESS=1 cargo test --test it golden\n";
        fs::write(record(), format!("{header}{rows}")).expect("the record can be written");
        return;
    }
    assert!(measured.len() >= 20, "only {} runs", measured.len());
    let recorded = recorded();
    let differing: Vec<&String> =
        measured.iter().filter(|(run, hash)| recorded.get(*run) != Some(hash)).map(|(run, _)| run).collect();
    assert!(differing.is_empty(), "another transcript than the one on record, or none on record: {differing:#?}");
    let expected = |run: &&String| traces_are_there() || !run.starts_with(TRACED);
    let gone: Vec<&String> = recorded.keys().filter(expected).filter(|run| !measured.contains_key(*run)).collect();
    assert!(gone.is_empty(), "on record, but there is no such scenario: {gone:#?}");
}
