//! The story of one worker: where it was placed, when and why it started and stopped, what it did in between.

use super::story::{Explanation, Line, Names, counted, seconds};
use super::words;
use crate::policy::{Phase, ScaleReason, WorkerKind};
use crate::scheduler::{Command, Event, Recorder, StartStage, WorkerReason};
use crate::units::{EndpointId, JobId, Span, Time, WorkerId};

/// Follows the transcript and keeps what concerns one worker.
pub(super) struct WorkerStory {
    names: Names,
    /// Number of the worker, as shown: `w3` is 3.
    wanted: u64,
    /// Workers met so far.
    pub met: u64,
    lines: Vec<Line>,
    endpoint: Option<EndpointId>,
    kind: Option<WorkerKind>,
    /// Latest decision per endpoint.
    decisions: Vec<Option<Decision>>,
    start: Option<Start>,
    service: Service,
    starts: u64,
}

#[derive(Clone, Copy)]
struct Decision {
    at: Time,
    from: u32,
    to: u32,
    reason: ScaleReason,
    trigger: Option<JobId>,
}

/// A start under way.
struct Start {
    at: Time,
    resume: bool,
    stages: Vec<(StartStage, Time)>,
}

/// Work since the worker became ready.
#[derive(Default)]
struct Service {
    up: bool,
    ready_at: Time,
    in_hand: Vec<JobId>,
    busy_since: Time,
    busy: Span,
    jobs: u64,
    jobs_ever: u64,
}

impl WorkerStory {
    pub(super) fn new(wanted: u64, names: Names) -> WorkerStory {
        WorkerStory {
            names,
            wanted,
            met: 0,
            lines: Vec::new(),
            endpoint: None,
            kind: None,
            decisions: Vec::new(),
            start: None,
            service: Service::default(),
            starts: 0,
        }
    }

    fn is(&self, worker: WorkerId) -> bool {
        worker.sequence() == self.wanted
    }

    fn changed(&mut self, now: Time, phase: Phase, outdated: bool, reason: WorkerReason) {
        if let Some(line) = self.service_line(now, phase) {
            self.lines.push(line);
        }
        let mut text = words::phase(phase).to_owned();
        match phase {
            Phase::Ready => {
                if let Some(start) = self.start.take() {
                    text.push_str(&ready_after(now, &start));
                }
                if !self.service.up {
                    self.service =
                        Service { up: true, ready_at: now, jobs_ever: self.service.jobs_ever, ..Service::default() };
                }
            }
            Phase::Starting => {
                self.starts += 1;
                self.start = Some(Start { at: now, resume: false, stages: Vec::new() });
            }
            _ => {}
        }
        if outdated {
            text.push_str(", outdated");
        }
        text.push_str(": ");
        text.push_str(words::worker_reason(reason));
        if matches!(reason, WorkerReason::ScaleUp | WorkerReason::Burst | WorkerReason::ScaleDown) {
            text.push_str(&self.decision_behind(now));
        }
        self.lines.push(Line::new(now, phase.as_str(), text).because(reason.as_str()));
    }

    /// What it did while it was up, when that ends.
    fn service_line(&mut self, now: Time, next: Phase) -> Option<Line> {
        if !self.service.up || matches!(next, Phase::Ready | Phase::Draining) {
            return None;
        }
        self.service.up = false;
        self.service.settle(now);
        let up = now.since(self.service.ready_at);
        let (jobs, busy) = (self.service.jobs, self.service.busy);
        let text = format!(
            "up: {} served, busy {:.0} % of it",
            counted(jobs, "job"),
            100.0 * busy.as_secs() / up.as_secs().max(f64::MIN_POSITIVE)
        );
        Some(Line::new(self.service.ready_at, "service", text).until(now))
    }

    /// The decision of this instant that brought it about.
    fn decision_behind(&self, now: Time) -> String {
        let decision = self.endpoint.and_then(|endpoint| *self.decisions.get(endpoint.index())?);
        let Some(decision) = decision.filter(|decision| decision.at == now) else { return String::new() };
        let waiting = decision.trigger.map_or(String::new(), |job| format!("; {job} has waited longest"));
        format!(
            " [{} -> {} workers, {}: {}{waiting}]",
            decision.from,
            decision.to,
            decision.reason,
            words::scale_reason(decision.reason)
        )
    }

    /// The story, or `None` if there was no such worker.
    pub(super) fn finish(self) -> Option<Explanation> {
        let endpoint = self.endpoint?;
        let name = self.names.endpoints.get(endpoint.index()).cloned().unwrap_or_else(|| endpoint.to_string());
        let kind = self.kind.map_or("", WorkerKind::as_str);
        let headline = format!(
            "{kind} worker of endpoint {name}: {}, {}",
            counted(self.starts, "start"),
            counted(self.service.jobs_ever, "job")
        );
        Some(Explanation { subject: format!("w{}", self.wanted), headline, lines: self.lines, totals: Vec::new() })
    }
}

impl Service {
    fn settle(&mut self, now: Time) {
        if !self.in_hand.is_empty() {
            self.busy += now.since(self.busy_since);
            self.busy_since = now;
        }
    }

    fn taken(&mut self, now: Time, job: JobId) {
        self.settle(now);
        self.busy_since = now;
        self.in_hand.push(job);
        self.jobs += 1;
        self.jobs_ever += 1;
    }

    /// Facts may be late or doubled: a job that is not in hand changes nothing.
    fn given_back(&mut self, now: Time, job: JobId) {
        self.settle(now);
        self.in_hand.retain(|held| *held != job);
    }
}

fn ready_after(now: Time, start: &Start) -> String {
    let mut since = start.at;
    let mut stages = Vec::new();
    for (stage, ended) in &start.stages {
        stages.push(format!("{} {}", words::stage(*stage), seconds(ended.since(since).as_secs())));
        since = *ended;
    }
    let how = if start.resume { "thawed" } else { "started" };
    let detail = if stages.is_empty() { String::new() } else { format!(" ({})", stages.join(", ")) };
    format!(", {how} in {}{detail}", seconds(now.since(start.at).as_secs()))
}

impl Recorder for WorkerStory {
    fn event(&mut self, now: Time, event: &Event) {
        match *event {
            Event::StageEnded { worker, stage, .. } if self.is(worker) => {
                if let Some(start) = &mut self.start {
                    start.stages.push((stage, now));
                }
            }
            Event::JobFinished { worker, job, .. } | Event::JobStopped { worker, job, .. } if self.is(worker) => {
                self.service.given_back(now, job);
            }
            _ => {}
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::ScaleDecided { endpoint, from, to, reason, trigger } => {
                if self.decisions.len() <= endpoint.index() {
                    self.decisions.resize(endpoint.index() + 1, None);
                }
                self.decisions[endpoint.index()] = Some(Decision { at: now, from, to, reason, trigger });
            }
            Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
                self.met = self.met.max(worker.sequence() + 1);
                if self.is(worker) {
                    self.endpoint = Some(endpoint);
                    self.kind = Some(kind);
                    let place = host.map_or("no host yet".to_owned(), |host| format!("on {}", self.names.host(host)));
                    let text = format!("{place}, {} worker, release {version}", kind.as_str());
                    self.lines.push(Line::new(now, "placed", text));
                }
            }
            Command::WorkerChanged { worker, phase, outdated, reason } if self.is(worker) => {
                self.changed(now, phase, outdated, reason);
            }
            Command::StartWorker { worker, resume, .. } if self.is(worker) => {
                if let Some(start) = &mut self.start {
                    start.resume = resume;
                }
            }
            Command::AssignJob { worker, job, .. } if self.is(worker) => self.service.taken(now, job),
            Command::RequeueJob { worker, job, .. } if self.is(worker) => self.service.given_back(now, job),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_names_the_decision_and_the_job_behind_it() {
        let worker = WorkerId::new(3, 0);
        let endpoint = EndpointId(0);
        let (t0, t1, t2, t3) = (Time::ZERO, Time::from_secs(5.0), Time::from_secs(25.0), Time::from_secs(40.0));
        let names = Names { hosts: vec!["rack-1".into()], endpoints: vec!["sdxl".into()] };
        let mut story = WorkerStory::new(3, names);
        let changed = |phase, reason| Command::WorkerChanged { worker, phase, outdated: false, reason };
        let placed = Command::WorkerPlaced {
            worker,
            endpoint,
            host: Some(crate::units::HostId(0)),
            kind: WorkerKind::Flex,
            version: 1,
        };
        story.command(t0, &placed);
        story.command(t0, &changed(Phase::Asleep, WorkerReason::Precache));
        let trigger = Some(JobId::new(7, 0));
        story.command(t1, &Command::ScaleDecided { endpoint, from: 0, to: 1, reason: ScaleReason::FromZero, trigger });
        story.command(t1, &changed(Phase::Starting, WorkerReason::ScaleUp));
        story.event(t2, &Event::StageEnded { worker, epoch: 1, stage: StartStage::Weights });
        story.command(t2, &changed(Phase::Ready, WorkerReason::WaitingForJobs));
        let job = JobId::new(7, 0);
        story.command(t2, &Command::AssignJob { job, client_ref: 0, worker, epoch: 1, attempt: 1 });
        story.command(t3, &changed(Phase::Stopping, WorkerReason::IdleTimeout));
        let told = story.finish().expect("the worker exists");
        assert_eq!(told.headline, "flex worker of endpoint sdxl: 1 start, 1 job");
        let text = told.text(50);
        assert!(text.contains("[0 -> 1 workers, from_zero: jobs wait and no worker is up or coming; j7 has"), "{text}");
        assert!(text.contains("ready, started in 20 s (weights 20 s)"), "{text}");
        assert!(text.contains("up: 1 job served, busy 100 % of it, 15 s"), "{text}");
        assert!(text.contains("stops: its idle timeout ended (idle_timeout)"), "{text}");
    }

    #[test]
    fn another_worker_is_another_story() {
        let mut story = WorkerStory::new(3, Names::default());
        story.command(
            Time::ZERO,
            &Command::WorkerPlaced {
                worker: WorkerId::new(1, 1),
                endpoint: EndpointId(0),
                host: None,
                kind: WorkerKind::Flex,
                version: 1,
            },
        );
        assert_eq!((story.met, story.finish()), (2, None));
    }
}
