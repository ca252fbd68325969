//! Whole runs of small plans with the real scheduler.

mod clean;

use std::collections::BTreeMap;

use super::plan::Plan;
use super::{RunEnd, Simulation};
use crate::scheduler::{Command, Event, JobOutcome, Recorder};
use crate::units::{JobId, Span, Time};

/// The transcript of a run.
#[derive(Debug, Default)]
struct Transcript {
    events: Vec<(Time, Event)>,
    commands: Vec<(Time, Command)>,
    hash: u64,
}

impl Recorder for Transcript {
    fn event(&mut self, now: Time, event: &Event) {
        self.note(now, &format!("{event:?}"));
        self.events.push((now, event.clone()));
    }

    fn command(&mut self, now: Time, command: &Command) {
        self.note(now, &format!("{command:?}"));
        self.commands.push((now, command.clone()));
    }
}

impl Transcript {
    fn note(&mut self, now: Time, line: &str) {
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(format!("{now} {line}").as_bytes(), self.hash);
    }

    /// Times of the events that `pick` picks.
    fn when(&self, pick: impl Fn(&Event) -> bool) -> Vec<f64> {
        self.events.iter().filter(|row| pick(&row.1)).map(|row| row.0.as_secs()).collect()
    }

    /// Times of the commands that `pick` picks.
    fn asked(&self, pick: impl Fn(&Command) -> bool) -> Vec<f64> {
        self.commands.iter().filter(|row| pick(&row.1)).map(|row| row.0.as_secs()).collect()
    }

    fn ready(&self) -> Vec<f64> {
        self.when(|event| matches!(event, Event::WorkerReady { .. }))
    }

    fn outcomes(&self, outcome: JobOutcome) -> Vec<f64> {
        self.asked(|command| matches!(command, Command::FinishJob { outcome: found, .. } if *found == outcome))
    }

    /// From submission to the first hand-out, and from hand-out to outcome, of every job that has an outcome.
    fn waits_and_services(&self) -> Vec<(Span, Span)> {
        let mut accepted: BTreeMap<JobId, Time> = BTreeMap::new();
        let mut handed: BTreeMap<JobId, Time> = BTreeMap::new();
        let mut rows = Vec::new();
        for (now, command) in &self.commands {
            match command {
                Command::AcceptJob { job, .. } => drop(accepted.insert(*job, *now)),
                Command::AssignJob { job, .. } => drop(handed.entry(*job).or_insert(*now)),
                Command::FinishJob { job, .. } if handed.contains_key(job) => {
                    rows.push((handed[job].since(accepted[job]), now.since(handed[job])));
                }
                _ => {}
            }
        }
        rows
    }
}

fn run(plan: &Plan) -> (RunEnd, Transcript) {
    let mut transcript = Transcript::default();
    let end = Simulation::new(plan).expect("the plan is sound").run(&mut transcript, &mut |_| {});
    (end.expect("the run ends"), transcript)
}

fn mean(spans: impl Iterator<Item = Span>) -> f64 {
    let (sum, count) = spans.fold((0, 0), |(sum, count), span| (sum + span.0, count + 1));
    sum as f64 / 1e6 / f64::from(count)
}
