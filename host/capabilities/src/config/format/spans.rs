//! Edits of `{…}` maps by their places in the text: JSON, and YAML's flow style.

use crate::config::tree::{Content, Entry, Node};
use std::ops::Range;

/// `text` with other words at `span`.
pub(super) fn replace(text: &str, span: Range<usize>, with: &str) -> String {
    let mut new = String::with_capacity(text.len() + with.len());
    new.push_str(text.get(..span.start).unwrap_or_default());
    new.push_str(with);
    new.push_str(text.get(span.end..).unwrap_or_default());
    new
}

pub(super) fn entries(node: &Node) -> Result<&[Entry], String> {
    match &node.content {
        Content::Map(entries) => Ok(entries),
        _ => Err("what is above it is no table".into()),
    }
}

/// Adds `name` (written with its colon) as the last entry, laid out like the one before it.
pub(super) fn insert_flow(text: &str, parent: &Node, name: &str, value: &str) -> Result<String, String> {
    let Some(last) = entries(parent)?.last() else {
        return Ok(replace(text, parent.span.clone(), &format!("{{{name}{value}}}")));
    };
    let before = text.get(..last.key_span.start).ok_or("its place in the text is unclear")?;
    let gap_start = before.trim_end_matches([' ', '\t', '\n', '\r']).len();
    let gap = before.get(gap_start..).filter(|gap| !gap.is_empty()).unwrap_or(" ");
    // `{ "a": 1 }` has a gap before its first entry that is none between entries.
    let gap = if gap.contains('\n') || entries(parent)?.len() > 1 { gap } else { " " };
    let end = last.node.span.end;
    Ok(replace(text, end..end, &format!(",{gap}{name}{value}")))
}

/// Takes an entry and one comma away.
pub(super) fn remove_flow(text: &str, parent: &Node, name: &str) -> Result<String, String> {
    let entries = entries(parent)?;
    let index = entries.iter().position(|entry| entry.key == name).ok_or("it is not there")?;
    let entry = entries.get(index).ok_or("it is not there")?;
    let span = match (index.checked_sub(1).and_then(|before| entries.get(before)), entries.get(index + 1)) {
        (_, Some(next)) => entry.key_span.start..next.key_span.start,
        (Some(before), None) => before.node.span.end..entry.node.span.end,
        (None, None) => entry.key_span.start..entry.node.span.end,
    };
    Ok(replace(text, span, ""))
}
