//! What the engine took in, and what it turned away or dropped: nothing is lost without being counted here.

/// Running totals since the engine was made, and sizes as they are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalsCounters {
    /// Metric points taken in.
    pub points: u64,
    /// Spans taken in.
    pub spans: u64,
    /// Log records taken in.
    pub log_records: u64,
    /// Points of series made: from metrics, spans and logs.
    pub series_points: u64,
    /// Series now.
    pub series: u64,
    /// Resources now.
    pub resources: u64,
    /// Services now.
    pub services: u64,
    /// Edges now.
    pub edges: u64,
    /// Spans that wait for their other half, now.
    pub spans_in_flight: u64,

    /// Rejected: NaN, an infinity or counts that contradict each other.
    pub rejected_not_finite: u64,
    /// Rejected: too far ahead of the receive time.
    pub rejected_future: u64,
    /// Rejected: `series_max` was reached.
    pub rejected_series_limit: u64,
    /// Rejected: `series_per_metric_max` was reached.
    pub rejected_metric_limit: u64,
    /// Rejected: `resources_max` was reached.
    pub rejected_resource_limit: u64,
    /// Rejected: a metric without a name.
    pub rejected_unnamed: u64,
    /// Rejected: a span that ends before it starts, or does not say when.
    pub rejected_span_times: u64,

    /// Points with the flag "no recorded value", or without one.
    pub points_without_value: u64,
    /// Points and records without a time: the receive time stands for it.
    pub times_missing: u64,
    /// Points older than the newest of their series: in history at most, not scored.
    pub points_out_of_order: u64,
    /// Points at a time that their series has already.
    pub points_duplicate: u64,
    /// Points that are not finite once they were turned into a rate or a quantile.
    pub points_overflowed: u64,
    /// Counters and histograms that began anew.
    pub resets: u64,
    /// Histogram points with more than `histogram_buckets_max` buckets, from which only rate and mean were derived.
    pub histograms_too_wide: u64,
    /// Series and resources with more than `attribute_bytes_max` bytes of attributes.
    pub attributes_cut: u64,

    /// Spans whose bucket was closed: in the sums of `services` and `edges`, not in series.
    pub spans_late: u64,
    /// Spans older than all buckets that are kept.
    pub spans_too_old: u64,
    /// Log records whose bucket was closed.
    pub log_records_late: u64,
    /// Spans and log records of resources without `service.name`: taken in, nothing derived.
    pub without_service: u64,
    /// Spans and log records of services beyond `services_max`: taken in, nothing derived.
    pub services_over_limit: u64,
    /// Spans of operations beyond `operations_per_service_max`: counted for the service alone.
    pub operations_over_limit: u64,
    /// Calls on edges beyond `edges_max`.
    pub edges_over_limit: u64,
    /// Client spans whose server span was found.
    pub edges_matched: u64,
    /// Client spans without one, attributed by `peer.service` or by what their address stood for before.
    pub edges_by_name: u64,
    /// Client spans with neither.
    pub edges_unknown: u64,
    /// Spans that gave up waiting for their other half because `spans_in_flight_max` was reached.
    pub spans_evicted: u64,

    /// Points dropped because nobody fetched the batches of a detector.
    pub pending_dropped: u64,
    /// Series that a detector does not see because its shard is full.
    pub series_unscored: u64,
    /// Points under watch that nobody fetched.
    pub watched_dropped: u64,
    /// Series, resources, services and edges forgotten because they were silent.
    pub expired: u64,
    /// Changes that were forgotten because newer ones came.
    pub changes_dropped: u64,
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
