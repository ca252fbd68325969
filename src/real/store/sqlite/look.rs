//! A glance into a store that another process may have open for writing: one named value, nothing else.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::super::StoreError;
use super::BUSY_TIMEOUT;
use super::fault::Faults;
use super::seal::{Tag, open};

/// The value named `key` of the store in the file `path`; `None` if it has none (yet).
///
/// # Errors
/// As for a reader: the file cannot be read, is not a store, or the value is damaged.
pub fn named_value(path: &Path, key: &str) -> Result<Option<Bytes>, StoreError> {
    let faults = Faults::new(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| faults.map("opening it for reading", &e))?;
    let read = || {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
        let sql = "SELECT body FROM meta WHERE key = ?1";
        connection.prepare(sql)?.query_row([key], |row| row.get::<_, Vec<u8>>(0)).optional()
    };
    let found = read().map_err(|e| faults.map("reading it", &e))?;
    let opened = found.map(|body| open(Tag::text(key), body)).transpose();
    opened.map_err(|what| faults.corrupt(&format!("the value named {key}"), what))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Store, Write};
    use super::super::SqliteStore;
    use super::*;

    #[test]
    fn a_value_is_seen_while_the_store_is_open_and_after() {
        let folder = std::env::temp_dir().join(format!("thermocline-look-{}", crate::real::ids::job_id(false)));
        let path = folder.join("store.db");
        let mut store = SqliteStore::open(&path).expect("a fresh store opens");
        assert_eq!(named_value(&path, "secret").expect("it can be read"), None);
        let value = Bytes::from_static(b"s");
        store.commit(&[Write::Meta { key: "secret".to_owned(), value: value.clone() }]).expect("it is written");
        assert_eq!(named_value(&path, "secret").expect("it can be read"), Some(value.clone()));
        drop(store);
        assert_eq!(named_value(&path, "secret").expect("it can be read"), Some(value));
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
        assert!(named_value(&path, "secret").is_err(), "no such file");
    }
}
