//! `kill -9` of the gateway: no accepted job is lost, none has two outcomes, its workers go on under the next gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::{App, Server};
use super::http;

/// Submits jobs from several threads until told to stop; ids of those that were accepted.
struct Load {
    accepted: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Load {
    fn submit(&self, to: SocketAddr, input: &Value) {
        let body = json!({ "input": input }).to_string();
        while !self.over.load(Ordering::Relaxed) {
            let headers = [("Content-Type", "application/json")];
            match http::request(to, "POST", "/v2/e/run", &headers, body.as_bytes()) {
                Ok(reply) if reply.status == 200 => {
                    let id = reply.json()["id"].as_str().expect("an id").to_owned();
                    self.accepted.lock().expect("no panic while it is held").push(id);
                }
                // Refused or broken off: not accepted, so nothing was promised.
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn count(&self) -> usize {
        self.accepted.lock().expect("no panic while it is held").len()
    }
}

#[test]
fn nothing_accepted_is_lost_and_nothing_ends_twice() {
    let settings = ["concurrency: 10", "max_attempts: 10"];
    let Some(app) = App::new() else { return };
    let mut server = app.endpoint("e", "probe.py", &[("CONCURRENCY", "10")], &settings).start("killed-gateway");
    server.complete("e", json!({}));
    let load = Load { accepted: Mutex::default(), over: AtomicBool::new(false) };
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let address = server.address;
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| load.submit(address, &json!({ "do": "sleep", "seconds": 0.05 })));
        }
        for _ in 0..4 {
            let enough = load.count() + 20;
            eventually("twenty more jobs", || (load.count() >= enough).then_some(()));
            server.kill();
            server.resume();
            ends(&server, &load, &mut seen);
        }
        load.over.store(true, Ordering::Relaxed);
    });
    let all = load.accepted.lock().expect("the threads are done").clone();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "an id twice");
    for id in &all {
        let done = server.until_status("e", id, "COMPLETED");
        assert_eq!(done["output"]["slept"], 0.05, "{done}");
        if let Some(before) = seen.get(id) {
            assert_eq!(before, &done["output"], "two outcomes of {id}");
        }
    }
    // The one at the beginning and every one that was accepted; a job whose answer broke off may have been accepted too.
    assert!(server.health("e", "jobs", "completed") > all.len() as u64);
    assert_eq!(server.health("e", "jobs", "failed"), 0);
}

/// Notes the outputs of the jobs that have ended, and holds them against what was noted before.
fn ends(server: &Server, load: &Load, seen: &mut BTreeMap<String, Value>) {
    for id in load.accepted.lock().expect("no panic while it is held").iter() {
        let status = server.status("e", id);
        if status["status"] == "COMPLETED" {
            let before = seen.entry(id.clone()).or_insert_with(|| status["output"].clone());
            assert_eq!(before, &status["output"], "two outcomes of {id}");
        } else {
            assert!(!seen.contains_key(id), "{id} had ended: {status}");
        }
    }
}

#[test]
fn workers_go_on_under_the_next_gateway() {
    let Some(app) = App::new() else { return };
    let settings = ["workers: {active: 1, max: 1, extra: 0}"];
    let mut server = app.endpoint("e", "probe.py", &[], &settings).start("adopted");
    let go = server.path("go");
    let running = server.submit("e", json!({ "do": "until", "path": go }));
    let worker = server.until_status("e", &running, "IN_PROGRESS")["workerId"].clone();
    let waiting = server.submit("e", json!({ "do": "environment" }));
    let before: BTreeSet<i32> = server.worker_processes().into_iter().collect();
    server.kill();
    let during: BTreeSet<i32> = server.worker_processes().into_iter().collect();
    assert_eq!(during, before, "workers do not die with the gateway");
    server.resume();
    assert_eq!(server.status("e", &running)["status"], "IN_PROGRESS");
    assert_eq!(server.status("e", &waiting)["status"], "IN_QUEUE");
    std::fs::write(&go, "").expect("the file can be written");
    let done = server.until_status("e", &running, "COMPLETED");
    assert_eq!((&done["output"]["worker"], &done["workerId"]), (&worker, &worker), "{done}");
    assert_eq!(done.get("retries").and_then(Value::as_u64).unwrap_or(0), 0, "{done}");
    assert_eq!(server.until_status("e", &waiting, "COMPLETED")["workerId"], worker);
    let after: BTreeSet<i32> = server.worker_processes().into_iter().collect();
    assert_eq!(after, before, "adopted, neither doubled nor replaced");
}

#[test]
fn a_worker_that_died_meanwhile_is_found_out() {
    let Some(app) = App::new() else { return };
    let settings = ["backoff: {base_s: 0.2, cap_s: 1}"];
    let mut server = app.endpoint("e", "probe.py", &[], &settings).start("died-meanwhile");
    let go = server.path("go");
    let id = server.submit("e", json!({ "do": "until", "path": go }));
    server.until_status("e", &id, "IN_PROGRESS");
    server.kill();
    for pid in server.worker_processes() {
        super::processes::signal(pid, rustix::process::Signal::KILL);
    }
    server.resume();
    std::fs::write(&go, "").expect("the file can be written");
    assert_eq!(server.until_status("e", &id, "COMPLETED")["retries"], 1);
}

#[test]
fn sigterm_ends_in_order_and_nothing_is_forgotten() {
    let Some(app) = App::new() else { return };
    let mut server = app.endpoint("e", "probe.py", &[], &[]).start("sigterm");
    let done = server.complete("e", json!({ "text": "kept" }));
    let id = done["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
    server.resume();
    assert_eq!(server.status("e", &id)["output"], done["output"]);
    server.complete("e", json!({}));
}

#[test]
fn a_thousand_waiting_jobs_are_all_there_after_a_kill() {
    let Some(app) = App::new() else { return };
    let mut server = app.endpoint("e", "probe.py", &[], &["workers: {active: 0, max: 0, extra: 0}"]).start("thousand");
    let address = server.address;
    let ids: Vec<String> = std::thread::scope(|threads| {
        let submit = || -> Vec<String> {
            let headers = [("Content-Type", "application/json")];
            let one = || http::request(address, "POST", "/v2/e/run", &headers, b"{\"input\":{}}").expect("an answer");
            // The gateway answers 429 to more than it lets through in 10 s: then it is asked again.
            let accepted = || eventually("a place in the queue", || Some(one()).filter(|reply| reply.status == 200));
            (0..250).map(|_| accepted().json()["id"].as_str().expect("an id").to_owned()).collect()
        };
        let all: Vec<_> = (0..4).map(|_| threads.spawn(submit)).collect();
        all.into_iter().flat_map(|thread| thread.join().expect("it submits")).collect()
    });
    server.kill();
    server.resume();
    assert_eq!(server.health("e", "jobs", "inQueue"), 1_000);
    for id in ids.iter().step_by(50) {
        assert_eq!(server.status("e", id)["status"], "IN_QUEUE");
    }
}
