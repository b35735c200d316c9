//! What the core asks for. The driver writes each to the ledger before it carries it out.

use crate::event::RequestId;
use salve_model::{
    TargetId,
    incident::{DecisionInput, IncidentId, IncidentView, Outcome},
    plan::{Expectation, Plan, Receipt},
    telemetry::SeriesKey,
    time::Now,
};
use serde::{Deserialize, Serialize};

/// One thing to be done outside the core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// From now on send `Event::Measured` for these; replaces what was watched for this incident. Empty: stop.
    Watch {
        /// For which incident.
        incident: IncidentId,
        /// Symptom series.
        series: Vec<SeriesKey>,
        /// Bounds under watch, by index.
        expectations: Vec<Expectation>,
    },
    /// Ask the agents for the cause; answer with `Event::Diagnosed`.
    Diagnose {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// What is wrong.
        view: IncidentView,
    },
    /// Ask the policies; answer with `Event::Decided`. The driver fills in `catalogue`.
    Decide {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// What they are given; `catalogue` is empty here.
        input: Box<DecisionInput>,
    },
    /// Let the action make a plan; answer with `Event::Planned`.
    Plan {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// Which action plugin.
        action: String,
        /// On which target.
        target: TargetId,
        /// JSON object.
        parameters: String,
        /// When the incident began.
        started: Now,
    },
    /// Carry out a plan; answer with `Event::Executed`.
    Execute {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// What to do.
        plan: Box<Plan>,
        /// Check and record everything, write nothing.
        dry_run: bool,
        /// When the incident began.
        started: Now,
    },
    /// Take a plan back; answer with `Event::Undone`.
    Undo {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// What was done.
        plan: Box<Plan>,
        /// Applied writes, oldest first.
        receipts: Vec<Receipt>,
        /// When the incident began.
        started: Now,
    },
    /// After a crash: ask what is true now of a run's writes; answer with `Event::Reconciled`.
    Reconcile {
        /// Which incident.
        incident: IncidentId,
        /// The question whose answer was lost.
        request: RequestId,
        /// What was to be done.
        plan: Box<Plan>,
        /// It was an `undo`.
        undo: bool,
    },
    /// A plan waits for a person.
    AskApproval {
        /// Which incident.
        incident: IncidentId,
        /// The plan's number, which an answer must name.
        number: u32,
        /// What it would do.
        plan: Box<Plan>,
        /// The policy's sentence.
        reason: String,
    },
    /// Tell people: Salve does not know further, or may not go further.
    Escalate {
        /// Which incident.
        incident: IncidentId,
        /// One sentence.
        reason: String,
    },
    /// An incident has ended.
    Closed {
        /// Which incident.
        incident: IncidentId,
        /// How.
        outcome: Outcome,
    },
}
