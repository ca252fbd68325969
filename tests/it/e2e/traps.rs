//! Twelve properties of the worker SDK that a gateway falls over unless it knows them (worker SDK 1.12.0). One test each, by the
//! SDK itself where it shows the property, else by a worker whose calls the test makes by hand.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::{App, Server};
use super::processes;
use super::puppet::{self, Puppet};

/// One worker at most.
const ALONE: &str = "workers: {active: 0, max: 1, extra: 0}";

fn probe(test: &str, settings: &[&str]) -> Option<Server> {
    Some(App::new()?.endpoint("e", "probe.py", &[], settings).start(test))
}

#[test]
fn trap_1_an_idle_worker_is_held_and_does_not_spin() {
    let Some(server) = puppet::served("trap-1", &[]) else { return };
    let worker = Puppet::of(&server, &[]);
    let began = Instant::now();
    let reply = worker.take(0);
    assert_eq!(reply.status, 204, "{}", reply.text());
    // The poll is held for 5 s here. Answered at once, the SDK would ask hundreds of times a second.
    assert!(began.elapsed() > Duration::from_secs(3), "answered after {:?}", began.elapsed());
}

#[test]
fn trap_2_a_poll_that_was_given_up_takes_no_job_along() {
    let Some(server) = puppet::served("trap-2", &[]) else { return };
    let worker = Puppet::of(&server, &[]);
    assert_eq!(worker.take(0).status, 204);
    for _ in 0..5 {
        worker.take_and_hang_up();
    }
    // A new poll takes the place of the one before it, whether or not its end has been noticed by now.
    assert_eq!(worker.take(0).status, 204);
    let id = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), id);
    assert_eq!(worker.done(&id, &json!({ "output": 1 })), 200);
    let done = server.until_status("e", &id, "COMPLETED");
    assert_eq!(done.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "nobody was lost: {done}");
}

#[test]
fn trap_3_a_result_is_never_refused_and_the_first_one_counts() {
    let Some(server) = puppet::served("trap-3", &[]) else { return };
    let worker = Puppet::of(&server, &[]);
    let id = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), id);
    let progress = json!({ "status": "IN_PROGRESS", "output": "late" });
    for (body, output) in
        [(json!({ "output": "first" }), "first"), (json!({ "error": "second" }), "first"), (progress, "first")]
    {
        assert_eq!(worker.done(&id, &body), 200, "the SDK never repeats what was answered with 4xx: {body}");
        let status = server.status("e", &id);
        assert_eq!((&status["status"], &status["output"]), (&json!("COMPLETED"), &json!(output)), "{status}");
    }
    // Nobody else may say how a job ended: not a stranger, and not under another worker's token.
    let other = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), other);
    let forged = worker.done_as(&other, b"{\"output\": \"forged\"}", "no-such-token");
    assert!([401, 404].contains(&forged.status), "{}", forged.status);
    assert_eq!(server.status("e", &other)["status"], "IN_PROGRESS");
    // What cannot be read fails the job instead of leaving it behind.
    let garbage = worker.done_as(&other, b"{\"output\": [1, 2", worker.variable("RUNPOD_AI_API_KEY"));
    assert_eq!(garbage.status, 200);
    assert!(server.until_status("e", &other, "FAILED")["error"].is_string());
}

#[test]
fn trap_4_results_that_json_does_not_know() {
    let settings = [ALONE, "max_attempts: 2", "lease_s: 30"];
    let Some(server) = probe("trap-4", &settings) else { return };
    let done = server.complete("e", json!({ "do": "nan" }));
    assert_eq!(done["output"]["text"], "NaN", "{done}");
    // Never posted: the worker forgets the job and asks for another.
    let id = server.submit("e", json!({ "do": "object" }));
    let lost = server.until_status("e", &id, "FAILED");
    assert!(lost["error"].as_str().is_some_and(|text| !text.is_empty()), "{lost}");
    server.complete("e", json!({}));
}

#[test]
fn trap_5_a_worker_that_leaves_is_released_from_its_polls_first() {
    let settings = ["workers: {active: 1, max: 1, extra: 0}", "flashboot: false"];
    let Some(server) = probe("trap-5", &settings) else { return };
    server.complete("e", json!({}));
    let before = server.worker_processes();
    // A graceful end of the gateway's own kind: workers that are told to leave end by themselves, not by SIGKILL after 90 s.
    let text = fs::read_to_string(server.path("app.yaml")).expect("the application file");
    let text = text.replace("workers: {active: 1, max: 1, extra: 0}", "workers: {active: 0, max: 0, extra: 0}");
    fs::write(server.path("app.yaml"), text).expect("it can be written");
    processes::signal(server.pid(), rustix::process::Signal::HUP);
    eventually("the end of the worker", || before.iter().all(|&pid| !processes::is_alive(pid)).then_some(()));
    let id = server.submit("e", json!({}));
    assert_eq!(server.status("e", &id)["status"], "IN_QUEUE", "nobody is left who could take it");
}

#[test]
fn trap_6_the_ping_process_goes_with_its_worker() {
    let settings = [ALONE, "backoff: {base_s: 0.2, cap_s: 1}"];
    let Some(server) = probe("trap-6", &settings) else { return };
    let first = server.complete("e", json!({ "do": "environment" }));
    let pid = i32::try_from(first["output"]["pid"].as_i64().expect("a pid")).expect("a pid");
    let name = first["workerId"].as_str().expect("a worker").to_owned();
    let all = processes::of_worker(&server.mark, &name);
    assert!(all.len() >= 2 && all.contains(&pid), "the worker and its ping process: {all:?}");
    processes::signal(pid, rustix::process::Signal::KILL);
    eventually("the end of the ping process", || processes::of_worker(&server.mark, &name).is_empty().then_some(()));
    let second = server.complete("e", json!({}));
    assert_ne!(second["workerId"], first["workerId"], "a launch has a name of its own");
}

#[test]
fn trap_7_a_stop_signal_is_repeated_until_the_job_is_gone() {
    let Some(server) = puppet::served("trap-7", &["stop_job_grace_s: 60"]) else { return };
    let worker = Puppet::of(&server, &[]);
    let id = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), id);
    assert_eq!(server.post(&format!("/v2/e/cancel/{id}"), &json!({})).status, 200);
    // The first one may have been written to a poll that nobody reads any more.
    for time in 1..=2 {
        eventually(&format!("stop signal {time}"), || (worker.stops() == [id.as_str()]).then_some(()));
    }
    assert_eq!(worker.done(&id, &json!({ "output": "too late" })), 200);
    let status = server.status("e", &id);
    assert_eq!((&status["status"], status.get("output")), (&json!("CANCELLED"), None), "{status}");
    // And it is not given to the same worker again under the same name: a late result would pass for the new attempt's.
    let next = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), next);
}

#[test]
fn trap_7_a_swallowed_stop_changes_nothing() {
    let Some(server) = probe("trap-7-swallowed", &[ALONE]) else { return };
    let id = server.submit("e", json!({ "do": "swallow", "seconds": 600 }));
    server.until_status("e", &id, "IN_PROGRESS");
    server.post(&format!("/v2/e/cancel/{id}"), &json!({}));
    server.complete("e", json!({}));
    let status = server.status("e", &id);
    assert_eq!((&status["status"], status.get("output")), (&json!("CANCELLED"), None), "{status}");
}

#[test]
fn trap_8_a_blocked_worker_is_killed_for_its_cancelled_job() {
    let settings = [ALONE, "stop_job_grace_s: 1", "backoff: {base_s: 0.2, cap_s: 1}"];
    let Some(server) = probe("trap-8", &settings) else { return };
    let id = server.submit("e", json!({ "do": "block", "seconds": 100_000 }));
    server.until_status("e", &id, "IN_PROGRESS");
    let worker = server.status("e", &id)["workerId"].as_str().expect("a worker").to_owned();
    server.post(&format!("/v2/e/cancel/{id}"), &json!({}));
    eventually("the end of the blocked worker", || {
        processes::of_worker(&server.mark, &worker).is_empty().then_some(())
    });
    assert_eq!(server.status("e", &id)["status"], "CANCELLED");
    server.complete("e", json!({}));
}

#[test]
fn trap_9_10_and_12_the_environment_of_a_worker() {
    let settings = ["workers: {active: 2, max: 2, extra: 0}"];
    let Some(app) = App::new() else { return };
    let server =
        app.endpoint_running("e", &puppet::command(), &[("MINE", "$ID `x` \"y\"")], &settings).start("environment");
    let first = Puppet::of(&server, &[]);
    let second = Puppet::of(&server, &[first.name()]);
    let interval: u64 = first.variable("RUNPOD_PING_INTERVAL").parse().expect("a number");
    assert!(interval >= 1_000, "{interval} ms: below 1,000 the SDK's ping process dies");
    for template in ["GET_JOB", "POST_OUTPUT", "POST_STREAM", "PING"].map(|name| format!("RUNPOD_WEBHOOK_{name}")) {
        let url = first.variable(&template);
        assert!(url.contains('?'), "the SDK appends `&...` blindly to {template}={url}");
        assert!(url.contains("$ID") || url.contains("$RUNPOD_POD_ID"), "a shell has been at {template}={url}");
    }
    assert!(first.variable("RUNPOD_WEBHOOK_GET_JOB").contains("/job-take/"));
    assert_eq!(first.variable("RUNPOD_ENDPOINT_ID"), "e");
    assert_eq!(first.variable("MINE"), "$ID `x` \"y\"", "handed over as it is");
    let own = std::env::var("HOME").expect("we have a home");
    for name in ["HOME", "RUNPOD_POD_ID", "RUNPOD_AI_API_KEY"] {
        assert_ne!(first.variable(name), second.variable(name), "{name} is shared");
    }
    assert_ne!(first.variable("HOME"), own, "the keys in our own ~/.runpod would replace the worker's");
}

#[test]
fn trap_11_a_worker_gets_what_it_asked_for_and_no_more() {
    let settings = ["concurrency: 3"];
    let Some(server) = puppet::served("trap-11", &settings) else { return };
    let worker = Puppet::of(&server, &[]);
    let ids: Vec<String> = (0..5).map(|_| server.submit("e", json!({}))).collect();
    // The plain form is for one job, although four more wait and two places are free.
    assert_eq!(worker.take_job(), ids[0]);
    let batch = eventually("a batch", || Some(worker.take_batch(2)).filter(|reply| reply.status == 200)).json();
    let given: Vec<&str> =
        batch.as_array().expect("a list").iter().map(|job| job["id"].as_str().expect("an id")).collect();
    assert_eq!(given, [&ids[1], &ids[2]], "in the order of their acceptance, and no more than were asked for");
    for id in &ids[..3] {
        assert_eq!(worker.done(id, &json!({ "output": null })), 200);
        server.until_status("e", id, "COMPLETED");
    }
    assert_eq!(worker.take_job(), ids[3]);
}
