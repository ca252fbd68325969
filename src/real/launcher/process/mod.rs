//! Workers as child processes of this machine: for development, for machines without a container engine, and for tests.
//!
//! ```text
//! <folder>/workers/<launch>/launch.json   who it is: process, start time, GPUs
//!                           home work tmp its HOME, working folder and TMPDIR; gone when it is
//!                           output        what it says, until moved into the log
//! <folder>/logs/<launch>.log              kept after it is gone
//! ```
//!
//! Everything a worker started ends with it: its process group is killed, and so is whatever else carries its mark (an
//! environment variable) after having left the group. Workers outlive the gateway; the next one finds them by `launch.json`.
//!
//! Nothing is frozen: a wish to freeze is carried out as a stop and answered with `frozen: false`. A stopped process keeps
//! the worker id of its own launch in its environment while the scheduler numbers the thawed one anew, the kernel hangs up on
//! stopped groups whose parent dies, and no command tells that a snapshot is not wanted any more, so that its memory would stay
//! taken for ever.

mod adopt;
mod procfs;
mod record;
mod spawn;
mod spool;
mod watch;

pub use spawn::SEARCH_PATH;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use super::logs::Logs;
use super::{Known, LaunchSpec, Launcher, LogLine, Report, Reporter, gpus, ports_of};
use crate::real::ids::is_id;
use crate::scheduler::{ExitCause, StopMode};
use crate::units::{HostId, ImageId};

/// Launches workers as processes.
pub struct ProcessLauncher {
    shared: Arc<Shared>,
    _gpus: Vec<gpus::Watch>,
}

struct Shared {
    workers: PathBuf,
    logs: Logs,
    reporter: Reporter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// GPU ids per host.
    hosts: BTreeMap<HostId, Vec<String>>,
    /// GPUs that have gone bad: not given to anybody until they are well again.
    bad: BTreeMap<HostId, BTreeSet<String>>,
    launches: BTreeMap<String, Launch>,
    detached: bool,
}

/// A launch that is being started, runs or is being stopped.
struct Launch {
    host: HostId,
    gpus: Vec<String>,
    ports: Vec<(u16, u16)>,
    wish: Option<StopMode>,
    wake: Arc<OwnedFd>,
}

impl ProcessLauncher {
    /// Launches below `folder`. Each host with the ids of its GPUs in order; none = its `gpus` are places without any.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: PathBuf, reporter: Reporter, hosts: Vec<(HostId, Vec<String>)>) -> io::Result<ProcessLauncher> {
        let workers = folder.join("workers");
        std::fs::create_dir_all(&workers)?;
        let shared = Shared {
            // The mark that the workers carry is this path: absolute, in one spelling.
            workers: workers.canonicalize()?,
            logs: Logs::new(&folder.join("logs"))?,
            reporter,
            state: Mutex::new(State { hosts: hosts.iter().cloned().collect(), ..State::default() }),
        };
        let shared = Arc::new(shared);
        let watched = hosts.into_iter().filter_map(|(host, ids)| {
            let (shared, all) = (Arc::clone(&shared), ids.len());
            gpus::watch(ids, move |bad| {
                let left = u32::try_from(all - bad.len()).unwrap_or(u32::MAX);
                shared.lock().bad.insert(host, bad);
                shared.reporter.report(Report::HostGpus { host, gpus: left });
            })
        });
        Ok(ProcessLauncher { _gpus: watched.collect(), shared })
    }
}

impl Launcher for ProcessLauncher {
    fn adopt(&self, host: HostId, known: &[Known]) {
        adopt::adopt(&self.shared, host, known);
        let alive: BTreeSet<String> = self.shared.lock().launches.keys().cloned().collect();
        self.shared.logs.prune(|worker| alive.contains(worker));
    }

    fn pull(&self, host: HostId, image: ImageId, _reference: &str) {
        self.shared.reporter.report(Report::Pulled { host, image, digest: None, took_ms: 0 });
    }

    fn evict(&self, _host: HostId, _image: ImageId, _reference: &str) {}

    fn start(&self, spec: LaunchSpec) {
        if let Err(detail) = self.shared.start(&spec) {
            self.shared.logs_note_if_id(&spec.name, &detail);
            let cause = ExitCause::StartFailed;
            self.shared.reporter.report(Report::Exited { worker: spec.name, cause, detail });
        }
    }

    fn stop(&self, _host: HostId, worker: &str, mode: StopMode) {
        let mut state = self.shared.lock();
        if let Some(launch) = state.launches.get_mut(worker) {
            if launch.wish != Some(StopMode::Kill) {
                launch.wish = Some(mode);
            }
            wake(&launch.wake);
        } else {
            drop(state);
            self.shared.reporter.report(Report::Stopped { worker: worker.to_owned(), frozen: false });
        }
    }

    fn logs(&self, worker: &str, lines: usize) -> Vec<LogLine> {
        if is_id(worker) { self.shared.logs.tail(worker, lines) } else { Vec::new() }
    }

    fn detach(&self) {
        let mut state = self.shared.lock();
        state.detached = true;
        state.launches.values().for_each(|launch| wake(&launch.wake));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked with the lock left a state that is complete: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, name: &str) -> PathBuf {
        self.workers.join(name)
    }

    fn logs_note_if_id(&self, name: &str, text: &str) {
        if is_id(name) {
            self.logs.note(name, text);
        }
    }

    /// Takes GPUs and ports and begins the launch in a thread of its own.
    fn start(self: &Arc<Shared>, spec: &LaunchSpec) -> Result<(), String> {
        if !is_id(&spec.name) {
            return Err(format!("{:?} cannot be the name of a worker", spec.name));
        }
        let signal = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| e.to_string())?);
        let mut state = self.lock();
        if state.detached {
            return Err("the gateway is going down".to_owned());
        }
        if state.launches.contains_key(&spec.name) {
            return Err("a worker of this name is already here".to_owned());
        }
        let gpus = state.free_gpus(spec.host, spec.gpus)?;
        let ports = state.free_ports(&ports_of(&spec.run)).map_err(|error| format!("no free port: {error}"))?;
        let launch =
            Launch { host: spec.host, gpus: gpus.clone(), ports: ports.clone(), wish: None, wake: Arc::clone(&signal) };
        state.launches.insert(spec.name.clone(), launch);
        drop(state);
        let (shared, moved) = (Arc::clone(self), spec.clone());
        let body = move || watch::launch(&shared, &moved, &gpus, &ports, signal);
        self.thread(&spec.name, body).inspect_err(|_| {
            self.lock().launches.remove(&spec.name);
        })
    }

    fn thread(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let spawned = thread::Builder::new().name(format!("worker {name}")).spawn(body);
        spawned.map(drop).map_err(|error| format!("no thread for the worker: {error}"))
    }

    /// A launch that never became a process.
    fn fail(&self, name: &str, detail: String) {
        self.logs.note(name, &detail);
        let asked = self.forget(name);
        self.tell(name, asked, ExitCause::StartFailed, detail);
    }

    /// Nothing is left of a launch but its log; whether it had been asked to stop.
    fn forget(&self, name: &str) -> bool {
        clear(&self.folder_of(name));
        self.lock().launches.remove(name).is_some_and(|launch| launch.wish.is_some())
    }

    fn tell(&self, name: &str, asked: bool, cause: ExitCause, detail: String) {
        let worker = name.to_owned();
        self.reporter.report(if asked {
            Report::Stopped { worker, frozen: false }
        } else {
            Report::Exited { worker, cause, detail }
        });
    }
}

impl State {
    /// GPUs of the host that no launch holds.
    fn free_gpus(&self, host: HostId, wanted: u32) -> Result<Vec<String>, String> {
        let ids = self.hosts.get(&host).ok_or_else(|| format!("host {} is not one of this launcher", host.0))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut held: BTreeSet<&String> =
            self.launches.values().filter(|launch| launch.host == host).flat_map(|launch| &launch.gpus).collect();
        held.extend(self.bad.get(&host).into_iter().flatten());
        let free: Vec<String> = ids.iter().filter(|id| !held.contains(id)).take(wanted as usize).cloned().collect();
        if free.len() < wanted as usize {
            return Err(format!("{wanted} GPUs are wanted and {} of {} are free", free.len(), ids.len()));
        }
        Ok(free)
    }

    /// A local port for each port asked for: workers share the machine's, so they cannot all have the same.
    fn free_ports(&self, asked: &[u16]) -> io::Result<Vec<(u16, u16)>> {
        let taken: BTreeSet<u16> =
            self.launches.values().flat_map(|launch| &launch.ports).map(|(_, local)| *local).collect();
        let mut found = Vec::new();
        let mut kept_open = Vec::new();
        while found.len() < asked.len() {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let local = listener.local_addr()?.port();
            kept_open.push(listener);
            if !taken.contains(&local) {
                found.push((asked[found.len()], local));
            }
        }
        Ok(found)
    }
}

fn wake(signal: &OwnedFd) {
    let _ = rustix::io::write(signal, &1_u64.to_ne_bytes());
}

/// Removes a worker's folder. Links in it are removed, never followed.
fn clear(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "a worker's folder cannot be removed"),
    }
}
