//! What a test case expects, compared with what came out.
//!
//! Only what the expectation states is compared:
//!
//! | expected | fits |
//! |---|---|
//! | an object | an object in which each of these keys fits; others may be there |
//! | a list | a list of the same length whose entries fit, one by one |
//! | text | the same text; `*` stands for any text |
//! | a number | the same number, but for rounding |
//! | `{"$length": 2}` | a list of two |
//! | `{"$contains": [x, y]}` | a list in which some entry fits x, and some y |
//! | `{"$min": 0.5, "$max": 1}` | a number within these bounds |

use salve_model::{pattern, text::escape};
use serde_json::{Map, Value};

/// Most differences that are told.
const DIFFERENCES_MAX: usize = 10;
/// Longest value in a difference, in characters.
const VALUE_CHARS_MAX: usize = 120;
/// Two numbers are the same if they differ by no more than this share: printing and reading rounds.
const ROUNDING: f64 = 1e-9;

/// Where `actual` is not what is expected: one line each, with the place.
#[must_use]
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(expected, actual, "", &mut found);
    found
}

fn compare(expected: &Value, actual: &Value, place: &str, found: &mut Vec<String>) {
    if found.len() >= DIFFERENCES_MAX {
        return;
    }
    let shown = |value: &Value| escape(&value.to_string(), VALUE_CHARS_MAX);
    let here = if place.is_empty() { "the result" } else { place };
    let mut differ = |what: &str| found.push(format!("{here} is {}, expected {what}", shown(actual)));
    match (expected, actual) {
        (Value::Object(rules), _) if is_rule(rules) => {
            for (rule, wanted) in rules {
                apply(rule, wanted, actual, here, found);
            }
        }
        (Value::Object(wanted), Value::Object(there)) => {
            for (key, wanted) in wanted {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                match there.get(key) {
                    Some(value) => compare(wanted, value, &place, found),
                    // Not there is as good as null.
                    None if wanted.is_null() => {}
                    None => found.push(format!("{place} is missing, expected {}", shown(wanted))),
                }
            }
        }
        (Value::Array(wanted), Value::Array(there)) => {
            if wanted.len() != there.len() {
                differ(&format!("{} entries instead of {}: {}", wanted.len(), there.len(), shown(expected)));
                return;
            }
            for (index, (wanted, there)) in wanted.iter().zip(there).enumerate() {
                compare(wanted, there, &format!("{place}[{index}]"), found);
            }
        }
        (Value::String(wanted), Value::String(there)) if pattern::matches(wanted, there) => {}
        (Value::Number(wanted), Value::Number(there)) if wanted == there => {}
        (Value::Number(wanted), Value::Number(there)) => {
            let (wanted, there) = (wanted.as_f64().unwrap_or(f64::NAN), there.as_f64().unwrap_or(f64::NAN));
            let rounding = ROUNDING * wanted.abs().max(there.abs());
            // Numbers of JSON are never NaN.
            if (wanted - there).abs() > rounding {
                differ(&shown(expected));
            }
        }
        _ if expected == actual => {}
        _ => differ(&shown(expected)),
    }
}

/// An object of rules: all its keys begin with `$`.
fn is_rule(object: &Map<String, Value>) -> bool {
    !object.is_empty() && object.keys().all(|key| key.starts_with('$'))
}

fn apply(rule: &str, wanted: &Value, actual: &Value, here: &str, found: &mut Vec<String>) {
    let shown = |value: &Value| escape(&value.to_string(), VALUE_CHARS_MAX);
    let list = actual.as_array();
    let fits = match (rule, wanted) {
        ("$length", length) => list.map(|list| list.len() as u64) == length.as_u64(),
        ("$min", least) => actual.as_f64().zip(least.as_f64()).is_some_and(|(value, least)| value >= least),
        ("$max", most) => actual.as_f64().zip(most.as_f64()).is_some_and(|(value, most)| value <= most),
        ("$contains", Value::Array(wanted)) => {
            for wanted in wanted {
                let some =
                    list.is_some_and(|list| list.iter().any(|entry| differences(wanted, entry).is_empty()));
                if !some {
                    found.push(format!("{here} has no entry like {}", shown(wanted)));
                }
            }
            return;
        }
        _ => {
            found.push(format!(
                "{here}: there is no rule `{}`; there are $length, $contains (a list), $min, $max",
                escape(rule, 40)
            ));
            return;
        }
    };
    if !fits {
        found.push(format!("{here} is {}, expected {rule} {}", shown(actual), shown(wanted)));
    }
}

/// The expectation, changed where it does not fit and as it was elsewhere. Without one, everything is expected.
#[must_use]
pub fn updated(expected: Option<&Value>, actual: &Value) -> Value {
    match (expected, actual) {
        (Some(expected), _) if differences(expected, actual).is_empty() => expected.clone(),
        (Some(Value::Object(wanted)), Value::Object(there)) if !is_rule(wanted) => {
            let keys = wanted
                .iter()
                .filter_map(|(key, wanted)| Some((key.clone(), updated(Some(wanted), there.get(key)?))));
            Value::Object(keys.collect())
        }
        (Some(Value::Array(wanted)), Value::Array(there)) if wanted.len() == there.len() => {
            wanted.iter().zip(there).map(|(wanted, there)| updated(Some(wanted), there)).collect()
        }
        _ => actual.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Guarantees: what is stated must fit, what is not stated may be anything; each difference names its place.
    #[test]
    fn only_what_is_stated_counts() {
        let actual = json!({
            "outcome": "planned",
            "summary": "Set pool.size back to 16",
            "steps": [{ "verb": "set", "arguments": { "key": "pool.size" } }],
            "score": 0.1 + 0.2,
        });
        let wanted = [
            (json!({}), ""),
            (json!({ "outcome": "planned", "score": 0.3, "gone": null }), ""),
            (json!({ "summary": "Set * back to *", "steps": [{ "verb": "set" }] }), ""),
            (json!({ "steps": { "$length": 1, "$contains": [{ "verb": "s*" }] } }), ""),
            (json!({ "score": { "$min": 0.3, "$max": 1 } }), ""),
            (json!({ "outcome": "failed" }), r#"outcome is "planned", expected "failed""#),
            (
                json!({ "steps": [{ "arguments": { "key": "x" } }] }),
                r#"steps[0].arguments.key is "pool.size", expected "x""#,
            ),
            (json!({ "note": "x" }), r#"note is missing, expected "x""#),
            (
                json!({ "steps": { "$contains": [{ "verb": "get" }] } }),
                r#"steps has no entry like {"verb":"get"}"#,
            ),
            (json!({ "steps": { "$size": 1 } }), "steps: there is no rule `$size`"),
            (json!({ "score": { "$min": 0.5 } }), "score is 0.30000000000000004, expected $min 0.5"),
            (json!({ "score": "0.3" }), "score is 0.30000000000000004, expected \"0.3\""),
            (json!({ "steps": [] }), "steps is [{"),
        ];
        for (expected, begins) in wanted {
            let found = differences(&expected, &actual).join("\n");
            assert!(
                if begins.is_empty() { found.is_empty() } else { found.starts_with(begins) },
                "{expected}: {found}"
            );
        }
    }

    /// Guarantees: an update touches what does not fit and nothing else, and fits afterwards.
    #[test]
    fn updates_are_small() {
        let actual =
            json!({ "outcome": "planned", "summary": "Set a to 2", "steps": [{ "verb": "set" }], "more": 1 });
        let expected = json!({ "outcome": "failed", "summary": "Set * to *", "steps": [], "gone": 5 });
        let new = updated(Some(&expected), &actual);
        assert_eq!(
            new,
            json!({ "outcome": "planned", "summary": "Set * to *", "steps": [{ "verb": "set" }] })
        );
        assert!(differences(&new, &actual).is_empty());
        assert_eq!(updated(None, &actual), actual);
    }
}
