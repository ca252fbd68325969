//! A worker whose every call the test makes by hand: the launcher starts a process that only sleeps, the test speaks the worker
//! protocol with the environment that process was given.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::harness::{App, Server};
use super::http::{self, Reply};
use super::processes;

/// A hand-driven worker.
pub struct Puppet {
    pub environment: BTreeMap<String, String>,
    address: SocketAddr,
}

/// The command of an endpoint whose workers are puppets.
pub fn command() -> Vec<String> {
    vec!["/bin/sleep".to_owned(), "1000000".to_owned()]
}

/// A server with the endpoint `e`, all of whose workers are puppets: always one of them.
pub fn served(test: &str, settings: &[&str]) -> Option<Server> {
    let settings = [&["workers: {active: 1, max: 1, extra: 0}"], settings].concat();
    Some(App::new()?.endpoint_running("e", &command(), &[], &settings).start(test))
}

impl Puppet {
    /// Waits for a worker of the server whose name is none of `known`.
    pub fn of(server: &Server, known: &[&str]) -> Puppet {
        let environment = eventually("a worker's process", || {
            server.worker_processes().into_iter().map(environment).find(|environment| {
                environment.get("RUNPOD_POD_ID").is_some_and(|name| !known.contains(&name.as_str()))
                    && environment.contains_key("RUNPOD_WEBHOOK_GET_JOB")
            })
        });
        Puppet { environment, address: server.address }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.variable("RUNPOD_POD_ID")
    }

    /// A variable of its environment.
    pub fn variable(&self, name: &str) -> &str {
        self.environment.get(name).unwrap_or_else(|| panic!("a worker has {name}"))
    }

    fn path(&self, template: &str, job: &str) -> String {
        let url = self.variable(template).replace("$RUNPOD_POD_ID", self.name());
        let id = if job.is_empty() { self.name() } else { job };
        let url = url.replace("$ID", id);
        let rest = url.split_once("://").expect("a URL").1;
        rest[rest.find('/').expect("a path")..].to_owned()
    }

    fn call(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Reply {
        // As the SDK sends it: JSON under the name of a form, and a content type on a GET.
        let kind = if method == "POST" { "application/x-www-form-urlencoded" } else { "application/json" };
        let headers = [("Content-Type", kind), ("Authorization", token)];
        http::request(self.address, method, path, &headers, body).expect("an answer")
    }

    /// Asks for a job and waits for the answer.
    pub fn take(&self, in_progress: u32) -> Reply {
        let path = format!("{}&job_in_progress={in_progress}", self.path("RUNPOD_WEBHOOK_GET_JOB", ""));
        self.call("GET", &path, self.variable("RUNPOD_AI_API_KEY"), b"")
    }

    /// Asks for up to `size` jobs beside those it holds.
    pub fn take_batch(&self, size: u32) -> Reply {
        let path = self.path("RUNPOD_WEBHOOK_GET_JOB", "").replace("/job-take/", "/job-take-batch/");
        let path = format!("{path}&batch_size={size}&job_in_progress=1");
        self.call("GET", &path, self.variable("RUNPOD_AI_API_KEY"), b"")
    }

    /// Asks until there is a job; its id.
    pub fn take_job(&self) -> String {
        eventually("a job", || {
            let reply = self.take(0);
            assert!([200, 204, 429].contains(&reply.status), "{}: {}", reply.status, reply.text());
            (reply.status == 200).then(|| reply.json()["id"].as_str().expect("an id").to_owned())
        })
    }

    /// Opens a take and breaks the connection without reading.
    pub fn take_and_hang_up(&self) {
        let path = format!("{}&job_in_progress=0", self.path("RUNPOD_WEBHOOK_GET_JOB", ""));
        let token = self.variable("RUNPOD_AI_API_KEY");
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(head.as_bytes()).expect("it is sent");
    }

    /// Waits for stop signals: the ids in the answer.
    pub fn stops(&self) -> Vec<String> {
        let path = self.path("RUNPOD_WEBHOOK_GET_JOB", "").replace("/job-take/", "/job-stop/");
        let reply = self.call("GET", &path, self.variable("RUNPOD_AI_API_KEY"), b"");
        if reply.status == 204 {
            return Vec::new();
        }
        let list = reply.json()["jobsToStop"].as_array().cloned().unwrap_or_default();
        list.iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
    }

    /// Posts a result; the status.
    pub fn done(&self, job: &str, body: &Value) -> u16 {
        self.done_as(job, body.to_string().as_bytes(), self.variable("RUNPOD_AI_API_KEY")).status
    }

    /// Posts any bytes as a result under any token.
    pub fn done_as(&self, job: &str, body: &[u8], token: &str) -> Reply {
        let path = format!("{}&isStream=false", self.path("RUNPOD_WEBHOOK_POST_OUTPUT", job));
        self.call("POST", &path, token, body)
    }

    /// Posts a piece of a stream; the status.
    pub fn piece(&self, job: &str, value: &Value) -> u16 {
        let path = format!("{}&isStream=false", self.path("RUNPOD_WEBHOOK_POST_STREAM", job));
        let body = json!({ "output": value }).to_string();
        self.call("POST", &path, self.variable("RUNPOD_AI_API_KEY"), body.as_bytes()).status
    }

    /// Says that it lives and what it holds; the status.
    pub fn ping(&self, jobs: &[&str]) -> u16 {
        let held = if jobs.is_empty() { String::new() } else { format!("&job_id={}", jobs.join(",")) };
        let path = format!("{}{held}&runpod_version=1.12.0", self.path("RUNPOD_WEBHOOK_PING", ""));
        self.call("GET", &path, self.variable("RUNPOD_AI_API_KEY"), b"").status
    }
}

/// The environment of a process.
fn environment(pid: i32) -> BTreeMap<String, String> {
    assert!(processes::readable());
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}
