//! The life of a job through the client API: submit, ask, wait, stream, cancel, retry.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use thermocline::real::core::api::JobStatus;
use thermocline::real::gateway::{GatewayConfig, Limits, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::support::patience::soon;
use super::{Running, answer, sent, told, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_run_to_completed_with_the_fields_of_the_contract() {
    let gateway = Running::plain().await;
    let response = answer(gateway.post("/v2/q/run", r#"{"input":{"a":1},"unknown":true}"#)).await;
    let header = response.headers()["x-job-id"].to_str().expect("text").to_owned();
    let body: Value = response.json().await.expect("JSON");
    let id = body["id"].as_str().expect("an id");
    assert_eq!(body, json!({ "id": header, "status": "IN_QUEUE" }));
    let waiting = sent(gateway.get(&format!("/v2/q/status/{id}"))).await;
    assert_eq!((&waiting["status"], &waiting["reason"]), (&json!("IN_QUEUE"), &json!("at_max")));
    let job = sent(gateway.take("w1-1")).await;
    assert_eq!(job, json!({ "id": id, "input": { "a": 1 } }), "nothing but id and input");
    assert_eq!(sent(gateway.get(&format!("/v2/q/status/{id}"))).await["status"], "IN_PROGRESS");
    sent(gateway.done("w1-1", id, r#"{"status":"IN_PROGRESS","output":"half"}"#)).await;
    let half = sent(gateway.get(&format!("/v2/q/status/{id}"))).await;
    assert_eq!((&half["status"], &half["output"]), (&json!("IN_PROGRESS"), &json!("half")));
    sent(gateway.done("w1-1", id, r#"{"output": {"b": [1, 2]}}"#)).await;
    let done = sent(gateway.post(&format!("/v2/q/status/{id}"), "")).await;
    for (field, value) in [
        ("status", json!("COMPLETED")),
        ("output", json!({ "b": [1, 2] })),
        ("delayTime", json!(5)),
        ("executionTime", json!(7)),
        ("workerId", json!("w1-1")),
        ("retries", json!(0)),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_input_object_reaches_the_worker() {
    let gateway = Running::plain().await;
    let id = gateway.run("{}").await;
    assert_eq!(sent(gateway.take("w1-1")).await, json!({ "id": id, "input": {} }));
}

#[tokio::test(flavor = "multi_thread")]
async fn runsync_sends_the_id_ahead_and_the_document_when_the_job_ends() {
    let times = Times { headers_after: Duration::from_millis(1), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..GatewayConfig::default() }).await;
    let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
    let body = r#"{"input":1}"#;
    let head = format!("POST /v2/q/runsync HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut seen = Vec::new();
    while !seen.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        seen.push(socket.read_u8().await.expect("the head comes before the job has ended"));
    }
    let head = String::from_utf8(seen).expect("text");
    let id = head.lines().find_map(|line| line.strip_prefix("x-job-id: ")).expect("the id is in the head");
    assert!(id.starts_with("sync-"), "{id}");
    gateway.stand_in.world().end(id, JobStatus::Completed, Some(Bytes::from_static(b"42")), None);
    let mut rest = String::new();
    while !rest.contains("0\r\n\r\n") {
        let mut buffer = [0; 1024];
        let n = socket.read(&mut buffer).await.expect("the rest comes");
        assert_ne!(n, 0, "closed after {rest}");
        rest.push_str(std::str::from_utf8(&buffer[..n]).expect("text"));
    }
    assert!(rest.contains(r#""status":"COMPLETED""#) && rest.contains(r#""output":42"#), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runsync_answers_when_the_job_ends_and_with_its_state_when_the_wait_is_over() {
    let gateway = Running::plain().await;
    let (waited, ()) = tokio::join!(sent(gateway.post("/v2/q/runsync", r#"{"input":1}"#)), async {
        let job = sent(gateway.take("w1-1")).await;
        let id = job["id"].as_str().expect("an id");
        sent(gateway.done("w1-1", id, r#"{"error": "no luck"}"#)).await;
    });
    assert_eq!((&waited["status"], &waited["error"]), (&json!("FAILED"), &json!("no luck")));
    let waited = sent(gateway.post("/v2/q/runsync?wait=1000", r#"{"input":1}"#)).await;
    assert_eq!(waited["status"], "IN_QUEUE");
    let (status, body) = told(gateway.post("/v2/q/runsync?wait=999", r#"{"input":1}"#)).await;
    assert!(status == 400 && body["error"].as_str().is_some_and(|text| text.contains("300000")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_sync_waits_for_the_end() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    let world = || gateway.stand_in.world();
    let path = format!("/v2/q/status-sync/{id}");
    let (waited, ()) = tokio::join!(sent(gateway.get(&path)), async {
        tokio::task::yield_now().await;
        world().end(&id, JobStatus::TimedOut, None, None);
    });
    assert_eq!(waited["status"], "TIMED_OUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_retry_and_purge_answer_in_the_platforms_shapes() {
    let gateway = Running::plain().await;
    let (first, second) = (gateway.run("1").await, gateway.run("2").await);
    // The SDK posts these with a JSON content type and an empty body.
    let cancelled = sent(gateway.post(&format!("/v2/q/cancel/{first}"), "")).await;
    assert_eq!(cancelled, json!({ "id": first, "status": "CANCELLED" }));
    let (status, body) = told(gateway.post(&format!("/v2/q/retry/{first}"), "")).await;
    assert_eq!((status, &body["reason"]), (400, &json!("wrong_state")), "only FAILED and TIMED_OUT");
    gateway.stand_in.world().end(&second, JobStatus::Failed, None, Some("x".to_owned()));
    let still = sent(gateway.post(&format!("/v2/q/cancel/{second}"), "")).await;
    assert_eq!(still["status"], "FAILED", "a job that has ended stays as it is");
    let retried = sent(gateway.post(&format!("/v2/q/retry/{second}"), "")).await;
    assert_eq!(retried, json!({ "id": second, "status": "IN_QUEUE" }));
    let purged = sent(gateway.post("/v2/q/purge-queue", "")).await;
    assert_eq!(purged, json!({ "removed": 1, "status": "completed" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_handed_out_once_and_is_an_empty_list_after_the_end() {
    let gateway = Running::plain().await;
    gateway.stand_in.world().forgets_cursors = true;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    let path = format!("/v2/q/stream/{id}");
    let chunk = |body: &str| {
        let post = gateway.post(&format!("/v2/q/job-stream/w1-1/{id}?gpu=x&isStream=false"), body);
        gateway.worker(post, "w1-1")
    };
    let (held, ()) = tokio::join!(sent(gateway.get(&path)), async {
        sent(chunk(r#"{"output": "a"}"#)).await;
    });
    assert_eq!(held, json!({ "status": "IN_PROGRESS", "stream": [{ "output": "a" }] }), "woken by the piece");
    sent(chunk(r#"{"output": {"n": 2}}"#)).await;
    sent(chunk(r#"{"output": 3}"#)).await;
    let more = sent(gateway.get(&path)).await;
    assert_eq!(more["stream"], json!([{ "output": { "n": 2 } }, { "output": 3 }]), "\"a\" is not told twice");
    sent(gateway.done("w1-1", &id, r#"{"output": []}"#)).await;
    assert_eq!(sent(gateway.get(&path)).await, json!({ "status": "COMPLETED", "stream": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_answers_well_within_ten_seconds() {
    let times = Times { stream_hold: Duration::from_millis(5), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..GatewayConfig::default() }).await;
    let id = gateway.run("1").await;
    let quiet = sent(gateway.get(&format!("/v2/q/stream/{id}"))).await;
    assert_eq!(quiet, json!({ "status": "IN_QUEUE", "stream": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_job_begin_with_its_state_and_end_with_its_end() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    let mut events = answer(gateway.get(&format!("/v2/q/events/{id}"))).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = events.chunk().await.expect("open").expect("a first event");
    assert!(first.starts_with(b"event: status\ndata: {\"id\":"), "{first:?}");
    sent(gateway.take("w1-1")).await;
    sent(gateway.done("w1-1", &id, r#"{"output": 1}"#)).await;
    let mut rest = String::new();
    while let Some(bytes) = events.chunk().await.expect("a clean end") {
        rest.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    let states: Vec<&str> = rest.split("\"status\":\"").skip(1).filter_map(|text| text.split('"').next()).collect();
    assert_eq!(states, ["IN_PROGRESS", "COMPLETED"], "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gives_the_first_job_again() {
    let gateway = Running::plain().await;
    let post = || gateway.post("/v2/q/run", r#"{"input":1}"#).header("idempotency-key", "k-1");
    let first = sent(post()).await;
    sent(gateway.take("w1-1")).await;
    let second = sent(post()).await;
    assert_eq!(first["id"], second["id"]);
    assert_eq!(second["status"], "IN_PROGRESS", "its state of now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_another_endpoint_or_gone_is_404_with_the_reason() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    gateway.stand_in.world().jobs.get_mut(&id).expect("there").endpoint = "other".to_owned();
    gateway.stand_in.world().tombstones.insert("old-u1".to_owned(), "expired".to_owned());
    for (path, reason) in [
        (format!("/v2/q/status/{id}"), "not_found"),
        ("/v2/q/status/never".to_owned(), "not_found"),
        ("/v2/q/status/old-u1".to_owned(), "expired"),
        ("/v2/q/stream/old-u1".to_owned(), "expired"),
        ("/v2/none/status/x".to_owned(), "not_found"),
        ("/v2/q/status/a%2F..%2Fb".to_owned(), "not_found"),
    ] {
        let (status, body) = told(gateway.get(&path)).await;
        assert_eq!((status, &body["reason"]), (404, &json!(reason)), "{path}: {body}");
    }
    let (status, _) = told(gateway.post(&format!("/v2/q/cancel/{id}"), "")).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_newest_first_in_pages_and_without_outputs() {
    let gateway = Running::plain().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(gateway.run(&n.to_string()).await);
    }
    gateway.stand_in.world().end(&ids[0], JobStatus::Completed, Some(Bytes::from_static(b"\"big\"")), None);
    let page = sent(gateway.get("/v2/q/requests?offset=1&limit=2")).await;
    let listed: Vec<&str> =
        page["requests"].as_array().expect("a list").iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(listed, [&*ids[1], &*ids[0]]);
    assert_eq!((&page["total"], &page["hasMore"]), (&json!(3), &json!(false)));
    assert_eq!(page["requests"][1]["status"], "COMPLETED");
    assert_eq!(page["requests"][1]["output"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_calls_become_jobs_and_their_answers_come_back() {
    let gateway = Running::plain().await;
    let ask = r#"{"model": "m", "messages": []}"#;
    let (answer, ()) = tokio::join!(sent(gateway.post("/v2/q/openai/v1/chat/completions", ask)), async {
        let job = sent(gateway.take("w1-1")).await;
        let input = json!({ "openai_route": "/v1/chat/completions", "openai_input": { "model": "m", "messages": [] } });
        assert_eq!(job["input"], input);
        let id = job["id"].as_str().expect("an id");
        sent(gateway.done("w1-1", id, r#"{"output": [{"object": "chat.completion", "id": "c"}]}"#)).await;
    });
    assert_eq!(answer, json!({ "object": "chat.completion", "id": "c" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_streams_are_the_workers_own_events() {
    let gateway = Running::plain().await;
    let ask = gateway.post("/v2/q/openai/v1/completions", r#"{"stream":true}"#);
    let (events, ()) = tokio::join!(async { answer(ask).await.text().await.expect("a stream") }, async {
        let job = sent(gateway.take("w1-1")).await;
        let id = job["id"].as_str().expect("an id");
        for chunk in
            [r#"{"output": "data: {\"n\":1}\n\n"}"#, r#"{"output": {"n": 2}}"#, r#"{"output": "data: [DONE]\n\n"}"#]
        {
            let post = gateway.post(&format!("/v2/q/job-stream/w1-1/{id}?x=1&isStream=false"), chunk);
            sent(gateway.worker(post, "w1-1")).await;
        }
        sent(gateway.done("w1-1", id, r#"{"output": []}"#)).await;
    });
    let said: String = events.lines().filter(|line| line.starts_with("data:")).collect();
    assert_eq!(said, r#"data: {"n":1}data: {"n":2}data: [DONE]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openai_client_that_goes_away_cancels_its_job() {
    let gateway = Running::plain().await;
    let ask = gateway.post("/v2/q/openai/v1/completions", "{}");
    let asking = tokio::spawn(ask.send());
    until("a job", || gateway.stand_in.world().jobs.len() == 1).await;
    asking.abort();
    until("its end", || gateway.stand_in.world().cancelled.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openai_client_that_goes_before_its_job_is_durable_cancels_it_too() {
    let limits = Limits { connections_per_address: 1, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    gateway.stand_in.world().commits_slowly = true;
    let asking = tokio::spawn(gateway.post("/v2/q/openai/v1/completions", "{}").send());
    until("a job", || gateway.stand_in.world().jobs.len() == 1).await;
    asking.abort();
    // The one place of this address is free again: the gateway has seen the client go.
    soon("the end of the connection", gateway.place()).await;
    gateway.stand_in.world().commit();
    until("the job's end", || gateway.stand_in.world().cancelled.len() == 1).await;
}
