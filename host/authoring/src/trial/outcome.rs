//! What a plugin answered, as JSON. `outcome` says in one word how it went:
//!
//! | word | of | means |
//! |---|---|---|
//! | `planned`, `done`, `answered`, `observed` | | it did what it was asked |
//! | `not-done` | `execute`, `undo` | it ended without doing all of it |
//! | `not-applicable`, `invalid`, `failed` | actions | its own failure, with `reason` |
//! | `declined` | agents, detectors | it answered with an error, with `reason` |
//! | `refused` | | the host refused its plan or its parameters; `reason` says why |
//! | `fault` | | it trapped or passed a limit, with `reason` and perhaps `limit` |

use super::{calls::value, request::PlanView};
use salve_model::{call::CallError, incident::Findings, plan::Receipt};
use salve_plugins::{ActionError, GuestError, GuestErrorKind, RawOutcome};
use serde_json::{Value, json};

/// A plan.
pub(super) fn of_plan(plan: &PlanView) -> Value {
    let mut result = value(plan);
    put(&mut result, "outcome", "planned".into());
    result
}

/// A plan that the host does not accept.
pub(super) fn of_refused_plan(error: &CallError) -> Value {
    json!({ "outcome": "refused", "reason": error.to_string() })
}

/// An action's failure.
pub(super) fn of_action_error(error: &ActionError) -> Value {
    let (outcome, reason) = match error {
        ActionError::NotApplicable(reason) => ("not-applicable", reason.clone()),
        ActionError::Invalid(reason) => ("invalid", reason.clone()),
        ActionError::Failed(reason) => ("failed", reason.clone()),
        ActionError::OtherVersion { .. } => ("refused", error.to_string()),
        ActionError::Guest(error) => return of_guest_error(error),
    };
    json!({ "outcome": outcome, "reason": reason })
}

/// No answer.
pub(super) fn of_guest_error(error: &GuestError) -> Value {
    let outcome = match &error.kind {
        GuestErrorKind::Declined { reason } => return json!({ "outcome": "declined", "reason": reason }),
        kind if kind.is_fault() => "fault",
        _ => "refused",
    };
    let mut result = json!({ "outcome": outcome, "reason": error.kind.to_string() });
    if let Some(limit) = error.kind.limit_name() {
        put(&mut result, "limit", limit.into());
    }
    result
}

/// The end of `execute` or `undo`, with what was really written.
pub(super) fn of_run(answer: &Result<RawOutcome, ActionError>, receipts: &[Receipt]) -> (Value, bool) {
    let (mut result, good) = match answer {
        Ok(outcome) => {
            let word = if outcome.done { "done" } else { "not-done" };
            (json!({ "outcome": word, "note": outcome.note }), outcome.done)
        }
        Err(error) => (of_action_error(error), false),
    };
    put(&mut result, "receipts", value(&receipts));
    (result, good)
}

/// An agent's answer. Targets are the host's to fill in, so they are left out.
pub(super) fn of_findings(answer: &Result<Findings, GuestError>) -> (Value, bool) {
    match answer {
        Err(error) => (of_guest_error(error), false),
        Ok(findings) => {
            let hypotheses: Vec<_> = findings
                .hypotheses
                .iter()
                .map(|hypothesis| {
                    json!({
                        "suspect": hypothesis.suspect,
                        "mechanism": hypothesis.mechanism,
                        "probability": rounded(hypothesis.probability),
                        "evidence": hypothesis.evidence,
                        "extra": hypothesis.extra,
                    })
                })
                .collect();
            let result = json!({
                "outcome": "answered",
                "hypotheses": hypotheses,
                "suggestions": findings.suggestions,
                "text": findings.text,
            });
            (result, true)
        }
    }
}

/// Six digits after the point: enough to compare, and short to read.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// `failed: the key is gone`
pub(super) fn in_words(result: &Value) -> String {
    let word = |name| result.get(name).and_then(Value::as_str);
    match (word("outcome"), word("reason")) {
        (Some(outcome), Some(reason)) => format!("{outcome}: {reason}"),
        (outcome, _) => outcome.unwrap_or("nothing").to_owned(),
    }
}

fn put(result: &mut Value, name: &str, value: Value) {
    if let Some(fields) = result.as_object_mut() {
        fields.insert(name.into(), value);
    }
}
