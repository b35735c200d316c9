//! After a restart: what to do about work that was under way. Questions without a lasting effect are asked again; of a
//! run whose answer is missing the world is asked what is true now, and it is never carried out blindly once more.

use crate::{
    Core, Effect, Event, Step, ask,
    incident::{Incident, Phase},
    progress,
    step::Stepper,
    transition::IncidentChange,
};
use salve_model::time::Now;

impl Core {
    /// To be called once after the recorded transitions were folded and before the first event. Its transitions are
    /// recorded like those of a step. The driver carries out no effects from before the restart.
    pub fn recover(&mut self, now: Now) -> Step {
        self.recover_with(None, now)
    }

    /// The same, where `switch` says that the kill switch was turned on or off while Salve was down.
    pub fn recover_with(&mut self, switch: Option<&Event>, now: Now) -> Step {
        let mut stepper = Stepper::new(self, now);
        let down_ms = stepper.now.since_ms(stepper.core.now);
        if let Some(switch @ (Event::Paused { .. } | Event::Resumed { .. })) = switch {
            stepper.take(switch);
        }
        for number in stepper.core.open_numbers() {
            let Some(incident) = stepper.core.incidents.get(&number) else { continue };
            let approval = ask::approval(incident);
            let change = again(stepper.core, incident, down_ms, stepper.now);
            let watch = ask::watch(stepper.core, number);
            stepper.step.effects.push(watch);
            stepper.step.effects.extend(approval);
            if let Some(change) = change {
                stepper.change(number, change);
            }
        }
        stepper.follow();
        let mut step = stepper.step;
        forget_withdrawn_approvals(self, &mut step.effects);
        step
    }
}

/// What an incident's unfinished work needs.
fn again(core: &Core, incident: &Incident, down_ms: u64, now: Now) -> Option<IncidentChange> {
    let settings = &core.settings;
    let answer_by = now.plus_ms(settings.answer_within_ms);
    let request = incident.next_request;
    Some(match incident.phase {
        // Nothing has been heard since the restart, and from nothing no cause can be named.
        Phase::Settling { .. } | Phase::Diagnosing { .. } | Phase::Executing { dry_run: true, .. } => {
            IncidentChange::Resettled { until: now.plus_ms(settings.after_restart_ms()) }
        }
        Phase::Deciding { .. } => IncidentChange::DecisionAsked { request, until: answer_by },
        Phase::Planning { proposal, .. } => IncidentChange::PlanAsked { request, proposal, until: answer_by },
        Phase::Executing { request, dry_run: false, .. } => {
            progress::reconcile(request, false, settings, now)
        }
        Phase::Undoing { request, .. } => progress::reconcile(request, true, settings, now),
        Phase::Reconciling { request, undo, .. } => progress::reconcile(request, undo, settings, now),
        // Points were missed while Salve was down: that time does not count.
        Phase::Verifying { since, until, .. } => {
            IncidentChange::VerifyResumed { since: since.plus_ms(down_ms), until: until.plus_ms(down_ms) }
        }
        _ => return None,
    })
}

/// A person is not asked about a plan that no longer waits.
fn forget_withdrawn_approvals(core: &Core, effects: &mut Vec<Effect>) {
    effects.retain(|effect| match effect {
        Effect::AskApproval { incident, .. } => core
            .number(incident)
            .and_then(|number| core.incidents.get(&number))
            .is_some_and(|incident| matches!(incident.phase, Phase::AwaitingApproval { .. })),
        _ => true,
    });
}
