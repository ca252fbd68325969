//! What a policy can name, and how values are looked at.
//!
//! Operators of a file are calls of functions (`operators`), and what its methods and indices are given goes through
//! others (`meter`); built-in functions are our own (`builtins`), or handed on once they are measured
//! (`measure`). Methods that multiply (`join`, `replace`, `format`) are refused when the file is read (`check`).

use std::sync::LazyLock;

use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension};
use starlark::values::dict::DictRef;
use starlark::values::float::StarlarkFloat;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::none::NoneType;
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, UnpackValue, Value};

use super::limits::{TEXT_MAX, refused};
use super::{builtins, mathematics, operators, view};

/// Built-in functions that look at a fixed number of values: the rest is our own, or not there.
const KEPT: [&str; 6] = ["None", "True", "False", "bool", "struct", "type"];

/// The language's own functions.
pub(super) static STANDARD: LazyLock<Globals> = LazyLock::new(|| Globals::extended_by(&[LibraryExtension::StructType]));

/// Everything that a file can name.
pub(super) static GLOBALS: LazyLock<Globals> = LazyLock::new(|| {
    let mut builder = GlobalsBuilder::new();
    builder.frozen_heap().add_reference(STANDARD.heap());
    for (name, value) in STANDARD.iter() {
        if KEPT.contains(&name) {
            builder.set(name, value);
        }
    }
    operators::functions(&mut builder);
    builtins::functions(&mut builder);
    view::functions(&mut builder);
    builder.namespace("math", mathematics::functions);
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

pub(super) fn is_scalar(value: Value<'_>) -> bool {
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

pub(super) fn whole(value: Value<'_>) -> Option<i64> {
    value.unpack_i32().map(i64::from).or_else(|| i64::unpack_value(value).ok().flatten())
}

pub(super) fn needed(name: &str, value: Value<'_>) -> starlark::Result<f64> {
    number(value).ok_or_else(|| refused(format!("{name} wants a number, got {}", shown(value))))
}

/// How many entries or letters a value has, if it is of a kind that has.
pub(super) fn length(value: Value<'_>) -> Option<usize> {
    if let Some(text) = value.unpack_str() {
        return Some(text.len());
    }
    if let Some(list) = ListRef::from_value(value) {
        return Some(list.len());
    }
    TupleRef::from_value(value).map(TupleRef::len)
}

/// Books memory that the evaluator does not see: entries of dicts.
pub(super) fn book(heap: Heap<'_>, entries: usize) {
    heap.alloc(AllocList(std::iter::repeat_n(NoneType, entries * 5)));
}

pub(super) fn text_of(value: Value<'_>, budget: &mut usize) -> starlark::Result<()> {
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
