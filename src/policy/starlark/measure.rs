//! How much there is to look at in a value, booked as steps before an operation does it.
//!
//! A list that holds one list twice, thirty times over, is built in thirty statements and compared in a thousand million: what
//! counts is the size of a value when every sharing in it is unfolded. Measuring stops where the steps of the call end.

use starlark::eval::Evaluator;
use starlark::values::Value;
use starlark::values::dict::DictRef;
use starlark::values::list::ListRef;
use starlark::values::structs::StructRef;
use starlark::values::tuple::TupleRef;

use super::guard::is_scalar;
use super::limits::{LETTERS_PER_NODE, NESTED_MAX, NODES_PER_STEP, refused, spend, steps_left, too_many_steps};

/// Books an operation that looks at everything in `values`, however deep: comparisons, keys, sorting.
pub(super) fn deep(values: &[Value<'_>], evaluator: &mut Evaluator<'_, '_, '_>) -> starlark::Result<()> {
    repeated(values, 1, evaluator)
}

/// As [`deep`], for an operation that looks `times` times.
pub(super) fn repeated(
    values: &[Value<'_>],
    times: u64,
    evaluator: &mut Evaluator<'_, '_, '_>,
) -> starlark::Result<()> {
    if values.iter().all(|value| is_scalar(*value)) {
        return Ok(());
    }
    let all = steps_left(evaluator).saturating_add(1).saturating_mul(NODES_PER_STEP);
    let mut left = all;
    for value in values {
        unfold(*value, &mut left, 0)?;
    }
    spend(evaluator, (all - left).saturating_mul(times) / NODES_PER_STEP)
}

/// Books an operation that goes along a text, list or dict without looking into its entries: copies, searches in texts.
pub(super) fn along(value: Value<'_>, evaluator: &mut Evaluator<'_, '_, '_>) -> starlark::Result<()> {
    let entries = ListRef::from_value(value)
        .map(|list| list.len())
        .or_else(|| TupleRef::from_value(value).map(TupleRef::len))
        .or_else(|| DictRef::from_value(value).map(|dict| dict.len()));
    let nodes = match value.unpack_str() {
        Some(text) => letters(text),
        None => entries.unwrap_or(0) as u64,
    };
    spend(evaluator, nodes / NODES_PER_STEP)
}

/// Entries of a list that are moved in the time that one is looked at.
const MOVED_PER_NODE: u64 = 8;

/// Books an operation that moves the entries of a list, or takes one out of a dict, which looks at those behind it.
pub(super) fn moved(value: Value<'_>, evaluator: &mut Evaluator<'_, '_, '_>) -> starlark::Result<()> {
    match ListRef::from_value(value) {
        Some(list) => spend(evaluator, list.len() as u64 / (MOVED_PER_NODE * NODES_PER_STEP)),
        None => along(value, evaluator),
    }
}

fn letters(text: &str) -> u64 {
    text.len() as u64 / LETTERS_PER_NODE
}

fn unfold(value: Value<'_>, left: &mut u64, depth: usize) -> starlark::Result<()> {
    let nodes = 1 + value.unpack_str().map_or(0, letters);
    *left = left.checked_sub(nodes).ok_or_else(too_many_steps)?;
    if is_scalar(value) || value.unpack_str().is_some() {
        return Ok(());
    }
    if depth >= NESTED_MAX {
        return Err(refused(format!("lists in lists more than {NESTED_MAX} deep")));
    }
    let depth = depth + 1;
    if let Some(list) = ListRef::from_value(value) {
        return list.iter().try_for_each(|item| unfold(item, left, depth));
    }
    if let Some(tuple) = TupleRef::from_value(value) {
        return tuple.iter().try_for_each(|item| unfold(item, left, depth));
    }
    if let Some(dict) = DictRef::from_value(value) {
        return dict.iter().try_for_each(|(key, item)| {
            unfold(key, left, depth)?;
            unfold(item, left, depth)
        });
    }
    if let Some(fields) = StructRef::from_value(value) {
        return fields.iter().try_for_each(|(_, item)| unfold(item, left, depth));
    }
    Ok(())
}
