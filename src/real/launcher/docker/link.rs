//! The connection to one engine: follows its events, and compares what is there with what should be, at first, after every
//! interruption and now and then (an event may be missed, and a dead TCP connection says nothing).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::Report;
use super::request::{STORE, WORKER};
use super::{Host, Link, Stage, engine, life, networks, output};
use crate::scheduler::ExitCause;

/// How often everything is compared although no event said so.
const COMPARE: Duration = Duration::from_secs(20);
/// First and longest wait before the engine is tried again: a restart takes seconds, a reboot minutes.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// For ever: connects, serves the connection, connects again.
pub(super) async fn keep(host: Arc<Host>) {
    let mut wait = RETRY.0;
    let mut down = false;
    loop {
        let detail = match engine::connect(&host.config).await {
            Ok(docker) => {
                let detail = serve(&host, &docker, down).await;
                if matches!(*host.link.borrow(), Link::Up(_)) {
                    (wait, down) = (RETRY.0, false);
                }
                detail
            }
            Err(detail) => detail,
        };
        host.link.send_replace(Link::Down(detail.clone()));
        if !down {
            down = true;
            tracing::warn!(host = host.id.0, detail, "the engine cannot be reached");
            host.reporter.report(Report::HostReachable { host: host.id, reachable: false, detail });
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// Until the connection breaks; returns why. Once it is known what runs there, the link counts as up.
async fn serve(host: &Arc<Host>, docker: &Docker, was_down: bool) -> String {
    // Events from the engine's own "now" on are replayed: nothing that happens before the list below is missed.
    let since = match docker.info().await {
        Ok(info) => info.system_time.as_deref().and_then(output::nanos).map(|ns| (ns / 1_000_000_000).to_string()),
        Err(error) => return engine::words(&error),
    };
    let filters = HashMap::from([("type", vec!["container".to_owned()]), ("label", vec![own_label(host)])]);
    let options = EventsOptionsBuilder::new().since(since.as_deref().unwrap_or("0")).filters(&filters).build();
    let mut events = Box::pin(docker.events(Some(options)));
    let mut ticks = interval(COMPARE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    on_event(host, docker, &event);
                    continue;
                }
                Some(Err(error)) => return engine::words(&error),
                None => return "the engine ended the connection".to_owned(),
            },
            _ = ticks.tick() => {}
            () = host.poke.notified() => {}
        }
        if !host.lock().told {
            continue;
        }
        let first = !matches!(*host.link.borrow(), Link::Up(_));
        if let Err(error) = compare(host, docker, first).await {
            return engine::words(&error);
        }
        if first {
            host.link.send_replace(Link::Up(docker.clone()));
            if was_down {
                let detail = String::new();
                host.reporter.report(Report::HostReachable { host: host.id, reachable: true, detail });
            }
        }
    }
}

pub(super) fn own_label(host: &Host) -> String {
    format!("{STORE}={}", host.store)
}

fn on_event(host: &Arc<Host>, docker: &Docker, event: &EventMessage) {
    let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
    let Some(worker) = attributes.and_then(|attributes| attributes.get(WORKER)) else { return };
    let is_end = event.typ == Some(EventMessageTypeEnum::CONTAINER)
        && matches!(event.action.as_deref(), Some("die" | "destroy"));
    if is_end {
        tokio::spawn(life::ended(Arc::clone(host), docker.clone(), worker.clone()));
    }
}

/// Known and alive: taken up. Known and over: its end. Known and missing: gone. Unknown: removed.
async fn compare(host: &Arc<Host>, docker: &Docker, first: bool) -> Result<(), bollard::errors::Error> {
    let expected: BTreeMap<String, Stage> =
        host.lock().launches.iter().map(|(name, launch)| (name.clone(), launch.stage)).collect();
    let filters = HashMap::from([("label", vec![own_label(host)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let mut found: BTreeMap<String, ContainerSummary> = BTreeMap::new();
    for container in docker.list_containers(Some(options)).await? {
        let worker = container.labels.as_ref().and_then(|labels| labels.get(WORKER)).cloned().unwrap_or_default();
        let stage = host.lock().launches.get(&worker).map(|launch| launch.stage);
        match stage {
            None if !expected.contains_key(&worker) => remove_unknown(docker, &container, &worker).await,
            // Its end came between the two looks.
            None => {}
            Some(_) => drop(found.insert(worker, container)),
        }
    }
    for (worker, stage) in expected {
        match (stage, found.get(&worker)) {
            (Stage::Unseen | Stage::Running, None) => missing(host, docker, &worker).await?,
            (Stage::Unseen | Stage::Running, Some(container)) => {
                let runs = matches!(
                    container.state,
                    Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
                );
                if runs && (first || host.wants_attention(&worker)) {
                    life::take_up(host, docker, &worker, first).await;
                } else if !runs {
                    tokio::spawn(life::ended(Arc::clone(host), docker.clone(), worker));
                }
            }
            (Stage::Starting | Stage::Ending, _) => {}
        }
    }
    if first {
        networks::drop_unused(host, docker).await;
    }
    Ok(())
}

/// A container that is not in the list: asked for by name before it is given up.
async fn missing(host: &Arc<Host>, docker: &Docker, worker: &str) -> Result<(), bollard::errors::Error> {
    match docker.inspect_container(&host.container_name(worker), None).await {
        Ok(_) => Ok(()),
        Err(error) if engine::status(&error) == Some(404) => {
            let still = host.lock().launches.get(worker).is_some_and(|launch| launch.stage != Stage::Ending);
            if still {
                host.over(worker, ExitCause::Crashed, "its container is gone".to_owned());
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn remove_unknown(docker: &Docker, container: &ContainerSummary, worker: &str) {
    let Some(id) = container.id.as_deref() else { return };
    tracing::warn!(worker, container = id, "a container of ours that is not on record is removed");
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    if let Err(error) = docker.remove_container(id, Some(options)).await {
        tracing::warn!(worker, error = engine::words(&error), "it cannot be removed");
    }
}
