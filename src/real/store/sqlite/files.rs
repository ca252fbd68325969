//! The store's files: who may read them, who has them open, and that they are still there after a power cut.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::super::StoreError;
use super::beside;

/// How long a lock is waited for. A child process that is just being started holds it too, until its program is loaded; so does
/// a gateway that is just ending.
const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

/// Held as long as the store is open; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the store for this process.
    pub fn take(path: &Path) -> Result<Lock, StoreError> {
        let lock = beside(path, ".lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let mut file = opened.map_err(|e| io_error(&lock, "opening it", &e))?;
        let mut patience = PATIENCE;
        while let Err(refused) = file.try_lock() {
            match refused {
                TryLockError::WouldBlock if !patience.is_zero() => {
                    std::thread::sleep(POLL);
                    patience = patience.saturating_sub(POLL);
                }
                TryLockError::WouldBlock => return Err(in_use(path, &file)),
                TryLockError::Error(e) => return Err(io_error(&lock, "locking it", &e)),
            }
        }
        // A file that says who holds the lock helps people only; on a full disk it stays as it is.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }
}

fn in_use(path: &Path, lock: &File) -> StoreError {
    let mut holder = String::new();
    // For the message alone: the lock is what counts.
    let _ = lock.take(32).read_to_string(&mut holder);
    let holder = holder.trim();
    let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
    let path = path.display();
    StoreError::Fatal(format!(
        "{path} is in use by another gateway{who}: stop that one, or give this one a data folder of its own"
    ))
}

/// Makes the folder of the store's file.
pub fn make_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder(path);
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| io_error(folder, "making the folder", &e))?;
    // Its name lies in the folder above.
    folder.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Makes the store's file, empty, readable by its owner alone; leaves one that is there as it is. Only to be called before
/// the file is opened by SQLite: closing any handle of it would drop the locks that SQLite holds.
pub fn make_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(|e| io_error(path, "syncing it", &e)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(io_error(path, "making it", &e)),
    }
}

/// Makes the names in the store's folder durable.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    sync(folder(path))
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| io_error(folder, "syncing the folder", &e))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What an error of the operating system means.
pub fn io_error(path: &Path, doing: &str, error: &std::io::Error) -> StoreError {
    let text = format!("{}: {doing}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(text),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => StoreError::ReadOnly(text),
        _ => StoreError::Fatal(text),
    }
}
