//! The house rules that a compiler does not know: who may import whom, how long a file may be, that every file says its job,
//! that documents name things that exist. Method: read the repository as text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A row may use the modules named (and itself). The graph has no cycle.
const IMPORTS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("json", &[]),
    ("policy", &["units"]),
    ("scheduler", &["units", "json", "policy"]),
    ("workload", &["units"]),
    ("ledger", &["units", "scheduler"]),
    ("metrics", &["units", "scheduler"]),
    ("results", &["units", "json"]),
    ("report", &["results", "units"]),
    ("sim", &["units", "workload", "policy", "scheduler"]),
    ("scenario", &["units", "workload", "policy", "scheduler", "sim"]),
    ("real", &["units", "json", "policy", "scheduler", "ledger", "metrics", "results"]),
    ("worker", &[]),
    (
        "lab",
        &[
            "units",
            "json",
            "policy",
            "scheduler",
            "ledger",
            "metrics",
            "results",
            "scenario",
            "sim",
            "workload",
            "experiment",
        ],
    ),
    ("experiment", &["sim", "ledger", "metrics", "results", "policy", "scheduler", "units"]),
];

/// Longest file, tests included: one sitting.
const LINES_MAX: usize = 500;

/// What the modules that must give the same answer everywhere never name, and which of them are let off.
const IMPURE: &[(&str, &[&str])] = &[
    ("Instant", &[]),
    ("SystemTime", &[]),
    ("HashMap", &[]),
    ("HashSet", &[]),
    ("RandomState", &[]),
    ("std::env", &[]),
    ("std::net", &[]),
    ("std::process", &[]),
    ("std::thread", &[]),
    ("rand::rng", &[]),
    ("thread_rng", &[]),
    ("from_entropy", &[]),
    ("from_os_rng", &[]),
    ("clippy::disallowed", &[]),
    ("stdin", &[]),
    ("stdout", &[]),
    ("stderr", &[]),
    // Traces are read as a stream, files of results are written where their shape is defined.
    ("std::fs", &["workload", "results"]),
    ("File", &["workload", "results"]),
];

const PURE: [&str; 9] = ["units", "json", "policy", "scheduler", "workload", "sim", "ledger", "metrics", "results"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of the endings, in order of path; nothing if there is no such folder.
pub fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
            if path.is_dir() {
                if !["target", ".git", "proptest-regressions"].contains(&name) {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("every file is below the root").display().to_string()
}

/// Path of the module that a file in `src` holds: `src/sim/plan.rs` is `["sim", "plan"]`, `src/sim/mod.rs` is `["sim"]`.
fn module(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = name(path).trim_end_matches(".rs").split('/').skip(1).map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The code of a file: comments and string literals on one line are cut out, and so is everything from its test module on.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests {").next().expect("split gives at least one part");
    product.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Test support in files of its own may import what it checks.
fn is_test_code(path: &Path) -> bool {
    module(path).iter().any(|part| part == "tests" || part == "testing")
}

/// The modules named right after `crate::`, groups in braces included.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut at_start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if c.is_whitespace() => {}
                _ if at_start => {
                    at_start = false;
                    found.push(word(&group[at..]));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in files("src", &[".rs"]).iter().filter(|path| !is_test_code(path)) {
        let module = module(path);
        let Some(top) = module.first().filter(|top| *top != "cli") else { continue };
        let allowed =
            table.get(top.as_str()).unwrap_or_else(|| panic!("{top} has no row in the import table: give it one"));
        let code = code(&read(path));
        for import in imports(&code) {
            let is_module = import == "cli" || table.contains_key(import.as_str());
            if is_module && import != *top && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: crate::{import}", name(path)));
            }
        }
        // As many `super::` as the file is deep lead to the crate's root, past the table.
        if code.contains(&"super::".repeat(module.len())) {
            wrong.push(format!("{}: super:: up to the root; write crate::", name(path)));
        }
    }
    assert!(wrong.is_empty(), "not in the import table:\n{}", wrong.join("\n"));
}

#[test]
fn the_import_table_has_no_cycle() {
    let mut settled: Vec<&str> = Vec::new();
    while let Some((next, _)) =
        IMPORTS.iter().find(|(row, uses)| !settled.contains(row) && uses.iter().all(|used| settled.contains(used)))
    {
        settled.push(next);
    }
    assert_eq!(settled.len(), IMPORTS.len(), "rows in or behind a cycle: all but {settled:?}");
}

#[test]
fn imports_are_read_from_paths_and_from_groups() {
    let code = "use crate::units::{Time, Span};\nuse crate::{policy::Phase, sim};\nfn f() -> crate::ledger::Bill {}";
    assert_eq!(imports(code), ["units", "policy", "sim", "ledger"]);
}

#[test]
fn pure_modules_name_no_clock_no_chance_and_no_outside() {
    let mut wrong = Vec::new();
    for path in files("src", &[".rs"]).iter().filter(|path| !is_test_code(path)) {
        let Some(top) = module(path).into_iter().next().filter(|top| PURE.contains(&top.as_str())) else { continue };
        let code = code(&read(path));
        let named = |word: &str| {
            code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).any(|path| {
                path == word || path.starts_with(&format!("{word}::")) || path.ends_with(&format!("::{word}"))
            })
        };
        for (word, let_off) in IMPURE {
            if named(word) && !let_off.contains(&top.as_str()) {
                wrong.push(format!("{}: {word}", name(path)));
            }
        }
    }
    assert!(wrong.is_empty(), "in modules whose answers depend on their arguments alone:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_its_job_and_is_one_sitting_long() {
    let mut wrong = Vec::new();
    for path in ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        let text = read(&path);
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: the first line is not `//! what this file does`", name(&path)));
        }
        if text.lines().count() > LINES_MAX {
            wrong.push(format!("{}: {} lines, at most {LINES_MAX}", name(&path), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_scenario_asks_its_question_in_the_header() {
    let all = files("scenarios", &[".yaml"]);
    assert!(all.len() >= 10, "only {} scenarios", all.len());
    for path in all {
        let text = read(&path);
        let header = text.lines().take_while(|line| line.starts_with('#')).count();
        assert!(
            header >= 2,
            "{}: begin with a comment: the question, and what the answer should look like",
            name(&path)
        );
    }
}

#[test]
fn nothing_half_done_and_no_path_of_one_machine_is_checked_in() {
    // In two halves, so that this list does not find itself.
    let words: Vec<String> = [
        ("to", "do!("),
        ("unimpl", "emented!("),
        ("FIX", "ME"),
        ("#[ig", "nore"),
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/t", "mp/"),
    ]
    .map(|(head, tail)| format!("{head}{tail}"))
    .to_vec();
    let mut wrong = Vec::new();
    for path in files(".", &[".rs", ".md", ".toml", ".yaml", ".txt", "run"]) {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                wrong.push(format!("{}:{}: {word}", name(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines of the fenced shell blocks of a document, without a prompt and without comments.
fn shell_lines(document: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in read(&root().join(document)).lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside && ["sh", "console"].contains(&language);
        } else if inside {
            let line = line.trim_start_matches("$ ").split(" #").next().unwrap_or("").trim();
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The arguments of a line that runs the command, by name or through cargo; `None` for any other line.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.split([';', '|', '>']).next().unwrap_or("").trim();
    let rest = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("thermocline "))?;
    Some(rest.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect())
}

#[test]
fn the_commands_in_the_documents_can_be_typed() {
    let mut checked = 0;
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        for line in shell_lines(document) {
            let Some(arguments) = arguments(&line) else { continue };
            let all = std::iter::once("thermocline".to_owned()).chain(arguments.iter().cloned());
            if let Err(error) = thermocline::cli::command().try_get_matches_from(all) {
                assert!(!error.use_stderr(), "{document}: `{line}`: {error}");
            }
            for file in arguments.iter().filter(|word| word.starts_with("scenarios/")) {
                assert!(root().join(file).exists(), "{document}: `{line}`: there is no {file}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} commands found: has the form of the shell blocks changed?");
}

#[test]
fn the_paths_in_the_documents_exist() {
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = read(&root().join(document));
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "scenarios/", "benches/", "reports/", "policies/", ".ci/"]
                .iter()
                .any(|folder| quoted.starts_with(folder));
            let is_one = !quoted.contains(['*', ' ', '<', '{', '\n']);
            assert!(!is_path || !is_one || root().join(quoted).exists(), "{document}: there is no {quoted}");
        }
    }
}
