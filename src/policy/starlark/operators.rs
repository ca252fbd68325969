//! The operators of a file: calls of the functions here ([`super::meter`]), because one step of them could take any time or memory.
//! Numbers go through at once; texts, lists and dicts are first measured ([`super::measure`]).

use std::cmp::Ordering;

use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::Value;
use starlark::values::dict::DictRef;

use super::guard::{book, length, shown, text_of, whole};
use super::limits::{ENTRIES_MAX, TEXT_MAX, refused, spend};
use super::measure;

/// Operators that are calls of the functions named. Those that are not here take numbers only.
pub(super) const OPERATORS: [(&str, &str); 14] = [
    ("+", "__operator_plus"),
    ("-", "__operator_minus"),
    ("*", "__operator_times"),
    ("%", "__operator_percent"),
    ("|", "__operator_or"),
    ("<<", "__operator_shift"),
    ("==", "__operator_equal"),
    ("!=", "__operator_unequal"),
    ("<", "__operator_less"),
    (">", "__operator_greater"),
    ("<=", "__operator_at_most"),
    (">=", "__operator_at_least"),
    ("in", "__operator_in"),
    ("not in", "__operator_not_in"),
];

/// A whole number, if it has 64 bits.
fn bounded<'v>(number: Option<i64>, evaluator: &Evaluator<'v, '_, '_>) -> starlark::Result<Value<'v>> {
    let number = number.ok_or_else(|| refused("a whole number beyond 64 bits"))?;
    Ok(evaluator.heap().alloc(number))
}

fn equal<'v>(left: Value<'v>, right: Value<'v>, evaluator: &mut Evaluator<'v, '_, '_>) -> starlark::Result<bool> {
    measure::deep(&[left, right], evaluator)?;
    left.equals(right)
}

fn order<'v>(left: Value<'v>, right: Value<'v>, evaluator: &mut Evaluator<'v, '_, '_>) -> starlark::Result<Ordering> {
    measure::deep(&[left, right], evaluator)?;
    left.compare(right)
}

fn holds<'v>(item: Value<'v>, within: Value<'v>, evaluator: &mut Evaluator<'v, '_, '_>) -> starlark::Result<bool> {
    measure::deep(&[item], evaluator)?;
    if DictRef::from_value(within).is_some() {
        return within.is_in(item);
    }
    measure::deep(&[within], evaluator)?;
    match (within.unpack_str(), item.unpack_str()) {
        // The evaluator's own search takes letters times letters.
        (Some(text), Some(piece)) => Ok(text.contains(piece)),
        _ => within.is_in(item),
    }
}

/// Refuses to make more of a kind than one operation may.
fn sized(of: Value<'_>, entries: usize) -> starlark::Result<()> {
    let most = if of.unpack_str().is_some() { TEXT_MAX } else { ENTRIES_MAX };
    if entries > most {
        return Err(refused(format!("a {} of {entries} entries, at most {most}", of.get_type())));
    }
    Ok(())
}

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    fn __operator_plus<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if let (Some(left), Some(right)) = (whole(left), whole(right)) {
            return bounded(left.checked_add(right), eval);
        }
        for side in [left, right] {
            measure::along(side, eval)?;
        }
        if let (Some(first), Some(second)) = (length(left), length(right)) {
            sized(left, first + second)?;
        }
        left.add(right, eval.heap())
    }

    fn __operator_minus<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        match (whole(left), whole(right)) {
            (Some(left), Some(right)) => bounded(left.checked_sub(right), eval),
            _ => left.sub(right, eval.heap()),
        }
    }

    fn __operator_times<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if let (Some(left), Some(right)) = (whole(left), whole(right)) {
            return bounded(left.checked_mul(right), eval);
        }
        for (many, times) in [(left, right), (right, left)] {
            if let (Some(entries), Some(times)) = (length(many), whole(times)) {
                sized(many, entries.saturating_mul(usize::try_from(times).unwrap_or(0)))?;
                measure::along(many, eval)?;
            }
        }
        left.mul(right, eval.heap())
    }

    fn __operator_percent<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if let Some(format) = left.unpack_str() {
            measure::deep(&[left, right], eval)?;
            text_of(right, &mut TEXT_MAX.saturating_sub(format.len()))?;
        }
        left.percent(right, eval.heap())
    }

    fn __operator_or<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        for value in [left, right] {
            let entries = DictRef::from_value(value).map_or(0, |dict| dict.len());
            book(eval.heap(), entries);
            measure::along(value, eval)?;
        }
        left.bit_or(right, eval.heap())
    }

    fn __operator_shift<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let (Some(number), Some(by)) = (whole(left), whole(right)) else {
            return Err(refused(format!("`<<` wants whole numbers, got {} and {}", shown(left), shown(right))));
        };
        let factor = u32::try_from(by).ok().and_then(|by| 1_i64.checked_shl(by)).filter(|factor| *factor > 0);
        bounded(factor.and_then(|factor| number.checked_mul(factor)), eval)
    }

    fn __operator_equal<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        equal(left, right, eval)
    }

    fn __operator_unequal<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(!equal(left, right, eval)?)
    }

    fn __operator_less<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(order(left, right, eval)?.is_lt())
    }

    fn __operator_greater<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(order(left, right, eval)?.is_gt())
    }

    fn __operator_at_most<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(order(left, right, eval)?.is_le())
    }

    fn __operator_at_least<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(order(left, right, eval)?.is_ge())
    }

    fn __operator_in<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        holds(left, right, eval)
    }

    fn __operator_not_in<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<bool> {
        Ok(!holds(left, right, eval)?)
    }

    /// What is looked at with everything in it: keys, what methods are given.
    fn __all_of<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        measure::deep(&[value], eval)?;
        Ok(value)
    }

    /// What is gone along: what a method is called on, what is cut or spread out.
    fn __along<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        measure::along(value, eval)?;
        Ok(value)
    }

    /// What an entry is put into or taken out of: those behind it are moved.
    fn __moved<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        measure::moved(value, eval)?;
        Ok(value)
    }

    /// What is read at one place or cut: a text is gone along to find the place, and what is cut off is memory.
    fn __part_of<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if value.unpack_str().is_some() {
            measure::along(value, eval)?;
        } else {
            spend(eval, 0)?;
        }
        Ok(value)
    }

    /// What is added to in place: numbers of 64 bits, texts and lists that are measured.
    fn __added<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if value.get_type() == "int" && whole(value).is_none() {
            return Err(refused("a whole number beyond 64 bits"));
        }
        if value.unpack_str().is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(refused(format!("a text of more than {TEXT_MAX} characters")));
        }
        measure::along(value, eval)?;
        Ok(value)
    }

    /// A field that has the name of a method: of a struct, not a method that is called elsewhere.
    fn __holder<'v>(#[starlark(require = pos)] value: Value<'v>) -> starlark::Result<Value<'v>> {
        if length(value).is_some() || DictRef::from_value(value).is_some() {
            return Err(refused("a method is called where it is named, such as `text.count(\"a\")`"));
        }
        Ok(value)
    }
}
