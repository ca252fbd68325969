//! What a restart finds: read in bulk, table by table, and held against the marks, so that what is missing is noticed.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::super::{EndpointRow, JobRow, Recovered, StoreError};
use super::fault::Faults;
use super::seal::{Tag, open, open_json};
use super::writes::{Marks, event_tag, gone_tag, int};
use crate::scheduler::Event;
use crate::units::Time;

/// A number as it was before [`int`](super::writes::int); a negative one is none of ours and reads as 0.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What must be in the file.
pub fn marks(connection: &Connection, faults: &Faults) -> Result<Marks, StoreError> {
    let found = connection.query_row("SELECT body FROM marks", [], |row| row.get::<_, Vec<u8>>(0)).optional();
    let found = found.map_err(|e| faults.map("reading its marks", &e))?;
    let parsed = found.ok_or_else(|| "its one row is missing".to_owned()).and_then(|body| open_json(Tag::MARKS, &body));
    parsed.map_err(|what| faults.corrupt("table marks", what))
}

/// Everything that [`Store::load`](super::super::Store::load) promises.
pub fn load(connection: &Connection, faults: &Faults) -> Result<Recovered, StoreError> {
    // One transaction: all tables as of one commit.
    connection.execute_batch("BEGIN").map_err(|e| faults.map("reading it", &e))?;
    let found = Loader { connection, faults }.all();
    let ended = connection.execute_batch("COMMIT").map_err(|e| faults.map("reading it", &e));
    let found = found?;
    ended.map(|()| found)
}

struct Loader<'a> {
    connection: &'a Connection,
    faults: &'a Faults,
}

impl Loader<'_> {
    fn all(&self) -> Result<Recovered, StoreError> {
        let marks = marks(self.connection, self.faults)?;
        let snapshot = self.snapshot()?;
        let events = self.events()?;
        self.no_gap(&marks, snapshot.as_ref().map(|snapshot| snapshot.0), &events)?;
        let jobs = self.jobs()?;
        if jobs.len() as u64 != marks.alive {
            let what = format!("{} jobs without an end are here, {} should be", jobs.len(), marks.alive);
            return Err(self.faults.corrupt("table jobs", what));
        }
        self.whole("keys")?;
        let (endpoints, meta) = (self.endpoints()?, self.meta()?);
        Ok(Recovered { snapshot, events, jobs, last_client_ref: marks.last_client_ref, endpoints, meta })
    }

    /// Every row of a query, read by `columns`; the error of a sealed body is told with the row's name.
    fn rows<T>(
        &self,
        sql: &str,
        mut columns: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = |e: rusqlite::Error| self.faults.map("reading it", &e);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            found.push(columns(row).map_err(failed)??);
        }
        Ok(found)
    }

    fn parsed<T: DeserializeOwned>(
        &self,
        tag: Tag,
        body: &[u8],
        place: impl FnOnce() -> String,
    ) -> Result<T, StoreError> {
        open_json(tag, body).map_err(|what| self.faults.corrupt(&place(), what))
    }

    /// Tables whose rows are not counted anywhere: that none is lost shows in the structure of their pages alone.
    fn whole(&self, table: &str) -> Result<(), StoreError> {
        let found = self.rows(&format!("PRAGMA quick_check({table})"), |row| Ok(Ok(row.get::<_, String>(0)?)))?;
        match found.into_iter().find(|line| line != "ok") {
            None => Ok(()),
            Some(what) => Err(self.faults.corrupt(&format!("table {table}"), what)),
        }
    }

    fn snapshot(&self) -> Result<Option<(u64, Time, bytes::Bytes)>, StoreError> {
        let found = self.rows("SELECT seq, at, body FROM snapshot", |row| {
            let (seq, at) = (row.get(0)?, row.get(1)?);
            let state = open(Tag::numbers([seq, at]), row.get(2)?);
            let state = state.map_err(|what| self.faults.corrupt("the snapshot", what));
            Ok(state.map(|state| (unsigned(seq), Time(unsigned(at)), state)))
        })?;
        Ok(found.into_iter().next())
    }

    fn events(&self) -> Result<Vec<(u64, Time, Event)>, StoreError> {
        self.rows("SELECT seq, body FROM events ORDER BY seq", |row| {
            let seq = row.get(0)?;
            let parsed = self.parsed(event_tag(seq), row.get_ref(1)?.as_blob()?, || format!("event {seq}"));
            Ok(parsed.map(|(at, event)| (unsigned(seq), at, event)))
        })
    }

    /// The events follow the snapshot and each other, up to the last one that was written.
    fn no_gap(&self, marks: &Marks, snapshot: Option<u64>, events: &[(u64, Time, Event)]) -> Result<(), StoreError> {
        if snapshot != marks.folded {
            let what = format!("it is of event {snapshot:?} and should be of event {:?}", marks.folded);
            return Err(self.faults.corrupt("the snapshot", what));
        }
        let mut last = snapshot;
        for (seq, _, _) in events {
            if let Some(last) = last.filter(|last| last + 1 != *seq) {
                let what = format!("event {seq} follows event {last}: those between are missing");
                return Err(self.faults.corrupt("table events", what));
            }
            last = Some(*seq);
        }
        if last != marks.last_event {
            let what = format!("the last event is {last:?}, it should be {:?}", marks.last_event);
            return Err(self.faults.corrupt("table events", what));
        }
        Ok(())
    }

    fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        let alive = "SELECT client_ref, job, id, body FROM jobs WHERE ended IS NULL ORDER BY client_ref, job";
        let mut last = None;
        self.rows(alive, |row| {
            let (client_ref, job, id): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let parsed: Result<JobRow, _> =
                self.parsed(Tag::text(&id), row.get_ref(3)?.as_blob()?, || format!("job number {client_ref}"));
            // The index led here: it may name a row twice and another never.
            let in_order = last.replace((client_ref, job)) < Some((client_ref, job));
            Ok(parsed.and_then(|row| match in_order && int(row.client_ref) == client_ref {
                true => Ok(row),
                false => {
                    Err(self.faults.corrupt("index jobs_alive", format!("it leads astray at number {client_ref}")))
                }
            }))
        })
    }

    fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.whole("endpoints")?;
        self.rows("SELECT number, version, gone, body FROM endpoints ORDER BY number, version", |row| {
            let (number, version): (u32, u32) = (row.get(0)?, row.get(1)?);
            let place = || format!("release {version} of endpoint {number}");
            let gone: Option<Vec<u8>> = row.get(2)?;
            let gone = gone.map(|note| open(gone_tag(number), note)).transpose();
            let gone = gone.map_err(|what| self.faults.corrupt(&place(), what)).map(|note| note.is_some());
            let tag = Tag::numbers([number.into(), version.into()]);
            let parsed = self.parsed(tag, row.get_ref(3)?.as_blob()?, place);
            Ok(gone.and_then(|gone| {
                parsed.map(|(at_ms, from_file, config)| EndpointRow { number, version, at_ms, config, from_file, gone })
            }))
        })
    }

    fn meta(&self) -> Result<Vec<(String, bytes::Bytes)>, StoreError> {
        self.whole("meta")?;
        self.rows("SELECT key, body FROM meta ORDER BY key", |row| {
            let key: String = row.get(0)?;
            let value = open(Tag::text(&key), row.get(1)?);
            let value = value.map_err(|what| self.faults.corrupt(&format!("the value named {key}"), what));
            Ok(value.map(|value| (key, value)))
        })
    }
}
