//! Reading beside the writer: a few read-only connections, each used by one call at a time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, params};

use super::super::{Delivery, JobRow, KeyRow, StoreError, StoreReader};
use super::BUSY_TIMEOUT;
use super::fault::Faults;
use super::recovery::unsigned;
use super::seal::{Tag, open, open_json};
use super::writes::{Part, int, payload_tag};

/// Connections kept open while nobody reads. More are opened, and closed again, when more calls come at once.
const KEPT: usize = 8;

/// Jobs' columns that a [`JobRow`] is made of.
const JOB: &str = "id, body, ended";

/// The readers' end of the store.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    faults: Faults,
    free: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Of a store that is open for writing; nothing is opened yet.
    pub fn new(path: PathBuf, faults: Faults) -> Readers {
        Readers { path, faults, free: Mutex::default() }
    }

    /// Runs `read` on a free connection.
    fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = free.map_or_else(|| self.connect(), Ok);
        let connection = connection.map_err(|e| self.faults.map("opening it for reading", &e))?;
        let answer = read(&connection).map_err(|e| self.faults.map("reading it", &e))?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
        Ok(connection)
    }

    fn one<T>(
        &self,
        sql: &str,
        values: impl Params,
        columns: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.with(|connection| connection.prepare_cached(sql)?.query_row(values, columns).optional())
    }

    fn many<T>(
        &self,
        sql: &str,
        values: impl Params,
        columns: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(|connection| connection.prepare_cached(sql)?.query_map(values, columns)?.collect())
    }

    fn open(&self, id: &str, tag: Tag, body: Vec<u8>) -> Result<Bytes, StoreError> {
        open(tag, body).map_err(|what| self.damaged(id, &format!("a payload: {what}")))
    }

    fn job_row(&self, (id, body, ended): (String, Vec<u8>, Option<Vec<u8>>)) -> Result<JobRow, StoreError> {
        let parsed = open_json::<JobRow>(Tag::text(&id), &body).and_then(|row| {
            let end = ended.map(|end| open_json(Tag::text(&id), &end)).transpose()?;
            Ok(JobRow { end, ..row })
        });
        parsed.map_err(|what| self.damaged(&id, &what))
    }

    fn delivery(&self, (id, body): &(String, Vec<u8>)) -> Result<Delivery, StoreError> {
        open_json(Tag::text(id), body).map_err(|what| self.faults.corrupt("table deliveries", what))
    }

    fn damaged(&self, id: &str, what: &str) -> StoreError {
        self.faults.corrupt(&format!("job {id}"), what.to_owned())
    }
}

fn job_columns(row: &Row<'_>) -> rusqlite::Result<(String, Vec<u8>, Option<Vec<u8>>)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

impl StoreReader for Readers {
    fn job(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        let found = self.one(&format!("SELECT {JOB} FROM jobs WHERE id = ?1"), params![id], job_columns)?;
        found.map(|columns| self.job_row(columns)).transpose()
    }

    fn input(&self, id: &str) -> Result<Option<(Bytes, Option<Bytes>)>, StoreError> {
        let sql = "SELECT part, payloads.body FROM jobs JOIN payloads ON part BETWEEN job * 4 + ?2 AND job * 4 + ?3
            WHERE id = ?1 ORDER BY part";
        let values = params![id, Part::Input as i64, Part::S3 as i64];
        let rows: Vec<(i64, Vec<u8>)> = self.many(sql, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut parts = rows.into_iter().map(|(part, body)| self.open(id, payload_tag(part), body));
        let Some(input) = parts.next().transpose()? else { return Ok(None) };
        Ok(Some((input, parts.next().transpose()?)))
    }

    fn output(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT part, payloads.body FROM jobs JOIN payloads ON part = job * 4 + ?2 WHERE id = ?1";
        let found = self.one(sql, params![id, Part::Output as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.map(|(part, body)| self.open(id, payload_tag(part), body)).transpose()
    }

    fn chunks(&self, id: &str) -> Result<(u64, Vec<Bytes>), StoreError> {
        // One statement, so that the number and the pieces are of one moment; a job without pieces gives one row.
        let sql = "SELECT chunks_next, number, chunks.body FROM jobs LEFT JOIN chunks USING (job)
            WHERE id = ?1 ORDER BY number";
        let columns = |row: &Row<'_>| {
            Ok((unsigned(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(unsigned), row.get::<_, Option<Vec<u8>>>(2)?))
        };
        let rows = self.many(sql, params![id], columns)?;
        let first = rows.first().map_or(0, |(next, number, _)| number.unwrap_or(*next));
        let bodies = rows.into_iter().filter_map(|(_, _, body)| body);
        Ok((first, bodies.map(|body| self.open(id, Tag::text(id), body)).collect::<Result<_, _>>()?))
    }

    fn tombstone(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.one("SELECT reason FROM tombstones WHERE id = ?1", params![id], |row| row.get(0))
    }

    fn by_idempotency_key(&self, endpoint: &str, key: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT id FROM jobs WHERE endpoint = ?1 AND idempotency_key = ?2 ORDER BY job LIMIT 1";
        self.one(sql, params![endpoint, key], |row| row.get(0))
    }

    fn list(&self, endpoint: &str, offset: u64, limit: u32) -> Result<(Vec<JobRow>, u64), StoreError> {
        let page =
            format!("SELECT {JOB} FROM jobs WHERE endpoint = ?1 ORDER BY client_ref DESC, job DESC LIMIT ?3 OFFSET ?2");
        let (rows, count) = self.with(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let count =
                snapshot.query_row("SELECT count(*) FROM jobs WHERE endpoint = ?1", params![endpoint], |row| {
                    row.get(0).map(unsigned)
                })?;
            let mut statement = snapshot.prepare(&page)?;
            let rows = statement.query_map(params![endpoint, int(offset), limit], job_columns)?;
            Ok((rows.collect::<rusqlite::Result<Vec<_>>>()?, count))
        })?;
        Ok((rows.into_iter().map(|columns| self.job_row(columns)).collect::<Result<_, _>>()?, count))
    }

    fn expired(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM jobs WHERE expires_ms <= ?1 AND NOT EXISTS
            (SELECT 1 FROM deliveries WHERE deliveries.job = jobs.job AND due_ms IS NOT NULL)
            ORDER BY expires_ms, job LIMIT ?2";
        self.many(sql, params![int(now_ms), limit], |row| row.get(0))
    }

    fn due(&self, now_ms: u64, limit: u32) -> Result<(Vec<Delivery>, Option<u64>), StoreError> {
        let sql = "SELECT due_ms, id, deliveries.body FROM deliveries JOIN jobs USING (job) WHERE due_ms IS NOT NULL
            ORDER BY due_ms, job, generation LIMIT ?1";
        let columns = |row: &Row<'_>| Ok((unsigned(row.get(0)?), (row.get(1)?, row.get(2)?)));
        let rows = self.many(sql, params![i64::from(limit) + 1], columns)?;
        let now = rows.iter().take(limit as usize).take_while(|(due, _)| *due <= now_ms).count();
        let next = rows.get(now).map(|(due, _)| *due);
        Ok((rows[..now].iter().map(|(_, delivery)| self.delivery(delivery)).collect::<Result<_, _>>()?, next))
    }

    fn deliveries(&self, job: &str) -> Result<Vec<Delivery>, StoreError> {
        let sql = "SELECT id, deliveries.body FROM jobs JOIN deliveries USING (job) WHERE id = ?1 ORDER BY generation";
        let rows = self.many(sql, params![job], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.iter().map(|delivery| self.delivery(delivery)).collect()
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows: Vec<(String, Vec<u8>)> =
            self.many("SELECT id, body FROM keys ORDER BY id", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let parsed = |(id, body): (String, Vec<u8>)| {
            open_json(Tag::text(&id), &body).map_err(|what| self.faults.corrupt(&format!("API key {id}"), what))
        };
        rows.into_iter().map(parsed).collect()
    }
}
