//! `compare`: holds policies against each other in scenarios.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::progress::Steps;
use super::{Failure, output};
use crate::lab::candidate::{self, Candidate};
use crate::lab::compare::{self, BoundOf, CompareError, Entrant, Options, Replications, floor};
use crate::ledger::Profile;
use crate::report;
use crate::results::comparison::{COMPARISON_VERSION, Comparison};
use crate::scenario::{self, Scenario};

/// Half-width that is aimed at unless the seeds are given.
const PRECISION: f64 = 0.05;
/// Most replications unless given.
const CAP: usize = 80;

/// What can be typed after `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every policy meets the same requests under the same seeds; differences are taken run by run. A policy is a policy file
(.yaml), a Starlark file (.star), a name from `thermocline policy list`, settings in braces such as '{idle_timeout_s: 60}',
`as_written` (the file's own settings) or `platform_default`. Without --policy: all files of policies/, or else every
scaler. The cheapest comes first; * marks differences that are significant after correction for many comparisons.

Examples:
  thermocline compare scenarios/quickstart.yaml
  thermocline compare app.yaml --policy as_written --policy '{idle_timeout_s: 60}' --seeds 20
  thermocline compare week.yaml --split-days --json")]
pub struct CompareArgs {
    /// Application files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A policy; may be given several times
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// Do not compute what nobody can beat: no regret in the table, and less time on large traces
    #[arg(long)]
    no_bound: bool,
    /// Whom the others are compared with: the first policy unless given
    #[arg(long, value_name = "POLICY")]
    baseline: Option<String>,
    /// Seeds: a number of them (from 1 on), or a range such as 101..140, both ends included
    #[arg(long, value_name = "N|A..B", value_parser = seeds)]
    seeds: Option<Seeds>,
    /// Add replications until cost and p95 wait of every policy are known this well (5% unless --seeds is given, which is then
    /// the most that are run)
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["split", "split_days"])]
    precision: Option<f64>,
    /// Which bill is ranked by; both are shown
    #[arg(long, value_enum, default_value = "documented")]
    profile: ProfileArg,
    /// Replications are parts of the trace of this length, such as 1h, instead of seeds
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "split_days")]
    split: Option<f64>,
    /// Replications are the days of the trace
    #[arg(long)]
    split_days: bool,
    /// Worker threads; one per core unless given. The answer is the same for any number
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Change a setting in every file, above all policies; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
    /// Also write comparison.json and comparison.txt into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite results that are there
    #[arg(long, requires = "out")]
    force: bool,
}

/// A billing profile, as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProfileArg {
    /// Every second between the wake signal and the full stop is billed
    Documented,
    /// Idle flex workers are free
    Seed,
}

impl ProfileArg {
    pub(super) fn profile(self) -> Profile {
        match self {
            ProfileArg::Documented => Profile::Documented,
            ProfileArg::Seed => Profile::Seed,
        }
    }
}

/// Seeds as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: usize,
}

impl Seeds {
    /// All of them.
    pub(super) fn all(self) -> Vec<u64> {
        (0..self.count as u64).map(|number| self.first.saturating_add(number)).collect()
    }
}

/// `20` or `101..140`.
pub(super) fn seeds(text: &str) -> Result<Seeds, String> {
    const MOST: usize = 100_000;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("`{text}` is not a whole number"));
    let (first, count) = match text.split_once("..") {
        None => (1, number(text)?),
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to.trim_start_matches('='))?);
            if to < from {
                return Err(format!("the range ends at {to}, before it begins at {from}"));
            }
            (from, (to - from).saturating_add(1))
        }
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if !(1..=MOST).contains(&count) {
        return Err(format!("{count} seeds; allowed: 1 to {MOST}"));
    }
    Ok(Seeds { first, count })
}

/// `5%` or `0.05`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.trim().strip_suffix('%').map_or((text.trim(), 1.0), |number| (number.trim_end(), 100.0));
    let value = number.parse::<f64>().map_err(|_| format!("`{text}` is not a share such as 5% or 0.05"))? / unit;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("a share lies above 0 and up to 100%".to_owned()) }
}

/// `90`, `90s`, `2h`, `1d`, in seconds.
pub(super) fn duration(text: &str) -> Result<f64, String> {
    let seconds = scenario::types::numbers::duration(text).or_else(|| text.parse::<f64>().ok());
    seconds
        .filter(|seconds| *seconds > 0.0)
        .ok_or_else(|| format!("`{text}` is not a length of time such as 90s, 2h or 1d"))
}

pub(super) fn run(args: &CompareArgs) -> Result<(), Failure> {
    let targets = args.out.as_ref().map(|folder| ["comparison.json", "comparison.txt"].map(|name| folder.join(name)));
    for path in targets.iter().flatten() {
        output::refuse_existing(path, args.force)?;
    }
    let (candidates, baseline) = candidates(&args.policies, args.baseline.as_deref())?;
    let options = Options { replications: replications(args), profile: args.profile.profile(), baseline };
    // Everything is read before anything is run: a mistake in the last file should not cost the time of the first.
    let prepared = args.files.iter().map(|file| prepare(file, &candidates, args)).collect::<Result<Vec<_>, _>>()?;
    let bound: Option<BoundOf<'_>> = if args.no_bound { None } else { Some(&floor::bound_of) };
    let mut scenarios = Vec::new();
    for (plain, entrants) in &prepared {
        let steps = Steps::new(&plain.settings.name);
        let watch = |progress: compare::Progress| steps.show(progress.done, progress.of);
        let table = on_threads(args.threads, || compare::compare(plain, entrants, &options, bound, &watch))?;
        scenarios.push(table?);
    }
    let comparison = Comparison {
        version: COMPARISON_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        profile: options.profile.as_str().to_owned(),
        scenarios,
    };
    let text = report::comparison::text(&comparison, output::width());
    if let Some([json, table]) = &targets {
        let document = serde_json::to_string_pretty(&comparison)? + "\n";
        output::write_file(json, document.as_bytes(), args.force)?;
        output::write_file(table, report::comparison::text(&comparison, 160).as_bytes(), args.force)?;
    }
    if args.json { output::answer_json(&comparison) } else { output::answer(&text) }
}

/// The policies named (or the usual ones) and the place of the baseline, which is added if it is not among them.
pub(super) fn candidates(typed: &[String], baseline: Option<&str>) -> Result<(Vec<Candidate>, usize), Failure> {
    for (typed, file) in typed.iter().filter_map(|typed| Some((typed, Candidate::file_beside(typed)?))) {
        let file = file.display();
        output::note(&format!(
            "note: `{typed}` is that policy with its defaults; with the settings of {file}: --policy {file}"
        ));
    }
    let mut all = match typed {
        [] => candidate::usual(Path::new(candidate::FOLDER))?,
        some => some.iter().map(|typed| Candidate::find(typed)).collect::<Result<Vec<_>, _>>()?,
    };
    let Some(baseline) = baseline else { return Ok((all, 0)) };
    let wanted = match all.iter().position(|candidate| candidate.name == baseline) {
        Some(place) => return Ok((all, place)),
        None => Candidate::find(baseline)?,
    };
    if let Some(place) = all.iter().position(|candidate| *candidate == wanted) {
        return Ok((all, place));
    }
    all.insert(0, wanted);
    Ok((all, 0))
}

fn replications(args: &CompareArgs) -> Replications {
    let first = args.seeds.map_or(1, |seeds| seeds.first);
    match (args.split.or(args.split_days.then_some(86_400.0)), args.precision, args.seeds) {
        (Some(length_s), _, _) => Replications::Parts { length_s, first },
        (None, None, Some(seeds)) => Replications::Seeds(seeds.all()),
        (None, precision, seeds) => Replications::UntilPrecise {
            first,
            precision: precision.unwrap_or(PRECISION),
            cap: seeds.map_or(CAP, |seeds| seeds.count),
        },
    }
}

fn prepare(file: &Path, candidates: &[Candidate], args: &CompareArgs) -> Result<(Scenario, Vec<Entrant>), Failure> {
    let plain = scenario::load(file, &args.overrides)?;
    for note in &plain.notes {
        output::note(&format!("note: {}: {note}", plain.settings.name));
    }
    let mut entrants = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let scenario = candidate.load(file, &args.overrides)?;
        for note in scenario.notes.iter().filter(|note| !plain.notes.contains(note)) {
            output::note(&format!("note: {} with {}: {note}", plain.settings.name, candidate.name));
        }
        entrants.push(Entrant { name: candidate.name.clone(), summary: candidate.summary.clone(), scenario });
    }
    Ok((plain, entrants))
}

/// Runs `work` on a pool of its own, of as many threads as asked for.
pub(super) fn on_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    Ok(pool.map_err(|error| Failure::other(format!("cannot start worker threads: {error}")))?.install(work))
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Failure {
        match error {
            CompareError::Run { policy, error } => match Failure::from(error) {
                Failure::Input(message) => Failure::Input(format!("policy {policy}: {message}")),
                other => other,
            },
            error => Failure::input(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_shares_and_lengths_are_read() {
        assert_eq!(seeds("20"), Ok(Seeds { first: 1, count: 20 }));
        assert_eq!(seeds("101..140"), Ok(Seeds { first: 101, count: 40 }));
        assert!(seeds("9..3").unwrap_err().contains("before it begins"));
        assert!(seeds("0").unwrap_err().contains("allowed"));
        assert_eq!((share("5%"), share("0.05")), (Ok(0.05), Ok(0.05)));
        assert!(share("0").is_err() && share("many").is_err());
        assert_eq!((duration("2h"), duration("90")), (Ok(7_200.0), Ok(90.0)));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn the_baseline_is_found_or_added() {
        let names = |typed: &[&str], baseline| {
            let typed: Vec<String> = typed.iter().map(|typed| (*typed).to_owned()).collect();
            candidates(&typed, baseline).map(|(all, place)| (all.len(), all[place].name.clone()))
        };
        assert_eq!(names(&["per_job", "request_count"], None), Ok((2, "per_job".to_owned())));
        assert_eq!(names(&["per_job", "request_count"], Some("request_count")), Ok((2, "request_count".to_owned())));
        assert_eq!(names(&["per_job"], Some("platform_default")), Ok((2, "platform_default".to_owned())));
        assert!(names(&["per_jbo"], None).unwrap_err().to_string().contains("did you mean `per_job`?"));
    }
}
