//! Rate, errors and duration in buckets of time: what one service, operation or edge did in each.
//!
//! ## What always holds
//! - a bucket gives its points once, when it closes, and in the order of time; its points bear the time of its end
//! - what comes after that still enters the sums, as far back as they are kept

use crate::{
    identity::{KeyHasher, Origin, PackedAttributes},
    sketch::Sketch,
    store::{NewSeries, Slot, Store},
};
use std::{collections::BTreeMap, sync::Arc};

/// Numbers of one bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) sum_ms: f64,
    pub(crate) sketch: Sketch,
}

impl Cell {
    pub(crate) fn add(&mut self, duration_ms: f64, failed: bool) {
        self.count += 1;
        self.errors += u64::from(failed);
        self.sum_ms += duration_ms;
        self.sketch.add(duration_ms);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.sum_ms += other.sum_ms;
        self.sketch.merge(&other.sketch);
    }

    pub(crate) fn error_ratio(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 }
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_ms / self.count as f64 }
    }
}

/// A series derived from a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Derived {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The value of a bucket; none if it has none.
    value: fn(&Cell, bucket_seconds: f64) -> Option<f64>,
}

fn rate(cell: &Cell, bucket_seconds: f64) -> Option<f64> {
    Some(cell.count as f64 / bucket_seconds)
}

fn error_ratio(cell: &Cell, _: f64) -> Option<f64> {
    (cell.count > 0).then(|| cell.error_ratio())
}

fn mean(cell: &Cell, _: f64) -> Option<f64> {
    (cell.count > 0).then(|| cell.mean_ms())
}

fn p50(cell: &Cell, _: f64) -> Option<f64> {
    cell.sketch.quantile(0.50)
}

fn p95(cell: &Cell, _: f64) -> Option<f64> {
    cell.sketch.quantile(0.95)
}

fn p99(cell: &Cell, _: f64) -> Option<f64> {
    cell.sketch.quantile(0.99)
}

/// Served requests of a service or operation.
pub(crate) const SERVED: [Derived; 6] = [
    Derived { name: "salve.span.request_rate", unit: "{request}/s", value: rate },
    Derived { name: "salve.span.error_ratio", unit: "1", value: error_ratio },
    Derived { name: "salve.span.duration.mean", unit: "ms", value: mean },
    Derived { name: "salve.span.duration.p50", unit: "ms", value: p50 },
    Derived { name: "salve.span.duration.p95", unit: "ms", value: p95 },
    Derived { name: "salve.span.duration.p99", unit: "ms", value: p99 },
];

/// Calls of an edge, as the caller saw them.
pub(crate) const CALLED: [Derived; 4] = [
    Derived { name: "salve.edge.request_rate", unit: "{request}/s", value: rate },
    Derived { name: "salve.edge.error_ratio", unit: "1", value: error_ratio },
    Derived { name: "salve.edge.duration.mean", unit: "ms", value: mean },
    Derived { name: "salve.edge.duration.p95", unit: "ms", value: p95 },
];

/// Log records of one severity of a service.
pub(crate) const LOGGED: [Derived; 1] =
    [Derived { name: "salve.log.record_rate", unit: "{record}/s", value: rate }];

/// Which of the closed buckets' numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All, for windows of services.
    All,
    /// Sums, for windows of edges.
    Sums,
    /// None: the series are enough.
    Nothing,
}

/// The clock of buckets, as far as it has run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    pub(crate) bucket_ms: u64,
    /// The oldest bucket that is still open; all before are closed.
    pub(crate) open_from: u64,
    /// Buckets that are kept.
    pub(crate) kept: u64,
}

impl Buckets {
    pub(crate) fn index_of(&self, time_ms: u64) -> u64 {
        time_ms / self.bucket_ms
    }

    fn oldest(&self) -> u64 {
        self.open_from.saturating_sub(self.kept)
    }
}

/// What became of something that was counted into a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Its bucket is open.
    InTime,
    /// Its bucket is closed, and kept or not: see [`Keep`].
    Late,
    /// Older than all that is kept.
    TooOld,
}

/// Buckets of one service, operation, edge or severity, and the series made from them.
#[derive(Debug)]
pub(crate) struct Activity {
    cells: BTreeMap<u64, Cell>,
    slots: Vec<Slot>,
    derived: &'static [Derived],
    keep: Keep,
    /// The first bucket that had anything.
    first: u64,
    /// Receive time of the newest, Unix milliseconds.
    pub(crate) heard_ms: u64,
}

impl Activity {
    /// Makes the series, all of one origin and with the same attributes.
    pub(crate) fn new(
        derived: &'static [Derived],
        keep: Keep,
        origin: &Arc<Origin>,
        attributes: &[(&str, &str)],
        fine: bool,
        store: &mut Store,
    ) -> Self {
        let packed = PackedAttributes::new(attributes.iter().copied());
        let pairs: Vec<(&str, String)> =
            attributes.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let slots = derived
            .iter()
            .map(|derived| {
                let key = KeyHasher::new(&origin.tenant)
                    .text(&origin.service)
                    .text(derived.name)
                    .text(derived.unit)
                    .pairs(&pairs)
                    .finish();
                let (name, unit) = (derived.name, derived.unit);
                store.intern(&NewSeries { key, origin, name, unit, attributes: &packed, fine })
            })
            .collect();
        Self { cells: BTreeMap::new(), slots, derived, keep, first: u64::MAX, heard_ms: 0 }
    }

    /// Counts something into the bucket of its time.
    pub(crate) fn add(
        &mut self,
        bucket: u64,
        duration_ms: f64,
        failed: bool,
        buckets: Buckets,
        now_ms: u64,
    ) -> Timing {
        self.heard_ms = now_ms;
        if bucket < buckets.oldest() {
            return Timing::TooOld;
        }
        let timing = if bucket < buckets.open_from { Timing::Late } else { Timing::InTime };
        if timing == Timing::Late && self.keep == Keep::Nothing {
            return timing;
        }
        self.first = self.first.min(bucket);
        self.cells.entry(bucket).or_default().add(duration_ms, failed);
        timing
    }

    /// Turns a bucket into points. Without anything in it there is a rate of 0, if something came before.
    pub(crate) fn close(&mut self, bucket: u64, buckets: Buckets, store: &mut Store) {
        if bucket < self.first {
            return;
        }
        let empty = Cell::default();
        let cell = self.cells.get(&bucket).unwrap_or(&empty);
        let end_ms = (bucket + 1).saturating_mul(buckets.bucket_ms);
        let bucket_seconds = buckets.bucket_ms as f64 / 1e3;
        for (derived, slot) in self.derived.iter().zip(&self.slots) {
            if let Some(value) = (derived.value)(cell, bucket_seconds) {
                store.push(*slot, end_ms.saturating_mul(1_000_000), value, 0);
            }
        }
        match self.keep {
            Keep::All => {
                if let Some(cell) = self.cells.get_mut(&bucket) {
                    cell.sketch.shrink();
                }
            }
            Keep::Sums => {
                if let Some(cell) = self.cells.get_mut(&bucket) {
                    cell.sketch.clear();
                }
            }
            Keep::Nothing => {
                self.cells.remove(&bucket);
            }
        }
        let oldest = (bucket + 1).saturating_sub(buckets.kept);
        while self.cells.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            self.cells.pop_first();
        }
    }

    /// Everything in the closed buckets that begin in the window, and how many seconds they span. The window is cut to
    /// where there are buckets: a service that is new has not been idle before.
    pub(crate) fn sum(&self, from_ms: u64, to_ms: u64, buckets: Buckets) -> (Cell, f64) {
        let from = from_ms.div_ceil(buckets.bucket_ms).max(buckets.oldest()).max(self.first);
        let to = to_ms.div_ceil(buckets.bucket_ms).min(buckets.open_from);
        let mut sum = Cell::default();
        if from >= to {
            return (sum, 0.0);
        }
        self.cells.range(from..to).for_each(|(_, cell)| sum.merge(cell));
        (sum, ((to - from).saturating_mul(buckets.bucket_ms)) as f64 / 1e3)
    }

    /// Gives the series back.
    pub(crate) fn release(self, store: &mut Store) {
        self.slots.into_iter().for_each(|slot| store.release(slot));
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.cells.values().map(|cell| size_of::<(u64, Cell)>() + cell.sketch.heap_bytes()).sum::<usize>()
            + self.slots.capacity() * size_of::<Slot>()
    }
}
