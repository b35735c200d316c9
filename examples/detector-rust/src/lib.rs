//! Multi-window, multi-burn-rate alerts on error ratios: finds the series that spend the error budget of their objective too fast.
//!
//! A rule has two windows and a burn rate. It alerts if in the long one enough of the budget was spent to matter, and the short one shows
//! that it is still being spent; so neither a blip nor what is over wakes anybody. Several rules find an outage within a minute and a
//! slow leak within hours.
//!
//! Source: B. Beyer et al., "The Site Reliability Workbook" (2018), chapter 5 "Alerting on SLOs". It departs from it in one thing: a
//! series of ratios does not say how many requests are behind a point, so points weigh by the time they stand for.
//!
//! ## What always holds
//! - time and memory of a point do not depend on the history: 48 bytes a series, and while something has failed 488 for each rule
//!   (a long window of twelve short ones)
//! - what was not seen spends nothing: gaps, late points, the time before the first point
//! - the same batches give the same answers
//!
//! Not here: points that do not come (`absence`), what is usual (`holt-winters`), what spends the budget (agents).

pub mod budget;
pub mod parameters;
mod words;

use budget::{Budget, Standing, Windows};
use parameters::Parameters;
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
pub struct BurnRate {
    parameters: Parameters,
    windows: Windows,
    series: SeriesTable<Budget>,
}

impl Detector for BurnRate {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self, String> {
        parameters.check()?;
        let windows = Windows::new(&parameters);
        Ok(Self { parameters, windows, series: SeriesTable::default() })
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        let Self { windows, series, .. } = self;
        series.update(batch, |_| Budget::default(), |_, known| known.fit(windows));
        let mut output = Output {
            observations: Vec::new(),
            scores: batch.scores.then(|| Scores::zeroed(batch.values.len())),
        };
        for part in batch.by_series()? {
            let Some(budget) = series.get_mut(part.series) else { continue };
            for point in part.points {
                // The host sends no such numbers; a ratio outside of 0 to 1 is a sender's mistake.
                let ratio = batch.values[point];
                if !ratio.is_finite() {
                    continue;
                }
                let (time, ratio) = (batch.times[point], ratio.clamp(0.0, 1.0));
                let after_gap = batch.point_flags[point] & FLAG_AFTER_GAP != 0;
                let is_newest = budget.take(windows, batch.now, time, ratio, after_gap);
                if !budget.has_spent() && output.scores.is_none() {
                    continue;
                }
                let standing = budget.standing(windows);
                if let Some(scores) = &mut output.scores {
                    scores.score[point] = score(&standing);
                    scores.confidence[point] = confidence(&standing);
                    scores.expected[point] = windows.budget;
                    scores.upper[point] = limit(&standing, windows);
                }
                if is_newest && standing.excess >= 1.0 {
                    output.observations.push(observation(part.series, time, &standing, windows));
                }
            }
        }
        Ok(output)
    }

    fn snapshot(&self) -> State {
        let mut to = Writer::new();
        to.u32(self.parameters.rules.len() as u32);
        for rule in &self.parameters.rules {
            to.u64(rule.long_ms);
            to.u64(rule.short_ms);
        }
        self.series.write(&mut to);
        State { format: FORMAT, bytes: to.into_bytes() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        if state.format != FORMAT {
            return Err(format!("the snapshot has layout {}; this version reads {FORMAT}", state.format));
        }
        let mut from = Reader::new(&state.bytes);
        let rules = &self.parameters.rules;
        let mut same = from.u32()? as usize == rules.len();
        for rule in rules {
            same = same && from.u64()? == rule.long_ms && from.u64()? == rule.short_ms;
        }
        if !same {
            salve_plugin::info!("the snapshot is of other windows, so what was spent is counted afresh");
            return Ok(());
        }
        self.series.read(&mut from)
    }
}

/// 0.5 is where a rule alerts.
fn score(standing: &Standing) -> f32 {
    (standing.excess / (1.0 + standing.excess)) as f32
}

/// A young series has had less time to show what it spends.
fn confidence(standing: &Standing) -> f32 {
    (0.5 + standing.known / 2.0) as f32
}

/// The mean ratio over the long window at which the rule alerts.
fn limit(standing: &Standing, windows: &Windows) -> f64 {
    standing.burn_rate * windows.budget
}

#[cold]
fn observation(series: u32, time: u64, standing: &Standing, windows: &Windows) -> Observation {
    Observation {
        series,
        time,
        kind: Kind::LevelShift,
        rising: true,
        score: score(standing),
        confidence: confidence(standing),
        value: standing.long_ratio,
        expected: windows.budget,
        lower: 0.0,
        upper: limit(standing, windows),
        reason: words::reason(standing, windows.budget),
        extra: Vec::new(),
    }
}

salve_plugin::export_detector!(BurnRate);

#[cfg(test)]
mod tests;
