//! Timestamps as logs write them.

/// A moment in seconds, and how it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamp {
    /// Seconds since 1970 from a date.
    Date(f64),
    /// A bare number, whose unit its size tells.
    Number(f64),
}

/// Reads `2026-05-08T12:34:56.789Z` (also with a blank, a comma, an offset or none), `08/May/2026:12:34:56 +0000`, or a number.
pub fn parse(text: &str) -> Option<Stamp> {
    let text = text.trim().trim_matches(['"', '\'', '[', ']']).trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number.is_finite() && number >= 0.0).then_some(Stamp::Number(number));
    }
    iso(text).or_else(|| common_log(text)).map(Stamp::Date)
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
    if parts.next().is_some() || !time.starts_with(['T', 't', ' ', '_']) {
        return None;
    }
    let (clock, offset) = zone(time[1..].trim())?;
    moment(year, month, day, clock, offset)
}

fn common_log(text: &str) -> Option<f64> {
    let (date, clock) = text.split_once(':')?;
    let mut parts = date.split('/');
    let day = number(parts.next()?, 2)?;
    let name = parts.next()?.to_ascii_lowercase();
    let year = number(parts.next()?, 4)?;
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    let (clock, offset) = zone(clock.trim())?;
    moment(year, month, day, clock, offset)
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
        4 => (number(&digits[..2], 2)?, number(&digits[2..], 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some((text[..at].trim_end(), sign * (hours * 3_600 + minutes * 60) as f64))
}

fn moment(year: i64, month: i64, day: i64, clock: &str, offset: f64) -> Option<f64> {
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds: f64 = parts.next().map_or(Some(0.0), |text| text.replace(',', ".").parse().ok())?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && (0.0..61.0).contains(&seconds);
    if parts.next().is_some() || !fits {
        return None;
    }
    // Days since 1970-01-01 of the proleptic Gregorian calendar: years are taken from March on, so that leap days come last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60) as f64 + seconds - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(parse(text), Some(Stamp::Date(moment)), "{text}");
        }
        assert_eq!(parse("1778243696"), Some(Stamp::Number(moment)));
        assert_eq!(parse("2026-05-08T12:34:56.25Z"), Some(Stamp::Date(moment + 0.25)));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(Stamp::Date(0.0)));
        assert_eq!(parse("2024-02-29T00:00:00Z"), Some(Stamp::Date(1_709_164_800.0)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "GET",
            "2026-13-08T12:34:56Z",
            "2026-05-08",
            "12:34:56",
            "2026-05-08T25:00:00Z",
            "-5",
            "nan",
            "é2026-05-08T12",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
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
