//! The scheduler's state as plain data: taken between two events, kept by a driver, and given back after a restart.
//!
//! What follows from the rest (queues, counts, who is available, GPUs and disk in use) is not in it and is worked out again when
//! it is read, so it cannot disagree with itself in those places; see [`restore`](super::restore) for what is checked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compact::as_array;
use super::config::{EndpointSpec, HostSpec, SchedulerConfig};
use super::endpoint::Endpoint;
use super::hosts::{Host, HostImage};
use super::job::Job;
use super::slab::Slab;
use super::worker::Worker;
use super::{Command, Scheduler};
use crate::units::{ImageId, Span, Time, WorkerId};

/// Version of [`SchedulerState`].
pub const STATE_FORMAT: u32 = 1;

/// Everything that a scheduler knows. Opaque: write it with serde (JSON), read it back, and give it to [`Scheduler::restore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerState {
    /// First, so that a reader of another version can tell.
    pub(super) format: u32,
    pub(super) config: SchedulerConfig,
    pub(super) now: Time,
    pub(super) endpoints: Vec<EndpointState>,
    pub(super) hosts: Vec<HostState>,
    pub(super) workers: Table<Worker>,
    pub(super) jobs: Table<Job>,
    pub(super) worker_deadlines: Vec<(Time, u32)>,
    pub(super) endpoint_deadlines: Vec<(Time, u32)>,
    pub(super) commands: Vec<Command>,
}

/// A slab: its live rows, and what decides which ids come next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Table<T> {
    pub(super) rows: Vec<T>,
    /// Places that are free, the next one to be used last.
    pub(super) free: Vec<u32>,
    pub(super) next_sequence: u64,
}

/// An endpoint without what its workers and jobs tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EndpointState {
    pub(super) spec: EndpointSpec,
    pub(super) scaling: Value,
    pub(super) keep_alive: Value,
    pub(super) keeps_surplus: bool,
    pub(super) deleted: bool,
    pub(super) active: u32,
    pub(super) max: u32,
    pub(super) version: u32,
    pub(super) previous: Option<Box<EndpointSpec>>,
    pub(super) previous_version: u32,
    pub(super) rolling: bool,
    pub(super) release_failures: u32,
    pub(super) replacing: u32,
    pub(super) consecutive_failures: u32,
    pub(super) gave_up: u32,
    pub(super) workers: Vec<WorkerId>,
    pub(super) arrived: u64,
    pub(super) ended: u64,
    pub(super) service_total: Span,
    pub(super) last_start: Option<Span>,
    #[serde(default)]
    pub(super) mean_start: Option<Span>,
    #[serde(default)]
    pub(super) mean_stop: Option<Span>,
    pub(super) idle_ordinal: u64,
    pub(super) next_tick: Time,
    pub(super) next_ask: Time,
    pub(super) uniform_ttl: Span,
    pub(super) last_request: Time,
}

/// A host without what its workers and the images tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HostState {
    pub(super) spec: HostSpec,
    pub(super) up: bool,
    pub(super) usable_gpus: u32,
    /// In the order in which they came: facts about all workers of a host are dealt with in that order.
    pub(super) workers: Vec<WorkerId>,
    pub(super) waiting: Vec<WorkerId>,
    pub(super) images: Vec<ImageState>,
}

/// An image on a host's disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ImageState {
    pub(super) id: ImageId,
    pub(super) complete: bool,
    pub(super) pulling: bool,
    pub(super) last_used: Time,
    pub(super) cached_at: Time,
    pub(super) uses: u64,
}

as_array!(ImageState { id, complete, pulling, last_used, cached_at, uses });

impl SchedulerState {
    /// The time of the last event in it.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Settings of every endpoint, by number, deleted ones included.
    pub fn endpoint_specs(&self) -> impl Iterator<Item = &EndpointSpec> {
        self.endpoints.iter().map(|endpoint| &endpoint.spec)
    }

    /// Every host, by number, lost ones included.
    pub fn host_specs(&self) -> impl Iterator<Item = &HostSpec> {
        self.hosts.iter().map(|host| &host.spec)
    }

    /// What the scheduler knew beside hosts and endpoints: images and GPU classes, those made known later included.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }
}

impl Scheduler {
    /// The state between two events. Commands that were not fetched yet are part of it.
    pub fn snapshot(&self) -> SchedulerState {
        SchedulerState {
            format: STATE_FORMAT,
            config: self.config.clone(),
            now: self.now,
            endpoints: self.endpoints.iter().map(endpoint_state).collect(),
            hosts: self.hosts.iter().map(host_state).collect(),
            workers: table(&self.workers),
            jobs: table(&self.jobs),
            worker_deadlines: self.worker_deadlines.entries().to_vec(),
            endpoint_deadlines: self.endpoint_deadlines.entries().to_vec(),
            commands: self.commands.iter().cloned().collect(),
        }
    }
}

fn table<T: Clone>(slab: &Slab<T>) -> Table<T> {
    Table { rows: slab.iter().cloned().collect(), free: slab.free().to_vec(), next_sequence: slab.ever() }
}

fn endpoint_state(entry: &Endpoint) -> EndpointState {
    EndpointState {
        spec: entry.spec.clone(),
        scaling: entry.policies.scaling.save(),
        keep_alive: entry.policies.keep_alive.save(),
        keeps_surplus: entry.keeps_surplus,
        deleted: entry.deleted,
        active: entry.active,
        max: entry.max,
        version: entry.version,
        previous: entry.previous.clone(),
        previous_version: entry.previous_version,
        rolling: entry.rolling,
        release_failures: entry.release_failures,
        replacing: entry.replacing,
        consecutive_failures: entry.consecutive_failures,
        gave_up: entry.gave_up,
        workers: entry.workers.clone(),
        arrived: entry.arrived,
        ended: entry.ended,
        service_total: entry.service_total,
        last_start: entry.last_start,
        mean_start: entry.mean_start,
        mean_stop: entry.mean_stop,
        idle_ordinal: entry.idle_ordinal,
        next_tick: entry.next_tick,
        next_ask: entry.next_ask,
        uniform_ttl: entry.uniform_ttl,
        last_request: entry.last_request,
    }
}

fn host_state(host: &Host) -> HostState {
    let image = |(id, found): (&ImageId, &HostImage)| ImageState {
        id: *id,
        complete: found.complete,
        pulling: found.pulling,
        last_used: found.last_used,
        cached_at: found.cached_at,
        uses: found.uses,
    };
    HostState {
        spec: host.spec.clone(),
        up: host.up,
        usable_gpus: host.usable_gpus,
        workers: host.workers.clone(),
        waiting: host.waiting.iter().copied().collect(),
        images: host.images.iter().map(image).collect(),
    }
}
