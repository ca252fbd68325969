//! YAML text to a [`Node`] tree, in one pass over the parser's events and within fixed limits.
//!
//! Refused: more than 1 MiB, 32 levels, 50,000 values, 200 aliases, a second document, a key twice, tags other than the plain
//! ones. An alias counts as many values as it stands for, so a file cannot unfold into more than it is allowed to hold. Words
//! are booleans only if they are `true` or `false`, numbers only if they are finite.

use std::collections::BTreeMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Number;

use super::node::{Entry, Map, Node, Origin, Value, clean};
use super::problem::{Problem, Problems};

/// Most bytes of one file.
pub const MAX_BYTES: usize = 1 << 20;
/// Most levels of maps and lists inside each other.
pub const MAX_DEPTH: usize = 32;
/// Most values of one file, unfolded.
pub const MAX_NODES: usize = 50_000;
/// Most aliases (`*name`) of one file.
pub const MAX_ALIASES: usize = 200;

/// Parses `text`. `place` turns a line and a column into an origin, `name` is how the file is called in messages.
pub fn parse(text: &str, name: &str, place: &dyn Fn(u32, u32) -> Origin) -> Result<Node, Problems> {
    let mut builder = Builder {
        name,
        place,
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
        nodes: 0,
        aliases: 0,
        problems: Problems::default(),
    };
    if text.len() > MAX_BYTES {
        return Err(builder.whole(format!("{} bytes", text.len()), "at most 1 MiB", "split it with `include:`").into());
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    for next in Parser::<StrInput<'_>>::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| builder.syntax(&error))?;
        builder.event(event, &span.start)?;
    }
    let Builder { root, problems, .. } = builder;
    problems.check()?;
    Ok(root.unwrap_or_else(|| Node::map(place(1, 1))))
}

/// A map or list that is still open.
struct Open {
    node: Node,
    /// The key whose value comes next, in a map.
    key: Option<(String, Origin, bool)>,
    anchor: usize,
}

struct Builder<'a> {
    name: &'a str,
    place: &'a dyn Fn(u32, u32) -> Origin,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    aliases: usize,
    problems: Problems,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, mark: &Marker) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), mark)?;
                let plain = style == ScalarStyle::Plain;
                self.value(Node::new(value, self.origin(mark)), anchor, plain.then_some(text.as_ref()), mark)
            }
            Event::SequenceStart(_, anchor, tag) => self.open(Value::List(Vec::new()), anchor, tag.as_deref(), mark),
            Event::MappingStart(_, anchor, tag) => self.open(Value::Map(Map::default()), anchor, tag.as_deref(), mark),
            Event::SequenceEnd | Event::MappingEnd => self.close(mark),
            Event::Alias(id) => self.alias(id, mark),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.problem(mark, "a second document", "one document per file", "remove `---` and what follows"))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, value: Value, anchor: usize, tag: Option<&Tag>, mark: &Marker) -> Result<(), Problem> {
        if let Some(tag) = tag {
            return Err(self.tag_refused(tag, mark));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.problem(mark, "more than 32 levels", "at most 32 levels of maps and lists", "flatten it"));
        }
        if matches!(self.stack.last(), Some(Open { node: Node { value: Value::Map(_), .. }, key: None, .. })) {
            return Err(self.problem(
                mark,
                "a map or list as a key",
                "a text as a key",
                "quote the key if it is a text",
            ));
        }
        self.count(1, mark)?;
        self.stack.push(Open { node: Node::new(value, self.origin(mark)), key: None, anchor });
        Ok(())
    }

    fn close(&mut self, mark: &Marker) -> Result<(), Problem> {
        let Some(Open { node, anchor, .. }) = self.stack.pop() else { return Ok(()) };
        self.place_value(node, anchor, mark)
    }

    /// A complete scalar, either a key or a value; `plain` is its text when it was not quoted.
    fn value(&mut self, node: Node, anchor: usize, plain: Option<&str>, mark: &Marker) -> Result<(), Problem> {
        self.count(1, mark)?;
        if let Some(Open { node: Node { value: Value::Map(_), .. }, key: key @ None, .. }) = self.stack.last_mut() {
            let text = match (&node.value, plain) {
                (_, Some(plain)) => plain.to_owned(),
                (Value::Text(text), None) => text.clone(),
                _ => String::new(),
            };
            *key = Some((text, node.origin, plain == Some("<<")));
            return Ok(());
        }
        self.place_value(node, anchor, mark)
    }

    fn place_value(&mut self, node: Node, anchor: usize, mark: &Marker) -> Result<(), Problem> {
        if anchor != 0 {
            let size = node.size();
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open { node: Node { value: Value::List(items), .. }, .. }) => items.push(node),
            Some(Open { node: Node { value: Value::Map(map), .. }, key, .. }) => {
                let Some((key, origin, merges)) = key.take() else { return Ok(()) };
                if merges {
                    return self.merge(node, mark);
                }
                if map.get(&key).is_some() {
                    self.duplicate(&key, &origin);
                } else {
                    map.entries.push(Entry { key, origin, node });
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// `<<: *base`: what `base` has and the map itself has not said yet. Keys written later in the map win as well.
    fn merge(&mut self, base: Node, mark: &Marker) -> Result<(), Problem> {
        let bases = match base.value {
            Value::Map(map) => vec![map],
            Value::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
                items.into_iter().filter_map(|item| item.as_map().cloned()).collect()
            }
            _ => return Err(self.problem(mark, "a merge of what is no map", "`<<: *name` of a map", "")),
        };
        let Some(Open { node: Node { value: Value::Map(map), .. }, .. }) = self.stack.last_mut() else { return Ok(()) };
        if bases.iter().flat_map(|base| &base.entries).any(|entry| map.get(&entry.key).is_some())
            || !map.entries.is_empty()
        {
            let fix = "write `<<` first in its map, and only what it does not say";
            return Err(self.problem(mark, "a merge that is not the first key", "`<<: *name` as the first key", fix));
        }
        for entry in bases.into_iter().flat_map(|base| base.entries) {
            map.set(&entry.key, entry.node);
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, mark: &Marker) -> Result<(), Problem> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(self.problem(mark, "more than 200 aliases", "at most 200 aliases", "write the values out"));
        }
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(self.problem(mark, "an alias inside what it stands for", "aliases of complete values", ""));
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, mark)?;
        if self.stack.len() + depth(&node) > MAX_DEPTH {
            return Err(self.problem(mark, "more than 32 levels", "at most 32 levels of maps and lists", "flatten it"));
        }
        if matches!(self.stack.last(), Some(Open { node: Node { value: Value::Map(_), .. }, key: None, .. })) {
            return Err(self.problem(mark, "an alias as a key", "a text as a key", "write the key out"));
        }
        self.place_value(node, 0, mark)
    }

    fn count(&mut self, nodes: usize, mark: &Marker) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let fix = "lists of numbers belong into a trace file";
            return Err(self.problem(mark, "more than 50,000 values", "at most 50,000 values, aliases unfolded", fix));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: &Marker) -> Result<Value, Problem> {
        match tag.map(Tag::core_suffix) {
            None if style == ScalarStyle::Plain => Ok(plain_scalar(text)),
            None | Some(Some("str")) => Ok(Value::Text(text.to_owned())),
            Some(Some("int" | "float" | "bool" | "null")) => Ok(plain_scalar(text)),
            Some(_) => Err(self.tag_refused(tag.expect("a tag was matched"), mark)),
        }
    }

    fn tag_refused(&self, tag: &Tag, mark: &Marker) -> Problem {
        self.problem(mark, &format!("tag `{}`", clean(&tag.original())), "plain values", "remove the tag")
    }

    fn origin(&self, mark: &Marker) -> Origin {
        (self.place)(mark.line() as u32, mark.col() as u32 + 1)
    }

    fn duplicate(&mut self, key: &str, origin: &Origin) {
        let (line, column) = match origin {
            Origin::File { line, column, .. } => (*line, *column),
            _ => (1, 1),
        };
        let mut path: Vec<&str> =
            self.stack.iter().filter_map(|open| open.key.as_ref()).map(|(key, ..)| key.as_str()).collect();
        path.push(key);
        self.problems.push(Problem {
            place: format!("{}:{line}:{column}", self.name),
            path: clean(&path.join(".")),
            found: format!("key `{}` a second time", clean(key)),
            allowed: "each key once".to_owned(),
            fix: "remove one of the two".to_owned(),
        });
    }

    fn problem(&self, mark: &Marker, found: &str, allowed: &str, fix: &str) -> Problem {
        Problem {
            place: format!("{}:{}:{}", self.name, mark.line(), mark.col() + 1),
            path: String::new(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        }
    }

    fn whole(&self, found: String, allowed: &str, fix: &str) -> Problem {
        Problem {
            place: self.name.to_owned(),
            path: String::new(),
            found,
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        }
    }

    fn syntax(&self, error: &granit_parser::ScanError) -> Problem {
        if matches!(error.kind(), granit_parser::ErrorKind::RecursionLimitExceeded) {
            return self.problem(
                error.marker(),
                "more than 32 levels",
                "at most 32 levels of maps and lists",
                "flatten it",
            );
        }
        let found = format!("not YAML: {}", clean(&error.info()));
        self.problem(error.marker(), &found, "", "check indentation, quotes and brackets around this place")
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}

/// The value of an unquoted word, by YAML's core schema without octal and hexadecimal numbers.
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if !numeric {
        return Value::Text(text.to_owned());
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = digits.parse::<u64>() {
        return Value::Number(Number::from(whole));
    }
    if let Ok(whole) = digits.parse::<i64>() {
        return Value::Number(Number::from(whole));
    }
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(Number::from_f64);
    number.map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}
