//! What a restart finds: read in bulk, table by table, and held against the marks, so that what is missing is noticed.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::super::{EndpointRow, JobRow, Recovered, StoreError};
use super::fault::Faults;
use super::seal::{open, open_json};
use super::writes::Marks;
use crate::scheduler::Event;
use crate::units::Time;

/// A number as it was before [`int`](super::writes::int); a negative one is none of ours and reads as 0.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What must be in the file.
pub fn marks(connection: &Connection, faults: &Faults) -> Result<Marks, StoreError> {
    let columns = |row: &Row<'_>| {
        Ok(Marks {
            last_client_ref: unsigned(row.get(0)?),
            alive: unsigned(row.get(1)?),
            last_event: row.get::<_, Option<i64>>(2)?.map(unsigned),
        })
    };
    let found = connection.query_row("SELECT last_client_ref, alive, last_event FROM marks", [], columns).optional();
    let found = found.map_err(|e| faults.map("reading its marks", &e))?;
    found.ok_or_else(|| faults.corrupt("table marks", "its one row is missing".to_owned()))
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

    fn parsed<T: DeserializeOwned>(&self, body: &[u8], place: impl FnOnce() -> String) -> Result<T, StoreError> {
        open_json(body).map_err(|what| self.faults.corrupt(&place(), what))
    }

    fn snapshot(&self) -> Result<Option<(u64, Time, bytes::Bytes)>, StoreError> {
        let found = self.rows("SELECT seq, at, body FROM snapshot", |row| {
            let (seq, at) = (unsigned(row.get(0)?), Time(unsigned(row.get(1)?)));
            let damaged = || self.faults.corrupt("the snapshot", "its checksum does not fit".to_owned());
            Ok(open(row.get(2)?).map(|state| (seq, at, state)).ok_or_else(damaged))
        })?;
        Ok(found.into_iter().next())
    }

    fn events(&self) -> Result<Vec<(u64, Time, Event)>, StoreError> {
        self.rows("SELECT seq, at, body FROM events ORDER BY seq", |row| {
            let (seq, at) = (unsigned(row.get(0)?), Time(unsigned(row.get(1)?)));
            let body = row.get_ref(2)?.as_blob()?;
            Ok(self.parsed(body, || format!("event {seq}")).map(|event| (seq, at, event)))
        })
    }

    /// The events follow the snapshot and each other, up to the last one that was written.
    fn no_gap(&self, marks: &Marks, snapshot: Option<u64>, events: &[(u64, Time, Event)]) -> Result<(), StoreError> {
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
        let alive = "SELECT client_ref, body FROM jobs WHERE ended IS NULL ORDER BY client_ref, job";
        self.rows(alive, |row| {
            let client_ref = unsigned(row.get(0)?);
            let body = row.get_ref(1)?.as_blob()?;
            Ok(self.parsed(body, || format!("job number {client_ref}")))
        })
    }

    fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.rows("SELECT number, version, gone, body FROM endpoints ORDER BY number, version", |row| {
            let (number, version, gone) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let body = row.get_ref(3)?.as_blob()?;
            let parsed = self.parsed(body, || format!("release {version} of endpoint {number}"));
            Ok(parsed.map(|(at_ms, from_file, config)| EndpointRow { number, version, at_ms, config, from_file, gone }))
        })
    }

    fn meta(&self) -> Result<Vec<(String, bytes::Bytes)>, StoreError> {
        self.rows("SELECT key, body FROM meta ORDER BY key", |row| {
            let key: String = row.get(0)?;
            let damaged =
                self.faults.corrupt(&format!("the value named {key}"), "its checksum does not fit".to_owned());
            Ok(open(row.get(1)?).map(|value| (key, value)).ok_or(damaged))
        })
    }
}
