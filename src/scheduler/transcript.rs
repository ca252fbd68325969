//! The transcript: every fact and every decision with its time. Ledger, metrics, hash and `explain` are folds over it.

use super::{Command, Event, Scheduler};
use crate::units::Time;

/// Something that is shown the transcript while it is written.
pub trait Recorder {
    /// `event` is about to be handled at `now`.
    fn event(&mut self, now: Time, event: &Event);
    /// The scheduler asked for (or noted) `command` at `now`.
    fn command(&mut self, now: Time, command: &Command);
    /// Every command that followed from the last event is out: the moment to ask the scheduler a question.
    #[inline]
    fn settled(&mut self, _now: Time, _scheduler: &Scheduler) {}
}

/// Records nothing.
impl Recorder for () {
    #[inline]
    fn event(&mut self, _: Time, _: &Event) {}
    #[inline]
    fn command(&mut self, _: Time, _: &Command) {}
}

impl<A: Recorder, B: Recorder> Recorder for (A, B) {
    #[inline]
    fn event(&mut self, now: Time, event: &Event) {
        self.0.event(now, event);
        self.1.event(now, event);
    }
    #[inline]
    fn command(&mut self, now: Time, command: &Command) {
        self.0.command(now, command);
        self.1.command(now, command);
    }
    #[inline]
    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        self.0.settled(now, scheduler);
        self.1.settled(now, scheduler);
    }
}

impl<R: Recorder> Recorder for Option<R> {
    #[inline]
    fn event(&mut self, now: Time, event: &Event) {
        if let Some(recorder) = self {
            recorder.event(now, event);
        }
    }
    #[inline]
    fn command(&mut self, now: Time, command: &Command) {
        if let Some(recorder) = self {
            recorder.command(now, command);
        }
    }
    #[inline]
    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        if let Some(recorder) = self {
            recorder.settled(now, scheduler);
        }
    }
}

impl<R: Recorder> Recorder for &mut R {
    #[inline]
    fn event(&mut self, now: Time, event: &Event) {
        (**self).event(now, event);
    }
    #[inline]
    fn command(&mut self, now: Time, command: &Command) {
        (**self).command(now, command);
    }
    #[inline]
    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        (**self).settled(now, scheduler);
    }
}
