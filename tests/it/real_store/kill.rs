//! `kill -9`, many times: another process commits and says so after each commit; all that it said is there afterwards.

#![allow(
    clippy::disallowed_methods,
    reason = "the test starts itself again as the process to be killed, and tells it so"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use thermocline::real::store::Store;

use super::*;

/// Path of the store, in the process that is to be killed.
const VICTIM: &str = "THERMOCLINE_TEST_VICTIM";
const ROUNDS: u64 = 25;

/// Commits until it is killed. Batches hold a job each and sometimes ends, drops and snapshots of earlier ones.
fn commit_for_ever(path: &Path) {
    let mut store = open(path);
    let found = store.load().unwrap_or_else(|error| panic!("{error}"));
    let mut next = found.last_client_ref + 1;
    loop {
        let id = format!("j{next}");
        let mut batch = vec![event(next), added(&id, next)];
        if next > 4 && next.is_multiple_of(3) {
            batch.push(ended(&format!("j{}", next - 1), 5, "1"));
        }
        if next.is_multiple_of(16) {
            batch.push(snapshot(next));
        }
        store.commit(&batch).unwrap_or_else(|error| panic!("{error}"));
        // Past the capture of the test's output; a line of its own whatever stands before.
        writeln!(std::io::stdout(), "\ncommitted {next}").expect("the parent reads until the end");
        next += 1;
    }
}

#[test]
fn everything_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(VICTIM) {
        commit_for_ever(Path::new(&path));
    }
    let folder = Folder::new("kill");
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "real_store::kill::everything_acknowledged_survives_a_kill", "--nocapture"])
            .env(VICTIM, folder.store())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = |line: String| {
            let number = line.strip_prefix("committed ").and_then(|number| number.parse::<u64>().ok());
            if let Some(number) = number {
                assert_eq!(number, acknowledged + 1, "round {round}");
                acknowledged = number;
            }
            number.is_some()
        };
        // Another number of commits each time: the kill hits at another place.
        let mut left = 3 + round * 7 % 40;
        while left > 0 {
            left -= u64::from(told(lines.next().expect("it commits for ever")));
        }
        victim.kill().unwrap();
        for line in lines {
            told(line);
        }
        victim.wait().unwrap();

        let mut store = open(&folder.store());
        let found = store.load().unwrap_or_else(|error| panic!("round {round}: {error}"));
        // One more may have been committed whose word was cut off.
        let last = found.last_client_ref;
        assert!(last == acknowledged || last == acknowledged + 1, "{acknowledged} said, {last} there, round {round}");
        acknowledged = last;
        check(&*store.reader(), &found, last);
    }
    assert!(acknowledged > ROUNDS * 3);
}

/// All jobs up to `last` are there, each with its input, and with its end if it had one.
fn check(reader: &dyn thermocline::real::store::StoreReader, found: &Recovered, last: u64) {
    let alive: BTreeSet<&str> = found.jobs.iter().map(|job| job.id.as_str()).collect();
    for number in 1..=last {
        let id = format!("j{number}");
        let has_ended = (number + 1).is_multiple_of(3) && number + 1 > 4 && number < last;
        assert_eq!(alive.contains(id.as_str()), !has_ended, "{id} of {last}");
        let job = reader.job(&id).unwrap().unwrap_or_else(|| panic!("{id} of {last} is missing"));
        assert_eq!(job.end.is_some(), has_ended, "{id}");
        assert!(reader.input(&id).unwrap().is_some(), "{id}");
        assert_eq!(reader.output(&id).unwrap().is_some(), has_ended, "{id}");
    }
    let folded = last / 16 * 16;
    assert_eq!(found.events.len() as u64, last - folded);
    assert_eq!(found.snapshot.as_ref().map(|snapshot| snapshot.0), Some(folded).filter(|folded| *folded > 0));
}
