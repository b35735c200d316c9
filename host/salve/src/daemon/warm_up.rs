//! Past points as batches, so that a detector that has learnt nothing yet can learn before it speaks.

use salve_model::batch::{Batch, SeriesAdded};
use salve_signals::SeriesPast;
use std::collections::BTreeMap;

/// Newest points of each series that are shown.
pub const POINTS_OF_SERIES_MAX: usize = 500;
/// Points of one batch, so that no batch takes a detector longer than its usual ones.
const POINTS_OF_BATCH_MAX: usize = 2_000;
/// Points of all batches together; of more, each series gives fewer.
const POINTS_MAX: usize = 200_000;

/// What is shown to a new instance of a shard: `series` as it knows them, and of `past` what its predecessor has been shown
/// already. Later points come with the next batch, so that none is seen twice.
///
/// Batches follow each other in time, as they did when the points came; the first one introduces all series.
/// `seen_until`: by id, time of the newest point that the predecessor was shown, Unix nanoseconds.
#[must_use]
pub fn batches(series: &[SeriesAdded], past: &[SeriesPast], seen_until: &[u64], now: u64) -> Vec<Batch> {
    let known: BTreeMap<u32, &SeriesAdded> = series.iter().map(|added| (added.id, added)).collect();
    let each = (POINTS_MAX / past.len().max(1)).clamp(1, POINTS_OF_SERIES_MAX);
    let mut points: Vec<(u64, u32, f64)> = Vec::new();
    for of_series in past {
        // An id may mean another series by now.
        if known.get(&of_series.id).is_none_or(|added| added.series.key != of_series.key) {
            continue;
        }
        let until = seen_until.get(of_series.id as usize).copied().unwrap_or(0);
        let shown: Vec<_> = of_series
            .points
            .iter()
            .map(|(time_ms, value)| (time_ms.saturating_mul(1_000_000), of_series.id, *value))
            .filter(|(time, _, value)| *time <= until && value.is_finite())
            .collect();
        points.extend(&shown[shown.len().saturating_sub(each)..]);
    }
    points.sort_by_key(|(time, id, _)| (*time, *id));
    let mut batches: Vec<Batch> = points.chunks(POINTS_OF_BATCH_MAX).map(columns).collect();
    if batches.is_empty() {
        batches.push(Batch { now, offsets: vec![0], ..Batch::default() });
    }
    if let Some(first) = batches.first_mut() {
        first.added = series.to_vec();
    }
    batches
}

/// One batch of points that are in the order of their times.
fn columns(points: &[(u64, u32, f64)]) -> Batch {
    let mut of_series = BTreeMap::<u32, Vec<(u64, f64)>>::new();
    for (time, id, value) in points {
        of_series.entry(*id).or_default().push((*time, *value));
    }
    let mut batch = Batch {
        now: points.last().map_or(0, |(time, _, _)| *time),
        offsets: vec![0],
        point_flags: vec![0; points.len()],
        ..Batch::default()
    };
    for (id, points) in of_series {
        batch.series.push(id);
        batch.times.extend(points.iter().map(|(time, _)| time));
        batch.values.extend(points.iter().map(|(_, value)| value));
        // Bounded by `POINTS_OF_BATCH_MAX`.
        batch.offsets.push(u32::try_from(batch.times.len()).unwrap_or(u32::MAX));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::{
        Attributes, Tenant,
        telemetry::{SeriesKey, SeriesRef},
    };

    fn series(id: u32) -> SeriesAdded {
        let series = SeriesRef {
            key: SeriesKey(u64::from(id) + 100),
            tenant: Tenant::default(),
            service: "shop".into(),
            name: format!("series.{id}"),
            unit: "1".into(),
            attributes: Attributes::new(),
        };
        SeriesAdded { id, series, group: 0, limit: None, attributes: Attributes::new() }
    }

    /// Guarantees: each point that the predecessor saw is shown once, in the order of time over all batches; no later point
    /// is shown, nor one of a series whose id means another one now; and all series are introduced once, in the first batch.
    #[test]
    fn what_was_seen_is_shown_once() {
        let all = [series(0), series(1)];
        let past = |id: u32, key: u64| SeriesPast {
            id,
            key: SeriesKey(key),
            points: (1..=3_000_u64).map(|ms| (ms, (ms * 10 + u64::from(id)) as f64)).collect(),
        };
        let seen_until = [2_000_000_000, 2_900_000_000];
        let shown = batches(&all, &[past(0, 100), past(1, 101), past(0, 7)], &seen_until, 9);
        let mut seen = BTreeMap::<u32, Vec<u64>>::new();
        let mut newest = 0;
        for (index, batch) in shown.iter().enumerate() {
            assert_eq!(batch.added.len(), if index == 0 { 2 } else { 0 });
            assert_eq!(
                (batch.series.len() + 1, batch.times.len()),
                (batch.offsets.len(), batch.values.len())
            );
            assert!(
                batch.times.iter().all(|time| *time >= newest && *time <= batch.now),
                "in the order of time"
            );
            newest = batch.now;
            for (series, range) in batch.series.iter().zip(batch.offsets.windows(2)) {
                seen.entry(*series).or_default().extend(&batch.times[range[0] as usize..range[1] as usize]);
            }
        }
        let times = |last_ms: u64| (last_ms - 499..=last_ms).map(|ms| ms * 1_000_000).collect::<Vec<_>>();
        assert_eq!(seen, BTreeMap::from([(0, times(2_000)), (1, times(2_900))]));

        let nothing = batches(&all, &[], &[], 9);
        assert_eq!((nothing.len(), nothing[0].now, nothing[0].added.len()), (1, 9, 2));
    }
}
