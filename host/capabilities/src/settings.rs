//! The operator's words on units, targets, channels and secrets.

use salve_model::{Attributes, TargetId, Tenant, grant::Grant, mode::Mode};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// Everything that the brokers need to know. The lists are the operator's; the rest is the daemon's.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokersConfig {
    /// How far Salve may go. What may be written the core decides; below `approve`, what a crash cut in two stays so.
    pub mode: Mode,
    /// `[[process]]`
    pub units: Vec<UnitConfig>,
    /// `[[target]]`
    pub targets: Vec<TargetConfig>,
    /// `[[grant]]`
    pub grants: Vec<Grant>,
    /// `[[notify]]`
    pub channels: Vec<ChannelConfig>,
    /// `[[secret]]`
    pub secrets: Vec<SecretConfig>,
    /// Where the brokers keep records of processes, versions and back-ups of files. Made with mode 0700.
    pub state_dir: PathBuf,
    /// While this file exists, no write starts.
    pub pause_file: PathBuf,
    /// Salve's own files and folders, sockets among them: refused whatever is granted. `state_dir` and `pause_file`
    /// always belong to them.
    pub protected: Vec<PathBuf>,
    /// Salve's own listeners: refused whatever is granted.
    pub protected_addresses: Vec<SocketAddr>,
    /// A value counts as good after it was in force for so long with no open incident on its target, in milliseconds.
    pub config_good_after_ms: u64,
    /// Time between two looks at each watched file, besides the kernel's notices, in milliseconds.
    pub config_recheck_ms: u64,
    /// Most versions kept for one key.
    pub config_versions_max: usize,
    /// Most back-ups kept for one file.
    pub config_backups_max: usize,
    /// Largest configuration file that is read, in bytes.
    pub config_file_max_bytes: u64,
    /// Largest request and response body, in bytes.
    pub http_body_max_bytes: usize,
    /// How long a whole HTTP call may take, slow answers included, in milliseconds. At most 25,000.
    pub http_within_ms: u64,
}

impl Default for BrokersConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            units: Vec::new(),
            targets: Vec::new(),
            grants: Vec::new(),
            channels: Vec::new(),
            secrets: Vec::new(),
            state_dir: PathBuf::from("/var/lib/salve/brokers"),
            pause_file: PathBuf::from("/var/lib/salve/paused"),
            protected: Vec::new(),
            protected_addresses: Vec::new(),
            config_good_after_ms: 600_000,
            config_recheck_ms: 2_000,
            config_versions_max: 50,
            config_backups_max: 20,
            config_file_max_bytes: 1 << 20,
            http_body_max_bytes: 1 << 20,
            http_within_ms: 10_000,
        }
    }
}

/// One `[[process]]`: a program that Salve starts and supervises. It outlives the daemon and is never restarted but by
/// an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitConfig {
    /// Unique; lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Program and arguments. The program is an absolute path; no shell looks at any of it.
    pub command: Vec<String>,
    /// The whole environment: nothing is inherited. Salve adds `UNIT_START_ID`, by which it finds the process again.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Default: `/`.
    #[serde(default)]
    pub working_directory: Option<PathBuf>,
    /// Standard output and error are appended here.
    pub log_file: PathBuf,
    /// Limit of the data segment (`RLIMIT_DATA`), in bytes, set as soon as the process runs. Default: none.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// Time between SIGTERM and SIGKILL, in milliseconds. At most 20,000.
    #[serde(default = "stop_grace_ms_default")]
    pub stop_grace_ms: u64,
    /// Start it with Salve, unless it has run since the machine was booted: then its end is an incident's matter.
    #[serde(default)]
    pub autostart: bool,
}

fn stop_grace_ms_default() -> u64 {
    10_000
}

/// One `[[target]]`: a name for something that can be acted on, and the addresses behind it, which only brokers see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Unique, over all tenants.
    pub id: TargetId,
    /// Whose it is. Default: `default`.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// Telemetry of this tenant that carries all of these resource attributes is about this target.
    #[serde(default)]
    pub select: Attributes,
    /// Name of a `[[process]]`.
    #[serde(default)]
    pub process: Option<String>,
    /// A configuration file.
    #[serde(default)]
    pub config: Option<ConfigTarget>,
    /// An HTTP server.
    #[serde(default)]
    pub http: Option<HttpTarget>,
    /// Name of a `[[notify]]`.
    #[serde(default)]
    pub notify: Option<String>,
}

/// The configuration file behind a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigTarget {
    /// Absolute path.
    pub file: PathBuf,
    /// Folder below which the file must lie; no link below it is followed. Default: the file's folder.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Default: by the file's ending.
    #[serde(default)]
    pub format: Option<ConfigFormat>,
    /// Patterns (`*` for any run of characters) of dotted keys that may be read, watched and set.
    pub keys: Vec<String>,
    /// Patterns of keys whose values plugins must not see; they see handles.
    #[serde(default)]
    pub secret_keys: Vec<String>,
}

/// Formats of configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigFormat {
    /// `.toml`
    Toml,
    /// `.json`, comments allowed
    Json,
    /// `.yaml`, `.yml`; one document
    Yaml,
    /// `.env`; `NAME=value` lines
    Env,
}

/// The HTTP server behind a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    /// Scheme, host, port, and nothing else, for instance `https://checkout.example:8443`.
    pub base_url: String,
    /// Where the host's name may lead: `public` (the default), `private`, `loopback`, or networks such as
    /// `10.2.0.0/16`. Link-local and metadata addresses never.
    #[serde(default)]
    pub address_ranges: Vec<String>,
}

/// One `[[notify]]`: where messages to people go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Unique.
    pub name: String,
    /// Messages are sent here with POST, as `application/json`.
    pub url: String,
    /// JSON in which `{field}` stands for a field of the message, escaped, for instance `{"text": "{summary}"}`.
    /// The host fills in `{incident}`, `{tenant}`, `{plugin}` and `{target}`. A field that the message lacks is empty.
    pub template: String,
    /// Name of the `[[secret]]` that goes into the `authorization` header.
    #[serde(default)]
    pub secret: Option<String>,
    /// As in `http.address_ranges` of a target.
    #[serde(default)]
    pub address_ranges: Vec<String>,
}

/// One `[[secret]]`: where a secret is read at each use. Exactly one of `file` and `env`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretConfig {
    /// Unique. Belongs to one plugin on one target, whose grants may share it, or to one channel.
    pub name: String,
    /// Its text, without the line's end, is the secret.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Name of an environment variable of Salve's.
    #[serde(default)]
    pub env: Option<String>,
}
