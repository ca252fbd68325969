//! Images from a registry: fetched with progress, named by their digest, the same bits after their tag has moved on. Method: the
//! few requests of the distribution API that a pull makes, answered here on a loopback port, which engines trust without TLS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest, Sha256};
use thermocline::real::launcher::{Launcher, Report};
use thermocline::units::ImageId;

use super::{Bench, HOST, docker, spec};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Answers by path: what kind of thing, and its bytes.
type Things = Arc<Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>>;

struct Registry {
    address: String,
    things: Things,
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

impl Registry {
    fn open() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let things = Things::default();
        let shared = Arc::clone(&things);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let things = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &things));
            }
        });
        Registry { address, things }
    }

    /// Puts an image under a tag: busybox, and a text at `/said`. Its digest.
    fn push(&self, tag: &str, said: &str) -> String {
        let tar = layer(said);
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(&tar).expect("memory takes everything");
        let zipped = zipped.finish().expect("memory takes everything");
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {}, "history": [{ "created_by": said }],
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "size": config.len(), "digest": digest(&config) },
            "layers": [{ "mediaType": LAYER, "size": zipped.len(), "digest": digest(&zipped) }],
        });
        let manifest = manifest.to_string().into_bytes();
        let name = digest(&manifest);
        let mut things = self.things.lock().expect("no panic while it is held");
        for (kind, bytes) in [(CONFIG, config), (LAYER, zipped)] {
            things.insert(format!("/v2/team/x/blobs/{}", digest(&bytes)), (kind, bytes));
        }
        for reference in [tag, &name] {
            things.insert(format!("/v2/team/x/manifests/{reference}"), (MANIFEST, manifest.clone()));
        }
        name
    }
}

/// A tar archive of a root folder.
fn layer(said: &str) -> Vec<u8> {
    let folder = std::env::temp_dir().join(format!("thermocline-layer-{}-{said}", std::process::id()));
    std::fs::create_dir_all(folder.join("bin")).expect("a temporary folder");
    for name in ["sh", "cat"] {
        std::fs::copy("/bin/busybox", folder.join("bin").join(name)).expect("busybox is here");
    }
    std::fs::write(folder.join("said"), format!("{said}\n")).expect("a temporary file");
    let tar = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "-C", &folder.display().to_string(), "-c", "."])
        .stderr(Stdio::null())
        .output()
        .expect("tar is everywhere");
    let _ = std::fs::remove_dir_all(folder);
    tar.stdout
}

/// Answers the requests of a connection.
fn serve(mut stream: TcpStream, things: &Things) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 0 && line != "\r\n" {
            line.clear();
        }
        let thing = match path.as_str() {
            "/v2/" => Some(("application/json", b"{}".to_vec())),
            path => things.lock().ok()?.get(path).cloned(),
        };
        let status = if thing.is_some() { "200 OK" } else { "404 Not Found" };
        let (kind, bytes) = thing.unwrap_or(("application/json", b"{}".to_vec()));
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\n\r\n",
            bytes.len(),
            digest(&bytes)
        );
        stream.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            stream.write_all(&bytes).ok()?;
        }
    }
}

fn pulled(bench: &Bench, image: u32, reference: &str) -> Option<String> {
    bench.launcher.pull(HOST, ImageId(image), reference);
    loop {
        match bench.next() {
            Report::PullProgress { done, total, .. } => assert!(done <= total || total == 0, "{done} of {total}"),
            Report::Pulled { digest, .. } => return digest,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_digest_gives_the_same_image_after_its_tag_has_moved_on() {
    let Some(bench) = Bench::started("registry") else { return };
    let registry = Registry::open();
    let repository = format!("{}/team/x", registry.address);
    // Texts of this run only: an image that an engine also knows by another name is not removed by one of them.
    let [one, two] = ["first", "second"].map(|text| format!("{text} of {}", registry.address));
    let (tagged, first) = (format!("{repository}:1"), registry.push("1", &one));
    assert_eq!(pulled(&bench, 1, &tagged).as_deref(), Some(first.as_str()));
    let says = |image: &str, worker: &str| {
        let mut spec = spec(worker, "cat /said");
        image.clone_into(&mut spec.image);
        bench.said(spec)
    };
    let exact = format!("{repository}@{first}");
    // Where the tag was pulled the digest is known as well.
    assert_eq!((says(&tagged, "w1-1"), says(&exact, "w2-1")), (vec![one.clone()], vec![one.clone()]));

    let second = registry.push("1", &two);
    // A bound only so that a test that fails does not hang: a minute at 20 ms a look.
    let gone = || assert!((0..3_000).any(|_| docker(&["images", "-q", &repository]).trim().is_empty()), "still there");
    bench.launcher.evict(HOST, ImageId(1), &exact);
    gone();
    assert_eq!(pulled(&bench, 1, &exact).as_deref(), Some(first.as_str()));
    assert_eq!(says(&exact, "w3-1"), [one]);
    assert_eq!(pulled(&bench, 2, &tagged).as_deref(), Some(second.as_str()));
    assert_eq!(says(&tagged, "w4-1"), [two]);
    for reference in [&exact, &tagged] {
        bench.launcher.evict(HOST, ImageId(1), reference);
    }
    gone();
}
