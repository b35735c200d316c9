//! How far Salve may go.

use serde::{Deserialize, Serialize};

/// The operator's word on how far Salve may go. Ordered: a later one permits all that an earlier one does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decide and record what would be done.
    #[default]
    Observe,
    /// Also plan and run the action as a dry-run: every check is made, nothing is written.
    Shadow,
    /// Also act, once a person has approved the plan.
    Approve,
    /// Act.
    Act,
}
