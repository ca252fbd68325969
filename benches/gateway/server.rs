//! The server under measurement: the binary with an application of two endpoints, one served by the echo worker, one by nobody.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::processes;

/// Where jobs are kept.
#[derive(Clone, Copy)]
pub enum Store {
    /// In a file, synced before anything is answered.
    Sqlite,
    /// In memory.
    Memory,
}

impl Store {
    /// As in the application file.
    pub fn word(self) -> &'static str {
        match self {
            Store::Sqlite => "sqlite",
            Store::Memory => "memory",
        }
    }
}

/// A running server.
pub struct Server {
    child: Option<Child>,
    address: SocketAddr,
    folder: PathBuf,
    mark: String,
    store: Store,
    /// From the start of the process to the first answer.
    pub ready: Duration,
}

impl Server {
    /// Starts it and waits for its worker, which takes `concurrency` jobs at once.
    pub fn start(name: &str, store: Store, concurrency: u64) -> Server {
        let mark = format!("bench-{name}-{}-{}", store.word(), std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&mark);
        fs::create_dir_all(&folder).expect("the folder can be made");
        let binary = env!("CARGO_BIN_EXE_thermocline");
        let app = format!(
            "endpoints:\n  \
               echo:\n    gpu_classes: ADA_24\n    workers: {{active: 1, max: 1, extra: 0}}\n    concurrency: {concurrency}\n    \
                 run: {{command: [\"{binary}\", worker, echo, --concurrency, \"{concurrency}\"], env: {{THERMOCLINE_TEST: {mark}}}}}\n  \
               parked:\n    gpu_classes: ADA_24\n    workers: {{active: 0, max: 0, extra: 0}}\n    run: {{command: [\"{binary}\"]}}\n\
             serve: {{rate_limits: \"off\"}}\n"
        );
        fs::write(folder.join("app.yaml"), app).expect("the file can be written");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child: None, address, folder, mark, store, ready: Duration::ZERO };
        server.resume();
        let mut connection = Connection::open(server.address);
        until("an answer of the echo worker", || {
            let (status, body) = connection.post("/v2/echo/runsync", br#"{"input":{"n":0}}"#);
            (status == 200 && body.contains("COMPLETED")).then_some(())
        });
        server
    }

    /// Starts it (again) and waits for its first answer.
    pub fn resume(&mut self) {
        let log = self.folder.join("server.log");
        let file = fs::File::create(&log).expect("the log can be made");
        let began = Instant::now();
        let data = self.folder.join("data").display().to_string();
        let store: &[&str] = match self.store {
            Store::Sqlite => &["--data-dir", &data],
            Store::Memory => &["--memory"],
        };
        let child = Command::new(env!("CARGO_BIN_EXE_thermocline"))
            .arg("serve")
            .arg(self.folder.join("app.yaml"))
            .args(["--listen", &self.address.to_string()])
            .args(store)
            .env("THERMOCLINE_TEST", &self.mark)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("the binary can be started");
        self.child = Some(child);
        self.address = until("the address in the server's output", || {
            let text = fs::read_to_string(&log).ok()?;
            let rest = text.split_once("http://")?.1;
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
            rest[..end].parse().ok()
        });
        until("the first answer", || {
            let (status, _) = Connection::try_open(self.address)?.get("/healthz");
            (status == 200).then_some(())
        });
        self.ready = began.elapsed();
    }

    /// `kill -9`; the worker lives on.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.as_ref().expect("it runs").id();
        fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs")
    }

    /// CPU time that all its threads have used, in ticks of 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name in brackets").1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        // utime and stime are fields 14 and 15 of the line; the name and what is before it are two. Linux counts in 1/100 s.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Memory in RAM.
    pub fn resident_mib(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of its memory");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kib / 1_024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        processes::end_all(&self.mark);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Polls until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
