//! What may be looked at without changing anything: jobs, workers, endpoints, counters, bills.

use super::super::launcher::Launcher;
use super::api::{
    EndpointView, Health, HealthJobs, HealthWorkers, JobStatus, JobView, Logs, Refusal, ReleaseView, WorkerView,
};
use super::handle::{Answer, Request};
use super::tables::{JobEntry, WorkerEntry};
use super::{Core, reply};
use crate::policy::Phase;
use crate::scheduler::PublicState;
use crate::units::{EndpointId, Span, WorkerId};

/// Jobs wait, a worker is free, and nothing was handed out for this long: something is wrong (`/health` says degraded).
const STUCK_AFTER: Span = Span::from_whole_secs(60);

impl Core {
    pub(super) fn read(&mut self, request: Request) {
        match request {
            Request::Live { endpoint, id, answer } => reply(answer, self.job_view(&endpoint, &id)),
            Request::Wait { id, answer } => self.wait_end(&id, answer),
            Request::WaitChunk { id, answer } => self.wait_chunk(&id, answer),
            Request::Health { endpoint, answer } => {
                let number = self.definitions.get(&endpoint).map(|definition| definition.number);
                let health = number.map(|number| self.health(number));
                reply(answer, health.ok_or(Refusal::UnknownEndpoint));
            }
            Request::Endpoints(answer) => {
                let ids: Vec<String> =
                    self.definitions.alive().map(|definition| definition.config.id.clone()).collect();
                reply(answer, ids.iter().filter_map(|id| self.endpoint_view(id)).collect());
            }
            Request::Workers { endpoint, answer } => reply(answer, self.worker_views(&endpoint)),
            Request::Releases { endpoint, answer } => reply(answer, self.release_views(&endpoint)),
            Request::Bills { endpoint, answer } => {
                let chosen = self
                    .definitions
                    .alive()
                    .filter(|definition| endpoint.as_ref().is_none_or(|endpoint| *endpoint == definition.config.id));
                let chosen: Vec<(EndpointId, String)> =
                    chosen.map(|definition| (definition.number, definition.config.id.clone())).collect();
                let now = self.now;
                let bills = chosen.into_iter().map(|(number, id)| self.live.bill(number, id, now)).collect();
                reply(answer, bills);
            }
            Request::Logs { endpoint, worker, lines, answer } => self.logs(&endpoint, &worker, lines, answer),
            Request::Metrics(answer) => reply(answer, self.metrics_text()),
            // Everything else changes something and is dealt with before.
            _ => {}
        }
    }

    fn job_view(&self, endpoint: &str, id: &str) -> Option<JobView> {
        let entry = self.tables.job_by_id(id).filter(|entry| entry.row.endpoint == endpoint)?;
        let running = entry.holder.is_some();
        let waited = entry.started.filter(|_| running).unwrap_or(self.now);
        let progress = self.desk.known_job(entry.row.client_ref).and_then(|desk| desk.progress.clone());
        Some(JobView {
            id: entry.row.id.clone(),
            endpoint: entry.row.endpoint.clone(),
            status: if running { JobStatus::InProgress } else { JobStatus::InQueue },
            delay_ms: waited.since(entry.submitted).0 / 1_000,
            execution_ms: entry.started.filter(|_| running).map(|started| self.now.since(started).0 / 1_000),
            worker: entry.attempts.last().map(|attempt| attempt.worker.clone()),
            retries: entry.attempts.len().saturating_sub(1) as u32,
            output: progress.filter(|_| running),
            error: None,
            reason: self.wait_reason(entry),
            cause: None,
            attempts: entry.attempts.clone(),
            webhook: entry.row.webhook.as_ref().map(|_| super::super::store::DeliveryState::Pending),
            submitted_ms: entry.row.submitted_ms,
            finished_ms: None,
        })
    }

    fn wait_reason(&self, entry: &JobEntry) -> Option<crate::scheduler::WaitReason> {
        self.scheduler.job_wait_reason(entry.job?)
    }

    pub(super) fn endpoint_view(&self, id: &str) -> Option<EndpointView> {
        let definition = self.definitions.get(id)?;
        let first = definition.releases.values().next();
        Some(EndpointView {
            config: definition.config.clone(),
            version: self.scheduler.version(definition.number).unwrap_or(definition.version),
            from_file: definition.from_file,
            created_ms: first.map_or(0, |(at_ms, _)| *at_ms),
            health: self.health(definition.number),
        })
    }

    pub(super) fn health(&self, number: EndpointId) -> Health {
        let counters = self.tables.counters(number);
        let counts = self.scheduler.job_counts(number).unwrap_or_default();
        let mut workers = HealthWorkers::default();
        for status in self.scheduler.workers_of(number) {
            let field = match status.state {
                PublicState::Initializing => &mut workers.initializing,
                PublicState::Idle => &mut workers.idle,
                PublicState::Running => &mut workers.running,
                PublicState::Throttled => &mut workers.throttled,
                PublicState::Outdated => &mut workers.outdated,
                PublicState::Unhealthy => &mut workers.unhealthy,
            };
            *field += 1;
            if status.state == PublicState::Idle {
                match status.phase {
                    Phase::Frozen => workers.frozen += 1,
                    Phase::Asleep => workers.asleep += 1,
                    _ => workers.warm += 1,
                }
            }
        }
        workers.ready = workers.idle;
        let oldest = self.tables.jobs().find(|entry| entry.endpoint == number && entry.holder.is_none());
        let waits = oldest.map_or(Span::ZERO, |entry| self.now.since(entry.submitted.max(counters.last_dispatch)));
        Health {
            jobs: HealthJobs {
                completed: counters.completed,
                failed: counters.failed + counters.timed_out,
                in_progress: u64::from(counts.in_progress),
                in_queue: u64::from(counts.in_queue),
                retried: counters.retried,
            },
            workers,
            reason: oldest.and_then(|entry| self.wait_reason(entry)),
            degraded: workers.warm > 0 && waits > STUCK_AFTER,
        }
    }

    fn worker_views(&self, endpoint: &str) -> Result<Vec<WorkerView>, Refusal> {
        let definition = self.definitions.get(endpoint).ok_or(Refusal::UnknownEndpoint)?;
        let of_it = self.tables.workers().filter(|(_, entry)| entry.endpoint == definition.number);
        Ok(of_it.map(|(id, entry)| self.worker_view(endpoint, id, entry)).collect())
    }

    fn worker_view(&self, endpoint: &str, id: WorkerId, entry: &WorkerEntry) -> WorkerView {
        let config = self.definitions.of_release(entry.endpoint, entry.version);
        let image = config.map(|config| self.definitions.image_reference(config.spec.image));
        let seat = self.desk.known_seat(id);
        WorkerView {
            id: seat.and_then(|seat| seat.alias.clone()).unwrap_or_else(|| entry.name(id)),
            endpoint: endpoint.to_owned(),
            state: PublicState::of(entry.phase, entry.hands.len() as u32, entry.outdated)
                .unwrap_or(PublicState::Unhealthy),
            phase: entry.phase,
            reason: entry.reason,
            detail: seat.and_then(|seat| seat.detail.clone()),
            kind: entry.kind,
            outdated: entry.outdated,
            version: entry.version,
            host: entry.host.and_then(|host| self.config.hosts.get(host.index())).map(|host| host.spec.name.clone()),
            gpus: config.map_or(0, |config| config.spec.gpus_per_worker),
            image: image.unwrap_or_default(),
            jobs: entry.hands.iter().filter(|hand| !hand.id.is_empty()).map(|hand| hand.id.clone()).collect(),
            since_ms: self.clock.unix_ms(entry.since),
            started_ms: entry.started.map(|at| self.clock.unix_ms(at)),
            utilization: entry.utilization(self.now),
        }
    }

    fn release_views(&self, endpoint: &str) -> Result<Vec<ReleaseView>, Refusal> {
        let definition = self.definitions.get(endpoint).ok_or(Refusal::UnknownEndpoint)?;
        let statuses = self.tables.releases(definition.number);
        let view = |(version, (created_ms, config)): (&u32, &(u64, _))| {
            let status = statuses.iter().find(|release| release.version == *version).map(|release| release.status);
            let of_it = |entry: &&WorkerEntry| entry.endpoint == definition.number && entry.version == *version;
            ReleaseView {
                version: *version,
                created_ms: *created_ms,
                status: status.map_or("complete".to_owned(), |status| snake(&status)),
                workers: self.tables.workers().map(|(_, entry)| entry).filter(of_it).count() as u32,
                config: Clone::clone(config),
            }
        };
        Ok(definition.releases.iter().rev().map(view).collect())
    }

    fn logs(&self, endpoint: &str, worker: &str, lines: usize, answer: Answer<Result<Logs, Refusal>>) {
        if self.definitions.number(endpoint).is_none() {
            return reply(answer, Err(Refusal::UnknownEndpoint));
        }
        // Lines of a worker that is gone are still with the launcher of its host: all of them are asked, off this thread.
        let launchers: Vec<std::sync::Arc<dyn Launcher>> = self.outside.launchers.clone();
        let worker = worker.to_owned();
        std::thread::spawn(move || {
            let found = launchers.iter().map(|launcher| launcher.logs(&worker, lines)).find(|found| !found.is_empty());
            reply(answer, Ok(found.unwrap_or_default()));
        });
    }
}

/// A unit variant's name as it is written in JSON.
pub(super) fn snake(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
