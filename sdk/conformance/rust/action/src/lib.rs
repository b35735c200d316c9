//! The suite's action; `sdk/conformance/README.md` says how it behaves.

use conformance_common::{
    calls,
    script::{Call, Line, bytes, integer, log},
    term::{Term, record},
};
use salve_plugin::{plan::Expectation, prelude::*};
use serde::Deserialize;

struct Scripted;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Script {
    log: Vec<Line>,
    calls: Vec<Call>,
    failure: Option<Failing>,
    summary: String,
    steps: Vec<Call>,
    expect: Vec<Expected>,
    follow_plan: bool,
    bodies: Vec<String>,
    done: bool,
    note: String,
}

#[derive(Deserialize)]
struct Failing {
    kind: String,
    text: String,
}

#[derive(Deserialize)]
struct Expected {
    service: String,
    signal: String,
    lower: Option<f64>,
    upper: Option<f64>,
    within_ms: String,
    hold_ms: String,
    samples_min: u32,
}

type Uses = (process::Capability, config::Capability, http::Capability, notify::Capability);
type Extra = Vec<(String, String)>;

/// Log and calls; then what was seen, or the failure.
fn follow(request: &Request<Script>) -> Result<Extra, Failure> {
    let script = &request.parameters;
    log(&script.log);
    let answers: Vec<_> = script.calls.iter().map(|call| calls::act(call, request.now)).collect();
    if let Some(Failing { kind, text }) = &script.failure {
        let text = text.clone();
        return Err(match kind.as_str() {
            "not-applicable" => Failure::NotApplicable(text),
            "invalid" => Failure::Invalid(text),
            _ => Failure::Failed(text),
        });
    }
    let shown = record(&[
        request.incident.term(),
        request.targets.term(),
        request.started.term(),
        request.now.term(),
    ]);
    Ok(vec![("request".into(), shown), ("answers".into(), calls::answers(&answers))])
}

impl Action for Scripted {
    type Parameters = Script;
    type Uses = Uses;

    fn plan(request: &Request<Script>) -> Result<Plan, Failure> {
        let script = &request.parameters;
        let mut plan = Plan::new(&script.summary);
        for (name, value) in follow(request)? {
            plan = plan.extra(name, value);
        }
        let expectation = |expected: &Expected| Expectation {
            service: expected.service.clone(),
            signal: expected.signal.clone(),
            lower: expected.lower,
            upper: expected.upper,
            within_ms: integer(&expected.within_ms),
            hold_ms: integer(&expected.hold_ms),
            samples_min: expected.samples_min,
        };
        Ok(plan.steps(script.steps.iter().map(calls::step)).expect_all(script.expect.iter().map(expectation)))
    }

    fn execute(request: &Request<Script>, plan: &Proposal) -> Result<Outcome, Failure> {
        let script = &request.parameters;
        let mut extra = follow(request)?;
        extra.push(("plan".into(), plan.term()));
        let outcome = if script.follow_plan {
            let bodies: Vec<_> = script.bodies.iter().map(|body| bytes(body)).collect();
            let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
            execute_plan::<Uses>(plan, &bodies)?
        } else {
            Outcome { done: script.done, note: script.note.clone(), extra: Vec::new() }
        };
        Ok(Outcome { extra, ..outcome })
    }

    fn undo(request: &Request<Script>, plan: &Proposal, receipts: &[Receipt]) -> Result<Outcome, Failure> {
        let script = &request.parameters;
        let mut extra = follow(request)?;
        extra.push(("plan".into(), plan.term()));
        extra.push(("receipts".into(), conformance_common::term::list(receipts)));
        let outcome = if script.follow_plan {
            undo_receipts::<Uses>(plan, receipts)?
        } else {
            Outcome { done: script.done, note: script.note.clone(), extra: Vec::new() }
        };
        Ok(Outcome { extra, ..outcome })
    }
}

salve_plugin::export_action!(Scripted);
