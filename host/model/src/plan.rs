//! What an action will do, what it did, and what the telemetry must show afterwards.

use crate::{Attributes, PluginName, TargetId};
use serde::{Deserialize, Serialize};

/// One call with an effect: capability, verb, target and exact arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// For instance `config`.
    pub capability: String,
    /// For instance `set`.
    pub verb: String,
    /// On which target.
    pub target: TargetId,
    /// The arguments as canonical JSON (keys sorted, no spaces), without the target; bodies by SHA-256.
    pub arguments: String,
}

/// How a verb behaves when a crash leaves its outcome in doubt. Stated by brokers, never by plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerbClass {
    /// The real state tells whether it happened.
    Queryable,
    /// An idempotency key makes a repeat harmless.
    Keyed,
    /// Outcome unknown; said so, and never repeated alone.
    AtMostOnce,
}

/// One step of a plan; licenses one call if the state is still `before`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The call it licenses.
    pub call: Call,
    /// The objects it touches, as the broker resolved them when the plan was made.
    pub objects: Vec<String>,
    /// The target's state when the plan was made, as the broker words it.
    pub before: Option<String>,
    /// What the state should be afterwards, as the plugin words it.
    pub after: Option<String>,
    /// Arguments of the same verb on the same target that take it back.
    pub inverse: Option<String>,
    /// How the verb behaves in a crash.
    pub class: VerbClass,
}

/// A bound on a series that must hold for the heal to count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// `service.name`.
    pub service: String,
    /// Series name.
    pub signal: String,
    /// Inclusive.
    pub lower: Option<f64>,
    /// Inclusive.
    pub upper: Option<f64>,
    /// Must hold by then, counted from the end of `execute`.
    pub within_ms: u64,
    /// Without a break.
    pub hold_ms: u64,
    /// Over at least so many points.
    pub samples_min: u32,
}

/// What an action will do, checked and completed by the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which plugin made it.
    pub action: PluginName,
    /// SHA-256 of the component, lower-case hex: another version may not execute it.
    pub action_digest: String,
    /// Targets of the request.
    pub targets: Vec<TargetId>,
    /// Parameters of the request (JSON).
    pub parameters: String,
    /// One sentence.
    pub summary: String,
    /// In order.
    pub steps: Vec<Step>,
    /// What the telemetry must show.
    pub expectations: Vec<Expectation>,
    /// From the plugin, untouched.
    pub extra: Attributes,
}

/// Proof of one write, from the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Numbers the writes of one incident.
    pub call: u64,
    /// Index of the step that licensed it.
    pub step: u32,
    /// On which target.
    pub target: TargetId,
    /// For instance `restart`.
    pub verb: String,
    /// False in a dry-run, and where the system behind the target refused the write: then `extra` has `refused`, the reason.
    pub applied: bool,
    /// State before.
    pub before: Option<String>,
    /// State after.
    pub after: Option<String>,
    /// Details by name.
    pub extra: Attributes,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteState {
    /// It happened.
    Applied,
    /// It did not happen.
    NotApplied,
    /// Nobody can tell; or it happened by half, and a person must look.
    Unknown,
}

/// How a run of `execute` or `undo` ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// The plugin said that it is done. Nobody takes its word for the heal.
    pub done: bool,
    /// The plugin's sentence, or the error.
    pub note: String,
    /// All writes that were answered, oldest first: applied, refused by the system behind the target, or in a dry-run checked.
    pub receipts: Vec<Receipt>,
    /// A write of which nobody can tell whether it happened.
    pub uncertain: bool,
}
