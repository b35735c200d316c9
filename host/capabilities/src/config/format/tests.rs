//! Properties of a set, over generated documents in all formats.

use super::*;
use crate::config::tree::write_key;
use proptest::{collection, prelude::*, sample::Index};
use std::collections::BTreeMap;

/// A document's value, apart from any format.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Text(String),
    Integer(i64),
    Quarters(i32),
    Truth(bool),
    Map(BTreeMap<String, Model>),
    List(Vec<Model>),
}

fn scalar() -> impl Strategy<Value = Model> {
    prop_oneof![
        // Looks like other types and like syntax, on purpose.
        "[a-zA-Z0-9 _:#{}=,.-]{0,12}".prop_map(Model::Text),
        any::<i64>().prop_map(Model::Integer),
        any::<i32>().prop_map(Model::Quarters),
        any::<bool>().prop_map(Model::Truth),
    ]
}

fn map(of: impl Strategy<Value = Model>) -> impl Strategy<Value = Model> {
    collection::btree_map("[a-z][a-z0-9_]{0,5}", of, 1..5).prop_map(Model::Map)
}

fn document() -> impl Strategy<Value = Model> {
    let inner = scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![map(inner.clone()), collection::vec(inner, 1..4).prop_map(Model::List)]
    });
    map(inner)
}

impl Model {
    /// A scalar as JSON; TOML and YAML read it alike.
    fn json(&self) -> String {
        match self {
            Self::Text(text) => json::quote(text),
            Self::Integer(number) => number.to_string(),
            Self::Quarters(quarters) => format!("{:?}", f64::from(*quarters) / 4.0),
            Self::Truth(truth) => truth.to_string(),
            Self::List(values) => {
                format!("[{}]", values.iter().map(Self::json).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entry = |(name, value): (&String, &Self)| format!("{name}: {}", value.json());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.json(),
        }
    }

    fn paths(&self, lists: bool) -> Vec<Vec<String>> {
        let below = |name: String, value: &Self| {
            let paths = value.paths(lists).into_iter();
            paths.map(move |rest| [vec![name.clone()], rest].concat()).collect::<Vec<_>>()
        };
        match self {
            Self::Map(entries) => {
                entries.iter().flat_map(|(name, value)| below(name.clone(), value)).collect()
            }
            Self::List(values) if lists => {
                values.iter().enumerate().flat_map(|(index, value)| below(index.to_string(), value)).collect()
            }
            Self::List(_) => Vec::new(),
            _ => vec![Vec::new()],
        }
    }

    fn at(&mut self, path: &[String]) -> &mut Self {
        let Some((head, rest)) = path.split_first() else { return self };
        match self {
            Self::Map(entries) => entries.get_mut(head).unwrap().at(rest),
            Self::List(values) => values[head.parse::<usize>().unwrap()].at(rest),
            _ => unreachable!(),
        }
    }

    /// Another value of the same type.
    fn other(&self, seed: u16) -> Self {
        match self {
            Self::Text(text) => Self::Text(format!("{text}{seed}")),
            Self::Integer(number) => Self::Integer(number.wrapping_add(i64::from(seed) + 1)),
            Self::Quarters(number) => Self::Quarters(number.wrapping_add(i32::from(seed) + 1)),
            Self::Truth(truth) => Self::Truth(!truth),
            Self::Map(_) | Self::List(_) => unreachable!(),
        }
    }

    fn write_json(&self, indent: usize, to: &mut String) {
        let pad = " ".repeat(indent + 2);
        match self {
            Self::Map(entries) => {
                to.push_str("{ // a map\n");
                for (index, (name, value)) in entries.iter().enumerate() {
                    to.push_str(&format!("{pad}\"{name}\" :  "));
                    value.write_json(indent + 2, to);
                    to.push_str(if index + 1 < entries.len() { " ,\n" } else { "\n" });
                }
                to.push_str(&format!("{}}}", " ".repeat(indent)));
            }
            Self::List(values) => {
                to.push('[');
                for (index, value) in values.iter().enumerate() {
                    to.push_str(if index > 0 { ", " } else { "" });
                    value.write_json(indent + 2, to);
                }
                to.push(']');
            }
            scalar => to.push_str(&scalar.json()),
        }
    }

    fn write_yaml(&self, indent: usize, to: &mut String) {
        let Self::Map(entries) = self else { unreachable!() };
        let pad = " ".repeat(indent);
        for (name, value) in entries {
            match value {
                Self::Map(_) => {
                    to.push_str(&format!("{pad}{name}:  # below\n"));
                    value.write_yaml(indent + 2, to);
                }
                Self::List(values) if values.iter().any(|value| matches!(value, Self::Map(_))) => {
                    to.push_str(&format!("{pad}{name}: {}\n", value.json()));
                }
                Self::List(values) => {
                    to.push_str(&format!("{pad}{name}:\n"));
                    for value in values {
                        to.push_str(&format!("{pad}- {}  # item\n", value.json()));
                    }
                }
                scalar => to.push_str(&format!("{pad}{name}:   {} # why\n\n", scalar.json())),
            }
        }
    }

    fn write_toml(&self, path: &str, to: &mut String) {
        let Self::Map(entries) = self else { unreachable!() };
        fn inline(value: &Model) -> String {
            match value {
                Model::List(values) => {
                    format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", "))
                }
                Model::Map(entries) => {
                    let entry = |(name, value): (&String, &Model)| format!("{name} = {}", inline(value));
                    format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
                }
                scalar => scalar.json(),
            }
        }
        for (name, value) in entries.iter().filter(|(_, value)| !matches!(value, Self::Map(_))) {
            to.push_str(&format!("{name}  = {} # why\n", inline(value)));
        }
        for (name, value) in entries.iter().filter(|(_, value)| matches!(value, Self::Map(_))) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            to.push_str(&format!("\n# a table\n[{path}]\n"));
            value.write_toml(&path, to);
        }
    }

    fn write(&self, format: ConfigFormat) -> String {
        let mut text = String::new();
        match format {
            ConfigFormat::Json => self.write_json(0, &mut text),
            ConfigFormat::Yaml => self.write_yaml(0, &mut text),
            ConfigFormat::Toml => self.write_toml("", &mut text),
            ConfigFormat::Env => {
                let Self::Map(entries) = self else { unreachable!() };
                for (name, value) in
                    entries.iter().filter(|(_, value)| !matches!(value, Self::Map(_) | Self::List(_)))
                {
                    text.push_str(&format!("# why\nexport {name}=\"{}\" # text\n", value.text()));
                }
            }
        }
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Guarantees: the text after a set is, byte for byte, the text of the document with that one value changed:
    /// comments, layout, order and all other values are as they were.
    #[test]
    fn only_that_key_changes(document in document(), which in any::<Index>(), seed in any::<u16>()) {
        for format in [ConfigFormat::Json, ConfigFormat::Yaml, ConfigFormat::Toml, ConfigFormat::Env] {
            let mut paths = document.paths(matches!(format, ConfigFormat::Json | ConfigFormat::Yaml));
            if format == ConfigFormat::Env {
                paths.retain(|path| path.len() == 1);
            }
            if paths.is_empty() {
                continue;
            }
            let path = which.get(&paths);
            let text = document.write(format);
            let mut changed = document.clone();
            let place = changed.at(path);
            *place = place.other(seed);
            let value = place.text();
            let new = format.set(&text, path, Some(&value), Kind::String);
            prop_assert!(new.is_ok(), "{format:?} {}: {new:?} in\n{text}", write_key(path));
            let new = new.unwrap();
            prop_assert_eq!(&new, &changed.write(format), "{:?} {}", format, write_key(path));
            // And back again.
            let mut document = document.clone();
            let old = document.at(path).text();
            prop_assert_eq!(format.set(&new, path, Some(&old), Kind::String).unwrap(), text);
        }
    }

    /// Guarantees: a key that is removed and added again leaves all other values as they were.
    #[test]
    fn removes_one_key(document in document(), which in any::<Index>()) {
        for format in [ConfigFormat::Json, ConfigFormat::Yaml, ConfigFormat::Toml, ConfigFormat::Env] {
            let mut paths = document.paths(false);
            paths.retain(|path| format != ConfigFormat::Env || path.len() == 1);
            if paths.is_empty() {
                continue;
            }
            let path = which.get(&paths);
            let text = document.write(format);
            let before = format.parse(&text).unwrap();
            let Ok(without) = format.set(&text, path, None, Kind::String) else {
                // The last key of a YAML map: without it the map would be null.
                prop_assert_eq!(format, ConfigFormat::Yaml);
                continue;
            };
            let after = format.parse(&without).unwrap();
            prop_assert!(after.get(path).is_none() && before.same_except(&after, path));
            let node = before.get(path).unwrap();
            let kind = node.kind().unwrap();
            if let Ok(again) = format.set(&without, path, Some(&node.text()), kind) {
                let again = format.parse(&again).unwrap();
                prop_assert!(again.get(path).unwrap().same(node) && before.same_except(&again, path));
            } else {
                prop_assert!(format == ConfigFormat::Yaml || format == ConfigFormat::Toml, "{}", without);
            }
        }
    }

    /// Guarantees: no text and no value makes a set panic, or change more than its key.
    #[test]
    fn any_text_is_safe(text in "[a-c:{}\\[\\]\"'#=&*|>, \n\t\\-.0-9é\\\\]{0,40}", value in any::<Option<String>>()) {
        for format in [ConfigFormat::Json, ConfigFormat::Yaml, ConfigFormat::Toml, ConfigFormat::Env] {
            let Ok(before) = format.parse(&text) else { continue };
            for path in before.scalar_paths().into_iter().chain([vec!["new".to_owned()]]) {
                if let Ok(new) = format.set(&text, &path, value.as_deref(), Kind::String) {
                    prop_assert!(new == text || before.same_except(&format.parse(&new).unwrap(), &path));
                }
            }
        }
    }
}
