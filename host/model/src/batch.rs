//! New points of many series, as columns: what signals hand to detectors. See `detect` in the contract.

use crate::{
    Attributes,
    telemetry::{ObservationKind, SeriesRef},
};

/// Bit of [`Batch::point_flags`]: first point after a gap or a counter reset.
pub const FLAG_AFTER_GAP: u8 = 1;

/// A series that a detector instance sees for the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesAdded {
    /// Id within the instance; dense from 0, reused after removal.
    pub id: u32,
    /// Who it is, for the host.
    pub series: SeriesRef,
    /// Peers have the same number.
    pub group: u32,
    /// A known capacity in the series' unit.
    pub limit: Option<f64>,
    /// What the guest sees as attributes: `series.attributes` with `service.name`.
    pub attributes: Attributes,
}

/// One batch for one detector instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Rises by one with each batch of this instance.
    pub sequence: u64,
    /// Unix nanoseconds.
    pub now: u64,
    /// New series.
    pub added: Vec<SeriesAdded>,
    /// Ids that are free again.
    pub removed: Vec<u32>,
    /// Ids, each at most once; `series[i]` owns the points `offsets[i]..offsets[i + 1]`.
    pub series: Vec<u32>,
    /// One longer than `series`; `[0]` if there is none.
    pub offsets: Vec<u32>,
    /// Event times, Unix nanoseconds.
    pub times: Vec<u64>,
    /// Always finite.
    pub values: Vec<f64>,
    /// One per point.
    pub point_flags: Vec<u8>,
    /// Whether dense scores are asked for.
    pub scores: bool,
}

/// What a detector said about one point, checked: finite, scores within 0 to 1, a series of this instance.
#[derive(Debug, Clone, PartialEq)]
pub struct RawObservation {
    /// Id within the instance.
    pub series: u32,
    /// Unix nanoseconds.
    pub time: u64,
    /// In which way.
    pub kind: ObservationKind,
    /// Above rather than below.
    pub rising: bool,
    /// 0 to 1.
    pub score: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// Measured.
    pub value: f64,
    /// Expected.
    pub expected: f64,
    /// Normal range.
    pub lower: f64,
    /// Normal range.
    pub upper: f64,
    /// One sentence, escaped.
    pub reason: String,
}

/// Dense columns, one entry per point of the batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// 0 to 1.
    pub score: Vec<f32>,
    /// 0 to 1.
    pub confidence: Vec<f32>,
    /// Expected values.
    pub expected: Vec<f64>,
    /// Normal range.
    pub lower: Vec<f64>,
    /// Normal range.
    pub upper: Vec<f64>,
}

/// What a detector gives back for a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectorOutput {
    /// Sparse.
    pub observations: Vec<RawObservation>,
    /// If asked for.
    pub scores: Option<Scores>,
    /// Observations that the host threw away because they made no sense (unknown series, NaN, too many).
    pub refused: u64,
}
