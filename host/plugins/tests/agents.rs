//! Agents that make no sense.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Silence, bench, watched};
use salve_model::{
    Tenant,
    incident::{IncidentId, IncidentView, Symptom},
    telemetry::ObservationKind,
    time::Now,
};
use salve_plugins::{GuestErrorKind, Question};
use std::sync::Arc;

fn question() -> Question {
    let symptom = Symptom {
        series: common::series(1).series,
        kind: ObservationKind::Point,
        rising: true,
        since: Now(1),
        latest: Now(2),
        score: 0.9,
        value: 1.0,
        expected: 0.0,
        reason: "it rose".into(),
        normal_points: 0,
        recovered: false,
    };
    Question {
        incident: IncidentView {
            id: IncidentId("inc-1".into()),
            tenant: Tenant::default(),
            started: Now(1),
            now: Now(2),
            symptoms: vec![symptom],
            services: vec!["shop".into()],
            attempts: Vec::new(),
        },
        targets: Vec::new(),
        catalogue: Vec::new(),
        now: 3,
    }
}

/// Guarantees: probabilities that come through are within 0 to 1 and add up to at most 1, weights are finite, texts are
/// escaped, and what was thrown away is counted.
#[tokio::test]
async fn findings_are_made_sensible() {
    let bench = bench();
    let plugin = bench.load("agent-nonsense");
    let findings = watched(bench.host.consult(&plugin, question(), Arc::new(Silence))).await.unwrap();
    let probabilities: Vec<_> = findings.hypotheses.iter().map(|hypothesis| hypothesis.probability).collect();
    assert_eq!(probabilities, [0.5, 0.5]);
    let first = &findings.hypotheses[0];
    assert_eq!((first.evidence.len(), first.evidence[0].weight), (1, 2.5));
    assert_eq!(findings.text, "checkout\\u{1b}[1m");
    assert_eq!(findings.agent, "agent-nonsense");
    assert_eq!(plugin.counters().refused_values_total, 3);
}

/// Guarantees: an action is never asked for causes.
#[tokio::test]
async fn other_roles_are_not_asked() {
    let bench = bench();
    let plugin = bench.load("action-echo");
    let error = bench.host.consult(&plugin, question(), Arc::new(Silence)).await.unwrap_err();
    assert!(matches!(error.kind, GuestErrorKind::Role { .. }), "{error}");
}
