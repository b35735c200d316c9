//! What can go wrong with the ledger.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Why the ledger could not be opened, read or written. [`LedgerError::hint`] has a way out.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The folder could not be made.
    #[error("cannot create the ledger's folder `{}`", path.display())]
    CreateFolder {
        /// Which.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file or its lock file could not be made or opened.
    #[error("cannot open the ledger's file `{}`", path.display())]
    OpenFile {
        /// Which.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// There is no ledger there to read.
    #[error("there is no ledger at `{}`", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Another process writes this ledger.
    #[error("the ledger `{}` has a writer already{}", path.display(), holder.as_ref().map(|pid| format!(": process `{pid}`")).unwrap_or_default())]
    Locked {
        /// Which ledger.
        path: PathBuf,
        /// The writer's process id, as it wrote it into the lock file.
        holder: Option<String>,
    },
    /// The file is something else.
    #[error("`{}` is not a ledger", path.display())]
    NotALedger {
        /// Which.
        path: PathBuf,
    },
    /// A newer Salve wrote it.
    #[error("the ledger `{}` has schema version {found}; this program knows versions up to {newest}", path.display())]
    NewerSchema {
        /// Which ledger.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Newest version known here.
        newest: u32,
    },
    /// SQLite could not do a step.
    #[error("cannot {step} in the ledger `{}`", path.display())]
    Sqlite {
        /// Which step.
        step: &'static str,
        /// Which ledger.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// Another process has taken over; this one must not act any more.
    #[error("the ledger's lease has passed on: this writer has token {token}, the newest is {newest}")]
    Fenced {
        /// Ours.
        token: u64,
        /// The newest.
        newest: u64,
    },
    /// A payload is above the configured bound.
    #[error("a payload of kind `{kind}` has {bytes} bytes, more than the {bytes_max} allowed")]
    PayloadTooLarge {
        /// Of which kind.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A write result that fits no open intent, or an entry that only the ledger itself writes.
    #[error("an entry of kind `{kind}` was refused: {why}")]
    Refused {
        /// Of which kind.
        kind: &'static str,
        /// Why.
        why: String,
    },
    /// A number does not fit into the file.
    #[error("`{field}` is {value}, above the largest that a ledger can hold")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A stored or new payload is not what it should be.
    #[error("the payload of entry {seq} does not have the expected shape")]
    Payload {
        /// Which entry; 0 for one not yet written.
        seq: u64,
        /// Cause.
        source: serde_json::Error,
    },
    /// A row that this program cannot have written.
    #[error("entry {seq} cannot be read: {what}")]
    Row {
        /// Which entry.
        seq: u64,
        /// What about it.
        what: String,
    },
    /// The system has no random bytes for salts.
    #[error("cannot get random bytes for a salt: {what}")]
    Random {
        /// The system's words.
        what: String,
    },
    /// The writer's thread has ended.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// What to do about it, one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::CreateFolder { .. } | Self::OpenFile { .. } => {
                "Give the user that runs Salve write access there, or set another data folder.".into()
            }
            Self::Missing { .. } => "Check the path; the daemon creates the ledger at its first start.".into(),
            Self::Locked { .. } => {
                "Stop that daemon first, or give this one another data folder; two may never act for one ledger."
                    .into()
            }
            Self::NotALedger { .. } => {
                "Move the file away if you do not need it, or set another data folder.".into()
            }
            Self::NewerSchema { .. } => "Update Salve, or use the version that wrote this ledger.".into(),
            Self::Sqlite { source, .. } => sqlite_hint(source),
            Self::Fenced { .. } => {
                "Another daemon has taken over this ledger; stop this one, it must not act any more.".into()
            }
            Self::PayloadTooLarge { .. } => "Raise `payload_bytes_max` of the ledger, or record less.".into(),
            Self::Refused { .. } | Self::OutOfRange { .. } => {
                "This is a defect in Salve; please report it with this message.".into()
            }
            Self::Payload { .. } | Self::Row { .. } => {
                "Run `salve ledger verify`: it says whether the entry was changed after it was written.".into()
            }
            Self::Random { .. } => "Check that the system call `getrandom` is permitted here.".into(),
            Self::Closed => "The daemon is stopping, or its ledger has failed: see the log just before.".into(),
        }
    }
}

/// Ways out of the failures of SQLite that operators meet.
fn sqlite_hint(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "The disk is full: free some space. Nothing was recorded in part; no action starts until it is recorded."
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "The ledger or its folder cannot be written: check owner, mode and mount options."
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "The file is damaged: keep a copy, restore the last back-up, and run `salve ledger verify` on it."
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another program holds the ledger open for writing: close it."
        }
        Some(ErrorCode::SystemIoFailure) => "The disk reports an error: look at the system log.",
        _ => "Look at the cause; if it is not the system's doing, report it with this message.",
    }
    .into()
}
