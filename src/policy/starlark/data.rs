//! What a policy keeps from call to call: null, switches, whole and other numbers, texts, lists, and dicts by text. A value of
//! its own between two calls, so that each call has a heap of its own and memory does not grow with the length of a run.

use serde_json::Value as Json;
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::float::StarlarkFloat;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, UnpackValue, Value};

/// Most bytes of a state, counted as 16 a value and 1 a letter: 10,080 minutes of a week with a number each fit.
pub const BYTES_MAX: usize = 256 * 1024;
/// Lists in lists, at most.
const DEPTH_MAX: usize = 16;
/// What a value counts as, beside its letters.
const VALUE_BYTES: usize = 16;

/// A value that can be kept and written as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `None`.
    Null,
    /// `True`, `False`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Text(Box<str>),
    /// A list or tuple.
    List(Vec<Data>),
    /// A dict whose keys are texts, in its order.
    Map(Vec<(Box<str>, Data)>),
}

impl Data {
    /// Takes a value out of the evaluator.
    ///
    /// # Errors
    /// What in it cannot be kept, in words.
    pub(super) fn from_value(value: Value<'_>) -> Result<Data, String> {
        taken(value, &mut BYTES_MAX.clone(), 0)
    }

    /// Puts it into the evaluator.
    pub(super) fn to_value<'v>(&self, heap: Heap<'v>) -> Value<'v> {
        match self {
            Data::Null => Value::new_none(),
            Data::Bool(on) => Value::new_bool(*on),
            Data::Int(number) => heap.alloc(*number),
            Data::Float(number) => heap.alloc(*number),
            Data::Text(text) => heap.alloc(&**text),
            Data::List(items) => heap.alloc(AllocList(items.iter().map(|item| item.to_value(heap)))),
            Data::Map(entries) => {
                heap.alloc(AllocDict(entries.iter().map(|(key, item)| (&**key, item.to_value(heap)))))
            }
        }
    }

    /// As JSON. Whole numbers stay whole: 4 and 4.0 are different here.
    pub fn to_json(&self) -> Json {
        match self {
            Data::Null => Json::Null,
            Data::Bool(on) => Json::Bool(*on),
            Data::Int(number) => Json::from(*number),
            Data::Float(number) => Json::from(*number),
            Data::Text(text) => Json::String(text.clone().into()),
            Data::List(items) => items.iter().map(Data::to_json).collect(),
            Data::Map(entries) => entries.iter().map(|(key, item)| (key.to_string(), item.to_json())).collect(),
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// If it holds a number that is neither a 64-bit whole one nor a finite one, or is too large.
    pub fn from_json(json: &Json) -> Result<Data, String> {
        read(json, &mut BYTES_MAX.clone(), 0)
    }
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), String> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| {
        format!("the state is larger than {} KiB: keep sums or a window, not every observation", BYTES_MAX / 1024)
    })?;
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, String> {
    if depth >= DEPTH_MAX {
        return Err(format!("the state has lists in lists more than {DEPTH_MAX} deep"));
    }
    Ok(depth + 1)
}

fn taken(value: Value<'_>, budget: &mut usize, depth: usize) -> Result<Data, String> {
    spend(budget, VALUE_BYTES)?;
    if let Some(number) = value.unpack_i32() {
        return Ok(Data::Int(i64::from(number)));
    }
    if let Ok(Some(number)) = StarlarkFloat::unpack_value(value) {
        return if number.0.is_finite() {
            Ok(Data::Float(number.0))
        } else {
            Err(format!("{} cannot be kept in the state: it is no finite number", number.0))
        };
    }
    if value.is_none() {
        return Ok(Data::Null);
    }
    if let Some(on) = value.unpack_bool() {
        return Ok(Data::Bool(on));
    }
    if let Some(text) = value.unpack_str() {
        spend(budget, text.len())?;
        return Ok(Data::Text(text.into()));
    }
    let depth = deeper(depth)?;
    if let Some(list) = ListRef::from_value(value) {
        return list.iter().map(|item| taken(item, budget, depth)).collect::<Result<_, _>>().map(Data::List);
    }
    if let Some(tuple) = TupleRef::from_value(value) {
        return tuple.iter().map(|item| taken(item, budget, depth)).collect::<Result<_, _>>().map(Data::List);
    }
    if let Some(dict) = DictRef::from_value(value) {
        let entry = |(key, item): (Value<'_>, Value<'_>)| {
            let Some(name) = key.unpack_str() else {
                let shown = super::guard::shown(key);
                return Err(format!("a dict of the state has the key {shown}: keys must be texts, write `str(key)`"));
            };
            spend(budget, VALUE_BYTES + name.len())?;
            Ok((name.into(), taken(item, budget, depth)?))
        };
        return dict.iter().map(entry).collect::<Result<_, _>>().map(Data::Map);
    }
    match i64::unpack_value(value) {
        Ok(Some(number)) => Ok(Data::Int(number)),
        _ if value.get_type() == "int" => Err("a whole number of the state does not fit 64 bits".to_owned()),
        _ => Err(format!("a {} cannot be kept in the state: numbers, texts, lists and dicts can", value.get_type())),
    }
}

fn read(json: &Json, budget: &mut usize, depth: usize) -> Result<Data, String> {
    spend(budget, VALUE_BYTES)?;
    Ok(match json {
        Json::Null => Data::Null,
        Json::Bool(on) => Data::Bool(*on),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Data::Int(whole),
            (None, Some(float)) if float.is_finite() => Data::Float(float),
            _ => return Err(format!("the number {number} cannot be read")),
        },
        Json::String(text) => {
            spend(budget, text.len())?;
            Data::Text(text.as_str().into())
        }
        Json::Array(items) => {
            let depth = deeper(depth)?;
            Data::List(items.iter().map(|item| read(item, budget, depth)).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let depth = deeper(depth)?;
            let mut map = Vec::with_capacity(entries.len());
            for (key, item) in entries {
                spend(budget, VALUE_BYTES + key.len())?;
                map.push((key.as_str().into(), read(item, budget, depth)?));
            }
            Data::Map(map)
        }
    })
}
