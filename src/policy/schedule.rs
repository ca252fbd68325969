//! Minimums by hour and day of the week: cron scaling, under a rule that reacts.
//!
//! Formula: `max(workers of every line of `hours` that covers the time, what waiting jobs need)`. A line is
//! `[days] [from-to] = workers`, lines are separated by `;`: `mon-fri 8-18 = 3; sat,sun 10:30-16 = 1; 22-6 = 0`. Days and hours left out
//! mean every one; hours may cross midnight and then belong to the day on which they begin. Up: one worker per job that finds none
//! idle; down by the idle timeout, never below the minimum. A simulation begins on `first_day` at `first_hour`; `serve` keeps the hours
//! of the clock, UTC and `utc_offset_h`: it sets both to those of the moment at which its store was made ([`at_clock`]). Source: cron
//! scalers of KEDA and AWS scheduled scaling; policies 2.4. Does badly on: any day that is not
//! like the others, and on minimums that nobody revisits.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, ParamValue, Params, PolicyChoice};
use super::registry::Entry;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "hours",
        kind: ParamKind::Hours { default: "" },
        doc: "lines `[days] [from-to] = workers` separated by `;`; the highest of those that cover the time counts",
    },
    ParamSpec {
        name: "first_day",
        kind: ParamKind::Word { choices: &DAYS, default: "mon" },
        doc: "day of the week at which a simulation begins; `serve` goes by the clock",
    },
    ParamSpec {
        name: "first_hour",
        kind: ParamKind::Number { min: 0.0, max: 24.0, default: 0.0 },
        doc: "hour of the day at which a simulation begins; `serve` goes by the clock",
    },
    ParamSpec {
        name: "utc_offset_h",
        kind: ParamKind::Number { min: -14.0, max: 14.0, default: 0.0 },
        doc: "hours by which the clock of `hours` is ahead of UTC, without summer time; for `serve`",
    },
    ParamSpec {
        name: "ahead_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 0.0 },
        doc: "seconds by which a minimum begins earlier, so that workers are ready on the hour",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "schedule",
    summary: "minimums by hour and day of the week, under one worker per job that finds none idle",
    formula: "max(minimum of the hour, what waiting jobs need); down by the idle timeout, not below the minimum",
    source: "KEDA cron scaler; AWS scheduled scaling; policies 2.4",
    weakness: "days unlike the others; minimums that nobody revisits",
    params: PARAMS,
    build: |params| Box::new(Schedule::new(params)),
};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const HOUR_US: i64 = 3_600_000_000;
const MINUTE: Span = Span::from_whole_secs(60);
const MINUTES_PER_DAY: u32 = 24 * 60;
const MINUTES_PER_WEEK: u32 = 7 * MINUTES_PER_DAY;

/// `choice` with the day and hour of its time zero, where it is this policy: `zero_unix_us` is when that was, in µs since 1970.
pub fn at_clock(choice: PolicyChoice, zero_unix_us: u64) -> PolicyChoice {
    if choice.name != ENTRY.name {
        return choice;
    }
    let ahead_h = match choice.params.get("utc_offset_h") {
        Some(ParamValue::Number(hours)) => *hours,
        _ => 0.0,
    };
    // 1970 began on a Thursday.
    let (day_us, monday) = (HOUR_US * 24, 3);
    let ahead_us = (ahead_h * HOUR_US as f64) as i64;
    let since = i64::try_from(zero_unix_us).unwrap_or(i64::MAX).saturating_add(ahead_us);
    let day = (since.div_euclid(day_us) + monday).rem_euclid(7) as usize;
    let hour = since.rem_euclid(day_us) as f64 / HOUR_US as f64;
    choice.with_text("first_day", DAYS[day]).with("first_hour", hour)
}

/// One line: on which days, from which minute of the day for how many minutes, so many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    days: [bool; 7],
    from: u32,
    minutes: u32,
    workers: u32,
}

impl Line {
    /// It covers this minute of the week.
    fn covers(&self, minute: u32) -> bool {
        // Begun today, or yesterday and across midnight.
        [0, MINUTES_PER_DAY].into_iter().any(|ago| {
            let began = (minute + MINUTES_PER_WEEK - ago) % MINUTES_PER_WEEK;
            let into = (began % MINUTES_PER_DAY + ago).checked_sub(self.from);
            self.days[(began / MINUTES_PER_DAY) as usize] && into.is_some_and(|into| into < self.minutes)
        })
    }
}

/// Checks lines without keeping them.
///
/// # Errors
/// The first line that cannot be read, and why.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

fn parse(text: &str) -> Result<Vec<Line>, String> {
    text.split(';').map(str::trim).filter(|line| !line.is_empty()).map(line).collect()
}

fn line(text: &str) -> Result<Line, String> {
    let wrong = |what: &str| format!("`{text}`: {what}");
    let (when, workers) = text.split_once('=').ok_or_else(|| wrong("no `= workers`"))?;
    let workers = workers.trim().parse().map_err(|_| wrong("what follows `=` is no whole number"))?;
    let (mut days, mut hours) = (None, None);
    for part in when.split_whitespace() {
        let hour = part.starts_with(|first: char| first.is_ascii_digit());
        let twice = if hour { hours.is_some() } else { days.is_some() };
        if twice {
            return Err(wrong("days and hours stand once each"));
        }
        if hour {
            let (from, to) =
                part.split_once('-').ok_or_else(|| wrong("hours are `from-to`, such as 8-18 or 22:30-6"))?;
            let minutes = |text: &str| clock(text).ok_or_else(|| wrong(&format!("{text} is no time (0 to 24, 8:30)")));
            hours = Some((minutes(from)?, minutes(to)?));
        } else {
            days = Some(
                day_set(part).ok_or_else(|| wrong("days are mon, tue, wed, thu, fri, sat, sun, such as mon-fri"))?,
            );
        }
    }
    let (from, to) = hours.unwrap_or((0, MINUTES_PER_DAY));
    let minutes = if to > from { to - from } else { to + MINUTES_PER_DAY - from };
    Ok(Line { days: days.unwrap_or([true; 7]), from, minutes, workers })
}

/// `8`, `8:30`, `24` as minutes of the day.
fn clock(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "0"));
    let minutes = hour.parse::<u32>().ok()?.checked_mul(60)?.checked_add(minute.parse().ok().filter(|m| *m < 60)?)?;
    (minutes <= MINUTES_PER_DAY).then_some(minutes)
}

/// `mon`, `mon-fri`, `sat,sun`, `fri-mon`.
fn day_set(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Some(days)
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Schedule {
    lines: Vec<Line>,
    /// Time of the week at time zero.
    zero: Span,
    ahead: Span,
    /// The minimum as of the last question.
    floor: u32,
}

impl Schedule {
    fn new(params: &Params) -> Schedule {
        let day = DAYS.iter().position(|day| *day == params.word("first_day")).unwrap_or_default() as u32;
        let days = Span::from_whole_secs(u64::from(day * MINUTES_PER_DAY) * 60);
        Schedule {
            lines: parse(params.word("hours")).unwrap_or_default(),
            zero: Span(days.0 + Span::from_secs(params.number("first_hour") * 3_600.0).0),
            ahead: Span::from_secs(params.number("ahead_s")),
            floor: 0,
        }
    }

    fn minimum(&self, now: Time) -> u32 {
        let at = |time: Time| {
            let minute = ((time + self.zero).0 / MINUTE.0 % u64::from(MINUTES_PER_WEEK)) as u32;
            self.lines.iter().filter(|line| line.covers(minute)).map(|line| line.workers).max().unwrap_or(0)
        };
        at(now).max(at(now + self.ahead))
    }
}

impl ScalingPolicy for Schedule {
    fn asked_at(&self) -> AskedAt {
        AskedAt::WaitingJobs
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        self.floor = self.minimum(seen.now);
        let current = seen.up_or_coming();
        let jobs_in_workers = (seen.queued + seen.in_progress).div_ceil(seen.concurrency.max(1));
        let needed = if seen.queued > 0 { jobs_in_workers } else { 0 };
        let workers = current.max(needed).max(self.floor);
        let reason = if self.floor > needed.max(current) { ScaleReason::Policy } else { ScaleReason::PerJob };
        // Minimums change on whole minutes (of the time that is looked at ahead, too).
        let to_next = |time: Time| Span(MINUTE.0 - (time + self.zero).0 % MINUTE.0);
        let ask_again = (!self.lines.is_empty()).then(|| to_next(seen.now).min(to_next(seen.now + self.ahead)));
        Advice { workers, surplus: Surplus::KeepAlive, reason, ask_again }
    }

    fn floor(&self) -> u32 {
        self.floor
    }

    fn first_ask(&self) -> Option<Span> {
        (!self.lines.is_empty()).then_some(Span::ZERO)
    }

    fn save(&self) -> Value {
        json!(self.floor)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.floor = Deserialize::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::seen;
    use super::super::{PolicyChoice, registry};
    use super::*;

    fn minimum(hours: &str, day: u32, hour: f64) -> u32 {
        let choice = PolicyChoice::named("schedule").with_text("hours", hours);
        let mut policy = registry::scaling(&choice).expect("the lines are allowed");
        policy.advise(&seen(f64::from(day) * 86_400.0 + hour * 3_600.0, (0, 0), (0, 0, 0))).workers
    }

    #[test]
    fn the_highest_line_that_covers_the_time_counts() {
        let hours = "mon-fri 8-18 = 3; sat,sun 10:30-16 = 1; 12-13 = 5; fri 22-6 = 2";
        for (day, hour, expected) in [
            (0, 7.99, 0),
            (0, 8.0, 3),
            (0, 12.5, 5),
            (0, 18.0, 0),
            (4, 23.0, 2),
            (5, 5.9, 2),
            (5, 6.0, 0),
            (5, 10.5, 1),
            (6, 23.0, 0),
            (7, 9.0, 3),
        ] {
            assert_eq!(minimum(hours, day, hour), expected, "day {day}, hour {hour}");
        }
        assert_eq!(minimum("= 2", 3, 3.0), 2);
        assert_eq!(minimum("sun-mon = 1", 0, 3.0), 1);
    }

    #[test]
    fn served_it_keeps_the_hours_of_the_clock() {
        // 2026-11-30 was a Monday; 10:30:15 UTC.
        let zero_us = 1_796_034_615_000_000;
        let at = |choice: PolicyChoice| at_clock(choice, zero_us);
        let choice = at(PolicyChoice::named("schedule").with_text("hours", "mon 11-12 = 3; tue 0-1 = 2"));
        let mut policy = registry::scaling(&choice).expect("the lines are allowed");
        let mut workers = |second: f64| policy.advise(&seen(second, (0, 0), (0, 0, 0)));
        let first = workers(0.0);
        assert_eq!((first.workers, first.ask_again), (0, Some(Span::from_whole_secs(45))), "up to the whole minute");
        assert_eq!(workers(29.0 * 60.0 + 44.0).workers, 0);
        assert_eq!(workers(29.0 * 60.0 + 45.0).workers, 3);
        assert_eq!(workers(13.6 * 3_600.0).workers, 2);
        let east = at(PolicyChoice::named("schedule").with_text("hours", "tue 0-1 = 2").with("utc_offset_h", 13.5));
        let mut policy = registry::scaling(&east).expect("the lines are allowed");
        assert_eq!(policy.advise(&seen(60.0, (0, 0), (0, 0, 0))).workers, 2, "14 hours ahead it is Tuesday");
        assert_eq!(at(PolicyChoice::named("per_job")), PolicyChoice::named("per_job"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let choice = PolicyChoice::named("schedule").with_text("hours", "mon-fri 8-18 = 3; weekend = 1");
        let message = registry::scaling(&choice).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("`weekend = 1`: days are mon"), "{message}");
        assert!(check("mon mon tue 8-9 = 3").is_err() && check("8-9 10-12 = 3").is_err());
        assert!(check("8 = 1").is_err() && check("8-25 = 1").is_err() && check("8-18").is_err());
    }

    #[test]
    fn it_asks_to_be_asked_at_the_next_minute_and_holds_its_minimum() {
        let choice = PolicyChoice::named("schedule").with_text("hours", "8-18 = 3").with("ahead_s", 90.0);
        let mut policy = registry::scaling(&choice).expect("the lines are allowed");
        assert_eq!(policy.first_ask(), Some(Span::ZERO));
        let before = policy.advise(&seen(7.0 * 3_600.0 + 3_500.0, (0, 0), (0, 0, 0)));
        assert_eq!((before.workers, before.ask_again), (0, Some(Span::from_whole_secs(10))));
        let ahead = policy.advise(&seen(7.0 * 3_600.0 + 3_510.0, (0, 0), (0, 0, 0)));
        assert_eq!((ahead.workers, policy.floor()), (3, 3));
    }
}
