//! Workers as processes on hosts: what is true of them, whatever the scheduler believes.

use super::agenda::At;
use super::speed::SpeedClock;
use crate::scheduler::{JobResult, StartStage};
use crate::units::{JobId, Time, WorkerId};

/// What a worker's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none.
    Down,
    /// Its host starts as many as it can: it waits for its turn, holding its GPUs.
    Queued,
    /// Starting, up to ready.
    Starting,
    /// Serves.
    Ready,
    /// Told to stop.
    Stopping,
}

/// What will become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A result is reported.
    Result { result: JobResult, refresh: bool },
    /// The process dies.
    Crash,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Until a fixed moment; then `work` shared units, if any.
    Fixed { until: Time, work: f64 },
    /// Until the worker's clock reads `target`.
    Shared { target: f64 },
    /// For ever.
    Hung,
    /// Told to stop; gone at this moment.
    Stopping { until: Time },
}

/// One job on a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Attempt {
    pub job: JobId,
    pub number: u32,
    /// Key of its draws.
    pub index: u64,
    pub step: Step,
    pub fate: Fate,
}

/// When the worker asks for jobs (pull pick-up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taking {
    /// A request for work is open.
    pub open: bool,
    /// The next one is opened then; [`Time::MAX`] = not before a place is free.
    pub at: Time,
    /// When the take was that left no place free.
    pub filled: Time,
}

impl Taking {
    const NONE: Taking = Taking { open: false, at: Time::MAX, filled: Time::ZERO };
}

/// One row of the table of workers.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub id: WorkerId,
    /// Which start.
    pub epoch: u32,
    /// Raised by every change of state: what was due for another generation is obsolete.
    pub generation: u32,
    pub state: State,
    /// A snapshot of its last run lies on its host.
    pub snapshot: bool,
    pub endpoint: u32,
    pub host: u32,
    pub release: u32,
    pub gpus: u32,
    /// Number of this start on its host: the key of its draws.
    pub start: u64,
    /// Stages still to come, last one first, with the moments at which they end.
    pub stages: Vec<(StartStage, Time)>,
    pub resumes: bool,
    /// The stop under way leaves a snapshot.
    pub freezes: bool,
    /// Jobs taken since the start.
    pub taken: u32,
    /// Everything takes this many times as long on its host.
    pub slowdown: f64,
    pub attempts: Vec<Attempt>,
    pub clock: SpeedClock,
    pub taking: Taking,
    /// It says nothing any more.
    pub silent: bool,
    pub pinging: bool,
}

impl Worker {
    pub const fn vacant() -> Worker {
        Worker {
            id: WorkerId(u64::MAX),
            epoch: 0,
            generation: 0,
            state: State::Down,
            snapshot: false,
            endpoint: 0,
            host: 0,
            release: 0,
            gpus: 0,
            start: 0,
            stages: Vec::new(),
            resumes: false,
            freezes: false,
            taken: 0,
            slowdown: 1.0,
            attempts: Vec::new(),
            clock: SpeedClock::new(),
            taking: Taking::NONE,
            silent: false,
            pinging: false,
        }
    }

    /// Enters a state; everything due for the one before is obsolete.
    pub fn turn(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }

    /// A key for the agenda that is valid until the next change of state.
    pub fn at(&self) -> At {
        At { slot: self.id.slot() as u32, generation: self.generation }
    }

    /// The process and all that it had in hand is gone.
    pub fn clear(&mut self) {
        self.turn(State::Down);
        self.stages.clear();
        self.attempts.clear();
        self.clock = SpeedClock::new();
        self.taking = Taking::NONE;
        self.taken = 0;
        self.silent = false;
        self.pinging = false;
    }

    /// When something happens to it next by itself.
    #[inline]
    pub fn next_time(&self, now: Time) -> Time {
        let mut next = self.taking.at;
        let mut target = f64::INFINITY;
        for attempt in &self.attempts {
            match attempt.step {
                Step::Fixed { until, .. } | Step::Stopping { until } => next = next.min(until),
                Step::Shared { target: own } => target = target.min(own),
                Step::Hung => {}
            }
        }
        if target < f64::INFINITY { next.min(now + self.clock.until(target)) } else { next }
    }
}
