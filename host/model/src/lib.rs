//! The vocabulary that every part of Salve shares: plain data, no behaviour.
//!
//! One file per idea, in the order the data flows: [`time`], [`telemetry`], [`incident`], [`plan`], [`mode`].
//!
//! ## What always holds
//! - every type is `Serialize + Deserialize`, since all of them stand in the ledger
//! - maps are ordered, so that equal values have equal bytes
//!
//! Not here: anything that decides, waits or talks.

pub mod batch;
pub mod call;
pub mod grant;
pub mod incident;
pub mod mode;
pub mod pattern;
pub mod plan;
pub mod telemetry;
pub mod text;
pub mod time;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resource or point attributes, ordered by name.
pub type Attributes = BTreeMap<String, String>;

/// The owner of telemetry, incidents, grants and ledger entries. One today: `default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(pub String);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

/// The id of a `[[target]]` in the configuration. Only brokers know what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub String);

impl std::fmt::Display for TargetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that Salve can act on, as the core, policies and plugins see it: without its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Unique.
    pub id: TargetId,
    /// Resource attributes that select it: telemetry that carries all of them is about this target.
    pub attributes: Attributes,
    /// Ids of the objects behind it (a unit, a file), as brokers name them. Locks and blast radius count these.
    pub objects: Vec<String>,
}

/// The plugin's name as its manifest states it: lower-case ASCII letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginName(pub String);

impl std::fmt::Display for PluginName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
