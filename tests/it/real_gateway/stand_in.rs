//! A stand-in for the core: a thread that answers the gateway's requests from a small table of jobs which the tests can look into.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bytes::Bytes;
use thermocline::real::clock::Clock;
use thermocline::real::config::{EndpointConfig, EndpointKind, RunConfig};
use thermocline::real::core::api::{
    BillView, Done, EndpointView, HandedJob, Health, JobNotice, JobStatus, JobView, Ping, Place, Refusal, ReleaseView,
    Taken,
};
use thermocline::real::core::handle::{Answer, Handle, Request};
use thermocline::real::ids::{TokenKey, job_id};
use thermocline::real::launcher::LogLine;
use thermocline::real::store::{Delivery, JobEnd, JobRow, KeyRow, StoreError, StoreReader};
use thermocline::scheduler::{EndpointSpec, GpuClassId, Image, JobOutcome, WaitReason};
use thermocline::units::ImageId;
use tokio::sync::broadcast;

type TakeAnswer = Answer<Result<Taken, Refusal>>;
type Submitted = Result<(String, bool), Refusal>;

/// A job as the stand-in keeps it.
pub struct Job {
    pub endpoint: String,
    pub input: Bytes,
    pub s3: Option<Bytes>,
    pub sync: bool,
    pub policy: thermocline::scheduler::JobPolicy,
    pub webhook: Option<String>,
    pub key: Option<String>,
    pub status: JobStatus,
    pub worker: Option<String>,
    pub output: Option<Bytes>,
    pub error: Option<String>,
    pub chunks: Vec<Bytes>,
    pub taken: u64,
    waiters: Vec<Answer<Option<Box<JobView>>>>,
    chunk_waiters: Vec<Answer<()>>,
}

/// Everything that the stand-in knows; tests set and read it.
#[derive(Default)]
pub struct World {
    pub endpoints: Vec<EndpointView>,
    pub jobs: BTreeMap<String, Job>,
    pub tombstones: BTreeMap<String, String>,
    pub order: Vec<String>,
    takes: VecDeque<(u64, String, u32, TakeAnswer)>,
    stops: VecDeque<Answer<Result<Vec<String>, Refusal>>>,
    pub stop_ids: Vec<String>,
    pub keep_off: bool,
    pub refuse_done: Option<Refusal>,
    pub pings: Vec<(String, Ping)>,
    pub dones: Vec<(String, Done)>,
    pub takes_over: u32,
    pub takes_seen: u32,
    pub cancelled: Vec<String>,
    pub place: Option<Place>,
    acquiring: Vec<Answer<Result<Place, Refusal>>>,
    pub released: Vec<(u64, bool)>,
    pub logs: Vec<LogLine>,
    /// The core is slow to record what was fetched: it never does.
    pub forgets_cursors: bool,
    notices: Option<broadcast::Sender<JobNotice>>,
    /// Jobs are taken but the answer is not given: the core is making them durable.
    pub commits_slowly: bool,
    uncommitted: Vec<(Answer<Submitted>, Submitted)>,
}

/// A handle on the stand-in, and the world behind it.
pub struct StandIn {
    pub handle: Handle,
    world: Arc<Mutex<World>>,
}

impl StandIn {
    /// With a queue endpoint `q` and a load-balancing endpoint `lb`.
    pub fn start() -> StandIn {
        let (sender, requests) = mpsc::channel();
        let (notices, _) = broadcast::channel(64);
        let world = World {
            endpoints: vec![endpoint("q", EndpointKind::Queue), endpoint("lb", EndpointKind::LoadBalancer)],
            notices: Some(notices.clone()),
            ..World::default()
        };
        let world = Arc::new(Mutex::new(world));
        let reader = Arc::new(Reader(Arc::clone(&world)));
        let handle = Handle::new(sender, reader, notices, TokenKey::new([9; 32]), Clock::start());
        let answering = Arc::clone(&world);
        std::thread::spawn(move || {
            for request in requests {
                lock(&answering).answer(request);
            }
        });
        StandIn { handle, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn endpoint(id: &str, kind: EndpointKind) -> EndpointView {
    let config = EndpointConfig {
        id: id.to_owned(),
        kind,
        spec: EndpointSpec::with_defaults(id, ImageId(0), GpuClassId(0)),
        image: Image { name: "image:1".to_owned(), layers: Vec::new() },
        run: RunConfig::default(),
        input_schema: None,
        feeds: Vec::new(),
        webhook_secret: None,
    };
    EndpointView { config, version: 1, from_file: false, created_ms: 0, health: Health::default() }
}

impl World {
    /// Stop polls that are held.
    pub fn stops_open(&self) -> usize {
        self.stops.len()
    }

    /// Answers the submissions that wait for it.
    pub fn commit(&mut self) {
        self.uncommitted.drain(..).for_each(|(answer, submitted)| reply(answer, submitted));
    }

    fn job_there(&self, endpoint: &str, id: &str) -> Result<(), Refusal> {
        self.jobs.get(id).filter(|job| job.endpoint == endpoint).map(|_| ()).ok_or(Refusal::UnknownJob)
    }

    fn view(&self, id: &str) -> Option<JobView> {
        let job = self.jobs.get(id)?;
        Some(JobView {
            id: id.to_owned(),
            endpoint: job.endpoint.clone(),
            status: job.status,
            delay_ms: 5,
            execution_ms: job.worker.is_some().then_some(7),
            worker: job.worker.clone(),
            retries: 0,
            output: job.output.clone(),
            error: job.error.clone(),
            reason: (job.status == JobStatus::InQueue).then_some(WaitReason::AtMax),
            cause: None,
            attempts: Vec::new(),
            webhook: None,
            submitted_ms: 1,
            finished_ms: None,
        })
    }

    fn notice(&self, id: &str) {
        let job = &self.jobs[id];
        if let Some(notices) = &self.notices {
            let (endpoint, worker) = (job.endpoint.clone(), job.worker.clone());
            let _ = notices.send(JobNotice {
                endpoint,
                id: id.to_owned(),
                status: job.status,
                attempt: 1,
                worker,
                at_ms: 1,
            });
        }
    }

    /// The job has an outcome.
    pub fn end(&mut self, id: &str, status: JobStatus, output: Option<Bytes>, error: Option<String>) {
        let job = self.jobs.get_mut(id).expect("a job that exists");
        (job.status, job.output, job.error) = (status, output, error);
        job.waiters.drain(..).for_each(|waiter| reply(waiter, None));
        job.chunk_waiters.drain(..).for_each(|waiter| reply(waiter, ()));
        self.notice(id);
    }

    fn hand_out(&mut self) {
        while let Some((_, worker, slots, _)) = self.takes.front() {
            let waiting: Vec<String> = self
                .order
                .iter()
                .filter(|id| self.jobs[*id].status == JobStatus::InQueue)
                .take(*slots as usize)
                .cloned()
                .collect();
            if waiting.is_empty() {
                return;
            }
            let worker = worker.clone();
            let mut jobs = Vec::new();
            for id in waiting {
                let job = self.jobs.get_mut(&id).expect("a job in the order");
                (job.status, job.worker) = (JobStatus::InProgress, Some(worker.clone()));
                jobs.push(HandedJob { id: id.clone(), input: job.input.clone(), s3: job.s3.clone() });
                self.notice(&id);
            }
            let (.., answer) = self.takes.pop_front().expect("it was just looked at");
            let _ = answer.send(Ok(Taken::Jobs(jobs)));
        }
    }

    fn submit(&mut self, submission: thermocline::real::core::api::Submission) -> (String, bool) {
        let same = |job: &Job| job.key.is_some() && job.key == submission.idempotency_key;
        if let Some((id, _)) = self.jobs.iter().find(|(_, job)| same(job)) {
            return (id.clone(), true);
        }
        let id = job_id(submission.sync);
        let job = Job {
            endpoint: submission.endpoint,
            input: submission.input,
            s3: submission.s3,
            sync: submission.sync,
            policy: submission.policy,
            webhook: submission.webhook,
            key: submission.idempotency_key,
            status: JobStatus::InQueue,
            worker: None,
            output: None,
            error: None,
            chunks: Vec::new(),
            taken: 0,
            waiters: Vec::new(),
            chunk_waiters: Vec::new(),
        };
        self.jobs.insert(id.clone(), job);
        self.order.push(id.clone());
        self.hand_out();
        (id, false)
    }

    fn done(&mut self, endpoint: &str, worker: &str, id: &str, done: Done) -> Result<(), Refusal> {
        if let Some(refusal) = self.refuse_done {
            return Err(refusal);
        }
        self.job_there(endpoint, id)?;
        let job = self.jobs.get_mut(id).expect("it is there");
        if job.worker.as_deref() != Some(worker) {
            return Err(Refusal::UnknownJob);
        }
        self.dones.push((id.to_owned(), done.clone()));
        match done {
            _ if job.status.is_final() => {}
            Done::Progress(output) => job.output = Some(output),
            Done::Final { output, error, .. } => {
                let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Completed };
                self.end(id, status, output, error);
            }
        }
        Ok(())
    }

    fn endpoint_there(&self, id: &str) -> Result<(), Refusal> {
        let mut all = self.endpoints.iter();
        all.find(|view| view.config.id == id).map(|_| ()).ok_or(Refusal::UnknownEndpoint)
    }

    #[allow(clippy::too_many_lines, reason = "one arm per request")]
    fn answer(&mut self, request: Request) {
        match request {
            Request::Submit(submission, answer) => {
                let submitted = Ok(self.submit(*submission));
                self.uncommitted.push((answer, submitted));
                if !self.commits_slowly {
                    self.commit();
                }
            }
            Request::Live { endpoint, id, answer } => {
                let view = self.view(&id).filter(|view| view.endpoint == endpoint && !view.status.is_final());
                reply(answer, view);
            }
            Request::Wait { id, answer } => match self.jobs.get_mut(&id).filter(|job| !job.status.is_final()) {
                Some(job) => job.waiters.push(answer),
                None => reply(answer, None),
            },
            Request::WaitChunk { id, answer } => match self.jobs.get_mut(&id) {
                Some(job) if !job.status.is_final() && job.taken >= job.chunks.len() as u64 => {
                    job.chunk_waiters.push(answer);
                }
                _ => reply(answer, ()),
            },
            Request::ChunksTaken { id, next } if !self.forgets_cursors => {
                self.jobs.get_mut(&id).expect("a job that exists").taken = next;
            }
            Request::Cancel { endpoint, id, answer } => {
                let there = self.job_there(&endpoint, &id);
                if there.is_ok() && !self.jobs[&id].status.is_final() {
                    self.cancelled.push(id.clone());
                    self.end(&id, JobStatus::Cancelled, None, None);
                }
                reply(answer, there);
            }
            Request::Retry { id, answer, .. } => {
                let job = self.jobs.get_mut(&id).expect("a job that exists");
                let failed = matches!(job.status, JobStatus::Failed | JobStatus::TimedOut);
                if failed {
                    (job.status, job.output, job.error, job.taken) = (JobStatus::InQueue, None, None, 0);
                    job.chunks.clear();
                }
                reply(answer, if failed { Ok(()) } else { Err(Refusal::WrongState) });
            }
            Request::Purge { answer, .. } => {
                let waiting: Vec<String> =
                    self.order.iter().filter(|id| self.jobs[*id].status == JobStatus::InQueue).cloned().collect();
                waiting.iter().for_each(|id| self.end(id, JobStatus::Cancelled, None, None));
                reply(answer, Ok(waiting.len() as u64));
            }
            Request::Health { endpoint, answer } => {
                reply(answer, self.endpoint_there(&endpoint).map(|()| Health::default()));
            }
            Request::Take { answer, .. } if self.keep_off => reply(answer, Ok(Taken::KeepOff)),
            Request::Take { worker, slots, ticket, answer, .. } => {
                self.takes_seen += 1;
                self.takes.push_back((ticket, worker, slots, answer));
                self.hand_out();
            }
            Request::TakeOver { ticket, .. } => {
                self.takes_over += 1;
                self.takes.retain(|take| take.0 != ticket);
            }
            Request::Done { endpoint, worker, id, done, answer } => {
                reply(answer, self.done(&endpoint, &worker, &id, done));
            }
            Request::Chunk { endpoint, id, value, answer, .. } => {
                let there = self.job_there(&endpoint, &id);
                if there.is_ok() {
                    let job = self.jobs.get_mut(&id).expect("it is there");
                    job.chunks.push(value);
                    job.chunk_waiters.drain(..).for_each(|waiter| reply(waiter, ()));
                }
                reply(answer, there);
            }
            Request::Ping { worker, ping, answer, .. } => {
                self.pings.push((worker, ping));
                reply(answer, Ok(()));
            }
            Request::Stops { answer, .. } if self.stop_ids.is_empty() => self.stops.push_back(answer),
            Request::Stops { answer, .. } => reply(answer, Ok(std::mem::take(&mut self.stop_ids))),
            Request::Acquire { ticket, answer, .. } => match &self.place {
                Some(place) => reply(answer, Ok(Place { ticket, ..place.clone() })),
                None => self.acquiring.push(answer),
            },
            Request::Release { ticket, ok, .. } => self.released.push((ticket, ok)),
            Request::Endpoints(answer) => reply(answer, self.endpoints.clone()),
            Request::Create { config, answer } => {
                if self.endpoint_there(&config.id).is_ok() {
                    return reply(answer, Err((Refusal::Invalid, "it exists".to_owned())));
                }
                let view = EndpointView { config: *config, ..endpoint("", EndpointKind::Queue) };
                self.endpoints.push(view.clone());
                reply(answer, Ok(view));
            }
            Request::Update { config, answer } => {
                let view = self.endpoints.iter_mut().find(|view| view.config.id == config.id).expect("it exists");
                view.config = *config;
                reply(answer, Ok(view.clone()));
            }
            Request::Delete { endpoint, answer } => {
                let there = self.endpoint_there(&endpoint);
                self.endpoints.retain(|view| view.config.id != endpoint);
                reply(answer, there);
            }
            Request::Workers { endpoint, answer } => {
                reply(answer, self.endpoint_there(&endpoint).map(|()| Vec::new()));
            }
            Request::Releases { endpoint, answer } => {
                let view = self.endpoints.iter().find(|view| view.config.id == endpoint);
                let release = |view: &EndpointView| ReleaseView {
                    version: 1,
                    created_ms: 0,
                    status: "complete".to_owned(),
                    workers: 0,
                    config: view.config.clone(),
                };
                reply(answer, view.map(|view| vec![release(view)]).ok_or(Refusal::UnknownEndpoint));
            }
            Request::Bills { answer, .. } => {
                let bill = BillView { endpoint: "q".to_owned(), documented_usd: 0.5, ..BillView::default() };
                reply(answer, vec![bill]);
            }
            Request::Logs { answer, .. } => reply(answer, Ok(self.logs.clone())),
            Request::Metrics(answer) => reply(answer, "up 1\n# EOF\n".to_owned()),
            _ => {}
        }
    }
}

/// Reads the table as a store would.
struct Reader(Arc<Mutex<World>>);

impl StoreReader for Reader {
    fn job(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        let world = lock(&self.0);
        let Some(job) = world.jobs.get(id) else { return Ok(None) };
        let outcome = match job.status {
            JobStatus::InQueue | JobStatus::InProgress => None,
            JobStatus::Completed => Some(JobOutcome::Completed),
            JobStatus::Failed => Some(JobOutcome::Failed),
            JobStatus::Cancelled => Some(JobOutcome::Cancelled),
            JobStatus::TimedOut => Some(JobOutcome::TimedOut),
        };
        let end = outcome.map(|outcome| JobEnd {
            outcome,
            cause: "test".to_owned(),
            finished_ms: 20,
            delay_ms: 5,
            execution_ms: 7,
            worker: job.worker.clone(),
            retries: 0,
            error: job.error.clone(),
            attempts: Vec::new(),
            expires_ms: 99,
        });
        Ok(Some(JobRow {
            client_ref: 1,
            id: id.to_owned(),
            endpoint: job.endpoint.clone(),
            generation: 1,
            sync: job.sync,
            policy: job.policy,
            submitted_ms: 1,
            webhook: None,
            end,
        }))
    }

    fn input(&self, id: &str) -> Result<Option<(Bytes, Option<Bytes>)>, StoreError> {
        Ok(lock(&self.0).jobs.get(id).map(|job| (job.input.clone(), job.s3.clone())))
    }

    fn output(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(lock(&self.0).jobs.get(id).and_then(|job| job.output.clone()))
    }

    fn chunks(&self, id: &str) -> Result<(u64, Vec<Bytes>), StoreError> {
        let world = lock(&self.0);
        let Some(job) = world.jobs.get(id) else { return Ok((0, Vec::new())) };
        Ok((job.taken, job.chunks[job.taken as usize..].to_vec()))
    }

    fn tombstone(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(lock(&self.0).tombstones.get(id).cloned())
    }

    fn by_idempotency_key(&self, _: &str, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn list(&self, endpoint: &str, offset: u64, limit: u32) -> Result<(Vec<JobRow>, u64), StoreError> {
        let ids: Vec<String> = {
            let world = lock(&self.0);
            world.order.iter().rev().filter(|id| world.jobs[*id].endpoint == endpoint).cloned().collect()
        };
        let page = ids.iter().skip(offset as usize).take(limit as usize);
        let rows = page.filter_map(|id| self.job(id).transpose()).collect::<Result<Vec<_>, _>>()?;
        Ok((rows, ids.len() as u64))
    }

    fn expired(&self, _: u64, _: u32) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn due(&self, _: u64, _: u32) -> Result<(Vec<Delivery>, Option<u64>), StoreError> {
        Ok((Vec::new(), None))
    }

    fn deliveries(&self, _: &str) -> Result<Vec<Delivery>, StoreError> {
        Ok(Vec::new())
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        Ok(Vec::new())
    }
}

/// Answers; whoever asked may have gone.
fn reply<T>(answer: Answer<T>, value: T) {
    let _ = answer.send(value);
}
