//! Cases as files have them, with what is repeated written out.

use salve_plugins::GuestLogLevel;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Ordered pairs.
pub(crate) type Pairs = Vec<(String, String)>;

/// A line that the plugin logs.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: Pairs,
}

/// The cases of a role, by file and in their order, as `language` can tell numbers apart.
pub(crate) fn of_role<T: DeserializeOwned>(role: &str, language: &str) -> Vec<T> {
    let folder = salve_tests::root().join("sdk/conformance/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with(&format!("{role}-")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for case in value.as_array().unwrap() {
            let case = expand(case, 0);
            let case = if language == "js" { rounded(case) } else { case };
            let title = case["name"].clone();
            cases.push(
                serde_json::from_value(case).unwrap_or_else(|error| panic!("{name}, {title}: {error}")),
            );
        }
    }
    assert!(!cases.is_empty(), "no cases for {role} in `{}`", folder.display());
    cases
}

/// Integers of 64 bits as the nearest double: JavaScript's engine gives no others to a plugin, and takes no others.
fn rounded(value: Value) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "on purpose"
    )]
    let nearest = |exact: u64| exact as f64 as u64;
    match value {
        Value::Number(number) => number.as_u64().map_or(Value::Number(number), |exact| json!(nearest(exact))),
        Value::String(text) => match text.parse::<u64>() {
            Ok(exact) if exact.to_string() == text => Value::String(nearest(exact).to_string()),
            _ => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| match value.as_u64() {
                // Of these the host makes nanoseconds, of which a double has every 256th: those of every fourth millisecond.
                Some(milliseconds) if name.ends_with("_ms") && milliseconds > 1 << 40 => {
                    (name, json!(milliseconds & !3))
                }
                _ => (name, rounded(value)),
            };
            fields.into_iter().map(field).collect()
        }
        other => other,
    }
}

/// Writes out `{"$repeat": N, "of": ITEM}` within a list (with `{i}` in texts and `{"$i": BASE}` for BASE and the item's
/// number), and `{"$long": N, "of": TEXT}`.
fn expand(value: &Value, number: u64) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("{i}", &number.to_string())),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.get("$repeat") {
                    Some(times) => {
                        all.extend((0..times.as_u64().unwrap()).map(|number| expand(&item["of"], number)));
                    }
                    None => all.push(expand(item, number)),
                }
            }
            Value::Array(all)
        }
        Value::Object(fields) => {
            if let Some(base) = fields.get("$i") {
                return match base.as_u64() {
                    Some(base) => json!(base + number),
                    None => json!(base.as_f64().unwrap() + f64::from(u32::try_from(number).unwrap())),
                };
            }
            if let Some(times) = fields.get("$long") {
                let times = usize::try_from(times.as_u64().unwrap()).unwrap();
                return Value::String(fields["of"].as_str().unwrap().repeat(times));
            }
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), expand(value, number))).collect())
        }
        other => other.clone(),
    }
}

/// Checks that the lines were logged, in order, and takes them.
pub(crate) fn check_lines(case: &str, lines: &crate::plugin::Lines, expected: &[Line]) {
    let logged = std::mem::take(&mut *lines.0.lock().unwrap());
    let escape = |text: &str| salve_model::text::escape(text, 2_000);
    let expected: Vec<_> = expected
        .iter()
        .map(|line| {
            let level = match line.level.as_str() {
                "debug" => GuestLogLevel::Debug,
                "info" => GuestLogLevel::Info,
                "warn" => GuestLogLevel::Warn,
                _ => GuestLogLevel::Error,
            };
            let fields: Pairs =
                line.fields.iter().map(|(name, value)| (escape(name), escape(value))).collect();
            (level, escape(&line.message), fields)
        })
        .collect();
    let logged: Vec<_> = logged.into_iter().map(|line| (line.level, line.message, line.fields)).collect();
    assert_eq!(logged, expected, "{case}: log");
}
