//! A store whose file is not what was written: it is refused with the place and a way out, it never loads as another one.

use std::fs;
use std::path::Path;

use thermocline::real::store::sqlite::SqliteStore;
use thermocline::real::store::{DeliveryState, Recovered, Store, StoreError};

use super::*;

fn reopen(path: &Path) -> Result<Recovered, StoreError> {
    SqliteStore::open(path)?.load()
}

/// A place, what was found and what to do.
fn corrupt(found: Result<Recovered, StoreError>) -> (String, String) {
    match found {
        Err(StoreError::Corrupt { place, what, fix }) => {
            assert!(!fix.is_empty() && !what.is_empty());
            (place, what)
        }
        other => panic!("not refused as damaged: {other:?}"),
    }
}

fn write_some(store: &mut SqliteStore) {
    for number in 0..40 {
        store.commit(&[event(number), added(&format!("j{number}"), number + 1)]).unwrap();
    }
    store.commit(&[snapshot(9), endpoint(0, 1), endpoint(1, 1), meta("a", "1"), meta("b", "2")]).unwrap();
    store.commit(&[ended("j3", 99, "1"), delivery("j3", 0, 5, DeliveryState::Pending), key("k", None)]).unwrap();
}

#[test]
fn no_turned_byte_makes_another_store_of_it() {
    let folder = Folder::new("bytes");
    let path = folder.store();
    write_some(&mut open(&path));
    let whole = format!("{:?}", reopen(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    assert!(!folder.0.join("store.db-wal").exists(), "a closed store is one file");
    let (mut refused, mut harmless) = (0, 0);
    // Every byte of the header, then one in so many of the rest: a step that is prime to the length of pages and rows.
    let places = (0..100).chain((100..bytes.len()).step_by(211));
    for place in places {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x15 << (place % 3);
        fs::write(&path, &damaged).unwrap();
        for beside in ["store.db-wal", "store.db-shm"] {
            let _ = fs::remove_file(folder.0.join(beside));
        }
        match reopen(&path) {
            Ok(found) => {
                assert_eq!(format!("{found:?}"), whole, "byte {place}");
                harmless += 1;
            }
            Err(StoreError::Corrupt { place, .. }) => {
                assert!(place.contains("store.db"), "{place}");
                refused += 1;
            }
            Err(StoreError::Fatal(text) | StoreError::ReadOnly(text)) if place < 100 => {
                assert!(text.contains("store.db"), "{text}");
                refused += 1;
            }
            Err(error) => panic!("byte {place}: {error}"),
        }
    }
    assert!(refused > 100, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let folder = Folder::new("cut");
    let path = folder.store();
    write_some(&mut open(&path));
    let bytes = fs::read(&path).unwrap();
    for pages in [1, 3, bytes.len() / 4_096 - 1] {
        fs::write(&path, &bytes[..pages * 4_096]).unwrap();
        corrupt(reopen(&path));
    }
    fs::write(&path, &bytes).unwrap();
    reopen(&path).unwrap();
}

#[test]
fn files_that_are_no_store_of_ours_are_named_and_left_alone() {
    let folder = Folder::new("foreign");
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.store();
    fs::write(&path, "endpoints:\n  llm: {}\n".repeat(100)).unwrap();
    let (place, _) = corrupt(reopen(&path));
    assert!(place.contains("store.db"), "{place}");
    assert!(fs::read(&path).unwrap().starts_with(b"endpoints:"));
}

#[test]
fn another_version_is_refused_with_both_numbers() {
    let folder = Folder::new("version");
    let path = folder.store();
    write_some(&mut open(&path));
    let mut bytes = fs::read(&path).unwrap();
    // `user_version` of the header, and `application_id` (https://www.sqlite.org/fileformat2.html, 1.3).
    bytes[60..64].copy_from_slice(&9_u32.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let (_, what) = corrupt(reopen(&path));
    assert!(what.contains("version 9") && what.contains("version 1"), "{what}");
    bytes[68..72].copy_from_slice(&0_u32.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let (_, what) = corrupt(reopen(&path));
    assert!(what.contains("not made by thermocline"), "{what}");
}

/// The files of a store that was open when the machine went down: the log is not in the main file yet.
fn crashed(folder: &Folder) -> (Vec<u8>, Vec<u8>) {
    let mut store = open(&folder.store());
    store.commit(&[meta("settled", "1")]).unwrap();
    store.commit(&[event(0), snapshot(0)]).unwrap();
    for number in 1..6 {
        store.commit(&[event(number), added(&format!("j{number}"), number)]).unwrap();
    }
    (fs::read(folder.store()).unwrap(), fs::read(folder.0.join("store.db-wal")).unwrap())
}

/// Opens a copy with this log.
fn with_log(main: &[u8], log: &[u8]) -> Result<Recovered, StoreError> {
    let folder = Folder::new("copy");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.store(), main).unwrap();
    fs::write(folder.0.join("store.db-wal"), log).unwrap();
    reopen(&folder.store())
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_and_a_damage_before_it_is_refused() {
    const FRAME: usize = 24 + 4_096;
    let folder = Folder::new("log");
    let (main, log) = crashed(&folder);
    assert_eq!(with_log(&main, &log).unwrap().jobs.len(), 5);
    let frames = (log.len() - 32) / FRAME;
    // The last frame that ends a transaction before the last one: what is behind it may be torn.
    let ends = |frame: usize| log[32 + frame * FRAME + 4..][..4] != [0; 4];
    let last = (0..frames - 1).rev().find(|frame| ends(*frame)).unwrap() + 1;
    for torn in last..frames {
        let cut = 32 + torn * FRAME + 100;
        assert_eq!(with_log(&main, &log[..cut]).unwrap().jobs.len(), 4, "cut in frame {torn}");
        let mut turned = log.clone();
        turned[cut] ^= 0xff;
        assert_eq!(with_log(&main, &turned).unwrap().jobs.len(), 4, "turned in frame {torn}");
    }
    for damaged in 0..last {
        for byte in [0, 5, 10, 20, 24, 2_000] {
            let mut turned = log.clone();
            turned[32 + damaged * FRAME + byte] ^= 0x40;
            let (place, what) = corrupt(with_log(&main, &turned));
            let offset = format!("byte {}", 32 + damaged * FRAME);
            assert!(place.contains("store.db-wal") && place.contains(&offset), "{place}");
            assert!(what.contains("acknowledged"), "{what}");
        }
    }
    for byte in 0..32 {
        let mut turned = log.clone();
        turned[byte] ^= 0x40;
        corrupt(with_log(&main, &turned));
    }
}
