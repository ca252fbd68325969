//! Standard deviates: uniform, exponential and normal, one 64-bit word each, by inversion.
//!
//! Inversion costs a little more than a ziggurat, but it takes exactly one word per deviate and grows with it, so that
//! common random numbers stay synchronised when only a parameter differs. Only IEEE-exact operations and `libm` are used.

use rand::Rng;

/// 2^-53: the spacing of uniform deviates.
const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;

/// Uniform on [0, 1), multiples of 2^-53.
#[inline]
pub fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * UNIT
}

/// True with probability `share`; 0 and less is never, 1 and more is always. Takes one word in any case.
#[inline]
pub fn chance(share: f64, rng: &mut impl Rng) -> bool {
    uniform(rng) < share
}

/// One of `0..count`, equally likely up to 2^-64 x count.
#[inline]
pub fn pick(count: usize, rng: &mut impl Rng) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}

/// Exponential with mean 1: at most 44.4, absolute error below 2e-14.
///
/// The word is a binary fraction `z * 2^-(zeros + 1)` with z in [1, 2). The logarithm of z comes from a table of 128 and the
/// series of ln(1 + r), |r| <= 2^-8, whose first missing term r^6 / 6 is below 6e-16.
#[inline]
pub fn exponential(rng: &mut impl Rng) -> f64 {
    let word = rng.next_u64() | 1;
    let zeros = word.leading_zeros();
    let mantissa = word << zeros;
    let (inverse, logarithm) = LOG_TABLE[(mantissa >> 56 & 127) as usize];
    let z = f64::from_bits(0x3FF0_0000_0000_0000 | (mantissa << 1) >> 12);
    let r = z * inverse - 1.0;
    let r2 = r * r;
    let series = r - r2 * (0.5 - r * (1.0 / 3.0)) - r2 * r2 * (0.25 - r * 0.2);
    // At z = 2 the difference may round to -1e-16.
    (f64::from(zeros + 1) * std::f64::consts::LN_2 - logarithm - series).max(0.0)
}

/// Standard normal, by the inverse of its distribution function (M. Wichura, Algorithm AS 241, PPND16, 1988; relative error
/// about 1e-16).
#[inline]
pub fn normal(rng: &mut impl Rng) -> f64 {
    // 52 bits and half a step: never 0 or 1, so that both tails are finite, |x| <= 8.2.
    normal_quantile(((rng.next_u64() >> 12) as f64 + 0.5) * (2.0 * UNIT))
}

/// The x below which a standard normal lies with probability `p`, 0 < p < 1.
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * ratio(r, &CENTRE);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-libm::log(tail)).sqrt();
    let x = if r <= 5.0 { ratio(r - 1.6, &MIDDLE) } else { ratio(r - 5.0, &FAR) };
    if q < 0.0 { -x } else { x }
}

/// Polynomial over polynomial, coefficients in ascending order.
#[inline]
fn ratio(r: f64, (above, below): &([f64; 8], [f64; 8])) -> f64 {
    let value = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * r + c);
    value(above) / value(below)
}

const CENTRE: ([f64; 8], [f64; 8]) = (
    [
        3.387_132_872_796_366_6,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
);

const MIDDLE: ([f64; 8], [f64; 8]) = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);

const FAR: ([f64; 8], [f64; 8]) = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

/// (1 / c, ln c) at the middles c of 128 intervals of [1, 2).
static LOG_TABLE: [(f64, f64); 128] = log_table();

const fn log_table() -> [(f64, f64); 128] {
    let mut table = [(0.0, 0.0); 128];
    let mut i = 0;
    while i < table.len() {
        let inverse = 1.0 / (1.0 + (i as f64 + 0.5) / 128.0);
        // The logarithm of the rounded inverse, so that z * inverse and the entry fit together exactly.
        table[i] = (inverse, -logarithm(inverse));
        i += 1;
    }
    table
}

/// ln x for x in [1/2, 2], by 2 atanh((x - 1) / (x + 1)): 21 terms, the next one is below (1/3)^43.
const fn logarithm(x: f64) -> f64 {
    let s = (x - 1.0) / (x + 1.0);
    let mut sum = 0.0;
    let mut k = 41;
    while k > 0 {
        sum = sum * s * s + 1.0 / k as f64;
        k -= 2;
    }
    2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::testing::Words;

    /// A generator that gives out one word only.
    fn word(word: u64) -> Words {
        Words::constant(word)
    }

    #[test]
    fn the_exponential_is_the_logarithm_of_the_word() {
        let mut words = Words::new(5);
        for shift in 0..60 {
            for _ in 0..200 {
                let bits = words.next_u64() >> shift | 1;
                let exact = -libm::log(bits as f64 / 18_446_744_073_709_551_616.0);
                let drawn = exponential(&mut word(bits));
                assert!((drawn - exact).abs() < 2e-14, "{bits:#x}: {drawn} for {exact}");
            }
        }
        assert!((0.0..1e-15).contains(&exponential(&mut word(u64::MAX))));
        assert!(exponential(&mut word(0)) < 44.4);
    }

    #[test]
    fn normal_quantiles_invert_the_error_function() {
        for i in 1..4_000 {
            let p = f64::from(i) / 4_000.0;
            let back = 0.5 * libm::erfc(-normal_quantile(p) / std::f64::consts::SQRT_2);
            assert!((back - p).abs() < 1e-15 + 1e-14 * p, "{p}: {back}");
        }
        for exponent in 3..300 {
            let p = libm::exp10(-f64::from(exponent));
            let back = 0.5 * libm::erfc(-normal_quantile(p) / std::f64::consts::SQRT_2);
            assert!((back / p - 1.0).abs() < 1e-11, "{p}: {back}");
        }
        assert_eq!(normal_quantile(0.5), 0.0);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-15);
    }

    #[test]
    fn the_ends_of_the_word_give_finite_numbers() {
        assert_eq!(uniform(&mut word(0)), 0.0);
        assert!(uniform(&mut word(u64::MAX)) < 1.0);
        assert_eq!(normal(&mut word(0)), -normal(&mut word(u64::MAX)));
        assert!(normal(&mut word(u64::MAX)) < 8.3);
        assert_eq!((pick(7, &mut word(0)), pick(7, &mut word(u64::MAX))), (0, 6));
        assert!(!chance(0.0, &mut word(0)) && chance(1.0, &mut word(u64::MAX)));
    }
}
