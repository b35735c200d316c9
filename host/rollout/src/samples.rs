//! How a version compares with the active one, as sums.

use crate::{Rules, Stage};
use serde::{Deserialize, Serialize};

/// One comparison of both versions on the same input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Answers that were compared.
    pub compared: u64,
    /// Of these, how many differed; at most `compared`.
    pub differed: u64,
    /// Time of the active version, in microseconds.
    pub active_us: u64,
    /// Time of the new version, in microseconds.
    pub candidate_us: u64,
    /// Most memory of the active version so far, in bytes.
    pub active_memory_bytes: u64,
    /// Most memory of the new version so far, in bytes.
    pub candidate_memory_bytes: u64,
    /// Calls of the new version that gave no answer through its own fault.
    pub traps: u64,
}

impl Sample {
    /// The part that speaks against the new version. A comparison that ends in a later stage than it began in says nothing
    /// for that stage, but what it found wrong is wrong there too.
    pub(crate) fn against(&self) -> Self {
        let differed = self.differed.min(self.compared);
        Self { compared: differed, differed, traps: self.traps, ..Self::default() }
    }
}

/// Sums of samples in one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Comparisons.
    pub compared: u64,
    /// Of these, how many differed.
    pub differed: u64,
    /// Timed pairs of calls.
    pub timed: u64,
    /// Time of the active version, in microseconds.
    pub active_us: u64,
    /// Time of the new version, in microseconds.
    pub candidate_us: u64,
    /// Most memory of the active version, in bytes.
    pub active_memory_bytes: u64,
    /// Most memory of the new version, in bytes.
    pub candidate_memory_bytes: u64,
    /// Calls of the new version that gave no answer through its own fault.
    pub traps: u64,
}

impl Samples {
    pub(crate) fn add(&mut self, sample: &Sample) {
        let plus = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        plus(&mut self.compared, sample.compared);
        plus(&mut self.differed, sample.differed.min(sample.compared));
        if sample.traps == 0 && sample.compared > 0 {
            plus(&mut self.timed, 1);
            plus(&mut self.active_us, sample.active_us);
            plus(&mut self.candidate_us, sample.candidate_us);
        }
        plus(&mut self.traps, sample.traps);
        self.active_memory_bytes = self.active_memory_bytes.max(sample.active_memory_bytes);
        self.candidate_memory_bytes = self.candidate_memory_bytes.max(sample.candidate_memory_bytes);
    }

    /// Share of comparisons that differed, 0 to 1.
    #[must_use]
    pub fn disagreement(&self) -> f64 {
        ratio(self.differed, self.compared)
    }

    /// Why the version must fall back, if it must.
    pub(crate) fn objection(&self, rules: &Rules, enough: u64) -> Option<String> {
        if self.traps >= rules.traps_max {
            return Some(format!("it trapped or passed a limit {} time(s)", self.traps));
        }
        if self.compared < enough || self.compared == 0 {
            return None;
        }
        if self.disagreement() > rules.disagreement_max {
            return Some(format!(
                "it differs from the active version in {} of {} answers, which is more than the share {} of \
                 `disagreement_max`",
                self.differed, self.compared, rules.disagreement_max
            ));
        }
        let mean_us = |sum| ratio(sum, self.timed);
        let (active, candidate) = (mean_us(self.active_us), mean_us(self.candidate_us));
        if candidate > rules.latency_free_us as f64 && candidate > active * rules.latency_ratio_max {
            return Some(format!(
                "it takes {candidate:.0} µs a call where the active version takes {active:.0} µs, which is more than \
                 {} times (`latency_ratio_max`)",
                rules.latency_ratio_max
            ));
        }
        let (active, candidate) = (self.active_memory_bytes, self.candidate_memory_bytes);
        if candidate > rules.memory_free_bytes && candidate as f64 > active as f64 * rules.memory_ratio_max {
            return Some(format!(
                "it needs {candidate} bytes of memory where the active version needs {active}, which is more than \
                 {} times (`memory_ratio_max`)",
                rules.memory_ratio_max
            ));
        }
        None
    }

    /// Whether the rules let the version go on from `stage`, which it entered `elapsed_ms` ago.
    pub(crate) fn suffice(&self, rules: &Rules, stage: Stage, enough: u64, elapsed_ms: u64) -> bool {
        let least_ms = if stage == Stage::Canary { rules.canary_ms } else { rules.shadow_ms };
        self.compared >= enough && elapsed_ms >= least_ms
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
