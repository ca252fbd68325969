//! The SDK's client, call by call, against workers that run the SDK too.

use std::fs;

use serde_json::json;

use super::super::support::patience::eventually;
use super::harness::{App, Server};
use super::puppet::{self, Puppet};

fn probe(test: &str, settings: &[&str]) -> Option<Server> {
    Some(App::new()?.endpoint("e", "probe.py", &[], settings).start(test))
}

/// One worker at most.
const ALONE: &str = "workers: {active: 0, max: 1, extra: 0}";

#[test]
fn run_status_output_and_health() {
    let Some(server) = probe("client", &[]) else { return };
    let script = "
        endpoint = runpod.Endpoint('e')
        job = endpoint.run({'do': 'echo', 'text': 'é\\n'})
        early = job.status()
        output = job.output(timeout=60)
        answer = {'id': job.job_id, 'early': early, 'output': output, 'late': job.status(), 'health': endpoint.health()}
    ";
    let answer = server.sdk(script);
    assert!(
        ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].contains(&answer["early"].as_str().unwrap_or_default()),
        "{answer}"
    );
    assert_eq!(answer["output"]["echo"], json!({ "do": "echo", "text": "é\n" }));
    assert_eq!(answer["late"], "COMPLETED");
    assert_eq!(answer["health"]["jobs"]["completed"], 1);
    let job = server.status("e", answer["id"].as_str().expect("an id"));
    for figure in ["delayTime", "executionTime"] {
        assert!(job[figure].as_u64().is_some_and(|ms| ms < 120_000), "{figure} in ms: {job}");
    }
    assert_eq!(job["workerId"], answer["output"]["worker"]);
}

#[test]
fn outputs_come_back_as_they_were_given() {
    let Some(server) = probe("values", &[]) else { return };
    let script = "
        endpoint = runpod.Endpoint('e')
        values = [0, False, '', [], 1.5, 'text', [1, [2]], {'a': {'b': None}}, 12345678901234567890, None]
        answer = [endpoint.run({'do': 'value', 'value': value}).output(timeout=60) for value in values]
    ";
    let expected =
        json!([0, false, "", [], 1.5, "text", [1, [2]], { "a": { "b": null } }, 12_345_678_901_234_567_890_u64, null]);
    assert_eq!(server.sdk(script), expected);
    // An input without anything in it is an input.
    let done = server.complete("e", json!({}));
    assert_eq!(done["output"]["echo"], json!({}));
}

#[test]
fn a_cancelled_job_stops_and_its_worker_goes_on() {
    let Some(server) = probe("cancel", &[ALONE]) else { return };
    let first = server.complete("e", json!({}))["output"]["worker"].clone();
    let id = server.submit("e", json!({ "do": "sleep", "seconds": 600 }));
    server.until_status("e", &id, "IN_PROGRESS");
    let script = format!(
        "
        from runpod.endpoint.runner import Job, RunPodClient
        answer = Job('e', '{id}', RunPodClient()).cancel()
        "
    );
    assert_eq!(server.sdk(&script), json!({ "id": id, "status": "CANCELLED" }));
    assert_eq!(server.status("e", &id)["status"], "CANCELLED");
    let next = server.complete("e", json!({}));
    assert_eq!(server.status("e", &id)["status"], "CANCELLED");
    // The job was asleep when the signal came, so nothing had to be killed.
    assert_eq!(next["output"]["worker"], first, "{next}");
}

#[test]
fn a_purge_takes_what_waits_and_leaves_what_runs() {
    let Some(server) = probe("purge", &[ALONE]) else { return };
    let go = server.path("go");
    let running = server.submit("e", json!({ "do": "until", "path": go }));
    server.until_status("e", &running, "IN_PROGRESS");
    let waiting: Vec<String> = (0..3).map(|_| server.submit("e", json!({}))).collect();
    let answer = server.sdk("answer = runpod.Endpoint('e').purge_queue()");
    assert_eq!(answer, json!({ "removed": 3, "status": "completed" }));
    fs::write(&go, "").expect("the file can be written");
    server.until_status("e", &running, "COMPLETED");
    for id in waiting {
        assert_eq!(server.status("e", &id)["status"], "CANCELLED");
    }
}

#[test]
fn run_sync_waits_for_the_end_and_falls_back_to_polling() {
    let Some(server) = probe("run-sync", &[]) else { return };
    let quick = server.post("/v2/e/runsync", &json!({ "input": {} }));
    assert_eq!((quick.status, quick.json()["status"].clone()), (200, json!("COMPLETED")), "{}", quick.text());
    let slow = server.post("/v2/e/runsync?wait=1000", &json!({ "input": { "do": "sleep", "seconds": 4 } })).json();
    assert!(slow["id"].as_str().is_some_and(|id| id.starts_with("sync-")), "{slow}");
    assert_eq!(slow["status"], "IN_PROGRESS");
    server.until_status("e", slow["id"].as_str().expect("an id"), "COMPLETED");
}

#[test]
fn a_failed_job_can_be_tried_again_under_its_id() {
    let Some(server) = probe("retry", &["max_attempts: 1", "backoff: {base_s: 0.2, cap_s: 1}"]) else { return };
    let marker = server.path("marker");
    let id = server.submit("e", json!({ "do": "once", "path": marker }));
    server.until_status("e", &id, "FAILED");
    let again = server.post(&format!("/v2/e/retry/{id}"), &json!({}));
    assert_eq!((again.status, again.json()), (200, json!({ "id": id, "status": "IN_QUEUE" })));
    assert_eq!(server.until_status("e", &id, "COMPLETED")["output"], json!({ "attempt": 2 }));
    let refused = server.post(&format!("/v2/e/retry/{id}"), &json!({}));
    assert_eq!(refused.status, 400, "a completed job: {}", refused.text());
}

#[test]
fn a_stream_is_handed_out_once_and_in_order() {
    let Some(server) = puppet::served("stream", &[]) else { return };
    let worker = Puppet::of(&server, &[]);
    let id = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), id);
    let path = format!("/v2/e/stream/{id}");
    let fetch = |wanted: usize| {
        let mut pieces = Vec::new();
        eventually(&format!("{wanted} pieces"), || {
            let answer = server.get(&path);
            pieces.extend(answer["stream"].as_array().expect("always a list").iter().map(|one| one["output"].clone()));
            (pieces.len() >= wanted).then_some(())
        });
        pieces
    };
    for piece in [json!("a"), json!({ "b": 1 }), json!(null)] {
        assert_eq!(worker.piece(&id, &piece), 200);
    }
    assert_eq!(fetch(3), [json!("a"), json!({ "b": 1 }), json!(null)]);
    assert_eq!(worker.piece(&id, &json!("d")), 200);
    assert_eq!(worker.done(&id, &json!({ "output": [] })), 200);
    assert_eq!(fetch(1), [json!("d")]);
    // The SDK's client reads until the state is final and the list empty: a stream that began again would never end.
    let last = server.get(&path);
    assert_eq!((&last["status"], &last["stream"]), (&json!("COMPLETED"), &json!([])));
}
