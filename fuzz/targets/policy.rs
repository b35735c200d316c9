//! Policy files.
//!
//! What must hold: no panic, and an answer in time: what compiles is evaluated within its bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};
use salve_fuzz::seeds;
use salve_model::{
    Attributes, Target, TargetId, Tenant,
    incident::{
        AttemptView, CatalogueEntry, DecisionInput, Findings, HistoryEntry, Hypothesis, IncidentId,
        IncidentView, Outcome, Symptom,
    },
    telemetry::{ObservationKind, SeriesKey, SeriesRef},
    time::Now,
};
use salve_policy::{PolicyErrors, PolicyLimits, PolicySet};
use std::sync::OnceLock;

/// Most CPU time of an input, in seconds: parsing, and an evaluation that may take 50 ms.
const CPU_SECONDS_MAX: i64 = 5;

fn input() -> &'static DecisionInput {
    static INPUT: OnceLock<DecisionInput> = OnceLock::new();
    INPUT.get_or_init(|| {
        let target = || TargetId("checkout".into());
        let attempt = |outcome| AttemptView {
            action: "restart-process".into(),
            target: target(),
            parameters: "{}".into(),
            outcome,
        };
        let symptom = Symptom {
            series: SeriesRef {
                key: SeriesKey(7),
                tenant: Tenant::default(),
                service: "checkout".into(),
                name: "salve.span.error_ratio".into(),
                unit: "1".into(),
                attributes: Attributes::new(),
            },
            kind: ObservationKind::LevelShift,
            rising: true,
            since: Now(1_000),
            latest: Now(8_000),
            score: 0.7,
            value: 0.5,
            expected: 0.01,
            reason: "far above".into(),
            normal_points: 0,
            recovered: false,
        };
        let hypothesis = Hypothesis {
            suspect: "checkout".into(),
            mechanism: "config-change".into(),
            probability: 0.9,
            evidence: Vec::new(),
            extra: Attributes::from([("key".into(), "pool.size".into())]),
            targets: vec![target()],
        };
        DecisionInput {
            incident: IncidentView {
                id: IncidentId("inc-1".into()),
                tenant: Tenant::default(),
                started: Now(1_000),
                now: Now(9_000),
                symptoms: vec![symptom],
                services: vec!["checkout".into()],
                attempts: vec![attempt(None)],
            },
            findings: Findings {
                agent: "analyst".into(),
                hypotheses: vec![hypothesis],
                ..Findings::default()
            },
            catalogue: ["restart-process", "set-config"]
                .map(|action| CatalogueEntry {
                    action: action.into(),
                    summary: String::new(),
                    targets: vec![target()],
                })
                .to_vec(),
            targets: vec![Target {
                id: target(),
                tenant: Tenant::default(),
                attributes: Attributes::new(),
                objects: vec!["unit:checkout".into()],
            }],
            history: vec![HistoryEntry {
                incident: IncidentId("inc-0".into()),
                at: Now(500),
                attempt: attempt(Some(Outcome::NotHealed)),
            }],
        }
    })
}

fn load(text: &[u8]) -> Result<PolicySet, PolicyErrors> {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(seeds::folder).path();
    std::fs::write(folder.join("fuzz.rhai"), text).expect("the file can be written");
    PolicySet::load_with(folder, PolicyLimits { time_ms_max: 50, ..PolicyLimits::default() })
}

/// The policies of the workspace that need no library, and each construction of the language.
fn make_seeds() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = ["policies", "demo/policies"]
        .into_iter()
        .flat_map(|folder| seeds::files(folder, "rhai"))
        .map(|(_, text)| text)
        .filter(|text| load(text).is_ok())
        .collect();
    assert!(!all.is_empty(), "no policy of the workspace loads by itself");
    for body in [
        "let a = []; for i in 0..9 { a.push(i * 2 - 1); } a.filter(|x| x % 3 == 0).map(|x| `${x}`)",
        "let m = #{ a: 1, \"b c\": [2.5, true, ()] }; while m.a < 5 { m.a += 1; if m.a == 3 { continue } } m",
        "switch incident.services[0] { \"checkout\" => act(\"restart-process\", \"checkout\"), _ if 1 > 2 => [], _ => throw \"x\" }",
        "try { let x = 1 / 0; } catch (e) { return e.to_string(); } \"abc\".sub_string(1, 1).to_upper() + 'x' + 0xff + 1e3",
        "fn f(n) { if n < 2 { n } else { f(n - 1) + f(n - 2) } } loop { break f(9); }",
    ] {
        all.push(format!("fn decide(incident, findings, catalogue, history) {{\n{body}\n}}\n").into_bytes());
    }
    all
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    let began = clock_gettime(ClockId::ThreadCPUTime);
    match load(bytes) {
        Ok(set) => drop(set.decide(input())),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
    // Not by the wall's clock: other work on the machine is nobody's fault.
    let seconds = clock_gettime(ClockId::ThreadCPUTime).tv_sec - began.tv_sec;
    assert!(seconds <= CPU_SECONDS_MAX, "took {seconds} s");
});
