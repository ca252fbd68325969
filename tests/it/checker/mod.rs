//! An independent judge of a transcript: naive maps and loops, no code shared with the scheduler.
//!
//! It is shown every event and command ([`Recorder`]), keeps its own picture of hosts, endpoints, workers and jobs, and checks
//! the promises of the platform: each command when it comes (`commands`), the whole picture after each event's commands
//! (`batch`), and what must hold when time moves on (`instant`). The numbers in the violations are those of [`RULES`].

mod batch;
mod commands;
mod events;
mod instant;
mod model;
mod money;
mod phases;
mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use thermocline::ledger::{Ledger, Profile};
use thermocline::scheduler::{Command, Event, Recorder, SchedulerConfig};
use thermocline::units::{EndpointId, HostId, Money, Time};

pub use model::{JobPlace, Model};
pub use money::Books;

/// The promises, by number.
pub const RULES: [(u8, &str); 30] = [
    (1, "a worker is in one phase and changes it only along the table"),
    (2, "GPUs and disk of a host are never overbooked"),
    (4, "a job without an outcome is in the queue or with one worker; ids are given once"),
    (5, "a worker holds no more jobs than its concurrency, and none unless it is up"),
    (6, "workers within max + extra, all but extra within max, extra only where the image is cached"),
    (7, "workers that can bill stay within max + extra"),
    (8, "active workers are kept up"),
    (9, "a flex worker stops for idleness after its idle timeout, not before and not while it holds a job"),
    (10, "jobs go only to workers that are up, current (or the only ones), unfenced and ask for them"),
    (11, "a rollout replaces at most its share of max at a time and kills no job"),
    (12, "the outdated flag tells whether the version is the newest"),
    (13, "first come, first served within a priority; low priority never overtakes"),
    (15, "no job waits beside a worker that could take it"),
    (16, "the wanted number stays within bounds and its history has no gaps"),
    (17, "low priority jobs alone raise nothing"),
    (18, "failed workers wait for their backoff"),
    (19, "jobs stay with their endpoint; a purge touches queued jobs of its endpoint only"),
    (20, "image before start; never two pulls of one image on a host; nothing in use is evicted"),
    (21, "after a refresh the worker takes nothing until it was restarted"),
    (22, "execution timeout and TTL end jobs, on time and not early"),
    (23, "times of a job are in order"),
    (24, "accepted = outcomes + queued + in progress; one answer per submission"),
    (25, "dormancy follows the last request"),
    (26, "a throttled worker starts when its host has room, in order of asking"),
    (27, "a lost host has no workers, jobs or pulls"),
    (28, "time never goes back"),
    (29, "facts of the past, and facts told twice, change nothing"),
    (32, "lowering max or deleting never kills a running job"),
    (33, "a job lost more often than allowed fails, one lost less often is tried again"),
    (40, "stop signals and kills follow their protocol"),
];

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Number in [`RULES`].
    pub rule: u8,
    /// When.
    pub at: Time,
    /// How many records had been seen.
    pub record: u64,
    /// What happened.
    pub text: String,
    /// The last records about the same ids.
    pub history: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = RULES.iter().find(|(number, _)| *number == self.rule).map_or("?", |(_, promise)| promise);
        writeln!(f, "rule {} ({promise}) broken at {} s, record {}: {}", self.rule, self.at, self.record, self.text)?;
        self.history.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Records kept for the history of a violation.
const HISTORY: usize = 4_000;
/// Violations kept; the first ones matter.
const MOST_VIOLATIONS: usize = 20;

/// One record, for the history of violations.
#[derive(Clone, Debug)]
enum Record {
    Told(Event),
    Asked(Command),
}

/// The judge.
#[derive(Clone, Debug)]
pub struct Checker {
    model: Model,
    records: VecDeque<(Time, Record)>,
    seen: u64,
    violations: Vec<Violation>,
    books: Books,
}

impl Checker {
    /// A judge that has seen nothing yet.
    pub fn new(config: &SchedulerConfig) -> Checker {
        Checker {
            model: Model::new(config),
            records: VecDeque::new(),
            seen: 0,
            violations: Vec::new(),
            books: Books::default(),
        }
    }

    /// The transcript ends here: judges the last batch and the last instant.
    pub fn finish(&mut self) {
        if self.model.batch.is_some() {
            self.end_batch();
            self.end_instant();
        }
    }

    /// What was broken, in order.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The bill by endpoint if everything ends at `end`: seed and documented.
    pub fn bills(&self, end: Time) -> BTreeMap<EndpointId, [Money; 2]> {
        self.books.bills(end)
    }

    /// Worker-microseconds by endpoint up to `end`.
    pub fn lifetimes(&self, end: Time) -> BTreeMap<EndpointId, u64> {
        self.books.lifetimes(end)
    }

    /// The picture of the platform.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Everything broken as one text; empty when nothing is.
    pub fn complaint(&self) -> String {
        self.violations.iter().map(Violation::to_string).collect()
    }

    /// Notes a broken promise; `about` are ids in debug form whose last records belong to the story.
    fn broken(&mut self, rule: u8, about: &[String], text: String) {
        if self.violations.len() >= MOST_VIOLATIONS {
            return;
        }
        let mut history: Vec<String> = self
            .records
            .iter()
            .rev()
            .filter_map(|(at, record)| {
                let line = match record {
                    Record::Told(event) => format!("{at} < {event:?}"),
                    Record::Asked(command) => format!("{at} > {command:?}"),
                };
                about.iter().any(|id| line.contains(id.as_str())).then_some(line)
            })
            .take(24)
            .collect();
        history.reverse();
        self.violations.push(Violation { rule, at: self.model.now, record: self.seen, text, history });
    }

    fn report(&mut self, findings: Findings) {
        for (rule, about, text) in findings {
            self.broken(rule, &about, text);
        }
    }

    fn remember(&mut self, now: Time, record: Record) {
        self.seen += 1;
        if self.records.len() == HISTORY {
            self.records.pop_front();
        }
        self.records.push_back((now, record));
    }
}

/// Broken promises found while the picture is only looked at: rule, ids concerned, what happened.
type Findings = Vec<(u8, Vec<String>, String)>;

/// Ids in debug form, for [`Checker::broken`].
macro_rules! about {
    ($($id:expr),* $(,)?) => { &[$(format!("{:?}", $id)),*] };
}
use about;

impl Recorder for Checker {
    fn event(&mut self, now: Time, event: &Event) {
        if self.model.batch.is_some() {
            self.end_batch();
            if now > self.model.now {
                self.end_instant();
            }
        }
        self.remember(now, Record::Told(event.clone()));
        if now < self.model.now {
            let before = self.model.now;
            self.broken(28, &[], format!("an event at {now} s follows one at {before} s"));
        }
        self.model.now = now;
        self.begin_batch(event);
        self.books.look(&self.model);
    }

    fn command(&mut self, now: Time, command: &Command) {
        self.remember(now, Record::Asked(command.clone()));
        if now != self.model.now || self.model.batch.is_none() {
            let told = self.model.now;
            self.broken(28, &[], format!("a command at {now} s, the last event was at {told} s"));
        }
        self.judge_command(command);
        self.books.look(&self.model);
    }
}

/// Compares the ledger's bills with the checker's own, to the femto-dollar; empty when they agree.
pub fn audit(checker: &Checker, ledger: &Ledger, end: Time) -> String {
    let mut complaint = String::new();
    let mut total = [Money::ZERO; 2];
    for (endpoint, own) in checker.bills(end) {
        let account = ledger.endpoint(endpoint);
        for profile in Profile::ALL {
            let (mine, booked) = (own[profile.index()], account.total(profile).total());
            total[profile.index()] += mine;
            if mine != booked {
                complaint.push_str(&format!(
                    "the {} bill of {endpoint} is {} in the ledger, {} by the transcript\n",
                    profile.as_str(),
                    booked.0,
                    mine.0
                ));
            }
        }
    }
    for profile in Profile::ALL {
        let hosts = 0..checker.model().hosts.len() as u32;
        let earned: Money = hosts.map(|host| ledger.host(HostId(host), profile)).sum();
        if earned != total[profile.index()] {
            let owed = total[profile.index()].0;
            complaint.push_str(&format!("hosts earn {}, endpoints owe {owed} ({})\n", earned.0, profile.as_str()));
        }
    }
    complaint
}
