//! Chance without a generator: each draw is a hash of what it is for.
//!
//! A policy owns no random numbers. The same worker (job, host) meets the same draws whatever else happens, so two policies that
//! are compared differ by what they decide and by nothing else.

/// One step of SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every bit depends on every other.
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A hash of a seed, who it is for, and how many came before.
pub(super) fn word(seed: u32, whose: u64, ordinal: u64) -> u64 {
    mix(mix(mix(u64::from(seed)) ^ whose) ^ ordinal)
}

/// The same as a number in the open interval (0, 1): its logarithm is finite.
pub(super) fn uniform(seed: u32, whose: u64, ordinal: u64) -> f64 {
    ((word(seed, whose, ordinal) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}
