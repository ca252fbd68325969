//! `tune`: finds the settings that hold a promise at the least cost, or have the shortest waits for the money.

use std::path::{Component, Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::{Value as Json, json};

use super::compare::{ProfileArg, candidates, duration, on_threads, share};
use super::progress::Steps;
use super::{Failure, output};
use crate::lab::axes::{Axis, Values};
use crate::lab::candidate::Candidate;
use crate::lab::compare::floor;
use crate::lab::tune::goal::{Figure, Goal, Limit};
use crate::lab::tune::{self, Options, SPLIT, TUNED, TuneError};
use crate::report;
use crate::results::tuning::{TunedPoint, Tuning};
use crate::scenario::node::{Node, Origin, Sources, Value};
use crate::scenario::{self, EffectiveConfig};

/// Runs unless told otherwise, and as many more for each endpoint beyond the first that may get settings of its own.
const BUDGET: usize = 1_000;
const BUDGET_MORE: usize = 100;

/// What can be typed after `tune`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("goal").required(true).multiple(true).args(["slo", "no_worse_than_default", "no_dearer_than_default"]),
    after_help = "\
Settings race: many are tried on little of the training data, the better third goes on to more of it, the best are improved
in small steps. The winner is then held against the platform's defaults on data that the search has not seen: the later part
of a trace, or other seeds. Both results are shown. Without --policy, the files of policies/ are varied, or else every scaler.

Examples:
  thermocline tune app.yaml --slo 'p95_wait_s<=2'
  thermocline tune week.yaml --no-worse-than-default --write-policy tuned.yaml
  thermocline tune week.yaml --no-dearer-than-default
  thermocline tune app.yaml --slo 'slo_attainment>=99%' --policy queue_delay --param 'idle_timeout_s=1..600:log'"
)]
pub struct TuneArgs {
    /// Application file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What must hold, such as 'p95_wait_s<=2', 'slo_attainment>=99%' or 'cost_usd<=40'; may be given several times
    #[arg(long, value_name = "LIMIT", value_parser = Limit::parse)]
    slo: Vec<Limit>,
    /// The p95 wait must not be longer than with the platform's defaults (queue delay 4 s, idle timeout 5 s, no active worker)
    #[arg(long)]
    no_worse_than_default: bool,
    /// The bill must not be larger than with the platform's defaults: alone, the shortest p95 wait for the same money
    #[arg(long)]
    no_dearer_than_default: bool,
    /// What is made small: cost_usd, or p95_wait_s with --no-dearer-than-default alone, unless given
    #[arg(long, value_name = "FIGURE", value_parser = Figure::parse_minimized)]
    minimize: Option<Figure>,
    /// A policy whose settings are varied (as in `compare`); may be given several times
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// Vary this setting of every endpoint instead of the usual ones: idle_timeout_s=1..600:log, scaler.delay_s=0..10,
    /// workers.active=0,1,2; may be given several times
    #[arg(long = "param", value_name = "PATH=VALUES")]
    params: Vec<String>,
    /// The same settings for all endpoints; otherwise each gets what suits it
    #[arg(long)]
    common: bool,
    /// Most runs of the search; 1,000, and 100 more for each endpoint beyond the first, unless given
    #[arg(long, value_name = "RUNS", value_parser = clap::value_parser!(u32).range(20..))]
    budget: Option<u32>,
    /// Share of the trace that is searched on; the rest is held back
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "validate_from")]
    split: Option<f64>,
    /// Time of the trace from which on it is held back, such as 4d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    validate_from: Option<f64>,
    /// Share of each limit that the choice stays away from where it is found, as far as that pays: other data is a little worse
    #[arg(long, value_name = "SHARE", value_parser = margin, default_value = "10%")]
    margin: f64,
    /// Which bill is made small; both are shown
    #[arg(long, value_enum, default_value = "documented")]
    profile: ProfileArg,
    /// Seed of the search's own draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    search_seed: u64,
    /// Worker threads; one per core unless given. The answer is the same for any number
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Change a setting in every run; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write an application file with the settings found
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write them as a policy file, for `compare --policy`
    #[arg(long, value_name = "FILE")]
    write_policy: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

/// As a share, but 0 is allowed.
fn margin(text: &str) -> Result<f64, String> {
    if ["0", "0%"].contains(&text.trim()) {
        Ok(0.0)
    } else {
        share(text).map_err(|_| format!("`{text}` is not a share"))
    }
}

pub(super) fn run(args: &TuneArgs) -> Result<(), Failure> {
    for path in args.write.iter().chain(&args.write_policy) {
        output::refuse_existing(path, args.force)?;
    }
    let params = args.params.iter().map(|text| param(text)).collect::<Result<Vec<_>, _>>()?;
    let options = Options {
        file: args.file.clone(),
        overrides: args.overrides.clone(),
        policies: candidates(&args.policies, None)?.0,
        params,
        goal: goal(args),
        common: args.common,
        profile: args.profile.profile(),
        budget: budget(args)?,
        validate_from_s: args.validate_from,
        split: args.split.unwrap_or(SPLIT),
        margin: args.margin,
        seed: args.search_seed,
    };
    let steps = Steps::new("runs");
    let tuning =
        on_threads(args.threads, || tune::tune(&options, Some(&floor::bound_of), &|done, of| steps.show(done, of)))??;
    drop(steps);
    write(args, &tuning)?;
    if args.json {
        output::answer_json(&tuning)
    } else {
        output::answer(&report::tuning::text(&tuning, output::width()))
    }
}

fn budget(args: &TuneArgs) -> Result<usize, Failure> {
    if let Some(given) = args.budget {
        return Ok(given as usize);
    }
    let endpoints = scenario::load(&args.file, &args.overrides)?.plan.endpoints.len();
    let apart = if args.common { 0 } else { endpoints.saturating_sub(1) };
    Ok(BUDGET + BUDGET_MORE * apart)
}

fn goal(args: &TuneArgs) -> Goal {
    let as_default = [(args.no_worse_than_default, Figure::WaitP95), (args.no_dearer_than_default, Figure::Cost)];
    let as_default: Vec<Figure> = as_default.iter().filter(|(given, _)| *given).map(|(_, figure)| *figure).collect();
    let of_money = args.slo.is_empty() && as_default == [Figure::Cost];
    let usual = if of_money { Figure::WaitP95 } else { Figure::Cost };
    Goal { minimized: args.minimize.unwrap_or(usual), limits: args.slo.clone(), as_default }
}

/// `--param` is `--vary` below the endpoint.
fn param(text: &str) -> Result<Axis, Failure> {
    let axis = Axis::parse(text).map_err(|message| Failure::Input(message.replacen("--vary", "--param", 1)))?;
    let whole_path = axis.path.starts_with("endpoints.");
    let steps = matches!(axis.values, Values::Range { steps: Some(_), .. });
    match (whole_path, steps) {
        (true, _) => Err(Failure::Input(format!(
            "--param {text}: settings are those of every endpoint; write the path below it, such as idle_timeout_s"
        ))),
        (_, true) => {
            Err(Failure::Input(format!("--param {text}: a range is searched, not stepped through; remove the steps")))
        }
        _ => Ok(axis),
    }
}

fn write(args: &TuneArgs, tuning: &Tuning) -> Result<(), Failure> {
    let wanted = args.write.is_some() || args.write_policy.is_some();
    let Some(chosen) = tuning.chosen.as_ref().filter(|_| wanted) else {
        if wanted {
            output::note("note: nothing was written: no settings meet the goal");
        }
        return Ok(());
    };
    if let Some(path) = &args.write_policy {
        output::write_file(path, policy_file(tuning, chosen).as_bytes(), args.force)?;
        output::note(&format!("wrote {}", path.display()));
    }
    if let Some(path) = &args.write {
        let candidate = Candidate::of_all_settings(TUNED, "", &chosen.settings, &chosen.endpoints);
        let scenario = candidate.load(&args.file, &args.overrides)?;
        let mut effective = scenario.effective;
        rebase(&mut effective.tree, &args.file, path);
        let text = format!("{}\n{}", header(tuning, chosen), effective.to_yaml());
        output::write_file(path, text.as_bytes(), args.force)?;
        output::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Where the settings come from, as comments.
fn header(tuning: &Tuning, chosen: &TunedPoint) -> String {
    let change =
        |change: Option<f64>| change.map_or("unknown".to_owned(), |change| format!("{:+.1} %", 100.0 * change));
    format!(
        "# Found by `thermocline tune` {} for {}: {} with {}.\n# Policy {}; cost against the platform's defaults {} on \
         {},\n# {} on {}.\n",
        tuning.program,
        tuning.scenario,
        report::tuning::minimized(tuning),
        tuning.goal,
        chosen.policy,
        change(tuning.verdict.trained_cost_change),
        tuning.trained_on,
        change(tuning.verdict.validated_cost_change),
        tuning.validated_on,
    )
}

fn policy_file(tuning: &Tuning, chosen: &TunedPoint) -> String {
    let summary = format!("{} tuned for {}: {}", chosen.policy, tuning.scenario, tuning.goal);
    let name = format!("tuned-{}", tuning.scenario);
    let mut document = json!({ "name": name, "summary": summary, "endpoint": chosen.settings });
    if !chosen.endpoints.is_empty() {
        document["endpoints"] = Json::Object(chosen.endpoints.clone());
    }
    let tree = Node::from_json(&document, &Origin::Rule("found by tune".to_owned()));
    header(tuning, chosen) + &EffectiveConfig { tree, sources: Sources::default() }.to_yaml()
}

/// Paths of traces are taken from the folder of the file that names them: from that of `new` instead of that of `old`.
fn rebase(tree: &mut Node, old: &Path, new: &Path) {
    let folder =
        |path: &Path| path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).to_owned();
    let (old, new) = (folder(old), folder(new));
    let Ok(target) = new.canonicalize() else { return };
    each_file(tree, &mut |text| {
        if let Ok(file) = old.join(&*text).canonicalize() {
            *text = relative(&file, &target).display().to_string();
        }
    });
}

/// Every `file` of the traffic, of the endpoints and of all.
fn each_file(tree: &mut Node, change: &mut impl FnMut(&mut String)) {
    let mut in_sources = |traffic: Option<&mut Node>| {
        let Some(Value::List(sources)) = traffic.map(|node| &mut node.value) else { return };
        for source in sources {
            if let Some(Value::Text(text)) = source.get_mut("file").map(|node| &mut node.value) {
                change(text);
            }
        }
    };
    in_sources(tree.get_mut("traffic"));
    let endpoints = tree.get_mut("endpoints").and_then(Node::as_map_mut);
    for entry in endpoints.into_iter().flat_map(|map| &mut map.entries) {
        in_sources(entry.node.get_mut("traffic"));
    }
}

/// The way from a folder to a file, both absolute.
fn relative(file: &Path, folder: &Path) -> PathBuf {
    let (to, from): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (file.components().collect(), folder.components().collect());
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    up.chain(to[common..].iter().copied()).collect()
}

impl From<TuneError> for Failure {
    fn from(error: TuneError) -> Failure {
        match error {
            TuneError::Compare(error) => error.into(),
            error => Failure::input(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_folder_to_a_file() {
        let way = |file: &str, folder: &str| relative(Path::new(file), Path::new(folder)).display().to_string();
        assert_eq!(way("/a/b/t.csv", "/a/b"), "t.csv");
        assert_eq!(way("/a/x/t.csv", "/a/b/c"), "../../x/t.csv");
    }

    #[test]
    fn parameters_are_below_the_endpoint_and_searched() {
        assert!(param("idle_timeout_s=1..600:log").is_ok());
        for wrong in ["endpoints.a.idle_timeout_s=1..2", "idle_timeout_s=1..600:5", "idle_timeout_s"] {
            let message = param(wrong).unwrap_err().to_string();
            assert!(message.starts_with("--param "), "{message}");
        }
        assert_eq!((margin("0"), margin("5%")), (Ok(0.0), Ok(0.05)));
    }
}
