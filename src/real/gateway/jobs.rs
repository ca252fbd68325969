//! The client API of a queue endpoint: submit, ask, cancel, retry, purge, count.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::super::core::api::{JobStatus, JobView};
use super::super::ids::is_id;
use super::auth::{Need, Verdict, shown_key};
use super::body::{Bounds, Pieces, receive_whole};
use super::catalog::Known;
use super::document::{self, Stored, find_job, status_pieces, status_word};
use super::listen::Peer;
use super::problem::Problem;
use super::query::Query;
use super::rates::{Ongoing, Op};
use super::submit::{TTL_MAX_MS, TTL_MIN_MS, submission};
use super::{Gateway, settings};

/// The answer of a client handler.
pub type Answer = Result<Response<Body>, Problem>;
/// What every handler shares.
pub type Shared = State<Arc<Gateway>>;

/// `wait` of `/runsync` in ms (contract §4.1).
const WAIT_MIN_MS: u64 = 1_000;
const WAIT_MAX_MS: u64 = 300_000;
const WAIT_MS: u64 = 90_000;
/// Jobs in one answer of `/requests`.
const LIST_MAX: u64 = 100;
const LIST: u64 = 20;

impl Gateway {
    /// Refuses a key that is not good for `need`.
    pub fn authorize(&self, headers: &HeaderMap, peer: Option<IpAddr>, need: Need<'_>) -> Result<(), Problem> {
        match self.config.auth.check(shown_key(headers), need, peer) {
            Verdict::Allowed => Ok(()),
            verdict => Err(self.failures.refuse(peer, verdict, self.config.limits.auth_failures_per_s)),
        }
    }

    /// Lets a client's request in: key, endpoint, rate.
    pub async fn admit(&self, parts: &Parts, endpoint: &str, op: Op) -> Result<(Arc<Known>, Ongoing), Problem> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        self.authorize(&parts.headers, peer, Need::Endpoint(endpoint))?;
        let known = self.catalog.get(&self.handle, endpoint, self.config.times.refresh).await;
        let known = known.ok_or_else(|| Problem::not_found("endpoint"))?;
        let ongoing = known.rates.enter(op, self.config.rates.as_ref(), Instant::now())?;
        Ok((known, ongoing))
    }

    /// The same for the operations of queue endpoints.
    pub async fn admit_to_queue(
        &self,
        parts: &Parts,
        endpoint: &str,
        op: Op,
    ) -> Result<(Arc<Known>, Ongoing), Problem> {
        let (known, ongoing) = self.admit(parts, endpoint, op).await?;
        known.queue()?;
        Ok((known, ongoing))
    }

    /// The job, or 404 with the reason for which it is gone.
    pub async fn job(&self, endpoint: &str, id: &str) -> Result<JobView, Problem> {
        if !is_id(id) {
            return Err(Problem::not_found("job"));
        }
        match find_job(&self.handle, endpoint, id).await {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(Stored::Gone(reason))) => Err(gone(&reason)),
            Ok(Err(_)) => Err(Problem::not_found("job")),
            Err(error) => Err(unreadable(&error)),
        }
    }

    async fn submitted(
        &self,
        request: Request,
        endpoint: &str,
        sync: bool,
    ) -> Result<(String, bool, Ongoing), Problem> {
        if self.draining() {
            return Err(Problem::shutting_down());
        }
        let (parts, body) = request.into_parts();
        let op = if sync { Op::RunSync } else { Op::Run };
        let (known, ongoing) = self.admit_to_queue(&parts, endpoint, op).await?;
        let settings::GatewayConfig { limits, times, .. } = &self.config;
        let most = if sync { limits.runsync_body } else { limits.run_body };
        let bounds = Bounds::client(most, limits, times);
        let body = receive_whole(&self.buffered, &parts.headers, body, bounds).await?;
        let submission = submission(&known, sync, &parts.headers, &body)?;
        let (id, existed) = self.handle.submit(submission).await?;
        Ok((id, existed, ongoing))
    }
}

fn gone(reason: &str) -> Problem {
    let reason = match reason {
        "expired" => "expired",
        "purged" => "purged",
        "ttl" => "ttl",
        _ => "gone",
    };
    Problem::new(StatusCode::NOT_FOUND, reason, format!("this job is not kept any more: {reason}"))
}

/// The store cannot be read now.
pub fn unreadable(error: &super::super::store::StoreError) -> Problem {
    tracing::error!(%error, "the store cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store cannot be read now").retry_after(5)
}

/// 200 with JSON.
pub fn json_response(body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with JSON about a job, whose id is in the header `X-Job-Id` too.
pub fn job_response(id: &str, body: impl Into<Body>) -> Response<Body> {
    let mut response = json_response(body);
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-job-id", value);
    }
    response
}

fn view_response(view: &JobView) -> Response<Body> {
    job_response(&view.id, Pieces::body(status_pieces(view).into()))
}

fn state_body(id: &str, status: JobStatus) -> String {
    format!("{{\"id\":\"{id}\",\"status\":\"{}\"}}", status_word(status))
}

/// POST `/run`.
pub async fn run(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let (id, existed, _ongoing) = gateway.submitted(request, &endpoint, false).await?;
    let status = if existed { gateway.job(&endpoint, &id).await?.status } else { JobStatus::InQueue };
    Ok(job_response(&id, state_body(&id, status)))
}

/// POST `/runsync`.
pub async fn runsync(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let wait = wait(request.uri())?;
    let (id, _, ongoing) = gateway.submitted(request, &endpoint, true).await?;
    Ok(wait_response(gateway, endpoint, id, wait, ongoing).await)
}

/// GET, POST `/status-sync/{id}`.
pub async fn status_sync(
    State(gateway): Shared,
    Path((endpoint, id)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let wait = wait(&parts.uri)?;
    let (_, ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Status).await?;
    let view = gateway.job(&endpoint, &id).await?;
    if view.status.is_final() {
        return Ok(view_response(&view));
    }
    Ok(wait_response(gateway, endpoint, id, wait, ongoing).await)
}

fn wait(uri: &Uri) -> Result<Duration, Problem> {
    let wait = Query::new(uri.query()).whole("wait", WAIT_MIN_MS, WAIT_MAX_MS)?;
    Ok(Duration::from_millis(wait.unwrap_or(WAIT_MS)))
}

/// Waits for the end of a job. If that takes longer than a moment the headers go ahead, and spaces before the document keep whoever
/// stands between us and the client from giving up.
async fn wait_response(
    gateway: Arc<Gateway>,
    endpoint: String,
    id: String,
    wait: Duration,
    ongoing: Ongoing,
) -> Response<Body> {
    let begun = Instant::now();
    let soon = gateway.config.times.headers_after.min(wait);
    let ended = tokio::select! {
        biased;
        view = gateway.handle.ended(&id) => Some(view),
        () = tokio::time::sleep(soon) => (soon == wait).then_some(None),
        () = gateway.drain() => Some(None),
    };
    if let Some(view) = ended {
        let pieces = waited_pieces(&gateway, &endpoint, &id, view).await;
        return job_response(&id, Pieces::body(pieces));
    }
    struct Waiting {
        gateway: Arc<Gateway>,
        endpoint: String,
        id: String,
        until: Instant,
        _ongoing: Ongoing,
    }
    let header_id = id.clone();
    let waiting = Waiting { gateway, endpoint, id, until: begun + wait, _ongoing: ongoing };
    let pieces = stream::unfold(Some(waiting), |waiting| async {
        let waiting = waiting?;
        let gateway = &waiting.gateway;
        let left = waiting.until.saturating_duration_since(Instant::now());
        let nap = gateway.config.times.heartbeat.min(left);
        let over = tokio::select! {
            biased;
            view = gateway.handle.ended(&waiting.id) => Some(view),
            () = tokio::time::sleep(nap) => (nap == left).then_some(None),
            () = gateway.drain() => Some(None),
        };
        let Some(view) = over else {
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), Some(waiting)));
        };
        let pieces = waited_pieces(gateway, &waiting.endpoint, &waiting.id, view).await;
        Some((Ok(pieces.concat().into()), None))
    });
    job_response(&header_id, Body::from_stream(pieces))
}

/// The document at the end of a wait, which may have told how the job ended.
async fn waited_pieces(gateway: &Gateway, endpoint: &str, id: &str, told: Option<Box<JobView>>) -> Vec<Bytes> {
    if let Some(view) = told.filter(|view| view.endpoint == endpoint) {
        return status_pieces(&view).into();
    }
    // Ended, most likely: then the store is asked first.
    if let Ok(Stored::Ended(view)) = document::stored(gateway.handle.reader(), endpoint, id).await {
        return status_pieces(&view).into();
    }
    match gateway.job(endpoint, id).await {
        Ok(view) => status_pieces(&view).into(),
        // The headers may be on their way: what is known of a job whose record cannot be read is its id.
        Err(problem) => {
            let body = json!({ "id": id, "status": "IN_QUEUE", "error": problem.error, "reason": problem.reason });
            vec![body.to_string().into()]
        }
    }
}

/// GET, POST `/status/{id}`.
pub async fn status(State(gateway): Shared, Path((endpoint, id)): Path<(String, String)>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let keep_ms = Query::new(parts.uri.query()).whole("ttl", TTL_MIN_MS, TTL_MAX_MS)?;
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Status).await?;
    let view = gateway.job(&endpoint, &id).await?;
    if let Some(keep_ms) = keep_ms.filter(|_| view.status.is_final()) {
        // A store that is full keeps the result for longer; the answer is the same.
        let _ = gateway.handle.expire(&id, keep_ms).await;
    }
    Ok(view_response(&view))
}

/// POST `/cancel/{id}`: a job that has ended stays as it is, and the answer says how it ended.
pub async fn cancel(State(gateway): Shared, Path((endpoint, id)): Path<(String, String)>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Cancel).await?;
    let view = gateway.job(&endpoint, &id).await?;
    if view.status.is_final() {
        return Ok(job_response(&id, state_body(&id, view.status)));
    }
    gateway.handle.cancel(&endpoint, &id).await?;
    let status = gateway.job(&endpoint, &id).await.map_or(JobStatus::Cancelled, |view| view.status);
    Ok(job_response(&id, state_body(&id, status)))
}

/// POST `/retry/{id}`.
pub async fn retry(State(gateway): Shared, Path((endpoint, id)): Path<(String, String)>, request: Request) -> Answer {
    if gateway.draining() {
        return Err(Problem::shutting_down());
    }
    let (parts, _) = request.into_parts();
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Cancel).await?;
    gateway.job(&endpoint, &id).await?;
    gateway.handle.retry(&endpoint, &id).await?;
    gateway.cursors.forget(&id);
    Ok(job_response(&id, state_body(&id, JobStatus::InQueue)))
}

/// POST `/purge-queue`.
pub async fn purge(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Purge).await?;
    let removed = gateway.handle.purge(&endpoint).await?;
    Ok(json_response(json!({ "removed": removed, "status": "completed" }).to_string()))
}

/// GET `/health`.
pub async fn health(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, _ongoing) = gateway.admit(&parts, &endpoint, Op::Free).await?;
    let health = gateway.handle.health(&endpoint).await?;
    let body = serde_json::to_vec(&health).expect("counters can be written as JSON");
    Ok(json_response(body))
}

/// GET `/requests`: newest first, without outputs.
pub async fn requests(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let query = Query::new(parts.uri.query());
    let offset = query.whole("offset", 0, u64::from(u32::MAX))?.unwrap_or(0);
    let limit = query.whole("limit", 1, LIST_MAX)?.unwrap_or(LIST);
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Requests).await?;
    let (reader, name) = (Arc::clone(gateway.handle.reader()), endpoint.clone());
    let page = document::blocking(move || reader.list(&name, offset, limit as u32)).await;
    let (rows, total) = page.map_err(|error| unreadable(&error))?;
    let mut listed = Vec::with_capacity(rows.len());
    for row in &rows {
        let view = match document::ended_view(row, None, None) {
            Some(view) => Some(view),
            // A job that ends while the list is made is shown by what it has become, or left to the next list.
            None => document::job_view(&gateway.handle, &endpoint, &row.id).await,
        };
        if let Some(mut view) = view {
            view.output = None;
            let object = serde_json::from_slice::<Value>(&document::status_document(&view));
            listed.push(object.expect("the document is JSON"));
        }
    }
    let more = offset + (rows.len() as u64) < total;
    let body = json!({ "requests": listed, "total": total, "offset": offset, "limit": limit, "hasMore": more });
    Ok(json_response(body.to_string()))
}
