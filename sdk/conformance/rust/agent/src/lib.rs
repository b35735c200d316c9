//! The suite's agent; `sdk/conformance/README.md` says how it behaves.

use conformance_common::{
    calls,
    script::{Call, Line, Pairs, log},
    term::{Term, attributes, record},
};
use salve_plugin::{
    Agent, Findings, Hypothesis, Incident, Kind,
    agent::{CatalogueEntry, Evidence, Suggestion, Symptom},
};
use serde::Deserialize;

struct Scripted;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Script {
    log: Vec<Line>,
    calls: Vec<Call>,
    error: Option<String>,
    hypotheses: Vec<Supposed>,
    suggestions: Vec<Suggested>,
    text: String,
}

#[derive(Deserialize)]
struct Supposed {
    suspect: String,
    mechanism: String,
    probability: f64,
    #[serde(default)]
    evidence: Vec<Sign>,
    #[serde(default)]
    extra: Pairs,
}

#[derive(Deserialize)]
struct Sign {
    text: String,
    reference: String,
    weight: f64,
}

#[derive(Deserialize)]
struct Suggested {
    action: String,
    target: String,
    parameters: String,
    reason: String,
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Point => "point",
        Kind::LevelShift => "level-shift",
        Kind::Trend => "trend",
        Kind::SeasonalBreak => "seasonal-break",
        Kind::Missing => "missing",
    }
    .into()
}

struct Shown<'a, T>(&'a T);

impl Term for Shown<'_, Symptom> {
    fn term(&self) -> String {
        let Symptom { service, signal, rising, since, score, value, expected, reason, .. } = self.0;
        record(&[
            service.term(),
            signal.term(),
            attributes(&self.0.attributes),
            kind(self.0.kind),
            rising.term(),
            since.term(),
            score.term(),
            value.term(),
            expected.term(),
            reason.term(),
        ])
    }
}

impl Term for Shown<'_, CatalogueEntry> {
    fn term(&self) -> String {
        record(&[self.0.action.term(), self.0.summary.term()])
    }
}

fn incident(incident: &Incident) -> String {
    record(&[
        incident.id.term(),
        incident.started.term(),
        incident.now.term(),
        incident.symptoms.iter().map(Shown).collect::<Vec<_>>().term(),
        incident.targets.term(),
        incident.catalogue.iter().map(Shown).collect::<Vec<_>>().term(),
    ])
}

impl Agent for Scripted {
    fn consult(asked: &Incident, question: &str) -> Result<Findings, String> {
        let entry = asked.catalogue.iter().find(|entry| entry.action == "script");
        let script: Script = match entry {
            Some(entry) => serde_json::from_str(&entry.summary).map_err(|error| error.to_string())?,
            None => Script::default(),
        };
        log(&script.log);
        let call = |call: &Call| calls::observe(call, asked.now).ok_or(format!("no call `{}`", call.call));
        let answers = script.calls.iter().map(call).collect::<Result<Vec<_>, _>>()?;
        if let Some(error) = script.error {
            return Err(error);
        }
        let mut hypotheses = vec![Hypothesis {
            suspect: "echo".into(),
            mechanism: "conformance".into(),
            probability: 0.0,
            evidence: Vec::new(),
            extra: vec![
                ("question".into(), question.into()),
                ("incident".into(), incident(asked)),
                ("answers".into(), calls::answers(&answers)),
            ],
        }];
        hypotheses.extend(script.hypotheses.into_iter().map(|supposed| {
            Hypothesis {
                suspect: supposed.suspect,
                mechanism: supposed.mechanism,
                probability: supposed.probability,
                evidence: supposed
                    .evidence
                    .into_iter()
                    .map(|Sign { text, reference, weight }| Evidence { text, reference, weight })
                    .collect(),
                extra: supposed.extra,
            }
        }));
        let suggestion = |suggested: Suggested| Suggestion {
            action: suggested.action,
            target: suggested.target,
            parameters: suggested.parameters,
            reason: suggested.reason,
        };
        Ok(Findings {
            hypotheses,
            suggestions: script.suggestions.into_iter().map(suggestion).collect(),
            text: script.text,
            extra: Vec::new(),
        })
    }
}

salve_plugin::export_agent!(Scripted);
