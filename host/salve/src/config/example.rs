//! `examples/salve.toml` as the reference of all keys.

use super::Config;
use salve_plugins::{Limits, Role};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

const EXAMPLE: &str = include_str!("../../../../examples/salve.toml");

/// What stands in for a key that nobody knows.
const NOBODYS: &str = "nobodys_key";

/// The example with everything that is off turned on: lines that begin with `#` and no space.
fn everything() -> Table {
    let on =
        |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    toml::from_str(&EXAMPLE.lines().map(on).collect::<Vec<_>>().join("\n")).unwrap()
}

/// One step from a table into it.
#[derive(Clone)]
enum Step {
    Key(String),
    Item(usize),
}

/// All tables within a value, each with the way to it.
fn tables(value: &Value, way: &[Step], found: &mut Vec<Vec<Step>>) {
    let inner: Vec<(Step, &Value)> = match value {
        Value::Table(table) => {
            found.push(way.to_vec());
            table.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (Step::Item(at), value)).collect(),
        _ => return,
    };
    for (step, value) in inner {
        tables(value, &[way, &[step]].concat(), found);
    }
}

/// The table at the end of a way.
fn at<'a>(root: &'a mut Value, way: &[Step]) -> &'a mut Table {
    let end = way.iter().fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key).unwrap(),
        Step::Item(at) => value.get_mut(*at).unwrap(),
    });
    end.as_table_mut().unwrap()
}

/// The names that could stand in this table, as the parser says when it sees another; none where any name may.
fn known(everything: &Value, way: &[Step]) -> Option<BTreeSet<String>> {
    let mut strange = everything.clone();
    at(&mut strange, way).insert(NOBODYS.into(), Value::Boolean(true));
    let error = Config::deserialize(strange).err()?.to_string();
    let (_, rest) = error.split_once(&format!("unknown field `{NOBODYS}`, expected"))?;
    // The next line says where.
    let rest = rest.lines().next()?;
    Some(rest.split('`').skip(1).step_by(2).map(String::from).collect())
}

/// Guarantees: every key that the parser knows, at any depth, stands in `examples/salve.toml`; none that it does not know does.
#[test]
fn has_every_key() {
    let mut everything = Value::Table(everything());
    Config::deserialize(everything.clone()).unwrap();
    let mut ways = Vec::new();
    tables(&everything, &[], &mut ways);
    // By the names that a table may have: what is left out of one entry may stand in another of the same kind.
    let mut shown: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    for way in ways {
        let Some(known) = known(&everything, &way) else { continue };
        shown.entry(known).or_default().extend(at(&mut everything, &way).keys().cloned());
    }
    assert!(shown.len() > 20, "{} kinds of tables", shown.len());
    let mut missing: Vec<_> = shown
        .iter()
        .flat_map(|(known, shown)| {
            known.difference(shown).map(|key| (key.as_str(), known.first().unwrap().as_str()))
        })
        .collect();
    // `mode` of the file takes the place of `guards.mode`, which is there for the core.
    missing.retain(|missing| *missing != ("mode", "answer_within_ms"));
    assert!(
        missing.is_empty(),
        "not in examples/salve.toml, each with the first key of its table: {missing:?}"
    );
}

/// Guarantees: with everything on the example can be used, and what it shows of a setting that is off is its default.
#[test]
fn shows_defaults() {
    let mut config = Config::deserialize(Value::Table(everything())).unwrap();
    // Their keys are files, which are not there.
    config.publishers.clear();
    assert_eq!(super::check::problems(&config), Vec::<String>::new());

    let on: Table = toml::from_str(EXAMPLE).unwrap();
    let mut wrong = Vec::new();
    differences(&Table::try_from(Config::default()).unwrap(), &everything(), &on, "", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let of_actions = Limits::of_role(Role::Action);
    assert_eq!(of_actions.with(&config.plugins.limits), of_actions);
}

/// Values that are not the default, and are not set in the file as it stands.
fn differences(defaults: &Table, shown: &Table, on: &Table, place: &str, wrong: &mut Vec<String>) {
    for (key, default) in defaults {
        let place = format!("{place}{key}");
        match (default, shown.get(key), on.get(key)) {
            (Value::Table(defaults), Some(Value::Table(shown)), on) => {
                let nothing = Table::new();
                let on = on.and_then(Value::as_table).unwrap_or(&nothing);
                differences(defaults, shown, on, &format!("{place}."), wrong);
            }
            // Lists of tables are examples.
            (Value::Array(_), Some(Value::Array(items)), _) if items.iter().any(Value::is_table) => {}
            (default, Some(shown), None) if shown != default => {
                wrong.push(format!("{place} is {default} by default, {shown} in the example"));
            }
            _ => {}
        }
    }
}
