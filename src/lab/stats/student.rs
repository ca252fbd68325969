//! Student's t: quantiles and tail probabilities, by the regularized incomplete beta function.
//!
//! The continued fraction of the incomplete beta function by Lentz's method (Abramowitz & Stegun 26.5.8), quantiles by bisection
//! on the tail: slow and exact to 1e-12, which is enough for a few thousand calls per comparison.

/// Most terms of the continued fraction; it needs a few dozen.
const TERMS: u32 = 500;

/// P(|T| >= |t|) with `df` degrees of freedom (above 0). 0 for an infinite t, 1 for one that is not a number.
pub fn two_sided_p(t: f64, df: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    if t.is_infinite() {
        return 0.0;
    }
    incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
}

/// The value that T with `df` degrees of freedom stays below with probability `p`, 0 < p < 1.
pub fn quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -quantile(1.0 - p, df);
    }
    let tail = 2.0 * (1.0 - p);
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided_p(high, df) > tail && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if two_sided_p(middle, df) > tail { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// I_x(a, b) for 0 <= x <= 1.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    let front = libm::exp(front);
    // The fraction converges quickly on this side of the mean; the other side by symmetry.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for term in 1..=TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2, and further digits of common tables.
        let table = [
            (0.975, 1.0, 12.706_205),
            (0.975, 2.0, 4.302_653),
            (0.975, 5.0, 2.570_582),
            (0.975, 9.0, 2.262_157),
            (0.975, 10.0, 2.228_139),
            (0.975, 19.0, 2.093_024),
            (0.975, 31.0, 2.039_513),
            (0.975, 120.0, 1.979_930),
            (0.995, 9.0, 3.249_836),
            (0.95, 9.0, 1.833_113),
            (0.999, 19.0, 3.579_400),
        ];
        for (p, df, expected) in table {
            let found = quantile(p, df);
            assert!((found - expected).abs() < 2e-6, "t({p}, {df}) = {found}, table {expected}");
            assert!((quantile(1.0 - p, df) + found).abs() < 1e-9);
        }
        assert!((quantile(0.975, 1e6) - 1.959_966).abs() < 1e-5, "the normal law in the limit");
    }

    #[test]
    fn tails_undo_quantiles_and_know_the_cauchy_law() {
        for df in [1.0, 4.0, 9.0, 63.0] {
            for tail in [0.5, 0.1, 0.01, 1e-6] {
                let back = two_sided_p(quantile(1.0 - tail / 2.0, df), df);
                assert!((back / tail - 1.0).abs() < 1e-6, "{df} {tail} {back}");
            }
        }
        // One degree of freedom: P(|T| >= t) = 1 - 2 atan(t) / pi.
        let exact = 1.0 - 2.0 * libm::atan(3.0) / std::f64::consts::PI;
        assert!((two_sided_p(3.0, 1.0) - exact).abs() < 1e-12);
        assert_eq!((two_sided_p(f64::INFINITY, 5.0), two_sided_p(0.0, 5.0)), (0.0, 1.0));
    }
}
