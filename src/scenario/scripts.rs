//! Policies in files of their own language: `scaler: {type: policies/mine.star, ...}`. Their text is taken into the tree as
//! `source`, so that the effective configuration, the plan and a restart hold it; their parameters are checked and filled in
//! like those of the registry, whose schema knows nothing of them.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::forms::{name_items, unfold_word};
use super::node::{Node, Origin, Sources, Value, clean, printable};
use super::problem::{Problem, Problems};
use super::read;
use super::types::numbers::duration;
use crate::policy::starlark::{self, Program, StarlarkError, params, trial};
use crate::policy::{ParamValue, Params, PolicyChoice, wrap};

/// The decisions that a file can take, with the function that takes each.
pub const KINDS: [(&str, &str); 2] = [("scaler", "advise"), ("keep_alive", "idle_timeout")];

/// Key under which the text stands.
pub const SOURCE: &str = "source";

/// Where the files are looked for.
pub struct Folder<'a> {
    /// The folder of the main file, resolved: nothing outside it is read.
    pub root: &'a Path,
    /// The same folder as the user wrote it.
    pub shown: &'a Path,
}

/// Takes in the policies of all endpoints and updates below `root`.
pub fn attach(root: &mut Node, folder: &Folder<'_>, sources: &Sources, problems: &mut Problems) {
    let mut reader = Reader { folder, sources, problems };
    if let Some(endpoints) = root.get_mut("endpoints") {
        name_items(endpoints);
        for entry in endpoints.as_map_mut().map(|map| map.entries.as_mut_slice()).unwrap_or_default() {
            reader.settings(&mut entry.node, &format!("endpoints.{}", clean(&entry.key)));
        }
    }
    let Some(actions) = root.get_mut("actions") else { return };
    let items: &mut [Node] = match &mut actions.value {
        Value::List(items) => items,
        Value::Map(_) => std::slice::from_mut(actions),
        _ => return,
    };
    for (index, action) in items.iter_mut().enumerate() {
        if let Some(settings) = action.get_mut("set") {
            reader.settings(settings, &format!("actions.{index}.set"));
        }
    }
}

/// True for a policy whose text has been taken in.
pub fn is_attached(node: &Node) -> bool {
    let name = node.get("type").and_then(Node::as_text);
    name.is_some_and(starlark::is_file) && node.get(SOURCE).is_some()
}

/// Whether idle workers leave by a timeout under this scaler: `None` if it is not one in a file.
pub fn uses_idle_timeout(scaler: &Node) -> Option<bool> {
    let name = scaler.get("type").and_then(Node::as_text).filter(|name| starlark::is_file(name))?;
    let text = scaler.get(SOURCE).and_then(Node::as_text)?;
    Some(Program::compile(name, text, &BTreeMap::new()).map_or(true, |program| program.uses_idle_timeout()))
}

struct Reader<'a> {
    folder: &'a Folder<'a>,
    sources: &'a Sources,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn settings(&mut self, settings: &mut Node, path: &str) {
        for (kind, function) in KINDS {
            let Some(node) = settings.get_mut(kind) else { continue };
            let named = |node: &Node| node.as_text().is_some_and(starlark::is_file);
            if named(node) {
                unfold_word(node, "type");
            }
            if node.get("type").is_some_and(named) {
                self.policy(node, function, &format!("{path}.{kind}"));
            }
        }
    }

    fn policy(&mut self, node: &mut Node, function: &str, path: &str) {
        let Some(typed) = node.get("type").cloned() else { return };
        let name = typed.as_text().unwrap_or_default().to_owned();
        let (text, shown) = match node.get(SOURCE) {
            Some(given) => (given.as_text().map(str::to_owned), clean(&name)),
            None => self.text(&typed, &name, path),
        };
        let text = text.unwrap_or_default();
        let origin = Origin::Default(format!("the file {shown}"));
        if let Some(map) = node.as_map_mut() {
            // Set even where it could not be read: that has been told.
            map.set_if_absent(SOURCE, || Node::text(&text, origin));
        }
        if text.is_empty() {
            return;
        }
        match Program::compile(&shown, &text, &BTreeMap::new()) {
            Err(errors) => errors.iter().for_each(|error| self.wrong(error, path)),
            Ok(program) => self.checked(node, program, (&shown, &text, function), path),
        }
    }

    /// The text of a file and how it is called in messages. A file names what is below the folder of the main file; what was
    /// typed on the command line is looked for where it was typed.
    fn text(&mut self, typed: &Node, name: &str, path: &str) -> (Option<String>, String) {
        if matches!(typed.origin, Origin::Set { .. }) {
            let shown = printable(name);
            return (self.content(Path::new(name), &shown, typed, path), shown);
        }
        let shown = printable(&self.folder.shown.join(name).display().to_string());
        let inside = "a relative path below the folder of the main file";
        let escapes =
            Path::new(name).components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_)));
        let resolved = match self.folder.root.join(name).canonicalize() {
            _ if escapes => {
                self.problem(typed, path, typed.shown(), inside, "");
                return (None, shown);
            }
            Err(_) => {
                let found = format!("{}: no such file", typed.shown());
                self.problem(typed, path, found, inside, "check the path, or write one with `thermocline policy new`");
                return (None, shown);
            }
            Ok(resolved) => resolved,
        };
        if !resolved.starts_with(self.folder.root) {
            let found = format!("{} leads out of the folder", typed.shown());
            self.problem(typed, path, found, inside, "move the file below it");
            return (None, shown);
        }
        (self.content(&resolved, &shown, typed, path), shown)
    }

    fn content(&mut self, file: &Path, shown: &str, typed: &Node, path: &str) -> Option<String> {
        let (found, allowed) = match read::text(file, shown) {
            Ok(text) if !text.trim().is_empty() => return Some(text),
            Ok(_) => ("the file is empty".to_owned(), "a policy in Starlark"),
            Err(problem) => (problem.found, "a policy in Starlark"),
        };
        self.problem(typed, path, format!("{}: {found}", typed.shown()), allowed, "");
        None
    }

    /// A file that is right by itself: its parameters, what is missing, and a trial.
    fn checked(&mut self, node: &mut Node, program: Program, file: (&str, &str, &str), path: &str) {
        let (shown, text, function) = file;
        let has = if function == "advise" { program.scales() } else { program.keeps_alive() };
        if !has {
            return self.wrong(&program.missing(function), path);
        }
        let Some(given) = self.params(node, &program, function, path) else { return };
        if let Some(map) = node.as_map_mut() {
            for param in program.params() {
                let origin = Origin::Default(format!("{shown}: PARAMS"));
                map.set_if_absent(&param.name, || of_param(&param.kind.default_value(), &origin));
            }
        }
        let tried = match Program::compile(shown, text, &given) {
            Ok(program) if function == "advise" => trial::scaling(program),
            Ok(program) => trial::keep_alive(program),
            Err(errors) => return errors.iter().for_each(|error| self.wrong(error, path)),
        };
        if let Err(error) = tried {
            self.wrong(&error, path);
        }
    }

    /// The parameters given, each held against what the file declares. `None` if one is wrong.
    fn params(
        &mut self,
        node: &mut Node,
        program: &Program,
        function: &str,
        path: &str,
    ) -> Option<BTreeMap<String, ParamValue>> {
        let known = self.problems.count();
        let mut all = BTreeMap::new();
        for entry in &mut node.as_map_mut()?.entries {
            if ["type", SOURCE].contains(&entry.key.as_str()) {
                continue;
            }
            let path = format!("{path}.{}", clean(&entry.key));
            if entry.key.ends_with("_s")
                && let Some(seconds) = entry.node.as_text().and_then(duration)
            {
                entry.node.value = Value::Number(super::node::number_of(seconds));
            }
            let Some(value) = to_param(&entry.node) else {
                self.problem(&entry.node, &path, entry.node.shown(), "a number, a word, true or false", "");
                continue;
            };
            let declared = program.params().iter().any(|param| param.name == entry.key);
            let one = BTreeMap::from([(entry.key.clone(), value.clone())]);
            let wrapped = function == "advise" && wrap::PARAMS.iter().any(|param| param.name == entry.key);
            let problem = if !declared && wrapped {
                let choice = PolicyChoice { params: one, ..PolicyChoice::named("common") };
                Params::check(&choice, wrap::PARAMS).err().map(|error| error.to_string())
            } else {
                let found = params::values(program.params(), &one).err().map(|(_, problem)| problem);
                drop(all.insert(entry.key.clone(), value));
                found
            };
            if let Some(problem) = problem {
                let place = Node::new(Value::Null, entry.origin.clone());
                self.problem(&place, &path, problem, "", "");
            }
        }
        (self.problems.count() == known).then_some(all)
    }

    fn wrong(&mut self, error: &StarlarkError, path: &str) {
        self.problems.push(Problem {
            place: error.place(),
            path: path.to_owned(),
            found: error.what(),
            allowed: String::new(),
            fix: String::new(),
        });
    }

    fn problem(&mut self, node: &Node, path: &str, found: String, allowed: &str, fix: &str) {
        self.problems.push(Problem {
            place: self.sources.describe(&node.origin),
            path: path.to_owned(),
            found,
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        });
    }
}

fn to_param(node: &Node) -> Option<ParamValue> {
    match &node.value {
        Value::Bool(on) => Some(ParamValue::Bool(*on)),
        Value::Number(number) => number.as_f64().map(ParamValue::Number),
        Value::Text(text) => Some(ParamValue::Text(text.clone())),
        _ => None,
    }
}

fn of_param(value: &ParamValue, origin: &Origin) -> Node {
    match value {
        ParamValue::Bool(on) => Node::new(Value::Bool(*on), origin.clone()),
        ParamValue::Number(number) => Node::number(*number, origin.clone()),
        ParamValue::Text(text) => Node::text(text, origin.clone()),
    }
}
