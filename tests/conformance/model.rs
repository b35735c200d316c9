//! The suite's detector once more, in terms of the host: what every language's must say. See `sdk/conformance/README.md`.

use crate::term::{Term, list, record};
use salve_model::{
    batch::{Batch, DetectorOutput, FLAG_AFTER_GAP, RawObservation, Scores, SeriesAdded},
    telemetry::ObservationKind,
    text::escape,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The layout of its snapshots.
pub(crate) const FORMAT: u32 = 7;
const KINDS: [ObservationKind; 5] = [
    ObservationKind::Point,
    ObservationKind::LevelShift,
    ObservationKind::Trend,
    ObservationKind::SeasonalBreak,
    ObservationKind::Missing,
];

/// Its parameters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Parameters {
    threshold: Option<f64>,
    reason: String,
    report_missing: bool,
    pub(crate) fail_configure: Option<String>,
    pub(crate) fail_observe: Option<String>,
    pub(crate) fail_at: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    count: u32,
    sum: f64,
    last: f64,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Model {
    parameters: Parameters,
    series: BTreeMap<u32, (String, Mean)>,
    restored: BTreeMap<String, Mean>,
    newest: String,
}

fn identity(added: &SeriesAdded) -> String {
    record(&[added.series.name.term(), added.series.unit.term(), added.attributes.term()])
}

fn shown(batch: &Batch) -> String {
    let added = batch.added.iter().map(|added| {
        record(&[
            added.id.term(),
            added.series.name.term(),
            added.series.unit.term(),
            added.group.term(),
            added.limit.term(),
            added.attributes.term(),
        ])
    });
    record(&[
        batch.sequence.term(),
        batch.now.term(),
        list(added),
        batch.removed.term(),
        batch.series.term(),
        batch.offsets.term(),
        batch.times.term(),
        batch.values.term(),
        batch.point_flags.term(),
        batch.scores.term(),
    ])
}

impl Model {
    pub(crate) fn new(parameters: Parameters) -> Self {
        Self { parameters, series: BTreeMap::new(), restored: BTreeMap::new(), newest: "none".into() }
    }

    /// The same after a restart.
    pub(crate) fn restarted(&self) -> Self {
        let mut fresh = Self::new(self.parameters.clone());
        fresh.restored = self.series.values().cloned().collect();
        fresh
    }

    pub(crate) fn snapshot(&self) -> String {
        self.series.values().fold(self.newest.clone(), |text, (identity, Mean { count, sum, last })| {
            text + &format!("\n{count} {} {} {identity}", sum.term(), last.term())
        })
    }

    pub(crate) fn observe(&mut self, batch: &Batch) -> DetectorOutput {
        self.newest = shown(batch);
        for id in &batch.removed {
            self.series.remove(id);
        }
        for added in &batch.added {
            let identity = identity(added);
            if self.series.get(&added.id).is_none_or(|(known, _)| *known != identity) {
                let mean = self.restored.remove(&identity).unwrap_or_default();
                self.series.insert(added.id, (identity, mean));
            }
        }
        let mut output = DetectorOutput::default();
        let mut scores = Scores::default();
        for (index, id) in batch.series.iter().enumerate() {
            for point in batch.offsets[index]..batch.offsets[index + 1] {
                let abnormal = self.point(batch, *id, point as usize, &mut scores);
                output.observations.extend(abnormal);
            }
        }
        if batch.values.is_empty() && self.parameters.report_missing {
            output.observations.extend(self.series.iter().map(|(id, (_, mean))| RawObservation {
                series: *id,
                time: batch.now,
                kind: ObservationKind::Missing,
                rising: false,
                score: 1.0,
                confidence: 1.0,
                value: mean.last,
                expected: mean.count.into(),
                lower: 0.0,
                upper: 0.0,
                reason: escape(&self.parameters.reason, 300),
            }));
        }
        output.scores = batch.scores.then_some(scores);
        output
    }

    #[expect(clippy::cast_possible_truncation, reason = "the contract has these as `f32`")]
    fn point(&mut self, batch: &Batch, id: u32, point: usize, scores: &mut Scores) -> Option<RawObservation> {
        let threshold = self.parameters.threshold.unwrap_or(1.0);
        let (_, mean) = self.series.get_mut(&id).unwrap();
        let value = batch.values[point];
        if batch.point_flags[point] & FLAG_AFTER_GAP != 0 {
            (mean.count, mean.sum) = (0, 0.0);
        }
        let count = f64::from(mean.count);
        let expected = if mean.count == 0 { value } else { mean.sum / count };
        let deviation = (value - expected).abs().min(1e300);
        let score = (deviation / (1.0 + deviation)) as f32;
        let confidence = (count / (count + 1.0)) as f32;
        let (lower, upper) = (expected - threshold, expected + threshold);
        scores.score.push(score);
        scores.confidence.push(confidence);
        scores.expected.push(expected);
        scores.lower.push(lower);
        scores.upper.push(upper);
        let kind = KINDS[mean.count as usize % 5];
        (mean.count, mean.sum, mean.last) = (mean.count + 1, mean.sum + value, value);
        if !mean.sum.is_finite() {
            (mean.count, mean.sum) = (1, value);
        }
        (deviation > threshold).then(|| RawObservation {
            series: id,
            time: batch.times[point],
            kind,
            rising: value > expected,
            score,
            confidence,
            value,
            expected,
            lower,
            upper,
            reason: escape(&self.parameters.reason, 300),
        })
    }
}
