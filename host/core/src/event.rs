//! What the core is told.

use salve_model::{
    Target, Tenant,
    incident::{Decision, Findings, IncidentId},
    plan::{Plan, RunResult},
    telemetry::{Measurement, Observation},
};
use serde::{Deserialize, Serialize};

/// Numbers the questions of one incident, so that a late answer to an older one is ignored.
pub type RequestId = u64;

/// Everything that can reach the core. Each comes with the driver's `now`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Time has passed. Sent at least every `settings.tick_ms`.
    Tick,
    /// The configuration was read: at start and at every reload.
    Configured {
        /// Guards and times.
        settings: crate::Settings,
        /// Things that can be acted on.
        targets: Vec<Target>,
    },
    /// Calls between a tenant's services as the service map knows them now; sent when the set changes.
    Topology {
        /// Whose services.
        #[serde(default, skip_serializing_if = "Tenant::is_default")]
        tenant: Tenant,
        /// Caller and callee, by `service.name`.
        edges: Vec<(String, String)>,
    },
    /// Abnormal points.
    Observed(Vec<Observation>),
    /// All new points of series that the core watches, and of its expectations.
    Measured {
        /// Points of symptom series.
        series: Vec<Measurement>,
        /// Points for expectations under watch.
        expected: Vec<ExpectationPoint>,
    },
    /// Answer to `Effect::Diagnose`.
    Diagnosed {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// Findings, or why there are none.
        findings: Result<Findings, String>,
    },
    /// Answer to `Effect::Decide`.
    Decided {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// The policies' answer, or why there is none.
        decision: Result<Decision, String>,
    },
    /// Answer to `Effect::Plan`.
    Planned {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// The plan, checked and completed by the host, or why there is none.
        plan: Result<Plan, String>,
    },
    /// Answer to `Effect::Execute`.
    Executed {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// How it ended.
        result: RunResult,
    },
    /// Answer to `Effect::Undo`.
    Undone {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// How it ended.
        result: RunResult,
    },
    /// Answer to `Effect::Reconcile`: what is true now of a run that a crash cut off.
    Reconciled {
        /// Which incident.
        incident: IncidentId,
        /// Which question.
        request: RequestId,
        /// Receipts of what did happen; `uncertain` if nobody can tell of some write.
        result: RunResult,
    },
    /// A person approved (or refused) a plan. It counts if that plan still waits.
    Approved {
        /// Which incident.
        incident: IncidentId,
        /// Number of the plan that the person saw.
        plan: u32,
        /// Who.
        by: String,
        /// Yes or no.
        approved: bool,
    },
    /// All plugins that have a version in quarantine, as they stand now; sent at start and when it changes.
    Plugins {
        /// By name.
        plugins: Vec<crate::plugin::PluginTrouble>,
    },
    /// A person has seen that another version stands in for a plugin's version in quarantine, and leaves it at that.
    Acknowledged {
        /// Which incident.
        incident: IncidentId,
        /// Who.
        by: String,
    },
    /// A person wants the newest remedy of an incident taken back. It counts if nothing speaks against it.
    UndoAsked {
        /// Which incident.
        incident: IncidentId,
        /// Number of the remedy that the person saw.
        attempt: u32,
        /// Who.
        by: String,
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
}

/// One point of a series that an expectation names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationPoint {
    /// Whose expectation.
    pub incident: IncidentId,
    /// Index in the plan's expectations.
    pub index: u32,
    /// When it was measured.
    pub time: salve_model::time::EventTime,
    /// What was measured.
    pub value: f64,
}
