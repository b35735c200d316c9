//! What the engine took in, and what it turned away or dropped: nothing is lost without being counted here.

use std::collections::BTreeMap;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Running totals since the engine was made, and sizes as they are now.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct SignalsCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl SignalsCounters {
            /// All of them by name.
            #[must_use]
            pub fn to_map(&self) -> BTreeMap<String, u64> {
                [$((stringify!($name), self.$name)),*].map(|(name, value)| (name.to_owned(), value)).into()
            }
        }
    };
}

counters! {
    /// Metric points taken in.
    points,
    /// Spans taken in.
    spans,
    /// Log records taken in.
    log_records,
    /// Points of series made: from metrics, spans and logs.
    series_points,
    /// Series now.
    series,
    /// Resources now.
    resources,
    /// Services now.
    services,
    /// Edges now.
    edges,
    /// Spans that wait for their other half, now.
    spans_in_flight,

    /// Rejected: NaN, an infinity or counts that contradict each other.
    rejected_not_finite,
    /// Rejected: too far ahead of the receive time.
    rejected_future,
    /// Rejected: `series_max` was reached.
    rejected_series_limit,
    /// Rejected: `series_per_metric_max` was reached.
    rejected_metric_limit,
    /// Rejected: `resources_max` was reached.
    rejected_resource_limit,
    /// Rejected: a metric without a name.
    rejected_unnamed,
    /// Rejected: a span that ends before it starts, or does not say when.
    rejected_span_times,

    /// Points with the flag "no recorded value", or without one.
    points_without_value,
    /// Points and records without a time: the receive time stands for it.
    times_missing,
    /// Points older than the newest of their series: in history at most, not scored.
    points_out_of_order,
    /// Points at a time that their series has already.
    points_duplicate,
    /// Points that are not finite once they were turned into a rate or a quantile.
    points_overflowed,
    /// Counters and histograms that began anew.
    resets,
    /// Histogram points with more than `histogram_buckets_max` buckets, from which only rate and mean were derived.
    histograms_too_wide,
    /// Series and resources with more than `attribute_bytes_max` bytes of attributes.
    attributes_cut,

    /// Spans whose bucket was closed: in the sums of `services` and `edges`, not in series.
    spans_late,
    /// Spans older than all buckets that are kept.
    spans_too_old,
    /// Log records whose bucket was closed.
    log_records_late,
    /// Spans and log records of resources without `service.name`: taken in, nothing derived.
    without_service,
    /// Spans and log records of services beyond `services_max`: taken in, nothing derived.
    services_over_limit,
    /// Spans of operations beyond `operations_per_service_max`: counted for the service alone.
    operations_over_limit,
    /// Calls on edges beyond `edges_max`.
    edges_over_limit,
    /// Client spans whose server span was found.
    edges_matched,
    /// Client spans without one, attributed by `peer.service` or by what their address stood for before.
    edges_by_name,
    /// Client spans with neither.
    edges_unknown,
    /// Spans that gave up waiting for their other half because `spans_in_flight_max` was reached.
    spans_evicted,

    /// Points dropped because nobody fetched the batches of a detector.
    pending_dropped,
    /// Series that a detector does not see because its shard is full.
    series_unscored,
    /// Points under watch that nobody fetched.
    watched_dropped,
    /// Series, resources, services and edges forgotten because they were silent.
    expired,
    /// Changes that were forgotten because newer ones came.
    changes_dropped,
}

/// Why a point, span or record was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    NotFinite,
    Future,
    SeriesLimit,
    MetricLimit,
    ResourceLimit,
    Unnamed,
    SpanTimes,
}

impl Rejection {
    pub(crate) const ALL: [Self; 7] = [
        Self::NotFinite,
        Self::Future,
        Self::SeriesLimit,
        Self::MetricLimit,
        Self::ResourceLimit,
        Self::Unnamed,
        Self::SpanTimes,
    ];

    /// For the sender: what was wrong and what would help.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NotFinite => "not finite or contradicting itself",
            Self::Future => "too far ahead of the receiver's clock (`future_max_ms`)",
            Self::SeriesLimit => "of new series over `series_max`; known series go on",
            Self::MetricLimit => "of new series over `series_per_metric_max`; known series go on",
            Self::ResourceLimit => "of new resources over `resources_max`; known resources go on",
            Self::Unnamed => "of a metric without a name",
            Self::SpanTimes => "without an end, or ending before they start",
        }
    }

    pub(crate) fn counter(self, counters: &mut SignalsCounters) -> &mut u64 {
        match self {
            Self::NotFinite => &mut counters.rejected_not_finite,
            Self::Future => &mut counters.rejected_future,
            Self::SeriesLimit => &mut counters.rejected_series_limit,
            Self::MetricLimit => &mut counters.rejected_metric_limit,
            Self::ResourceLimit => &mut counters.rejected_resource_limit,
            Self::Unnamed => &mut counters.rejected_unnamed,
            Self::SpanTimes => &mut counters.rejected_span_times,
        }
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    rejected: [u64; Rejection::ALL.len()],
}

impl Tally {
    pub(crate) fn reject(&mut self, why: Rejection, counters: &mut SignalsCounters) {
        *why.counter(counters) += 1;
        for (own, count) in Rejection::ALL.into_iter().zip(&mut self.rejected) {
            if own == why {
                *count += 1;
            }
        }
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// One sentence for the partial success of the OTLP response.
    pub(crate) fn reason(&self) -> Option<String> {
        let parts: Vec<String> = Rejection::ALL
            .into_iter()
            .zip(self.rejected)
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| format!("{count} {}", why.text()))
            .collect();
        (!parts.is_empty()).then(|| format!("rejected: {}", parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a sender reads how many were turned away for which reason, and every reason is counted.
    #[test]
    fn reasons() {
        let (mut tally, mut counters) = (Tally::default(), SignalsCounters::default());
        assert_eq!(tally.reason(), None);
        for why in Rejection::ALL {
            tally.reject(why, &mut counters);
        }
        tally.reject(Rejection::Future, &mut counters);
        assert_eq!((tally.rejected(), counters.rejected_future), (8, 2));
        insta::assert_snapshot!(tally.reason().unwrap().replace("; ", "\n"), @r"
        rejected: 1 not finite or contradicting itself
        2 too far ahead of the receiver's clock (`future_max_ms`)
        1 of new series over `series_max`
        known series go on
        1 of new series over `series_per_metric_max`
        known series go on
        1 of new resources over `resources_max`
        known resources go on
        1 of a metric without a name
        1 without an end, or ending before they start
        ");
    }
}
