//! The durable store: the same answers from the file and from memory (`suite`, `model`), what a full disk and a damaged file do
//! (`faults`, `damage`), and what is there after kills (`kill`).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "real files, processes and sockets; a test that cannot go on says where"
)]

mod damage;
mod faults;
mod kill;
mod model;
mod suite;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use thermocline::real::config::{EndpointConfig, EndpointKind, RunConfig};
use thermocline::real::store::memory::MemoryStore;
use thermocline::real::store::sqlite::SqliteStore;
use thermocline::real::store::{Attempt, Delivery, DeliveryState, JobEnd, JobRow, KeyRow, Recovered, Store, Write};
use thermocline::scheduler::{EndpointSpec, Event, GpuClassId, Image, JobOutcome, JobPolicy};
use thermocline::units::{EndpointId, ImageId, Millis, Time};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("store-{name}-{}-{number}", std::process::id());
        Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn store(&self) -> PathBuf {
        self.0.join("store.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is in the build folder and in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A store that can be closed and opened again, as by a restart.
enum Subject {
    Memory(MemoryStore),
    Sqlite(Option<Box<SqliteStore>>, Folder),
}

impl Subject {
    fn store(&mut self) -> &mut dyn Store {
        match self {
            Subject::Memory(store) => store,
            Subject::Sqlite(store, folder) => store.get_or_insert_with(|| Box::new(open(&folder.store()))).as_mut(),
        }
    }

    fn restart(&mut self) {
        if let Subject::Sqlite(store, _) = self {
            *store = None;
        }
    }

    fn commit(&mut self, batch: &[Write]) {
        self.store().commit(batch).unwrap_or_else(|error| panic!("{error}"));
    }

    fn load(&mut self) -> Recovered {
        self.store().load().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Runs a test on an empty store of each kind.
fn on_both(name: &str, test: impl Fn(&mut Subject)) {
    test(&mut Subject::Memory(MemoryStore::new()));
    test(&mut Subject::Sqlite(None, Folder::new(name)));
}

fn row(id: &str, client_ref: u64) -> JobRow {
    JobRow {
        client_ref,
        id: id.to_owned(),
        endpoint: "llm".to_owned(),
        generation: 1,
        sync: false,
        policy: JobPolicy { ttl: NonZeroU32::new(60_000).map(Millis), execution_timeout: None, low_priority: true },
        submitted_ms: 1_000 + client_ref,
        webhook: Some("https://example.org/hook?a=b".to_owned()),
        end: None,
    }
}

fn added(id: &str, client_ref: u64) -> Write {
    Write::JobAdded {
        row: Box::new(row(id, client_ref)),
        input: Bytes::from(format!("{{\"prompt\":\"{id}\"}}")),
        s3: None,
        idempotency_key: None,
    }
}

fn end(expires_ms: u64) -> JobEnd {
    let attempt =
        Attempt { worker: "w1-1".to_owned(), started_ms: 1_500, ended_ms: Some(1_900), end: "completed".to_owned() };
    JobEnd {
        outcome: JobOutcome::Completed,
        cause: "completed".to_owned(),
        finished_ms: 1_900,
        delay_ms: 500,
        execution_ms: 400,
        worker: Some("w1-1".to_owned()),
        retries: 0,
        error: None,
        attempts: vec![attempt],
        expires_ms,
    }
}

fn ended(id: &str, expires_ms: u64, output: &'static str) -> Write {
    Write::JobEnded {
        id: id.to_owned(),
        end: Box::new(end(expires_ms)),
        output: Some(Bytes::from_static(output.as_bytes())),
    }
}

fn dropped(id: &str) -> Write {
    Write::JobDropped { id: id.to_owned(), reason: "expired".to_owned(), until_ms: u64::MAX }
}

fn event(seq: u64) -> Write {
    let event = Event::JobSubmitted { endpoint: EndpointId(0), client_ref: seq, policy: JobPolicy::default() };
    Write::Event { seq, at: Time(seq * 10), event: Box::new(event) }
}

fn snapshot(seq: u64) -> Write {
    Write::Snapshot { seq, at: Time(seq * 10), state: Bytes::from(format!("everything up to {seq}")) }
}

fn endpoint(number: u32, version: u32) -> Write {
    let config = EndpointConfig {
        id: format!("llm-{number}"),
        kind: EndpointKind::Queue,
        spec: EndpointSpec::with_defaults("llm", ImageId(0), GpuClassId(0)),
        image: Image { name: "repo/llm:1".to_owned(), layers: Vec::new() },
        run: RunConfig { cpus: 0.1 + 0.2, command: vec!["run".to_owned()], ..RunConfig::default() },
        input_schema: Some(serde_json::json!({"type": "object", "required": ["z", "a"]})),
        feeds: Vec::new(),
        webhook_secret: Some("hush".to_owned()),
    };
    Write::EndpointSet { number, version, at_ms: 7, config: Box::new(config), from_file: version == 1 }
}

fn delivery(job: &str, tries: u32, due_ms: u64, state: DeliveryState) -> Write {
    Write::Delivery(Box::new(Delivery {
        job: job.to_owned(),
        generation: 1,
        endpoint: "llm".to_owned(),
        url: "https://example.org/hook".to_owned(),
        tries,
        due_ms,
        last: String::new(),
        state,
    }))
}

fn key(id: &str, revoked_ms: Option<u64>) -> Write {
    Write::Key(Box::new(KeyRow {
        id: id.to_owned(),
        label: "ci".to_owned(),
        sha256: "00".repeat(32),
        endpoints: vec!["llm".to_owned()],
        created_ms: 5,
        revoked_ms,
    }))
}

fn meta(key: &str, value: &str) -> Write {
    Write::Meta { key: key.to_owned(), value: Bytes::from(value.to_owned()) }
}
