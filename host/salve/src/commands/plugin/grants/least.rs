//! The least grants that allow certain calls.

use salve_ledger::{Entry, EntryKind};
use salve_model::{
    PluginName, TargetId,
    grant::{Bound, Grant, HttpGrant},
    plan::Call,
};
use salve_plugins::{CAPABILITIES, Manifest};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of a recording.
const DEPTH_MAX: u32 = 32;
/// More values of one argument than these are given as a range, if they are numbers.
const VALUES_MAX: usize = 16;

/// What is proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) grants: Vec<Grant>,
    /// The same, to be pasted, with remarks.
    pub(super) toml: String,
}

/// The call of a write that stands in the ledger.
pub(super) fn used_call(entry: &Entry) -> Option<Call> {
    let payload = entry.payload.as_ref().filter(|_| entry.kind == EntryKind::WriteIntent)?;
    // What takes something back is licensed by the plan and needs no grant of its own.
    if payload["undo"] == Value::Bool(true) {
        return None;
    }
    serde_json::from_value(payload.get("call")?.clone()).ok()
}

/// All calls in a recording: JSON, or one JSON value a line. A call is any object with `capability`, `verb`, `target` and
/// perhaps `arguments`, as text or as an object.
pub(super) fn calls_of_recording(text: &str) -> anyhow::Result<Vec<Call>> {
    let values = match serde_json::from_str::<Value>(text) {
        Ok(value) => vec![value],
        Err(whole) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str);
            // A file that is neither is told of as the one that it more likely is.
            lines
                .collect::<Result<Vec<Value>, _>>()
                .map_err(|line| if text.lines().count() > 1 { line } else { whole })?
        }
    };
    let mut calls = Vec::new();
    values.iter().for_each(|value| find_calls(value, DEPTH_MAX, &mut calls));
    Ok(calls)
}

fn find_calls(value: &Value, depth: u32, calls: &mut Vec<Call>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Array(several) => several.iter().for_each(|value| find_calls(value, depth - 1, calls)),
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            if let (Some(capability), Some(verb), Some(target)) =
                (text("capability"), text("verb"), text("target"))
            {
                let arguments = match object.get("arguments") {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => "{}".into(),
                };
                calls.push(Call {
                    capability: capability.into(),
                    verb: verb.into(),
                    target: TargetId(target.into()),
                    arguments,
                });
            } else {
                object.values().for_each(|value| find_calls(value, depth - 1, calls));
            }
        }
        _ => {}
    }
}

/// What was seen of one capability.
#[derive(Default)]
struct Seen {
    verbs: BTreeSet<String>,
    targets: BTreeSet<TargetId>,
    arguments: BTreeMap<String, BTreeSet<String>>,
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
}

/// Grants for these calls and no others, and for reads that the manifest asks for on the same targets, since the ledger has
/// no reads.
pub(super) fn propose(plugin: &str, calls: &[Call], manifest: Option<&Manifest>) -> Proposal {
    let mut of_capability = BTreeMap::<String, Seen>::new();
    for call in calls {
        let seen = of_capability.entry(call.capability.clone()).or_default();
        seen.verbs.insert(call.verb.clone());
        seen.targets.insert(call.target.clone());
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        for (name, value) in arguments.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            match (call.capability.as_str(), name.as_str()) {
                ("http", "method") => drop(seen.methods.insert(text)),
                ("http", "path") => drop(seen.paths.insert(text)),
                ("http", "query") => pairs(value).into_iter().for_each(|(name, text)| {
                    seen.arguments.entry(format!("query.{name}")).or_default().insert(text);
                }),
                ("config", "key" | "value") if !value.is_null() => {
                    seen.arguments.entry(name.clone()).or_default().insert(text);
                }
                _ => {}
            }
        }
    }
    let mut with_reads = false;
    let grants: Vec<Grant> = of_capability
        .into_iter()
        .map(|(capability, mut seen)| {
            let known = CAPABILITIES.iter().find(|known| known.name == capability);
            let reads = known.map_or(&[][..], |known| known.reads);
            // A GET needs a path of its own in the grant, so no read of `http` is added by guess.
            for read in reads.iter().filter(|_| capability != "http") {
                if manifest.is_some_and(|manifest| manifest.requests(&capability, read)) {
                    with_reads |= seen.verbs.insert((*read).to_owned());
                }
            }
            let http = (capability == "http").then(|| HttpGrant {
                methods: seen.methods.into_iter().collect(),
                paths: seen.paths.into_iter().collect(),
                headers: Vec::new(),
                safe_read: false,
                reversible: false,
                keyed: false,
                secret: None,
            });
            Grant {
                plugin: PluginName(plugin.to_owned()),
                capability,
                verbs: seen.verbs.into_iter().collect(),
                targets: seen.targets.into_iter().collect(),
                arguments: seen.arguments.into_iter().map(|(name, values)| (name, bound(values))).collect(),
                http,
                digest: None,
            }
        })
        .collect();
    let mut toml = String::new();
    if with_reads {
        toml.push_str("# Reads are not in the ledger: those that the manifest asks for are granted on the same targets.\n");
    }
    #[derive(Serialize)]
    struct File<'a> {
        grant: &'a [Grant],
    }
    if !grants.is_empty() {
        // All of it can be put into TOML; if one day it cannot, there is nothing to paste.
        toml.push_str(&toml::to_string(&File { grant: &grants }).unwrap_or_default());
    }
    Proposal { grants, toml }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_array().into_iter().flatten();
    pairs
        .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())))
        .collect()
}

fn bound(values: BTreeSet<String>) -> Bound {
    let numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| value.parse().ok())
        .filter(|number: &f64| number.is_finite())
        .collect();
    if values.len() > VALUES_MAX && numbers.len() == values.len() {
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return Bound { min: Some(least), max: Some(most), ..Bound::default() };
    }
    Bound { one_of: Some(values.into_iter().collect()), ..Bound::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what is proposed names just what was called, in the form in which the configuration takes it.
    #[test]
    fn the_least_set() {
        let recording = r#"
            {"host_call":{"capability":"config","verb":"set","target":"worker","arguments":"{\"key\":\"pool_size\",\"value\":\"16\"}"}}
            {"capability":"config","verb":"set","target":"worker","arguments":{"key":"pool_size","value":"8"}}
            {"capability":"http","verb":"send","target":"api","arguments":{"method":"POST","path":"/drain","query":[["n","1"]]}}
        "#;
        let calls = calls_of_recording(recording).unwrap();
        assert_eq!(calls.len(), 3);
        let proposal = propose("fixer", &calls, None);
        let [config_grant, http_grant] = proposal.grants.as_slice() else { panic!("{proposal:?}") };
        assert_eq!(
            (config_grant.capability.as_str(), config_grant.verbs.as_slice()),
            ("config", &["set".to_owned()][..])
        );
        let one_of = |name: &str| config_grant.arguments[name].one_of.clone().unwrap();
        assert_eq!(
            (one_of("key"), one_of("value")),
            (vec!["pool_size".to_owned()], vec!["16".to_owned(), "8".to_owned()])
        );
        let http = http_grant.http.as_ref().unwrap();
        assert_eq!(
            (http.methods.as_slice(), http.paths.as_slice()),
            (&["POST".to_owned()][..], &["/drain".to_owned()][..])
        );
        assert!(http_grant.arguments.contains_key("query.n"));
        let config: crate::config::Config = toml::from_str(&proposal.toml).unwrap();
        assert_eq!(config.grants, proposal.grants);
        assert!(calls_of_recording("not json").is_err());
    }
}
