//! Cases of detectors.

use crate::{
    cases,
    model::{FORMAT, Model, Parameters},
    plugin::{self, Loaded},
    term::{Term, list, record},
};
use salve_model::{
    Attributes, Tenant,
    batch::{Batch, DetectorOutput, SeriesAdded},
    telemetry::{SeriesKey, SeriesRef},
    text::escape,
};
use salve_plugins::{DetectorInstance, DetectorOptions, GuestErrorKind, State};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Go to the plugin as they are.
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Observe(Points),
    /// Compares the snapshot, and keeps it for `restart`.
    Snapshot {},
    /// A fresh instance that takes over the snapshot; the next batch adds its series again.
    Restart {},
    /// A fresh instance that is given this state and refuses it; none of the words: any words.
    Refuse {
        format: u32,
        text: String,
        error: Option<String>,
    },
    /// What the newest batch must have given, and the newest snapshot must have been: pins the model itself.
    Expect {
        observations: Option<Vec<String>>,
        snapshot: Option<String>,
    },
}

/// A series' id, and its points: time, value, flags.
type PointsOfSeries = (u32, Vec<(u64, f64, u8)>);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Points {
    now: u64,
    added: Vec<Added>,
    removed: Vec<u32>,
    /// Of each series its points: time, value, flags.
    points: Vec<PointsOfSeries>,
    scores: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u32,
    name: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    group: u32,
    limit: Option<f64>,
    #[serde(default)]
    attributes: Attributes,
}

impl Points {
    fn batch(&self, sequence: u64) -> Batch {
        let added = self.added.iter().map(|added| SeriesAdded {
            id: added.id,
            series: SeriesRef {
                key: SeriesKey(added.id.into()),
                tenant: Tenant::default(),
                service: String::new(),
                name: added.name.clone(),
                unit: added.unit.clone(),
                attributes: Attributes::new(),
            },
            group: added.group,
            limit: added.limit,
            attributes: added.attributes.clone(),
        });
        let mut batch = Batch {
            sequence,
            now: self.now,
            added: added.collect(),
            removed: self.removed.clone(),
            offsets: vec![0],
            scores: self.scores,
            ..Batch::default()
        };
        for (series, points) in &self.points {
            batch.series.push(*series);
            for (time, value, flags) in points {
                batch.times.push(*time);
                batch.values.push(*value);
                batch.point_flags.push(*flags);
            }
            batch.offsets.push(u32::try_from(batch.times.len()).unwrap());
        }
        batch
    }
}

/// Every bit of an output.
fn shown(output: &DetectorOutput) -> (Vec<String>, Option<Vec<String>>, u64) {
    let observations = output.observations.iter().map(|observation| {
        record(&[
            observation.series.term(),
            observation.time.term(),
            observation.kind.term(),
            observation.rising.term(),
            observation.score.term(),
            observation.confidence.term(),
            observation.value.term(),
            observation.expected.term(),
            observation.lower.term(),
            observation.upper.term(),
            observation.reason.term(),
        ])
    });
    let scores = output.scores.as_ref().map(|scores| {
        vec![
            scores.score.term(),
            scores.confidence.term(),
            scores.expected.term(),
            scores.lower.term(),
            scores.upper.term(),
        ]
    });
    (observations.collect(), scores, output.refused)
}

/// Checks all cases of detectors on the detector of a language.
pub(crate) fn conforms(language: &str) {
    let cases = cases::of_role::<Case>("detector", language);
    let loaded = plugin::load(language, "detector");
    plugin::block_on(async {
        for case in &cases {
            check(&loaded, case).await;
        }
    });
    assert_eq!(loaded.plugin.counters().faults_total, 0);
    assert_eq!(loaded.lines.0.lock().unwrap().len(), 0);
}

async fn check(loaded: &Loaded, case: &Case) {
    let name = case.name.as_str();
    let (json, parameters) = match &case.parameters {
        Value::Null => ("{}".to_owned(), Parameters::default()),
        given => (given.to_string(), serde_json::from_value::<Parameters>(given.clone()).unwrap()),
    };
    let make = async |state: Option<State>| {
        let options = DetectorOptions { name: "suite".into(), parameters_json: json.clone(), state };
        loaded.host.detector(&loaded.plugin, options).await
    };
    let first = make(None).await;
    if let Some(reason) = &parameters.fail_configure {
        assert_eq!(first.unwrap_err().kind, declined(reason), "{name}");
        return;
    }
    let mut instance: DetectorInstance = first.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut model = Model::new(parameters.clone());
    let mut sequence = 0;
    let mut newest = DetectorOutput::default();
    let mut snapshot = None;
    for (index, step) in case.steps.iter().enumerate() {
        let name = format!("{name}, step {index}");
        match step {
            Step::Observe(points) => {
                sequence += 1;
                let batch = points.batch(sequence);
                let got = instance.observe(&batch).await;
                if let Some(reason) = &parameters.fail_observe
                    && parameters.fail_at == sequence.to_string()
                {
                    assert_eq!(got.unwrap_err().kind, declined(reason), "{name}");
                    continue;
                }
                newest = got.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(shown(&newest), shown(&model.observe(&batch)), "{name}");
                assert_eq!(instance.take_set_aside(), [], "{name}");
            }
            Step::Snapshot {} => {
                let got = instance.snapshot().await.unwrap_or_else(|error| panic!("{name}: {error}"));
                let text = String::from_utf8(got.bytes.clone()).unwrap();
                assert_eq!((got.format, text), (FORMAT, model.snapshot()), "{name}");
                snapshot = Some(got);
            }
            Step::Restart {} => {
                instance = make(snapshot.clone()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(instance.restore_failure(), None, "{name}");
                model = model.restarted();
                sequence = 0;
            }
            Step::Refuse { format, text, error } => {
                let state = State { format: *format, bytes: text.clone().into_bytes() };
                let refusing = make(Some(state)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
                let failure = refusing.restore_failure().unwrap_or_else(|| panic!("{name}: was taken"));
                match error {
                    Some(reason) => assert_eq!(*failure, declined(reason), "{name}"),
                    None => assert!(matches!(failure, GuestErrorKind::Declined { .. }), "{name}: {failure}"),
                }
            }
            Step::Expect { observations, snapshot: text } => {
                if let Some(expected) = observations {
                    assert_eq!(list(shown(&newest).0), list(expected.iter().cloned()), "{name}");
                }
                if let Some(expected) = text {
                    let state = snapshot.clone().expect("a snapshot before");
                    assert_eq!(String::from_utf8(state.bytes).unwrap(), *expected, "{name}");
                }
            }
        }
    }
}

fn declined(reason: &str) -> GuestErrorKind {
    GuestErrorKind::Declined { reason: escape(reason, 500) }
}
