//! What an error of SQLite means for the core: try again, stop, or refuse to start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ffi::{self, ErrorCode};

use super::super::StoreError;

/// The way out of a damaged file.
const FIX: &str = "restore the file from a backup, save what can be read with `sqlite3 FILE .recover`, \
                   or move it (with -wal and -shm) away to begin empty";

/// Names the file in errors.
#[derive(Clone, Debug)]
pub struct Faults(Arc<PathBuf>);

impl Faults {
    /// Of this file.
    pub fn new(path: &Path) -> Faults {
        Faults(Arc::new(path.to_owned()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What came of `doing` something with the file.
    pub fn map(&self, doing: &str, error: &rusqlite::Error) -> StoreError {
        let text = format!("{}: {doing}: {error}", self.0.display());
        let Some(code) = error.sqlite_error_code() else {
            // No error of SQLite's own: what it read is not of the kind that was written, or not there.
            return self.corrupt("", format!("{doing}: {error}"));
        };
        match code {
            ErrorCode::DiskFull => StoreError::Full(text),
            // The shared index of the log could not grow: no space, and nothing of the batch was written.
            ErrorCode::SystemIoFailure if error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
                StoreError::Full(text)
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly(text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                StoreError::ReadOnly(format!("{text}; another program holds a lock on the file, end it"))
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => self.corrupt("", format!("{doing}: {error}")),
            // The statements are fixed: it is the tables that are others.
            ErrorCode::Unknown if error.to_string().starts_with("no such") => {
                self.corrupt("", format!("{doing}: {error}"))
            }
            _ => StoreError::Fatal(text),
        }
    }

    /// The file is damaged at `place` (empty: unknown).
    pub fn corrupt(&self, place: &str, what: String) -> StoreError {
        let file = self.0.display();
        let place = if place.is_empty() { file.to_string() } else { format!("{file}: {place}") };
        StoreError::Corrupt { place, what, fix: FIX.to_owned() }
    }

    /// The file is whole, but not one that this program can use.
    pub fn foreign(&self, what: String, fix: &str) -> StoreError {
        StoreError::Corrupt { place: self.0.display().to_string(), what, fix: fix.to_owned() }
    }

    /// The core asked for what must never be: stop before it is on record.
    pub fn refuse(&self, what: &str) -> StoreError {
        StoreError::Fatal(format!("{}: {what}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(code: i32) -> StoreError {
        Faults::new(Path::new("a/store.db"))
            .map("writing", &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn every_kind_of_failure_leads_where_the_core_expects_it() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(mapped(code), StoreError::Full(_)), "{code}");
        }
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DBMOVED, ffi::SQLITE_BUSY, ffi::SQLITE_PERM] {
            assert!(matches!(mapped(code), StoreError::ReadOnly(_)), "{code}");
        }
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(matches!(mapped(code), StoreError::Fatal(_)), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB] {
            assert!(matches!(mapped(code), StoreError::Corrupt { .. }), "{code}");
        }
    }

    #[test]
    fn an_error_names_the_file_and_what_was_being_done() {
        assert!(mapped(ffi::SQLITE_FULL).to_string().contains("a/store.db: writing"));
        let text = mapped(ffi::SQLITE_CORRUPT).to_string();
        assert!(text.starts_with("a/store.db: writing") && text.contains("backup"), "{text}");
    }
}
