//! What Salve says about itself, over its control socket: one JSON object a line, as `salve … --json` prints it.
//!
//! Only what the demo needs is read, and what is missing has its default: the daemon may say more.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The daemon is on this machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How the daemon is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// All parts have started.
    pub(crate) ready: bool,
    /// Incidents that are open.
    pub(crate) incidents_open: usize,
    /// Services that have been heard of.
    pub(crate) services: Vec<String>,
    /// By binding.
    pub(crate) detectors: BTreeMap<String, DetectorStatus>,
    /// What is wrong with it.
    pub(crate) problems: Vec<String>,
}

/// One detector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DetectorStatus {
    /// Series it watches.
    pub(crate) series: u64,
    /// Points it has seen.
    pub(crate) points: u64,
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
}

/// One line of the list of incidents.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Summary {
    /// Name.
    pub(crate) id: String,
    /// When it ended.
    #[serde(default)]
    pub(crate) closed: Option<u64>,
}

/// One incident, whole.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Incident {
    /// What is wrong.
    pub(crate) view: View,
    /// Why.
    pub(crate) findings: Option<Findings>,
    /// What was done.
    pub(crate) attempts: Vec<Attempt>,
    /// How it ended.
    pub(crate) outcome: Option<String>,
    /// What happened.
    pub(crate) timeline: Timeline,
    /// When it ended, in Unix milliseconds; from the list.
    #[serde(skip)]
    pub(crate) closed: Option<u64>,
}

impl Incident {
    /// When it was opened, in Unix milliseconds: the first entry of its timeline, when the symptom was confirmed.
    pub(crate) fn opened(&self) -> u64 {
        self.timeline.entries.first().map_or(self.view.started, |entry| entry.at)
    }

    /// The most probable cause.
    pub(crate) fn cause(&self) -> Option<&Hypothesis> {
        self.findings.as_ref()?.hypotheses.first()
    }
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct View {
    /// Name.
    pub(crate) id: String,
    /// First abnormal point, in Unix milliseconds.
    pub(crate) started: u64,
    /// Abnormal series.
    pub(crate) symptoms: Vec<Symptom>,
}

/// One abnormal series.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Symptom {
    /// Which.
    pub(crate) series: Series,
    /// The detector's sentence.
    pub(crate) reason: String,
    /// It is over.
    pub(crate) recovered: bool,
}

/// Name of a series.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Series {
    /// `service.name`.
    pub(crate) service: String,
    /// Metric.
    pub(crate) name: String,
}

/// Why.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Findings {
    /// Most probable first.
    pub(crate) hypotheses: Vec<Hypothesis>,
}

/// One possible cause.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Hypothesis {
    /// Which service.
    pub(crate) suspect: String,
    /// What is the matter with it.
    pub(crate) mechanism: String,
    /// 0 to 1.
    pub(crate) probability: f64,
    /// Why.
    pub(crate) evidence: Vec<Evidence>,
}

/// Why a cause is likely.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Evidence {
    /// A sentence.
    pub(crate) text: String,
}

/// One remedy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    /// What the policy said.
    pub(crate) proposal: Proposal,
    /// What was done.
    pub(crate) plan: Plan,
    /// When it began, in Unix milliseconds.
    pub(crate) started: u64,
    /// What was taken back.
    pub(crate) undone: Vec<Value>,
    /// Nothing was written.
    pub(crate) dry_run: bool,
    /// How it turned out.
    pub(crate) outcome: Option<String>,
}

/// What a policy said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Proposal {
    /// Which action.
    pub(crate) action: String,
    /// On which target.
    pub(crate) target: String,
    /// Why.
    pub(crate) reason: String,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Plan {
    /// A sentence.
    pub(crate) summary: String,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Timeline {
    /// Oldest first.
    pub(crate) entries: Vec<Entry>,
}

/// One sentence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// The sentence, escaped by Salve.
    pub(crate) text: String,
}

/// The daemon's control socket.
#[derive(Debug, Clone)]
pub(crate) struct Control(pub(crate) PathBuf);

impl Control {
    /// How the daemon is.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn status(&self) -> Result<Status> {
        self.ask(json!({ "command": "status" }), "status").await
    }

    /// All incidents that the daemon remembers.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn incidents(&self) -> Result<Vec<Summary>> {
        self.ask(json!({ "command": "incidents" }), "incidents").await
    }

    /// One incident.
    ///
    /// # Errors
    /// If the daemon does not answer or does not know it.
    pub(crate) async fn incident(&self, summary: &Summary) -> Result<Incident> {
        let mut incident: Incident =
            self.ask(json!({ "command": "incident", "id": summary.id }), "incident").await?;
        incident.closed = summary.closed;
        Ok(incident)
    }

    async fn ask<A: serde::de::DeserializeOwned>(&self, request: Value, kind: &str) -> Result<A> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(&request))
            .await
            .context("Salve does not answer on its control socket")??;
        read(&answer, kind)
    }

    async fn exchange(&self, request: &Value) -> Result<String> {
        let mut stream = UnixStream::connect(&self.0)
            .await
            .with_context(|| format!("cannot reach Salve at `{}`", self.0.display()))?;
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok(answer)
    }
}

/// Takes `{"kind": …}` apart; `{"error": …}` is an error.
fn read<A: serde::de::DeserializeOwned>(answer: &str, kind: &str) -> Result<A> {
    let mut answer: Value = serde_json::from_str(answer).context("Salve's answer is not JSON")?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("Salve says: {error}");
    }
    let answer =
        answer.get_mut(kind).map(Value::take).with_context(|| format!("Salve's answer has no `{kind}`"))?;
    serde_json::from_value(answer)
        .with_context(|| format!("cannot read Salve's `{kind}`; is it another version?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: answers are read by kind, more fields than expected do no harm, and errors keep Salve's words.
    #[test]
    fn reads_answers() {
        let summaries: Vec<Summary> =
            read(r#"{"incidents":[{"id":"inc-1","closed":5,"phase":"closed","services":[]}]}"#, "incidents")
                .unwrap();
        assert_eq!((summaries[0].id.as_str(), summaries[0].closed), ("inc-1", Some(5)));
        let error = read::<Status>(r#"{"error":"there is no incident"}"#, "incident").unwrap_err();
        assert_eq!(error.to_string(), "Salve says: there is no incident");
        let error = read::<Status>(r#"{"done":"x"}"#, "status").unwrap_err();
        assert_eq!(error.to_string(), "Salve's answer has no `status`");
    }
}
