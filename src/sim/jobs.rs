//! Jobs that have no outcome yet, as the clients know them: memory grows with the live ones, not with all that ever were.

use crate::units::{EndpointId, JobId};
use crate::workload::WorkHint;

/// A job from its submission to its outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveJob {
    /// The driver's number: sequence and place, packed as in [`JobId`].
    pub client_ref: u64,
    /// Where it was submitted.
    pub endpoint: EndpointId,
    /// Number of the job among those submitted to the endpoint: the key of its draws.
    pub index: u64,
    /// Which source of the endpoint's traffic it came from; none for fed jobs.
    pub source: u32,
    /// What is known of its work.
    pub work: WorkHint,
    /// The scheduler's id, once accepted.
    pub job: Option<JobId>,
}

/// Source of jobs that another endpoint's output became.
pub(super) const FED: u32 = u32::MAX;

/// The table of live jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    table: Vec<Option<LiveJob>>,
    free: Vec<u32>,
    submitted: u64,
}

impl Jobs {
    /// Enters a job and numbers it.
    #[inline]
    pub fn submit(&mut self, endpoint: EndpointId, index: u64, source: u32, work: WorkHint) -> u64 {
        let slot = match self.free.pop() {
            Some(slot) => slot as usize,
            None => {
                self.table.push(None);
                self.table.len() - 1
            }
        };
        let client_ref = JobId::new(self.submitted, slot).0;
        self.submitted += 1;
        self.table[slot] = Some(LiveJob { client_ref, endpoint, index, source, work, job: None });
        client_ref
    }

    /// The live job of this number.
    #[inline]
    pub fn get_mut(&mut self, client_ref: u64) -> Option<&mut LiveJob> {
        self.table.get_mut(JobId(client_ref).slot())?.as_mut().filter(|job| job.client_ref == client_ref)
    }

    /// Takes out a job that has its outcome; none if it had one before.
    #[inline]
    pub fn end(&mut self, client_ref: u64) -> Option<LiveJob> {
        let slot = JobId(client_ref).slot();
        let job = self.table.get_mut(slot)?.take_if(|job| job.client_ref == client_ref)?;
        self.free.push(slot as u32);
        Some(job)
    }

    /// Jobs without an outcome.
    #[inline]
    pub fn live(&self) -> u64 {
        (self.table.len() - self.free.len()) as u64
    }

    /// Jobs ever submitted.
    #[inline]
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Every live job, in no particular order of submission (but the same in every run).
    pub fn iter(&self) -> impl Iterator<Item = &LiveJob> {
        self.table.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_but_a_number_never() {
        let mut jobs = Jobs::default();
        let first = jobs.submit(EndpointId(0), 0, 0, WorkHint::default());
        let second = jobs.submit(EndpointId(0), 1, 0, WorkHint::default());
        assert!(jobs.end(first).is_some());
        assert!(jobs.end(first).is_none(), "an outcome comes once");
        let third = jobs.submit(EndpointId(0), 2, 0, WorkHint::default());
        assert_eq!(JobId(third).slot(), JobId(first).slot());
        assert!(jobs.get_mut(first).is_none());
        assert_eq!(jobs.get_mut(second).map(|job| job.index), Some(1));
        assert_eq!((jobs.live(), jobs.submitted()), (2, 3));
    }
}
