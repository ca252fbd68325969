//! What the client API refuses, and how it says so: keys, bodies, policies, sizes, rates.

use std::sync::Arc;

use serde_json::json;
use thermocline::real::config::EndpointKind;
use thermocline::real::gateway::auth::{Need, Verdict};
use thermocline::real::gateway::{GatewayConfig, Limits, Rate, RateLimits};

use super::{Running, answer, sent, stand_in, told};

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_the_place_and_the_way_out() {
    let gateway = Running::plain().await;
    let deep = format!(r#"{{"input":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let bomb = format!(r#"{{"input":{}"#, "[".repeat(1_000_000));
    for (body, says) in [
        ("", "`input`"),
        ("[]", "not an object"),
        ("{\"input\":", "byte 9"),
        (r#"{"webhook":"http://a.b"}"#, "`input` is missing"),
        (r#"{"input":1,"inp\u0075t":2}"#, "second time"),
        (r#"{"input":1,"webhook":"ftp://a.b"}"#, "http or https"),
        (r#"{"input":1,"webhook":"http://u:p@a.b"}"#, "without user name"),
        (r#"{"input":1,"webhook":7}"#, "`webhook`"),
        (r#"{"input":1,"policy":{"executionTimeout":4999}}"#, "from 5000 to 604800000, or 0"),
        (r#"{"input":1,"policy":{"executionTimeout":604800001}}"#, "from 5000 to 604800000"),
        (r#"{"input":1,"policy":{"ttl":9999}}"#, "from 10000 to 604800000"),
        (r#"{"input":1,"policy":{"ttl":0}}"#, "from 10000"),
        (r#"{"input":1,"policy":{"ttl":"1h"}}"#, "whole ms"),
        (r#"{"input":1,"policy":{"lowPriority":1}}"#, "true or false"),
        (r#"{"input":1,"policy":[]}"#, "`policy`"),
        (r#"{"input":1,"s3Config":"x"}"#, "`s3Config`"),
        (r#"{"input":NaN}"#, "byte 9"),
        (&deep, "128 levels"),
        (&bomb, "128 levels"),
    ] {
        let (status, told) = told(gateway.post("/v2/q/run", body)).await;
        let text = told["error"].as_str().unwrap_or_default();
        assert!(status == 400 && text.contains(says), "{}: {status} {told}", &body[..body.len().min(60)]);
    }
    assert!(gateway.stand_in.world().jobs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_sets_for_itself_reaches_the_core() {
    let gateway = Running::plain().await;
    let body = r#"{"input":1,"webhook":"https://a.example/x","policy":{"executionTimeout":5000,"ttl":604800000,"lowPriority":true,"new":1}}"#;
    let id = sent(gateway.post("/v2/q/run", body)).await["id"].as_str().expect("an id").to_owned();
    let off = sent(gateway.post("/v2/q/run", r#"{"input":1,"policy":{"executionTimeout":0},"webhook":null}"#)).await;
    let world = gateway.stand_in.world();
    let job = &world.jobs[&id];
    assert_eq!(job.webhook.as_deref(), Some("https://a.example/x"));
    assert_eq!(job.policy.execution_timeout.map(|ms| ms.0.get()), Some(5_000));
    assert_eq!(job.policy.ttl.map(|ms| ms.0.get()), Some(604_800_000));
    assert!(job.policy.low_priority);
    let job = &world.jobs[off["id"].as_str().expect("an id")];
    assert_eq!(job.policy.execution_timeout.map(|ms| ms.0.get()), Some(u32::MAX), "0 = longer than any ttl");
    assert_eq!(job.webhook, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_with_and_without_their_scheme_and_wrong_ones_are_401_or_403() {
    let check = |key: Option<&str>, need: Need<'_>| match (key, need) {
        (Some("good"), Need::Endpoint("q")) | (Some("admin"), _) => Verdict::Allowed,
        (Some("good"), _) => Verdict::Forbidden,
        _ => Verdict::Unknown,
    };
    let gateway = Running::start(GatewayConfig { auth: Arc::new(check), ..GatewayConfig::default() }).await;
    for (path, key, expected) in [
        ("/v2/q/health", Some("Bearer good"), 200),
        ("/v2/q/health", Some("good"), 200),
        ("/v2/q/health", None, 401),
        ("/v2/q/health", Some("Bearer bad"), 401),
        ("/v2/lb/health", Some("good"), 403),
        ("/v2/none/health", None, 401),
        ("/v2/none/health", Some("admin"), 404),
        ("/management/v2/serverless", Some("good"), 403),
        ("/management/v2/serverless", Some("admin"), 200),
        ("/metrics", None, 401),
        ("/healthz", None, 200),
        ("/openapi.json", None, 200),
    ] {
        let request = gateway.get(path);
        let request = key.iter().fold(request, |request, key| request.header("authorization", *key));
        let response = answer(request).await;
        assert_eq!(response.status().as_u16(), expected, "{path} with {key:?}");
        assert_eq!(response.headers().contains_key("www-authenticate"), expected == 401);
    }
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(told(gateway.get("/v2/q/health").header("authorization", "guess")).await.0);
    }
    assert!(codes.contains(&429), "guessing is slowed down: {codes:?}");
    assert_eq!(told(gateway.get("/v2/q/health").header("authorization", "good")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_the_schema_is_refused_with_its_path() {
    let gateway = Running::plain().await;
    let schema = json!({ "type": "object", "required": ["prompt"], "properties": { "prompt": { "type": "string" } } });
    gateway.stand_in.world().endpoints[0].config.input_schema = Some(schema);
    let (status, body) = told(gateway.post("/v2/q/run", r#"{"input":{"prompt":7}}"#)).await;
    assert_eq!((status, &body["reason"]), (400, &json!("input_schema")));
    assert!(body["error"].as_str().is_some_and(|text| text.contains("input/prompt")), "{body}");
    sent(gateway.post("/v2/q/run", r#"{"input":{"prompt":"x"}}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_config_goes_to_the_worker_and_into_no_answer() {
    let gateway = Running::plain().await;
    let body =
        r#"{"input":1,"s3Config":{"accessId":"a","accessSecret":"canary-7","bucketName":"b","endpointUrl":"u"}}"#;
    let id = sent(gateway.post("/v2/q/run", body)).await["id"].as_str().expect("an id").to_owned();
    let job = sent(gateway.take("w1-1")).await;
    assert_eq!(job["s3Config"]["accessSecret"], "canary-7");
    sent(gateway.done("w1-1", &id, r#"{"output": 1}"#)).await;
    for path in
        [format!("/v2/q/status/{id}"), "/v2/q/requests".to_owned(), format!("/v2/q/events/{id}"), "/metrics".to_owned()]
    {
        let text = answer(gateway.get(&path)).await.text().await.expect("a body");
        assert!(!text.contains("canary-7"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_bodies_are_413_with_the_limit() {
    let limits = Limits { run_body: 1_000, runsync_body: 2_000, ..Limits::default() };
    let gateway = Running::start(GatewayConfig { limits, ..GatewayConfig::default() }).await;
    let body = |size: usize| format!(r#"{{"input":"{}"}}"#, "x".repeat(size - 12));
    sent(gateway.post("/v2/q/run", &body(1_000))).await;
    let (status, told_them) = told(gateway.post("/v2/q/run", &body(1_001))).await;
    assert_eq!((status, &told_them["reason"]), (413, &json!("too_large")));
    assert!(told_them["error"].as_str().is_some_and(|text| text.contains("1000")));
    assert_eq!(told(gateway.post("/v2/q/runsync?wait=1000", &body(2_001))).await.0, 413);
    // Without a length, in pieces.
    let pieces = futures_util::stream::iter((0..50).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let request = gateway.http.post(gateway.url("/v2/q/run")).body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(told(request).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_the_rate_are_429_and_say_when() {
    let rates = RateLimits { purge: Rate { window: 2, concurrent: 2 }, ..RateLimits::default() };
    let gateway = Running::start(GatewayConfig { rates: Some(rates), ..GatewayConfig::default() }).await;
    for _ in 0..2 {
        sent(gateway.post("/v2/q/purge-queue", "")).await;
    }
    let response = answer(gateway.post("/v2/q/purge-queue", "")).await;
    assert_eq!(response.status().as_u16(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=11).contains(&wait));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_the_other_kind_of_endpoint_are_refused_in_the_platforms_words() {
    let gateway = Running::plain().await;
    for request in
        [gateway.post("/v2/lb/run", r#"{"input":1}"#), gateway.get("/v2/q/lb/x"), gateway.get("/v2/lb/status/x")]
    {
        let (status, body) = told(request).await;
        assert_eq!((status, &body["error"]), (400, &json!("not allowed for QB API")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_made_a_moment_ago_is_found_and_unknown_paths_are_json() {
    let gateway = Running::plain().await;
    assert_eq!(told(gateway.post("/v2/new/run", r#"{"input":1}"#)).await.0, 404);
    gateway.stand_in.world().endpoints.push(stand_in::endpoint("new", EndpointKind::Queue));
    while told(gateway.post("/v2/new/run", r#"{"input":1}"#)).await.0 != 200 {}
    for (request, expected) in [(gateway.get("/nothing"), 404), (gateway.get("/v2/q/run"), 405)] {
        let (status, body) = told(request).await;
        assert_eq!(status, expected);
        assert!(body["error"].is_string(), "{body}");
    }
}
