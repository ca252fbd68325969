//! The management API, the metrics and the OpenAPI document.

use serde_json::{Value, json};
use thermocline::real::gateway::{GatewayConfig, Times, openapi_document};
use thermocline::real::launcher::LogLine;

use super::{Running, answer, sent, told};

fn with_classes() -> GatewayConfig {
    GatewayConfig { gpu_classes: vec!["ADA_24".to_owned()], ..GatewayConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_changed_shown_and_deleted() {
    let gateway = Running::start(with_classes()).await;
    let body =
        r#"{"id":"e1","name":"mine","image":"a/b:1","gpu":{"pools":["ADA_24"]},"scaling":{"type":"QUEUE_DELAY"}}"#;
    let response = answer(gateway.post("/management/v2/serverless", body)).await;
    assert_eq!(response.status().as_u16(), 201);
    assert_eq!(response.headers()["location"], "/management/v2/serverless/e1");
    let made: Value = response.json().await.expect("JSON");
    assert_eq!(made["requestUrls"]["run"], json!(gateway.url("/v2/e1/run")));
    sent(gateway.post("/v2/e1/run", r#"{"input":1}"#)).await;
    let patch = |body: &str| gateway.http.patch(gateway.url("/management/v2/serverless/e1")).body(body.to_owned());
    let changed = sent(patch(r#"{"workers":{"max":7}}"#)).await;
    assert_eq!((&changed["workers"]["max"], &changed["image"]), (&json!(7), &json!("a/b:1")));
    assert_eq!(told(patch(r#"{"type":"LOAD_BALANCER"}"#)).await.0, 422);
    let listed = sent(gateway.get("/management/v2/serverless")).await;
    assert_eq!(listed["endpoints"].as_array().map(Vec::len), Some(3));
    let gone = answer(gateway.http.delete(gateway.url("/management/v2/serverless/e1"))).await;
    assert_eq!(gone.status().as_u16(), 204);
    assert_eq!(told(gateway.get("/management/v2/serverless/e1")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problem_documents_that_name_the_fields() {
    let gateway = Running::start(with_classes()).await;
    let body = r#"{"image":"a b","workers":{"min":9,"max":2}}"#;
    let response = answer(gateway.post("/management/v2/serverless", body)).await;
    assert_eq!(response.status().as_u16(), 422);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.expect("JSON");
    let paths: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|e| e["path"].as_str()).collect();
    assert_eq!(paths, ["/image", "/workers/min"]);
    assert_eq!(problem["status"], 422);
    for (body, expected) in [
        ("{", 400),
        (r#"{"image":"a","nothing":1}"#, 422),
        (r#"{"id":"../x","image":"a"}"#, 422),
        (r#"{"id":"q","image":"a"}"#, 422),
    ] {
        let (status, problem) = told(gateway.post("/management/v2/serverless", body)).await;
        assert_eq!(status, expected, "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_releases_and_bills_have_the_platforms_members() {
    let gateway = Running::start(with_classes()).await;
    let workers = sent(gateway.get("/management/v2/serverless/q/workers")).await;
    assert_eq!((&workers["summary"]["total"], &workers["endpointVersion"]), (&json!(0), &json!(1)));
    let releases = sent(gateway.get("/management/v2/serverless/q/releases")).await;
    assert_eq!(releases["rollout"]["percentOnLatest"], json!(100.0));
    assert_eq!(releases["releases"][0]["source"], "MANUAL");
    let bills = sent(gateway.get("/management/v2/billing/serverless?serverlessId=q")).await;
    assert_eq!(bills["records"][0]["totalAmount"], json!(0.5));
    assert_eq!(told(gateway.get("/management/v2/billing/serverless?bucketSize=hour")).await.0, 422);
    assert_eq!(told(gateway.get("/management/v2/serverless/none/workers")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_told_once_and_followed() {
    let times = Times { log_poll: std::time::Duration::from_millis(2), ..Times::default() };
    let gateway = Running::start(GatewayConfig { times, ..with_classes() }).await;
    let line = |unix_ms, container, text: &str| LogLine { unix_ms, container, text: text.to_owned() };
    gateway.stand_in.world().logs = vec![line(1_000, true, "one"), line(1_000, false, "two")];
    let path = "/management/v2/serverless/q/workers/w1-1/logs";
    let told_once = sent(gateway.get(&format!("{path}?source=container"))).await;
    assert_eq!(told_once["lines"], json!([{ "ts": "1970-01-01T00:00:01.000Z", "source": "container", "line": "one" }]));
    let mut following = answer(gateway.get(path).header("accept", "text/event-stream")).await;
    let mut seen = String::new();
    while !seen.contains("two") {
        seen.push_str(std::str::from_utf8(&following.chunk().await.expect("open").expect("more")).expect("text"));
    }
    gateway.stand_in.world().logs.push(line(1_000, true, "three"));
    while !seen.contains("three") {
        seen.push_str(std::str::from_utf8(&following.chunk().await.expect("open").expect("more")).expect("text"));
    }
    assert_eq!(seen.matches("\"line\"").count(), 3, "{seen}");
    assert!(seen.contains("id: 1000-2\n"), "{seen}");
    let again = answer(gateway.get(path).header("accept", "text/event-stream").header("last-event-id", "1000-1")).await;
    let first = { again }.chunk().await.expect("open").expect("more");
    assert!(String::from_utf8_lossy(&first).contains("three"), "what was seen is not told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_hold_the_platforms_and_the_gateways_numbers_and_end_once() {
    let gateway = Running::plain().await;
    gateway.run("1").await;
    let text = answer(gateway.get("/metrics")).await.text().await.expect("text");
    assert!(text.starts_with("up 1\n"), "{text}");
    assert!(
        text.contains(r#"thermocline_gateway_requests_total{path="/v2/{endpoint}/run",method="POST",status="200"} 1"#),
        "{text}"
    );
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_document_exists_and_answers_as_it_says() {
    let gateway = Running::start(with_classes()).await;
    let served = sent(gateway.get("/openapi.json")).await;
    assert_eq!(served, openapi_document());
    let mut checked = 0;
    for (path, operations) in served["paths"].as_object().expect("paths") {
        for method in ["get", "post", "patch", "delete"] {
            let url =
                gateway.url(&path.replace("{endpoint}", "q").replace("{id}", "some-id").replace("{worker}", "w1-1"));
            let request = gateway.http.request(method.to_uppercase().parse().expect("a method"), url);
            let response = answer(request.header("accept", "application/json")).await;
            let status = response.status().as_u16();
            let Some(operation) = operations.get(method) else {
                assert_eq!(status, 405, "{method} {path} is not in the document");
                assert!(response.headers().contains_key("allow"), "{method} {path}");
                continue;
            };
            let mut answer =
                operation["responses"].get(status.to_string()).unwrap_or_else(|| panic!("{method} {path}: {status}"));
            if let Some(reference) = answer["$ref"].as_str() {
                answer = served.pointer(reference.trim_start_matches('#')).expect("it leads somewhere");
            }
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
            match kind {
                Some(kind) => {
                    let kind = kind.split(';').next().expect("a first part");
                    let schema = &answer["content"][kind]["schema"];
                    // A stream of events has no schema of its own: it does not end.
                    let stream = kind == "text/event-stream" && answer["content"][kind].is_object();
                    assert!(stream || schema.is_object(), "{method} {path}: {status} as {kind}");
                    if kind.ends_with("json") {
                        let mut whole = schema.clone();
                        whole["components"] = served["components"].clone();
                        let body: Value = response.json().await.expect("JSON");
                        let fits = jsonschema::validate(&whole, &body);
                        assert!(fits.is_ok(), "{method} {path}: {status}: {fits:?}");
                    }
                }
                None => assert_eq!(status, 204, "{method} {path}"),
            }
            checked += 1;
        }
    }
    assert!(checked >= 24, "{checked} operations");
}
