//! What lies outside a container: the gateway, other workers, registries, an engine that goes and comes, GPUs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use thermocline::real::config::{DockerConfig, GpuRequest};
use thermocline::real::launcher::{Launcher, Report};
use thermocline::scheduler::{ExitCause, StartStage, StopMode};
use thermocline::units::ImageId;

use super::super::support::patience::eventually;
use super::{Bench, HOST, IMAGE, SOCKET, WAIT, docker, engine_is_here, required, spec};

#[test]
fn workers_reach_the_gateway_and_are_reached_but_not_by_each_other() {
    let Some(bench) = Bench::started("network") else { return };
    let gateway = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let port = gateway.local_addr().expect("bound").port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = gateway.accept().expect("the worker calls");
        let _ = stream.read(&mut [0; 1_024]);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello worker").expect("it listens");
    });
    let calls = spec("w1-1", &format!("wget -q -O - http://host.docker.internal:{port}/; echo"));
    assert_eq!(bench.said(calls), ["hello worker"]);
    answering.join().expect("it answered");

    let mut serves = spec("w2-1", "cd /tmp; echo up > index.html; echo ready; exec httpd -f -p 8000 -h /tmp");
    serves.run.ports = vec![8000];
    bench.launcher.start(serves);
    assert_eq!(bench.next(), Report::StageEnded { worker: "w2-1".into(), stage: StartStage::Container });
    let Report::Address { worker, ports } = bench.next() else { panic!("an address") };
    assert_eq!((worker.as_str(), ports.len(), ports[0].0), ("w2-1", 1, 8000));
    assert!(ports[0].1.starts_with("127.0.0.1:"), "{ports:?}");
    // The engine's proxy accepts before the worker listens: asked until there is an answer.
    let page = eventually("a page", || {
        let mut stream = std::net::TcpStream::connect(&ports[0].1).expect("it is published");
        let mut page = String::new();
        let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut page));
        (asked.is_ok() && !page.is_empty()).then_some(page)
    });
    assert!(page.ends_with("up\n"), "{page}");

    let network = format!("thermocline-{}-busy", bench.store());
    let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    let address = docker(&["inspect", "-f", &template, &bench.container("w2-1")]);
    // What nc has to say goes elsewhere: two pipes of a container keep no order between them.
    let call = format!("nc -w 3 {} 8000 < /dev/null 2> /dev/null && echo reached || echo refused", address.trim());
    let neighbour = spec("w3-1", &call);
    assert_eq!(bench.said(neighbour).last().map(String::as_str), Some("refused"));
}

#[test]
fn an_image_that_is_there_is_there_and_one_that_cannot_be_had_fails_for_all_who_wait() {
    let Some(bench) = Bench::started("pull") else { return };
    bench.launcher.pull(HOST, ImageId(1), IMAGE);
    let Report::Pulled { host, image, digest, .. } = bench.next() else { panic!("pulled") };
    assert_eq!((host, image, digest), (HOST, ImageId(1), None), "it never saw a registry");
    let nowhere = "127.0.0.1:1/none/such:1";
    bench.launcher.pull(HOST, ImageId(2), nowhere);
    bench.launcher.pull(HOST, ImageId(3), nowhere);
    bench.launcher.pull(HOST, ImageId(4), "--all-tags");
    let mut failed: Vec<(ImageId, String)> = (0..3)
        .map(|_| match bench.next() {
            Report::PullFailed { image, detail, .. } => (image, detail),
            other => panic!("{other:?}"),
        })
        .collect();
    failed.sort();
    assert_eq!(failed.iter().map(|(image, _)| image.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(failed[0].1.contains("127.0.0.1:1") && failed[2].1.contains("image reference"), "{failed:?}");
    bench.launcher.evict(HOST, ImageId(2), nowhere);
    bench.launcher.pull(HOST, ImageId(1), IMAGE);
    assert!(matches!(bench.next(), Report::Pulled { .. }), "an eviction of nothing does no harm");
}

/// A way to the engine that can be cut.
pub struct Cut {
    socket: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Cut {
    /// A socket that leads to the engine.
    pub fn new(socket: PathBuf) -> Cut {
        let open: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let cut = Cut { socket, open };
        cut.mend();
        cut
    }

    /// Opens the way again.
    pub fn mend(&self) {
        let listener = UnixListener::bind(&self.socket).expect("a socket");
        let open = Arc::clone(&self.open);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, UnixStream::connect(SOCKET)) else { return };
                for (mut from, mut to) in [(clone(&near), clone(&far)), (clone(&far), clone(&near))] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
                open.lock().expect("no thread panics with it").extend([near, far]);
            }
        });
    }

    /// Breaks every connection and lets no new one in.
    pub fn cut(&self) {
        fs::remove_file(&self.socket).expect("it was there");
        for stream in self.open.lock().expect("no thread panics with it").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn clone(stream: &UnixStream) -> UnixStream {
    stream.try_clone().expect("a descriptor is free")
}

#[test]
fn an_engine_that_goes_is_reported_and_its_workers_are_looked_for_when_it_is_back() {
    if !engine_is_here() {
        return;
    }
    let socket = std::env::temp_dir().join(format!("thermocline-cut-{}.sock", std::process::id()));
    let _ = fs::remove_file(&socket);
    let config = DockerConfig { endpoint: Some(format!("unix://{}", socket.display())), ..DockerConfig::default() };
    let bench = Bench::with("cut", config, &[]).expect("it is here");
    bench.launcher.adopt(HOST, &[]);
    let Report::HostReachable { host: HOST, reachable: false, detail } = bench.next() else { panic!("not there yet") };
    assert!(detail.contains(&socket.display().to_string()), "{detail}");
    bench.launcher.start(spec("w0-1", WAIT));
    let (_, cause, detail) = bench.exited();
    assert!(cause == ExitCause::StartFailed && detail.starts_with("the engine cannot be reached"), "{detail}");

    let way = Cut::new(socket.clone());
    assert!(matches!(bench.next(), Report::HostReachable { reachable: true, .. }));
    bench.run("w1-1", WAIT);
    bench.run("w2-1", WAIT);
    bench.await_output("w1-1", "ready");
    bench.await_output("w2-1", "ready");
    way.cut();
    assert!(matches!(bench.next(), Report::HostReachable { reachable: false, .. }));
    docker(&["kill", &bench.container("w1-1")]);
    bench.launcher.stop(HOST, "w2-1", StopMode::Sleep);
    way.mend();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match bench.next() {
            Report::HostReachable { reachable: true, .. } => "back".to_owned(),
            Report::Exited { worker, .. } => format!("{worker} exited"),
            Report::Stopped { worker, .. } => format!("{worker} stopped"),
            other => panic!("{other:?}"),
        });
    }
    seen.sort();
    assert_eq!(seen, ["back", "w1-1 exited", "w2-1 stopped"]);
    assert_eq!(bench.output("w2-1"), ["ready", "bye"]);
    way.cut();
}

#[test]
fn gpus_that_the_engine_cannot_give_are_a_failed_start() {
    for (name, gpus) in [("request", GpuRequest::DeviceRequest), ("cdi", GpuRequest::Cdi)] {
        let config = DockerConfig { gpus, ..DockerConfig::default() };
        let Some(bench) = Bench::with(name, config, &["GPU-none"]) else { return };
        bench.launcher.adopt(HOST, &[]);
        bench.launcher.start(spec("w1-1", WAIT));
        let (_, cause, detail) = bench.exited();
        assert_eq!(cause, ExitCause::StartFailed, "{detail}");
        assert!(bench.containers().is_empty());
        bench.launcher.start(spec("w2-1", WAIT));
        let (_, _, detail) = bench.exited();
        assert!(!detail.contains("are free"), "the GPU was given back: {detail}");
    }
}

#[test]
fn the_nvidia_runtime_is_told_which_gpus() {
    let config = DockerConfig { gpus: GpuRequest::Runtime, ..DockerConfig::default() };
    let Some(bench) = Bench::with("runtime", config, &["GPU-a", "GPU-b"]) else { return };
    if !docker(&["info", "-f", "{{json .Runtimes}}"]).contains("nvidia-standin") {
        assert!(
            !required("docker-nvidia"),
            "THERMOCLINE_REQUIRE=docker-nvidia, but the engine has no stand-in runtime"
        );
        println!("SKIPPED: the engine has no stand-in for the nvidia runtime");
        return;
    }
    bench.launcher.adopt(HOST, &[]);
    for (worker, gpu) in [("w1-1", "GPU-a"), ("w2-1", "GPU-b")] {
        bench.run(worker, "echo $NVIDIA_VISIBLE_DEVICES; trap 'exit 0' TERM; while :; do sleep 0.1; done");
        bench.await_output(worker, gpu);
        let id = docker(&["inspect", "-f", "{{.Id}}", &bench.container(worker)]);
        let kept = Path::new("/run/thermocline-nvidia-standin").join(format!("{}.json", id.trim()));
        let asked: Value = serde_json::from_slice(&fs::read(&kept).expect("the runtime was asked")).expect("a bundle");
        let environment = asked["process"]["env"].as_array().expect("a list");
        assert!(environment.contains(&format!("NVIDIA_VISIBLE_DEVICES={gpu}").into()), "{environment:?}");
        assert!(environment.contains(&"NVIDIA_DRIVER_CAPABILITIES=compute,utility".into()), "{environment:?}");
        let _ = fs::remove_file(kept);
    }
    bench.launcher.start(spec("w3-1", WAIT));
    assert!(bench.exited().2.contains("0 of 2 are free"));
    bench.launcher.stop(HOST, "w1-1", StopMode::Sleep);
    assert_eq!(bench.stopped().0, "w1-1");
}

#[test]
fn the_doctor_looks_at_the_engine() {
    if !engine_is_here() {
        return;
    }
    let doctor = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_thermocline")).arg("doctor").args(arguments).output();
        let output = output.expect("the binary can be started");
        let findings: Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
        (output.status.code(), findings)
    };
    let level = |findings: &Value, check: &str| {
        let all = findings["findings"].as_array().expect("a list");
        let found =
            all.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}: {all:?}"));
        found["level"].as_str().expect("a word").to_owned()
    };
    let (code, findings) = doctor(&["--json"]);
    assert_eq!((code, &findings["ok"]), (Some(0), &true.into()), "{findings}");
    assert_eq!(level(&findings, "this machine: engine"), "ok");
    assert_eq!(level(&findings, "this machine: clock of the engine"), "ok");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("doctor");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let file = folder.join("away.yaml");
    let away = "endpoints: {a: {run: {command: [x]}}}\nserve: {hosts: {far: {launcher: docker, places: 1, docker: {endpoint: 'unix:///no/engine.sock'}}}}\n";
    fs::write(&file, away).expect("the file can be written");
    let (code, findings) = doctor(&[&file.display().to_string(), "--json"]);
    assert_eq!((code, &findings["ok"]), (Some(1), &false.into()), "{findings}");
    assert_eq!(level(&findings, "far: engine"), "fail");
}
