//! `sweep`: runs a scenario at many points of its settings; `sweep merge` brings shards together.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::compare::{Seeds, candidates, on_threads, seeds};
use super::progress::Steps;
use super::{Failure, output};
use crate::lab::axes::Axis;
use crate::lab::candidate::AS_WRITTEN;
use crate::lab::sweep::store::Store;
use crate::lab::sweep::{self, Prepared, Shard, Spec, SweepError};
use crate::report;
use crate::results::OutputError;
use crate::results::sweep::Sweep;

/// Seeds of every point unless given.
const SEEDS: Seeds = Seeds { first: 1, count: 10 };

/// What can be typed after `sweep`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
A path is that of `run --set`; `endpoints.*.x` means x of every endpoint. Every combination of the values is a point, run
under every policy and every seed; the same seeds at every point, so that points differ by their settings alone.

With --out the sweep can be cut off and goes on where it was when the same command is given again. A sweep can be spread over
machines: the same command with --shard 1/3, 2/3, 3/3, then `thermocline sweep merge DIR DIR DIR --out ALL`.

Examples:
  thermocline sweep app.yaml --vary 'endpoints.*.idle_timeout_s=1..600:8:log' --out sweep
  thermocline sweep app.yaml --vary endpoints.a.scaler.delay_s=1,2,4 --vary endpoints.a.workers.active=0,1 --seeds 20
  thermocline sweep app.yaml --vary 'endpoints.*.idle_timeout_s=1..600:log' --random 50"
)]
pub struct SweepArgs {
    #[command(subcommand)]
    verb: Option<SweepVerb>,
    /// Application file
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    /// A setting and its values: path=v1,v2,v3, path=lo..hi:steps, path=lo..hi:steps:log; may be given several times
    #[arg(long = "vary", value_name = "PATH=VALUES", required = true)]
    vary: Vec<String>,
    /// Draw this many points instead of a grid
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    random: Option<u32>,
    /// Seed of that draw; the points of a larger N begin with those of a smaller one
    #[arg(long, value_name = "N", default_value_t = 1, requires = "random")]
    random_seed: u64,
    /// Seeds of every point: a number of them (from 1 on), or a range such as 101..120, both ends included; 10 unless given
    #[arg(long, value_name = "N|A..B", value_parser = seeds)]
    seeds: Option<Seeds>,
    /// A policy to run every point under (as in `compare`); the file's own settings unless given
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// Run only this part of the points, such as 1/4
    #[arg(long, value_name = "I/N", value_parser = shard, requires = "out")]
    shard: Option<Shard>,
    /// Keep finished points here, and the table sweep.parquet when all are there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads; one per core unless given. The answer is the same for any number
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Change a setting at every point; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the means of all points as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SweepVerb {
    /// Bring the shards of a sweep together
    Merge {
        /// Folders that shards wrote
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
        /// Where the whole table goes
        #[arg(long, value_name = "DIR", required = true)]
        out: PathBuf,
        /// Overwrite a table that is there
        #[arg(long)]
        force: bool,
        /// Print the means of all points as JSON
        #[arg(long)]
        json: bool,
    },
}

/// `2/3`.
fn shard(text: &str) -> Result<Shard, String> {
    let wrong = || format!("`{text}` is not a part such as 1/4, 2/4, 3/4 or 4/4");
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    let (number, of): (usize, usize) =
        (number.trim().parse().map_err(|_| wrong())?, of.trim().parse().map_err(|_| wrong())?);
    if (1..=of).contains(&number) { Ok(Shard { index: number - 1, of }) } else { Err(wrong()) }
}

pub(super) fn run(args: &SweepArgs) -> Result<(), Failure> {
    if let Some(SweepVerb::Merge { folders, out, force, json }) = &args.verb {
        let sweep = sweep::merge(folders, out, *force)?;
        output::note(&format!("wrote {}", out.join("sweep.parquet").display()));
        return answer(&sweep, *json);
    }
    let Some(file) = &args.file else { return Err(Failure::input("no application file was given")) };
    let named = if args.policies.is_empty() { vec![AS_WRITTEN.to_owned()] } else { args.policies.clone() };
    let axis = |text: &String| Axis::parse(text).map(|axis| (axis, text.clone())).map_err(Failure::Input);
    let spec = Spec {
        file: file.clone(),
        overrides: args.overrides.clone(),
        axes: args.vary.iter().map(axis).collect::<Result<Vec<_>, _>>()?,
        random: args.random.map(|count| (count as usize, args.random_seed)),
        seeds: args.seeds.unwrap_or(SEEDS).all(),
        policies: candidates(&named, None)?.0,
    };
    let steps = Steps::new("points");
    let swept = on_threads(args.threads, || -> Result<Option<Sweep>, Failure> {
        let sweep = Prepared::new(spec)?;
        let store = args.out.as_ref().map(|folder| Store::open(folder, &sweep)).transpose()?;
        let watch = |progress: sweep::Progress| steps.show(progress.done, progress.of);
        Ok(sweep.run(store.as_ref(), args.shard.unwrap_or(Shard { index: 0, of: 1 }), &watch)?)
    })??;
    drop(steps);
    match (&swept, &args.out) {
        (Some(sweep), folder) => {
            if let Some(folder) = folder {
                output::note(&format!("wrote {}", folder.join("sweep.parquet").display()));
            }
            answer(sweep, args.json)
        }
        (None, _) => {
            output::note("this part is done; others are missing: run them, or merge their folders with `sweep merge`");
            Ok(())
        }
    }
}

fn answer(sweep: &Sweep, json: bool) -> Result<(), Failure> {
    if json { output::answer_json(sweep) } else { output::answer(&report::sweep::text(sweep, output::width())) }
}

impl From<SweepError> for Failure {
    fn from(error: SweepError) -> Failure {
        match error {
            SweepError::Output(error @ OutputError::Exists { .. }) => Failure::input(error),
            SweepError::Output(error) => Failure::other(error),
            SweepError::Input(message) => Failure::Input(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(shard("1/1"), Ok(Shard { index: 0, of: 1 }));
        assert_eq!(shard("2/3"), Ok(Shard { index: 1, of: 3 }));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(shard(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
