//! A scheduler that is saved, written as JSON, read back and restored goes on as if nothing had happened, and so do the books.
//!
//! Method: a second scheduler is told the same facts as the first, and dies and comes back at random moments; after every fact both
//! must have asked for the same, and have the same deadline whenever one of them is compared.

use std::collections::VecDeque;

use proptest::test_runner::TestCaseResult;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thermocline::ledger::{Ledger, Rounding};
use thermocline::metrics::Metrics;
use thermocline::scheduler::follow::Follower;
use thermocline::scheduler::watch::Window;
use thermocline::scheduler::{Command, Event, Recorder, Scheduler, SchedulerConfig, SchedulerState};
use thermocline::sim::Simulation;
use thermocline::units::Time;

use super::plans::{Dice, knobs, plan};
use super::{check, fail};

type Books = Follower<(Ledger, Metrics)>;

/// The second scheduler with its books.
pub struct Shadow {
    scheduler: Scheduler,
    /// What it asked for and the first one has not.
    ahead: VecDeque<Command>,
    books: Books,
    unbroken: Books,
    dice: Dice,
    /// It comes back after one fact in this many.
    every: u64,
    facts: u64,
    pub restores: u64,
    difference: Option<String>,
}

impl Shadow {
    pub fn new(config: &SchedulerConfig, seed: u64, every: u64) -> Shadow {
        let books = || {
            let ledger = Ledger::new(&config.gpu_classes, Rounding::UpToSeconds, Window::ALL);
            Follower::new((ledger, Metrics::new(Vec::new(), Window::ALL)))
        };
        Shadow {
            scheduler: Scheduler::new(config.clone()).expect("the policies of a plan exist"),
            ahead: VecDeque::new(),
            books: books(),
            unbroken: books(),
            dice: Dice(seed),
            every,
            facts: 0,
            restores: 0,
            difference: None,
        }
    }

    /// What differed first.
    pub fn judged(&self) -> TestCaseResult {
        self.difference.clone().map_or(Ok(()), fail)
    }

    /// As [`Self::judged`], at the end, with the books.
    pub fn finish(self, now: Time) -> TestCaseResult {
        self.judged()?;
        let (broken, unbroken) = (text(&self.books), text(&self.unbroken));
        if broken != unbroken {
            return fail(format!("after {} restores the books are\n{broken}\nnot\n{unbroken}", self.restores));
        }
        let (bill, figures) = self.unbroken.watcher();
        let (bill, figures) = (bill.so_far(now).total(), figures.total_so_far(now));
        let (ledger, metrics) = self.books.finish(now);
        if (ledger.total(), metrics.pulls()) != (bill, self.unbroken.watcher().1.pulls()) {
            return fail("the bill so far is not the bill at the end".to_owned());
        }
        let unfinished = metrics.total().jobs.unfinished;
        let mut total = metrics.total();
        total.jobs.unfinished = figures.jobs.unfinished;
        if total != figures || unfinished != figures.in_system.count() {
            return fail("the figures so far are not the figures at the end".to_owned());
        }
        Ok(())
    }

    fn differs(&mut self, now: Time, what: String) {
        let place = format!("at {now} s, after {} restores and {} facts", self.restores, self.facts);
        self.difference.get_or_insert_with(|| format!("{place}: {what}"));
    }

    /// Dies and comes back.
    fn come_back(&mut self, now: Time, other: &Scheduler) {
        self.restores += 1;
        let state = self.scheduler.snapshot();
        let read: SchedulerState = again(&state);
        if read != state {
            return self.differs(now, format!("{state:?}\nis read back as\n{read:?}"));
        }
        match Scheduler::restore(read) {
            Ok(restored) => self.scheduler = restored,
            Err(error) => return self.differs(now, error.to_string()),
        }
        if self.scheduler.snapshot() != state {
            return self.differs(now, "a restored scheduler has another state than the one it comes from".to_owned());
        }
        self.books = again(&self.books);
        let mut other = Scheduler::restore(other.snapshot()).expect("a state just taken can be restored");
        let (ours, theirs) = (self.scheduler.next_deadline(), other.next_deadline());
        if ours != theirs {
            self.differs(now, format!("deadline {ours:?}, of the unbroken one {theirs:?}"));
        }
    }
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it can be written")
}

fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&text(value)).expect("what was written can be read")
}

impl Recorder for Shadow {
    fn event(&mut self, now: Time, event: &Event) {
        self.facts += 1;
        self.books.event(now, event);
        self.unbroken.event(now, event);
        if self.difference.is_none() {
            self.scheduler.handle(now, event);
            while let Some(command) = self.scheduler.poll_command() {
                self.ahead.push_back(command);
            }
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        self.books.command(now, command);
        self.unbroken.command(now, command);
        let ours = self.ahead.pop_front();
        if ours.as_ref() != Some(command) {
            self.differs(now, format!("asked for {ours:?}, the unbroken one for {command:?}"));
        }
    }

    fn settled(&mut self, now: Time, scheduler: &Scheduler) {
        if let Some(more) = self.ahead.front().cloned() {
            self.differs(now, format!("asked for {more:?} too"));
        }
        if self.difference.is_none() && self.dice.one_in(self.every) {
            self.come_back(now, scheduler);
        }
    }
}

#[test]
fn a_restored_scheduler_goes_on_as_the_unbroken_one() {
    check("tests/testdata/properties-restore.txt", 60, &knobs(20..150), |knobs| {
        let plan = plan(&knobs);
        let mut shadow = Shadow::new(&plan.scheduler, knobs.seed ^ 0x5EED, 1 + knobs.seed % 60);
        let mut simulation = Simulation::new(&plan).or_else(|error| fail(format!("the plan is refused: {error}")))?;
        let end = simulation.run(&mut shadow, &mut |_| {}).or_else(|error| fail(format!("the run stops: {error}")))?;
        shadow.finish(end.now)
    });
}
