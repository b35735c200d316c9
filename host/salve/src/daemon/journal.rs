//! The brokers' journal on the ledger: intent before each write, result after it, refusals.

use super::clock::Clock;
use salve_capabilities::{Intent, Journal, JournalError, Refusal, WriteOutcome};
use salve_ledger::{Entry, EntryKind, Filter, LedgerError, LedgerHandle, LedgerReader, NewEntry};
use salve_model::{Tenant, call::BoxFuture, incident::IncidentId, plan::Plan};
use serde::Serialize;
use std::collections::BTreeMap;

/// Shape of the payloads below.
const SCHEMA_VERSION: u32 = 1;

/// Writes what brokers do.
pub struct LedgerJournal {
    ledger: LedgerHandle,
    clock: Clock,
}

impl LedgerJournal {
    /// A journal on `ledger`.
    pub fn new(ledger: LedgerHandle, clock: Clock) -> Self {
        Self { ledger, clock }
    }

    async fn append(
        &self,
        kind: EntryKind,
        tenant: Tenant,
        incident: Option<String>,
        answers: Option<u64>,
        payload: &impl Serialize,
    ) -> Result<u64, JournalError> {
        let payload = serde_json::to_value(payload).map_err(|source| JournalError {
            reason: "the entry cannot be put into JSON".into(),
            source: Some(source.into()),
        })?;
        let mut entry = NewEntry::new(kind, self.clock.now().0, payload);
        entry.tenant = tenant;
        entry.incident = incident;
        entry.answers = answers;
        entry.schema_version = SCHEMA_VERSION;
        let sequence = self
            .ledger
            .append(vec![entry])
            .await
            .map_err(|source| JournalError { reason: source.to_string(), source: Some(source.into()) })?;
        sequence
            .first()
            .copied()
            .ok_or_else(|| JournalError { reason: "the ledger gave no number".into(), source: None })
    }
}

impl Journal for LedgerJournal {
    fn intent(&self, intent: Intent) -> BoxFuture<'_, Result<u64, JournalError>> {
        Box::pin(async move {
            let (tenant, incident) = (intent.tenant.clone(), Some(intent.incident.0.clone()));
            self.append(EntryKind::WriteIntent, tenant, incident, None, &intent).await
        })
    }

    fn result(
        &self,
        id: u64,
        tenant: Tenant,
        outcome: WriteOutcome,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.append(EntryKind::WriteResult, tenant, None, Some(id), &outcome).await.map(drop)
        })
    }

    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            tracing::warn!(incident = %refusal.incident, plugin = %refusal.plugin, capability = refusal.call.capability,
                verb = refusal.call.verb, target = %refusal.call.target, denied = ?refusal.denied, "Call refused.");
            let (tenant, incident) = (refusal.tenant.clone(), Some(refusal.incident.0.clone()));
            self.append(EntryKind::Refusal, tenant, incident, None, &refusal).await.map(drop)
        })
    }
}

/// One write of a run: its number and intent, and its outcome if that was recorded.
pub type RecordedWrite = (u64, Intent, Option<WriteOutcome>);

/// Writes of the newest run of `plan` for `incident`, oldest first.
///
/// # Errors
/// If the ledger cannot be read.
pub fn writes_of(
    ledger: &LedgerHandle,
    incident: &IncidentId,
    plan: &Plan,
    undo: bool,
) -> Result<Vec<RecordedWrite>, LedgerError> {
    let reader = LedgerReader::open(ledger.path())?;
    let kinds = vec![EntryKind::Effect, EntryKind::WriteIntent];
    let entries =
        reader.entries(Filter { incident: Some(incident.0.clone()), kinds, ..Filter::default() })?;
    let run_name = if undo { "undo" } else { "execute" };
    let run_start = entries
        .iter()
        .rev()
        .find(|entry| {
            entry.kind == EntryKind::Effect
                && entry.payload.as_ref().is_some_and(|effect| effect.get(run_name).is_some())
        })
        .map_or(0, |entry| entry.seq);
    let outcomes: BTreeMap<u64, WriteOutcome> = reader
        .entries(Filter { from_seq: run_start, ..Filter::kinds(&[EntryKind::WriteResult]) })?
        .iter()
        .filter_map(|entry| Some((entry.answers?, entry.payload_as::<WriteOutcome>().ok()??)))
        .collect();
    Ok(entries
        .iter()
        .filter(|entry| entry.seq > run_start && entry.kind == EntryKind::WriteIntent)
        .filter_map(|entry| Some((entry.seq, intent_of(entry)?)))
        .filter(|(_, intent)| intent.plugin == plan.action && intent.undo == undo)
        .map(|(sequence, intent)| (sequence, intent, outcomes.get(&sequence).cloned()))
        .collect())
}

fn intent_of(entry: &Entry) -> Option<Intent> {
    entry.payload_as::<Intent>().ok()?
}
