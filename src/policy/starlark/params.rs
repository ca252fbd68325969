//! The parameters that a policy's file declares in `PARAMS`, and the values given for them.

use std::collections::BTreeMap;

use starlark::values::dict::DictRef;
use starlark::values::float::StarlarkFloat;
use starlark::values::list::ListRef;
use starlark::values::{UnpackValue, Value};

use super::super::ParamValue;
use super::super::params::near;
use super::data::Data;
use super::guard::{number, shown, whole};

/// A parameter of a policy's file.
#[derive(Clone, Debug, PartialEq)]
pub struct StarParam {
    /// Name, with the unit at the end where it has one (`_s` = seconds).
    pub name: String,
    /// Kind, range and default.
    pub kind: StarParamKind,
    /// Unit in words; empty if the file gives none.
    pub unit: String,
    /// What it does; empty if the file does not say.
    pub doc: String,
}

/// Kind, range and default of a parameter: by the kind of its default.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum StarParamKind {
    /// A number within the closed range.
    Number { min: f64, max: f64, default: f64 },
    /// A whole number within the closed range.
    Whole { min: i64, max: i64, default: i64 },
    /// A word; one of these unless there are none.
    Word { choices: Vec<String>, default: String },
    /// A switch.
    Switch { default: bool },
}

impl StarParamKind {
    /// The default.
    pub fn default_value(&self) -> ParamValue {
        match self {
            StarParamKind::Number { default, .. } => ParamValue::Number(*default),
            StarParamKind::Whole { default, .. } => ParamValue::Number(*default as f64),
            StarParamKind::Word { default, .. } => ParamValue::Text(default.clone()),
            StarParamKind::Switch { default } => ParamValue::Bool(*default),
        }
    }

    /// The range, in words.
    pub fn allowed(&self) -> String {
        match self {
            StarParamKind::Number { min, max, .. } => format!("a number{}", from_to(*min, *max)),
            StarParamKind::Whole { min, max, .. } => format!("a whole number{}", from_to(*min as f64, *max as f64)),
            StarParamKind::Word { choices, .. } if choices.is_empty() => "a text".to_owned(),
            StarParamKind::Word { choices, .. } => format!("one of {}", choices.join(", ")),
            StarParamKind::Switch { .. } => "true or false".to_owned(),
        }
    }

    /// The value as the file sees it; `None` if it is not allowed.
    fn taken(&self, given: &ParamValue) -> Option<Data> {
        match (self, given) {
            (StarParamKind::Number { min, max, .. }, ParamValue::Number(x)) => {
                (*min..=*max).contains(x).then_some(Data::Float(*x))
            }
            (StarParamKind::Whole { min, max, .. }, ParamValue::Number(x)) => {
                let whole = *x as i64;
                (whole as f64 == *x && (*min..=*max).contains(&whole)).then_some(Data::Int(whole))
            }
            (StarParamKind::Word { choices, .. }, ParamValue::Text(word)) => {
                (choices.is_empty() || choices.contains(word)).then(|| Data::Text(word.as_str().into()))
            }
            (StarParamKind::Switch { .. }, ParamValue::Bool(on)) => Some(Data::Bool(*on)),
            _ => None,
        }
    }
}

fn from_to(min: f64, max: f64) -> String {
    match (min > -UNBOUNDED, max < UNBOUNDED) {
        (true, true) => format!(" from {min} to {max}"),
        (true, false) => format!(" from {min} on"),
        (false, true) => format!(" up to {max}"),
        (false, false) => String::new(),
    }
}

/// Whole numbers up to here are exact as floats: beyond it there is no bound to speak of.
const UNBOUNDED: f64 = 9_007_199_254_740_992.0;

/// What is wrong with a value given for a parameter: its name, and what to say.
pub type BadParam = (String, String);

/// Every parameter with its value, given or default.
///
/// # Errors
/// The first that the file does not declare, or that is not allowed.
pub fn values(specs: &[StarParam], given: &BTreeMap<String, ParamValue>) -> Result<Vec<(String, Data)>, BadParam> {
    if let Some(unknown) = given.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
        return Err((unknown.clone(), unknown_param(specs, unknown)));
    }
    let mut all = Vec::with_capacity(specs.len());
    for spec in specs {
        let default = spec.kind.default_value();
        let value = given.get(&spec.name).unwrap_or(&default);
        let Some(taken) = spec.kind.taken(value) else {
            let found = match value {
                ParamValue::Bool(on) => on.to_string(),
                ParamValue::Number(number) => number.to_string(),
                ParamValue::Text(text) => format!("`{}`", super::error::excerpt(text)),
            };
            return Err((spec.name.clone(), format!("{found}, must be {}", spec.kind.allowed())));
        };
        all.push((spec.name.clone(), taken));
    }
    Ok(all)
}

/// Why there is no such parameter, with the nearest that there is.
pub fn unknown_param(specs: &[StarParam], typed: &str) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    match near(typed, names.iter().copied()) {
        Some(name) => format!("no such parameter; did you mean `{name}`?"),
        None if names.is_empty() => "no such parameter; the file declares none".to_owned(),
        None => format!("no such parameter; there is: {}", names.join(", ")),
    }
}

/// Reads `PARAMS`.
///
/// # Errors
/// Name of the parameter (empty for the whole) and what is wrong with it.
pub(super) fn read(declared: Value<'_>) -> Result<Vec<StarParam>, BadParam> {
    let Some(declared) = DictRef::from_value(declared) else {
        let wanted = "PARAMS is a dict such as {\"target\": {\"default\": 4, \"min\": 1, \"max\": 100}}";
        return Err((String::new(), format!("{wanted}, here is {}", shown(declared))));
    };
    let mut all = Vec::with_capacity(declared.len());
    for (name, entry) in declared.iter() {
        let Some(name) = name.unpack_str().filter(|name| is_name(name)) else {
            return Err((String::new(), format!("a parameter is named by a word in quotes, not by {}", shown(name))));
        };
        all.push(one(name, entry).map_err(|problem| (name.to_owned(), problem))?);
    }
    Ok(all)
}

fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    first
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !["type", "source"].contains(&name)
}

/// One entry: a dict, or its default alone.
fn one(name: &str, entry: Value<'_>) -> Result<StarParam, String> {
    const KEYS: [&str; 6] = ["default", "min", "max", "choices", "unit", "doc"];
    let Some(dict) = DictRef::from_value(entry) else {
        let kind = kind(entry, None, None, None)?;
        return Ok(StarParam { name: name.to_owned(), kind, unit: String::new(), doc: String::new() });
    };
    let mut found: BTreeMap<&str, Value<'_>> = BTreeMap::new();
    for (key, value) in dict.iter() {
        let known = key.unpack_str().and_then(|key| KEYS.iter().find(|known| **known == key));
        let Some(known) = known else {
            return Err(format!("its entry has the key {}; there is: {}", shown(key), KEYS.join(", ")));
        };
        found.insert(known, value);
    }
    let Some(default) = found.get("default") else { return Err("its entry has no `default`".to_owned()) };
    let text = |key: &str| match found.get(key) {
        None => Ok(String::new()),
        Some(value) => {
            value.unpack_str().map(str::to_owned).ok_or(format!("its `{key}` is {}, no text", shown(*value)))
        }
    };
    let bound = |key: &str| match found.get(key) {
        None => Ok(None),
        Some(value) => number(*value).map(Some).ok_or(format!("its `{key}` is {}, no number", shown(*value))),
    };
    let kind = kind(*default, bound("min")?, bound("max")?, found.get("choices").copied())?;
    Ok(StarParam { name: name.to_owned(), kind, unit: text("unit")?, doc: text("doc")? })
}

fn kind(
    default: Value<'_>,
    min: Option<f64>,
    max: Option<f64>,
    choices: Option<Value<'_>>,
) -> Result<StarParamKind, String> {
    let ranged = min.is_some() || max.is_some();
    let (low, high) = (min.unwrap_or(-UNBOUNDED), max.unwrap_or(UNBOUNDED));
    let kind = if let Some(on) = default.unpack_bool() {
        StarParamKind::Switch { default: on }
    } else if let Some(word) = default.unpack_str() {
        let choices = match choices.map(ListRef::from_value) {
            None => Vec::new(),
            Some(Some(list)) => list.iter().filter_map(Value::unpack_str).map(str::to_owned).collect(),
            Some(None) => return Err("its `choices` are no list of words".to_owned()),
        };
        StarParamKind::Word { choices, default: word.to_owned() }
    } else if let Some(whole) = whole(default) {
        if whole.unsigned_abs() > UNBOUNDED as u64 {
            return Err(
                "its default is beyond 2^53: larger whole numbers are not exact in an application file".to_owned()
            );
        }
        StarParamKind::Whole { min: low as i64, max: high as i64, default: whole }
    } else if let Ok(Some(float)) = StarlarkFloat::unpack_value(default) {
        StarParamKind::Number { min: low, max: high, default: float.0 }
    } else {
        return Err(format!("its default is {}; a number, a text, True or False can be one", shown(default)));
    };
    let numeric = matches!(kind, StarParamKind::Number { .. } | StarParamKind::Whole { .. });
    if ranged && !numeric {
        return Err("it has `min` or `max` and is no number".to_owned());
    }
    if choices.is_some() && !matches!(kind, StarParamKind::Word { .. }) {
        return Err("it has `choices` and its default is no text".to_owned());
    }
    match kind.taken(&kind.default_value()) {
        Some(_) => Ok(kind),
        None => Err(format!("its default is not {}", kind.allowed())),
    }
}

/// The tick in seconds that a parameter `tick_s` asks for, if the file declares one.
pub(super) fn tick_s(values: &[(String, Data)]) -> Option<f64> {
    values.iter().find(|(name, _)| name == "tick_s").and_then(|(_, value)| match value {
        Data::Float(seconds) => Some(*seconds),
        Data::Int(seconds) => Some(*seconds as f64),
        _ => None,
    })
}
