//! The application file changes while it is served: SIGHUP, and workers are replaced batch by batch.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::{App, Server};
use super::processes;

/// Changes the file and tells the gateway.
fn reload(server: &Server, from: &str, to: &str) {
    let path = server.path("app.yaml");
    let text = fs::read_to_string(&path).expect("the application file");
    assert!(text.contains(from), "no {from} in\n{text}");
    fs::write(&path, text.replace(from, to)).expect("it can be written");
    processes::signal(server.pid(), Signal::HUP);
}

#[test]
fn a_rollout_under_load_loses_no_job() {
    let settings = ["workers: {active: 2, max: 2, extra: 0}", "rollout: {batch_percent: 50}"];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[("RELEASE", "one")], &settings).start("rollout");
    assert_eq!(server.complete("e", json!({}))["output"]["release"], "one");
    reload(&server, "\"RELEASE\":\"one\"", "\"RELEASE\":\"two\"");
    let mut ids = Vec::new();
    // Until four answers in a row come from the new release, there is always work for both.
    let mut row = 0;
    eventually("the new release everywhere", || {
        let id = server.submit("e", json!({ "do": "sleep", "seconds": 0.2 }));
        let done = server.until_status("e", &id, "COMPLETED");
        row = if done["output"]["release"] == "two" { row + 1 } else { 0 };
        ids.push(id);
        (row >= 4).then_some(())
    });
    for id in &ids {
        let done = server.status("e", id);
        assert_eq!(done.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "{done}");
    }
    server.until_health("e", "workers", "outdated", 0);
    assert_eq!(server.health("e", "jobs", "failed"), 0);
    let releases = server.get("/management/v2/serverless/e/releases");
    assert!(releases["releases"].as_array().is_some_and(|all| all.len() >= 2), "{releases}");
}

#[test]
fn a_release_that_does_not_come_up_is_rolled_back_and_the_old_one_serves() {
    let settings = [
        "workers: {active: 1, max: 2, extra: 0}",
        "rollout: {rollback_after_failures: 2}",
        "backoff: {base_s: 0.1, cap_s: 0.2}",
    ];
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[("RELEASE", "one")], &settings).start("roll-back");
    server.complete("e", json!({}));
    reload(&server, "probe.py", "crash.py");
    eventually("the roll-back", || {
        let releases = server.get("/management/v2/serverless/e/releases").to_string().to_lowercase();
        releases.contains("rolled_back").then_some(())
    });
    assert_eq!(server.complete("e", json!({}))["output"]["release"], "one");
}

#[test]
fn a_file_with_mistakes_changes_nothing() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[("RELEASE", "one")], &[]).start("bad-reload");
    server.complete("e", json!({}));
    reload(&server, "gpu_classes", "gpu_clases");
    eventually("the mistake in the log", || server.log().contains("gpu_clases").then_some(()));
    assert_eq!(server.complete("e", json!({}))["output"]["release"], "one");
    // Mended, it is taken up.
    reload(&server, "gpu_clases", "gpu_classes");
    reload(&server, "\"RELEASE\":\"one\"", "\"RELEASE\":\"two\"");
    eventually("the new release", || (server.complete("e", json!({}))["output"]["release"] == "two").then_some(()));
}

#[test]
fn an_endpoint_can_be_added_while_others_are_served() {
    let Some(app) = App::new() else { return };
    let server = app.endpoint("e", "probe.py", &[], &[]).start("added");
    let text = fs::read_to_string(server.path("app.yaml")).expect("the application file");
    let begin = text.find("  e:\n").expect("the endpoint");
    let end = text.find("serve:").expect("the section");
    let second = text[begin..end].replacen("  e:\n", "  second:\n", 1);
    reload(&server, "serve:\n", &format!("{second}serve:\n"));
    eventually("the second endpoint", || server.try_get("/v2/second/health").filter(|reply| reply.status == 200));
    server.complete("second", json!({}));
    server.complete("e", json!({}));
}
