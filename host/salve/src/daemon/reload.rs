//! What changes while the daemon runs: configuration, policies, plugins.
//!
//! ## What always holds
//! - what is broken is refused whole, said so, and what was in force stays in force
//! - a change of one detector leaves the others and their state alone

use super::{
    Daemon,
    detectors::{Binding, Command},
    watch::FileWatch,
};
use crate::config::{self, Config, DetectorConfig};
use anyhow::{Context, Result};
use salve_capabilities::BrokersConfig;
use salve_plugins::{CompilerProgram, HostConfig, Role};
use salve_signals::{BindingId, DetectorBinding};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

/// How long a file of a plugin that has changed is waited for; one that has to be compiled takes longer, and is bound when it
/// is there.
const PLUGIN_PATIENCE: Duration = Duration::from_millis(500);

/// Bindings that the signals thread has, by name.
#[derive(Default)]
pub struct Bindings {
    bound: BTreeMap<String, (DetectorConfig, BindingId)>,
}

/// What the plugin host needs to know.
pub fn host_config(config: &Config) -> HostConfig {
    HostConfig {
        limits: config.plugins.limits,
        plugins: config.plugins.limits_of.clone(),
        compiler: Some(this_program()),
        compile_memory_bytes: config.plugins.compile_memory_bytes,
        compile_timeout_ms: config.plugins.compile_timeout_ms,
        count_fuel: config.plugins.count_fuel,
        cache_bytes_max: config.plugins.cache_bytes_max,
        component_bytes_max: config.plugins.component_bytes_max,
        instances_max: config.plugins.instances_max,
        calls_max: config.plugins.calls_max,
        stack_bytes: config.plugins.stack_bytes,
        quarantine_traps: config.plugins.quarantine_traps,
        quarantine_window_ms: config.plugins.quarantine_window_ms,
        ..HostConfig::new(
            config.plugins.cache_directory.clone().unwrap_or_else(|| config.state_directory.join("compiled")),
        )
    }
}

/// What runs now compiles, even if its file has been replaced since: only so does the result fit.
fn this_program() -> CompilerProgram {
    CompilerProgram { program: PathBuf::from("/proc/self/exe"), arguments: vec!["compile".into()] }
}

/// What the brokers need to know.
pub fn brokers_config(config: &Config, config_path: &Path, listeners: &[SocketAddr]) -> BrokersConfig {
    BrokersConfig {
        mode: config.mode,
        units: config.processes.clone(),
        targets: config.targets.clone(),
        grants: config.grants.clone(),
        channels: config.channels.clone(),
        secrets: config.secrets.clone(),
        state_dir: config.state_directory.join("brokers"),
        pause_file: config.pause_file(),
        protected: own_files(config, config_path),
        protected_addresses: listeners.to_vec(),
        config_good_after_ms: config.config_files.good_after_ms,
        config_recheck_ms: config.config_files.recheck_ms,
        config_versions_max: config.config_files.versions_max,
        config_backups_max: config.config_files.backups_max,
        ..BrokersConfig::default()
    }
}

/// Salve's own files and folders, which no broker touches, whatever is granted.
fn own_files(config: &Config, config_path: &Path) -> Vec<PathBuf> {
    // Who could change a publisher's key could make any plugin a trusted one.
    let keys = config.publishers.iter().filter(|publisher| !publisher.is_inline());
    // Compiled components are native code.
    let compiled = config.plugins.cache_directory.iter().cloned();
    let tls = config.otlp.tls.iter().flat_map(|tls| [tls.cert_path.clone(), tls.key_path.clone()]);
    let tokens = config.otlp.tokens.iter().filter_map(|token| token.token_path.clone());
    let secrets = config.secrets.iter().filter_map(|secret| secret.file.clone());
    [
        config.state_directory.clone(),
        config_path.to_owned(),
        config.plugins.directory.clone(),
        config.lock_path(),
        config.policies.directory.clone(),
    ]
    .into_iter()
    .chain(keys.map(|publisher| PathBuf::from(&publisher.key)))
    .chain(compiled)
    .chain(tls)
    .chain(tokens)
    .chain(secrets)
    .collect()
}

/// Keys whose change is not in force until the daemon starts again.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (&old.plugins, &new.plugins);
    [
        ("otlp", old.otlp != new.otlp),
        ("health", old.health != new.health),
        ("state_directory", old.state_directory != new.state_directory),
        ("log", old.log != new.log),
        ("plugins.cache_directory", before.cache_directory != after.cache_directory),
        ("plugins.compile_memory_bytes", before.compile_memory_bytes != after.compile_memory_bytes),
        ("plugins.compile_timeout_ms", before.compile_timeout_ms != after.compile_timeout_ms),
        ("plugins.snapshot_ms", before.snapshot_ms != after.snapshot_ms),
        ("plugins.limits", (&before.limits, &before.limits_of) != (&after.limits, &after.limits_of)),
        ("plugins.cache_bytes_max", before.cache_bytes_max != after.cache_bytes_max),
        ("plugins.component_bytes_max", before.component_bytes_max != after.component_bytes_max),
        ("plugins.instances_max", before.instances_max != after.instances_max),
        ("plugins.calls_max", before.calls_max != after.calls_max),
        ("plugins.stack_bytes", before.stack_bytes != after.stack_bytes),
        ("plugins.quarantine_traps", before.quarantine_traps != after.quarantine_traps),
        ("plugins.quarantine_window_ms", before.quarantine_window_ms != after.quarantine_window_ms),
        ("plugins.count_fuel", before.count_fuel != after.count_fuel),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

impl Daemon {
    /// Reads everything again, and waits for all of it.
    ///
    /// # Errors
    /// If the configuration cannot be used; the old one stays. Broken policies and plugins are in the status.
    pub async fn reload(&self) -> Result<()> {
        self.reload_within(None).await
    }

    /// The same, waiting for each plugin only so long.
    async fn reload_within(&self, patience: Option<Duration>) -> Result<()> {
        let loaded = config::load(&self.config_path, std::env::vars());
        let outcome = match loaded {
            Ok(config) => self.take_over(Arc::new(config)).await,
            Err(error) => Err(anyhow::Error::new(error)),
        };
        let mut problems: Vec<String> =
            outcome.as_ref().err().map(|error| format!("{error:#}")).into_iter().collect();
        if let Err(errors) = self.policies.reload() {
            problems.push(format!("policies: {errors}"));
        }
        for problem in &problems {
            tracing::error!(problem, "Reload refused; what was in force stays.");
        }
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
        self.catalogue.set_trust(&self.config());
        self.catalogue.scan(&self.config().plugins.directory, patience).await;
        self.bind_detectors(&self.config()).await;
        self.follow_rollout().await;
        // A file that is gone may have held nothing but versions in quarantine, which changes no version's stage.
        self.tell_core_of_plugins().await;
        outcome
    }

    async fn take_over(&self, config: Arc<Config>) -> Result<()> {
        let old = self.config();
        if *old == *config {
            return Ok(());
        }
        for key in needing_restart(&old, &config) {
            tracing::warn!(key, "This key needs a restart; the rest of the new configuration is in force.");
        }
        let mut kept = Config::clone(&config);
        kept.state_directory.clone_from(&old.state_directory);
        let kept = Arc::new(kept);
        self.brokers
            .reconfigure(brokers_config(&kept, &self.config_path, &self.listeners))
            .context("the brokers refused the new configuration")?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = kept.clone();
        *self.escalation.write().unwrap_or_else(PoisonError::into_inner) = kept.escalation.channel.clone();
        self.catalogue.set_agents(kept.plugins.agents.clone());
        self.catalogue.set_rules(kept.plugins.rollout.clone());
        if old.signals != kept.signals {
            let signals = kept.signals.clone();
            self.signals.run(move |engine| engine.reconfigure(signals));
        }
        self.configure_core(&kept).await;
        tracing::info!(mode = ?kept.mode, "Configuration reloaded.");
        Ok(())
    }

    /// Makes the bindings of the configuration real: binds new ones, drops old ones, tells the detector thread.
    pub async fn bind_detectors(&self, config: &Config) {
        let mut bindings = self.bindings.lock().await;
        let wanted: BTreeMap<_, _> =
            config.detectors().into_iter().map(|detector| (detector.name.clone(), detector)).collect();
        let stale: Vec<_> = bindings
            .bound
            .iter()
            .filter(|(name, (bound, _))| {
                wanted.get(*name).is_none_or(|detector| detector.select != bound.select)
            })
            .map(|(name, (_, id))| (name.clone(), *id))
            .collect();
        for (name, id) in stale {
            bindings.bound.remove(&name);
            self.signals.run(move |signals| signals.unbind_detector(id));
        }
        let mut active = Vec::new();
        for (name, detector) in wanted {
            let Some(plugin) =
                self.catalogue.plugin(&detector.plugin).filter(|plugin| plugin.role() == Role::Detector)
            else {
                self.detector_problem(&name, format!("there is no detector plugin `{}`", detector.plugin));
                continue;
            };
            let id = match bindings.bound.get(&name) {
                Some((_, id)) => *id,
                None => {
                    let binding = DetectorBinding::new(name.clone(), detector.select.clone());
                    let Some(id) = self.signals.bind(binding).await else { return };
                    id
                }
            };
            let parameters = serde_json::to_string(&detector.parameters).unwrap_or_else(|_| "{}".into());
            bindings.bound.insert(name.clone(), (detector, id));
            let trial = self.catalogue.trial(plugin.name());
            active.push(Binding { name, id, plugin, trial, parameters });
        }
        drop(self.detector_commands.send(Command::Bindings(active)).await);
    }
}

/// Reloads whenever the configuration, a policy or a plugin changes.
pub async fn watch_files(daemon: Arc<Daemon>) {
    let mut watch = match FileWatch::new() {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "Cannot watch files; use `salve reload` or SIGHUP.");
            return;
        }
    };
    let mut stopping = daemon.stopping.subscribe();
    // What changed between the first reading and the first watch would be missed.
    watch.set(directories(&daemon), &daemon.config_path);
    drop(daemon.reload_within(Some(PLUGIN_PATIENCE)).await);
    loop {
        watch.set(directories(&daemon), &daemon.config_path);
        tokio::select! {
            () = watch.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        // The problem stands in the log and in `salve status`.
        drop(daemon.reload_within(Some(PLUGIN_PATIENCE)).await);
    }
}

fn directories(daemon: &Daemon) -> Vec<PathBuf> {
    let config = daemon.config();
    let config_directory = daemon.config_path.parent().filter(|path| !path.as_os_str().is_empty());
    vec![
        config_directory.unwrap_or(Path::new(".")).to_owned(),
        config.plugins.directory.clone(),
        config.policies.directory.clone(),
        config.lock_path().parent().map_or_else(PathBuf::new, Path::to_owned),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: everything that the plugin host is given once, when the daemon starts, is named when it changes, and nothing
    /// else is.
    #[test]
    fn what_the_plugin_host_has_needs_a_restart() {
        let old = Config::default();
        let parse = |text: &str| -> Config { toml::from_str(text).unwrap() };
        for (text, keys) in [
            ("compile_memory_bytes = 7", &["plugins.compile_memory_bytes"][..]),
            ("compile_timeout_ms = 7", &["plugins.compile_timeout_ms"]),
            ("cache_directory = 'x'", &["plugins.cache_directory"]),
            ("snapshot_ms = 7", &["plugins.snapshot_ms"]),
            ("limits.cpu_ms = 7", &["plugins.limits"]),
            ("limits_of.a.cpu_ms = 7", &["plugins.limits"]),
            ("count_fuel = true", &["plugins.count_fuel"]),
            ("cache_bytes_max = 7", &["plugins.cache_bytes_max"]),
            ("component_bytes_max = 7", &["plugins.component_bytes_max"]),
            ("instances_max = 7", &["plugins.instances_max"]),
            ("calls_max = 7", &["plugins.calls_max"]),
            ("stack_bytes = 7", &["plugins.stack_bytes"]),
            ("quarantine_traps = 7", &["plugins.quarantine_traps"]),
            ("quarantine_window_ms = 7", &["plugins.quarantine_window_ms"]),
            ("agents = ['a']", &[]),
        ] {
            let new = parse(&format!("[plugins]\n{text}\n"));
            assert_eq!(needing_restart(&old, &new), keys, "{text}");
            let host_changed = host_config(&old) != host_config(&new);
            let is_of_host = !keys.is_empty() && keys != ["plugins.snapshot_ms"];
            assert_eq!(host_changed, is_of_host, "{text}");
        }
    }

    /// Guarantees: no file that says what Salve may do, what it runs or what it must keep to itself can be a target.
    #[test]
    fn own_files_are_no_targets() {
        let text = "state_directory = '/s/state'\n\
            [plugins]\ndirectory = '/s/plugins'\nlock_file = '/s/lock'\ncache_directory = '/s/compiled'\n\
            [policies]\ndirectory = '/s/policies'\n[[publisher]]\nname = 'a'\nkey = '/s/a.pem'\n\
            [otlp.tls]\ncert_path = '/s/cert.pem'\nkey_path = '/s/key.pem'\n[[otlp.tokens]]\ntoken_path = '/s/token'\n\
            [[secret]]\nname = 'b'\nfile = '/s/secret'\n";
        let own = [
            "salve.toml",
            "state/paused",
            "plugins/a.wasm",
            "lock",
            "compiled/a",
            "policies/a.rhai",
            "a.pem",
        ];
        for file in own.into_iter().chain(["cert.pem", "key.pem", "token", "secret"]) {
            let target = format!(
                "[[target]]\nid = 't'\nconfig = {{ file = '/s/{file}', format = 'toml', keys = ['*'] }}\n"
            );
            let config: Config = toml::from_str(&format!("{text}{target}")).unwrap();
            let problems =
                salve_capabilities::problems(&brokers_config(&config, Path::new("/s/salve.toml"), &[]));
            assert!(
                problems.len() == 1 && problems[0].problem.contains("one of Salve's own files"),
                "{file}: {problems:?}"
            );
        }
    }
}
