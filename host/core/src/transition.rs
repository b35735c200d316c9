//! What the core decided: the only way its state changes, and what stands in the ledger.
//!
//! ## What always holds
//! - a transition says everything that `Core::apply` needs: times and choices are decided before it, never while folding
//! - a variant or field is never renamed or given another meaning under the same schema version

use crate::{
    event::RequestId,
    guard::Guard,
    incident::EscalationCause,
    plugin::{Answering, PluginTrouble},
    settings::Settings,
    symptom::{Candidate, Seen, Tracked},
};
use salve_model::{
    Target, Tenant,
    incident::{Decision, Findings, IncidentId, Outcome},
    mode::Mode,
    plan::{Plan, RunResult},
    telemetry::SeriesKey,
    time::{EventTime, Now},
};
use serde::{Deserialize, Serialize};

/// Version of the form of [`Transition`] and of the core's state.
pub const SCHEMA_VERSION: u32 = 1;

/// One change of the core's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// [`SCHEMA_VERSION`] of the core that decided it.
    pub schema_version: u32,
    /// The core's time when it was decided; never earlier than that of the transition before.
    pub at: Now,
    /// What changes.
    pub change: Change,
}

impl Transition {
    /// The incident that it is about.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        match &self.change {
            Change::Incident(id, _) => Some(id),
            _ => None,
        }
    }
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The configuration is another one.
    Configured {
        /// Guards and times.
        settings: Box<Settings>,
        /// Things that can be acted on.
        targets: Vec<Target>,
    },
    /// A tenant's service map is another one.
    TopologyChanged {
        /// Whose.
        #[serde(default, skip_serializing_if = "Tenant::is_default")]
        tenant: Tenant,
        /// Caller and callee.
        edges: Vec<(String, String)>,
    },
    /// Kill switch on.
    Paused {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Kill switch off.
    Resumed {
        /// Who.
        by: String,
    },
    /// A series had an abnormal point, and is no symptom yet.
    Suspected {
        /// Which series.
        series: SeriesKey,
        /// What is known of it with this point.
        candidate: Candidate,
        /// Series that are forgotten for it: too old, or too many.
        forgotten: Vec<SeriesKey>,
    },
    /// Plugins in trouble are others, or stand otherwise.
    PluginsChanged {
        /// All of them, by name.
        plugins: Vec<PluginTrouble>,
    },
    /// A plugin in trouble gets no incident: there are too many.
    PluginOverflowed {
        /// Its name.
        plugin: String,
    },
    /// Something about one incident.
    Incident(IncidentId, IncidentChange),
}

/// What changes about one incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// It begins.
    Opened {
        /// The number in its name.
        number: u64,
        /// Its first symptom.
        symptom: Box<Tracked>,
        /// How long it waits for other symptoms.
        until: Now,
        /// Closed incidents that are forgotten for it, by number.
        forgotten: Vec<u64>,
    },
    /// It begins: a version of a plugin is in quarantine.
    PluginOpened {
        /// The number in its name.
        number: u64,
        /// How the plugin stands.
        trouble: Box<PluginTrouble>,
        /// Closed incidents that are forgotten for it, by number.
        forgotten: Vec<u64>,
    },
    /// A further version of its plugin is in quarantine.
    PluginFell(Box<PluginTrouble>),
    /// Another version of its plugin answers, or none does any more.
    PluginAnswers {
        /// Which.
        answering: Option<Answering>,
    },
    /// Nothing is left to be done about its plugin.
    PluginSettled {
        /// Why.
        why: String,
    },
    /// It came back.
    Reopened {
        /// The symptom that came back.
        symptom: Box<Tracked>,
        /// How long it waits for other symptoms.
        until: Now,
    },
    /// A further symptom.
    Joined {
        /// The symptom.
        symptom: Box<Tracked>,
        /// It joined only because there are too many incidents.
        overflow: bool,
        /// The incident had come to a stop and looks again then.
        look_again: Option<Now>,
    },
    /// A further symptom was not taken in: there are too many.
    SymptomRefused {
        /// Which series.
        series: SeriesKey,
    },
    /// A symptom's series had a further abnormal point.
    Seen(Box<Seen>),
    /// New points of watched series.
    Measured {
        /// Of symptoms.
        points: Vec<SeriesPoint>,
        /// Of expectations.
        expected: Vec<BoundPoint>,
    },
    /// The agents are asked.
    DiagnosisAsked {
        /// Which question.
        request: RequestId,
        /// How long to wait.
        until: Now,
    },
    /// They answered, or did not.
    Diagnosed {
        /// Findings, or why there are none.
        findings: Result<Findings, String>,
    },
    /// The policies are asked.
    DecisionAsked {
        /// Which question.
        request: RequestId,
        /// How long to wait.
        until: Now,
    },
    /// They answered.
    Decided {
        /// Their answer.
        decision: Box<Decision>,
    },
    /// They could not answer.
    DecisionFailed {
        /// Why.
        why: String,
        /// When to ask again.
        until: Now,
    },
    /// A proposal is passed over.
    Skipped {
        /// Index in the decision.
        proposal: u32,
        /// Why.
        why: String,
    },
    /// A policy says `wait`.
    Waited {
        /// Index in the decision.
        proposal: u32,
        /// When to ask again.
        until: Now,
    },
    /// After a restart: telemetry must come again before the cause is asked for.
    Resettled {
        /// How long it waits.
        until: Now,
    },
    /// What would be done, which the mode does not permit.
    Recorded {
        /// Index in the decision.
        proposal: u32,
        /// The mode.
        mode: Mode,
    },
    /// An action is asked for its plan.
    PlanAsked {
        /// Which question.
        request: RequestId,
        /// Index in the decision.
        proposal: u32,
        /// How long to wait.
        until: Now,
    },
    /// It made one.
    Planned {
        /// The plan.
        plan: Box<Plan>,
    },
    /// There is no plan, or it may not be carried out: on to the next proposal.
    PlanRefused {
        /// The guard that says "never"; none if there is no sound plan.
        guard: Option<Guard>,
        /// Why.
        why: String,
    },
    /// A guard says "not now".
    Held {
        /// Which.
        guard: Guard,
        /// Why.
        reason: String,
    },
    /// No guard holds the plan any more; it is old, so the cause is asked for afresh.
    Released {
        /// Which question.
        request: RequestId,
        /// How long to wait.
        until: Now,
    },
    /// A person is asked.
    ApprovalAsked {
        /// How long to wait.
        until: Now,
        /// About the same plan as before: nobody is told again.
        #[serde(default)]
        again: bool,
    },
    /// A person said yes.
    Approved {
        /// Who.
        by: String,
    },
    /// A person said no: on to the next proposal.
    Refused {
        /// Who.
        by: String,
    },
    /// All guards let the plan through: it is carried out.
    RunStarted {
        /// Which question.
        request: RequestId,
        /// How long to wait.
        until: Now,
        /// Nothing is written.
        dry_run: bool,
    },
    /// It was carried out, or a crash cut it off.
    RunEnded {
        /// How it ended.
        result: RunResult,
        /// What follows.
        next: AfterRun,
    },
    /// The world is asked what a run did whose answer is missing.
    ReconcileAsked {
        /// The question whose answer is missing.
        request: RequestId,
        /// How long to wait.
        until: Now,
        /// The run was an `undo`.
        undo: bool,
    },
    /// Too little data yet: the watch is extended, once.
    VerifyExtended {
        /// To then.
        until: Now,
        /// Why.
        reason: String,
    },
    /// Salve was down: the time and what was missed in it do not count.
    VerifyResumed {
        /// Moved end of the run.
        since: Now,
        /// Moved end of the watch.
        until: Now,
    },
    /// The telemetry has the word.
    Verified {
        /// How the remedy turned out.
        outcome: Outcome,
        /// Why.
        reason: String,
        /// It is to be taken back.
        undo: bool,
    },
    /// A person wants the newest remedy taken back, whatever came of it.
    UndoAsked {
        /// Who.
        by: String,
    },
    /// The remedy is taken back.
    UndoStarted {
        /// Which question.
        request: RequestId,
        /// How long to wait.
        until: Now,
    },
    /// It was taken back, or was not.
    UndoEnded {
        /// How it ended.
        result: RunResult,
        /// What follows.
        next: AfterUndo,
    },
    /// People are called.
    Escalated {
        /// Why.
        cause: EscalationCause,
        /// In a sentence.
        reason: String,
    },
    /// Salve is paused.
    Suspended,
    /// It ends.
    Closed {
        /// How.
        outcome: Outcome,
    },
}

/// What follows a run of `execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterRun {
    /// The telemetry is watched.
    Verify {
        /// How long.
        until: Now,
    },
    /// What was done is taken back: the run broke off half-way.
    Undo,
    /// Nothing was done: on to the next remedy.
    NextRemedy,
    /// Nothing was done, because of a crash: the same remedy may be tried again, once telemetry has come.
    Interrupted {
        /// How long it waits.
        until: Now,
    },
    /// Nobody can tell what was done: people.
    Unknown,
    /// It was a dry-run: it is recorded.
    Recorded {
        /// The mode that was in force.
        mode: Mode,
    },
}

/// What follows a run of `undo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterUndo {
    /// All is taken back: on to the next remedy.
    NextRemedy,
    /// A crash cut it off, and it is known what remains: once more.
    Again,
    /// All is taken back, since a person asked for it: what comes next is theirs.
    TakenBack {
        /// Who.
        by: String,
    },
    /// People, since these steps remain.
    Failed {
        /// Indices of the plan's steps.
        remaining: Vec<u32>,
        /// In a sentence.
        reason: String,
    },
}

/// One new point of a symptom's series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesPoint {
    /// Which series.
    pub series: SeriesKey,
    /// Event time.
    pub time: EventTime,
    /// Some detector reported it.
    pub abnormal: bool,
}

/// One new point of a series that an expectation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPoint {
    /// Index in the plan's expectations.
    pub index: u32,
    /// Event time.
    pub time: EventTime,
    /// It lies within the bounds.
    pub within: bool,
}
