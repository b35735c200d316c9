//! Feeds a detector.

use super::host::{EPOCH_NS, FakeHost, Phase};
use crate::{__glue as glue, Batch, Detector, Observation, Output, Series, State, detector::Scores};

/// A detector instance and the batches that it is sent.
pub struct DetectorTest<D> {
    instance: Option<D>,
    host: FakeHost,
    parameters: String,
    batch: Batch,
    series: Vec<Series>,
    /// Time between two batches, in milliseconds. Default 1,000.
    pub step_ms: u64,
}

fn empty_batch(sequence: u64, now: u64) -> Batch {
    Batch {
        sequence,
        now,
        added: Vec::new(),
        removed: Vec::new(),
        series: Vec::new(),
        offsets: vec![0],
        times: Vec::new(),
        values: Vec::new(),
        point_flags: Vec::new(),
        scores: false,
    }
}

impl<D: Detector> DetectorTest<D> {
    /// A configured instance without series. `parameters`: JSON.
    ///
    /// # Errors
    /// The detector's own.
    pub fn new(parameters: &str) -> Result<Self, String> {
        let host = FakeHost::new();
        let mut instance = None;
        host.run(Phase::Plan, || glue::configure::<D>(&mut instance, parameters))?;
        let batch = empty_batch(0, EPOCH_NS);
        Ok(Self { instance, host, parameters: parameters.into(), batch, series: Vec::new(), step_ms: 1_000 })
    }

    /// Adds a series with the next batch and gives its id.
    pub fn add(&mut self, name: &str, attributes: &[(&str, &str)], limit: Option<f64>) -> u32 {
        let id = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let series = Series {
            id,
            name: name.into(),
            unit: "1".into(),
            group: 0,
            limit,
            attributes: attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        self.series.push(series.clone());
        self.batch.added.push(series);
        id
    }

    /// Removes a series with the next batch.
    pub fn remove(&mut self, id: u32) {
        self.batch.removed.push(id);
    }

    /// The host's time of the next batch, Unix nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.batch.now
    }

    /// Lets time pass before the next batch.
    pub fn wait_ms(&mut self, duration_ms: u64) {
        self.batch.now += duration_ms * 1_000_000;
    }

    /// Sends one point for each of these series, with flags 0, and gives back what was observed.
    ///
    /// # Errors
    /// The detector's own.
    pub fn push(&mut self, points: &[(u32, f64)]) -> Result<Vec<Observation>, String> {
        let now = self.batch.now;
        let with_flags: Vec<_> = points.iter().map(|(series, value)| (*series, now, *value, 0)).collect();
        self.push_columns(&with_flags, false).map(|output| output.observations)
    }

    /// Sends points of (series, time, value, flags), points of one series side by side.
    ///
    /// # Errors
    /// The detector's own.
    pub fn push_columns(&mut self, points: &[(u32, u64, f64, u8)], scores: bool) -> Result<Output, String> {
        let next = empty_batch(self.batch.sequence + 1, self.batch.now + self.step_ms * 1_000_000);
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.scores = scores;
        for (series, time, value, flags) in points {
            if batch.series.last() != Some(series) {
                batch.series.push(*series);
                batch.offsets.push(u32::try_from(batch.values.len()).unwrap_or(u32::MAX));
            }
            batch.times.push(*time);
            batch.values.push(*value);
            batch.point_flags.push(*flags);
            if let Some(end) = batch.offsets.last_mut() {
                *end = u32::try_from(batch.values.len()).unwrap_or(u32::MAX);
            }
        }
        let instance = &mut self.instance;
        self.host.run(Phase::Plan, || glue::observe(instance, &batch))
    }

    /// The instance's snapshot.
    ///
    /// # Errors
    /// The detector's own.
    pub fn snapshot(&self) -> Result<State, String> {
        glue::snapshot(&self.instance)
    }

    /// Replaces the instance by a fresh one that takes over the snapshot, as after a restart: the next batch adds all
    /// series again, in reverse order.
    ///
    /// # Errors
    /// The detector's own.
    pub fn restart_from(&mut self, state: &State) -> Result<(), String> {
        let mut instance = None;
        self.host.run(Phase::Plan, || glue::configure::<D>(&mut instance, &self.parameters))?;
        self.host.run(Phase::Plan, || glue::restore(&mut instance, state))?;
        self.instance = instance;
        self.batch.added = self.series.iter().rev().cloned().collect();
        Ok(())
    }

    /// Restarts the detector from `state` with one to eight bytes changed, in every place, as on a broken disk, and sends `series`
    /// some points each time. Gives how many of these snapshots were taken rather than refused.
    ///
    /// # Errors
    /// Which damage led to a score outside 0 to 1, to a number that is not finite, to an error of the detector, or to a state
    /// that it does not take again.
    pub fn survive_damage(&mut self, state: &State, series: u32) -> Result<u32, String> {
        let mut taken = 0;
        for offset in 0..state.bytes.len() {
            for (width, byte) in
                [1, 2, 4, 8].into_iter().flat_map(|width| [0, 0x7f, 0xff].map(|byte| (width, byte)))
            {
                let mut bytes = state.bytes.clone();
                bytes.iter_mut().skip(offset).take(width).for_each(|place| *place = byte);
                if self.restart_from(&State { format: state.format, bytes }).is_err() {
                    continue;
                }
                taken += 1;
                for (value, scores) in
                    [1.0, -1e300, 1e300, 0.0].into_iter().flat_map(|value| [(value, false), (value, true)])
                {
                    let output = self.push_columns(&[(series, self.now(), value, 0)], scores);
                    output
                        .and_then(|output| check_numbers(&output, scores))
                        .map_err(|why| format!("offset {offset}, {width} times {byte}: {why}"))?;
                }
                let after = self.snapshot()?;
                self.restart_from(&after).map_err(|why| {
                    format!("offset {offset}, {width} times {byte}, its own snapshot: {why}")
                })?;
            }
        }
        Ok(taken)
    }

    /// What the plugin logged.
    #[must_use]
    pub fn host(&self) -> &FakeHost {
        &self.host
    }
}

/// Scores lie within 0 to 1, and all else is finite.
fn check_numbers(output: &Output, scores: bool) -> Result<(), String> {
    let none = Scores::zeroed(0);
    let columns = match &output.scores {
        Some(columns) => columns,
        None if scores => return Err("no scores, which were asked for".into()),
        None => &none,
    };
    let observed = &output.observations;
    let mut scores = columns.score.iter().copied().chain(observed.iter().map(|seen| seen.score));
    if let Some(score) = scores.find(|score| !(0.0..=1.0).contains(score)) {
        return Err(format!("score {score}"));
    }
    let dense = [&columns.expected, &columns.lower, &columns.upper].into_iter().flatten().copied();
    let mut numbers = dense.chain(observed.iter().flat_map(|seen| [seen.expected, seen.upper]));
    numbers.find(|number| !number.is_finite()).map_or(Ok(()), |number| Err(format!("number {number}")))
}
