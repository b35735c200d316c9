//! What detectors say about series.

use crate::{Attributes, Tenant, time::EventTime};
use serde::{Deserialize, Serialize};

/// The lasting name of a series: a hash of tenant, resource, scope, name, unit and attributes. Equal across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesKey(pub u64);

/// Who a series is, for people, policies and the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRef {
    /// Lasting name.
    pub key: SeriesKey,
    /// Owner.
    pub tenant: Tenant,
    /// `service.name` of the resource; empty if it has none.
    pub service: String,
    /// For instance `salve.span.error_ratio`.
    pub name: String,
    /// UCUM unit.
    pub unit: String,
    /// Resource and point attributes together, without `service.name`.
    pub attributes: Attributes,
}

/// The ways in which a series can be abnormal; see `types.kind` in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservationKind {
    /// One or a few points outside their bounds.
    Point,
    /// The level has moved and stays.
    LevelShift,
    /// It moves towards a limit.
    Trend,
    /// A pattern that repeats did not come.
    SeasonalBreak,
    /// Points that should have come did not.
    Missing,
}

/// One abnormal point, as a detector reported it and the host checked it (all numbers finite, scores in 0 to 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Which series.
    pub series: SeriesRef,
    /// Which detector binding said so.
    pub detector: String,
    /// When the point was measured.
    pub time: EventTime,
    /// In which way.
    pub kind: ObservationKind,
    /// Above rather than below what was expected.
    pub rising: bool,
    /// How abnormal, 0 to 1; from 0.5 on it counts.
    pub score: f32,
    /// How much the detector trusts its model, 0 to 1.
    pub confidence: f32,
    /// What was measured.
    pub value: f64,
    /// What the model expected.
    pub expected: f64,
    /// Lower end of the normal range.
    pub lower: f64,
    /// Upper end of the normal range.
    pub upper: f64,
    /// One sentence, escaped for printing.
    pub reason: String,
}

/// One point of a series that the core watches (see `Effect::Watch`), sent whether or not it was abnormal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Which series.
    pub series: SeriesKey,
    /// When it was measured.
    pub time: EventTime,
    /// What was measured.
    pub value: f64,
    /// Some detector reported this point with a score of at least 0.5.
    pub abnormal: bool,
}

/// Something that was changed in the world, by Salve or by somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was noticed.
    pub time: EventTime,
    /// Which service it concerns, if known.
    pub service: Option<String>,
    /// Which target, if known.
    pub target: Option<crate::TargetId>,
    /// For instance `config`.
    pub kind: String,
    /// For instance the key.
    pub what: String,
    /// Value before, redacted where it is secret.
    pub before: Option<String>,
    /// Value after, redacted where it is secret.
    pub after: Option<String>,
    /// `salve` or `other`.
    pub author: String,
}
