//! The whole picture after one event and its commands.

use thermocline::scheduler::{ExtraMode, Phase, WorkerKind};
use thermocline::units::{EndpointId, HostId, JobId, WorkerId};

use super::model::JobPlace;
use super::{Checker, about};

impl Checker {
    pub(super) fn end_batch(&mut self) {
        self.obligations();
        let workers: Vec<WorkerId> = self.model.workers.keys().copied().collect();
        for worker in workers {
            self.judge_worker(worker);
        }
        let held: Vec<JobId> = self.model.jobs.keys().copied().collect();
        for job in held {
            self.judge_job(job);
        }
        self.model.workers.retain(|_, worker| !worker.is(Phase::Removed));
        for host in 0..self.model.hosts.len() {
            self.judge_host(HostId(host as u32));
        }
        for endpoint in 0..self.model.endpoints.len() {
            self.judge_endpoint(EndpointId(endpoint as u32));
        }
    }

    /// Everything that the event made compulsory has been done.
    fn obligations(&mut self) {
        let Some(batch) = self.model.batch.clone() else { return };
        if let Some((endpoint, client_ref)) = batch.must_answer {
            self.broken(24, &[], format!("job {client_ref} for {endpoint} got no answer"));
        }
        for (job, outcome, cause) in batch.must_finish {
            self.broken(24, about!(job), format!("{job} must end as {outcome:?} for {cause} and did not"));
        }
        for (job, cause) in batch.must_leave {
            if self.model.jobs.contains_key(&job) {
                self.broken(33, about!(job), format!("{job} must leave its worker ({cause}) and did not"));
            }
        }
        for (job, worker) in batch.must_stop {
            let gone = self.model.workers.get(&worker).is_none_or(|found| !found.alive || found.stop.is_some());
            if !gone && !batch.stops.contains(&(job, worker)) {
                self.broken(40, about!(job, worker), format!("{worker} is not told that {job} has ended"));
            }
        }
    }

    fn judge_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.model.workers.get(&id).cloned() else { return };
        let Some(phase) = worker.phase else {
            return self.broken(1, about!(id), format!("{id} was placed without a phase"));
        };
        if phase == Phase::Removed {
            return;
        }
        let Some(endpoint) = self.model.endpoint(worker.endpoint).cloned() else { return };
        if worker.alive != worker.holds_gpus() {
            self.broken(
                1,
                about!(id),
                format!("{id} is {phase:?}, its start {} lives: {}", worker.epoch, worker.alive),
            );
        }
        if worker.in_hand() > 0 && !matches!(phase, Phase::Ready | Phase::Draining) {
            self.broken(5, about!(id), format!("{id} is {phase:?} and holds {:?} {:?}", worker.jobs, worker.stopping));
        }
        if worker.outdated != (worker.version != endpoint.version) {
            let text =
                format!("{id} has version {} of {}, outdated {}", worker.version, endpoint.version, worker.outdated);
            self.broken(12, about!(id), text);
        }
        let host = worker.host.and_then(|host| self.model.host(host).map(|found| (host, found.clone())));
        if let Some((host, found)) = &host {
            if !found.up {
                self.broken(27, about!(id, host), format!("{id} is {phase:?} on {host}, which is lost"));
            }
            let needs_image = worker.holds_gpus() || matches!(phase, Phase::Asleep | Phase::Frozen);
            let image = endpoint.releases.get(&worker.version).map(|spec| spec.image);
            if needs_image && image.is_none_or(|image| !found.complete.contains(&image)) {
                self.broken(20, about!(id, host), format!("{id} is {phase:?} on {host} without its image {image:?}"));
            }
            if phase == Phase::Pulling && image.is_none_or(|image| !found.pulling.contains_key(&image)) {
                self.broken(
                    20,
                    about!(id, host),
                    format!("{id} waits on {host} for {image:?}, which is not on its way"),
                );
            }
        } else if !matches!(phase, Phase::Placing | Phase::Throttled | Phase::Unhealthy) {
            self.broken(1, about!(id), format!("{id} is {phase:?} without a host"));
        }
    }

    fn judge_job(&mut self, id: JobId) {
        let Some(job) = self.model.jobs.get(&id).cloned() else { return };
        let JobPlace::Held { worker, epoch, attempt, .. } = job.place else { return };
        let held = self.model.workers.get(&worker).is_some_and(|found| {
            found.alive && found.epoch == epoch && found.jobs.get(&id) == Some(&attempt) && !found.is(Phase::Removed)
        });
        if !held {
            self.broken(4, about!(id, worker), format!("{id} is with {worker}, start {epoch}, which is over"));
        }
    }

    fn judge_host(&mut self, id: HostId) {
        let held = self.model.gpus_held(id);
        let host = &mut self.model.hosts[id.index()];
        let (limit, before) = (host.gpus, host.held_before);
        host.held_before = held;
        if held > limit && held > before {
            self.broken(2, about!(id), format!("workers on {id} hold {held} GPUs, {limit} may be used"));
        }
    }

    fn judge_endpoint(&mut self, id: EndpointId) {
        let endpoint = self.model.endpoints[id.index()].clone();
        let workers: Vec<_> = self.model.workers_of(id).map(|(_, worker)| worker.clone()).collect();
        let count = workers.len() as u32;
        let own = workers.iter().filter(|worker| worker.kind != WorkerKind::Extra).count() as u32;
        let extra = if endpoint.deleted || endpoint.max == 0 { 0 } else { endpoint.spec.extra };
        let (most, max) = (endpoint.max + extra, endpoint.max);
        if count > most && count > endpoint.count_before.0 {
            self.broken(6, about!(id), format!("{id} has {count} workers, at most {most} are allowed"));
        }
        if own > max && own > endpoint.count_before.1 {
            self.broken(6, about!(id), format!("{id} has {own} workers that are not extra, at most {max} are allowed"));
        }
        let now = self.model.now;
        let entry = &mut self.model.endpoints[id.index()];
        entry.count_before = (count, own);
        let awake =
            workers.iter().filter(|worker| worker.is(Phase::Ready) || worker.is(Phase::Starting)).count() as u32;
        entry.above_floor_since = (awake > entry.active).then(|| entry.above_floor_since.unwrap_or(now));
        let staying = workers.iter().filter(|worker| !worker.leaving()).count() as u32;
        if staying > most {
            self.broken(6, about!(id), format!("{staying} workers of {id} stay, at most {most} are allowed"));
        }
        let up = workers.iter().filter(|worker| worker.holds_gpus() && !worker.leaving()).count() as u32;
        let running = if endpoint.spec.extra_mode == ExtraMode::Burst { most } else { max };
        if up > running {
            self.broken(7, about!(id), format!("{up} workers of {id} are up, at most {running} may be"));
        }
        let active =
            workers.iter().filter(|worker| worker.kind == WorkerKind::Active && !worker.leaving()).count() as u32;
        if active > endpoint.active {
            let allowed = endpoint.active;
            self.broken(8, about!(id), format!("{active} workers of {id} are of kind active, {allowed} should be"));
        }
        let replaced = workers.iter().filter(|worker| worker.outdated && worker.leaving()).count() as u32;
        if replaced > endpoint.rollout_batch() && !endpoint.deleted && staying + replaced <= most {
            let batch = endpoint.rollout_batch();
            self.broken(11, about!(id), format!("{replaced} outdated workers of {id} leave at once, {batch} may"));
        }
    }
}
