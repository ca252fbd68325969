//! The checker has teeth: a good transcript passes, and every kind of damage done to it is noticed.

use thermocline::ledger::{Ledger, Rounding};
use thermocline::scheduler::{Command, Event, Phase, Recorder, SchedulerConfig, WorkerKind};
use thermocline::units::{Span, Time, WorkerId};

use crate::checker::{Checker, audit};
use crate::support::script;

/// A day in the life: cold start, busy pair, crash and retry, cancel, timeout, rollout, idle timeout, shared pull.
const SCRIPT: &str = "
    image a base=5 a=5
    image b base=5 b=5
    host gpus=2 disk_gb=40
    host gpus=2 disk_gb=40 cached=0
    world start=2 service=4 pull=5 stop=1
    endpoint image=0 max=3 active=1 extra=0 concurrency=1 flashboot=off timeout=30
    endpoint image=1 max=2 extra=0
    at 10 submit e0 x4
    at 11 submit e1 x2
    at 12 submit e0 low
    at 13 exit w0 crashed
    at 14 cancel j3
    at 40 world job_end=never
    at 40 submit e0
    at 72 world job_end=completed
    at 75 update e0 env=1
    at 90 submit e0 x3
    until 200
";

#[derive(Clone, Debug)]
enum Line {
    Told(Time, Event),
    Asked(Time, Command),
}

#[derive(Clone, Debug, Default)]
struct Tape(Vec<Line>);

impl Recorder for Tape {
    fn event(&mut self, now: Time, event: &Event) {
        self.0.push(Line::Told(now, event.clone()));
    }

    fn command(&mut self, now: Time, command: &Command) {
        self.0.push(Line::Asked(now, command.clone()));
    }
}

fn record() -> (Vec<Line>, SchedulerConfig) {
    let mut config = None;
    let world = script::run(SCRIPT, |found| {
        config = Some(found.clone());
        Tape::default()
    });
    (world.recorder.0, config.expect("the recorder was made"))
}

fn replay(lines: &[Line], recorder: &mut impl Recorder) {
    for line in lines {
        match line {
            Line::Told(at, event) => recorder.event(*at, event),
            Line::Asked(at, command) => recorder.command(*at, command),
        }
    }
}

fn judge(lines: &[Line], config: &SchedulerConfig) -> String {
    let mut checker = Checker::new(config);
    replay(lines, &mut checker);
    checker.finish();
    checker.complaint()
}

#[test]
fn a_good_transcript_passes() {
    let (lines, config) = record();
    assert!(lines.len() > 200, "only {} records", lines.len());
    assert_eq!(judge(&lines, &config), "");
}

#[test]
fn every_command_that_is_left_out_is_missed() {
    let (lines, config) = record();
    // A decision to scale and the end of a release are told for people; no other record depends on them.
    let told_for_people = |command: &Command| {
        matches!(command, Command::ScaleDecided { .. } | Command::ReleaseChanged { .. } | Command::BoundsChanged { .. })
    };
    for (place, line) in lines.iter().enumerate() {
        let Line::Asked(at, command) = line else { continue };
        // That a worker had to wait for room cannot be seen once it starts.
        let waited = matches!(command, Command::WorkerChanged { phase: Phase::Throttled, .. });
        if told_for_people(command) || waited || goes_on_at_once(command, &lines[place + 1..]) {
            continue;
        }
        let mut damaged = lines.clone();
        damaged.remove(place);
        let missed = !judge(&damaged, &config).is_empty();
        assert!(missed || told_by_its_wish(command, &lines[place + 1..]), "nobody misses {command:?} of {at} s");
    }
}

/// The wish to stop the worker follows at once: it says by itself that the worker is stopping.
fn told_by_its_wish(command: &Command, rest: &[Line]) -> bool {
    let Command::WorkerChanged { worker, phase: Phase::Stopping, .. } = command else { return false };
    let mut batch = rest.iter().take_while(|line| matches!(line, Line::Asked(..)));
    batch.any(|line| matches!(line, Line::Asked(_, Command::StopWorker { worker: other, .. }) if other == worker))
}

/// The worker changes again before the next fact: this was a step on its way, or told for people.
fn goes_on_at_once(command: &Command, rest: &[Line]) -> bool {
    let about = |command: &Command| match command {
        Command::WorkerPlaced { worker, .. } => Some((*worker, true)),
        Command::WorkerChanged { worker, .. } => Some((*worker, false)),
        _ => None,
    };
    let Some((worker, placed)) = about(command) else { return false };
    let mut batch = rest.iter().take_while(|line| matches!(line, Line::Asked(..)));
    let again = |line: &Line| matches!(line, Line::Asked(_, other) if about(other) == Some((worker, placed)));
    batch.any(again)
}

#[test]
fn every_job_command_that_comes_twice_is_noticed() {
    let (lines, config) = record();
    for (place, line) in lines.iter().enumerate() {
        let Line::Asked(at, command) = line else { continue };
        let once = matches!(
            command,
            Command::AcceptJob { .. }
                | Command::AssignJob { .. }
                | Command::RequeueJob { .. }
                | Command::FinishJob { .. }
                | Command::StartWorker { .. }
                | Command::PullImage { .. }
        );
        if once {
            let mut damaged = lines.clone();
            damaged.insert(place, line.clone());
            assert_ne!(judge(&damaged, &config), "", "nobody notices {command:?} twice at {at} s");
        }
    }
}

#[test]
fn an_assignment_to_another_worker_is_noticed() {
    let (lines, config) = record();
    let workers: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Asked(_, Command::StartWorker { worker, .. }) => Some(*worker),
            _ => None,
        })
        .collect();
    for (place, line) in lines.iter().enumerate() {
        let Line::Asked(at, Command::AssignJob { job, client_ref, worker, epoch, attempt }) = line else { continue };
        let other = workers.iter().find(|other| *other != worker).expect("there is more than one worker");
        let (job, client_ref, epoch, attempt) = (*job, *client_ref, *epoch, *attempt);
        let mut damaged = lines.clone();
        damaged[place] = Line::Asked(*at, Command::AssignJob { job, client_ref, worker: *other, epoch, attempt });
        assert_ne!(judge(&damaged, &config), "", "nobody notices that {job} went to {other} at {at} s");
    }
}

#[test]
fn jobs_that_change_places_in_the_queue_are_noticed() {
    let (lines, config) = record();
    let handed: Vec<usize> = (0..lines.len())
        .filter(|place| matches!(&lines[*place], Line::Asked(_, Command::AssignJob { attempt: 1, .. })))
        .collect();
    let mut noticed = 0;
    for pair in handed.windows(2) {
        let mut damaged = lines.clone();
        let (Line::Asked(a, first), Line::Asked(b, second)) = (&lines[pair[0]], &lines[pair[1]]) else { continue };
        damaged[pair[0]] = Line::Asked(*a, swapped(first, second));
        damaged[pair[1]] = Line::Asked(*b, swapped(second, first));
        noticed += usize::from(!judge(&damaged, &config).is_empty());
    }
    assert_eq!(noticed, handed.len() - 1, "of {} swaps only {noticed} are noticed", handed.len() - 1);
}

/// The hand-out `to`, of the job of `from`.
fn swapped(to: &Command, from: &Command) -> Command {
    match (to, from) {
        (Command::AssignJob { worker, epoch, attempt, .. }, Command::AssignJob { job, client_ref, .. }) => {
            Command::AssignJob { job: *job, client_ref: *client_ref, worker: *worker, epoch: *epoch, attempt: *attempt }
        }
        _ => to.clone(),
    }
}

#[test]
fn a_late_command_is_noticed() {
    let (lines, config) = record();
    for (place, line) in lines.iter().enumerate() {
        if let Line::Asked(at, command) = line {
            let mut damaged = lines.clone();
            damaged[place] = Line::Asked(*at + Span(1), command.clone());
            assert_ne!(judge(&damaged, &config), "", "nobody notices that {command:?} is late");
        }
    }
}

#[test]
fn a_hole_in_the_bill_is_noticed() {
    let (lines, config) = record();
    let end = Time::from_secs(200.0);
    let mut damages = 0;
    for (place, line) in lines.iter().enumerate() {
        // An active worker is billed without a break, so leaving out one of its changes need not change the bill.
        let Line::Asked(_, Command::WorkerChanged { worker, phase: Phase::Starting | Phase::Frozen, .. }) = line else {
            continue;
        };
        if always_on(&lines, *worker) {
            continue;
        }
        let mut checker = Checker::new(&config);
        replay(&lines, &mut checker);
        let mut books = Ledger::recorder(&config.gpu_classes, Rounding::UpToSeconds);
        let mut damaged = lines.clone();
        damaged.remove(place);
        replay(&damaged, &mut books);
        damages += 1;
        assert_ne!(
            audit(&checker, &books.finish(end), end),
            "",
            "nobody notices the unbilled time after record {place}"
        );
    }
    assert!(damages >= 6, "only {damages} places to damage");
}

fn always_on(lines: &[Line], id: WorkerId) -> bool {
    lines.iter().any(|line| {
        matches!(line, Line::Asked(_, Command::WorkerPlaced { worker, kind: WorkerKind::Active, .. }) if *worker == id)
    })
}
