//! YAML, one document, by the places that the parser marks. What Salve writes is plain where it was plain, else quoted
//! the JSON way.

use super::{json, spans};
use crate::config::tree::{Content, DEPTH_MAX, Entry, Kind, NODES_MAX, Node};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::{borrow::Cow, collections::BTreeMap, collections::BTreeSet, ops::Range};

pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut loader = Loader {
        text,
        offsets: text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect(),
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    let mut root = None;
    loop {
        match loader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => break,
            _ if root.is_some() => return Err("there is more than one document".into()),
            (event, span) => root = Some(loader.node(event, span, 0)?),
        }
    }
    Ok(root.unwrap_or(Node { content: Content::Map(Vec::new()), span: 0..0 }))
}

struct Loader<'input> {
    text: &'input str,
    /// Byte offset of each character.
    offsets: Vec<usize>,
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'input> Loader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), String> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let at = |index: usize| self.offsets.get(index).or(self.offsets.last()).copied().unwrap_or(0);
        at(span.start.index())..at(span.end.index())
    }

    /// Where a scalar's words stand. The parser's end may lie behind spaces and a comment that follow them.
    fn exact(&self, span: Range<usize>, style: ScalarStyle, text: &str) -> Range<usize> {
        let source = self.text.get(span.start..).unwrap_or_default();
        let length = match style {
            ScalarStyle::Plain => source.starts_with(text).then_some(text.len()),
            ScalarStyle::SingleQuoted => quoted_length(source, '\''),
            ScalarStyle::DoubleQuoted => quoted_length(source, '"'),
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        length.map_or(span.clone(), |length| span.start..span.start + length)
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, String> {
        self.count(1)?;
        if depth > DEPTH_MAX {
            return Err("it is nested too deeply".into());
        }
        let start = self.bytes(span);
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar_kind(&text, style, tag.as_deref());
                let place = self.exact(start, style, &text);
                let canonical = canonical(kind, text);
                (Node::scalar(kind, canonical, place), anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or("an alias has no anchor before it")?;
                // An alias of an alias of an alias … grows without end: count what it stands for.
                self.count(size(&node))?;
                (Node { content: node.content, span: start }, 0)
            }
            Event::SequenceStart(anchor, _) => {
                let mut nodes = Vec::new();
                let end = loop {
                    match self.next()? {
                        (Event::SequenceEnd, span) => break self.bytes(span).end,
                        (Event::StreamEnd, _) => return Err("it ends in the middle of a list".into()),
                        (event, span) => nodes.push(self.node(event, span, depth + 1)?),
                    }
                };
                (Node { content: Content::List(nodes), span: start.start..end }, anchor)
            }
            Event::MappingStart(anchor, _) => {
                let mut names = BTreeSet::new();
                let mut entries = Vec::new();
                let end = loop {
                    let (event, span) = self.next()?;
                    let key_span = self.bytes(span);
                    let key = match event {
                        Event::MappingEnd => break key_span.end,
                        Event::Scalar(text, ..) => text.into_owned(),
                        Event::StreamEnd => return Err("it ends in the middle of a map".into()),
                        _ => return Err("a key is no plain text".into()),
                    };
                    if !names.insert(key.clone()) {
                        return Err(format!("`{key}` is there twice"));
                    }
                    let (event, span) = self.next()?;
                    let node = self.node(event, span, depth + 1)?;
                    entries.push(Entry { key, key_span, node });
                };
                (Node { content: Content::Map(entries), span: start.start..end }, anchor)
            }
            _ => return Err("it ends too early".into()),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX { Err("it holds too many values".into()) } else { Ok(()) }
    }
}

/// Length of the quoted text at the beginning of `source`, quotes included.
fn quoted_length(source: &str, quote: char) -> Option<usize> {
    let mut characters = source.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => {
                characters.next();
            }
            '\'' if quote == '\'' && characters.next_if(|(_, next)| *next == quote).is_some() => {}
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Scalar { .. } => 1,
        Content::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
        Content::List(nodes) => 1 + nodes.iter().map(size).sum::<usize>(),
    }
}

/// The core schema of YAML 1.2.2, section 10.3.2.
fn scalar_kind(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Kind::String,
        Some(_) => return Kind::Other,
        None => {}
    }
    if style != ScalarStyle::Plain {
        return Kind::String;
    }
    plain_kind(text)
}

fn plain_kind(text: &str) -> Kind {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
        ".nan" | ".NaN" | ".NAN" => Kind::Float,
        _ if matches!(unsigned, ".inf" | ".Inf" | ".INF") => Kind::Float,
        _ if digits(unsigned, 10) => Kind::Integer,
        _ if text.strip_prefix("0o").is_some_and(|rest| digits(rest, 8)) => Kind::Integer,
        _ if text.strip_prefix("0x").is_some_and(|rest| digits(rest, 16)) => Kind::Integer,
        _ => {
            let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
                && text.parse::<f64>().is_ok();
            if number { Kind::Float } else { Kind::String }
        }
    }
}

/// One text for one value.
fn canonical(kind: Kind, text: Cow<'_, str>) -> String {
    match kind {
        Kind::Null => "null".into(),
        Kind::Boolean => text.to_ascii_lowercase(),
        Kind::Integer | Kind::Float => kind.literal(&text).unwrap_or_else(|| text.into_owned()),
        _ => text.into_owned(),
    }
}

/// Words that readers of YAML 1.1 take for something other than a string.
fn read_otherwise_by_yaml_1_1(text: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "=", "<<"];
    WORDS.contains(&text.to_ascii_lowercase().as_str()) || text.starts_with(|c: char| c.is_ascii_digit())
}

/// A string that needs no quotes in any place and for any reader.
fn plain_is_safe(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-@+".contains(c))
        && plain_kind(text) == Kind::String
        && !read_otherwise_by_yaml_1_1(text)
}

/// `literal` in place of `old`.
pub(super) fn write(old: &str, kind: Kind, literal: &str) -> Result<String, String> {
    if old.starts_with(['|', '>']) {
        return Err("it is a block of lines, which Salve does not write".into());
    }
    if old.starts_with('*') {
        return Err("it stands for an anchor elsewhere; set that".into());
    }
    let quoted_before = old.starts_with(['"', '\'']);
    Ok(if kind == Kind::String && (quoted_before || !plain_is_safe(literal)) {
        json::quote(literal)
    } else {
        literal.to_owned()
    })
}

fn is_flow(text: &str, node: &Node) -> bool {
    text.get(node.span.start..).is_some_and(|rest| rest.starts_with('{'))
}

/// End of the line on which a value's last words stand, its line feed included.
fn line_end(text: &str, node: &Node) -> usize {
    let end = last_end(node);
    let before = text.get(..end).unwrap_or_default().trim_end_matches([' ', '\n', '\r']).len();
    text.get(before..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| before + at + 1)
}

fn last_end(node: &Node) -> usize {
    match &node.content {
        Content::Map(entries) => {
            entries.iter().map(|entry| last_end(&entry.node)).max().unwrap_or(node.span.end)
        }
        Content::List(nodes) => nodes.iter().map(last_end).max().unwrap_or(node.span.end),
        Content::Scalar { .. } => node.span.end,
    }
}

pub(super) fn insert(
    text: &str,
    parent: &Node,
    name: &str,
    kind: Kind,
    literal: &str,
) -> Result<String, String> {
    let name = if plain_is_safe(name) { name.to_owned() } else { json::quote(name) };
    let value = write("", kind, literal)?;
    if is_flow(text, parent) {
        return spans::insert_flow(text, parent, &format!("{name}: "), &value);
    }
    let Some(last) = spans::entries(parent)?.last() else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{gap}{name}: {value}\n"));
    };
    let before = text.get(..last.key_span.start).ok_or("its place in the text is unclear")?;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
    let end = line_end(text, &last.node);
    let gap = if text.get(..end).is_some_and(|text| text.ends_with('\n')) { "" } else { "\n" };
    Ok(spans::replace(text, end..end, &format!("{gap}{}{name}: {value}\n", " ".repeat(column))))
}

pub(super) fn remove(text: &str, parent: &Node, name: &str) -> Result<String, String> {
    if is_flow(text, parent) {
        return spans::remove_flow(text, parent, name);
    }
    let entry = spans::entries(parent)?.iter().find(|entry| entry.key == name).ok_or("it is not there")?;
    let before = text.get(..entry.key_span.start).ok_or("its place in the text is unclear")?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Ok(spans::replace(text, line_start..line_end(text, &entry.node).max(entry.key_span.end), ""))
}
