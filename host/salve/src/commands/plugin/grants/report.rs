//! What a plugin can do, in at most eight lines.

use super::{Component, UNUSED_AFTER_MS};
use crate::{
    commands::{output, plugin::verify},
    config::Config,
    control::PluginStatus,
};
use salve_capabilities::TargetConfig;
use salve_ledger::{Entry, EntryKind};
use salve_model::{
    TargetId,
    grant::{Bound, Grant},
    plan::Call,
    text::escape,
};
use salve_plugins::{CAPABILITIES, Capability, Manifest, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Longest line.
const LINE_CHARS_MAX: usize = 400;

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) config: &'a Config,
    pub(super) component: Option<&'a Component>,
    pub(super) running: &'a [PluginStatus],
    pub(super) entries: &'a [Entry],
    pub(super) now_ms: u64,
    /// Time of the ledger's first entry; none if there is none.
    pub(super) ledger_since_ms: Option<u64>,
}

/// One capability of one grant on one target.
struct Reach<'a> {
    grant: &'a Grant,
    capability: &'static Capability,
    target: &'a TargetConfig,
    /// Verbs that are both granted and asked for.
    verbs: Vec<&'static str>,
}

/// The lines with their labels.
pub(super) fn lines(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let manifest = facts.component.and_then(|component| component.inspection.manifest.as_ref());
    let reach = reach(facts, manifest);
    let all = [
        ("who", who(facts, manifest)),
        ("worst", worst(manifest, &reach)),
        ("objects", or(list(reach.iter().map(object)), "none")),
        ("data goes to", or(list(reach.iter().filter_map(|reach| sends_to(facts, reach))), "nowhere")),
        ("secrets", or(list(secrets(facts.config, &reach)), "none")),
        ("changed", changed(facts)),
        ("not granted", or(list(not_granted(facts, manifest)), "nothing that it asks for")),
        ("unused", unused(facts, &reach)),
    ];
    all.map(|(label, text)| (label, escape(&text, LINE_CHARS_MAX))).into()
}

fn who(facts: &Facts<'_>, manifest: Option<&Manifest>) -> String {
    let Some((manifest, component)) = manifest.zip(facts.component) else {
        return format!("{} · its file is gone", facts.name);
    };
    let inspection = &component.inspection;
    let digest = inspection.digest.get(..16).unwrap_or_default();
    let stage = facts.running.iter().find(|plugin| plugin.digest == inspection.digest);
    let stage = stage.map_or("no daemon has loaded it", |plugin| plugin.stage.as_str());
    let vouched = match &component.identity {
        Ok(identity) => verify::vouched_by(identity),
        Err(why) => format!("MAY NOT LOAD: {why}"),
    };
    // What may be long stands last.
    let (name, version, role) = (facts.name, escape(&manifest.version, 40), manifest.role);
    format!("{name} {version} ({role}) · sha256 {digest}… · {stage} · {vouched}")
}

/// What requests and grants have in common, on each target that has it.
fn reach<'a>(facts: &Facts<'a>, manifest: Option<&Manifest>) -> Vec<Reach<'a>> {
    let mut reach = Vec::new();
    for grant in facts.config.grants.iter().filter(|grant| grant.plugin.0 == facts.name) {
        let Some(capability) = CAPABILITIES.iter().find(|known| known.name == grant.capability) else {
            continue;
        };
        let granted = |verb: &&str| grant.verbs.iter().any(|given| given == verb || given == "*");
        let asked = |verb: &&str| manifest.is_some_and(|manifest| manifest.requests(capability.name, verb));
        let verbs: Vec<_> = capability.verbs().filter(granted).filter(asked).collect();
        if verbs.is_empty() {
            continue;
        }
        let named = |id: &TargetId| grant.targets.iter().any(|target| target == id || target.0 == "*");
        let meant = |target: &&TargetConfig| {
            target.tenant == grant.tenant && named(&target.id) && has(target, capability.name)
        };
        for target in facts.config.targets.iter().filter(meant) {
            reach.push(Reach { grant, capability, target, verbs: verbs.clone() });
        }
    }
    reach
}

fn has(target: &TargetConfig, capability: &str) -> bool {
    match capability {
        "process" => target.process.is_some(),
        "config" => target.config.is_some(),
        "http" => target.http.is_some(),
        "notify" => target.notify.is_some(),
        _ => false,
    }
}

fn worst(manifest: Option<&Manifest>, reach: &[Reach<'_>]) -> String {
    match manifest.map(|manifest| manifest.role) {
        Some(Role::Detector) => {
            return "call healthy series abnormal or miss a fault; it can change and read nothing else"
                .into();
        }
        Some(Role::Agent) => {
            return "blame the wrong service; it reads telemetry and can change nothing".into();
        }
        _ => {}
    }
    let changes = list(reach.iter().filter_map(|reach| {
        let writes: Vec<_> =
            reach.verbs.iter().filter(|verb| reach.capability.writes.contains(verb)).copied().collect();
        if writes.is_empty() {
            return None;
        }
        let bounds = bounds(&reach.grant.arguments);
        Some(match reach.capability.name {
            "config" => format!("set {} of {}", or(bounds, "any key to any value"), object(reach)),
            "http" => {
                let http = reach.grant.http.as_ref();
                let methods = http.map_or_else(String::new, |http| http.methods.join("/"));
                let paths = http.map_or_else(String::new, |http| http.paths.join(", "));
                format!("send {methods} {paths} to {}", object(reach))
            }
            "notify" => format!("send messages to {}", object(reach)),
            _ => format!("{} {}", writes.join("/"), object(reach)),
        })
    }));
    or(
        changes,
        if reach.is_empty() {
            "nothing: it has no grant"
        } else {
            "read what is granted; it can change nothing"
        },
    )
}

fn bounds(arguments: &BTreeMap<String, Bound>) -> String {
    let of = |(name, bound): (&String, &Bound)| {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(bound.one_of.as_ref().map(|values| values.join("|")));
        parts.extend(bound.pattern.clone());
        match (bound.min, bound.max) {
            (None, None) => {}
            (min, max) => {
                let end = |end: Option<f64>| end.map_or_else(|| "any".into(), |end| end.to_string());
                parts.push(format!("{} to {}", end(min), end(max)));
            }
        }
        format!("{name} {}", parts.join(", "))
    };
    arguments.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn object(reach: &Reach<'_>) -> String {
    let target = reach.target;
    match reach.capability.name {
        "process" => format!("process {}", target.process.as_deref().unwrap_or_default()),
        "config" => target
            .config
            .as_ref()
            .map_or_else(String::new, |config| format!("file {}", config.file.display())),
        "http" => target.http.as_ref().map_or_else(String::new, |http| http.base_url.clone()),
        _ => format!("channel {}", target.notify.as_deref().unwrap_or_default()),
    }
}

/// Where data can go, and whether telemetry may be in it.
fn sends_to(facts: &Facts<'_>, reach: &Reach<'_>) -> Option<String> {
    let to = destination(facts.config, reach)?;
    let reads_telemetry = facts.component.is_some_and(Component::reads_telemetry);
    Some(match (reads_telemetry, reach.grant.may_send) {
        (false, _) => to,
        (true, true) => format!("{to}, telemetry too"),
        (true, false) => format!("not to {to}: it reads telemetry, and the grant lacks may_send = true"),
    })
}

/// Where bytes of the plugin's choice can go outside of this machine's own processes and files.
fn destination(config: &Config, reach: &Reach<'_>) -> Option<String> {
    match reach.capability.name {
        "http" => Some(reach.target.http.as_ref()?.base_url.clone()),
        "notify" => {
            let name = reach.target.notify.as_ref()?;
            let channel = config.channels.iter().find(|channel| channel.name == *name)?;
            // The path of a web hook is as good as a password.
            let host = channel.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            Some(format!("{host} (channel {name})"))
        }
        _ => None,
    }
}

fn secrets(config: &Config, reach: &[Reach<'_>]) -> Vec<String> {
    let of = |reach: &Reach<'_>| match reach.capability.name {
        "http" => reach.grant.http.as_ref()?.secret.clone(),
        "notify" => {
            let name = reach.target.notify.as_ref()?;
            config.channels.iter().find(|channel| channel.name == *name)?.secret.clone()
        }
        _ => None,
    };
    reach.iter().filter_map(|reach| Some(format!("{} (the plugin never sees it)", of(reach)?))).collect()
}

fn changed(facts: &Facts<'_>) -> String {
    let Some(component) = facts.component else { return "its file is gone".into() };
    let inspection = &component.inspection;
    let of_file = facts.running.iter().find(|plugin| plugin.digest == inspection.digest);
    match of_file {
        None if facts.running.is_empty() => "no daemon runs it".into(),
        None => "the daemon has not loaded this file".into(),
        Some(plugin) if plugin.stage == "active" => "this is the running version".into(),
        Some(plugin) => {
            let differences = list(plugin.differences.iter().map(|difference| difference.words.clone()));
            or(differences, "it asks for nothing else than the running version")
        }
    }
}

fn not_granted(facts: &Facts<'_>, manifest: Option<&Manifest>) -> Vec<String> {
    let own: Vec<_> = facts.config.grants.iter().filter(|grant| grant.plugin.0 == facts.name).collect();
    let mut missing = Vec::new();
    for capability in CAPABILITIES {
        for verb in capability.verbs() {
            let asked = manifest.is_some_and(|manifest| manifest.requests(capability.name, verb));
            let granted = own.iter().any(|grant| {
                grant.capability == capability.name
                    && grant.verbs.iter().any(|given| given == verb || given == "*")
            });
            if asked && !granted {
                missing.push(format!("{}.{verb}", capability.name));
            }
        }
    }
    missing
}

/// Writes that are granted and were not made of late. Reads are not recorded.
fn unused(facts: &Facts<'_>, reach: &[Reach<'_>]) -> String {
    let since = facts.now_ms.saturating_sub(UNUSED_AFTER_MS);
    if !reach.iter().any(|reach| reach.verbs.iter().any(|verb| reach.capability.writes.contains(verb))) {
        return "no writes are granted".into();
    }
    match facts.ledger_since_ms {
        Some(began) if began <= since => {}
        Some(began) => {
            let until = output::moment(began.saturating_add(UNUSED_AFTER_MS));
            return format!("not known before {until}, when the ledger is 30 days old");
        }
        None => return "not known: there is no ledger yet".into(),
    }
    let used: BTreeSet<(String, String, TargetId)> = facts
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::WriteIntent && entry.now_ms >= since)
        .filter_map(|entry| serde_json::from_value::<Call>(entry.payload.as_ref()?.get("call")?.clone()).ok())
        .map(|call| (call.capability, call.verb, call.target))
        .collect();
    let unused = list(reach.iter().flat_map(|reach| {
        let writes = reach.verbs.iter().filter(|verb| reach.capability.writes.contains(verb));
        let used = &used;
        writes.filter_map(move |verb| {
            let key = (reach.capability.name.to_owned(), (*verb).to_owned(), reach.target.id.clone());
            (!used.contains(&key)).then(|| format!("{}.{verb} on {}", reach.capability.name, reach.target.id))
        })
    }));
    if unused.is_empty() { "all were used within 30 days".into() } else { format!("for 30 days: {unused}") }
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let unique: BTreeSet<String> = items.into_iter().collect();
    unique.into_iter().collect::<Vec<_>>().join("; ")
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a grant is called unused only once the ledger could show its use for 30 days; a write within them counts, an
    /// older one does not; if all were used, that is said.
    #[test]
    fn unused_grants() {
        let config: Config = toml::from_str(
            "[[target]]\nid = 'shop'\nprocess = 'shop'\n\
             [[grant]]\nplugin = 'p'\ncapability = 'process'\nverbs = ['*']\ntargets = ['shop']\n",
        )
        .unwrap();
        let day = 24 * 3_600_000;
        let write = |now_ms: u64| Entry {
            seq: 1,
            now_ms,
            tenant: salve_model::Tenant::default(),
            incident: None,
            kind: EntryKind::WriteIntent,
            schema_version: 1,
            answers: None,
            hash: String::new(),
            payload: Some(
                serde_json::json!({ "plugin": "p", "call": { "capability": "process", "verb": "restart",
                "target": "shop", "arguments": "{}" } }),
            ),
        };
        let said = |verbs: Vec<&'static str>, ledger_since_ms, entries: &[Entry]| {
            let facts = Facts {
                name: "p",
                config: &config,
                component: None,
                running: &[],
                entries,
                now_ms: 100 * day,
                ledger_since_ms,
            };
            let capability = CAPABILITIES.iter().find(|known| known.name == "process").unwrap();
            let reach = Reach { grant: &config.grants[0], capability, target: &config.targets[0], verbs };
            unused(&facts, &[reach])
        };
        let restart = || vec!["restart"];
        assert_eq!(said(restart(), None, &[]), "not known: there is no ledger yet");
        assert!(said(restart(), Some(71 * day), &[]).starts_with("not known before 1970-04-12"));
        assert_eq!(said(restart(), Some(70 * day), &[]), "for 30 days: process.restart on shop");
        assert_eq!(said(restart(), Some(0), &[write(69 * day)]), "for 30 days: process.restart on shop");
        assert_eq!(said(restart(), Some(0), &[write(99 * day)]), "all were used within 30 days");
        assert_eq!(said(vec!["status"], Some(0), &[]), "no writes are granted");
    }
}
