//! What the ledger promises to the daemon and to the CLI.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use proptest::prelude::*;
use salve_ledger::{
    Checkpoint, EntryKind, Erase, Filter, Ledger, LedgerError, LedgerHandle, LedgerReader, LedgerSettings,
    NewEntry, Problem, verify, verify_with,
};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn note(text: &str) -> NewEntry {
    NewEntry::new(EntryKind::Note, 1, json!(text))
}

/// Guarantees: nobody but Salve's user can read the record, its log or its lock.
#[test]
fn files_are_private() {
    let folder = folder();
    let path = folder.path().join("a/b/ledger.db");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(&[note("x")]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("a")), 0o700);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"] {
        assert_eq!(mode(&folder.path().join("a/b").join(name)), 0o600, "{name}");
    }
}

/// Scenario: a second daemon is started on the same ledger; then the first one ends.
/// Guarantees: it is refused with the first one's pid while that lives, and gets a higher token afterwards.
#[test]
fn one_writer_at_a_time() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    let first = Ledger::open(&path).unwrap();
    let error = Ledger::open(&path).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("the ledger `{}` has a writer already: process `{pid}`", path.display())
    );
    insta::assert_snapshot!(error.hint(), @"Stop that daemon first, or give this one another data folder; two may never act for one ledger.");
    let token = first.fencing_token();
    drop(first);
    assert!(Ledger::open(&path).unwrap().fencing_token() > token);
}

/// Scenario: the lock file is removed by hand and another daemon starts while the first one lives.
/// Guarantees: the first one can write nothing any more, so that it cannot act.
#[test]
fn a_writer_that_lost_its_lease_is_refused() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    let mut first = Ledger::open(&path).unwrap();
    first.append(&[note("first")]).unwrap();
    std::fs::remove_file(salve_ledger::lease::lock_path(&path)).unwrap();
    let mut second = Ledger::open(&path).unwrap();
    second.append(&[note("second")]).unwrap();
    for result in [first.append(&[note("x")]).map(drop), first.check_lease()] {
        let error = result.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"the ledger's lease has passed on: this writer has token 1, the newest is 2");
        }
    }
    assert!(matches!(
        first.erase(1, &Erase::Seqs(1..=1), "x").unwrap_err(),
        LedgerError::Fenced { token: 1, newest: 2 }
    ));
    second.check_lease().unwrap();
    assert_eq!(verify(&path).unwrap().entries, 2);
}

/// Guarantees: a result answers one open intent; anything else is refused and leaves no trace.
#[test]
fn results_answer_intents() {
    let folder = folder();
    let mut ledger = Ledger::open(folder.path().join("ledger.db")).unwrap();
    let intent = || NewEntry::new(EntryKind::WriteIntent, 1, json!({"verb": "restart"})).incident("inc-1");
    let result = || NewEntry::new(EntryKind::WriteResult, 2, json!({"applied": true})).incident("inc-1");
    assert_eq!(ledger.append(&[intent(), intent(), note("n")]).unwrap(), [1, 2, 3]);
    // A second intent and its own result in one go.
    ledger.append(&[result().answers(2)]).unwrap();
    let open: Vec<_> = ledger.unfinished_intents().unwrap().into_iter().map(|entry| entry.seq).collect();
    assert_eq!(open, [1]);
    for (entry, why) in [
        (result(), "it names no intent"),
        (result().answers(2), "intent 2 has a result already"),
        (result().answers(3), "entry 3 is a `note`, not a `write_intent`"),
        (result().answers(99), "there is no entry 99 to answer"),
        (NewEntry::new(EntryKind::Erasure, 1, json!({})), "only `erase` writes these"),
    ] {
        let kind = entry.kind;
        let error = ledger.append(&[note("lost with it"), entry]).unwrap_err();
        assert_eq!(error.to_string(), format!("an entry of kind `{kind}` was refused: {why}"));
    }
    assert_eq!(ledger.entries(Filter::default()).unwrap().len(), 4);
}

/// Scenario: the CLI reads and verifies while the daemon holds the ledger and writes.
/// Guarantees: it sees what is committed, by each filter, across pages.
#[test]
fn readers_work_beside_the_writer() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap();
    let entries: Vec<NewEntry> = (0..700)
        .map(|index| match index % 3 {
            0 => NewEntry::new(EntryKind::Transition, index, json!({ "index": index })).incident("inc-1"),
            1 => NewEntry::new(EntryKind::Input, index, json!({ "index": index })).incident("inc-2"),
            _ => note("n"),
        })
        .collect();
    ledger.append(&entries).unwrap();
    let reader = LedgerReader::open(&path).unwrap();
    let count = |filter: Filter| reader.stream(filter).map(Result::unwrap).count();
    assert_eq!(count(Filter::default()), 700);
    assert_eq!(count(Filter { from_seq: 690, ..Filter::default() }), 11);
    assert_eq!(count(Filter::incident("inc-1")), 234);
    assert_eq!(count(Filter::kinds(&[EntryKind::Input, EntryKind::Note])), 466);
    assert_eq!(count(Filter { limit: Some(300), ..Filter::default() }), 300);
    assert_eq!(count(Filter { limit: Some(0), ..Filter::default() }), 0);
    let indices: Vec<u64> = reader.transitions().map(|entry| entry.unwrap().now_ms).collect();
    assert_eq!(indices, (0..700).step_by(3).collect::<Vec<u64>>());
    let report = verify(&path).unwrap();
    assert_eq!((report.entries, report.first_bad), (700, None));
    assert_eq!(reader.head().unwrap(), (700, report.head_hash));
    ledger.append(&[note("more")]).unwrap();
    assert_eq!(count(Filter::default()), 701);
}

/// Guarantees: a back-up on a disk that cannot be written, without a WAL beside it, can be read and verified.
#[test]
fn a_closed_ledger_leaves_one_whole_file() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    Ledger::open(&path).unwrap().append(&[note("x")]).unwrap();
    assert!(!folder.path().join("ledger.db-wal").exists());
    let copy = folder.path().join("copy ä?.db");
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(verify(&copy).unwrap().entries, 1);
    assert!(matches!(verify(folder.path().join("none.db")), Err(LedgerError::Missing { .. })));
}

/// Scenario: an incident's payloads are erased by retention.
/// Guarantees: text and salt are gone from every file, the chain still verifies, the erasure is on record, and what
/// recovery still needs cannot be erased.
#[test]
fn erased_payloads_verify_by_digest() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).unwrap();
    let secret = "a-very-particular-secret";
    let of = |incident: &str| note(secret).incident(incident);
    ledger.append(&[of("inc-1"), note("kept"), of("inc-1"), of("inc-2")]).unwrap();
    let erased = ledger.erase(9, &Erase::Incident("inc-1".into()), "retention").unwrap();
    assert_eq!((erased.payloads, erased.erasure), (2, Some(5)));
    ledger.erase(9, &Erase::Seqs(4..=5), "asked for").unwrap();
    assert_eq!(ledger.erase(9, &Erase::Seqs(0..=u64::MAX), "all").unwrap().payloads, 1);
    assert_eq!(ledger.erase(9, &Erase::Incident("inc-1".into()), "again").unwrap().erasure, None);
    for name in ["ledger.db", "ledger.db-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
    }
    let report = verify(&path).unwrap();
    assert_eq!((report.entries, report.erased, report.first_bad), (7, 4, None));
    let entries = ledger.entries(Filter::kinds(&[EntryKind::Erasure])).unwrap();
    assert_eq!(entries[0].payload, Some(json!({"seqs": [[1, 1], [3, 3]], "reason": "retention"})));

    let intent =
        ledger.append(&[NewEntry::new(EntryKind::WriteIntent, 1, json!({})).incident("inc-3")]).unwrap();
    let erase_it = |ledger: &mut Ledger| ledger.erase(9, &Erase::Incident("inc-3".into()), "too early");
    let error = erase_it(&mut ledger).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "an entry of kind `erasure` was refused: entry {} is a write whose outcome is still open",
            intent[0]
        )
    );
    // A result has no incident of its own, and goes with its intent.
    ledger.append(&[NewEntry::new(EntryKind::WriteResult, 1, json!(secret)).answers(intent[0])]).unwrap();
    assert_eq!(erase_it(&mut ledger).unwrap().payloads, 2);
}

/// Scenario: somebody rewrites a whole ledger so that its chain is good in itself.
/// Guarantees: a head that was noted down before shows it, and shows a ledger that was cut as well.
#[test]
fn a_noted_head_shows_a_rewritten_ledger() {
    let folder = folder();
    let write = |name: &str, texts: &[&str]| {
        let path = folder.path().join(name);
        let entries: Vec<NewEntry> = texts.iter().map(|text| note(text)).collect();
        Ledger::open(&path).unwrap().append(&entries).unwrap();
        path
    };
    let path = write("true.db", &["a", "b"]);
    let noted = Checkpoint { seq: 2, hash: verify(&path).unwrap().head_hash };
    assert_eq!(verify_with(&path, Some(&noted)).unwrap().first_bad, None);
    for (path, problem) in [
        (write("forged.db", &["a", "c", "d"]), Problem::CheckpointDiffers),
        (write("cut.db", &["a"]), Problem::Missing),
    ] {
        assert_eq!(verify(&path).unwrap().first_bad, None);
        let bad = verify_with(&path, Some(&noted)).unwrap().first_bad.unwrap();
        assert_eq!((bad.seq, bad.problem), (2, problem));
    }
}

/// Guarantees: bounds are kept and named.
#[test]
fn payloads_have_a_bound() {
    let folder = folder();
    let settings = LedgerSettings { payload_bytes_max: 10, ..LedgerSettings::default() };
    let mut ledger = Ledger::open_with(folder.path().join("ledger.db"), settings).unwrap();
    ledger.append(&[note("12345678")]).unwrap();
    let error = ledger.append(&[note("123456789")]).unwrap_err();
    insta::assert_snapshot!(error, @"a payload of kind `note` has 11 bytes, more than the 10 allowed");
    let late = NewEntry { now_ms: u64::MAX, ..note("x") };
    insta::assert_snapshot!(ledger.append(&[late]).unwrap_err(), @"`now_ms` is 18446744073709551615, above the largest that a ledger can hold");
}

/// Scenario: many tasks append at once, some of them what must be refused, and one gives up waiting.
/// Guarantees: each gets its own answer, the chain is whole, waiting appends share an fsync, and what was accepted is
/// written before the thread ends.
#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_share_an_fsync() {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    let settings = LedgerSettings { queue_max: 16, batch_max: 8, ..LedgerSettings::default() };
    let (handle, thread) = LedgerHandle::start(Ledger::open_with(&path, settings).unwrap()).unwrap();
    let tasks: Vec<_> = (0..200_u64)
        .map(|index| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let entry = NewEntry::new(EntryKind::Input, index, json!({ "index": index }));
                let bad = NewEntry::new(EntryKind::WriteResult, index, json!({}));
                if index % 10 == 9 {
                    handle.append(vec![entry, bad]).await
                } else {
                    handle.append(vec![entry]).await
                }
            })
        })
        .collect();
    let mut seqs = Vec::new();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(written) => seqs.extend(written),
            Err(error) => {
                assert!(matches!(error, LedgerError::Refused { .. }), "{error}");
                refused += 1;
            }
        }
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=180).collect::<Vec<u64>>());
    assert_eq!(refused, 20);
    let stats = handle.stats();
    assert_eq!((stats.entries, stats.failures, stats.waiting), (180, 20, 0));
    assert!(stats.commits < 200, "200 appends took {} commits", stats.commits);
    assert_eq!(handle.erase(1, Erase::Seqs(1..=10), "test").await.unwrap().payloads, 10);

    // Polled once: it is in the queue; then nobody waits for it any more.
    let given_up =
        tokio::time::timeout(std::time::Duration::ZERO, handle.append(vec![note("given up")])).await;
    drop(given_up);
    drop(handle);
    let ledger = thread.join().unwrap();
    assert_eq!(ledger.entries(Filter::default()).unwrap().len(), 182);
    let report = verify(&path).unwrap();
    assert_eq!((report.entries, report.first_bad), (182, None));
}

fn any_entry() -> impl Strategy<Value = NewEntry> {
    let kind = prop::sample::select(vec![
        EntryKind::Started,
        EntryKind::Input,
        EntryKind::Transition,
        EntryKind::WriteIntent,
        EntryKind::Note,
    ]);
    (
        kind,
        0..i64::MAX as u64,
        any::<u32>(),
        prop::option::of("\\PC{0,8}"),
        "\\PC{0,8}",
        prop::collection::vec(any::<f64>(), 0..3),
    )
        .prop_map(|(kind, now_ms, schema_version, incident, text, numbers)| NewEntry {
            now_ms,
            incident,
            schema_version,
            ..NewEntry::new(kind, now_ms, json!({ "text": text, "numbers": numbers }))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Guarantees: whatever is appended (floating-point numbers bit for bit), in whatever groups and over whatever restarts, is read back as it was, and
    /// verifies, also after any part of it was erased.
    #[test]
    fn what_goes_in_comes_out(
        groups in prop::collection::vec((prop::collection::vec(any_entry(), 0..4), any::<bool>()), 1..6),
        (first, last) in (0u64..20, 0u64..20),
    ) {
        let folder = folder();
        let path = folder.path().join("ledger.db");
        let mut ledger = Ledger::open(&path).unwrap();
        let mut written = Vec::new();
        for (group, reopen) in &groups {
            let seqs = ledger.append(group).unwrap();
            prop_assert_eq!(seqs.len(), group.len());
            written.extend(group.iter().cloned());
            if *reopen {
                drop(ledger);
                ledger = Ledger::open(&path).unwrap();
            }
        }
        let read = ledger.entries(Filter::default()).unwrap();
        prop_assert_eq!(read.len(), written.len());
        for ((entry, new), seq) in read.iter().zip(&written).zip(1..) {
            prop_assert_eq!(entry.seq, seq);
            prop_assert_eq!(entry.payload.as_ref(), Some(&new.payload));
            prop_assert_eq!(
                (entry.now_ms, &entry.incident, entry.kind, entry.schema_version),
                (new.now_ms, &new.incident, new.kind, new.schema_version)
            );
        }
        let open = written.iter().zip(1..).any(|(entry, seq)| {
            entry.kind == EntryKind::WriteIntent && (first..=last).contains(&seq)
        });
        let erased = ledger.erase(1, &Erase::Seqs(first..=last), "test");
        prop_assert_eq!(erased.is_err(), open);
        let report = verify(&path).unwrap();
        prop_assert_eq!(report.first_bad, None);
        prop_assert_eq!(report.erased, erased.map_or(0, |erased| erased.payloads));
    }
}
