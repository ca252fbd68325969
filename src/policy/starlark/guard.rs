//! What a policy can call, and the operations that are watched because one step of them could take any time or memory.
//!
//! `*`, `%`, `|`, `<<` of a file are calls of the functions here. Numbers go through at once; texts and lists are first measured.
//! `range`, `dict`, `str` and `repr` stand in for the built-in ones for the same reason. Methods that multiply (`join`,
//! `replace`, `format`) are refused when the file is read ([`super::check`]). One gap is left: comparing two lists that hold
//! the same list many times over takes time that no count sees.

use std::sync::LazyLock;

use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension};
use starlark::starlark_module;
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::float::StarlarkFloat;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::none::NoneType;
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, UnpackValue, Value};

use super::limits::{ENTRIES_MAX, TEXT_MAX, refused};
use super::view;

/// Operators that are calls of the functions named.
pub(super) const OPERATORS: [(&str, &str); 4] =
    [("*", "__multiply"), ("%", "__percent"), ("|", "__union"), ("<<", "__shift")];

/// Built-in functions that go around the checks of a file, or are replaced.
const LEFT_OUT: [&str; 8] = ["getattr", "hasattr", "dir", "range", "dict", "str", "repr", "print"];

/// Everything that a file can name.
pub(super) static GLOBALS: LazyLock<Globals> = LazyLock::new(|| {
    let standard = Globals::extended_by(&[LibraryExtension::StructType]);
    let mut builder = GlobalsBuilder::new();
    builder.frozen_heap().add_reference(standard.heap());
    for (name, value) in standard.iter() {
        if !LEFT_OUT.contains(&name) {
            builder.set(name, value);
        }
    }
    operators(&mut builder);
    functions(&mut builder);
    view::functions(&mut builder);
    builder.namespace("math", mathematics);
    builder.build()
});

/// A value for a message: short whatever it is.
pub(super) fn shown(value: Value<'_>) -> String {
    match value.unpack_str() {
        Some(text) => format!("`{}`", super::error::excerpt(text)),
        None if is_scalar(value) => format!("`{}`", super::error::excerpt(&value.to_str())),
        None => format!("a {}", value.get_type()),
    }
}

fn is_scalar(value: Value<'_>) -> bool {
    let small = value.is_none() || value.unpack_bool().is_some() || value.unpack_i32().is_some();
    small
        || matches!(StarlarkFloat::unpack_value(value), Ok(Some(_)))
        || matches!(i64::unpack_value(value), Ok(Some(_)))
}

/// The number in a value; `None` for everything else, switches included.
pub(super) fn number(value: Value<'_>) -> Option<f64> {
    if let Some(whole) = value.unpack_i32() {
        return Some(f64::from(whole));
    }
    match StarlarkFloat::unpack_value(value) {
        Ok(Some(float)) => Some(float.0),
        _ => i64::unpack_value(value).ok().flatten().map(|whole| whole as f64),
    }
}

fn whole(value: Value<'_>) -> Option<i64> {
    value.unpack_i32().map(i64::from).or_else(|| i64::unpack_value(value).ok().flatten())
}

fn needed(name: &str, value: Value<'_>) -> starlark::Result<f64> {
    number(value).ok_or_else(|| refused(format!("{name} wants a number, got {}", shown(value))))
}

/// How many entries or letters a value has, if it is of a kind that has.
fn length(value: Value<'_>) -> Option<usize> {
    if let Some(text) = value.unpack_str() {
        return Some(text.len());
    }
    if let Some(list) = ListRef::from_value(value) {
        return Some(list.len());
    }
    TupleRef::from_value(value).map(TupleRef::len)
}

/// Books memory that the evaluator does not see: entries of dicts.
fn book(heap: Heap<'_>, entries: usize) {
    heap.alloc(AllocList(std::iter::repeat_n(NoneType, entries * 5)));
}

fn text_of(value: Value<'_>, budget: &mut usize) -> starlark::Result<()> {
    let spent = 1 + value.unpack_str().map_or(24, str::len);
    let too_long = || refused(format!("a text of more than {TEXT_MAX} characters"));
    *budget = budget.checked_sub(spent).ok_or_else(too_long)?;
    if is_scalar(value) || value.unpack_str().is_some() {
        return Ok(());
    }
    if let Some(list) = ListRef::from_value(value) {
        return list.iter().try_for_each(|item| text_of(item, budget));
    }
    if let Some(tuple) = TupleRef::from_value(value) {
        return tuple.iter().try_for_each(|item| text_of(item, budget));
    }
    if let Some(dict) = DictRef::from_value(value) {
        return dict.iter().try_for_each(|(key, item)| {
            text_of(key, budget)?;
            text_of(item, budget)
        });
    }
    match value.get_type() {
        "struct" => Err(refused("a struct has no text: name its fields")),
        _ => Ok(()),
    }
}

#[starlark_module]
fn operators(builder: &mut GlobalsBuilder) {
    fn __multiply<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        heap: Heap<'v>,
    ) -> starlark::Result<Value<'v>> {
        if let (Some(left), Some(right)) = (whole(left), whole(right)) {
            let product = left.checked_mul(right);
            return Ok(heap.alloc(product.ok_or_else(|| refused("a whole number beyond 64 bits"))?));
        }
        for (many, times) in [(left, right), (right, left)] {
            if let (Some(entries), Some(times)) = (length(many), whole(times)) {
                let product = entries.saturating_mul(usize::try_from(times).unwrap_or(0));
                let most = if many.unpack_str().is_some() { TEXT_MAX } else { ENTRIES_MAX };
                if product > most {
                    return Err(refused(format!("a {} of {product} entries, at most {most}", many.get_type())));
                }
            }
        }
        left.mul(right, heap)
    }

    fn __percent<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        heap: Heap<'v>,
    ) -> starlark::Result<Value<'v>> {
        if let Some(format) = left.unpack_str() {
            let mut budget = TEXT_MAX.saturating_sub(format.len());
            text_of(right, &mut budget)?;
        }
        left.percent(right, heap)
    }

    fn __union<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        heap: Heap<'v>,
    ) -> starlark::Result<Value<'v>> {
        for value in [left, right] {
            let entries = DictRef::from_value(value).map_or(0, |dict| dict.len());
            book(heap, entries);
        }
        left.bit_or(right, heap)
    }

    fn __shift<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
    ) -> starlark::Result<i64> {
        let (Some(number), Some(by)) = (whole(left), whole(right)) else {
            return Err(refused(format!("`<<` wants whole numbers, got {} and {}", shown(left), shown(right))));
        };
        let factor = u32::try_from(by).ok().and_then(|by| 1_i64.checked_shl(by)).filter(|factor| *factor > 0);
        let product = factor.and_then(|factor| number.checked_mul(factor));
        product.ok_or_else(|| refused("a whole number beyond 64 bits"))
    }
}

#[starlark_module]
fn functions(builder: &mut GlobalsBuilder) {
    /// The whole numbers from `a` (or 0) up to but without `b`, as a list.
    fn range<'v>(
        #[starlark(require = pos)] a: i32,
        #[starlark(require = pos)] b: Option<i32>,
        #[starlark(require = pos)] step: Option<i32>,
        heap: Heap<'v>,
    ) -> starlark::Result<Value<'v>> {
        let (from, to) = b.map_or((0, a), |b| (a, b));
        let (from, to, step) = (i64::from(from), i64::from(to), i64::from(step.unwrap_or(1)));
        if step == 0 {
            return Err(refused("a range with a step of 0"));
        }
        let count = ((to - from + step - step.signum()) / step).max(0);
        if count > ENTRIES_MAX as i64 {
            return Err(refused(format!("a range of {count} numbers, at most {ENTRIES_MAX}")));
        }
        Ok(heap.alloc(AllocList((0..count).map(|index| from + index * step))))
    }

    /// A copy of a dict, or a dict from pairs.
    fn dict<'v>(#[starlark(require = pos)] of: Option<Value<'v>>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let Some(of) = of else { return Ok(heap.alloc(AllocDict::EMPTY)) };
        if let Some(of) = DictRef::from_value(of) {
            book(heap, of.len());
            return Ok(heap.alloc(AllocDict(of.iter().collect::<Vec<_>>())));
        }
        let mut entries = Vec::new();
        for pair in of.iterate(heap)? {
            let both =
                TupleRef::from_value(pair).map(TupleRef::content).or(ListRef::from_value(pair).map(|l| l.content()));
            let Some([key, item]) = both else {
                return Err(refused(format!("dict() wants pairs, got {}", shown(pair))));
            };
            key.get_hashed()?;
            entries.push((*key, *item));
        }
        book(heap, entries.len());
        Ok(heap.alloc(AllocDict(entries)))
    }

    /// The text of a value.
    fn str(#[starlark(require = pos)] of: Value) -> starlark::Result<String> {
        text_of(of, &mut TEXT_MAX.clone())?;
        Ok(of.to_str())
    }

    /// The text of a value, texts in quotes.
    fn repr(#[starlark(require = pos)] of: Value) -> starlark::Result<String> {
        text_of(of, &mut TEXT_MAX.clone())?;
        Ok(of.to_repr())
    }

    /// The sum of a list of numbers: whole if all are.
    fn sum<'v>(#[starlark(require = pos)] of: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let mut total = heap.alloc(0_i32);
        for item in of.iterate(heap)? {
            needed("sum()", item)?;
            total = total.add(item, heap)?;
        }
        Ok(total)
    }

    /// `a / b` rounded up, for whole numbers.
    fn ceil_div(#[starlark(require = pos)] a: Value, #[starlark(require = pos)] b: Value) -> starlark::Result<i64> {
        let (Some(left), Some(right)) = (whole(a), whole(b)) else {
            return Err(refused(format!("ceil_div() wants whole numbers, got {} and {}", shown(a), shown(b))));
        };
        let quotient = left.checked_div_euclid(right).filter(|_| right > 0);
        let quotient = quotient.ok_or_else(|| refused(format!("ceil_div() by {right}")))?;
        Ok(quotient + i64::from(left.rem_euclid(right) > 0))
    }
}

fn rounded(name: &str, value: f64) -> starlark::Result<i64> {
    // Beyond 2^53 a float has no digits after the point, and beyond 2^63 it is no 64-bit number.
    if value.abs() < 9.0e15 { Ok(value as i64) } else { Err(refused(format!("{name} of {value}"))) }
}

fn finite(name: &str, value: f64) -> starlark::Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(refused(format!("{name}: the result is no finite number"))) }
}

#[starlark_module]
fn mathematics(builder: &mut GlobalsBuilder) {
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
