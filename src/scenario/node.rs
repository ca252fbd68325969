//! The tree of an application file: values, each with the place that it comes from.
//!
//! Everything that happens to a file before it means something (includes, `--set`, presets, defaults) happens to this tree, so
//! that every problem can name a line and `thermocline config` can tell the source of every value.

use serde_json::Number;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A file: its index in [`Sources`], line and column, both from 1.
    File {
        /// Index in [`Sources::files`].
        file: u16,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// A `--set path=value`, by its index on the command line.
    Set {
        /// Index in [`Sources::sets`].
        index: u16,
    },
    /// Something that the file asked for by one word: a preset, `clean`, a profile.
    Rule(String),
    /// A default, with its source.
    Default(String),
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What.
    pub value: Value,
    /// Where from.
    pub origin: Origin,
}

/// A value as YAML knows it. Numbers are finite: what is not (`.nan`, `1e999`) stays a text and is refused as one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`; `yes`, `no`, `on`, `off` are texts.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Map),
}

/// A map that keeps the order of its keys and where each was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub origin: Origin,
    /// Its value.
    pub node: Node,
}

impl Map {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value of `key`.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Sets `key`, in its place if it is there, else at the end.
    pub fn set(&mut self, key: &str, node: Node) {
        match self.get_mut(key) {
            Some(old) => *old = node,
            None => {
                let origin = node.origin.clone();
                self.entries.push(Entry { key: key.to_owned(), origin, node });
            }
        }
    }

    /// Sets `key` unless it is there.
    pub fn set_if_absent(&mut self, key: &str, node: impl FnOnce() -> Node) {
        if self.get(key).is_none() {
            self.set(key, node());
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.key.as_str()).collect()
    }
}

impl Node {
    /// A node of `value` from `origin`.
    pub fn new(value: Value, origin: Origin) -> Node {
        Node { value, origin }
    }

    /// An empty map.
    pub fn map(origin: Origin) -> Node {
        Node::new(Value::Map(Map::default()), origin)
    }

    /// A text.
    pub fn text(text: &str, origin: Origin) -> Node {
        Node::new(Value::Text(text.to_owned()), origin)
    }

    /// A number; one that is not finite becomes 0, which no caller gives.
    pub fn number(number: f64, origin: Origin) -> Node {
        Node::new(Value::Number(number_of(number)), origin)
    }

    /// A JSON value as a tree, every part from `origin`.
    pub fn from_json(json: &serde_json::Value, origin: &Origin) -> Node {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => Value::Number(number.clone()),
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(|item| Node::from_json(item, origin)).collect())
            }
            serde_json::Value::Object(object) => {
                let entry = |(key, item): (&String, &serde_json::Value)| Entry {
                    key: key.clone(),
                    origin: origin.clone(),
                    node: Node::from_json(item, origin),
                };
                Value::Map(Map { entries: object.iter().map(entry).collect() })
            }
        };
        Node::new(value, origin.clone())
    }

    /// The tree as JSON, without its origins.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => serde_json::Value::String(text.clone()),
            Value::List(items) => serde_json::Value::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => serde_json::Value::Object(
                map.entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
            ),
        }
    }

    /// The map in it, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The map in it, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text in it, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number in it, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key)
    }

    /// The node at `path`, or else its nearest ancestor that exists.
    pub fn nearest(&self, path: &[String]) -> &Node {
        let mut here = self;
        for step in path {
            let next = match &here.value {
                Value::Map(map) => map.get(step),
                Value::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match next {
                Some(node) => here = node,
                None => return here,
            }
        }
        here
    }

    /// Lays `over` on top: maps are merged key by key, everything else is replaced. A map whose `type` differs is replaced
    /// whole, because the keys of one kind mean nothing to another.
    pub fn lay_over(&mut self, over: Node) {
        let merges = match (&self.value, &over.value) {
            (Value::Map(under), Value::Map(upper)) => match (under.get("type"), upper.get("type")) {
                (Some(under), Some(upper)) => under.value == upper.value,
                _ => true,
            },
            _ => false,
        };
        match (&mut self.value, over.value) {
            (Value::Map(under), Value::Map(upper)) if merges => {
                for entry in upper.entries {
                    match under.entries.iter_mut().find(|old| old.key == entry.key) {
                        Some(old) => {
                            old.origin = entry.origin;
                            old.node.lay_over(entry.node);
                        }
                        None => under.entries.push(entry),
                    }
                }
            }
            (value, upper) => {
                *value = upper;
                self.origin = over.origin;
            }
        }
    }

    /// Number of values in the tree, itself included.
    pub fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(map) => map.entries.iter().map(|entry| entry.node.size()).sum(),
            _ => 0,
        }
    }

    /// What it is, as it would be typed on one line: for messages.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => format!("`{}`", clean(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// A number as JSON writes it: whole ones without a fraction, so that they stay readable and fit whole-number fields.
pub fn number_of(number: f64) -> Number {
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return if number < 0.0 { Number::from(number as i64) } else { Number::from(number as u64) };
    }
    Number::from_f64(number).unwrap_or_else(|| Number::from(0))
}

/// Text that is safe to print: no control characters, not longer than a line needs.
pub fn clean(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = printable(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().count() > LONGEST {
        shown.push_str("...");
    }
    shown
}

/// Text without control characters, however long: a path that is cut short leads nowhere.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The names of what was read, so that an [`Origin`] stays small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// File names as shown.
    pub files: Vec<String>,
    /// The `--set` texts.
    pub sets: Vec<String>,
}

impl Sources {
    /// The origin for people: `app.yaml:3:7`, `--set seed=7`, `preset sdxl-image`, `default: RunPod docs`.
    pub fn describe(&self, origin: &Origin) -> String {
        match origin {
            Origin::File { file, line, column } => format!("{}:{line}:{column}", self.file(*file)),
            Origin::Set { index } => format!("--set {}", self.sets.get(usize::from(*index)).map_or("", String::as_str)),
            Origin::Rule(rule) => rule.clone(),
            Origin::Default(source) => format!("default: {source}"),
        }
    }

    fn file(&self, index: u16) -> &str {
        self.files.get(usize::from(index)).map_or("?", String::as_str)
    }
}
