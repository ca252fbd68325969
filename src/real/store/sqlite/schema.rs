//! The tables. Columns are what is searched for; everything else of a row is in its sealed body.

use rusqlite::Connection;

use super::super::StoreError;
use super::fault::Faults;
use super::seal::{Tag, seal_json};
use super::writes::Marks;

/// Raised with every change of the tables or of what is in the bodies.
const VERSION: i32 = 1;

/// "TCLN": tells our files from others of SQLite's.
const APPLICATION: i32 = 0x5443_4c4e;

/// `job` numbers the job within the file; its payloads hang on that number, so that a retry, which changes `client_ref`, moves
/// nothing else. `payloads.part` is `job * 4` + 0 input, 1 `s3Config`, 2 output. `deliveries.due_ms` is null unless pending,
/// `endpoints.gone` unless deleted. `marks` says what must be there.
const TABLES: &str = "
CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE snapshot (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, at INTEGER NOT NULL,
    body BLOB NOT NULL) STRICT;
CREATE TABLE jobs (job INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, client_ref INTEGER NOT NULL, endpoint TEXT NOT NULL,
    idempotency_key TEXT, chunks_next INTEGER NOT NULL DEFAULT 0, expires_ms INTEGER, body BLOB NOT NULL, ended BLOB) STRICT;
CREATE INDEX jobs_alive ON jobs (client_ref) WHERE ended IS NULL;
CREATE INDEX jobs_listed ON jobs (endpoint, client_ref);
CREATE INDEX jobs_expiring ON jobs (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE INDEX jobs_keyed ON jobs (endpoint, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE payloads (part INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE chunks (job INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (job, number)) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries (job INTEGER NOT NULL, generation INTEGER NOT NULL, due_ms INTEGER, body BLOB NOT NULL,
    PRIMARY KEY (job, generation)) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (due_ms, job, generation) WHERE due_ms IS NOT NULL;
CREATE TABLE tombstones (id TEXT PRIMARY KEY, reason TEXT NOT NULL, until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE endpoints (number INTEGER NOT NULL, version INTEGER NOT NULL, gone BLOB, body BLOB NOT NULL,
    PRIMARY KEY (number, version)) STRICT, WITHOUT ROWID;
CREATE TABLE keys (id TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE marks (one INTEGER PRIMARY KEY CHECK (one = 1), body BLOB NOT NULL) STRICT;
";

/// Makes the tables in an empty file; refuses a file that is something else.
pub fn ensure(connection: &Connection, faults: &Faults) -> Result<(), StoreError> {
    let number = |sql: &str| {
        connection.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(|e| faults.map("reading its header", &e))
    };
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (APPLICATION, VERSION) => Ok(()),
        (APPLICATION, other) => Err(faults.foreign(
            format!("the store is of schema version {other}, this program knows version {VERSION}"),
            "use the program that wrote it, or give this one a data folder of its own",
        )),
        (0, 0) if number("SELECT count(*) FROM sqlite_schema")? == 0 => create(connection, faults),
        _ => Err(faults.foreign(
            "this database was not made by thermocline".to_owned(),
            "give the gateway a data folder of its own",
        )),
    }
}

fn create(connection: &Connection, faults: &Faults) -> Result<(), StoreError> {
    let none = seal_json(Tag::MARKS, &Marks::default()).map_err(|what| faults.refuse(&what))?;
    let all = format!("{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};");
    let made = connection.unchecked_transaction().and_then(|transaction| {
        transaction.execute_batch(&all)?;
        transaction.execute("INSERT INTO marks (one, body) VALUES (1, ?1)", [none])?;
        transaction.commit()
    });
    made.map_err(|e| faults.map("making its tables", &e))
}
