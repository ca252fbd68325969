//! The verbs that talk to a gateway, against a real one: `init` writes a file, `serve` serves it, and jobs, workers, logs, keys
//! and bills are looked at from the command line. Method: the real binary, twice: as the gateway and as its client.

#![allow(clippy::disallowed_methods, reason = "a real gateway lives by the wall clock")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;

use serde_json::Value;

use super::support::patience::PATIENCE;

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
    command.env_remove("THERMOCLINE_URL").env_remove("THERMOCLINE_API_KEY").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A gateway in a folder of its own, killed with its workers when the test ends.
struct Gateway {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Gateway {
    fn start(folder: PathBuf, arguments: &[&str]) -> Gateway {
        let mut command = binary();
        command.current_dir(&folder).args(["serve", "app.yaml", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary can be started");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, receiver) = channel();
        // Read to the end, so that the gateway never waits for a reader.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(at) = line.find("http://") {
                    let url = line[at..].split([' ', ';', '/']).filter(|part| !part.is_empty()).take(2);
                    let _ = sender.send(url.collect::<Vec<_>>().join("//"));
                }
            }
        });
        let url = receiver.recv_timeout(PATIENCE).expect("the gateway says where it is");
        Gateway { child, folder, url }
    }

    fn client(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.current_dir(&self.folder).env("THERMOCLINE_URL", &self.url).args(arguments);
        command.output().expect("the binary can be started")
    }

    /// Stdout of a call that must succeed.
    fn answer(&self, arguments: &[&str]) -> String {
        let output = self.client(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Reads what a call says that goes on for ever, until it says `word`.
    fn follow_until(&self, arguments: &[&str], word: &str) {
        let mut command = binary();
        command.current_dir(&self.folder).env("THERMOCLINE_URL", &self.url).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let found = lines.map_while(Result::ok).any(|line| line.contains(word));
        let _ = child.kill();
        let _ = child.wait();
        assert!(found, "{arguments:?} ended without a line that has {word}");
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.answer(arguments)).expect("the answer is JSON")
    }

    /// SIGTERM, and the end.
    fn end(mut self) -> PathBuf {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(0));
        self.folder.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verbs-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

/// The file that `init` writes, in a folder.
fn initialised(name: &str) -> PathBuf {
    let folder = folder(name);
    let output = binary().current_dir(&folder).args(["init", "--force"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let again = binary().current_dir(&folder).arg("init").output().expect("it starts");
    assert_eq!(again.status.code(), Some(2), "a file that is there stays as it is");
    folder
}

#[test]
fn a_job_is_submitted_watched_and_told_of() {
    let gateway = Gateway::start(initialised("jobs"), &["--memory"]);
    let job = gateway.json(&["jobs", "run", "hello", "--wait", "--json", "--input", r#"{"a": 1}"#]);
    assert_eq!((job["status"].as_str(), &job["output"]["a"]), (Some("COMPLETED"), &Value::from(1)));
    let stream = gateway.answer(&["jobs", "run", "hello", "--stream", "--input", r#"{"chunks": ["x", "y"]}"#]);
    assert_eq!(stream, "\"x\"\n\"y\"\n");
    let failed = gateway.client(&["jobs", "run", "hello", "--wait", "--input", r#"{"fail": "out of luck"}"#]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("out of luck"), "{}", text(&failed.stderr));
    let listed = gateway.json(&["jobs", "list", "hello", "--json"]);
    assert_eq!(listed["total"], 3);
    let table = gateway.answer(&["jobs", "list", "hello"]);
    let id = job["id"].as_str().expect("an id");
    assert!(table.contains(id) && table.contains("out of luck"), "{table}");
    let shown = gateway.answer(&["jobs", "show", "hello", id]);
    assert!(shown.contains("COMPLETED"), "{shown}");
    let unknown = gateway.client(&["jobs", "show", "hello", "no-such-job"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    let workers = gateway.json(&["workers", "list", "hello", "--json"]);
    let worker = job["workerId"].as_str().expect("a worker did it");
    assert!(workers["workers"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == worker)), "{workers}");
    assert!(gateway.answer(&["workers", "list"]).contains("hello"));
    gateway.follow_until(&["logs", "hello", worker, "--follow"], "serving");
    assert!(gateway.answer(&["endpoints", "list"]).contains("hello"));
    assert!(gateway.answer(&["endpoints", "releases", "hello"]).contains('1'));
    assert!(gateway.answer(&["endpoints", "bill", "hello"]).contains("hello"));
    let frame = gateway.answer(&["top", "--once"]);
    assert!(frame.contains("hello") && frame.contains(worker), "{frame}");
    gateway.end();
}

#[test]
fn keys_are_made_while_the_gateway_runs_and_while_it_does_not() {
    let folder = initialised("keys");
    let gateway = Gateway::start(folder, &[]);
    let made = gateway.json(&["keys", "create", "--label", "one", "--endpoint", "hello", "--json"]);
    let id = made["id"].as_str().expect("an id").to_owned();
    let url = gateway.url.clone();
    let folder = gateway.end();
    let local = |arguments: &[&str]| {
        let output = binary().current_dir(&folder).arg("keys").args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let admin = local(&["create", "--label", "two"]);
    assert!(admin.starts_with("tc_"), "{admin}");
    let listed = local(&["list"]);
    assert!(listed.contains("one") && listed.contains("two") && !listed.contains(admin.trim()), "{listed}");
    local(&["revoke", &id, "--file", "app.yaml"]);
    assert!(local(&["list"]).contains("revoked"));
    // Nobody answers there any more, and that is said.
    let gone = binary().args(["jobs", "list", "hello", "--url", &url]).output().expect("it starts");
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("no gateway answers at http://127.0.0.1:"), "{}", text(&gone.stderr));
    let gateway = Gateway::start(folder, &[]);
    let refused = gateway.client(&["jobs", "list", "hello"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("THERMOCLINE_API_KEY"), "{}", text(&refused.stderr));
    let mut command = binary();
    command.env("THERMOCLINE_URL", &gateway.url).env("THERMOCLINE_API_KEY", admin.trim());
    let output = command.args(["jobs", "list", "hello"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_worker_started_by_hand_serves_an_endpoint_and_is_measured() {
    let folder = folder("hand");
    let app = "{endpoints: {a: {workers: {max: 1, extra: 0}, scaler: {type: queue_delay, delay_s: 0}}}, \
               serve: {launcher: external, poll_hold_s: 1}}";
    std::fs::write(folder.join("app.yaml"), app).expect("the file can be written");
    let gateway = Gateway::start(folder, &[]);
    let env = gateway.json(&["worker", "env", "app.yaml", "a", "--url", &gateway.url, "--format", "json"]);
    let variables =
        env.as_object().expect("variables").iter().map(|(name, value)| (name, value.as_str().unwrap_or("")));
    let mut worker = binary().args(["worker", "echo"]).envs(variables).spawn().expect("it starts");
    let job = gateway.json(&["jobs", "run", "a", "--wait", "--json", "--input", r#"{"b": 2}"#]);
    assert_eq!((job["status"].as_str(), &job["output"]["b"]), (Some("COMPLETED"), &Value::from(2)), "{job}");
    let pid = rustix::process::Pid::from_child(&worker);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(worker.wait().expect("it can be waited for").code(), Some(0));
    let folder = gateway.end();
    let arguments = ["calibrate", ".thermocline", "--out", "measured.yaml", "--force"];
    let measured = binary().current_dir(&folder).args(arguments).output().expect("it starts");
    assert_eq!(measured.status.code(), Some(0), "{}", text(&measured.stderr));
    let rehearsed = binary().current_dir(&folder).args(["run", "measured.yaml", "--json"]).output().expect("it starts");
    assert_eq!(rehearsed.status.code(), Some(0), "{}", text(&rehearsed.stderr));
}
