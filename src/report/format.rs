//! Numbers for people: money, lengths of time, counts and shares, each with as many digits as help.

/// What stands where there is no value.
pub const ABSENT: &str = "–";

/// Dollars: `$1,234.56`, `$12.34`, `$0.1234`, and three digits below a cent (`$0.000123`).
pub fn money(usd: f64) -> String {
    let size = usd.abs();
    let sign = if usd < 0.0 { "-" } else { "" };
    match size {
        0.0 => "$0".to_owned(),
        size if size >= 1.0 => format!("{sign}${}", grouped(&format!("{size:.2}"))),
        size if size >= 0.01 => format!("{sign}${size:.4}"),
        size => format!("{sign}${}", three_digits(size)),
    }
}

/// Seconds, in the unit that fits: `0 s`, `412 µs`, `7.5 ms`, `3.25 s`, `12.5 min`, `3.2 h`, `2.5 d`.
pub fn seconds(seconds: f64) -> String {
    let unit = |value: f64, unit: &str| format!("{} {unit}", digits(value));
    match seconds {
        0.0 => "0 s".to_owned(),
        s if s < 0.000_999_5 => unit(s * 1e6, "µs"),
        s if s < 0.999_5 => unit(s * 1e3, "ms"),
        s if s < 120.0 => unit(s, "s"),
        s if s < 7_200.0 => unit(s / 60.0, "min"),
        s if s < 172_800.0 => unit(s / 3_600.0, "h"),
        s => unit(s / 86_400.0, "d"),
    }
}

/// As [`seconds`], for a value that may be absent.
pub fn maybe_seconds(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.to_owned(), seconds)
}

/// A share as a percentage: `12.5 %`, whole from 99.95 % on and at zero, `<0.1 %` for what would read as nothing.
pub fn share(value: f64) -> String {
    match value {
        0.0 => "0 %".to_owned(),
        value if value < 0.001 => "<0.1 %".to_owned(),
        value if value >= 0.9995 && value < 1.0 => ">99.9 %".to_owned(),
        1.0 => "100 %".to_owned(),
        value => format!("{:.1} %", value * 100.0),
    }
}

/// As [`share`], for a value that may be absent.
pub fn maybe_share(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.to_owned(), share)
}

/// A whole number with separators: `1,234,567`.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A mean of something counted: `0`, `0.25`, `12.3`, `1,234`.
pub fn mean(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { digits(value) }
}

/// Three digits, no more than two behind the point, no zeros at the end.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 99.95 => return grouped(&format!("{value:.0}")),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => return "<0.01".to_owned(),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The first three digits of a number below 0.01, written out.
fn three_digits(size: f64) -> String {
    let places = (2..=20).find(|places| size * 10_f64.powi(*places) >= 1.0).unwrap_or(20) as usize + 2;
    let text = format!("{size:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Separators between groups of three in the part before the point.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_once('.').map_or((text, ""), |(whole, _)| (whole, &text[whole.len()..]));
    let mut grouped = String::new();
    for (place, digit) in whole.char_indices() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_the_digits_that_matter() {
        let cases = [
            (0.0, "$0"),
            (0.000_123, "$0.000123"),
            (0.000_000_045_6, "$0.0000000456"),
            (0.002, "$0.002"),
            (0.123_456, "$0.1235"),
            (12.344, "$12.34"),
            (1_234.56, "$1,234.56"),
            (1_234_567.0, "$1,234,567.00"),
            (-3.5, "-$3.50"),
        ];
        for (usd, expected) in cases {
            assert_eq!(money(usd), expected);
        }
    }

    #[test]
    fn lengths_take_the_unit_that_fits() {
        let cases = [
            (0.0, "0 s"),
            (0.000_412, "412 µs"),
            (0.007_5, "7.5 ms"),
            (0.999_9, "1 s"),
            (3.25, "3.25 s"),
            (99.96, "100 s"),
            (750.0, "12.5 min"),
            (11_520.0, "3.2 h"),
            (216_000.0, "2.5 d"),
        ];
        for (value, expected) in cases {
            assert_eq!(seconds(value), expected);
        }
        assert_eq!(maybe_seconds(None), "–");
    }

    #[test]
    fn shares_never_round_to_nothing_or_to_everything() {
        let texts = [0.0, 0.000_4, 0.125, 0.999_9, 1.0].map(share);
        assert_eq!(texts, ["0 %", "<0.1 %", "12.5 %", ">99.9 %", "100 %"]);
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!(
            (mean(0.0), mean(0.25), mean(12.34), mean(1_234.5)),
            ("0".into(), "0.25".into(), "12.3".into(), "1,234".into())
        );
    }
}
