//! What Salve wrote that is neither verified nor taken back, and a person's word to take it back.
//!
//! ## What always holds
//! - only the newest remedy of an incident is taken back, as the person saw it, by its number in the incident
//! - while Salve is paused nothing is taken back: it waits until Salve is resumed
//! - what a person takes back counts as unknown, and what comes next is theirs: no further remedy follows by itself

use crate::{
    Core,
    incident::{Attempt, Incident, Phase, objects},
};
use salve_model::{Tenant, incident::IncidentId, incident::Outcome, mode::Mode, text::escape, time::Now};
use serde::{Deserialize, Serialize};

/// Longest name from a stranger in a sentence, in characters.
const NAME_CHARS_MAX: usize = 120;

/// One remedy that was begun and is neither verified nor taken back. Text from strangers is as they wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HalfDone {
    /// Of which incident.
    pub incident: IncidentId,
    /// Whose that is.
    pub tenant: Tenant,
    /// How far the incident has come, in a word.
    pub phase: String,
    /// The remedy's number in the incident, by which a person has it taken back.
    pub attempt: u32,
    /// The action that wrote.
    pub action: String,
    /// When it was carried out.
    pub started: Now,
    /// The run has not ended: what of the steps it wrote is not known yet.
    pub is_under_way: bool,
    /// Nobody can tell what it wrote.
    pub is_uncertain: bool,
    /// What it wrote and has not been taken back; of one under way, what it may write.
    pub steps: Vec<WrittenStep>,
    /// Why a person cannot have it taken back now; none if they can.
    pub objection: Option<String>,
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenStep {
    /// For instance `config.set`.
    pub call: String,
    /// On which target.
    pub target: String,
    /// What was there before, if that is known.
    pub before: Option<String>,
    /// What it wrote, if that can be told in a word.
    pub after: Option<String>,
    /// It can be taken back.
    pub is_reversible: bool,
}

impl Core {
    /// Remedies that were begun and are neither verified nor taken back, oldest incident first.
    #[must_use]
    pub fn half_done(&self) -> Vec<HalfDone> {
        self.incidents.values().flat_map(|incident| self.half_done_of(incident)).collect()
    }

    fn half_done_of<'a>(&'a self, incident: &'a Incident) -> impl Iterator<Item = HalfDone> + 'a {
        (1_u32..).zip(&incident.attempts).filter_map(|(number, attempt)| {
            let is_newest = usize::try_from(number) == Ok(incident.attempts.len());
            let is_treated = is_newest && incident.phase.is_treatment();
            (attempt.is_counted() && (is_treated || is_left(attempt, incident.is_open()))).then(|| HalfDone {
                incident: incident.id.clone(),
                tenant: incident.tenant(),
                phase: incident.phase.name().into(),
                attempt: number,
                action: attempt.plan.action.0.clone(),
                started: attempt.started,
                is_under_way: attempt.result.is_none(),
                is_uncertain: is_uncertain(attempt),
                steps: steps(attempt),
                objection: self.undo_objection(&incident.id, number),
            })
        })
    }

    /// The number of the newest remedy of an incident; none if there is none.
    #[must_use]
    pub fn newest_attempt(&self, id: &IncidentId) -> Option<u32> {
        let incident = self.known(id)?;
        u32::try_from(incident.attempts.len()).ok().filter(|number| *number > 0)
    }

    /// Why this remedy cannot be taken back at a person's word; none if it can, while Salve is paused once it is resumed.
    #[must_use]
    pub fn undo_objection(&self, id: &IncidentId, attempt: u32) -> Option<String> {
        let incident = match self.find(id) {
            Ok(incident) => incident,
            Err(objection) => return Some(objection),
        };
        match incident.phase {
            Phase::Executing { .. } | Phase::Reconciling { .. } | Phase::Undoing { .. } => {
                let state = incident.phase.name();
                return Some(format!("a run of {id} is under way ({state}): ask again once it has ended"));
            }
            Phase::UndoDue if self.pause.is_some() => {
                return Some(format!("it is taken back already, once Salve is resumed: {id} is undo due"));
            }
            Phase::UndoDue => return Some(format!("it is taken back already: {id} is undo due")),
            _ => {}
        }
        let Some(newest) = incident.attempts.last() else {
            return Some(format!("nothing was done for {id}"));
        };
        if usize::try_from(attempt) != Ok(incident.attempts.len()) {
            return Some(format!(
                "remedy {attempt} of {id} is not the newest, which is remedy {}: only that can be taken back",
                incident.attempts.len()
            ));
        }
        if is_uncertain(newest) {
            return Some(format!(
                "nobody can tell what remedy {attempt} of {id} wrote: look at it, and put it right by hand"
            ));
        }
        if newest.applied().next().is_none() {
            return Some(format!("remedy {attempt} of {id} wrote nothing"));
        }
        if newest.steps_to_undo().is_empty() {
            let is_undone = newest.undone.iter().any(|receipt| receipt.applied);
            return Some(if is_undone {
                format!("remedy {attempt} of {id} is taken back already")
            } else {
                format!("remedy {attempt} of {id} cannot be taken back: what it did has no way back")
            });
        }
        if self.settings.mode < Mode::Approve {
            return Some("the mode permits no write: set `mode` to `approve` or `act` first".into());
        }
        self.incidents.values().filter(|other| other.is_open() && other.number != incident.number).find_map(
            |other| {
                let taken = other
                    .objects_under_treatment()
                    .find(|taken| objects(&newest.plan).any(|own| own == *taken))?;
                Some(format!("`{}` is under treatment by {}", escape(taken, NAME_CHARS_MAX), other.id))
            },
        )
    }
}

/// Something of it is left that nobody has found to be good.
fn is_left(attempt: &Attempt, is_open: bool) -> bool {
    let is_good = attempt.outcome == Some(Outcome::Healed);
    let is_unknown = attempt.outcome == Some(Outcome::Unknown) && !written(attempt).is_empty();
    !is_good && (!attempt.steps_to_undo().is_empty() || is_open && is_unknown)
}

fn is_uncertain(attempt: &Attempt) -> bool {
    attempt.undo_uncertain || attempt.result.as_ref().is_some_and(|result| result.uncertain)
}

/// Indices of the plan's steps that were applied and have not been taken back.
fn written(attempt: &Attempt) -> Vec<u32> {
    let undone = |step: &u32| attempt.undone.iter().any(|receipt| receipt.applied && receipt.step == *step);
    attempt.applied().map(|receipt| receipt.step).filter(|step| !undone(step)).collect()
}

fn steps(attempt: &Attempt) -> Vec<WrittenStep> {
    let written = written(attempt);
    let may_be_written = attempt.result.is_none() || is_uncertain(attempt);
    (0_u32..)
        .zip(&attempt.plan.steps)
        .filter(|(index, _)| may_be_written || written.contains(index))
        .map(|(_, step)| WrittenStep {
            call: format!("{}.{}", step.call.capability, step.call.verb),
            target: step.call.target.0.clone(),
            before: step.before.clone(),
            after: step.after.clone(),
            is_reversible: step.inverse.is_some(),
        })
        .collect()
}
