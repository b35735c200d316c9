//! The JSON Schema of a plugin's parameters, and the check of parameters against it.
//!
//! What always holds: a schema is a stranger's text. It refers to nothing outside itself, so that nothing is read and nothing recurses
//! without end, and its patterns are few and small, in time and in memory.

use crate::manifest::{ManifestError, wrong};
use boon::{Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

/// Patterns of one schema.
const PATTERNS_MAX: usize = 64;
/// A pattern's compiled size.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// What the schema calls itself; nothing is loaded from there.
const PLACE: &str = "salve:parameters";

/// A schema that parameters can be checked against.
pub(crate) struct ParameterSchema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl ParameterSchema {
    /// The schema that `schema` states.
    ///
    /// # Errors
    /// [`ManifestError::Value`] if it is none, refers to another one, or has too many or too large patterns.
    pub(crate) fn new(schema: &Value) -> Result<Self, ManifestError> {
        if !schema.is_object() {
            return Err(wrong("parameters", &schema.to_string(), "use a JSON Schema of an object"));
        }
        check_keywords(schema, &mut 0)?;
        let invalid = |error: boon::CompileError| {
            let reason = match &error {
                boon::CompileError::ValidationError { src, .. } => {
                    let (place, reason) = first_cause(src);
                    // A pattern's fault comes on lines of its own.
                    format!("{place} {}", reason.split_whitespace().collect::<Vec<_>>().join(" "))
                }
                other => other.to_string(),
            };
            wrong("parameters", &reason, "use a valid JSON Schema")
        };
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(NoLoader));
        compiler.add_resource(PLACE, schema.clone()).map_err(invalid)?;
        let mut schemas = Schemas::new();
        let index = compiler.compile(PLACE, &mut schemas).map_err(invalid)?;
        Ok(Self { schemas, index })
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// The first place that does not fit, and why. Not escaped.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| match first_cause(&error) {
            (place, reason) if place.is_empty() => format!("the whole: {reason}"),
            (place, reason) => format!("`{place}`: {reason}"),
        })
    }
}

/// The place and the reason of the first cause.
fn first_cause(error: &ValidationError<'_, '_>) -> (String, String) {
    let mut first = error;
    while let Some(cause) = first.causes.first() {
        first = cause;
    }
    (first.instance_location.to_string(), first.kind.to_string())
}

/// Loads nothing.
struct NoLoader;

impl UrlLoader for NoLoader {
    fn load(&self, url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err(format!("{url} is not read").into())
    }
}

/// Refuses keywords that refer to a schema, and patterns over the bounds. serde_json bounds the depth.
fn check_keywords(schema: &Value, patterns: &mut usize) -> Result<(), ManifestError> {
    match schema {
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            match (key.as_str(), value) {
                ("$schema", draft) if is_known_draft(draft) => {}
                ("$ref" | "$dynamicRef" | "$recursiveRef" | "$schema" | "$id", _) => {
                    return Err(wrong("parameters", key, "a schema must not refer to another one"));
                }
                ("pattern", Value::String(pattern)) => check_pattern(pattern, patterns)?,
                ("patternProperties", Value::Object(properties)) => {
                    properties.keys().try_for_each(|pattern| check_pattern(pattern, patterns))?;
                }
                _ => {}
            }
            check_keywords(value, patterns)
        }),
        Value::Array(values) => values.iter().try_for_each(|value| check_keywords(value, patterns)),
        _ => Ok(()),
    }
}

fn check_pattern(pattern: &str, patterns: &mut usize) -> Result<(), ManifestError> {
    *patterns += 1;
    if *patterns > PATTERNS_MAX {
        return Err(wrong("parameters", "pattern", &format!("use at most {PATTERNS_MAX} patterns")));
    }
    let small = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    match small {
        Err(regex::Error::CompiledTooBig(_)) => {
            let rule = format!("use a pattern of at most {PATTERN_BYTES_MAX} bytes, compiled");
            Err(wrong("parameters", pattern, &rule))
        }
        // One that is none in this dialect is said so when the schema is compiled.
        _ => Ok(()),
    }
}

/// Drafts that the validator holds itself.
fn is_known_draft(value: &Value) -> bool {
    value.as_str().is_some_and(|draft| {
        draft.starts_with("https://json-schema.org/draft/2020-12/schema")
            || draft.starts_with("http://json-schema.org/draft-07/schema")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Guarantees: what fits passes, and what does not is named with its place and the reason.
    #[test]
    fn reasons() {
        let schema = ParameterSchema::new(&json!({
            "type": "object",
            "required": ["unit"],
            "additionalProperties": false,
            "properties": {
                "unit": {"type": "string", "pattern": r"^[a-z]+\d?$"},
                "step": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
                "mode": {"enum": ["on", "off"]},
                "list": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "maxItems": 2},
            },
        }))
        .unwrap();
        schema.check(&json!({"unit": "web1", "step": 0.5, "mode": "on", "list": [1, null]})).unwrap();
        let refused: Vec<_> = [
            json!([]),
            json!({}),
            json!({"unit": "Web"}),
            json!({"unit": "web", "step": 0}),
            json!({"unit": "web", "step": 11}),
            json!({"unit": "web", "mode": "up"}),
            json!({"unit": "web", "list": ["x"]}),
            json!({"unit": "web", "list": [1, 2, 3]}),
            json!({"unit": "web", "other": 1}),
        ]
        .iter()
        .map(|value| schema.check(value).unwrap_err())
        .collect();
        insta::assert_snapshot!(refused.join("\n"), @"
        the whole: want object, but got array
        the whole: missing properties 'unit'
        `/unit`: 'Web' does not match pattern '^[a-z]+[0-9]?$'
        `/step`: must be > 0 but got 0
        `/step`: must be <=10, but got 11
        `/mode`: value must be one of 'on', 'off'
        `/list/0`: want integer, but got string
        `/list`: maximum 2 items required, but got 3 items
        the whole: additionalProperties 'other' not allowed
        ");
    }

    /// Guarantees: patterns that are large when compiled, and very many small ones, are refused before anybody waits for them.
    #[test]
    fn patterns_are_bounded() {
        let refused = |schema: Value| ParameterSchema::new(&schema).map(drop).unwrap_err().to_string();
        let many: serde_json::Map<_, _> =
            (0..100).map(|n| (format!("p{n}"), json!({"pattern": "a"}))).collect();
        let messages = [
            refused(json!({"pattern": r"((\w{100}){100}){100}"})),
            refused(json!({"patternProperties": {r"(\w{1000}){1000}": true}})),
            refused(json!({"properties": many})),
            refused(json!({"pattern": "("})),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r"
        manifest key `parameters` is `((\w{100}){100}){100}`: use a pattern of at most 1048576 bytes, compiled
        manifest key `parameters` is `(\w{1000}){1000}`: use a pattern of at most 1048576 bytes, compiled
        manifest key `parameters` is `pattern`: use at most 64 patterns
        manifest key `parameters` is `/pattern '(' is not valid regex: regex parse error: ( ^ error: unclosed group`: use a valid JSON Schema
        ");
    }
}
