//! Application files: YAML as a user types it, checked, and lowered once to the plan of a run.
//!
//! The way of a file: text -> tree with places ([`parse`], [`read`]) -> policies laid over it ([`overlay`]) -> `--set` ([`set`])
//! -> presets and other words ([`expand`]) -> held against the schema, defaults filled in ([`check`]) -> types ([`types`]) ->
//! [`Plan`] ([`lower`]). The tree as it is after the defaults is the effective configuration ([`effective`]). The only files
//! opened here are the application file, what it includes and schemas that it names; traces are only looked for. The same file
//! for real mode: [`serving`].

pub mod check;
pub mod describe;
pub mod effective;
pub mod expand;
pub mod forms;
pub mod lower;
pub mod node;
pub mod overlay;
pub mod parse;
pub mod presets;
pub mod prices;
pub mod problem;
pub mod read;
pub mod schema;
pub mod scripts;
pub mod serving;
pub mod set;
pub mod types;

use std::path::Path;

pub use effective::EffectiveConfig;
pub use overlay::Overlay;
pub use problem::{Problem, Problems};
pub use types::Profile;

use crate::sim::plan::Plan;
use check::{Checker, Fill};
use node::{Node, Sources, clean, printable};

/// A file that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What is simulated.
    pub plan: Plan,
    /// What does not change the run, only its evaluation.
    pub settings: Settings,
    /// Every setting with its source.
    pub effective: EffectiveConfig,
    /// Remarks that are no mistakes, such as a setting that has no effect.
    pub notes: Vec<String>,
}

/// How a run is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the scenario: the file's name without its ending.
    pub name: String,
    /// The file's own description; empty if it has none.
    pub description: String,
    /// Which reading of the platform is shown first; the ledger computes both.
    pub profile: Profile,
    /// Billed spans are rounded up to whole seconds (contract §6).
    pub round_up: bool,
    /// Theory's conditions were asked for.
    pub clean: bool,
}

/// Reads the application file at `path`, applies `overrides` (`path=value`) and lowers it.
///
/// # Errors
/// Every mistake of one stage at once, at most 20 listed: first those of YAML, then those of shape, then those of meaning.
pub fn load(path: &Path, overrides: &[String]) -> Result<Scenario, Problems> {
    load_with(path, &[], overrides)
}

/// The same with policies laid over every endpoint, below `overrides`.
///
/// # Errors
/// As [`load`], and if a policy is not one.
pub fn load_with(path: &Path, policies: &[Overlay], overrides: &[String]) -> Result<Scenario, Problems> {
    of_file(path, |input| build(input, policies, overrides))
}

/// The same for a text: `name` stands for the file in messages, relative paths are taken from `base`.
///
/// # Errors
/// As [`load`].
pub fn from_str(text: &str, name: &str, base: &Path, overrides: &[String]) -> Result<Scenario, Problems> {
    from_str_with(text, name, base, &[], overrides)
}

/// As [`from_str`], with policies as in [`load_with`].
///
/// # Errors
/// As [`load_with`].
pub fn from_str_with(
    text: &str,
    name: &str,
    base: &Path,
    policies: &[Overlay],
    overrides: &[String],
) -> Result<Scenario, Problems> {
    of_text(text, name, base, |input| build(input, policies, overrides))
}

struct Input<'a> {
    text: &'a str,
    shown: &'a str,
    name: &'a str,
    base: &'a Path,
    resolved: &'a Path,
}

fn of_file<T>(path: &Path, build: impl FnOnce(&Input<'_>) -> Result<T, Problems>) -> Result<T, Problems> {
    let shown = printable(&path.display().to_string());
    let text = read::text(path, &shown)?;
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_stem().map_or_else(String::new, |stem| clean(&stem.to_string_lossy()));
    let base = path.parent().unwrap_or(Path::new(""));
    build(&Input { text: &text, shown: &shown, name: &name, base, resolved: &resolved })
}

fn of_text<T>(
    text: &str,
    name: &str,
    base: &Path,
    build: impl FnOnce(&Input<'_>) -> Result<T, Problems>,
) -> Result<T, Problems> {
    let resolved = base.canonicalize().unwrap_or_else(|_| base.to_owned()).join(name);
    build(&Input { text, shown: name, name, base, resolved: &resolved })
}

/// What the file says, with its includes, policies laid over it, and `--set`.
fn read_tree(
    input: &Input<'_>,
    policies: &[Overlay],
    overrides: &[String],
    sources: &mut Sources,
) -> Result<Node, Problems> {
    let root = input.resolved.parent().unwrap_or(Path::new("")).to_owned();
    let mut tree = read::Reader::new(root, input.base, sources).layered(input.text, input.shown, input.resolved)?;
    overlay::apply(&mut tree, policies, sources)?;
    set::apply(&mut tree, overrides, sources)?;
    Ok(tree)
}

/// Takes in the policies that are files of their own.
fn attach_scripts(tree: &mut Node, input: &Input<'_>, sources: &Sources, problems: &mut Problems) {
    let root = input.resolved.parent().unwrap_or(Path::new(""));
    scripts::attach(tree, &scripts::Folder { root, shown: input.base }, sources, problems);
}

fn build(input: &Input<'_>, policies: &[Overlay], overrides: &[String]) -> Result<Scenario, Problems> {
    let mut sources = Sources::default();
    let mut tree = read_tree(input, policies, overrides, &mut sources)?;
    let mut problems = Problems::default();
    attach_scripts(&mut tree, input, &sources, &mut problems);
    expand::expand(&mut tree, &sources, &mut problems);
    check_whole(&mut tree, &sources, &mut problems);
    std::mem::take(&mut problems).check()?;
    lower::hosts::add_default_pool(&mut tree);
    let lowered = lower::lower(&tree, &sources, input.base, &mut problems);
    std::mem::take(&mut problems).check()?;
    let Some(lowered) = lowered else { return Err(lower::unreadable(input.shown).into()) };
    let settings = Settings { name: input.name.to_owned(), ..lowered.settings };
    let effective = EffectiveConfig { tree, sources };
    Ok(Scenario { plan: lowered.plan, settings, effective, notes: lowered.notes })
}

fn build_serving(input: &Input<'_>, overrides: &[String]) -> Result<serving::Serving, Problems> {
    let mut sources = Sources::default();
    let mut tree = read_tree(input, &[], overrides, &mut sources)?;
    let mut problems = Problems::default();
    serving::prepare(&mut tree);
    attach_scripts(&mut tree, input, &sources, &mut problems);
    expand::expand(&mut tree, &sources, &mut problems);
    check_whole(&mut tree, &sources, &mut problems);
    std::mem::take(&mut problems).check()?;
    let lowered = lower::serve::lower(&tree, &sources, input.base, &mut problems);
    std::mem::take(&mut problems).check()?;
    let Some((plan, notes)) = lowered else { return Err(lower::unreadable(input.shown).into()) };
    let effective = EffectiveConfig { tree, sources };
    Ok(serving::Serving { name: input.name.to_owned(), base: input.base.to_owned(), plan, effective, notes })
}

fn check_whole(tree: &mut Node, sources: &Sources, problems: &mut Problems) {
    let root = schema::application();
    Checker { root, sources, problems, fill: Fill::Whole }.check(root, tree, &mut Vec::new());
}

#[cfg(test)]
mod tests;
