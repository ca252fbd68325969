//! The worker API and those traps of the worker SDK that a gateway can spring or avoid (worker SDK 1.12, run against a real gateway
//! when they were found). The numbers in the names are those of the list in the reference of the worker protocol.

use std::time::Duration;

use serde_json::json;
use thermocline::real::core::api::{Done, Refusal};
use thermocline::real::gateway::{GatewayConfig, Limits, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, answer, sent, told, until};

fn quick(times: Times) -> GatewayConfig {
    GatewayConfig { times, ..GatewayConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_1_an_empty_poll_is_held_then_204_and_a_worker_to_be_kept_off_gets_429() {
    let hold = Duration::from_millis(50);
    let gateway = Running::start(quick(Times { poll_hold: hold, ..Times::default() })).await;
    let begun = std::time::Instant::now();
    let response = answer(gateway.take("w1-1")).await;
    assert_eq!(response.status().as_u16(), 204);
    assert!(begun.elapsed() >= hold, "not before its time");
    gateway.stand_in.world().keep_off = true;
    let response = answer(gateway.take("w1-1")).await;
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["retry-after"], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_1_a_refused_poll_is_answered_late() {
    let late = Duration::from_millis(50);
    let gateway = Running::start(quick(Times { refused_poll: late, ..Times::default() })).await;
    for path in ["job-take/w1-1?x=1", "job-take-batch/w1-1?x=1", "job-stop/w1-1?x=1"] {
        let begun = std::time::Instant::now();
        let response = answer(gateway.get(&format!("/v2/q/{path}")).header("authorization", "stolen")).await;
        assert_eq!(response.status().as_u16(), 401);
        assert!(begun.elapsed() >= late, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_2_a_poll_whose_connection_is_gone_takes_nothing() {
    let gateway = Running::plain().await;
    let token = gateway.stand_in.handle.tokens().token("worker:q:w1-1");
    let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
    let head = format!("GET /v2/q/job-take/w1-1?x=1 HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("sent");
    until("a take", || gateway.stand_in.world().takes_seen == 1).await;
    drop(socket);
    until("its end", || gateway.stand_in.world().takes_over == 1).await;
    let id = gateway.run("1").await;
    assert_eq!(sent(gateway.take("w2-1")).await["id"], json!(id), "the job is there for a worker that listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_3_a_late_or_repeated_result_is_2xx_and_only_try_again_is_5xx() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    for (refusal, code) in [(Refusal::StoreUnavailable, 503), (Refusal::ShuttingDown, 503)] {
        gateway.stand_in.world().refuse_done = Some(refusal);
        assert_eq!(told(gateway.done("w1-1", &id, r#"{"output": 1}"#)).await.0, code);
    }
    gateway.stand_in.world().refuse_done = None;
    sent(gateway.done("w1-1", &id, r#"{"output": 1}"#)).await;
    sent(gateway.done("w1-1", &id, r#"{"output": 2}"#)).await;
    sent(gateway.done("w1-1", &id, r#"{"status": "IN_PROGRESS", "output": 3}"#)).await;
    assert_eq!(sent(gateway.get(&format!("/v2/q/status/{id}"))).await["output"], json!(1), "the first one stands");
    let (status, body) = told(gateway.done("w1-1", "nobodys-job", "{}")).await;
    assert_eq!((status, &body["reason"]), (404, &json!("not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_3_a_result_that_comes_too_slowly_may_be_posted_again() {
    let times = Times { body_idle: Duration::from_millis(20), ..Times::default() };
    let gateway = Running::start(quick(times)).await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    let token = gateway.stand_in.handle.tokens().token("worker:q:w1-1");
    let mut socket = TcpStream::connect(gateway.address).await.expect("a connection");
    let head = format!(
        "POST /v2/q/job-done/w1-1/{id}?x=1 HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\ncontent-length: 9\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut line = [0; 12];
    socket.read_exact(&mut line).await.expect("an answer");
    assert_eq!(&line, b"HTTP/1.1 503");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_4_nan_in_a_result_becomes_null() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    sent(gateway.done("w1-1", &id, r#"{"output": [NaN, -Infinity, 1.5]}"#)).await;
    assert_eq!(sent(gateway.get(&format!("/v2/q/status/{id}"))).await["output"], json!([null, null, 1.5]));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_5_going_down_ends_both_polls_with_204() {
    let mut gateway = Running::plain().await;
    let stop = gateway.worker(gateway.get("/v2/q/job-stop/w1-1?gpu=x"), "w1-1");
    let polls = [tokio::spawn(gateway.take("w1-1").send()), tokio::spawn(stop.send())];
    let held = || gateway.stand_in.world().takes_seen == 1 && gateway.stand_in.world().stops_open() == 1;
    until("both polls", held).await;
    gateway.signal();
    for poll in polls {
        assert_eq!(poll.await.expect("it ends").expect("an answer").status().as_u16(), 204);
    }
    gateway.served.await.expect("the gateway ends when nobody is connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_7_stop_signals_are_handed_on() {
    let gateway = Running::start(quick(Times { poll_hold: Duration::from_millis(10), ..Times::default() })).await;
    let stop = || gateway.worker(gateway.get("/v2/q/job-stop/w1-1?gpu=x"), "w1-1");
    assert_eq!(answer(stop()).await.status().as_u16(), 204);
    gateway.stand_in.world().stop_ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(sent(stop()).await, json!({ "jobsToStop": ["a", "b"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_10_a_query_glued_to_the_path_is_understood() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    let job = sent(gateway.worker(gateway.get("/v2/q/job-take/w1-1&job_in_progress=0"), "w1-1")).await;
    assert_eq!(job["id"], json!(id));
    let post = gateway.post(&format!("/v2/q/job-done/w1-1/{id}&isStream=false"), r#"{"output": 5}"#);
    sent(gateway.worker(post, "w1-1")).await;
    assert_eq!(sent(gateway.get(&format!("/v2/q/status/{id}"))).await["output"], json!(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_the_token_is_taken_raw_and_a_users_key_is_no_token() {
    let gateway = Running::start(quick(Times { refused_poll: Duration::ZERO, ..Times::default() })).await;
    let id = gateway.run("1").await;
    let tokens = gateway.stand_in.handle.tokens();
    let with = |token: String| gateway.get("/v2/q/job-take/w1-1?x=1").header("authorization", token);
    for wrong in ["worker:q:w2-1", "worker:lb:w1-1", "join:q", "join:lb"] {
        assert_eq!(told(with(tokens.token(wrong))).await.0, 401, "{wrong}");
    }
    assert_eq!(told(gateway.get("/v2/q/job-take/w1-1?x=1")).await.0, 401);
    // Another worker's token is not good for this one's results either.
    let post = gateway.post(&format!("/v2/q/job-done/w1-1/{id}?x=1"), "{}");
    assert_eq!(told(post.header("authorization", tokens.token("worker:q:w2-1"))).await.0, 401);
    assert_eq!(sent(with(format!("Bearer {}", tokens.token("worker:q:w1-1")))).await["id"], json!(id));
    let join = gateway.get("/v2/q/job-take/my-own-box?x=1").header("authorization", tokens.token("join:q"));
    let second = gateway.run("2").await;
    assert_eq!(sent(join).await["id"], json!(second), "a worker that somebody else started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_an_array_of_at_most_what_was_asked_for() {
    let gateway = Running::plain().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(gateway.run(&n.to_string()).await);
    }
    let batch = |size: &str| {
        let path = format!("/v2/q/job-take-batch/w1-1?gpu=x&batch_size={size}&job_in_progress=1");
        gateway.worker(gateway.get(&path), "w1-1")
    };
    let jobs = sent(batch("3")).await;
    let taken: Vec<&str> = jobs.as_array().expect("a list").iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(taken, ids[..3]);
    assert_eq!(sent(batch("x")).await.as_array().map(Vec::len), Some(1), "still a list");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_carry_the_jobs_in_hand_and_a_failed_check() {
    let gateway = Running::plain().await;
    for path in [
        "ping/w1-1?gpu=x&job_id=a%2Cb-u1%2C..%2Fx&runpod_version=1.12.0",
        "ping/w1-1?gpu=x&runpod_version=1.12.0",
        "ping/w1-1?gpu=x&status=unhealthy&check=gpu_test&reason=no+GPU%0A%1b%5B31m",
    ] {
        sent(gateway.worker(gateway.get(&format!("/v2/q/{path}")), "w1-1")).await;
    }
    let world = gateway.stand_in.world();
    let jobs: Vec<&[String]> = world.pings.iter().map(|(_, ping)| &ping.jobs[..]).collect();
    assert_eq!(jobs, [&["a".to_owned(), "b-u1".to_owned()][..], &[], &[]], "what is no id is left out");
    assert_eq!(world.pings[2].1.unhealthy, Some(("gpu_test".to_owned(), "no GPU[31m".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_errors_and_missing_outputs_reach_the_core_as_they_are() {
    let gateway = Running::plain().await;
    for body in [r#"{"output": 1, "stopPod": true}"#, r#"{"error": {"code": 7}}"#, "{}", "not json"] {
        let id = gateway.run("1").await;
        sent(gateway.take("w1-1")).await;
        sent(gateway.done("w1-1", &id, body)).await;
    }
    let world = gateway.stand_in.world();
    let seen: Vec<(bool, Option<&str>, bool)> = world
        .dones
        .iter()
        .map(|(_, done)| match done {
            Done::Final { output, error, refresh } => (output.is_some(), error.as_deref(), *refresh),
            Done::Progress(_) => panic!("all are final"),
        })
        .collect();
    assert_eq!(seen[0], (true, None, true));
    assert_eq!(seen[1], (false, Some(r#"{"code": 7}"#), false));
    assert_eq!(seen[2], (false, None, false));
    assert!(seen[3].1.is_some_and(|text| text.starts_with("invalid_result")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_large_is_read_to_its_end_and_fails_the_job() {
    let limits = Limits { output: 1_000, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let big = format!(r#"{{"output": "{}"}}"#, "x".repeat(3_000_000));
    for stream in [false, true] {
        let id = gateway.run("1").await;
        sent(gateway.take("w1-1")).await;
        if stream {
            let post = gateway.post(&format!("/v2/q/job-stream/w1-1/{id}?x=1"), &big);
            sent(gateway.worker(post, "w1-1")).await;
        } else {
            sent(gateway.done("w1-1", &id, &big)).await;
        }
        let failed = sent(gateway.get(&format!("/v2/q/status/{id}"))).await;
        assert_eq!(failed["status"], "FAILED");
        let text = failed["error"].as_str().unwrap_or_default();
        assert!(text.starts_with("output_too_large") && text.contains(&big.len().to_string()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_of_a_stream_are_split() {
    let limits = Limits { chunk: 100, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    let text = "é\n".repeat(200);
    let post = gateway.post(&format!("/v2/q/job-stream/w1-1/{id}?x=1"), &json!({ "output": text }).to_string());
    sent(gateway.worker(post, "w1-1")).await;
    let stream = sent(gateway.get(&format!("/v2/q/stream/{id}"))).await;
    let pieces: Vec<&str> =
        stream["stream"].as_array().expect("a list").iter().filter_map(|piece| piece["output"].as_str()).collect();
    assert!(pieces.len() > 5);
    assert_eq!(pieces.concat(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_stored_as_the_worker_wrote_it() {
    let gateway = Running::plain().await;
    let id = gateway.run("1").await;
    sent(gateway.take("w1-1")).await;
    let output = r#"{"z": 1.0, "a": 1e2, "é": "\u00e9\ud83d", "z": 12345678901234567890}"#;
    sent(gateway.done("w1-1", &id, &format!(r#"{{"output": {output}}}"#))).await;
    let text = answer(gateway.get(&format!("/v2/q/status/{id}"))).await.text().await.expect("a body");
    assert!(text.contains(output), "{text}");
}
