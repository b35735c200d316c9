//! Calls of agents: `consult`.

use crate::{
    bindings::{
        exports::salve::plugin::consult,
        salve::plugin::types::{self, Kind},
    },
    call::{self, Reach},
    counters,
    error::{GuestError, GuestErrorKind},
    host::{Exports, Plugin, PluginHost},
    imports::attributes,
    manifest::Role,
};
use salve_model::{
    Target, TargetId,
    call::Telemetry,
    incident::{CatalogueEntry, Evidence, Findings, Hypothesis, IncidentView, Suggestion},
    telemetry::ObservationKind,
    text::escape,
};
use std::sync::Arc;

/// The one question of this contract version.
const QUESTION: &str = "cause";
/// Most hypotheses that are kept, the first ones.
const HYPOTHESES_MAX: usize = 50;
/// Most entries of any other list that are kept.
const LIST_MAX: usize = 50;
/// Longest sentence.
const SENTENCE_CHARS_MAX: usize = 500;
/// Longest free text.
const TEXT_CHARS_MAX: usize = 4_000;
/// Milliseconds to nanoseconds.
const NS_PER_MS: u64 = 1_000_000;

/// What an agent is told of an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is wrong.
    pub incident: IncidentView,
    /// Things of the incident's tenant that can be acted on.
    pub targets: Vec<Target>,
    /// Actions that a policy may choose.
    pub catalogue: Vec<CatalogueEntry>,
    /// Unix nanoseconds; where the guest's clock starts.
    pub now: u64,
}

impl PluginHost {
    /// Asks an agent for the cause of an incident. `Hypothesis::targets` is left empty.
    ///
    /// # Errors
    /// [`GuestError`].
    pub async fn consult(
        &self,
        plugin: &Arc<Plugin>,
        question: Question,
        telemetry: Arc<dyn Telemetry>,
    ) -> Result<Findings, GuestError> {
        const CALL: &str = "consult";
        if plugin.role() != Role::Agent {
            return Err(plugin.error(CALL, GuestErrorKind::Role { role: plugin.role() }));
        }
        let reach = Reach {
            context: question.incident.id.0.clone(),
            tenant: question.incident.tenant.clone(),
            telemetry,
            session: None,
            now_ns: question.now,
        };
        let of_call = plugin.clone();
        let answer = call::fresh(&self.0, plugin, CALL, reach, move |store, instance| {
            let guest = match &of_call.exports {
                Exports::Agent(indices) => indices.load(&mut *store, &instance),
                _ => Err(wasmtime::Error::msg("not an agent")),
            };
            Box::pin(async move {
                let guest = guest?;
                let owned = Owned::new(&question);
                let symptoms = owned.symptoms(&question.incident);
                let targets = owned.targets(&question.targets);
                let catalogue: Vec<_> = question
                    .catalogue
                    .iter()
                    .map(|entry| consult::CatalogueEntry { action: &entry.action, summary: &entry.summary })
                    .collect();
                let incident = consult::Incident {
                    id: &question.incident.id.0,
                    started: question.incident.started.0.saturating_mul(NS_PER_MS),
                    now: question.now,
                    symptoms: &symptoms,
                    targets: &targets,
                    catalogue: &catalogue,
                };
                guest.call_consult(store, incident, QUESTION).await
            })
        });
        match answer.await? {
            Ok(findings) => Ok(check_findings(plugin, findings)),
            Err(reason) => Err(plugin.error(CALL, GuestErrorKind::declined(&reason))),
        }
    }
}

/// Attribute lists in the contract's form, which the records of the call borrow.
struct Owned {
    of_symptoms: Vec<types::Attributes>,
    of_targets: Vec<types::Attributes>,
}

impl Owned {
    fn new(question: &Question) -> Self {
        let of_symptom = |symptom: &salve_model::incident::Symptom| attributes(&symptom.series.attributes);
        Self {
            of_symptoms: question.incident.symptoms.iter().map(of_symptom).collect(),
            of_targets: question.targets.iter().map(|target| attributes(&target.attributes)).collect(),
        }
    }

    fn symptoms<'a>(&'a self, incident: &'a IncidentView) -> Vec<consult::Symptom<'a>> {
        incident
            .symptoms
            .iter()
            .zip(&self.of_symptoms)
            .map(|(symptom, attributes)| consult::Symptom {
                service: &symptom.series.service,
                signal: &symptom.series.name,
                attributes,
                kind: kind(symptom.kind),
                rising: symptom.rising,
                since: symptom.since.0.saturating_mul(NS_PER_MS),
                score: symptom.score,
                value: symptom.value,
                expected: symptom.expected,
                reason: &symptom.reason,
            })
            .collect()
    }

    fn targets<'a>(&'a self, targets: &'a [Target]) -> Vec<types::Target<'a>> {
        targets
            .iter()
            .zip(&self.of_targets)
            .map(|(target, attributes)| types::Target { id: &target.id.0, attributes })
            .collect()
    }
}

fn kind(kind: ObservationKind) -> Kind {
    match kind {
        ObservationKind::Point => Kind::Point,
        ObservationKind::LevelShift => Kind::LevelShift,
        ObservationKind::Trend => Kind::Trend,
        ObservationKind::SeasonalBreak => Kind::SeasonalBreak,
        ObservationKind::Missing => Kind::Missing,
    }
}

/// Keeps what makes sense: probabilities within 0 to 1 that add up to at most 1, finite weights, bounded lists and
/// texts. Counts what it throws away.
fn check_findings(plugin: &Plugin, findings: consult::Findings) -> Findings {
    let mut refused = 0_u64;
    let mut sum = 0.0;
    let mut hypotheses = Vec::new();
    for hypothesis in findings.hypotheses {
        let probability = hypothesis.probability;
        if hypotheses.len() == HYPOTHESES_MAX || !(0.0..=1.0).contains(&probability) {
            refused += 1;
            continue;
        }
        sum += probability;
        let mut evidence = hypothesis.evidence;
        let all = evidence.len();
        evidence.retain(|evidence| evidence.weight.is_finite());
        evidence.truncate(LIST_MAX);
        refused += u64::try_from(all - evidence.len()).unwrap_or_default();
        hypotheses.push(Hypothesis {
            suspect: escape(&hypothesis.suspect, SENTENCE_CHARS_MAX),
            mechanism: escape(&hypothesis.mechanism, 60),
            probability,
            evidence: evidence
                .into_iter()
                .map(|evidence| Evidence {
                    text: escape(&evidence.text, SENTENCE_CHARS_MAX),
                    reference: escape(&evidence.reference, SENTENCE_CHARS_MAX),
                    weight: evidence.weight,
                })
                .collect(),
            extra: hypothesis.extra.into_iter().take(LIST_MAX).collect(),
            targets: Vec::new(),
        });
    }
    if sum > 1.0 {
        for hypothesis in &mut hypotheses {
            hypothesis.probability /= sum;
        }
    }
    hypotheses.sort_by(|a, b| b.probability.total_cmp(&a.probability));

    let mut suggestions = findings.suggestions;
    refused += u64::try_from(suggestions.len().saturating_sub(LIST_MAX)).unwrap_or_default();
    suggestions.truncate(LIST_MAX);
    counters::add(&plugin.identity.counters.refused_values_total, refused);
    if refused > 0 {
        tracing::warn!(plugin = %plugin.name(), refused, "Parts of an agent's findings make no sense.");
    }
    Findings {
        agent: plugin.name().to_owned(),
        hypotheses,
        suggestions: suggestions
            .into_iter()
            .map(|suggestion| Suggestion {
                action: escape(&suggestion.action, SENTENCE_CHARS_MAX),
                target: TargetId(suggestion.target),
                parameters: suggestion.parameters,
                reason: escape(&suggestion.reason, SENTENCE_CHARS_MAX),
            })
            .collect(),
        text: escape(&findings.text, TEXT_CHARS_MAX),
        left_out: refused,
    }
}
