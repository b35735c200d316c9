//! What was begun and is neither verified nor taken back, for people, with the command that takes it back.

use super::output;
use anyhow::Result;
use salve_core::HalfDone;
use salve_ledger::LedgerReader;
use salve_model::text::escape;
use std::path::Path;

/// Most characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 120;

/// What the ledger says is half done, for when no daemon answers.
///
/// # Errors
/// If the ledger cannot be read.
pub fn from_ledger(path: &Path) -> Result<Vec<HalfDone>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(crate::daemon::recorded_core(LedgerReader::open(path)?.transitions())?.half_done())
}

/// One line and more for each.
pub fn describe(half_done: &[HalfDone]) -> Vec<String> {
    half_done.iter().flat_map(describe_one).collect()
}

fn describe_one(one: &HalfDone) -> Vec<String> {
    let HalfDone { incident, attempt, .. } = one;
    let what = match (one.is_under_way, one.is_uncertain) {
        (true, _) => "is being carried out; within 30 s `salve status` says what it wrote of",
        (_, true) => "may have written",
        _ => "wrote",
    };
    let mut lines = vec![format!(
        "half done  {incident} · {} · remedy {attempt}, by {} at {}, {what}",
        one.phase,
        escape(&one.action, 80),
        output::moment(one.started.0),
    )];
    for step in &one.steps {
        let value = |value: &str| escape(value, VALUE_CHARS_MAX);
        let change = match (&step.before, &step.after) {
            (Some(before), Some(after)) => format!(": {} → {}", value(before), value(after)),
            (None, Some(after)) => format!(": → {}", value(after)),
            (Some(before), None) => format!(", where {} was", value(before)),
            (None, None) => String::new(),
        };
        let note = if step.is_reversible { "" } else { " (CANNOT be taken back)" };
        lines.push(format!(
            "             {} on {}{change}{note}",
            escape(&step.call, 80),
            escape(&step.target, 80)
        ));
    }
    lines.push(match &one.objection {
        None => format!("             salve incident undo {incident} --attempt {attempt}"),
        Some(why) => format!("             {why}"),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_core::undo::WrittenStep;
    use salve_model::{Tenant, incident::IncidentId, time::Now};

    /// Guarantees: what was written is named with its values and the command that takes it back, or why there is none.
    #[test]
    fn lines() {
        let step = WrittenStep {
            call: "config.set".into(),
            target: "shop".into(),
            before: Some("8".into()),
            after: Some("16".into()),
            is_reversible: true,
        };
        let mut one = HalfDone {
            incident: IncidentId("inc-7".into()),
            tenant: Tenant::default(),
            phase: "verifying".into(),
            attempt: 2,
            action: "set-config".into(),
            started: Now(0),
            is_under_way: false,
            is_uncertain: false,
            steps: vec![step],
            objection: None,
        };
        let text = describe(std::slice::from_ref(&one)).join("\n");
        assert!(text.contains("config.set on shop: 8 → 16"), "{text}");
        assert!(text.ends_with("salve incident undo inc-7 --attempt 2"), "{text}");
        one.objection = Some("a run of inc-7 is under way".into());
        let text = describe(&[one]).join("\n");
        assert!(text.ends_with("a run of inc-7 is under way") && !text.contains("undo"), "{text}");
    }
}
