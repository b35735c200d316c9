//! What a detector says, checked: a stranger's numbers become observations only if they make sense.

use super::{columns::Columns, scores_of};
use crate::bindings::{exports::salve::plugin::detect, salve::plugin::types::Kind};
use salve_model::{
    batch::{DetectorOutput, RawObservation, Scores},
    telemetry::ObservationKind,
    text::escape,
};
use std::collections::BTreeSet;

/// Longest sentence.
const REASON_CHARS_MAX: usize = 300;

/// Keeps what makes sense and counts the rest.
pub(super) fn check(
    output: detect::Output,
    points: usize,
    scores_wanted: bool,
    present: &BTreeSet<u32>,
) -> DetectorOutput {
    // One for each point, and one for each series that has none.
    let most = points.saturating_add(present.len());
    let mut checked = DetectorOutput::default();
    for observation in output.observations {
        if checked.observations.len() < most
            && present.contains(&observation.series)
            && is_sensible(&observation)
        {
            checked.observations.push(convert(observation));
        } else {
            checked.refused += 1;
        }
    }
    if scores_wanted {
        checked.scores = output.scores.and_then(|scores| check_scores(scores, points));
        if checked.scores.is_none() {
            checked.refused += 1;
        }
    }
    checked
}

/// Finite, and scores within 0 to 1.
fn is_sensible(observation: &detect::Observation) -> bool {
    let numbers = [observation.value, observation.expected, observation.lower, observation.upper];
    let shares = [observation.score, observation.confidence];
    numbers.iter().all(|number| number.is_finite()) && shares.iter().all(|share| (0.0..=1.0).contains(share))
}

fn convert(observation: detect::Observation) -> RawObservation {
    RawObservation {
        series: observation.series,
        time: observation.time,
        kind: match observation.kind {
            Kind::Point => ObservationKind::Point,
            Kind::LevelShift => ObservationKind::LevelShift,
            Kind::Trend => ObservationKind::Trend,
            Kind::SeasonalBreak => ObservationKind::SeasonalBreak,
            Kind::Missing => ObservationKind::Missing,
        },
        rising: observation.rising,
        score: observation.score,
        confidence: observation.confidence,
        value: observation.value,
        expected: observation.expected,
        lower: observation.lower,
        upper: observation.upper,
        reason: escape(&observation.reason, REASON_CHARS_MAX),
    }
}

/// All or nothing: columns of the right length with nothing but finite numbers.
fn check_scores(scores: detect::Scores, points: usize) -> Option<Scores> {
    let shares = [&scores.score, &scores.confidence];
    let numbers = [&scores.expected, &scores.lower, &scores.upper];
    let sensible = shares
        .iter()
        .all(|column| column.len() == points && column.iter().all(|share| (0.0..=1.0).contains(share)))
        && numbers
            .iter()
            .all(|column| column.len() == points && column.iter().all(|number| number.is_finite()));
    let detect::Scores { score, confidence, expected, lower, upper } = scores;
    sensible.then_some(Scores { score, confidence, expected, lower, upper })
}

/// Scores of a batch of which nothing has been scored yet.
pub(super) fn no_scores(points: usize) -> Scores {
    scores_of(points)
}

/// Adds what was said of a part to what was said of the whole. `part` is scattered already.
pub(super) fn merge(whole: &mut DetectorOutput, part: DetectorOutput, columns: &Columns) {
    whole.observations.extend(part.observations);
    whole.refused += part.refused;
    if let (Some(all), Some(scores)) = (&mut whole.scores, &part.scores) {
        columns.gather_into(all, scores);
    }
}
