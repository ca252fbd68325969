//! Jobs and the queue of an endpoint.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::compact::as_array;
use super::slab::Slab;
use crate::units::{EndpointId, JobId, Span, Time, WorkerId};

/// Where a live job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// In its endpoint's queue.
    Queued,
    /// Waits for the worker that its arrival started (early binding).
    Bound(WorkerId),
    /// Handed to a worker.
    Held(WorkerId),
}

/// A job without an outcome yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) endpoint: EndpointId,
    pub(super) client_ref: u64,
    pub(super) submitted: Time,
    /// Its TTL ends here.
    pub(super) expires: Time,
    /// Longest run of an attempt; `Span::MAX` = no limit.
    pub(super) execution_timeout: Span,
    pub(super) low_priority: bool,
    /// `expires` is kept in the endpoint's ordered set, because it does not follow the order of the queue.
    pub(super) own_ttl: bool,
    pub(super) place: Place,
    /// Attempts handed out: the fencing token of the latest one.
    pub(super) attempt: u32,
    /// Attempts that ended with their worker.
    pub(super) losses: u32,
    /// Hand-outs that never arrived.
    pub(super) take_losses: u32,
    /// Who had the latest attempt.
    pub(super) last_worker: Option<WorkerId>,
}

as_array!(Job {
    id,
    endpoint,
    client_ref,
    submitted,
    expires,
    execution_timeout,
    low_priority,
    own_ttl,
    place,
    attempt,
    losses,
    take_losses,
    last_worker,
});

/// The live jobs.
pub(super) type Jobs = Slab<Job>;

/// Jobs of one priority in order of acceptance (job ids are in that order, so a requeued job finds its old place by its id).
/// Cancelled entries stay until they come to the front or are more than half of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    ids: VecDeque<JobId>,
    live: u32,
}

impl Queue {
    /// Jobs that wait.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.live
    }

    /// Puts a job at its place: the end for a new one.
    #[inline]
    pub(super) fn insert(&mut self, id: JobId) {
        self.live += 1;
        if self.ids.back().is_none_or(|last| *last < id) {
            self.ids.push_back(id);
            return;
        }
        let place = self.ids.partition_point(|other| *other < id);
        if self.ids.get(place) != Some(&id) {
            self.ids.insert(place, id);
        }
    }

    /// The job at the front.
    #[inline]
    pub(super) fn front(&mut self, jobs: &Jobs) -> Option<JobId> {
        while let Some(id) = self.ids.front() {
            if waits(jobs, *id) {
                return Some(*id);
            }
            self.ids.pop_front();
        }
        None
    }

    /// Takes the job at the front out.
    #[inline]
    pub(super) fn pop_front(&mut self) {
        self.ids.pop_front();
        self.live -= 1;
    }

    /// Notes that a job somewhere in the queue no longer waits (its place in `jobs` has been changed already).
    pub(super) fn forget(&mut self, jobs: &Jobs) {
        self.live -= 1;
        if self.ids.len() > 64 && self.ids.len() > 2 * self.live as usize {
            self.ids.retain(|id| waits(jobs, *id));
        }
    }

    /// Every job that waits, oldest first.
    pub(super) fn iter<'a>(&'a self, jobs: &'a Jobs) -> impl Iterator<Item = &'a Job> {
        self.ids.iter().filter_map(move |id| jobs.get(id.0).filter(|job| job.place == Place::Queued))
    }

    /// How many have waited since before `limit`.
    pub(super) fn submitted_before(&self, limit: Time, jobs: &Jobs) -> u32 {
        self.iter(jobs).take_while(|job| job.submitted < limit).count() as u32
    }
}

fn waits(jobs: &Jobs, id: JobId) -> bool {
    jobs.get(id.0).is_some_and(|job| job.place == Place::Queued)
}
