//! A served application: the binary as a child process, its data folder, its address, and its end.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::support::patience::eventually;
use super::http::{self, Reply};
use super::{processes, python};

/// An application file in the making.
pub struct App {
    endpoints: String,
    serve: String,
    top: String,
    venv: PathBuf,
}

impl App {
    /// Without endpoints; `None` when there is no Python to run workers with.
    pub fn new() -> Option<App> {
        let venv = python::environment()?;
        assert!(processes::readable(), "these tests find stray processes by /proc");
        Some(App { endpoints: String::new(), serve: String::new(), top: String::new(), venv })
    }

    /// Adds an endpoint whose workers run `script` (of `examples/python` or of our `handlers`). `settings` are further lines of the
    /// endpoint in YAML; without other words it scales per job to at most two workers.
    #[must_use]
    pub fn endpoint(self, name: &str, script: &str, env: &[(&str, &str)], settings: &[&str]) -> App {
        let python = self.venv.join("bin/python").display().to_string();
        let command = [python, script_path(script).display().to_string()];
        self.endpoint_running(name, &command, env, settings)
    }

    /// Adds an endpoint whose workers run any command. A setting `run: {...}` adds to how.
    #[must_use]
    pub fn endpoint_running(mut self, name: &str, command: &[String], env: &[(&str, &str)], settings: &[&str]) -> App {
        let mut environment: serde_json::Map<String, Value> =
            env.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        environment.insert("THERMOCLINE_TEST".to_owned(), json!("MARK"));
        let (run, settings): (Vec<&str>, Vec<&str>) = settings.iter().partition(|line| line.starts_with("run: {"));
        let more: String =
            run.iter().map(|line| format!(", {}", line.trim_start_matches("run: {").trim_end_matches('}'))).collect();
        let mut lines = vec![
            "gpu_classes: ADA_24".to_owned(),
            format!("run: {{command: {}, env: {}, stop_grace_s: 5{more}}}", json!(command), Value::Object(environment)),
        ];
        lines.extend(settings.iter().map(|&line| line.to_owned()));
        let unless_given = ["scaler: {type: per_job}", "workers: {active: 0, max: 2, extra: 0}", "idle_timeout_s: 30"];
        for default in unless_given {
            let key = default.split(':').next().unwrap_or_default();
            if !settings.iter().any(|line| line.starts_with(&format!("{key}:"))) {
                lines.push(default.to_owned());
            }
        }
        self.endpoints.push_str(&format!("  {name}:\n"));
        for line in lines {
            self.endpoints.push_str(&format!("    {line}\n"));
        }
        self
    }

    /// Adds a line to the section `serve`, YAML.
    #[must_use]
    pub fn serve(mut self, line: &str) -> App {
        self.serve.push_str(&format!("  {line}\n"));
        self
    }

    /// Adds a line at the top level, YAML.
    #[must_use]
    pub fn top(mut self, line: &str) -> App {
        self.top.push_str(&format!("{line}\n"));
        self
    }

    /// The file's text. Processes are found again by `mark`.
    fn text(&self, mark: &str) -> String {
        let App { endpoints, serve, top, .. } = self;
        let text = format!("endpoints:\n{endpoints}serve:\n  poll_hold_s: 5\n{serve}{top}");
        text.replace("\"MARK\"", &json!(mark).to_string())
    }

    /// Serves it, with a data folder called after the test.
    pub fn start(self, test: &str) -> Server {
        Server::start(test, |mark| self.text(mark), &self.venv)
    }
}

/// Where a handler lies.
pub fn script_path(script: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = root.join("tests/it/e2e/handlers").join(script);
    if ours.exists() { ours } else { root.join("examples/python").join(script) }
}

/// A running gateway.
pub struct Server {
    child: Option<Child>,
    pub address: SocketAddr,
    pub folder: PathBuf,
    pub mark: String,
    pub venv: PathBuf,
}

impl Server {
    /// Serves the file that `text` gives for a mark.
    pub fn start(test: &str, text: impl FnOnce(&str) -> String, venv: &Path) -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{test}-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join("app.yaml"), text(&name)).expect("the file can be written");
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child: None, address: unknown, folder, mark: name, venv: venv.to_owned() };
        server.resume();
        server
    }

    /// Starts the gateway (again): at the same address, if it has had one.
    pub fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = self.log_path();
        let before = fs::read(&log).map(|text| text.len()).unwrap_or(0);
        let file = fs::File::options().append(true).create(true).open(&log).expect("the log can be opened");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
        command
            .arg("serve")
            .arg(self.folder.join("app.yaml"))
            .args(["--listen", &self.address.to_string()])
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .env("PATH", format!("{}:{path}", self.venv.join("bin").display()))
            .env("THERMOCLINE_TEST", &self.mark)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .process_group(0);
        self.child = Some(command.spawn().expect("the binary can be started"));
        self.address = eventually("the address in the output of the gateway", || {
            self.expect_alive();
            let text = fs::read(&log).ok()?;
            address(&String::from_utf8_lossy(text.get(before..)?))
        });
        eventually("an answer of /healthz", || {
            self.expect_alive();
            self.try_get("/healthz").filter(|reply| reply.status == 200)
        });
    }

    fn expect_alive(&mut self) {
        let child = self.child.as_mut().expect("it was started");
        let ended = child.try_wait().expect("it can be waited for");
        assert!(ended.is_none(), "the gateway ended with {ended:?}:\n{}", self.log());
    }

    /// `kill -9` of the gateway alone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// SIGKILL if it runs.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        processes::signal(i32::try_from(child.id()).expect("a pid"), Signal::TERM);
        let status =
            eventually("the end of the gateway after SIGTERM", || child.try_wait().expect("can be waited for"));
        status.code()
    }

    /// Pid of the gateway.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("it runs").id()).expect("a pid")
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    /// All that the gateway said.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// A file in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A GET that may fail.
    pub fn try_get(&self, path: &str) -> Option<Reply> {
        http::request(self.address, "GET", path, &[], b"").ok()
    }

    /// A GET with further headers that may fail.
    pub fn try_get_with(&self, path: &str, headers: &[(&str, &str)]) -> Option<Reply> {
        http::request(self.address, "GET", path, headers, b"").ok()
    }

    /// A request with a JSON body that may fail.
    pub fn try_send(&self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let headers = [("Content-Type", "application/json")];
        http::request(self.address, method, path, &headers, body.to_string().as_bytes()).ok()
    }

    /// JSON of a GET that must succeed.
    pub fn get(&self, path: &str) -> Value {
        let reply = self.try_get(path).unwrap_or_else(|| panic!("no answer to GET {path}"));
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.text());
        reply.json()
    }

    /// The answer to a POST, whatever it is.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_send("POST", path, body).unwrap_or_else(|| panic!("no answer to POST {path}"))
    }

    /// Submits a job; its id.
    pub fn submit(&self, endpoint: &str, input: Value) -> String {
        self.submit_request(endpoint, &json!({ "input": input }))
    }

    /// Submits a job with more than its input; its id.
    pub fn submit_request(&self, endpoint: &str, request: &Value) -> String {
        let reply = self.post(&format!("/v2/{endpoint}/run"), request);
        assert_eq!(reply.status, 200, "run: {}", reply.text());
        reply.json()["id"].as_str().expect("a job has an id").to_owned()
    }

    /// A job as /status shows it.
    pub fn status(&self, endpoint: &str, id: &str) -> Value {
        self.get(&format!("/v2/{endpoint}/status/{id}"))
    }

    /// Waits for a state of a job.
    pub fn until_status(&self, endpoint: &str, id: &str, wanted: &str) -> Value {
        let mut last = Value::Null;
        eventually(&format!("{wanted} of {id}"), || {
            last = self.status(endpoint, id);
            let status = last["status"].as_str().unwrap_or_default();
            let over = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].contains(&status);
            assert!(!over || status == wanted, "{id} ended otherwise than {wanted}: {last}");
            (status == wanted).then(|| last.clone())
        })
    }

    /// Submits a job and waits until it has completed.
    pub fn complete(&self, endpoint: &str, input: Value) -> Value {
        let id = self.submit(endpoint, input);
        self.until_status(endpoint, &id, "COMPLETED")
    }

    /// A counter of /health such as `workers.running`.
    pub fn health(&self, endpoint: &str, group: &str, what: &str) -> u64 {
        let health = self.get(&format!("/v2/{endpoint}/health"));
        health[group][what].as_u64().unwrap_or_else(|| panic!("no {group}.{what} in {health}"))
    }

    /// Waits for a value of a counter of /health.
    pub fn until_health(&self, endpoint: &str, group: &str, what: &str, wanted: u64) {
        eventually(&format!("{wanted} {group} {what}"), || {
            (self.health(endpoint, group, what) == wanted).then_some(())
        });
    }

    /// Runs a script with the SDK's client; its `answer`.
    pub fn sdk(&self, script: &str) -> Value {
        python::sdk(&self.venv, &self.url(), script)
    }

    /// Pids of everything that workers run, their ping processes included.
    pub fn worker_processes(&self) -> Vec<i32> {
        let gateway = self.child.as_ref().map(Child::id);
        let all = processes::marked(&self.mark);
        all.into_iter().filter(|&pid| Some(pid) != gateway.and_then(|pid| i32::try_from(pid).ok())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        processes::end_all(&self.mark);
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("-- the last lines of the gateway ({})", self.log_path().display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The address that the gateway says it listens on.
fn address(text: &str) -> Option<SocketAddr> {
    let (_, rest) = text.split_once("http://")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest[..end].parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}
