//! Erasing payloads of the ledger at a person's word.
//!
//! ## What always holds
//! - what recovery still needs stays: everything of open incidents, and transitions that are not an incident's
//! - an incident is erased as a whole or not at all, so that no part of it comes back at the next start
//! - the ledger says what was erased, by whom and why, and still verifies

use super::Daemon;
use crate::control::Erasure;
use salve_core::{Transition, transition::Change};
use salve_ledger::{Entry, EntryKind, Erase, Filter, LedgerError, LedgerReader};
use salve_model::text::escape;
use std::{collections::BTreeSet, path::Path};

/// Most entries of one request by number: they are all looked at.
const ENTRIES_MAX: u64 = 100_000;

impl Daemon {
    /// Erases for good. Says what was done.
    ///
    /// # Errors
    /// In a sentence, if the daemon still needs some of it or there is nothing.
    pub async fn erase(&self, what: Erasure, by: &str, reason: &str) -> Result<String, String> {
        let open = self.questions.ask(|core| {
            let open = core.incidents().into_iter().filter(|incident| incident.closed.is_none());
            open.map(|incident| incident.id.0).collect::<BTreeSet<String>>()
        });
        let open = open.await.ok_or("the daemon is stopping")?;
        let what = match what {
            Erasure::Incident(id) if open.contains(&id) => {
                return Err(format!(
                    "{} is open: its entries are needed until it is closed",
                    escape(&id, 100)
                ));
            }
            Erasure::Incident(id) => Erase::Incident(id),
            Erasure::Entries { first, last } if first > last || last - first >= ENTRIES_MAX => {
                return Err(format!("{first}..{last} are not 1 to {ENTRIES_MAX} entries"));
            }
            Erasure::Entries { first, last } => {
                let path = self.ledger.path().to_owned();
                let looked = tokio::task::spawn_blocking(move || objection(&path, first, last, &open)).await;
                match looked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())? {
                    Some(objection) => return Err(objection),
                    None => Erase::Seqs(first..=last),
                }
            }
        };
        let reason = format!("{} (by {})", escape(reason, 500), escape(by, 100));
        let erased = self
            .ledger
            .erase(self.clock.now().0, what, reason)
            .await
            .map_err(|error| salve_model::text::chain(&error))?;
        match erased.erasure {
            None => Err("nothing was erased: there is no such entry with a payload".into()),
            Some(seq) => {
                tracing::warn!(payloads = erased.payloads, entry = seq, by = %escape(by, 100), "Ledger entries were erased.");
                Ok(format!("{} payloads and their salts are erased; entry {seq} says so", erased.payloads))
            }
        }
    }
}

/// Why some of these entries must stay.
fn objection(
    path: &Path,
    first: u64,
    last: u64,
    open: &BTreeSet<String>,
) -> Result<Option<String>, LedgerError> {
    let reader = LedgerReader::open(path)?;
    let limit = Some(last - first + 1);
    let entries = reader.entries(Filter { from_seq: first, limit, ..Filter::default() })?;
    Ok(entries.iter().filter(|entry| entry.seq <= last).find_map(|entry| needed(entry, open)))
}

fn needed(entry: &Entry, open: &BTreeSet<String>) -> Option<String> {
    let seq = entry.seq;
    match &entry.incident {
        Some(incident) if open.contains(incident) => {
            Some(format!("entry {seq} belongs to {incident}, which is open"))
        }
        Some(incident) if entry.kind == EntryKind::Transition => Some(format!(
            "entry {seq} is a part of what {incident} is: erase all of it by `--incident {incident}`"
        )),
        None if entry.kind == EntryKind::Transition => {
            let transition = entry.payload_as::<Transition>().ok().flatten();
            // What was merely suspected is forgotten soon; the rest is what Salve knows of itself.
            let is_suspicion =
                transition.is_none_or(|transition| matches!(transition.change, Change::Suspected { .. }));
            (!is_suspicion).then(|| format!("entry {seq} is needed at the next start"))
        }
        _ => None,
    }
}
