//! The embedded store: one SQLite file in WAL mode, one writer, a few readers.
//!
//! Every row that a restart depends on carries a checksum, and the counts of what must be there are kept beside it: a damaged
//! file is refused, it never loads as a smaller one. `synchronous=FULL` syncs the log at each commit; what `commit` answered
//! with `Ok` survives a power cut. After a failed sync nothing is known about what is on disk (a second sync may report
//! success for pages that are lost), so the store refuses all further work and the next start recovers from the file.
//!
//! The file keeps the largest size it ever had; freed pages are used again.

mod fault;
mod files;
pub mod look;
mod reader;
mod recovery;
mod schema;
mod seal;
mod wal;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{Recovered, Store, StoreError, StoreReader, Write};
use fault::Faults;
use files::Lock;
use reader::Readers;
use writes::{Marks, SQL, Writer};

/// How long a statement waits for a lock of another connection (someone looks into the file with a tool of SQLite's).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the truncation of the log after a snapshot waits for readers: it is tried again after the next snapshot.
const TRUNCATE_WAIT: Duration = Duration::from_millis(20);

/// Pages of 4 KiB in the log before a commit moves them to the main file: 4 MiB.
const CHECKPOINT_PAGES: u32 = 1_000;

/// What is left of the log's file after it was emptied, in bytes, even if one large batch made it longer.
const LOG_BYTES_KEPT: u32 = 16 << 20;

/// The embedded store. Drop it to let another process open the file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    readers: Arc<Readers>,
    marks: Marks,
    faults: Faults,
    /// Why nothing more is written.
    broken: Option<String>,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store in the file `path`; makes the file (mode 0600) and its folder (0700) if they are not there.
    ///
    /// # Errors
    /// `Fatal` when another process has it open or the folder cannot be used, `Corrupt` when the file is not a store, is of
    /// another version or is damaged, `Full` and `ReadOnly` as for a commit.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        files::make_folder(path)?;
        let lock = Lock::take(path)?;
        files::make_file(path)?;
        wal::check(path)?;
        let faults = Faults::new(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|e| faults.map("opening it", &e))?;
        set_up(&connection, &faults)?;
        connection.set_prepared_statement_cache_capacity(SQL.len());
        schema::ensure(&connection, &faults)?;
        files::sync_folder(path)?;
        let marks = recovery::marks(&connection, &faults)?;
        let readers = Arc::new(Readers::new(path.to_owned(), faults.clone()));
        let store = SqliteStore { connection, readers, marks, faults, broken: None, _lock: lock };
        store.truncate_log();
        Ok(store)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.faults.path()
    }

    /// Lets the main file grow to `pages` pages of 4 KiB at most: a disk quota. A fuller store answers `Full`.
    ///
    /// # Errors
    /// As for a commit.
    pub fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        let set = self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.map_err(|e| self.faults.map("setting its limit", &e))
    }

    fn write(&self, batch: &[Write]) -> Result<Marks, StoreError> {
        let failed = |e: &rusqlite::Error| self.faults.map("writing a batch", e);
        let transaction =
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate).map_err(|e| failed(&e))?;
        let mut writer = Writer::new(&self.connection, self.marks, &self.faults);
        for write in batch {
            writer.apply(write)?;
        }
        let marks = writer.finish(&self.marks)?;
        transaction.commit().map_err(|e| failed(&e))?;
        Ok(marks)
    }

    /// Empties the log, unless a reader is in it just now.
    fn truncate_log(&self) {
        let emptied = self.connection.busy_timeout(TRUNCATE_WAIT).and_then(|()| {
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        match emptied {
            Ok(0) => {}
            Ok(_) => tracing::debug!("a reader kept the store's log from being emptied"),
            // Nothing is lost: what is in the log stays there until a later checkpoint has moved it.
            Err(error) => tracing::warn!(%error, "the store's log could not be emptied"),
        }
        if let Err(error) = self.connection.busy_timeout(BUSY_TIMEOUT) {
            tracing::warn!(%error, "the store's lock timeout could not be set");
        }
    }
}

fn set_up(connection: &Connection, faults: &Faults) -> Result<(), StoreError> {
    let failed = |e: &rusqlite::Error| faults.map("setting it up", e);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|e| failed(&e))?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(|e| failed(&e))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let path = faults.path().display();
        let why =
            format!("{path}: this file system cannot share memory between processes; put the store on a local disk");
        return Err(StoreError::Fatal(why));
    }
    let pragmas = format!(
        "PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {LOG_BYTES_KEPT};
         PRAGMA cache_size = -8192;
         PRAGMA secure_delete = FAST;
         PRAGMA trusted_schema = OFF;"
    );
    connection.execute_batch(&pragmas).map_err(|e| failed(&e))
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Recovered, StoreError> {
        recovery::load(&self.connection, &self.faults)
    }

    fn commit(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        if let Some(why) = &self.broken {
            return Err(StoreError::Fatal(format!("it failed before and has to be opened anew: {why}")));
        }
        if batch.is_empty() {
            return Ok(());
        }
        match self.write(batch) {
            Ok(marks) => self.marks = marks,
            Err(error) => {
                if matches!(error, StoreError::Fatal(_) | StoreError::Corrupt { .. }) {
                    self.broken = Some(error.to_string());
                }
                return Err(error);
            }
        }
        if batch.iter().any(|write| matches!(write, Write::Snapshot { .. })) {
            self.truncate_log();
        }
        Ok(())
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::clone(&self.readers) as Arc<dyn StoreReader>
    }
}

/// The path of a file beside the store's.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
