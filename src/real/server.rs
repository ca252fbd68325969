//! `serve`: puts store, core, launchers, gateway and outbox together, and takes them down again.
//!
//! The port is bound before anything is recovered, so that workers and clients of a gateway that comes back wait in the
//! listening queue for a moment instead of being refused. SIGTERM and SIGINT stop accepting, end the polls, finish what is in flight
//! and stop the workers (unless they are to be kept for the next start); SIGHUP reads the application file again.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::access::KeyRing;
use super::config::{EndpointConfig, HostConfig, LauncherConfig, ServeConfig};
use super::core::handle::{Handle, Request};
use super::core::{Outside, ProbeTarget, StartError, Started};
use super::launcher::docker::{DockerLauncher, EngineHost, engine_gateway};
use super::launcher::external::ExternalLauncher;
use super::launcher::process::ProcessLauncher;
use super::launcher::{Launcher, Reporter};
use super::store::memory::MemoryStore;
use super::store::sqlite::SqliteStore;
use super::store::{Store, StoreError};
use super::webhook::guard::Allow;
use super::{core, gateway, spans, webhook};
use crate::units::HostId;

/// Time between two looks at a load-balancing worker that is not well yet.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Jobs in hand are waited for this long when the gateway goes down.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// The last spans may take this long when the gateway goes down.
const SPANS_LIMIT: Duration = Duration::from_secs(2);
/// A worker that is not well after this long is not asked any more (RunPod docs, load balancing: 8 min).
const PROBE_LIMIT: Duration = Duration::from_secs(480);

/// Why serving did not begin, or ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened to.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A folder or file that is needed.
    #[error("{path}: {error}")]
    Folder {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The configuration cannot be carried out.
    #[error("{0}")]
    Config(String),
    /// Store, record or policy.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store failed while serving: what was answered is safe, the rest is recovered at the next start.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the application file again.
pub type Reload = Box<dyn Fn() -> Result<Vec<EndpointConfig>, String> + Send>;

/// What is not about the application.
pub struct Options {
    /// Called for SIGHUP.
    pub reload: Reload,
    /// Workers are left running at the end, for a gateway that takes them up again.
    pub keep_workers: bool,
}

/// Serves until a signal ends it. `ready` is called once, when requests are answered.
///
/// # Errors
/// If it cannot begin, or if the store fails.
pub fn run(config: ServeConfig, options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(http_threads()).enable_all().build();
    let runtime = runtime.map_err(|error| ServeError::Config(format!("no threads: {error}")))?;
    // Installed by whoever comes first; a second time is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = Folder::of(&config)?;
    let result = runtime.block_on(serve(config, options, &folder.path, ready));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Threads that serve HTTP. The core's thread has about as much to do as they; a thread more than the machine has room for only
/// takes turns: on two cores a job costs 9 changes of thread with one and 14 with two.
fn http_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// The data folder, removed at the end if it was for this run only.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn of(config: &ServeConfig) -> Result<Folder, ServeError> {
        let (path, temporary) = match &config.data_dir {
            Some(path) => (path.clone(), false),
            None => (std::env::temp_dir().join(format!("thermocline-{}", std::process::id())), true),
        };
        let problem = |error| ServeError::Folder { path: path.display().to_string(), error };
        fs::create_dir_all(&path).map_err(problem)?;
        let path = path.canonicalize().map_err(problem)?;
        Ok(Folder { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

async fn serve(
    config: ServeConfig,
    options: Options,
    folder: &Path,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let listen_error = |error| ServeError::Listen { address: config.listen, error };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let store: Box<dyn Store> = match &config.data_dir {
        Some(_) => Box::new(SqliteStore::open(&folder.join("store.sqlite"))?),
        None => Box::new(MemoryStore::new()),
    };
    let worker_base_urls = config.hosts.iter().map(|host| worker_base_url(&config, host, address)).collect();
    let mut listeners = vec![listener];
    listeners.extend(bridge_listener(&config, address).await);
    let bell = Arc::new(Notify::new());
    let (spans, exporter) =
        config.otlp.as_deref().map(spans::exporter).transpose().map_err(ServeError::Config)?.unzip();
    let exporting = exporter.map(tokio::spawn);
    let launching = {
        let (hosts, folder, webhooks) = (config.hosts.clone(), folder.to_owned(), Arc::clone(&bell));
        let runtime = tokio::runtime::Handle::current();
        move |handle: &Handle, requests: Sender<Request>| -> Result<Outside, String> {
            let launchers = launchers(&hosts, &folder, &reporter(requests))?;
            let (notices, _) = tokio::sync::broadcast::channel(1);
            let handle = handle.clone();
            let probe = Box::new(move |target| drop(runtime.spawn(probe(handle.clone(), target))));
            Ok(Outside { launchers, notices, webhooks, worker_base_urls, spans, probe })
        }
    };
    let settings = config.clone();
    let started = core::start(config, store, launching)?;
    let Started { core, requests, handle } = started;
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("core".to_owned()).spawn(move || {
        let result = core.run(&requests);
        let _ = ended.send(());
        result
    });
    let thread = thread.map_err(|error| ServeError::Config(format!("no thread: {error}")))?;
    let gateway_config = gateway_config(&settings, &handle)?;
    let outbox = deliver(handle.clone(), &settings, bell)?;
    ready(address);
    let until = until_told(handle.clone(), options.reload, end, options.keep_workers);
    gateway::serve(listeners, handle.clone(), gateway_config, until).await;
    outbox.abort();
    handle.shut_down(options.keep_workers).await;
    let result = tokio::task::spawn_blocking(move || thread.join()).await;
    if let Some(exporting) = exporting {
        // The core and with it the last sender is gone: what is left is sent, if the collector takes it.
        let _ = tokio::time::timeout(SPANS_LIMIT, exporting).await;
    }
    match result {
        Ok(Ok(result)) => Ok(result?),
        _ => Err(ServeError::Config("the core's thread ended abruptly; what was answered is safe".to_owned())),
    }
}

/// How the workers of a host reach the gateway.
fn worker_base_url(config: &ServeConfig, host: &HostConfig, address: SocketAddr) -> String {
    if let Some(url) = &config.worker_base_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    if matches!(host.launcher, LauncherConfig::Docker(_)) {
        // The name that every container of ours is given for the machine it runs on.
        return format!("{scheme}://host.docker.internal:{}", address.port());
    }
    if address.ip().is_unspecified() {
        format!("{scheme}://127.0.0.1:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

/// Containers cannot reach a loopback address of the machine: where there are any, the gateway also listens on the address that
/// the engine gives the machine on its default bridge.
async fn bridge_listener(config: &ServeConfig, address: SocketAddr) -> Option<TcpListener> {
    let docker = config.hosts.iter().find_map(|host| match &host.launcher {
        LauncherConfig::Docker(docker) => Some(docker),
        _ => None,
    })?;
    if config.worker_base_url.is_some() || !address.ip().is_loopback() {
        return None;
    }
    let found = engine_gateway(docker).await;
    let bound = match &found {
        Ok(ip) => TcpListener::bind(SocketAddr::new(*ip, address.port())).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.clone()),
    };
    bound
        .inspect_err(|error| {
            tracing::warn!(
                error,
                "containers may not reach the gateway: set `serve.worker_url`, or `serve.listen` to an address they can reach"
            );
        })
        .ok()
}

fn reporter(requests: Sender<Request>) -> Reporter {
    Reporter::new(move |report| drop(requests.send(Request::Report(report))))
}

/// One launcher per host; hosts of one kind share theirs.
fn launchers(hosts: &[HostConfig], folder: &Path, reporter: &Reporter) -> Result<Vec<Arc<dyn Launcher>>, String> {
    let of_kind = |wanted: &LauncherConfig| -> Vec<(HostId, Vec<String>)> {
        let numbered = hosts.iter().enumerate().filter(|(_, host)| host.launcher == *wanted);
        numbered.map(|(number, host)| (HostId(number as u32), host.gpu_ids.clone())).collect()
    };
    let process = of_kind(&LauncherConfig::Process);
    let process: Option<Arc<dyn Launcher>> = if process.is_empty() {
        None
    } else {
        let made = ProcessLauncher::new(folder.to_owned(), reporter.clone(), process);
        Some(Arc::new(made.map_err(|error| format!("{}: {error}", folder.display()))?))
    };
    let engines: Vec<EngineHost> = hosts
        .iter()
        .enumerate()
        .filter_map(|(number, host)| match &host.launcher {
            LauncherConfig::Docker(config) => {
                let (config, gpu_ids) = (config.clone(), host.gpu_ids.clone());
                Some(EngineHost { host: HostId(number as u32), config, gpu_ids })
            }
            _ => None,
        })
        .collect();
    let docker: Option<Arc<dyn Launcher>> = if engines.is_empty() {
        None
    } else {
        let made = DockerLauncher::new(folder.to_owned(), reporter.clone(), engines);
        Some(Arc::new(made.map_err(|error| format!("{}: {error}", folder.display()))?))
    };
    let external: Arc<dyn Launcher> = Arc::new(ExternalLauncher::new(reporter.clone()));
    hosts
        .iter()
        .map(|host| match &host.launcher {
            LauncherConfig::Process => Ok(Arc::clone(process.as_ref().expect("there is a host of this kind"))),
            LauncherConfig::External => Ok(Arc::clone(&external)),
            LauncherConfig::Docker(_) => Ok(Arc::clone(docker.as_ref().expect("there is a host of this kind"))),
        })
        .collect()
}

fn gateway_config(config: &ServeConfig, handle: &Handle) -> Result<gateway::GatewayConfig, ServeError> {
    let mut settings = gateway::GatewayConfig {
        auth: Arc::new(KeyRing::new(Arc::clone(handle.reader()), config.auth)),
        gpu_classes: config.scheduler.gpu_classes.iter().map(|class| class.name.clone()).collect(),
        ..gateway::GatewayConfig::default()
    };
    if !config.rate_limits {
        settings.rates = None;
    }
    settings.times.poll_hold = Duration::from_secs_f64(config.poll_hold_s);
    if let Some(tls) = &config.tls {
        let made = gateway::tls(tls).map_err(|error| ServeError::Config(error.to_string()))?;
        settings.tls = Some(made);
    }
    Ok(settings)
}

/// The outbox of webhooks, on a task of its own.
fn deliver(handle: Handle, config: &ServeConfig, bell: Arc<Notify>) -> Result<JoinHandle<()>, ServeError> {
    let allow = Allow::parse(&config.webhook_allow).map_err(ServeError::Config)?;
    let delivery = webhook::Config { allow, ..webhook::Config::default() };
    let reader = Arc::clone(handle.reader());
    let body: webhook::BodyOf = Arc::new(move |delivery| {
        let row = reader.job(&delivery.job).ok().flatten()?;
        let output = reader.output(&delivery.job).ok().flatten();
        gateway::ended_view(&row, output, None).map(|view| gateway::status_document(&view))
    });
    Ok(tokio::spawn(async move {
        if let Err(error) = webhook::deliver(handle, delivery, bell, body).await {
            tracing::error!(error, "webhooks cannot be delivered");
        }
    }))
}

/// Returns when the process is told to end, or the core has ended by itself.
async fn until_told(handle: Handle, reload: Reload, core_ended: oneshot::Receiver<()>, keep_workers: bool) {
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        tracing::error!("signals cannot be listened to: only a kill ends this process");
        return std::future::pending().await;
    };
    tokio::pin!(core_ended);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = &mut core_ended => return,
            _ = hup.recv() => match tokio::task::block_in_place(&reload) {
                Ok(endpoints) => match handle.reconcile(endpoints).await {
                    Ok(()) => tracing::info!("the application file was read again"),
                    Err(error) => tracing::error!(error, "the application file was read again and cannot be carried out"),
                },
                Err(error) => tracing::error!(error, "the application file cannot be read; everything stays as it is"),
            },
        }
    }
    if !keep_workers {
        tracing::info!("going down: no new jobs; those in hand may finish (a second signal ends that)");
        tokio::select! {
            () = handle.drain() => {}
            () = tokio::time::sleep(DRAIN_LIMIT) => tracing::warn!("jobs still in hand go back to the queue"),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

/// Asks a load-balancing worker for its health until it is well.
async fn probe(handle: Handle, target: ProbeTarget) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
    let Ok(client) = client else { return };
    let tries = PROBE_LIMIT.as_millis() / PROBE_EVERY.as_millis();
    for _ in 0..tries {
        if let Ok(answer) = client.get(&target.url).send().await
            && answer.status() == reqwest::StatusCode::OK
        {
            return handle.send(Request::Probed { worker: target.worker });
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}
