//! What a change asks for: effects as a function of the transition and the state after it.

use crate::{
    Core, Effect,
    incident::{Incident, Phase},
    transition::{Change, IncidentChange, Transition},
};
use salve_model::{
    incident::{DecisionInput, HistoryEntry},
    time::Now,
};

/// The effect of a transition that has just been applied.
pub(crate) fn effect(core: &Core, transition: &Transition) -> Option<Effect> {
    let Change::Incident(id, change) = &transition.change else { return None };
    let incident = core.known(id)?;
    let (id, started, now) = (id.clone(), incident.started, transition.at);
    Some(match change {
        IncidentChange::DiagnosisAsked { request, .. } | IncidentChange::Released { request, .. } => {
            Effect::Diagnose { incident: id, request: *request, view: incident.view(now) }
        }
        IncidentChange::DecisionAsked { request, .. } => Effect::Decide {
            incident: id,
            request: *request,
            input: Box::new(decision_input(core, incident, now)),
        },
        IncidentChange::PlanAsked { request, proposal, .. } => {
            let proposal = incident.proposal(*proposal)?;
            Effect::Plan {
                incident: id,
                request: *request,
                action: proposal.action.clone(),
                target: proposal.target.clone(),
                parameters: proposal.parameters.clone(),
                started,
            }
        }
        IncidentChange::ApprovalAsked { again: false, .. } => approval(incident)?,
        IncidentChange::RunStarted { request, dry_run, .. } => {
            let plan = Box::new(incident.attempts.last()?.plan.clone());
            Effect::Execute { incident: id, request: *request, plan, dry_run: *dry_run, started }
        }
        IncidentChange::UndoStarted { request, .. } => {
            let attempt = incident.attempts.last()?;
            let steps = attempt.steps_to_undo();
            Effect::Undo {
                incident: id,
                request: *request,
                plan: Box::new(attempt.plan.clone()),
                receipts: attempt
                    .applied()
                    .filter(|receipt| steps.contains(&receipt.step))
                    .cloned()
                    .collect(),
                started,
            }
        }
        IncidentChange::ReconcileAsked { request, undo, .. } => {
            let plan = Box::new(incident.attempts.last()?.plan.clone());
            Effect::Reconcile { incident: id, request: *request, plan, undo: *undo }
        }
        IncidentChange::Escalated { reason, .. } => Effect::Escalate { incident: id, reason: reason.clone() },
        IncidentChange::Closed { outcome } => Effect::Closed { incident: id, outcome: *outcome },
        _ => return None,
    })
}

/// What is to be watched for an incident now: its symptoms while it is open, and from the start of a run to the end of
/// its verification the bounds of its plan.
pub(crate) fn watch(core: &Core, number: u64) -> Effect {
    let incident = core.incidents.get(&number);
    let open = incident.filter(|incident| incident.is_open());
    let treated = open.filter(|incident| {
        matches!(
            incident.phase,
            Phase::Executing { dry_run: false, .. }
                | Phase::Reconciling { undo: false, .. }
                | Phase::Verifying { .. }
        )
    });
    Effect::Watch {
        incident: salve_model::incident::IncidentId(format!("inc-{number}")),
        series: open.iter().flat_map(|open| &open.symptoms).map(|tracked| tracked.key()).collect(),
        expectations: treated
            .and_then(|treated| treated.plan.as_ref())
            .map(|plan| plan.expectations.clone())
            .unwrap_or_default(),
    }
}

/// Asks a person about the plan of an incident.
pub(crate) fn approval(incident: &Incident) -> Option<Effect> {
    let Phase::AwaitingApproval { proposal, .. } = incident.phase else { return None };
    Some(Effect::AskApproval {
        incident: incident.id.clone(),
        number: incident.plans,
        plan: Box::new(incident.plan.clone()?),
        reason: incident.proposal(proposal)?.reason.clone(),
    })
}

fn decision_input(core: &Core, incident: &Incident, now: Now) -> DecisionInput {
    let mut history: Vec<HistoryEntry> = core
        .incidents
        .values()
        .filter(|other| other.number != incident.number && other.tenant() == incident.tenant())
        .flat_map(|other| {
            other.tried().map(|attempt| HistoryEntry {
                incident: other.id.clone(),
                at: attempt.started,
                attempt: attempt.view(),
            })
        })
        .collect();
    // Newest first; equals stay in the order of their incidents.
    history.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    history.truncate(usize::try_from(core.settings.history_max).unwrap_or(usize::MAX));
    DecisionInput {
        incident: incident.view(now),
        findings: incident.findings.clone().unwrap_or_default(),
        catalogue: Vec::new(),
        targets: core.targets.iter().filter(|target| incident.is_about(&target.tenant)).cloned().collect(),
        history,
    }
}
