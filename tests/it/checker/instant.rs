//! What must hold when time moves on: nothing that could happen at that instant is left undone.

use thermocline::scheduler::{Binding, EndpointSpec, Phase, PickUp, TtlRunning, WorkerKind};
use thermocline::units::{EndpointId, JobId, Span, Time, WorkerId};

use super::model::{EndpointNow, JobNow, JobPlace, Model, WorkerNow};
use super::{Checker, Findings, about};

impl Checker {
    pub(super) fn end_instant(&mut self) {
        let mut seen = Instant { model: &self.model, found: Findings::new() };
        for (id, job) in &self.model.jobs {
            seen.job_in_time(*id, job);
        }
        for (id, worker) in &self.model.workers {
            seen.worker_in_time(*id, worker);
            seen.no_room_for_throttled(*id, worker);
        }
        for endpoint in 0..self.model.endpoints.len() {
            let id = EndpointId(endpoint as u32);
            seen.work_conserved(id);
            seen.active_kept(id);
        }
        let found = seen.found;
        self.report(found);
    }
}

/// The picture at the end of an instant, and what is wrong with it.
struct Instant<'a> {
    model: &'a Model,
    found: Findings,
}

impl Instant<'_> {
    fn broken(&mut self, rule: u8, about: &[String], text: String) {
        self.found.push((rule, about.to_vec(), text));
    }

    /// Rule 22.
    fn job_in_time(&mut self, id: JobId, job: &JobNow) {
        let now = self.model.now;
        let spec = &self.model.endpoints[job.endpoint.index()].spec;
        let ttl_over = job.expires <= now && job.expires != Time::MAX;
        match job.place {
            JobPlace::Queued if ttl_over => {
                self.broken(22, about!(id), format!("{id} still waits at {now} s, its TTL ended at {} s", job.expires));
            }
            JobPlace::Held { .. } if ttl_over && spec.ttl_running == TtlRunning::TimedOut => {
                self.broken(22, about!(id), format!("{id} still runs at {now} s, its TTL ended at {} s", job.expires));
            }
            JobPlace::Held { since, .. } => {
                let longest = match job.timeouts {
                    (Some(one), Some(other)) => Some(one.max(other)),
                    _ => None,
                };
                if longest.is_some_and(|longest| since + longest <= now) {
                    self.broken(22, about!(id), format!("{id} still runs at {now} s, since {since} s, {longest:?}"));
                }
            }
            JobPlace::Queued => {}
        }
    }

    fn worker_in_time(&mut self, id: WorkerId, worker: &WorkerNow) {
        let now = self.model.now;
        let endpoint = &self.model.endpoints[worker.endpoint.index()];
        let spec = &endpoint.spec;
        if worker.is(Phase::Unhealthy) && worker.retry_at.is_some_and(|at| at <= now) {
            self.broken(
                18,
                about!(id),
                format!("{id} is unhealthy at {now} s, its backoff ended: {:?}", worker.retry_at),
            );
        }
        if worker.is(Phase::Starting) && worker.ready_until <= now && worker.ready_until != Time::MAX {
            self.broken(22, about!(id), format!("{id} starts since {} s, longer than its init timeout", worker.since));
        }
        if worker.is(Phase::Draining) && worker.in_hand() == 0 {
            self.broken(40, about!(id), format!("{id} drains with nothing in hand"));
        }
        let ignored = worker.stopping.iter().find(|(_, (_, until))| *until <= now);
        if let Some((job, (_, until))) = ignored {
            self.broken(40, about!(id, job), format!("{id} has had until {until} s to let go of {job}"));
        }
        if let Some(lease) = spec.lease
            && !worker.jobs.is_empty()
            && worker.last_heard + lease <= now
        {
            self.broken(
                33,
                about!(id),
                format!("{id} holds {:?} and was last heard at {} s", worker.jobs, worker.last_heard),
            );
        }
        if let Some(longest) = longest_timeout(endpoint)
            && self.idles(worker, endpoint)
            && endpoint.above_floor_since.is_some_and(|since| {
                // One that stood in for an active worker is looked at again after another timeout, at least a second.
                let relieved = since + longest.max(Span::SECOND);
                relieved.max(worker.idle_since.max(endpoint.changed) + longest) < now
            })
        {
            self.broken(9, about!(id), format!("{id} is idle since {} s, its timeout is {longest}", worker.idle_since));
        }
    }

    /// The worker's idle timer runs and nothing keeps it: no job, and no active worker for which it stands in.
    fn idles(&self, worker: &WorkerNow, endpoint: &EndpointNow) -> bool {
        worker.is(Phase::Ready)
            && worker.in_hand() == 0
            && worker.kind != WorkerKind::Active
            && !worker.outdated
            && endpoint.spec.binding == Binding::Late
            && matches!(endpoint.spec.policies.scaling.name.as_str(), "queue_delay" | "per_job")
            && self.model.queue(worker.endpoint).next().is_none()
    }

    /// Rule 26: the first of those who wait for a host's GPUs must not fit.
    fn no_room_for_throttled(&mut self, id: WorkerId, worker: &WorkerNow) {
        let Some(host_id) = worker.host.filter(|_| worker.is(Phase::Throttled)) else { return };
        let waits = |other: &&WorkerNow| other.is(Phase::Throttled) && other.host == Some(host_id);
        let waiting = || self.model.workers.values().filter(waits);
        let first = waiting().all(|other| worker.since <= other.since);
        let tie = waiting().filter(|other| other.since == worker.since).count() > 1;
        let wanted = self.model.release_of(worker).map_or(0, |spec| spec.gpus_per_worker);
        let free = self.model.host(host_id).map_or(0, |host| host.gpus.saturating_sub(self.model.gpus_held(host_id)));
        if first && !tie && wanted <= free {
            self.broken(26, about!(id), format!("{id} is throttled on {host_id}, where {free} GPUs are free"));
        }
    }

    /// Rule 15.
    fn work_conserved(&mut self, id: EndpointId) {
        let endpoint = &self.model.endpoints[id.index()];
        if endpoint.spec.binding == Binding::Early || endpoint.deleted {
            return;
        }
        let current_up = self.model.workers_of(id).any(|(_, worker)| !worker.outdated && worker.is(Phase::Ready));
        let idle: Vec<WorkerId> = self
            .model
            .workers_of(id)
            .filter(|(_, worker)| takes(worker, &endpoint.spec) && (!worker.outdated || !current_up))
            .map(|(id, _)| *id)
            .collect();
        let stuck = self.model.queue(id).find_map(|(job, waiting)| {
            let worker = idle.iter().find(|worker| waiting.avoid != Some(**worker) && !waiting.may_be_bound)?;
            Some((*job, *worker))
        });
        if let Some((job, worker)) = stuck {
            self.broken(15, about!(job, worker), format!("{job} waits although {worker} could take it"));
        }
    }

    /// Rule 8: no worker sleeps while fewer are up or coming than are always on.
    fn active_kept(&mut self, id: EndpointId) {
        let floor = self.model.endpoints[id.index()].active;
        // One that is stopped counts until it has: only then is it known whether it comes back.
        let coming = |worker: &WorkerNow| {
            !matches!(worker.phase, Some(Phase::Asleep | Phase::Frozen | Phase::Unhealthy | Phase::Removed))
        };
        let asleep = |worker: &WorkerNow| worker.is(Phase::Asleep) || worker.is(Phase::Frozen);
        let up = self.model.workers_of(id).filter(|(_, worker)| coming(worker)).count() as u32;
        let sleeper = self.model.workers_of(id).find(|(_, worker)| asleep(worker) && worker.kind != WorkerKind::Extra);
        if let Some(sleeper) = sleeper.map(|(id, _)| *id).filter(|_| up < floor) {
            self.broken(
                8,
                about!(id, sleeper),
                format!("{up} of {floor} active workers of {id} are up, {sleeper} sleeps"),
            );
        }
    }
}

/// The worker would take a job at once.
fn takes(worker: &WorkerNow, spec: &EndpointSpec) -> bool {
    worker.is(Phase::Ready)
        && !worker.refresh
        && worker.in_hand() < spec.concurrency
        && (spec.pick_up == PickUp::Push || worker.open > 0)
}

/// The longest idle timeout that may apply; `None` when it is not known or there is none.
fn longest_timeout(endpoint: &EndpointNow) -> Option<Span> {
    EndpointNow::fixed_idle_timeout(&endpoint.spec)?;
    let timeouts: Option<Vec<Span>> = endpoint.idle_timeouts.iter().copied().collect();
    timeouts?.into_iter().max()
}
