//! Somebody with the file and SQLite changes the past: verification finds each change.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use rusqlite::Connection;
use salve_ledger::{Bad, EntryKind, Erase, Ledger, NewEntry, Problem, verify};
use serde_json::json;
use std::path::PathBuf;

/// A ledger of 7 entries: 5 notes of incidents, one of them an answer, entry 2 erased by entry 6, and one more.
fn ledger() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap();
    let note =
        |index: u64| NewEntry::new(EntryKind::Note, index, json!({ "index": index })).incident("inc-1");
    ledger.append(&[note(1), note(2), note(3), note(4).answers(3), note(5)]).unwrap();
    ledger.erase(6, &Erase::Seqs(2..=2), "test").unwrap();
    ledger.append(&[note(7)]).unwrap();
    (folder, path)
}

/// Runs `sql` on the file with every trigger removed, as whoever owns the file can.
fn tamper(path: &PathBuf, sql: &str) {
    let connection = Connection::open(path).unwrap();
    let triggers: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    connection.execute_batch(sql).unwrap();
}

/// Guarantees: a change of any column of any entry, and a removed, added or exchanged entry, are found at the first
/// entry concerned, with the right word for it.
#[test]
fn every_change_is_found() {
    use Problem::{BrokenLink, Changed, HeadDiffers, Missing, PayloadChanged, PayloadGone};
    let swap = "UPDATE entry SET seq = 100 WHERE seq = 3; UPDATE entry SET answers = NULL WHERE seq = 4; \
                UPDATE entry SET seq = 3 WHERE seq = 4; UPDATE entry SET seq = 4 WHERE seq = 100;";
    let duplicate = "INSERT INTO entry SELECT 8, now_ms, tenant, incident, kind, schema_version, answers, payload, \
                     salt, digest, prev_hash, hash FROM entry WHERE seq = 7";
    for (sql, seq, problem) in [
        ("UPDATE entry SET now_ms = now_ms + 1 WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET now_ms = -1 WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET tenant = 'other' WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET incident = 'inc-2' WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET incident = NULL WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET kind = 'operator' WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET schema_version = 2 WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET answers = 2 WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET answers = NULL WHERE seq = 4", 4, Changed),
        ("UPDATE entry SET digest = zeroblob(32) WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET hash = x'00' WHERE seq = 3", 3, Changed),
        ("UPDATE entry SET prev_hash = zeroblob(32) WHERE seq = 3", 3, BrokenLink),
        ("UPDATE entry SET payload = '{\"index\":9}' WHERE seq = 3", 3, PayloadChanged),
        ("UPDATE entry SET payload = payload || ' ' WHERE seq = 3", 3, PayloadChanged),
        ("UPDATE entry SET salt = zeroblob(16) WHERE seq = 3", 3, PayloadChanged),
        ("UPDATE entry SET payload = 'null', salt = zeroblob(16) WHERE seq = 2", 2, PayloadChanged),
        ("UPDATE entry SET payload = NULL, salt = NULL WHERE seq = 6", 6, PayloadChanged),
        ("UPDATE entry SET payload = NULL, salt = NULL WHERE seq = 3", 3, PayloadGone),
        ("UPDATE entry SET payload = NULL, salt = NULL WHERE seq = 7", 7, PayloadGone),
        ("DELETE FROM entry WHERE seq = 1", 1, Missing),
        ("DELETE FROM entry WHERE seq = 5", 5, Missing),
        ("DELETE FROM entry WHERE seq = 7", 7, Missing),
        ("DELETE FROM entry", 1, Missing),
        (
            "DELETE FROM entry WHERE seq = 5; UPDATE entry SET seq = 5 WHERE seq = 6; UPDATE entry SET seq = 6 WHERE seq = 7",
            5,
            BrokenLink,
        ),
        ("DELETE FROM head", 7, HeadDiffers),
        ("UPDATE head SET hash = zeroblob(32)", 7, HeadDiffers),
        ("UPDATE head SET seq = 6", 7, HeadDiffers),
        (swap, 3, BrokenLink),
        (duplicate, 8, BrokenLink),
    ] {
        let (_folder, path) = ledger();
        assert_eq!(verify(&path).unwrap().first_bad, None);
        tamper(&path, sql);
        let report = verify(&path).unwrap();
        assert_eq!(report.first_bad, Some(Bad { seq, problem }), "{sql}");
    }
}

/// Guarantees: the report says how far the record can be trusted.
#[test]
fn good_entries_are_counted_up_to_the_bad_one() {
    let (_folder, path) = ledger();
    let before = verify(&path).unwrap();
    assert_eq!((before.entries, before.erased), (7, 1));
    tamper(&path, "UPDATE entry SET tenant = 'defaulT' WHERE seq = 5");
    let report = verify(&path).unwrap();
    assert_eq!(report.entries, 4);
    assert_ne!(report.head_hash, before.head_hash);
    insta::assert_snapshot!(report.first_bad.unwrap(), @"entry 5 was changed");
}
