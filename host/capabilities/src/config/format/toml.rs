//! TOML, by way of toml_edit, which keeps comments, order and layout.

use crate::config::tree::{Content, DEPTH_MAX, Entry, Kind, Node};
use toml_edit::{DocumentMut, Item, TableLike, Value};

pub(super) fn parse(text: &str) -> Result<Node, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    table(document.as_table(), 0)
}

fn table(table: &dyn TableLike, depth: usize) -> Result<Node, String> {
    let entries = table
        .iter()
        .map(|(key, item)| {
            Ok(Entry { key: key.to_owned(), key_span: 0..0, node: item_node(item, depth + 1)? })
        })
        .collect::<Result<_, String>>()?;
    Ok(Node { content: Content::Map(entries), span: 0..0 })
}

fn item_node(item: &Item, depth: usize) -> Result<Node, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply".into());
    }
    match item {
        Item::None => Ok(Node::scalar(Kind::Null, "null", 0..0)),
        Item::Value(value) => value_node(value, depth),
        Item::Table(inner) => table(inner, depth),
        Item::ArrayOfTables(tables) => {
            let nodes = tables.iter().map(|inner| table(inner, depth + 1)).collect::<Result<_, _>>()?;
            Ok(Node { content: Content::List(nodes), span: 0..0 })
        }
    }
}

fn value_node(value: &Value, depth: usize) -> Result<Node, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply".into());
    }
    Ok(match value {
        Value::String(text) => Node::scalar(Kind::String, text.value(), 0..0),
        Value::Integer(number) => Node::scalar(Kind::Integer, number.value().to_string(), 0..0),
        Value::Float(number) => Node::scalar(Kind::Float, format!("{:?}", number.value()), 0..0),
        Value::Boolean(truth) => Node::scalar(Kind::Boolean, truth.value().to_string(), 0..0),
        Value::Datetime(time) => Node::scalar(Kind::Other, time.value().to_string(), 0..0),
        Value::Array(array) => {
            let nodes = array.iter().map(|value| value_node(value, depth + 1)).collect::<Result<_, _>>()?;
            Node { content: Content::List(nodes), span: 0..0 }
        }
        Value::InlineTable(inner) => table(inner, depth)?,
    })
}

/// Sets, adds (`literal`) or removes (none) a key.
pub(super) fn edit(text: &str, path: &[String], kind: Kind, literal: Option<&str>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let (name, parents) = path.split_last().ok_or("it has no name")?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for parent in parents {
        let item = table.get_mut(parent).ok_or("the table above it is not there, and Salve makes none")?;
        table = item
            .as_table_like_mut()
            .ok_or("what is above it is no table; in TOML, Salve sets nothing in lists")?;
    }
    let Some(literal) = literal else {
        return match table.remove(name) {
            Some(_) => Ok(document.to_string()),
            None => Err("it is not there".into()),
        };
    };
    let unwritable = || format!("`{literal}` cannot be written as a {}", kind.words());
    let mut value = match kind {
        Kind::String => Value::from(literal),
        Kind::Integer => Value::from(literal.parse::<i64>().map_err(|_| unwritable())?),
        Kind::Float => Value::from(literal.parse::<f64>().map_err(|_| unwritable())?),
        Kind::Boolean => Value::from(literal == "true"),
        Kind::Null | Kind::Other => return Err(unwritable()),
    };
    match table.get_mut(name) {
        Some(item) => {
            let old = item.as_value_mut().ok_or("it is a table")?;
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(name, Item::Value(value));
        }
    }
    Ok(document.to_string())
}
