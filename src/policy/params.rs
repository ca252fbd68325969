//! Typed parameters of policies: name, unit, range, default, meaning; checked once, when the policy is built.

use std::collections::BTreeMap;

use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::schedule;

/// A parameter as typed by a user.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// A switch.
    Bool(bool),
    /// A number.
    Number(f64),
    /// One of a few words.
    Text(String),
}

/// By hand, because a derived `untagged` cannot read a number with decimals where `serde_json` keeps its digits (its feature
/// `arbitrary_precision`, which a dependency asks for): such a number arrives as a map of one entry, its text.
impl<'de> Deserialize<'de> for ParamValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ParamValue, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = ParamValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("true, false, a number or a text")
    }

    fn visit_bool<E>(self, value: bool) -> Result<ParamValue, E> {
        Ok(ParamValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ParamValue, E> {
        Ok(ParamValue::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ParamValue, E> {
        Ok(ParamValue::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ParamValue, E> {
        Ok(ParamValue::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<ParamValue, E> {
        Ok(ParamValue::Text(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParamValue, A::Error> {
        let entry: Option<(String, String)> = map.next_entry()?;
        let number = entry.and_then(|(_, digits)| digits.parse().ok());
        number.map(ParamValue::Number).ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))
    }
}

/// A policy by name, with the parameters that differ from its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyChoice {
    /// Name in the registry.
    pub name: String,
    /// Parameters given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamValue>,
    /// The text of the policy, where `name` is that of a file (`mine.star`) and not in the registry: it goes with every plan and
    /// state that names it, so that a file that changes later changes no run of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl PolicyChoice {
    /// The policy with all its defaults.
    pub fn named(name: &str) -> PolicyChoice {
        PolicyChoice { name: name.to_owned(), params: BTreeMap::new(), source: None }
    }

    /// The same with one number set.
    pub fn with(mut self, param: &str, value: f64) -> PolicyChoice {
        self.params.insert(param.to_owned(), ParamValue::Number(value));
        self
    }

    /// The same with one word set.
    pub fn with_text(mut self, param: &str, value: &str) -> PolicyChoice {
        self.params.insert(param.to_owned(), ParamValue::Text(value.to_owned()));
        self
    }
}

/// The description of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamSpec {
    /// Name, with the unit at the end where it has one.
    pub name: &'static str,
    /// Kind, range and default.
    pub kind: ParamKind,
    /// What it does, and where the default comes from.
    pub doc: &'static str,
}

/// Kind, range and default of a parameter.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    /// A number within the closed range.
    Number { min: f64, max: f64, default: f64 },
    /// A whole number within the closed range.
    Whole { min: u32, max: u32, default: u32 },
    /// One of these words.
    Word { choices: &'static [&'static str], default: &'static str },
    /// A switch.
    Switch { default: bool },
    /// Minimums by hour and day, as [`schedule`] reads them.
    Hours { default: &'static str },
}

/// What is wrong with a policy's name or parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No policy of that name.
    #[error("no {kind} policy is named `{name}`{}", suggestion(.known, .name))]
    UnknownPolicy {
        /// Scaling, keep-alive ...
        kind: &'static str,
        /// As typed.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The policy has no such parameter.
    #[error("policy `{policy}` has no parameter `{param}`{}", suggestion(.known, .param))]
    UnknownParam {
        /// Whose.
        policy: String,
        /// As typed.
        param: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The value is of the wrong kind or out of range.
    #[error("parameter `{param}` of policy `{policy}` is {found}, must be {allowed}")]
    BadValue {
        /// Whose.
        policy: String,
        /// Which.
        param: String,
        /// As typed.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A policy's file is wrong.
    #[error(transparent)]
    Script(#[from] super::starlark::StarlarkError),
}

/// The one of `known` that `typed` may stand for: at most every third letter wrong, and at most three.
pub fn near<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = typed.chars().count().div_ceil(3).min(3);
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(name, typed), name));
    distances.min().filter(|(distance, _)| *distance <= most).map(|(_, name)| name)
}

fn suggestion(known: &[&'static str], typed: &str) -> String {
    match near(typed, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => "; it takes none".to_owned(),
        None => format!("; there is: {}", known.join(", ")),
    }
}

/// Checked parameters: every one that the policy has, given or default.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    values: BTreeMap<&'static str, ParamValue>,
}

impl Params {
    /// Checks `choice` against `specs`.
    pub fn check(choice: &PolicyChoice, specs: &'static [ParamSpec]) -> Result<Params, ParamError> {
        if let Some(param) = choice.params.keys().find(|name| specs.iter().all(|spec| spec.name != name.as_str())) {
            return Err(ParamError::UnknownParam {
                policy: choice.name.clone(),
                param: param.clone(),
                known: specs.iter().map(|spec| spec.name).collect(),
            });
        }
        let mut values = BTreeMap::new();
        for spec in specs {
            let value = match choice.params.get(spec.name) {
                None => spec.kind.default_value(),
                Some(given) if spec.kind.accepts(given) => given.clone(),
                Some(given) => {
                    return Err(ParamError::BadValue {
                        policy: choice.name.clone(),
                        param: spec.name.to_owned(),
                        found: match given {
                            ParamValue::Bool(value) => value.to_string(),
                            ParamValue::Number(value) => value.to_string(),
                            ParamValue::Text(value) => spec.kind.complaint(value).unwrap_or(format!("`{value}`")),
                        },
                        allowed: spec.kind.allowed(),
                    });
                }
            };
            values.insert(spec.name, value);
        }
        Ok(Params { values })
    }

    /// The number of this name. Panics if the policy does not declare it: a mistake in the policy's own code.
    pub fn number(&self, name: &str) -> f64 {
        match self.values.get(name) {
            Some(ParamValue::Number(value)) => *value,
            other => unreachable!("parameter {name} is declared as {other:?}, read as a number"),
        }
    }

    /// The whole number of this name.
    pub fn whole(&self, name: &str) -> u32 {
        self.number(name) as u32
    }

    /// The word of this name.
    pub fn word(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(ParamValue::Text(value)) => value,
            other => unreachable!("parameter {name} is declared as {other:?}, read as a word"),
        }
    }

    /// The switch of this name.
    pub fn switch(&self, name: &str) -> bool {
        match self.values.get(name) {
            Some(ParamValue::Bool(value)) => *value,
            other => unreachable!("parameter {name} is declared as {other:?}, read as a switch"),
        }
    }

    /// Every parameter with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &ParamValue)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }
}

impl ParamKind {
    /// The default.
    pub fn default_value(&self) -> ParamValue {
        match *self {
            ParamKind::Number { default, .. } => ParamValue::Number(default),
            ParamKind::Whole { default, .. } => ParamValue::Number(f64::from(default)),
            ParamKind::Word { default, .. } => ParamValue::Text(default.to_owned()),
            ParamKind::Switch { default } => ParamValue::Bool(default),
            ParamKind::Hours { default } => ParamValue::Text(default.to_owned()),
        }
    }

    /// The range, in words.
    pub fn allowed(&self) -> String {
        match *self {
            ParamKind::Number { min, max, .. } => format!("a number from {min} to {max}"),
            ParamKind::Whole { min, max, .. } => format!("a whole number from {min} to {max}"),
            ParamKind::Word { choices, .. } => format!("one of {}", choices.join(", ")),
            ParamKind::Switch { .. } => "true or false".to_owned(),
            ParamKind::Hours { .. } => "lines such as `mon-fri 8-18 = 3; sat,sun 10:30-16 = 1`".to_owned(),
        }
    }

    /// What exactly is wrong with a text that has a grammar.
    fn complaint(&self, text: &str) -> Option<String> {
        match self {
            ParamKind::Hours { .. } => schedule::check(text).err(),
            _ => None,
        }
    }

    fn accepts(&self, value: &ParamValue) -> bool {
        match (self, value) {
            (ParamKind::Number { min, max, .. }, ParamValue::Number(x)) => (*min..=*max).contains(x),
            (ParamKind::Whole { min, max, .. }, ParamValue::Number(x)) => {
                x.fract() == 0.0 && (f64::from(*min)..=f64::from(*max)).contains(x)
            }
            (ParamKind::Word { choices, .. }, ParamValue::Text(word)) => choices.contains(&word.as_str()),
            (ParamKind::Switch { .. }, ParamValue::Bool(_)) => true,
            (ParamKind::Hours { .. }, ParamValue::Text(text)) => schedule::check(text).is_ok(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_are_read_as_they_were_written() {
        let choice =
            PolicyChoice::named("queue_delay").with("delay_s", 2.5).with("tick_s", 1.0).with_text("step", "one");
        let text = serde_json::to_string(&choice).expect("it is plain data");
        assert_eq!(serde_json::from_str::<PolicyChoice>(&text).expect("its own text"), choice);
        let tree: serde_json::Value = serde_json::from_str(&text).expect("its own text");
        assert_eq!(serde_json::from_value::<PolicyChoice>(tree).expect("its own tree"), choice);
        assert!(serde_json::from_str::<ParamValue>(r#"{"a": "b"}"#).is_err());
        assert!(serde_json::from_str::<ParamValue>("[1]").is_err());
    }
}
