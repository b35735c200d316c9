//! Why a trial did not take place, and what its author can do about it.

use super::Call;
use salve_plugins::{LoadError, PluginError, Role};
use std::path::PathBuf;

/// Why a trial did not take place, or cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file has not its form.
    #[error("cannot understand the {what} `{}`", path.display())]
    Parse {
        /// What it should be.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No plugin host.
    #[error("cannot start the plugin host")]
    Host(#[source] PluginError),
    /// The component is refused.
    #[error("cannot load the component")]
    Load(#[source] LoadError),
    /// Another role's call.
    #[error("cannot call `{call}`: `{plugin}` is a plugin of role {role}", call = call.name())]
    Role {
        /// What was asked.
        call: Call,
        /// Whom.
        plugin: String,
        /// What it is.
        role: Role,
    },
    /// The plugin made calls that were not recorded.
    #[error("cannot replay `{call}`: the plugin made calls that are not in the recording:\n  {calls}", call = call.name())]
    NotRecorded {
        /// What was replayed.
        call: Call,
        /// One line each.
        calls: String,
    },
    /// There is no plan to execute or undo.
    #[error("cannot {call}: there is no plan ({reason})", call = call.name())]
    NoPlan {
        /// What was asked.
        call: Call,
        /// What `plan` gave instead.
        reason: String,
    },
    /// Real brokers undo only what is known to be applied.
    #[error("cannot undo on real targets without `plan` and `receipts` in the request")]
    NoReceipts,
    /// What does not go well is not measured.
    #[error("cannot measure `{call}`, which does not go well: {result}", call = call.name())]
    Failing {
        /// What was to be measured.
        call: Call,
        /// What came out.
        result: String,
    },
    /// Points that make no batch.
    #[error("cannot make batches of the request's series: {0}")]
    Batches(String),
}

impl TrialError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Parse { what, source, .. } => {
                let nearest = crate::words::nearest_key(&source.to_string());
                nearest.or_else(|| Some(format!("docs/authoring.md shows the form of a {what}.")))
            }
            Self::Load(error) => error.hint(),
            Self::Role { role, .. } => {
                let calls: Vec<_> = Call::of_role(*role).map(Call::name).collect();
                Some(format!("Use `--call {}`.", calls.join("` or `--call ")))
            }
            Self::NotRecorded { calls, .. } if calls.contains("recorded without body") => Some(
                "Record again with `--with-bodies`, and keep the file as private as what the servers said; or put in the answers by hand.".into(),
            ),
            Self::NotRecorded { .. } => Some(
                "If the plugin is right, record again: `salve plugin run … --record FILE` without `--replay`.".into(),
            ),
            Self::NoPlan { .. } => Some("See what `--call plan` says, or give `plan` in the request.".into()),
            Self::Failing { .. } => Some("See `salve plugin run` with the same request.".into()),
            Self::NoReceipts => {
                Some("`--call execute --apply --json` prints the receipts.".into())
            }
            _ => None,
        }
    }
}
