//! Start of the gateway: which of the workers of the one before still run, and what to do with the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Signal, kill_process_group};

use super::super::{Known, Report};
use super::procfs::{kill_marked, marked};
use super::record::Record;
use super::spool::Spool;
use super::watch::{Watch, open};
use super::{Launch, Shared, clear};
use crate::real::ids::is_id;
use crate::scheduler::{ExitCause, StopMode};
use crate::units::HostId;

/// How long a leftover may take to die before the gateway goes on without waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes up the known launches of `host`, reports those that are gone, ends the unknown ones.
pub(super) fn adopt(shared: &Arc<Shared>, host: HostId, known: &[Known]) {
    let known: BTreeMap<&str, &Known> =
        known.iter().filter(|known| known.host == host).map(|known| (known.name.as_str(), known)).collect();
    let mut found = records(shared);
    for known in known.values() {
        let record = found.remove(&known.name).flatten();
        if record.is_none_or(|record| !take_up(shared, known, &record)) {
            gone(shared, known);
        }
    }
    for (name, record) in found {
        if record.as_ref().is_none_or(|record| record.host == host.0) && !shared.lock().launches.contains_key(&name) {
            sweep(shared, &name, record.as_ref());
        }
    }
}

/// Every launch of which there is a folder or a live process. A launch without a record was cut off while it started.
fn records(shared: &Shared) -> BTreeMap<String, Option<Record>> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(&shared.workers).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_id(name)) {
        let record = Record::read(&shared.folder_of(&name)).filter(|record| record.name == name);
        found.insert(name, record);
    }
    // A worker may have given what it started any mark: what is no name could lead out of our folder.
    let below = |mark: &str| {
        let name = mark.strip_prefix(shared.workers.to_str()?)?.strip_prefix('/')?;
        is_id(name).then(|| name.to_owned())
    };
    for process in marked(|mark| below(mark).is_some()) {
        if let Some(name) = below(&process.folder) {
            found.entry(name).or_insert(None);
        }
    }
    found
}

fn take_up(shared: &Arc<Shared>, known: &Known, record: &Record) -> bool {
    let Some((pid, fd)) = open(record) else { return false };
    let Ok(signal) = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) else { return false };
    let signal = Arc::new(signal);
    let launch = Launch {
        host: known.host,
        gpus: record.gpus.clone(),
        ports: record.ports.clone(),
        wish: known.stopping.then_some(StopMode::Sleep),
        wake: Arc::clone(&signal),
    };
    shared.lock().launches.insert(known.name.clone(), launch);
    shared.logs.note(&known.name, "taken up by a new gateway");
    let grace = Duration::from_millis(record.grace_ms);
    let watch = Watch::new(shared, &known.name, pid, fd, None, signal, grace);
    if shared.thread(&known.name, move || watch.run()).is_err() {
        shared.lock().launches.remove(&known.name);
        return false;
    }
    if !record.ports.is_empty() {
        let ports = record.ports.iter().map(|(asked, local)| (*asked, format!("127.0.0.1:{local}"))).collect();
        shared.reporter.report(Report::Address { worker: known.name.clone(), ports });
    }
    true
}

/// The worker ended while no gateway was there; what it left behind ends now.
fn gone(shared: &Shared, known: &Known) {
    let folder = shared.folder_of(&known.name);
    kill_marked(&folder.display().to_string(), PATIENCE);
    Spool::new(&known.name, &shared.logs, &folder).finish();
    let detail = "ended while the gateway was away".to_owned();
    shared.logs.note(&known.name, &detail);
    clear(&folder);
    shared.tell(&known.name, known.stopping, ExitCause::Crashed, detail);
}

/// A worker that nobody knows: the gateway before was cut off before it could remember it, or had forgotten it already.
fn sweep(shared: &Shared, name: &str, record: Option<&Record>) {
    let folder = shared.folder_of(name);
    tracing::warn!(worker = name, "a worker of an earlier gateway that is not on record is ended");
    if let Some((pid, _held)) = record.and_then(open) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    if !kill_marked(&folder.display().to_string(), PATIENCE) {
        tracing::error!(worker = name, "a worker of an earlier gateway cannot be killed");
    }
    clear(&folder);
}
