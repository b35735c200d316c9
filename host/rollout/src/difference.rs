//! What a version asks for, and what another asks for beyond it.

use crate::schema::is_narrower;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a version without running it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
    /// Its own version.
    pub version: String,
    /// `detector`, `agent` or `action`.
    pub role: String,
    /// Verbs that it asks for, by capability; `*` is written out.
    pub requests: BTreeMap<String, BTreeSet<String>>,
    /// JSON Schema of its parameters.
    pub schema: Value,
    /// Limits that its manifest states, by name; one that it leaves out is the operator's.
    pub limits: BTreeMap<String, u64>,
    /// Version of the contract.
    pub contract: String,
}

/// One thing in which two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// For a person, for instance `asks for config.set`.
    pub words: String,
    /// The new version may do more than the old one.
    pub wider: bool,
}

/// In what `new` differs from `old`, as far as it concerns what a plugin may do.
#[must_use]
pub fn differences(new: &Facts, old: &Facts) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |words: String, wider| found.push(Difference { words, wider });
    let verbs = |facts: &Facts| -> BTreeSet<(String, String)> {
        let pairs = facts
            .requests
            .iter()
            .flat_map(|(capability, verbs)| verbs.iter().map(move |verb| (capability.clone(), verb.clone())));
        pairs.collect()
    };
    let (new_verbs, old_verbs) = (verbs(new), verbs(old));
    for (capability, verb) in new_verbs.difference(&old_verbs) {
        note(format!("asks for {capability}.{verb}"), true);
    }
    for (capability, verb) in old_verbs.difference(&new_verbs) {
        note(format!("no longer asks for {capability}.{verb}"), false);
    }
    let names: BTreeSet<&String> = new.limits.keys().chain(old.limits.keys()).collect();
    for name in names {
        match (new.limits.get(name), old.limits.get(name)) {
            (Some(new), Some(old)) if new == old => {}
            (Some(new), Some(old)) => note(format!("limit {name} is {new}, was {old}"), new > old),
            (Some(new), None) => note(format!("limit {name} is lowered to {new}"), false),
            (None, old) => note(
                format!(
                    "limit {name} is the operator's, was lowered to {}",
                    old.copied().unwrap_or_default()
                ),
                true,
            ),
        }
    }
    if new.schema != old.schema {
        if is_narrower(&new.schema, &old.schema) {
            note("takes no other parameters than before".into(), false);
        } else {
            note("may take parameters that it did not take before".into(), true);
        }
    }
    if new.contract != old.contract {
        let wider = numbers(&new.contract) > numbers(&old.contract);
        note(format!("is built for contract {}, was for {}", new.contract, old.contract), wider);
    }
    found
}

/// Numbers of a version; what is not one counts as the highest, so that it is held.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}
