//! What a restart finds: read in bulk, table by table, and held against the marks, so that what is missing is noticed.

use std::num::NonZeroUsize;

use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::super::{EndpointRow, JobRow, Recovered, StoreError};
use super::fault::Faults;
use super::seal::{Tag, open, open_json};
use super::writes::{Marks, event_tag, gone_tag, int};
use crate::scheduler::Event;
use crate::units::Time;

/// Threads that parse rows at once.
const THREADS_MAX: usize = 8;

/// Rows for which a thread is worth its start: 1 to 2 ms of parsing.
const SHARE_MIN: usize = 1_000;

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
        let rows = self.rows("SELECT seq, body FROM events ORDER BY seq", |row| {
            Ok(Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
        })?;
        self.parse_all(rows, |faults, (seq, body)| {
            let parsed = open_json(event_tag(seq), &body).map(|(at, event)| (unsigned(seq), at, event));
            parsed.map_err(|what| faults.corrupt(&format!("event {seq}"), what))
        })
    }

    /// Parses many rows, which is most of the time that a restart takes, on all cores.
    fn parse_all<T: Send, R: Send>(
        &self,
        mut rows: Vec<T>,
        parse: impl Fn(&Faults, T) -> Result<R, StoreError> + Sync,
    ) -> Result<Vec<R>, StoreError> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let share = rows.len().div_ceil(threads).max(SHARE_MIN);
        let mut shares = Vec::new();
        while rows.len() > share {
            shares.push(rows.split_off(rows.len() - share));
        }
        let (faults, parse) = (self.faults, &parse);
        let parse_share =
            |share: Vec<T>| share.into_iter().map(|row| parse(faults, row)).collect::<Result<Vec<R>, _>>();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || parse_share(share))).collect();
            let mut parsed = parse_share(rows)?;
            for other in others.into_iter().rev() {
                let share = other.join().map_err(|_| faults.refuse("a record could not be parsed"))?;
                parsed.append(&mut share?);
            }
            Ok(parsed)
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
        let rows = self.rows(alive, |row| {
            let place = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
            // The index led here: it may name a row twice and another never.
            if last.replace(place) >= Some(place) {
                return Ok(Err(self.astray(place.0)));
            }
            Ok(Ok((place.0, row.get::<_, String>(2)?, row.get::<_, Vec<u8>>(3)?)))
        })?;
        let jobs = self.parse_all(rows, |faults, (client_ref, id, body)| {
            let parsed = open_json::<JobRow>(Tag::text(&id), &body);
            parsed.map(|row| (client_ref, row)).map_err(|what| faults.corrupt(&format!("job {id}"), what))
        })?;
        match jobs.iter().find(|(client_ref, row)| int(row.client_ref) != *client_ref) {
            Some((client_ref, _)) => Err(self.astray(*client_ref)),
            None => Ok(jobs.into_iter().map(|(_, row)| row).collect()),
        }
    }

    fn astray(&self, client_ref: i64) -> StoreError {
        self.faults.corrupt("index jobs_alive", format!("it leads astray at number {client_ref}"))
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
