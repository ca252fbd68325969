//! Workers as processes: started with their own world, seen to end, stopped with all they started, found again. Method: shells
//! as workers; they tell through a FIFO when they are where the test wants them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use thermocline::real::config::RunConfig;
use thermocline::real::launcher::process::ProcessLauncher;
use thermocline::real::launcher::{Known, LaunchSpec, Launcher, Report, Reporter};
use thermocline::scheduler::{ExitCause, StartStage, StopMode};
use thermocline::units::{HostId, ImageId};

use super::support::patience::eventually;

const HOST: HostId = HostId(0);

struct Bench {
    folder: PathBuf,
    launcher: ProcessLauncher,
    reports: Receiver<Report>,
}

impl Bench {
    fn new(name: &str, gpus: &[&str]) -> Bench {
        let folder = std::env::temp_dir().join(format!("thermocline-launch-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let (launcher, reports) = gateway(&folder, gpus);
        Bench { folder, launcher, reports }
    }

    /// The next gateway on the same folder; the one before lets go.
    fn restart(&mut self, gpus: &[&str]) {
        self.launcher.detach();
        (self.launcher, self.reports) = gateway(&self.folder, gpus);
    }

    fn start(&self, name: &str, script: &str) {
        self.launcher.start(spec(name, script));
    }

    fn next(&self) -> Report {
        // Not a measurement: only so that a test that fails does not hang.
        self.reports.recv_timeout(Duration::from_secs(60)).expect("a report")
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

    /// A FIFO for `echo ... > {path}`.
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        path
    }

    fn worker_folder(&self, name: &str) -> PathBuf {
        self.folder.join("workers").join(name)
    }

    fn output(&self, name: &str) -> Vec<String> {
        let lines = self.launcher.logs(name, 1_000);
        lines.into_iter().filter(|line| line.container).map(|line| line.text).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A gateway that knows nothing ends whatever is left.
        self.restart(&[]);
        self.launcher.adopt(HOST, &[]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn gateway(folder: &Path, gpus: &[&str]) -> (ProcessLauncher, Receiver<Report>) {
    let (sender, reports) = channel();
    let gpus = gpus.iter().map(|id| (*id).to_owned()).collect();
    let launcher = ProcessLauncher::new(folder.to_owned(), Reporter::channel(sender), vec![(HOST, gpus)]);
    (launcher.expect("the folder can be written"), reports)
}

fn spec(name: &str, script: &str) -> LaunchSpec {
    LaunchSpec {
        name: name.into(),
        endpoint: "e".into(),
        host: HOST,
        version: 1,
        image: "none".into(),
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

/// Alive, and not just an exit status that nobody has asked for.
fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rfind(')').is_some_and(|at| !stat[at + 1..].trim_start().starts_with(['Z', 'X']))
}

fn read(fifo: &Path) -> String {
    fs::read_to_string(fifo).expect("the worker writes into the FIFO")
}

#[test]
fn a_worker_has_its_own_world_and_its_words_outlive_it() {
    let bench = Bench::new("world", &[]);
    bench.start(
        "w1-1",
        "echo \"$PWD|$HOME|$RUNPOD_WEBHOOK_GET_JOB|[$CUDA_VISIBLE_DEVICES]|$CARGO_MANIFEST_DIR\"; echo bad >&2; exit 3",
    );
    assert_eq!(bench.next(), Report::StageEnded { worker: "w1-1".into(), stage: StartStage::Container });
    let (worker, cause, detail) = bench.exited();
    assert_eq!((worker.as_str(), cause), ("w1-1", ExitCause::Crashed));
    assert!(detail.starts_with("exit code 3; last words: ") && detail.ends_with("| bad"), "{detail}");
    let folder = bench.worker_folder("w1-1").canonicalize().unwrap_or(bench.worker_folder("w1-1"));
    let world = format!("{0}/work|{0}/home|http://g/e/job-take/$ID?gpu=a b|[]|", folder.display());
    assert_eq!(bench.output("w1-1"), [world.as_str(), "bad"]);
    assert!(!folder.exists(), "nothing but the log is left");
    assert!(bench.launcher.logs("w1-1", 9).iter().any(|line| !line.container && line.text == "exit code 3"));
    assert!(bench.launcher.logs("../../etc/passwd", 9).is_empty());
}

#[test]
fn the_exit_tells_what_happened() {
    let bench = Bench::new("exit", &[]);
    let cases = [
        ("exit 0", ExitCause::Left, "exit code 0"),
        ("exit 1", ExitCause::Unfit, "exit code 1"),
        ("exit 2", ExitCause::Crashed, "exit code 2"),
        ("exit 127", ExitCause::StartFailed, "exit code 127"),
        ("kill -9 $$", ExitCause::Crashed, "killed by signal 9"),
    ];
    for (n, (script, cause, words)) in cases.into_iter().enumerate() {
        bench.start(&format!("w{n}-1"), script);
        let (_, found, detail) = bench.exited();
        assert_eq!(found, cause, "{script}");
        assert!(detail.starts_with(words), "{detail}");
    }
    let mut missing = spec("w9-1", "");
    missing.run.command = vec!["/no/such/program".into()];
    bench.launcher.start(missing);
    let (_, cause, detail) = bench.exited();
    assert!(cause == ExitCause::StartFailed && detail.contains("/no/such/program"), "{detail}");
    bench.start("../w1", "exit 0");
    let (_, cause, detail) = bench.exited();
    assert!(cause == ExitCause::StartFailed && detail.contains("name of a worker"), "{detail}");
}

#[test]
fn a_stop_lets_the_worker_finish_and_then_takes_all_it_started() {
    let bench = Bench::new("stop", &[]);
    let fifo = bench.fifo("pids");
    // One child in the group, one that left it: both ignore SIGTERM as a ping process would.
    let script = format!(
        "(trap '' TERM; exec sleep 1000) & a=$!; setsid sh -c 'trap \"\" TERM; exec sleep 1000' & b=$!; \
         trap 'echo done; exit 0' TERM; echo $a $b > {}; while :; do sleep 0.1; done",
        fifo.display()
    );
    bench.start("w1-1", &script);
    let pids = read(&fifo);
    assert!(pids.split_whitespace().all(alive), "{pids}");
    bench.launcher.stop(HOST, "w1-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    assert!(!pids.split_whitespace().any(alive), "{pids}");
    assert_eq!(bench.output("w1-1").last().map(String::as_str), Some("done"));
    bench.launcher.stop(HOST, "w1-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false), "a stop is always answered");
}

#[test]
fn a_worker_that_will_not_go_is_killed_after_its_grace_or_when_it_is_asked_for() {
    let bench = Bench::new("kill", &[]);
    let fifo = bench.fifo("ready");
    let script = format!("trap '' TERM; echo > {}; while :; do sleep 0.1; done", fifo.display());
    let mut hasty = spec("w1-1", &script);
    hasty.run.stop_grace_s = 0.05;
    bench.launcher.start(hasty);
    read(&fifo);
    bench.launcher.stop(HOST, "w1-1", StopMode::Freeze);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    bench.start("w2-1", &script);
    read(&fifo);
    bench.launcher.stop(HOST, "w2-1", StopMode::Sleep);
    bench.launcher.stop(HOST, "w2-1", StopMode::Kill);
    assert_eq!(bench.stopped(), ("w2-1".to_owned(), false));
}

#[test]
fn a_gpu_has_one_worker_at_a_time() {
    let bench = Bench::new("gpus", &["GPU-a", "GPU-b"]);
    let fifo = bench.fifo("said");
    let script = format!("echo $CUDA_VISIBLE_DEVICES/$NVIDIA_VISIBLE_DEVICES > {}; exec sleep 1000", fifo.display());
    bench.start("w1-1", &script);
    assert_eq!(read(&fifo), "GPU-a/GPU-a\n");
    bench.start("w2-1", &script);
    assert_eq!(read(&fifo), "GPU-b/GPU-b\n");
    bench.start("w3-1", &script);
    let (worker, cause, detail) = bench.exited();
    assert_eq!((worker.as_str(), cause), ("w3-1", ExitCause::StartFailed));
    assert_eq!(detail, "1 GPUs are wanted and 0 of 2 are free");
    bench.launcher.stop(HOST, "w1-1", StopMode::Kill);
    bench.stopped();
    bench.start("w4-1", &script);
    assert_eq!(read(&fifo), "GPU-a/GPU-a\n");
}

#[test]
fn the_next_gateway_finds_the_living_reports_the_dead_and_ends_the_unknown() {
    let mut bench = Bench::new("adopt", &["0", "1", "2", "3"]);
    let (fifo, go) = (bench.fifo("pids"), bench.fifo("go"));
    let script = format!("echo $$ > {0}; exec sleep 1000", fifo.display());
    let talker =
        format!("echo before; echo $$ > {}; read x < {}; echo after; exec sleep 1000", fifo.display(), go.display());
    let mut pids = Vec::new();
    for (name, script) in [("w1-1", &talker), ("w2-1", &script), ("w3-1", &script), ("w4-1", &script)] {
        bench.start(name, script);
        pids.push(read(&fifo));
    }
    // Every launch is on record before it counts as started; then the gateway goes.
    for _ in 0..4 {
        assert!(matches!(bench.next(), Report::StageEnded { .. }));
    }
    bench.launcher.detach();
    // w2 dies meanwhile, of w4 the record is lost: it was cut off just after its start.
    assert!(Command::new("kill").args(["-9", pids[1].trim()]).status().expect("kill runs").success());
    eventually("the end of w2", || (!alive(&pids[1])).then_some(()));
    fs::remove_file(bench.worker_folder("w4-1").join("launch.json")).expect("it is on record");
    bench.restart(&["0", "1", "2", "3"]);
    bench.launcher.adopt(HOST, &[known("w1-1", false), known("w2-1", false), known("w5-1", true)]);
    let (worker, _, detail) = bench.exited();
    assert_eq!((worker.as_str(), detail.as_str()), ("w2-1", "ended while the gateway was away"));
    assert_eq!(bench.stopped(), ("w5-1".to_owned(), false), "its stop had been under way");
    assert!(alive(&pids[0]) && !alive(&pids[2]) && !alive(&pids[3]), "unknown workers are ended");
    // Its GPU is still its own, and its log goes on.
    bench.start("w6-1", &format!("echo $CUDA_VISIBLE_DEVICES > {}; exec sleep 1000", fifo.display()));
    assert_eq!(read(&fifo), "1\n");
    fs::write(&go, "go\n").expect("the worker reads");
    bench.launcher.stop(HOST, "w1-1", StopMode::Sleep);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    assert_eq!(bench.output("w1-1").first().map(String::as_str), Some("before"));
    assert_eq!(bench.output("w1-1").iter().filter(|line| *line == "before").count(), 1, "no line comes twice");
}

#[test]
fn a_stop_that_was_under_way_is_carried_on() {
    let mut bench = Bench::new("stopping", &[]);
    let fifo = bench.fifo("pid");
    bench.start("w1-1", &format!("echo $$ > {}; exec sleep 1000", fifo.display()));
    let pid = read(&fifo);
    assert!(matches!(bench.next(), Report::StageEnded { .. }));
    bench.restart(&[]);
    bench.launcher.adopt(HOST, &[known("w1-1", true)]);
    assert_eq!(bench.stopped(), ("w1-1".to_owned(), false));
    assert!(!alive(&pid));
}

#[test]
fn ports_are_the_workers_own_and_reported() {
    let bench = Bench::new("ports", &[]);
    let fifo = bench.fifo("port");
    let script = format!("echo $PORT $THERMOCLINE_PORT_80 > {}; exec sleep 1000", fifo.display());
    let mut seen = Vec::new();
    for name in ["w1-1", "w2-1"] {
        let mut spec = spec(name, &script);
        spec.run.ports = vec![80];
        bench.launcher.start(spec);
        let said = read(&fifo);
        assert!(matches!(bench.next(), Report::StageEnded { .. }));
        let Report::Address { worker, ports } = bench.next() else { panic!("an address") };
        let local = ports[0].1.strip_prefix("127.0.0.1:").expect("a local address").to_owned();
        assert_eq!((worker.as_str(), ports[0].0, said), (name, 80, format!("{local} {local}\n")));
        seen.push(local);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn limits_hold_and_an_image_is_always_there() {
    let bench = Bench::new("limits", &[]);
    let mut small = spec("w1-1", "while [ \"$(ulimit -v)\" = unlimited ]; do :; done; ulimit -v; ulimit -c");
    small.run.memory_limit_bytes = 512 << 20;
    bench.launcher.start(small);
    assert_eq!(bench.exited().1, ExitCause::Left);
    assert_eq!(bench.output("w1-1"), [(512 << 10).to_string().as_str(), "0"]);
    bench.launcher.pull(HOST, ImageId(4), "whatever");
    assert_eq!(bench.next(), Report::Pulled { host: HOST, image: ImageId(4), digest: None, took_ms: 0 });
}
