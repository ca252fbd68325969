//! What the plan makes happen at given times.

use super::plan::ActionKind;
use super::world::World;
use crate::scheduler::Event;
use crate::units::{EndpointId, JobId, Time};

impl World {
    /// Does it, and tells the scheduler.
    pub(super) fn perform(&mut self, now: Time, action: &ActionKind) {
        match action {
            ActionKind::Update { endpoint, spec, release } => {
                self.endpoints[endpoint.index()].update(spec, release);
                self.outbox.push_back(Event::EndpointUpdated { endpoint: *endpoint, spec: spec.clone() });
            }
            ActionKind::Delete { endpoint } => {
                self.endpoints[endpoint.index()].deleted = true;
                self.outbox.push_back(Event::EndpointDeleted { endpoint: *endpoint });
            }
            ActionKind::Purge { endpoint } => self.outbox.push_back(Event::PurgeRequested { endpoint: *endpoint }),
            ActionKind::CancelOldest { endpoint } => {
                if let Some(job) = self.oldest_job(*endpoint) {
                    self.outbox.push_back(Event::CancelRequested { job });
                }
            }
            ActionKind::LoseHost { host } => self.lose_host(now, *host),
            ActionKind::ReturnHost { host } => self.return_host(now, *host),
            ActionKind::SetCapacity { host, gpus } => {
                let place = &mut self.hosts[host.index()];
                place.reserved = place.gpus.saturating_sub(*gpus);
                self.tell_capacity(now, *host);
            }
        }
    }

    /// The accepted job that has waited longest; when none waits, the one that was accepted first.
    fn oldest_job(&self, endpoint: EndpointId) -> Option<JobId> {
        let of_endpoint = self.jobs.iter().filter(|job| job.endpoint == endpoint).filter_map(|job| job.job);
        let mut jobs: Vec<JobId> = of_endpoint.collect();
        jobs.sort_unstable();
        let in_hand =
            |job: &JobId| self.workers.iter().any(|worker| worker.attempts.iter().any(|attempt| attempt.job == *job));
        jobs.iter().copied().find(|job| !in_hand(job)).or(jobs.first().copied())
    }
}
