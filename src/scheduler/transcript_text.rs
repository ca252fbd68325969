//! The transcript as text, one readable line per record: `3.000000 < worker_ready w0#1` was told, and
//! `3.000000 > assign_job j0 w0#1 attempt 1` was asked. `w0#1` is worker 0 in its first start. Used for golden transcripts,
//! `explain` and `--transcript`; the form for machines is [`transcript_json`](super::transcript_json).

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};

use super::event::{ExitCause, JobResult, StartStage};
use super::transcript::Recorder;
use super::{Command, Event, JobOutcome, ReleaseStatus, StopMode};
use crate::units::{HostId, Time};

/// One record as a line of text, without the line's end.
pub enum TextLine<'a> {
    /// Told.
    Told(Time, &'a Event),
    /// Asked or noted.
    Asked(Time, &'a Command),
}

impl Display for TextLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TextLine::Told(now, event) => {
                write!(f, "{now} < ")?;
                event_text(event, f)
            }
            TextLine::Asked(now, command) => {
                write!(f, "{now} > ")?;
                command_text(command, f)
            }
        }
    }
}

/// A recorder that writes every record as a line. The first error is kept and given back by [`TextTranscript::finish`].
pub struct TextTranscript<W: Write> {
    writer: W,
    lines: u64,
    error: Option<io::Error>,
}

impl<W: Write> TextTranscript<W> {
    /// Writes to `writer`, which should be buffered.
    pub fn new(writer: W) -> TextTranscript<W> {
        TextTranscript { writer, lines: 0, error: None }
    }

    /// Flushes; the writer and the number of lines, or the first error.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        match self.error {
            Some(error) => Err(error),
            None => self.writer.flush().map(|()| (self.writer, self.lines)),
        }
    }

    fn write(&mut self, line: TextLine<'_>) {
        if self.error.is_none() {
            self.lines += 1;
            self.error = writeln!(self.writer, "{line}").err();
        }
    }
}

impl<W: Write> Recorder for TextTranscript<W> {
    fn event(&mut self, now: Time, event: &Event) {
        self.write(TextLine::Told(now, event));
    }
    fn command(&mut self, now: Time, command: &Command) {
        self.write(TextLine::Asked(now, command));
    }
}

fn event_text(event: &Event, f: &mut Formatter<'_>) -> fmt::Result {
    match event {
        Event::HostAdded { host } => {
            write!(f, "host_added {} gpus {} class {}", word(&host.name), host.gpus, host.gpu_class.0)
        }
        Event::HostCapacityChanged { host, gpus } => write!(f, "host_capacity_changed {host} gpus {gpus}"),
        Event::HostLost { host } => write!(f, "host_lost {host}"),
        Event::HostReturned { host } => write!(f, "host_returned {host}"),
        Event::EndpointCreated { spec } => {
            write!(
                f,
                "endpoint_created {} active {} max {} extra {}",
                word(&spec.name),
                spec.active,
                spec.max,
                spec.extra
            )
        }
        Event::EndpointUpdated { endpoint, spec } => {
            write!(f, "endpoint_updated {endpoint} active {} max {} extra {}", spec.active, spec.max, spec.extra)
        }
        Event::EndpointDeleted { endpoint } => write!(f, "endpoint_deleted {endpoint}"),
        Event::JobSubmitted { endpoint, client_ref, policy } => {
            write!(f, "job_submitted {endpoint} ref {client_ref}")?;
            if let Some(ttl) = policy.ttl {
                write!(f, " ttl {}ms", ttl.0)?;
            }
            if let Some(timeout) = policy.execution_timeout {
                write!(f, " execution_timeout {}ms", timeout.0)?;
            }
            f.write_str(if policy.low_priority { " low_priority" } else { "" })
        }
        Event::CancelRequested { job } => write!(f, "cancel_requested {job}"),
        Event::PurgeRequested { endpoint } => write!(f, "purge_requested {endpoint}"),
        Event::ImagePulled { host, image } => write!(f, "image_pulled {host} {image}"),
        Event::ImagePullFailed { host, image } => write!(f, "image_pull_failed {host} {image}"),
        Event::StageEnded { worker, epoch, stage } => {
            write!(f, "stage_ended {worker}#{epoch} {}", stage_name(*stage))
        }
        Event::WorkerReady { worker, epoch } => write!(f, "worker_ready {worker}#{epoch}"),
        Event::WorkerExited { worker, epoch, cause } => {
            write!(f, "worker_exited {worker}#{epoch} {}", exit_name(*cause))
        }
        Event::WorkerStopped { worker, epoch, frozen } => {
            write!(f, "worker_stopped {worker}#{epoch}{}", if *frozen { " frozen" } else { "" })
        }
        Event::SnapshotLost { worker, epoch } => write!(f, "snapshot_lost {worker}#{epoch}"),
        Event::WorkerPinged { worker, epoch } => write!(f, "worker_pinged {worker}#{epoch}"),
        Event::TakeOpened { worker, epoch, slots } => write!(f, "take_opened {worker}#{epoch} slots {slots}"),
        Event::TakeClosed { worker, epoch } => write!(f, "take_closed {worker}#{epoch}"),
        Event::JobFinished { worker, epoch, job, attempt, result, refresh } => {
            let result = match result {
                JobResult::Completed => "completed",
                JobResult::Failed => "failed",
            };
            let refresh = if *refresh { " refresh" } else { "" };
            write!(f, "job_finished {job} {worker}#{epoch} attempt {attempt} {result}{refresh}")
        }
        Event::JobStopped { worker, epoch, job, attempt } => {
            write!(f, "job_stopped {job} {worker}#{epoch} attempt {attempt}")
        }
        Event::TakeLost { worker, epoch, job, attempt } => {
            write!(f, "take_lost {job} {worker}#{epoch} attempt {attempt}")
        }
        Event::DeadlineReached => f.write_str("deadline_reached"),
        Event::ImageAdded { image } => write!(f, "image_added {} layers {}", word(&image.name), image.layers.len()),
        Event::GpuClassAdded { class } => write!(f, "gpu_class_added {}", word(&class.name)),
    }
}

fn command_text(command: &Command, f: &mut Formatter<'_>) -> fmt::Result {
    match command {
        Command::PullImage { host, image } => write!(f, "pull_image {host} {image}"),
        Command::EvictImage { host, image } => write!(f, "evict_image {host} {image}"),
        Command::StartWorker { worker, epoch, endpoint, host, version, resume } => {
            let resume = if *resume { " resume" } else { "" };
            write!(f, "start_worker {worker}#{epoch} {endpoint} {host} v{version}{resume}")
        }
        Command::StopWorker { worker, epoch, mode } => {
            let mode = match mode {
                StopMode::Sleep => "sleep",
                StopMode::Freeze => "freeze",
                StopMode::Kill => "kill",
            };
            write!(f, "stop_worker {worker}#{epoch} {mode}")
        }
        Command::AssignJob { job, worker, epoch, attempt, .. } => {
            write!(f, "assign_job {job} {worker}#{epoch} attempt {attempt}")
        }
        Command::StopJob { job, worker, epoch, attempt } => {
            write!(f, "stop_job {job} {worker}#{epoch} attempt {attempt}")
        }
        Command::AcceptJob { job, endpoint, client_ref } => write!(f, "accept_job {job} {endpoint} ref {client_ref}"),
        Command::RejectJob { endpoint, client_ref, reason } => {
            write!(f, "reject_job {endpoint} ref {client_ref} {reason}")
        }
        Command::RequeueJob { job, worker, cause } => write!(f, "requeue_job {job} {worker} {cause}"),
        Command::FinishJob { job, outcome, cause, .. } => {
            let outcome = match outcome {
                JobOutcome::Completed => "COMPLETED",
                JobOutcome::Failed => "FAILED",
                JobOutcome::TimedOut => "TIMED_OUT",
                JobOutcome::Cancelled => "CANCELLED",
            };
            write!(f, "finish_job {job} {outcome} {cause}")
        }
        Command::WorkerPlaced { worker, endpoint, host, kind, version } => {
            write!(f, "worker_placed {worker} {endpoint} {} {} v{version}", HostText(*host), kind.as_str())
        }
        Command::WorkerChanged { worker, phase, outdated, reason } => {
            let outdated = if *outdated { " outdated" } else { "" };
            write!(f, "worker_changed {worker} {}{outdated} {reason}", phase.as_str())
        }
        Command::ScaleDecided { endpoint, from, to, reason, trigger } => {
            write!(f, "scale_decided {endpoint} {from} -> {to} {reason}")?;
            trigger.map_or(Ok(()), |job| write!(f, " trigger {job}"))
        }
        Command::ReleaseChanged { endpoint, version, status } => {
            let status = match status {
                ReleaseStatus::Rolling => "rolling",
                ReleaseStatus::Complete => "complete",
                ReleaseStatus::RolledBack => "rolled_back",
            };
            write!(f, "release_changed {endpoint} v{version} {status}")
        }
        Command::BoundsChanged { endpoint, active, max, reason } => {
            write!(f, "bounds_changed {endpoint} active {active} max {max} {reason}")
        }
    }
}

/// Names come from users: no blanks and no line ends may get into the line.
fn word(name: &str) -> String {
    name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

struct HostText(Option<HostId>);

impl Display for HostText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(host) => host.fmt(f),
            None => f.write_str("nowhere"),
        }
    }
}

/// A stage of a start in snake case.
pub fn stage_name(stage: StartStage) -> &'static str {
    match stage {
        StartStage::Container => "container",
        StartStage::Cuda => "cuda",
        StartStage::Import => "import",
        StartStage::Weights => "weights",
        StartStage::Engine => "engine",
        StartStage::FirstTake => "first_take",
        StartStage::Resume => "resume",
    }
}

fn exit_name(cause: ExitCause) -> &'static str {
    match cause {
        ExitCause::StartFailed => "start_failed",
        ExitCause::Crashed => "crashed",
        ExitCause::Unfit => "unfit",
        ExitCause::Left => "left",
        ExitCause::Silent => "silent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Phase, WorkerKind};
    use crate::scheduler::script::Script;

    #[test]
    fn a_small_run_reads_like_a_story() {
        let mut script = Script::default();
        script.at(1.0).place(0, 0, 0, WorkerKind::Flex).submit(0, 0).start(0, 1);
        script.at(3.0).ready(0, 1).assign(0, 0, 1, 1).at(4.25).complete(0, 0, 1, 1);
        let mut text = TextTranscript::new(Vec::new());
        script.play(&mut text);
        let (bytes, lines) = text.finish().unwrap();
        assert_eq!(lines, 10);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "1.000000 > worker_placed w0 e0 h0 flex v1\n\
             1.000000 < job_submitted e0 ref 0\n\
             1.000000 > accept_job j0 e0 ref 0\n\
             1.000000 > start_worker w0#1 e0 h0 v1\n\
             1.000000 > worker_changed w0 starting scale_up\n\
             3.000000 < worker_ready w0#1\n\
             3.000000 > worker_changed w0 ready waiting_for_jobs\n\
             3.000000 > assign_job j0 w0#1 attempt 1\n\
             4.250000 < job_finished j0 w0#1 attempt 1 completed\n\
             4.250000 > finish_job j0 COMPLETED result\n"
        );
    }

    #[test]
    fn names_equal_those_of_the_files() {
        let json = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for phase in Phase::ALL {
            assert_eq!(json(serde_json::to_value(phase).unwrap()), phase.as_str());
        }
        for kind in WorkerKind::ALL {
            assert_eq!(json(serde_json::to_value(kind).unwrap()), kind.as_str());
        }
        for stage in StartStage::ALL {
            assert_eq!(json(serde_json::to_value(stage).unwrap()), stage_name(stage));
        }
    }

    #[test]
    fn names_of_users_cannot_break_a_line() {
        assert_eq!(word("a b\nc"), "a_b_c");
    }

    #[test]
    fn the_first_error_is_given_back() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("disk full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut text = TextTranscript::new(Full);
        text.event(Time::ZERO, &Event::DeadlineReached);
        assert_eq!(text.finish().err().unwrap().to_string(), "disk full");
    }
}
