//! `bound FILE`: what the endpoints of an application file cost, what nobody could do it for, and what the difference is made of.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::progress::Progress;
use super::under::Under;
use super::{Failure, output};
use crate::experiment::{RunOptions, run_with};
use crate::lab::bound::{self, Bounds, Effort, EndpointBounds, Options, Regret, ServedJobs};
use crate::ledger::{Profile, Rounding};
use crate::report::format::{count, money, seconds, share};
use crate::sim::plan::Plan;
use crate::units::EndpointId;

/// What can be typed after `bound`.
#[derive(Debug, Args)]
#[command(after_help = "\
The bound is the least that somebody who knows every request in advance must pay in the documented bill: nobody can be below
it, and a schedule that is nearly as cheap is shown beside it. What lies between the bound and your bill has two parts: workers
that were kept, started or stopped at the wrong moments (a better keep-alive), and jobs that were started at dear moments (a better
forecast, other waits).")]
pub struct BoundArgs {
    /// Application file
    file: PathBuf,
    /// Seed; the file's own unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Longest wait of a job, in seconds; each endpoint's own slo.wait_s unless given
    #[arg(long, value_name = "S", value_parser = not_negative)]
    slo_wait: Option<f64>,
    /// What a second of waiting of one job costs, in USD; 0 = only the limit counts
    #[arg(long, value_name = "USD_PER_S", default_value = "0", value_parser = not_negative)]
    wait_price: f64,
    /// How hard to look for a high bound
    #[arg(long, value_enum, default_value = "normal")]
    effort: EffortArg,
    /// Change a setting, such as endpoints.sdxl.workers.active=1; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    under: Under,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EffortArg {
    /// Seconds for a hundred thousand jobs
    Quick,
    /// The usual
    Normal,
    /// Minutes
    Thorough,
}

pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    let value: Option<f64> = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "expected a number that is not negative".to_owned())
}

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    scenario: &'a str,
    seed: u64,
    profile: &'static str,
    wait_usd_per_s: f64,
    endpoints: Vec<Row>,
    lb_usd: f64,
    ub_usd: f64,
    zero_wait_usd: f64,
    seed_lb_usd: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    bounds: EndpointBounds,
    regret: Regret,
    cost_seed_usd: f64,
}

pub(super) fn run(args: &BoundArgs) -> Result<(), Failure> {
    let scenario = args.under.load(&args.file, &args.overrides)?;
    scenario.notes.iter().for_each(|note| output::note(&format!("note: {}: {note}", scenario.settings.name)));
    let plan = Plan { seed: args.seed.unwrap_or(scenario.plan.seed), ..scenario.plan.clone() };
    let options = Options {
        slo_wait_s: args.slo_wait,
        wait_usd_per_s: args.wait_price,
        effort: match args.effort {
            EffortArg::Quick => Effort::Quick,
            EffortArg::Normal => Effort::Normal,
            EffortArg::Thorough => Effort::Thorough,
        },
        round_up: scenario.settings.round_up,
        ..Options::default()
    };
    let rounding = if scenario.settings.round_up { Rounding::UpToSeconds } else { Rounding::Exact };
    let run_options = RunOptions { name: scenario.settings.name.clone(), rounding, ..RunOptions::default() };
    let mut progress = Progress::new();
    let (outcome, served) =
        run_with(&plan, &run_options, ServedJobs::default(), &mut (), &mut |state: &_| progress.show(state))?;
    drop(progress);
    output::remark("looking for what nobody can beat ...");
    let mut bounds = bound::for_plan(&plan, &options)?;
    let rows: Vec<Row> = (0..)
        .zip(std::mem::take(&mut bounds.endpoints))
        .map(|(number, mut bounds)| {
            let account = outcome.ledger.endpoint(EndpointId(number));
            let cost = |profile| account.total(profile).total().as_usd();
            let served = served.0.get(number as usize).cloned().unwrap_or_default();
            let regret = bounds.regret(cost(Profile::Documented), &served);
            bounds.reached(&regret);
            Row { bounds, regret, cost_seed_usd: cost(Profile::Seed) }
        })
        .collect();
    bounds.ub_usd = rows.iter().map(|row| row.bounds.ub_usd).sum();
    if args.json {
        return output::answer_json(&answer(args, &scenario.settings.name, plan.seed, &bounds, rows));
    }
    let pages: Vec<String> = rows.iter().map(|row| page(row, args.wait_price)).collect();
    let head = format!("{}, seed {}, documented bill\n\n", scenario.settings.name, plan.seed);
    output::answer(&(head + &pages.join("\n")))
}

fn answer<'a>(args: &BoundArgs, scenario: &'a str, seed: u64, bounds: &Bounds, endpoints: Vec<Row>) -> Answer<'a> {
    Answer {
        scenario,
        seed,
        profile: "documented",
        wait_usd_per_s: args.wait_price,
        endpoints,
        lb_usd: bounds.lb_usd,
        ub_usd: bounds.ub_usd,
        zero_wait_usd: bounds.zero_wait_usd,
        seed_lb_usd: bounds.seed_usd,
    }
}

fn page(row: &Row, wait_price: f64) -> String {
    let (own, regret) = (&row.bounds, &row.regret);
    let mut text = String::new();
    let asked = match own.slo_wait_s {
        Some(0.0) => "no job may wait".to_owned(),
        Some(limit) => format!("every job may wait up to {}", seconds(limit)),
        None if wait_price > 0.0 => "waiting has its price".to_owned(),
        None => "jobs may wait as long as it takes".to_owned(),
    };
    let _ = writeln!(text, "{}: {} jobs, {} of work; {asked}", own.endpoint, count(own.jobs), seconds(own.work_s));
    if let Some(reason) = &own.unbounded {
        let _ = writeln!(text, "  no bound: {reason}, so another policy would meet other requests");
        return text;
    }
    let total = regret.cost_usd + regret.waiting_usd;
    line(&mut text, "this file's policies cost", total, "");
    if regret.waiting_usd > 0.0 {
        line(&mut text, "  of that the waiting", regret.waiting_usd, "");
    }
    // Schedules are looked for that keep jobs apart: where they may share, what is reached may be cheaper than all of these.
    let reached = own.ub_usd <= total;
    if reached {
        line(&mut text, "known to be reached, knowing the future", own.ub_usd, "");
    }
    line(&mut text, "nobody can be below", own.lb_usd, &if reached { tightness(own) } else { String::new() });
    if regret.late + regret.lost > 0 {
        let more = format!("{} late, {} lost", count(regret.late), count(regret.lost));
        line(&mut text, "  with as many jobs late or lost as here", regret.lb_usd, &more);
    }
    let of = |part: f64| format!("{} of the bill", share((part / total).max(0.0)));
    let _ = writeln!(text);
    line(&mut text, "could be saved at most", regret.regret_usd, &of(regret.regret_usd));
    line(
        &mut text,
        "  by keep-alive: stopping and starting in time",
        regret.provisioning_usd,
        &of(regret.provisioning_usd),
    );
    let forecast = "  by forecast: which job to start when";
    if regret.timing_usd >= 0.0 {
        line(&mut text, forecast, regret.timing_usd, &of(regret.timing_usd));
    } else {
        line(&mut text, forecast, 0.0, "the bound is looser than that");
    }
    text + &always_on(own) + &seed_bill(row) + &notes(own)
}

fn tightness(own: &EndpointBounds) -> String {
    let ratio = own.ub_usd / own.lb_usd;
    match ratio {
        ratio if !ratio.is_finite() => String::new(),
        ratio if ratio < 1.1 => format!("tight: the truth is at most {:.1} % above", (ratio - 1.0) * 100.0),
        ratio if ratio < 1.35 => format!("the truth is at most {:.0} % above", (ratio - 1.0) * 100.0),
        ratio => format!("loose: the truth may be {ratio:.2} times that; waiting is cheap here"),
    }
}

fn always_on(own: &EndpointBounds) -> String {
    let (flex, active) = (own.flex_usd_per_s, own.active_usd_per_s);
    if active >= flex || flex <= 0.0 {
        return "\n  an always-on worker is no cheaper per second here\n".to_owned();
    }
    let busy = share(active / flex);
    let saved = own.zero_wait_flex_usd - own.zero_wait_usd;
    if own.zero_wait_active == 0 {
        return format!(
            "\n  no always-on worker would pay: even the busiest one, idle times and starts included, is needed for less than\n  \
             {busy} of the time (active over flex price)\n"
        );
    }
    format!(
        "\n  {} always-on worker(s) would pay, each needed for more than {busy} of the time (active over flex price): with\n  \
         nobody waiting the cheapest workers cost {} with them and {} without ({} less)\n",
        own.zero_wait_active,
        money(own.zero_wait_usd),
        money(own.zero_wait_flex_usd),
        money(saved)
    )
}

fn seed_bill(row: &Row) -> String {
    format!(
        "  seed bill: {} against {} for the work alone; idle flex workers are free there, so never stopping one is best\n",
        money(row.cost_seed_usd),
        money(row.bounds.seed_lb_usd)
    )
}

fn notes(own: &EndpointBounds) -> String {
    own.caveats.iter().map(|caveat| format!("  note: {caveat}\n")).collect()
}

fn line(text: &mut String, what: &str, usd: f64, remark: &str) {
    let gap = if remark.is_empty() { "" } else { "   " };
    let _ = writeln!(text, "  {what:<48}{:>12}{gap}{remark}", money(usd));
}
