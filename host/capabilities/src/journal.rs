//! What the brokers ask of the ledger: intent before effect, result after it, refusals.

use salve_model::{
    PluginName, Tenant,
    call::{BoxFuture, Denied},
    incident::IncidentId,
    plan::{Call, Receipt, VerbClass, WriteState},
};
use serde::{Deserialize, Serialize};

/// A write that is about to be made. Durable before anything happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// For which incident.
    pub incident: IncidentId,
    /// Whose incident and target.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// By which plugin.
    pub plugin: PluginName,
    /// Index of the plan's step that licenses it.
    pub step: u32,
    /// It takes that step back.
    pub undo: bool,
    /// Nothing will be written.
    pub dry_run: bool,
    /// The call with its exact arguments.
    pub call: Call,
    /// Objects that it touches.
    pub objects: Vec<String>,
    /// State before it, as the broker words it; none where a capability has no state to ask for.
    pub before: Option<String>,
    /// How the verb behaves in a crash.
    pub class: VerbClass,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOutcome {
    /// Did it happen?
    pub state: WriteState,
    /// Proof, if it happened, was refused by the system behind the target, or was previewed in a dry-run.
    pub receipt: Option<Receipt>,
    /// Why it did not happen or nobody can tell, escaped for printing.
    pub note: Option<String>,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For which incident.
    pub incident: IncidentId,
    /// Whose incident.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// By which plugin.
    pub plugin: PluginName,
    /// What it asked for.
    pub call: Call,
    /// Why not.
    pub denied: Denied,
}

/// The ledger could not take an entry: nothing may be written to the world. Also the answer of a ledger whose lease has
/// gone to another writer.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the ledger: {reason}")]
pub struct JournalError {
    /// One sentence.
    pub reason: String,
    /// What the ledger said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The ledger, as brokers see it.
pub trait Journal: Send + Sync {
    /// Makes an intent durable and gives it a number that no other write of the ledger has.
    fn intent(&self, intent: Intent) -> BoxFuture<'_, Result<u64, JournalError>>;
    /// Makes the outcome of intent `id`, which was this tenant's, durable.
    fn result(
        &self,
        id: u64,
        tenant: Tenant,
        outcome: WriteOutcome,
    ) -> BoxFuture<'_, Result<(), JournalError>>;
    /// Records a refused call.
    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), JournalError>>;
}
