//! The one writer.

use crate::{
    chain::{self, Hash, Link},
    entry::{Entry, EntryKind, Filter, NewEntry},
    error::LedgerError,
    lease::Lock,
    reader::{self, Entries},
    schema,
    settings::LedgerSettings,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    ops::RangeInclusive,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// The ledger, opened for writing. Blocks on the disk: async code uses [`crate::LedgerHandle`].
#[derive(Debug)]
pub struct Ledger {
    // Before the lock: it is closed while the lock is still held.
    connection: Connection,
    path: PathBuf,
    settings: LedgerSettings,
    token: u64,
    _lock: Lock,
}

/// Whose payloads to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erase {
    /// Of entries with these numbers.
    Seqs(RangeInclusive<u64>),
    /// Of all entries of this incident, and of what answers them.
    Incident(String),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Payloads that are gone now.
    pub payloads: u64,
    /// Number of the [`EntryKind::Erasure`] that says so; none if there was nothing to erase.
    pub erasure: Option<u64>,
}

impl Ledger {
    /// Opens the ledger at `path` with default bounds; see [`Ledger::open_with`].
    ///
    /// # Errors
    /// As [`Ledger::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        Self::open_with(path, LedgerSettings::default())
    }

    /// Opens the ledger at `path` for writing: creates folder (mode 0700) and file (0600) if need be, takes the lease
    /// and brings older files up to date.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if a live process writes it; otherwise what failed.
    pub fn open_with(path: impl AsRef<Path>, settings: LedgerSettings) -> Result<Self, LedgerError> {
        let path = path.as_ref().to_path_buf();
        create(&path)?;
        let lock = Lock::take(&path)?;
        let failed = |source| LedgerError::Sqlite { step: "open for writing", path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(Duration::from_millis(settings.busy_timeout_ms)).map_err(failed)?;
        // Before anything is written: a file that is not ours is left alone.
        schema::version(&connection, &path)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
                 PRAGMA trusted_schema = OFF;",
            )
            .map_err(failed)?;
        schema::migrate(&mut connection, &path, schema::NEWEST)?;
        let token: i64 = connection
            .query_row("UPDATE lease SET token = token + 1 RETURNING token", [], |row| row.get(0))
            .map_err(|source| LedgerError::Sqlite { step: "take the lease", path: path.clone(), source })?;
        Ok(Self { connection, path, settings, token: token.unsigned_abs(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bounds.
    #[must_use]
    pub fn settings(&self) -> &LedgerSettings {
        &self.settings
    }

    /// The lease's token: higher than that of every writer before.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.token
    }

    /// Asks whether this writer's token is still the newest.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] if it is not.
    pub fn check_lease(&self) -> Result<(), LedgerError> {
        check_lease(&self.connection, &self.path, self.token)
    }

    /// Appends `entries` in one transaction and gives back their numbers. All are on the disk when it returns, or none.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`], [`LedgerError::PayloadTooLarge`], [`LedgerError::Refused`] (a result without an open
    /// intent), or SQLite's word, for instance on a full disk.
    pub fn append(&mut self, entries: &[NewEntry]) -> Result<Vec<u64>, LedgerError> {
        let Self { connection, path, settings, token, .. } = self;
        let failed = |source| LedgerError::Sqlite { step: "append", path: path.clone(), source };
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        check_lease(&transaction, path, *token)?;
        let seqs = insert_all(&transaction, path, settings, entries)?;
        transaction.commit().map_err(failed)?;
        Ok(seqs)
    }

    /// Appends several groups with one fsync. Each group is written whole or not at all, whatever becomes of the
    /// others; `Ok` means on the disk.
    pub fn append_groups(&mut self, groups: &[&[NewEntry]]) -> Vec<Result<Vec<u64>, LedgerError>> {
        if let [only] = groups {
            return vec![self.append(only)];
        }
        match self.try_append_groups(groups) {
            Ok(results) => results,
            // The transaction as a whole failed: nothing is written. Alone, each gets a reason of its own.
            Err(_) => groups.iter().map(|group| self.append(group)).collect(),
        }
    }

    fn try_append_groups(
        &mut self,
        groups: &[&[NewEntry]],
    ) -> Result<Vec<Result<Vec<u64>, LedgerError>>, LedgerError> {
        let Self { connection, path, settings, token, .. } = self;
        let failed = |source| LedgerError::Sqlite { step: "append", path: path.clone(), source };
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        check_lease(&transaction, path, *token)?;
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let savepoint = transaction.savepoint().map_err(failed)?;
            let result = insert_all(&savepoint, path, settings, group);
            match &result {
                Ok(_) => savepoint.commit().map_err(failed)?,
                // SQLite may have ended the whole transaction (disk full): then nothing of it counts.
                Err(LedgerError::Sqlite { .. }) => return result.map(|_| Vec::new()),
                Err(_) => savepoint.finish().map_err(failed)?,
            }
            results.push(result);
        }
        transaction.commit().map_err(failed)?;
        Ok(results)
    }

    /// Erases payloads for good: content and salt are overwritten in the file, digests stay, and an entry of kind
    /// [`EntryKind::Erasure`] with `reason` is appended. What was erased already, and erasures, are passed over.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] if one of them is an intent without a result: recovery still needs it.
    pub fn erase(&mut self, now_ms: u64, what: &Erase, reason: &str) -> Result<Erased, LedgerError> {
        let Self { connection, path, settings, token, .. } = self;
        let failed = |source| LedgerError::Sqlite { step: "erase", path: path.clone(), source };
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        check_lease(&transaction, path, *token)?;
        let seqs = selected(&transaction, what).map_err(failed)?;
        if seqs.is_empty() {
            return Ok(Erased { payloads: 0, erasure: None });
        }
        if let Some(open) = reader::unfinished_intents(&transaction, path)?
            .iter()
            .find(|intent| seqs.binary_search(&intent.seq).is_ok())
        {
            return Err(LedgerError::Refused {
                kind: EntryKind::Erasure.as_str(),
                why: format!("entry {} is a write whose outcome is still open", open.seq),
            });
        }
        let mut statement = transaction
            .prepare("UPDATE entry SET payload = NULL, salt = NULL WHERE seq = ?1")
            .map_err(failed)?;
        for seq in &seqs {
            statement.execute([stored("seq", *seq)?]).map_err(failed)?;
        }
        drop(statement);
        let payload = serde_json::json!({ "seqs": ranges(&seqs), "reason": reason });
        let erasure = NewEntry::new(EntryKind::Erasure, now_ms, payload);
        let seq = insert(&transaction, path, settings, &erasure)?;
        transaction.commit().map_err(failed)?;
        // The old pages are still in the WAL until it is emptied. A reader can delay that to the next checkpoint.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
        Ok(Erased { payloads: seqs.len() as u64, erasure: Some(seq) })
    }

    /// The entries that `filter` selects, oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn entries(&self, filter: Filter) -> Result<Vec<Entry>, LedgerError> {
        self.stream(filter).collect()
    }

    /// The same, page by page, for results that do not fit into memory.
    #[must_use]
    pub fn stream(&self, filter: Filter) -> Entries<'_> {
        Entries::new(&self.connection, &self.path, filter)
    }

    /// All transitions, oldest first, for recovery.
    #[must_use]
    pub fn transitions(&self) -> Entries<'_> {
        self.stream(Filter::kinds(&[EntryKind::Transition]))
    }

    /// Write intents without a result, oldest first: writes of which a crash left the outcome in doubt.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn unfinished_intents(&self) -> Result<Vec<Entry>, LedgerError> {
        reader::unfinished_intents(&self.connection, &self.path)
    }
}

/// Creates folder and file with modes that let nobody else in; those that exist keep theirs.
fn create(path: &Path) -> Result<(), LedgerError> {
    let open = |source| LedgerError::OpenFile { path: path.into(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| LedgerError::CreateFolder { path: folder.into(), source })?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(open)?;
    // The file's name must survive a power cut as well as its content.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(open)
}

fn check_lease(connection: &Connection, path: &Path, token: u64) -> Result<(), LedgerError> {
    let newest = connection
        .query_row("SELECT token FROM lease", [], |row| reader::number(row, 0))
        .map_err(|source| LedgerError::Sqlite { step: "check the lease", path: path.into(), source })?;
    if newest == token { Ok(()) } else { Err(LedgerError::Fenced { token, newest }) }
}

fn insert_all(
    connection: &Connection,
    path: &Path,
    settings: &LedgerSettings,
    entries: &[NewEntry],
) -> Result<Vec<u64>, LedgerError> {
    entries
        .iter()
        .map(|entry| {
            if entry.kind == EntryKind::Erasure {
                return Err(refused(entry.kind, "only `erase` writes these"));
            }
            check_answer(connection, path, entry)?;
            insert(connection, path, settings, entry)
        })
        .collect()
}

/// A write result closes exactly one open intent.
fn check_answer(connection: &Connection, path: &Path, entry: &NewEntry) -> Result<(), LedgerError> {
    let failed = |source| LedgerError::Sqlite { step: "find the answered entry", path: path.into(), source };
    let Some(answers) = entry.answers else {
        return if entry.kind == EntryKind::WriteResult {
            Err(refused(entry.kind, "it names no intent"))
        } else {
            Ok(())
        };
    };
    let kind: Option<String> = connection
        .query_row("SELECT kind FROM entry WHERE seq = ?1", [stored("answers", answers)?], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let Some(kind) = kind else {
        return Err(refused(entry.kind, &format!("there is no entry {answers} to answer")));
    };
    if entry.kind != EntryKind::WriteResult {
        return Ok(());
    }
    if kind != EntryKind::WriteIntent.as_str() {
        return Err(refused(entry.kind, &format!("entry {answers} is a `{kind}`, not a `write_intent`")));
    }
    let answered: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM entry WHERE answers = ?1 AND kind = 'write_result')",
            [stored("answers", answers)?],
            |row| row.get(0),
        )
        .map_err(failed)?;
    if answered {
        return Err(refused(entry.kind, &format!("intent {answers} has a result already")));
    }
    Ok(())
}

fn refused(kind: EntryKind, why: &str) -> LedgerError {
    LedgerError::Refused { kind: kind.as_str(), why: why.into() }
}

/// Links one entry to the chain.
fn insert(
    connection: &Connection,
    path: &Path,
    settings: &LedgerSettings,
    entry: &NewEntry,
) -> Result<u64, LedgerError> {
    let failed = |source| LedgerError::Sqlite { step: "append", path: path.into(), source };
    let kind = entry.kind.as_str();
    let payload =
        serde_json::to_string(&entry.payload).map_err(|source| LedgerError::Payload { seq: 0, source })?;
    if payload.len() > settings.payload_bytes_max {
        let bytes_max = settings.payload_bytes_max;
        return Err(LedgerError::PayloadTooLarge { kind, bytes: payload.len(), bytes_max });
    }
    let mut salt = [0; chain::SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| LedgerError::Random { what: error.to_string() })?;
    let digest = chain::digest(&salt, &payload);
    let (newest, prev_hash): (u64, Hash) = reader::head(connection).map_err(failed)?;
    let seq = newest + 1;
    let hash = Link {
        prev_hash: &prev_hash,
        seq,
        now_ms: entry.now_ms,
        schema_version: entry.schema_version,
        answers: entry.answers,
        tenant: &entry.tenant.0,
        incident: entry.incident.as_deref(),
        kind,
        digest: &digest,
    }
    .hash();
    connection
        .execute(
            "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                stored("seq", seq)?,
                stored("now_ms", entry.now_ms)?,
                entry.tenant.0,
                entry.incident,
                kind,
                entry.schema_version,
                entry.answers.map(|answers| stored("answers", answers)).transpose()?,
                payload,
                salt,
                digest,
                prev_hash,
                hash,
            ],
        )
        .map_err(failed)?;
    connection
        .execute("UPDATE head SET seq = ?1, hash = ?2", params![stored("seq", seq)?, hash])
        .map_err(failed)?;
    Ok(seq)
}

fn selected(connection: &Connection, what: &Erase) -> rusqlite::Result<Vec<u64>> {
    let rule = "payload IS NOT NULL AND kind <> 'erasure' ORDER BY seq";
    match what {
        Erase::Seqs(range) => {
            let bound = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
            connection
                .prepare(&format!("SELECT seq FROM entry WHERE seq BETWEEN ?1 AND ?2 AND {rule}"))?
                .query_map([bound(*range.start()), bound(*range.end())], |row| reader::number(row, 0))?
                .collect()
        }
        Erase::Incident(incident) => connection
            .prepare(&format!(
                "SELECT seq FROM entry WHERE (incident = ?1 \
                 OR answers IN (SELECT seq FROM entry WHERE incident = ?1)) AND {rule}"
            ))?
            .query_map([incident], |row| reader::number(row, 0))?
            .collect(),
    }
}

/// Rising numbers as runs `[first, last]`.
fn ranges(seqs: &[u64]) -> Vec<[u64; 2]> {
    let mut runs: Vec<[u64; 2]> = Vec::new();
    for &seq in seqs {
        match runs.last_mut() {
            Some([_, last]) if *last + 1 == seq => *last = seq,
            _ => runs.push([seq, seq]),
        }
    }
    runs
}

fn stored(field: &'static str, value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value).map_err(|_| LedgerError::OutOfRange { field, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::error::Error;

    fn note(text: &str) -> NewEntry {
        NewEntry::new(EntryKind::Note, 1, json!(text))
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("ledger.db")).unwrap();
        (folder, ledger)
    }

    /// Scenario: the disk is full in the middle of a transaction, then there is space again.
    /// Guarantees: the append fails as a whole and says what to do; the chain is good and goes on afterwards.
    #[test]
    fn a_full_disk_loses_nothing_and_says_so() {
        let (_folder, mut ledger) = ledger();
        ledger.append(&[note("before")]).unwrap();
        let pages: i64 = ledger.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        ledger
            .connection
            .query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(()))
            .unwrap();
        let (small, large) = (note("small"), note(&"x".repeat(100_000)));
        let error = ledger.append(&[small.clone(), large.clone()]).unwrap_err();
        assert!(error.to_string().starts_with("cannot append in the ledger `"), "{error}");
        assert_eq!(error.source().unwrap().to_string(), "database or disk is full");
        insta::assert_snapshot!(error.hint(), @"The disk is full: free some space. Nothing was recorded in part; no action starts until it is recorded.");
        // In a group, the small one does not suffer from the large one.
        let results = ledger.append_groups(&[&[small], &[large]]);
        assert!(matches!(results.as_slice(), [Ok(_), Err(LedgerError::Sqlite { .. })]), "{results:?}");
        ledger.connection.query_row("PRAGMA max_page_count = 100000", [], |_| Ok(())).unwrap();
        assert_eq!(ledger.append(&[note("after")]).unwrap(), [3]);
        assert_eq!(crate::verify(ledger.path()).unwrap().entries, 3);
    }

    /// Scenario: the file cannot be written (a disk that was remounted read-only).
    /// Guarantees: the message says where to look.
    #[test]
    fn a_read_only_ledger_says_so() {
        let (_folder, mut ledger) = ledger();
        ledger.connection.pragma_update(None, "query_only", true).unwrap();
        let error = ledger.append(&[note("x")]).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "attempt to write a readonly database");
        insta::assert_snapshot!(error.hint(), @"The ledger or its folder cannot be written: check owner, mode and mount options.");
    }

    /// Guarantees: a returned append survives a power cut as far as the disk keeps its word, and erased text is
    /// overwritten: the settings of SQLite that this rests on are in force.
    #[test]
    fn sqlite_is_set_to_durable() {
        let (_folder, ledger) = ledger();
        let text = |pragma: &str| -> String {
            let value: rusqlite::types::Value =
                ledger.connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
            format!("{value:?}")
        };
        assert_eq!(text("journal_mode"), "Text(\"wal\")");
        assert_eq!(text("synchronous"), "Integer(2)");
        assert_eq!(text("secure_delete"), "Integer(1)");
    }

    /// Scenario: somebody with the open file, or a defect in Salve, tries to change the past.
    /// Guarantees: SQLite itself refuses, whatever the statement.
    #[test]
    fn triggers_keep_the_past() {
        let (_folder, mut ledger) = ledger();
        ledger.append(&[note("one"), note("two")]).unwrap();
        for statement in [
            "UPDATE entry SET payload = '{}'",
            "UPDATE entry SET now_ms = 0",
            "UPDATE entry SET hash = zeroblob(32)",
            "UPDATE entry SET payload = NULL, salt = NULL, kind = 'x'",
            "UPDATE entry SET payload = NULL",
            "DELETE FROM entry",
            "INSERT OR REPLACE INTO entry SELECT 1, 0, tenant, incident, kind, schema_version, answers, payload, salt, digest, prev_hash, hash FROM entry WHERE seq = 1",
            "INSERT INTO entry SELECT 4, now_ms, tenant, incident, kind, schema_version, answers, payload, salt, digest, prev_hash, hash FROM entry WHERE seq = 2",
            "UPDATE head SET seq = 1",
            "DELETE FROM head",
            "UPDATE lease SET token = 0",
            "DELETE FROM lease",
        ] {
            let error = ledger.connection.execute(statement, []).unwrap_err();
            assert_eq!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::ConstraintViolation),
                "{statement}"
            );
        }
        assert_eq!(crate::verify(ledger.path()).unwrap().entries, 2);
    }

    /// Scenario: a ledger of schema version 1, as the first release wrote it.
    /// Guarantees: it can be verified as it is, and opening it for writing keeps its entries and brings it up to date.
    #[test]
    fn version_1_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut connection = Connection::open(&path).unwrap();
        schema::migrate(&mut connection, &path, 1).unwrap();
        insert(&connection, &path, &LedgerSettings::default(), &note("from version 1")).unwrap();
        drop(connection);
        let old = crate::verify(&path).unwrap();
        assert_eq!((old.entries, &old.first_bad), (1, &None));

        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(schema::version(&ledger.connection, &path).unwrap(), schema::NEWEST);
        assert_eq!(ledger.append(&[note("now")]).unwrap(), [2]);
        let payloads: Vec<_> = ledger
            .entries(Filter::default())
            .unwrap()
            .into_iter()
            .filter_map(|entry| entry.payload)
            .collect();
        assert_eq!(payloads, [json!("from version 1"), json!("now")]);
        let checkpoint = crate::Checkpoint { seq: 1, hash: old.head_hash };
        assert_eq!(crate::verify_with(&path, Some(&checkpoint)).unwrap().first_bad, None);
    }

    /// Guarantees: a ledger of a newer Salve, and a file that is none, are refused untouched.
    #[test]
    fn foreign_files_are_refused() {
        let (folder, ledger) = ledger();
        let newer = ledger.path().to_path_buf();
        ledger.connection.execute("INSERT INTO schema_version VALUES (99)", []).unwrap();
        drop(ledger);
        assert!(matches!(Ledger::open(&newer), Err(LedgerError::NewerSchema { found: 99, .. })));
        assert!(matches!(crate::verify(&newer), Err(LedgerError::NewerSchema { found: 99, .. })));

        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "x".repeat(5_000)).unwrap();
        let other = folder.path().join("other.db");
        Connection::open(&other)
            .unwrap()
            .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
            .unwrap();
        for path in [&text, &other] {
            let before = std::fs::read(path).unwrap();
            assert!(matches!(Ledger::open(path), Err(LedgerError::NotALedger { .. })), "{}", path.display());
            assert!(matches!(crate::verify(path), Err(LedgerError::NotALedger { .. })), "{}", path.display());
            assert_eq!(std::fs::read(path).unwrap(), before);
        }
    }
}
