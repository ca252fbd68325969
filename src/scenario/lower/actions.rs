//! What happens at given times: updates with the settings that they lead to, and what befalls hosts.

use serde_json::Value as Json;

use super::Context;
use crate::scenario::check::{Checker, Fill};
use crate::scenario::expand::{fill_idle_timeout, fill_objective, scaler_uses_idle_timeout};
use crate::scenario::node::Node;
use crate::scenario::schema;
use crate::scenario::scripts;
use crate::scenario::types::endpoint::Endpoint;
use crate::scenario::types::numbers::Seconds;
use crate::scenario::types::world::ActionSpec;
use crate::sim::plan::{Action, ActionKind, EndpointPlan, HostPlan};
use crate::units::{EndpointId, HostId};

impl Context<'_> {
    /// All actions in order of time; those of one time in the order of the file. Updates build on the updates before them.
    pub fn actions(&mut self, endpoints: &[EndpointPlan], hosts: &[(String, HostPlan)]) -> Vec<Action> {
        let app = self.app;
        let mut order: Vec<(usize, &ActionSpec)> = app.actions.0.iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| at(a).get().total_cmp(&at(b).get()));
        let mut current: Vec<Option<Node>> = vec![None; endpoints.len()];
        let mut actions = Vec::new();
        for (index, spec) in order {
            let kinds = self.action(index, spec, endpoints, hosts, &mut current);
            actions.extend(kinds.into_iter().map(|kind| Action { at: at(spec).time(), kind }));
        }
        actions
    }

    fn action(
        &mut self,
        index: usize,
        spec: &ActionSpec,
        endpoints: &[EndpointPlan],
        hosts: &[(String, HostPlan)],
        current: &mut [Option<Node>],
    ) -> Vec<ActionKind> {
        let app = self.app;
        let index = index.to_string();
        let path = ["actions", index.as_str()];
        let endpoint = |context: &mut Self, name: &str| {
            let position = context.position("endpoint", name, &app.endpoints.names(), &[path[0], path[1], "endpoint"]);
            position.filter(|position| *position < endpoints.len()).map(|position| EndpointId(position as u32))
        };
        match spec {
            ActionSpec::Update { endpoint: name, .. } => {
                let Some(id) = endpoint(self, name) else { return Vec::new() };
                self.update(id, name, &path, hosts, &mut current[id.index()]).into_iter().collect()
            }
            ActionSpec::Delete { endpoint: name, .. } => {
                endpoint(self, name).map(|endpoint| ActionKind::Delete { endpoint }).into_iter().collect()
            }
            ActionSpec::Purge { endpoint: name, .. } => {
                endpoint(self, name).map(|endpoint| ActionKind::Purge { endpoint }).into_iter().collect()
            }
            ActionSpec::CancelOldest { endpoint: name, .. } => {
                endpoint(self, name).map(|endpoint| ActionKind::CancelOldest { endpoint }).into_iter().collect()
            }
            ActionSpec::LoseHost { host, .. } => {
                self.hosts_named(host, hosts, &path).into_iter().map(|host| ActionKind::LoseHost { host }).collect()
            }
            ActionSpec::ReturnHost { host, .. } => {
                self.hosts_named(host, hosts, &path).into_iter().map(|host| ActionKind::ReturnHost { host }).collect()
            }
            ActionSpec::SetCapacity { host, gpus, .. } => {
                let named = self.hosts_named(host, hosts, &path);
                let most = named.iter().map(|host| hosts[host.index()].1.spec.gpus).min().unwrap_or(u32::MAX);
                if *gpus > most {
                    let allowed = format!("0 to {most}, all that the host has");
                    self.problem(&[path[0], path[1], "gpus"], gpus.to_string(), &allowed, "");
                }
                named.into_iter().map(|host| ActionKind::SetCapacity { host, gpus: *gpus }).collect()
            }
        }
    }

    /// The hosts of a group, or the one host of that name.
    fn hosts_named(&mut self, name: &str, hosts: &[(String, HostPlan)], path: &[&str; 2]) -> Vec<HostId> {
        let named = |(_, (group, host)): &(usize, &(String, HostPlan))| group == name || host.spec.name == name;
        let found: Vec<HostId> =
            hosts.iter().enumerate().filter(named).map(|(index, _)| HostId(index as u32)).collect();
        if found.is_empty() {
            let known: Vec<String> =
                self.app.hosts.0.iter().map(|(group, hosts)| group_and_hosts(group, hosts.count)).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.position("group of hosts or host", name, &known, &[path[0], path[1], "host"]);
        }
        found
    }

    /// The endpoint's settings with those of the update laid over them.
    fn update(
        &mut self,
        id: EndpointId,
        name: &str,
        path: &[&str; 2],
        hosts: &[(String, HostPlan)],
        current: &mut Option<Node>,
    ) -> Option<ActionKind> {
        let before = match current.take() {
            Some(node) => node,
            None => self.tree.get("endpoints")?.get(name)?.clone(),
        };
        let typed = [path[0].to_owned(), path[1].to_owned(), "set".to_owned()];
        let set = self.tree.nearest(&typed).clone();
        let mut merged = updated(before, set);
        let root = schema::application();
        let shape: &Json = &root["$defs"]["Endpoint"];
        let before_check = self.problems.count();
        let mut checker = Checker { root, sources: self.sources, problems: self.problems, fill: Fill::Whole };
        checker.check(shape, &mut merged, &mut typed.to_vec());
        if self.problems.count() > before_check {
            return None;
        }
        let endpoint: Endpoint = serde_json::from_value(merged.to_json()).ok()?;
        let at = [path[0], path[1], "set"];
        let (spec, release) = self.settings(name, &endpoint, &at);
        self.worker_fits(&spec, hosts, &at);
        *current = Some(merged);
        Some(ActionKind::Update { endpoint: id, spec: Box::new(spec), release: Box::new(release) })
    }
}

/// `east, east-1 to east-4`: what an action may name.
fn group_and_hosts(group: &str, count: u32) -> String {
    if count == 1 { group.to_owned() } else { format!("{group}, {group}-1 to {group}-{count}") }
}

/// `set` over `before`. Of idle timeout and keep-alive policy the one that is set replaces the other; both go when the scaler
/// that comes out brings workers down itself, and the default comes back when it does not.
fn updated(mut before: Node, set: Node) -> Node {
    let (timeout, keep_alive) = (set.get("idle_timeout_s").is_some(), set.get("keep_alive").is_some());
    if let Some(map) = before.as_map_mut() {
        if keep_alive && !timeout {
            map.remove("idle_timeout_s");
        }
        if timeout && !keep_alive {
            map.remove("keep_alive");
        }
        // A policy in a file has its own parameters: nothing of the one before it is left.
        for (kind, _) in scripts::KINDS {
            let renamed = set.get(kind).is_some_and(|new| new.get("type").is_some());
            if renamed && [map.get(kind), set.get(kind)].into_iter().flatten().any(scripts::is_attached) {
                map.remove(kind);
            }
        }
    }
    before.lay_over(set);
    let name = before.get("scaler").and_then(|scaler| scaler.get("type")).and_then(Node::as_text);
    let uses_timeout = before
        .get("scaler")
        .and_then(scripts::uses_idle_timeout)
        .unwrap_or_else(|| name.is_none_or(scaler_uses_idle_timeout));
    if let Some(map) = before.as_map_mut() {
        if !uses_timeout && !timeout {
            map.remove("idle_timeout_s");
        }
        if !uses_timeout && !keep_alive {
            map.remove("keep_alive");
        }
        fill_idle_timeout(map);
        fill_objective(map);
    }
    before
}

fn at(spec: &ActionSpec) -> Seconds {
    match spec {
        ActionSpec::Update { at_s, .. }
        | ActionSpec::Delete { at_s, .. }
        | ActionSpec::Purge { at_s, .. }
        | ActionSpec::CancelOldest { at_s, .. }
        | ActionSpec::LoseHost { at_s, .. }
        | ActionSpec::ReturnHost { at_s, .. }
        | ActionSpec::SetCapacity { at_s, .. } => *at_s,
    }
}
