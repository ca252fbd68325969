//! Numbers as users type them: finite, within a range, with a unit. Durations may also be written `90s`, `5m`, `24h`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::units::{Span, Time};

/// Longest duration, in seconds: a century. Microseconds of it fit 64 bits thousands of times over.
pub const LONGEST_S: f64 = 3_155_760_000.0;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $min:expr, $max:expr, $unit:literal, duration: $duration:literal, above: $above:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let number = f64::deserialize(deserializer)?;
                let inside = if $above { number > $min && number <= $max } else { ($min..=$max).contains(&number) };
                if inside { Ok($name(number)) } else { Err(serde::de::Error::custom("number out of range")) }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let low = if $above { "exclusiveMinimum" } else { "minimum" };
                let mut schema = json_schema!({ "type": "number", low: $min, "maximum": $max });
                if !$unit.is_empty() {
                    schema.insert("x-unit".to_owned(), $unit.into());
                }
                if !$duration {
                    return schema;
                }
                json_schema!({
                    "anyOf": [schema, { "type": "string", "pattern": DURATION_PATTERN }],
                    "x-duration": true
                })
            }
        }
    };
}

/// What a duration may look like in the published schema.
pub const DURATION_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(us|ms|s|m|h|d)$";

number!(
    /// A length or a point of time, 0 s to 100 years.
    Seconds, 0.0, LONGEST_S, "seconds", duration: true, above: false
);
number!(
    /// A length of time that is not zero.
    PositiveSeconds, 0.0, LONGEST_S, "seconds", duration: true, above: true
);
number!(
    /// How long a poll may be held: between one second and what every client in between bears.
    PollSeconds, 1.0, 60.0, "seconds", duration: true, above: false
);
number!(
    /// A share or a probability, 0 to 1.
    Share, 0.0, 1.0, "", duration: false, above: false
);
number!(
    /// A number that is not negative.
    NonNegative, 0.0, 1e12, "", duration: false, above: false
);
number!(
    /// A number above zero.
    Positive, 0.0, 1e12, "", duration: false, above: true
);
number!(
    /// A parameter of a distribution: a number, or a duration where the field is a time.
    Quantity, 0.0, 1e12, "", duration: true, above: false
);
number!(
    /// The same, not zero.
    PositiveQuantity, 0.0, 1e12, "", duration: true, above: true
);
number!(
    /// How many times as long something takes.
    Factor, 0.0, 1e6, "", duration: false, above: true
);
number!(
    /// The standard deviation of a logarithm: at 10, one draw in twenty is ten million times the median.
    Sigma, 0.0, 10.0, "", duration: false, above: false
);
number!(
    /// A rate per second.
    Rate, 0.0, 1e7, "per second", duration: false, above: false
);
number!(
    /// A size in gigabytes (10⁹ bytes).
    Gigabytes, 0.0, 1e6, "GB", duration: false, above: false
);
number!(
    /// A size in gigabytes (10⁹ bytes) that is not zero.
    PositiveGigabytes, 0.0, 1e6, "GB", duration: false, above: true
);
number!(
    /// A bandwidth in gigabytes per second that is not zero.
    GigabytesPerSecond, 0.0, 1e6, "GB/s", duration: false, above: true
);
number!(
    /// A price in dollars per second and GPU.
    UsdPerGpuSecond, 0.0, 1e3, "USD per second", duration: false, above: false
);

impl Seconds {
    /// The same as a span.
    pub fn span(self) -> Span {
        Span::from_secs(self.0)
    }

    /// The same as a point in time.
    pub fn time(self) -> Time {
        Time::from_secs(self.0)
    }

    /// The same as a span; zero stands for "off".
    pub fn span_unless_zero(self) -> Option<Span> {
        (self.0 > 0.0).then(|| self.span())
    }
}

impl PositiveSeconds {
    /// The same as a span.
    pub fn span(self) -> Span {
        Span::from_secs(self.0)
    }
}

impl Gigabytes {
    /// The same in bytes.
    pub fn bytes(self) -> u64 {
        bytes(self.0)
    }
}

impl PositiveGigabytes {
    /// The same in bytes.
    pub fn bytes(self) -> u64 {
        bytes(self.0)
    }
}

impl GigabytesPerSecond {
    /// The same in bytes per second.
    pub fn bytes_per_s(self) -> f64 {
        self.0 * 1e9
    }
}

fn bytes(gigabytes: f64) -> u64 {
    (gigabytes * 1e9).round() as u64
}

/// `90s`, `5m`, `1.5 h`, `24h`, `7d`, `250ms`, `50us` in seconds; `None` for anything else.
pub fn duration(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    // Divided, not multiplied by 1e-3: 250 / 1000 is the nearest number to a quarter, 250 * 1e-3 need not be.
    let (times, divided_by) = match unit.strip_prefix(' ').unwrap_or(unit) {
        "us" => (1.0, 1e6),
        "ms" => (1.0, 1e3),
        "s" => (1.0, 1.0),
        "m" => (60.0, 1.0),
        "h" => (3_600.0, 1.0),
        "d" => (86_400.0, 1.0),
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * times / divided_by).filter(|seconds| seconds.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit_or_are_none() {
        for (text, seconds) in
            [("90s", 90.0), ("5m", 300.0), ("24h", 86_400.0), ("1.5 h", 5_400.0), ("7d", 604_800.0), ("250ms", 0.25)]
        {
            assert_eq!(duration(text), Some(seconds), "{text}");
        }
        for text in ["", "5", "m", "-5m", ".5m", "5.m", "1.2.3s", "5 minutes", "1e3s", "5  m", "5M"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_refused_by_serde_as_well() {
        assert!(serde_json::from_str::<Share>("1.5").is_err());
        assert!(serde_json::from_str::<PositiveSeconds>("0").is_err());
        assert_eq!(serde_json::from_str::<Seconds>("0").unwrap().get(), 0.0);
    }
}
