//! The whole picture after one event and its commands.

use thermocline::scheduler::{ExtraMode, Phase, WorkerKind};
use thermocline::units::{EndpointId, HostId, JobId, WorkerId};

use super::model::{JobNow, JobPlace, Model, WorkerNow};
use super::{Checker, Findings, about};

impl Checker {
    pub(super) fn end_batch(&mut self) {
        self.obligations();
        let mut found = Findings::new();
        for (id, worker) in &self.model.workers {
            judge_worker(&self.model, *id, worker, &mut found);
        }
        for (id, job) in &self.model.jobs {
            judge_job(&self.model, *id, job, &mut found);
        }
        self.report(found);
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
        let starting = |id: &WorkerId| self.model.workers.get(id).is_some_and(|worker| worker.is(Phase::Starting));
        if let Some(id) = batch.must_be_up.filter(starting) {
            self.broken(1, about!(id), format!("{id} is ready and still counts as starting"));
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
        let now = self.model.now;
        let endpoint = &self.model.endpoints[id.index()];
        let count =
            |of: &dyn Fn(&WorkerNow) -> bool| self.model.workers_of(id).filter(|(_, worker)| of(worker)).count() as u32;
        // Extra workers on their way out no longer count: the setting may have gone down.
        let extras = count(&|worker| worker.kind == WorkerKind::Extra && !worker.leaving());
        let own = count(&|worker| worker.kind != WorkerKind::Extra);
        let staying = count(&|worker| !worker.leaving());
        let up = count(&|worker| worker.holds_gpus() && !worker.leaving());
        let active = count(&|worker| worker.kind == WorkerKind::Active && !worker.leaving());
        let awake = count(&|worker| worker.is(Phase::Ready) || worker.is(Phase::Starting));
        let replaced = count(&|worker| worker.outdated && worker.leaving() && !worker.surplus);
        let extra = if endpoint.max == 0 { 0 } else { endpoint.spec.extra };
        let (most, max, floor, batch) = (endpoint.max + extra, endpoint.max, endpoint.active, endpoint.rollout_batch());
        // An extra worker that replaces one with a fault may still be up when that one comes back.
        let running = if endpoint.spec.extra_mode == ExtraMode::PrecacheOnly { max } else { most };
        let before = endpoint.count_before;
        let mut found = Findings::new();
        let mut broken = |rule: u8, text: String| found.push((rule, about!(id).to_vec(), text));
        if extras > extra && extras > before.0 {
            broken(6, format!("{id} has {extras} extra workers, at most {extra} are allowed"));
        }
        if own > max && own > before.1 {
            broken(6, format!("{id} has {own} workers that are not extra, at most {max} are allowed"));
        }
        if staying > most {
            broken(6, format!("{staying} workers of {id} stay, at most {most} are allowed"));
        }
        if up > running {
            broken(7, format!("{up} workers of {id} are up, at most {running} may be"));
        }
        if active > floor {
            broken(8, format!("{active} workers of {id} are of kind active, {floor} should be"));
        }
        if replaced > batch && replaced > endpoint.replaced_before {
            broken(11, format!("{replaced} outdated workers of {id} leave at once, {batch} may"));
        }
        self.report(found);
        let entry = &mut self.model.endpoints[id.index()];
        entry.count_before = (extras, own);
        entry.replaced_before = replaced;
        entry.above_floor_since = (awake > floor).then(|| entry.above_floor_since.unwrap_or(now));
    }
}

fn judge_worker(model: &Model, id: WorkerId, worker: &WorkerNow, found: &mut Findings) {
    let mut broken = |rule: u8, text: String| found.push((rule, about!(id).to_vec(), text));
    let Some(phase) = worker.phase else {
        return broken(1, format!("{id} was placed without a phase"));
    };
    let Some(endpoint) = model.endpoint(worker.endpoint).filter(|_| phase != Phase::Removed) else { return };
    if worker.alive != worker.holds_gpus() {
        broken(1, format!("{id} is {phase:?}, its start {} lives: {}", worker.epoch, worker.alive));
    }
    if phase == Phase::Stopping && worker.stop.is_none() {
        broken(40, format!("{id} is stopping, but nobody told it to"));
    }
    if worker.in_hand() > 0 && !matches!(phase, Phase::Ready | Phase::Draining) {
        broken(5, format!("{id} is {phase:?} and holds {:?} {:?}", worker.jobs, worker.stopping));
    }
    if worker.outdated != (worker.version != endpoint.version) {
        let newest = endpoint.version;
        broken(12, format!("{id} has version {} of {newest}, outdated {}", worker.version, worker.outdated));
    }
    let Some((place, host)) = worker.host.and_then(|host| Some((host, model.host(host)?))) else {
        if !matches!(phase, Phase::Placing | Phase::Throttled | Phase::Unhealthy) {
            broken(1, format!("{id} is {phase:?} without a host"));
        }
        return;
    };
    if phase == Phase::Placing {
        broken(1, format!("{id} looks for a host and is on {place}"));
    }
    if !host.up {
        broken(27, format!("{id} is {phase:?} on {place}, which is lost"));
    }
    let image = endpoint.releases.get(&worker.version).map(|spec| spec.image);
    let needs_image = worker.holds_gpus() || matches!(phase, Phase::Asleep | Phase::Frozen);
    if needs_image && image.is_none_or(|image| !host.complete.contains(&image)) {
        broken(20, format!("{id} is {phase:?} on {place} without its image {image:?}"));
    }
    if phase == Phase::Pulling && image.is_none_or(|image| !host.pulling.contains_key(&image)) {
        broken(20, format!("{id} waits on {place} for {image:?}, which is not on its way"));
    }
}

fn judge_job(model: &Model, id: JobId, job: &JobNow, found: &mut Findings) {
    let JobPlace::Held { worker, epoch, attempt, .. } = job.place else { return };
    let held = model.workers.get(&worker).is_some_and(|holder| {
        holder.alive && holder.epoch == epoch && holder.jobs.get(&id) == Some(&attempt) && !holder.is(Phase::Removed)
    });
    if !held {
        found.push((4, about!(id, worker).to_vec(), format!("{id} is with {worker}, start {epoch}, which is over")));
    }
}
