//! Files from outside: read whole within a limit, regular files only, and included ones only from below the main file's folder.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::forms::name_items;
use super::node::{Node, Origin, Sources, Value, clean, printable};
use super::parse::{MAX_BYTES, parse};
use super::problem::{Problem, Problems};

/// Most files that include each other.
const MAX_INCLUDE_DEPTH: usize = 8;
/// Most files in all.
const MAX_FILES: usize = 64;
/// Sections whose content has names: they are brought to one form before files are laid over each other.
const NAMED: [&str; 3] = ["endpoints", "hosts", "images"];

/// The whole of a regular file as text. At most one byte more than the limit is ever read.
pub fn text(path: &Path, shown: &str) -> Result<String, Problem> {
    let refuse = |found: &str, allowed: &str, fix: &str| Problem {
        place: shown.to_owned(),
        path: String::new(),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
        fix: fix.to_owned(),
    };
    let metadata =
        std::fs::metadata(path).map_err(|error| refuse(&not_opened(&error), "a YAML file", "check the path"))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(refuse(found, "a regular file", ""));
    }
    let file = File::open(path).map_err(|error| refuse(&not_opened(&error), "a YAML file", "check its permissions"))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(&format!("cannot be read: {error}"), "a YAML file", ""))?;
    if bytes.len() > MAX_BYTES {
        return Err(refuse("more than 1 MiB", "at most 1 MiB", "split it with `include:`, or put data into a trace"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("not UTF-8", "a YAML file in UTF-8", "save it as UTF-8"))
}

fn not_opened(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => format!("cannot be opened: {error}"),
    }
}

/// A file with everything that it includes laid under it.
pub struct Reader<'a> {
    /// Folder of the main file, resolved: nothing above it is ever included.
    pub root: PathBuf,
    /// The same folder as the user wrote it, for messages.
    pub shown_root: PathBuf,
    /// Names for messages.
    pub sources: &'a mut Sources,
    /// Files that are being read, the main one first.
    open: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    /// A reader for a main file in `root` (resolved).
    pub fn new(root: PathBuf, shown_root: &Path, sources: &'a mut Sources) -> Reader<'a> {
        Reader { root, shown_root: shown_root.to_owned(), sources, open: Vec::new() }
    }

    /// Parses `content` of the file called `shown` at `path` and lays it over what it includes.
    pub fn layered(&mut self, content: &str, shown: &str, path: &Path) -> Result<Node, Problems> {
        let file = u16::try_from(self.sources.files.len()).expect("at most 64 files are read");
        self.sources.files.push(shown.to_owned());
        let mut main = parse(content, shown, &|line, column| Origin::File { file, line, column })?;
        if main.as_map().is_none() {
            return Err(self.problem(&main, "", main.shown(), "a map with `endpoints`", "").into());
        }
        for section in NAMED {
            if let Some(node) = main.get_mut(section) {
                name_items(node);
            }
        }
        let includes = main.as_map_mut().and_then(|map| map.remove("include"));
        let Some(includes) = includes else { return Ok(main) };
        let wanted = match includes.node.value {
            Value::List(items) => items,
            _ => vec![includes.node],
        };
        self.open.push(path.to_owned());
        let mut merged = Node::map(main.origin.clone());
        for node in &wanted {
            let below = self.included(node, path)?;
            merged.lay_over(below);
        }
        self.open.pop();
        merged.lay_over(main);
        Ok(merged)
    }

    fn included(&mut self, node: &Node, from: &Path) -> Result<Node, Problems> {
        let Some(typed) = node.as_text() else {
            return Err(self.problem(node, "include", node.shown(), "a path or a list of paths", "").into());
        };
        if self.open.len() >= MAX_INCLUDE_DEPTH || self.sources.files.len() >= MAX_FILES {
            let allowed = "8 files deep, 64 files in all";
            return Err(self.problem(node, "include", "too many files".to_owned(), allowed, "").into());
        }
        let inside = "a relative path below the folder of the main file";
        let escapes =
            Path::new(typed).components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_)));
        let joined = from.parent().unwrap_or(Path::new("")).join(typed);
        let resolved = match joined.canonicalize() {
            Ok(resolved) if !escapes => resolved,
            _ if escapes => return Err(self.problem(node, "include", node.shown(), inside, "").into()),
            _ => {
                let found = format!("{}: no such file", node.shown());
                return Err(self.problem(node, "include", found, inside, "check the path").into());
            }
        };
        if !resolved.starts_with(&self.root) {
            let found = format!("{} leads out of the folder", node.shown());
            return Err(self.problem(node, "include", found, inside, "move the file below it").into());
        }
        if self.open.contains(&resolved) {
            let found = format!("a cycle: {}", self.cycle(&resolved));
            return Err(self.problem(node, "include", found, "files that do not include themselves", "").into());
        }
        let shown = printable(&self.shown_root.join(self.shown(&resolved)).display().to_string());
        let content = text(&resolved, &shown).map_err(|mut problem| {
            let place = self.sources.describe(&node.origin);
            problem.found = format!("{}: {}", clean(typed), problem.found);
            Problem { place, path: "include".to_owned(), ..problem }
        })?;
        self.layered(&content, &shown, &resolved)
    }

    /// `a.yaml -> b.yaml -> a.yaml`.
    fn cycle(&self, again: &Path) -> String {
        let start = self.open.iter().position(|open| open == again).unwrap_or(0);
        let mut names: Vec<String> = self.open[start..].iter().map(|open| self.shown(open)).collect();
        names.push(self.shown(again));
        names.join(" -> ")
    }

    fn shown(&self, path: &Path) -> String {
        printable(&path.strip_prefix(&self.root).unwrap_or(path).display().to_string())
    }

    fn problem(&self, node: &Node, path: &str, found: String, allowed: &str, fix: &str) -> Problem {
        Problem {
            place: self.sources.describe(&node.origin),
            path: path.to_owned(),
            found,
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        }
    }
}
