//! Notices points that should have come and did not.
//!
//! Each series teaches its usual interval. Once nothing came for `k` intervals, and at least `minimum_ms`, every batch,
//! also an empty one, gives an observation until a point comes or the series is removed.
//!
//! ## What always holds
//! - time is the host's, as batches bring it: when points *arrive*, whatever clock their sender has
//! - if the host itself slept, nothing is missing: time counts at most `batch_gap_max_ms` from one batch to the next
//! - a series that a newer one of its group replaced is not missing (a process that came back under another name)
//! - a series that stops and comes back as a habit is missing only once it stays away longer than it used to
//!
//! Not here: what the absence means. A caller that fell silent takes the traffic series of all that it called with it.

pub mod arrivals;

use arrivals::{Arrivals, Parameters};
use salve_plugin::{
    codec::{Reader, Writer},
    detector::Scores,
    prelude::*,
    series::SeriesTable,
};
use std::collections::BTreeMap;

/// Layout of snapshots.
const FORMAT: u32 = 1;

/// The detector.
#[derive(Debug)]
pub struct Absence {
    parameters: Parameters,
    series: SeriesTable<Arrivals>,
    /// Milliseconds that count, and the host's time of the last batch.
    clock_ms: u64,
    last_batch: Option<u64>,
    /// For each group, when its newest member began.
    newest: BTreeMap<u32, u64>,
}

impl Absence {
    /// Moves the clock to a batch.
    fn advance(&mut self, now: u64) {
        let passed_ms = now.saturating_sub(self.last_batch.unwrap_or(now)) / 1_000_000;
        // A snapshot may hold any time.
        self.clock_ms = self.clock_ms.saturating_add(passed_ms.min(self.parameters.batch_gap_max_ms));
        self.last_batch = Some(now);
    }
}

impl Detector for Absence {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self, String> {
        parameters.check()?;
        Ok(Self {
            parameters,
            series: SeriesTable::default(),
            clock_ms: 0,
            last_batch: None,
            newest: BTreeMap::new(),
        })
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        self.advance(batch.now);
        let Self { parameters, series, clock_ms, newest, .. } = self;
        let now_ms = *clock_ms;
        // Restored series are not new: their silence goes on where it was.
        series.update(
            batch,
            |added| Arrivals::new(added.group),
            |added, restored| restored.group = added.group,
        );
        for part in batch.by_series()? {
            if let Some(arrivals) = series.get_mut(part.series) {
                if arrivals.is_new() {
                    newest.insert(arrivals.group, now_ms);
                }
                arrivals.arrive(parameters, now_ms, part.points.len());
            }
        }
        let mut observations = Vec::new();
        for (id, arrivals) in series.iter_mut() {
            let replaced = newest.get(&arrivals.group).is_some_and(|began| *began > arrivals.last_ms());
            let Some(silence) = arrivals.silence(parameters, now_ms).filter(|_| !replaced) else { continue };
            let seconds = |ms: f64| ms / 1_000.0;
            observations.push(Observation {
                series: id,
                time: batch.now,
                kind: Kind::Missing,
                rising: true,
                score: silence.score,
                confidence: silence.confidence,
                value: seconds(silence.elapsed_ms),
                expected: seconds(silence.interval_ms),
                lower: 0.0,
                upper: seconds(silence.allowed_ms),
                reason: format!(
                    "no point for {:.1} s, one every {:.1} s is usual",
                    seconds(silence.elapsed_ms),
                    seconds(silence.interval_ms)
                ),
                extra: Vec::new(),
            });
        }
        // Points that came are never abnormal here.
        let scores = batch.scores.then(|| Scores {
            expected: batch.values.clone(),
            lower: batch.values.clone(),
            upper: batch.values.clone(),
            ..Scores::zeroed(batch.values.len())
        });
        Ok(Output { observations, scores })
    }

    fn snapshot(&self) -> State {
        let mut to = Writer::new();
        to.u64(self.clock_ms);
        self.series.write(&mut to);
        State { format: FORMAT, bytes: to.into_bytes() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        if state.format != FORMAT {
            return Err(format!("the snapshot has layout {}; this version reads {FORMAT}", state.format));
        }
        let mut from = Reader::new(&state.bytes);
        let clock_ms = from.u64()?;
        self.series.read(&mut from)?;
        // The time between snapshot and restore does not count: nobody was there to see a point.
        self.clock_ms = clock_ms;
        self.last_batch = None;
        Ok(())
    }
}

salve_plugin::export_detector!(Absence);

#[cfg(test)]
mod tests;
