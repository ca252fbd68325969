//! Load balancing: requests go to a worker's port and come back, within bounds.

use std::time::Duration;

use serde_json::json;
use thermocline::real::core::api::Place;
use thermocline::real::gateway::{GatewayConfig, Limits, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Running, answer, told, until};

/// A worker that answers each request with its own head and body, as text; its address.
async fn worker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = socket.read(&mut buffer).await {
                    seen.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&seen);
                    let chunked = text.contains("transfer-encoding: chunked");
                    if if chunked { text.ends_with("0\r\n\r\n") } else { text.contains("\r\n\r\n") } {
                        break;
                    }
                }
                let head = format!(
                    "HTTP/1.1 207 x\r\nx-own: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    seen.len()
                );
                let _ = socket.write_all(&[head.as_bytes(), &seen].concat()).await;
            });
        }
    });
    address
}

async fn with_place(config: GatewayConfig, address: String) -> Running {
    let gateway = Running::start(config).await;
    gateway.stand_in.world().place = Some(Place { ticket: 0, worker: "w1-1".to_owned(), address });
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_to_the_worker_without_our_key_and_back_with_its_name() {
    let gateway = with_place(GatewayConfig::default(), worker().await).await;
    let request =
        gateway.post("/v2/lb/lb/some/path%2Fx?a=1&b=%20", "body-1").header("authorization", "Bearer secret-key");
    let response = answer(request.header("x-mine", "7")).await;
    assert_eq!(response.status().as_u16(), 207);
    assert_eq!(response.headers()["x-runpod-worker-id"], "w1-1");
    assert_eq!(response.headers()["x-own"], "1");
    let seen = response.text().await.expect("a body");
    assert!(seen.starts_with("POST /some/path%2Fx?a=1&b=%20 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-mine: 7\r\n") && seen.contains("body-1"), "{seen}");
    assert!(!seen.contains("secret-key"), "{seen}");
    until("the place given back", || !gateway.stand_in.world().released.is_empty()).await;
    assert!(gateway.stand_in.world().released[0].1, "the worker answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_header_names_the_endpoint_too() {
    let gateway = with_place(GatewayConfig::default(), worker().await).await;
    let response = answer(gateway.get("/v2/q/health").header("host", "LB.gpu.example:80")).await;
    let seen = response.text().await.expect("a body");
    assert!(seen.starts_with("GET /v2/q/health HTTP/1.1"), "the whole path is the worker's: {seen}");
    let (status, _) = told(gateway.get("/v2/q/health").header("host", "q.gpu.example")).await;
    assert_eq!(status, 200, "a queue endpoint has no paths of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_answer_is_502_and_said_to_the_core() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let gateway = with_place(GatewayConfig::default(), address).await;
    let response = answer(gateway.get("/v2/lb/lb/x")).await;
    assert_eq!(response.status().as_u16(), 502);
    assert_eq!(response.headers()["x-runpod-worker-id"], "w1-1");
    until("the place given back", || !gateway.stand_in.world().released.is_empty()).await;
    assert!(!gateway.stand_in.world().released[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_worker_has_an_end_in_the_platforms_words() {
    let times = Times { lb_wait: Duration::from_millis(5), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..GatewayConfig::default() }).await;
    let (status, body) = told(gateway.get("/v2/lb/lb/x")).await;
    assert_eq!((status, &body["error"]), (400, &json!("timed out waiting for worker")));
    until("the place given back", || !gateway.stand_in.world().released.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_request_for_a_worker_that_is_gone_is_404() {
    let gateway = with_place(GatewayConfig::default(), worker().await).await;
    let (status, body) = told(gateway.get("/v2/lb/lb/x").header("x-runpod-worker-id", "strict w9-1")).await;
    assert_eq!((status, &body["error"]), (404, &json!("affinity_worker_gone")));
    assert_eq!(
        answer(gateway.get("/v2/lb/lb/x").header("x-runpod-worker-id", "w9-1")).await.status().as_u16(),
        207,
        "soft"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_limit_are_refused_in_both_directions() {
    let limits = Limits { proxy_body: 1_000, ..Limits::default() };
    let gateway = with_place(GatewayConfig { limits, ..GatewayConfig::default() }, worker().await).await;
    assert_eq!(told(gateway.post("/v2/lb/lb/x", &"x".repeat(1_001))).await.0, 413);
    let pieces = futures_util::stream::iter((0..50).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let request = gateway.http.post(gateway.url("/v2/lb/lb/x")).body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(told(request).await.0, 413, "without a length");
    let long = gateway.get("/v2/lb/lb/x").header("x-filler", "y".repeat(1_500));
    let (status, body) = told(long).await;
    assert_eq!((status, &body["reason"]), (502, &json!("answer_too_large")));
}
