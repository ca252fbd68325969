//! Load balancing: requests go straight to a worker's port (contract §4.6). The core says which worker, this file carries the bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::Stream;

use super::super::config::EndpointKind;
use super::super::core::api::Place;
use super::super::core::handle::Handle;
use super::super::ids::is_id;
use super::Gateway;
use super::catalog::Known;
use super::jobs::{Answer, Shared};
use super::problem::Problem;
use super::rates::{Ongoing, Op};

/// Names the worker that answered, and asks for one.
pub const WORKER_HEADER: &str = "x-runpod-worker-id";

/// Headers that belong to one connection, not to the message (RFC 9110 §7.6.1), and our own.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static(WORKER_HEADER),
];

/// A strict request asks again this often whether its worker has room.
const STRICT_PAUSE: Duration = Duration::from_millis(250);

/// The endpoint's name that the `Host` of a request may hold, as in `{endpoint}.example.org`.
pub fn host_label(gateway: &Gateway, headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST).filter(|_| gateway.config.host_routing)?.to_str().ok()?;
    let (label, rest) = host.split_once('.')?;
    // Addresses have dots too.
    if !is_id(label) || rest.is_empty() || host.split(':').next()?.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    Some(label.to_owned())
}

/// The load-balancing endpoint of that name.
pub async fn by_host(gateway: &Gateway, label: Option<String>) -> Option<Arc<Known>> {
    gateway.catalog.by_label(&gateway.handle, &label?, gateway.config.times.refresh).await
}

/// A request for a host of an endpoint: its path is the worker's.
pub async fn whole_host(gateway: &Arc<Gateway>, known: Arc<Known>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    balanced(gateway, &known.config.id, &path, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// Any method, `/v2/{endpoint}/lb`.
pub async fn root(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    balanced(&gateway, &endpoint, "/", request).await
}

/// Any method, `/v2/{endpoint}/lb/{*path}`.
pub async fn path(State(gateway): Shared, Path((endpoint, _)): Path<(String, String)>, request: Request) -> Answer {
    // Not the decoded path: escapes are the worker's to resolve.
    let path = request.uri().path().splitn(5, '/').nth(4).map(|rest| format!("/{rest}")).unwrap_or_default();
    balanced(&gateway, &endpoint, &path, request).await
}

async fn balanced(gateway: &Arc<Gateway>, endpoint: &str, path: &str, request: Request) -> Answer {
    if gateway.draining() {
        return Err(Problem::shutting_down());
    }
    let (parts, body) = request.into_parts();
    let (known, ongoing) = gateway.admit(&parts, endpoint, Op::Free).await?;
    if known.config.kind != EndpointKind::LoadBalancer {
        return Err(Problem::wrong_kind());
    }
    forward(gateway, &known, ongoing, path, Request::from_parts(parts, body)).await
}

/// Which worker a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Affinity<'a> {
    worker: &'a str,
    strict: bool,
}

fn affinity(headers: &HeaderMap) -> Option<Affinity<'_>> {
    let value = headers.get(WORKER_HEADER)?.to_str().ok()?.trim();
    let (strict, worker) = match value.split_once(' ') {
        Some(("strict" | "strict-resume", worker)) => (true, worker.trim()),
        Some(_) => return None,
        None => (false, value),
    };
    is_id(worker).then_some(Affinity { worker, strict })
}

/// A place that is given back when the answer's body is through, or the client gone.
struct Held {
    handle: Handle,
    endpoint: String,
    place: Place,
    answered: AtomicBool,
    _ongoing: Ongoing,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.handle.release(&self.endpoint, &self.place, self.answered.load(Ordering::Relaxed));
    }
}

async fn place(gateway: &Gateway, endpoint: &str, affinity: Option<Affinity<'_>>) -> Result<Place, Problem> {
    let timed_out = || Problem::new(StatusCode::BAD_REQUEST, "no_worker", "timed out waiting for worker");
    let until = Instant::now() + gateway.config.times.lb_wait;
    loop {
        let wanted = affinity.as_ref().map(|affinity| affinity.worker);
        if let Some(Affinity { worker, strict: true }) = affinity {
            let workers = gateway.handle.workers(endpoint).await?;
            if !workers.iter().any(|known| known.id == worker) {
                let text = "affinity_worker_gone";
                return Err(Problem::new(StatusCode::NOT_FOUND, "affinity_worker_gone", text));
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        let place = tokio::select! {
            biased;
            place = gateway.handle.acquire(endpoint, wanted) => place?,
            () = tokio::time::sleep(left) => return Err(timed_out()),
            () = gateway.drain() => return Err(Problem::shutting_down()),
        };
        match affinity {
            Some(Affinity { worker, strict: true }) if place.worker != worker => {
                gateway.handle.release(endpoint, &place, true);
                if Instant::now() + STRICT_PAUSE >= until {
                    return Err(timed_out());
                }
                tokio::time::sleep(STRICT_PAUSE).await;
            }
            Some(_) | None => return Ok(place),
        }
    }
}

/// Sends a request to a worker of the endpoint and its answer back, both as streams.
pub async fn forward(gateway: &Arc<Gateway>, known: &Known, ongoing: Ongoing, path: &str, request: Request) -> Answer {
    let begun = Instant::now();
    let endpoint = &known.config.id;
    let most = gateway.config.limits.proxy_body;
    let too_large = || {
        let text = format!("at most {most} bytes are taken here");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
    };
    if request.body().size_hint().lower() > most {
        return Err(too_large());
    }
    let (parts, body) = request.into_parts();
    let place = place(gateway, endpoint, affinity(&parts.headers)).await?;
    let handle = gateway.handle.clone();
    let held = Held { handle, endpoint: endpoint.clone(), place, answered: AtomicBool::new(false), _ongoing: ongoing };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("http://{}{path}{query}", held.place.address);
    let mut headers = forwarded(&parts.headers);
    headers.remove(header::HOST);
    // The key opens our door; the worker's code is somebody else's.
    headers.remove(header::AUTHORIZATION);
    let has_body = !body.is_end_stream();
    let sent = Arc::new(AtomicBool::new(false));
    let mut outgoing = gateway.client()?.request(parts.method, url).headers(headers);
    if has_body {
        let cut = Arc::clone(&sent);
        outgoing =
            outgoing.body(reqwest::Body::wrap_stream(Counted { body: body.into_data_stream(), left: most, cut }));
    }
    let total = gateway.config.times.lb_total.saturating_sub(begun.elapsed());
    let answer = outgoing.timeout(total).send().await.map_err(|error| {
        if sent.load(Ordering::Relaxed) {
            return too_large();
        }
        let (status, why) = if error.is_timeout() {
            (StatusCode::GATEWAY_TIMEOUT, "the worker took too long")
        } else {
            (StatusCode::BAD_GATEWAY, "the worker does not answer")
        };
        tracing::info!(endpoint, worker = held.place.worker, error = %error.without_url(), "{why}");
        Problem::new(status, "worker_unreachable", why)
    });
    let worker = held.place.worker.clone();
    let mut response = match answer {
        Ok(answer) => {
            held.answered.store(true, Ordering::Relaxed);
            if answer.content_length().is_some_and(|length| length > most) {
                let text = format!("the worker's answer has more than {most} bytes");
                Problem::new(StatusCode::BAD_GATEWAY, "answer_too_large", text).into_response()
            } else {
                passed_on(answer, held, most)
            }
        }
        Err(problem) => problem.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&worker) {
        response.headers_mut().insert(WORKER_HEADER, value);
    }
    Ok(response)
}

fn passed_on(answer: reqwest::Response, held: Held, most: u64) -> Response<Body> {
    let (status, headers) = (answer.status(), forwarded(answer.headers()));
    let body = Body::new(reqwest::Body::from(answer));
    let counted = Counted { body: body.into_data_stream(), left: most, cut: Arc::default() };
    let mut response = Response::new(Body::from_stream(WhileHeld { counted, _held: held }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in NOT_FORWARDED.iter().chain(&named) {
        kept.remove(name);
    }
    kept
}

/// A body that breaks off when it has more bytes than it may.
struct Counted {
    body: BodyDataStream,
    left: u64,
    cut: Arc<AtomicBool>,
}

impl Stream for Counted {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_next(cx) else { return Poll::Pending };
        Poll::Ready(next.map(|piece| {
            let piece = piece?;
            match self.left.checked_sub(piece.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.cut.store(true, Ordering::Relaxed);
                    return Err("the body is too large".into());
                }
            }
            Ok(piece)
        }))
    }
}

struct WhileHeld {
    counted: Counted,
    _held: Held,
}

impl Stream for WhileHeld {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.counted).poll_next(cx)
    }
}

impl Gateway {
    /// The client for workers' ports: no proxy, no redirects, plain HTTP.
    fn client(&self) -> Result<&reqwest::Client, Problem> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // The library wants to know a crypto provider even for plain HTTP; another part of the program may have set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| {
                tracing::error!(%error, "no HTTP client");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an internal error")
            })?;
        Ok(self.client.get_or_init(|| made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_affinity_are_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(WORKER_HEADER, value.parse().expect("a header value"));
            affinity(&headers).map(|affinity| (affinity.worker.to_owned(), affinity.strict))
        };
        assert_eq!(read("w1-1"), Some(("w1-1".to_owned(), false)));
        assert_eq!(read("strict w1-1"), Some(("w1-1".to_owned(), true)));
        assert_eq!(read("strict-resume w1-1"), Some(("w1-1".to_owned(), true)));
        assert_eq!(read("loose w1-1"), None);
        assert_eq!(read("strict ../x"), None);
    }

    #[test]
    fn headers_of_the_connection_stay_on_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "x-mine, close"), ("x-mine", "1"), ("x-yours", "2"), ("te", "trailers")] {
            headers.insert(name, value.parse().expect("a header value"));
        }
        let kept = forwarded(&headers);
        assert_eq!(kept.len(), 1);
        assert!(kept.contains_key("x-yours"));
    }
}
