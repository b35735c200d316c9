//! What the command line and the daemon say to each other: one JSON object a line over a Unix socket of mode 0600.

use anyhow::{Context, Result, bail};
use salve_capabilities::Pause;
use salve_core::{HalfDone, IncidentDetail, IncidentSummary};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// A request is at most this long.
pub const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Request {
    /// How the daemon is.
    Status,
    /// Kill switch on.
    Pause {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Kill switch off.
    Resume {
        /// Who.
        by: String,
    },
    /// Read configuration, policies and plugins again.
    Reload,
    /// Incidents, newest first.
    Incidents,
    /// One incident, whole.
    Incident {
        /// Its id.
        id: String,
    },
    /// Yes or no to the plan that waits.
    Approve {
        /// Which incident.
        id: String,
        /// Number of the plan that the person saw. Without it the incident must have had one plan only.
        #[serde(default)]
        plan: Option<u32>,
        /// Who.
        by: String,
        /// Yes or no.
        approved: bool,
    },
    /// Take the newest remedy of an incident back.
    Undo {
        /// Which incident.
        id: String,
        /// Number of the remedy that the person saw. Without it the newest is meant.
        attempt: Option<u32>,
        /// Who.
        by: String,
    },
    /// The version that stands in for one in quarantine may go on: the incident about it is closed.
    Acknowledge {
        /// Which incident.
        id: String,
        /// Who.
        by: String,
    },
    /// Loaded plugins.
    Plugins,
    /// Change which version of a plugin is active.
    Plugin(PluginCommand),
    /// Erase payloads of the ledger for good.
    Erase {
        /// Whose.
        what: Erasure,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Whose payloads are erased.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erasure {
    /// Of all entries of this incident.
    Incident(String),
    /// Of entries with these numbers, the last one included.
    Entries {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
}

/// What the operator can say about a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum PluginCommand {
    /// Read its file again, and give a version that failed another chance.
    Reload {
        /// Which plugin.
        name: String,
        /// Who.
        by: String,
    },
    /// Let the version that waits go on, though it asks for more.
    Accept {
        /// Which plugin.
        name: String,
        /// The version whose differences were seen.
        digest: String,
        /// Who.
        by: String,
    },
    /// Make the version under trial active.
    Promote {
        /// Which plugin.
        name: String,
        /// Another version, by the beginning of its digest.
        digest: Option<String>,
        /// Who.
        by: String,
    },
    /// End the trial, or go back to the version before.
    Rollback {
        /// Which plugin.
        name: String,
        /// Who.
        by: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It was done, and there is nothing to say.
    Done(String),
    /// To `Pause`: what was begun and is neither verified nor taken back.
    HalfDone(Vec<HalfDone>),
    /// To `Status`.
    Status(Box<Status>),
    /// To `Incidents`.
    Incidents(Vec<IncidentSummary>),
    /// To `Incident`.
    Incident(Box<IncidentDetail>),
    /// To `Plugins`.
    Plugins(Vec<PluginStatus>),
    /// It could not be done.
    Error(String),
}

/// How the daemon is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Salve's version.
    pub version: String,
    /// Of the daemon.
    pub pid: u32,
    /// Since start.
    pub uptime_ms: u64,
    /// `observe`, `shadow`, `approve` or `act`.
    pub mode: salve_model::mode::Mode,
    /// Kill switch.
    pub paused: bool,
    /// Who turned it on, and why, as far as the file says.
    pub pause: Option<Pause>,
    /// What was begun and is neither verified nor taken back.
    pub half_done: Vec<HalfDone>,
    /// All parts have started.
    pub ready: bool,
    /// OTLP over gRPC.
    pub otlp_grpc_address: String,
    /// OTLP over HTTP.
    pub otlp_http_address: String,
    /// Liveness and readiness.
    pub health_address: String,
    /// Incidents that are open.
    pub incidents_open: usize,
    /// Series in memory.
    pub series: u64,
    /// Services that have been heard of.
    pub services: Vec<String>,
    /// Counters by name, each with its meaning in the documentation.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// Detectors by binding: series seen, and whether all of them are past warm-up.
    pub detectors: std::collections::BTreeMap<String, DetectorStatus>,
    /// Entries of the ledger.
    pub ledger_entries: u64,
    /// Digest of the policies in force.
    pub policy_digest: String,
    /// What went wrong with the last reload, if anything.
    pub problems: Vec<String>,
    /// Supervised processes.
    pub processes: Vec<ProcessLine>,
}

/// One detector binding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DetectorStatus {
    /// Series it owns.
    pub series: u64,
    /// Points it has seen.
    pub points: u64,
    /// Abnormal points it has reported.
    pub observations: u64,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// One supervised process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessLine {
    /// Unit.
    pub name: String,
    /// `running`, `stopped`, `exited` or `zombie`.
    pub state: String,
    /// If it runs.
    pub pid: Option<u32>,
}

/// One version of a plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PluginStatus {
    /// From the manifest.
    pub name: String,
    /// From the manifest.
    pub version: String,
    /// `detector`, `agent` or `action`.
    pub role: String,
    /// From the manifest; for a file that was refused, why.
    pub summary: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// Its stage, or why it can do nothing.
    pub state: String,
    /// Targets on which it has grants.
    pub targets: Vec<String>,
    /// `held`, `shadow`, `canary`, `active`, `retired`, `failed`, `quarantined` or `refused`.
    pub stage: String,
    /// Why it is there.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Comparisons with the active version in this stage.
    pub compared: u64,
    /// Of these, how many differed.
    pub differed: u64,
    /// In what it differs from the version that was active when it came.
    pub differences: Vec<salve_rollout::Difference>,
    /// `salve plugin rollback` may go back to it.
    pub can_roll_back_to: bool,
    /// What it did and cost since it was loaded; empty if it is not in memory. `fuel_total` only where `plugins.count_fuel` is set.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// What one call or instance of it may use up.
    pub limits: std::collections::BTreeMap<String, u64>,
}

/// Asks the daemon behind `socket`.
///
/// # Errors
/// If no daemon answers, or it says no.
pub fn ask(socket: &Path, request: &Request) -> Result<Response> {
    let stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "cannot reach a daemon at `{}`\n\nhint: is `salve run` up, and does `--config` name its configuration?",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&stream).write_all(line.as_bytes()).context("cannot send the request to the daemon")?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).context("the daemon did not answer")?;
    match serde_json::from_str(&answer)
        .context("the daemon's answer makes no sense; is it another version?")?
    {
        Response::Error(error) => bail!(error),
        response => Ok(response),
    }
}
