//! Many runs on one page: a sweep by its points, or several runs by scenario and seed, with means and what chance makes of them.
//! Pages and Markdown are made of the same parts.

use super::format::{ABSENT, count, maybe_seconds, maybe_share, mean, money, seconds, share};
use super::sweep::{header, short, table};
use crate::results::summary::Figures;
use crate::results::sweep::{Sweep, SweptPoint};
use crate::results::{Folder, Summary};

/// Points of a sweep in its table; all of them are in the CSV file.
const POINTS_MAX: usize = 500;

/// A page of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// What it is about.
    pub title: String,
    /// In a sentence, what was run.
    pub lead: String,
    /// Figures that come first: name, value, more.
    pub cards: Vec<[String; 3]>,
    /// Tables, each with its title and a remark.
    pub sections: Vec<Section>,
    /// The last line.
    pub footer: String,
}

/// A table of an overview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// What to know of it.
    pub note: String,
    /// The table; its first line is the head.
    pub lines: Vec<Vec<String>>,
}

/// The overview of what a folder holds; none of a single run or a comparison.
pub fn overview(folder: &Folder) -> Option<Overview> {
    match folder {
        Folder::Run(_) | Folder::Comparison(_) => None,
        Folder::Sweep(sweep) => Some(of_sweep(sweep)),
        Folder::Runs(runs) => Some(of_runs(runs)),
    }
}

fn of_sweep(sweep: &Sweep) -> Overview {
    let least = |figure: fn(&SweptPoint) -> f64| sweep.points.iter().min_by(|a, b| figure(a).total_cmp(&figure(b)));
    let figures =
        |point: &SweptPoint| format!("{}, p95 wait {}", money(point.cost_documented_usd), seconds(point.wait_p95_s));
    let card = |name: &str, point: Option<&SweptPoint>| {
        point.map(|point| [name.to_owned(), settings(sweep, point), figures(point)])
    };
    let cheapest = card("cheapest by the documented bill", least(|point| point.cost_documented_usd));
    let cards = [cheapest, card("shortest p95 wait", least(|point| point.wait_p95_s))];
    let all = sweep.points.len();
    let left_out = if all > POINTS_MAX { format!(" The {POINTS_MAX} cheapest of {all}.") } else { String::new() };
    let varied = format!("Varied: {}.", sweep.manifest.vary.join("; "));
    let set = match sweep.manifest.set.as_slice() {
        [] => String::new(),
        set => format!(" Set everywhere: {}.", set.join("; ")),
    };
    Overview {
        title: format!("Sweep of {}", sweep.manifest.scenario),
        lead: format!("{}.", header(sweep)),
        cards: cards.into_iter().flatten().collect(),
        sections: vec![Section {
            title: "Points, the cheapest first".to_owned(),
            note: format!("{varied}{set} Means per run over the seeds, by the documented bill.{left_out}"),
            lines: table(sweep, POINTS_MAX),
        }],
        footer: "Every point met the same requests under the same seeds.".to_owned(),
    }
}

/// What a point has set: `idle_timeout_s 5`, with its policy if there are several.
fn settings(sweep: &Sweep, point: &SweptPoint) -> String {
    let last = |path: &str| short(path).rsplit('.').next().unwrap_or("").to_owned();
    let mut parts: Vec<String> = match sweep.paths.as_slice() {
        [_] => point.values.clone(),
        paths => paths.iter().zip(&point.values).map(|(path, value)| format!("{} {value}", last(path))).collect(),
    };
    if let ([path], [value]) = (sweep.paths.as_slice(), parts.as_mut_slice()) {
        *value = format!("{} {value}", last(path));
    }
    if sweep.manifest.policies.len() > 1 {
        parts.push(point.policy.clone());
    }
    parts.join(", ")
}

/// A figure of a run: its name, where it comes from, and how it is written.
type Figure = (&'static str, fn(&Figures) -> Option<f64>, fn(f64) -> String);

const FIGURES: [Figure; 9] = [
    ("documented bill", |of| Some(of.cost_usd.documented.total), money),
    ("seed bill", |of| Some(of.cost_usd.seed.total), money),
    ("documented, per 1,000 completed", |of| of.cost_usd.documented.per_1000_completed, money),
    ("mean wait", |of| of.wait_s.mean, seconds),
    ("p95 wait", |of| of.wait_s.p95, seconds),
    ("p99 wait", |of| of.wait_s.p99, seconds),
    ("jobs cold", |of| of.cold_start_share, share),
    ("target met", |of| of.slo_attainment, share),
    ("workers up in the mean", |of| Some(of.workers.all.mean), mean),
];

fn of_runs(runs: &[(String, Summary)]) -> Overview {
    let mut names: Vec<&str> = runs.iter().map(|(_, summary)| summary.scenario.as_str()).collect();
    names.dedup();
    let several = names.len() > 1;
    let mut sections = Vec::new();
    for name in &names {
        let own: Vec<&(String, Summary)> = runs.iter().filter(|(_, summary)| summary.scenario == **name).collect();
        let whose = if several { format!("{name}: ") } else { String::new() };
        if own.len() > 1 {
            sections.push(Section {
                title: format!("{whose}Figures of {} runs", own.len()),
                note: "sd is the standard deviation from run to run: what chance makes of one run.".to_owned(),
                lines: spread(&own),
            });
        }
        let first = own.first().map_or("NAME", |(folder, _)| folder.as_str());
        sections.push(Section {
            title: format!("{whose}Run by run"),
            note: format!("For a page of one run, with its pictures, report on its folder, such as {first}."),
            lines: each(&own),
        });
    }
    let of = |summary: &Summary| format!("{} {}", summary.scenario, summary.seed);
    let shown: Vec<String> = runs.iter().take(12).map(|(_, summary)| of(summary)).collect();
    let more = if runs.len() > shown.len() { ", ..." } else { "" };
    let first = runs.first().map(|(_, summary)| summary);
    Overview {
        title: format!("Several runs: {}", names.join(", ")),
        lead: format!("{} runs (scenario, seed): {}{more}.", runs.len(), shown.join(", ")),
        cards: if several { Vec::new() } else { cards(runs) },
        sections,
        footer: format!("thermocline {}.", first.map_or("", |summary| summary.program.as_str())),
    }
}

fn cards(runs: &[(String, Summary)]) -> Vec<[String; 3]> {
    let shown = [0, 1, 4, 6].map(|place: usize| &FIGURES[place]);
    let card = |(name, figure, written): &Figure| {
        let spread = Spread::of(runs.iter().filter_map(|(_, summary)| figure(&summary.total)))?;
        let ends = format!("{} to {}", written(spread.least), written(spread.most));
        Some([format!("{name}, mean of {} runs", runs.len()), written(spread.mean), ends])
    };
    shown.into_iter().filter_map(card).collect()
}

/// Mean, standard deviation (none of a single value), ends.
struct Spread {
    mean: f64,
    sd: Option<f64>,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let values: Vec<f64> = values.collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sd = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Spread { mean, sd, least, most })
    }
}

/// A row per figure.
fn spread(runs: &[&(String, Summary)]) -> Vec<Vec<String>> {
    let mut lines = vec![["figure", "mean", "sd", "least", "most"].map(str::to_owned).to_vec()];
    for (name, figure, written) in FIGURES {
        let Some(of) = Spread::of(runs.iter().filter_map(|(_, summary)| figure(&summary.total))) else { continue };
        let sd = of.sd.map_or_else(|| ABSENT.to_owned(), written);
        lines.push(vec![name.to_owned(), written(of.mean), sd, written(of.least), written(of.most)]);
    }
    lines
}

/// A row per run.
fn each(runs: &[&(String, Summary)]) -> Vec<Vec<String>> {
    let head =
        ["run", "seed", "documented", "seed bill", "mean wait", "p95 wait", "jobs cold", "target met", "completed"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for (folder, summary) in runs {
        let of = &summary.total;
        let cut = if summary.complete { "" } else { " (cut off)" };
        lines.push(vec![
            format!("{folder}{cut}"),
            summary.seed.to_string(),
            money(of.cost_usd.documented.total),
            money(of.cost_usd.seed.total),
            maybe_seconds(of.wait_s.mean),
            maybe_seconds(of.wait_s.p95),
            maybe_share(of.cold_start_share),
            maybe_share(of.slo_attainment),
            count(of.jobs.completed),
        ]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sweep::{Manifest, SweptPolicy};

    fn run(scenario: &str, seed: u64, usd: f64) -> (String, Summary) {
        let mut summary = Summary { scenario: scenario.to_owned(), seed, complete: true, ..Summary::default() };
        summary.total.cost_usd.documented.total = usd;
        (format!("{scenario}-{seed}"), summary)
    }

    #[test]
    fn runs_of_one_scenario_have_a_mean_and_a_spread() {
        let page = of_runs(&[run("a", 1, 1.0), run("a", 2, 3.0), run("b", 1, 9.0)]);
        let titles: Vec<&str> = page.sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(titles, ["a: Figures of 2 runs", "a: Run by run", "b: Run by run"]);
        assert_eq!(page.sections[0].lines[1], ["documented bill", "$2.00", "$1.41", "$1.00", "$3.00"]);
        assert_eq!(page.sections[1].lines[2][..3], ["a-2", "2", "$3.00"]);
        assert!(page.lead.contains("a 1, a 2, b 1") && page.cards.is_empty(), "{}", page.lead);
        let alone = of_runs(&[run("a", 1, 1.0), run("a", 2, 3.0)]);
        assert_eq!(alone.cards[0], ["documented bill, mean of 2 runs", "$2.00", "$1.00 to $3.00"]);
    }

    #[test]
    fn a_sweep_names_its_cheapest_and_its_quickest_point() {
        let point = |point: u64, usd: f64, wait: f64| SweptPoint {
            point,
            values: vec![format!("{}", 10 * point)],
            cost_documented_usd: usd,
            wait_p95_s: wait,
            ..SweptPoint::default()
        };
        let manifest =
            Manifest { scenario: "s".to_owned(), policies: vec![SweptPolicy::default()], ..Manifest::default() };
        let paths = vec!["endpoints.a.idle_timeout_s".to_owned()];
        let page = of_sweep(&Sweep { manifest, paths, points: vec![point(1, 2.0, 5.0), point(2, 3.0, 4.0)] });
        assert_eq!(page.cards[0][1..], ["idle_timeout_s 10", "$2.00, p95 wait 5 s"]);
        assert_eq!(page.cards[1][1..], ["idle_timeout_s 20", "$3.00, p95 wait 4 s"]);
        assert_eq!(page.sections[0].lines.len(), 3);
    }
}
