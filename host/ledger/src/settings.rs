//! Bounds of the ledger.

use serde::{Deserialize, Serialize};

/// Bounds of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Largest payload of one entry, in bytes of JSON. A larger one is refused, never cut.
    pub payload_bytes_max: usize,
    /// Appends that may wait for the writer's thread; beyond it callers wait.
    pub queue_max: usize,
    /// Most appends that share one transaction, and with it one fsync.
    pub batch_max: usize,
    /// How long to wait for a lock that another connection holds, in milliseconds.
    pub busy_timeout_ms: u64,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { payload_bytes_max: 4 << 20, queue_max: 1_024, batch_max: 256, busy_timeout_ms: 5_000 }
    }
}
