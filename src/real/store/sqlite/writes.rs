//! One batch: each change as one or a few statements, each statement kept prepared between batches: to parse one takes
//! longer than to run it.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};
use serde::{Deserialize, Serialize};

use super::super::{Delivery, DeliveryState, JobEnd, JobRow, StoreError, Write};
use super::fault::Faults;
use super::seal::{Tag, open_json, seal, seal_json};
use crate::real::clock::unix_us;

/// What must be in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Highest number of a job ever used.
    pub last_client_ref: u64,
    /// Jobs without an end.
    pub alive: u64,
    /// Last event on record or folded.
    pub last_event: Option<u64>,
    /// Last event in the snapshot.
    pub folded: Option<u64>,
}

/// The statements, in the order of [`SQL`].
#[derive(Clone, Copy)]
enum Sql {
    Event,
    Snapshot,
    DropEvents,
    DropTombstones,
    AddJob,
    FindJob,
    RetryJob,
    EndJob,
    DropJob,
    ExpireJob,
    SetPayload,
    DropPayloads,
    DropOutput,
    AddChunk,
    TakeChunks,
    DropChunks,
    SetDelivery,
    DropDeliveries,
    AddTombstone,
    SetEndpoint,
    EndpointGone,
    SetKey,
    SetMeta,
    SetMarks,
}

pub(super) const SQL: [&str; 24] = [
    "INSERT INTO events (seq, body) VALUES (?1, ?2)",
    "INSERT OR REPLACE INTO snapshot (one, seq, at, body) VALUES (1, ?1, ?2, ?3)",
    "DELETE FROM events WHERE seq <= ?1",
    "DELETE FROM tombstones WHERE until_ms < ?1",
    "INSERT INTO jobs (id, client_ref, endpoint, idempotency_key, expires_ms, body, ended)
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?1)
        AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) RETURNING job",
    "SELECT job, body, ended IS NULL FROM jobs WHERE id = ?1",
    "UPDATE jobs SET client_ref = ?2, body = ?3, chunks_next = 0, expires_ms = NULL, ended = NULL WHERE job = ?1",
    "UPDATE jobs SET expires_ms = ?2, ended = ?3 WHERE id = ?1 AND ended IS NULL RETURNING job",
    "DELETE FROM jobs WHERE id = ?1 RETURNING job, ended IS NULL",
    "UPDATE jobs SET expires_ms = ?2 WHERE id = ?1 AND expires_ms > ?2",
    "INSERT OR REPLACE INTO payloads (part, body) VALUES (?1, ?2)",
    "DELETE FROM payloads WHERE part BETWEEN ?1 * 4 AND ?1 * 4 + 3",
    "DELETE FROM payloads WHERE part = ?1 * 4 + 2",
    "INSERT OR IGNORE INTO chunks (job, number, body) SELECT job, ?2, ?3 FROM jobs WHERE id = ?1 AND chunks_next <= ?2",
    "UPDATE jobs SET chunks_next = max(chunks_next, ?2) WHERE id = ?1 RETURNING job",
    "DELETE FROM chunks WHERE job = ?1 AND number < ?2",
    "INSERT OR REPLACE INTO deliveries (job, generation, due_ms, body) SELECT job, ?2, ?3, ?4 FROM jobs WHERE id = ?1",
    "DELETE FROM deliveries WHERE job = ?1",
    "INSERT OR REPLACE INTO tombstones (id, reason, until_ms) VALUES (?1, ?2, ?3)",
    "INSERT OR REPLACE INTO endpoints (number, version, gone, body) VALUES (?1, ?2, NULL, ?3)",
    "UPDATE endpoints SET gone = ?2 WHERE number = ?1",
    "INSERT OR REPLACE INTO keys (id, body) VALUES (?1, ?2)",
    "INSERT OR REPLACE INTO meta (key, body) VALUES (?1, ?2)",
    "INSERT OR REPLACE INTO marks (one, body) VALUES (1, ?1)",
];

/// Which payload of a job.
#[derive(Clone, Copy)]
pub enum Part {
    /// `input`.
    Input = 0,
    /// `s3Config`.
    S3 = 1,
    /// `output`.
    Output = 2,
}

impl Part {
    /// The row of this payload of a job.
    pub fn of(self, job: i64) -> i64 {
        job * 4 + self as i64
    }
}

/// A number for SQLite, whose integers are signed. What is beyond 2^63 - 1 (292 million years in ms) is kept as that.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Of an event.
pub fn event_tag(seq: i64) -> Tag {
    Tag::numbers([seq, 0])
}

/// Of a payload.
pub fn payload_tag(part: i64) -> Tag {
    Tag::numbers([part, 1])
}

/// Of the note that an endpoint is deleted.
pub fn gone_tag(number: u32) -> Tag {
    Tag::numbers([number.into(), -1])
}

/// Writes one batch inside an open transaction.
pub struct Writer<'c> {
    connection: &'c Connection,
    statements: [Option<CachedStatement<'c>>; SQL.len()],
    marks: Marks,
    faults: &'c Faults,
}

impl<'c> Writer<'c> {
    /// Over a connection with an open transaction, from the marks before it.
    pub fn new(connection: &'c Connection, marks: Marks, faults: &'c Faults) -> Writer<'c> {
        Writer { connection, statements: [const { None }; SQL.len()], marks, faults }
    }

    /// The marks after the batch, written down if they are others than `before`.
    pub fn finish(mut self, before: &Marks) -> Result<Marks, StoreError> {
        if self.marks != *before {
            let body = self.sealed(Tag::MARKS, &self.marks)?;
            self.run(Sql::SetMarks, params![body])?;
        }
        Ok(self.marks)
    }

    /// Applies one change.
    pub fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Event { seq, at, event } => self.event(*seq, &self.sealed(event_tag(int(*seq)), &(at, event))?),
            Write::Snapshot { seq, at, state } => self.snapshot(*seq, int(at.0), state),
            Write::JobAdded { row, input, s3, idempotency_key } => {
                self.add_job(row, input, s3.as_deref(), idempotency_key.as_deref())
            }
            Write::JobRetried { id, client_ref, generation, submitted_ms } => {
                self.retry_job(id, *client_ref, *generation, *submitted_ms)
            }
            Write::JobEnded { id, end, output } => self.end_job(id, end, output.as_deref()),
            Write::JobExpires { id, at_ms } => self.run(Sql::ExpireJob, params![id, int(*at_ms)]).map(drop),
            Write::JobDropped { id, reason, until_ms } => self.drop_job(id, reason, *until_ms),
            Write::ChunkAdded { id, number, value } => {
                self.run(Sql::AddChunk, params![id, int(*number), seal(Tag::text(id), value)]).map(drop)
            }
            Write::ChunksTaken { id, next } => {
                if let Some(job) = self.get(Sql::TakeChunks, params![id, int(*next)], |row| row.get::<_, i64>(0))? {
                    self.run(Sql::DropChunks, params![job, int(*next)])?;
                }
                Ok(())
            }
            Write::EndpointSet { number, version, at_ms, config, from_file } => {
                let body =
                    self.sealed(Tag::numbers([(*number).into(), (*version).into()]), &(at_ms, from_file, config))?;
                self.run(Sql::SetEndpoint, params![number, version, body]).map(drop)
            }
            Write::EndpointGone { number } => {
                self.run(Sql::EndpointGone, params![number, seal(gone_tag(*number), &[])]).map(drop)
            }
            Write::Delivery(delivery) => self.delivery(delivery),
            Write::Key(row) => {
                let body = self.sealed(Tag::text(&row.id), row)?;
                self.run(Sql::SetKey, params![row.id, body]).map(drop)
            }
            Write::Meta { key, value } => self.run(Sql::SetMeta, params![key, seal(Tag::text(key), value)]).map(drop),
        }
    }

    fn event(&mut self, seq: u64, body: &[u8]) -> Result<(), StoreError> {
        if let Some(last) = self.marks.last_event.filter(|last| last.checked_add(1) != Some(seq)) {
            return Err(self.faults.refuse(&format!("event {seq} was to follow event {last}")));
        }
        self.marks.last_event = Some(seq);
        self.run(Sql::Event, params![int(seq), body]).map(drop)
    }

    fn snapshot(&mut self, seq: u64, at: i64, state: &[u8]) -> Result<(), StoreError> {
        if let Some(folded) = self.marks.folded.filter(|folded| *folded > seq) {
            return Err(self.faults.refuse(&format!("a snapshot of event {seq} was to replace one of event {folded}")));
        }
        self.marks.folded = Some(seq);
        self.run(Sql::Snapshot, params![int(seq), at, seal(Tag::numbers([int(seq), at]), state)])?;
        self.run(Sql::DropEvents, params![int(seq)])?;
        self.run(Sql::DropTombstones, params![int(unix_us() / 1_000)])?;
        self.marks.last_event = self.marks.last_event.max(Some(seq));
        Ok(())
    }

    fn add_job(&mut self, row: &JobRow, input: &[u8], s3: Option<&[u8]>, key: Option<&str>) -> Result<(), StoreError> {
        let open = JobRow { end: None, ..row.clone() };
        let ended = row.end.as_ref().map(|end| self.sealed(Tag::text(&row.id), end)).transpose()?;
        let expires = row.end.as_ref().map(|end| int(end.expires_ms));
        let body = self.sealed(Tag::text(&row.id), &open)?;
        let values = params![row.id, int(row.client_ref), row.endpoint, key, expires, body, ended];
        let Some(job) = self.get(Sql::AddJob, values, |row| row.get::<_, i64>(0))? else {
            return Err(self.faults.refuse(&format!("a second job with the id {}", row.id)));
        };
        self.marks.last_client_ref = self.marks.last_client_ref.max(row.client_ref);
        self.marks.alive += u64::from(row.end.is_none());
        self.payload(Part::Input.of(job), input)?;
        s3.map_or(Ok(()), |s3| self.payload(Part::S3.of(job), s3))
    }

    fn retry_job(&mut self, id: &str, client_ref: u64, generation: u32, submitted_ms: u64) -> Result<(), StoreError> {
        let columns = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, bool>(2)?));
        let Some((job, body, alive)) = self.get(Sql::FindJob, params![id], columns)? else {
            return missing(id, "retry");
        };
        let mut row: JobRow =
            open_json(Tag::text(id), &body).map_err(|what| self.faults.corrupt(&format!("job {id}"), what))?;
        (row.client_ref, row.generation, row.submitted_ms) = (client_ref, generation, submitted_ms);
        let body = self.sealed(Tag::text(id), &row)?;
        self.run(Sql::RetryJob, params![job, int(client_ref), body])?;
        self.run(Sql::DropOutput, params![job])?;
        self.run(Sql::DropChunks, params![job, i64::MAX])?;
        self.marks.last_client_ref = self.marks.last_client_ref.max(client_ref);
        self.marks.alive += u64::from(!alive);
        Ok(())
    }

    fn end_job(&mut self, id: &str, end: &JobEnd, output: Option<&[u8]>) -> Result<(), StoreError> {
        let body = self.sealed(Tag::text(id), end)?;
        let ended = self.get(Sql::EndJob, params![id, int(end.expires_ms), body], |row| row.get::<_, i64>(0))?;
        let Some(job) = ended else { return missing(id, "first end") };
        self.marks.alive = self.marks.alive.saturating_sub(1);
        output.map_or(Ok(()), |output| self.payload(Part::Output.of(job), output))
    }

    fn drop_job(&mut self, id: &str, reason: &str, until_ms: u64) -> Result<(), StoreError> {
        let columns = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?));
        let Some((job, alive)) = self.get(Sql::DropJob, params![id], columns)? else { return missing(id, "drop") };
        self.marks.alive = self.marks.alive.saturating_sub(u64::from(alive));
        self.run(Sql::DropPayloads, params![job])?;
        self.run(Sql::DropChunks, params![job, i64::MAX])?;
        self.run(Sql::DropDeliveries, params![job])?;
        self.run(Sql::AddTombstone, params![id, reason, int(until_ms)]).map(drop)
    }

    fn delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        let due = (delivery.state == DeliveryState::Pending).then(|| int(delivery.due_ms));
        let body = self.sealed(Tag::text(&delivery.job), delivery)?;
        match self.run(Sql::SetDelivery, params![delivery.job, delivery.generation, due, body])? {
            0 => missing(&delivery.job, "delivery"),
            _ => Ok(()),
        }
    }

    fn payload(&mut self, part: i64, body: &[u8]) -> Result<(), StoreError> {
        self.run(Sql::SetPayload, params![part, seal(payload_tag(part), body)]).map(drop)
    }

    fn sealed<T: Serialize>(&self, tag: Tag, value: &T) -> Result<Vec<u8>, StoreError> {
        seal_json(tag, value).map_err(|what| self.faults.refuse(&format!("a record cannot be written: {what}")))
    }

    /// Runs a statement; the number of rows it changed.
    fn run(&mut self, sql: Sql, values: impl Params) -> Result<usize, StoreError> {
        let faults = self.faults;
        self.statement(sql)?.execute(values).map_err(|e| faults.map("writing a batch", &e))
    }

    /// Runs a statement that answers with one row or none.
    fn get<T>(
        &mut self,
        sql: Sql,
        values: impl Params,
        columns: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let faults = self.faults;
        self.statement(sql)?.query_row(values, columns).optional().map_err(|e| faults.map("writing a batch", &e))
    }

    fn statement(&mut self, sql: Sql) -> Result<&mut CachedStatement<'c>, StoreError> {
        let slot = &mut self.statements[sql as usize];
        if slot.is_none() {
            let prepared = self.connection.prepare_cached(SQL[sql as usize]);
            *slot = Some(prepared.map_err(|e| self.faults.map("preparing a statement", &e))?);
        }
        Ok(slot.as_mut().expect("it was filled above"))
    }
}

/// A change to a job that is not (or no longer) in a state to take it. It has no effect: the first outcome stands, and what
/// was dropped stays dropped.
fn missing(id: &str, what: &str) -> Result<(), StoreError> {
    tracing::warn!(job = id, change = what, "the store has no such job in a state for this change");
    Ok(())
}
