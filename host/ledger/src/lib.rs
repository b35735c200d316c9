//! The record of what Salve saw, decided and did: append-only, hash-chained, durable before anything happens.
//!
//! A ledger is one SQLite file (WAL, `synchronous = FULL`). The daemon is its only writer and holds a lease on it
//! ([`lease`]); anyone else reads or verifies it at any time, with or without a daemon ([`LedgerReader`], [`verify`]).
//!
//! ```
//! use salve_ledger::{EntryKind, Filter, Ledger, NewEntry, verify};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ledger.db");
//! let mut ledger = Ledger::open(&path)?;
//! let intent = NewEntry::new(EntryKind::WriteIntent, 1_000, serde_json::json!({"verb": "restart"}));
//! let seq = ledger.append(&[intent])?[0];
//! assert_eq!(ledger.unfinished_intents()?.len(), 1);
//! ledger.append(&[NewEntry::new(EntryKind::WriteResult, 1_200, serde_json::json!({"applied": true})).answers(seq)])?;
//! assert!(ledger.unfinished_intents()?.is_empty());
//! assert_eq!(ledger.entries(Filter::default())?.len(), 2);
//! assert!(verify(&path)?.first_bad.is_none());
//! # Ok(()) }
//! ```
//!
//! ## What always holds
//! - what [`Ledger::append`] returned for is on the disk, all of it or none of it, and in the order of the calls
//! - entries are numbered from 1 without a gap; each one's hash covers the one before ([`chain`])
//! - nothing is changed or removed afterwards, but that a payload can be erased; that leaves its digest in the chain
//!   and an entry of kind [`EntryKind::Erasure`] that says so
//! - at most one process writes; one whose lease was taken over is refused ([`LedgerError::Fenced`])
//! - a write result answers exactly one write intent, and an intent has at most one result
//!
//! Not here: what payloads mean, redaction (the caller's, before `append`), signed checkpoints.

pub mod chain;
mod entry;
mod error;
mod handle;
pub mod lease;
mod reader;
mod schema;
mod settings;
mod verify;
mod writer;

pub use entry::{Entry, EntryKind, Filter, NewEntry};
pub use error::LedgerError;
pub use handle::{LedgerHandle, LedgerStats};
pub use reader::{Entries, LedgerReader};
pub use settings::LedgerSettings;
pub use verify::{Bad, Checkpoint, Problem, VerifyReport, verify, verify_with};
pub use writer::{Erase, Erased, Ledger};
