//! Two clocks that must not be mixed: when something happened, and when Salve learnt of it.

use serde::{Deserialize, Serialize};

/// Receive time: the core's only clock, Unix time in milliseconds, carried by the driver's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Now(pub u64);

impl Now {
    /// This moment and `ms` milliseconds; the far end of time if that is past it.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 if `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Event time: when a sender says something happened, Unix time in nanoseconds. Orders points, nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub u64);
