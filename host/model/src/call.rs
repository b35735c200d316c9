//! The calls that actions make on targets, between the plugin host (which speaks WIT) and the brokers (which act).

use crate::{
    Attributes, TargetId,
    plan::{Call, Receipt},
    telemetry::Change,
};
use serde::{Deserialize, Serialize};
use std::{future::Future, pin::Pin};

/// A call that changes nothing. Fields are those of the contract.
#[expect(missing_docs, reason = "the fields are documented in the contract")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read {
    /// `process.status`
    ProcessStatus { target: TargetId },
    /// `config.get`
    ConfigGet { target: TargetId, key: String },
    /// `config.history`
    ConfigHistory { target: TargetId, key: String },
    /// `config.keys`
    ConfigKeys { target: TargetId },
    /// `http.get`
    HttpGet(HttpRequest),
}

/// Answer to a [`Read`], variant by variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadAnswer {
    /// To `ProcessStatus`.
    ProcessStatus(ProcessStatus),
    /// To `ConfigGet`.
    ConfigValue(Option<String>),
    /// To `ConfigHistory`, newest first.
    ConfigVersions(Vec<ConfigVersion>),
    /// To `ConfigKeys`.
    ConfigKeys(Vec<(String, Option<String>)>),
    /// To `HttpGet`.
    Http(HttpResponse),
}

/// A call with an effect. Fields are those of the contract.
#[expect(missing_docs, reason = "the fields are documented in the contract")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// `process.start`
    ProcessStart { target: TargetId },
    /// `process.stop`
    ProcessStop { target: TargetId },
    /// `process.restart`
    ProcessRestart { target: TargetId },
    /// `config.set`; no value removes the key.
    ConfigSet { target: TargetId, key: String, value: Option<String> },
    /// `http.send`
    HttpSend(HttpRequest),
    /// `notify.send`
    Notify { target: TargetId, fields: Vec<(String, String)> },
}

/// What a write gives back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteAnswer {
    /// Proof.
    pub receipt: Receipt,
    /// The response of `http.send`; in a dry-run an empty 200.
    pub response: Option<HttpResponse>,
}

/// See `process.process-status` in the contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// None if it does not run.
    pub pid: Option<u32>,
    /// Unix time in nanoseconds.
    pub started: Option<u64>,
    /// `running`, `stopped`, `exited` or `zombie`.
    pub state: String,
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time together.
    pub cpu_seconds: f64,
    /// How the last run ended, in words.
    pub last_exit: Option<String>,
}

/// See `config.version` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigVersion {
    /// None: the key was absent.
    pub value: Option<String>,
    /// Unix time in nanoseconds.
    pub since: u64,
    /// It was in force for the configured time with no open incident on the target.
    pub good: bool,
}

/// See `http.request` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The target that has scheme, host and port.
    pub target: TargetId,
    /// Upper-case.
    pub method: String,
    /// Absolute, without host.
    pub path: String,
    /// In order.
    pub query: Vec<(String, String)>,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// As it is sent.
    pub body: Vec<u8>,
    /// For grants that declare the call keyed.
    pub idempotency_key: Option<String>,
}

/// See `http.response` in the contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// HTTP status.
    pub status: u16,
    /// Secrets removed.
    pub headers: Vec<(String, String)>,
    /// Bounded.
    pub body: Vec<u8>,
}

/// Why the host refused a call; see `types.denied` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denied {
    /// With the TOML that would allow it.
    NotGranted(String),
    /// With what came closest.
    NotInPlan(String),
    /// The recording does not have it.
    NotRecorded,
    /// With the state now.
    StateChanged(String),
    /// An operator has paused Salve.
    KillSwitch,
    /// Which limit.
    Limit(String),
    /// What no grant allows: a request that hides what it means, an address that Salve never calls, a link in a file's
    /// place. With the reason. Guests see it as a call that failed, since version 0.1 of the contract has no word for it.
    Never(String),
}

/// Why a call failed; see `types.call-error` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallError {
    /// Refused before anything happened.
    Denied(Denied),
    /// No such thing.
    NotFound(String),
    /// Tried, and it did not work.
    Failed(String),
    /// No answer in time.
    TimedOut,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(Denied::NotGranted(toml)) => {
                write!(f, "denied: not granted; this would allow it:\n{toml}")
            }
            Self::Denied(Denied::NotInPlan(closest)) => write!(f, "denied: not in the plan ({closest})"),
            Self::Denied(Denied::NotRecorded) => f.write_str("denied: not in the recording"),
            Self::Denied(Denied::StateChanged(now)) => {
                write!(f, "denied: the state has changed, it is now {now}")
            }
            Self::Denied(Denied::KillSwitch) => f.write_str("denied: Salve is paused"),
            Self::Denied(Denied::Limit(limit)) => write!(f, "denied: limit reached: {limit}"),
            Self::Denied(Denied::Never(why)) => write!(f, "denied, whatever is granted: {why}"),
            Self::NotFound(what) => write!(f, "not found: {what}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for CallError {}

impl HttpResponse {
    /// Why a write to which this is the answer had no effect, if the answer says so: a 4xx, but for those after which the
    /// server may have done it, or does it yet: 408 and 425 (about time), 409 (a repeat may conflict with the first), 429 (a
    /// proxy may answer so for a server that went on).
    ///
    /// Source: RFC 9110, section 15.5 ("the client seems to have erred"), and RFC 8470, section 5.2.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let refuses = (400..500).contains(&self.status) && !matches!(self.status, 408 | 409 | 425 | 429);
        refuses.then(|| format!("the server refused it with status {}", self.status))
    }
}

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The host's side of one guest call (`plan`, `execute` or `undo`): grants, plan, dry-run and kill switch are checked
/// behind it, writes are journalled behind it. One session serves one call of one plugin.
pub trait Session: Send + Sync {
    /// Makes a read.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>>;
    /// Makes a write, if it is granted and the plan licenses it.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>>;
}

/// Read access to telemetry for agents and actions; see `telemetry` in the contract, whose bounds the implementor keeps.
/// Windows are Unix nanoseconds, the end not included.
pub trait Telemetry: Send + Sync {
    /// `telemetry.services`
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats>;
    /// `telemetry.edges`
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats>;
    /// `telemetry.changes`
    fn changes(&self, from: u64, to: u64) -> Vec<Change>;
    /// `telemetry.find`
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo>;
    /// `telemetry.points`: time in Unix nanoseconds and value.
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)>;
}

/// See `telemetry.service-stats` in the contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// `service.name`.
    pub service: String,
    /// Served requests a second.
    pub requests_per_second: f64,
    /// 0 to 1.
    pub error_ratio: f64,
    /// Mean, in milliseconds.
    pub duration_mean_ms: f64,
    /// 95th percentile, in milliseconds.
    pub duration_p95_ms: f64,
    /// Receive time of the newest telemetry, Unix nanoseconds; 0 if never.
    pub last_seen: u64,
}

/// See `telemetry.edge-stats` in the contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeStats {
    /// Calling `service.name`.
    pub caller: String,
    /// Called `service.name`.
    pub callee: String,
    /// Calls a second.
    pub requests_per_second: f64,
    /// As the caller saw it, 0 to 1.
    pub error_ratio: f64,
    /// As the caller saw it, in milliseconds.
    pub duration_mean_ms: f64,
}

/// See `telemetry.series-info` in the contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesInfo {
    /// Process-local id.
    pub id: u32,
    /// Metric name.
    pub name: String,
    /// UCUM unit.
    pub unit: String,
    /// `service.name`.
    pub service: String,
    /// A known capacity.
    pub limit: Option<f64>,
    /// Resource and point attributes.
    pub attributes: Attributes,
}

impl Write {
    /// The capability interface, the verb and the target.
    #[must_use]
    pub fn address(&self) -> (&'static str, &'static str, &TargetId) {
        match self {
            Self::ProcessStart { target } => ("process", "start", target),
            Self::ProcessStop { target } => ("process", "stop", target),
            Self::ProcessRestart { target } => ("process", "restart", target),
            Self::ConfigSet { target, .. } => ("config", "set", target),
            Self::HttpSend(request) => ("http", "send", &request.target),
            Self::Notify { target, .. } => ("notify", "send", target),
        }
    }

    /// The call in the form in which plans license it. `body_sha256` gives the lower-case hex digest of a body; bodies
    /// appear in `arguments` by digest only.
    #[must_use]
    pub fn call(&self, body_sha256: impl Fn(&[u8]) -> String) -> Call {
        let (capability, verb, target) = self.address();
        let arguments = match self {
            Self::ProcessStart { .. } | Self::ProcessStop { .. } | Self::ProcessRestart { .. } => {
                serde_json::json!({})
            }
            Self::ConfigSet { key, value, .. } => serde_json::json!({ "key": key, "value": value }),
            Self::HttpSend(request) => serde_json::json!({
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": request.headers,
                "body-sha256": body_sha256(&request.body),
                "idempotency-key": request.idempotency_key,
            }),
            Self::Notify { fields, .. } => serde_json::json!({ "fields": fields }),
        };
        Call {
            capability: capability.into(),
            verb: verb.into(),
            target: target.clone(),
            arguments: arguments.to_string(),
        }
    }
}

impl Read {
    /// The capability interface, the verb and the target.
    #[must_use]
    pub fn address(&self) -> (&'static str, &'static str, &TargetId) {
        match self {
            Self::ProcessStatus { target } => ("process", "status", target),
            Self::ConfigGet { target, .. } => ("config", "get", target),
            Self::ConfigHistory { target, .. } => ("config", "history", target),
            Self::ConfigKeys { target } => ("config", "keys", target),
            Self::HttpGet(request) => ("http", "get", &request.target),
        }
    }
}
