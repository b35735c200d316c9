//! One shard of a detector: the instance that speaks, perhaps one that is tried beside it, and the series that both know.

use super::{detectors::Binding, snapshots::Place, starting::Starting};
use salve_core::symptom::SCORE_MIN;
use salve_model::{
    batch::{Batch, DetectorOutput, RawObservation, SeriesAdded},
    telemetry::Observation,
    text::escape,
    time::EventTime,
};
use salve_plugins::{DetectorInstance, GuestError};
use salve_rollout::Sample;
use std::{collections::BTreeSet, time::Instant};

/// Series of one instance, and that instance.
pub struct Shard {
    name: String,
    /// Where its state is kept; none if nobody knows whose series it has.
    pub place: Option<Place>,
    /// JSON.
    pub parameters: String,
    /// The one that speaks.
    pub instance: DetectorInstance,
    /// By id: what the guest was told of a series.
    series: Vec<Option<SeriesAdded>>,
    /// Series that a predecessor knew and this instance has not been told of yet.
    introduce: Vec<SeriesAdded>,
    /// By id: time of the newest point that was shown, Unix nanoseconds.
    pub seen_until: Vec<u64>,
    /// Of the newest batch, Unix nanoseconds.
    pub now: u64,
    /// A new version that sees the same batches.
    pub tried: Option<Tried>,
    /// A new version that is being set up.
    pub coming: Option<Starting>,
}

/// A new version beside the active one.
pub struct Tried {
    /// Its instance.
    pub instance: DetectorInstance,
    /// Series that it has not been told of yet.
    pub introduce: Vec<SeriesAdded>,
}

impl Tried {
    /// Of its component.
    pub fn digest(&self) -> &str {
        self.instance.plugin().digest()
    }
}

/// What came of one batch.
pub struct Seen {
    /// What the active version says.
    pub active: Result<Vec<Observation>, GuestError>,
    /// What the tried version says, if there is one and it answered.
    pub tried: Option<Vec<Observation>>,
    /// How both compare, if they could be compared.
    pub sample: Option<Sample>,
}

/// One call of one instance.
struct Call {
    output: Result<DetectorOutput, GuestError>,
    elapsed_us: u64,
    faults: u64,
    memory_peak_bytes: u64,
}

impl Shard {
    /// A shard without series.
    pub fn new(binding: &Binding, place: Option<Place>, instance: DetectorInstance) -> Self {
        Self {
            name: binding.name.clone(),
            place,
            parameters: binding.parameters.clone(),
            instance,
            series: Vec::new(),
            introduce: Vec::new(),
            seen_until: Vec::new(),
            now: 0,
            tried: None,
            coming: None,
        }
    }

    /// Of the component that speaks.
    pub fn digest(&self) -> &str {
        self.instance.plugin().digest()
    }

    /// From now on another instance speaks.
    pub fn take_place(&mut self, tried: Tried, binding: &Binding) {
        self.parameters.clone_from(&binding.parameters);
        self.instance = tried.instance;
        self.introduce = tried.introduce;
    }

    /// A version is tried, or will be once it is set up.
    pub fn tries(&self, digest: &str) -> bool {
        self.tried.as_ref().is_some_and(|tried| tried.digest() == digest)
            || self.coming.as_ref().is_some_and(|coming| coming.digest == digest)
    }

    /// Series of this shard.
    pub fn known_series(&self) -> Vec<SeriesAdded> {
        self.series.iter().flatten().cloned().collect()
    }

    /// How many they are.
    pub fn series_count(&self) -> u64 {
        self.series.iter().flatten().count() as u64
    }

    /// Shows a batch to the instances.
    pub async fn observe(&mut self, batch: Batch) -> Seen {
        self.take_note(&batch);
        // Only a trial costs a copy of the batch.
        let for_tried = self.tried.as_ref().map(|_| batch.clone());
        let active = call(&mut self.instance, &mut self.introduce, batch).await;
        for aside in self.instance.take_set_aside() {
            tracing::error!(detector = %self.name, series = %escape(&aside.series.name, 100), kind = %aside.kind,
                "Detector fails on a series, which is set aside.");
        }
        let (mut of_tried, mut sample) = (None, None);
        if let (Some(tried), Some(batch)) = (&mut self.tried, for_tried) {
            let answer = call(&mut tried.instance, &mut tried.introduce, batch).await;
            sample = compare(&active, &answer);
            of_tried = answer.output.ok();
        }
        let named = |output: DetectorOutput| {
            output.observations.into_iter().filter_map(|raw| self.observation(raw)).collect()
        };
        Seen { active: active.output.map(named), tried: of_tried.map(named), sample }
    }

    fn take_note(&mut self, batch: &Batch) {
        self.now = batch.now;
        for id in &batch.removed {
            if let Some(slot) = self.series.get_mut(*id as usize) {
                *slot = None;
            }
        }
        for added in &batch.added {
            let slot = added.id as usize;
            if self.series.len() <= slot {
                self.series.resize(slot + 1, None);
                self.seen_until.resize(slot + 1, 0);
            }
            let is_same =
                self.series[slot].as_ref().is_some_and(|known| known.series.key == added.series.key);
            if !is_same {
                self.seen_until[slot] = 0;
            }
            self.series[slot] = Some(added.clone());
        }
        for (id, range) in batch.series.iter().zip(batch.offsets.windows(2)) {
            let newest = range.last().and_then(|end| batch.times.get((*end as usize).checked_sub(1)?));
            if let (Some(until), Some(newest)) = (self.seen_until.get_mut(*id as usize), newest) {
                *until = (*until).max(*newest);
            }
        }
    }

    fn observation(&self, raw: RawObservation) -> Option<Observation> {
        let series = self.series.get(raw.series as usize)?.as_ref()?.series.clone();
        Some(Observation {
            series,
            detector: self.name.clone(),
            time: EventTime(raw.time),
            kind: raw.kind,
            rising: raw.rising,
            score: raw.score,
            confidence: raw.confidence,
            value: raw.value,
            expected: raw.expected,
            lower: raw.lower,
            upper: raw.upper,
            reason: raw.reason,
        })
    }
}

/// Shows an instance a batch of which nobody hears what it says.
pub async fn show(tried: &mut Tried, batch: Batch) {
    drop(call(&mut tried.instance, &mut tried.introduce, batch).await);
}

async fn call(instance: &mut DetectorInstance, introduce: &mut Vec<SeriesAdded>, mut batch: Batch) -> Call {
    if !introduce.is_empty() {
        introduce.retain(|series| !batch.removed.contains(&series.id));
        batch.added.splice(0..0, introduce.drain(..));
    }
    let faults_before = instance.plugin().counters().faults_total;
    let begun = Instant::now();
    let output = instance.observe(&batch).await;
    let elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let counters = instance.plugin().counters();
    Call {
        output,
        elapsed_us,
        faults: counters.faults_total.saturating_sub(faults_before),
        memory_peak_bytes: counters.memory_peak_bytes,
    }
}

/// How two versions compare on one batch: one comparison if both are quiet, else one for each point that either of them calls
/// abnormal. Nothing can be said where the active version failed too.
fn compare(active: &Call, tried: &Call) -> Option<Sample> {
    let traps = tried.faults.saturating_sub(active.faults);
    let sample = Sample {
        active_us: active.elapsed_us,
        candidate_us: tried.elapsed_us,
        active_memory_bytes: active.memory_peak_bytes,
        candidate_memory_bytes: tried.memory_peak_bytes,
        traps,
        ..Sample::default()
    };
    match (&active.output, &tried.output) {
        (Ok(active), Ok(tried)) => {
            let (active, tried) = (abnormal(active), abnormal(tried));
            let compared = active.union(&tried).count().max(1) as u64;
            let differed = active.symmetric_difference(&tried).count() as u64;
            Some(Sample { compared, differed, ..sample })
        }
        (Ok(_), Err(_)) => Some(Sample { compared: 1, differed: 1, ..sample }),
        (Err(_), _) => None,
    }
}

fn abnormal(output: &DetectorOutput) -> BTreeSet<(u32, u64)> {
    let observations = output.observations.iter().filter(|observation| observation.score >= SCORE_MIN);
    observations.map(|observation| (observation.series, observation.time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::telemetry::ObservationKind;

    fn answer(points: &[(u32, u64)], faults: u64) -> Call {
        let observation = |(series, time): &(u32, u64)| RawObservation {
            series: *series,
            time: *time,
            kind: ObservationKind::Point,
            rising: true,
            score: 0.9,
            confidence: 1.0,
            value: 1.0,
            expected: 0.0,
            lower: 0.0,
            upper: 0.0,
            reason: String::new(),
        };
        let output =
            DetectorOutput { observations: points.iter().map(observation).collect(), ..Default::default() };
        Call { output: Ok(output), elapsed_us: 1, faults, memory_peak_bytes: 1 }
    }

    /// Guarantees: a quiet batch is one agreement, each abnormal point counts by itself, and a fault that both versions have
    /// is not the new one's.
    #[test]
    fn comparisons() {
        let sums = |active: &Call, tried: &Call| {
            let sample = compare(active, tried).unwrap();
            (sample.compared, sample.differed, sample.traps)
        };
        assert_eq!(sums(&answer(&[], 0), &answer(&[], 0)), (1, 0, 0));
        assert_eq!(sums(&answer(&[(1, 5)], 0), &answer(&[(1, 5)], 0)), (1, 0, 0));
        assert_eq!(sums(&answer(&[(1, 5), (2, 5)], 0), &answer(&[(1, 5), (1, 6)], 0)), (3, 2, 0));
        assert_eq!(sums(&answer(&[], 1), &answer(&[], 1)), (1, 0, 0));
        assert_eq!(sums(&answer(&[], 0), &answer(&[], 2)), (1, 0, 2));
    }
}
