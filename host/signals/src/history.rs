//! The recent past of one series: a point a step for all, every point for those that matter.
//!
//! ## What always holds
//! - at most `points` steps and `fine_points` points, give or take a fifth that saves copying; the oldest leave first
//! - times rise strictly within a tier; they are kept to the millisecond
//! - values are finite, because [`crate::store`] lets no others in

use crate::{config::SignalsConfig, gorilla::Block};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryLimits {
    step_ms: u64,
    points: usize,
    fine_points: usize,
}

impl From<&SignalsConfig> for HistoryLimits {
    fn from(config: &SignalsConfig) -> Self {
        Self {
            step_ms: config.history_step_ms.max(1),
            points: config.history_points.max(1) as usize,
            fine_points: config.history_fine_points as usize,
        }
    }
}

/// The recent past of one series.
#[derive(Debug, Default)]
pub(crate) struct History {
    steps: Block,
    open: Option<Step>,
    fine: Option<Box<Block>>,
}

/// The newest step, not yet over.
#[derive(Debug, Clone, Copy)]
struct Step {
    index: u64,
    newest_ms: u64,
    mean: f64,
    count: u32,
}

impl Step {
    fn take_in(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let mean = self.mean + (value - self.mean) / f64::from(self.count);
        // Values at both ends of the range overflow; the newest then stands for the step.
        self.mean = if mean.is_finite() { mean } else { value };
    }
}

/// What became of a point older than the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It is kept.
    Kept,
    /// A point of that millisecond is there already.
    Duplicate,
    /// Its step is over and has a value, or it is older than all that is kept.
    Dropped,
}

impl History {
    /// From now on every point is kept.
    pub(crate) fn keep_fine(&mut self) {
        self.fine.get_or_insert_default();
    }

    /// True if every point is kept.
    pub(crate) fn is_fine(&self) -> bool {
        self.fine.is_some()
    }

    /// Adds a point newer than all others.
    pub(crate) fn push(&mut self, time_ms: u64, value: f64, limits: HistoryLimits) {
        if let Some(fine) = &mut self.fine {
            fine.push(time_ms, value);
            trim(fine, limits.fine_points);
        }
        let index = time_ms / limits.step_ms;
        match &mut self.open {
            Some(step) if step.index == index => {
                step.newest_ms = time_ms;
                step.take_in(value);
            }
            open => {
                let over = open.replace(Step { index, newest_ms: time_ms, mean: value, count: 1 });
                if let Some(step) = over {
                    self.steps.push(step.newest_ms, step.mean);
                    trim(&mut self.steps, limits.points);
                }
            }
        }
    }

    /// Adds a point older than the newest.
    pub(crate) fn push_late(&mut self, time_ms: u64, value: f64, limits: HistoryLimits) -> Late {
        let mut fate = Late::Dropped;
        if let Some(fine) = &mut self.fine {
            fate = insert(fine, time_ms, value, limits.fine_points, |other| other == time_ms);
        }
        let index = time_ms / limits.step_ms;
        let coarse = match &mut self.open {
            Some(step) if step.index == index && step.newest_ms == time_ms => Late::Duplicate,
            Some(step) if step.index == index => {
                if fate != Late::Duplicate {
                    step.take_in(value);
                }
                Late::Kept
            }
            _ => insert(&mut self.steps, time_ms, value, limits.points, |other| {
                other / limits.step_ms == index
            }),
        };
        if self.is_fine() && fate != Late::Dropped { fate } else { coarse }
    }

    /// Points from `from_ms` to before `to_ms`, oldest first: every one as far back as they are kept, steps before.
    pub(crate) fn points(&self, from_ms: u64, to_ms: u64) -> Vec<(u64, f64)> {
        let fine_from =
            self.fine.as_ref().and_then(|fine| fine.iter().next()).map_or(u64::MAX, |first| first.0);
        let open = self.open.map(|step| (step.newest_ms, step.mean));
        let steps = self.steps.iter().chain(open).filter(|(time_ms, _)| *time_ms < fine_from);
        let fine = self.fine.iter().flat_map(|fine| fine.iter());
        steps.chain(fine).filter(|(time_ms, _)| (from_ms..to_ms).contains(time_ms)).collect()
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let fine = self.fine.as_ref().map_or(0, |fine| size_of::<Block>() + fine.heap_bytes());
        self.steps.heap_bytes() + fine
    }
}

/// Lets the oldest go, a fifth at a time.
fn trim(block: &mut Block, keep: usize) {
    if block.len() > keep + keep / 5 + 4 {
        *block = block.newest(keep);
    }
}

fn insert(block: &mut Block, time_ms: u64, value: f64, keep: usize, taken: impl Fn(u64) -> bool) -> Late {
    let mut points: Vec<(u64, f64)> = block.iter().collect();
    let at = points.partition_point(|(other, _)| *other < time_ms);
    let neighbours =
        [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|index| points.get(index));
    for (other, _) in neighbours {
        if taken(*other) {
            return if *other == time_ms { Late::Duplicate } else { Late::Dropped };
        }
    }
    if at == 0 && points.len() >= keep {
        return Late::Dropped;
    }
    points.insert(at, (time_ms, value));
    *block = points.into_iter().collect();
    trim(block, keep);
    Late::Kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(step_ms: u64, points: u32, fine_points: u32) -> HistoryLimits {
        let config = SignalsConfig {
            history_step_ms: step_ms,
            history_points: points,
            history_fine_points: fine_points,
            ..SignalsConfig::default()
        };
        (&config).into()
    }

    /// Scenario: a point a second at a step of ten seconds.
    /// Guarantees: steps hold means at the time of their newest point; every point is there from the moment it is asked for.
    #[test]
    fn steps_then_every_point() {
        let (mut history, limits) = (History::default(), limits(10_000, 120, 100));
        for second in 0..25_u64 {
            history.push(second * 1_000, second as f64, limits);
        }
        assert_eq!(history.points(0, u64::MAX), [(9_000, 4.5), (19_000, 14.5), (24_000, 22.0)]);
        history.keep_fine();
        history.push(25_000, 1.0, limits);
        history.push(26_000, 2.0, limits);
        assert_eq!(
            history.points(10_000, u64::MAX),
            [(19_000, 14.5), (25_000, 1.0), (26_000, 2.0)],
            "the open step's mean gives way to its points"
        );
        assert_eq!(history.points(25_000, 26_000), [(25_000, 1.0)], "the end is not included");
    }

    /// Guarantees: a late point enters once, and only where its step has no value yet.
    #[test]
    fn late_points() {
        let (mut history, limits) = (History::default(), limits(1_000, 5, 5));
        for second in [1_u64, 2, 4, 5] {
            history.push(second * 1_000, 1.0, limits);
        }
        assert_eq!(history.push_late(3_000, 9.0, limits), Late::Kept);
        assert_eq!(history.push_late(3_000, 9.0, limits), Late::Duplicate);
        assert_eq!(history.push_late(3_500, 9.0, limits), Late::Dropped);
        assert_eq!(history.points(3_000, 4_000), [(3_000, 9.0)]);
    }

    proptest! {
        /// Guarantees: memory is bounded and times rise strictly, whatever comes.
        #[test]
        fn bounded_and_ordered(times in prop::collection::vec(0_u64..100_000, 1..400), fine in any::<bool>()) {
            let (mut history, limits) = (History::default(), limits(500, 20, 30));
            if fine { history.keep_fine(); }
            let mut newest = None;
            for time in times {
                match newest {
                    Some(before) if time == before => {}
                    Some(before) if time < before => { history.push_late(time, 1.0, limits); }
                    _ => { history.push(time, 1.0, limits); newest = Some(time); }
                }
                prop_assert!(history.steps.len() <= 29, "{}", history.steps.len());
                prop_assert!(history.fine.as_ref().map_or(0, |fine| fine.len()) <= 41);
                let points = history.points(0, u64::MAX);
                prop_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }
}
