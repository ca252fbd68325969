//! The gallery: every scenario run once, and the policies against each other in some, as Markdown with a few pictures.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ReportArgs, pictures, svg};
use crate::cli::progress::Steps;
use crate::cli::{Failure, compare, output, run};
use crate::experiment::output::{OutputOptions, run_into};
use crate::lab::candidate;
use crate::lab::compare::{Entrant, Options, Replications, floor};
use crate::ledger::Profile;
use crate::report::format::{maybe_seconds, maybe_share, money};
use crate::report::markdown;
use crate::report::plot::{self, Plot};
use crate::results::comparison::{COMPARISON_VERSION, Comparison};
use crate::results::{Folder, Summary};
use crate::scenario;

/// Where scenarios come from and pages go to.
const SCENARIOS: &str = "scenarios";
const PAGES: &str = "reports";
/// Pictures are large beside text: these scenarios have them.
const PICTURED: [&str; 2] = ["quickstart", "host-loss"];
/// The scenarios in which policies are held against each other: short ones, of three kinds of traffic.
const COMPARED: [&str; 3] = ["quickstart", "spike-extra-workers", "warm-caches"];
/// What is said of recorded traffic, which is not made here.
const TRACES: &str = "traces/README.md";
/// What the pages of comparisons are called in front of their scenario.
const POLICIES: &str = "policies-";
/// Runs of each policy: the fewest that give intervals.
const SEEDS: u64 = 10;

/// A page with what lies beside it.
struct Page {
    name: String,
    /// Its line in the table of contents.
    line: Vec<String>,
    text: String,
    pictures: Vec<(String, String)>,
}

/// Makes the gallery, or checks it.
pub(super) fn make(args: &ReportArgs) -> Result<(), Failure> {
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(PAGES));
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let scenarios = scenarios()?;
    let names: Vec<String> = scenarios.iter().map(|(name, _)| name.clone()).collect();
    let known =
        |only: &String| names.contains(only) || COMPARED.iter().any(|name| *only == format!("{POLICIES}{name}"));
    if let Some(unknown) = args.only.iter().find(|only| !known(only)) {
        let compared = COMPARED.map(|name| format!("{POLICIES}{name}")).join(", ");
        return Err(Failure::Input(format!(
            "no page is called `{unknown}`; there are: {}, {compared}",
            names.join(", ")
        )));
    }
    let mut runs = Vec::new();
    for (name, file) in scenarios.iter().filter(|(name, _)| wanted(name)) {
        runs.push(run_page(name, file)?);
    }
    let mut comparisons = Vec::new();
    for (name, file) in scenarios.iter().filter(|(name, _)| COMPARED.contains(&name.as_str())) {
        if wanted(&format!("{POLICIES}{name}")) {
            comparisons.push(comparison_page(name, file)?);
        }
    }
    let mut files: Vec<(String, String)> = Vec::new();
    if args.only.is_empty() {
        files.push(("README.md".to_owned(), contents(&runs, &comparisons)));
    }
    for page in runs.into_iter().chain(comparisons) {
        files.push((format!("{}.md", page.name), page.text));
        files.extend(page.pictures);
    }
    if args.check { check(&folder, &files) } else { write(&folder, &files, args) }
}

/// Names and files of all scenarios, in order.
fn scenarios() -> Result<Vec<(String, PathBuf)>, Failure> {
    let missing = |error| {
        Failure::Input(format!("{SCENARIOS}: {error}; the gallery is made in a folder that has {SCENARIOS}/ in it"))
    };
    let entries = fs::read_dir(SCENARIOS).map_err(missing)?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut all: Vec<(String, PathBuf)> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    all.sort();
    Ok(all)
}

fn run_page(name: &str, file: &Path) -> Result<Page, Failure> {
    let scenario = scenario::load(file, &[])?;
    let options = run::options(&scenario);
    let (summary, plots) = if PICTURED.contains(&name) {
        let scratch = std::env::temp_dir().join(format!("thermocline-gallery-{}-{name}", std::process::id()));
        let output = OutputOptions { force: true, ..OutputOptions::new(&scratch) };
        let read = run_into(&scenario.plan, &options, &output, &mut |_| {}, |_| {})
            .map_err(Failure::from)
            .and_then(|_| Folder::read(&scratch).map_err(Failure::from));
        // Only our own files lie there; that they stay behind would harm nobody.
        let _ = fs::remove_dir_all(&scratch);
        match read? {
            Folder::Run(run) => (run.summary.clone(), plot::of_run(&run)),
            _ => return Err(Failure::other("a run left no summary")),
        }
    } else {
        (crate::experiment::run(&scenario.plan, &options, &mut |_| {})?.summary, Vec::new())
    };
    let beginning = format!("{name}-");
    let text = markdown::run(&summary, &pictures(&plots, &beginning, "svg"));
    let asked =
        format!("\nMade by `thermocline run {SCENARIOS}/{name}.yaml`; the question is in that file's header.\n");
    Ok(Page {
        name: name.to_owned(),
        line: line(name, &summary),
        text: text + &asked,
        pictures: drawn(&plots, &beginning),
    })
}

fn drawn(plots: &[Plot], beginning: &str) -> Vec<(String, String)> {
    plots.iter().map(|plot| (format!("{beginning}{}.svg", plot.name), svg(plot))).collect()
}

/// Its line in the table of contents.
fn line(name: &str, summary: &Summary) -> Vec<String> {
    let total = &summary.total;
    vec![
        name.to_owned(),
        money(total.cost_usd.documented.total),
        money(total.cost_usd.seed.total),
        maybe_seconds(total.wait_s.p95),
        maybe_share(total.cold_start_share),
        maybe_share(total.slo_attainment),
    ]
}

fn comparison_page(name: &str, file: &Path) -> Result<Page, Failure> {
    let (candidates, baseline) = compare::candidates(&[], Some(candidate::PLATFORM_DEFAULT))?;
    let plain = scenario::load(file, &[])?;
    let mut entrants = Vec::with_capacity(candidates.len());
    for candidate in &candidates {
        let scenario = candidate.load(file, &[])?;
        entrants.push(Entrant { name: candidate.name.clone(), summary: candidate.summary.clone(), scenario });
    }
    let options =
        Options { replications: Replications::Seeds((1..=SEEDS).collect()), profile: Profile::Documented, baseline };
    let steps = Steps::new(name);
    let watch = |progress: crate::lab::compare::Progress| steps.show(progress.done, progress.of);
    let table = crate::lab::compare::compare(&plain, &entrants, &options, Some(&floor::bound_of), &watch)?;
    let line = vec![
        name.to_owned(),
        table.policies.len().to_string(),
        table.policies.first().map_or(String::new(), |row| row.policy.clone()),
        table.front.join(", "),
    ];
    let comparison = Comparison {
        version: COMPARISON_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        profile: options.profile.as_str().to_owned(),
        scenarios: vec![table],
    };
    let page = format!("{POLICIES}{name}");
    let beginning = format!("{page}-");
    let plots: Vec<Vec<Plot>> = plot::of_comparison(&comparison);
    let shown: Vec<_> = plots.iter().map(|plots| pictures(plots, &beginning, "svg")).collect();
    let text = markdown::comparison(&comparison, &shown);
    let asked = format!(
        "\nMade by `thermocline compare {SCENARIOS}/{name}.yaml --baseline {} --seeds {SEEDS}`.\n",
        candidate::PLATFORM_DEFAULT
    );
    let drawn = plots.iter().flat_map(|plots| drawn(plots, &beginning)).collect();
    Ok(Page { name: page, line, text: text + &asked, pictures: drawn })
}

/// The first page.
fn contents(runs: &[Page], comparisons: &[Page]) -> String {
    let table = |head: &[&str], pages: &[Page]| {
        let mut text = format!("| {} |\n| --- |{}\n", head.join(" | "), " ---: |".repeat(head.len() - 1));
        for page in pages {
            let cells: Vec<String> = page.line[1..].iter().map(|cell| markdown::safe(cell)).collect();
            text += &format!("| [{}]({}.md) | {} |\n", markdown::safe(&page.line[0]), page.name, cells.join(" | "));
        }
        text
    };
    let head = ["scenario", "documented bill", "seed bill", "p95 wait", "jobs cold", "target met"];
    let policies = ["scenario", "policies", "cheapest", "on the front of cost and p95 wait"];
    format!(
        "# Gallery\n\nWhat every scenario of `{SCENARIOS}/` gives, and what the policies make of some of them. Made by\n\
         `thermocline report --gallery --force`, kept true by the tests. Under the *seed* bill idle flex workers are free, under the\n\
         *documented* bill every second from the wake signal to the full stop is paid.\n\n## Scenarios\n\n{}\n## Policies against each \
         other\n\n{}\nWhat the policies make of recorded traffic is in [traces]({TRACES}).\n",
        table(&head, runs),
        table(&policies, comparisons)
    )
}

fn write(folder: &Path, files: &[(String, String)], args: &ReportArgs) -> Result<(), Failure> {
    for (name, _) in files {
        output::refuse_existing(&folder.join(name), args.force)?;
    }
    for (name, text) in files {
        output::write_file(&folder.join(name), text.as_bytes(), args.force)?;
    }
    output::note(&format!("wrote {} files into {}", files.len(), folder.display()));
    Ok(())
}

/// An error that names every page whose text is not on disk as it should be. Pictures are drawn from the same figures.
fn check(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    let pages = files.iter().filter(|(name, _)| name.ends_with(".md"));
    let stale: Vec<String> = pages
        .filter_map(|(name, text)| {
            let path = folder.join(name);
            let found = fs::read_to_string(&path).unwrap_or_default();
            let place = found.lines().zip(text.lines()).position(|(old, new)| old != new);
            let place = place.unwrap_or_else(|| found.lines().count().min(text.lines().count()));
            (found != *text).then(|| {
                let now = text.lines().nth(place).unwrap_or("nothing more");
                format!("{}:{}: stale; now it reads: {now}", path.display(), place + 1)
            })
        })
        .collect();
    match stale.as_slice() {
        [] => output::answer(&format!("{} is up to date\n", folder.display())),
        stale => Err(Failure::Input(format!(
            "{}\nrenew the gallery with `thermocline report --gallery --force`",
            stale.join("\n")
        ))),
    }
}
