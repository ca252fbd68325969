//! Workers that die, never come up, or fall silent: their jobs go on elsewhere or end with a reason, and none is lost.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::App;
use super::processes;
use super::puppet::{self, Puppet};

#[test]
fn a_killed_worker_s_job_goes_to_another() {
    let settings = ["backoff: {base_s: 0.2, cap_s: 1}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("killed-worker");
    let go = server.path("go");
    let id = server.submit("e", json!({ "do": "until", "path": go }));
    let first = server.until_status("e", &id, "IN_PROGRESS")["workerId"].as_str().expect("a worker").to_owned();
    for pid in processes::of_worker(&server.mark, &first) {
        processes::signal(pid, Signal::KILL);
    }
    let second = eventually("another worker", || {
        let status = server.status("e", &id);
        (status["status"] == "IN_PROGRESS" && status["workerId"] != json!(first)).then_some(status)
    });
    assert_eq!(second["retries"], 1, "{second}");
    std::fs::write(&go, "").expect("the file can be written");
    let done = server.until_status("e", &id, "COMPLETED");
    assert_eq!(done["output"]["worker"], second["workerId"]);
    assert_eq!(server.health("e", "jobs", "retried"), 1);
}

#[test]
fn a_job_that_kills_its_workers_ends_when_its_attempts_are_used_up() {
    let settings = ["max_attempts: 3", "backoff: {base_s: 0.1, cap_s: 0.2}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("poison");
    let id = server.submit("e", json!({ "do": "die" }));
    let failed = server.until_status("e", &id, "FAILED");
    assert_eq!(failed["retries"], 2, "{failed}");
    let error = failed["error"].as_str().expect("a reason");
    assert!(error.contains('3'), "the cap is named: {error}");
    // The endpoint itself is as good as before.
    server.complete("e", json!({}));
}

#[test]
fn a_crash_loop_is_unhealthy_with_its_last_words() {
    let settings = ["backoff: {base_s: 60}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "crash.py", &[], &settings).start("crash-loop");
    let id = server.submit("e", json!({}));
    eventually("an unhealthy worker", || (server.health("e", "workers", "unhealthy") > 0).then_some(()));
    let workers = server.get("/management/v2/serverless/e/workers");
    let text = workers.to_string();
    assert!(text.contains("cannot find the model in the image"), "the last words of the worker: {workers}");
    assert!(text.contains('9'), "its exit code: {workers}");
    let waiting = server.status("e", &id);
    assert_eq!(waiting["status"], "IN_QUEUE", "the job waits for a worker that comes up: {waiting}");
}

#[test]
fn a_silent_worker_is_lost_and_its_late_result_cannot_undo_another_s() {
    let Some(server) = puppet::served("silent", &["lease_s: 2", "backoff: {base_s: 0.2, cap_s: 1}"]) else { return };
    let first = Puppet::of(&server, &[]);
    let id = server.submit("e", json!({}));
    assert_eq!(first.take_job(), id);
    // Not a word from it any more: its process is killed, the job waits for the next.
    eventually("the end of the silent worker", || {
        processes::of_worker(&server.mark, first.name()).is_empty().then_some(())
    });
    let second = Puppet::of(&server, &[first.name()]);
    assert_eq!(second.take_job(), id);
    assert_eq!(second.done(&id, &json!({ "output": "second" })), 200);
    first.done(&id, &json!({ "output": "first" }));
    let done = server.until_status("e", &id, "COMPLETED");
    assert_eq!((&done["output"], &done["retries"]), (&json!("second"), &json!(1)), "{done}");
}

#[test]
fn a_hand_over_that_never_arrived_is_made_again_without_an_attempt() {
    let Some(server) = puppet::served("lost-take", &[]) else { return };
    let worker = Puppet::of(&server, &[]);
    let id = server.submit("e", json!({}));
    assert_eq!(worker.take_job(), id);
    // The answer was lost on the way: the worker says that it holds nothing, by its pings and by its next takes.
    eventually("the job a second time", || {
        assert_eq!(worker.ping(&[]), 200);
        let reply = worker.take(0);
        (reply.status == 200).then(|| assert_eq!(reply.json()["id"], json!(id)))
    });
    assert_eq!(worker.done(&id, &json!({ "output": 1 })), 200);
    server.until_status("e", &id, "COMPLETED");
}

#[test]
fn time_limits_end_jobs_and_free_their_workers() {
    let settings = ["workers: {active: 0, max: 1, extra: 0}", "execution_timeout_s: 600"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("limits");
    let policy = json!({ "executionTimeout": 5_000 });
    let id = server.submit_request("e", &json!({ "input": { "do": "sleep", "seconds": 600 }, "policy": policy }));
    let ended = server.until_status("e", &id, "TIMED_OUT");
    assert!(ended["executionTime"].as_u64().is_some_and(|ms| ms >= 5_000), "{ended}");
    // One that waits longer than it may live.
    let busy = server.submit("e", json!({ "do": "sleep", "seconds": 15 }));
    server.until_status("e", &busy, "IN_PROGRESS");
    let id = server.submit_request("e", &json!({ "input": {}, "policy": { "ttl": 10_000 } }));
    let ended = server.until_status("e", &id, "TIMED_OUT");
    assert_eq!(ended.get("executionTime").and_then(Value::as_u64).unwrap_or(0), 0, "{ended}");
    server.until_status("e", &busy, "COMPLETED");
}
