//! Messages to people: the operator's template, with fields that cannot leave their string.

use salve_model::text::escape;
use std::collections::BTreeMap;

/// Longest text of one field.
const FIELD_CHARS_MAX: usize = 2_000;

/// A JSON text with `{field}` placeholders inside of its strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// # Errors
    /// Why the template is none, in one sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            let inside = from.get(1..).unwrap_or_default();
            let name_length =
                inside.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).unwrap_or(0);
            let (name, after) = inside.split_at(name_length);
            if let (false, Some(after)) = (name.is_empty(), after.strip_prefix('}')) {
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Field(name.to_owned()));
                rest = after;
            } else {
                literal.push('{');
                rest = inside;
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        let template = Self { parts };
        // Fields stand inside of strings only: then two different texts give JSON of one shape.
        let shapes = ["", "a 1 true"].map(|text| {
            let sample = template.fill(|_| text.to_owned());
            serde_json::from_str::<serde_json::Value>(&sample).map(|value| shape(&value))
        });
        match shapes {
            [Ok(one), Ok(two)] if one == two => Ok(template),
            [Err(error), _] | [_, Err(error)] => {
                Err(format!("`template` is no JSON once its fields are filled in: {error}"))
            }
            _ => Err(
                "`template` has a field outside of a string; write for instance `{\"text\": \"{summary}\"}`"
                    .into(),
            ),
        }
    }

    /// The message. Text from fields is on one line, without control characters, and escaped for JSON.
    pub(crate) fn render(&self, fields: &BTreeMap<String, String>) -> String {
        self.fill(|name| fields.get(name).map(|text| escape(text, FIELD_CHARS_MAX)).unwrap_or_default())
    }

    fn fill(&self, field: impl Fn(&str) -> String) -> String {
        let mut message = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => message.push_str(text),
                Part::Field(name) => {
                    let quoted = serde_json::Value::String(field(name)).to_string();
                    message.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
                }
            }
        }
        message
    }
}

/// The value with all strings emptied.
fn shape(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(_) => Value::String(String::new()),
        Value::Array(values) => Value::Array(values.iter().map(shape).collect()),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), shape(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guarantees: a template that is no JSON, or lets a field stand outside of a string, is refused when it is read.
    #[test]
    fn templates_are_json() {
        assert!(Template::parse(r#"{"text": "{summary} on {target}", "n": 1, "more": {"a": []}}"#).is_ok());
        for bad in [r#"{"text": {summary}}"#, r#"{"text": "x"#, "", r#"{"{field}": 1}"#, r#"{"a": 1{x}}"#] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Guarantees: whatever a field holds, the message is the operator's JSON with that text in that place, on one
        /// line.
        #[test]
        fn fields_stay_in_their_string(text in any::<String>()) {
            let template = Template::parse(r#"{"text": "<{summary}>", "kind": "salve"}"#).unwrap();
            let message = template.render(&BTreeMap::from([("summary".to_owned(), text.clone())]));
            let value: serde_json::Value = serde_json::from_str(&message).unwrap();
            prop_assert_eq!(value.as_object().unwrap().len(), 2);
            prop_assert_eq!(value["text"].as_str().unwrap(), format!("<{}>", escape(&text, FIELD_CHARS_MAX)));
            prop_assert!(!message.contains('\n'));
        }
    }
}
