//! Processes that Salve starts, watches, stops and finds again.
//!
//! ## What always holds
//! - a process is named by pid, start time and boot; a pid alone is never trusted
//! - signals go through a pidfd that was opened before the identity was checked, so never to a stranger
//! - children live in a session of their own, with files for output, and outlive the daemon
//! - nothing is started or restarted but by a call
//!
//! Not here: who may call (session).

mod procfs;
mod supervisor;
mod unit;

pub(crate) use supervisor::Supervisor;
pub(crate) use unit::START_ID;

use salve_model::TargetId;
use std::path::PathBuf;

/// State of a process that does not run, in the words of plans and receipts.
pub(crate) const ABSENT: &str = "absent";

/// Something that happened to a supervised process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Which unit.
    pub unit: String,
    /// Targets that stand for it.
    pub targets: Vec<TargetId>,
    /// Unix time in nanoseconds.
    pub time: u64,
    /// Which process.
    pub pid: u32,
    /// What happened.
    pub kind: ProcessEventKind,
}

/// See [`ProcessEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEventKind {
    /// Salve started it.
    Started,
    /// A process that an earlier daemon had started was found again.
    Adopted,
    /// It ended, and how, in words.
    Exited(String),
}

/// Whether a unit runs, for the `process.up` signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Which unit.
    pub unit: String,
    /// Targets that stand for it.
    pub targets: Vec<TargetId>,
    /// Its process, if it runs.
    pub pid: Option<u32>,
}

/// Why a process could not be handled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("no unit is named `{0}`")]
    UnknownUnit(String),
    #[error("unit `{unit}` runs already, as {identity}")]
    RunsAlready { unit: String, identity: String },
    #[error("cannot open log file `{}` of unit `{unit}`", path.display())]
    Log { unit: String, path: PathBuf, source: std::io::Error },
    #[error("cannot start `{program}` for unit `{unit}`")]
    Spawn { unit: String, program: String, source: std::io::Error },
    #[error("cannot limit the memory of unit `{unit}`, so it was ended again")]
    Limit { unit: String, source: std::io::Error },
    #[error("cannot look at process {pid} of unit `{unit}`")]
    Look { unit: String, pid: i32, source: std::io::Error },
    #[error("cannot signal {identity} of unit `{unit}`")]
    Signal { unit: String, identity: String, source: std::io::Error },
    #[error("{identity} of unit `{unit}` is Salve itself, which no broker touches")]
    Salve { unit: String, identity: String },
    #[error(
        "{identity} of unit `{unit}` did not end after SIGKILL; it may wait for a disk or a kernel driver"
    )]
    DoesNotEnd { unit: String, identity: String },
    #[error("unit `{unit}` was stopped, and could not be started again")]
    HalfRestarted { unit: String, source: Box<ProcessError> },
    #[error("cannot keep the record `{}`", path.display())]
    Record { path: PathBuf, source: std::io::Error },
}
