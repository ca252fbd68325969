//! `math.` of a policy: results that are the same on every machine, and an error where there is none.

use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::Value;

use super::guard::needed;
use super::limits::refused;

fn rounded(name: &str, value: f64) -> starlark::Result<i64> {
    // Beyond 2^53 a float has no digits after the point, and beyond 2^63 it is no 64-bit number.
    if value.abs() < 9.0e15 { Ok(value as i64) } else { Err(refused(format!("{name} of {value}"))) }
}

fn finite(name: &str, value: f64) -> starlark::Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(refused(format!("{name}: the result is no finite number"))) }
}

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// The next whole number from `x` up.
    fn ceil(#[starlark(require = pos)] x: Value) -> starlark::Result<i64> {
        rounded("math.ceil()", needed("math.ceil()", x)?.ceil())
    }

    /// The next whole number from `x` down.
    fn floor(#[starlark(require = pos)] x: Value) -> starlark::Result<i64> {
        rounded("math.floor()", needed("math.floor()", x)?.floor())
    }

    /// The nearest whole number, halves away from 0.
    fn round(#[starlark(require = pos)] x: Value) -> starlark::Result<i64> {
        rounded("math.round()", needed("math.round()", x)?.round())
    }

    /// The square root.
    fn sqrt(#[starlark(require = pos)] x: Value) -> starlark::Result<f64> {
        finite("math.sqrt()", needed("math.sqrt()", x)?.sqrt())
    }

    /// e to the power of `x`.
    fn exp(#[starlark(require = pos)] x: Value) -> starlark::Result<f64> {
        finite("math.exp()", libm::exp(needed("math.exp()", x)?))
    }

    /// The natural logarithm.
    fn log(#[starlark(require = pos)] x: Value) -> starlark::Result<f64> {
        finite("math.log()", libm::log(needed("math.log()", x)?))
    }

    /// `x` to the power of `y`.
    fn pow(#[starlark(require = pos)] x: Value, #[starlark(require = pos)] y: Value) -> starlark::Result<f64> {
        finite("math.pow()", libm::pow(needed("math.pow()", x)?, needed("math.pow()", y)?))
    }

    /// The sine of an angle.
    fn sin(#[starlark(require = pos)] x: Value) -> starlark::Result<f64> {
        finite("math.sin()", libm::sin(needed("math.sin()", x)?))
    }

    /// The cosine of an angle.
    fn cos(#[starlark(require = pos)] x: Value) -> starlark::Result<f64> {
        finite("math.cos()", libm::cos(needed("math.cos()", x)?))
    }
}
