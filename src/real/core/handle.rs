//! The other threads' end of the core: each method is one request to the core's thread and the wait for its answer.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use super::super::clock::Clock;
use super::super::config::EndpointConfig;
use super::super::ids::TokenKey;
use super::super::launcher::Report;
use super::super::store::StoreReader;
use super::api::{
    BillView, Done, EndpointView, Health, JobNotice, JobView, Logs, Ping, Place, Refusal, ReleaseView, Submission,
    Taken, WorkerView,
};

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<T>;

/// Everything that may be asked of the core's thread.
#[allow(missing_docs, reason = "the fields are the arguments of the `Handle` method of the same name")]
pub enum Request {
    /// A job for the queue. Answer: its id, and whether it was there already (idempotency key).
    Submit(Box<Submission>, Answer<Result<(String, bool), Refusal>>),
    /// A job that has no end yet; `None` when it is not alive (the store knows the rest).
    Live { endpoint: String, id: String, answer: Answer<Option<JobView>> },
    /// Answers when the job has ended, with how it did; at once and with nothing if it is not alive.
    Wait { id: String, answer: Answer<Option<Box<JobView>>> },
    /// Answers when the job's stream has pieces to fetch or the job has ended.
    WaitChunk { id: String, answer: Answer<()> },
    /// The client fetched the pieces before `next`.
    ChunksTaken { id: String, next: u64 },
    /// The result of an ended job is kept for no more than `keep_ms` from now on.
    Expire { id: String, keep_ms: u64, answer: Answer<()> },
    /// Cancel. Answer: whether there is such a job.
    Cancel { endpoint: String, id: String, answer: Answer<Result<(), Refusal>> },
    /// Back into the queue.
    Retry { endpoint: String, id: String, answer: Answer<Result<(), Refusal>> },
    /// Drop the queue. Answer: how many jobs.
    Purge { endpoint: String, answer: Answer<Result<u64, Refusal>> },
    /// Counters.
    Health { endpoint: String, answer: Answer<Result<Health, Refusal>> },
    /// A worker asks for up to `slots` jobs. The answer comes when there is one, or when the worker is to leave.
    Take {
        endpoint: String,
        worker: String,
        slots: u32,
        in_progress: bool,
        ticket: u64,
        answer: Answer<Result<Taken, Refusal>>,
    },
    /// The take of that ticket is over: held long enough, or its connection is gone.
    TakeOver { worker: String, ticket: u64 },
    /// A worker's post.
    Done { endpoint: String, worker: String, id: String, done: Done, answer: Answer<Result<(), Refusal>> },
    /// A piece of a stream.
    Chunk { endpoint: String, worker: String, id: String, value: Bytes, answer: Answer<Result<(), Refusal>> },
    /// A ping.
    Ping { endpoint: String, worker: String, ping: Ping, answer: Answer<Result<(), Refusal>> },
    /// A worker waits for stop signals. Answer: ids of jobs to stop.
    Stops { endpoint: String, worker: String, answer: Answer<Result<Vec<String>, Refusal>> },
    /// A request of a load-balancing endpoint wants a worker.
    Acquire { endpoint: String, affinity: Option<String>, ticket: u64, answer: Answer<Result<Place, Refusal>> },
    /// The request of that ticket is over (or its client is gone).
    Release { endpoint: String, ticket: u64, ok: bool },
    /// All endpoints.
    Endpoints(Answer<Vec<EndpointView>>),
    /// A new endpoint.
    Create { config: Box<EndpointConfig>, answer: Answer<Result<EndpointView, (Refusal, String)>> },
    /// New settings of an endpoint.
    Update { config: Box<EndpointConfig>, answer: Answer<Result<EndpointView, (Refusal, String)>> },
    /// The endpoint goes.
    Delete { endpoint: String, answer: Answer<Result<(), Refusal>> },
    /// Its workers.
    Workers { endpoint: String, answer: Answer<Result<Vec<WorkerView>, Refusal>> },
    /// Its releases, newest first.
    Releases { endpoint: String, answer: Answer<Result<Vec<ReleaseView>, Refusal>> },
    /// Spend, of one endpoint or of all.
    Bills { endpoint: Option<String>, answer: Answer<Vec<BillView>> },
    /// Last lines of a worker.
    Logs { endpoint: String, worker: String, lines: usize, answer: Answer<Result<Logs, Refusal>> },
    /// Prometheus text.
    Metrics(Answer<String>),
    /// The application file was read again: endpoints of the file that are new, changed or gone.
    Reconcile { endpoints: Vec<EndpointConfig>, answer: Answer<Result<(), String>> },
    /// From a launcher.
    Report(Report),
    /// A load-balancing worker's health probe answered 200 for the first time.
    Probed { worker: String },
    /// A webhook was tried.
    Delivered(Box<super::super::store::Delivery>),
    /// A key was made or revoked.
    Key(Box<super::super::store::KeyRow>, Answer<Result<(), Refusal>>),
    /// No new jobs, nothing handed out any more; answers when no job is with a worker.
    Drain(Answer<()>),
    /// The end: workers are stopped unless they are to be kept; answers when everything is durable.
    ShutDown { keep_workers: bool, answer: Answer<()> },
}

/// The core, seen from outside its thread. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<Request>,
    reader: Arc<dyn StoreReader>,
    notices: broadcast::Sender<JobNotice>,
    tokens: TokenKey,
    clock: Clock,
    tickets: Arc<std::sync::atomic::AtomicU64>,
}

/// Sends a message when it is dropped before [`Guard::done`].
struct Guard<'a> {
    requests: &'a Sender<Request>,
    last_words: Option<Request>,
}

impl Guard<'_> {
    fn done(mut self) {
        self.last_words = None;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.last_words.take() {
            let _ = self.requests.send(request);
        }
    }
}

impl Handle {
    /// Of the core's thread.
    pub fn new(
        requests: Sender<Request>,
        reader: Arc<dyn StoreReader>,
        notices: broadcast::Sender<JobNotice>,
        tokens: TokenKey,
        clock: Clock,
    ) -> Handle {
        Handle { requests, reader, notices, tokens, clock, tickets: Arc::default() }
    }

    /// What is durable, from any thread; calls may block for a disk access.
    pub fn reader(&self) -> &Arc<dyn StoreReader> {
        &self.reader
    }

    /// Every change of every job, for server-sent events. A slow listener loses the oldest.
    pub fn notices(&self) -> broadcast::Receiver<JobNotice> {
        self.notices.subscribe()
    }

    /// Signs and checks worker tokens.
    pub fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// The scheduler's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells the core something that needs no answer.
    pub fn send(&self, request: Request) {
        // The core's thread ends after the gateway's; what it no longer hears is asked again after the restart.
        let _ = self.requests.send(request);
    }

    async fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> Request) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.requests.send(make(sender)).ok()?;
        receiver.await.ok()
    }

    /// Puts a job into the queue: its id, and whether that is an earlier job with the same idempotency key.
    pub async fn submit(&self, submission: Submission) -> Result<(String, bool), Refusal> {
        self.ask(|answer| Request::Submit(Box::new(submission), answer)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// The job, if it has not ended.
    pub async fn live(&self, endpoint: &str, id: &str) -> Option<JobView> {
        let (endpoint, id) = (endpoint.to_owned(), id.to_owned());
        self.ask(|answer| Request::Live { endpoint, id, answer }).await.flatten()
    }

    /// Returns when the job has ended, with how it did, or at once and with nothing if it is not alive: then the store knows.
    pub async fn ended(&self, id: &str) -> Option<Box<JobView>> {
        let id = id.to_owned();
        self.ask(|answer| Request::Wait { id, answer }).await.flatten()
    }

    /// Returns when the job's stream has something to fetch or the job has ended.
    pub async fn chunk_there(&self, id: &str) {
        let id = id.to_owned();
        let _ = self.ask(|answer| Request::WaitChunk { id, answer }).await;
    }

    /// The client has the pieces before `next`.
    pub fn chunks_taken(&self, id: &str, next: u64) {
        self.send(Request::ChunksTaken { id: id.to_owned(), next });
    }

    /// Keeps the result of a job that has ended for no more than `keep_ms` from now on; never longer than it would be.
    pub async fn expire(&self, id: &str, keep_ms: u64) -> Option<()> {
        let id = id.to_owned();
        self.ask(|answer| Request::Expire { id, keep_ms, answer }).await
    }

    /// Cancels a job; a job that has ended stays as it is.
    pub async fn cancel(&self, endpoint: &str, id: &str) -> Result<(), Refusal> {
        let (endpoint, id) = (endpoint.to_owned(), id.to_owned());
        self.ask(|answer| Request::Cancel { endpoint, id, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Puts a failed or timed-out job back into the queue.
    pub async fn retry(&self, endpoint: &str, id: &str) -> Result<(), Refusal> {
        let (endpoint, id) = (endpoint.to_owned(), id.to_owned());
        self.ask(|answer| Request::Retry { endpoint, id, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Drops every queued job; how many there were.
    pub async fn purge(&self, endpoint: &str) -> Result<u64, Refusal> {
        let endpoint = endpoint.to_owned();
        self.ask(|answer| Request::Purge { endpoint, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Counters of an endpoint.
    pub async fn health(&self, endpoint: &str) -> Result<Health, Refusal> {
        let endpoint = endpoint.to_owned();
        self.ask(|answer| Request::Health { endpoint, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Waits for work for a worker, until there is some, the worker is to leave, or the future is dropped.
    pub async fn take(&self, endpoint: &str, worker: &str, slots: u32, in_progress: bool) -> Result<Taken, Refusal> {
        let ticket = self.ticket();
        let over = Request::TakeOver { worker: worker.to_owned(), ticket };
        let guard = Guard { requests: &self.requests, last_words: Some(over) };
        let (endpoint, worker) = (endpoint.to_owned(), worker.to_owned());
        let taken = self.ask(|answer| Request::Take { endpoint, worker, slots, in_progress, ticket, answer }).await;
        guard.done();
        taken.unwrap_or(Ok(Taken::KeepOff))
    }

    /// A worker's result or progress.
    pub async fn done(&self, endpoint: &str, worker: &str, id: &str, done: Done) -> Result<(), Refusal> {
        let (endpoint, worker, id) = (endpoint.to_owned(), worker.to_owned(), id.to_owned());
        let answer = self.ask(|answer| Request::Done { endpoint, worker, id, done, answer }).await;
        answer.unwrap_or(Err(Refusal::StoreUnavailable))
    }

    /// A piece of a job's stream.
    pub async fn chunk(&self, endpoint: &str, worker: &str, id: &str, value: Bytes) -> Result<(), Refusal> {
        let (endpoint, worker, id) = (endpoint.to_owned(), worker.to_owned(), id.to_owned());
        let answer = self.ask(|answer| Request::Chunk { endpoint, worker, id, value, answer }).await;
        answer.unwrap_or(Err(Refusal::StoreUnavailable))
    }

    /// A worker's sign of life.
    pub async fn ping(&self, endpoint: &str, worker: &str, ping: Ping) -> Result<(), Refusal> {
        let (endpoint, worker) = (endpoint.to_owned(), worker.to_owned());
        let answer = self.ask(|answer| Request::Ping { endpoint, worker, ping, answer }).await;
        answer.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Waits for stop signals; an empty list when the worker is to leave.
    pub async fn stops(&self, endpoint: &str, worker: &str) -> Result<Vec<String>, Refusal> {
        let (endpoint, worker) = (endpoint.to_owned(), worker.to_owned());
        self.ask(|answer| Request::Stops { endpoint, worker, answer }).await.unwrap_or(Ok(Vec::new()))
    }

    /// Waits for a worker for one request of a load-balancing endpoint. Dropping the future gives the request up.
    pub async fn acquire(&self, endpoint: &str, affinity: Option<&str>) -> Result<Place, Refusal> {
        let ticket = self.ticket();
        let over = Request::Release { endpoint: endpoint.to_owned(), ticket, ok: false };
        let guard = Guard { requests: &self.requests, last_words: Some(over) };
        let (endpoint, affinity) = (endpoint.to_owned(), affinity.map(str::to_owned));
        let place = self.ask(|answer| Request::Acquire { endpoint, affinity, ticket, answer }).await;
        guard.done();
        place.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// The request that held `place` is over; `ok` when the worker answered.
    pub fn release(&self, endpoint: &str, place: &Place, ok: bool) {
        self.send(Request::Release { endpoint: endpoint.to_owned(), ticket: place.ticket, ok });
    }

    /// All endpoints, by number.
    pub async fn endpoints(&self) -> Vec<EndpointView> {
        self.ask(Request::Endpoints).await.unwrap_or_default()
    }

    /// Makes an endpoint. The text of a refusal says what to mend.
    pub async fn create(&self, config: EndpointConfig) -> Result<EndpointView, (Refusal, String)> {
        let answer = self.ask(|answer| Request::Create { config: Box::new(config), answer }).await;
        answer.unwrap_or(Err((Refusal::ShuttingDown, String::new())))
    }

    /// Changes an endpoint: a release if its containers change.
    pub async fn update(&self, config: EndpointConfig) -> Result<EndpointView, (Refusal, String)> {
        let answer = self.ask(|answer| Request::Update { config: Box::new(config), answer }).await;
        answer.unwrap_or(Err((Refusal::ShuttingDown, String::new())))
    }

    /// Deletes an endpoint.
    pub async fn delete(&self, endpoint: &str) -> Result<(), Refusal> {
        let endpoint = endpoint.to_owned();
        self.ask(|answer| Request::Delete { endpoint, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// The workers of an endpoint, oldest first.
    pub async fn workers(&self, endpoint: &str) -> Result<Vec<WorkerView>, Refusal> {
        let endpoint = endpoint.to_owned();
        self.ask(|answer| Request::Workers { endpoint, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// The releases of an endpoint, newest first.
    pub async fn releases(&self, endpoint: &str) -> Result<Vec<ReleaseView>, Refusal> {
        let endpoint = endpoint.to_owned();
        self.ask(|answer| Request::Releases { endpoint, answer }).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Spend so far, of one endpoint or of all.
    pub async fn bills(&self, endpoint: Option<&str>) -> Vec<BillView> {
        let endpoint = endpoint.map(str::to_owned);
        self.ask(|answer| Request::Bills { endpoint, answer }).await.unwrap_or_default()
    }

    /// The last lines of a worker.
    pub async fn logs(&self, endpoint: &str, worker: &str, lines: usize) -> Result<Logs, Refusal> {
        let (endpoint, worker) = (endpoint.to_owned(), worker.to_owned());
        let answer = self.ask(|answer| Request::Logs { endpoint, worker, lines, answer }).await;
        answer.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// The platform's metrics in the Prometheus text format.
    pub async fn metrics(&self) -> String {
        self.ask(Request::Metrics).await.unwrap_or_default()
    }

    /// Makes the endpoints of the application file what the file now says.
    pub async fn reconcile(&self, endpoints: Vec<EndpointConfig>) -> Result<(), String> {
        let answer = self.ask(|answer| Request::Reconcile { endpoints, answer }).await;
        answer.unwrap_or_else(|| Err("the gateway is going down".to_owned()))
    }

    /// Records a new or revoked key.
    pub async fn key(&self, row: super::super::store::KeyRow) -> Result<(), Refusal> {
        self.ask(|answer| Request::Key(Box::new(row), answer)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Takes no new jobs and hands none out; returns when no job is with a worker.
    pub async fn drain(&self) {
        let _ = self.ask(Request::Drain).await;
    }

    /// Ends the core's thread; returns when everything is durable and the workers are stopped (or left alone).
    pub async fn shut_down(&self, keep_workers: bool) {
        let _ = self.ask(|answer| Request::ShutDown { keep_workers, answer }).await;
    }

    fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }
}
