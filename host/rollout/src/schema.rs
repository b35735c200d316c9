//! Whether one JSON Schema allows no more than another.
//!
//! The general question cannot be answered; this answers for what plugins use, and says "no" to all else.

use serde_json::{Map, Value};

/// Keywords that say nothing about what is allowed.
const ANNOTATIONS: &[&str] =
    &["$comment", "$schema", "$id", "title", "description", "examples", "default", "deprecated"];
/// Deepest nesting that is looked at.
const DEPTH_MAX: u32 = 32;

/// Whether everything that `new` allows was allowed by `old`. A "no" may also mean that it could not be shown.
///
/// Known: equality, `type`, `enum`, `const`, `required`, `properties`, `additionalProperties`, `items` and the bounds on
/// numbers, strings, arrays and objects. Any other keyword of `old` must stand in `new` as it is.
#[must_use]
pub fn is_narrower(new: &Value, old: &Value) -> bool {
    narrower(new, old, DEPTH_MAX)
}

fn narrower(new: &Value, old: &Value, depth: u32) -> bool {
    if depth == 0 {
        return false;
    }
    match (new, old) {
        (_, Value::Bool(true)) | (Value::Bool(false), _) => true,
        (Value::Object(_), Value::Bool(false)) => false,
        (Value::Bool(true), Value::Object(old)) => old.keys().all(|key| is_annotation(key)),
        // What refers elsewhere cannot be compared piece by piece.
        (Value::Object(new), Value::Object(old)) => {
            let refers = |schema: &Map<String, Value>| {
                schema.keys().any(|key| key.contains("ref") || key.contains("Ref"))
            };
            if refers(new) || refers(old) {
                return new == old;
            }
            old.iter().all(|(key, bound)| is_annotation(key) || keeps(new, old, key, bound, depth - 1))
        }
        _ => false,
    }
}

fn is_annotation(key: &str) -> bool {
    ANNOTATIONS.contains(&key)
}

/// Whether `new` keeps to `old`'s keyword `key`.
fn keeps(new: &Map<String, Value>, old: &Map<String, Value>, key: &str, bound: &Value, depth: u32) -> bool {
    let same = || new.get(key) == Some(bound);
    // An enumeration is as good as what each of its values shows; only the simple ones are looked at.
    match key {
        "type" => {
            let (Some(new), old) = (new.get("type").map(types), types(bound)) else { return false };
            new.iter().all(|kind| old.contains(kind) || (*kind == "integer" && old.contains(&"number")))
        }
        "enum" | "const" => {
            let allowed: Vec<&Value> = values(old, key);
            let possible = if new.contains_key("const") { values(new, "const") } else { values(new, "enum") };
            !possible.is_empty() && possible.iter().all(|value| allowed.contains(value))
        }
        "required" => {
            let needed = new.get("required").and_then(Value::as_array);
            bound.as_array().is_some_and(|names| {
                names.iter().all(|name| needed.is_some_and(|needed| needed.contains(name)))
            })
        }
        "properties" => properties_keep(new, bound, depth),
        "additionalProperties" => {
            // Every property that only `new` names was an additional one.
            let known = old.get("properties").and_then(Value::as_object);
            let own = new.get("properties").and_then(Value::as_object);
            let named = own
                .into_iter()
                .flatten()
                .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            let rest = new.get("additionalProperties").unwrap_or(&Value::Bool(true));
            !new.contains_key("patternProperties")
                && !old.contains_key("patternProperties")
                && named.map(|(_, schema)| schema).chain([rest]).all(|schema| narrower(schema, bound, depth))
        }
        "items" => {
            !new.contains_key("prefixItems")
                && !old.contains_key("prefixItems")
                && narrower(new.get("items").unwrap_or(&Value::Bool(true)), bound, depth)
        }
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => {
            same() || number(new.get(key)).zip(number(Some(bound))).is_some_and(|(new, old)| new >= old)
        }
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => {
            same() || number(new.get(key)).zip(number(Some(bound))).is_some_and(|(new, old)| new <= old)
        }
        _ => same(),
    }
}

/// Each property of `old` is as narrow in `new`; one that `new` does not name is what its additional ones are.
fn properties_keep(new: &Map<String, Value>, old: &Value, depth: u32) -> bool {
    let Some(old) = old.as_object() else { return false };
    let own = new.get("properties").and_then(Value::as_object);
    let rest = new.get("additionalProperties").unwrap_or(&Value::Bool(true));
    !new.contains_key("patternProperties")
        && old.iter().all(|(name, bound)| {
            let schema = own.and_then(|own| own.get(name)).unwrap_or(rest);
            narrower(schema, bound, depth)
        })
}

fn types(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn values<'a>(schema: &'a Map<String, Value>, key: &str) -> Vec<&'a Value> {
    match (key, schema.get(key)) {
        ("const", Some(value)) => vec![value],
        (_, Some(Value::Array(values))) => values.iter().collect(),
        _ => Vec::new(),
    }
}

/// Only numbers that a float holds exactly.
fn number(value: Option<&Value>) -> Option<f64> {
    value?.as_f64().filter(|number| number.abs() < 9e15)
}

#[cfg(test)]
mod tests {
    use super::is_narrower;
    use serde_json::json;

    /// Guarantees: the common changes of a plugin's parameters are told apart.
    #[test]
    fn usual_changes() {
        let old = json!({ "type": "object", "additionalProperties": false, "required": ["key"], "properties": {
            "key": { "type": "string", "description": "which" },
            "value": { "type": "number", "minimum": 0, "maximum": 10 },
        }});
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut new = old.clone();
            change(&mut new);
            new
        };
        let narrower = [
            with(&|_| {}),
            with(&|new| new["properties"]["key"]["description"] = json!("another")),
            with(&|new| new["properties"]["value"]["maximum"] = json!(5)),
            with(&|new| new["properties"]["value"]["type"] = json!("integer")),
            with(&|new| new["required"] = json!(["key", "value"])),
            with(&|new| drop(new["properties"].as_object_mut().unwrap().remove("value"))),
        ];
        for new in narrower {
            assert!(is_narrower(&new, &old), "{new}");
        }
        let wider = [
            with(&|new| new["properties"]["value"]["maximum"] = json!(11)),
            with(&|new| drop(new["properties"]["value"].as_object_mut().unwrap().remove("minimum"))),
            with(&|new| new["properties"]["more"] = json!({ "type": "string" })),
            with(&|new| new["additionalProperties"] = json!(true)),
            with(&|new| drop(new.as_object_mut().unwrap().remove("additionalProperties"))),
            with(&|new| new["required"] = json!([])),
            with(&|new| new["properties"]["key"]["type"] = json!(["string", "null"])),
            json!(true),
            json!({ "$ref": "#" }),
        ];
        for new in wider {
            assert!(!is_narrower(&new, &old), "{new}");
        }
    }
}
