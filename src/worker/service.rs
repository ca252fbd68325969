//! The life of a worker: take, run, post, until it is told to leave.
//!
//! Told to leave (SIGTERM, SIGINT), it waits a moment for the answer to its open take, because a job may be on its way, runs
//! what it holds to the end, posts the results and returns.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::handler::{Context, Failed, Handler, Job};
use super::pings::Pings;
use super::settings::{Settings, WorkerError};
use super::wire::{Polled, Wire};

/// How long the answer to an open take is waited for when the worker is to leave.
const LAST_TAKE: Duration = Duration::from_secs(2);
/// An empty answer that comes sooner than this is not a held poll: the next one waits.
const HELD_AT_LEAST: Duration = Duration::from_millis(50);
/// Pauses after failures in a row.
const BACKOFF_MS: [u64; 7] = [100, 200, 400, 800, 1_600, 3_200, 5_000];

/// A worker that is about to serve.
pub struct Worker {
    settings: Settings,
    concurrency: usize,
    start: Duration,
    threads: usize,
}

/// The jobs in hand, each with its way to be cancelled.
#[derive(Default)]
pub struct Held(Mutex<BTreeMap<String, watch::Sender<bool>>>);

impl Held {
    /// Their ids.
    pub fn jobs(&self) -> Vec<String> {
        self.map().keys().cloned().collect()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<bool>>> {
        // Nothing is left half done under this lock, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in hand; `None` if it is in hand already.
    fn add(&self, job: &str) -> Option<watch::Receiver<bool>> {
        let mut map = self.map();
        if map.contains_key(job) {
            return None;
        }
        let (sender, receiver) = watch::channel(false);
        map.insert(job.to_owned(), sender);
        Some(receiver)
    }

    fn cancel(&self, job: &str) {
        match self.map().get(job) {
            Some(sender) => drop(sender.send_replace(true)),
            None => tracing::debug!(job, "told to stop a job that is not here"),
        }
    }

    fn remove(&self, job: &str) {
        self.map().remove(job);
    }
}

impl Worker {
    /// As the environment says.
    ///
    /// # Errors
    /// When it says too little: this process was not started by a gateway.
    pub fn from_env() -> Result<Worker, WorkerError> {
        Ok(Worker::new(Settings::from_env()?))
    }

    /// As `settings` say.
    pub fn new(settings: Settings) -> Worker {
        Worker { settings, concurrency: 1, start: Duration::ZERO, threads: 1 }
    }

    /// Jobs that are run at once, at least 1.
    #[must_use]
    pub fn concurrency(self, jobs: usize) -> Worker {
        Worker { concurrency: jobs.clamp(1, 10_000), ..self }
    }

    /// Time before the worker says its first word: a cold start that loads nothing.
    #[must_use]
    pub fn start_time(self, start: Duration) -> Worker {
        Worker { start, ..self }
    }

    /// Threads on which handlers and the talk with the gateway take turns, at least 1; 1 unless said. A handler that mostly waits (for
    /// a GPU, say) needs no more; one that computes on the CPU gets more of them, or does that in `tokio::task::spawn_blocking`.
    #[must_use]
    pub fn threads(self, threads: usize) -> Worker {
        Worker { threads: threads.clamp(1, 1_024), ..self }
    }

    /// Serves until SIGTERM or SIGINT, on a runtime of its own.
    ///
    /// # Errors
    /// When the worker cannot start.
    pub fn run(self, handler: impl Handler) -> Result<(), WorkerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(self.threads).enable_all().build();
        let runtime = runtime.map_err(|error| WorkerError::Start(error.to_string()))?;
        // On a thread of the runtime, not beside it: a task that the main thread waits for costs two more changes of thread a job.
        let service = runtime.spawn(async {
            let leave = leave_signal().map_err(|error| WorkerError::Start(error.to_string()))?;
            self.serve(handler, leave).await
        });
        match runtime.block_on(service) {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Serves until `leave` comes true.
    ///
    /// # Errors
    /// When the worker cannot start.
    pub async fn serve(self, handler: impl Handler, leave: impl Future<Output = ()> + Send) -> Result<(), WorkerError> {
        let mut leave = std::pin::pin!(leave);
        tokio::select! {
            () = sleep(self.start) => {}
            () = &mut leave => return Ok(()),
        }
        let held = Arc::new(Held::default());
        let wire = Arc::new(Wire::new(self.settings.clone())?);
        let _pings = Pings::start(&self.settings, &held)?;
        info!(worker = self.settings.id, concurrency = self.concurrency, "serving");
        let mut service = Service {
            handler: Arc::new(handler),
            places: Arc::new(Semaphore::new(self.concurrency)),
            wire: Arc::clone(&wire),
            held: Arc::clone(&held),
            running: JoinSet::new(),
        };
        let stops = stop_loop(wire, held);
        tokio::select! {
            () = service.take_loop(leave) => {}
            () = stops => {}
        }
        info!("leaving");
        Ok(())
    }
}

struct Service<H> {
    handler: Arc<H>,
    places: Arc<Semaphore>,
    wire: Arc<Wire>,
    held: Arc<Held>,
    running: JoinSet<()>,
}

impl<H: Handler> Service<H> {
    /// Takes and runs jobs until told to leave; returns when the last one is over and its result delivered.
    async fn take_loop(&mut self, mut leave: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>) {
        let mut failures = 0;
        loop {
            while self.running.try_join_next().is_some() {}
            let place = tokio::select! {
                biased;
                () = &mut leave => break,
                place = Arc::clone(&self.places).acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let free = 1 + self.places.available_permits();
            let asked = Instant::now();
            let wire = Arc::clone(&self.wire);
            let in_progress = !self.held.jobs().is_empty();
            let mut take = std::pin::pin!(wire.take(free, in_progress));
            let (polled, leaving) = tokio::select! {
                polled = &mut take => (polled, false),
                () = &mut leave => (tokio::time::timeout(LAST_TAKE, take).await.unwrap_or(Polled::Nothing), true),
            };
            let pause = match polled {
                Polled::Some(jobs) => {
                    failures = 0;
                    self.start_all(jobs, place).await;
                    Duration::ZERO
                }
                Polled::Nothing => {
                    failures = if asked.elapsed() < HELD_AT_LEAST { failures + 1 } else { 0 };
                    backoff(failures)
                }
                Polled::KeepOff(pause) => pause,
                Polled::Failed => {
                    failures += 1;
                    backoff(failures)
                }
            };
            if leaving {
                break;
            }
            // A sleep of nothing would still last until the timer's next millisecond.
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = &mut leave => break,
                }
            }
        }
        while self.running.join_next().await.is_some() {}
    }

    /// Starts every job, the first one in `place`; more jobs than there are places wait for theirs.
    async fn start_all(&mut self, jobs: Vec<Job>, place: OwnedSemaphorePermit) {
        let mut first = Some(place);
        // All are in hand from now on: pings name them and stop signals find them.
        let jobs: Vec<(Job, watch::Receiver<bool>)> = jobs
            .into_iter()
            .filter_map(|job| match self.held.add(&job.id) {
                Some(cancelled) => Some((job, cancelled)),
                None => {
                    warn!(job = job.id, "got a job that is in hand already");
                    None
                }
            })
            .collect();
        for (job, cancelled) in jobs {
            let place = match first.take() {
                Some(place) => Ok(place),
                None => Arc::clone(&self.places).acquire_owned().await,
            };
            let Ok(place) = place else { return };
            let work = run_job(Arc::clone(&self.handler), Arc::clone(&self.wire), job, cancelled);
            let held = Arc::clone(&self.held);
            let (id, work) = work;
            self.running.spawn(async move {
                work.await;
                held.remove(&id);
                drop(place);
            });
        }
    }
}

/// The id of a job, and its run with everything that follows from it.
fn run_job<H: Handler>(
    handler: Arc<H>,
    wire: Arc<Wire>,
    job: Job,
    cancelled: watch::Receiver<bool>,
) -> (String, impl Future<Output = ()>) {
    let id = job.id.clone();
    let work = async move {
        let id = job.id.clone();
        let context = Context::new(Arc::clone(&wire), &id, cancelled);
        let mut cancel = context.cancel();
        let inner = context.clone();
        // A task of its own, so that a panic of the handler is an error of the job and not the end of the worker.
        let mut task = tokio::spawn(async move { handler.handle(job, inner).await });
        let result = tokio::select! {
            joined = &mut task => joined,
            () = cancel.cancelled() => {
                task.abort();
                info!(job = id, "stopped");
                // A cancelled job posts nothing. Its place is free when it really has ended.
                let _ = task.await;
                return;
            }
        };
        let result = result.unwrap_or_else(|error| {
            error!(job = id, "the handler panicked");
            Err(Failed::new(panic_text(error)))
        });
        wire.done(&id, result, context.has_streamed()).await;
    };
    (id, work)
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let text = error.try_into_panic().ok().and_then(|panic| match panic.downcast::<String>() {
        Ok(text) => Some(*text),
        Err(panic) => panic.downcast::<&str>().ok().map(|text| (*text).to_owned()),
    });
    format!("the handler panicked: {}", text.unwrap_or_else(|| "it said nothing".to_owned()))
}

/// Passes stop signals on, for as long as the worker lives.
async fn stop_loop(wire: Arc<Wire>, held: Arc<Held>) {
    loop {
        let pause = match wire.stops().await {
            Polled::Some(jobs) => {
                jobs.iter().for_each(|job| held.cancel(job));
                // The gateway repeats a signal until the job is gone from a ping: asking at once would only hear it again.
                Duration::from_millis(200)
            }
            Polled::Nothing | Polled::Failed => Duration::from_secs(1),
            Polled::KeepOff(pause) => pause,
        };
        sleep(pause).await;
    }
}

fn backoff(failures: usize) -> Duration {
    let pause = failures.checked_sub(1).map(|index| BACKOFF_MS[index.min(BACKOFF_MS.len() - 1)]);
    Duration::from_millis(pause.unwrap_or(0))
}

fn leave_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
