//! Workers as containers of a real engine: hardened, found again, cleaned up. Method: an image of one static busybox, made here;
//! workers are its shell. Without an engine these tests say so and pass, unless `THERMOCLINE_REQUIRE` names `docker`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the environment says whether an engine must be there, and a test that skips says so"
)]

mod crowded;
pub mod outside;
mod registry;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use thermocline::real::config::{DockerConfig, RunConfig, VolumeMount};
use thermocline::real::launcher::docker::{DockerLauncher, EngineHost};
use thermocline::real::launcher::{Known, LaunchSpec, Launcher, Report, Reporter};
use thermocline::scheduler::{ExitCause, StartStage, StopMode};
use thermocline::units::HostId;

use super::support::patience::eventually;

const HOST: HostId = HostId(0);
const IMAGE: &str = "thermocline-test:busybox";
const SOCKET: &str = "/var/run/docker.sock";

struct Bench {
    folder: PathBuf,
    config: DockerConfig,
    gpus: Vec<String>,
    launcher: DockerLauncher,
    reports: Receiver<Report>,
}

impl Bench {
    /// Nothing if there is no engine here.
    fn new(name: &str) -> Option<Bench> {
        Bench::with(name, DockerConfig::default(), &[])
    }

    fn with(name: &str, config: DockerConfig, gpus: &[&str]) -> Option<Bench> {
        if !engine_is_here() {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("thermocline-docker-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let gpus: Vec<String> = gpus.iter().map(|id| (*id).to_owned()).collect();
        let (launcher, reports) = gateway(&folder, &config, &gpus);
        Some(Bench { folder, config, gpus, launcher, reports })
    }

    fn started(name: &str) -> Option<Bench> {
        let bench = Bench::new(name)?;
        bench.launcher.adopt(HOST, &[]);
        Some(bench)
    }

    fn restart(&mut self) {
        self.launcher.detach();
        (self.launcher, self.reports) = gateway(&self.folder, &self.config, &self.gpus);
    }

    fn next(&self) -> Report {
        // Not a measurement: only so that a test that fails does not hang.
        self.reports.recv_timeout(Duration::from_secs(120)).expect("a report")
    }

    /// Runs a worker to the start of its container.
    fn run(&self, name: &str, script: &str) {
        self.launcher.start(spec(name, script));
        assert_eq!(self.next(), Report::StageEnded { worker: name.into(), stage: StartStage::Container });
    }

    /// Runs a worker to its end; what it said.
    fn said(&self, spec: LaunchSpec) -> Vec<String> {
        let name = spec.name.clone();
        self.launcher.start(spec);
        let (worker, cause, detail) = self.exited();
        assert_eq!((worker.as_str(), cause), (name.as_str(), ExitCause::Left), "{detail}");
        self.output(&name)
    }

    fn exited(&self) -> (String, ExitCause, String) {
        loop {
            match self.next() {
                Report::Exited { worker, cause, detail } => return (worker, cause, detail),
                Report::StageEnded { .. } | Report::Address { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn stopped(&self) -> (String, bool) {
        loop {
            match self.next() {
                Report::Stopped { worker, frozen } => return (worker, frozen),
                Report::StageEnded { .. } | Report::Address { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn output(&self, name: &str) -> Vec<String> {
        let lines = self.launcher.logs(name, 1_000);
        lines.into_iter().filter(|line| line.container).map(|line| line.text).collect()
    }

    /// Until the worker has said so.
    fn await_output(&self, name: &str, text: &str) {
        eventually(text, || self.output(name).iter().any(|line| line == text).then_some(()));
    }

    fn store(&self) -> String {
        fs::read_to_string(self.folder.join("engine-label")).expect("made at the first start")
    }

    fn containers(&self) -> Vec<String> {
        let label = format!("label=thermocline.store={}", self.store());
        lines(&docker(&["ps", "-aq", "--no-trunc", "--filter", &label]))
    }

    fn container(&self, worker: &str) -> String {
        format!("thermocline-{}-{worker}", self.store())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.launcher.detach();
        remove_all_of(&self.store());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a gateway has on the engine: its containers, its networks.
pub fn remove_all_of(store: &str) {
    let label = format!("label=thermocline.store={store}");
    for id in lines(&docker(&["ps", "-aq", "--filter", &label])) {
        docker(&["rm", "-f", &id]);
    }
    for id in networks_of(store) {
        docker(&["network", "rm", &id]);
    }
}

fn networks_of(store: &str) -> Vec<String> {
    lines(&docker(&["network", "ls", "-q", "--filter", &format!("label=thermocline.store={store}")]))
}

fn gateway(folder: &Path, config: &DockerConfig, gpus: &[String]) -> (DockerLauncher, Receiver<Report>) {
    let (sender, reports) = channel();
    let host = EngineHost { host: HOST, config: config.clone(), gpu_ids: gpus.to_vec() };
    let launcher = DockerLauncher::new(folder.to_owned(), Reporter::channel(sender), vec![host]);
    (launcher.expect("the folder can be written"), reports)
}

fn required(what: &str) -> bool {
    std::env::var("THERMOCLINE_REQUIRE").unwrap_or_default().split(',').any(|required| required == what)
}

/// Whether there is an engine, with the image of these tests.
fn engine_is_here() -> bool {
    static MADE: Mutex<Option<bool>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let here = *made.get_or_insert_with(|| UnixStream::connect(SOCKET).is_ok() && make_image());
    assert!(
        here || !required("docker"),
        "THERMOCLINE_REQUIRE=docker, but there is no engine at {SOCKET}, or no static busybox"
    );
    if !here {
        println!("SKIPPED: no container engine at {SOCKET}, or no static busybox at /bin/busybox");
    }
    here
}

fn make_image() -> bool {
    let folder = std::env::temp_dir().join(format!("thermocline-image-{}", std::process::id()));
    let made = (|| {
        fs::create_dir_all(folder.join("bin"))?;
        fs::create_dir_all(folder.join("tmp"))?;
        fs::copy("/bin/busybox", folder.join("bin/busybox"))?;
        for name in ["sh", "sleep", "cat", "grep", "nc", "wget", "echo", "touch", "httpd", "env"] {
            symlink("busybox", folder.join("bin").join(name))?;
        }
        let mut tar = Command::new("tar")
            .args(["-C", &folder.display().to_string(), "-c", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let layer = tar.stdout.take().expect("it was asked for");
        let import = Command::new("docker").args(["import", "-", IMAGE]).stdin(layer).output()?;
        tar.wait()?;
        Ok::<bool, std::io::Error>(import.status.success())
    })();
    let _ = fs::remove_dir_all(folder);
    made.unwrap_or(false)
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed where its engine is");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn spec(name: &str, script: &str) -> LaunchSpec {
    LaunchSpec {
        name: name.into(),
        endpoint: "busy".into(),
        host: HOST,
        version: 1,
        image: IMAGE.into(),
        gpus: 1,
        run: RunConfig {
            command: ["sh", "-c", script].map(str::to_owned).into(),
            stop_grace_s: 60.0,
            ..RunConfig::default()
        },
        env: vec![("RUNPOD_WEBHOOK_GET_JOB".into(), "http://g/e/job-take/$ID?gpu=a b".into())],
        resume: None,
    }
}

fn known(name: &str, stopping: bool) -> Known {
    Known { name: name.into(), host: HOST, stopping, frozen: false }
}

const WAIT: &str = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done";

#[test]
fn a_container_runs_hardened_and_leaves_its_words_alone() {
    let Some(bench) = Bench::started("life") else { return };
    let script = "echo \"$RUNPOD_WEBHOOK_GET_JOB|$NVIDIA_VISIBLE_DEVICES|[$CUDA_VISIBLE_DEVICES]\"; \
                  grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; grep /dev/shm /proc/mounts; \
                  touch /x 2>&1; cd /tmp && touch x && echo tmp; exit 3";
    let mut hard = spec("w1-1", script);
    hard.run.read_only_root = true;
    hard.run.memory_limit_bytes = 64 << 20;
    bench.launcher.start(hard);
    assert_eq!(bench.next(), Report::StageEnded { worker: "w1-1".into(), stage: StartStage::Container });
    let (worker, cause, detail) = bench.exited();
    assert_eq!((worker.as_str(), cause), ("w1-1", ExitCause::Crashed));
    assert!(detail.starts_with("exit code 3; last words: ") && detail.ends_with("tmp"), "{detail}");
    let said = bench.output("w1-1");
    assert_eq!(said[0], "http://g/e/job-take/$ID?gpu=a b|void|[]");
    let status: Vec<&str> =
        said[1..5].iter().map(|line| line.split_whitespace().next_back().expect("a value")).collect();
    assert_eq!(status, ["0000000000000000", "0000000000000000", "1", "2"], "{said:?}");
    assert!(said[5].contains("size=1048576k"), "{said:?}");
    assert!(said[6].contains("Read-only file system"), "{said:?}");
    assert!(bench.containers().is_empty(), "nothing but the log is left");
    assert!(bench.launcher.logs("w1-1", 99).iter().all(|line| line.unix_ms > 1_600_000_000_000));
}

#[test]
fn the_engine_holds_what_was_asked_for() {
    let Some(bench) = Bench::started("inspect") else { return };
    let mut limited = spec("w1-1", WAIT);
    limited.run.memory_limit_bytes = 128 << 20;
    limited.run.cpus = 0.5;
    limited.run.pids_limit = 64;
    limited.run.volumes =
        vec![VolumeMount { source: bench.folder.display().to_string(), target: "/d".into(), read_only: true }];
    bench.launcher.start(limited);
    bench.next();
    let found: serde_json::Value =
        serde_json::from_str(&docker(&["inspect", &bench.container("w1-1")])).expect("the container is there");
    let host = &found[0]["HostConfig"];
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&(128 << 20).into(), &(128 << 20).into()));
    assert_eq!(
        (&host["NanoCpus"], &host["PidsLimit"], &host["ShmSize"]),
        (&500_000_000.into(), &64.into(), &(1 << 30).into())
    );
    assert_eq!(
        (&host["Privileged"], &host["RestartPolicy"]["Name"], &host["IpcMode"]),
        (&false.into(), &"no".into(), &"private".into())
    );
    assert_eq!(host["CapAdd"], serde_json::Value::Null);
    assert_eq!(host["LogConfig"]["Type"], "local");
    let mounts = found[0]["Mounts"].as_array().expect("a list");
    assert_eq!((mounts.len(), &mounts[0]["Destination"], &mounts[0]["RW"]), (1, &"/d".into(), &false.into()));
}

#[test]
fn the_exit_tells_what_happened() {
    let Some(bench) = Bench::started("exit") else { return };
    let cases = [
        ("exit 0", ExitCause::Left, "exit code 0"),
        ("exit 1", ExitCause::Unfit, "exit code 1"),
        ("exit 7", ExitCause::Crashed, "exit code 7"),
        ("exit 127", ExitCause::StartFailed, "exit code 127"),
    ];
    for (n, (script, cause, words)) in cases.into_iter().enumerate() {
        bench.launcher.start(spec(&format!("w{n}-1"), script));
        let (_, found, detail) = bench.exited();
        assert_eq!(found, cause, "{script}: {detail}");
        assert!(detail.starts_with(words), "{detail}");
    }
    let mut missing = spec("w8-1", "");
    missing.run.command = vec!["/no/such/program".into()];
    bench.launcher.start(missing);
    let (_, cause, detail) = bench.exited();
    assert!(cause == ExitCause::StartFailed && detail.contains("/no/such/program"), "{detail}");
    let mut nowhere = spec("w9-1", "");
    nowhere.image = "thermocline-test:none".into();
    bench.launcher.start(nowhere);
    let (_, cause, detail) = bench.exited();
    assert!(cause == ExitCause::StartFailed && detail.contains("thermocline-test:none"), "{detail}");
    assert!(bench.containers().is_empty());
    assert_eq!(networks_of(&bench.store()).len(), 1, "kept for the endpoint's next worker");
    bench.launcher.detach();
    assert!(networks_of(&bench.store()).is_empty(), "an engine has room for about 30");
}

#[test]
fn a_stop_lets_the_worker_finish_and_a_kill_does_not_wait() {
    let Some(bench) = Bench::started("stop") else { return };
    bench.run("w1-1", WAIT);
    bench.await_output("w1-1", "ready");
    bench.launcher.stop(HOST, "w1-1", StopMode::Freeze);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    assert_eq!(bench.output("w1-1"), ["ready", "bye"]);
    // As process 1 a shell without a trap ignores SIGTERM.
    bench.run("w2-1", "echo ready; while :; do sleep 0.1; done");
    bench.launcher.stop(HOST, "w2-1", StopMode::Sleep);
    bench.launcher.stop(HOST, "w2-1", StopMode::Kill);
    assert_eq!(bench.stopped(), ("w2-1".to_owned(), false));
    let mut hasty = spec("w3-1", "while :; do sleep 0.1; done");
    hasty.run.stop_grace_s = 0.1;
    bench.launcher.start(hasty);
    // Before its container is there: stopped as soon as it is.
    bench.launcher.stop(HOST, "w3-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w3-1".to_owned(), false));
    bench.launcher.stop(HOST, "w3-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w3-1".to_owned(), false), "a stop is always answered");
    assert!(bench.containers().is_empty());
}

#[test]
fn the_next_gateway_finds_the_living_reports_the_dead_and_removes_the_unknown() {
    let Some(mut bench) = Bench::started("adopt") else { return };
    for name in ["w1-1", "w2-1", "w3-1", "w4-1"] {
        bench.run(name, WAIT);
        bench.await_output(name, "ready");
    }
    bench.launcher.detach();
    docker(&["kill", &bench.container("w2-1")]);
    docker(&["rm", "-f", &bench.container("w4-1")]);
    bench.restart();
    let told = ["w1-1", "w2-1", "w4-1"].map(|name| known(name, false));
    bench.launcher.adopt(HOST, &[&told[..], &[known("w5-1", true)]].concat());
    let mut ends: Vec<String> = (0..3)
        .map(|_| match bench.next() {
            Report::Exited { worker, cause: ExitCause::Crashed, detail } => format!("{worker} exited: {detail}"),
            Report::Stopped { worker, frozen: false } => format!("{worker} stopped"),
            other => panic!("{other:?}"),
        })
        .collect();
    ends.sort();
    assert!(ends[0].starts_with("w2-1 exited: exit code 137 (signal 9)"), "{ends:?}");
    assert!(ends[1].starts_with("w4-1 exited: its container is gone"), "{ends:?}");
    assert_eq!(ends[2], "w5-1 stopped");
    bench.launcher.stop(HOST, "w1-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    assert_eq!(bench.output("w1-1"), ["ready", "bye"], "no line is lost and none comes twice");
    assert!(bench.containers().is_empty(), "w3 was unknown");
}
