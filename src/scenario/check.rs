//! Holds a tree against the schema: reports every mistake with its place, unfolds short forms, fills in the defaults.
//!
//! Afterwards the tree has the one long form that serde reads: lists where one thing stood alone, maps where a word stood for
//! one, seconds where a duration was written, and every setting that has a default.

use serde_json::{Number, Value as Json};

use super::describe::{branches, describe, listed, tag};
use super::forms::{name_items, twice, unfold_word};
use super::node::{Map, Node, Origin, Sources, Value, clean, number_of};
use super::problem::{Problem, Problems, suggestion};
use super::schema::keyword;
use super::types::numbers::duration;
use crate::policy::schedule;

/// Whether defaults are filled in and missing keys reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// A complete description.
    Whole,
    /// Some settings out of many (those of an update).
    Part,
}

/// The check of one tree.
pub struct Checker<'a> {
    /// The schema of the file.
    pub root: &'a Json,
    /// Where things come from.
    pub sources: &'a Sources,
    /// What was found.
    pub problems: &'a mut Problems,
    /// Filling.
    pub fill: Fill,
}

impl Checker<'_> {
    /// Checks `node` against `schema`; `path` is where it stands.
    pub fn check(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let root = self.root;
        let flag = |name: &str| keyword(root, schema, name).and_then(Json::as_bool) == Some(true);
        if node.value == Value::Null {
            let allowed = describe(self.root, schema);
            return self.report(node, path, "nothing".to_owned(), allowed, "give a value or remove the key");
        }
        if super::scripts::is_attached(node)
            && path.last().is_some_and(|key| super::scripts::KINDS.iter().any(|(kind, _)| kind == key))
        {
            // Held against its own file when its text was taken in.
            return;
        }
        if flag("x-settings") {
            return self.settings(node, path);
        }
        if flag("x-one-or-many") {
            return self.one_or_many(schema, node, path);
        }
        if flag("x-named") {
            return self.named(schema, node, path);
        }
        if let Some(key) = keyword(self.root, schema, "x-shorthand").and_then(Json::as_str) {
            unfold_word(node, key);
        }
        if flag("x-duration") && matches!(node.value, Value::Text(_)) {
            return self.duration(schema, node, path);
        }
        self.by_kind(schema, node, path);
    }

    fn by_kind(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let branches = branches(self.root, schema);
        let words: Vec<&str> = branches.iter().filter_map(|branch| branch.get("const")?.as_str()).collect();
        if !words.is_empty() && words.len() == branches.len() {
            return self.word(&words, node, path);
        }
        let fitting: Vec<&Json> = branches.iter().copied().filter(|branch| fits(branch, node)).collect();
        match fitting.as_slice() {
            [] => self.wrong_kind(schema, node, path),
            [only] if only.get("properties").is_none_or(|properties| tag(properties).is_none()) => {
                self.single(only, node, path);
            }
            _ => self.tagged(&fitting, listed(self.root, schema), node, path),
        }
    }

    /// One branch, no tag: a map, a list or a scalar.
    fn single(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        match &mut node.value {
            Value::Map(_) => self.object(schema, node, path),
            Value::List(_) => self.list(schema, node, path),
            Value::Number(_) => self.number(schema, node, path),
            Value::Text(_) => {
                let words = schema.get("enum").and_then(Json::as_array);
                if let Some(words) = words {
                    let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
                    self.word(&words, node, path);
                }
                if schema.get("x-hours").is_some() {
                    self.hours(node, path);
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// A timetable, as the policy reads it.
    fn hours(&mut self, node: &Node, path: &[String]) {
        let text = node.as_text().unwrap_or_default();
        let problem = if text.trim().is_empty() { Err("nothing".to_owned()) } else { schedule::check(text) };
        if let Err(found) = problem {
            let allowed = "lines `[days] [from-to] = workers`, separated by `;`".to_owned();
            self.report(node, path, clean(&found), allowed, "such as `mon-fri 8-18 = 3; sat,sun 10:30-16 = 1`");
        }
    }

    /// A map whose `type` tells which keys it has.
    fn tagged(&mut self, branches: &[&Json], listed: Option<&str>, node: &mut Node, path: &mut Vec<String>) {
        let kinds: Vec<&str> = branches.iter().filter_map(|branch| branch.get("properties").and_then(tag)).collect();
        let allowed = listed.map_or_else(|| kinds.join(", "), |where_to| format!("one of {where_to}"));
        let Some(given) = node.get("type") else {
            let typed = node.as_map().map(Map::keys).unwrap_or_default().join(", ");
            let found =
                if typed.is_empty() { "no `type`".to_owned() } else { format!("no `type` beside {}", clean(&typed)) };
            return match self.fill {
                // An update may change a key of what is there; what comes out is checked as a whole.
                Fill::Part if !typed.is_empty() => {}
                _ => self.report(node, path, found, allowed, "add `type: ...`"),
            };
        };
        let (given_origin, shown) = (given.clone(), given.shown());
        let name = given.as_text().unwrap_or_default();
        let branch =
            branches.iter().find(|branch| branch.get("properties").and_then(tag).is_some_and(|kind| kind == name));
        match branch {
            Some(branch) => self.object(branch, node, path),
            None => {
                let fix = suggestion(name, kinds.iter().copied()).unwrap_or_default();
                path.push("type".to_owned());
                self.report(&given_origin, path, shown, allowed, &fix);
                path.pop();
            }
        }
    }

    fn object(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
            return self.free_map(schema, node, path);
        };
        let missing_place = Node::new(Value::Null, node.origin.clone());
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            path.push(entry.key.clone());
            match properties.get(&entry.key) {
                Some(property) => self.check(property, &mut entry.node, path),
                None => self.unknown_key(&entry.key, &entry.origin, properties, path),
            }
            path.pop();
        }
        if self.fill == Fill::Part {
            return;
        }
        for (name, property) in properties {
            if map.get(name).is_some() {
                continue;
            }
            path.push(name.clone());
            if let Some(default) = property.get("default") {
                let mut filled = Node::from_json(default, &Origin::Default(source_of(property)));
                self.check(property, &mut filled, path);
                map.set(name, filled);
            } else if required(schema, name) {
                let fix = format!("add `{name}: ...`{}", first_sentence(self.root, property));
                self.report(&missing_place, path, "nothing".to_owned(), describe(self.root, property), &fix);
            }
            path.pop();
        }
        let rank = |key: &str| properties.keys().position(|name| name == key).unwrap_or(usize::MAX);
        map.entries.sort_by_key(|entry| rank(&entry.key));
    }

    fn free_map(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) else { return };
        let Some(map) = node.as_map_mut() else { return };
        for entry in &mut map.entries {
            path.push(entry.key.clone());
            self.check(values, &mut entry.node, path);
            path.pop();
        }
    }

    fn list(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let count = match &node.value {
            Value::List(items) => items.len() as u64,
            _ => return,
        };
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(u64::MAX));
        if count < least || count > most {
            let allowed =
                if most == u64::MAX { format!("{least} or more") } else { format!("{least} to {most} of them") };
            self.report(node, path, format!("a list of {count}"), allowed, "");
        }
        let (Some(item_schema), Value::List(items)) = (schema.get("items"), &mut node.value) else { return };
        for (index, item) in items.iter_mut().enumerate() {
            path.push(index.to_string());
            self.check(item_schema, item, path);
            path.pop();
        }
    }

    fn one_or_many(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        let Some(item_schema) = keyword(self.root, schema, "anyOf").and_then(|branches| branches.get(0)) else {
            return;
        };
        if !matches!(node.value, Value::List(_)) {
            let one = std::mem::replace(node, Node::new(Value::Null, node.origin.clone()));
            node.value = Value::List(vec![one]);
            if let Value::List(items) = &mut node.value {
                self.check(item_schema, &mut items[0], path);
            }
            return;
        }
        if let Value::List(items) = &mut node.value {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                self.check(item_schema, item, path);
                path.pop();
            }
        }
    }

    fn named(&mut self, schema: &Json, node: &mut Node, path: &mut Vec<String>) {
        name_items(node);
        let map_schema = keyword(self.root, schema, "anyOf").and_then(|branches| branches.get(0));
        let item_schema = map_schema.and_then(|map| map.get("additionalProperties"));
        match (&mut node.value, item_schema) {
            (Value::Map(map), Some(item_schema)) => {
                for entry in &mut map.entries {
                    path.push(entry.key.clone());
                    self.name(&entry.key, &entry.origin, path);
                    self.check(item_schema, &mut entry.node, path);
                    path.pop();
                }
            }
            _ => {
                let found =
                    twice(node).map_or_else(|| node.shown(), |name| format!("the name `{}` twice", clean(name)));
                let allowed = "a map by name, or a list of maps with a `name` each".to_owned();
                self.report(node, path, found, allowed, "");
            }
        }
    }

    /// Names end up in reports, tables and paths: 1 to 191 characters (the platform's limit), none of them a control character.
    fn name(&mut self, name: &str, origin: &Origin, path: &[String]) {
        let typed = matches!(origin, Origin::File { .. } | Origin::Set { .. });
        if typed && (name.is_empty() || name.len() > 191 || name.chars().any(char::is_control)) {
            let place = Node::new(Value::Null, origin.clone());
            let allowed = "1 to 191 characters, none of them a control character".to_owned();
            self.report(&place, path, format!("the name `{}`", clean(name)), allowed, "");
        }
    }

    fn number(&mut self, schema: &Json, node: &mut Node, path: &[String]) {
        let Some(number) = node.as_number() else { return };
        let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
        let whole = schema.get("type") == Some(&Json::from("integer"));
        let inside = limit("minimum").is_none_or(|min| number >= min)
            && limit("exclusiveMinimum").is_none_or(|min| number > min)
            && limit("maximum").is_none_or(|max| number <= max)
            && (!whole || (number.fract() == 0.0 && integer_fits(schema, &node.value)));
        if !inside {
            let allowed = describe(self.root, schema);
            return self.report(node, path, node.shown(), allowed, "");
        }
        // Whole numbers are kept as such, so that `4.0` reads back as 4 wherever a count is wanted.
        if let Value::Number(typed) = &mut node.value
            && typed.is_f64()
        {
            *typed = number_of(number);
        }
    }

    fn duration(&mut self, schema: &Json, node: &mut Node, path: &[String]) {
        let Some(seconds) = node.as_text().and_then(duration).filter(|_| is_time(path)) else {
            let allowed = describe(self.root, schema);
            let allowed = if is_time(path) { allowed } else { allowed.replace(" or a duration such as `5m`", "") };
            return self.report(node, path, node.shown(), allowed, "");
        };
        node.value = Value::Number(number_of(seconds));
        let numbers = branches(self.root, schema);
        let number = numbers.iter().copied().find(|branch| fits(branch, node));
        if let Some(number) = number {
            self.number(number, node, path);
        }
    }

    fn word(&mut self, words: &[&str], node: &Node, path: &[String]) {
        let given = node.as_text().unwrap_or_default();
        if !words.contains(&given) {
            let fix = suggestion(given, words.iter().copied()).unwrap_or_default();
            self.report(node, path, node.shown(), words.join(", "), &fix);
        }
    }

    /// The settings of an update: some of an endpoint's, none of which may concern its traffic.
    fn settings(&mut self, node: &mut Node, path: &mut Vec<String>) {
        let endpoint = &self.root["$defs"]["Endpoint"];
        if node.as_map().is_none() {
            return self.report(node, path, node.shown(), "a map of an endpoint's settings".to_owned(), "");
        }
        let root = self.root;
        const OTHERS: [&str; 10] = [
            "name",
            "preset",
            "traffic",
            "stream",
            "slo",
            "feeds",
            "kind",
            "run",
            "input_schema",
            "webhook_secret_env",
        ];
        for key in OTHERS {
            if let Some(entry) = node.as_map_mut().and_then(|map| map.remove(key)) {
                path.push(key.to_owned());
                let place = Node::new(Value::Null, entry.origin);
                let allowed = "settings of workers, scaling, image, start, service and faults".to_owned();
                self.report(&place, path, format!("`{key}` in an update"), allowed, "remove it");
                path.pop();
            }
        }
        let mut part = Checker { root, sources: self.sources, problems: self.problems, fill: Fill::Part };
        part.object(endpoint, node, path);
    }

    fn unknown_key(&mut self, key: &str, origin: &Origin, properties: &serde_json::Map<String, Json>, path: &[String]) {
        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
        let fix = suggestion(key, known.iter().copied()).unwrap_or_default();
        let listed = if known.len() <= 16 { known.join(", ") } else { "see `thermocline schema`".to_owned() };
        let allowed = if fix.is_empty() { listed } else { String::new() };
        let place = Node::new(Value::Null, origin.clone());
        self.report(&place, path, format!("unknown key `{}`", clean(key)), allowed, &fix);
    }

    fn wrong_kind(&mut self, schema: &Json, node: &Node, path: &[String]) {
        let fix = match (&node.value, describe(self.root, schema).as_str()) {
            (Value::Text(text), "true or false") => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" => "write `true`",
                "no" | "off" | "n" => "write `false`",
                _ => "",
            },
            (Value::Text(text), _) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                "write the number without quotes"
            }
            (Value::Number(_) | Value::Bool(_), "a text") => "put it in quotes",
            _ => "",
        };
        self.report(node, path, node.shown(), describe(self.root, schema), fix);
    }

    fn report(&mut self, node: &Node, path: &[String], found: String, allowed: String, fix: &str) {
        self.problems.push(Problem {
            place: self.sources.describe(&node.origin),
            path: shown_path(path),
            found,
            allowed,
            fix: fix.to_owned(),
        });
    }
}

/// True below a field whose name says seconds: there, and only there, a duration may be written.
fn is_time(path: &[String]) -> bool {
    const INSIDE: [&str; 10] = ["value", "min", "max", "mean", "median", "p50", "p95", "values", "parts", "of"];
    let mut fields =
        path.iter().rev().filter(|step| !INSIDE.contains(&step.as_str()) && step.parse::<usize>().is_err());
    fields.next().is_some_and(|field| field.ends_with("_s"))
}

/// A path for messages.
pub fn shown_path(path: &[String]) -> String {
    path.iter().map(|step| clean(step)).collect::<Vec<_>>().join(".")
}

fn fits(schema: &Json, node: &Node) -> bool {
    let kind = schema.get("type").and_then(Json::as_str).unwrap_or("any");
    match &node.value {
        Value::Map(_) => kind == "object",
        Value::List(_) => kind == "array",
        Value::Number(_) => kind == "number" || kind == "integer",
        Value::Bool(_) => kind == "boolean",
        Value::Text(_) => kind == "string",
        Value::Null => false,
    }
}

fn required(schema: &Json, name: &str) -> bool {
    schema.get("required").and_then(Json::as_array).is_some_and(|keys| keys.iter().any(|key| key == name))
}

fn source_of(property: &Json) -> String {
    property.get("x-source").and_then(Json::as_str).unwrap_or("none unless given").to_owned()
}

fn first_sentence(root: &Json, property: &Json) -> String {
    let text = keyword(root, property, "description").and_then(Json::as_str).unwrap_or_default();
    let sentence = text.split(". ").next().unwrap_or_default().trim_end_matches('.').replace('\n', " ");
    if sentence.is_empty() { String::new() } else { format!(" ({sentence})") }
}

/// Whole numbers must also fit the type that holds them; JSON floats above 2^53 are not exact and never do.
fn integer_fits(schema: &Json, value: &Value) -> bool {
    let Value::Number(number) = value else { return false };
    let as_integer = exact_integer(number);
    match schema.get("format").and_then(Json::as_str) {
        Some("uint32") => as_integer.is_some_and(|whole| u32::try_from(whole).is_ok()),
        Some("int32") => as_integer.is_some_and(|whole| i32::try_from(whole).is_ok()),
        Some("uint64") => as_integer.is_some_and(|whole| u64::try_from(whole).is_ok()),
        _ => as_integer.is_some(),
    }
}

fn exact_integer(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_u64() {
        return Some(i128::from(whole));
    }
    if let Some(whole) = number.as_i64() {
        return Some(i128::from(whole));
    }
    number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i128)
}
