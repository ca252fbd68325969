//! The story of one endpoint: its decisions over time, and how often what happened for which reason.

use std::collections::BTreeMap;

use super::job::word;
use super::story::{Explanation, Line, Names, Total, counted};
use super::words;
use crate::policy::Phase;
use crate::scheduler::{Command, Event, Recorder, ReleaseStatus};
use crate::units::{EndpointId, JobId, Time, WorkerId};

/// Follows the transcript and keeps what concerns one endpoint.
pub(super) struct EndpointStory {
    names: Names,
    endpoint: EndpointId,
    lines: Vec<Line>,
    /// (what, reason) -> (in words, how often).
    counts: BTreeMap<(&'static str, &'static str), (&'static str, u64)>,
    /// Alive, with their last phase: notices about a worker do not repeat whose it is.
    workers: BTreeMap<WorkerId, Phase>,
    jobs: BTreeMap<JobId, ()>,
    most_workers_wanted: u32,
    decisions: u64,
}

impl EndpointStory {
    pub(super) fn new(endpoint: EndpointId, names: Names) -> EndpointStory {
        EndpointStory {
            names,
            endpoint,
            lines: Vec::new(),
            counts: BTreeMap::new(),
            workers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            most_workers_wanted: 0,
            decisions: 0,
        }
    }

    fn count(&mut self, what: &'static str, reason: &'static str, text: &'static str) {
        self.counts.entry((what, reason)).or_insert((text, 0)).1 += 1;
    }

    fn worker_changed(&mut self, command: &Command) {
        let &Command::WorkerChanged { worker, phase, reason, .. } = command else { return };
        let Some(before) = self.workers.get_mut(&worker) else { return };
        let changed = std::mem::replace(before, phase) != phase;
        if phase == Phase::Removed {
            self.workers.remove(&worker);
        }
        let what = match phase {
            Phase::Starting => "worker starts",
            Phase::Stopping => "worker stops",
            Phase::Throttled => "workers throttled",
            Phase::Unhealthy => "workers unhealthy",
            Phase::Removed => "workers removed",
            _ => return,
        };
        if changed {
            self.count(what, reason.as_str(), words::worker_reason(reason));
        }
    }

    fn job_changed(&mut self, command: &Command) {
        match *command {
            Command::FinishJob { job, outcome, cause, .. } if self.jobs.remove(&job).is_some() => {
                let what = match word(outcome) {
                    "COMPLETED" => "jobs COMPLETED",
                    "FAILED" => "jobs FAILED",
                    "TIMED_OUT" => "jobs TIMED_OUT",
                    _ => "jobs CANCELLED",
                };
                self.count(what, cause.as_str(), words::finish_cause(cause));
            }
            Command::RequeueJob { job, cause, .. } if self.jobs.contains_key(&job) => {
                self.count("attempts without an outcome", cause.as_str(), words::requeue_cause(cause));
            }
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Explanation {
        let name =
            self.names.endpoints.get(self.endpoint.index()).cloned().unwrap_or_else(|| self.endpoint.to_string());
        let headline = format!(
            "{}, at most {} wanted at once",
            counted(self.decisions, "decision"),
            counted(self.most_workers_wanted.into(), "worker")
        );
        let mut totals: Vec<Total> = self
            .counts
            .into_iter()
            .map(|((what, reason), (text, count))| Total { what, reason, count, text })
            .collect();
        totals.sort_by(|a, b| a.what.cmp(b.what).then(b.count.cmp(&a.count)));
        Explanation { subject: format!("endpoint {name}"), headline, lines: self.lines, totals }
    }
}

impl Recorder for EndpointStory {
    fn event(&mut self, _: Time, _: &Event) {}

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::ScaleDecided { endpoint, from, to, reason, trigger } if endpoint == self.endpoint => {
                self.decisions += 1;
                self.most_workers_wanted = self.most_workers_wanted.max(to);
                let waiting = trigger.map_or(String::new(), |job| format!("; {job} has waited longest"));
                let text = format!("{from} -> {to} workers: {}{waiting}", words::scale_reason(reason));
                self.lines.push(Line::new(now, "scale", text).because(reason.as_str()));
                let what = if to > from { "decisions up" } else { "decisions down" };
                self.count(what, reason.as_str(), words::scale_reason(reason));
            }
            Command::BoundsChanged { endpoint, active, max, reason } if endpoint == self.endpoint => {
                let text = format!("bounds are now {active} active, {max} max: {}", words::scale_reason(reason));
                self.lines.push(Line::new(now, "bounds", text).because(reason.as_str()));
            }
            Command::ReleaseChanged { endpoint, version, status } if endpoint == self.endpoint => {
                let text = match status {
                    ReleaseStatus::Rolling => format!("release {version} begins to roll out"),
                    ReleaseStatus::Complete => format!("release {version} is complete: every worker has it"),
                    ReleaseStatus::RolledBack => format!("release {version} did not come up and is rolled back"),
                };
                self.lines.push(Line::new(now, "release", text));
            }
            Command::WorkerPlaced { worker, endpoint, .. } if endpoint == self.endpoint => {
                self.workers.entry(worker).or_insert(Phase::Placing);
            }
            Command::AcceptJob { job, endpoint, .. } if endpoint == self.endpoint => {
                self.jobs.insert(job, ());
            }
            Command::RejectJob { endpoint, reason, .. } if endpoint == self.endpoint => {
                self.count("jobs refused", reason.as_str(), "");
            }
            Command::WorkerChanged { .. } => self.worker_changed(command),
            Command::FinishJob { .. } | Command::RequeueJob { .. } => self.job_changed(command),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ScaleReason, WorkerKind};
    use crate::scheduler::WorkerReason;

    #[test]
    fn only_the_endpoints_own_decisions_and_workers_are_counted() {
        let mut story = EndpointStory::new(EndpointId(1), Names::default());
        for (endpoint, sequence) in [(EndpointId(0), 0), (EndpointId(1), 1)] {
            let worker = WorkerId::new(sequence, 0);
            let (kind, reason) = (WorkerKind::Flex, ScaleReason::PerJob);
            story.command(Time::ZERO, &Command::ScaleDecided { endpoint, from: 0, to: 2, reason, trigger: None });
            story.command(Time::ZERO, &Command::WorkerPlaced { worker, endpoint, host: None, kind, version: 1 });
            for phase in [Phase::Starting, Phase::Starting] {
                let reason = WorkerReason::ScaleUp;
                story.command(Time::ZERO, &Command::WorkerChanged { worker, phase, outdated: false, reason });
            }
        }
        let told = story.finish();
        assert_eq!(told.headline, "1 decision, at most 2 workers wanted at once");
        let totals: Vec<_> = told.totals.iter().map(|total| (total.what, total.reason, total.count)).collect();
        assert_eq!(totals, [("decisions up", "per_job", 1), ("worker starts", "scale_up", 1)]);
    }
}
