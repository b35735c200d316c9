//! Proof that nothing was changed: the chain, computed again.

use crate::{
    chain::{self, GENESIS, Hash, Link, SALT_BYTES},
    entry::EntryKind,
    error::LedgerError,
    reader::{self, LedgerReader},
};
use rusqlite::Row;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A head that somebody noted down earlier. Whoever can write the whole file can compute a whole new chain; a head kept
/// elsewhere shows that too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the entry.
    pub seq: u64,
    /// Its hash, lower-case hex.
    pub hash: String,
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Entries that were checked and are good, from the first on.
    pub entries: u64,
    /// Of these, entries whose payload was erased in good order.
    pub erased: u64,
    /// Hash of the last good entry, lower-case hex; zeros if there is none. Note it down as a [`Checkpoint`].
    pub head_hash: String,
    /// The first entry that is not as it was written.
    pub first_bad: Option<Bad>,
}

/// An entry that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// Its number, or the number at which it is missing.
    pub seq: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// It is not there.
    Missing,
    /// It does not follow from the entry before.
    BrokenLink,
    /// One of its fields was changed.
    Changed,
    /// Its payload was changed.
    PayloadChanged,
    /// Its payload is gone, and no erasure says so.
    PayloadGone,
    /// The file's own note of the newest entry says something else.
    HeadDiffers,
    /// The hash noted down earlier says something else.
    CheckpointDiffers,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.problem {
            Problem::Missing => "is missing",
            Problem::BrokenLink => "does not follow from the one before",
            Problem::Changed => "was changed",
            Problem::PayloadChanged => "has another payload than was written",
            Problem::PayloadGone => "has lost its payload, and no erasure says why",
            Problem::HeadDiffers => {
                "is the last, but the ledger says otherwise: entries were removed or added"
            }
            Problem::CheckpointDiffers => "is not the one whose hash was noted down",
        };
        write!(f, "entry {} {what}", self.seq)
    }
}

/// Recomputes the chain of the ledger at `path`, with or without a daemon that writes it.
///
/// # Errors
/// If the file cannot be read. A tampered ledger is not an error but a report with `first_bad`.
pub fn verify(path: impl AsRef<Path>) -> Result<VerifyReport, LedgerError> {
    verify_with(path, None)
}

/// As [`verify`], and checks that `checkpoint` is part of the chain.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    path: impl AsRef<Path>,
    checkpoint: Option<&Checkpoint>,
) -> Result<VerifyReport, LedgerError> {
    let reader = LedgerReader::open(path)?;
    let failed = |source| LedgerError::Sqlite { step: "verify", path: reader.path.clone(), source };
    // One snapshot, even while a daemon writes.
    let transaction = reader.connection.unchecked_transaction().map_err(failed)?;
    let mut statement = transaction
        .prepare(
            "SELECT seq, now_ms, tenant, incident, kind, schema_version, answers, payload, salt, digest, prev_hash, \
             hash FROM entry ORDER BY seq",
        )
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut walk = Walk::default();
    let mut bad = None;
    while let Some(row) = rows.next().map_err(failed)? {
        // A value of a type that no writer stores is a change as well.
        let problem = match walk.step(row) {
            Ok(None) => {
                let differs = checkpoint
                    .is_some_and(|noted| noted.seq == walk.seq && noted.hash != chain::hex(&walk.hash));
                differs.then_some(Problem::CheckpointDiffers)
            }
            Ok(Some(problem)) => Some(problem),
            Err(error) if error.sqlite_error_code().is_none() => Some(Problem::Changed),
            Err(error) => return Err(failed(error)),
        };
        if let Some(problem) = problem {
            bad = Some(Bad { seq: walk.seq, problem });
            break;
        }
    }
    let good = if bad.is_some() { walk.seq.saturating_sub(1) } else { walk.seq };
    if bad.is_none() {
        bad = match reader::head(&transaction) {
            Ok(head) if head == (walk.seq, walk.hash) => None,
            Ok((seq, _)) if seq > walk.seq => Some(Bad { seq: walk.seq + 1, problem: Problem::Missing }),
            Err(error) if error.sqlite_error_code().is_some() => return Err(failed(error)),
            Ok(_) | Err(_) => Some(Bad { seq: walk.seq, problem: Problem::HeadDiffers }),
        };
    }
    if let Some(noted) = checkpoint.filter(|noted| noted.seq > walk.seq && bad.is_none()) {
        bad = Some(Bad { seq: noted.seq, problem: Problem::Missing });
    }
    // An unexplained gap counts only as far as the chain is good: the erasure may stand in the part that is not.
    if let Some(seq) = walk.unexplained().filter(|_| bad.is_none()) {
        bad = Some(Bad { seq, problem: Problem::PayloadGone });
    }
    Ok(VerifyReport {
        entries: good,
        erased: walk.erased.iter().map(|(first, last)| last - first + 1).sum(),
        head_hash: chain::hex(if good == walk.seq { &walk.hash } else { &walk.before }),
        first_bad: bad,
    })
}

/// How far the chain has been followed.
struct Walk {
    seq: u64,
    hash: Hash,
    /// Hash of the entry before the current one.
    before: Hash,
    /// Runs of entries without payload, first to last.
    erased: BTreeMap<u64, u64>,
    /// Runs that erasures name.
    explained: Vec<[u64; 2]>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS, before: GENESIS, erased: BTreeMap::new(), explained: Vec::new() }
    }
}

impl Walk {
    fn step(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<Problem>> {
        self.before = self.hash;
        self.seq += 1;
        let seq: i64 = row.get(0)?;
        if seq != i64::try_from(self.seq).unwrap_or(i64::MAX) {
            return Ok(Some(Problem::Missing));
        }
        let prev_hash: Hash = row.get(10)?;
        if prev_hash != self.hash {
            return Ok(Some(Problem::BrokenLink));
        }
        let (tenant, incident, kind): (String, Option<String>, String) =
            (row.get(2)?, row.get(3)?, row.get(4)?);
        let answers = row.get::<_, Option<i64>>(6)?.map(|_| reader::number(row, 6)).transpose()?;
        let (digest, hash): (Hash, Hash) = (row.get(9)?, row.get(11)?);
        let link = Link {
            prev_hash: &prev_hash,
            seq: self.seq,
            now_ms: reader::number(row, 1)?,
            schema_version: row.get(5)?,
            answers,
            tenant: &tenant,
            incident: incident.as_deref(),
            kind: &kind,
            digest: &digest,
        };
        if link.hash() != hash {
            return Ok(Some(Problem::Changed));
        }
        match (row.get::<_, Option<String>>(7)?, row.get::<_, Option<[u8; SALT_BYTES]>>(8)?) {
            (Some(payload), Some(salt)) if chain::digest(&salt, &payload) == digest => {
                if kind == EntryKind::Erasure.as_str() {
                    self.explain(&payload);
                }
            }
            (None, None) if kind != EntryKind::Erasure.as_str() => self.note_erased(),
            _ => return Ok(Some(Problem::PayloadChanged)),
        }
        self.hash = hash;
        Ok(None)
    }

    fn note_erased(&mut self) {
        match self.erased.last_entry() {
            Some(mut run) if *run.get() + 1 == self.seq => *run.get_mut() = self.seq,
            _ => {
                self.erased.insert(self.seq, self.seq);
            }
        }
    }

    /// The payload's digest was checked: the ledger itself wrote it.
    fn explain(&mut self, payload: &str) {
        #[derive(Deserialize)]
        struct Erasure {
            seqs: Vec<[u64; 2]>,
        }
        if let Ok(erasure) = serde_json::from_str::<Erasure>(payload) {
            self.explained.extend(erasure.seqs);
        }
    }

    /// The first entry without payload that no erasure names.
    fn unexplained(&self) -> Option<u64> {
        let mut explained = self.explained.clone();
        explained.sort_unstable();
        self.erased.iter().find_map(|(&first, &last)| {
            let mut next = first;
            for [from, to] in &explained {
                if *from <= next && next <= *to {
                    next = to + 1;
                }
            }
            (next <= last).then_some(next)
        })
    }
}
