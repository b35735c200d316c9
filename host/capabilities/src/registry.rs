//! The operator's words, checked once and joined: units, targets, grants, channels and secrets of one configuration.

use crate::{
    BrokersConfig, ChannelConfig, SecretConfig, TargetConfig, UnitConfig,
    config::file::FilePlace,
    http::address::{AddressPolicy, Origin},
    notify::Template,
    process::START_ID,
    storage,
};
use salve_model::{Target, TargetId, grant::Grant};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is wrong in the configuration of the brokers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {problem}")]
pub struct SettingsError {
    /// For instance ``[[target]] `checkout` ``.
    pub place: String,
    /// What is wrong there, and a way out.
    pub problem: String,
}

/// One configuration, checked. Never changes; a reload makes a new one.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) config: BrokersConfig,
    targets: BTreeMap<TargetId, ResolvedTarget>,
    channels: BTreeMap<String, Arc<Channel>>,
}

/// A target and what is behind it.
#[derive(Debug)]
pub(crate) struct ResolvedTarget {
    pub(crate) model: Target,
    pub(crate) unit: Option<String>,
    pub(crate) file: Option<Arc<FilePlace>>,
    pub(crate) http: Option<(Origin, AddressPolicy)>,
    pub(crate) channel: Option<Arc<Channel>>,
}

/// A channel, its template parsed.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) config: ChannelConfig,
    pub(crate) origin: Origin,
    pub(crate) path_and_query: String,
    pub(crate) policy: AddressPolicy,
    pub(crate) template: Template,
}

impl ResolvedTarget {
    /// The object that a capability touches here; none if the target does not have it.
    pub(crate) fn object(&self, capability: &str) -> Option<String> {
        match capability {
            "process" => self.unit.as_ref().map(|unit| format!("process:{unit}")),
            "config" => self.file.as_ref().map(|file| format!("config:{}", file.path.display())),
            "http" => self.http.as_ref().map(|(origin, _)| format!("http:{origin}")),
            "notify" => self.channel.as_ref().map(|channel| format!("notify:{}", channel.config.name)),
            _ => None,
        }
    }
}

impl Registry {
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn new(config: BrokersConfig) -> Result<Self, SettingsError> {
        let (registry, problems) = Self::read(config);
        problems.into_iter().next().map_or(Ok(registry), Err)
    }

    /// What of the configuration makes sense, and all that does not.
    fn read(config: BrokersConfig) -> (Self, Vec<SettingsError>) {
        let mut problems: Vec<SettingsError> = [
            unique("[[process]]", config.units.iter().map(|unit| unit.name.as_str())),
            unique("[[target]]", config.targets.iter().map(|target| target.id.0.as_str())),
            unique("[[notify]]", config.channels.iter().map(|channel| channel.name.as_str())),
            unique("[[secret]]", config.secrets.iter().map(|secret| secret.name.as_str())),
        ]
        .into_iter()
        .chain(config.units.iter().map(check_unit))
        .chain(config.secrets.iter().map(|secret| check_secret(secret, &config)))
        .filter_map(Result::err)
        .collect();
        if config.http_within_ms > 25_000 {
            let problem = "`http_within_ms` is above 25,000, so a paused Salve could still act";
            problems.push(wrong("brokers", problem.into()));
        }
        let mut channels = BTreeMap::new();
        for channel in &config.channels {
            match check_channel(channel) {
                Ok(checked) => drop(channels.insert(channel.name.clone(), Arc::new(checked))),
                Err(problem) => problems.push(problem),
            }
        }
        let mut targets = BTreeMap::new();
        for target in &config.targets {
            match check_target(target, &config, &channels) {
                Ok(checked) => drop(targets.insert(target.id.clone(), checked)),
                Err(problem) => problems.push(problem),
            }
        }
        (Self { config, targets, channels }, problems)
    }

    pub(crate) fn target(&self, id: &TargetId) -> Option<&ResolvedTarget> {
        self.targets.get(id)
    }

    pub(crate) fn channel(&self, name: &str) -> Option<&Arc<Channel>> {
        self.channels.get(name)
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &ResolvedTarget> {
        self.targets.values()
    }

    /// Units with the targets that stand for them.
    pub(crate) fn units(&self) -> Vec<(UnitConfig, Vec<TargetId>)> {
        let targets_of = |name: &str| {
            let stands_for = |target: &&ResolvedTarget| target.unit.as_deref() == Some(name);
            self.targets.values().filter(stands_for).map(|target| target.model.id.clone()).collect()
        };
        self.config.units.iter().map(|unit| (unit.clone(), targets_of(&unit.name))).collect()
    }

    /// The text of a secret, read now.
    pub(crate) fn secret(&self, name: &str) -> Result<String, String> {
        let secret = self.config.secrets.iter().find(|secret| secret.name == name);
        let secret = secret.ok_or_else(|| format!("there is no [[secret]] `{name}`"))?;
        let text = match (&secret.file, &secret.env) {
            (Some(file), None) => storage::read_bounded(file, 65_536)
                .map_err(|error| format!("cannot read secret `{name}`: {error}"))
                .and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|_| format!("secret `{name}` is not UTF-8"))
                })?,
            (None, Some(variable)) => std::env::var(variable)
                .map_err(|_| format!("variable `{variable}` of secret `{name}` is not set"))?,
            _ => return Err(format!("[[secret]] `{name}` needs exactly one of `file` and `env`")),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("secret `{name}` is empty"));
        }
        Ok(text.to_owned())
    }
}

/// Everything for which [`crate::Brokers::new`] and a reload would refuse this configuration. Starts and touches nothing.
#[must_use]
pub fn problems(config: &BrokersConfig) -> Vec<SettingsError> {
    Registry::read(config.clone()).1
}

/// Secrets that cannot be read now, by this user and in this environment, each in a sentence.
#[must_use]
pub fn unreadable_secrets(config: &BrokersConfig) -> Vec<String> {
    let (registry, _) = Registry::read(config.clone());
    config.secrets.iter().filter_map(|secret| registry.secret(&secret.name).err()).collect()
}

/// `path` is one of Salve's own files or lies in one of its folders, by name or by inode (links, mounts).
pub(crate) fn is_protected(config: &BrokersConfig, path: &Path) -> bool {
    let real = real_path(path);
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let found = inode(path);
    let own = [&config.state_dir, &config.pause_file];
    config.protected.iter().chain(own).any(|protected| {
        path.starts_with(protected)
            || (found.is_some() && inode(protected) == found)
            || real.starts_with(real_path(protected))
    })
}

/// The path without links, as far as it exists.
fn real_path(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => real_path(folder).join(name),
        _ => path.to_owned(),
    }
}

fn wrong(place: &str, problem: String) -> SettingsError {
    SettingsError { place: place.to_owned(), problem }
}

fn unique<'a>(table: &str, names: impl Iterator<Item = &'a str>) -> Result<(), SettingsError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain) {
            let problem =
                "names are 1 to 100 lower-case letters, digits, `-`, `_`, `.`, and begin with no dot";
            return Err(wrong(&format!("{table} `{name}`"), problem.into()));
        }
        if !seen.insert(name) {
            return Err(wrong(
                &format!("{table} `{name}`"),
                "the name is there twice; give one another name".into(),
            ));
        }
    }
    Ok(())
}

fn check_unit(unit: &UnitConfig) -> Result<(), SettingsError> {
    let wrong = |problem: String| Err(wrong(&format!("[[process]] `{}`", unit.name), problem));
    let Some(program) = unit.command.first().map(Path::new) else {
        return wrong("`command` is empty; it needs a program and its arguments".into());
    };
    if !program.is_absolute() {
        return wrong(format!(
            "`{}` is no absolute path; write for instance `/usr/bin/sleep`",
            program.display()
        ));
    }
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let salve = std::env::current_exe().ok().and_then(|path| inode(&path));
    if salve.is_some() && inode(program) == salve {
        return wrong("the program is Salve itself, which does not supervise itself".into());
    }
    if unit.environment.contains_key(START_ID) {
        return wrong(format!("`environment` sets `{START_ID}`, which Salve sets itself; leave it out"));
    }
    if unit.stop_grace_ms > 20_000 {
        return wrong("`stop_grace_ms` is above 20,000, so a paused Salve could still act".into());
    }
    if !unit.log_file.is_absolute() {
        return wrong(format!("`log_file` `{}` is no absolute path", unit.log_file.display()));
    }
    Ok(())
}

fn check_secret(secret: &SecretConfig, config: &BrokersConfig) -> Result<(), SettingsError> {
    let place = format!("[[secret]] `{}`", secret.name);
    if secret.file.is_some() == secret.env.is_some() {
        return Err(wrong(&place, "it needs exactly one of `file` and `env`".into()));
    }
    let channels = config.channels.iter().filter(|channel| channel.secret.as_ref() == Some(&secret.name));
    let uses =
        |grant: &&Grant| grant.http.as_ref().is_some_and(|http| http.secret.as_ref() == Some(&secret.name));
    let grants: Vec<&Grant> = config.grants.iter().filter(uses).collect();
    if channels.count() + usize::from(!grants.is_empty()) > 1 {
        let problem = "more than one channel, or a channel and a grant, use it; a secret belongs to one, so give each its \
                       own [[secret]]";
        return Err(wrong(&place, problem.into()));
    }
    check_owner(&grants).map_err(|problem| wrong(&place, problem))
}

/// Grants that share a secret are one plugin's, on one target: neither another plugin nor another server gets it.
fn check_owner(grants: &[&Grant]) -> Result<(), String> {
    let owner = |grant: &Grant| (grant.plugin.clone(), grant.tenant.clone());
    let owners: BTreeSet<_> = grants.iter().map(|grant| owner(grant)).collect();
    let targets: BTreeSet<_> = grants.iter().flat_map(|grant| &grant.targets).collect();
    let way_out = "give each its own [[secret]], which may read the same file";
    if owners.len() > 1 {
        let names: Vec<_> = owners.iter().map(|(plugin, _)| format!("`{plugin}`")).collect();
        return Err(format!(
            "the grants of {} use it; a secret belongs to one plugin of one tenant: {way_out}",
            names.join(", ")
        ));
    }
    if targets.len() > 1 || targets.iter().any(|target| target.0 == "*") {
        let names: Vec<_> = targets.iter().map(|target| format!("`{target}`")).collect();
        return Err(format!(
            "it would go to the targets {}; a secret belongs to one target: {way_out}",
            names.join(", ")
        ));
    }
    Ok(())
}

fn check_channel(channel: &ChannelConfig) -> Result<Channel, SettingsError> {
    let place = format!("[[notify]] `{}`", channel.name);
    let (origin, path_and_query) =
        Origin::with_path(&channel.url).map_err(|problem| wrong(&place, problem))?;
    let policy = AddressPolicy::new(&channel.address_ranges).map_err(|problem| wrong(&place, problem))?;
    let template = Template::parse(&channel.template).map_err(|problem| wrong(&place, problem))?;
    Ok(Channel { config: channel.clone(), origin, path_and_query, policy, template })
}

fn check_target(
    target: &TargetConfig,
    config: &BrokersConfig,
    channels: &BTreeMap<String, Arc<Channel>>,
) -> Result<ResolvedTarget, SettingsError> {
    let place = format!("[[target]] `{}`", target.id);
    if let Some(unit) = &target.process
        && !config.units.iter().any(|listed| listed.name == *unit)
    {
        return Err(wrong(&place, format!("there is no [[process]] `{unit}`")));
    }
    let file = match &target.config {
        Some(file) => {
            if is_protected(config, &file.file) {
                let problem =
                    format!("`{}` is one of Salve's own files, which no broker touches", file.file.display());
                return Err(wrong(&place, problem));
            }
            Some(Arc::new(FilePlace::new(target, file).map_err(|problem| wrong(&place, problem))?))
        }
        None => None,
    };
    let http = match &target.http {
        Some(http) => {
            let origin = Origin::parse(&http.base_url).map_err(|problem| wrong(&place, problem))?;
            let policy =
                AddressPolicy::new(&http.address_ranges).map_err(|problem| wrong(&place, problem))?;
            Some((origin, policy))
        }
        None => None,
    };
    let channel = target.notify.as_ref().and_then(|name| channels.get(name).cloned());
    if let Some(name) = target.notify.as_ref().filter(|_| channel.is_none())
        && !config.channels.iter().any(|listed| listed.name == *name)
    {
        return Err(wrong(&place, format!("there is no [[notify]] `{name}`")));
    }
    let model = Target {
        id: target.id.clone(),
        tenant: target.tenant.clone(),
        attributes: target.select.clone(),
        objects: Vec::new(),
    };
    let mut resolved = ResolvedTarget { model, unit: target.process.clone(), file, http, channel };
    let capabilities = ["process", "config", "http", "notify"];
    resolved.model.objects =
        capabilities.iter().filter_map(|capability| resolved.object(capability)).collect();
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unit(command: &str, stop_grace_ms: u64) -> UnitConfig {
        let unit = json!({ "name": "shop", "command": [command], "log_file": "/tmp/shop.log",
            "stop_grace_ms": stop_grace_ms });
        serde_json::from_value(unit).unwrap()
    }

    /// Guarantees: no call of a broker can go on for 30 s after the kill switch: what would be longer is refused.
    #[test]
    fn calls_end_within_30_seconds_of_a_pause() {
        let at = |http_within_ms, stop_grace_ms| {
            let units = vec![unit("/bin/sleep", stop_grace_ms)];
            problems(&BrokersConfig { http_within_ms, units, ..BrokersConfig::default() })
        };
        assert_eq!(at(25_000, 20_000), []);
        for (http, stop) in [(25_001, 20_000), (25_000, 20_001)] {
            let found = at(http, stop);
            assert!(
                found.len() == 1 && found[0].problem.contains("a paused Salve could still act"),
                "{found:?}"
            );
        }
        assert!(BrokersConfig::default().http_within_ms <= 25_000);
    }

    /// Guarantees: everything that is wrong is told at once.
    #[test]
    fn all_problems_together() {
        let target = |id: &str, base_url: &str| {
            serde_json::from_value(json!({ "id": id, "http": { "base_url": base_url } })).unwrap()
        };
        let config = BrokersConfig {
            units: vec![unit("sleep", 1)],
            targets: vec![target("a", "ftp://a"), target("b", "http://b/path")],
            ..BrokersConfig::default()
        };
        let places: Vec<String> = problems(&config).into_iter().map(|problem| problem.place).collect();
        assert_eq!(places, ["[[process]] `shop`", "[[target]] `a`", "[[target]] `b`"]);
    }
}
