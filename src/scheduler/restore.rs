//! A scheduler from its saved state: goes on exactly as the one that was saved would have.
//!
//! Names of workers, hosts, endpoints and jobs are checked against each other, so that a state that was cut, edited or put together
//! from two is refused here rather than met as a panic days later.

use super::endpoint::Endpoint;
use super::hosts::{Catalogue, Host, HostImage};
use super::job::{Jobs, Place};
use super::slab::Slab;
use super::state::{EndpointState, HostState, ImageState, STATE_FORMAT, SchedulerState, Table};
use super::worker::Worker;
use super::{Phase, Scheduler, SchedulerConfig, WorkerKind};
use crate::policy::{BadPolicyState, ParamError};
use crate::units::{EndpointId, HostId, JobId, WorkerId};

/// Why a saved state cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Written by another version.
    #[error("this state of the scheduler has format {found}; this program reads format {STATE_FORMAT}")]
    Format {
        /// Format of the state.
        found: u32,
    },
    /// A policy of an endpoint is not known any more, or its parameters are not allowed any more.
    #[error("endpoint `{endpoint}`: {error}")]
    Policy {
        /// Name of the endpoint.
        endpoint: String,
        /// What is wrong.
        error: ParamError,
    },
    /// What a policy has learned cannot be read by the policy of that name.
    #[error("endpoint `{endpoint}`: {error}")]
    PolicyState {
        /// Name of the endpoint.
        endpoint: String,
        /// What is wrong.
        error: BadPolicyState,
    },
    /// Two places of the state do not fit together.
    #[error("the state of the scheduler is damaged: {0}")]
    Damaged(String),
}

fn damaged<T>(what: String) -> Result<T, RestoreError> {
    Err(RestoreError::Damaged(what))
}

impl Scheduler {
    /// Goes on from a state.
    ///
    /// # Errors
    /// If the state has another format, names a policy that is not there, or contradicts itself.
    pub fn restore(state: SchedulerState) -> Result<Scheduler, RestoreError> {
        if state.format != STATE_FORMAT {
            return Err(RestoreError::Format { found: state.format });
        }
        let policy = |error| RestoreError::Policy { endpoint: String::new(), error };
        let mut scheduler = Scheduler::new(state.config).map_err(policy)?;
        scheduler.now = state.now;
        scheduler.workers = slab(state.workers, WorkerId::SLOT_BITS, "workers", |worker| worker.id.0)?;
        scheduler.jobs = slab(state.jobs, JobId::SLOT_BITS, "jobs", |job| job.id.0)?;
        check_references(&scheduler, state.endpoints.len(), state.hosts.len())?;
        for saved in state.endpoints {
            let id = EndpointId(scheduler.endpoints.len() as u32);
            let mut entry = endpoint(saved, &scheduler.config)?;
            take_workers(&mut entry, id, &scheduler.workers)?;
            scheduler.endpoints.push(entry);
        }
        take_jobs(&mut scheduler.endpoints, &scheduler.jobs);
        for saved in state.hosts {
            let id = HostId(scheduler.hosts.len() as u32);
            scheduler.hosts.push(host(id, saved, &scheduler.workers, &scheduler.catalogue)?);
        }
        check_membership(&scheduler)?;
        let worker_places = scheduler.workers.places();
        let (workers, endpoints) = (state.worker_deadlines, state.endpoint_deadlines);
        if !scheduler.worker_deadlines.restore(workers, worker_places)
            || !scheduler.endpoint_deadlines.restore(endpoints, scheduler.endpoints.len())
        {
            return damaged("a deadline is nobody's, or one has two".to_owned());
        }
        scheduler.commands = state.commands.into();
        Ok(scheduler)
    }
}

fn slab<T>(table: Table<T>, bits: u32, name: &str, id: fn(&T) -> u64) -> Result<Slab<T>, RestoreError> {
    let rows = table.rows.into_iter().map(|row| (id(&row), row));
    match Slab::restore(bits, rows, table.free, table.next_sequence) {
        Some(slab) => Ok(slab),
        None => damaged(format!("the ids of {name} do not fit the table that they are in")),
    }
}

/// Everything that a worker or job names exists, and names it back where it should.
fn check_references(scheduler: &Scheduler, endpoints: usize, hosts: usize) -> Result<(), RestoreError> {
    let Scheduler { workers, jobs, .. } = scheduler;
    for worker in workers.iter() {
        let id = worker.id;
        if worker.endpoint.index() >= endpoints || worker.host.is_some_and(|host| host.index() >= hosts) {
            return damaged(format!("{id} is of an endpoint or on a host that is not there"));
        }
        let needs_host = !matches!(worker.phase, Phase::Placing | Phase::Removed);
        if worker.phase == Phase::Removed || (needs_host && worker.host.is_none()) {
            return damaged(format!("{id} is removed, or has no host where it needs one"));
        }
        if worker.bound.is_some_and(|job| jobs.get(job.0).is_none_or(|job| job.place != Place::Bound(id))) {
            return damaged(format!("the job bound to {id} does not wait for it"));
        }
        for held in worker.held.iter().filter(|held| !held.stopping) {
            if jobs.get(held.job.0).is_none_or(|job| job.place != Place::Held(id)) {
                return damaged(format!("{} is held by {id} and does not know it", held.job));
            }
        }
    }
    for job in jobs.iter() {
        let known = match job.place {
            Place::Queued => true,
            Place::Bound(id) => workers.get(id.0).is_some_and(|worker| worker.bound == Some(job.id)),
            Place::Held(id) => workers
                .get(id.0)
                .is_some_and(|worker| worker.held.iter().any(|held| held.job == job.id && !held.stopping)),
        };
        if !known || job.endpoint.index() >= endpoints {
            return damaged(format!("{} is of an endpoint or with a worker that does not know it", job.id));
        }
    }
    Ok(())
}

/// Every worker is listed once by its endpoint, and once by its host.
fn check_membership(scheduler: &Scheduler) -> Result<(), RestoreError> {
    let live = scheduler.workers.len();
    let listed: usize = scheduler.endpoints.iter().map(|entry| entry.workers.len()).sum();
    let placed: usize = scheduler.hosts.iter().map(|host| host.workers.len()).sum();
    let with_host = scheduler.workers.iter().filter(|worker| worker.host.is_some()).count();
    if (listed, placed) != (live, with_host) {
        return damaged(format!("{live} workers, {listed} listed by endpoints; {with_host} placed, {placed} by hosts"));
    }
    Ok(())
}

fn endpoint(saved: EndpointState, config: &SchedulerConfig) -> Result<Endpoint, RestoreError> {
    let name = saved.spec.name.clone();
    let mut entry = Endpoint::new(saved.spec, config, saved.last_request)
        .map_err(|error| RestoreError::Policy { endpoint: name.clone(), error })?;
    let learned = |error| RestoreError::PolicyState { endpoint: name.clone(), error };
    entry.policies.scaling.load(&saved.scaling).map_err(learned)?;
    entry.policies.keep_alive.load(&saved.keep_alive).map_err(learned)?;
    entry.keeps_surplus = saved.keeps_surplus;
    entry.deleted = saved.deleted;
    entry.active = saved.active;
    entry.max = saved.max;
    entry.version = saved.version;
    entry.previous = saved.previous;
    entry.previous_version = saved.previous_version;
    entry.rolling = saved.rolling;
    entry.release_failures = saved.release_failures;
    entry.replacing = saved.replacing;
    entry.consecutive_failures = saved.consecutive_failures;
    entry.gave_up = saved.gave_up;
    entry.workers = saved.workers;
    entry.arrived = saved.arrived;
    entry.ended = saved.ended;
    entry.service_total = saved.service_total;
    entry.last_start = saved.last_start;
    // States written before there was a mean have none.
    entry.mean_start = saved.mean_start.or(saved.last_start);
    entry.mean_stop = saved.mean_stop;
    entry.idle_ordinal = saved.idle_ordinal;
    entry.next_tick = saved.next_tick;
    entry.next_ask = saved.next_ask;
    entry.uniform_ttl = saved.uniform_ttl;
    Ok(entry)
}

/// What an endpoint keeps of its workers beside their list.
fn take_workers(entry: &mut Endpoint, id: EndpointId, workers: &Slab<Worker>) -> Result<(), RestoreError> {
    let mut seen = entry.workers.clone();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != entry.workers.len() {
        return damaged(format!("{id} lists a worker twice"));
    }
    let mut replacing = 0;
    for worker in entry.workers.clone() {
        let Some(worker) = workers.get(worker.0).filter(|worker| worker.endpoint == id) else {
            return damaged(format!("{id} lists {worker}, which is not its own"));
        };
        entry.tally.add(worker.class());
        entry.extras += u32::from(worker.kind == WorkerKind::Extra);
        replacing += u32::from(worker.replacing);
        if let Some(key) = worker.available {
            entry.insert_available(key, worker.id);
        }
    }
    if replacing > entry.replacing {
        return damaged(format!("{id} counts {} workers in its rollout, there are {replacing}", entry.replacing));
    }
    Ok(())
}

/// Puts the jobs where they wait, and counts them.
fn take_jobs(endpoints: &mut [Endpoint], jobs: &Jobs) {
    let mut waiting: Vec<JobId> = Vec::new();
    for job in jobs.iter() {
        let entry = &mut endpoints[job.endpoint.index()];
        match job.place {
            Place::Queued => waiting.push(job.id),
            Place::Bound(_) => entry.bound += 1,
            Place::Held(_) => entry.in_progress += 1,
        }
        if job.own_ttl && !matches!(job.place, Place::Held(_)) {
            entry.own_ttls.insert((job.expires, job.id));
        }
    }
    waiting.sort_unstable();
    for job in waiting.into_iter().filter_map(|id| jobs.get(id.0)) {
        let entry = &mut endpoints[job.endpoint.index()];
        let queue = if job.low_priority { &mut entry.queue_low } else { &mut entry.queue };
        queue.insert(job.id);
    }
}

fn host(id: HostId, saved: HostState, workers: &Slab<Worker>, catalogue: &Catalogue) -> Result<Host, RestoreError> {
    let mut host = Host::bare(id, saved.spec);
    host.up = saved.up;
    host.usable_gpus = saved.usable_gpus;
    for image in saved.images {
        if host.images.contains_key(&image.id) {
            return damaged(format!("{id} has {} twice", image.id));
        }
        host.hold_layers(image.id, catalogue);
        host.pulls += u32::from(image.pulling);
        let ImageState { complete, pulling, last_used, cached_at, uses, .. } = image;
        host.images.insert(image.id, HostImage { complete, pulling, users: 0, last_used, cached_at, uses });
    }
    for name in saved.workers {
        let here = workers.get(name.0).filter(|worker| worker.host == Some(id) && !host.workers.contains(&name));
        let Some(worker) = here else { return damaged(format!("{id} lists {name} twice, or it is not there")) };
        host.workers.push(name);
        host.promised_gpus += worker.gpus;
        host.used_gpus += if worker.phase.holds_gpus() { worker.gpus } else { 0 };
        if let Some(found) = host.images.get_mut(&worker.image) {
            found.users += 1;
        }
    }
    for name in saved.waiting {
        let waits = |id: WorkerId| workers.get(id.0).is_some_and(|worker| worker.phase == Phase::Throttled);
        if !host.workers.contains(&name) || !waits(name) {
            return damaged(format!("{name} does not wait on {id}"));
        }
        host.waiting.push_back(name);
    }
    Ok(host)
}

#[cfg(test)]
mod tests;
