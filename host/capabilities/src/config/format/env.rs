//! Environment files: `NAME=value` lines, `export` allowed before them, `#` comments, single and double quotes.
//!
//! There is no standard. Read here is what Compose, systemd and the common dotenv libraries agree on; a value is written
//! without quotes where all of them read it alike. Variables in values (`$NAME`) are text.

use super::spans;
use crate::config::tree::{Content, Entry, Kind, Node};
use std::collections::BTreeSet;

pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = BTreeSet::new();
    let mut line_start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let start = line_start;
        line_start += line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        let indent = content.len() - content.trim_start().len();
        let trimmed = content.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let export = if trimmed.starts_with("export ") { "export ".len() } else { 0 };
        let assignment = trimmed.get(export..).unwrap_or_default();
        let wrong = |why: &str| format!("line {}: {why}", number + 1);
        let (name, raw) = assignment.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(wrong("the name holds something other than letters, digits and `_`"));
        }
        if !names.insert(name.to_owned()) {
            return Err(wrong(&format!("`{name}` is there twice")));
        }
        let (value, length) = unquote(raw).map_err(wrong)?;
        let value_start = start + indent + export + name.len() + 1;
        let node = Node::scalar(Kind::String, value, value_start..value_start + length);
        entries.push(Entry { key: name.to_owned(), key_span: start..line_start, node });
    }
    Ok(Node { content: Content::Map(entries), span: 0..text.len() })
}

/// The value at the beginning of `raw`, and how many bytes it takes, quotes included.
fn unquote(raw: &str) -> Result<(String, usize), &'static str> {
    let only_comment = |rest: &str| rest.trim().is_empty() || rest.trim_start().starts_with('#');
    if let Some(inner) = raw.strip_prefix('\'') {
        let end = inner.find('\'').ok_or("a single quote is not closed")?;
        let rest = inner.get(end + 1..).unwrap_or_default();
        return if only_comment(rest) {
            Ok((inner.get(..end).unwrap_or_default().to_owned(), end + 2))
        } else {
            Err("there is text after the closing quote")
        };
    }
    let Some(inner) = raw.strip_prefix('"') else {
        let end = raw.find(" #").or_else(|| raw.find("\t#")).unwrap_or(raw.len());
        let value = raw.get(..end).unwrap_or_default().trim_end();
        return Ok((value.to_owned(), value.len()));
    };
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = inner.get(at + 1..).unwrap_or_default();
                return if only_comment(rest) {
                    Ok((value, at + 2))
                } else {
                    Err("there is text after the closing quote")
                };
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\' | '$' | '`'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a double quote is not closed")
}

/// `literal` in the quotes of `old`, if it can stand there.
pub(super) fn write(old: &str, literal: &str) -> Result<String, String> {
    if literal.contains(['\0', '\r']) {
        return Err("an environment file cannot hold NUL or carriage return".into());
    }
    if old.starts_with('\'') && !literal.contains(['\'', '\n']) {
        return Ok(format!("'{literal}'"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if !old.starts_with(['"', '\'']) && literal.chars().all(plain) {
        return Ok(literal.to_owned());
    }
    let mut quoted = String::from('"');
    for character in literal.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', character]),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

pub(super) fn insert(text: &str, name: &str, literal: &str) -> Result<String, String> {
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{gap}{name}={}\n", write("", literal)?))
}

pub(super) fn remove(text: &str, parent: &Node, name: &str) -> Result<String, String> {
    let entry = spans::entries(parent)?.iter().find(|entry| entry.key == name).ok_or("it is not there")?;
    Ok(spans::replace(text, entry.key_span.clone(), ""))
}
