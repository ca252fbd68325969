//! The store in memory: same answers as the file, nothing survives the process. For throw-away gateways and for tests, where a
//! clone stands for what a restart finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{
    Delivery, DeliveryState, EndpointRow, JobEnd, JobRow, KeyRow, Recovered, Store, StoreError, StoreReader, Write,
};
use crate::real::clock::unix_us;
use crate::scheduler::Event;
use crate::units::Time;

/// A store in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    snapshot: Option<(u64, Time, Bytes)>,
    events: BTreeMap<u64, (Time, Event)>,
    last_event: Option<u64>,
    last_client_ref: u64,
    /// By number: jobs are numbered in the order in which they came.
    jobs: BTreeMap<u64, Job>,
    last_number: u64,
    ids: BTreeMap<String, u64>,
    /// Jobs with an end, by the time at which the result expires.
    expiring: BTreeSet<(u64, u64)>,
    /// Pending deliveries by due time, job and generation.
    pending: BTreeSet<(u64, u64, u32)>,
    keyed: BTreeSet<(String, String, u64)>,
    tombstones: BTreeMap<String, (String, u64)>,
    endpoints: BTreeMap<(u32, u32), EndpointRow>,
    keys: BTreeMap<String, KeyRow>,
    meta: BTreeMap<String, Bytes>,
    broken: Option<String>,
}

#[derive(Debug)]
struct Job {
    row: JobRow,
    input: Bytes,
    s3: Option<Bytes>,
    key: Option<String>,
    output: Option<Bytes>,
    chunks: BTreeMap<u64, Bytes>,
    chunks_next: u64,
    deliveries: BTreeMap<u32, Delivery>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Recovered, StoreError> {
        let state = self.state();
        let mut jobs: Vec<(u64, &Job)> =
            state.jobs.iter().map(|(number, job)| (*number, job)).filter(|(_, job)| job.row.end.is_none()).collect();
        jobs.sort_by_key(|(number, job)| (job.row.client_ref, *number));
        Ok(Recovered {
            snapshot: state.snapshot.clone(),
            events: state.events.iter().map(|(seq, (at, event))| (*seq, *at, event.clone())).collect(),
            jobs: jobs.into_iter().map(|(_, job)| job.row.clone()).collect(),
            last_client_ref: state.last_client_ref,
            endpoints: state.endpoints.values().cloned().collect(),
            meta: state.meta.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }

    fn commit(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some(why) = &state.broken {
            return Err(StoreError::Fatal(format!("it failed before and has to be opened anew: {why}")));
        }
        if let Err(what) = state.check(batch) {
            state.broken = Some(what.clone());
            return Err(StoreError::Fatal(what));
        }
        batch.iter().for_each(|write| state.apply(write));
        Ok(())
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(self.clone())
    }
}

impl State {
    /// Refuses what must never be, before anything of the batch is applied.
    fn check(&self, batch: &[Write]) -> Result<(), String> {
        let mut last_event = self.last_event;
        let mut folded = self.snapshot.as_ref().map(|snapshot| snapshot.0);
        let mut fresh = BTreeSet::new();
        for write in batch {
            match write {
                Write::Event { seq, .. } => {
                    if let Some(last) = last_event.filter(|last| last.checked_add(1) != Some(*seq)) {
                        return Err(format!("event {seq} was to follow event {last}"));
                    }
                    last_event = Some(*seq);
                }
                Write::Snapshot { seq, .. } => {
                    if let Some(folded) = folded.filter(|folded| folded > seq) {
                        return Err(format!("a snapshot of event {seq} was to replace one of event {folded}"));
                    }
                    (folded, last_event) = (Some(*seq), last_event.max(Some(*seq)));
                }
                Write::JobAdded { row, .. } => {
                    let used = self.ids.contains_key(&row.id) || self.tombstones.contains_key(&row.id);
                    if used || !fresh.insert(&row.id) {
                        return Err(format!("a second job with the id {}", row.id));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Event { seq, at, event } => {
                self.events.insert(*seq, (*at, (**event).clone()));
                self.last_event = Some(*seq);
            }
            Write::Snapshot { seq, at, state } => {
                self.snapshot = Some((*seq, *at, state.clone()));
                self.events.retain(|event, _| event > seq);
                self.last_event = self.last_event.max(Some(*seq));
                let now_ms = unix_us() / 1_000;
                self.tombstones.retain(|_, (_, until_ms)| *until_ms >= now_ms);
            }
            Write::JobAdded { row, input, s3, idempotency_key } => {
                self.add_job(row, input, s3.as_ref(), idempotency_key.as_ref());
            }
            Write::JobRetried { id, client_ref, generation, submitted_ms } => {
                self.retry_job(id, *client_ref, *generation, *submitted_ms);
            }
            Write::JobEnded { id, end, output } => self.end_job(id, end, output.as_ref()),
            Write::JobExpires { id, at_ms } => self.expire_job(id, *at_ms),
            Write::JobDropped { id, reason, until_ms } => self.drop_job(id, reason, *until_ms),
            Write::ChunkAdded { id, number, value } => {
                if let Some((_, job)) = self.job_mut(id).filter(|(_, job)| *number >= job.chunks_next) {
                    job.chunks.entry(*number).or_insert_with(|| value.clone());
                }
            }
            Write::ChunksTaken { id, next } => {
                if let Some((_, job)) = self.job_mut(id) {
                    job.chunks_next = job.chunks_next.max(*next);
                    job.chunks.retain(|number, _| number >= next);
                }
            }
            Write::EndpointSet { number, version, at_ms, config, from_file } => {
                let (number, version, at_ms, from_file) = (*number, *version, *at_ms, *from_file);
                let row = EndpointRow { number, version, at_ms, config: (**config).clone(), from_file, gone: false };
                self.endpoints.insert((number, version), row);
            }
            Write::EndpointGone { number } => {
                self.endpoints.range_mut((*number, 0)..=(*number, u32::MAX)).for_each(|(_, row)| row.gone = true);
            }
            Write::Delivery(delivery) => self.delivery(delivery),
            Write::Key(row) => {
                self.keys.insert(row.id.clone(), (**row).clone());
            }
            Write::Meta { key, value } => {
                self.meta.insert(key.clone(), value.clone());
            }
        }
    }

    fn add_job(&mut self, row: &JobRow, input: &Bytes, s3: Option<&Bytes>, key: Option<&String>) {
        self.last_number += 1;
        let number = self.last_number;
        self.ids.insert(row.id.clone(), number);
        self.last_client_ref = self.last_client_ref.max(row.client_ref);
        if let Some(key) = key {
            self.keyed.insert((row.endpoint.clone(), key.clone(), number));
        }
        if let Some(end) = &row.end {
            self.expiring.insert((end.expires_ms, number));
        }
        let job = Job {
            row: row.clone(),
            input: input.clone(),
            s3: s3.cloned(),
            key: key.cloned(),
            output: None,
            chunks: BTreeMap::new(),
            chunks_next: 0,
            deliveries: BTreeMap::new(),
        };
        self.jobs.insert(number, job);
    }

    fn retry_job(&mut self, id: &str, client_ref: u64, generation: u32, submitted_ms: u64) {
        let Some((number, job)) = self.job_mut(id) else { return missing(id, "retry") };
        (job.row.client_ref, job.row.generation, job.row.submitted_ms) = (client_ref, generation, submitted_ms);
        (job.output, job.chunks_next) = (None, 0);
        job.chunks.clear();
        let end = job.row.end.take();
        self.last_client_ref = self.last_client_ref.max(client_ref);
        if let Some(end) = end {
            self.expiring.remove(&(end.expires_ms, number));
        }
    }

    fn end_job(&mut self, id: &str, end: &JobEnd, output: Option<&Bytes>) {
        let alive = self.job_mut(id).filter(|(_, job)| job.row.end.is_none());
        let Some((number, job)) = alive else { return missing(id, "first end") };
        job.row.end = Some(end.clone());
        job.output = output.cloned();
        self.expiring.insert((end.expires_ms, number));
    }

    fn expire_job(&mut self, id: &str, at_ms: u64) {
        let Some((number, job)) = self.job_mut(id) else { return };
        let Some(end) = job.row.end.as_mut().filter(|end| end.expires_ms > at_ms) else { return };
        let before = std::mem::replace(&mut end.expires_ms, at_ms);
        self.expiring.remove(&(before, number));
        self.expiring.insert((at_ms, number));
    }

    fn drop_job(&mut self, id: &str, reason: &str, until_ms: u64) {
        let Some(number) = self.ids.remove(id) else { return missing(id, "drop") };
        if let Some(job) = self.jobs.remove(&number) {
            if let Some(end) = &job.row.end {
                self.expiring.remove(&(end.expires_ms, number));
            }
            for (generation, delivery) in &job.deliveries {
                self.pending.remove(&(delivery.due_ms, number, *generation));
            }
            if let Some(key) = job.key {
                self.keyed.remove(&(job.row.endpoint, key, number));
            }
        }
        self.tombstones.insert(id.to_owned(), (reason.to_owned(), until_ms));
    }

    fn delivery(&mut self, delivery: &Delivery) {
        let Some((number, job)) = self.job_mut(&delivery.job) else { return missing(&delivery.job, "delivery") };
        let before = job.deliveries.insert(delivery.generation, delivery.clone());
        if let Some(before) = before {
            self.pending.remove(&(before.due_ms, number, before.generation));
        }
        if delivery.state == DeliveryState::Pending {
            self.pending.insert((delivery.due_ms, number, delivery.generation));
        }
    }

    fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.get(self.ids.get(id)?)
    }

    fn job_mut(&mut self, id: &str) -> Option<(u64, &mut Job)> {
        let number = *self.ids.get(id)?;
        self.jobs.get_mut(&number).map(|job| (number, job))
    }
}

/// As in the file: no effect, but not without a word.
fn missing(id: &str, what: &str) {
    tracing::warn!(job = id, change = what, "the store has no such job in a state for this change");
}

impl StoreReader for MemoryStore {
    fn job(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        Ok(self.state().job(id).map(|job| job.row.clone()))
    }

    fn input(&self, id: &str) -> Result<Option<(Bytes, Option<Bytes>)>, StoreError> {
        Ok(self.state().job(id).map(|job| (job.input.clone(), job.s3.clone())))
    }

    fn output(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().job(id).and_then(|job| job.output.clone()))
    }

    fn chunks(&self, id: &str) -> Result<(u64, Vec<Bytes>), StoreError> {
        let state = self.state();
        let Some(job) = state.job(id) else { return Ok((0, Vec::new())) };
        let first = job.chunks.keys().next().copied().unwrap_or(job.chunks_next);
        Ok((first, job.chunks.values().cloned().collect()))
    }

    fn tombstone(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(self.state().tombstones.get(id).map(|(reason, _)| reason.clone()))
    }

    fn by_idempotency_key(&self, endpoint: &str, key: &str) -> Result<Option<String>, StoreError> {
        let state = self.state();
        let (endpoint, key) = (endpoint.to_owned(), key.to_owned());
        let mut same = state.keyed.range((endpoint.clone(), key.clone(), 0)..=(endpoint, key, u64::MAX));
        Ok(same.next().and_then(|(_, _, number)| state.jobs.get(number)).map(|job| job.row.id.clone()))
    }

    fn list(&self, endpoint: &str, offset: u64, limit: u32) -> Result<(Vec<JobRow>, u64), StoreError> {
        let state = self.state();
        let mut all: Vec<(u64, u64, &JobRow)> = state
            .jobs
            .iter()
            .filter(|(_, job)| job.row.endpoint == endpoint)
            .map(|(number, job)| (job.row.client_ref, *number, &job.row))
            .collect();
        all.sort_by_key(|(client_ref, number, _)| std::cmp::Reverse((*client_ref, *number)));
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let page = all.iter().skip(offset).take(limit as usize).map(|(_, _, row)| (*row).clone()).collect();
        Ok((page, all.len() as u64))
    }

    fn expired(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let told = |job: &&Job| !job.deliveries.values().any(|delivery| delivery.state == DeliveryState::Pending);
        let over = state.expiring.range(..=(now_ms, u64::MAX)).filter_map(|(_, number)| state.jobs.get(number));
        Ok(over.filter(told).take(limit as usize).map(|job| job.row.id.clone()).collect())
    }

    fn due(&self, now_ms: u64, limit: u32) -> Result<(Vec<Delivery>, Option<u64>), StoreError> {
        let state = self.state();
        let mut pending = state.pending.iter().peekable();
        let mut due = Vec::new();
        while let Some((_, number, generation)) =
            pending.next_if(|(due_ms, _, _)| *due_ms <= now_ms && due.len() < limit as usize)
        {
            due.extend(state.jobs.get(number).and_then(|job| job.deliveries.get(generation)).cloned());
        }
        Ok((due, pending.peek().map(|(due_ms, _, _)| *due_ms)))
    }

    fn deliveries(&self, job: &str) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.state().job(job).map(|job| job.deliveries.values().cloned().collect()).unwrap_or_default())
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        Ok(self.state().keys.values().cloned().collect())
    }
}
