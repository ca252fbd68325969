//! Policy files in Starlark, as `policy list`, `show` and `check` take them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::{KINDS, Param, Row, common, param};
use crate::policy::starlark::{self, Program, StarlarkError, trial, view};
use crate::policy::{ParamValue, PolicyChoice};
use crate::scenario::node::printable;
use crate::scenario::read;

/// The files of the folder `policies`, in order of name; none if there is no such folder.
pub(super) fn files() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("policies") else { return Vec::new() };
    let is_policy = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "star");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_policy).collect();
    paths.sort();
    paths
}

/// A file as a choice, with parameters, checked and tried.
///
/// # Errors
/// Everything that is wrong with it, a line each.
pub(super) fn choice(typed: &str, params: &BTreeMap<String, ParamValue>) -> Result<(PolicyChoice, Program), Failure> {
    let shown = printable(typed);
    let text = read::text(Path::new(typed), &shown).map_err(|problem| {
        Failure::Input(format!("{}: {}; `thermocline policy new` writes a policy", problem.place, problem.found))
    })?;
    let told = |errors: Vec<StarlarkError>| {
        Failure::Input(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let compiled = || Program::compile(&shown, &text, params);
    let program = compiled().map_err(told)?;
    if !program.scales() && !program.keeps_alive() {
        return Err(told(vec![program.missing("advise")]));
    }
    if program.scales() {
        trial::scaling(compiled().map_err(told)?).map_err(|error| told(vec![error]))?;
    }
    if program.keeps_alive() {
        trial::keep_alive(compiled().map_err(told)?).map_err(|error| told(vec![error]))?;
    }
    let choice = PolicyChoice { name: shown, params: params.clone(), source: Some(text) };
    Ok((choice, program))
}

/// The rows of a file: one for each decision that it takes.
///
/// # Errors
/// As [`choice`].
pub(super) fn rows(typed: &str) -> Result<Vec<Row>, Failure> {
    let (choice, program) = choice(typed, &BTreeMap::new())?;
    let kinds = [(KINDS[0], program.scales()), (KINDS[1], program.keeps_alive())];
    let row = |kind: &'static str| Row {
        kind,
        name: choice.name.clone().into(),
        summary: program.summary().to_owned().into(),
        formula: "see the file".into(),
        source: choice.name.clone().into(),
        weakness: format!("`thermocline policy check {}` looks for it", choice.name).into(),
        params: program.params().iter().map(of_file).collect(),
        common: common(kind).iter().map(param).collect(),
    };
    Ok(kinds.into_iter().filter(|(_, has)| *has).map(|(kind, _)| row(kind)).collect())
}

fn of_file(param: &starlark::StarParam) -> Param {
    let unit = if param.unit.is_empty() { String::new() } else { format!(" ({})", param.unit) };
    Param {
        name: param.name.clone().into(),
        allowed: param.kind.allowed() + &unit,
        default: param.kind.default_value(),
        meaning: param.doc.clone().into(),
    }
}

/// What a scaling policy in a file sees, a line each.
pub(super) fn fields() -> String {
    let lines = view::FIELDS.iter().map(|field| format!("  obs.{:<16} {}\n", field.name, field.doc));
    format!("\nWhat `advise` sees:\n{}", lines.collect::<String>())
}
