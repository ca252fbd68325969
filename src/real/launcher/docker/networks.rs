//! Each endpoint's own bridge: its workers reach the gateway and the world, but not each other.
//!
//! An engine has addresses for about 30 bridges (`default-address-pools` of its configuration). A bridge takes a tenth of a second
//! to make, so it is kept while its endpoint has no workers, and goes when the gateway comes, when it leaves, and when an engine
//! without addresses needs room.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::sync::RwLockReadGuard;

use super::request::{ENDPOINT, STORE};
use super::{Host, Link, engine, link};

/// What the engine knows the network of an endpoint's workers by.
pub(super) fn name(host: &Host, endpoint: &str) -> String {
    match &host.config.network {
        Some(network) => network.clone(),
        None => format!("thermocline-{}-{endpoint}", host.store),
    }
}

/// Sees to it that the network is there, and stays while the guard lives: a container that has not been started yet does not keep
/// its network.
pub(super) async fn own<'a>(
    host: &'a Host,
    docker: &Docker,
    endpoint: &str,
) -> Result<RwLockReadGuard<'a, ()>, String> {
    let mut kept = host.networks.read().await;
    let name = name(host, endpoint);
    if host.config.network.is_some() || docker.inspect_network(&name, None).await.is_ok() {
        return Ok(kept);
    }
    let mut made = create(host, docker, endpoint, &name).await;
    if made.as_ref().is_err_and(has_no_room) {
        drop(kept);
        drop_unused(host, docker).await;
        kept = host.networks.read().await;
        made = create(host, docker, endpoint, &name).await;
    }
    match made {
        Ok(()) => Ok(kept),
        // Another worker of the endpoint was quicker.
        Err(error) if engine::status(&error) == Some(409) => Ok(kept),
        Err(error) => {
            let way = if has_no_room(&error) {
                "; remove networks that nobody uses (docker network prune), give the engine more `default-address-pools`, or \
                 give `docker: {network: ...}` to share one"
            } else {
                ""
            };
            Err(format!("no network for the endpoint: {}{way}", engine::words(&error)))
        }
    }
}

/// The engine's own words for it; its status, 404, stands for much else.
fn has_no_room(error: &Error) -> bool {
    engine::words(error).contains("address pool")
}

async fn create(host: &Host, docker: &Docker, endpoint: &str, name: &str) -> Result<(), Error> {
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into()),
        labels: Some([(STORE.to_owned(), host.store.clone()), (ENDPOINT.to_owned(), endpoint.to_owned())].into()),
        ..NetworkCreateRequest::default()
    };
    docker.create_network(request).await.map(drop)
}

/// Removes the networks of endpoints without workers.
pub(super) async fn drop_unused(host: &Host, docker: &Docker) {
    let _nobody_starts = host.networks.write().await;
    let filters = HashMap::from([("label", vec![link::own_label(host)])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for network in docker.list_networks(Some(options)).await.unwrap_or_default() {
        // Refused by the engine if a container runs in it: then it stays.
        if let Some(id) = network.id {
            let _ = docker.remove_network(&id).await;
        }
    }
}

/// What a gateway that leaves takes along, from every engine that answers.
pub(super) async fn leave(hosts: Vec<Arc<Host>>) {
    for host in hosts {
        let link = host.link.borrow().clone();
        if let Link::Up(docker) = link {
            drop_unused(&host, &docker).await;
        }
    }
}
