//! Actions from plan to undo, and those that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Notes, Silence, bench, bench_with, request, watched};
use salve_model::{
    call::{Telemetry, Write},
    plan::{Call, Plan, Step, VerbClass},
};
use salve_plugins::{ActionError, GuestErrorKind, Plugin, RawProposal};
use std::{sync::Arc, time::Duration};

fn silence() -> Arc<dyn Telemetry> {
    Arc::new(Silence)
}

/// The plan that a host would make of a proposal.
fn approve(plugin: &Plugin, proposal: RawProposal) -> Plan {
    Plan {
        action: plugin.manifest().name.clone(),
        action_digest: plugin.digest().to_owned(),
        targets: Vec::new(),
        parameters: "{}".into(),
        summary: proposal.summary,
        steps: proposal
            .steps
            .into_iter()
            .map(|step| Step {
                call: Call {
                    capability: step.capability,
                    verb: step.verb,
                    target: step.target,
                    arguments: step.arguments,
                },
                objects: Vec::new(),
                before: step.before,
                after: step.after,
                inverse: step.inverse,
                class: VerbClass::Queryable,
            })
            .collect(),
        expectations: proposal.expectations,
        extra: proposal.extra,
    }
}

/// Scenario: a well-behaved action plans, executes and undoes one change.
/// Guarantees: what it says arrives whole; each of its calls reaches the session with its arguments; its log lines
/// carry plugin and incident.
#[tokio::test]
async fn plan_execute_undo() {
    let bench = bench();
    let plugin = bench.load("action-echo");
    let notes = Arc::new(Notes::default());
    let proposal = watched(bench.host.plan(&plugin, request(), notes.clone(), silence())).await.unwrap();
    assert_eq!(proposal.summary, "set pool.size");
    let step = &proposal.steps[0];
    assert_eq!(
        (step.capability.as_str(), step.verb.as_str(), step.target.0.as_str()),
        ("config", "set", "shop")
    );
    assert_eq!(step.arguments, r#"{"key":"pool.size","value":"16"}"#);
    assert_eq!(step.inverse.as_deref(), Some(r#"{"key":"pool.size","value":"8"}"#));
    assert_eq!(step.before, None);
    let expectation = &proposal.expectations[0];
    assert_eq!(
        (expectation.signal.as_str(), expectation.upper, expectation.lower),
        ("error_ratio", Some(0.01), None)
    );
    assert_eq!((expectation.within_ms, expectation.hold_ms, expectation.samples_min), (60_000, 10_000, 3));
    assert!(notes.writes.lock().unwrap().is_empty());
    let lines = bench.lines.0.lock().unwrap().clone();
    assert_eq!((lines[0].plugin.as_str(), lines[0].context.as_str()), ("action-echo", "inc-1"));

    let plan = approve(&plugin, proposal);
    let outcome =
        watched(bench.host.execute(&plugin, request(), &plan, notes.clone(), silence())).await.unwrap();
    assert!(outcome.done);
    let outcome =
        watched(bench.host.undo(&plugin, request(), &plan, &[], notes.clone(), silence())).await.unwrap();
    assert!(outcome.done);
    let set = |value: &str| Write::ConfigSet {
        target: salve_model::TargetId("shop".into()),
        key: "pool.size".into(),
        value: Some(value.into()),
    };
    assert_eq!(*notes.writes.lock().unwrap(), [set("16"), set("8")]);
    assert_eq!(plugin.counters().calls_total, 3);
    assert_eq!(plugin.counters().faults_total, 0);
}

/// What a plan of this guest ends in.
async fn plan_error(bench: &common::Bench, guest: &str) -> ActionError {
    let plugin = bench.load(guest);
    watched(bench.host.plan(&plugin, request(), Arc::new(Notes::default()), silence())).await.unwrap_err()
}

fn kind(error: ActionError) -> GuestErrorKind {
    match error {
        ActionError::Guest(error) => error.kind,
        other => panic!("{other}"),
    }
}

/// Guarantees: calls to the host are counted, and waiting ends at the wall clock though it costs no CPU time.
#[tokio::test]
async fn host_calls_and_waiting_are_limited() {
    let bench = bench_with(|config| config.limits.wall_clock_ms = Some(200));
    assert_eq!(
        kind(plan_error(&bench, "action-host-calls").await),
        GuestErrorKind::HostCalls { limit: 1_000 }
    );
    assert_eq!(kind(plan_error(&bench, "action-sleep").await), GuestErrorKind::WallClock { limit_ms: 200 });
}

/// Guarantees: parameters that do not fit the schema, another role's plugin and another version's plan never reach a
/// guest.
#[tokio::test]
async fn wrong_calls_never_reach_the_guest() {
    let bench = bench();
    let plugin = bench.load("action-echo");
    let notes = Arc::new(Notes::default());
    let mut wrong = request();
    wrong.parameters = r#"{"size":"large"}"#.into();
    let error = bench.host.plan(&plugin, wrong, notes.clone(), silence()).await.unwrap_err();
    assert!(matches!(kind(error), GuestErrorKind::Parameters { .. }));

    let detector = bench.load("detector-loop");
    let error = bench.host.plan(&detector, request(), notes.clone(), silence()).await.unwrap_err();
    assert!(matches!(kind(error), GuestErrorKind::Role { role: salve_plugins::Role::Detector }));

    let empty = RawProposal {
        summary: String::new(),
        steps: Vec::new(),
        expectations: Vec::new(),
        extra: Default::default(),
    };
    let mut plan = approve(&plugin, empty);
    plan.action_digest = "0".repeat(64);
    let error = bench.host.execute(&plugin, request(), &plan, notes.clone(), silence()).await.unwrap_err();
    assert!(matches!(error, ActionError::OtherVersion { .. }), "{error}");
    assert_eq!(plugin.counters().instances_total, 0);
}

/// Scenario: the manifest asks for `config.get`, the code plans and calls `config.set`.
/// Guarantees: the plan is refused; the call is denied, counted, and reaches no session.
#[tokio::test]
async fn verbs_outside_the_manifest_are_denied() {
    let bench = bench();
    let text = common::manifest("action-echo", "capabilities = [{ capability = 'config', verbs = ['get'] }]");
    let component = salve_plugins::pack::pack(&common::core_module("action-echo"), &text).unwrap();
    let plugin = bench.host.load_bytes(std::path::Path::new("lying"), &component).unwrap();
    let notes = Arc::new(Notes::default());
    let error = watched(bench.host.plan(&plugin, request(), notes.clone(), silence())).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"
    invalid: plan of `action-echo`: step 0 calls `config.set`, which its manifest does not name
    "#);

    let empty = RawProposal {
        summary: String::new(),
        steps: Vec::new(),
        expectations: Vec::new(),
        extra: Default::default(),
    };
    let plan = approve(&plugin, empty);
    let outcome =
        watched(bench.host.execute(&plugin, request(), &plan, notes.clone(), silence())).await.unwrap();
    assert!(!outcome.done);
    assert!(notes.writes.lock().unwrap().is_empty());
    assert_eq!(plugin.counters().unrequested_calls_total, 1);
}

/// Scenario: a guest's time is up, or its caller is gone, in the middle of a write.
/// Guarantees: the write goes on to its end, so that its result is recorded; an answer that comes by the limit comes
/// after it.
#[tokio::test]
async fn writes_outlive_their_guest() {
    let bench = bench_with(|config| config.limits.wall_clock_ms = Some(100));
    let plugin = bench.load("action-echo");
    let notes = Arc::new(Notes { delay: Duration::from_millis(600), ..Notes::default() });
    let proposal = watched(bench.host.plan(&plugin, request(), notes.clone(), silence())).await.unwrap();
    let plan = approve(&plugin, proposal);
    let error =
        watched(bench.host.execute(&plugin, request(), &plan, notes.clone(), silence())).await.unwrap_err();
    assert_eq!(kind(error), GuestErrorKind::WallClock { limit_ms: 100 });
    assert_eq!(notes.writes.lock().unwrap().len(), 1);

    let notes = Arc::new(Notes { delay: Duration::from_millis(600), ..Notes::default() });
    let run = bench.host.execute(&plugin, request(), &plan, notes.clone(), silence());
    assert!(tokio::time::timeout(Duration::from_millis(50), run).await.is_err());
    watched(async {
        while notes.writes.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Scenario: a guest that sleeps for ever, on a virtual clock, and one whose instructions are counted.
/// Guarantees: a virtual sleep takes no time; instructions are counted only if asked for, and equal calls cost equally.
#[tokio::test]
async fn trials_neither_wait_nor_vary() {
    let bench = bench_with(|config| config.virtual_clock = true);
    // 1,000 sleeps of 49 days.
    assert_eq!(kind(plan_error(&bench, "action-sleep").await), GuestErrorKind::HostCalls { limit: 1_000 });

    let bench = bench_with(|config| config.count_fuel = true);
    let plugin = bench.load("action-echo");
    let notes = Arc::new(Notes::default());
    let mut costs = Vec::new();
    for _ in 0..2 {
        let before = plugin.counters().fuel_total;
        watched(bench.host.plan(&plugin, request(), notes.clone(), silence())).await.unwrap();
        costs.push(plugin.counters().fuel_total - before);
    }
    assert!(costs[0] > 10 && costs[0] == costs[1], "{costs:?}");
    watched(bench.host.instantiate(&plugin)).await.unwrap();
}

/// An action that computes without end while planning.
fn computing(name: &str, cpu_ms: u64) -> Vec<u8> {
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 2)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
          (func (export "salve:plugin/act@0.1.0#plan") (param i32 i32 i32 i32 i32 i32 i64 i64) (result i32)
            (loop $again (br $again)) unreachable)
          (func (export "salve:plugin/act@0.1.0#execute")
            (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
          (func (export "salve:plugin/act@0.1.0#undo") (param i32) (result i32) unreachable))"#,
    )
    .unwrap();
    salve_plugins::pack::pack(&module, &common::manifest(name, &format!("limits.cpu_ms = {cpu_ms}"))).unwrap()
}

/// Scenario: one plugin has sixteen calls that compute without end, on two threads; then another one has a call that computes
/// for a while, too.
/// Guarantees: the second plugin gets its share of the CPU, not a seventeenth: its call ends while most of the first one's
/// calls, each of which may use no more CPU time than it needs, are still at it.
#[tokio::test(flavor = "multi_thread")]
async fn cpu_is_shared_between_plugins() {
    let bench = bench_with(|config| {
        config.instances_max = 40;
        config.quarantine_traps = 1_000;
    });
    let load = |name: &str| {
        let component = computing(name, 400);
        bench.host.load_bytes(std::path::Path::new(name), &component).unwrap()
    };
    let (greedy, modest) = (load("action-greedy"), load("action-modest"));
    let ask = |plugin: &Arc<Plugin>| {
        let (host, plugin) = (bench.host.clone(), plugin.clone());
        tokio::spawn(async move {
            host.plan(&plugin, request(), Arc::new(Notes::default()), silence()).await.unwrap_err()
        })
    };
    let calls: Vec<_> = (0..16).map(|_| ask(&greedy)).collect();
    // All of them are under way.
    watched(async {
        while greedy.counters().instances_live < 16 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    watched(ask(&modest)).await.unwrap();
    let ended = calls.iter().filter(|call| call.is_finished()).count();
    assert!(ended < 8, "{ended} of 16 calls had ended before");
    for call in calls {
        let error = watched(call).await.unwrap();
        assert!(
            matches!(&error, ActionError::Guest(error) if matches!(error.kind, GuestErrorKind::Cpu { .. })),
            "{error:?}"
        );
    }
}
