//! The story of one job: submitted, every attempt, what it waited for, how it ended.

use super::story::{Explanation, Line, Names, seconds};
use super::words;
use crate::scheduler::{Command, Event, JobOutcome, JobPolicy, Recorder, Scheduler, WaitReason};
use crate::units::{EndpointId, JobId, Time, WorkerId};

/// Follows the transcript and keeps what concerns one job.
pub(super) struct JobStory {
    names: Names,
    /// Number of the job, as shown: `j1042` is 1042.
    wanted: u64,
    /// Jobs met so far.
    pub met: u64,
    lines: Vec<Line>,
    /// The latest submission: its acceptance, if any, comes next.
    submission: JobPolicy,
    accepted: Option<(Time, JobId, EndpointId)>,
    wait: Option<(Time, WaitReason)>,
    attempt: Option<(Time, WorkerId)>,
    ended: Option<(Time, JobOutcome)>,
    waited_s: f64,
}

impl JobStory {
    pub(super) fn new(wanted: u64, names: Names) -> JobStory {
        JobStory {
            names,
            wanted,
            met: 0,
            lines: Vec::new(),
            submission: JobPolicy::default(),
            accepted: None,
            wait: None,
            attempt: None,
            ended: None,
            waited_s: 0.0,
        }
    }

    fn is(&self, job: JobId) -> bool {
        job.sequence() == self.wanted
    }

    /// Ends an interval of waiting and begins another one, if the reason is another one.
    fn waits(&mut self, now: Time, reason: Option<WaitReason>) {
        if self.wait.map(|(_, reason)| reason) == reason {
            return;
        }
        if let Some((since, reason)) = self.wait.take().filter(|(since, _)| *since < now) {
            let text = format!("waits: {}", words::wait_reason(reason));
            self.lines.push(Line::new(since, "wait", text).because(reason.as_str()).until(now));
            self.waited_s += now.since(since).as_secs();
        }
        self.wait = reason.map(|reason| (now, reason));
    }

    fn accept(&mut self, now: Time, job: JobId, endpoint: EndpointId) {
        self.accepted = Some((now, job, endpoint));
        let mut text = "submitted and accepted".to_owned();
        if self.submission.low_priority {
            text.push_str(", low priority");
        }
        if let Some(ttl) = self.submission.ttl {
            text.push_str(&format!(", TTL {}", seconds(ttl.span().as_secs())));
        }
        self.lines.push(Line::new(now, "submitted", text));
    }

    fn end(&mut self, now: Time, outcome: JobOutcome, text: String, reason: &'static str) {
        self.waits(now, None);
        self.end_attempt(now);
        self.ended = Some((now, outcome));
        self.lines.push(Line::new(now, "finished", text).because(reason));
    }

    fn end_attempt(&mut self, now: Time) {
        if let Some((since, worker)) = self.attempt.take() {
            let text = format!("was with {worker}");
            self.lines.push(Line::new(since, "attempt", text).until(now));
        }
    }

    /// The story, or `None` if there was no such job.
    pub(super) fn finish(mut self, now: Time) -> Option<Explanation> {
        let (accepted, _, endpoint) = self.accepted?;
        if self.ended.is_none() {
            self.waits(now, None);
            self.end_attempt(now);
        }
        let name = self.names.endpoints.get(endpoint.index()).cloned().unwrap_or_else(|| endpoint.to_string());
        let waited = seconds(self.waited_s);
        let headline = match self.ended {
            Some((end, outcome)) => {
                let whole = seconds(end.since(accepted).as_secs());
                format!(
                    "job of endpoint {name}: {}, {whole} after its submission, {waited} of it waiting",
                    word(outcome)
                )
            }
            None => format!("job of endpoint {name}: no outcome when the run ended, {waited} of waiting so far"),
        };
        Some(Explanation { subject: format!("j{}", self.wanted), headline, lines: self.lines, totals: Vec::new() })
    }
}

pub(super) fn word(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Completed => "COMPLETED",
        JobOutcome::Failed => "FAILED",
        JobOutcome::TimedOut => "TIMED_OUT",
        JobOutcome::Cancelled => "CANCELLED",
    }
}

impl Recorder for JobStory {
    fn event(&mut self, _: Time, event: &Event) {
        if let Event::JobSubmitted { policy, .. } = event {
            self.submission = *policy;
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::AcceptJob { job, endpoint, .. } => {
                self.met = self.met.max(job.sequence() + 1);
                if self.is(job) {
                    self.accept(now, job, endpoint);
                }
            }
            Command::AssignJob { job, worker, attempt, .. } if self.is(job) => {
                self.waits(now, None);
                self.attempt = Some((now, worker));
                self.lines.push(Line::new(now, "assigned", format!("attempt {attempt} goes to {worker}")));
            }
            Command::StopJob { job, worker, .. } if self.is(job) => {
                self.lines.push(Line::new(now, "stopping", format!("{worker} is told to stop it")));
            }
            Command::RequeueJob { job, worker, cause } if self.is(job) => {
                self.end_attempt(now);
                let text = format!("back to its old place in the queue from {worker}: {}", words::requeue_cause(cause));
                self.lines.push(Line::new(now, "requeued", text).because(cause.as_str()));
            }
            Command::FinishJob { job, outcome, cause, .. } if self.is(job) => {
                self.end(now, outcome, format!("{}: {}", word(outcome), words::finish_cause(cause)), cause.as_str());
            }
            _ => {}
        }
    }

    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        if let (Some((_, job, _)), None) = (self.accepted, self.ended) {
            self.waits(now, scheduler.job_wait_reason(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{FinishCause, RequeueCause};

    #[test]
    fn every_interval_of_waiting_has_its_reason_and_the_intervals_add_up() {
        let (job, worker, endpoint) = (JobId::new(4, 0), WorkerId::new(1, 0), EndpointId(0));
        let at = |s: f64| Time::from_secs(s);
        let mut story = JobStory::new(4, Names { hosts: vec![], endpoints: vec!["llm".into()] });
        story.command(at(10.0), &Command::AcceptJob { job, endpoint, client_ref: 9 });
        story.waits(at(10.0), Some(WaitReason::ImagePulling));
        story.waits(at(15.0), Some(WaitReason::ImagePulling));
        story.waits(at(20.0), Some(WaitReason::WorkerStarting));
        story.command(at(30.0), &Command::AssignJob { job, client_ref: 9, worker, epoch: 1, attempt: 1 });
        story.command(at(31.0), &Command::RequeueJob { job, worker, cause: RequeueCause::WorkerCrashed });
        story.waits(at(31.0), Some(WaitReason::CrashLoop));
        story.command(at(41.0), &Command::AssignJob { job, client_ref: 9, worker, epoch: 2, attempt: 2 });
        let outcome = JobOutcome::Completed;
        story.command(at(44.0), &Command::FinishJob { job, client_ref: 9, outcome, cause: FinishCause::Result });
        let told = story.finish(at(99.0)).expect("the job exists");
        assert_eq!(told.headline, "job of endpoint llm: COMPLETED, 34 s after its submission, 30 s of it waiting");
        let waits: Vec<(f64, Option<f64>, Option<&str>)> = told
            .lines
            .iter()
            .filter(|line| line.what == "wait")
            .map(|line| (line.at_s, line.until_s, line.reason))
            .collect();
        assert_eq!(
            waits,
            [
                (10.0, Some(20.0), Some("image_pulling")),
                (20.0, Some(30.0), Some("worker_starting")),
                (31.0, Some(41.0), Some("crash_loop")),
            ]
        );
        assert_eq!(told.lines.iter().filter(|line| line.what == "attempt").count(), 2);
    }

    #[test]
    fn a_job_without_an_outcome_says_so() {
        let mut story = JobStory::new(0, Names::default());
        story
            .command(Time::ZERO, &Command::AcceptJob { job: JobId::new(0, 0), endpoint: EndpointId(0), client_ref: 0 });
        story.waits(Time::ZERO, Some(WaitReason::MaxZero));
        let told = story.finish(Time::from_secs(5.0)).expect("the job exists");
        assert_eq!(told.headline, "job of endpoint e0: no outcome when the run ended, 5 s of waiting so far");
    }
}
