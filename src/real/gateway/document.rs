//! A job as clients, webhooks and event streams see it: the platform's job object (contract §4.1) with our additions behind it.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::super::core::api::{JobStatus, JobView};
use super::super::core::handle::Handle;
use super::super::store::{DeliveryState, JobRow, StoreError, StoreReader};
use super::json::push_text;

/// Reads at once. The store keeps as many connections; each one more would be opened, which takes longer than to read, and closed.
static READS: Semaphore = Semaphore::const_new(8);

/// A state as written on the wire.
pub fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::InQueue => "IN_QUEUE",
        JobStatus::InProgress => "IN_PROGRESS",
        JobStatus::Completed => "COMPLETED",
        JobStatus::Failed => "FAILED",
        JobStatus::Cancelled => "CANCELLED",
        JobStatus::TimedOut => "TIMED_OUT",
    }
}

/// The `/status` document of a job, which is also the body of its webhook: JSON.
pub fn status_document(view: &JobView) -> Vec<u8> {
    let [head, output, tail] = status_pieces(view);
    [head, output, tail].concat()
}

/// The same in three pieces; the middle one is the output as it was stored.
pub fn status_pieces(view: &JobView) -> [Bytes; 3] {
    let mut head = Vec::with_capacity(256);
    write_members(&mut head, format_args!("{{\"id\":\"{}\"", view.id));
    write_members(
        &mut head,
        format_args!(",\"status\":\"{}\",\"delayTime\":{}", status_word(view.status), view.delay_ms),
    );
    if let Some(ms) = view.execution_ms {
        write_members(&mut head, format_args!(",\"executionTime\":{ms}"));
    }
    if let Some(worker) = &view.worker {
        head.extend_from_slice(b",\"workerId\":");
        push_text(&mut head, worker);
    }
    write_members(&mut head, format_args!(",\"retries\":{}", view.retries));
    let output = view.output.clone().unwrap_or_default();
    if !output.is_empty() {
        head.extend_from_slice(b",\"output\":");
    }
    let mut tail = Vec::with_capacity(256);
    for (name, text) in [("error", &view.error), ("cause", &view.cause)] {
        if let Some(text) = text {
            write_members(&mut tail, format_args!(",\"{name}\":"));
            push_text(&mut tail, text);
        }
    }
    if let Some(reason) = view.reason {
        write_members(&mut tail, format_args!(",\"reason\":\"{}\"", reason.as_str()));
    }
    write_attempts(&mut tail, view);
    write_members(&mut tail, format_args!(",\"submittedAt\":{}", view.submitted_ms));
    if let Some(ms) = view.finished_ms {
        write_members(&mut tail, format_args!(",\"finishedAt\":{ms}"));
    }
    if let Some(state) = view.webhook {
        let word = match state {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        };
        write_members(&mut tail, format_args!(",\"webhookState\":\"{word}\""));
    }
    tail.push(b'}');
    [head.into(), output, tail.into()]
}

fn write_attempts(out: &mut Vec<u8>, view: &JobView) {
    if view.attempts.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"attempts\":[");
    for (number, attempt) in view.attempts.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"{\"workerId\":" } else { b",{\"workerId\":" });
        push_text(out, &attempt.worker);
        write_members(out, format_args!(",\"startedAt\":{}", attempt.started_ms));
        if let Some(ms) = attempt.ended_ms {
            write_members(out, format_args!(",\"endedAt\":{ms}"));
        }
        if !attempt.end.is_empty() {
            out.extend_from_slice(b",\"end\":");
            push_text(out, &attempt.end);
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn write_members(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

/// A job as the store has it; `None` while it has no end.
pub fn ended_view(row: &JobRow, output: Option<Bytes>, webhook: Option<DeliveryState>) -> Option<JobView> {
    row.end.as_ref().map(|end| JobView::ended(row, end, output, webhook))
}

/// What the store says about an id.
pub enum Stored {
    /// Ended.
    Ended(Box<JobView>),
    /// There, without an end: the core knows more.
    Alive,
    /// Not there any more, and why.
    Gone(String),
    /// Never heard of, or of another endpoint.
    Unknown,
}

/// Reads a job of `endpoint` from the store, away from the threads that serve.
pub async fn stored(reader: &Arc<dyn StoreReader>, endpoint: &str, id: &str) -> Result<Stored, StoreError> {
    let (reader, endpoint, id) = (Arc::clone(reader), endpoint.to_owned(), id.to_owned());
    blocking(move || {
        let Some(row) = reader.job(&id)? else {
            return Ok(reader.tombstone(&id)?.map_or(Stored::Unknown, Stored::Gone));
        };
        if row.endpoint != endpoint {
            return Ok(Stored::Unknown);
        }
        if row.end.is_none() {
            return Ok(Stored::Alive);
        }
        let output = reader.output(&id)?;
        let webhook = match &row.webhook {
            Some(_) => reader.deliveries(&id)?.iter().max_by_key(|delivery| delivery.generation).map(|d| d.state),
            None => None,
        };
        Ok(ended_view(&row, output, webhook).map_or(Stored::Alive, |view| Stored::Ended(Box::new(view))))
    })
    .await
}

/// Runs something that may wait for the disk on a thread of its own.
///
/// # Errors
/// As `work`; a panic in it is a fatal error of the store.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let _turn = READS.acquire().await;
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Fatal(format!("a read ended early: {error}"))))
}

/// A job of `endpoint`, alive or ended; what the store says if it is neither.
///
/// # Errors
/// The store cannot be read.
pub async fn find_job(handle: &Handle, endpoint: &str, id: &str) -> Result<Result<JobView, Stored>, StoreError> {
    // Between the two questions a job may end, or be retried: then the other one knows it when asked again.
    for _ in 0..3 {
        if let Some(view) = handle.live(endpoint, id).await {
            return Ok(Ok(view));
        }
        match stored(handle.reader(), endpoint, id).await? {
            Stored::Ended(view) => return Ok(Ok(*view)),
            Stored::Alive => {}
            other @ (Stored::Gone(_) | Stored::Unknown) => return Ok(Err(other)),
        }
    }
    Ok(Err(Stored::Alive))
}

/// A job of `endpoint`; `None` if there is none (any more) or the store cannot be read.
pub async fn job_view(handle: &Handle, endpoint: &str, id: &str) -> Option<JobView> {
    match find_job(handle, endpoint, id).await {
        Ok(found) => found.ok(),
        Err(error) => {
            tracing::error!(%error, "a job could not be read");
            None
        }
    }
}
