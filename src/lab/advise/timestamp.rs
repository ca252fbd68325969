//! Timestamps as logs write them.

/// A moment in seconds, and how it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamp {
    /// Seconds since 1970 from a date.
    Date(f64),
    /// A bare number, whose unit its size tells.
    Number(f64),
}

/// What comes first in dates such as 05/08/2026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// The eighth of May is 05/08/2026.
    MonthFirst,
    /// The eighth of May is 08/05/2026.
    DayFirst,
}

/// Reads `2026-05-08T12:34:56.789Z` (also with a blank, a comma, an offset or none, or the day alone),
/// `08/May/2026:12:34:56 +0000`, `08.05.2026 12:34:56`, `05/08/2026 12:34 PM` by its `order`, or a number.
pub fn parse(text: &str, order: DateOrder) -> Option<Stamp> {
    let text = text.trim().trim_matches(['"', '\'', '[', ']']).trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number.is_finite() && number >= 0.0).then_some(Stamp::Number(number));
    }
    iso(text).or_else(|| common_log(text)).or_else(|| local(text, order)).map(Stamp::Date)
}

/// Seconds of the day of a text such as `12:34:56.5`, `12:34` or `1:34:56 PM`; none if it is no time of day.
pub fn time_of_day(text: &str) -> Option<f64> {
    let (clock, offset) = zone(text.trim().trim_matches(['"', '\'']))?;
    (clock.contains(':') && offset == 0.0).then(|| seconds_of_day(clock)).flatten()
}

/// Seconds of a bare number, by the size of the first one: seconds, milli-, micro- or nanoseconds of an epoch.
pub fn unit_of(first: f64) -> (f64, &'static str) {
    match first {
        n if n >= 1e17 => (1e-9, "nanoseconds"),
        n if n >= 1e14 => (1e-6, "microseconds"),
        n if n >= 1e11 => (1e-3, "milliseconds"),
        _ => (1.0, "seconds"),
    }
}

fn iso(text: &str) -> Option<f64> {
    let (date, time) = text.split_at_checked(10)?;
    let mut parts = date.split(['-', '/']);
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(time.is_empty() || time.starts_with(['T', 't', ' ', '_'])) {
        return None;
    }
    with_clock(days(year, month, day)?, time.get(1..).unwrap_or(""))
}

/// Dates as people write them: with points the day comes first, with strokes that differs from country to country.
fn local(text: &str, order: DateOrder) -> Option<f64> {
    let end = text.find([' ', ',', 'T']).unwrap_or(text.len());
    let (date, time) = text.split_at(end);
    let stroke = if date.contains('.') { '.' } else { '/' };
    let mut parts = date.split(stroke);
    let (first, second, year) = (short(parts.next()?)?, short(parts.next()?)?, number(parts.next()?, 4)?);
    if parts.next().is_some() {
        return None;
    }
    let (month, day) = match order {
        DateOrder::MonthFirst if stroke == '/' => (first, second),
        _ => (second, first),
    };
    with_clock(days(year, month, day)?, time.trim_start_matches([' ', ',', 'T']))
}

/// The moment of a day and a time of day, which may be missing: midnight.
fn with_clock(days: i64, time: &str) -> Option<f64> {
    let midnight = days as f64 * 86_400.0;
    if time.trim().is_empty() {
        return Some(midnight);
    }
    let (clock, offset) = zone(time.trim())?;
    Some(midnight + seconds_of_day(clock)? - offset)
}

fn common_log(text: &str) -> Option<f64> {
    let (date, clock) = text.split_once(':')?;
    let mut parts = date.split('/');
    let day = number(parts.next()?, 2)?;
    let name = parts.next()?.to_ascii_lowercase();
    let year = number(parts.next()?, 4)?;
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    with_clock(days(year, month, day)?, clock)
}

/// A number of one or two digits.
fn short(text: &str) -> Option<i64> {
    number(text, 1).or_else(|| number(text, 2))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The time of day, and the seconds by which its zone is ahead.
fn zone(text: &str) -> Option<(&str, f64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock.trim_end(), 0.0));
    }
    if let Some(clock) = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")) {
        return Some((clock, 0.0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0.0)) };
    let sign = if text[at..].starts_with('-') { -1.0 } else { 1.0 };
    let digits: String = text[at + 1..].chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some((text[..at].trim_end(), sign * (hours * 3_600 + minutes * 60) as f64))
}

fn seconds_of_day(clock: &str) -> Option<f64> {
    let half = |half: &str| {
        let at = clock.len().checked_sub(2)?;
        let end = clock.get(at..)?;
        end.eq_ignore_ascii_case(half).then(|| clock[..at].trim_end())
    };
    let (clock, afternoon) = match (half("am"), half("pm")) {
        (Some(clock), _) => (clock, Some(false)),
        (_, Some(clock)) => (clock, Some(true)),
        _ => (clock, None),
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (short(parts.next()?)?, number(parts.next()?, 2)?);
    let seconds: f64 = parts.next().map_or(Some(0.0), |text| text.replace(',', ".").parse().ok())?;
    let hour = match afternoon {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(afternoon) => hour % 12 + if afternoon { 12 } else { 0 },
    };
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && (0.0..61.0).contains(&seconds);
    fits.then(|| (hour * 3_600 + minute * 60) as f64 + seconds)
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar; none if there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=last).contains(&day) {
        return None;
    }
    // Years are taken from March on, so that leap days come last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Stamp> {
        parse(text, DateOrder::MonthFirst)
    }

    #[test]
    fn the_usual_spellings_mean_the_same_moment() {
        let moment = 1_778_243_696.0;
        for text in [
            "2026-05-08T12:34:56Z",
            "2026-05-08 12:34:56",
            "2026-05-08T14:34:56.000+02:00",
            "2026/05/08 12:34:56 UTC",
            "\"2026-05-08 07:34:56,0 -0500\"",
            "08/May/2026:12:34:56 +0000",
            "[08/May/2026:12:34:56 +0000]",
            "08.05.2026 12:34:56",
            "8.5.2026, 12:34:56",
            "05/08/2026 12:34:56",
            "5/8/2026 12:34:56 PM",
            "5/8/2026 2:34:56 pm +02:00",
        ] {
            assert_eq!(read(text), Some(Stamp::Date(moment)), "{text}");
        }
        assert_eq!(parse("08/05/2026 12:34:56", DateOrder::DayFirst), Some(Stamp::Date(moment)));
        assert_eq!(read("1778243696"), Some(Stamp::Number(moment)));
        assert_eq!(read("2026-05-08T12:34:56.25Z"), Some(Stamp::Date(moment + 0.25)));
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(Stamp::Date(0.0)));
        assert_eq!(read("2024-02-29T00:00:00Z"), Some(Stamp::Date(1_709_164_800.0)));
        assert_eq!(read("2024-02-29"), Some(Stamp::Date(1_709_164_800.0)));
        assert_eq!(read("2/29/2024 12:00 AM"), Some(Stamp::Date(1_709_164_800.0)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "GET",
            "2026-13-08T12:34:56Z",
            "2026-02-30T00:00:00Z",
            "2025-02-29",
            "31.04.2026",
            "13/01/2026",
            "12:34:56",
            "5/8/2026 13:00 PM",
            "2026-05-08T25:00:00Z",
            "10.0.0.1",
            "-5",
            "nan",
            "é2026-05-08T12",
            "2026-05-08T12:00+1é2",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_not_a_date() {
        assert_eq!(time_of_day("12:34:56.5"), Some(45_296.5));
        assert_eq!(time_of_day("1:00 PM"), Some(46_800.0));
        assert_eq!((time_of_day("7"), time_of_day("2026-05-08"), time_of_day("24:00:00")), (None, None, None));
    }

    #[test]
    fn the_size_tells_the_unit() {
        assert_eq!(unit_of(1_778_243_696.5).0, 1.0);
        assert_eq!(unit_of(1_778_243_696_500.0).0, 1e-3);
        assert_eq!(unit_of(1_778_243_696_500_000.0).0, 1e-6);
        assert_eq!(unit_of(1.778e18).0, 1e-9);
        assert_eq!(unit_of(0.0).0, 1.0);
    }
}
