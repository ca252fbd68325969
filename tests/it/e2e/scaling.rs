//! Workers come when there is work and go when there is none: processes on this machine, counted.

use serde_json::json;

use super::super::support::patience::eventually;
use super::harness::App;

#[test]
fn from_zero_and_back_to_zero() {
    let settings = ["idle_timeout_s: 1", "flashboot: false"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("zero");
    assert!(server.worker_processes().is_empty(), "a worker although there was no job");
    server.complete("e", json!({}));
    eventually("no process", || server.worker_processes().is_empty().then_some(()));
    // From zero again: nothing was given up for good.
    server.complete("e", json!({}));
    assert_eq!(server.health("e", "jobs", "retried"), 0);
}

#[test]
fn a_worker_that_cannot_be_frozen_is_stopped_and_started_again() {
    // Processes are not frozen: the wish is carried out as a stop, and the next start is a full one.
    let settings = ["idle_timeout_s: 1", "flashboot: true", "workers: {active: 0, max: 1, extra: 0}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("frozen");
    let pid = |input| server.complete("e", input)["output"]["pid"].as_i64().expect("a pid");
    let first = pid(json!({ "do": "environment" }));
    eventually("no process", || server.worker_processes().is_empty().then_some(()));
    assert_ne!(pid(json!({ "do": "environment" })), first);
}

#[test]
fn no_more_workers_than_allowed_and_no_fewer_than_promised() {
    let settings = ["workers: {active: 1, max: 2, extra: 0}", "idle_timeout_s: 1", "flashboot: false"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("bounds");
    server.until_health("e", "workers", "warm", 1);
    let ids: Vec<String> = (0..6).map(|_| server.submit("e", json!({ "do": "sleep", "seconds": 1 }))).collect();
    let mut most = 0;
    for id in &ids {
        eventually(&format!("the end of {id}"), || {
            most = most.max(server.health("e", "workers", "running"));
            (server.status("e", id)["status"] == "COMPLETED").then_some(())
        });
    }
    assert!(most <= 2, "{most} workers at once");
    // The flex worker goes, the active one stays.
    eventually("one worker", || (server.health("e", "workers", "warm") == 1).then_some(()));
    assert_eq!(server.health("e", "workers", "running"), 0);
}

#[test]
fn no_job_is_lost_to_a_worker_that_is_about_to_leave() {
    let settings = ["idle_timeout_s: 0.3", "flashboot: false", "workers: {active: 0, max: 1, extra: 0}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &settings).start("leaving");
    // The next job comes the sooner after the last one's end the further we are: some of them meet the worker on its way out.
    for round in 0..6_u64 {
        let done = server.complete("e", json!({ "round": round }));
        assert_eq!(done["output"]["echo"]["round"], round);
        assert_eq!(done.get("retries").and_then(serde_json::Value::as_u64).unwrap_or(0), 0, "{done}");
        std::thread::sleep(std::time::Duration::from_millis(600 - 100 * round));
    }
}
