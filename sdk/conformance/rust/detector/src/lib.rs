//! The suite's detector; `sdk/conformance/README.md` says how it behaves.

use conformance_common::term::{Term, attributes, list, record};
use salve_plugin::{
    Batch, Detector, Kind, Observation, Output, Series, State,
    detector::{FLAG_AFTER_GAP, Scores},
};
use serde::Deserialize;
use std::collections::BTreeMap;

const FORMAT: u32 = 7;
const DEVIATION_MAX: f64 = 1e300;
const KINDS: [Kind; 5] = [Kind::Point, Kind::LevelShift, Kind::Trend, Kind::SeasonalBreak, Kind::Missing];

#[derive(Deserialize)]
struct Parameters {
    #[serde(default = "one")]
    threshold: f64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    report_missing: bool,
    fail_configure: Option<String>,
    fail_observe: Option<String>,
    #[serde(default)]
    fail_at: String,
}

fn one() -> f64 {
    1.0
}

#[derive(Clone, Copy, Default)]
struct Mean {
    count: u64,
    sum: f64,
    last: f64,
}

struct Scripted {
    parameters: Parameters,
    series: BTreeMap<u32, (String, Mean)>,
    restored: BTreeMap<String, Mean>,
    newest: String,
}

fn identity(series: &Series) -> String {
    record(&[series.name.term(), series.unit.term(), attributes(&series.attributes)])
}

struct Added<'a>(&'a Series);

impl Term for Added<'_> {
    fn term(&self) -> String {
        let Series { id, name, unit, group, limit, .. } = self.0;
        record(&[
            id.term(),
            name.term(),
            unit.term(),
            group.term(),
            limit.term(),
            attributes(&self.0.attributes),
        ])
    }
}

fn shown(batch: &Batch) -> String {
    record(&[
        batch.sequence.term(),
        batch.now.term(),
        list(&batch.added.iter().map(Added).collect::<Vec<_>>()),
        batch.removed.term(),
        batch.series.term(),
        batch.offsets.term(),
        batch.times.term(),
        batch.values.term(),
        batch.point_flags.term(),
        batch.scores.term(),
    ])
}

impl Detector for Scripted {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self, String> {
        if let Some(reason) = &parameters.fail_configure {
            return Err(reason.clone());
        }
        Ok(Self { parameters, series: BTreeMap::new(), restored: BTreeMap::new(), newest: "none".into() })
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        let Parameters { threshold, reason, .. } = &self.parameters;
        if let Some(failure) = &self.parameters.fail_observe
            && self.parameters.fail_at == batch.sequence.to_string()
        {
            return Err(failure.clone());
        }
        self.newest = shown(batch);
        for id in &batch.removed {
            self.series.remove(id);
        }
        for series in &batch.added {
            let identity = identity(series);
            if self.series.get(&series.id).is_none_or(|(known, _)| *known != identity) {
                let mean = self.restored.remove(&identity).unwrap_or_default();
                self.series.insert(series.id, (identity, mean));
            }
        }
        let mut observations = Vec::new();
        let mut scores = Scores::zeroed(0);
        for series in batch.by_series()? {
            let (_, mean) = self.series.get_mut(&series.series).ok_or("an unknown series")?;
            for index in series.points {
                let value = batch.values[index];
                if batch.point_flags[index] & FLAG_AFTER_GAP != 0 {
                    (mean.count, mean.sum) = (0, 0.0);
                }
                let count = mean.count as f64;
                let expected = if mean.count == 0 { value } else { mean.sum / count };
                let deviation = (value - expected).abs().min(DEVIATION_MAX);
                let score = (deviation / (1.0 + deviation)) as f32;
                let confidence = (count / (count + 1.0)) as f32;
                let (lower, upper) = (expected - threshold, expected + threshold);
                if deviation > *threshold {
                    observations.push(Observation {
                        series: series.series,
                        time: batch.times[index],
                        kind: KINDS[(mean.count % 5) as usize],
                        rising: value > expected,
                        score,
                        confidence,
                        value,
                        expected,
                        lower,
                        upper,
                        reason: reason.clone(),
                        extra: Vec::new(),
                    });
                }
                scores.score.push(score);
                scores.confidence.push(confidence);
                scores.expected.push(expected);
                scores.lower.push(lower);
                scores.upper.push(upper);
                mean.sum += value;
                mean.count += 1;
                mean.last = value;
                if !mean.sum.is_finite() {
                    (mean.count, mean.sum) = (1, value);
                }
            }
        }
        if batch.values.is_empty() && self.parameters.report_missing {
            observations.extend(self.series.iter().map(|(id, (_, mean))| Observation {
                series: *id,
                time: batch.now,
                kind: Kind::Missing,
                rising: false,
                score: 1.0,
                confidence: 1.0,
                value: mean.last,
                expected: mean.count as f64,
                lower: 0.0,
                upper: 0.0,
                reason: reason.clone(),
                extra: Vec::new(),
            }));
        }
        Ok(Output { observations, scores: batch.scores.then_some(scores) })
    }

    fn snapshot(&self) -> State {
        let mut text = self.newest.clone();
        for (identity, Mean { count, sum, last }) in self.series.values() {
            text += &format!("\n{count} {} {} {identity}", sum.term(), last.term());
        }
        State { format: FORMAT, bytes: text.into_bytes() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        if state.format != FORMAT {
            return Err(format!("format {}", state.format));
        }
        let text = std::str::from_utf8(&state.bytes).map_err(|error| error.to_string())?;
        for line in text.lines().skip(1) {
            let parts: Vec<_> = line.splitn(4, ' ').collect();
            let [count, sum, last, identity] = parts[..] else { return Err("a line is too short".into()) };
            let double = |hex: &str| u64::from_str_radix(hex, 16).map(f64::from_bits);
            let read = |error: std::num::ParseIntError| error.to_string();
            let mean = Mean {
                count: count.parse().map_err(read)?,
                sum: double(sum).map_err(read)?,
                last: double(last).map_err(read)?,
            };
            self.restored.insert(identity.to_owned(), mean);
        }
        Ok(())
    }
}

salve_plugin::export_detector!(Scripted);
