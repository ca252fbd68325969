//! What one word stands for: presets, `profile: documented`, `clean: true`, card names, images by their size, price table.
//!
//! Works on the tree before it is checked, so it takes nothing for granted: what is not of the expected shape is left as it is
//! for the checker to report. Whatever the user wrote wins over what is expanded here.

use serde_json::{Value as Json, json};

use super::forms::{name_items, unfold_word};
use super::node::{Map, Node, Origin, Sources, Value};
use super::presets;
use super::prices;
use super::problem::{Problem, Problems, suggestion};
use super::types::numbers::duration;
use crate::policy::params::{ParamKind, ParamSpec};
use crate::policy::registry;

/// The documented backoff: 1 h, doubling, no cap, up to 7 days (contract §9).
const DOCUMENTED_BACKOFF: [(&str, f64); 5] = [
    ("base_s", 3_600.0),
    ("factor", 2.0),
    ("cap_s", 604_800.0),
    ("give_up_after_s", 604_800.0),
    ("reset_after_s", 600.0),
];
/// The documented dormancy (contract §1.4).
const DOCUMENTED_DORMANCY: [(&str, f64); 3] =
    [("reduce_after_s", 259_200.0), ("reduced_max", 2.0), ("zero_after_s", 604_800.0)];

/// Expands everything in `root`.
pub fn expand(root: &mut Node, sources: &Sources, problems: &mut Problems) {
    let documented = root.get("profile").and_then(Node::as_text) == Some("documented");
    let clean = root.get("clean").is_some_and(|clean| clean.value == Value::Bool(true));
    let slo = root.get("slo").cloned();
    let Some(map) = root.as_map_mut() else { return };
    for section in ["endpoints", "images", "hosts"] {
        if let Some(node) = map.get_mut(section) {
            name_items(node);
        }
    }
    if clean {
        rule(map, "billing", "round_up", Json::Bool(false), "clean: true");
    }
    expand_prices(map);
    expand_hosts(map);
    let mut images =
        map.remove("images").map_or_else(|| Node::map(Origin::Default("see its parts".to_owned())), |e| e.node);
    if let Some(endpoints) = map.get_mut("endpoints").and_then(Node::as_map_mut) {
        for entry in &mut endpoints.entries {
            let Some(endpoint) = entry.node.as_map_mut() else { continue };
            let mut all = Expansion { name: &entry.key, endpoint, images: &mut images, sources, problems };
            all.preset();
            all.words();
            all.image();
            if documented {
                all.documented();
            }
            if clean {
                all.clean();
            }
            pick_up_of_kind(all.endpoint);
            fill_idle_timeout(all.endpoint);
            if let Some(slo) = &slo {
                all.endpoint.set_if_absent("slo", || slo.clone());
            }
            fill_objective(all.endpoint);
        }
    }
    expand_updates(map, &mut images);
    map.set("images", images);
}

struct Expansion<'a> {
    name: &'a str,
    endpoint: &'a mut Map,
    images: &'a mut Node,
    sources: &'a Sources,
    problems: &'a mut Problems,
}

impl Expansion<'_> {
    fn preset(&mut self) {
        let Some(node) = self.endpoint.get("preset") else { return };
        let Some(name) = node.as_text() else { return };
        let Some(preset) = presets::find(name) else {
            let known = presets::all().iter().map(presets::Preset::name);
            let problem = Problem {
                place: self.sources.describe(&node.origin),
                path: format!("endpoints.{}.preset", self.name),
                found: node.shown(),
                allowed: known.clone().collect::<Vec<_>>().join(", "),
                fix: suggestion(name, known).unwrap_or_default(),
            };
            return self.problems.push(problem);
        };
        let origin = Origin::Rule(format!("preset {name}"));
        let image = self.endpoint.get("image").and_then(Node::as_text).unwrap_or(preset.name()).to_owned();
        if self.endpoint.get("image").is_none() {
            self.endpoint.set("image", Node::text(&image, origin.clone()));
        }
        let sized = self.endpoint.get("image_gb").is_some();
        if let (Some(images), false) = (self.images.as_map_mut(), sized) {
            images.set_if_absent(&image, || Node::from_json(&json!({ "layers": preset.layers() }), &origin));
        }
        let own = Node::new(Value::Map(std::mem::take(self.endpoint)), origin.clone());
        let mut merged = Node::from_json(&preset.settings(), &origin);
        merged.lay_over(own);
        if let Value::Map(merged) = merged.value {
            *self.endpoint = merged;
        }
    }

    /// Words that stand for maps, and card names that stand for classes.
    fn words(&mut self) {
        // Parameters alone are those of the policy that is there without being named.
        for (key, default) in [("scaler", "queue_delay"), ("keep_alive", "fixed")] {
            let Some(node) = self.endpoint.get_mut(key) else { continue };
            unfold_word(node, "type");
            if let Some(policy) = node.as_map_mut() {
                let origin = Origin::Default(format!("the {key} without a type"));
                policy.set_if_absent("type", || Node::text(default, origin));
            }
        }
        documented_word(self.endpoint, "backoff", &DOCUMENTED_BACKOFF);
        documented_word(self.endpoint, "dormancy", &DOCUMENTED_DORMANCY);
        if let Some(node) = self.endpoint.get_mut("gpu_classes") {
            classes_of_cards(node);
        }
    }

    /// Every image ends up under `images`, where its layers are: from its size here, from the preset, or a usual one.
    fn image(&mut self) {
        let default = Origin::Default("the endpoint's name".to_owned());
        self.endpoint.set_if_absent("image", || Node::text(self.name, default));
        let Some(image) = self.endpoint.get("image").and_then(Node::as_text).map(str::to_owned) else { return };
        image_of_size(self.endpoint, &image, self.images, |origin| Problem {
            place: self.sources.describe(origin),
            path: format!("endpoints.{}.image_gb", self.name),
            found: format!("a size for image `{image}`, which has one already"),
            allowed: "one size per image".to_owned(),
            fix: "keep one of the two".to_owned(),
        })
        .unwrap_or_else(|problem| self.problems.push(problem));
        if let Some(images) = self.images.as_map_mut() {
            let usual = Origin::Default("estimate of the presets: a usual image".to_owned());
            images.set_if_absent(&image, || Node::from_json(&json!({ "gb": 5 }), &usual));
        }
    }

    fn documented(&mut self) {
        let origin = Origin::Rule("profile: documented".to_owned());
        let endpoint = &mut *self.endpoint;
        endpoint.set_if_absent("max_attempts", || Node::number(2.0, origin.clone()));
        endpoint.set_if_absent("lease_s", || Node::number(40.0, origin.clone()));
        endpoint.set_if_absent("backoff", || numbers(&DOCUMENTED_BACKOFF, &origin));
        rule(endpoint, "rollout", "batch_percent", json!(100), "profile: documented");
    }

    fn clean(&mut self) {
        let origin = Origin::Rule("clean: true".to_owned());
        self.endpoint.set_if_absent("pick_up", || Node::text("push", origin.clone()));
        for key in ["latency_s", "period_s"] {
            rule(self.endpoint, "pacing", key, json!(0), "clean: true");
        }
        self.endpoint.set_if_absent("scaler", || {
            Node::from_json(
                &json!({ "type": "queue_delay" }),
                &Origin::Default("RunPod docs: QUEUE_DELAY 4 s".to_owned()),
            )
        });
        let Some(scaler) = self.endpoint.get_mut("scaler").and_then(Node::as_map_mut) else { return };
        let name = scaler.get("type").and_then(Node::as_text).unwrap_or_default();
        let ticks =
            registry::SCALING.iter().any(|entry| entry.name == name && entry.params.iter().any(|p| p.name == "tick_s"));
        if ticks {
            scaler.set_if_absent("tick_s", || Node::number(0.0, origin));
        }
    }
}

/// Requests of a load-balancing endpoint go to a worker that did not ask for them.
fn pick_up_of_kind(endpoint: &mut Map) {
    if endpoint.get("kind").and_then(Node::as_text) == Some("load_balancer") {
        endpoint.set_if_absent("pick_up", || Node::text("push", Origin::Rule("kind: load_balancer".to_owned())));
    }
}

/// The documented idle timeout, where one applies: not under a scaler that brings workers down itself (contract complaint 20),
/// and not beside a keep-alive policy.
pub fn fill_idle_timeout(endpoint: &mut Map) {
    let scaler = endpoint.get("scaler");
    let name = scaler.and_then(|scaler| scaler.get("type")).and_then(Node::as_text).unwrap_or("queue_delay");
    let uses_it = scaler.and_then(super::scripts::uses_idle_timeout).unwrap_or_else(|| scaler_uses_idle_timeout(name));
    if uses_it && endpoint.get("keep_alive").is_none() {
        let source = Origin::Default("RunPod docs, endpoint configurations".to_owned());
        endpoint.set_if_absent("idle_timeout_s", || Node::number(5.0, source));
    }
}

/// A scaler that works for a bound of the wait works for the endpoint's own, unless it is given another.
pub fn fill_objective(endpoint: &mut Map) {
    let wait = endpoint.get("slo").and_then(|slo| slo.get("wait_s"));
    let wait_s = wait.and_then(|wait| wait.as_number().or_else(|| duration(wait.as_text()?)));
    let Some(wait_s) = wait_s else { return };
    let Some(scaler) = endpoint.get_mut("scaler").and_then(Node::as_map_mut) else { return };
    let name = scaler.get("type").and_then(Node::as_text).unwrap_or_default();
    let objective = |param: &ParamSpec| match param.kind {
        ParamKind::Number { max, .. } => param.name == "slo_s" && wait_s <= max,
        _ => false,
    };
    if registry::SCALING.iter().any(|entry| entry.name == name && entry.params.iter().any(objective)) {
        scaler.set_if_absent("slo_s", || Node::number(wait_s, Origin::Rule("the endpoint's slo.wait_s".to_owned())));
    }
}

/// False for scalers that bring workers down themselves; true for names that the catalogue does not have.
pub fn scaler_uses_idle_timeout(name: &str) -> bool {
    registry::scaling(&crate::policy::PolicyChoice::named(name)).map_or(true, |policy| policy.uses_idle_timeout())
}

/// Moves `image_gb` and `image_unpacked_gb` of an endpoint (or of an update) to `images.<image>`.
fn image_of_size(
    settings: &mut Map,
    image: &str,
    images: &mut Node,
    conflict: impl Fn(&Origin) -> Problem,
) -> Result<(), Problem> {
    let Some(size) = settings.remove("image_gb") else { return Ok(()) };
    let unpacked = settings.remove("image_unpacked_gb");
    let mut wanted = Node::map(size.origin.clone());
    if let Some(map) = wanted.as_map_mut() {
        map.set("gb", size.node);
        if let Some(unpacked) = unpacked {
            map.set("unpacked_gb", unpacked.node);
        }
    }
    match images.get(image) {
        Some(known) if known.to_json() != wanted.to_json() => Err(conflict(&size.origin)),
        Some(_) => Ok(()),
        None => {
            if let Some(images) = images.as_map_mut() {
                images.set(image, wanted);
            }
            Ok(())
        }
    }
}

/// Updates: words as in endpoints; a new image has the layers of the old one but for its own top layer, unless its size is told.
fn expand_updates(root: &mut Map, images: &mut Node) {
    let endpoints = root.get("endpoints").cloned();
    let Some(actions) = root.get_mut("actions") else { return };
    let items: &mut [Node] = match &mut actions.value {
        Value::List(items) => items,
        Value::Map(_) => std::slice::from_mut(actions),
        _ => return,
    };
    for action in items {
        let endpoint = action.get("endpoint").and_then(Node::as_text).map(str::to_owned).unwrap_or_default();
        let Some(settings) = action.get_mut("set").and_then(Node::as_map_mut) else { continue };
        documented_word(settings, "backoff", &DOCUMENTED_BACKOFF);
        documented_word(settings, "dormancy", &DOCUMENTED_DORMANCY);
        if let Some(node) = settings.get_mut("gpu_classes") {
            classes_of_cards(node);
        }
        let Some(image) = settings.get("image").and_then(Node::as_text).map(str::to_owned) else { continue };
        // A second size for an image of that name is reported by the check that an update has no `image_gb` left.
        let _ = image_of_size(settings, &image, images, |_| Problem {
            place: String::new(),
            path: String::new(),
            found: String::new(),
            allowed: String::new(),
            fix: String::new(),
        });
        let old = endpoints.as_ref().and_then(|all| all.get(&endpoint)?.get("image")?.as_text());
        let like = old.and_then(|old| images.get(old)).cloned();
        if let (Some(like), Some(old), Some(images)) = (like, old, images.as_map_mut()) {
            images.set_if_absent(&image, || own_top_layer(like, old));
        }
    }
}

fn own_top_layer(mut image: Node, old: &str) -> Node {
    if let Some(Value::List(layers)) = image.get_mut("layers").map(|layers| &mut layers.value)
        && let Some(top) = layers.last_mut().and_then(Node::as_map_mut)
    {
        top.remove("digest");
    }
    let json = image.to_json();
    Node::from_json(&json, &Origin::Rule(format!("as image {old}, its top layer new")))
}

fn documented_word(map: &mut Map, key: &str, table: &[(&str, f64)]) {
    if let Some(node) = map.get_mut(key)
        && node.as_text() == Some("documented")
    {
        *node = numbers(table, &Origin::Rule(format!("{key}: documented")));
    }
}

fn numbers(table: &[(&str, f64)], origin: &Origin) -> Node {
    let mut map = Map::default();
    for (key, number) in table {
        map.set(key, Node::number(*number, origin.clone()));
    }
    Node::new(Value::Map(map), origin.clone())
}

fn classes_of_cards(node: &mut Node) {
    match &mut node.value {
        Value::Text(text) => {
            if let Some(class) = prices::class_of_card(text) {
                *text = class.to_owned();
            }
        }
        Value::List(items) => items.iter_mut().for_each(classes_of_cards),
        _ => {}
    }
}

/// `map.section.key = value` unless the user said something there.
fn rule(map: &mut Map, section: &str, key: &str, value: Json, because: &str) {
    let origin = Origin::Rule(because.to_owned());
    map.set_if_absent(section, || Node::map(origin.clone()));
    if let Some(section) = map.get_mut(section).and_then(Node::as_map_mut) {
        section.set_if_absent(key, || Node::from_json(&value, &origin));
    }
}

fn expand_hosts(root: &mut Map) {
    let Some(hosts) = root.get_mut("hosts").and_then(Node::as_map_mut) else { return };
    for entry in &mut hosts.entries {
        if let Some(class) = entry.node.get_mut("gpu_class") {
            classes_of_cards(class);
        }
    }
}

/// The published prices of every class, below what the user gave; then the active prices that are still missing.
fn expand_prices(root: &mut Map) {
    let absent = Origin::Default("see its parts".to_owned());
    root.set_if_absent("prices", || Node::map(absent.clone()));
    let Some(all) = root.get_mut("prices").and_then(Node::as_map_mut) else { return };
    let discount = all.get("active_discount").and_then(|node| Some((node.as_number()?, node.origin.clone())));
    all.set_if_absent("gpu_classes", || Node::map(absent));
    let Some(classes) = all.get_mut("gpu_classes") else { return };
    name_items(classes);
    let Some(classes) = classes.as_map_mut() else { return };
    for row in prices::table() {
        let published = Origin::Default(format!("RunPod price table, {}", row.date));
        classes.set_if_absent(&row.class, || Node::map(published.clone()));
        let Some(class) = classes.get_mut(&row.class).and_then(Node::as_map_mut) else { continue };
        class.set_if_absent("vram_gb", || Node::number(row.vram_gb, published.clone()));
        let own_flex = class.get("flex_usd_per_s").is_some();
        class.set_if_absent("flex_usd_per_s", || Node::number(row.flex, published.clone()));
        if let (Some(active), None, false) = (row.active, &discount, own_flex) {
            class.set_if_absent("active_usd_per_s", || Node::number(active, published));
        }
    }
    for entry in &mut classes.entries {
        let Some(class) = entry.node.as_map_mut() else { continue };
        let Some(flex) = class.get("flex_usd_per_s").and_then(Node::as_number) else { continue };
        let vram = class.get("vram_gb").and_then(Node::as_number).unwrap_or(0.0);
        let (active, origin) = match &discount {
            Some((share, origin)) => (flex * (1.0 - share), origin.clone()),
            None => {
                let source = "ours: flex x 0.8 from 80 GB, x 0.7 below";
                (prices::active_fallback(flex, vram), Origin::Default(source.to_owned()))
            }
        };
        // To a nano-dollar, the smallest price that is told apart.
        class.set_if_absent("active_usd_per_s", || Node::number((active * 1e9).round() / 1e9, origin));
    }
}
