//! The only place where the daemon reads the wall clock.

use salve_model::time::Now;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Receive time. Never goes backwards, whatever is done to the machine's clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    latest_ms: Arc<AtomicU64>,
}

impl Clock {
    /// Unix time in milliseconds, at least that of the last call.
    pub fn now(&self) -> Now {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now(self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms))
    }
}
