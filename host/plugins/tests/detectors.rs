//! Detectors from batch to observation, and those that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Bench, batch, bench, bench_with, series, watched};
use salve_model::batch::Batch;
use salve_plugins::{DetectorOptions, GuestErrorKind, LimitSettings};

/// Scenario: a well-behaved detector sees three series.
/// Guarantees: columns arrive as they were sent, and observations come back whole.
#[tokio::test]
async fn observes() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-threshold")).await.unwrap();
    let output = watched(detector.observe(&batch(&[1.0, 250.0, 99.0], true))).await.unwrap();
    assert_eq!(output.refused, 0);
    let [observation] = output.observations.as_slice() else { panic!("{output:?}") };
    assert_eq!((observation.series, observation.time, observation.value), (1, 5, 250.0));
    assert_eq!((observation.score, observation.confidence, observation.upper), (0.75, 1.0, 100.0));
    assert_eq!(observation.reason, "over 100");
    assert!(observation.rising);
    assert!(detector.take_set_aside().is_empty());
    assert_eq!(detector.plugin().counters().faults_total, 0);
}

/// Guarantees: a thread of its own can drive a detector without an async runtime.
#[test]
fn observes_on_a_plain_thread() {
    let bench = bench();
    let threads = bench.host.guest_threads().clone();
    let mut detector = threads.block_on(bench.detector("detector-threshold")).unwrap();
    assert_eq!(detector.observe_blocking(&batch(&[100.0], true)).unwrap().observations.len(), 1);
    assert_eq!(detector.snapshot_blocking().unwrap().bytes, b"over");
}

/// Scenario: one point of 40 series is such that the guest traps, and another series is when it is added.
/// Guarantees: those two are set aside and reported, all others are observed in the same batch, the plugin is not
/// blamed, and the next batch goes on without them; a series that takes a freed id is given to the guest again.
#[tokio::test]
async fn series_at_fault_are_set_aside() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-threshold")).await.unwrap();
    let mut values = vec![200.0; 40];
    values[4] = 666.0;
    let output = watched(detector.observe(&batch(&values, true))).await.unwrap();
    let observed: Vec<_> = output.observations.iter().map(|observation| observation.series).collect();
    let expected: Vec<_> = (0..40).filter(|id| ![4, 13].contains(id)).collect();
    assert_eq!(observed, expected);
    let aside = detector.take_set_aside();
    assert_eq!(aside.iter().map(|aside| aside.id).collect::<Vec<_>>(), [4, 13]);
    assert!(aside.iter().all(|aside| matches!(aside.kind, GuestErrorKind::Trap { .. })));
    assert_eq!(aside[0].series.name, "series.4");

    let faults = detector.plugin().counters().faults_total;
    assert_eq!(watched(detector.observe(&batch(&values, false))).await.unwrap().observations.len(), 38);
    assert_eq!(detector.plugin().counters().faults_total, faults);
    assert_eq!(detector.plugin().quarantine(), None);

    let reused = Batch { removed: vec![4], added: vec![series(4)], ..batch(&[200.0; 5], false) };
    assert_eq!(watched(detector.observe(&reused)).await.unwrap().observations.len(), 5);
}

/// Scenario: each batch takes too long the first time that it is shown, and not when it is shown again.
/// Guarantees: no batch is lost; the first time is excused, since a machine that stops in the middle of a call looks just so; three
/// more within a minute put the plugin into quarantine like any fault.
#[tokio::test]
async fn one_overrun_is_excused() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-overrun")).await.unwrap();
    watched(detector.observe(&batch(&[1.0], true))).await.unwrap();
    for overruns in 1..=4 {
        assert_eq!(detector.plugin().quarantine(), None, "after {} overruns", overruns - 1);
        watched(detector.observe(&batch(&[1.0], false))).await.unwrap();
        assert_eq!(detector.plugin().counters().cpu_limit_hits_total, overruns);
    }
    let error = watched(detector.observe(&batch(&[1.0], false))).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::Quarantined { traps: 3, .. }), "{error}");
}

/// Scenario: guests that loop, recurse, or take or give too much in `observe`.
/// Guarantees: each ends at its own limit, with its own error and counter, and the host goes on; after three of them
/// the plugin is not called any more.
#[tokio::test]
async fn every_limit_holds() {
    let bench = bench();
    let is_expected = |guest: &str, kind: &GuestErrorKind| {
        use GuestErrorKind as Kind;
        match guest {
            "detector-loop" | "detector-log-flood" => *kind == Kind::Cpu { limit_ms: 50 },
            "detector-recursion" => *kind == Kind::Stack,
            "detector-memory" => *kind == Kind::Memory { limit_bytes: 64 << 20 },
            "detector-tables" => *kind == Kind::Tables { limit: 100_000 },
            "detector-overlap" => *kind == Kind::Output { limit_bytes: 1 << 20 },
            "detector-huge-list" | "detector-not-utf8" => matches!(kind, Kind::BadValue { .. }),
            _ => false,
        }
    };
    for guest in [
        "detector-loop",
        "detector-recursion",
        "detector-memory",
        "detector-tables",
        "detector-huge-list",
        "detector-overlap",
        "detector-not-utf8",
        "detector-log-flood",
    ] {
        let mut detector = watched(bench.detector(guest)).await.unwrap();
        for _ in 0..3 {
            let error = watched(detector.observe(&batch(&[], false))).await.unwrap_err();
            assert!(is_expected(guest, &error.kind), "{guest}: {error}");
        }
        let error = watched(detector.observe(&batch(&[], false))).await.unwrap_err();
        assert!(matches!(error.kind, GuestErrorKind::Quarantined { traps: 3, .. }), "{guest}: {error}");
        let counters = detector.plugin().counters();
        assert_eq!(counters.quarantine_refusals_total, 1, "{guest}");
        assert_eq!(counters.faults_total, 4, "{guest}: the first batch is tried twice");
        let by_kind = counters.traps_total
            + counters.bad_values_total
            + counters.memory_limit_hits_total
            + counters.table_limit_hits_total
            + counters.cpu_limit_hits_total
            + counters.output_limit_hits_total
            + counters.stack_limit_hits_total;
        assert_eq!(by_kind, counters.faults_total, "{guest}");
    }
    let mut healthy = watched(bench.detector("detector-threshold")).await.unwrap();
    assert_eq!(watched(healthy.observe(&batch(&[100.0], true))).await.unwrap().observations.len(), 1);
}

/// Guarantees: a flood of log lines is cut at the limit and counted, and no escape sequence comes through.
#[tokio::test]
async fn log_flood_is_cut() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-log-flood")).await.unwrap();
    watched(detector.observe(&batch(&[], false))).await.unwrap_err();
    let lines = bench.lines.0.lock().unwrap().clone();
    // Two attempts of 64 KiB each, 18 bytes and 32 for the line.
    assert_eq!(lines.len(), 2 * ((64 << 10) / (18 + 32)));
    assert_eq!(lines[0].message, "\\u{1b}[2Jnothing to see");
    assert!(detector.plugin().counters().log_lines_dropped_total > 0);
}

/// Guarantees: a plugin that fails on most series is at fault itself; nothing is set aside for it.
#[tokio::test]
async fn majority_of_series_is_the_plugins_fault() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-threshold")).await.unwrap();
    let error = watched(detector.observe(&batch(&[666.0; 4], true))).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::Trap { .. }), "{error}");
    assert!(detector.take_set_aside().is_empty());
    assert_eq!(watched(detector.observe(&batch(&[100.0; 4], false))).await.unwrap().observations.len(), 4);
}

/// Guarantees: numbers that make no sense become no observations, and are counted; texts are escaped.
#[tokio::test]
async fn nonsense_is_refused() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-nonsense")).await.unwrap();
    let mut batch = batch(&[1.0, 2.0, 3.0, 4.0, 5.0], true);
    batch.scores = true;
    let output = watched(detector.observe(&batch)).await.unwrap();
    assert_eq!(output.refused, 5);
    assert_eq!(output.scores, None);
    let [observation] = output.observations.as_slice() else { panic!("{output:?}") };
    assert_eq!(observation.reason, "\\u{1b}[31mred\\nand a second line");
    assert_eq!(detector.plugin().counters().refused_values_total, 5);
}

async fn start(bench: &Bench, guest: &str) -> GuestErrorKind {
    watched(bench.detector(guest)).await.unwrap_err().kind
}

/// Guarantees: a start function has no more rights than a call.
#[tokio::test]
async fn start_functions_are_limited() {
    let bench = bench_with(|config| config.limits.cpu_setup_ms = Some(100));
    assert_eq!(start(&bench, "detector-start-loop").await, GuestErrorKind::Cpu { limit_ms: 100 });
    assert!(matches!(start(&bench, "detector-start-trap").await, GuestErrorKind::Trap { .. }));
}

/// Guarantees: memory, and the number of instances, are limited from the first instance on.
#[tokio::test]
async fn instantiation_is_limited() {
    let small = LimitSettings { memory_bytes: Some(64 << 10), ..Default::default() };
    let bench = bench_with(|config| config.plugins.extend([("detector-loop".into(), small)]));
    assert_eq!(start(&bench, "detector-loop").await, GuestErrorKind::Memory { limit_bytes: 64 << 10 });
    let few = LimitSettings { core_instances: Some(1), ..Default::default() };
    let bench = bench_with(|config| config.plugins.extend([("detector-log-flood".into(), few)]));
    assert_eq!(start(&bench, "detector-log-flood").await, GuestErrorKind::Instances { limit: 1 });
}

/// Guarantees: a full pool is an answer, not a failure of the plugin, and is free again when an instance goes.
#[tokio::test]
async fn full_pool_is_busy() {
    let bench = bench_with(|config| config.instances_max = 1);
    let first = watched(bench.detector("detector-threshold")).await.unwrap();
    let error = watched(bench.detector("detector-threshold")).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::Busy { .. }), "{error}");
    drop(first);
    watched(bench.detector("detector-threshold")).await.unwrap();
}

/// Guarantees: state goes from one instance to the next; one that the guest cannot take costs the state, not the
/// detector.
#[tokio::test]
async fn snapshot_and_restore() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-restore-trap")).await.unwrap();
    let state = watched(detector.snapshot()).await.unwrap();
    assert_eq!((state.format, state.bytes.len()), (1, 4));
    let options = |state| DetectorOptions { name: "again".into(), parameters_json: "{}".into(), state };
    let plugin = bench.load("detector-restore-trap");
    let mut cold = watched(bench.host.detector(&plugin, options(Some(state.clone())))).await.unwrap();
    assert!(matches!(cold.restore_failure(), Some(GuestErrorKind::Trap { .. })));
    watched(cold.observe(&batch(&[1.0], true))).await.unwrap();

    let plugin = bench.load("detector-threshold");
    let warm = watched(bench.host.detector(&plugin, options(Some(state)))).await.unwrap();
    assert_eq!(warm.restore_failure(), None);
}

/// Guarantees: a state that is not there, or too large, is refused before the host makes room for it.
#[tokio::test]
async fn huge_snapshots_are_refused() {
    let bench = bench_with(|config| config.limits.snapshot_bytes = Some(1 << 20));
    let mut claims = watched(bench.detector("detector-snapshot")).await.unwrap();
    let error = watched(claims.snapshot()).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::BadValue { .. }), "{error}");

    let plugin = bench.load("detector-snapshot");
    let options = DetectorOptions { parameters_json: r#"{"size":1}"#.into(), ..Default::default() };
    let mut large = watched(bench.host.detector(&plugin, options)).await.unwrap();
    let error = watched(large.snapshot()).await.unwrap_err();
    assert_eq!(error.kind, GuestErrorKind::Snapshot { limit_bytes: 1 << 20 });
}

/// Guarantees: parameters that do not fit the manifest's schema never reach the guest.
#[tokio::test]
async fn parameters_are_checked_first() {
    let bench = bench();
    let plugin = bench.load("detector-threshold");
    let mut messages = Vec::new();
    for parameters_json in ["", "[]", r#"{"size":"large"}"#] {
        let options = DetectorOptions { parameters_json: parameters_json.into(), ..Default::default() };
        messages.push(watched(bench.host.detector(&plugin, options)).await.unwrap_err().to_string());
    }
    insta::assert_snapshot!(messages.join("\n"), @r#"
    plugin `detector-threshold` gave no answer to `configure`: its parameters do not fit its schema: not JSON: EOF while parsing a value at line 1 column 0
    plugin `detector-threshold` gave no answer to `configure`: its parameters do not fit its schema: the whole: want object, but got array
    plugin `detector-threshold` gave no answer to `configure`: its parameters do not fit its schema: `/size`: want integer, but got string
    "#);
    assert_eq!(plugin.counters().instances_total, 0);
}

/// Scenario: the caller stops waiting in the middle of a batch.
/// Guarantees: the instance is not used again half-way; the next batch goes to a fresh one that knows all series.
#[tokio::test]
async fn dropped_call_starts_afresh() {
    let bench = bench_with(|config| config.limits.cpu_ms = Some(60_000));
    let mut detector = watched(bench.detector("detector-loop")).await.unwrap();
    let tick = batch(&[], false);
    let cut = tokio::time::timeout(std::time::Duration::from_millis(50), detector.observe(&tick));
    assert!(watched(cut).await.is_err());
    assert_eq!(watched(detector.snapshot()).await.unwrap().bytes, b"");
    assert_eq!(detector.plugin().counters().instances_total, 2);
}

/// Scenario: after a fault the first thing asked of the fresh instance is a snapshot.
/// Guarantees: with the next batch it is given all series that it should know.
#[tokio::test]
async fn fresh_instances_learn_all_series() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-threshold")).await.unwrap();
    watched(detector.observe(&batch(&[1.0, 2.0, 3.0], true))).await.unwrap();
    let error = watched(detector.observe(&batch(&[666.0; 3], false))).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::Trap { .. }), "{error}");
    watched(detector.snapshot()).await.unwrap();
    assert_eq!(watched(detector.observe(&batch(&[100.0; 3], false))).await.unwrap().observations.len(), 3);
}
