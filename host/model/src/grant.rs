//! What the operator allows a plugin to do.

use crate::{PluginName, TargetId, Tenant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether what a plugin gives this capability leaves for where the plugin chose: telemetry could be in it (see
/// [`Grant::may_send`]).
#[must_use]
pub fn sends(capability: &str) -> bool {
    matches!(capability, "http" | "notify")
}

/// One `[[grant]]` of the configuration. What is not granted is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// To which plugin.
    pub plugin: PluginName,
    /// For incidents of this tenant, on its targets.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// Which capability interface, for instance `config`.
    pub capability: String,
    /// Which verbs, reads included, for instance `["get", "set"]`. `["*"]` is all of that capability.
    pub verbs: Vec<String>,
    /// On which targets. `["*"]` is all of the tenant's.
    pub targets: Vec<TargetId>,
    /// SHA-256 of the component, if only this content is meant: nothing else loads under the plugin's name, and this
    /// may load unsigned.
    #[serde(default)]
    pub digest: Option<String>,
    /// The plugin reads telemetry, and what it sends here (`http`, `notify`) may contain it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_send: bool,
    /// Bounds on arguments by name, for instance `arguments.key = { one_of = ["pool.size"] }`.
    #[serde(default)]
    pub arguments: BTreeMap<String, Bound>,
    /// For `http`: paths under which calls may go; methods come from `verbs` and `methods`.
    #[serde(default)]
    pub http: Option<HttpGrant>,
}

/// A bound on one argument. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bound {
    /// The argument is one of these.
    pub one_of: Option<Vec<String>>,
    /// The argument is a number, at least this.
    pub min: Option<f64>,
    /// The argument is a number, at most this.
    pub max: Option<f64>,
    /// The argument matches this pattern: literal text, `*` for any run of characters, anchored at both ends.
    pub pattern: Option<String>,
}

/// Where an `http` grant lets a plugin call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// Upper-case methods.
    pub methods: Vec<String>,
    /// Path prefixes, whole segments: `/api` allows `/api` and `/api/x`, not `/apix`.
    pub paths: Vec<String>,
    /// Names of request headers that the plugin may set, lower-case.
    #[serde(default)]
    pub headers: Vec<String>,
    /// GETs that have no effect and may be made while planning and in a dry-run.
    #[serde(default)]
    pub safe_read: bool,
    /// A repeat with the same `Idempotency-Key` is harmless: writes are keyed, not at-most-once.
    #[serde(default)]
    pub keyed: bool,
    /// The plugin may state in its plan how a call is taken back, by another call that is granted, too. Without it a
    /// call cannot be undone.
    #[serde(default)]
    pub reversible: bool,
    /// Name of the `[[secret]]` that goes into the `authorization` header. Grants of one plugin on one target may share it.
    #[serde(default)]
    pub secret: Option<String>,
}
