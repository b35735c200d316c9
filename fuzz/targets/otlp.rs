//! OTLP protobuf. The first byte says which signal the rest is.
//!
//! What must hold: no panic; what the check takes is walked to its end, is read by an owned decoder too, and both see the
//! same things.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    metrics::v1::metric::Data,
};
use prost::Message;
use salve_otlp::{
    Attributes, ExponentialHistogramPoint, HistogramPoint, Limits, LogRecord, LogsVisitor, Metric,
    MetricsVisitor, NumberPoint, Resource, Scope, Span, SummaryPoint, TracesVisitor, check_logs, check_metrics,
    check_traces, walk_logs, walk_metrics, walk_traces,
};

/// What was seen, in a form that two decoders can agree on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    resources: u64,
    scopes: u64,
    metrics: u64,
    items: u64,
    /// Sums, wrapping.
    times: u64,
    attributes: u64,
    text_bytes: u64,
}

impl Seen {
    fn item(&mut self, time: u64, attributes: u64) {
        self.items += 1;
        self.times = self.times.wrapping_add(time);
        self.attributes += attributes;
    }
}

fn count(attributes: Attributes<'_>) -> u64 {
    attributes.iter().count() as u64
}

macro_rules! containers {
    () => {
        fn resource(&mut self, resource: Resource<'_>) {
            self.resources += 1;
            self.attributes += count(resource.attributes);
        }
        fn scope(&mut self, scope: Scope<'_>) {
            self.scopes += 1;
            self.attributes += count(scope.attributes);
            self.text_bytes += (scope.name.len() + scope.version.len()) as u64;
        }
    };
}

impl MetricsVisitor for Seen {
    containers!();
    fn metric(&mut self, metric: Metric<'_>) {
        self.metrics += 1;
        self.text_bytes += (metric.name.len() + metric.unit.len()) as u64;
    }
    fn number(&mut self, point: NumberPoint<'_>) {
        self.item(point.time, count(point.attributes));
    }
    fn histogram(&mut self, point: HistogramPoint<'_>) {
        self.times = self.times.wrapping_add(point.bucket_counts.iter_u64().fold(0, u64::wrapping_add));
        self.item(point.time, count(point.attributes));
    }
    fn exponential_histogram(&mut self, point: ExponentialHistogramPoint<'_>) {
        for side in [point.positive, point.negative] {
            self.times = self.times.wrapping_add(side.counts.iter_u64().fold(0, u64::wrapping_add));
        }
        self.item(point.time, count(point.attributes));
    }
    fn summary(&mut self, point: SummaryPoint<'_>) {
        self.text_bytes += point.quantiles().count() as u64;
        self.item(point.time, count(point.attributes));
    }
}

impl TracesVisitor for Seen {
    containers!();
    fn span(&mut self, span: Span<'_>) {
        self.text_bytes += span.name.len() as u64;
        self.item(span.start_time.wrapping_add(span.end_time), count(span.attributes));
    }
}

impl LogsVisitor for Seen {
    containers!();
    fn log_record(&mut self, record: LogRecord<'_>) {
        self.text_bytes += record.severity_text.len() as u64;
        self.item(0, count(record.attributes));
    }
}

macro_rules! owned_containers {
    ($seen:expr, $resource:expr, $scopes:ident) => {
        $seen.resources += 1;
        $seen.attributes += $resource.resource.as_ref().map_or(0, |resource| resource.attributes.len()) as u64;
        for scope in &$resource.$scopes {
            $seen.scopes += 1;
            if let Some(scope) = &scope.scope {
                $seen.attributes += scope.attributes.len() as u64;
                $seen.text_bytes += (scope.name.len() + scope.version.len()) as u64;
            }
        }
    };
}

fn metrics(bytes: &[u8]) {
    let Ok(counts) = check_metrics(bytes, &Limits::default()) else { return };
    let mut walked = Seen::default();
    walk_metrics(bytes, &mut walked).expect("what was checked is walked");
    let owned = ExportMetricsServiceRequest::decode(bytes).expect("what was checked is protobuf");
    let mut seen = Seen::default();
    for resource in &owned.resource_metrics {
        owned_containers!(seen, resource, scope_metrics);
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            seen.metrics += 1;
            seen.text_bytes += (metric.name.len() + metric.unit.len()) as u64;
            match &metric.data {
                None => {}
                Some(Data::Gauge(gauge)) => gauge
                    .data_points
                    .iter()
                    .for_each(|point| seen.item(point.time_unix_nano, point.attributes.len() as u64)),
                Some(Data::Sum(sum)) => sum
                    .data_points
                    .iter()
                    .for_each(|point| seen.item(point.time_unix_nano, point.attributes.len() as u64)),
                Some(Data::Histogram(histogram)) => histogram.data_points.iter().for_each(|point| {
                    let counts = point.bucket_counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                    seen.times = seen.times.wrapping_add(counts);
                    seen.item(point.time_unix_nano, point.attributes.len() as u64);
                }),
                Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.iter().for_each(|point| {
                    for side in [&point.positive, &point.negative].into_iter().flatten() {
                        let counts =
                            side.bucket_counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                        seen.times = seen.times.wrapping_add(counts);
                    }
                    seen.item(point.time_unix_nano, point.attributes.len() as u64);
                }),
                Some(Data::Summary(summary)) => summary.data_points.iter().for_each(|point| {
                    seen.text_bytes += point.quantile_values.len() as u64;
                    seen.item(point.time_unix_nano, point.attributes.len() as u64);
                }),
            }
        }
    }
    assert_eq!(walked, seen);
    assert_eq!(counts.items, seen.items);
}

fn traces(bytes: &[u8]) {
    let Ok(counts) = check_traces(bytes, &Limits::default()) else { return };
    let mut walked = Seen::default();
    walk_traces(bytes, &mut walked).expect("what was checked is walked");
    let owned = ExportTraceServiceRequest::decode(bytes).expect("what was checked is protobuf");
    let mut seen = Seen::default();
    for resource in &owned.resource_spans {
        owned_containers!(seen, resource, scope_spans);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            seen.text_bytes += span.name.len() as u64;
            let times = span.start_time_unix_nano.wrapping_add(span.end_time_unix_nano);
            seen.item(times, span.attributes.len() as u64);
        }
    }
    assert_eq!(walked, seen);
    assert_eq!(counts.items, seen.items);
}

fn logs(bytes: &[u8]) {
    let Ok(counts) = check_logs(bytes, &Limits::default()) else { return };
    let mut walked = Seen::default();
    walk_logs(bytes, &mut walked).expect("what was checked is walked");
    let owned = ExportLogsServiceRequest::decode(bytes).expect("what was checked is protobuf");
    let mut seen = Seen::default();
    for resource in &owned.resource_logs {
        owned_containers!(seen, resource, scope_logs);
        for record in resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            seen.text_bytes += record.severity_text.len() as u64;
            seen.item(0, record.attributes.len() as u64);
        }
    }
    assert_eq!(walked, seen);
    assert_eq!(counts.items, seen.items);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((signal, request)) = bytes.split_first() else { return };
    match signal % 3 {
        0 => metrics(request),
        1 => traces(request),
        _ => logs(request),
    }
});
