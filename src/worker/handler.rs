//! What a handler is given and what it gives back.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use tokio::sync::watch;

use super::wire::Wire;

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Id.
    pub id: String,
    /// What the client sent as `input`.
    pub input: Value,
    /// Everything else that came with the job (`s3Config` ...).
    pub more: Map<String, Value>,
}

/// Runs jobs. Every `async fn(Job, Context) -> Result<Outcome, Failed>` is one.
pub trait Handler: Send + Sync + 'static {
    /// Runs one job to its end. When the job is cancelled the future is dropped at its next wait, and nothing is posted.
    fn handle(&self, job: Job, context: Context) -> impl Future<Output = Result<Outcome, Failed>> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Job, Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, Failed>> + Send,
{
    fn handle(&self, job: Job, context: Context) -> impl Future<Output = Result<Outcome, Failed>> + Send {
        self(job, context)
    }
}

/// How a job ended well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The output; none if everything was streamed.
    pub output: Option<Value>,
    /// The worker is to be replaced by a fresh one.
    pub refresh: bool,
}

impl Outcome {
    /// An output.
    pub fn output(output: Value) -> Outcome {
        Outcome { output: Some(output), refresh: false }
    }

    /// Nothing beyond what was streamed.
    pub fn streamed() -> Outcome {
        Outcome::default()
    }

    /// The same, and a fresh worker for the next job.
    #[must_use]
    pub fn and_refresh(self) -> Outcome {
        Outcome { refresh: true, ..self }
    }
}

impl From<Value> for Outcome {
    fn from(output: Value) -> Outcome {
        Outcome::output(output)
    }
}

/// How a job ended badly: final, it is not tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(String);

impl Failed {
    /// With a text for whoever submitted the job.
    pub fn new(text: impl Into<String>) -> Failed {
        Failed(text.into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed(error.to_string())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether a job was cancelled. Cheap to clone; good for threads that compute without ever waiting.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// The job is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the job is not wanted any more.
    pub async fn cancelled(&mut self) {
        // The sender lives as long as the job is held: an error means that the job is over, and nobody waits any more.
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A handler's way to the client while the job runs. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    wire: Arc<Wire>,
    job: String,
    cancel: Cancel,
    pieces: Arc<AtomicU64>,
}

impl Context {
    pub(super) fn new(wire: Arc<Wire>, job: &str, cancelled: watch::Receiver<bool>) -> Context {
        Context { wire, job: job.to_owned(), cancel: Cancel(cancelled), pieces: Arc::default() }
    }

    /// Sends a piece of the output. Pieces arrive in the order in which they were sent; one that cannot be delivered is logged.
    pub async fn stream(&self, piece: &Value) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.wire.stream(&self.job, piece).await;
    }

    /// Tells how far the job is: clients see it as `output` while the job runs.
    pub async fn progress(&self, value: &Value) {
        self.wire.progress(&self.job, value).await;
    }

    /// Whether the job was cancelled, for code that does not wait.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// True when at least one piece was streamed.
    pub(super) fn has_streamed(&self) -> bool {
        self.pieces.load(Ordering::Relaxed) > 0
    }
}
