//! Which path is whose.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};

use super::auth::Need;
use super::jobs::{self, Answer, Shared, json_response};
use super::listen::Peer;
use super::problem::{Managed, Problem};
use super::{Gateway, keys, logs, manage, openai, openapi, proxy, stream, worker};

/// All routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .merge(client())
        .merge(workers())
        .nest("/management/v2", management())
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not with this method")
        })
        // Bodies are bounded where they are read, each operation by its own limit.
        .layer(DefaultBodyLimit::disable())
        .with_state(gateway)
}

fn client() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/v2/{endpoint}/run", post(jobs::run))
        .route("/v2/{endpoint}/runsync", post(jobs::runsync))
        .route("/v2/{endpoint}/status/{id}", get(jobs::status).post(jobs::status))
        .route("/v2/{endpoint}/status-sync/{id}", get(jobs::status_sync).post(jobs::status_sync))
        .route("/v2/{endpoint}/stream/{id}", get(stream::stream).post(stream::stream))
        .route("/v2/{endpoint}/events", get(stream::events))
        .route("/v2/{endpoint}/events/{id}", get(stream::job_events))
        .route("/v2/{endpoint}/cancel/{id}", post(jobs::cancel))
        .route("/v2/{endpoint}/retry/{id}", post(jobs::retry))
        .route("/v2/{endpoint}/purge-queue", post(jobs::purge))
        .route("/v2/{endpoint}/health", get(jobs::health))
        .route("/v2/{endpoint}/requests", get(jobs::requests))
        .route("/v2/{endpoint}/openai/v1/{*path}", get(openai::pass).post(openai::pass))
        .route("/v2/{endpoint}/lb", any(proxy::root))
        .route("/v2/{endpoint}/lb/", any(proxy::root))
        .route("/v2/{endpoint}/lb/{*path}", any(proxy::path))
}

fn workers() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/v2/{endpoint}/job-take/{worker}", get(worker::take))
        .route("/v2/{endpoint}/job-take-batch/{worker}", get(worker::take_batch))
        .route("/v2/{endpoint}/job-stop/{worker}", get(worker::stop))
        .route("/v2/{endpoint}/job-done/{worker}/{id}", post(worker::done))
        .route("/v2/{endpoint}/job-stream/{worker}/{id}", post(worker::chunk))
        .route("/v2/{endpoint}/ping/{worker}", get(worker::ping).post(worker::ping))
}

fn management() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/serverless", get(manage::list).post(manage::create))
        .route("/serverless/{id}", get(manage::show).patch(manage::update).delete(manage::delete))
        .route("/serverless/{id}/workers", get(manage::workers))
        .route("/serverless/{id}/releases", get(manage::releases))
        .route("/serverless/{id}/workers/{worker}/logs", get(logs::logs))
        .route("/billing/serverless", get(manage::bills))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", axum::routing::delete(keys::revoke))
        .fallback(|| async { Managed(Problem::not_found("path")) })
}

/// GET `/healthz`: the gateway answers. No key needed.
async fn healthz(State(gateway): Shared) -> Response<axum::body::Body> {
    if gateway.draining() {
        return Problem::shutting_down().into_response();
    }
    json_response("{\"status\":\"ok\"}")
}

/// GET `/metrics`: Prometheus text, the platform's and the gateway's own.
async fn metrics(State(gateway): Shared, request: Request) -> Answer {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    gateway.authorize(request.headers(), peer, Need::Management)?;
    let text = gateway.telemetry.append_to(gateway.handle.metrics().await);
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// GET `/openapi.json`. No key needed: it is the same for everybody.
async fn openapi_json() -> Response<axum::body::Body> {
    json_response(openapi::document().to_string())
}
