//! The request file: one incident, what is asked about it, and the world in which it happened. One form for all calls;
//! each call takes what it needs.
//!
//! ## What always holds
//! - all times are Unix nanoseconds, as in the contract
//! - an unknown key is refused

use super::world::World;
use crate::{files, trial::TrialError};
use salve_model::{
    Attributes, PluginName, Target, TargetId, Tenant,
    incident::{CatalogueEntry, IncidentId, IncidentView, Symptom},
    plan::{Call, Expectation, Plan, Receipt, Step, VerbClass},
    telemetry::{ObservationKind, SeriesKey, SeriesRef},
    time::Now,
};
use salve_plugins::{ActionRequest, Plugin, Question, RawProposal, RawStep};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

const NS_PER_MS: u64 = 1_000_000;

/// A request to a plugin of any role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// What is wrong.
    pub incident: Incident,
    /// What can be acted on; an action is asked about all of them.
    pub targets: Vec<TargetView>,
    /// For agents: actions that a policy may choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalogue: Vec<CatalogueView>,
    /// Parameters of the action or detector: an object.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
    /// For `execute` and `undo`: the approved plan, in the form in which `plan` prints it. Left out: the plugin is asked
    /// for one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// For `undo`: what was applied, oldest first. Left out: the plan is executed first, in the world below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<Vec<Receipt>>,
    /// For `observe`: how points are cut into batches.
    #[serde(skip_serializing_if = "Observe::is_default")]
    pub observe: Observe,
    /// What the host knows and answers, unless it is recorded or real.
    #[serde(skip_serializing_if = "World::is_empty")]
    pub world: World,
}

/// See `consult.incident` in the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incident {
    /// Its name.
    pub id: String,
    /// When the first symptom began.
    pub started: u64,
    /// Where the guest's clock starts.
    pub now: u64,
    /// What is abnormal, oldest first.
    pub symptoms: Vec<SymptomView>,
}

impl Default for Incident {
    fn default() -> Self {
        Self { id: "inc-1".into(), started: 0, now: 0, symptoms: Vec::new() }
    }
}

/// See `consult.symptom` in the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymptomView {
    /// `service.name`.
    pub service: String,
    /// The series' name.
    pub signal: String,
    /// Of the series.
    #[serde(default)]
    pub attributes: Attributes,
    /// In which way.
    pub kind: ObservationKind,
    /// Above rather than below.
    pub rising: bool,
    /// Its first abnormal point.
    pub since: u64,
    /// 0 to 1.
    pub score: f32,
    /// Newest abnormal value.
    pub value: f64,
    /// What was expected then.
    pub expected: f64,
    /// The detector's sentence.
    #[serde(default)]
    pub reason: String,
}

/// See `types.target` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetView {
    /// Its id.
    pub id: String,
    /// The resource attributes that select it.
    #[serde(default)]
    pub attributes: Attributes,
}

/// See `consult.catalogue-entry` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueView {
    /// The action's name.
    pub action: String,
    /// One sentence.
    pub summary: String,
}

/// How the world's points come to a detector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    /// One batch for each so many milliseconds, empty ones too. Default: one for each time at which there is a point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_ms: Option<u64>,
    /// Replace the instance by one that takes over its snapshot, after so many batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<usize>,
}

impl Observe {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan as `plan` prints it and `execute` takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanView {
    /// One sentence.
    pub summary: String,
    /// In order.
    pub steps: Vec<StepView>,
    /// What the telemetry must show.
    #[serde(default)]
    pub expectations: Vec<Expectation>,
    /// The plugin's own.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub extra: Attributes,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepView {
    /// For instance `config`.
    pub capability: String,
    /// For instance `set`.
    pub verb: String,
    /// On which target.
    pub target: String,
    /// Exact arguments: an object.
    #[serde(default)]
    pub arguments: Value,
    /// The state before, as the host words it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The state after, as the plugin words it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Arguments of the same verb that take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse: Option<Value>,
    /// Real targets only: the objects that it touches, as the broker resolved them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// Real targets only: how the verb behaves in a crash, as the broker says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<VerbClass>,
}

impl Request {
    /// Reads a request file, or standard input if the path is `-`.
    ///
    /// # Errors
    /// [`TrialError`] with the place in the file and the key that was probably meant.
    pub fn read(path: &Path) -> Result<Self, TrialError> {
        let text = files::read_text(path).map_err(|source| TrialError::Read { path: path.into(), source })?;
        Self::parse(&text).map_err(|source| TrialError::Parse { what: "request", path: path.into(), source })
    }

    /// Reads a request.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The parameters as guests get them.
    pub(crate) fn parameters_json(&self) -> String {
        if self.parameters.is_null() { "{}".into() } else { self.parameters.to_string() }
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let target = |view: &TargetView| Target {
            id: TargetId(view.id.clone()),
            tenant: Tenant::default(),
            attributes: view.attributes.clone(),
            objects: Vec::new(),
        };
        self.targets.iter().map(target).collect()
    }

    /// For `plan`, `execute`, `undo`.
    pub(crate) fn action(&self) -> ActionRequest {
        ActionRequest {
            incident: IncidentId(self.incident.id.clone()),
            tenant: Tenant::default(),
            targets: self.targets(),
            parameters: self.parameters_json(),
            started: self.incident.started,
            now: self.incident.now,
        }
    }

    /// For `consult`.
    pub(crate) fn question(&self) -> Question {
        let now = Now(self.incident.now / NS_PER_MS);
        let symptoms: Vec<_> = self.incident.symptoms.iter().map(|view| view.symptom(now)).collect();
        let mut services: Vec<_> = symptoms.iter().map(|symptom| symptom.series.service.clone()).collect();
        services.sort();
        services.dedup();
        let entry = |view: &CatalogueView| CatalogueEntry {
            action: view.action.clone(),
            summary: view.summary.clone(),
            targets: Vec::new(),
        };
        Question {
            incident: IncidentView {
                id: IncidentId(self.incident.id.clone()),
                tenant: Tenant::default(),
                started: Now(self.incident.started / NS_PER_MS),
                now,
                symptoms,
                services,
                attempts: Vec::new(),
            },
            targets: self.targets(),
            catalogue: self.catalogue.iter().map(entry).collect(),
            now: self.incident.now,
        }
    }
}

impl SymptomView {
    fn symptom(&self, latest: Now) -> Symptom {
        Symptom {
            series: SeriesRef {
                key: SeriesKey(0),
                tenant: Tenant::default(),
                service: self.service.clone(),
                name: self.signal.clone(),
                unit: String::new(),
                attributes: self.attributes.clone(),
            },
            kind: self.kind,
            rising: self.rising,
            since: Now(self.since / NS_PER_MS),
            latest,
            score: self.score,
            value: self.value,
            expected: self.expected,
            reason: self.reason.clone(),
            normal_points: 0,
            recovered: false,
        }
    }
}

impl PlanView {
    /// What the plugin proposed.
    pub(crate) fn of_proposal(proposal: &RawProposal) -> Self {
        let step = |step: &RawStep| StepView {
            capability: step.capability.clone(),
            verb: step.verb.clone(),
            target: step.target.0.clone(),
            arguments: object(&step.arguments),
            before: step.before.clone(),
            after: step.after.clone(),
            inverse: step.inverse.as_deref().map(object),
            objects: Vec::new(),
            class: None,
        };
        Self {
            summary: proposal.summary.clone(),
            steps: proposal.steps.iter().map(step).collect(),
            expectations: proposal.expectations.clone(),
            extra: proposal.extra.clone(),
        }
    }

    /// The plan as the host approves it, for this plugin and request.
    pub(crate) fn approved(&self, plugin: &Plugin, request: &Request) -> Plan {
        Plan {
            action: PluginName(plugin.name().to_owned()),
            action_digest: plugin.digest().to_owned(),
            targets: request.targets.iter().map(|target| TargetId(target.id.clone())).collect(),
            parameters: request.parameters_json(),
            summary: self.summary.clone(),
            steps: self.steps.iter().map(StepView::step).collect(),
            expectations: self.expectations.clone(),
            extra: self.extra.clone(),
        }
    }
}

impl StepView {
    fn step(&self) -> Step {
        Step {
            call: Call {
                capability: self.capability.clone(),
                verb: self.verb.clone(),
                target: TargetId(self.target.clone()),
                arguments: canonical(&self.arguments),
            },
            objects: self.objects.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            inverse: self.inverse.as_ref().map(canonical),
            class: self.class.unwrap_or(VerbClass::Queryable),
        }
    }

    /// A step that the host has completed.
    pub(crate) fn of_step(step: &Step) -> Self {
        Self {
            capability: step.call.capability.clone(),
            verb: step.call.verb.clone(),
            target: step.call.target.0.clone(),
            arguments: object(&step.call.arguments),
            before: step.before.clone(),
            after: step.after.clone(),
            inverse: step.inverse.as_deref().map(object),
            objects: step.objects.clone(),
            class: Some(step.class),
        }
    }
}

/// JSON text as a value; the plugin host has checked that it is an object.
fn object(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// The one form in which plans license calls: keys sorted, no spaces.
pub(crate) fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(name, _)| *name);
                Value::Object(
                    entries.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
                )
            }
            Value::Array(values) => values.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    if value.is_null() { "{}".into() } else { sorted(value).to_string() }
}
