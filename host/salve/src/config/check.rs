//! What no parser can see: names that point nowhere, and values that contradict each other.

use super::Config;
use crate::admission;
use salve_model::{PluginName, Tenant, grant::Grant, text::escape};
use salve_plugins::CAPABILITIES;
use std::collections::{BTreeMap, BTreeSet};

/// One line per problem; empty if the configuration can be used.
#[must_use]
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    unique("process", config.processes.iter().map(|process| process.name.as_str()), &mut problems);
    unique("target", config.targets.iter().map(|target| target.id.0.as_str()), &mut problems);
    unique("notify", config.channels.iter().map(|channel| channel.name.as_str()), &mut problems);
    unique("secret", config.secrets.iter().map(|secret| secret.name.as_str()), &mut problems);
    unique("detector", config.detectors.iter().map(|detector| detector.name.as_str()), &mut problems);

    let processes: BTreeSet<&str> = config.processes.iter().map(|process| process.name.as_str()).collect();
    let channels: BTreeSet<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
    let targets: BTreeSet<&str> = config.targets.iter().map(|target| target.id.0.as_str()).collect();
    let secrets: BTreeSet<&str> = config.secrets.iter().map(|secret| secret.name.as_str()).collect();
    for target in &config.targets {
        if let Some(process) = &target.process {
            known("target", &target.id.0, "process", process, &processes, &mut problems);
        }
        if let Some(channel) = &target.notify {
            known("target", &target.id.0, "notify", channel, &channels, &mut problems);
        }
    }
    for channel in &config.channels {
        if let Some(secret) = &channel.secret {
            known("notify", &channel.name, "secret", secret, &secrets, &mut problems);
        }
    }
    tenants(config, &mut problems);
    for grant in &config.grants {
        for target in grant.targets.iter().filter(|target| target.0 != "*") {
            known("grant", &grant.plugin.0, "target", &target.0, &targets, &mut problems);
        }
        if let Some(secret) = grant.http.as_ref().and_then(|http| http.secret.as_ref()) {
            known("grant", &grant.plugin.0, "secret", secret, &secrets, &mut problems);
        }
        verbs(grant, &mut problems);
        if !is_plugin_name(&grant.plugin) {
            problems.push(format!(
                "grant: `{}` is no plugin name (lower-case ASCII letters, digits and hyphens)",
                grant.plugin
            ));
        }
    }
    for grant in &config.grants {
        if let Some(digest) = &grant.digest
            && let Err(error) = digest.parse::<salve_distribution::Digest>()
        {
            problems.push(format!("grant `{}`: digest: {error}", grant.plugin));
        }
    }
    unique("publisher", config.publishers.iter().map(|publisher| publisher.name.as_str()), &mut problems);
    if let Err(errors) = admission::publishers(config) {
        problems.extend(errors);
    }
    if config.plugins.dev {
        development(config, &mut problems);
    }
    if let Some(channel) = &config.escalation.channel {
        known("escalation", "channel", "notify", channel, &channels, &mut problems);
    }
    problems.extend(config.otlp.problems().into_iter().map(|problem| format!("otlp: {problem}")));
    problems.extend(config.signals.problems().into_iter().map(|problem| format!("signals: {problem}")));
    let rollout = config.plugins.rollout.problems();
    problems.extend(rollout.into_iter().map(|problem| format!("plugins.rollout: {problem}")));
    let plugins = &config.plugins;
    for (key, value) in [
        ("guards.tick_ms", config.guards.tick_ms),
        ("plugins.component_bytes_max", plugins.component_bytes_max),
        ("plugins.instances_max", plugins.instances_max.into()),
        ("plugins.calls_max", plugins.calls_max.into()),
        ("plugins.stack_bytes", plugins.stack_bytes.into()),
        ("plugins.quarantine_traps", plugins.quarantine_traps.into()),
    ] {
        if value == 0 {
            problems.push(format!("{key} must be at least 1"));
        }
    }
    problems
}

/// Capability and verbs of a grant: what is misspelt would grant nothing, and nobody would be told.
fn verbs(grant: &Grant, problems: &mut Vec<String>) {
    let (plugin, name) = (&grant.plugin.0, &grant.capability);
    let Some(capability) = CAPABILITIES.iter().find(|known| known.name == name) else {
        let names: BTreeSet<&str> = CAPABILITIES.iter().map(|known| known.name).collect();
        problems.push(format!(
            "grant `{plugin}`: there is no capability `{}`{}",
            escape(name, 60),
            nearest_of(name, &names)
        ));
        return;
    };
    let known: BTreeSet<&str> = capability.verbs().collect();
    for verb in grant.verbs.iter().filter(|verb| *verb != "*" && !known.contains(verb.as_str())) {
        problems.push(format!(
            "grant `{plugin}`: `{name}` has no verb `{}`{}",
            escape(verb, 60),
            nearest_of(verb, &known)
        ));
    }
}

/// What was probably meant, or all there is.
fn nearest_of(name: &str, names: &BTreeSet<&str>) -> String {
    nearest(name, names).map_or_else(
        || format!("; there are {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
        |known| format!("; did you mean `{known}`?"),
    )
}

fn nearest<'a>(name: &str, names: &BTreeSet<&'a str>) -> Option<&'a str> {
    names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .filter(|(similarity, _)| *similarity > 0.7)
        .map(|(_, known)| known)
}

/// Names of tenants, and grants on targets of another one.
fn tenants(config: &Config, problems: &mut Vec<String>) {
    let mut check = |owner: String, tenant: &Tenant| {
        if !tenant.is_valid() {
            problems.push(format!(
                "{owner}: `{}` is no name of a tenant (1 to 60 lower-case ASCII letters, digits, `-`, `_`, `.`)",
                escape(&tenant.0, 100)
            ));
        }
    };
    for (index, token) in config.otlp.tokens.iter().enumerate() {
        check(format!("otlp.tokens[{index}]"), &token.tenant);
    }
    config.targets.iter().for_each(|target| check(format!("target `{}`", target.id), &target.tenant));
    config.grants.iter().for_each(|grant| check(format!("grant `{}`", grant.plugin), &grant.tenant));
    let owners: BTreeMap<_, _> = config.targets.iter().map(|target| (&target.id, &target.tenant)).collect();
    for grant in &config.grants {
        for target in &grant.targets {
            let Some(owner) = owners.get(target).filter(|owner| ***owner != grant.tenant) else { continue };
            let owner = escape(&owner.0, 60);
            problems.push(format!(
                "grant `{}`: target `{target}` is of tenant `{owner}`, the grant of `{}`; write `tenant = \"{owner}\"` into \
                 the grant, or name a target of its own tenant",
                grant.plugin,
                escape(&grant.tenant.0, 60)
            ));
        }
    }
}

/// What is unsigned may load, so nothing beyond this machine may be touched.
fn development(config: &Config, problems: &mut Vec<String>) {
    let targets = config.targets.iter().filter_map(|target| {
        Some((format!("target `{}`", target.id.0), target.http.as_ref()?.base_url.as_str()))
    });
    let channels =
        config.channels.iter().map(|channel| (format!("notify `{}`", channel.name), channel.url.as_str()));
    for (owner, url) in targets.chain(channels) {
        if !is_loopback(url) {
            problems.push(format!(
                "{owner}: plugins.dev = true lets unsigned plugins load, so its address must be on this machine"
            ));
        }
    }
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<hyper::Uri>().ok();
    let host = uri.as_ref().and_then(hyper::Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_plugin_name(name: &PluginName) -> bool {
    !name.0.is_empty()
        && name.0.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn unique<'a>(table: &str, names: impl Iterator<Item = &'a str>, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            problems.push(format!("[[{table}]] `{name}` is there twice"));
        }
    }
}

fn known(
    table: &str,
    owner: &str,
    kind: &str,
    name: &str,
    names: &BTreeSet<&str>,
    problems: &mut Vec<String>,
) {
    if names.contains(name) {
        return;
    }
    let nearest = nearest(name, names).map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
    problems.push(format!("{table} `{owner}`: there is no [[{kind}]] `{name}`{nearest}"));
}
