//! Incidents as the command line and the API show them.

use crate::{
    Core,
    incident::{Attempt, Incident, Phase},
    plugin::PluginMatter,
    timeline::Timeline,
};
use salve_model::{
    Tenant,
    incident::{Decision, Findings, IncidentId, IncidentView, Outcome},
    plan::Plan,
    time::Now,
};
use serde::{Deserialize, Serialize};

/// One line of a list of incidents. Text from strangers is as they wrote it: escape it before it is printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentSummary {
    /// Name.
    pub id: IncidentId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Receive time of the first symptom's first point.
    pub started: Now,
    /// When it ended.
    pub closed: Option<Now>,
    /// How far it has come, in a word.
    pub phase: String,
    /// What it is about in one line, if that is not telemetry but a plugin; escaped for printing.
    pub title: Option<String>,
    /// Services with symptoms, by name.
    pub services: Vec<String>,
    /// Symptoms.
    pub symptoms: u32,
    /// Symptoms that have not recovered.
    pub symptoms_open: u32,
    /// Suspect and mechanism of the most probable cause.
    pub cause: Option<(String, String)>,
    /// Remedies that were tried.
    pub attempts: u32,
    /// How often it came back.
    pub reopened: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// All about one incident. Text from strangers is as they wrote it, except in the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// What it is about in one line, if that is not telemetry but a plugin; escaped for printing.
    pub title: Option<String>,
    /// The plugin that it is about.
    pub plugin: Option<PluginMatter>,
    /// What is wrong.
    pub view: IncidentView,
    /// How far it has come.
    pub phase: Phase,
    /// What the agents said.
    pub findings: Option<Findings>,
    /// What the policies said.
    pub decision: Option<Decision>,
    /// The plan that is, or was last, under way.
    pub plan: Option<Plan>,
    /// Its number in this incident, by which a person approves it.
    pub plan_number: u32,
    /// Remedies, oldest first.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// How often it came back.
    pub reopened: u32,
    /// Symptoms over the bound, which were not taken in.
    pub symptoms_refused: u64,
    /// What happened, oldest first.
    pub timeline: Timeline,
}

impl Core {
    /// Open incidents and those that are remembered, oldest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<IncidentSummary> {
        self.incidents.values().map(summary).collect()
    }

    /// All about one incident; none if it is not known (any more).
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> Option<IncidentDetail> {
        let incident = self.known(id)?;
        Some(IncidentDetail {
            title: title(incident),
            plugin: incident.plugin.clone(),
            view: incident.view(self.now),
            phase: incident.phase.clone(),
            findings: incident.findings.clone(),
            decision: incident.decision.clone(),
            plan: incident.plan.clone(),
            plan_number: incident.plans,
            attempts: incident.attempts.clone(),
            outcome: incident.outcome,
            reopened: incident.reopened,
            symptoms_refused: incident.symptoms_refused,
            timeline: incident.timeline.clone(),
        })
    }
}

fn title(incident: &Incident) -> Option<String> {
    incident.plugin.as_ref().map(|matter| matter.trouble.title())
}

fn summary(incident: &Incident) -> IncidentSummary {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    IncidentSummary {
        id: incident.id.clone(),
        tenant: incident.tenant(),
        started: incident.started,
        closed: match incident.phase {
            Phase::Closed { at } => Some(at),
            _ => None,
        },
        phase: incident.phase.name().into(),
        title: title(incident),
        services: incident.services(),
        symptoms: count(incident.symptoms.len()),
        symptoms_open: count(incident.symptoms.iter().filter(|tracked| !tracked.symptom.recovered).count()),
        cause: incident
            .findings
            .as_ref()
            .and_then(|findings| findings.hypotheses.first())
            .map(|first| (first.suspect.clone(), first.mechanism.clone())),
        attempts: count(incident.tried().count()),
        reopened: incident.reopened,
        outcome: incident.outcome,
    }
}
