//! What a schema allows, in the words of a message.

use serde_json::Value as Json;

use super::schema::{keyword, resolve};

/// What a schema allows, in words.
pub fn describe(root: &Json, schema: &Json) -> String {
    if keyword(root, schema, "x-settings").is_some() {
        return "a map of an endpoint's settings".to_owned();
    }
    if let Some(listed) = listed(root, schema) {
        return format!("one of {listed}");
    }
    let mut parts: Vec<String> = Vec::new();
    let duration = keyword(root, schema, "x-duration").is_some();
    let mut kinds: Vec<&str> = Vec::new();
    for branch in branches(root, schema) {
        if let Some(kind) = branch.get("properties").and_then(tag) {
            kinds.push(kind);
            continue;
        }
        if let Some(word) = branch.get("const").and_then(Json::as_str) {
            parts.push(word.to_owned());
            continue;
        }
        let part = match branch.get("type").and_then(Json::as_str) {
            Some("string") if duration => "a duration such as `5m`".to_owned(),
            Some("string") => match branch.get("enum").and_then(Json::as_array) {
                Some(words) => words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", "),
                None => "a text".to_owned(),
            },
            Some("boolean") => "true or false".to_owned(),
            Some("array") => "a list".to_owned(),
            Some("object") => "a map".to_owned(),
            Some(kind @ ("number" | "integer")) => describe_number(branch, kind),
            _ => "anything".to_owned(),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let shorthand = keyword(root, schema, "x-shorthand").is_some();
    if !kinds.is_empty() && !shorthand {
        parts.push(format!("a map with `type: {}`", kinds.join("|")));
    }
    parts.join(" or ")
}

fn describe_number(schema: &Json, kind: &str) -> String {
    let noun = if kind == "integer" { "a whole number" } else { "a number" };
    let unit = schema.get("x-unit").and_then(Json::as_str).map_or_else(String::new, |unit| match unit {
        "per second" | "USD per second" | "GB/s" | "GB" => format!(" ({unit})"),
        unit => format!(" of {unit}"),
    });
    let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
    // Bounds that only keep numbers sane are not worth a reader's time.
    let max = limit("maximum").filter(|max| *max < 1e9);
    let range = match (limit("minimum"), limit("exclusiveMinimum"), max) {
        (Some(min), _, Some(max)) => format!(" from {min} to {max}"),
        (Some(min), _, None) => format!(", {min} or more"),
        (None, Some(min), Some(max)) => format!(" above {min}, up to {max}"),
        (None, Some(min), None) => format!(" above {min}"),
        (None, None, Some(max)) => format!(" up to {max}"),
        (None, None, None) => String::new(),
    };
    format!("{noun}{unit}{range}")
}

/// Where the alternatives are listed, when they are too many for a message.
pub fn listed<'a>(root: &'a Json, schema: &'a Json) -> Option<&'a str> {
    keyword(root, schema, "x-listed").and_then(Json::as_str)
}

/// The alternatives of a schema, those inside alternatives included; the schema itself if it has none.
pub fn branches<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a Json> {
    let target = resolve(root, schema);
    let inner = schema.get("anyOf").or_else(|| target.get("anyOf")).or_else(|| target.get("oneOf"));
    match inner.and_then(Json::as_array) {
        Some(alternatives) => alternatives.iter().flat_map(|alternative| branches(root, alternative)).collect(),
        None => vec![target],
    }
}

/// The `type` that a map of this kind has.
pub fn tag(properties: &Json) -> Option<&str> {
    properties.get("type")?.get("const")?.as_str()
}
