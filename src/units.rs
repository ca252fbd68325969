//! Time, money, rates and typed ids: exact integer arithmetic, no floats except at the edges.
//!
//! Everything that is added up is an integer: microseconds, nano-dollars per second, femto-dollars. `f64` seconds and
//! dollars appear only where a person or a file is spoken to.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// Microseconds in a second.
pub const MICROS_PER_S: u64 = 1_000_000;

/// A point in time: microseconds since the start of the run (simulation) or since the driver's epoch (real time).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Time {
    /// The start of the run.
    pub const ZERO: Time = Time(0);
    /// Later than anything: used for "no deadline".
    pub const MAX: Time = Time(u64::MAX);

    /// `seconds` after the start, rounded to the nearest microsecond; negative or NaN gives [`Time::ZERO`].
    pub fn from_secs(seconds: f64) -> Time {
        Time(micros_from_secs(seconds))
    }

    /// Seconds since the start.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / MICROS_PER_S as f64
    }

    /// Time since `earlier`; zero when `earlier` lies in the future (late or reordered facts never give a negative span).
    #[inline]
    pub fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// One second.
    pub const SECOND: Span = Span(MICROS_PER_S);
    /// Longer than anything.
    pub const MAX: Span = Span(u64::MAX);

    /// Nearest microsecond to `seconds`; negative or NaN gives zero, too large saturates.
    pub fn from_secs(seconds: f64) -> Span {
        Span(micros_from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn from_millis(ms: u64) -> Span {
        Span(ms * 1_000)
    }

    /// Whole seconds.
    pub const fn from_whole_secs(s: u64) -> Span {
        Span(s * MICROS_PER_S)
    }

    /// Seconds.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / MICROS_PER_S as f64
    }

    /// Whole seconds, rounded up: the unit in which the platform bills.
    pub fn ceil_secs(self) -> u64 {
        self.0.div_ceil(MICROS_PER_S)
    }

    /// True for a span of no length.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

fn micros_from_secs(seconds: f64) -> u64 {
    // `as` saturates, maps NaN to 0 and negative values to 0; round() is exact in IEEE arithmetic, hence portable.
    (seconds * MICROS_PER_S as f64).round() as u64
}

impl Add<Span> for Time {
    type Output = Time;
    #[inline]
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    #[inline]
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    #[inline]
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Span;
    #[inline]
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / MICROS_PER_S, self.0 % MICROS_PER_S)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.as_secs())
    }
}

/// A length of time in whole milliseconds, 1 ms to 49 days: what a request may set for itself (`ttl`, `executionTimeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub std::num::NonZeroU32);

impl Millis {
    /// `ms` milliseconds; `None` for zero.
    pub fn new(ms: u32) -> Option<Millis> {
        std::num::NonZeroU32::new(ms).map(Millis)
    }

    /// The same length in microseconds.
    #[inline]
    pub fn span(self) -> Span {
        Span::from_millis(u64::from(self.0.get()))
    }
}

/// A price in nano-dollars per second (per GPU). The platform's prices have five decimals of a dollar, so they are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdPerSecond(pub u64);

impl UsdPerSecond {
    /// Nearest nano-dollar per second; negative or NaN gives zero.
    pub fn from_usd(usd: f64) -> UsdPerSecond {
        UsdPerSecond((usd * 1e9).round() as u64)
    }

    /// Dollars per second.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// What `span` costs at this price, exactly.
    #[inline]
    pub fn cost(self, span: Span) -> Money {
        Money(i128::from(self.0) * i128::from(span.0))
    }
}

/// An amount of money in femto-dollars (10⁻¹⁵ USD): nano-dollars per second × microseconds, so no product is ever rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(#[serde(with = "wide")] pub i128);

/// For `#[serde(with = "wide")]`: a number of up to 128 bits, as a number where 64 bits hold it and as decimal text elsewhere,
/// because not every reader of JSON takes more.
pub mod wide {
    use std::fmt::Display;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Negative(i64),
        Number(u64),
        Text(String),
    }

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Display + TryInto<i64> + TryInto<u64>,
        S: Serializer,
    {
        if let Ok(value) = TryInto::<u64>::try_into(*value) {
            value.serialize(serializer)
        } else if let Ok(value) = TryInto::<i64>::try_into(*value) {
            value.serialize(serializer)
        } else {
            serializer.collect_str(value)
        }
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Those of the deserializer, and where the number is too large for the type.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<i128> + TryFrom<u128>,
        D: Deserializer<'de>,
    {
        let read = match Either::deserialize(deserializer)? {
            Either::Negative(value) => T::try_from(i128::from(value)).ok(),
            Either::Number(value) => T::try_from(u128::from(value)).ok(),
            Either::Text(text) => match text.parse::<i128>() {
                Ok(value) => T::try_from(value).ok(),
                Err(_) => text.parse::<u128>().ok().and_then(|value| T::try_from(value).ok()),
            },
        };
        read.ok_or_else(|| D::Error::custom("not a whole number of the size wanted here"))
    }
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// Dollars, for display only.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e15
    }
}

impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        self.0 += other.0;
    }
}

impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Money) {
        self.0 -= other.0;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Add::add)
    }
}

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// Position in the table that this id indexes.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

dense_id!(
    /// An endpoint, numbered in order of creation.
    EndpointId, "e"
);
dense_id!(
    /// A host, numbered in order of arrival.
    HostId, "h"
);
dense_id!(
    /// A container image of one release, an index into the image catalogue.
    ImageId, "i"
);

macro_rules! packed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $slot_bits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Bits of the id that name the place in the table; the others are the sequence number.
            pub const SLOT_BITS: u32 = $slot_bits;

            /// The `sequence`-th id ever given, kept at `slot` of its table.
            #[inline]
            pub fn new(sequence: u64, slot: usize) -> $name {
                debug_assert!(slot < (1 << $slot_bits), "more live entries than {} bits can name", $slot_bits);
                $name(sequence << $slot_bits | slot as u64)
            }

            /// Position in the table of live entries.
            #[inline]
            pub fn slot(self) -> usize {
                (self.0 & ((1 << $slot_bits) - 1)) as usize
            }

            /// How many ids were given before this one: unique, never reused, in order of creation.
            #[inline]
            pub fn sequence(self) -> u64 {
                self.0 >> $slot_bits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.sequence())
            }
        }
    };
}

packed_id!(
    /// A worker. Up to 2²⁰ alive at once; the number is never reused.
    WorkerId, "w", 20
);
packed_id!(
    /// A job. Up to 2²⁴ alive at once; the number is never reused and orders jobs by acceptance.
    JobId, "j", 24
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_to_the_nearest_microsecond() {
        assert_eq!(Span::from_secs(2.3), Span(2_300_000));
        assert_eq!(Span::from_secs(f64::NAN), Span::ZERO);
        assert_eq!(Span::from_secs(-1.0), Span::ZERO);
        assert_eq!(Span(2_300_000).ceil_secs(), 3);
        assert_eq!(Span(0).ceil_secs(), 0);
    }

    #[test]
    fn a_price_times_a_time_is_exact() {
        let price = UsdPerSecond::from_usd(0.00019);
        assert_eq!(price.0, 190_000);
        assert_eq!(price.cost(Span::from_whole_secs(3_600)).as_usd(), 0.684);
    }

    #[test]
    fn amounts_of_any_size_survive_json_as_text_and_as_a_value() {
        for amount in [0, 1, -1, i128::from(i64::MIN), i128::from(u64::MAX), 1 << 64, -(1 << 100), i128::MAX, i128::MIN]
        {
            let money = Money(amount);
            let text = serde_json::to_string(&money).unwrap();
            assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), money);
            let value = serde_json::to_value(money).unwrap();
            assert_eq!(serde_json::from_value::<Money>(value).unwrap(), money);
        }
        assert_eq!(serde_json::to_string(&Money(12)).unwrap(), "12");
        assert!(serde_json::from_str::<Money>("\"1e3\"").is_err());
    }

    #[test]
    fn packed_ids_give_back_their_parts() {
        let job = JobId::new(1_042, 7);
        assert_eq!((job.sequence(), job.slot()), (1_042, 7));
        assert_eq!(job.to_string(), "j1042");
        assert!(JobId::new(3, 900) < JobId::new(4, 1));
    }
}
