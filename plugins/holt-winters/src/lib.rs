//! Streaming Holt-Winters: expects the next point of each series from its level, trend and season, and observes what
//! falls out of the normal range.
//!
//! The range follows the noise of the series and is never narrower than the floors of the binding. A point at its end
//! has a score of 0.5. See [`Parameters`] for what an operator can set, [`model`] for how it works.
//!
//! ## What always holds
//! - time and memory of a point do not depend on the history: about 64 bytes a series, 300 more with a season
//! - the same batches give the same answers; the only clock is the points' own
//! - a fault is not learned as normal until it has lasted for `adapt_after_points`
//!
//! Not here: points that do not come (`absence`), growth towards a limit (`saturation`), how many abnormal points make
//! an alert (the host).

pub mod model;
pub mod parameters;
pub mod season;
mod words;

use model::{Model, Verdict};
use parameters::Parameters;
use salve_plugin::{
    codec::{Reader, Writer},
    detector::{FLAG_AFTER_GAP, Scores, SeriesPoints},
    prelude::*,
    series::SeriesTable,
};

/// Layout of snapshots.
const FORMAT: u32 = 1;

/// The detector.
#[derive(Debug)]
pub struct HoltWinters {
    parameters: Parameters,
    series: SeriesTable<Model>,
    /// A snapshot with another season length was restored.
    season_changed: bool,
}

impl Detector for HoltWinters {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self, String> {
        parameters.check()?;
        Ok(Self { parameters, series: SeriesTable::default(), season_changed: false })
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        let Self { parameters, series, season_changed } = self;
        series.update(
            batch,
            |_| Model::new(),
            |_, model| {
                if *season_changed {
                    model.forget_season();
                }
            },
        );
        let mut observations = Vec::new();
        let mut scores = batch.scores.then(|| Scores::zeroed(batch.values.len()));
        let unusual = if batch.scores || parameters.season_seconds > 0 {
            batch.by_series()?.collect()
        } else {
            learn_usual(series, batch, parameters)?
        };
        for part in unusual {
            let Some(model) = series.get_mut(part.series) else { continue };
            for point in part.points {
                let (time, value) = (batch.times[point], batch.values[point]);
                if batch.point_flags[point] & FLAG_AFTER_GAP != 0 {
                    model.after_gap();
                }
                let verdict = model.observe(parameters, time, value);
                if let Some(kind) = verdict.abnormal {
                    observations.push(observation(part.series, time, value, kind, verdict, parameters));
                }
                if let Some(scores) = &mut scores {
                    score(scores, point, verdict, parameters);
                }
            }
        }
        Ok(Output { observations, scores })
    }

    fn snapshot(&self) -> State {
        let mut to = Writer::new();
        to.u32(self.parameters.season_seconds);
        self.series.write(&mut to);
        State { format: FORMAT, bytes: to.into_bytes() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        if state.format != FORMAT {
            return Err(format!("the snapshot has layout {}; this version reads {FORMAT}", state.format));
        }
        let mut from = Reader::new(&state.bytes);
        self.season_changed = from.u32()? != self.parameters.season_seconds;
        self.series.read(&mut from)
    }
}

/// Learns from points as most are: one of its series, and in its normal range. Gives all others, for which a verdict is needed.
///
/// A loop of its own, without a loop or a call in it: in WebAssembly each of them costs as much as the arithmetic.
#[inline(never)]
fn learn_usual(
    series: &mut SeriesTable<Model>,
    batch: &Batch,
    parameters: &Parameters,
) -> Result<Vec<SeriesPoints>, String> {
    let mut unusual = Vec::new();
    for part in batch.by_series()? {
        let Some(model) = series.get_mut(part.series) else { continue };
        let first = part.points.start;
        if part.points.len() == 1
            && let (Some(0), Some(value)) = (batch.point_flags.get(first), batch.values.get(first))
            && model.learn_usual(parameters, *value)
        {
            continue;
        }
        unusual.push(part);
    }
    Ok(unusual)
}

#[inline(never)]
fn score(scores: &mut Scores, point: usize, verdict: Verdict, parameters: &Parameters) {
    scores.score[point] = verdict.score();
    scores.confidence[point] = verdict.confidence(parameters);
    scores.expected[point] = verdict.expected;
    scores.lower[point] = verdict.lower;
    scores.upper[point] = verdict.upper;
}

#[cold]
#[inline(never)]
fn observation(
    series: u32,
    time: u64,
    value: f64,
    kind: Kind,
    verdict: Verdict,
    parameters: &Parameters,
) -> Observation {
    Observation {
        series,
        time,
        kind,
        rising: value > verdict.expected,
        score: verdict.score(),
        confidence: verdict.confidence(parameters),
        value,
        expected: verdict.expected,
        lower: verdict.lower,
        upper: verdict.upper,
        reason: words::reason(value, kind, &verdict),
        extra: Vec::new(),
    }
}

salve_plugin::export_detector!(HoltWinters);

#[cfg(test)]
mod tests;
