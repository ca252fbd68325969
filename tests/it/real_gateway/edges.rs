//! Connections: too slow, too many, too big, and the way out.

use std::time::Duration;

use serde_json::json;
use thermocline::real::core::api::JobStatus;
use thermocline::real::gateway::{GatewayConfig, Limits, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::support::patience::soon;
use super::{Running, answer, sent, told, until, until_closed};

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_closes_the_connection_while_others_are_served() {
    let times = Times { head: Duration::from_millis(40), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..GatewayConfig::default() }).await;
    let mut half_open = Vec::new();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
        socket.write_all(b"GET /healthz HTTP/1.1\r\nho").await.expect("sent");
        half_open.push(socket);
    }
    assert_eq!(sent(gateway.get("/healthz")).await, json!({ "status": "ok" }));
    for socket in &mut half_open {
        assert!(until_closed(socket).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_kept_for_longer_than_a_head_may_take_and_then_closed() {
    let times = Times { head: Duration::from_millis(40), keep_alive: Duration::from_millis(200), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..GatewayConfig::default() }).await;
    let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(request).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket.write_all(request).await.expect("sent");
    let seen = String::from_utf8(until_closed(&mut socket).await).expect("text");
    assert_eq!(seen.matches("200 OK").count(), 2, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_let_go() {
    let times = Times { write_stall: Duration::from_millis(50), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, rates: None, ..GatewayConfig::default() }).await;
    let id = gateway.run("1").await;
    let big = format!("\"{}\"", "x".repeat(16_000_000));
    gateway.stand_in.world().end(&id, JobStatus::Completed, Some(big.into()), None);
    let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
    let request = format!("GET /v2/q/status/{id} HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    // Counted by the gateway when it gives up; the client has not read a byte.
    let given_up = async {
        while !answer(gateway.get("/metrics"))
            .await
            .text()
            .await
            .expect("text")
            .contains("connections_timed_out_total 1")
        {}
    };
    soon("the gateway gives up", given_up).await;
    drop(socket);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_of_an_address_are_closed_at_once() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
        socket.write_all(request).await.expect("sent");
        let mut line = [0; 12];
        socket.read_exact(&mut line).await.expect("an answer");
        kept.push(socket);
    }
    let mut third = TcpStream::connect(gateway.address).await.expect("a connection");
    assert!(until_closed(&mut third).await.is_empty());
    drop(kept);
    // The places are free again as soon as the gateway has seen the others go.
    soon("a free place", gateway.place()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_long_are_refused() {
    let gateway = Running::plain().await;
    for filler in ["a: b\r\n".repeat(200), format!("a: {}\r\n", "x".repeat(300_000))] {
        let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{filler}\r\n");
        let _ = socket.write_all(head.as_bytes()).await;
        let seen = String::from_utf8_lossy(&until_closed(&mut socket).await).into_owned();
        assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 431"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bodies_together_are_bounded() {
    let limits = Limits { buffered: 1_000, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(2_000));
    let response = answer(gateway.post("/v2/q/run", &body)).await;
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.headers().contains_key("retry-after"));
    sent(gateway.post("/v2/q/run", r#"{"input":1}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_refuses_new_jobs_takes_results_and_ends_when_all_is_answered() {
    let mut gateway = Running::plain().await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    // A body that is still coming holds a request open over the signal.
    let mut slow = TcpStream::connect(gateway.address).await.expect("a connection");
    let token = gateway.stand_in.handle.tokens().token("worker:q:w1-1");
    let body = r#"{"output": 1}"#;
    let head = format!(
        "POST /v2/q/job-done/w1-1/{id}?x=1 HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.expect("sent");
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.expect("the gateway wants the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let waiting = tokio::spawn(gateway.post("/v2/q/runsync", r#"{"input":2}"#).send());
    until("two jobs", || gateway.stand_in.world().jobs.len() == 2).await;
    gateway.signal();
    let waited = waiting.await.expect("it ends").expect("an answer");
    let waited: serde_json::Value = waited.json().await.expect("JSON");
    assert_eq!(waited["status"], "IN_QUEUE", "the wait ends with the state of now; the job stays");
    let (status, refused) = told(gateway.post("/v2/q/run", r#"{"input":3}"#)).await;
    assert_eq!((status, &refused["reason"]), (503, &json!("shutting_down")));
    assert_eq!(told(gateway.take("w1-1")).await.0, 429, "429 keeps the worker quiet for 5 s");
    assert_eq!(told(gateway.get("/healthz")).await.0, 503);
    slow.write_all(body.as_bytes()).await.expect("sent");
    let seen = String::from_utf8(until_closed(&mut slow).await).expect("text");
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    gateway.served.await.expect("the gateway ends");
    assert_eq!(gateway.stand_in.world().jobs[&id].status, JobStatus::Completed);
}
