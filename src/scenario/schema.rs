//! The JSON Schema of application files: made from the types, used by editors and by [`check`](super::check) alike.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::overlay;
use super::types::Application;

/// The schema of a whole file.
pub fn application() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Application).to_value();
        tidy(&mut schema);
        schema["title"] = json!("Thermocline application file");
        schema
    });
    &SCHEMA
}

/// The same for editors, which look at one file alone: what is missing may come from an included one, and whatever a policy in a file
/// of its own has for parameters is fine.
pub fn for_editors() -> Value {
    let mut schema = application().clone();
    require_nothing(&mut schema);
    for kind in ["ScalingChoice", "KeepAliveChoice"] {
        let Some(Value::Array(branches)) = schema["$defs"][kind].get_mut("anyOf") else { continue };
        let path = json!({ "type": "string", "pattern": "\\.star$", "description": "path of a policy in Starlark" });
        branches.push(path.clone());
        branches.push(json!({ "type": "object", "properties": { "type": path }, "required": ["type"] }));
    }
    schema
}

/// But the words that tell kinds of things apart.
fn require_nothing(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(require_nothing),
        Value::Object(object) => {
            if let Some(Value::Array(required)) = object.get_mut("required") {
                required.retain(|name| name == "type");
            }
            object.values_mut().for_each(require_nothing);
        }
        _ => {}
    }
}

/// The schema of a policy file, for editors: what an endpoint can be told, without what it is asked to do.
pub fn policy_file() -> Value {
    let mut schema = for_editors();
    let mut settings =
        json!({ "type": "object", "additionalProperties": false, "description": "settings of endpoints" });
    settings["properties"] = schema["$defs"]["Endpoint"]["properties"].clone();
    if let Value::Object(properties) = &mut settings["properties"] {
        properties.retain(|name, _| !overlay::WORLD.contains(&name.as_str()));
        // The file that it is laid over has its say, not a default.
        properties.values_mut().filter_map(Value::as_object_mut).for_each(|property| drop(property.remove("default")));
        let active = json!({ "type": "integer", "minimum": 0, "description": "short for workers: {active: ...}" });
        properties.insert("active".to_owned(), active);
    }
    let reference = json!({ "$ref": "#/$defs/PolicySettings" });
    let mut definitions = schema["$defs"].take();
    definitions["PolicySettings"] = settings;
    json!({
        "$schema": schema["$schema"],
        "title": "Thermocline policy file",
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "how it is called in tables; the file's name unless given" },
            "summary": { "type": "string", "description": "one line of what it does" },
            "endpoint": { "description": "what every endpoint gets", "anyOf": [reference] },
            "endpoints": {
                "type": "object", "additionalProperties": reference,
                "description": "what single endpoints get instead, by their names",
            },
        },
        "additionalProperties": false,
        "anyOf": [{ "required": ["endpoint"] }, { "required": ["endpoints"] }],
        "$defs": definitions,
    })
}

/// The definition that `$ref` names; `schema` itself if it names none.
pub fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut here = schema;
    while let Some(name) = here.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        match root.get("$defs").and_then(|defs| defs.get(name)) {
            Some(definition) => here = definition,
            None => return here,
        }
    }
    here
}

/// A keyword that stands beside the `$ref` or in what it names.
pub fn keyword<'a>(root: &'a Value, schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).or_else(|| resolve(root, schema).get(name))
}

/// Brings the generated schema in line with what is accepted: an absent key stands for "not given", `null` for nothing at all;
/// what has a default is not required; words that stand for a whole map are alternatives to it.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            one_line(object);
            drop_null(object);
            drop_required_with_default(object);
            add_words(object);
        }
        _ => {}
    }
}

/// Doc comments are wrapped for the source, descriptions are wrapped by whoever shows them.
fn one_line(object: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if object.get("x-settings").is_some() {
        object.retain(|key, _| key == "description" || key == "x-settings");
        object.insert("$ref".to_owned(), json!("#/$defs/Endpoint"));
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    let before = branches.len();
    branches.retain(|branch| branch.get("type") != Some(&json!("null")));
    if branches.len() < before && branches.len() == 1 {
        let only = branches.remove(0);
        object.remove("anyOf");
        if let Value::Object(only) = only {
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

fn drop_required_with_default(object: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = object.get("properties") else { return };
    let given: Vec<String> = properties
        .iter()
        .filter(|(_, property)| property.get("default").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|name| name.as_str().is_none_or(|name| !given.iter().any(|other| other == name)));
    }
}

fn add_words(object: &mut Map<String, Value>) {
    let Some(words) = object.remove("x-words") else { return };
    if let Some(reference) = object.remove("$ref") {
        let branches = json!([{ "$ref": reference }, { "type": "string", "enum": words }]);
        object.insert("anyOf".to_owned(), branches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An editor that marks what is right is switched off.
    #[test]
    fn every_file_that_comes_along_is_fine_with_an_editor() {
        use crate::scenario::node::Origin;
        use crate::scenario::parse::parse;

        for (folder, schema) in [("scenarios", for_editors()), ("policies", policy_file())] {
            let validator = jsonschema::validator_for(&schema).unwrap();
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            let mut seen = 0;
            for file in files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")) {
                let text = std::fs::read_to_string(&file).unwrap();
                let tree = parse(&text, "file", &|_, _| Origin::Rule(String::new())).unwrap();
                let wrong: Vec<String> = validator
                    .iter_errors(&tree.to_json())
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
                seen += 1;
            }
            assert!(seen > 10, "{folder}");
        }
    }

    #[test]
    fn editors_know_policies_in_files_and_what_a_policy_may_say() {
        let starlark = |schema: &Value| schema["$defs"]["ScalingChoice"].to_string().contains(".star$");
        assert!(
            starlark(&for_editors()) && !starlark(application()),
            "what is checked has the text of the file instead"
        );
        let policy = policy_file();
        let settings = policy["$defs"]["PolicySettings"]["properties"].as_object().unwrap();
        assert!(
            settings.contains_key("scaler") && settings.contains_key("active") && !settings.contains_key("traffic")
        );
        assert_eq!(policy["properties"]["endpoints"]["additionalProperties"]["$ref"], "#/$defs/PolicySettings");
    }

    #[test]
    fn every_field_is_described_and_no_default_is_required() {
        let root = application();
        let mut undocumented = Vec::new();
        let mut stack = vec![("".to_owned(), root)];
        while let Some((path, schema)) = stack.pop() {
            if let Some(object) = schema.as_object() {
                for (key, value) in object {
                    stack.push((format!("{path}/{key}"), value));
                }
            }
            if let Some(items) = schema.as_array() {
                stack.extend(items.iter().enumerate().map(|(index, item)| (format!("{path}/{index}"), item)));
            }
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if property.get("description").is_none() && name != "type" {
                    undocumented.push(format!("{path}/{name}"));
                }
                let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
                assert!(
                    property.get("default").is_none() || !required.into_iter().any(|key| key == name),
                    "{path}/{name}"
                );
            }
        }
        assert_eq!(undocumented, Vec::<String>::new());
    }

    /// A preset tells all that is needed, so an editor must not ask for more; what is missing without one is said by `lower`.
    #[test]
    fn no_setting_of_an_endpoint_is_required() {
        let required = application()["$defs"]["Endpoint"].get("required").and_then(Value::as_array);
        assert!(required.is_none_or(Vec::is_empty), "{required:?}");
    }

    #[test]
    fn nothing_may_be_null() {
        assert!(!application().to_string().contains("\"null\""));
    }
}
