//! An engine that has no addresses left for another network. Method: a pipe to the real engine that answers in its place, in its
//! words, when a network is to be made.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thermocline::real::config::DockerConfig;
use thermocline::real::launcher::Launcher;
use thermocline::scheduler::ExitCause;

use super::{Bench, HOST, SOCKET, networks_of, spec};

const FULL: &str = r#"{"message":"all predefined address pools have been fully subnetted"}"#;

/// Refuses the next `refused` networks at the socket `path`.
fn pipe(path: &Path, refused: &Arc<AtomicU32>) {
    let listener = UnixListener::bind(path).expect("the folder is there");
    let refused = Arc::clone(refused);
    // Ends with the test process; nobody connects any more by then.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let refused = Arc::clone(&refused);
            std::thread::spawn(move || drop(talk(client, &refused)));
        }
    });
}

fn talk(mut client: UnixStream, refused: &AtomicU32) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(SOCKET)?;
    let (mut answers, mut back) = (engine.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = [0; 65_536];
    loop {
        let mut length = client.read(&mut buffer)?;
        if length == 0 {
            return engine.shutdown(std::net::Shutdown::Write);
        }
        let wants_network = buffer[..length].starts_with(b"POST ")
            && buffer[..length].windows(16).any(|bytes| bytes == b"/networks/create");
        let one_less = |left: u32| left.checked_sub(1);
        if wants_network && refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            // A request's body may come in a piece of its own; it ends with its outermost brace.
            while !buffer[..length].ends_with(b"}}") {
                length = client.read(&mut buffer)?;
            }
            let head = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n";
            write!(client, "{head}content-length: {}\r\n\r\n{FULL}", FULL.len())?;
        } else {
            engine.write_all(&buffer[..length])?;
        }
    }
}

#[test]
fn room_is_made_on_an_engine_without_addresses_and_else_the_way_out_is_told() {
    let path = std::env::temp_dir().join(format!("thermocline-crowded-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let refused = Arc::new(AtomicU32::new(0));
    pipe(&path, &refused);
    let config = DockerConfig { endpoint: Some(format!("unix://{}", path.display())), ..DockerConfig::default() };
    let Some(bench) = Bench::with("crowded", config, &[]) else { return };
    bench.launcher.adopt(HOST, &[]);
    assert_eq!(bench.said(spec("w1-1", "echo first")), ["first"]);
    let before = networks_of(&bench.store());
    assert_eq!(before.len(), 1, "kept, though nobody uses it");

    refused.store(1, Ordering::Relaxed);
    let mut other = spec("w2-1", "echo second");
    other.endpoint = "other".into();
    assert_eq!(bench.said(other), ["second"]);
    let after = networks_of(&bench.store());
    assert!(after.len() == 1 && after != before, "{before:?} made room for {after:?}");
    assert_eq!(refused.load(Ordering::Relaxed), 0);

    refused.store(u32::MAX, Ordering::Relaxed);
    let mut third = spec("w3-1", "echo third");
    third.endpoint = "third".into();
    bench.launcher.start(third);
    let (worker, cause, detail) = bench.exited();
    assert_eq!((worker.as_str(), cause), ("w3-1", ExitCause::StartFailed), "{detail}");
    for words in ["fully subnetted", "docker network prune", "default-address-pools", "docker: {network: ...}"] {
        assert!(detail.contains(words), "{words}: {detail}");
    }
    refused.store(0, Ordering::Relaxed);
    std::fs::remove_file(path).expect("it was made above");
}
