//! A store that cannot be written to, and one that somebody else has open.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use thermocline::real::store::sqlite::SqliteStore;
use thermocline::real::store::{Store, StoreError, Write};

use super::*;

/// A job with `kilobytes` of input.
fn large(id: &str, client_ref: u64, kilobytes: usize) -> Write {
    let input = Bytes::from(vec![b'7'; kilobytes << 10]);
    Write::JobAdded { row: Box::new(row(id, client_ref)), input, s3: None, idempotency_key: None }
}

/// Fills the store until it says so; the number of the job that did not fit.
fn fill(store: &mut SqliteStore) -> u64 {
    for number in 1..10_000 {
        match store.commit(&[large(&format!("j{number}"), number, 64), event(number)]) {
            Ok(()) => {}
            Err(StoreError::Full(text)) => {
                assert!(text.contains("store.db"), "{text}");
                return number;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("640 MB went into a store that has no room for them");
}

/// What a full store owes: it answers, and takes the very same batch when there is room.
fn full_and_back(store: &mut SqliteStore, make_room: impl FnOnce(&SqliteStore)) {
    let number = fill(store);
    assert!(number > 3, "only {number}");
    let (last, refused) = (format!("j{}", number - 1), format!("j{number}"));
    let batch = [large(&refused, number, 64), event(number)];
    for _ in 0..3 {
        assert!(matches!(store.commit(&batch), Err(StoreError::Full(_))));
        let reader = store.reader();
        assert!(reader.input(&last).unwrap().is_some(), "a full store still answers");
        assert_eq!(reader.job(&refused).unwrap(), None, "nothing of the batch is there");
    }
    make_room(store);
    store.commit(&batch).unwrap_or_else(|error| panic!("{error}"));
    assert!(store.reader().input(&refused).unwrap().is_some());
    assert_eq!(store.load().unwrap().events.len() as u64, number);
}

#[test]
fn a_store_at_its_quota_answers_and_goes_on_when_there_is_room() {
    let folder = Folder::new("quota");
    let mut store = open(&folder.store());
    store.limit_pages(200).unwrap();
    full_and_back(&mut store, |store| store.limit_pages(10_000).unwrap());
}

/// Set in the process that has a small file system of its own.
const SMALL_DISK: &str = "THERMOCLINE_TEST_SMALL_DISK";

#[test]
#[allow(clippy::disallowed_methods, reason = "the test is started again in a mount namespace, and told so")]
fn a_full_disk_is_survived() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        let disk = PathBuf::from(disk);
        // Something that can be deleted later.
        std::fs::write(disk.join("ballast"), vec![1_u8; 2 << 20]).unwrap();
        let mut store = open(&disk.join("store.db"));
        full_and_back(&mut store, |_| std::fs::remove_file(disk.join("ballast")).unwrap());
        return;
    }
    let folder = Folder::new("disk");
    std::fs::create_dir_all(&folder.0).unwrap();
    let test = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$0\" || exit 77
        exec \"$1\" --exact real_store::faults::a_full_disk_is_survived --nocapture";
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([&folder.0, &test])
        .env(SMALL_DISK, &folder.0)
        .output();
    match ran {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        other => eprintln!("SKIPPED a_full_disk_is_survived: no mount namespace here: {other:?}"),
    }
}

#[test]
fn two_gateways_never_open_one_store() {
    let folder = Folder::new("lock");
    let first = open(&folder.store());
    match SqliteStore::open(&folder.store()) {
        Err(StoreError::Fatal(text)) => {
            let pid = format!("(process {})", std::process::id());
            assert!(text.contains("in use by another gateway") && text.contains(&pid), "{text}");
        }
        other => panic!("{other:?}"),
    }
    drop(first);
    open(&folder.store());
}

#[test]
fn the_files_are_their_owners_alone() {
    let folder = Folder::new("mode");
    let mut store = open(&folder.0.join("deep/store.db"));
    store.commit(&[added("a", 1)]).unwrap();
    let mode = |name: &str| std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("deep"), 0o700);
    for name in ["deep/store.db", "deep/store.db-wal", "deep/store.db-shm", "deep/store.db.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn the_log_does_not_grow_with_the_work_and_a_snapshot_empties_it() {
    let folder = Folder::new("log");
    let mut store = open(&folder.store());
    let log = folder.0.join("store.db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    for number in 0..600 {
        store.commit(&[large(&format!("j{number}"), number, 64), event(number)]).unwrap();
        assert!(length() < 8 << 20, "{} after {number}", length());
    }
    store.commit(&[snapshot(599)]).unwrap();
    assert_eq!(length(), 0);
}
