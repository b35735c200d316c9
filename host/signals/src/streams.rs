//! Metric streams: what turns OTLP points, of any kind and temporality, into values of series.
//!
//! | kind | series |
//! |---|---|
//! | gauge; sum that may fall | `name`: the value (deltas are added up from the first one seen) |
//! | sum that never falls | `name.rate`, per second |
//! | histogram, exponential histogram | `name.rate`, per second, `name.mean`, `name.p50`, `name.p95`, `name.p99` |
//! | summary | `name.rate`, `name.mean`, and `name.pNN` (or `.min`, `.max`) for each quantile |
//!
//! ## What always holds
//! - a known stream costs no lock, allocation or string but for histograms' counts, which are kept in place
//! - a counter that begins anew (its start time changes, or it falls) counts from 0, and its next point is flagged

use crate::{
    histogram::Exponential,
    store::{Slot, Store},
};
use salve_model::batch::FLAG_AFTER_GAP;
use salve_otlp::{MetricKind, Temporality};

/// Ends of the names of what is derived from histograms, with their quantiles.
pub(crate) const HISTOGRAM_QUANTILES: [(&str, f64); 3] = [(".p50", 0.50), (".p95", 0.95), (".p99", 0.99)];

/// One OTLP metric stream, and the series made from it.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Receive time of the newest point, Unix milliseconds.
    pub(crate) heard_ms: u64,
    /// Names the metric and service that the series count for.
    pub(crate) metric: u64,
    /// In the order of the table above.
    pub(crate) slots: Box<[Slot]>,
    pub(crate) state: State,
}

/// What must be known of the points before.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing.
    Value,
    /// Deltas of a sum that may fall.
    Accumulated { sum: f64, time: u64 },
    /// A cumulative sum that never falls.
    Counter(Option<Last<f64>>),
    /// Deltas of a sum that never falls: event time of the newest.
    DeltaCounter { time: u64 },
    /// A cumulative histogram.
    Histogram(Option<Box<Last<Explicit>>>),
    /// Deltas of a histogram, of either kind.
    DeltaHistogram { time: u64 },
    /// A cumulative exponential histogram.
    Exponential(Option<Box<Last<Scaled>>>),
    /// Always cumulative.
    Summary { last: Option<Last<Total>>, quantiles: Box<[f64]> },
}

/// The newest point of a cumulative stream. Times are Unix nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Last<T> {
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) value: T,
}

/// Number and sum of what a histogram or summary has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
}

impl Total {
    /// What was added since `before`; none if the count fell.
    pub(crate) fn since(self, before: Self) -> Option<Self> {
        let sum = self.sum.zip(before.sum).map(|(now, before)| now - before);
        Some(Self { count: self.count.checked_sub(before.count)?, sum })
    }
}

/// A histogram with explicit bounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Explicit {
    pub(crate) total: Total,
    pub(crate) bounds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
}

/// An exponential histogram.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scaled {
    pub(crate) total: Total,
    pub(crate) buckets: Exponential,
}

impl State {
    pub(crate) fn new(kind: MetricKind, quantiles: &[f64]) -> Self {
        match kind {
            MetricKind::Gauge | MetricKind::Empty => Self::Value,
            MetricKind::Sum { temporality: Temporality::Delta, monotonic } => {
                if monotonic {
                    Self::DeltaCounter { time: 0 }
                } else {
                    Self::Accumulated { sum: 0.0, time: 0 }
                }
            }
            MetricKind::Sum { monotonic: true, .. } => Self::Counter(None),
            MetricKind::Sum { monotonic: false, .. } => Self::Value,
            MetricKind::Histogram(Temporality::Delta)
            | MetricKind::ExponentialHistogram(Temporality::Delta) => Self::DeltaHistogram { time: 0 },
            MetricKind::Histogram(_) => Self::Histogram(None),
            MetricKind::ExponentialHistogram(_) => Self::Exponential(None),
            MetricKind::Summary => Self::Summary { last: None, quantiles: quantiles.into() },
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Histogram(Some(last)) => {
                size_of::<Last<Explicit>>()
                    + 8 * (last.value.bounds.capacity() + last.value.counts.capacity())
            }
            Self::Exponential(Some(last)) => {
                let buckets = &last.value.buckets;
                size_of::<Last<Scaled>>()
                    + 8 * (buckets.positive.counts.capacity() + buckets.negative.counts.capacity())
            }
            Self::Summary { quantiles, .. } => 8 * quantiles.len(),
            _ => 0,
        }
    }
}

/// Names and units of the series of a stream.
pub(crate) fn series_of(
    name: &str,
    unit: &str,
    kind: MetricKind,
    quantiles: &[f64],
) -> Vec<(String, String)> {
    let per_second = |unit: &str| if unit.is_empty() { "1/s".to_owned() } else { format!("{unit}/s") };
    match kind {
        MetricKind::Gauge | MetricKind::Empty | MetricKind::Sum { monotonic: false, .. } => {
            vec![(name.to_owned(), unit.to_owned())]
        }
        MetricKind::Sum { monotonic: true, .. } => vec![(format!("{name}.rate"), per_second(unit))],
        MetricKind::Histogram(_) | MetricKind::ExponentialHistogram(_) | MetricKind::Summary => {
            let ends: Vec<String> = if kind == MetricKind::Summary {
                quantiles.iter().map(|quantile| end_of(*quantile)).collect()
            } else {
                HISTOGRAM_QUANTILES.iter().map(|(end, _)| (*end).to_owned()).collect()
            };
            let mut series =
                vec![(format!("{name}.rate"), per_second("")), (format!("{name}.mean"), unit.to_owned())];
            series.extend(ends.into_iter().map(|end| (format!("{name}{end}"), unit.to_owned())));
            series
        }
    }
}

/// End of the name of a summary's quantile.
fn end_of(quantile: f64) -> String {
    if quantile <= 0.0 {
        ".min".into()
    } else if quantile >= 1.0 {
        ".max".into()
    } else {
        // 0.95 is 94.99… in binary; four digits are more than anyone asks for.
        format!(".p{}", (quantile * 1e6).round() / 1e4)
    }
}

/// The time that a point speaks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Interval {
    /// Nothing is known of the time before.
    First,
    /// So many seconds, since the point before.
    Since(f64),
    /// It began anew; so many seconds since then.
    Reset(f64),
}

/// The time that a cumulative point speaks for. `fell`: a count that never falls has fallen.
pub(crate) fn interval<T>(last: Option<&Last<T>>, start: u64, time: u64, fell: bool) -> Interval {
    let Some(last) = last else { return Interval::First };
    let restarted = start != 0 && last.start != 0 && start != last.start;
    if fell || restarted {
        // Without a start that makes sense it began somewhere after the point before.
        let since = if start > last.time && start < time { start } else { last.time };
        return Interval::Reset(seconds(since, time));
    }
    Interval::Since(seconds(last.time, time))
}

/// The seconds that a delta speaks for; none if that cannot be known.
pub(crate) fn delta_seconds(start: u64, time: u64, before: u64) -> Option<f64> {
    let since = if start != 0 && start < time { start } else { before };
    (since != 0 && since < time).then(|| seconds(since, time))
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// Gives rate, mean and quantiles of what was added to a histogram or summary.
pub(crate) fn emit_total(
    slots: &[Slot],
    time: u64,
    added: Total,
    interval_seconds: Option<f64>,
    flags: u8,
    store: &mut Store,
) {
    let [rate, mean, ..] = slots else { return };
    if let Some(seconds) = interval_seconds.filter(|seconds| *seconds > 0.0) {
        store.push(*rate, time, added.count as f64 / seconds, flags);
    }
    if let Some(sum) = added.sum.filter(|_| added.count > 0) {
        store.push(*mean, time, sum / added.count as f64, flags);
    }
}

/// Flags and seconds of an interval; none if it is the first.
pub(crate) fn parts(interval: Interval) -> Option<(u8, f64)> {
    match interval {
        Interval::First => None,
        Interval::Since(seconds) => Some((0, seconds)),
        Interval::Reset(seconds) => Some((FLAG_AFTER_GAP, seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: which time a cumulative point speaks for, restarts included.
    #[test]
    fn intervals() {
        let second = 1_000_000_000;
        let last = Last { start: second, time: 10 * second, value: () };
        let unstarted = Last { start: 0, ..last.clone() };
        for (last, start, time, fell, expected) in [
            (None, 1, 20, false, Interval::First),
            (Some(&last), 1, 20, false, Interval::Since(10.0)),
            (Some(&last), 0, 20, false, Interval::Since(10.0)),
            (Some(&last), 0, 20, true, Interval::Reset(10.0)),
            (Some(&last), 15, 20, false, Interval::Reset(5.0)),
            (Some(&last), 5, 20, true, Interval::Reset(10.0)),
            (Some(&last), 25, 20, true, Interval::Reset(10.0)),
            (Some(&unstarted), 15, 20, false, Interval::Since(10.0)),
        ] {
            assert_eq!(
                interval(last, start * second, time * second, fell),
                expected,
                "{start} {time} {fell}"
            );
        }
        assert_eq!(delta_seconds(0, 5 * second, 0), None);
        assert_eq!(delta_seconds(0, 5 * second, 2 * second), Some(3.0));
        assert_eq!(delta_seconds(second, 5 * second, 2 * second), Some(4.0));
        assert_eq!(delta_seconds(9 * second, 5 * second, 0), None);
    }

    /// Guarantees: names and units that people and policies write down.
    #[test]
    fn names() {
        let summary = series_of("latency", "ms", MetricKind::Summary, &[0.0, 0.5, 0.95, 0.999, 1.0]);
        let sum = MetricKind::Sum { temporality: Temporality::Cumulative, monotonic: true };
        let all = [summary, series_of("orders", "{order}", sum, &[]), series_of("n", "", sum, &[])].concat();
        let text: Vec<String> = all.iter().map(|(name, unit)| format!("{name} [{unit}]")).collect();
        insta::assert_snapshot!(text.join(", "), @"latency.rate [1/s], latency.mean [ms], latency.min [ms], latency.p50 [ms], latency.p95 [ms], latency.p99.9 [ms], latency.max [ms], orders.rate [{order}/s], n.rate [1/s]");
    }
}
