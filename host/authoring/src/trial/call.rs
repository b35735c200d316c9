//! The calls that plugins export, by role.

use salve_plugins::Role;
use serde::{Deserialize, Serialize};

/// A call that a plugin exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// Of an action: says what it would do.
    Plan,
    /// Of an action: does it.
    Execute,
    /// Of an action: takes it back.
    Undo,
    /// Of an agent.
    Consult,
    /// Of a detector.
    Observe,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Plan, Self::Execute, Self::Undo, Self::Consult, Self::Observe];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Execute => "execute",
            Self::Undo => "undo",
            Self::Consult => "consult",
            Self::Observe => "observe",
        }
    }

    /// Whose call it is.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Plan | Self::Execute | Self::Undo => Role::Action,
            Self::Consult => Role::Agent,
            Self::Observe => Role::Detector,
        }
    }

    /// The calls of a role, the first one first.
    pub fn of_role(role: Role) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |call| call.role() == role)
    }
}
