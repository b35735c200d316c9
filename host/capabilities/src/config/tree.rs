//! What a configuration file says, whatever its format: names, scalars with types, and where they stand in the text.

use super::ConfigError;
use std::ops::Range;

/// Type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    String,
    Integer,
    Float,
    Boolean,
    Null,
    /// A date, or a value with a tag of the reader's own. Readable, not settable.
    Other,
}

impl Kind {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "whole number",
            Self::Float => "number",
            Self::Boolean => "truth value (`true`, `false`)",
            Self::Null => "null",
            Self::Other => "value of a type that Salve does not write",
        }
    }

    /// The type that an unmarked text looks like.
    pub(crate) fn of_text(text: &str) -> Self {
        match text {
            "true" | "false" => Self::Boolean,
            _ if Self::Integer.literal(text).is_some() => Self::Integer,
            _ if Self::Float.literal(text).is_some() => Self::Float,
            _ => Self::String,
        }
    }

    /// `text` as files of all formats write it for this type; none if it is not of this type.
    pub(crate) fn literal(self, text: &str) -> Option<String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::String => Some(text.to_owned()),
            Self::Integer => {
                let unsigned = text.strip_prefix('-').unwrap_or(text);
                let plain = digits(unsigned) && (unsigned == "0" || !unsigned.starts_with('0'));
                (plain && text != "-0" && text.parse::<i64>().is_ok()).then(|| text.to_owned())
            }
            Self::Float => {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
                let number = text.parse::<f64>().ok().filter(|number| plain && number.is_finite())?;
                // The shortest text that reads as the same number, with a mark that it is no whole number.
                Some(format!("{number:?}"))
            }
            Self::Boolean => matches!(text, "true" | "false").then(|| text.to_owned()),
            Self::Null => (text == "null").then(|| text.to_owned()),
            Self::Other => None,
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) content: Content,
    /// Bytes of the text; empty where a format's own editor is used.
    pub(crate) span: Range<usize>,
}

/// See [`Node`].
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Its text is the value without quotes and escapes.
    Scalar {
        kind: Kind,
        text: String,
    },
    Map(Vec<Entry>),
    List(Vec<Node>),
}

/// One name of a map.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

/// Deepest nesting that is read.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most values in one file, aliases counted as often as they are used.
pub(crate) const NODES_MAX: usize = 100_000;
/// Most keys that one target lists.
const KEYS_MAX: usize = 1_000;

impl Node {
    pub(crate) fn scalar(kind: Kind, text: impl Into<String>, span: Range<usize>) -> Self {
        Self { content: Content::Scalar { kind, text: text.into() }, span }
    }

    /// The value at a path; numbers count the elements of lists.
    pub(crate) fn get(&self, path: &[String]) -> Option<&Node> {
        let Some((head, rest)) = path.split_first() else { return Some(self) };
        let next = match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == *head).map(|entry| &entry.node),
            Content::List(nodes) => head.parse::<usize>().ok().and_then(|index| nodes.get(index)),
            Content::Scalar { .. } => None,
        };
        next?.get(rest)
    }

    /// The value as text: scalars as they are, maps and lists as JSON.
    pub(crate) fn text(&self) -> String {
        match &self.content {
            Content::Scalar { text, .. } => text.clone(),
            _ => self.json().to_string(),
        }
    }

    fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.content {
            Content::Scalar { kind: Kind::Null, .. } => Value::Null,
            Content::Scalar { kind: Kind::Boolean, text } => Value::Bool(text == "true"),
            Content::Scalar { kind: Kind::Integer | Kind::Float, text } => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Content::Scalar { text, .. } => Value::String(text.clone()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect())
            }
            Content::List(nodes) => Value::Array(nodes.iter().map(Node::json).collect()),
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.content {
            Content::Scalar { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// Dotted paths of all scalars, in the file's order, bounded.
    pub(crate) fn scalar_paths(&self) -> Vec<Vec<String>> {
        fn walk(node: &Node, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
            if found.len() == KEYS_MAX {
                return;
            }
            match &node.content {
                Content::Scalar { .. } => found.push(path.clone()),
                Content::Map(entries) => {
                    for entry in entries {
                        path.push(entry.key.clone());
                        walk(&entry.node, path, found);
                        path.pop();
                    }
                }
                Content::List(nodes) => {
                    for (index, node) in nodes.iter().enumerate() {
                        path.push(index.to_string());
                        walk(node, path, found);
                        path.pop();
                    }
                }
            }
        }
        let mut found = Vec::new();
        walk(self, &mut Vec::new(), &mut found);
        found
    }

    /// Same values of the same types under the same names; where they stand does not matter.
    pub(crate) fn same(&self, other: &Node) -> bool {
        match (&self.content, &other.content) {
            (Content::Scalar { kind, text }, Content::Scalar { kind: other_kind, text: other_text }) => {
                kind == other_kind && text == other_text
            }
            (Content::Map(entries), Content::Map(others)) => {
                entries.len() == others.len()
                    && entries
                        .iter()
                        .zip(others)
                        .all(|(one, two)| one.key == two.key && one.node.same(&two.node))
            }
            (Content::List(nodes), Content::List(others)) => {
                nodes.len() == others.len() && nodes.iter().zip(others).all(|(one, two)| one.same(two))
            }
            _ => false,
        }
    }

    /// All but the value at `path` is the same in both. The proof that a set changed one key.
    pub(crate) fn same_except(&self, other: &Node, path: &[String]) -> bool {
        let Some((head, rest)) = path.split_first() else { return true };
        match (&self.content, &other.content) {
            (Content::Map(entries), Content::Map(others)) => {
                let rest_of =
                    |entries: &[Entry]| entries.iter().filter(|entry| entry.key != *head).cloned().collect();
                let without =
                    |entries: &[Entry]| Node { content: Content::Map(rest_of(entries)), span: 0..0 };
                let at = |entries: &[Entry]| entries.iter().find(|entry| entry.key == *head).cloned();
                without(entries).same(&without(others))
                    && match (at(entries), at(others)) {
                        (Some(one), Some(two)) => one.node.same_except(&two.node, rest),
                        (None, None) => true,
                        _ => rest.is_empty(),
                    }
            }
            (Content::List(nodes), Content::List(others)) => {
                nodes.len() == others.len()
                    && nodes.iter().zip(others).enumerate().all(|(index, (one, two))| {
                        if head.parse() == Ok(index) { one.same_except(two, rest) } else { one.same(two) }
                    })
            }
            _ => false,
        }
    }
}

/// Splits `pool.size` into its names. A name with a dot stands in quotes, as in TOML.
pub(crate) fn parse_key(key: &str) -> Result<Vec<String>, ConfigError> {
    let wrong = || ConfigError::KeySyntax(salve_model::text::escape(key, 200));
    if key.len() > 1_000 {
        return Err(wrong());
    }
    let names = toml_edit::Key::parse(key).map_err(|_| wrong())?;
    let names: Vec<String> = names.iter().map(|name| name.get().to_owned()).collect();
    if names.is_empty() || names.len() > DEPTH_MAX { Err(wrong()) } else { Ok(names) }
}

/// The opposite of [`parse_key`].
pub(crate) fn write_key(path: &[String]) -> String {
    let names: Vec<String> = path.iter().map(|name| toml_edit::Key::new(name).to_string()).collect();
    names.join(".")
}
