//! The file's tables, and how older files get them.

use crate::error::LedgerError;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::path::Path;

/// `SALV`: tells a ledger from other SQLite files.
const APPLICATION_ID: i64 = 0x5341_4c56;

/// One script per version, oldest first; the newest version is their number. A script that was released never changes.
const MIGRATIONS: &[&str] = &[
    // 1: the chain, its head, the lease. Rules that a program could break are kept by triggers, `INSERT OR REPLACE`
    // included, which goes past delete triggers but not past `entry_is_next`.
    "
    CREATE TABLE entry (
        seq            INTEGER PRIMARY KEY,
        now_ms         INTEGER NOT NULL,
        tenant         TEXT NOT NULL,
        incident       TEXT,
        kind           TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        answers        INTEGER,
        payload        TEXT,
        salt           BLOB,
        digest         BLOB NOT NULL,
        prev_hash      BLOB NOT NULL,
        hash           BLOB NOT NULL,
        CHECK ((payload IS NULL) = (salt IS NULL)),
        CHECK (answers < seq)
    ) STRICT;
    CREATE UNIQUE INDEX entry_one_result ON entry (answers) WHERE kind = 'write_result';

    CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
    INSERT INTO head VALUES (1, 0, zeroblob(32));

    CREATE TABLE lease (only INTEGER PRIMARY KEY CHECK (only = 1), token INTEGER NOT NULL) STRICT;
    INSERT INTO lease VALUES (1, 0);

    CREATE TRIGGER entry_is_next BEFORE INSERT ON entry
    WHEN NEW.seq IS NOT (SELECT seq + 1 FROM head) OR NEW.prev_hash IS NOT (SELECT hash FROM head)
    BEGIN SELECT RAISE(ABORT, 'an entry must follow the newest one'); END;

    CREATE TRIGGER entry_stays BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

    CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry
    WHEN NOT (NEW.payload IS NULL AND NEW.salt IS NULL
        AND NEW.seq IS OLD.seq AND NEW.now_ms IS OLD.now_ms AND NEW.tenant IS OLD.tenant
        AND NEW.incident IS OLD.incident AND NEW.kind IS OLD.kind AND NEW.schema_version IS OLD.schema_version
        AND NEW.answers IS OLD.answers AND NEW.digest IS OLD.digest AND NEW.prev_hash IS OLD.prev_hash
        AND NEW.hash IS OLD.hash AND OLD.kind <> 'erasure')
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

    CREATE TRIGGER head_stays BEFORE DELETE ON head
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER head_rises BEFORE UPDATE ON head WHEN NEW.seq <= OLD.seq
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER lease_stays BEFORE DELETE ON lease
    BEGIN SELECT RAISE(ABORT, 'the token only rises'); END;
    CREATE TRIGGER lease_rises BEFORE UPDATE ON lease WHEN NEW.token <= OLD.token
    BEGIN SELECT RAISE(ABORT, 'the token only rises'); END;
    ",
    // 2: recovery and `salve incident show` read a few entries out of many.
    "
    CREATE INDEX entry_by_incident ON entry (incident, seq) WHERE incident IS NOT NULL;
    CREATE INDEX entry_by_kind ON entry (kind, seq);
    ",
];

/// The newest version.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// The file's version; 0 if it is empty.
///
/// # Errors
/// [`LedgerError::NotALedger`] if it holds something else, [`LedgerError::NewerSchema`] if it is too new.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<u32, LedgerError> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::NotALedger { path: path.into() },
        _ => LedgerError::Sqlite { step: "read the schema version", path: path.into(), source },
    };
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID {
        return if tables == 0 { Ok(0) } else { Err(LedgerError::NotALedger { path: path.into() }) };
    }
    let found: Option<u32> = connection
        .query_row("SELECT max(version) FROM schema_version", [], |row| row.get(0))
        .optional()
        .map_err(failed)?
        .flatten();
    match found {
        None => Err(LedgerError::NotALedger { path: path.into() }),
        Some(found) if found > NEWEST => {
            Err(LedgerError::NewerSchema { path: path.into(), found, newest: NEWEST })
        }
        Some(found) => Ok(found),
    }
}

/// Brings the file to version `to`, each step in a transaction of its own.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, to: u32) -> Result<(), LedgerError> {
    let failed =
        |source| LedgerError::Sqlite { step: "bring the schema up to date", path: path.into(), source };
    let from = version(connection, path)?;
    for (script, version) in
        MIGRATIONS.iter().zip(1_u32..).filter(|(_, version)| (from + 1..=to).contains(version))
    {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if version == 1 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
            transaction
                .execute_batch("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT;")
                .map_err(failed)?;
        }
        transaction.execute_batch(script).map_err(failed)?;
        transaction.execute("INSERT INTO schema_version VALUES (?1)", [version]).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
