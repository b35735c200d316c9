//! JSON, comments and commas at the end allowed.

use crate::config::tree::{Content, DEPTH_MAX, Entry, Kind, Node};
use jsonc_parser::{
    CollectOptions, CommentCollectionStrategy, ParseOptions,
    ast::Value,
    common::{Range, Ranged},
    parse_to_ast,
};
use std::collections::BTreeSet;

pub(super) fn parse(text: &str) -> Result<Node, String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = parse_to_ast(text, &collect, &options).map_err(|error| error.to_string())?;
    node(&parsed.value.ok_or("it is empty")?, 0)
}

fn span(range: Range) -> std::ops::Range<usize> {
    range.start..range.end
}

fn node(value: &Value<'_>, depth: usize) -> Result<Node, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply".into());
    }
    let span_all = span(value.range());
    let content = match value {
        Value::StringLit(literal) => Content::Scalar { kind: Kind::String, text: literal.value.to_string() },
        Value::NumberLit(literal) => {
            let kind = if literal.value.contains(['.', 'e', 'E']) { Kind::Float } else { Kind::Integer };
            // The same number in other words is the same value.
            let text = kind.literal(literal.value).unwrap_or_else(|| literal.value.to_owned());
            Content::Scalar { kind, text }
        }
        Value::BooleanLit(literal) => {
            Content::Scalar { kind: Kind::Boolean, text: literal.value.to_string() }
        }
        Value::NullKeyword(_) => Content::Scalar { kind: Kind::Null, text: "null".into() },
        Value::Object(object) => {
            let mut names = BTreeSet::new();
            let mut entries = Vec::new();
            for property in &object.properties {
                let key = property.name.as_str().to_owned();
                if !names.insert(key.clone()) {
                    return Err(format!("`{key}` is there twice"));
                }
                let node = node(&property.value, depth + 1)?;
                entries.push(Entry { key, key_span: property.range.start..property.range.start, node });
            }
            Content::Map(entries)
        }
        Value::Array(array) => Content::List(
            array.elements.iter().map(|value| node(value, depth + 1)).collect::<Result<_, _>>()?,
        ),
    };
    Ok(Node { content, span: span_all })
}

/// A scalar as JSON writes it.
pub(super) fn write(kind: Kind, literal: &str) -> String {
    if kind == Kind::String { quote(literal) } else { literal.to_owned() }
}

/// A name with its colon.
pub(super) fn entry(name: &str) -> String {
    format!("{}: ", quote(name))
}

/// A JSON string, which is a YAML string too.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
