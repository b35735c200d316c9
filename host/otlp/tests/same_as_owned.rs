//! Compares the walk with owned decoding by prost, on requests with everything that OTLP can say.

mod arbitrary;

use arbitrary::{logs_request, metrics_request, traces_request};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Owned},
    metrics::v1::{exponential_histogram_data_point::Buckets, metric::Data, number_data_point},
    resource::v1,
};
use proptest::prelude::*;
use prost::Message;
use salve_otlp::{
    Attributes, ExponentialBuckets, ExponentialHistogramPoint, HistogramPoint, Limits, LogRecord,
    LogsVisitor, Metric, MetricsVisitor, NumberPoint, Resource, Scope, Span, SummaryPoint, TracesVisitor,
    Value, check_logs, check_metrics, check_traces, walk_logs, walk_metrics, walk_traces,
};

/// Everything that was told or decoded, written out line by line: NaN equals NaN here.
#[derive(Default, PartialEq)]
struct Told(Vec<String>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Told {
    /// Encoded arrays and maps keep the order of the wire and unknown fields, which owned decoding loses.
    fn without_composites(mut self) -> Self {
        for line in self.0.iter_mut().filter(|line| line.contains("Composite")) {
            line.clear();
        }
        self
    }
}

macro_rules! tell {
    ($told:expr, $($argument:tt)*) => { $told.0.push(format!($($argument)*)) };
}

fn borrowed(attributes: Attributes<'_>) -> String {
    let pairs: Vec<String> = attributes.iter().map(|(key, value)| format!("{key:?}={value:?}")).collect();
    assert!(pairs.is_empty() || !attributes.is_empty());
    pairs.join(",")
}

fn owned(attributes: &[KeyValue]) -> String {
    let pairs: Vec<String> = attributes
        .iter()
        .map(|pair| format!("{:?}={}", pair.key, owned_value(pair.value.as_ref())))
        .collect();
    pairs.join(",")
}

fn owned_value(value: Option<&AnyValue>) -> String {
    let (array, map);
    let value = match value.and_then(|value| value.value.as_ref()) {
        None | Some(Owned::StringValueStrindex(_)) => Value::Empty,
        Some(Owned::StringValue(text)) => Value::String(text),
        Some(Owned::BoolValue(value)) => Value::Bool(*value),
        Some(Owned::IntValue(value)) => Value::Int(*value),
        Some(Owned::DoubleValue(value)) => Value::Double(*value),
        Some(Owned::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(Owned::ArrayValue(value)) => {
            array = value.encode_to_vec();
            Value::Composite(&array)
        }
        Some(Owned::KvlistValue(value)) => {
            map = value.encode_to_vec();
            Value::Composite(&map)
        }
    };
    format!("{value:?}")
}

fn tell_resource(told: &mut Told, resource: Resource<'_>) {
    tell!(told, "resource {}", borrowed(resource.attributes));
}

fn tell_scope(told: &mut Told, scope: Scope<'_>) {
    tell!(told, "scope {:?} {:?} {}", scope.name, scope.version, borrowed(scope.attributes));
}

fn tell_owned_resource(told: &mut Told, resource: Option<&v1::Resource>) {
    tell!(told, "resource {}", owned(resource.map_or(&[], |resource| &resource.attributes)));
}

fn tell_owned_scope(told: &mut Told, scope: Option<&InstrumentationScope>) {
    let scope = scope.cloned().unwrap_or_default();
    tell!(told, "scope {:?} {:?} {}", scope.name, scope.version, owned(&scope.attributes));
}

impl MetricsVisitor for Told {
    fn resource(&mut self, resource: Resource<'_>) {
        tell_resource(self, resource);
    }
    fn scope(&mut self, scope: Scope<'_>) {
        tell_scope(self, scope);
    }
    fn metric(&mut self, metric: Metric<'_>) {
        tell!(self, "metric {:?} {:?} {:?}", metric.name, metric.unit, metric.kind);
    }
    fn number(&mut self, point: NumberPoint<'_>) {
        tell!(self, "{} {} {:?} {}", point.start_time, point.time, point.value, borrowed(point.attributes));
    }
    fn histogram(&mut self, point: HistogramPoint<'_>) {
        let counts: Vec<u64> = point.bucket_counts.iter_u64().collect();
        let bounds: Vec<f64> = point.explicit_bounds.iter_f64().collect();
        tell!(
            self,
            "{} {} {} {:?} {counts:?} {bounds:?} {:?} {:?} {} {}",
            point.start_time,
            point.time,
            point.count,
            point.sum,
            point.min,
            point.max,
            point.no_recorded_value,
            borrowed(point.attributes)
        );
    }
    fn exponential_histogram(&mut self, point: ExponentialHistogramPoint<'_>) {
        let side =
            |buckets: ExponentialBuckets<'_>| (buckets.offset, buckets.counts.iter_u64().collect::<Vec<_>>());
        tell!(
            self,
            "{} {} {} {:?} {} {} {:?} {:?} {:?} {:?} {} {}",
            point.start_time,
            point.time,
            point.count,
            point.sum,
            point.scale,
            point.zero_count,
            side(point.positive),
            side(point.negative),
            point.min,
            point.max,
            point.no_recorded_value,
            borrowed(point.attributes)
        );
    }
    fn summary(&mut self, point: SummaryPoint<'_>) {
        let quantiles: Vec<(f64, f64)> = point.quantiles().collect();
        tell!(
            self,
            "{} {} {} {} {quantiles:?} {} {}",
            point.start_time,
            point.time,
            point.count,
            point.sum,
            point.no_recorded_value,
            borrowed(point.attributes)
        );
    }
}

impl TracesVisitor for Told {
    fn resource(&mut self, resource: Resource<'_>) {
        tell_resource(self, resource);
    }
    fn scope(&mut self, scope: Scope<'_>) {
        tell_scope(self, scope);
    }
    fn span(&mut self, span: Span<'_>) {
        tell!(
            self,
            "{:?} {:?} {:?} {:?} {} {} {} {} {:?} {}",
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.name,
            span.kind as i32,
            span.start_time,
            span.end_time,
            span.error,
            span.status_message,
            borrowed(span.attributes)
        );
    }
}

impl LogsVisitor for Told {
    fn resource(&mut self, resource: Resource<'_>) {
        tell_resource(self, resource);
    }
    fn scope(&mut self, scope: Scope<'_>) {
        tell_scope(self, scope);
    }
    fn log_record(&mut self, record: LogRecord<'_>) {
        tell!(
            self,
            "{} {} {:?} {:?} {:?} {:?} {}",
            record.time,
            record.severity_number,
            record.severity_text,
            record.body,
            record.trace_id,
            record.span_id,
            borrowed(record.attributes)
        );
    }
}

fn temporality(number: i32) -> &'static str {
    match number {
        1 => "Delta",
        2 => "Cumulative",
        _ => "Unspecified",
    }
}

fn expected_metrics(request: &ExportMetricsServiceRequest) -> (Told, u64) {
    let mut told = Told::default();
    let mut points = 0;
    for resource in &request.resource_metrics {
        tell_owned_resource(&mut told, resource.resource.as_ref());
        for scope in &resource.scope_metrics {
            tell_owned_scope(&mut told, scope.scope.as_ref());
            for metric in &scope.metrics {
                let kind = match &metric.data {
                    None => "Empty".to_owned(),
                    Some(Data::Gauge(_)) => "Gauge".to_owned(),
                    Some(Data::Sum(sum)) => format!(
                        "Sum {{ temporality: {}, monotonic: {} }}",
                        temporality(sum.aggregation_temporality),
                        sum.is_monotonic
                    ),
                    Some(Data::Histogram(histogram)) => {
                        format!("Histogram({})", temporality(histogram.aggregation_temporality))
                    }
                    Some(Data::ExponentialHistogram(histogram)) => {
                        format!("ExponentialHistogram({})", temporality(histogram.aggregation_temporality))
                    }
                    Some(Data::Summary(_)) => "Summary".to_owned(),
                };
                tell!(told, "metric {:?} {:?} {kind}", metric.name, metric.unit);
                points += expected_points(&mut told, metric.data.as_ref());
            }
        }
    }
    (told, points)
}

fn expected_points(told: &mut Told, data: Option<&Data>) -> u64 {
    let before = told.0.len();
    match data {
        None => {}
        Some(Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge { data_points }))
        | Some(Data::Sum(opentelemetry_proto::tonic::metrics::v1::Sum { data_points, .. })) => {
            for point in data_points {
                let value = match &point.value {
                    _ if point.flags & 1 == 1 => None,
                    None => None,
                    Some(number_data_point::Value::AsDouble(value)) => Some(*value),
                    Some(number_data_point::Value::AsInt(value)) => Some(*value as f64),
                };
                tell!(
                    told,
                    "{} {} {value:?} {}",
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    owned(&point.attributes)
                );
            }
        }
        Some(Data::Histogram(histogram)) => {
            for point in &histogram.data_points {
                tell!(
                    told,
                    "{} {} {} {:?} {:?} {:?} {:?} {:?} {} {}",
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.count,
                    point.sum,
                    point.bucket_counts,
                    point.explicit_bounds,
                    point.min,
                    point.max,
                    point.flags & 1 == 1,
                    owned(&point.attributes)
                );
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let side = |buckets: &Option<Buckets>| {
                let buckets = buckets.clone().unwrap_or_default();
                (buckets.offset, buckets.bucket_counts)
            };
            for point in &histogram.data_points {
                tell!(
                    told,
                    "{} {} {} {:?} {} {} {:?} {:?} {:?} {:?} {} {}",
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.count,
                    point.sum,
                    point.scale,
                    point.zero_count,
                    side(&point.positive),
                    side(&point.negative),
                    point.min,
                    point.max,
                    point.flags & 1 == 1,
                    owned(&point.attributes)
                );
            }
        }
        Some(Data::Summary(summary)) => {
            for point in &summary.data_points {
                let quantiles: Vec<(f64, f64)> =
                    point.quantile_values.iter().map(|pair| (pair.quantile, pair.value)).collect();
                tell!(
                    told,
                    "{} {} {} {} {quantiles:?} {} {}",
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.count,
                    point.sum,
                    point.flags & 1 == 1,
                    owned(&point.attributes)
                );
            }
        }
    }
    (told.0.len() - before) as u64
}

fn expected_traces(request: &ExportTraceServiceRequest) -> (Told, u64) {
    let mut told = Told::default();
    let mut spans = 0;
    for resource in &request.resource_spans {
        tell_owned_resource(&mut told, resource.resource.as_ref());
        for scope in &resource.scope_spans {
            tell_owned_scope(&mut told, scope.scope.as_ref());
            for span in &scope.spans {
                spans += 1;
                let status = span.status.clone().unwrap_or_default();
                tell!(
                    told,
                    "{:?} {:?} {:?} {:?} {} {} {} {} {:?} {}",
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.name,
                    if (1..=5).contains(&span.kind) { span.kind } else { 0 },
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    status.code == 2,
                    status.message,
                    owned(&span.attributes)
                );
            }
        }
    }
    (told, spans)
}

fn expected_logs(request: &ExportLogsServiceRequest) -> (Told, u64) {
    let mut told = Told::default();
    let mut records = 0;
    for resource in &request.resource_logs {
        tell_owned_resource(&mut told, resource.resource.as_ref());
        for scope in &resource.scope_logs {
            tell_owned_scope(&mut told, scope.scope.as_ref());
            for record in &scope.log_records {
                records += 1;
                let time = if record.time_unix_nano == 0 {
                    record.observed_time_unix_nano
                } else {
                    record.time_unix_nano
                };
                tell!(
                    told,
                    "{time} {} {:?} {} {:?} {:?} {}",
                    if (0..=24).contains(&record.severity_number) { record.severity_number } else { 0 },
                    record.severity_text,
                    owned_value(record.body.as_ref()),
                    record.trace_id,
                    record.span_id,
                    owned(&record.attributes)
                );
            }
        }
    }
    (told, records)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guarantees: the walk tells of metrics exactly what owned decoding holds, in the same order, and counts points.
    #[test]
    fn metrics(request in metrics_request()) {
        let bytes = request.encode_to_vec();
        // Decoded again, since prost does not write -0.0.
        let request = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let (expected, points) = expected_metrics(&request);
        let counts = check_metrics(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!((counts.resources, counts.items), (request.resource_metrics.len() as u64, points));
        let mut told = Told::default();
        walk_metrics(&bytes, &mut told).unwrap();
        prop_assert_eq!(told, expected);
    }

    /// Guarantees: the same for spans.
    #[test]
    fn traces(request in traces_request()) {
        let bytes = request.encode_to_vec();
        // Decoded again, since prost does not write -0.0.
        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let (expected, spans) = expected_traces(&request);
        let counts = check_traces(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!((counts.resources, counts.items), (request.resource_spans.len() as u64, spans));
        let mut told = Told::default();
        walk_traces(&bytes, &mut told).unwrap();
        prop_assert_eq!(told, expected);
    }

    /// Guarantees: the same for log records.
    #[test]
    fn logs(request in logs_request()) {
        let bytes = request.encode_to_vec();
        // Decoded again, since prost does not write -0.0.
        let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        let (expected, records) = expected_logs(&request);
        let counts = check_logs(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!((counts.resources, counts.items), (request.resource_logs.len() as u64, records));
        let mut told = Told::default();
        walk_logs(&bytes, &mut told).unwrap();
        prop_assert_eq!(told, expected);
    }

    /// Scenario: the fields of every message on the wire are turned around, repeated ones too.
    /// Guarantees: the walk still tells what owned decoding of the same bytes holds.
    #[test]
    fn fields_in_reverse_order(request in metrics_request()) {
        let bytes = arbitrary::reversed(&request.encode_to_vec(), &salve_otlp::schema::METRICS);
        let owned = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        check_metrics(&bytes, &Limits::default()).unwrap();
        let mut told = Told::default();
        walk_metrics(&bytes, &mut told).unwrap();
        prop_assert_eq!(told.without_composites(), expected_metrics(&owned).0.without_composites());
    }

    /// Guarantees: whatever strangers send, nothing panics; what the check accepts is walked without error, and prost
    /// decodes it and finds the same in it.
    #[test]
    fn damaged_metrics(request in metrics_request(), damage in arbitrary::damage()) {
        let bytes = arbitrary::damaged(request.encode_to_vec(), &damage);
        let mut told = Told::default();
        let walked = walk_metrics(&bytes, &mut told);
        if check_metrics(&bytes, &Limits::default()).is_ok() {
            prop_assert_eq!(walked, Ok(()));
            let owned = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
            let (expected, points) = expected_metrics(&owned);
            prop_assert_eq!(told.without_composites(), expected.without_composites());
            prop_assert_eq!(points, check_metrics(&bytes, &Limits::default()).unwrap().items);
        }
    }

    /// Guarantees: the same for spans.
    #[test]
    fn damaged_traces(request in traces_request(), damage in arbitrary::damage()) {
        let bytes = arbitrary::damaged(request.encode_to_vec(), &damage);
        let mut told = Told::default();
        let walked = walk_traces(&bytes, &mut told);
        if check_traces(&bytes, &Limits::default()).is_ok() {
            prop_assert_eq!(walked, Ok(()));
            let owned = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            prop_assert_eq!(told.without_composites(), expected_traces(&owned).0.without_composites());
        }
    }

    /// Guarantees: the same for log records.
    #[test]
    fn damaged_logs(request in logs_request(), damage in arbitrary::damage()) {
        let bytes = arbitrary::damaged(request.encode_to_vec(), &damage);
        let mut told = Told::default();
        let walked = walk_logs(&bytes, &mut told);
        if check_logs(&bytes, &Limits::default()).is_ok() {
            prop_assert_eq!(walked, Ok(()));
            let owned = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
            prop_assert_eq!(told.without_composites(), expected_logs(&owned).0.without_composites());
        }
    }

    /// Guarantees: bytes without any meaning do not panic either.
    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut told = Told::default();
        let metrics = walk_metrics(&bytes, &mut told);
        let traces = walk_traces(&bytes, &mut told);
        let logs = walk_logs(&bytes, &mut told);
        let limits = Limits::default();
        prop_assert!(check_metrics(&bytes, &limits).is_err() || metrics.is_ok());
        prop_assert!(check_traces(&bytes, &limits).is_err() || traces.is_ok());
        prop_assert!(check_logs(&bytes, &limits).is_err() || logs.is_ok());
    }
}
