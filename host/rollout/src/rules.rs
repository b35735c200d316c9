//! What the operator sets: how long a version is tried, and what makes it fall back.

use serde::{Deserialize, Serialize};

/// Who promotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promote {
    /// The rules do.
    #[default]
    Auto,
    /// Only the operator does; fallback is automatic even so.
    Manual,
}

/// `[plugins.rollout]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// `auto` or `manual`. Default: `auto`.
    pub promote: Promote,
    /// Comparisons of a detector that shadow and canary need each: one for a quiet batch, one for each abnormal point.
    /// Default: 100.
    pub samples_min: u64,
    /// Comparisons of an agent or action that shadow and canary need each: one for each call. Default: 3.
    pub calls_min: u64,
    /// Largest share of comparisons in which both versions may differ, 0 to 1. Default: 0.05.
    pub disagreement_max: f64,
    /// How many times slower the new version may be on average. Default: 3.
    pub latency_ratio_max: f64,
    /// Calls faster than this on average are never too slow, in microseconds. Default: 2,000.
    pub latency_free_us: u64,
    /// How many times more memory the new version may need. Default: 2.
    pub memory_ratio_max: f64,
    /// Less memory than this is never too much, in bytes. Default: 16 MiB.
    pub memory_free_bytes: u64,
    /// Traps (and limits passed) after which the new version falls back. Default: 1.
    pub traps_max: u64,
    /// Least time in shadow, in milliseconds. Default: 60,000.
    pub shadow_ms: u64,
    /// Least time as canary, in milliseconds. Default: 60,000.
    pub canary_ms: u64,
    /// Share of targets that a canary answers for, 0 to 1; 0: no canary. Default: 0.1.
    pub canary_share: f64,
    /// Earlier versions that are kept, so that rollback works after the file was replaced. Default: 3.
    pub versions_kept: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            promote: Promote::Auto,
            samples_min: 100,
            calls_min: 3,
            disagreement_max: 0.05,
            latency_ratio_max: 3.0,
            latency_free_us: 2_000,
            memory_ratio_max: 2.0,
            memory_free_bytes: 16 << 20,
            traps_max: 1,
            shadow_ms: 60_000,
            canary_ms: 60_000,
            canary_share: 0.1,
            versions_kept: 3,
        }
    }
}

/// A week: longer than any trial should take.
const DURATION_MAX_MS: u64 = 7 * 24 * 3_600_000;
/// More would only fill the disk.
const VERSIONS_KEPT_MAX: usize = 20;

impl Rules {
    /// One line for each value that makes no sense.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |name: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("{name} is {value}; it must be from {least} to {most}"));
            }
        };
        within("disagreement_max", self.disagreement_max, 0.0, 1.0);
        within("latency_ratio_max", self.latency_ratio_max, 1.0, 1e6);
        within("memory_ratio_max", self.memory_ratio_max, 1.0, 1e6);
        within("canary_share", self.canary_share, 0.0, 1.0);
        within("samples_min", self.samples_min as f64, 0.0, 1e9);
        within("calls_min", self.calls_min as f64, 0.0, 1e6);
        within("traps_max", self.traps_max as f64, 1.0, 1e6);
        within("shadow_ms", self.shadow_ms as f64, 0.0, DURATION_MAX_MS as f64);
        within("canary_ms", self.canary_ms as f64, 0.0, DURATION_MAX_MS as f64);
        within("versions_kept", self.versions_kept as f64, 1.0, VERSIONS_KEPT_MAX as f64);
        problems
    }
}
