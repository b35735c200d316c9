//! Actions from plan to undo, and those that misbehave.

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
