//! After a crash: what is true now, and nothing twice.

use crate::bench::{Bench, execute, id, plan, planned, raw, read, set_step};
use salve_capabilities::{ActionSession, Brokers, Intent};
use salve_model::{
    PluginName,
    call::{Session, Write},
    incident::IncidentId,
    mode::Mode,
    plan::{Plan, RunResult, VerbClass, WriteState},
};

/// The intent that a session would have written for a plan's first step, just before the daemon died.
fn intent(plan: &Plan) -> Intent {
    let step = &plan.steps[0];
    Intent {
        incident: IncidentId("inc-1".into()),
        tenant: salve_model::Tenant::default(),
        plugin: PluginName(plan.action.0.clone()),
        step: 0,
        undo: false,
        dry_run: false,
        call: step.call.clone(),
        objects: step.objects.clone(),
        before: step.before.clone(),
        class: step.class,
    }
}

async fn reconcile(brokers: &Brokers, plan: &Plan) -> RunResult {
    brokers.reconcile(plan, false, vec![(intent(plan), 7)]).await
}

/// Brokers, and an approved restart of the unit `shop`.
async fn restart_of_shop(bench: &Bench) -> (Brokers, Plan) {
    let brokers = bench.brokers();
    let made = planned(&brokers, "restart", vec![raw("process", "restart", "shop", "")]).await.unwrap();
    (brokers, made)
}

/// Restarts the unit `shop` as an action would.
async fn restart_shop(session: &ActionSession) {
    session.write(Write::ProcessRestart { target: id("shop") }).await.unwrap();
}

/// Guarantees: of a restart that was cut off, pid and start time tell whether it happened; it is not done again.
#[tokio::test]
async fn a_restart_is_not_done_twice() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let (brokers, made) = restart_of_shop(&bench).await;
    let pid = brokers.unit_states()[0].pid;
    let result = reconcile(&brokers, &made).await;
    assert_eq!((result.receipts.len(), result.uncertain), (0, false));
    assert_eq!(bench.result(7).state, WriteState::NotApplied);
    assert_eq!(brokers.unit_states()[0].pid, pid, "nothing was done");

    let session = execute(&brokers, &made);
    restart_shop(&session).await;
    session.finish().await;
    let second = brokers.unit_states()[0].pid;
    let result = reconcile(&brokers, &made).await;
    assert_eq!(result.receipts.len(), 1);
    assert_eq!((result.receipts[0].call, result.receipts[0].applied), (7, true));
    assert_eq!(bench.result(7).state, WriteState::Applied);
    assert_eq!(brokers.unit_states()[0].pid, second, "not done again");
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: a restart that was cut off between stop and start is finished, once; the result has the new process.
#[tokio::test]
async fn a_restart_that_was_cut_in_two_is_finished() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let (brokers, made) = restart_of_shop(&bench).await;
    brokers.shutdown(true).await.unwrap();
    let mut pids = Vec::new();
    for _ in 0..2 {
        let result = reconcile(&brokers, &made).await;
        let pid = brokers.unit_states()[0].pid.expect("it runs again");
        pids.push(pid);
        let [receipt] = &result.receipts[..] else { panic!("{result:?}") };
        assert!(receipt.applied && !result.uncertain);
        assert!(receipt.after.as_ref().unwrap().starts_with(&format!("pid={pid},")), "{receipt:?}");
        assert_eq!(bench.result(7).state, WriteState::Applied);
    }
    assert_eq!(pids[0], pids[1], "once");
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: what would refuse a restart also refuses to finish one: the kill switch, a lower mode, a grant or an object
/// that is no longer there, whether the other object runs or not. The process stays as it is, and the result is unknown, so that
/// people are told, with the reason.
#[tokio::test]
async fn what_refuses_a_restart_refuses_its_second_half() {
    type Change = fn(&mut salve_capabilities::BrokersConfig);
    let refusals: [(&str, bool, Change); 5] = [
        ("Salve is paused", false, |config| std::fs::write(&config.pause_file, "").unwrap()),
        ("the mode no longer permits", false, |config| config.mode = Mode::Shadow),
        ("[[grant]]", false, |config| config.grants.clear()),
        ("now stands for", false, |config| config.targets[0].process = Some("other".into())),
        ("now stands for", true, |config| config.targets[0].process = Some("other".into())),
    ];
    for (reason, other_runs, change) in refusals {
        let mut bench = Bench::new();
        bench.unit("shop", &["/bin/sleep", "1000"]);
        bench.unit("other", &["/bin/sleep", "1000"]).autostart = false;
        let (brokers, made) = restart_of_shop(&bench).await;
        brokers.shutdown(true).await.unwrap();
        if other_runs {
            brokers.operator_start("other").await.unwrap();
        }
        change(&mut bench.config);
        brokers.reconfigure(bench.config.clone()).unwrap();
        let result = reconcile(&brokers, &made).await;
        assert!(result.note.contains(reason), "{}", result.note);
        assert_eq!((result.receipts.len(), result.uncertain), (0, true), "{reason}");
        assert_eq!(bench.result(7).state, WriteState::Unknown);
        let runs: Vec<bool> = brokers.unit_states().iter().map(|unit| unit.pid.is_some()).collect();
        assert_eq!(runs, [other_runs, false], "{reason}");
        brokers.shutdown(true).await.unwrap();
    }
}

/// Guarantees: what did not run since the machine was booted, nobody has stopped by half.
#[tokio::test]
async fn a_restart_before_a_boot_is_not_finished() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let (brokers, mut made) = restart_of_shop(&bench).await;
    brokers.shutdown(true).await.unwrap();
    made.steps[0].before = Some("pid=42,start=4711,boot=00000000".into());
    let result = reconcile(&brokers, &made).await;
    assert_eq!((result.receipts.len(), result.uncertain), (0, false));
    assert!(brokers.unit_states()[0].pid.is_none());
}

/// Guarantees: while a run has an object in hand, nobody says what became of its write.
#[tokio::test]
async fn a_run_that_is_only_late_is_unknown() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let (brokers, made) = restart_of_shop(&bench).await;
    let session = execute(&brokers, &made);
    restart_shop(&session).await;
    assert!(reconcile(&brokers, &made).await.uncertain);
    session.finish().await;
    assert!(!reconcile(&brokers, &made).await.uncertain);
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: of a set that was cut off, the value tells; a value that is neither the old nor the new one is unknown.
#[tokio::test]
async fn a_key_tells_by_its_value() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "ratio = 0.5\n");
    let brokers = bench.brokers();
    let made = planned(&brokers, "tune", vec![set_step("shop", "ratio", "1")]).await.unwrap();
    for (text, state, uncertain) in [
        ("ratio = 0.5\n", WriteState::NotApplied, false),
        ("ratio = 1.0\n", WriteState::Applied, false),
        ("ratio = 0.7\n", WriteState::Unknown, true),
        ("ratio = = 1\n", WriteState::Unknown, true),
    ] {
        std::fs::write(&path, text).unwrap();
        let result = reconcile(&brokers, &made).await;
        assert_eq!((bench.result(7).state, result.uncertain), (state, uncertain), "{text}");
        assert_eq!(read(&path), text, "nothing was done");
    }
}

/// Guarantees: what cannot be asked about is unknown and is not repeated; a dry-run is known to have done nothing.
#[tokio::test]
async fn at_most_once_stays_unknown() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "a = 1\n");
    let brokers = bench.brokers();
    let made = planned(&brokers, "tune", vec![set_step("shop", "a", "2")]).await.unwrap();
    let unknown = Intent { class: VerbClass::AtMostOnce, ..intent(&made) };
    let result = brokers.reconcile(&made, false, vec![(unknown.clone(), 1)]).await;
    assert!(result.uncertain && result.receipts.is_empty());
    let dry = Intent { dry_run: true, ..unknown };
    assert!(!brokers.reconcile(&made, true, vec![(dry, 2)]).await.uncertain);
    assert!(!brokers.reconcile(&plan("tune", Vec::new()), false, Vec::new()).await.uncertain);
}
