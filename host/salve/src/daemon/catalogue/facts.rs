//! What the state machine of versions needs to know of a component.

use salve_plugins::Plugin;
use salve_rollout::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// Of a version that is loaded.
pub(super) fn facts(plugin: &Plugin) -> Facts {
    let manifest = plugin.manifest();
    let limits = serde_json::to_value(manifest.limits).unwrap_or_default();
    let limits = limits.as_object().into_iter().flatten();
    let mut requests = BTreeMap::<String, BTreeSet<String>>::new();
    for request in &manifest.capabilities {
        let known =
            salve_plugins::CAPABILITIES.iter().find(|capability| capability.name == request.capability);
        let all: Vec<String> =
            known.into_iter().flat_map(salve_plugins::Capability::verbs).map(String::from).collect();
        let verbs = requests.entry(request.capability.clone()).or_default();
        for verb in &request.verbs {
            let meant = if verb == "*" { all.as_slice() } else { std::slice::from_ref(verb) };
            verbs.extend(meant.iter().cloned());
        }
    }
    Facts {
        name: manifest.name.0.clone(),
        digest: plugin.digest().to_owned(),
        version: manifest.version.clone(),
        role: manifest.role.to_string(),
        requests,
        schema: manifest.parameters.clone(),
        limits: limits.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect(),
        contract: manifest.contract.clone(),
    }
}
