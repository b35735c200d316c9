//! A writer is killed with SIGKILL at arbitrary moments.

use salve_ledger::{EntryKind, Filter, Ledger, LedgerError, NewEntry, verify};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

const PATH: &str = "SALVE_LEDGER_TEST_PATH";

/// Not a test by itself: the writer that [`kill_9_leaves_a_whole_chain`] starts and kills. Says each number once it was
/// promised to be on the disk.
#[test]
#[ignore = "started by kill_9_leaves_a_whole_chain"]
fn writer() {
    let path = std::env::var_os(PATH).unwrap();
    let mut ledger = Ledger::open(path).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        let group: Vec<NewEntry> = (0..3)
            .map(|index| NewEntry::new(EntryKind::Input, index, json!({ "filler": "x".repeat(500) })))
            .collect();
        let seqs = ledger.append(&group).unwrap();
        writeln!(out, "\npromised {} {}", seqs[2], ledger.fencing_token()).unwrap();
        out.flush().unwrap();
    }
}

/// Scenario: eight writers in a row append groups of three as fast as they can, and are killed after some of them.
/// Guarantees: the chain is whole; every group that was promised is there, and no half of one; the lease is free at
/// once and the token rises.
#[test]
fn kill_9_leaves_a_whole_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut token = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--ignored", "--nocapture"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut promised = (0, 0);
        for _ in 0..=round * 7 {
            promised = lines
                .by_ref()
                .map(Result::unwrap)
                .find_map(|line| {
                    let (seq, token) = line.strip_prefix("promised ")?.split_once(' ')?;
                    Some((seq.parse::<u64>().unwrap(), token.parse::<u64>().unwrap()))
                })
                .unwrap();
        }
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Locked { .. })));
        child.kill().unwrap();
        child.wait().unwrap();

        let report = verify(&path).unwrap();
        assert_eq!(report.first_bad, None);
        assert!(report.entries >= promised.0, "{} of {} promised", report.entries, promised.0);
        assert_eq!(report.entries % 3, 0, "half a group was written");
        assert!(promised.1 > token);
        token = promised.1;
    }
    let mut ledger = Ledger::open(&path).unwrap();
    assert!(ledger.fencing_token() > token);
    let newest = ledger.append(&[NewEntry::new(EntryKind::Note, 1, json!("after"))]).unwrap()[0];
    assert_eq!(ledger.entries(Filter { from_seq: newest, ..Filter::default() }).unwrap().len(), 1);
    assert_eq!(verify(&path).unwrap().entries, newest);
}
