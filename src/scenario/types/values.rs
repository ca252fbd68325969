//! The building blocks of the format: distributions, policies by name, maps with names, one or many.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::numbers::{Positive, PositiveQuantity, Quantity, Share, Sigma};
use crate::policy::params::{ParamKind, ParamSpec};
use crate::policy::{ParamValue, PolicyChoice, registry, wrap};

/// A number (always that) or a distribution with a `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// Always this.
    Constant(f64),
    /// Drawn.
    Drawn(Box<Drawn>),
}

/// A distribution. The unit is that of the field which holds it: seconds in fields that end in `_s`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Drawn {
    /// Always `value`.
    Constant {
        /// The value.
        value: Quantity,
    },
    /// Evenly between `min` and `max`.
    Uniform {
        /// Smallest value.
        min: Quantity,
        /// Largest value.
        max: Quantity,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: Quantity,
    },
    /// Gamma; Erlang-k is cv = 1/sqrt(k).
    Gamma {
        /// Mean.
        mean: PositiveQuantity,
        /// Coefficient of variation.
        cv: Positive,
    },
    /// Weibull.
    Weibull {
        /// Mean.
        mean: PositiveQuantity,
        /// Coefficient of variation.
        cv: Positive,
    },
    /// Lognormal by its median and the standard deviation of its logarithm.
    Lognormal {
        /// Median.
        median: PositiveQuantity,
        /// Standard deviation of the logarithm.
        sigma: Sigma,
    },
    /// Lognormal by mean and coefficient of variation.
    LognormalMean {
        /// Mean.
        mean: PositiveQuantity,
        /// Coefficient of variation.
        cv: Positive,
    },
    /// Lognormal by two of its percentiles.
    LognormalP95 {
        /// Median.
        p50: PositiveQuantity,
        /// 95th percentile.
        p95: PositiveQuantity,
    },
    /// Two exponentials with balanced means.
    Hyperexponential {
        /// Mean.
        mean: PositiveQuantity,
        /// Squared coefficient of variation, at least 1.
        scv: Positive,
    },
    /// Pareto.
    Pareto {
        /// Smallest value.
        min: PositiveQuantity,
        /// Tail index; the mean is infinite up to 1.
        alpha: Positive,
    },
    /// Number of trials up to the first success.
    Geometric {
        /// Mean, at least 1.
        mean: PositiveQuantity,
    },
    /// One of the values, equally likely.
    Empirical {
        /// The values.
        #[schemars(length(min = 1, max = 10_000))]
        values: Vec<Quantity>,
    },
    /// One of several distributions, by weight.
    Mixture {
        /// The parts; weights need not sum to 1.
        #[schemars(length(min = 1, max = 100))]
        parts: Vec<Part>,
    },
}

/// One part of a mixture.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Relative weight.
    pub weight: Positive,
    /// What is drawn if this part is chosen.
    pub of: Amount,
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => match number.as_f64() {
                Some(number) if number >= 0.0 => Ok(Amount::Constant(number)),
                _ => Err(serde::de::Error::custom("number out of range")),
            },
            drawn => serde_json::from_value(drawn)
                .map(|drawn| Amount::Drawn(Box::new(drawn)))
                .map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let drawn = generator.subschema_for::<Drawn>();
        json_schema!({
            "description": "A number (always that), a duration such as `5m` where the field is a time, or a distribution.",
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 1e12 },
                { "type": "string", "pattern": super::numbers::DURATION_PATTERN },
                drawn,
            ],
            "x-duration": true
        })
    }
}

/// One thing, or a list of things.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        Vec::deserialize(deserializer).map(OneOrMany)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item, { "type": "array", "items": item }], "x-one-or-many": true })
    }
}

/// Things by name, in the order of the file: a map from name to thing, or a list of things with a `name` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Named<T> {
    /// Position of `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == name)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Named(entries))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named<T>, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({
            "anyOf": [
                { "type": "object", "additionalProperties": item },
                { "type": "array", "items": item, "description": "The same as a list, each with a `name`." },
            ],
            "x-named": true
        })
    }
}

/// A policy of the catalogue: its name alone, or a map with `type` and parameters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Policy {
    /// Name in the catalogue.
    #[serde(rename = "type")]
    pub name: String,
    /// The text of a policy in a file of its own.
    #[serde(default)]
    pub source: Option<String>,
    /// Parameters.
    #[serde(flatten)]
    pub params: BTreeMap<String, ParamValue>,
}

impl Policy {
    /// As the scheduler knows it.
    pub fn choice(&self) -> PolicyChoice {
        PolicyChoice { name: self.name.clone(), params: self.params.clone(), source: self.source.clone() }
    }
}

macro_rules! policy_kind {
    ($(#[$doc:meta])* $name:ident, $list:ident, $common:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Policy);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let entries = registry::$list.iter();
                let entries = entries.map(|entry| (entry.name, entry.summary, entry.source, entry.params));
                policy_schema(entries.collect(), $common)
            }
        }
    };
}

policy_kind!(
    /// A scaling policy.
    ScalingChoice, SCALING, wrap::PARAMS
);
policy_kind!(
    /// A keep-alive policy.
    KeepAliveChoice, KEEP_ALIVE, &[]
);
policy_kind!(
    /// A dispatch policy.
    DispatchChoice, DISPATCH, &[]
);
policy_kind!(
    /// A placement policy.
    PlacementChoice, PLACEMENT, &[]
);
policy_kind!(
    /// An eviction policy.
    EvictionChoice, EVICTION, &[]
);

type PolicyEntry = (&'static str, &'static str, &'static str, &'static [ParamSpec]);

/// One branch per policy, so that editors complete the parameters and the checks know their ranges and defaults. The keys that all
/// policies of a kind have in `common` do nothing unless given, so they are not filled in.
fn policy_schema(entries: Vec<PolicyEntry>, common: &'static [ParamSpec]) -> Schema {
    let names: Vec<&str> = entries.iter().map(|(name, ..)| *name).collect();
    let mut branches = vec![json!({ "type": "string", "enum": names })];
    for (name, summary, source, params) in entries {
        let mut properties = serde_json::Map::new();
        properties.insert("type".to_owned(), json!({ "type": "string", "const": name }));
        for param in params {
            properties.insert(param.name.to_owned(), param_schema(param, source));
        }
        for param in common {
            let mut schema = param_schema(param, "`thermocline policy show`, common keys");
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("default");
            }
            properties.insert(param.name.to_owned(), schema);
        }
        branches.push(json!({
            "type": "object", "description": summary, "properties": properties, "required": ["type"],
            "additionalProperties": false,
        }));
    }
    json_schema!({ "anyOf": branches, "x-shorthand": "type", "x-listed": "`thermocline policy list`" })
}

fn param_schema(param: &ParamSpec, source: &str) -> Value {
    let mut schema = match param.kind {
        ParamKind::Number { min, max, default } => {
            let number = json!({ "type": "number", "minimum": min, "maximum": max });
            if param.name.ends_with("_s") {
                let duration = json!({ "type": "string", "pattern": super::numbers::DURATION_PATTERN });
                let mut number = number;
                number["x-unit"] = json!("seconds");
                json!({ "anyOf": [number, duration], "x-duration": true, "default": default })
            } else {
                let mut number = number;
                number["default"] = json!(default);
                number
            }
        }
        ParamKind::Whole { min, max, default } => {
            json!({ "type": "integer", "minimum": min, "maximum": max, "default": default })
        }
        ParamKind::Word { choices, default } => json!({ "type": "string", "enum": choices, "default": default }),
        ParamKind::Switch { default } => json!({ "type": "boolean", "default": default }),
        ParamKind::Hours { default } => json!({ "type": "string", "x-hours": true, "default": default }),
    };
    schema["description"] = json!(param.doc);
    schema["x-source"] = json!(source);
    schema
}

/// A share of jobs, with the meaning of its field.
pub type Probability = Share;
