//! The page of `advise`: 80 columns, and no more than a screen.

use comfy_table::{CellAlignment, Table, presets as style};

use crate::lab::advise::application::Given;
use crate::lab::advise::{Advice, Forecast, Log, Settings};
use crate::report::format::{count, mean, money, seconds, share};
use crate::report::text::wrapped;
use crate::results::Interval;

/// Columns of a page.
const WIDTH: usize = 80;
/// Two waits that differ by less than this factor are alike.
const WORSE: f64 = 1.1;

/// The whole page.
pub fn page(shown: &str, log: &Log, given: &Given<'_>, advice: &Advice, notes: &[String], writes: bool) -> String {
    let recorded = given.recorded.filter(|_| given.preset.is_none());
    let class = match (given.gpu_class, recorded, given.preset) {
        (Some(class), ..) => format!(", on {class}"),
        (None, Some((recording, known)), _) => {
            let class = known.spec.gpu_classes.first().and_then(|id| recording.classes.get(usize::from(id.0)));
            format!(", on {}", class.map_or("?", |class| class.name.as_str()))
        }
        _ => String::new(),
    };
    let shape = recorded.map_or_else(String::new, |(_, known)| {
        let jobs = known.spec.concurrency;
        let gpus = known.spec.gpus_per_worker;
        let gpus = if gpus > 1 { format!(", {gpus} GPUs a worker") } else { String::new() };
        if jobs > 1 { format!("{gpus}, {jobs} jobs at once on a worker") } else { gpus }
    });
    let preset = given.preset.map_or_else(String::new, |preset| format!(", preset {}", preset.name()));
    let lines = [
        format!(
            "{} requests in {}, read as {}{preset}{class}{shape}",
            count(advice.requests),
            seconds(advice.span_s),
            log.read_as
        ),
        format!(
            "{} a minute; a job takes {}, the quickest start {}",
            mean(advice.requests as f64 / advice.span_s.max(1.0) * 60.0),
            seconds(advice.service_s),
            seconds(advice.start_s)
        ),
    ];
    let mut text = format!("{shown}\n");
    lines.iter().for_each(|line| text += &wrapped(line, WIDTH));
    text += &format!("\n{}\n", table(advice));
    let ranges = &advice.recommended.ranges;
    let blocks =
        if ranges.days { format!("the {} days", ranges.blocks) } else { format!("{} equal parts", ranges.blocks) };
    let tried =
        format!("The intervals (95 %) come from how {blocks} of the log differ; {} settings were tried.", advice.tried);
    let found = [verdict(advice), beside(advice), always_on(advice), twice(advice), tried];
    found.iter().filter(|line| !line.is_empty()).for_each(|line| text += &wrapped(line, WIDTH));
    if !notes.is_empty() {
        text += "\nMind\n";
        notes.iter().for_each(|note| text += &wrapped(note, WIDTH));
    }
    if !writes {
        text += "\nAdd --write app.yaml for an application file that can be rehearsed and served.\n";
    }
    text
}

fn table(advice: &Advice) -> String {
    let (best, platform) = (&advice.recommended, &advice.platform);
    let mut table = Table::new();
    table.load_style(style::NOTHING).set_header(["", "recommended", "platform default"]);
    let mut row = |what: &str, of: &dyn Fn(&Forecast) -> String| {
        let cells = [of(best), of(platform)];
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row([what.to_owned()].into_iter().chain(cells));
        }
    };
    row("scaler", &|one| scaler(&one.settings));
    row("idle timeout", &|one| one.settings.idle_timeout_s.map_or("the scaler's own".to_owned(), seconds));
    row("active workers", &|one| one.settings.active.to_string());
    row("max workers", &|one| one.settings.max.to_string());
    let mut both =
        |what: &str, value: fn(&Forecast) -> f64, of: fn(&Forecast) -> &Interval, shown: fn(f64) -> String| {
            row(what, &|one| shown(value(one)));
            row("", &|one| interval(of(one), shown));
        };
    both("a month, documented", |one| one.month_documented_usd, |one| &one.ranges.month_documented_usd, money);
    both("a month, seed", |one| one.month_seed_usd, |one| &one.ranges.month_seed_usd, money);
    both("wait p50", |one| one.figures.wait_p50_s, |one| &one.ranges.wait_p50_s, seconds);
    both("wait p95", |one| one.figures.wait_p95_s, |one| &one.ranges.wait_p95_s, seconds);
    both("wait p99", |one| one.figures.wait_p99_s, |one| &one.ranges.wait_p99_s, seconds);
    both("waited for a start", |one| one.figures.cold_share, |one| &one.ranges.cold_share, share);
    if best.figures.lost + platform.figures.lost > 0 {
        row("jobs without a result", &|one| count(one.figures.lost));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{}\n", table.trim_fmt())
}

fn scaler(settings: &Settings) -> String {
    match settings.scaler {
        "queue_delay" => format!("queue delay {}", seconds(settings.value)),
        _ => format!("request count {}", settings.value),
    }
}

/// Nothing where there is no interval.
fn interval(interval: &Interval, shown: fn(f64) -> String) -> String {
    match (interval.low, interval.high) {
        (Some(low), Some(high)) => format!("({} - {})", shown(low), shown(high)),
        _ => String::new(),
    }
}

fn verdict(advice: &Advice) -> String {
    let (best, platform) = (&advice.recommended, &advice.platform);
    let asked = if advice.slo_given { "the wait asked for" } else { "what the platform's defaults reach" };
    if advice.slo_missed {
        return format!(
            "No settings tried keep a p95 of {} ({asked}); these wait least. A start takes {}: only workers that are up before the \
             request can do better (more always-on workers, a longer idle timeout).",
            seconds(advice.slo_wait_s),
            seconds(advice.start_s)
        );
    }
    let saved = platform.month_documented_usd - best.month_documented_usd;
    let relation = match saved / platform.month_documented_usd.max(1e-12) {
        part if part > 0.005 => format!("{} a month ({}) less than the platform's defaults", money(saved), share(part)),
        part if part < -0.005 => format!("{} a month more than the platform's defaults, which miss it", money(-saved)),
        _ => "as much as the platform's defaults".to_owned(),
    };
    format!("Cheapest found that keeps a p95 wait of {} ({asked}): {relation}.", seconds(advice.slo_wait_s))
}

/// Only the p95 is kept: what the other waits pay for it.
fn beside(advice: &Advice) -> String {
    let (best, platform) = (&advice.recommended.figures, &advice.platform.figures);
    let waits = [("p50", best.wait_p50_s, platform.wait_p50_s), ("p99", best.wait_p99_s, platform.wait_p99_s)];
    let worse = waits.iter().filter(|(_, best, platform)| *best > *platform * WORSE + 0.05);
    let worse: Vec<String> = worse
        .map(|(name, best, platform)| format!("the {name} is {} instead of {}", seconds(*best), seconds(*platform)))
        .collect();
    match worse.is_empty() {
        true => String::new(),
        false => format!("Only the p95 is kept: {}.", worse.join(", ")),
    }
}

fn always_on(advice: &Advice) -> String {
    let line = &advice.crossover;
    let pays = match line.best_active {
        0 => "so none pays by its price alone".to_owned(),
        1 => "so one pays".to_owned(),
        n => format!("and {n} of them pay"),
    };
    format!(
        "An always-on worker pays if it is needed for more than {} of the time (active over flex price). The first worker is needed \
         for {} here, its cheapest idle times and starts included, {pays}.",
        share(line.break_even),
        share(line.first_worker.min(1.0)),
    )
}

fn twice(advice: &Advice) -> String {
    let line = &advice.crossover;
    let change = match (line.best_active, line.best_active_doubled) {
        (before, after) if after > before => format!("; {after} always-on worker(s) would then pay"),
        _ => String::new(),
    };
    let factor = advice.doubled_month_documented_usd / advice.recommended.month_documented_usd.max(1e-12);
    format!(
        "If traffic doubles, the same settings cost {} a month ({factor:.2} times) and wait {} at the p95; the first worker is then \
         needed for {} of the time{change}.",
        money(advice.doubled_month_documented_usd),
        seconds(advice.doubled.wait_p95_s),
        share(line.first_worker_doubled.min(1.0)),
    )
}
