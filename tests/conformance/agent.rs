//! Cases of agents.

use crate::{
    action::Named,
    call::{Call, Scripted},
    cases::{self, Line, Pairs},
    plugin::{self, Loaded},
    term::{Term, list, record},
};
use salve_model::{
    Attributes, Target, TargetId, Tenant,
    incident::{
        CatalogueEntry, Evidence, Findings, Hypothesis, IncidentId, IncidentView, Suggestion, Symptom,
    },
    telemetry::{ObservationKind, SeriesKey, SeriesRef},
    text::escape,
    time::Now,
};
use salve_plugins::{GuestErrorKind, Question};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    incident: Asked,
    /// Goes to the plugin as it is.
    #[serde(default)]
    script: Value,
    #[serde(default)]
    answers: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    id: String,
    started_ms: u64,
    now: u64,
    symptoms: Vec<Sign>,
    targets: Vec<Named>,
    catalogue: Vec<Entry>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            id: "inc-1".into(),
            started_ms: 1_767_225_600_000,
            now: 1_767_225_605_000_000_000,
            symptoms: Vec::new(),
            targets: Vec::new(),
            catalogue: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    service: String,
    signal: String,
    attributes: Attributes,
    kind: ObservationKind,
    rising: bool,
    since_ms: u64,
    score: f32,
    value: f64,
    expected: f64,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    action: String,
    summary: String,
}

/// What the runner itself reads of a script.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    log: Vec<Line>,
    calls: Vec<Call>,
    error: Option<String>,
    hypotheses: Vec<Supposed>,
    suggestions: Vec<Suggestion>,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Supposed {
    suspect: String,
    mechanism: String,
    probability: f64,
    #[serde(default)]
    evidence: Vec<Evidence>,
    #[serde(default)]
    extra: Pairs,
}

/// Checks all cases of agents on the agent of a language.
pub(crate) fn conforms(language: &str) {
    let cases = cases::of_role::<Case>("agent", language);
    let loaded = plugin::load(language, "agent");
    plugin::block_on(async {
        for case in &cases {
            check(&loaded, case).await;
        }
    });
    assert_eq!(loaded.plugin.counters().faults_total, 0);
}

impl Sign {
    fn symptom(&self) -> Symptom {
        Symptom {
            series: SeriesRef {
                key: SeriesKey(0),
                tenant: Tenant::default(),
                service: self.service.clone(),
                name: self.signal.clone(),
                unit: "1".into(),
                attributes: self.attributes.clone(),
            },
            kind: self.kind,
            rising: self.rising,
            since: Now(self.since_ms),
            latest: Now(self.since_ms),
            score: self.score,
            value: self.value,
            expected: self.expected,
            reason: self.reason.clone(),
            normal_points: 0,
            recovered: false,
        }
    }

    fn term(&self) -> String {
        record(&[
            self.service.term(),
            self.signal.term(),
            self.attributes.term(),
            self.kind.term(),
            self.rising.term(),
            (self.since_ms * 1_000_000).term(),
            self.score.term(),
            self.value.term(),
            self.expected.term(),
            self.reason.term(),
        ])
    }
}

async fn check(loaded: &Loaded, case: &Case) {
    let name = case.name.as_str();
    let script: Script = match &case.script {
        Value::Null => Script::default(),
        script => serde_json::from_value(script.clone()).unwrap_or_else(|error| panic!("{name}: {error}")),
    };
    let asked = &case.incident;
    let targets: Vec<Target> = asked.targets.iter().map(Into::into).collect();
    let mut catalogue: Vec<(String, String)> =
        asked.catalogue.iter().map(|entry| (entry.action.clone(), entry.summary.clone())).collect();
    if !case.script.is_null() {
        catalogue.push(("script".into(), case.script.to_string()));
    }
    let shown = record(&[
        asked.id.term(),
        (asked.started_ms * 1_000_000).term(),
        asked.now.term(),
        list(asked.symptoms.iter().map(Sign::term)),
        targets.term(),
        list(catalogue.iter().map(|(action, summary)| record(&[action.term(), summary.term()]))),
    ]);
    let (scripted, answers) = Scripted::new(&script.calls, script.calls.len(), &case.answers);
    let question = Question {
        incident: IncidentView {
            id: IncidentId(asked.id.clone()),
            tenant: Tenant::default(),
            started: Now(asked.started_ms),
            now: Now(asked.now / 1_000_000),
            symptoms: asked.symptoms.iter().map(Sign::symptom).collect(),
            services: Vec::new(),
            attempts: Vec::new(),
        },
        targets,
        catalogue: catalogue
            .into_iter()
            .map(|(action, summary)| CatalogueEntry { action, summary, targets: Vec::new() })
            .collect(),
        now: asked.now,
    };
    let got = loaded.host.consult(&loaded.plugin, question, scripted.clone()).await;
    scripted.check(name);
    cases::check_lines(name, &loaded.lines, &script.log);
    if let Some(reason) = &script.error {
        let expected = GuestErrorKind::Declined { reason: escape(reason, 500) };
        assert_eq!(got.unwrap_err().kind, expected, "{name}");
        return;
    }
    let echo = Attributes::from([
        ("question".to_owned(), "cause".to_owned()),
        ("incident".to_owned(), shown),
        ("answers".to_owned(), answers),
    ]);
    let expected = findings(loaded.plugin.name(), script, echo);
    let got = got.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(got, expected, "{name}");
    let bits = |findings: &Findings| {
        let of = |hypothesis: &Hypothesis| {
            let weights = list(hypothesis.evidence.iter().map(|evidence| evidence.weight.term()));
            hypothesis.probability.term() + &weights
        };
        findings.hypotheses.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(bits(&got), bits(&expected), "{name}");
}

/// What the host makes of the findings.
fn findings(agent: &str, script: Script, echo: Attributes) -> Findings {
    let sentence = |text: &str| escape(text, 500);
    let mut hypotheses = vec![Hypothesis {
        suspect: "echo".into(),
        mechanism: "conformance".into(),
        probability: 0.0,
        evidence: Vec::new(),
        extra: echo,
        targets: Vec::new(),
    }];
    hypotheses.extend(script.hypotheses.into_iter().map(|supposed| {
        Hypothesis {
            suspect: sentence(&supposed.suspect),
            mechanism: escape(&supposed.mechanism, 60),
            probability: supposed.probability,
            evidence: supposed
                .evidence
                .into_iter()
                .map(|sign| Evidence {
                    text: sentence(&sign.text),
                    reference: sentence(&sign.reference),
                    weight: sign.weight,
                })
                .collect(),
            extra: supposed.extra.into_iter().collect(),
            targets: Vec::new(),
        }
    }));
    hypotheses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    Findings {
        agent: agent.to_owned(),
        hypotheses,
        suggestions: script
            .suggestions
            .into_iter()
            .map(|suggestion| Suggestion {
                action: sentence(&suggestion.action),
                target: TargetId(suggestion.target.0),
                parameters: suggestion.parameters,
                reason: sentence(&suggestion.reason),
            })
            .collect(),
        text: escape(&script.text, 4_000),
        left_out: 0,
    }
}
