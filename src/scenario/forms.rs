//! Short forms: a word where a map is meant, a list of things with names where a map by name is.

use super::node::{Map, Node, Value};

/// A word where a map is meant: `scaler: queue_delay` is `scaler: {type: queue_delay}`.
pub fn unfold_word(node: &mut Node, key: &str) {
    if matches!(node.value, Value::Text(_)) {
        let word = Node::new(std::mem::replace(&mut node.value, Value::Null), node.origin.clone());
        let mut map = Map::default();
        map.set(key, word);
        node.value = Value::Map(map);
    }
}

/// A list of maps that all have a `name` becomes a map by those names; what is already a map loses a `name` equal to its key.
pub fn name_items(node: &mut Node) {
    if let Value::List(items) = &mut node.value {
        let all_named = items.iter().all(|item| item.get("name").is_some_and(|name| name.as_text().is_some()));
        if !all_named || twice_in(items).is_some() {
            return;
        }
        let mut map = Map::default();
        for mut item in std::mem::take(items) {
            let name = item.as_map_mut().and_then(|map| map.remove("name"));
            if let Some(name) = name.as_ref().and_then(|entry| entry.node.as_text()) {
                map.set(name, item);
            }
        }
        node.value = Value::Map(map);
    }
    if let Value::Map(map) = &mut node.value {
        for entry in &mut map.entries {
            let same = entry.node.get("name").and_then(Node::as_text) == Some(entry.key.as_str());
            if same && let Some(inner) = entry.node.as_map_mut() {
                inner.remove("name");
            }
        }
    }
}

/// A name that two entries of a list have.
pub fn twice(node: &Node) -> Option<&str> {
    match &node.value {
        Value::List(items) => twice_in(items),
        _ => None,
    }
}

fn twice_in(items: &[Node]) -> Option<&str> {
    let mut names: Vec<&str> = items.iter().filter_map(|item| item.get("name")?.as_text()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
