//! What is wrong, why, and what to do about it.

use crate::{Attributes, Target, TargetId, Tenant, telemetry::ObservationKind, time::Now};
use serde::{Deserialize, Serialize};

/// The name of an incident: `inc-` and a number that rises for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub String);

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One abnormal series of an incident, from its first abnormal point until it has recovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Symptom {
    /// Which series.
    pub series: crate::telemetry::SeriesRef,
    /// In which way.
    pub kind: ObservationKind,
    /// Above rather than below what was expected.
    pub rising: bool,
    /// Receive time of its first abnormal point.
    pub since: Now,
    /// Receive time of its newest abnormal point.
    pub latest: Now,
    /// Highest score so far, 0 to 1.
    pub score: f32,
    /// Newest abnormal value.
    pub value: f64,
    /// What was expected then.
    pub expected: f64,
    /// The detector's sentence.
    pub reason: String,
    /// Normal points in a row, newest last; it has recovered once the core's `recover_points` are reached.
    pub normal_points: u32,
    /// It has recovered.
    pub recovered: bool,
}

/// What an incident is at this moment, for agents, policies, people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Name.
    pub id: IncidentId,
    /// Whose telemetry it is about.
    #[serde(default)]
    pub tenant: Tenant,
    /// Receive time of the first symptom's first point.
    pub started: Now,
    /// When this view was made.
    pub now: Now,
    /// All symptoms, oldest first.
    pub symptoms: Vec<Symptom>,
    /// Services with symptoms, each once, by name.
    pub services: Vec<String>,
    /// What was tried before for this incident, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One remedy that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Which action.
    pub action: String,
    /// On which target.
    pub target: TargetId,
    /// With which parameters (JSON).
    pub parameters: String,
    /// How it ended; none while it is under way.
    pub outcome: Option<Outcome>,
}

/// How a remedy, and in the end an incident, turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The symptoms cleared and every bound of the expectation held for its time over enough points.
    Healed,
    /// They did not.
    NotHealed,
    /// Too little data to tell, or an effect of which nobody can say whether it happened.
    Unknown,
    /// Incidents only: the symptoms cleared although no remedy of Salve's was applied, by itself or by somebody's hand.
    Recovered,
}

/// A sentence and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// One sentence for a person.
    pub text: String,
    /// Series name, edge or change.
    pub reference: String,
    /// In nats; negative speaks against.
    pub weight: f64,
}

/// One possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// A service's name.
    pub suspect: String,
    /// For instance `absent`, `errors`, `slow`, `saturation`, `config-change`.
    pub mechanism: String,
    /// 0 to 1.
    pub probability: f64,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// Details by name, for policies: for instance the `key` that was changed.
    pub extra: Attributes,
    /// Targets that the suspect's attributes select; filled in by the host.
    pub targets: Vec<TargetId>,
}

/// What an agent found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The agent that said so.
    pub agent: String,
    /// Most probable first.
    pub hypotheses: Vec<Hypothesis>,
    /// Actions it would take; policies decide.
    pub suggestions: Vec<Suggestion>,
    /// For people; never parsed.
    pub text: String,
    /// Parts that the agent said and that make no sense; they were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// What is not written, so that ledgers stay as they were.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An action that an agent would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Which action.
    pub action: String,
    /// On which target.
    pub target: TargetId,
    /// JSON.
    pub parameters: String,
    /// Why.
    pub reason: String,
}

/// An action plugin that is loaded and granted something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// The plugin's name.
    pub action: String,
    /// One sentence.
    pub summary: String,
    /// Targets on which it has any grant.
    pub targets: Vec<TargetId>,
}

/// What a policy answers for one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Do it.
    Act,
    /// Do it once a person has approved.
    Ask,
    /// Not now; ask again later.
    Wait,
    /// Not at all, whatever others say.
    Never,
}

/// One line of a policy's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which policy file, without its ending.
    pub policy: String,
    /// What about it.
    pub verdict: Verdict,
    /// Which action.
    pub action: String,
    /// On which target.
    pub target: TargetId,
    /// JSON object.
    pub parameters: String,
    /// Higher first.
    pub priority: i64,
    /// One sentence for a person.
    pub reason: String,
}

/// What a policy set is given: `decide(incident, findings, catalogue, history)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionInput {
    /// What is wrong.
    pub incident: IncidentView,
    /// Why.
    pub findings: Findings,
    /// What can be done.
    pub catalogue: Vec<CatalogueEntry>,
    /// Things of the incident's tenant that can be acted on.
    pub targets: Vec<Target>,
    /// Attempts of the tenant's recent other incidents on any target, newest first, bounded.
    pub history: Vec<HistoryEntry>,
}

/// One remedy of another incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Which incident.
    pub incident: IncidentId,
    /// When it was carried out.
    pub at: Now,
    /// The attempt.
    pub attempt: AttemptView,
}

/// A policy set's answer: all proposals, winner first (`any never wins, then priority, then name`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// SHA-256 of the policy set, lower-case hex.
    pub policy_digest: String,
    /// In the order in which they should be tried. `Never` has already removed what it forbids.
    pub proposals: Vec<Proposal>,
    /// What lost, and why.
    pub rejected: Vec<Rejected>,
    /// Policies that could not answer; the others were asked all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<PolicyFailure>,
}

/// A policy that could not answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyFailure {
    /// Which policy file, without its ending.
    pub policy: String,
    /// File, line and what is wrong.
    pub why: String,
    /// It may say `never`, and nobody knows whether it would have: what the others would do, a person must agree to.
    pub may_forbid: bool,
}

/// A proposal that lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// The proposal.
    pub proposal: Proposal,
    /// Why it lost.
    pub why: String,
}
