//! What follows from where an incident stands, without anything from outside but time.

use crate::{
    Core,
    guard::{self, Guard, Word},
    incident::{EscalationCause, Held, Incident, Phase},
    settings::Settings,
    transition::{AfterRun, AfterUndo, IncidentChange},
    verify::{self, Judgement},
};
use salve_model::{
    incident::{Outcome, Proposal, Verdict},
    mode::Mode,
    plan::{Plan, RunResult},
    text::escape,
    time::Now,
};

/// Most runs of `undo` for one remedy.
const UNDO_RUNS_MAX: u32 = 3;

/// Longest text from a stranger in a sentence, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// An incident to which an answer has come.
pub(crate) struct Asked<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) incident: &'a Incident,
    pub(crate) now: Now,
}

/// The next change of an open incident that is due at `now`; none if it waits for an answer or for time.
///
/// An answer is too late only after its time, not at it: so every circle takes time, and this ends.
pub(crate) fn next(core: &Core, incident: &Incident, now: Now) -> Option<IncidentChange> {
    let settings = &core.settings;
    if incident.phase.is_idle() && incident.is_recovered() {
        return Some(IncidentChange::Closed { outcome: incident.outcome_if_cleared() });
    }
    if incident.is_silent(now, settings.silent_max_ms) {
        return Some(IncidentChange::Closed { outcome: Outcome::Unknown });
    }
    if core.pause.is_some() && incident.phase.is_before_run() {
        return Some(IncidentChange::Suspended);
    }
    match &incident.phase {
        Phase::Settling { until } | Phase::Waiting { until } => {
            (now >= *until).then(|| diagnose(incident, settings, now))
        }
        Phase::Suspended => core.pause.is_none().then(|| diagnose(incident, settings, now)),
        Phase::Recorded { mode } => (settings.mode > *mode).then(|| diagnose(incident, settings, now)),
        Phase::Diagnosing { until, .. } => {
            (now > *until).then(|| IncidentChange::Diagnosed { findings: Err(no_answer("agents", settings)) })
        }
        Phase::Diagnosed => Some(decide(core, incident, now)),
        Phase::Deciding { until, .. } => {
            (now > *until).then(|| decision_failed(settings, now, no_answer("policies", settings)))
        }
        Phase::Choosing { next } => Some(choose(core, incident, *next, now)),
        Phase::Planning { until, .. } => (now > *until)
            .then(|| IncidentChange::PlanRefused { guard: None, why: no_answer("action", settings) }),
        Phase::Planned { proposal, held } => guarded(core, incident, *proposal, held.as_ref(), now),
        Phase::AwaitingApproval { until, .. } => (now > *until).then(|| {
            let reason = format!("nobody approved the plan within {} ms", settings.approval_within_ms);
            escalate(EscalationCause::NotApproved, reason)
        }),
        Phase::Executing { until, dry_run: true, .. } => (now > *until).then(|| {
            let note = format!("the dry-run gave no answer within {} ms", settings.run_within_ms);
            let result = RunResult { done: false, note, receipts: Vec::new(), uncertain: false };
            IncidentChange::RunEnded { result, next: AfterRun::Recorded { mode: Mode::Shadow } }
        }),
        Phase::Executing { request, until, dry_run: false } => {
            (now > *until).then(|| reconcile(*request, false, settings, now))
        }
        Phase::Undoing { request, until } => (now > *until).then(|| reconcile(*request, true, settings, now)),
        Phase::Reconciling { until, undo, .. } => {
            (now > *until).then(|| nobody_can_tell(incident, *undo, settings))
        }
        Phase::Verifying { until, .. } => match verify::judge(incident, settings, now) {
            Judgement::Pending => None,
            Judgement::Extend(reason) => {
                let watch_ms = incident.plan.as_ref().map_or(0, |plan| verify::watch_ms(plan, settings));
                let until = now.max(*until).plus_ms(watch_ms);
                Some(IncidentChange::VerifyExtended { until, reason })
            }
            Judgement::Verdict(outcome, reason) => {
                let undo = outcome == Outcome::NotHealed && can_undo(incident);
                Some(IncidentChange::Verified { outcome, reason, undo })
            }
        },
        Phase::Verified => Some(IncidentChange::Closed { outcome: Outcome::Healed }),
        Phase::UndoDue => undo(core, incident, now),
        Phase::Escalating { cause, reason } => Some(escalate(*cause, reason.clone())),
        Phase::Escalated { .. } | Phase::Closed { .. } => None,
    }
}

/// Asks the agents.
pub(crate) fn diagnose(incident: &Incident, settings: &Settings, now: Now) -> IncidentChange {
    let until = now.plus_ms(settings.answer_within_ms);
    IncidentChange::DiagnosisAsked { request: incident.next_request, until }
}

/// Asks the world what a run did.
pub(crate) fn reconcile(request: u64, undo: bool, settings: &Settings, now: Now) -> IncidentChange {
    IncidentChange::ReconcileAsked { request, until: now.plus_ms(settings.answer_within_ms), undo }
}

/// The policies could not answer; they are asked again later.
pub(crate) fn decision_failed(settings: &Settings, now: Now, why: String) -> IncidentChange {
    IncidentChange::DecisionFailed { why, until: now.plus_ms(settings.wait_ms) }
}

/// What is wrong with a plan as an answer to a proposal.
pub(crate) fn flaw(plan: &Plan, proposal: &Proposal) -> Option<String> {
    let is_number = |bound: &Option<f64>| bound.is_none_or(f64::is_finite);
    let text = |text: &str| escape(text, TEXT_CHARS_MAX);
    if plan.action.0 != proposal.action {
        Some(format!("the plan is for action `{}`, not `{}`", text(&plan.action.0), text(&proposal.action)))
    } else if plan.targets != [proposal.target.clone()] {
        Some(format!("the plan is not for target `{}`", text(&proposal.target.0)))
    } else if plan.steps.is_empty() {
        Some("the plan has no steps".into())
    } else if !plan.expectations.iter().all(|bound| is_number(&bound.lower) && is_number(&bound.upper)) {
        Some("the plan has an expectation with a bound that is no number".into())
    } else {
        None
    }
}

/// What follows a run of `execute`. `reconciled`: the run was cut off, and `result` says what is true now.
pub(crate) fn after_run(
    asked: &Asked<'_>,
    result: &RunResult,
    dry_run: bool,
    reconciled: bool,
) -> Option<IncidentChange> {
    let Asked { settings, incident, now } = asked;
    let plan = incident.plan.as_ref()?;
    let applied: Vec<u32> =
        result.receipts.iter().filter(|receipt| receipt.applied).map(|receipt| receipt.step).collect();
    let step_applied = |index: usize| applied.iter().any(|step| usize::try_from(*step) == Ok(index));
    let is_done = if reconciled { (0..plan.steps.len()).all(step_applied) } else { result.done };
    let is_reversible =
        plan.steps.iter().enumerate().any(|(index, step)| step.inverse.is_some() && step_applied(index));
    let next = if dry_run {
        AfterRun::Recorded { mode: Mode::Shadow }
    } else if result.uncertain {
        AfterRun::Unknown
    } else if applied.is_empty() && reconciled {
        AfterRun::Interrupted { until: now.plus_ms(settings.after_restart_ms()) }
    } else if applied.is_empty() {
        // Whatever the action says: it wrote nothing, so nothing that follows is its doing.
        AfterRun::NextRemedy
    } else if !is_done && is_reversible {
        AfterRun::Undo
    } else {
        AfterRun::Verify { until: now.plus_ms(verify::watch_ms(plan, settings)) }
    };
    Some(IncidentChange::RunEnded { result: result.clone(), next })
}

/// What follows a run of `undo`. `reconciled`: the run was cut off, and `result` says what is true now.
pub(crate) fn after_undo(asked: &Asked<'_>, result: &RunResult, reconciled: bool) -> Option<IncidentChange> {
    let attempt = asked.incident.attempts.last()?;
    let undone = |step: &u32| result.receipts.iter().any(|receipt| receipt.applied && receipt.step == *step);
    let remaining: Vec<u32> = attempt.steps_to_undo().into_iter().filter(|step| !undone(step)).collect();
    let next = if remaining.is_empty() && !result.uncertain {
        attempt.undo_asked_by.clone().map_or(AfterUndo::NextRemedy, |by| AfterUndo::TakenBack { by })
    } else if reconciled && !result.uncertain && attempt.undo_runs < UNDO_RUNS_MAX {
        AfterUndo::Again
    } else {
        let reason = undo_failure(asked.incident, &remaining, &result.note);
        AfterUndo::Failed { remaining, reason }
    };
    Some(IncidentChange::UndoEnded { result: result.clone(), next })
}

fn undo_failure(incident: &Incident, remaining: &[u32], note: &str) -> String {
    let steps: Vec<String> = remaining
        .iter()
        .map(|step| {
            let planned = incident
                .attempts
                .last()
                .and_then(|attempt| attempt.plan.steps.get(usize::try_from(*step).unwrap_or(usize::MAX)));
            planned.map_or_else(
                || format!("step {step}"),
                |planned| {
                    let call = &planned.call;
                    let text = |text: &str| escape(text, TEXT_CHARS_MAX);
                    format!(
                        "step {step} (`{}.{}` on `{}`)",
                        text(&call.capability),
                        text(&call.verb),
                        text(&call.target.0)
                    )
                },
            )
        })
        .collect();
    let remains = if steps.is_empty() {
        "what remains is not known".into()
    } else {
        format!("{} remains", steps.join(", "))
    };
    format!("the remedy could not be taken back: {remains}: {}", escape(note, TEXT_CHARS_MAX))
}

fn decide(core: &Core, incident: &Incident, now: Now) -> IncidentChange {
    if let Some(reason) = guard::attempts_exhausted(core, incident) {
        return escalate(EscalationCause::AttemptsExhausted, reason);
    }
    if incident.unanswered >= core.settings.attempts_max.max(1) {
        let reason = format!("the policies could not answer {} times", incident.unanswered);
        return escalate(EscalationCause::NoDecision, reason);
    }
    let until = now.plus_ms(core.settings.answer_within_ms);
    IncidentChange::DecisionAsked { request: incident.next_request, until }
}

/// Takes the next proposal of the decision.
fn choose(core: &Core, incident: &Incident, index: u32, now: Now) -> IncidentChange {
    let settings = &core.settings;
    let Some(proposal) = incident.proposal(index) else {
        let mut reason = match &incident.refusal {
            Some(why) => {
                format!("no further remedy; the last one was refused: {}", escape(why, TEXT_CHARS_MAX))
            }
            None if incident.tried().next().is_some() => "no policy has a further remedy".into(),
            None => "no policy has a remedy".into(),
        };
        for failure in incident.decision.iter().flat_map(|decision| &decision.failures) {
            reason.push_str(&format!("; policy `{}` failed", escape(&failure.policy, TEXT_CHARS_MAX)));
        }
        return escalate(EscalationCause::NoRemedy, reason);
    };
    match proposal.verdict {
        Verdict::Never => IncidentChange::Skipped { proposal: index, why: "a policy forbids it".into() },
        Verdict::Wait => IncidentChange::Waited { proposal: index, until: now.plus_ms(settings.wait_ms) },
        Verdict::Act | Verdict::Ask if core.is_foreign(&proposal.target, &incident.tenant()) => {
            IncidentChange::Skipped { proposal: index, why: "its target is another tenant's".into() }
        }
        Verdict::Act | Verdict::Ask if was_tried(incident, proposal) => {
            IncidentChange::Skipped { proposal: index, why: "it was tried before and did not heal".into() }
        }
        Verdict::Act | Verdict::Ask if incident.rejected.iter().any(|other| is_same(other, proposal)) => {
            IncidentChange::Skipped { proposal: index, why: "a person said no to it".into() }
        }
        Verdict::Act | Verdict::Ask if settings.mode == Mode::Observe => {
            IncidentChange::Recorded { proposal: index, mode: settings.mode }
        }
        Verdict::Act | Verdict::Ask => {
            let until = now.plus_ms(settings.answer_within_ms);
            IncidentChange::PlanAsked { request: incident.next_request, proposal: index, until }
        }
    }
}

/// The same remedy was tried and did not heal. One that did, before the incident came back, may heal again: the
/// attempts are counted all the same.
fn was_tried(incident: &Incident, proposal: &Proposal) -> bool {
    incident
        .tried()
        .any(|attempt| attempt.outcome != Some(Outcome::Healed) && is_same(&attempt.proposal, proposal))
}

fn is_same(one: &Proposal, other: &Proposal) -> bool {
    one.action == other.action
        && one.target == other.target
        && is_same_json(&one.parameters, &other.parameters)
}

fn is_same_remedy(one: &Plan, other: &Plan) -> bool {
    one.action == other.action
        && one.targets == other.targets
        && is_same_json(&one.parameters, &other.parameters)
}

fn is_same_json(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || parse(one).is_some_and(|one| Some(one) == parse(other))
}

/// The guards have the word.
fn guarded(
    core: &Core,
    incident: &Incident,
    index: u32,
    held: Option<&Held>,
    now: Now,
) -> Option<IncidentChange> {
    let settings = &core.settings;
    let (Some(proposal), Some(plan)) = (incident.proposal(index), &incident.plan) else {
        return Some(IncidentChange::PlanRefused { guard: None, why: "the plan is gone".into() });
    };
    let word = guard::ask(core, incident, proposal, plan, now);
    if let Word::NotNow(guard, reason) = word {
        let is_over = incident.held_since.is_some_and(|since| now.since_ms(since) > settings.guard_within_ms);
        if is_over {
            let reason =
                format!("{} held the plan for over {} ms: {reason}", guard.name(), settings.guard_within_ms);
            return Some(escalate(EscalationCause::Held, reason));
        }
        let is_known = held.is_some_and(|held| held.guard == guard && held.reason == reason);
        return (!is_known).then_some(IncidentChange::Held { guard, reason });
    }
    // A plan that waited is old; but what a person approved is carried out as approved, or not at all.
    if held.is_some() && incident.approved_by.is_none() {
        let until = now.plus_ms(settings.answer_within_ms);
        return Some(IncidentChange::Released { request: incident.next_request, until });
    }
    Some(match word {
        Word::Go | Word::DryRun => IncidentChange::RunStarted {
            request: incident.next_request,
            until: now.plus_ms(settings.run_within_ms),
            dry_run: word == Word::DryRun,
        },
        Word::Record => IncidentChange::Recorded { proposal: index, mode: settings.mode },
        Word::Ask => match &incident.asked {
            // What a person saw still waits for the answer; the same remedy in other words does not wait longer.
            Some(asked) if is_same_remedy(&asked.plan, plan) => {
                let again = asked.number == incident.plans;
                IncidentChange::ApprovalAsked { until: asked.until, again }
            }
            _ => IncidentChange::ApprovalAsked {
                until: now.plus_ms(settings.approval_within_ms),
                again: false,
            },
        },
        Word::Never(Guard::Attempts, reason) => escalate(EscalationCause::AttemptsExhausted, reason),
        Word::Never(guard, why) => IncidentChange::PlanRefused { guard: Some(guard), why },
        Word::NotNow(guard, reason) => IncidentChange::Held { guard, reason },
    })
}

fn can_undo(incident: &Incident) -> bool {
    incident.attempts.last().is_some_and(|attempt| !attempt.steps_to_undo().is_empty())
}

/// Starts to take a remedy back, unless Salve is paused or its mode has been lowered since.
fn undo(core: &Core, incident: &Incident, now: Now) -> Option<IncidentChange> {
    let settings = &core.settings;
    if core.pause.is_some() {
        return None;
    }
    if settings.mode < Mode::Approve {
        let remaining = incident.attempts.last().map(|attempt| attempt.steps_to_undo()).unwrap_or_default();
        let reason = undo_failure(incident, &remaining, "the mode no longer permits to act");
        return Some(escalate(EscalationCause::UndoFailed, reason));
    }
    let until = now.plus_ms(settings.run_within_ms);
    Some(IncidentChange::UndoStarted { request: incident.next_request, until })
}

/// Neither the run nor the world gave an answer.
fn nobody_can_tell(incident: &Incident, undo: bool, settings: &Settings) -> IncidentChange {
    let note = format!("no answer within {} ms, and none about what is true now", settings.run_within_ms);
    let result = RunResult { done: false, note, receipts: Vec::new(), uncertain: true };
    if undo {
        let remaining = incident.attempts.last().map(|attempt| attempt.steps_to_undo()).unwrap_or_default();
        let reason = undo_failure(incident, &remaining, &result.note);
        IncidentChange::UndoEnded { result, next: AfterUndo::Failed { remaining, reason } }
    } else {
        IncidentChange::RunEnded { result, next: AfterRun::Unknown }
    }
}

fn escalate(cause: EscalationCause, reason: String) -> IncidentChange {
    IncidentChange::Escalated { cause, reason }
}

fn no_answer(whom: &str, settings: &Settings) -> String {
    format!("the {whom} did not answer within {} ms", settings.answer_within_ms)
}
