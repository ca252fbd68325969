//! `policy list` and `policy show NAME`: what the registry and policy files hold, for people and as JSON; `policy new` and
//! `policy check` for policies of one's own.

mod check;
mod file;
mod new;

use std::borrow::Cow;
use std::path::Path;

use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{Failure, output};
use crate::lab::candidate::{self, Candidate};
use crate::policy::params::near;
use crate::policy::registry::{self, Entry};
use crate::policy::{ParamSpec, ParamValue, starlark, wrap};

/// What can be typed after `policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    /// Every policy with one line on what it does
    List {
        /// Only this kind
        #[arg(long, value_name = "KIND", value_parser = KINDS)]
        kind: Option<String>,
        /// Print JSON, parameters included
        #[arg(long)]
        json: bool,
    },
    /// One policy: formula, source, weakness, parameters with ranges and defaults
    Show {
        /// Name, as in `policy list`, or a policy file
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a policy file in Starlark that works at once
    New(new::NewArgs),
    /// Try a policy where the right answer is plain: does it wake, let go, settle, repeat itself?
    Check(check::CheckArgs),
}

/// The five decisions that are policies, as they are called in an application file.
const KINDS: [&str; 5] = ["scaling", "keep_alive", "dispatch", "placement", "eviction"];

/// An entry of the registry without its constructor.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: Cow<'static, str>,
    summary: Cow<'static, str>,
    formula: Cow<'static, str>,
    source: Cow<'static, str>,
    weakness: Cow<'static, str>,
    params: Vec<Param>,
    /// Keys that every policy of its kind has besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    common: Vec<Param>,
}

#[derive(Debug, Serialize)]
struct Param {
    name: Cow<'static, str>,
    allowed: String,
    default: ParamValue,
    meaning: Cow<'static, str>,
}

pub(super) fn run(args: &PolicyArgs) -> Result<(), Failure> {
    match &args.verb {
        PolicyVerb::New(args) => new::run(args),
        PolicyVerb::Check(args) => check::run(args),
        PolicyVerb::List { kind, json } => {
            let mut rows = rows();
            rows.extend(of_folder());
            rows.retain(|row| kind.as_deref().is_none_or(|kind| row.kind == kind));
            if *json { output::answer_json(&rows) } else { output::answer(&(listing(&rows) + &further())) }
        }
        PolicyVerb::Show { name, json } if file::is_settings(name) => show_settings(name, *json),
        PolicyVerb::Show { name, json } => {
            let found = named(name)?;
            if *json {
                return output::answer_json(&found);
            }
            let mut pages = found.iter().map(details).collect::<Vec<_>>().join("\n");
            if starlark::is_file(name) && found.iter().any(|row| row.kind == KINDS[0]) {
                pages += &file::fields();
            }
            output::answer(&pages)
        }
    }
}

/// A file of settings: what it says of itself, its text, and the pages of the policies that it names.
fn show_settings(typed: &str, json: bool) -> Result<(), Failure> {
    let (candidate, policies) = file::settings(typed)?;
    let mut found = named(&policies.scaling.name)?;
    found.retain(|row| row.kind == KINDS[0]);
    let idle = named(&policies.keep_alive.name)?;
    found.extend(idle.into_iter().filter(|row| row.kind == KINDS[1]));
    if json {
        return output::answer_json(&found);
    }
    let text = candidate.overlays.first().map_or("", |overlay| overlay.text.trim_end());
    let pages = found.iter().map(details).collect::<Vec<_>>().join("\n");
    output::answer(&format!("{}: {}\n\n{text}\n\nIts policies:\n\n{pages}", candidate.name, candidate.summary))
}

/// What belongs to the list and is no policy of its own: files of settings, and keys of all scalers.
fn further() -> String {
    let common: Vec<&str> = wrap::PARAMS.iter().map(|spec| spec.name).collect();
    let mut text = format!(
        "\nEvery scaling policy also takes: {}.\nWhat they do: `thermocline policy show per_job`.\n",
        common.join(", ")
    );
    let files: Vec<String> =
        candidate::files(Path::new(candidate::FOLDER)).iter().filter_map(|path| line(path)).collect();
    if !files.is_empty() {
        text += "\nFiles of settings for a whole endpoint, for `--policy` and `policy show`:\n";
        text += &files.concat();
    }
    text
}

fn line(path: &Path) -> Option<String> {
    let shown = path.display().to_string();
    let candidate = file::is_settings(&shown).then(|| Candidate::of_file(path).ok())??;
    Some(format!(" {shown:<36} {}\n", candidate.summary))
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    collect(&mut rows, KINDS[0], registry::SCALING);
    collect(&mut rows, KINDS[1], registry::KEEP_ALIVE);
    collect(&mut rows, KINDS[2], registry::DISPATCH);
    collect(&mut rows, KINDS[3], registry::PLACEMENT);
    collect(&mut rows, KINDS[4], registry::EVICTION);
    rows
}

fn collect<T: ?Sized>(rows: &mut Vec<Row>, kind: &'static str, entries: &'static [Entry<T>]) {
    rows.extend(entries.iter().map(|entry| Row {
        kind,
        name: entry.name.into(),
        summary: entry.summary.into(),
        formula: entry.formula.into(),
        source: entry.source.into(),
        weakness: entry.weakness.into(),
        params: entry.params.iter().map(param).collect(),
        common: common(kind).iter().map(param).collect(),
    }));
}

/// What every policy of this kind can be given besides its own parameters.
fn common(kind: &str) -> &'static [ParamSpec] {
    if kind == KINDS[0] { wrap::PARAMS } else { &[] }
}

fn param(spec: &ParamSpec) -> Param {
    let (allowed, default) = (spec.kind.allowed(), spec.kind.default_value());
    Param { name: spec.name.into(), allowed, default, meaning: spec.doc.into() }
}

/// The policy files of the folder `policies`; one that is wrong is told of and left out.
fn of_folder() -> Vec<Row> {
    let mut all = Vec::new();
    for path in file::files() {
        match file::rows(&path.display().to_string()) {
            Ok(rows) => all.extend(rows),
            Err(failure) => failure.to_string().lines().for_each(|line| output::note(&format!("note: {line}"))),
        }
    }
    all
}

/// The policies of this name: one name may stand in two kinds (`fixed` is a scaling and a keep-alive policy).
fn named(name: &str) -> Result<Vec<Row>, Failure> {
    if starlark::is_file(name) {
        return file::rows(name);
    }
    let all = rows();
    let names: Vec<String> = all.iter().map(|row| row.name.to_string()).collect();
    let found: Vec<Row> = all.into_iter().filter(|row| row.name == name).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    Err(Failure::Input(match near(name, names.iter().map(String::as_str)) {
        Some(near) => format!("no policy is named `{name}`; did you mean `{near}`?"),
        _ => format!("no policy is named `{name}`; `thermocline policy list` shows them all"),
    }))
}

fn listing(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(output::width());
    table.set_header(["kind", "name", "what it does", "parameters"]);
    for row in rows {
        let params: Vec<&str> = row.params.iter().map(|param| &*param.name).collect();
        table.add_row([row.kind, &row.name, &row.summary, &params.join(", ")]);
    }
    format!("{}\n", table.trim_fmt())
}

fn details(row: &Row) -> String {
    let mut text = format!(
        "{} ({} policy): {}\n\n  formula   {}\n  source    {}\n  weakness  {}\n",
        row.name, row.kind, row.summary, row.formula, row.source, row.weakness
    );
    if row.params.is_empty() {
        text.push_str("\n  takes no parameters\n");
    }
    text.push_str(&param_lines(&row.params));
    if !row.common.is_empty() {
        text.push_str(
            "\n  common keys of every scaling policy, applied to its answer in this order (off unless given):\n",
        );
        text.push_str(&param_lines(&row.common));
    }
    text
}

fn param_lines(params: &[Param]) -> String {
    let mut text = String::new();
    for param in params {
        let default = in_words(&param.default);
        text.push_str(&format!("\n  {} = {default}\n      {}\n      {}\n", param.name, param.meaning, param.allowed));
    }
    text
}

fn in_words(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(on) => on.to_string(),
        ParamValue::Number(number) => number.to_string(),
        ParamValue::Text(word) => word.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::params::ParamKind;

    #[test]
    fn every_kind_is_listed_and_every_name_can_be_shown() {
        let all = rows();
        for kind in KINDS {
            assert!(all.iter().any(|row| row.kind == kind), "no {kind} policy");
        }
        for row in &all {
            assert!(named(&row.name).is_ok_and(|found| found.iter().any(|other| other.kind == row.kind)));
        }
    }

    #[test]
    fn a_near_miss_gets_a_suggestion() {
        assert_eq!(
            named("queue_dely").map(|rows| rows.len()),
            Err(Failure::Input("no policy is named `queue_dely`; did you mean `queue_delay`?".to_owned()))
        );
    }

    #[test]
    fn the_page_of_a_policy_names_ranges_and_defaults() {
        let pages = named("queue_delay").expect("it is in the registry");
        let page = details(&pages[0]);
        assert!(page.contains("delay_s = 4\n"), "{page}");
        assert!(page.contains(&ParamKind::Number { min: 0.0, max: 3_600.0, default: 4.0 }.allowed()), "{page}");
    }
}
