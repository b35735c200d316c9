//! Notices what grows towards its limit: memory, disks, pools, queues.
//!
//! Looks only at series with a limit. Observes a trend when the series is at least `usage_min` full and, at the pace of
//! its last points, will be full within `horizon_ms`; and, whatever the pace, when it is at least `usage_critical` full.
//!
//! ## What always holds
//! - one point costs at most a few microseconds, a series about 300 bytes
//! - the pace is the median of slopes (Theil-Sen), and counts only if the rise is more than the series' own noise
//! - a series that falls back by itself, as a garbage collected heap does, is observed only above where it usually turns
//!
//! Not here: series without a limit; sudden steps (`holt-winters`).

pub mod pace;

use pace::{Parameters, Usage};
use salve_plugin::{
    codec::{Reader, Writer},
    detector::{FLAG_AFTER_GAP, Scores},
    prelude::*,
    series::SeriesTable,
};

/// Layout of snapshots.
const FORMAT: u32 = 1;

/// The detector.
#[derive(Debug)]
pub struct Saturation {
    parameters: Parameters,
    /// `None` for series without a limit.
    series: SeriesTable<Usage>,
}

impl Detector for Saturation {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self, String> {
        parameters.check()?;
        Ok(Self { parameters, series: SeriesTable::default() })
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        let Self { parameters, series } = self;
        series.update(
            batch,
            |added| Usage::new(added.limit),
            |added, restored| restored.limit = Usage::new(added.limit).limit,
        );
        let mut observations = Vec::new();
        let mut scores = batch.scores.then(|| Scores {
            expected: batch.values.clone(),
            lower: batch.values.clone(),
            upper: batch.values.clone(),
            ..Scores::zeroed(batch.values.len())
        });
        for part in batch.by_series()? {
            let Some(usage) = series.get_mut(part.series) else { continue };
            let Some(limit) = usage.limit else { continue };
            for point in part.points {
                let (time, value) = (batch.times[point], batch.values[point]);
                let after_gap = batch.point_flags[point] & FLAG_AFTER_GAP != 0;
                let Some(verdict) = usage.observe(parameters, time, value, after_gap) else { continue };
                if let Some(scores) = &mut scores {
                    scores.score[point] = verdict.score;
                    scores.confidence[point] = verdict.confidence;
                    scores.lower[point] = 0.0;
                    scores.upper[point] = verdict.allowed * limit;
                }
                if !verdict.abnormal {
                    continue;
                }
                observations.push(Observation {
                    series: part.series,
                    time,
                    kind: Kind::Trend,
                    rising: true,
                    score: verdict.score,
                    confidence: verdict.confidence,
                    value,
                    expected: value.min(verdict.allowed * limit),
                    lower: 0.0,
                    upper: verdict.allowed * limit,
                    reason: verdict.reason(),
                    extra: verdict
                        .eta_ms
                        .map(|eta_ms| ("eta_ms".to_string(), format!("{eta_ms:.0}")))
                        .into_iter()
                        .collect(),
                });
            }
        }
        Ok(Output { observations, scores })
    }

    fn snapshot(&self) -> State {
        let mut to = Writer::new();
        self.series.write(&mut to);
        State { format: FORMAT, bytes: to.into_bytes() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        if state.format != FORMAT {
            return Err(format!("the snapshot has layout {}; this version reads {FORMAT}", state.format));
        }
        self.series.read(&mut Reader::new(&state.bytes))
    }
}

salve_plugin::export_detector!(Saturation);

#[cfg(test)]
mod tests;
