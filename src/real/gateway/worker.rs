//! The worker API, as the `runpod` worker SDK speaks it (reference: worker SDK 1.12).
//!
//! The SDK never backs off by itself: 204, 4xx, 5xx and a refused connection make it ask again at once, only 429 makes it wait
//! (5 s). So polls are held, refusals of polls come late, and a gateway that goes down answers 429.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::json;

use super::super::core::api::{HandedJob, Ping, Refusal, Taken};
use super::super::ids::is_id;
use super::Gateway;
use super::auth::{Verdict, worker_may};
use super::body::{Bounds, Pieces, Received, receive};
use super::jobs::{Answer, Shared, json_response};
use super::listen::Peer;
use super::posts;
use super::problem::Problem;
use super::query::Query;

/// Most jobs in one answer.
const BATCH_MAX: u64 = 1_000;
/// The SDK's pause after 429, in seconds.
const PAUSE_S: u64 = 5;

/// A worker's name, and the query; the SDK glues `&job_in_progress=0` to the path if its template had no query.
fn named<'a>(worker: &'a str, uri: &'a Uri) -> (&'a str, Query<'a>) {
    match worker.split_once('&') {
        Some((worker, glued)) => (worker, Query::new(Some(glued))),
        None => (worker, Query::new(uri.query())),
    }
}

impl Gateway {
    fn worker(&self, parts: &Parts, endpoint: &str, worker: &str) -> Result<(), Problem> {
        if worker_may(self.handle.tokens(), &parts.headers, endpoint, worker) {
            return Ok(());
        }
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Err(self.failures.refuse(peer, Verdict::Unknown, self.config.limits.auth_failures_per_s))
    }

    /// Completes when a held poll must end because we go down.
    async fn poll_drain(&self) {
        self.drain().await;
        self.polls_ended.store(true, Ordering::Relaxed);
    }

    /// A refused poll is answered late, because it will be repeated at once.
    async fn late(&self, problem: Problem) -> Problem {
        tokio::select! {
            () = tokio::time::sleep(self.config.times.refused_poll) => {}
            () = self.drain() => {}
        }
        problem
    }
}

fn nothing() -> Response<Body> {
    StatusCode::NO_CONTENT.into_response()
}

fn keep_off() -> Response<Body> {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "keep_off", "no work for now").retry_after(PAUSE_S).into_response()
}

fn push_job(pieces: &mut Vec<Bytes>, job: HandedJob) {
    pieces.push(format!("{{\"id\":\"{}\",\"input\":", job.id).into());
    pieces.push(job.input);
    if let Some(s3) = job.s3 {
        pieces.push(Bytes::from_static(b",\"s3Config\":"));
        pieces.push(s3);
    }
    pieces.push(Bytes::from_static(b"}"));
}

/// GET `/job-take/{worker}`.
pub async fn take(
    State(gateway): Shared,
    Path((endpoint, worker)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let (worker, query) = named(&worker, &parts.uri);
    let in_progress = query.get("job_in_progress").as_deref() == Some("1");
    let jobs = match taken(&gateway, &parts, &endpoint, worker, 1, in_progress).await? {
        Ok(jobs) => jobs,
        Err(other) => return Ok(other),
    };
    let mut pieces = Vec::with_capacity(5);
    let several = jobs.len() > 1;
    for (number, job) in jobs.into_iter().enumerate() {
        if several {
            pieces.push(Bytes::from_static(if number == 0 { b"[" } else { b"," }));
        }
        push_job(&mut pieces, job);
    }
    if several {
        pieces.push(Bytes::from_static(b"]"));
    }
    Ok(json_response(Pieces::body(pieces)))
}

/// GET `/job-take-batch/{worker}?batch_size=n`.
pub async fn take_batch(
    State(gateway): Shared,
    Path((endpoint, worker)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let (worker, query) = named(&worker, &parts.uri);
    let in_progress = query.get("job_in_progress").as_deref() == Some("1");
    let slots = query.get("batch_size").and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, BATCH_MAX);
    let jobs = match taken(&gateway, &parts, &endpoint, worker, slots as u32, in_progress).await? {
        Ok(jobs) => jobs,
        Err(other) => return Ok(other),
    };
    let mut pieces = vec![Bytes::from_static(b"[")];
    for (number, job) in jobs.into_iter().enumerate() {
        if number > 0 {
            pieces.push(Bytes::from_static(b","));
        }
        push_job(&mut pieces, job);
    }
    pieces.push(Bytes::from_static(b"]"));
    Ok(json_response(Pieces::body(pieces)))
}

/// Holds a poll: the jobs, or the answer without any. Dropped with the connection, it takes the worker's offer back.
async fn taken(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    endpoint: &str,
    worker: &str,
    slots: u32,
    in_progress: bool,
) -> Result<Result<Vec<HandedJob>, Response<Body>>, Problem> {
    if let Err(problem) = gateway.worker(parts, endpoint, worker) {
        return Err(gateway.late(problem).await);
    }
    if gateway.draining() {
        return Ok(Err(keep_off()));
    }
    let taken = tokio::select! {
        biased;
        taken = gateway.handle.take(endpoint, worker, slots, in_progress) => taken,
        () = tokio::time::sleep(gateway.config.times.poll_hold) => Ok(Taken::Nothing),
        () = gateway.poll_drain() => Ok(Taken::Nothing),
    };
    match taken {
        Ok(Taken::Jobs(jobs)) if !jobs.is_empty() => Ok(Ok(jobs)),
        Ok(Taken::Jobs(_) | Taken::Nothing) => Ok(Err(nothing())),
        Ok(Taken::KeepOff) | Err(Refusal::StoreUnavailable | Refusal::ShuttingDown) => Ok(Err(keep_off())),
        Err(refusal) => Err(gateway.late(refusal.into()).await),
    }
}

/// GET `/job-stop/{worker}`.
pub async fn stop(
    State(gateway): Shared,
    Path((endpoint, worker)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let (worker, _) = named(&worker, &parts.uri);
    if let Err(problem) = gateway.worker(&parts, &endpoint, worker) {
        return Err(gateway.late(problem).await);
    }
    if gateway.draining() {
        return Ok(keep_off());
    }
    let stops = tokio::select! {
        biased;
        stops = gateway.handle.stops(&endpoint, worker) => stops,
        () = tokio::time::sleep(gateway.config.times.poll_hold) => Ok(Vec::new()),
        () = gateway.poll_drain() => Ok(Vec::new()),
    };
    match stops {
        Ok(ids) if ids.is_empty() => Ok(nothing()),
        Ok(ids) => Ok(json_response(json!({ "jobsToStop": ids }).to_string())),
        Err(Refusal::StoreUnavailable | Refusal::ShuttingDown) => Ok(keep_off()),
        Err(refusal) => Err(gateway.late(refusal.into()).await),
    }
}

/// GET `/ping/{worker}`.
pub async fn ping(
    State(gateway): Shared,
    Path((endpoint, worker)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let (worker, query) = named(&worker, &parts.uri);
    gateway.worker(&parts, &endpoint, worker)?;
    let jobs: Vec<String> = query
        .get("job_id")
        .map(|ids| ids.split(',').filter(|id| is_id(id)).map(str::to_owned).collect())
        .unwrap_or_default();
    let text = |name: &str| query.get(name).map(|text| shortened(&text)).unwrap_or_default();
    let unhealthy = (query.get("status").as_deref() == Some("unhealthy")).then(|| (text("check"), text("reason")));
    gateway.handle.ping(&endpoint, worker, Ping { jobs, unhealthy }).await?;
    Ok(json_response("{}"))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// A worker's body. What goes wrong on the way is the worker's to repeat: 5xx.
async fn received(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Received, Problem> {
    let bounds = Bounds::worker(&gateway.config.limits, &gateway.config.times);
    let received = receive(&gateway.buffered, &parts.headers, body, bounds).await;
    received.map_err(|problem| Problem { status: StatusCode::SERVICE_UNAVAILABLE, ..problem })
}

/// POST `/job-done/{worker}/{id}`.
pub async fn done(
    State(gateway): Shared,
    Path((endpoint, worker, id)): Path<(String, String, String)>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let id = checked(&gateway, &parts, &endpoint, &worker, &id)?;
    let limits = gateway.config.limits;
    let done = match received(&gateway, &parts, body).await? {
        Received::Whole(body) => {
            let post = posts::done(&body);
            if post.odd_numbers {
                gateway.telemetry.odd_numbers.inc();
                tracing::info!(endpoint, worker, id, "NaN or Infinity in the result, stored as null");
            }
            post.what
        }
        Received::TooLarge(size) => {
            gateway.telemetry.oversized_results.inc();
            posts::failed(posts::too_large(size, limits.output))
        }
    };
    gateway.handle.done(&endpoint, &worker, &id, done).await?;
    Ok(json_response("{}"))
}

/// POST `/job-stream/{worker}/{id}`.
pub async fn chunk(
    State(gateway): Shared,
    Path((endpoint, worker, id)): Path<(String, String, String)>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let id = checked(&gateway, &parts, &endpoint, &worker, &id)?;
    let limits = gateway.config.limits;
    let body = match received(&gateway, &parts, body).await? {
        Received::Whole(body) => body,
        // A stream with a hole is no result: the job fails and says why.
        Received::TooLarge(size) => {
            gateway.telemetry.oversized_results.inc();
            let failed = posts::failed(posts::too_large(size, limits.output));
            gateway.handle.done(&endpoint, &worker, &id, failed).await?;
            return Ok(json_response("{}"));
        }
    };
    let post = posts::chunks(&body, limits.chunk);
    if post.odd_numbers {
        gateway.telemetry.odd_numbers.inc();
    }
    for value in post.what {
        gateway.handle.chunk(&endpoint, &worker, &id, value).await?;
    }
    Ok(json_response("{}"))
}

/// The job's id, once worker and token are known to be good. Like the worker's name it may have a query glued to it.
fn checked(gateway: &Gateway, parts: &Parts, endpoint: &str, worker: &str, id: &str) -> Result<String, Problem> {
    gateway.worker(parts, endpoint, worker)?;
    let id = id.split_once('&').map_or(id, |(id, _)| id);
    if is_id(id) { Ok(id.to_owned()) } else { Err(Problem::not_found("job")) }
}
