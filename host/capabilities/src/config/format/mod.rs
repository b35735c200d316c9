//! Formats of configuration files: text to [`Node`], and one changed key to new text.

mod env;
mod json;
mod spans;
#[cfg(test)]
mod tests;
mod toml;
mod yaml;

use super::{
    ConfigError,
    tree::{Kind, Node},
};
use crate::ConfigFormat;
use salve_model::text::escape;
use std::path::Path;

impl ConfigFormat {
    /// By a file's ending.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let ending = name.rsplit_once('.').map_or(name, |(_, ending)| ending);
        match ending.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "json" | "jsonc" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "env" => Some(Self::Env),
            _ if name.starts_with(".env") => Some(Self::Env),
            _ => None,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Env => "an environment file",
        }
    }

    /// Reads a whole text.
    ///
    /// # Errors
    /// One sentence, escaped.
    pub(crate) fn parse(self, text: &str) -> Result<Node, String> {
        let parsed = match self {
            Self::Toml => toml::parse(text),
            Self::Json => json::parse(text),
            Self::Yaml => yaml::parse(text),
            Self::Env => env::parse(text),
        };
        parsed.map_err(|reason| escape(&reason, 300))
    }

    /// The text with `value` at `path` and nothing else changed; none removes the key. The type is that of the value
    /// that is there, else `kind_if_absent`. Proved by reading the result.
    ///
    /// # Errors
    /// [`ConfigError::Type`], [`ConfigError::Edit`], [`ConfigError::MoreThanTheKey`], [`ConfigError::Parse`].
    pub(crate) fn set(
        self,
        text: &str,
        path: &[String],
        value: Option<&str>,
        kind_if_absent: Kind,
    ) -> Result<String, ConfigError> {
        let key = super::tree::write_key(path);
        let edit = |reason: &str| ConfigError::Edit { key: key.clone(), reason: reason.to_owned() };
        let before =
            self.parse(text).map_err(|reason| edit(&format!("the file cannot be read: {reason}")))?;
        let there = before.get(path);
        let kind = match there.map(Node::kind) {
            Some(None) => return Err(edit("it is a table or list, and Salve sets single values")),
            Some(Some(Kind::Other)) => return Err(edit("it has a type that Salve does not write")),
            Some(Some(kind)) => kind,
            None if self == Self::Env => Kind::String,
            None => kind_if_absent,
        };
        let literal = value
            .map(|value| {
                kind.literal(value).ok_or_else(|| ConfigError::Type {
                    key: key.clone(),
                    kind: kind.words(),
                    value: escape(value, 100),
                })
            })
            .transpose()?;
        if there.map(Node::text) == literal {
            return Ok(text.to_owned());
        }
        let new = match (self, literal.as_deref()) {
            (Self::Toml, literal) => toml::edit(text, path, kind, literal),
            (_, Some(literal)) if there.is_some() => self.replace(text, &before, path, kind, literal),
            (_, Some(literal)) => self.insert(text, &before, path, kind, literal),
            (_, None) => self.remove(text, &before, path),
        };
        let new = new.map_err(|reason| edit(&reason))?;
        let after = self.parse(&new).map_err(|_| ConfigError::MoreThanTheKey { key: key.clone() })?;
        let as_wanted = match (after.get(path), &literal) {
            (Some(found), Some(literal)) => found.kind() == Some(kind) && found.text() == *literal,
            (None, None) => true,
            _ => false,
        };
        if as_wanted && before.same_except(&after, path) {
            Ok(new)
        } else {
            Err(ConfigError::MoreThanTheKey { key })
        }
    }

    fn replace(
        self,
        text: &str,
        root: &Node,
        path: &[String],
        kind: Kind,
        literal: &str,
    ) -> Result<String, String> {
        let node = root.get(path).ok_or("it is not there")?;
        let old = text.get(node.span.clone()).ok_or("its place in the text is unclear")?;
        let new = match self {
            Self::Json => json::write(kind, literal),
            Self::Yaml => yaml::write(old, kind, literal)?,
            _ => env::write(old, literal)?,
        };
        Ok(spans::replace(text, node.span.clone(), &new))
    }

    fn insert(
        self,
        text: &str,
        root: &Node,
        path: &[String],
        kind: Kind,
        literal: &str,
    ) -> Result<String, String> {
        let (name, parents) = path.split_last().ok_or("it has no name")?;
        let parent = root.get(parents).ok_or("the table above it is not there, and Salve makes none")?;
        match self {
            Self::Env => env::insert(text, name, literal),
            Self::Json => spans::insert_flow(text, parent, &json::entry(name), &json::write(kind, literal)),
            _ => yaml::insert(text, parent, name, kind, literal),
        }
    }

    fn remove(self, text: &str, root: &Node, path: &[String]) -> Result<String, String> {
        let (name, parents) = path.split_last().ok_or("it has no name")?;
        let parent = root.get(parents).ok_or("it is not there")?;
        match self {
            Self::Env => env::remove(text, parent, name),
            Self::Json => spans::remove_flow(text, parent, name),
            _ => yaml::remove(text, parent, name),
        }
    }
}
