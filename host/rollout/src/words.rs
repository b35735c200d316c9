//! What the state machine speaks of: stages, versions, what can happen and what comes of it.

use crate::{Difference, Facts, Sample, Samples};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It asks for more than the last active version and waits for the operator.
    Held,
    /// It sees real input; its answers are compared and have no effect.
    Shadow,
    /// It answers for a share of targets.
    Canary,
    /// It answers.
    Active,
    /// Another version took its place, or its file is gone.
    Retired,
    /// It fell back, was rolled back or is refused; the reason says which.
    Failed,
    /// It trapped too often.
    Quarantined,
}

impl Stage {
    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// What it asks for.
    pub facts: Facts,
    /// Where it stands.
    pub stage: Stage,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
    /// How it compares, in this stage.
    pub samples: Samples,
    /// In what it differs from the version that was active when it came.
    pub differences: Vec<Difference>,
}

/// All versions of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// By digest.
    pub versions: BTreeMap<String, Version>,
    /// Digest of the one that answers.
    pub active: Option<String>,
    /// Digest of the one that is held, in shadow or canary.
    pub candidate: Option<String>,
    /// The active version took over since the one before fell; nobody has chosen it.
    #[serde(default)]
    pub stands_in: bool,
    /// Digests of those that were active before, the latest last.
    pub previous: Vec<String>,
    /// What the last active version asked for: later ones are measured by it.
    pub baseline: Facts,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The plugin's file holds this version.
    Loaded(Facts),
    /// The plugin's file is gone.
    Gone {
        /// Of the plugin.
        name: String,
    },
    /// The new version was compared with the active one.
    Compared {
        /// Of the plugin.
        name: String,
        /// Of the new version.
        digest: String,
        /// Its stage when both were asked.
        stage: Stage,
        /// What came of it.
        sample: Sample,
    },
    /// A version cannot do its work: it does not start, or may no longer be loaded.
    Unfit {
        /// Of the plugin.
        name: String,
        /// Of the version.
        digest: String,
        /// Why.
        reason: String,
    },
    /// A version trapped too often.
    Quarantined {
        /// Of the plugin.
        name: String,
        /// Of the version.
        digest: String,
        /// How.
        reason: String,
    },
    /// The operator accepts that the held version asks for more.
    Accept {
        /// Of the plugin.
        name: String,
        /// The version whose differences were seen.
        digest: String,
        /// Who.
        by: String,
    },
    /// The operator makes the version under trial active.
    Promote {
        /// Of the plugin.
        name: String,
        /// The version, if one is named; a failed one can be.
        digest: Option<String>,
        /// Who.
        by: String,
    },
    /// The operator ends the trial of a version; if there is none, the version before becomes active again.
    Rollback {
        /// Of the plugin.
        name: String,
        /// Who.
        by: String,
    },
    /// The operator wants a version that failed or is in quarantine to be tried again from the start.
    Retry {
        /// Of the plugin.
        name: String,
        /// The version.
        digest: String,
        /// Who.
        by: String,
    },
    /// Time has passed.
    Tick,
}

/// A version now stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of the plugin.
    pub plugin: String,
    /// Of the version.
    pub digest: String,
    /// Its own version.
    pub version: String,
    /// Where it stood; none if it is new.
    pub from: Option<Stage>,
    /// Where it stands.
    pub to: Stage,
    /// Why.
    pub reason: String,
}

/// Why the operator's word changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
