//! A histogram of microseconds with a stated error: every quantile lies within 0.2 % of the exact order statistic.
//!
//! Values below 256 have a bucket each; every octave above is cut into 256 buckets of equal width, so a bucket is at most
//! 1/256 of its values wide and its middle at most 1/512 (0.195 %) away from any of them. An octave's 2 KiB are allocated
//! when its first value comes: memory is bounded (57 octaves) and independent of the number of values. Count, sum,
//! sum of squares, minimum and maximum are exact (for values below 2^56 µs, 2,283 years, and up to 65,536 of those).
//!
//! A quantile is `sorted[ceil(q n) - 1]`, up to that error: no interpolation.

use serde::{Deserialize, Serialize};

use crate::units::{Span, wide};

/// Largest relative distance between a quantile given here and the exact one.
pub const RELATIVE_ERROR: f64 = 0.002;

const SUB_BITS: u32 = 8;
const SUB: usize = 1 << SUB_BITS;
const OCTAVES: usize = 64 - SUB_BITS as usize + 1;

/// Counts of lengths of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Histogram {
    octaves: Vec<Option<Box<[u64; SUB]>>>,
    count: u64,
    sum: u128,
    squares: u128,
    min_complement: u64,
    max: u64,
}

impl Histogram {
    /// Without values.
    pub fn new() -> Histogram {
        Histogram::default()
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, span: Span) {
        let value = span.0;
        // Stored upside down, so that "none yet" is the largest and no branch is needed.
        self.min_complement = self.min_complement.max(!value);
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
        self.squares += u128::from(value) * u128::from(value);
        let (octave, sub) = place(value);
        match self.octaves.get_mut(octave) {
            Some(Some(counts)) => counts[sub] += 1,
            _ => self.first_of_octave(octave, sub),
        }
    }

    #[cold]
    fn first_of_octave(&mut self, octave: usize, sub: usize) {
        if self.octaves.len() <= octave {
            self.octaves.resize_with(octave + 1, || None);
        }
        let mut counts = Box::new([0; SUB]);
        counts[sub] = 1;
        self.octaves[octave] = Some(counts);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of values that are zero.
    pub fn zeros(&self) -> u64 {
        self.octaves.first().and_then(Option::as_ref).map_or(0, |counts| counts[0])
    }

    /// Sum in microseconds, exact.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Smallest value, exact; zero without values.
    pub fn min(&self) -> Span {
        if self.count == 0 { Span::ZERO } else { Span(!self.min_complement) }
    }

    /// Largest value, exact; zero without values.
    pub fn max(&self) -> Span {
        Span(self.max)
    }

    /// Mean in seconds; `None` without values.
    pub fn mean_s(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1e6)
    }

    /// Standard deviation in seconds (of the values themselves: divided by n); `None` without values, and for sums beyond
    /// 128 bits (10⁸ values of 10 days are far below).
    pub fn sd_s(&self) -> Option<f64> {
        let count = u128::from(self.count);
        let scaled = count.checked_mul(self.squares)?.checked_sub(self.sum.checked_mul(self.sum)?)?;
        (count > 0).then(|| (scaled as f64).sqrt() / count as f64 / 1e6)
    }

    /// The `q`-quantile, 0 < q <= 1, within [`RELATIVE_ERROR`]; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<Span> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        if rank == self.count {
            return Some(Span(self.max));
        }
        let mut seen = 0;
        for (octave, counts) in self.octaves.iter().enumerate() {
            for (sub, count) in counts.iter().flat_map(|counts| counts.iter()).enumerate() {
                seen += count;
                if seen >= rank {
                    return Some(Span(middle(octave, sub).clamp(self.min().0, self.max)));
                }
            }
        }
        Some(Span(self.max))
    }

    /// Number of values that are at most `limit`; those that share a bucket with it (up to [`RELATIVE_ERROR`] above) count too.
    pub fn up_to(&self, limit: Span) -> u64 {
        let (last_octave, last_sub) = place(limit.0);
        let whole = self.octaves.iter().take(last_octave).flatten().flat_map(|counts| counts.iter());
        let part =
            self.octaves.get(last_octave).and_then(Option::as_ref).map_or(&[][..], |counts| &counts[..=last_sub]);
        whole.chain(part).sum()
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        self.min_complement = self.min_complement.max(other.min_complement);
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        if self.octaves.len() < other.octaves.len() {
            self.octaves.resize_with(other.octaves.len(), || None);
        }
        for (mine, theirs) in self.octaves.iter_mut().zip(&other.octaves) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(|| Box::new([0; SUB]));
            mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

/// The saved form: buckets that hold something, numbered through all octaves.
#[derive(Serialize, Deserialize)]
struct Saved {
    buckets: Vec<(u32, u64)>,
    #[serde(with = "wide")]
    sum: u128,
    #[serde(with = "wide")]
    squares: u128,
    min: u64,
    max: u64,
}

impl From<Histogram> for Saved {
    fn from(histogram: Histogram) -> Saved {
        let octaves = histogram.octaves.iter().enumerate().filter_map(|(at, counts)| Some((at, counts.as_ref()?)));
        let buckets = octaves.flat_map(|(octave, counts)| {
            counts.iter().enumerate().map(move |(sub, count)| ((octave * SUB + sub) as u32, *count))
        });
        Saved {
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
            sum: histogram.sum,
            squares: histogram.squares,
            min: !histogram.min_complement,
            max: histogram.max,
        }
    }
}

impl TryFrom<Saved> for Histogram {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Histogram, String> {
        let mut histogram = Histogram::new();
        for (bucket, count) in saved.buckets {
            let (octave, sub) = (bucket as usize / SUB, bucket as usize % SUB);
            if octave >= OCTAVES {
                return Err(format!("bucket {bucket} is beyond the last one"));
            }
            if histogram.octaves.len() <= octave {
                histogram.octaves.resize_with(octave + 1, || None);
            }
            histogram.octaves[octave].get_or_insert_with(|| Box::new([0; SUB]))[sub] += count;
            histogram.count += count;
        }
        (histogram.sum, histogram.squares) = (saved.sum, saved.squares);
        (histogram.min_complement, histogram.max) = (!saved.min, saved.max);
        Ok(histogram)
    }
}

/// Octave 0 holds the values below 256; octave k > 0 those from 2^(k+7) up to the next power of two.
#[inline]
fn place(value: u64) -> (usize, usize) {
    let bits = u64::BITS - (value | (SUB as u64 - 1)).leading_zeros();
    let octave = (bits - SUB_BITS) as usize;
    let shift = octave.saturating_sub(1);
    (octave, (value >> shift) as usize & (SUB - 1))
}

fn middle(octave: usize, sub: usize) -> u64 {
    debug_assert!(octave < OCTAVES);
    let shift = octave.saturating_sub(1);
    let low = if octave == 0 { sub as u64 } else { (SUB + sub) as u64 } << shift;
    low + ((1_u64 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..70_000).chain([u64::MAX, u64::MAX / 2, 1 << 40]) {
            let (octave, sub) = place(value);
            assert!(octave < OCTAVES && sub < SUB);
            let error = middle(octave, sub).abs_diff(value) as f64;
            assert!(error <= RELATIVE_ERROR * value as f64, "{value}: off by {error}");
        }
    }

    fn exact(sorted: &[u64], q: f64) -> u64 {
        let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
        sorted[rank - 1]
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(
            mut values in prop::collection::vec((8_u32..64).prop_flat_map(|bits| 0..=(u64::MAX >> bits)), 1..400),
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(Span(*value)));
            values.sort_unstable();
            for q in [0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0] {
                let (estimate, truth) = (histogram.quantile(q).unwrap().0, exact(&values, q));
                prop_assert!(estimate.abs_diff(truth) as f64 <= RELATIVE_ERROR * truth as f64, "{q}: {estimate} {truth}");
            }
            prop_assert_eq!(histogram.sum(), values.iter().map(|value| u128::from(*value)).sum::<u128>());
            prop_assert_eq!((histogram.min().0, histogram.max().0), (values[0], values[values.len() - 1]));
            prop_assert_eq!(histogram.zeros(), values.iter().filter(|value| **value == 0).count() as u64);
        }

        #[test]
        fn merging_equals_recording_everything(
            left in prop::collection::vec(0..10_000_000_u64, 0..100),
            right in prop::collection::vec(0..10_000_000_u64, 0..100),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::new();
                values.iter().for_each(|value| histogram.record(Span(*value)));
                histogram
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }

    #[test]
    fn mean_and_deviation_are_exact() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.mean_s(), histogram.sd_s(), histogram.quantile(0.5)), (None, None, None));
        for seconds in [2, 4, 4, 4, 5, 5, 7, 9] {
            histogram.record(Span::from_whole_secs(seconds));
        }
        assert_eq!((histogram.mean_s(), histogram.sd_s()), (Some(5.0), Some(2.0)));
        assert_eq!(histogram.quantile(0.5), Some(Span(4_001_791)), "4 s within 0.2 %");
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_values() {
        let mut histogram = Histogram::new();
        for value in 0..200_000_u64 {
            histogram.record(Span(value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 30));
        }
        assert!(histogram.octaves.len() <= OCTAVES);
    }
}
