//! The built-in worker of a load-balancing endpoint: answers every request with what it was, on the port that it is given.
//!
//! Environment, as on the platform: `PORT`, `PORT_HEALTH` (the same unless given), `HEALTH_CHECK_PATH` (`/ping` unless given).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::IntoResponse;
use axum::routing::any;
use tokio::net::TcpListener;

use super::super::logging::{self, LogFormat};
use super::Failure;

fn port_of(name: &str) -> Result<Option<u16>, Failure> {
    match std::env::var(name) {
        Err(_) => Ok(None),
        Ok(port) => match port.parse() {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(Failure::input(format!("{name}: `{port}`; allowed: a port"))),
        },
    }
}

/// Answers requests until it is told to leave.
pub fn serve(start: Duration) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    let ports = [port_of("PORT")?, port_of("PORT_HEALTH")?];
    if ports[0].is_none() {
        return Err(Failure::input("the environment has no PORT: nowhere to listen"));
    }
    let health = std::env::var("HEALTH_CHECK_PATH").unwrap_or_else(|_| "/ping".to_owned());
    if !health.starts_with('/') || health.contains(['{', '}']) {
        return Err(Failure::input(format!("HEALTH_CHECK_PATH: `{health}`; allowed: a path such as `/ping`")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::other)?;
    runtime.block_on(async {
        tokio::time::sleep(start).await;
        let router = Router::new().route(&health, any(async || "OK")).fallback(echo);
        let mut servers = tokio::task::JoinSet::new();
        let mut known = Vec::new();
        for port in ports.into_iter().flatten() {
            if known.contains(&port) {
                continue;
            }
            known.push(port);
            let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await;
            let listener = listener.map_err(|error| Failure::other(format!("port {port}: {error}")))?;
            let server = axum::serve(listener, router.clone()).with_graceful_shutdown(told_to_leave());
            servers.spawn(async move { server.await });
        }
        while let Some(ended) = servers.join_next().await {
            ended.map_err(Failure::other)?.map_err(Failure::other)?;
        }
        Ok(())
    })
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    axum::Json(serde_json::json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "worker": std::env::var("RUNPOD_POD_ID").ok(),
    }))
}

async fn told_to_leave() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
