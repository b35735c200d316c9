//! Policy files.
//!
//! What must hold: no panic, and an answer in time: what compiles is evaluated within its bounds.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use salve_model::{
    incident::{DecisionInput, Findings, IncidentId, IncidentView},
    time::Now,
};
use salve_policy::{PolicyLimits, PolicySet};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

fn folder() -> &'static tempfile::TempDir {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Memory, where there is some: a file is written for each input.
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
    })
}

fn input() -> DecisionInput {
    let incident = IncidentView {
        id: IncidentId("inc-1".into()),
        started: Now(1),
        now: Now(2),
        symptoms: Vec::new(),
        services: vec!["shop".into()],
        attempts: Vec::new(),
    };
    let findings = Findings { agent: "analyst".into(), hypotheses: Vec::new(), suggestions: Vec::new(), text: String::new() };
    DecisionInput { incident, findings, catalogue: Vec::new(), targets: Vec::new(), history: Vec::new() }
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let folder = folder().path();
    if std::fs::write(folder.join("fuzz.rhai"), bytes).is_err() {
        return Corpus::Reject;
    }
    let limits = PolicyLimits { time_ms_max: 50, ..PolicyLimits::default() };
    let began = Instant::now();
    match PolicySet::load_with(folder, limits) {
        Ok(set) => drop(set.decide(&input())),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    Corpus::Keep
});
