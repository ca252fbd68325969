//! `explain`: runs a scenario again and tells the story of one worker, one job or one endpoint.

mod endpoint;
mod job;
mod story;
mod words;
mod worker;

use std::path::PathBuf;

use clap::Args;

use self::endpoint::EndpointStory;
use self::job::JobStory;
use self::story::{Explanation, Names};
use self::worker::WorkerStory;
use super::progress::Progress;
use super::under::Under;
use super::{Failure, output};
use crate::scheduler::Recorder;
use crate::sim::Simulation;
use crate::sim::plan::Plan;
use crate::units::{EndpointId, Time};

/// Lines of what happened that are shown without `--all`.
const LINES_SHOWN: usize = 60;

/// What can be typed after `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Application file
    file: PathBuf,
    #[command(flatten)]
    subject: Subject,
    /// Seed of the run; the file's unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change a setting of the file, such as endpoints.sdxl.workers.max=5
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    under: Under,
    /// Show every line of a long story
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// A worker by its number: 3 or w3
    #[arg(long, value_name = "W", value_parser = worker_number)]
    worker: Option<u64>,
    /// A job by its number: 1042 or j1042
    #[arg(long, value_name = "J", value_parser = job_number)]
    job: Option<u64>,
    /// An endpoint by its name
    #[arg(long, value_name = "E")]
    endpoint: Option<String>,
}

fn worker_number(typed: &str) -> Result<u64, String> {
    number(typed, 'w', "a worker's number, such as 3 or w3")
}

fn job_number(typed: &str) -> Result<u64, String> {
    number(typed, 'j', "a job's number, such as 1042 or j1042")
}

fn number(typed: &str, prefix: char, wanted: &str) -> Result<u64, String> {
    typed.strip_prefix(prefix).unwrap_or(typed).parse().map_err(|_| format!("must be {wanted}"))
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let mut plan = args.under.load(&args.file, &args.set)?.plan;
    plan.seed = args.seed.unwrap_or(plan.seed);
    let told = tell(&plan, &args.subject)?;
    if args.json {
        output::answer_json(&told)
    } else {
        output::answer(&told.text(if args.all { usize::MAX } else { LINES_SHOWN }))
    }
}

fn tell(plan: &Plan, subject: &Subject) -> Result<Explanation, Failure> {
    let names = names(plan);
    if let Some(wanted) = subject.worker {
        let mut story = WorkerStory::new(wanted, names);
        watch(plan, &mut story)?;
        let met = story.met;
        return story.finish().ok_or_else(|| unknown("worker", 'w', wanted, met));
    }
    if let Some(wanted) = subject.job {
        let mut story = JobStory::new(wanted, names);
        let end = watch(plan, &mut story)?;
        let met = story.met;
        return story.finish(end).ok_or_else(|| unknown("job", 'j', wanted, met));
    }
    let wanted = subject.endpoint.as_deref().unwrap_or_default();
    let mut story = EndpointStory::new(endpoint_named(plan, wanted)?, names);
    watch(plan, &mut story)?;
    Ok(story.finish())
}

fn names(plan: &Plan) -> Names {
    Names {
        hosts: plan.hosts.iter().map(|host| host.spec.name.clone()).collect(),
        endpoints: plan.endpoints.iter().map(|endpoint| endpoint.spec.name.clone()).collect(),
    }
}

fn endpoint_named(plan: &Plan, wanted: &str) -> Result<EndpointId, Failure> {
    let known: Vec<&str> = plan.endpoints.iter().map(|endpoint| endpoint.spec.name.as_str()).collect();
    match known.iter().position(|name| *name == wanted) {
        Some(index) => Ok(EndpointId(index as u32)),
        None => Err(Failure::Input(format!("no endpoint is named `{wanted}`; there is: {}", known.join(", ")))),
    }
}

fn unknown(what: &str, prefix: char, wanted: u64, met: u64) -> Failure {
    Failure::Input(match met {
        0 => format!("there is no {what} {prefix}{wanted}: this run has no {what}s at all"),
        _ => format!("there is no {what} {prefix}{wanted}: this run has {met}, from {prefix}0 to {prefix}{}", met - 1),
    })
}

/// Runs the plan under the eyes of `recorder`; gives the time at which it ended.
fn watch(plan: &Plan, recorder: &mut impl Recorder) -> Result<Time, Failure> {
    let mut progress = Progress::new();
    let end = Simulation::new(plan)?.run(recorder, &mut |state| progress.show(state))?;
    Ok(end.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_typed_with_and_without_their_letter() {
        assert_eq!(worker_number("w12"), Ok(12));
        assert_eq!(job_number("1042"), Ok(1_042));
        assert_eq!(job_number("w1"), Err("must be a job's number, such as 1042 or j1042".to_owned()));
    }

    #[test]
    fn an_unknown_id_is_answered_with_those_there_are() {
        let Failure::Input(message) = unknown("worker", 'w', 9, 5) else { panic!("bad input") };
        assert_eq!(message, "there is no worker w9: this run has 5, from w0 to w4");
    }
}
