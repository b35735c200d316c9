//! What happened in one run: plain facts, from which scores and reports are made.

use crate::{
    control::Incident,
    fault::{Fault, Service},
};
use serde::Deserialize;

/// Orders that ended in one second, as the load writes them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Second {
    /// End of the second, in Unix milliseconds.
    pub(crate) time_unix_ms: u64,
    /// Orders with an answer.
    pub(crate) ok: u64,
    /// Orders without.
    pub(crate) failed: u64,
    /// 95th percentile of those with an answer.
    pub(crate) latency_p95_ms: f64,
}

/// One fault in its slot. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    /// What.
    pub(crate) fault: Fault,
    /// Where; none for the surge.
    pub(crate) service: Option<Service>,
    /// When it came.
    pub(crate) injected: u64,
    /// When the leak had used up half of the limit, if it ever had.
    pub(crate) half: Option<u64>,
    /// End of the slot.
    pub(crate) ended: u64,
    /// How a person took it away, if it was still there at the end.
    pub(crate) removed: Option<&'static str>,
}

/// The record at the end of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Entries that were checked.
    pub(crate) entries: u64,
    /// All of them are as they were written.
    pub(crate) verified: bool,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// What drew the services.
    pub(crate) seed: u64,
    /// Salve acted, or only observed.
    pub(crate) healing: bool,
    /// End of the warm-up.
    pub(crate) began: u64,
    /// End of the last slot.
    pub(crate) ended: u64,
    /// Share of the processor time that the machine wanted between them which others took, 0 to 1; none where nobody knows.
    pub(crate) stolen_ratio: Option<f64>,
    /// In order.
    pub(crate) slots: Vec<Slot>,
    /// All seconds between `began` and `ended`.
    pub(crate) seconds: Vec<Second>,
    /// In the order in which they were opened.
    pub(crate) incidents: Vec<Incident>,
    /// The record.
    pub(crate) ledger: Ledger,
}

impl Run {
    /// Share of orders that failed, 0 to 1; 0 without any order.
    pub(crate) fn failed_orders_ratio(&self) -> f64 {
        let (ok, failed) =
            self.seconds.iter().fold((0, 0), |(ok, failed), second| (ok + second.ok, failed + second.failed));
        if ok + failed == 0 { 0.0 } else { failed as f64 / (ok + failed) as f64 }
    }
}
