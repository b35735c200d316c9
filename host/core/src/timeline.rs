//! What happened to an incident, in sentences for people.

use crate::{
    incident::Incident,
    plugin,
    transition::{AfterRun, AfterUndo, IncidentChange},
};
use salve_model::{incident::Outcome, mode::Mode, text::escape, time::Now};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most entries of one incident; the oldest leave first and are counted. The ledger has all of them.
pub const ENTRIES_MAX: usize = 500;

/// Longest text from a stranger in a sentence, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// One sentence of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Now,
    /// What, escaped for printing.
    pub text: String,
}

/// What happened, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The newest entries.
    pub entries: VecDeque<TimelineEntry>,
    /// Older entries that left.
    pub left_out: u64,
}

impl Timeline {
    pub(crate) fn push(&mut self, at: Now, text: String) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.entries.push_back(TimelineEntry { at, text });
    }
}

/// The sentence for a change; `incident` is as it was before. None: not worth one.
pub(crate) fn sentence(change: &IncidentChange, incident: &Incident) -> Option<String> {
    let text = |text: &str| escape(text, TEXT_CHARS_MAX);
    let proposal = |index: &u32| {
        incident.proposal(*index).map_or_else(String::new, |proposal| {
            format!("`{}` on `{}`", text(&proposal.action), text(&proposal.target.0))
        })
    };
    Some(match change {
        IncidentChange::Opened { symptom, .. }
        | IncidentChange::Joined { symptom, .. }
        | IncidentChange::Reopened { symptom, .. } => {
            let what = match change {
                IncidentChange::Opened { .. } => "opened",
                IncidentChange::Reopened { .. } => "came back",
                _ => "further symptom",
            };
            let series = &symptom.symptom.series;
            let (name, service) = (text(&series.name), text(&series.service));
            format!("{what}: `{name}` of `{service}`: {}", text(&symptom.symptom.reason))
        }
        IncidentChange::PluginOpened { trouble, .. } => format!("opened: {}", trouble.call()),
        IncidentChange::PluginFell(trouble) => format!("a further version fell: {}", trouble.call()),
        IncidentChange::PluginAnswers { answering } => plugin::answers(answering.as_ref()),
        IncidentChange::PluginSettled { why } => text(why),
        IncidentChange::SymptomRefused { .. }
        | IncidentChange::Seen(_)
        | IncidentChange::Measured { .. }
        | IncidentChange::DecisionAsked { .. } => return None,
        IncidentChange::DiagnosisAsked { .. } => "the agents are asked for the cause".into(),
        IncidentChange::Diagnosed { findings: Ok(findings) } => match findings.hypotheses.first() {
            Some(first) => format!(
                "cause: `{}` {} ({:.0} %), says {}",
                text(&first.suspect),
                text(&first.mechanism),
                first.probability * 100.0,
                text(&findings.agent)
            ),
            None => format!("no cause found, says {}", text(&findings.agent)),
        },
        IncidentChange::Diagnosed { findings: Err(why) } => format!("no findings: {}", text(why)),
        IncidentChange::Decided { decision } => {
            let made = format!("the policies make {} proposals", decision.proposals.len());
            let failed = decision.failures.iter().map(|failure| {
                format!("; policy `{}` failed: {}", text(&failure.policy), text(&failure.why))
            });
            std::iter::once(made).chain(failed).collect()
        }
        IncidentChange::DecisionFailed { why, .. } => format!("no decision: {}", text(why)),
        IncidentChange::Skipped { proposal: index, why } => format!("{} passed over: {why}", proposal(index)),
        IncidentChange::Waited { proposal: index, .. } => match incident.proposal(*index) {
            Some(waited) => format!("policy `{}` waits: {}", text(&waited.policy), text(&waited.reason)),
            None => "a policy waits".into(),
        },
        IncidentChange::Resettled { .. } => "Salve was restarted; telemetry is awaited".into(),
        IncidentChange::Recorded { proposal: index, mode } => {
            format!("would do {}, but the mode is `{}`", proposal(index), mode_name(*mode))
        }
        IncidentChange::PlanAsked { proposal: index, .. } => match incident.proposal(*index) {
            Some(chosen) => {
                format!(
                    "policy `{}` proposes {}: {}",
                    text(&chosen.policy),
                    proposal(index),
                    text(&chosen.reason)
                )
            }
            None => return None,
        },
        IncidentChange::Planned { plan } => format!("plan: {}", text(&plan.summary)),
        IncidentChange::PlanRefused { guard: Some(guard), why } => {
            format!("refused by {}: {why}", guard.name())
        }
        IncidentChange::PlanRefused { guard: None, why } => format!("no plan: {}", text(why)),
        IncidentChange::Held { guard, reason } => format!("held by {}: {reason}", guard.name()),
        IncidentChange::Released { .. } => "no longer held; the agents are asked afresh".into(),
        IncidentChange::ApprovalAsked { again, .. } => {
            let again = if *again { ", as before" } else { "" };
            format!("plan {} waits for approval{again}", incident.plans)
        }
        IncidentChange::Approved { by } => format!("approved by `{}`", text(by)),
        IncidentChange::Refused { by } => format!("refused by `{}`", text(by)),
        IncidentChange::RunStarted { dry_run, .. } => {
            let summary = incident.plan.as_ref().map_or_else(String::new, |plan| text(&plan.summary));
            if *dry_run {
                format!("dry-run: {summary}")
            } else {
                format!("all guards passed; acts: {summary}")
            }
        }
        IncidentChange::RunEnded { result, next } => {
            let note = text(&result.note);
            match next {
                AfterRun::Verify { .. } => format!("acted, watches the effect: {note}"),
                AfterRun::Undo => format!("broke off half-way: {note}"),
                AfterRun::NextRemedy => format!("nothing was done: {note}"),
                AfterRun::Interrupted { .. } => format!("was cut off before anything was done: {note}"),
                AfterRun::Unknown => format!("nobody can tell what was done: {note}"),
                AfterRun::Recorded { mode } => {
                    format!("dry-run ended, and the mode is `{}`: {note}", mode_name(*mode))
                }
            }
        }
        IncidentChange::ReconcileAsked { undo, .. } => {
            format!("no answer from {}; asks what is true now", if *undo { "the undo" } else { "the action" })
        }
        IncidentChange::VerifyExtended { reason, .. } => format!("watches longer: {reason}"),
        IncidentChange::VerifyResumed { .. } => "was down; watches on".into(),
        IncidentChange::Verified { outcome, reason, .. } => format!("{}: {reason}", outcome_name(*outcome)),
        IncidentChange::UndoAsked { by } => format!("`{}` wants the remedy taken back", text(by)),
        IncidentChange::UndoStarted { .. } => "takes the remedy back".into(),
        IncidentChange::UndoEnded { next: AfterUndo::NextRemedy, .. } => "taken back".into(),
        IncidentChange::UndoEnded { next: AfterUndo::TakenBack { by }, .. } => {
            format!("taken back for `{}`, in whose hands it is now", text(by))
        }
        IncidentChange::UndoEnded { next: AfterUndo::Again, .. } => {
            "was cut off; takes back what remains".into()
        }
        IncidentChange::UndoEnded { next: AfterUndo::Failed { reason, .. }, .. } => reason.clone(),
        IncidentChange::Escalated { reason, .. } => format!("people are called: {reason}"),
        IncidentChange::Suspended => "stopped: Salve is paused".into(),
        IncidentChange::Closed { .. } if incident.plugin.is_some() => "closed".into(),
        IncidentChange::Closed { outcome } => format!("closed: {}", outcome_name(*outcome)),
    })
}

/// The outcome in words, for people.
#[must_use]
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Healed => "healed",
        Outcome::NotHealed => "not healed",
        Outcome::Unknown => "unknown",
        Outcome::Recovered => "recovered by itself",
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Shadow => "shadow",
        Mode::Approve => "approve",
        Mode::Act => "act",
    }
}
