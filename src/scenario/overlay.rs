//! Policies from a file of their own: settings that are laid over every endpoint of an application file.
//!
//! ```yaml
//! name: patient
//! summary: the platform's scaler with a longer idle timeout
//! endpoint:
//!   scaler: {type: queue_delay, delay_s: 8}
//!   idle_timeout_s: 60
//!   active: 0                # short for workers: {active: 0}
//! endpoints:                 # optional: what single endpoints have instead, as a whole
//!   search: {scaler: per_job, idle_timeout_s: 20}
//! ```
//!
//! The merge is that of includes, but a scaler, a keep-alive, a dispatch or a placement policy is replaced whole: one that kept
//! parameters of the file that it is laid over would be another policy in every scenario. What the policy leaves open stays as
//! the file says. Mistakes are reported with the line of the policy's own file.

use serde_json::json;

use super::expand::scaler_uses_idle_timeout;
use super::forms::{name_items, unfold_word};
use super::node::{Map, Node, Origin, Sources, Value};
use super::parse::parse;
use super::problem::{Problem, Problems, suggestion};
use super::scripts;

/// Keys of a policy file.
const KEYS: [&str; 4] = ["name", "summary", "endpoint", "endpoints"];
/// Replaced whole.
const WHOLE: [&str; 4] = ["scaler", "keep_alive", "dispatch", "placement"];
/// What an endpoint is asked to do and how the world answers: a policy that changed it would not be compared on the same work.
pub(super) const WORLD: [&str; 14] = [
    "name",
    "preset",
    "image",
    "image_gb",
    "image_unpacked_gb",
    "start",
    "service",
    "traffic",
    "stream",
    "slo",
    "feeds",
    "faults",
    "run",
    "kind",
];

/// A policy file as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// How the file is called in messages.
    pub shown: String,
    /// Its YAML.
    pub text: String,
}

/// What a policy file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Title {
    /// Its `name`, if it has one.
    pub name: Option<String>,
    /// Its `summary`; empty without one.
    pub summary: String,
}

impl Overlay {
    /// Reads the file's own words and checks its outer shape.
    ///
    /// # Errors
    /// If it is not YAML, has unknown keys, or no `endpoint`.
    pub fn title(&self) -> Result<Title, Problems> {
        let mut sources = Sources::default();
        let tree = self.tree(&mut sources)?;
        let text = |key: &str| tree.get(key).and_then(Node::as_text).map(str::to_owned);
        Ok(Title { name: text("name"), summary: text("summary").unwrap_or_default() })
    }

    /// The settings in it for every endpoint, as they are typed.
    ///
    /// # Errors
    /// As [`Self::title`].
    pub fn settings(&self) -> Result<serde_json::Value, Problems> {
        let tree = self.tree(&mut Sources::default())?;
        Ok(tree.get("endpoint").map_or(serde_json::Value::Null, Node::to_json))
    }

    /// The settings in it that single endpoints have instead, by their names.
    ///
    /// # Errors
    /// As [`Self::title`].
    pub fn own_settings(&self) -> Result<serde_json::Map<String, serde_json::Value>, Problems> {
        let tree = self.tree(&mut Sources::default())?;
        let all = tree.get("endpoints").and_then(Node::as_map);
        Ok(all.map_or_else(Default::default, |map| {
            map.entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
        }))
    }

    fn tree(&self, sources: &mut Sources) -> Result<Node, Problems> {
        let file = u16::try_from(sources.files.len()).unwrap_or(u16::MAX);
        sources.files.push(self.shown.clone());
        let tree = parse(&self.text, &self.shown, &|line, column| Origin::File { file, line, column })?;
        let mut problems = Problems::default();
        let report = |origin: &Origin, path: &str, found: String, allowed: &str, fix: &str| Problem {
            place: sources.describe(origin),
            path: path.to_owned(),
            found,
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        };
        let example = "such as `endpoint: {scaler: {type: queue_delay, delay_s: 4}}`";
        let Some(map) = tree.as_map() else {
            return Err(report(&tree.origin, "", tree.shown(), "a map with `endpoint`", example).into());
        };
        for entry in map.entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
            let near = suggestion(&entry.key, KEYS);
            let fix = near.unwrap_or_else(|| "settings of the endpoint go below `endpoint`".to_owned());
            problems.push(report(&entry.origin, &entry.key, "unknown key".to_owned(), &KEYS.join(", "), &fix));
        }
        let mut check = |path: &str, node: &Node| {
            let Some(settings) = node.as_map() else {
                problems.push(report(&node.origin, path, node.shown(), "a map of settings", example));
                return;
            };
            for entry in settings.entries.iter().filter(|entry| WORLD.contains(&entry.key.as_str())) {
                let path = format!("{path}.{}", entry.key);
                let found = "not a setting of a policy, but part of the work".to_owned();
                let fix = "it belongs into the application file, where all policies meet it";
                problems.push(report(&entry.origin, &path, found, "", fix));
            }
        };
        match (map.get("endpoint"), map.get("endpoints")) {
            (None, None) => {
                problems.push(report(&tree.origin, "endpoint", "missing".to_owned(), "settings", example));
            }
            (every, single) => {
                every.into_iter().for_each(|node| check("endpoint", node));
                match single.map(|node| (node, node.as_map())) {
                    None => {}
                    Some((_, Some(map))) => {
                        map.entries.iter().for_each(|entry| check(&format!("endpoints.{}", entry.key), &entry.node));
                    }
                    Some((node, None)) => {
                        let allowed = "a map from names of endpoints to settings";
                        problems.push(report(&node.origin, "endpoints", node.shown(), allowed, example));
                    }
                }
            }
        }
        problems.check()?;
        Ok(tree)
    }
}

/// Lays `overlays` over every endpoint below `root`, in their order.
///
/// # Errors
/// If one of them is not a policy file, or has settings for an endpoint that is not there.
pub fn apply(root: &mut Node, overlays: &[Overlay], sources: &mut Sources) -> Result<(), Problems> {
    for overlay in overlays {
        let mut policy = overlay.tree(sources)?;
        let Some(policy) = policy.as_map_mut() else { continue };
        let common = policy.remove("endpoint").map(|entry| long_form(entry.node));
        let mut own = policy.remove("endpoints").map(|entry| entry.node);
        let Some(endpoints) = root.get_mut("endpoints") else { continue };
        name_items(endpoints);
        let Some(endpoints) = endpoints.as_map_mut() else { continue };
        for entry in &mut endpoints.entries {
            let single = own.as_mut().and_then(Node::as_map_mut).and_then(|own| own.remove(&entry.key));
            let settings = single.map(|entry| long_form(entry.node)).or_else(|| common.clone());
            if let (Some(endpoint), Some(settings)) = (entry.node.as_map_mut(), settings) {
                lay_over(endpoint, &settings);
            }
        }
        let names: Vec<&str> = endpoints.entries.iter().map(|entry| entry.key.as_str()).collect();
        let mut problems = Problems::default();
        for left in own.iter().filter_map(Node::as_map).flat_map(|own| &own.entries) {
            problems.push(Problem {
                place: sources.describe(&left.origin),
                path: format!("endpoints.{}", left.key),
                found: "no such endpoint in the application".to_owned(),
                allowed: names.join(", "),
                fix: suggestion(&left.key, names.iter().copied()).unwrap_or_default(),
            });
        }
        problems.check()?;
    }
    Ok(())
}

/// `active: 2` as `workers: {active: 2}`, words as maps.
fn long_form(mut settings: Node) -> Node {
    let Some(map) = settings.as_map_mut() else { return settings };
    for key in WHOLE {
        if let Some(node) = map.get_mut(key) {
            unfold_word(node, "type");
        }
    }
    if let Some(active) = map.remove("active") {
        let origin = active.origin.clone();
        map.set_if_absent("workers", || Node::from_json(&json!({}), &origin));
        if let Some(workers) = map.get_mut("workers").and_then(Node::as_map_mut) {
            workers.set("active", active.node);
        }
    }
    settings
}

fn lay_over(endpoint: &mut Map, settings: &Node) {
    let Some(policy) = settings.as_map() else { return };
    let scaler = policy.get("scaler");
    let name = scaler.and_then(|scaler| scaler.get("type")).and_then(Node::as_text);
    let in_a_file = scaler.and_then(scripts::uses_idle_timeout);
    let brings_down = !in_a_file.unwrap_or_else(|| name.is_none_or(scaler_uses_idle_timeout));
    let has = |key: &str| policy.get(key).is_some();
    // How long an idle worker stays is one decision: whoever takes it takes it alone.
    if has("keep_alive") || has("idle_timeout_s") || brings_down {
        for key in ["keep_alive", "idle_timeout_s"] {
            endpoint.remove(key);
        }
    }
    for entry in &policy.entries {
        match endpoint.get_mut(&entry.key) {
            Some(old) if !WHOLE.contains(&entry.key.as_str()) && matches!(old.value, Value::Map(_)) => {
                old.lay_over(entry.node.clone());
            }
            _ => endpoint.set(&entry.key, entry.node.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(file: &str, policy: &str) -> Result<String, String> {
        let mut root = parse(file, "app.yaml", &|line, column| Origin::File { file: 0, line, column }).unwrap();
        let mut sources = Sources { files: vec!["app.yaml".to_owned()], sets: Vec::new() };
        let overlay = Overlay { shown: "p.yaml".to_owned(), text: policy.to_owned() };
        apply(&mut root, &[overlay], &mut sources).map_err(|problems| problems.to_string())?;
        Ok(root.to_json().to_string())
    }

    #[test]
    fn policies_are_replaced_whole_and_other_maps_are_merged() {
        let file = "{endpoints: {a: {scaler: {type: queue_delay, delay_s: 9, tick_s: 3}, workers: {max: 4}}, b: {}}}";
        let laid = over(file, "{endpoint: {scaler: {type: queue_delay, delay_s: 1}, active: 2}}").unwrap();
        let expected = r#"{"endpoints":{"a":{"scaler":{"type":"queue_delay","delay_s":1},"workers":{"max":4,"active":2}},"b":{"scaler":{"type":"queue_delay","delay_s":1},"workers":{"active":2}}}}"#;
        assert_eq!(laid, expected);
    }

    #[test]
    fn the_idle_timeout_has_one_owner() {
        let file = "{endpoints: {a: {idle_timeout_s: 60}}}";
        let laid = |policy| over(file, policy).unwrap();
        assert!(!laid("{endpoint: {keep_alive: infinite}}").contains("idle_timeout_s"));
        assert!(!laid("{endpoint: {scaler: request_count}}").contains("idle_timeout_s"));
        assert!(laid("{endpoint: {scaler: per_job}}").contains("idle_timeout_s"));
        let other = over("{endpoints: {a: {keep_alive: infinite}}}", "{endpoint: {idle_timeout_s: 5}}").unwrap();
        assert_eq!(other, r#"{"endpoints":{"a":{"idle_timeout_s":5}}}"#);
    }

    #[test]
    fn single_endpoints_have_settings_of_their_own_instead() {
        let file = "{endpoints: {a: {workers: {max: 4}}, b: {idle_timeout_s: 9}}}";
        let laid = over(file, "{endpoint: {idle_timeout_s: 5}, endpoints: {a: {active: 1}}}").unwrap();
        assert_eq!(laid, r#"{"endpoints":{"a":{"workers":{"max":4,"active":1}},"b":{"idle_timeout_s":5}}}"#);
        let laid = over(file, "endpoints: {b: {keep_alive: infinite}}").unwrap();
        assert_eq!(laid, r#"{"endpoints":{"a":{"workers":{"max":4}},"b":{"keep_alive":{"type":"infinite"}}}}"#);
        let error = |policy| over(file, policy).unwrap_err();
        assert_eq!(
            error("endpoints:\n  c: {active: 1}\n"),
            "p.yaml:2:3: endpoints.c: no such endpoint in the application; allowed: a, b"
        );
        assert!(error("endpoints: [a]").starts_with("p.yaml:1:12: endpoints: "), "{}", error("endpoints: [a]"));
        assert!(error("endpoints: {a: {slo: {wait_s: 1}}}").contains("endpoints.a.slo: not a setting of a policy"));
    }

    #[test]
    fn mistakes_have_the_place_of_the_policy_file() {
        let error = |policy| over("{endpoints: {a: {}}}", policy).unwrap_err();
        assert_eq!(
            error("name: x\nscaler: per_job\n"),
            "p.yaml:1:1: endpoint: missing; allowed: settings; such as `endpoint: {scaler: {type: queue_delay, delay_s: 4}}`\n\
             p.yaml:2:1: scaler: unknown key; allowed: name, summary, endpoint, endpoints; settings of the endpoint go below `endpoint`"
        );
        let world = error("endpoint:\n  traffic: {type: poisson, rate_per_s: 1}\n");
        assert!(world.starts_with("p.yaml:2:3: endpoint.traffic: not a setting of a policy"), "{world}");
        assert!(error("endpoint: 3").starts_with("p.yaml:1:11: endpoint: 3; allowed: a map of settings"));
    }
}
