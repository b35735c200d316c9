//! What stands in the ledger.

use crate::error::LedgerError;
use salve_model::Tenant;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What an entry is about. Its text form (`snake_case`) is what is stored and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The daemon has started.
    Started,
    /// The daemon has stopped in good order.
    Stopped,
    /// An event that reached the core.
    Input,
    /// A change of the core's state; recovery folds these.
    Transition,
    /// Something that the core asked for.
    Effect,
    /// An answer to an effect.
    Answer,
    /// A write that is about to be carried out, with the state before it.
    WriteIntent,
    /// What became of a write; answers one [`EntryKind::WriteIntent`].
    WriteResult,
    /// A call that was refused, and why.
    Refusal,
    /// A person's doing: pause, resume, approve.
    Operator,
    /// Anything else worth remembering.
    Note,
    /// Payloads were erased; written by [`crate::Ledger::erase`] alone and never erased itself.
    Erasure,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Started,
        Self::Stopped,
        Self::Input,
        Self::Transition,
        Self::Effect,
        Self::Answer,
        Self::WriteIntent,
        Self::WriteResult,
        Self::Refusal,
        Self::Operator,
        Self::Note,
        Self::Erasure,
    ];

    /// The stored form, for instance `write_intent`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Input => "input",
            Self::Transition => "transition",
            Self::Effect => "effect",
            Self::Answer => "answer",
            Self::WriteIntent => "write_intent",
            Self::WriteResult => "write_result",
            Self::Refusal => "refusal",
            Self::Operator => "operator",
            Self::Note => "note",
            Self::Erasure => "erasure",
        }
    }

    /// The kind of that stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl std::fmt::Display for EntryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// Receive time, Unix milliseconds.
    pub now_ms: u64,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which incident it belongs to, if any.
    pub incident: Option<String>,
    /// What it is about.
    pub kind: EntryKind,
    /// Version of the payload's shape, the writer's own count.
    pub schema_version: u32,
    /// The entry that this one answers. A [`EntryKind::WriteResult`] must name its intent.
    pub answers: Option<u64>,
    /// What happened, already redacted.
    pub payload: serde_json::Value,
}

impl NewEntry {
    /// An entry of the default tenant, without an incident, of schema version 1.
    #[must_use]
    pub fn new(kind: EntryKind, now_ms: u64, payload: serde_json::Value) -> Self {
        Self {
            now_ms,
            tenant: Tenant::default(),
            incident: None,
            kind,
            schema_version: 1,
            answers: None,
            payload,
        }
    }

    /// The same, belonging to `incident`.
    #[must_use]
    pub fn incident(mut self, incident: impl Into<String>) -> Self {
        self.incident = Some(incident.into());
        self
    }

    /// The same, answering the entry numbered `seq`.
    #[must_use]
    pub fn answers(mut self, seq: u64) -> Self {
        self.answers = Some(seq);
        self
    }
}

/// An entry as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1 without a gap.
    pub seq: u64,
    /// Receive time, Unix milliseconds.
    pub now_ms: u64,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which incident it belongs to, if any.
    pub incident: Option<String>,
    /// What it is about.
    pub kind: EntryKind,
    /// Version of the payload's shape.
    pub schema_version: u32,
    /// The entry that this one answers.
    pub answers: Option<u64>,
    /// What happened; none if it was erased.
    pub payload: Option<serde_json::Value>,
    /// Its hash in the chain, lower-case hex.
    pub hash: String,
}

impl Entry {
    /// The payload as a `T`; `None` if it was erased.
    ///
    /// # Errors
    /// [`LedgerError::Payload`] if it is not a `T`.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<Option<T>, LedgerError> {
        self.payload
            .clone()
            .map(serde_json::from_value)
            .transpose()
            .map_err(|source| LedgerError::Payload { seq: self.seq, source })
    }
}

/// Which entries to read, oldest first. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those numbered from here on.
    pub from_seq: u64,
    /// Only those of this incident.
    pub incident: Option<String>,
    /// Only those of this tenant.
    pub tenant: Option<Tenant>,
    /// Only those of these kinds; empty means any.
    pub kinds: Vec<EntryKind>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Filter {
    /// All entries of these kinds.
    #[must_use]
    pub fn kinds(kinds: &[EntryKind]) -> Self {
        Self { kinds: kinds.to_vec(), ..Self::default() }
    }

    /// All entries of `incident`.
    #[must_use]
    pub fn incident(incident: impl Into<String>) -> Self {
        Self { incident: Some(incident.into()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::EntryKind;

    /// Guarantees: the stored form, the serialised form and `parse` agree, for every kind.
    #[test]
    fn kinds_have_one_name() {
        for kind in EntryKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(EntryKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EntryKind::parse("Started"), None);
    }
}
