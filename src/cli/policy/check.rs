//! `policy check FILE|NAME`: what a policy does in situations whose right answer is plain.

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::super::{Failure, output};
use super::{file, named};
use crate::lab::lint::{self, Outcome, Verdict};
use crate::policy::{KeepAlivePolicy, ParamValue, PolicyChoice, ScalingPolicy, registry, starlark};

/// What can be typed after `policy check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 1 if a property fails, with 2 if the file cannot be read. A property that fails is a fact, not always a mistake: a fixed
number of workers never goes to the minimum.")]
pub struct CheckArgs {
    /// A policy file (.star or .yaml), or the name of a scaling or keep-alive policy of the registry
    #[arg(value_name = "FILE|NAME")]
    policy: String,
    /// Give a parameter another value than its default; may be given several times
    #[arg(long = "set", value_name = "PARAM=VALUE")]
    params: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Measure how many answers a second it gives on this machine, and judge nothing
    #[arg(long, conflicts_with = "json")]
    speed: bool,
}

/// What came out for one decision.
#[derive(Debug, Serialize)]
struct Judged {
    policy: String,
    kind: &'static str,
    fails: usize,
    verdicts: Vec<Verdict>,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let params = args.params.iter().map(|text| param(text)).collect::<Result<BTreeMap<_, _>, _>>()?;
    if args.speed {
        return speed(&args.policy, &params);
    }
    let judged = judged(&args.policy, &params)?;
    let fails: usize = judged.iter().map(|one| one.fails).sum();
    if args.json {
        output::answer_json(&judged)?;
    } else {
        let pages: Vec<String> = judged.iter().map(page).collect();
        output::answer(&pages.join("\n"))?;
    }
    match fails {
        0 => Ok(()),
        1 => Err(Failure::Other(format!("one property of {} fails", args.policy))),
        _ => Err(Failure::Other(format!("{fails} properties of {} fail", args.policy))),
    }
}

fn param(text: &str) -> Result<(String, ParamValue), Failure> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Failure::Input(format!("--set {text}: no `=`; write PARAM=VALUE")));
    };
    let value = match (value, value.parse::<f64>()) {
        ("true", _) => ParamValue::Bool(true),
        ("false", _) => ParamValue::Bool(false),
        (_, Ok(number)) if number.is_finite() => ParamValue::Number(number),
        _ => ParamValue::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

fn judged(typed: &str, params: &BTreeMap<String, ParamValue>) -> Result<Vec<Judged>, Failure> {
    let (choice, scales, keeps_alive) = if file::is_settings(typed) {
        return of_settings(typed, params);
    } else if starlark::is_file(typed) {
        let (choice, program) = file::choice(typed, params)?;
        let mut idle = choice.clone();
        idle.params.retain(|name, _| !file::is_common(&program, name));
        return both(typed, program.scales().then_some(&choice), program.keeps_alive().then_some(&idle));
    } else {
        let kinds: Vec<&str> = named(typed)?.iter().map(|row| row.kind).collect();
        let choice = PolicyChoice { params: params.clone(), ..PolicyChoice::named(typed) };
        (choice, kinds.contains(&"scaling"), kinds.contains(&"keep_alive"))
    };
    if !scales && !keeps_alive {
        return Err(Failure::Input(format!(
            "`{typed}` is neither a scaling nor a keep-alive policy: others are not judged"
        )));
    }
    // Of two policies of one name, parameters are those of one.
    let keeps_alive = keeps_alive && (!scales || registry::keep_alive(&choice).is_ok());
    both(typed, scales.then_some(&choice), keeps_alive.then_some(&choice))
}

/// The scaler and the keep-alive policy of a file of settings, with parameters for its scaler.
fn of_settings(typed: &str, params: &BTreeMap<String, ParamValue>) -> Result<Vec<Judged>, Failure> {
    let (_, mut policies) = file::settings(typed)?;
    policies.scaling.params.extend(params.clone());
    both(typed, Some(&policies.scaling), Some(&policies.keep_alive))
}

fn both(
    typed: &str,
    scaling: Option<&PolicyChoice>,
    keep_alive: Option<&PolicyChoice>,
) -> Result<Vec<Judged>, Failure> {
    let mut all = Vec::new();
    if let Some(choice) = scaling {
        // Wrong parameters are told here; afterwards it can only be built as it was.
        registry::scaling(choice)?;
        let make = || -> Box<dyn ScalingPolicy> { registry::scaling(choice).expect("it was built a moment ago") };
        all.push(of(typed, "scaling", lint::scaling(&make)));
    }
    if let Some(choice) = keep_alive {
        registry::keep_alive(choice)?;
        let make = || -> Box<dyn KeepAlivePolicy> { registry::keep_alive(choice).expect("it was built a moment ago") };
        all.push(of(typed, "keep_alive", lint::keep_alive(&make)));
    }
    Ok(all)
}

/// Answers per second over a simulated busy day, the small world around the policy included.
fn speed(typed: &str, params: &BTreeMap<String, ParamValue>) -> Result<(), Failure> {
    let choice = match starlark::is_file(typed) {
        true => file::choice(typed, params)?.0,
        false if file::is_settings(typed) => file::settings(typed)?.1.scaling,
        false => PolicyChoice { params: params.clone(), ..PolicyChoice::named(typed) },
    };
    let mut policy = registry::scaling(&choice)?;
    let started = Instant::now();
    let answers = lint::busy_day(&mut *policy);
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    let (rate, each) = (answers as f64 / seconds, seconds * 1e6 / answers.max(1) as f64);
    output::answer(&format!("{typed}: {answers} answers in {seconds:.2} s, {rate:.0} a second, {each:.2} us each\n"))
}

fn of(policy: &str, kind: &'static str, verdicts: Vec<Verdict>) -> Judged {
    let fails = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Fails).count();
    Judged { policy: policy.to_owned(), kind, fails, verdicts }
}

fn page(judged: &Judged) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(output::width());
    table.set_header(["", "property", "verdict", "what was seen"]);
    for verdict in &judged.verdicts {
        let word = match verdict.outcome {
            Outcome::Holds => "holds",
            Outcome::Fails => "FAILS",
            Outcome::NotJudged => "not judged",
        };
        table.add_row([verdict.id, verdict.property, word, &verdict.seen]);
    }
    let holds = judged.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Holds).count();
    let end = format!("{holds} hold, {} fail", judged.fails);
    format!("{} ({} policy): {end}\n\n{}\n", judged.policy, judged.kind, table.trim_fmt())
}
