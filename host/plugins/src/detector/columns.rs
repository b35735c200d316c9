//! A selection of a batch's columns, and the way back.

use super::scores_of;
use salve_model::batch::{Batch, DetectorOutput, Scores};

/// Columns of some of a batch's series.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) series: Vec<u32>,
    pub(super) offsets: Vec<u32>,
    pub(super) times: Vec<u64>,
    pub(super) values: Vec<f64>,
    pub(super) point_flags: Vec<u8>,
    /// Where in the batch each point stands.
    origins: Vec<usize>,
}

impl Columns {
    /// Copies the series that `wanted` picks, in their order. Offsets that do not fit the columns select nothing.
    pub(super) fn select(batch: &Batch, wanted: impl Fn(u32) -> bool) -> Self {
        let mut columns = Self { offsets: vec![0], ..Self::default() };
        let bounds = batch.offsets.iter().zip(batch.offsets.iter().skip(1));
        for (&id, (&from, &to)) in batch.series.iter().zip(bounds) {
            if !wanted(id) {
                continue;
            }
            let (from, to) = (index(from), index(to));
            let points =
                (batch.times.get(from..to), batch.values.get(from..to), batch.point_flags.get(from..to));
            let (Some(times), Some(values), Some(flags)) = points else { continue };
            columns.series.push(id);
            columns.times.extend_from_slice(times);
            columns.values.extend_from_slice(values);
            columns.point_flags.extend_from_slice(flags);
            columns.origins.extend(from..to);
            columns.offsets.push(u32::try_from(columns.times.len()).unwrap_or(u32::MAX));
        }
        columns
    }

    /// `output` for these columns as output for a batch of `points` points: scores stand where their points stand, with
    /// no confidence elsewhere.
    pub(super) fn scatter(&self, mut output: DetectorOutput, points: usize) -> DetectorOutput {
        if let Some(scores) = output.scores.take() {
            let mut all = scores_of(points);
            self.scatter_into(&mut all, &scores);
            output.scores = Some(all);
        }
        output
    }

    /// Writes scores of these columns where their points stand in the batch.
    pub(super) fn scatter_into(&self, all: &mut Scores, part: &Scores) {
        fn put<T: Copy>(origins: &[usize], from: &[T], to: &mut [T]) {
            for (&origin, &value) in origins.iter().zip(from) {
                if let Some(place) = to.get_mut(origin) {
                    *place = value;
                }
            }
        }
        put(&self.origins, &part.score, &mut all.score);
        put(&self.origins, &part.confidence, &mut all.confidence);
        put(&self.origins, &part.expected, &mut all.expected);
        put(&self.origins, &part.lower, &mut all.lower);
        put(&self.origins, &part.upper, &mut all.upper);
    }
}

impl Columns {
    /// Copies the scores of these columns' points from one whole batch's scores to another's.
    pub(super) fn gather_into(&self, all: &mut Scores, scattered: &Scores) {
        fn copy<T: Copy>(origins: &[usize], from: &[T], to: &mut [T]) {
            for &origin in origins {
                if let (Some(&value), Some(place)) = (from.get(origin), to.get_mut(origin)) {
                    *place = value;
                }
            }
        }
        copy(&self.origins, &scattered.score, &mut all.score);
        copy(&self.origins, &scattered.confidence, &mut all.confidence);
        copy(&self.origins, &scattered.expected, &mut all.expected);
        copy(&self.origins, &scattered.lower, &mut all.lower);
        copy(&self.origins, &scattered.upper, &mut all.upper);
    }
}

/// Offsets are 32 bits wide, and so are ours at least.
fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a selection has exactly the points of its series, in order, and their scores find the way back.
    #[test]
    fn selects_and_scatters() {
        let batch = Batch {
            series: vec![7, 8, 9],
            offsets: vec![0, 2, 2, 5],
            times: vec![1, 2, 3, 4, 5],
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            point_flags: vec![0, 1, 0, 0, 1],
            ..Batch::default()
        };
        let columns = Columns::select(&batch, |id| id != 7);
        assert_eq!(columns.series, [8, 9]);
        assert_eq!(columns.offsets, [0, 0, 3]);
        assert_eq!(columns.values, [3.0, 4.0, 5.0]);
        assert_eq!(columns.point_flags, [0, 0, 1]);

        let mut scores = scores_of(3);
        scores.score = vec![0.1, 0.2, 0.3];
        let output = columns.scatter(DetectorOutput { scores: Some(scores), ..Default::default() }, 5);
        assert_eq!(output.scores.unwrap().score, [0.0, 0.0, 0.1, 0.2, 0.3]);
    }

    /// Guarantees: offsets that point nowhere select nothing, and nothing panics.
    #[test]
    fn wrong_offsets_select_nothing() {
        let batch =
            Batch { series: vec![1, 2], offsets: vec![5, 1, 900], times: vec![1], ..Batch::default() };
        assert!(Columns::select(&batch, |_| true).series.is_empty());
    }
}
