//! The effective configuration: every setting with its value and where that comes from.
//!
//! Printed as YAML it is an application file again, from which the same plan follows: nothing in it is left to a default.

use std::fmt::Write as _;

use serde_json::json;

use super::node::{Map, Node, Origin, Sources, Value};

/// A whole file after includes, `--set`, presets and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveConfig {
    /// The settings.
    pub tree: Node,
    /// Names behind the origins.
    pub sources: Sources,
}

/// Column at which the sources begin, where the line leaves room.
const SOURCE_COLUMN: usize = 56;

impl EffectiveConfig {
    /// YAML with the source of every value behind it, as a comment.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        if let Some(map) = self.tree.as_map() {
            self.map(map, 0, &mut text);
        }
        text
    }

    /// A list of `{path, value, source}`, one per setting.
    pub fn to_json(&self) -> serde_json::Value {
        let mut rows = Vec::new();
        self.rows(&self.tree, &mut Vec::new(), &mut rows);
        serde_json::Value::Array(rows)
    }

    fn rows(&self, node: &Node, path: &mut Vec<String>, rows: &mut Vec<serde_json::Value>) {
        let children: Vec<(String, &Node)> = match &node.value {
            Value::Map(map) => map.entries.iter().map(|entry| (entry.key.clone(), &entry.node)).collect(),
            Value::List(items) if items.iter().any(|item| item.as_map().is_some()) => {
                items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
            }
            _ => Vec::new(),
        };
        if children.is_empty() {
            rows.push(json!({
                "path": path.join("."), "value": node.to_json(), "source": self.sources.describe(&node.origin),
            }));
        }
        for (step, child) in children {
            path.push(step);
            self.rows(child, path, rows);
            path.pop();
        }
    }

    fn map(&self, map: &Map, indent: usize, text: &mut String) {
        for entry in &map.entries {
            let head = format!("{:indent$}{}:", "", key(&entry.key));
            self.entry(&head, &entry.node, indent, text);
        }
    }

    /// `head` and the value after it, on one line or indented below.
    fn entry(&self, head: &str, node: &Node, indent: usize, text: &mut String) {
        match &node.value {
            Value::Map(map) if !map.entries.is_empty() => {
                let _ = writeln!(text, "{head}");
                self.map(map, indent + 2, text);
            }
            Value::List(items) if items.iter().any(|item| item.as_map().is_some_and(|map| !map.entries.is_empty())) => {
                let _ = writeln!(text, "{head}");
                for item in items {
                    self.item(item, indent + 2, text);
                }
            }
            _ => self.line(&format!("{head} {}", flow(node)), &node.origin, text),
        }
    }

    /// One map of a list: `- ` before its first key, the others below it.
    fn item(&self, node: &Node, indent: usize, text: &mut String) {
        let Some(map) = node.as_map().filter(|map| !map.entries.is_empty()) else {
            return self.line(&format!("{:indent$}- {}", "", flow(node)), &node.origin, text);
        };
        for (index, entry) in map.entries.iter().enumerate() {
            let mark = if index == 0 { "- " } else { "  " };
            self.entry(&format!("{:indent$}{mark}{}:", "", key(&entry.key)), &entry.node, indent + 2, text);
        }
    }

    fn line(&self, content: &str, origin: &Origin, text: &mut String) {
        let source = super::node::printable(&self.sources.describe(origin));
        let _ = writeln!(text, "{content:SOURCE_COLUMN$} # {source}");
    }
}

/// A value on one line.
fn flow(node: &Node) -> String {
    match &node.value {
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries = map.entries.iter().map(|entry| format!("{}: {}", key(&entry.key), flow(&entry.node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Text(text) if plain(text) => text.clone(),
        // JSON's quoting is YAML's double quoting.
        _ => node.to_json().to_string(),
    }
}

fn key(key: &str) -> String {
    if plain(key) { key.to_owned() } else { serde_json::Value::from(key).to_string() }
}

/// Texts that YAML reads back as the same text without quotes.
fn plain(text: &str) -> bool {
    let first_ok = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest_ok = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/'));
    let word =
        matches!(text.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    first_ok && rest_ok && !word
}
