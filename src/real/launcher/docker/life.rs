//! Start, stop and end of one container.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::super::{LaunchSpec, Report};
use super::request::{GPUS, PORTS, Place, create_request};
use super::{Host, Launch, Stage, engine, networks, output};
use crate::scheduler::{ExitCause, StartStage, StopMode};

/// Time from SIGTERM to SIGKILL unless the endpoint says otherwise.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// How long the end of a container waits for the last of its output.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The grace period that an endpoint's setting stands for.
pub(super) fn grace(seconds: f64) -> Duration {
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(DEFAULT_GRACE) } else { DEFAULT_GRACE }
}

/// Creates and starts the container of a registered launch.
pub(super) async fn start(host: Arc<Host>, spec: LaunchSpec, gpus: Vec<String>) {
    let started = async {
        let docker = host.docker().await?;
        let _kept = networks::own(&host, &docker, &spec.endpoint).await?;
        let id = create(&host, &docker, &spec, &gpus).await?;
        if let Err(error) = docker.start_container(&id, None).await {
            remove(&docker, &id).await;
            return Err(format!("the container does not start: {}", engine::words(&error)));
        }
        Ok((docker, id))
    };
    match started.await {
        Ok((docker, id)) => {
            host.logs.note(&spec.name, &format!("started as container {}", id.get(..12).unwrap_or(&id)));
            host.reporter.report(Report::StageEnded { worker: spec.name.clone(), stage: StartStage::Container });
            take_up(&host, &docker, &spec.name, true).await;
        }
        Err(detail) => host.over(&spec.name, ExitCause::StartFailed, detail),
    }
}

async fn create(host: &Host, docker: &Docker, spec: &LaunchSpec, gpus: &[String]) -> Result<String, String> {
    let network = networks::name(host, &spec.endpoint);
    let place = Place { store: &host.store, network: &network, engine: &host.config, gpus };
    let body = create_request(spec, &place)?;
    let name = host.container_name(&spec.name);
    let options = || Some(CreateContainerOptionsBuilder::new().name(&name).build());
    let mut created = docker.create_container(options(), body.clone()).await;
    if created.as_ref().is_err_and(|error| engine::status(error) == Some(409)) {
        // A name stands for one launch, so this is what an earlier try of the same launch left behind.
        remove(docker, &name).await;
        created = docker.create_container(options(), body).await;
    }
    let created = created.map_err(|error| format!("the container cannot be created: {}", engine::words(&error)))?;
    created.warnings.iter().for_each(|warning| host.logs.note(&spec.name, warning));
    Ok(created.id)
}

/// A container that runs: from now on its output is followed, its addresses are known, and a stop asked for meanwhile is carried
/// out. `tell` its addresses: it is new to this gateway.
pub(super) async fn take_up(host: &Arc<Host>, docker: &Docker, worker: &str, tell: bool) {
    let name = host.container_name(worker);
    let Ok(inspected) = docker.inspect_container(&name, None).await else { return };
    let stop = {
        let mut state = host.lock();
        let Some(launch) = state.launches.get_mut(worker).filter(|launch| launch.stage != Stage::Ending) else {
            return;
        };
        recall(launch, &inspected);
        launch.stage = Stage::Running;
        if launch.follower.as_ref().is_none_or(|follower| follower.is_finished()) {
            let followed = output::follow(Arc::clone(host), docker.clone(), worker.to_owned(), launch.said_ns);
            launch.follower = Some(tokio::spawn(followed));
        }
        launch.wish.is_some() && launch.stopper.is_none()
    };
    let ports = addresses(&inspected);
    if tell && !ports.is_empty() {
        host.reporter.report(Report::Address { worker: worker.to_owned(), ports });
    }
    if stop {
        tokio::spawn(stop_now(Arc::clone(host), docker.clone(), worker.to_owned()));
    }
    // It may have ended before anybody listened.
    if inspected.state.and_then(|state| state.running) == Some(false) {
        tokio::spawn(ended(Arc::clone(host), docker.clone(), worker.to_owned()));
    }
}

/// What an earlier gateway knew of the launch stands in the container.
fn recall(launch: &mut Launch, inspected: &ContainerInspectResponse) {
    if launch.stage != Stage::Unseen {
        return;
    }
    let Some(config) = &inspected.config else { return };
    if let Some(gpus) = config.labels.as_ref().and_then(|labels| labels.get(GPUS)) {
        launch.gpus = gpus.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    }
    if let Some(seconds) = config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok()) {
        launch.grace = Duration::from_secs(seconds);
    }
}

/// Where its ports are, in the order in which they were asked for.
fn addresses(inspected: &ContainerInspectResponse) -> Vec<(u16, String)> {
    let published = inspected.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    let (Some(published), Some(asked)) = (published, labels.and_then(|labels| labels.get(PORTS))) else {
        return Vec::new();
    };
    let address = |port: &str| {
        let binding = published.get(&format!("{port}/tcp"))?.as_ref()?.first()?;
        Some((port.parse().ok()?, format!("{}:{}", binding.host_ip.as_deref()?, binding.host_port.as_deref()?)))
    };
    asked.split(',').filter_map(address).collect()
}

/// Carries out the stop that a launch has been given, as soon as it has a container.
pub(super) async fn stop(host: Arc<Host>, worker: String) {
    let runs = host.lock().launches.get(&worker).is_some_and(|launch| launch.stage == Stage::Running);
    // One that is being started is stopped when it has started; one on an engine that is away, when that is back.
    if runs && let Ok(docker) = host.docker().await {
        stop_now(host, docker, worker).await;
    }
}

async fn stop_now(host: Arc<Host>, docker: Docker, worker: String) {
    let hurry = Arc::new(Notify::new());
    let (mode, grace) = {
        let mut state = host.lock();
        let Some(launch) = state.launches.get_mut(&worker) else { return };
        let Some(mode) = launch.wish.filter(|_| launch.stopper.is_none()) else { return };
        launch.stopper = Some(Arc::clone(&hurry));
        (mode, launch.grace)
    };
    if mode != StopMode::Kill {
        host.logs.note(&worker, &format!("SIGTERM; SIGKILL follows in {grace:?}"));
        signal(&host, &docker, &worker, "SIGTERM").await;
        let _ = timeout(grace, hurry.notified()).await;
    }
    // Every few seconds until its end has been seen, or the connection is gone and the next one begins again.
    while host.lock().launches.get(&worker).is_some_and(|launch| launch.stage == Stage::Running) {
        host.logs.note(&worker, "SIGKILL");
        if !signal(&host, &docker, &worker, "SIGKILL").await {
            break;
        }
        sleep(LAST_WORDS).await;
    }
    if let Some(launch) = host.lock().launches.get_mut(&worker) {
        launch.stopper = None;
    }
}

/// Whether the engine took it; a container that has ended already does not take any.
async fn signal(host: &Arc<Host>, docker: &Docker, worker: &str, signal: &str) -> bool {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    match docker.kill_container(&host.container_name(worker), Some(options)).await {
        Ok(()) => true,
        Err(error) => {
            host.logs.note(worker, &format!("{signal}: {}", engine::words(&error)));
            host.poke.notify_one();
            false
        }
    }
}

/// A container has ended: its last words are fetched, it is removed, and everybody is told.
pub(super) async fn ended(host: Arc<Host>, docker: Docker, worker: String) {
    let (before, follower) = {
        let mut state = host.lock();
        // While it starts, the start itself looks whether it still runs.
        let Some(launch) = state.launches.get_mut(&worker) else { return };
        if matches!(launch.stage, Stage::Ending | Stage::Starting) {
            return;
        }
        (std::mem::replace(&mut launch.stage, Stage::Ending), launch.follower.take())
    };
    let name = host.container_name(&worker);
    let inspected = docker.inspect_container(&name, None).await;
    if let Err(error) = inspected.as_ref().map(drop).or_else(only_missing) {
        tracing::warn!(worker, error = engine::words(error), "the end of a container cannot be looked at yet");
        return put_back(&host, &worker, before);
    }
    if inspected.as_ref().is_ok_and(|found| found.state.as_ref().and_then(|state| state.running) == Some(true)) {
        return put_back(&host, &worker, before);
    }
    match follower {
        Some(follower) => drop(timeout(LAST_WORDS, follower).await),
        None => {
            let said_ns = host.lock().launches.get(&worker).map_or(0, |launch| launch.said_ns);
            let rest = output::follow(Arc::clone(&host), docker.clone(), worker.clone(), said_ns);
            drop(timeout(LAST_WORDS, rest).await);
        }
    }
    remove(&docker, &name).await;
    let (cause, detail) = verdict(inspected.ok().as_ref());
    host.over(&worker, cause, detail);
}

fn only_missing(error: &Error) -> Result<(), &Error> {
    if engine::status(error) == Some(404) { Ok(()) } else { Err(error) }
}

fn put_back(host: &Host, worker: &str, stage: Stage) {
    if let Some(launch) = host.lock().launches.get_mut(worker) {
        launch.stage = stage;
    }
}

async fn remove(docker: &Docker, container: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    if let Err(error) = docker.remove_container(container, Some(options)).await
        && engine::status(&error) != Some(404)
    {
        // Not lost: the next comparison finds a container that nobody knows and removes it.
        tracing::warn!(container, error = engine::words(&error), "a container cannot be removed");
    }
}

/// What an exit means; see the process launcher's.
fn verdict(inspected: Option<&ContainerInspectResponse>) -> (ExitCause, String) {
    let Some(state) = inspected.and_then(|inspected| inspected.state.as_ref()) else {
        return (ExitCause::Crashed, "its container was removed by somebody else".to_owned());
    };
    let error = state.error.as_deref().filter(|error| !error.is_empty());
    let suffix = error.map_or_else(String::new, |error| format!(": {error}"));
    if state.oom_killed == Some(true) {
        return (ExitCause::Crashed, format!("out of memory{suffix}"));
    }
    let never = state.started_at.as_deref().is_none_or(|at| at.starts_with("0001-"));
    match state.exit_code {
        _ if never => (ExitCause::StartFailed, format!("the container never started{suffix}")),
        Some(0) => (ExitCause::Left, format!("exit code 0{suffix}")),
        Some(1) => (ExitCause::Unfit, format!("exit code 1{suffix}")),
        Some(code @ 125..=127) => {
            (ExitCause::StartFailed, format!("exit code {code}: the command cannot be run{suffix}"))
        }
        Some(code @ 129..=192) => (ExitCause::Crashed, format!("exit code {code} (signal {}){suffix}", code - 128)),
        Some(code) => (ExitCause::Crashed, format!("exit code {code}{suffix}")),
        None => (ExitCause::Crashed, format!("ended{suffix}")),
    }
}
