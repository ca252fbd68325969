//! The same file for `thermocline serve`: what real mode is to do, with everything that only a rehearsal needs left out.
//!
//! A file without traffic, work and simulated hosts can be served; what it does say about them is still held against the schema.
//! Beyond the defaults of the format come those of real mode: a lease (a dead machine is noticed by its silence alone), a
//! `run` section everywhere, and this machine as the only host.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::node::{Map, Node, Origin};
use super::types::serve::{Kind, LauncherKind, Run, Serve};
use super::{EffectiveConfig, Problems};
use crate::scheduler::{EndpointSpec, HostSpec, Image, SchedulerConfig};

/// GPU class of hosts that name none: your own hardware, without a price unless `prices.gpu_classes.LOCAL` gives one.
pub const LOCAL_CLASS: &str = "LOCAL";
/// The host that is there when the file names none.
pub const LOCAL_HOST: &str = "local";
/// A live worker pings every 10 s: three in a row missing mean that it is gone.
const LEASE_S: f64 = 30.0;

/// A file that is ready to be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// The file's name without its ending.
    pub name: String,
    /// Folder from which the paths in the file are taken.
    pub base: PathBuf,
    /// What real mode is to do.
    pub plan: ServePlan,
    /// Every setting with its source.
    pub effective: EffectiveConfig,
    /// Remarks that are no mistakes.
    pub notes: Vec<String>,
}

/// What real mode is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct ServePlan {
    /// The section `serve`.
    pub serve: Serve,
    /// Classes, prices, images, eviction.
    pub scheduler: SchedulerConfig,
    /// The hosts, in order of their ids.
    pub hosts: Vec<ServedHost>,
    /// The endpoints, in the order of the file.
    pub endpoints: Vec<ServedEndpoint>,
}

/// A real host.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedHost {
    /// As the scheduler sees it.
    pub spec: HostSpec,
    /// How its workers are launched.
    pub launcher: LauncherKind,
    /// Its container engine.
    pub docker: super::types::serve::Docker,
    /// Its GPUs; empty = places for workers without any.
    pub gpu_ids: Vec<String>,
}

/// An endpoint as it is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedEndpoint {
    /// As the scheduler sees it.
    pub spec: EndpointSpec,
    /// Its image.
    pub image: Image,
    /// Queue or load balancing.
    pub kind: Kind,
    /// How its workers are run, the endpoint's own command, environment and volumes included.
    pub run: Run,
    /// What an input must look like.
    pub input_schema: Option<serde_json::Value>,
    /// Endpoints whose inputs its outputs become.
    pub feeds: Vec<String>,
    /// Environment variable with the key that signs webhooks.
    pub webhook_secret_env: Option<String>,
}

/// Reads the application file at `path` for serving, with `overrides` (`path=value`).
///
/// # Errors
/// As [`load`](super::load): every mistake of one stage at once.
pub fn load(path: &Path, overrides: &[String]) -> Result<Serving, Problems> {
    super::of_file(path, |input| super::build_serving(input, overrides))
}

/// The same for a text: `name` stands for the file in messages, relative paths are taken from `base`.
///
/// # Errors
/// As [`load`].
pub fn from_str(text: &str, name: &str, base: &Path, overrides: &[String]) -> Result<Serving, Problems> {
    super::of_text(text, name, base, |input| super::build_serving(input, overrides))
}

/// Whether the file at `path` says anything about serving, and whether it has traffic to rehearse with. A file that cannot be
/// read says neither: whoever reads it next tells why.
pub fn contents(path: &Path) -> (bool, bool) {
    let found = super::of_file(path, |input| {
        let mut sources = super::node::Sources::default();
        let tree = super::read_tree(input, &[], &[], &mut sources)?;
        let of_endpoint = |node: &Node| node.get("traffic").is_some();
        let map =
            |key| tree.get(key).and_then(Node::as_map).map(|map: &Map| map.entries.as_slice()).unwrap_or_default();
        let traffic = tree.get("traffic").is_some() || map("endpoints").iter().any(|entry| of_endpoint(&entry.node));
        let runs = map("endpoints").iter().any(|entry| entry.node.get("run").is_some());
        Ok((tree.get("serve").is_some() || runs, traffic))
    });
    found.unwrap_or((false, true))
}

/// Real mode's own defaults, below whatever the user wrote. Takes nothing for granted: the tree has not been checked yet.
pub fn prepare(tree: &mut Node) {
    let Some(root) = tree.as_map_mut() else { return };
    let ours = |text: &str| Origin::Default(text.to_owned());
    root.set_if_absent("serve", || Node::map(ours("see its parts")));
    if let Some(serve) = root.get_mut("serve").and_then(Node::as_map_mut) {
        let none = serve.get("hosts").is_none_or(|hosts| hosts.as_map().is_some_and(|map| map.entries.is_empty()));
        if none {
            let local = json!({ LOCAL_HOST: {} });
            serve.set("hosts", Node::from_json(&local, &ours("no hosts given: this machine alone")));
        }
    }
    if let Some(section) = root.get_mut("endpoints") {
        super::forms::name_items(section);
    }
    let endpoints = root.get_mut("endpoints").and_then(Node::as_map_mut);
    for endpoint in endpoints.into_iter().flat_map(|map| &mut map.entries) {
        let Some(endpoint) = endpoint.node.as_map_mut() else { continue };
        endpoint.set_if_absent("run", || Node::map(ours("see its parts")));
        endpoint.set_if_absent("lease_s", || Node::number(LEASE_S, ours("ours: three pings of a live worker")));
    }
    root.set_if_absent("prices", || Node::map(ours("see its parts")));
    let Some(prices) = root.get_mut("prices").and_then(Node::as_map_mut) else { return };
    prices.set_if_absent("gpu_classes", || Node::map(ours("see its parts")));
    let Some(classes) = prices.get_mut("gpu_classes") else { return };
    super::forms::name_items(classes);
    if let Some(classes) = classes.as_map_mut() {
        let free = json!({ "flex_usd_per_s": 0, "active_usd_per_s": 0 });
        classes.set_if_absent(LOCAL_CLASS, || Node::from_json(&free, &ours("ours: your own hardware")));
    }
}
