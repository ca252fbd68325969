//! Workers as containers, on one or more engines.
//!
//! ```text
//! link.rs     one task per host: connect, follow the engine's events, compare with what should be there, connect again
//! life.rs     start, stop and end of one container
//! networks.rs the bridge of each endpoint
//! pull.rs     images
//! output.rs   what containers say, into the log
//! request.rs  what a container may do
//! ```
//!
//! Containers carry labels ([`request`]) by which a later gateway finds its own and no other's. They are never restarted: each
//! launch is a new container, removed at its end when its output has been fetched. Nothing is frozen: a wish to freeze is
//! carried out as a stop and answered with `frozen: false`, for the reasons given at
//! [`process`](super::process).

pub mod engine;
mod life;
mod link;
mod networks;
mod output;
mod pull;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, RwLock, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use engine::engine_gateway;

use super::logs::Logs;
use super::{Known, LaunchSpec, Launcher, LogLine, Report, Reporter, gpus};
use crate::real::config::DockerConfig;
use crate::real::ids::{hex, is_id, random_bytes};
use crate::scheduler::{ExitCause, StopMode};
use crate::units::{HostId, ImageId};

/// An engine to be used as a host.
#[derive(Clone, Debug)]
pub struct EngineHost {
    /// Its number.
    pub host: HostId,
    /// How it is reached and how GPUs are asked for.
    pub config: DockerConfig,
    /// Ids of its GPUs in order; none = its `gpus` are places without any.
    pub gpu_ids: Vec<String>,
}

/// How long a gateway that leaves may take to remove networks.
const LEAVE: Duration = Duration::from_secs(5);

/// Launches workers as containers.
pub struct DockerLauncher {
    hosts: BTreeMap<HostId, Arc<Host>>,
    logs: Logs,
    reporter: Reporter,
    runtime: Handle,
    over: Arc<Notify>,
    _gpus: Vec<gpus::Watch>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// One engine.
struct Host {
    id: HostId,
    config: DockerConfig,
    gpu_ids: Vec<String>,
    /// Value of the label of our containers.
    store: String,
    logs: Logs,
    reporter: Reporter,
    link: watch::Sender<Link>,
    /// Something is to be compared with the engine now.
    poke: Notify,
    /// Read while a container is made and started in a network, written to while networks are removed.
    networks: RwLock<()>,
    state: Mutex<State>,
}

/// The connection, as others see it.
#[derive(Clone)]
enum Link {
    /// Not known yet.
    Connecting,
    /// There, and what runs is known.
    Up(Docker),
    /// Not there.
    Down(String),
}

#[derive(Default)]
struct State {
    launches: BTreeMap<String, Launch>,
    /// Who waits for which reference since when.
    pulls: BTreeMap<String, Vec<(ImageId, Instant)>>,
    /// GPUs that have gone bad: not given to anybody until they are well again.
    bad: BTreeSet<String>,
    /// The core has told what should be there: before that nothing may be removed.
    told: bool,
}

struct Launch {
    gpus: Vec<String>,
    grace: Duration,
    stage: Stage,
    wish: Option<StopMode>,
    /// A task is carrying the stop out; told here when it is to hurry.
    stopper: Option<Arc<Notify>>,
    follower: Option<JoinHandle<()>>,
    /// Last output that is in the log, ns since 1970.
    said_ns: u64,
}

/// Where a launch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Of an earlier gateway, not looked for yet.
    Unseen,
    /// Being created.
    Starting,
    /// Started.
    Running,
    /// Over; being removed.
    Ending,
}

impl DockerLauncher {
    /// Keeps logs and its name towards the engines below `folder`. Connects in the background; a host whose engine does not
    /// answer is reported.
    ///
    /// # Errors
    /// The folder cannot be written to, or no thread can be started.
    pub fn new(folder: PathBuf, reporter: Reporter, hosts: Vec<EngineHost>) -> io::Result<DockerLauncher> {
        let logs = Logs::new(&folder.join("logs"))?;
        let store = store_name(&folder)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let over = Arc::new(Notify::new());
        let ended = Arc::clone(&over);
        let hosts: BTreeMap<HostId, Arc<Host>> = hosts
            .into_iter()
            .map(|EngineHost { host, config, gpu_ids }| {
                let (store, logs, reporter) = (store.clone(), logs.clone(), reporter.clone());
                let (link, state) = (watch::Sender::new(Link::Connecting), Mutex::default());
                let (poke, networks) = (Notify::new(), RwLock::default());
                (host, Arc::new(Host { id: host, config, gpu_ids, store, logs, reporter, link, poke, networks, state }))
            })
            .collect();
        for host in hosts.values() {
            handle.spawn(link::keep(Arc::clone(host)));
        }
        let left: Vec<_> = hosts.values().cloned().collect();
        let until_detached = async move {
            ended.notified().await;
            let _ = timeout(LEAVE, networks::leave(left)).await;
        };
        let thread = std::thread::Builder::new().name("engines".to_owned());
        let thread = thread.spawn(move || runtime.block_on(until_detached))?;
        let watched = hosts.values().filter(|host| engine::is_local(&host.config)).filter_map(watch_gpus).collect();
        Ok(DockerLauncher {
            hosts,
            logs,
            reporter,
            runtime: handle,
            over,
            _gpus: watched,
            thread: Mutex::new(Some(thread)),
        })
    }
}

/// GPUs of this machine are looked at from here; those of another only by the workers themselves.
fn watch_gpus(host: &Arc<Host>) -> Option<gpus::Watch> {
    let host = Arc::clone(host);
    gpus::watch(host.gpu_ids.clone(), move |bad| {
        let gpus = u32::try_from(host.gpu_ids.len() - bad.len()).unwrap_or(u32::MAX);
        host.lock().bad = bad;
        host.reporter.report(Report::HostGpus { host: host.id, gpus });
    })
}

/// By what the engines know our containers: 16 hexadecimal digits, made once per folder.
fn store_name(folder: &Path) -> io::Result<String> {
    let path = folder.join("engine-label");
    match std::fs::read_to_string(&path) {
        Ok(name) if is_id(name.trim()) => return Ok(name.trim().to_owned()),
        Ok(_) => return Err(io::Error::other(format!("{}: not a name; remove the file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = hex(&random_bytes()[..8]);
    let new = folder.join("engine-label.new");
    std::fs::write(&new, &name)?;
    std::fs::rename(new, path)?;
    Ok(name)
}

impl Launcher for DockerLauncher {
    fn adopt(&self, host: HostId, known: &[Known]) {
        let Some(host) = self.hosts.get(&host) else { return };
        let alive: BTreeSet<String> = known.iter().map(|known| known.name.clone()).collect();
        let mut state = host.lock();
        for known in known.iter().filter(|known| known.host == host.id && is_id(&known.name)) {
            let wish = known.stopping.then_some(StopMode::Sleep);
            // The log knows milliseconds, the engine nanoseconds: all of the last one that was seen counts as seen.
            let said_ns = self.logs.last_output_ms(&known.name).saturating_mul(1_000_000).saturating_add(999_999);
            state.launches.entry(known.name.clone()).or_insert(Launch { wish, said_ns, ..Launch::new(Stage::Unseen) });
        }
        state.told = true;
        drop(state);
        host.poke.notify_one();
        self.logs.prune(|worker| alive.contains(worker));
    }

    fn pull(&self, host: HostId, image: ImageId, reference: &str) {
        match self.hosts.get(&host) {
            Some(host) => drop(self.runtime.spawn(pull::pull(Arc::clone(host), image, reference.to_owned()))),
            None => self.reporter.report(Report::PullFailed { host, image, detail: "no such host".to_owned() }),
        }
    }

    fn evict(&self, host: HostId, _image: ImageId, reference: &str) {
        if let Some(host) = self.hosts.get(&host) {
            self.runtime.spawn(pull::evict(Arc::clone(host), reference.to_owned()));
        }
    }

    fn start(&self, spec: LaunchSpec) {
        let taken =
            self.hosts.get(&spec.host).ok_or_else(|| format!("host {} has no engine", spec.host.0)).and_then(|host| {
                let gpus = host.register(&spec)?;
                Ok((Arc::clone(host), gpus))
            });
        match taken {
            Ok((host, gpus)) => drop(self.runtime.spawn(life::start(host, spec, gpus))),
            Err(detail) => {
                let cause = ExitCause::StartFailed;
                self.reporter.report(Report::Exited { worker: spec.name, cause, detail });
            }
        }
    }

    fn stop(&self, host: HostId, worker: &str, mode: StopMode) {
        if let Some(host) = self.hosts.get(&host).filter(|host| host.wish(worker, mode)) {
            self.runtime.spawn(life::stop(Arc::clone(host), worker.to_owned()));
        } else {
            self.reporter.report(Report::Stopped { worker: worker.to_owned(), frozen: false });
        }
    }

    fn logs(&self, worker: &str, lines: usize) -> Vec<LogLine> {
        if is_id(worker) { self.logs.tail(worker, lines) } else { Vec::new() }
    }

    fn detach(&self) {
        self.over.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What it has left to do takes a bounded time, and its end is the end of all tasks of this launcher.
        thread.map(std::thread::JoinHandle::join);
    }
}

impl Drop for DockerLauncher {
    fn drop(&mut self) {
        self.detach();
    }
}

impl Launch {
    fn new(stage: Stage) -> Launch {
        let grace = life::DEFAULT_GRACE;
        Launch { gpus: Vec::new(), grace, stage, wish: None, stopper: None, follower: None, said_ns: 0 }
    }
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A task that panicked with the lock left a state that is complete: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place and GPUs for a launch.
    fn register(&self, spec: &LaunchSpec) -> Result<Vec<String>, String> {
        if !is_id(&spec.name) {
            return Err(format!("{:?} cannot be the name of a worker", spec.name));
        }
        let mut state = self.lock();
        if state.launches.contains_key(&spec.name) {
            return Err("a worker of this name is already here".to_owned());
        }
        let wanted = if self.gpu_ids.is_empty() { 0 } else { spec.gpus as usize };
        let mut held: BTreeSet<&String> = state.launches.values().flat_map(|launch| &launch.gpus).collect();
        held.extend(&state.bad);
        let gpus: Vec<String> = self.gpu_ids.iter().filter(|id| !held.contains(id)).take(wanted).cloned().collect();
        if gpus.len() < wanted {
            return Err(format!("{wanted} GPUs are wanted and {} of {} are free", gpus.len(), self.gpu_ids.len()));
        }
        let grace = life::grace(spec.run.stop_grace_s);
        let launch = Launch { gpus: gpus.clone(), grace, ..Launch::new(Stage::Starting) };
        state.launches.insert(spec.name.clone(), launch);
        Ok(gpus)
    }

    /// Notes that a launch is to stop; `false` if there is none.
    fn wish(&self, worker: &str, mode: StopMode) -> bool {
        let mut state = self.lock();
        let Some(launch) = state.launches.get_mut(worker) else { return false };
        if launch.wish != Some(StopMode::Kill) {
            launch.wish = Some(mode);
        }
        if let Some(stopper) = launch.stopper.as_ref().filter(|_| mode == StopMode::Kill) {
            stopper.notify_one();
        }
        true
    }

    /// The engine, once it is known whether there is one.
    async fn docker(&self) -> Result<Docker, String> {
        let mut link = self.link.subscribe();
        let known = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        match known.map(|link| link.clone()) {
            Ok(Link::Up(docker)) => Ok(docker),
            Ok(Link::Down(detail)) => Err(format!("the engine cannot be reached: {detail}")),
            Ok(Link::Connecting) | Err(_) => Err("the gateway is going down".to_owned()),
        }
    }

    /// Nobody carries out its stop, nobody follows its output, or it has not been looked at: true after an interruption.
    fn wants_attention(&self, worker: &str) -> bool {
        self.lock().launches.get(worker).is_some_and(|launch| {
            let unheard = launch.follower.as_ref().is_none_or(JoinHandle::is_finished);
            launch.stage == Stage::Unseen || unheard || launch.wish.is_some() && launch.stopper.is_none()
        })
    }

    /// The end of a launch: forgotten, then told.
    fn over(&self, worker: &str, cause: ExitCause, mut detail: String) {
        self.logs.note(worker, &detail);
        let words = self.logs.last_words(worker);
        if !words.is_empty() {
            detail = format!("{detail}; last words: {words}");
        }
        let launch = self.lock().launches.remove(worker);
        if let Some(stopper) = launch.as_ref().and_then(|launch| launch.stopper.as_ref()) {
            stopper.notify_one();
        }
        let asked = launch.is_some_and(|launch| launch.wish.is_some());
        let worker = worker.to_owned();
        self.reporter.report(if asked {
            Report::Stopped { worker, frozen: false }
        } else {
            Report::Exited { worker, cause, detail }
        });
    }

    fn container_name(&self, worker: &str) -> String {
        format!("thermocline-{}-{worker}", self.store)
    }
}
