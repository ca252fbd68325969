//! The saved form of a follower: live rows only, jobs as arrays.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Follower, Known, Lingering, NO_JOB, NO_WORKER, unplaced};
use crate::scheduler::WorkerReason;
use crate::scheduler::watch::{LiveJob, Member, Watcher};

/// Version of the saved form.
const FORMAT: u32 = 1;
/// Places of a table that a saved row may be at: as many as ids have.
const PLACES_MAX: usize = 1 << 24;

#[derive(Serialize)]
struct Saving<'a, W> {
    format: u32,
    endpoints: &'a [Known],
    hosts: u32,
    workers: Vec<(&'a Member, Option<WorkerReason>)>,
    jobs: Vec<&'a LiveJob>,
    lingering: &'a [Lingering],
    watcher: &'a W,
}

#[derive(Deserialize)]
struct Saved<W> {
    format: u32,
    endpoints: Vec<Known>,
    hosts: u32,
    workers: Vec<(Member, Option<WorkerReason>)>,
    jobs: Vec<LiveJob>,
    lingering: Vec<Lingering>,
    watcher: W,
}

impl<W: Serialize> Serialize for Follower<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let workers = self.workers.iter().zip(self.asked.iter().copied());
        let saving = Saving {
            format: FORMAT,
            endpoints: &self.endpoints,
            hosts: self.hosts,
            workers: workers.filter(|(worker, _)| worker.id != NO_WORKER).collect(),
            jobs: self.jobs.iter().filter(|job| job.id != NO_JOB).collect(),
            lingering: &self.lingering,
            watcher: &self.watcher,
        };
        saving.serialize(serializer)
    }
}

impl<'de, W: Watcher + Deserialize<'de>> Deserialize<'de> for Follower<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Follower<W>, D::Error> {
        let saved = Saved::deserialize(deserializer)?;
        if saved.format != FORMAT {
            return Err(D::Error::custom(format!("format {}, this program reads format {FORMAT}", saved.format)));
        }
        let mut follower = Follower::new(saved.watcher);
        (follower.endpoints, follower.hosts, follower.lingering) = (saved.endpoints, saved.hosts, saved.lingering);
        for (worker, asked) in saved.workers {
            let slot = worker.id.slot();
            if slot >= follower.workers.len() {
                let empty = unplaced(NO_WORKER, worker.endpoint, worker.kind, worker.created);
                follower.workers.resize(slot + 1, empty);
                follower.asked.resize(slot + 1, None);
            }
            (follower.workers[slot], follower.asked[slot]) = (worker, asked);
        }
        for job in saved.jobs {
            let slot = job.id.slot();
            if slot >= PLACES_MAX {
                return Err(D::Error::custom(format!("{} is no job", job.id)));
            }
            if slot >= follower.jobs.len() {
                follower.jobs.resize(slot + 1, LiveJob { id: NO_JOB, ..job.clone() });
            }
            follower.jobs[slot] = job;
        }
        Ok(follower)
    }
}
