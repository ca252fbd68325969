//! The transcript as text, without the records from which nothing follows.

use thermocline::scheduler::transcript_text::TextLine;
use thermocline::scheduler::{Command, Event, Recorder};
use thermocline::units::Time;

/// One line per record. Signs of life, stages, and deadlines from which nothing followed are left out: they would be most of the
/// page.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub text: String,
    /// A deadline that shows if a command follows.
    pending: Option<Time>,
}

impl Recorder for Lines {
    fn event(&mut self, now: Time, event: &Event) {
        self.pending = None;
        match event {
            Event::DeadlineReached => self.pending = Some(now),
            Event::StageEnded { .. } | Event::WorkerPinged { .. } => {}
            _ => self.line(TextLine::Told(now, event)),
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        if let Some(at) = self.pending.take() {
            self.line(TextLine::Told(at, &Event::DeadlineReached));
        }
        self.line(TextLine::Asked(now, command));
    }
}

impl Lines {
    fn line(&mut self, line: TextLine<'_>) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }
}
