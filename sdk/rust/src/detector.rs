//! Detectors: long-lived instances that see points and say what is abnormal.

pub use crate::bindings::detector::exports::salve::plugin::detect::{
    Batch, Observation, Output, Scores, Series, State,
};
use serde::de::DeserializeOwned;
use std::ops::Range;

/// Bit of a point's flags: first after a gap or a counter reset.
pub const FLAG_AFTER_GAP: u8 = 1;

/// A detector. One instance lives long and owns a shard of series.
///
/// Its only clock is [`Batch::now`]: a detector that is given the same batches says the same things.
pub trait Detector: Sized + 'static {
    /// The parameters of the operator's binding. The host has checked them against the manifest's schema.
    type Parameters: DeserializeOwned;

    /// Called once, first.
    ///
    /// # Errors
    /// One sentence for a person: which parameter makes no sense, and what would.
    fn new(parameters: Self::Parameters) -> Result<Self, String>;

    /// Takes a batch: first `removed`, then `added`, then the points. May be empty, so that absence is noticed.
    ///
    /// # Errors
    /// One sentence for a person. The host then tries the series one by one and sets aside the one at fault.
    fn observe(&mut self, batch: &Batch) -> Result<Output, String>;

    /// All that must survive a restart. The host calls it every minute.
    fn snapshot(&self) -> State;

    /// Takes over a snapshot in place of a cold start. Series ids are new afterwards: the host sends `added` for all
    /// series again, so state is found by the series' identity (see [`crate::series::SeriesTable`]).
    ///
    /// # Errors
    /// One sentence for a person, if `state.format` or its bytes are not understood. The host then starts cold.
    fn restore(&mut self, state: &State) -> Result<(), String>;
}

/// The points of one series within a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesPoints {
    /// The series' id.
    pub series: u32,
    /// Where its points lie in the batch's columns.
    pub points: Range<usize>,
}

impl Batch {
    /// Series with new points, in the order of the columns.
    ///
    /// # Errors
    /// If the columns do not fit together. The host never sends such a batch.
    pub fn by_series(&self) -> Result<impl Iterator<Item = SeriesPoints>, String> {
        let count = self.values.len();
        let fits = self.times.len() == count
            && self.point_flags.len() == count
            && (self.series.is_empty() || self.offsets.len() == self.series.len() + 1)
            && self.offsets.last().is_none_or(|end| *end as usize == count)
            && self.offsets.is_sorted();
        if !fits {
            return Err(format!("the columns of batch {} do not fit together", self.sequence));
        }
        Ok(self.series.iter().zip(self.offsets.windows(2)).map(|(series, ends)| SeriesPoints {
            series: *series,
            points: ends[0] as usize..ends[1] as usize,
        }))
    }
}

impl Scores {
    /// Columns for `points` points, of score 0 and nothing known.
    #[must_use]
    pub fn zeroed(points: usize) -> Self {
        Self {
            score: vec![0.0; points],
            confidence: vec![0.0; points],
            expected: vec![0.0; points],
            lower: vec![0.0; points],
            upper: vec![0.0; points],
        }
    }
}
