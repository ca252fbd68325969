//! Every handler pattern of the worker SDK, by the examples that users copy from.

use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::bucket::Bucket;
use super::harness::{App, Server};
use super::{http, processes, python};

/// One endpoint `e` that runs an example.
fn example(script: &str, env: &[(&str, &str)], settings: &[&str]) -> Option<Server> {
    Some(App::new()?.endpoint("e", script, env, settings).start(script.trim_end_matches(".py")))
}

#[test]
fn a_plain_function() {
    let Some(server) = example("sync.py", &[], &[]) else { return };
    let answer = server.sdk("answer = runpod.Endpoint('e').run_sync({'text': 'hello'}, timeout=60)");
    assert_eq!(answer, json!({ "text": "hello", "length": 5 }));
}

#[test]
fn an_async_function() {
    let Some(server) = example("asynchronous.py", &[], &[]) else { return };
    let script = "
        job = runpod.Endpoint('e').run({'seconds': 0.1})
        answer = [job.output(timeout=60), job.status()]
    ";
    assert_eq!(server.sdk(script), json!([{ "slept_s": 0.1 }, "COMPLETED"]));
}

#[test]
fn a_generator_streams_and_is_aggregated_if_asked() {
    let Some(app) = App::new() else { return };
    let server = app
        .endpoint("aggregated", "generator.py", &[("AGGREGATE", "1")], &[])
        .endpoint("bare", "generator.py", &[("AGGREGATE", "0")], &[])
        .start("generator");
    let script = "
        def run(endpoint):
            job = runpod.Endpoint(endpoint).run({'prompt': 'warm above cold', 'delay_s': 0.1})
            return [list(job.stream()), job.output(timeout=60)]
        answer = [run('aggregated'), run('bare')]
    ";
    let tokens = json!([{ "token": "warm" }, { "token": "above" }, { "token": "cold" }]);
    assert_eq!(server.sdk(script), json!([[tokens, tokens], [tokens, []]]));
}

#[test]
fn a_batch_of_jobs_shares_a_call() {
    let settings = ["concurrency: 8", "workers: {active: 0, max: 1, extra: 0}"];
    let Some(server) = example("batch.py", &[("BATCH", "8"), ("BATCH_WINDOW_MS", "1000")], &settings) else { return };
    let ids: Vec<String> = (0..8).map(|number| server.submit("e", json!({ "number": number }))).collect();
    let outputs: Vec<Value> =
        ids.iter().map(|id| server.until_status("e", id, "COMPLETED")["output"].clone()).collect();
    let squares: Vec<u64> = outputs.iter().map(|output| output["square"].as_u64().expect("a square")).collect();
    assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
    let largest = outputs.iter().filter_map(|output| output["batch_size"].as_u64()).max();
    assert!(largest > Some(1), "no two jobs met: {outputs:?}");
}

#[test]
fn several_jobs_at_once_on_one_worker() {
    let settings = ["concurrency: 4", "workers: {active: 0, max: 1, extra: 0}"];
    let Some(server) = example("concurrency.py", &[("CONCURRENCY", "4")], &settings) else { return };
    let script = "
        import aiohttp
        async def main():
            async with aiohttp.ClientSession() as session:
                endpoint = runpod.AsyncioEndpoint('e', session)
                jobs = [await endpoint.run({'seconds': 2}) for _ in range(6)]
                return await asyncio.gather(*(job.output(timeout=90) for job in jobs))
        answer = asyncio.run(main())
    ";
    let answer = server.sdk(script);
    let at_once: Vec<u64> =
        answer.as_array().expect("a list").iter().map(|output| output["at_once"].as_u64().expect("a number")).collect();
    assert_eq!(at_once.len(), 6);
    assert!(at_once.iter().max() > Some(&1), "one by one: {at_once:?}");
    assert!(at_once.iter().max() <= Some(&4), "more than the worker asked for: {at_once:?}");
}

#[test]
fn a_refreshed_worker_is_another_process() {
    let Some(server) = example("refresh.py", &[], &["workers: {active: 0, max: 1, extra: 0}"]) else { return };
    let pid = |refresh: bool| {
        let done = server.complete("e", json!({ "refresh": refresh }));
        assert!(done["output"].get("refresh_worker").is_none(), "the flag is not part of the output: {done}");
        done["output"]["pid"].as_i64().expect("a pid")
    };
    let first = pid(true);
    let second = pid(false);
    assert_ne!(first, second, "the worker was asked to be reset");
    let old = i32::try_from(first).expect("a pid");
    eventually("the end of the old process", || (!processes::is_alive(old)).then_some(()));
    assert_eq!(pid(false), second, "nobody asked for a reset");
}

#[test]
fn progress_is_the_output_while_a_job_runs() {
    let Some(server) = example("progress.py", &[], &[]) else { return };
    let id = server.submit("e", json!({ "steps": 2, "seconds": 2 }));
    let seen = eventually("a progress report", || {
        let status = server.status("e", &id);
        assert!(status["status"] != "COMPLETED", "no progress was seen before the end");
        (status["output"]["of"] == 2).then_some(status)
    });
    assert_eq!(seen["status"], "IN_PROGRESS");
    assert_eq!(server.until_status("e", &id, "COMPLETED")["output"], json!({ "steps": 2 }));
    // A late report would come from a thread of its own; the end stands.
    assert_eq!(server.status("e", &id)["output"], json!({ "steps": 2 }));
}

#[test]
fn an_upload_reaches_the_bucket_and_its_secret_nobody_else() {
    let Some(server) = example("s3_upload.py", &[], &[]) else { return };
    let bucket = Bucket::open();
    let secret = "canary-4c1d9b7e";
    let request = json!({
        "input": { "text": "a file of the handler" },
        "s3Config": { "accessId": "id", "accessSecret": secret, "bucketName": "out", "endpointUrl": bucket.url() },
    });
    let id = server.submit_request("e", &request);
    let done = server.until_status("e", &id, "COMPLETED");
    let url = done["output"]["url"].as_str().expect("an address");
    assert!(url.starts_with(&format!("{}/out/{id}/result.txt", bucket.url())), "{url}");
    let stored = bucket.stored();
    let (_, body) = stored.iter().find(|(path, _)| path == &format!("/out/{id}/result.txt")).expect("it was stored");
    assert!(body.contains("a file of the handler"), "{body}");
    assert!(!done.to_string().contains(secret), "{done}");
    assert!(!server.log().contains(secret), "a secret in the log");
}

#[test]
fn failures_tell_why() {
    let settings = ["max_attempts: 2", "backoff: {base_s: 0.2, cap_s: 1}"];
    let Some(server) = example("failing.py", &[], &settings) else { return };
    let end = |how: &str| {
        let id = server.submit("e", json!({ "how": how }));
        server.until_status("e", &id, "FAILED")
    };
    let returned = end("return");
    assert_eq!(returned["error"], "the prompt is empty", "{returned}");
    assert_eq!(returned["output"], json!({ "hint": "send `prompt`" }), "{returned}");
    let raised = end("raise");
    let error: Value = serde_json::from_str(raised["error"].as_str().expect("a text")).expect("the SDK's JSON");
    assert_eq!(error["error_type"], "<class 'ValueError'>");
    assert_eq!(raised.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "a handler's error is not tried again");
    let died = end("die");
    assert_eq!(died["retries"], 1, "{died}");
    assert!(died["error"].as_str().is_some_and(|text| text.contains('2')), "the cap is named: {died}");
}

#[test]
fn the_example_application_serves_its_client_and_its_pipeline() {
    let Some(venv) = python::environment() else { return };
    let examples = super::harness::script_path("app.yaml").parent().expect("a folder").to_owned();
    let text = std::fs::read_to_string(examples.join("app.yaml")).expect("the example is there");
    let server = Server::start(
        "examples",
        |mark| {
            let folder = format!("working_dir: {}", examples.display());
            text.replace("working_dir: .}", &format!("{folder}, env: {{THERMOCLINE_TEST: {mark}}}}}"))
                .replace("working_dir: ., env: {", &format!("{folder}, env: {{THERMOCLINE_TEST: {mark}, "))
        },
        &venv,
    );
    let mut client = std::process::Command::new(venv.join("bin/python"));
    let output = python::run(client.arg(examples.join("client.py")).env("THERMOCLINE_URL", server.url()));
    for line in [
        "run_sync: {'text': 'hello', 'length': 5}",
        "output: {'slept_s': 0.5}",
        "stream: {'token': 'warm'}",
        "'status': 'CANCELLED'",
        "'status': 'completed'",
        "many: [{'at_once':",
    ] {
        assert!(output.contains(line), "no {line} in\n{output}");
    }
    let id = server.submit("extract", json!({ "text": "Warm water above cold water" }));
    let words = server.until_status("extract", &id, "COMPLETED")["output"]["words"].clone();
    assert_eq!(words, json!(["warm", "water", "above", "cold", "water"]));
    server.until_health("count", "jobs", "completed", 1);
}

#[test]
fn openai_calls_go_to_the_port_of_a_worker_that_also_works_for_its_queue() {
    let Some(app) = App::new() else { return };
    let settings = ["workers: {active: 0, max: 1, extra: 0}", "run: {openai_port: 8000}"];
    let server = app.endpoint("e", "openai_port.py", &[], &settings).start("openai-port");
    // The call itself is what starts the worker, and it waits for it.
    let asked = json!({ "model": "probe", "messages": [] });
    let answer = server.post("/v2/e/openai/v1/chat/completions", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["path"], "/v1/chat/completions");
    assert_eq!(server.get("/v2/e/openai/v1/models")["data"][0]["id"], "probe");
    let streamed = server.post("/v2/e/openai/v1/chat/completions", &json!({ "model": "probe", "stream": true }));
    assert_eq!(streamed.text(), "data: warm\n\ndata: cold\n\ndata: [DONE]\n\n");
    // The poll that made room for the calls is still open: jobs go the usual way, calls between them too.
    for number in 0..3 {
        let done = server.complete("e", json!({ "number": number }));
        assert_eq!(done["output"], json!({ "queue": { "number": number } }));
        assert_eq!(done["workerId"], server.post("/v2/e/openai/v1/chat/completions", &asked).json()["worker"]);
    }
}

#[test]
fn a_collector_gets_the_trace_of_a_job_below_its_request_and_of_the_start_that_it_caused() {
    let collector = Bucket::open();
    let Some(app) = App::new() else { return };
    let app = app.endpoint("e", "sync.py", &[], &[]).serve(&format!("otlp: {}", collector.url()));
    let server = app.start("otlp");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("Content-Type", "application/json"), ("traceparent", parent)];
    let made = http::request(server.address, "POST", "/v2/e/run", &headers, br#"{"input": {"text": "hello"}}"#);
    let id = made.expect("an answer").json()["id"].as_str().expect("an id").to_owned();
    server.until_status("e", &id, "COMPLETED");
    let spans = || -> Vec<Value> {
        let bodies = collector.stored().into_iter().filter(|(path, _)| path == "/v1/traces");
        let documents = bodies.map(|(_, body)| serde_json::from_str::<Value>(&body).expect("JSON"));
        let lists = documents.map(|document| document["resourceSpans"][0]["scopeSpans"][0]["spans"].clone());
        lists.flat_map(|list| list.as_array().expect("spans").clone()).collect()
    };
    let spans = eventually("all spans", || {
        let spans = spans();
        let named = |name: &str| spans.iter().any(|span| span["name"] == name);
        (named("job e") && named("cold start e")).then_some(spans)
    });
    let span =
        |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    let job = span("job e");
    assert_eq!((&job["traceId"], &job["parentSpanId"]), (&json!(parent[3..35]), &json!(parent[36..52])));
    for part in ["queue", "attempt 1"] {
        assert_eq!((&span(part)["traceId"], &span(part)["parentSpanId"]), (&job["traceId"], &job["spanId"]), "{part}");
    }
    for phase in ["container", "import", "first_take"] {
        assert_eq!(span(phase)["parentSpanId"], span("cold start e")["spanId"], "{phase}");
    }
    let at = |span: &Value, edge: &str| span[edge].as_str().and_then(|ns| ns.parse::<u64>().ok()).expect("nanoseconds");
    assert_eq!(at(span("queue"), "endTimeUnixNano"), at(span("attempt 1"), "startTimeUnixNano"));
    assert!(at(job, "endTimeUnixNano") > at(job, "startTimeUnixNano"));
}
