//! Commands about jobs, images and endpoints: is each one allowed at that moment, and what does it do to the picture.

use std::collections::BTreeMap;

use thermocline::scheduler::{
    Binding, Command, Event, ExitCause, FinishCause, JobOutcome, Phase, PickUp, RejectReason, ReleaseStatus,
    RequeueCause, ScaleReason, StopMode,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Span, Time, WorkerId};

use super::events::own;
use super::model::{JobNow, JobPlace};
use super::{Checker, about};

/// Hand-outs that may be lost before the job counts as undeliverable.
const MOST_LOST_TAKES: u32 = 10;
/// A pull of which nothing was heard for this long may be asked for again.
const PULL_FORGOTTEN_AFTER: Span = Span::from_whole_secs(600);

impl Checker {
    pub(super) fn judge_command(&mut self, command: &Command) {
        let Some(batch) = self.model.batch.as_mut() else { return };
        batch.commands += 1;
        if let Some(why) = batch.stale {
            let event = batch.event.clone();
            self.broken(29, &[], format!("{command:?} follows from {event:?}, but {why}"));
        }
        match command {
            Command::PullImage { host, image } => self.pull(*host, *image),
            Command::EvictImage { host, image } => self.evict(*host, *image),
            Command::StartWorker { .. } | Command::WorkerPlaced { .. } | Command::WorkerChanged { .. } => {
                self.judge_worker_command(command);
            }
            Command::StopWorker { worker, epoch, mode } => self.stop_worker(*worker, *epoch, *mode),
            Command::AssignJob { job, client_ref, worker, epoch, attempt } => {
                self.assign(*job, *client_ref, *worker, *epoch, *attempt);
            }
            Command::StopJob { job, worker, epoch, attempt } => self.stop_job(*job, *worker, *epoch, *attempt),
            Command::AcceptJob { job, endpoint, client_ref } => self.accept(*job, *endpoint, *client_ref),
            Command::RejectJob { endpoint, client_ref, reason } => self.reject(*endpoint, *client_ref, *reason),
            Command::RequeueJob { job, worker, cause } => self.requeue(*job, *worker, *cause),
            Command::FinishJob { job, client_ref, outcome, cause } => {
                self.finish_job(*job, *client_ref, *outcome, *cause);
            }
            Command::ScaleDecided { endpoint, from, to, reason, trigger } => {
                self.scaled(*endpoint, *from, *to, *reason, *trigger);
            }
            Command::ReleaseChanged { endpoint, version, status } => self.release(*endpoint, *version, *status),
            Command::BoundsChanged { endpoint, active, max, reason } => self.bounds(*endpoint, *active, *max, *reason),
        }
    }

    fn pull(&mut self, host: HostId, image: ImageId) {
        let now = self.model.now;
        let Some(found) = self.model.host(host).filter(|found| found.up) else {
            return self.broken(27, about!(host), format!("a pull of {image} on {host}, which is lost or unknown"));
        };
        let asked_long_ago = |asked: &Time| now.since(*asked) >= PULL_FORGOTTEN_AFTER;
        if found.complete.contains(&image) || found.pulling.get(&image).is_some_and(|asked| !asked_long_ago(asked)) {
            return self.broken(20, about!(host), format!("{image} is on {host}, or on its way there, already"));
        }
        let before: Vec<ImageId> = found.complete.iter().chain(found.pulling.keys()).copied().collect();
        let used = self.model.disk_bytes(before.iter());
        let with = self.model.disk_bytes(before.iter().chain([&image]));
        if with > found.spec.disk_bytes && with > used {
            let disk = found.spec.disk_bytes;
            self.broken(2, about!(host), format!("with {image} the images on {host} take {with} of {disk} bytes"));
        }
        self.model.hosts[host.index()].pulling.insert(image, now);
    }

    fn evict(&mut self, host: HostId, image: ImageId) {
        let Some(found) = self.model.hosts.get_mut(host.index()) else {
            return self.broken(27, about!(host), format!("an eviction on {host}, which is unknown"));
        };
        if !found.complete.remove(&image) {
            self.broken(20, about!(host), format!("{image} is dropped from {host}, where it is not complete"));
        }
        let user = self.model.workers.iter().find(|(_, worker)| {
            worker.host == Some(host)
                && worker.holds_gpus()
                && self.model.release_of(worker).is_some_and(|spec| spec.image == image)
        });
        if let Some((user, _)) = user.map(|(id, worker)| (*id, worker.phase)) {
            self.broken(20, about!(host, user), format!("{image} is dropped from {host} while {user} uses it"));
        }
    }

    fn stop_worker(&mut self, id: WorkerId, epoch: u32, mode: StopMode) {
        let now = self.model.now;
        let Some(worker) = self.model.workers.get_mut(&id) else {
            return self.broken(40, about!(id), format!("{id} is told to stop but does not exist"));
        };
        let silent = self.model.batch.as_ref().is_some_and(
            |batch| matches!(batch.event, Event::WorkerExited { worker: w, cause: ExitCause::Silent, .. } if w == id),
        );
        worker.alive |= silent;
        let (alive, current, stop) = (worker.alive, worker.epoch, worker.stop);
        let live_jobs: Vec<JobId> = worker.jobs.keys().copied().collect();
        worker.stop = Some(mode);
        worker.stopping.clear();
        if !alive || current != epoch {
            self.broken(40, about!(id), format!("{id} is told to stop its start {epoch}, which is not its live one"));
        }
        if stop.is_some() && mode != StopMode::Kill {
            self.broken(40, about!(id), format!("{id} is told to stop again, no harder than before"));
        }
        if mode == StopMode::Kill {
            let leaving = live_jobs.iter().map(|job| (*job, RequeueCause::WorkerKilled));
            self.batch().must_leave.extend(leaving);
        } else if !live_jobs.is_empty() {
            self.broken(32, about!(id), format!("at {now} s {id} is told to stop gently with {live_jobs:?} in hand"));
        }
    }

    fn assign(&mut self, id: JobId, client_ref: u64, worker_id: WorkerId, epoch: u32, attempt: u32) {
        let now = self.model.now;
        let ids = about!(id, worker_id).to_vec();
        let (Some(job), Some(worker)) = (self.model.jobs.get(&id), self.model.workers.get(&worker_id)) else {
            return self.broken(4, &ids, format!("{id} or {worker_id} does not exist"));
        };
        let endpoint = &self.model.endpoints[job.endpoint.index()];
        let mut wrong: Vec<(u8, String)> = Vec::new();
        if let JobPlace::Held { worker, .. } = job.place {
            wrong.push((4, format!("{id} goes to {worker_id} while {worker} holds it")));
        }
        if worker.endpoint != job.endpoint {
            wrong.push((19, format!("{id} of {} goes to {worker_id} of {}", job.endpoint, worker.endpoint)));
        }
        if job.client_ref != client_ref {
            wrong.push((24, format!("{id} is handed out as {client_ref}, it came as {}", job.client_ref)));
        }
        if worker.epoch != epoch || !worker.alive || !worker.is(Phase::Ready) {
            wrong.push((10, format!("{id} goes to {worker_id}, which is {:?}, start {}", worker.phase, worker.epoch)));
        }
        if worker.in_hand() >= endpoint.spec.concurrency {
            wrong.push((5, format!("{id} goes to {worker_id}, which holds {} already", worker.in_hand())));
        }
        if endpoint.spec.pick_up == PickUp::Pull && worker.open == 0 {
            wrong.push((10, format!("{id} goes to {worker_id}, which has not asked for a job")));
        }
        if worker.refresh {
            wrong.push((21, format!("{id} goes to {worker_id}, which is to be refreshed")));
        }
        let bound = endpoint.spec.binding == Binding::Early;
        if worker.version != endpoint.version && !bound && self.current_worker_could_take(job.endpoint) {
            wrong.push((10, format!("{id} goes to outdated {worker_id} although a current worker could take it")));
        }
        if attempt != job.attempt + 1 {
            wrong.push((33, format!("{id} goes out as attempt {attempt} after attempt {}", job.attempt)));
        }
        if job.expires <= now && job.expires != Time::MAX {
            wrong.push((22, format!("{id} is handed out although its TTL ended at {} s", job.expires)));
        }
        if endpoint.spec.binding == Binding::Late
            && let Some(other) = self.passed_over(id, worker_id)
        {
            wrong.push((13, format!("{id} goes to {worker_id} before {other}")));
        }
        for (rule, text) in wrong {
            self.broken(rule, &ids, text);
        }
        self.hand_out(id, worker_id, epoch, attempt);
    }

    fn hand_out(&mut self, id: JobId, worker_id: WorkerId, epoch: u32, attempt: u32) {
        let now = self.model.now;
        let (Some(job), Some(worker)) = (self.model.jobs.get_mut(&id), self.model.workers.get_mut(&worker_id)) else {
            return;
        };
        let setting = self.model.endpoints[job.endpoint.index()].spec.execution_timeout;
        job.timeouts.1 = job.own_timeout.or(setting);
        job.place = JobPlace::Held { worker: worker_id, epoch, attempt, since: now };
        job.attempt = attempt;
        job.last = Some((worker_id, epoch, attempt));
        worker.jobs.insert(id, attempt);
        worker.open = worker.open.saturating_sub(1);
        if worker.in_hand() == 1 {
            worker.last_heard = now;
        }
    }

    /// An older waiting job of the same priority, or one of normal priority, that could have gone to the worker instead.
    fn passed_over(&self, id: JobId, worker: WorkerId) -> Option<JobId> {
        let job = &self.model.jobs[&id];
        let first = |low: bool, before: Option<JobId>| {
            self.model
                .queue(job.endpoint)
                .find(|(other, waiting)| {
                    waiting.low == low
                        && before.is_none_or(|before| **other < before)
                        && waiting.avoid != Some(worker)
                        && !waiting.may_be_bound
                        && waiting.expires > self.model.now
                })
                .map(|(other, _)| *other)
        };
        let normal = if job.low { first(false, None) } else { None };
        normal.or_else(|| first(job.low, Some(id)))
    }

    /// A worker of the newest release could take a job now.
    pub(super) fn current_worker_could_take(&self, endpoint: EndpointId) -> bool {
        let found = &self.model.endpoints[endpoint.index()];
        self.model.workers_of(endpoint).any(|(_, worker)| {
            worker.version == found.version
                && worker.is(Phase::Ready)
                && worker.in_hand() < found.spec.concurrency
                && !worker.refresh
                && (found.spec.pick_up == PickUp::Push || worker.open > 0)
        })
    }

    fn stop_job(&mut self, job: JobId, worker: WorkerId, _epoch: u32, attempt: u32) {
        let told = self.model.workers.get(&worker).and_then(|found| found.stopping.get(&job));
        if told.map(|(running, _)| *running) != Some(attempt) {
            self.broken(40, about!(job, worker), format!("{worker} is told to stop {job}, which it need not"));
        }
        self.batch().stops.push((job, worker));
    }

    fn accept(&mut self, id: JobId, endpoint: EndpointId, client_ref: u64) {
        let now = self.model.now;
        let answered = self.batch().must_answer.take();
        if answered != Some((endpoint, client_ref)) {
            self.broken(24, about!(id), format!("{id} is accepted, but nobody submitted it"));
        }
        let newest = self.model.jobs_given.last().is_none_or(|last| *last < id.sequence());
        if !newest || !self.model.jobs_given.insert(id.sequence()) {
            self.broken(4, about!(id), format!("{id} does not follow the ids given before"));
        }
        let Some(found) = self.model.endpoint(endpoint).filter(|found| !found.deleted) else {
            return self.broken(24, about!(id), format!("{id} is accepted for {endpoint}, which does not exist"));
        };
        let waiting = self.model.queue(endpoint).count();
        let (limit, spec) = (found.spec.max_queued, found.spec.clone());
        if waiting >= limit as usize {
            self.broken(24, about!(id), format!("{id} is accepted into a queue of {waiting}, the limit is {limit}"));
        }
        let Event::JobSubmitted { policy, .. } = self.batch().event.clone() else { return };
        self.model.endpoints[endpoint.index()].accepted += 1;
        let job = JobNow {
            endpoint,
            client_ref,
            expires: now + own(policy.ttl).unwrap_or(spec.ttl),
            own_timeout: own(policy.execution_timeout),
            low: policy.low_priority,
            place: JobPlace::Queued,
            timeouts: (own(policy.execution_timeout).or(spec.execution_timeout), None),
            attempt: 0,
            losses: 0,
            takes_lost: 0,
            last: None,
            avoid: None,
            may_be_bound: spec.binding == Binding::Early,
        };
        self.model.jobs.insert(id, job);
    }

    fn reject(&mut self, endpoint: EndpointId, client_ref: u64, reason: RejectReason) {
        if self.batch().must_answer.take() != Some((endpoint, client_ref)) {
            self.broken(24, &[], format!("{client_ref} is refused, but nobody submitted it"));
        }
        let exists = self.model.endpoint(endpoint).is_some_and(|found| !found.deleted);
        let full = self
            .model
            .endpoint(endpoint)
            .is_some_and(|found| self.model.queue(endpoint).count() >= found.spec.max_queued as usize);
        let right = match reason {
            RejectReason::UnknownEndpoint => !exists,
            RejectReason::QueueFull => exists && full,
        };
        if !right {
            self.broken(24, &[], format!("{client_ref} for {endpoint} is refused as {reason}, which is not so"));
        }
    }

    fn requeue(&mut self, id: JobId, worker: WorkerId, cause: RequeueCause) {
        let ids = about!(id, worker).to_vec();
        let held = self.model.jobs.get(&id).map(|job| job.place);
        if !matches!(held, Some(JobPlace::Held { worker: holder, .. }) if holder == worker) {
            return self.broken(4, &ids, format!("{id} comes back from {worker}, which does not hold it"));
        }
        let (expected, deadline) = {
            let batch = self.batch();
            let found = batch.must_leave.iter().find(|(job, _)| *job == id).map(|(_, cause)| *cause);
            batch.must_leave.retain(|(job, _)| *job != id);
            (found, matches!(batch.event, Event::DeadlineReached))
        };
        let killed = matches!(cause, RequeueCause::WorkerKilled | RequeueCause::WorkerSilent);
        if expected != Some(cause) && !killed {
            self.broken(33, &ids, format!("{id} comes back as {cause}, the facts say {expected:?}"));
        }
        if expected.is_none() && killed && !deadline {
            self.broken(33, &ids, format!("{id} comes back as {cause} although nothing happened to {worker}"));
        }
        let Some(job) = self.model.jobs.get_mut(&id) else { return };
        job.place = JobPlace::Queued;
        if cause == RequeueCause::TakeLost && job.takes_lost < MOST_LOST_TAKES {
            job.takes_lost += 1;
        } else {
            job.losses += 1;
            job.avoid = Some(worker);
        }
        let (losses, takes) = (job.losses, job.takes_lost);
        let limit = self.model.endpoints[job.endpoint.index()].spec.max_attempts;
        self.left_worker(id, worker);
        if losses >= limit {
            self.broken(33, &ids, format!("{id} is tried again after {losses} losses and {takes} lost takes"));
        }
    }

    fn left_worker(&mut self, job: JobId, worker: WorkerId) {
        let now = self.model.now;
        if let Some(worker) = self.model.workers.get_mut(&worker) {
            worker.jobs.remove(&job);
            if worker.in_hand() == 0 {
                worker.idle_since = now;
            }
        }
    }

    fn finish_job(&mut self, id: JobId, client_ref: u64, outcome: JobOutcome, cause: FinishCause) {
        let now = self.model.now;
        let Some(job) = self.model.jobs.get(&id).cloned() else {
            return self.broken(24, about!(id), format!("{id} ends as {outcome:?}, but it has ended or never came"));
        };
        if job.client_ref != client_ref {
            self.broken(24, about!(id), format!("{id} ends as {client_ref}, it came as {}", job.client_ref));
        }
        if outcome != outcome_of(cause) {
            self.broken(24, about!(id), format!("{id} ends as {outcome:?} for {cause}"));
        }
        let expected: BTreeMap<FinishCause, JobOutcome> =
            self.batch().must_finish.iter().filter(|(j, ..)| *j == id).map(|(_, o, c)| (*c, *o)).collect();
        if let Some(text) = self.wrong_end(id, &job, cause, &expected) {
            self.broken(if matches!(cause, FinishCause::Purged) { 19 } else { 22 }, about!(id), text);
        }
        let batch = self.batch();
        batch.must_finish.retain(|(other, ..)| *other != id);
        batch.must_leave.retain(|(other, _)| *other != id);
        self.model.jobs.remove(&id);
        self.model.endpoints[job.endpoint.index()].outcomes += 1;
        let JobPlace::Held { worker: worker_id, attempt, .. } = job.place else { return };
        let runs_on = matches!(cause, FinishCause::Cancelled | FinishCause::TtlRunning | FinishCause::ExecutionTimeout);
        let alive = self.model.workers.get(&worker_id).is_some_and(|worker| worker.alive && worker.stop.is_none());
        let grace = self.model.endpoints[job.endpoint.index()].spec.stop_job_grace;
        self.left_worker(id, worker_id);
        if runs_on && alive {
            if let Some(worker) = self.model.workers.get_mut(&worker_id) {
                worker.stopping.insert(id, (attempt, now + grace));
            }
            self.batch().must_stop.push((id, worker_id));
        }
    }

    /// What is wrong with ending `job` for `cause` now.
    fn wrong_end(
        &self,
        id: JobId,
        job: &JobNow,
        cause: FinishCause,
        expected: &BTreeMap<FinishCause, JobOutcome>,
    ) -> Option<String> {
        let now = self.model.now;
        let held = matches!(job.place, JobPlace::Held { .. });
        let wrong = match cause {
            FinishCause::TtlInQueue => held || now < job.expires,
            FinishCause::TtlRunning => now < job.expires,
            FinishCause::ExecutionTimeout => match job.place {
                JobPlace::Queued => true,
                JobPlace::Held { since, .. } => {
                    let shortest = [job.timeouts.0, job.timeouts.1].into_iter().flatten().min();
                    shortest.is_none_or(|span| now < since + span)
                }
            },
            FinishCause::AttemptsExhausted => {
                let limit = self.model.endpoints[job.endpoint.index()].spec.max_attempts;
                job.losses + 1 < limit && job.takes_lost < MOST_LOST_TAKES
            }
            FinishCause::EndpointDeleted => !self.model.endpoints[job.endpoint.index()].deleted,
            _ => !expected.contains_key(&cause),
        };
        wrong.then(|| format!("{id} ends for {cause} without ground: {:?}, TTL until {} s", job.place, job.expires))
    }

    fn scaled(&mut self, id: EndpointId, from: u32, to: u32, reason: ScaleReason, trigger: Option<JobId>) {
        let Some(endpoint) = self.model.endpoints.get_mut(id.index()) else {
            return self.broken(16, about!(id), format!("{id} does not exist"));
        };
        let (most, floor) = (endpoint.max + endpoint.spec.extra, endpoint.active);
        let fixed = endpoint.spec.policies.scaling.name == "fixed";
        if to == from && reason != ScaleReason::PolicyFault {
            self.broken(16, about!(id), format!("{id} wants {to} instead of {from}"));
        }
        if (to > from && to > most) || (to < from && to < floor) {
            self.broken(16, about!(id), format!("{id} wants {to} instead of {from}, outside {floor} to {most}"));
        }
        if let Some(job) = trigger.filter(|job| !self.model.jobs.contains_key(job)) {
            self.broken(16, about!(id, job), format!("{id} scales for {job}, which waits for nothing"));
        }
        let normal =
            self.model.jobs.values().any(|job| job.endpoint == id && (!job.low || job.place != JobPlace::Queued));
        // `Policy`: a rule of the catalogue that remembers load, or holds workers ahead of it.
        let own_accord =
            matches!(reason, ScaleReason::ActiveFloor | ScaleReason::Update | ScaleReason::Fixed | ScaleReason::Policy);
        if to > from && to > floor && !normal && !own_accord && !fixed {
            self.broken(17, about!(id), format!("{id} wants {to} instead of {from} without a job of normal priority"));
        }
    }

    fn release(&mut self, id: EndpointId, version: u32, status: ReleaseStatus) {
        let Some(endpoint) = self.model.endpoints.get_mut(id.index()) else {
            return self.broken(11, about!(id), format!("{id} does not exist"));
        };
        match status {
            ReleaseStatus::Rolling if version == endpoint.version => {}
            ReleaseStatus::RolledBack if version == endpoint.version => {
                endpoint.rolled_back.insert(version);
                endpoint.go_back();
            }
            ReleaseStatus::Complete if version == endpoint.version => {
                let old: Vec<WorkerId> = self
                    .model
                    .workers_of(id)
                    .filter(|(_, worker)| worker.version != version && !worker.is(Phase::Removed))
                    .map(|(id, _)| *id)
                    .collect();
                if !old.is_empty() {
                    self.broken(
                        11,
                        about!(id, old[0]),
                        format!("{id} calls {version} complete, but {old:?} are older"),
                    );
                }
            }
            _ => {
                let newest = endpoint.version;
                self.broken(
                    11,
                    about!(id),
                    format!("{id} reports release {version} {status:?}; the newest is {newest}"),
                );
            }
        }
    }

    fn bounds(&mut self, id: EndpointId, active: u32, max: u32, reason: ScaleReason) {
        let now = self.model.now;
        let Some(endpoint) = self.model.endpoints.get_mut(id.index()) else {
            return self.broken(16, about!(id), format!("{id} does not exist"));
        };
        (endpoint.active, endpoint.max) = (active, max);
        endpoint.changed = now;
        let (idle_for, dormancy) = (now.since(endpoint.last_request), endpoint.spec.dormancy);
        if active > max {
            self.broken(8, about!(id), format!("{id} has {active} active workers of at most {max}"));
        }
        if reason == ScaleReason::Dormant {
            let after = dormancy.map(|spec| if max == 0 { spec.zero_after } else { spec.reduce_after });
            if after.is_none_or(|after| idle_for < after) {
                self.broken(25, about!(id), format!("{id} becomes dormant {idle_for} after its last request"));
            }
        }
    }
}

/// The one outcome that a cause leads to.
fn outcome_of(cause: FinishCause) -> JobOutcome {
    match cause {
        FinishCause::Result => JobOutcome::Completed,
        FinishCause::HandlerError | FinishCause::AttemptsExhausted => JobOutcome::Failed,
        FinishCause::TtlInQueue | FinishCause::TtlRunning | FinishCause::ExecutionTimeout => JobOutcome::TimedOut,
        FinishCause::Cancelled | FinishCause::Purged | FinishCause::EndpointDeleted => JobOutcome::Cancelled,
    }
}
