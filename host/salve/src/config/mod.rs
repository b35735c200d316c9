//! `salve.toml`: what the operator says.
//!
//! ## What always holds
//! - an unknown key is refused, with the nearest known name: a misspelt safety limit must not be ignored
//! - all bad values are reported together
//! - relative paths are relative to the file's folder
//! - `SALVE_OTLP__GRPC_ADDRESS=…` overrides `otlp.grpc_address`

mod check;
#[cfg(test)]
mod example;
mod load;

pub use load::{load, state_only};

use salve_capabilities::{ChannelConfig, SecretConfig, TargetConfig, UnitConfig};
use salve_core::Settings;
use salve_ingest::IngestConfig;
use salve_model::{grant::Grant, mode::Mode};
use salve_signals::{SeriesSelector, SignalsConfig};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How far Salve may go: `observe`, `shadow`, `approve` or `act`.
    pub mode: Mode,
    /// Where the ledger, the compilation cache, configuration versions and the control socket live. Mode 0700.
    pub state_directory: PathBuf,
    /// Stop the supervised processes when Salve stops. By default they go on and are adopted at the next start.
    pub stop_children: bool,
    /// Report whether supervised processes run, as the series `process.up`.
    pub process_up: bool,
    /// What Salve says about itself.
    pub log: LogConfig,
    /// Liveness and readiness.
    pub health: HealthConfig,
    /// OTLP listeners.
    pub otlp: IngestConfig,
    /// Series, RED buckets, history.
    pub signals: SignalsConfig,
    /// Which detector looks at which series. None given: the built-in set.
    #[serde(rename = "detector")]
    pub detectors: Vec<DetectorConfig>,
    /// Components.
    pub plugins: PluginsConfig,
    /// Whose plugins may load.
    #[serde(rename = "publisher")]
    pub publishers: Vec<PublisherConfig>,
    /// Rhai policies.
    pub policies: PoliciesConfig,
    /// Guards and times of the decision core.
    pub guards: Settings,
    /// Watched configuration files.
    pub config_files: ConfigFilesConfig,
    /// Whom to tell when Salve does not know further.
    pub escalation: EscalationConfig,
    /// Processes that Salve supervises.
    #[serde(rename = "process")]
    pub processes: Vec<UnitConfig>,
    /// Things that Salve can act on.
    #[serde(rename = "target")]
    pub targets: Vec<TargetConfig>,
    /// What plugins may do. What is not granted is refused.
    #[serde(rename = "grant")]
    pub grants: Vec<Grant>,
    /// Channels for messages to people.
    #[serde(rename = "notify")]
    pub channels: Vec<ChannelConfig>,
    /// Secrets that the host adds to calls; plugins never see them.
    #[serde(rename = "secret")]
    pub secrets: Vec<SecretConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            state_directory: PathBuf::from("/var/lib/salve"),
            stop_children: false,
            process_up: true,
            log: LogConfig::default(),
            health: HealthConfig::default(),
            otlp: IngestConfig::default(),
            signals: SignalsConfig::default(),
            detectors: Vec::new(),
            plugins: PluginsConfig::default(),
            publishers: Vec::new(),
            policies: PoliciesConfig::default(),
            guards: Settings::default(),
            config_files: ConfigFilesConfig::default(),
            escalation: EscalationConfig::default(),
            processes: Vec::new(),
            targets: Vec::new(),
            grants: Vec::new(),
            channels: Vec::new(),
            secrets: Vec::new(),
        }
    }
}

impl Config {
    /// The Unix socket of `salve status` and the like.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.state_directory.join("control.sock")
    }

    /// The kill switch: Salve writes nothing while this file exists.
    #[must_use]
    pub fn pause_file(&self) -> PathBuf {
        self.state_directory.join("paused")
    }

    /// The record.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        self.state_directory.join("ledger.sqlite")
    }

    /// Which plugins are whose, as the operator has decided.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        let beside = || self.plugins.directory.join("salve-plugins.lock");
        self.plugins.lock_file.clone().unwrap_or_else(beside)
    }

    /// The core's settings with what stands elsewhere in the file: the mode, and what single detectors need.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings { mode: self.mode, ..self.guards.clone() };
        settings.confirm_points_of.extend(
            self.detectors()
                .into_iter()
                .filter_map(|detector| Some((detector.name, detector.confirm_points?))),
        );
        settings
    }

    /// The detectors given, or the built-in set.
    #[must_use]
    pub fn detectors(&self) -> Vec<DetectorConfig> {
        if self.detectors.is_empty() { built_in_detectors() } else { self.detectors.clone() }
    }
}

/// What Salve says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter such as `info` or `salve=debug,info`.
    pub level: String,
    /// `json` (one object a line) or `text`.
    pub format: LogFormat,
}

/// Form of Salve's own log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Json }
    }
}

/// Liveness (`/livez`) and readiness (`/readyz`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Where they are served. Port 13133 is the one that the OpenTelemetry Collector's health check uses.
    pub address: SocketAddr,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 13133)) }
    }
}

/// Binds a detector plugin to series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Name of the binding, unique.
    pub name: String,
    /// Which plugin.
    pub plugin: String,
    /// Which series.
    pub select: SeriesSelector,
    /// The plugin's parameters.
    #[serde(default = "empty_table")]
    pub parameters: toml::Table,
    /// Abnormal points in a row before one of these series becomes a symptom; left out, `guards.confirm_points`. More for
    /// what is restless by nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_points: Option<u32>,
}

fn empty_table() -> toml::Table {
    toml::Table::new()
}

/// Components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Folder of `*.wasm` components, watched while Salve runs.
    pub directory: PathBuf,
    /// Which plugins are whose, and what was chosen. Default: `salve-plugins.lock` in the plugin folder.
    pub lock_file: Option<PathBuf>,
    /// Load what is unsigned, for development: then every target and channel must be on this machine.
    pub dev: bool,
    /// Folder of compiled components. Default: `compiled` in the state folder.
    pub cache_directory: Option<PathBuf>,
    /// Memory that compiling a component may use, in bytes. It is done by a process of its own. Default: 1 GiB.
    pub compile_memory_bytes: u64,
    /// How long compiling a component may take, in milliseconds. Default: 300,000.
    pub compile_timeout_ms: u64,
    /// Compiled components are kept up to this size, in bytes; the least recently written leave first. Default: 1 GiB.
    pub cache_bytes_max: u64,
    /// Largest component that is read, in bytes. Default: 64 MiB.
    pub component_bytes_max: u64,
    /// Most instances of plugins alive at one time, detectors included. Default: 200.
    pub instances_max: u32,
    /// Most calls of agents and actions at one time; more wait for their turn. Default: 32.
    pub calls_max: u32,
    /// Stack of an instance, in bytes. Default: 1 MiB.
    pub stack_bytes: u32,
    /// Traps (and limits passed) of one plugin within `quarantine_window_ms` after which it is not called any more. Default: 3.
    pub quarantine_traps: u32,
    /// See `quarantine_traps`, in milliseconds. Default: 600,000.
    pub quarantine_window_ms: u64,
    /// Agents in the order in which they are asked; the first that names a cause is heard. Empty: all, by name.
    pub agents: Vec<String>,
    /// Time between two snapshots of detectors' state, in milliseconds.
    pub snapshot_ms: u64,
    /// Limits of every plugin; what is left out has its role's default.
    pub limits: salve_plugins::LimitSettings,
    /// Limits of single plugins, by name.
    pub limits_of: std::collections::BTreeMap<String, salve_plugins::LimitSettings>,
    /// Count the instructions of every call (`fuel` in `salve plugin list`). Guests are slower then.
    pub count_fuel: bool,
    /// How new versions of plugins are tried before they become active.
    pub rollout: salve_rollout::Rules,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        // What the plugin host has a default for has it there.
        let host = salve_plugins::HostConfig::new(PathBuf::new());
        Self {
            directory: PathBuf::from("plugins"),
            lock_file: None,
            dev: false,
            cache_directory: None,
            compile_memory_bytes: host.compile_memory_bytes,
            compile_timeout_ms: host.compile_timeout_ms,
            cache_bytes_max: host.cache_bytes_max,
            component_bytes_max: host.component_bytes_max,
            instances_max: host.instances_max,
            calls_max: host.calls_max,
            stack_bytes: host.stack_bytes,
            quarantine_traps: host.quarantine_traps,
            quarantine_window_ms: host.quarantine_window_ms,
            agents: Vec::new(),
            snapshot_ms: 60_000,
            limits: salve_plugins::LimitSettings::default(),
            limits_of: std::collections::BTreeMap::new(),
            count_fuel: false,
            rollout: salve_rollout::Rules::default(),
        }
    }
}

/// One whose plugins may load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    /// Your name for them, unique.
    pub name: String,
    /// Their public key: a PEM file, or the PEM text itself.
    pub key: String,
}

impl PublisherConfig {
    /// Whether `key` is the text itself.
    pub fn is_inline(&self) -> bool {
        self.key.trim_start().starts_with("-----BEGIN ")
    }
}

/// Rhai policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesConfig {
    /// Folder of `*.rhai` files, watched while Salve runs.
    pub directory: PathBuf,
    /// Bounds of one evaluation and of the set.
    pub limits: salve_policy::PolicyLimits,
}

impl Default for PoliciesConfig {
    fn default() -> Self {
        Self { directory: PathBuf::from("policies"), limits: salve_policy::PolicyLimits::default() }
    }
}

/// Watched configuration files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFilesConfig {
    /// A value counts as good after it was in force for so long with no open incident on its target, in milliseconds.
    pub good_after_ms: u64,
    /// Time between two looks at each file, besides the kernel's notices, in milliseconds.
    pub recheck_ms: u64,
    /// Most versions kept for one key.
    pub versions_max: usize,
    /// Most back-ups kept for one file.
    pub backups_max: usize,
}

impl Default for ConfigFilesConfig {
    fn default() -> Self {
        let brokers = salve_capabilities::BrokersConfig::default();
        Self {
            good_after_ms: brokers.config_good_after_ms,
            recheck_ms: brokers.config_recheck_ms,
            versions_max: brokers.config_versions_max,
            backups_max: brokers.config_backups_max,
        }
    }
}

/// Whom to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EscalationConfig {
    /// Name of a `[[notify]]` channel. None: escalations stand in the log, the ledger and `salve incident list`.
    pub channel: Option<String>,
}

/// What Salve looks at when the file names no detectors: errors, latency and lost traffic of services and of calls
/// between them, services that fall silent, and anything with a known limit.
fn built_in_detectors() -> Vec<DetectorConfig> {
    let parsed: Result<BuiltIn, _> = toml::from_str(include_str!("detectors.toml"));
    match parsed {
        Ok(built_in) => built_in.detector,
        // The file is part of the binary and a test reads it.
        Err(_) => Vec::new(),
    }
}

#[derive(Deserialize)]
struct BuiltIn {
    detector: Vec<DetectorConfig>,
}

#[cfg(test)]
mod tests {
    /// Guarantees: the embedded detector set is readable, so its error branch cannot be taken.
    #[test]
    fn built_in_detectors_parse() {
        let parsed = toml::from_str::<super::BuiltIn>(include_str!("detectors.toml"));
        assert!(parsed.as_ref().is_ok_and(|set| !set.detector.is_empty()), "{:?}", parsed.err());
    }
}
