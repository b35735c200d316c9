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

/// The owner of telemetry, targets, grants, incidents and ledger entries. What nobody gave to another one is `default`'s.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(pub String);

impl Default for Tenant {
    fn default() -> Self {
        Self(DEFAULT_TENANT.into())
    }
}

/// Name of the tenant of everything that names none.
const DEFAULT_TENANT: &str = "default";

impl Tenant {
    /// Whether it is the one of everything that names none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_TENANT
    }

    /// Whether it may be called so: 1 to 60 lower-case ASCII letters, digits, `-`, `_` and `.`, no dot first.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
        !self.0.is_empty() && self.0.len() <= 60 && !self.0.starts_with('.') && self.0.bytes().all(plain)
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
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
    /// Unique, over all tenants.
    pub id: TargetId,
    /// Whose it is: only this tenant's telemetry is about it, and only this tenant's incidents may act on it.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
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
