//! The same in containers: the unmodified SDK in an image, an engine that is stopped and started, a gateway that is killed.
//!
//! Method: an engine of the test's own would need a machine of its own, so these use the one that runs here; only containers with
//! the test's mark are touched. The image is made by `image.sh`. Without an engine or the image the tests say so and pass,
//! unless `THERMOCLINE_REQUIRE` has `docker`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::{App, Server, script_path};
use super::python;
use crate::real_docker::outside::Cut;
use crate::real_docker::remove_all_of;

/// The image of `image.sh` that fits this tree, if it has been made.
fn image() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/e2e");
    let version = Command::new("sh")
        .args(["-c", "cat requirements.txt image.sh | sha256sum | cut -c1-12"])
        .current_dir(here)
        .output()
        .expect("a shell");
    let image = format!("thermocline-e2e:{}", String::from_utf8_lossy(&version.stdout).trim());
    let mut inspect = Command::new("docker");
    inspect.args(["image", "inspect", &image]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if inspect.status().is_ok_and(|status| status.success()) {
        return Some(image);
    }
    let required = std::env::var("THERMOCLINE_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|what| what == "docker"),
        "THERMOCLINE_REQUIRE=docker, but the engine has no {image}: run tests/it/e2e/image.sh"
    );
    eprintln!("skipped: no container engine, or no image {image}; tests/it/e2e/image.sh makes it");
    None
}

/// Stdout of the engine's own client.
fn docker(arguments: &[&str]) -> String {
    python::run(Command::new("docker").args(arguments))
}

/// A server whose workers are containers, and their removal when the test ends.
struct Contained {
    server: Server,
}

impl Contained {
    fn start(test: &str, settings: &[&str]) -> Option<Contained> {
        Contained::start_by(test, settings, None)
    }

    /// With the engine behind this socket.
    fn start_by(test: &str, settings: &[&str], socket: Option<&Path>) -> Option<Contained> {
        let image = image()?;
        let handlers = script_path("probe.py").parent().expect("a folder").display().to_string();
        let image = format!("image: {image}");
        let volumes = format!("volumes: [{{source: {handlers}, mount: /handlers, read_only: true}}]");
        let settings = [&[image.as_str(), volumes.as_str()], settings].concat();
        let command = ["python3".to_owned(), "/handlers/probe.py".to_owned()];
        let app = App::new()?.endpoint_running("e", &command, &[], &settings);
        let mut app = app.serve("launcher: docker");
        if let Some(socket) = socket {
            app = app.serve(&format!("docker: {{endpoint: \"unix://{}\"}}", socket.display()));
        }
        Some(Contained { server: app.start(test) })
    }

    /// Ids of its containers, those that have ended too.
    fn containers(&self) -> Vec<String> {
        containers(&self.server.mark)
    }
}

/// Ids of the containers whose environment has the mark.
fn containers(mark: &str) -> Vec<String> {
    let all = docker(&["ps", "--all", "--quiet", "--no-trunc"]);
    let ids = all.lines().map(str::trim).filter(|id| !id.is_empty());
    let marked = |id: &&str| {
        // One that has gone meanwhile is not ours to find.
        let output = Command::new("docker").args(["inspect", "--format", "{{json .Config.Env}}", *id]).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(mark))
    };
    ids.filter(marked).map(str::to_owned).collect()
}

impl Drop for Contained {
    fn drop(&mut self) {
        // First, lest it starts what is removed here once more.
        self.server.end();
        if let Ok(store) = fs::read_to_string(self.server.folder.join("data/engine-label")) {
            remove_all_of(&store);
        }
    }
}

#[test]
fn a_container_works_and_is_gone_when_idle() {
    let Some(app) = Contained::start("docker", &["idle_timeout_s: 1", "flashboot: false"]) else { return };
    let server = &app.server;
    let answer = server.sdk("answer = runpod.Endpoint('e').run_sync({'do': 'echo', 'text': 'hello'}, timeout=90)");
    assert_eq!(answer["echo"]["text"], "hello");
    eventually("no container", || app.containers().is_empty().then_some(()));
    server.complete("e", json!({}));
}

#[test]
fn a_killed_container_s_job_goes_to_another() {
    let Some(app) = Contained::start("docker-killed", &["backoff: {base_s: 0.2, cap_s: 1}"]) else { return };
    let server = &app.server;
    let id = server.submit("e", json!({ "do": "sleep", "seconds": 8 }));
    let first = server.until_status("e", &id, "IN_PROGRESS")["workerId"].clone();
    let running = app.containers();
    docker(&["kill", &running[0]]);
    let done = server.until_status("e", &id, "COMPLETED");
    assert_eq!(done["retries"], 1, "{done}");
    assert_ne!(done["workerId"], first);
}

#[test]
fn containers_go_on_under_the_next_gateway() {
    let Some(mut app) = Contained::start("docker-adopted", &["workers: {active: 1, max: 1, extra: 0}"]) else { return };
    let id = app.server.submit("e", json!({ "do": "sleep", "seconds": 6 }));
    app.server.until_status("e", &id, "IN_PROGRESS");
    let before = app.containers();
    app.server.kill();
    app.server.resume();
    let done = app.server.until_status("e", &id, "COMPLETED");
    assert_eq!(done.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "{done}");
    assert_eq!(app.containers(), before, "adopted, neither doubled nor replaced");
    assert_eq!(app.server.complete("e", json!({}))["workerId"], done["workerId"]);
}

#[test]
fn without_its_engine_the_gateway_serves_and_what_runs_goes_on() {
    if image().is_none() {
        return;
    }
    let socket = std::env::temp_dir().join(format!("thermocline-e2e-cut-{}.sock", std::process::id()));
    let _ = fs::remove_file(&socket);
    let way = Cut::new(socket.clone());
    let settings = ["workers: {active: 1, max: 2, extra: 0}"];
    let Some(app) = Contained::start_by("docker-cut", &settings, Some(&socket)) else { return };
    let server = &app.server;
    let running = server.submit("e", json!({ "do": "sleep", "seconds": 3 }));
    server.until_status("e", &running, "IN_PROGRESS");
    way.cut();
    // The worker needs no engine to work, the gateway none to answer and to accept.
    let waiting = server.submit("e", json!({ "text": "later" }));
    let done = server.until_status("e", &running, "COMPLETED");
    assert_eq!(done.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "{done}");
    server.get("/v2/e/health");
    way.mend();
    server.until_status("e", &waiting, "COMPLETED");
    server.complete("e", json!({}));
    way.cut();
}

#[test]
fn an_image_that_does_not_exist_is_told_apart_from_a_broken_one() {
    if image().is_none() {
        return;
    }
    let Some(app) = App::new() else { return };
    let command = ["true".to_owned()];
    let server = app
        .endpoint_running("e", &command, &[], &["image: thermocline-e2e:no-such-version"])
        .serve("launcher: docker")
        .start("docker-no-image");
    let id = server.submit("e", json!({}));
    eventually("a reason", || {
        let workers = server.get("/management/v2/serverless/e/workers").to_string().to_lowercase();
        (workers.contains("pull") || workers.contains("image_")).then_some(())
    });
    assert_eq!(server.status("e", &id)["status"], "IN_QUEUE");
}
