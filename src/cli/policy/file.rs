//! Policy files in Starlark, as `policy list`, `show` and `check` take them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::{KINDS, Param, Row, common, param};
use crate::lab::candidate::Candidate;
use crate::policy::starlark::{self, Program, StarlarkError, trial, view};
use crate::policy::{ParamValue, PolicyChoice, wrap};
use crate::scenario::node::printable;
use crate::scenario::{self, read};
use crate::scheduler::PolicySet;

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
    // Common keys of scaling policies go round a file that does not declare them itself.
    let declared = Program::compile(&shown, &text, &BTreeMap::new()).map_err(told)?;
    let mut own = params.clone();
    own.retain(|name, _| !is_common(&declared, name));
    let compiled = || Program::compile(&shown, &text, &own);
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

/// True for a common key of scaling policies that the file does not declare as a parameter of its own.
pub(super) fn is_common(program: &Program, name: &str) -> bool {
    let own = program.params().iter().any(|param| param.name == name);
    !own && wrap::PARAMS.iter().any(|common| common.name == name)
}

/// True for a file of settings: `policies/slo_cost.yaml`.
pub(super) fn is_settings(typed: &str) -> bool {
    Path::new(typed).extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// An endpoint to lay a policy file over; what it serves does not matter.
const ENDPOINT: &str =
    "max_jobs: 1\nendpoints:\n  any: {preset: sdxl-image-4090, traffic: {type: poisson, rate_per_s: 1}}\n";

/// What a file of settings says of itself, and the policies that an endpoint has with it.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn settings(typed: &str) -> Result<(Candidate, PolicySet), Failure> {
    let candidate = Candidate::of_file(Path::new(typed))?;
    let mut scenario = scenario::from_str_with(ENDPOINT, "any", Path::new(""), &candidate.overlays, &[])?;
    Ok((candidate, scenario.plan.endpoints.remove(0).spec.policies))
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
