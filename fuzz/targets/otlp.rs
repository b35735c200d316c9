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
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, Gauge, Histogram, ResourceMetrics, ScopeMetrics, Sum, Summary,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource as OwnedResource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Status,
        span::{Event, Link},
    },
};
use prost::Message;
use salve_fuzz::seeds;
use salve_otlp::{
    Attributes, ExponentialHistogramPoint, HistogramPoint, Limits, LogRecord, LogsVisitor, Metric,
    MetricsVisitor, NumberPoint, Resource, Scope, Span, SummaryPoint, TracesVisitor, check_logs,
    check_metrics, check_traces, walk_logs, walk_metrics, walk_traces,
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
        $seen.attributes +=
            $resource.resource.as_ref().map_or(0, |resource| resource.attributes.len()) as u64;
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
                    let counts =
                        point.bucket_counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                    seen.times = seen.times.wrapping_add(counts);
                    seen.item(point.time_unix_nano, point.attributes.len() as u64);
                }),
                Some(Data::ExponentialHistogram(histogram)) => {
                    histogram.data_points.iter().for_each(|point| {
                        for side in [&point.positive, &point.negative].into_iter().flatten() {
                            let counts =
                                side.bucket_counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                            seen.times = seen.times.wrapping_add(counts);
                        }
                        seen.item(point.time_unix_nano, point.attributes.len() as u64);
                    })
                }
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

/// One request of each signal, with something in each field.
fn make_seeds() -> Vec<Vec<u8>> {
    let seeds = vec![
        [&[0][..], &metrics_request().encode_to_vec()].concat(),
        [&[1][..], &traces_request().encode_to_vec()].concat(),
        [&[2][..], &logs_request().encode_to_vec()].concat(),
    ];
    let limits = Limits::default();
    assert_eq!(check_metrics(&seeds[0][1..], &limits).map(|counts| counts.items), Ok(5));
    assert_eq!(check_traces(&seeds[1][1..], &limits).map(|counts| counts.items), Ok(1));
    assert_eq!(check_logs(&seeds[2][1..], &limits).map(|counts| counts.items), Ok(1));
    seeds
}

fn attributes() -> Vec<KeyValue> {
    let value = |value| Some(AnyValue { value: Some(value) });
    let list = ArrayValue {
        values: [Value::IntValue(-1), Value::BoolValue(true)].map(|v| AnyValue { value: Some(v) }).to_vec(),
    };
    let map = KeyValueList {
        values: vec![KeyValue {
            key: "a".into(),
            value: value(Value::ArrayValue(list)),
            ..KeyValue::default()
        }],
    };
    [
        ("service.name", Value::StringValue("shop".into())),
        ("d", Value::DoubleValue(1.5)),
        ("b", Value::BytesValue(vec![0, 255])),
        ("m", Value::KvlistValue(map)),
    ]
    .map(|(key, of)| KeyValue { key: key.into(), value: value(of), ..KeyValue::default() })
    .to_vec()
}

fn resource() -> Option<OwnedResource> {
    Some(OwnedResource { attributes: attributes(), ..OwnedResource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let scope =
        InstrumentationScope { name: "s".into(), version: "1".into(), ..InstrumentationScope::default() };
    Some(InstrumentationScope { attributes: attributes(), ..scope })
}

fn metrics_request() -> ExportMetricsServiceRequest {
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    };
    let exemplars =
        vec![Exemplar { filtered_attributes: attributes(), time_unix_nano: 4, ..Exemplar::default() }];
    let number = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        flags: 1,
        value: Some(value),
        exemplars: exemplars.clone(),
    };
    let buckets = || Some(Buckets { offset: -3, bucket_counts: vec![1, 300, 0] });
    let data = [
        Data::Gauge(Gauge { data_points: vec![number(number_data_point::Value::AsDouble(1.5))] }),
        Data::Sum(Sum {
            data_points: vec![number(number_data_point::Value::AsInt(-7))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                attributes: attributes(),
                time_unix_nano: 2,
                count: 3,
                sum: Some(2.5),
                bucket_counts: vec![1, 2, 0],
                explicit_bounds: vec![0.5, 1.0],
                min: Some(0.1),
                max: Some(2.0),
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: 1,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint {
                attributes: attributes(),
                time_unix_nano: 2,
                count: 9,
                scale: -2,
                zero_count: 1,
                positive: buckets(),
                negative: buckets(),
                zero_threshold: 0.25,
                ..ExponentialHistogramDataPoint::default()
            }],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary {
            data_points: vec![SummaryDataPoint {
                attributes: attributes(),
                time_unix_nano: 2,
                count: 4,
                sum: 8.0,
                quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 2.0 }],
                ..SummaryDataPoint::default()
            }],
        }),
    ];
    let metrics =
        data.map(|data| Metric { name: "m".into(), unit: "1".into(), data: Some(data), ..Metric::default() });
    let scope_metrics =
        vec![ScopeMetrics { scope: scope(), metrics: metrics.to_vec(), schema_url: "u".into() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(), scope_metrics, schema_url: "u".into() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn traces_request() -> ExportTraceServiceRequest {
    use opentelemetry_proto::tonic::trace::v1::Span;
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        trace_state: "a=b".into(),
        name: "GET /".into(),
        kind: 2,
        flags: 1,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: attributes(),
        events: vec![Event {
            time_unix_nano: 1,
            name: "e".into(),
            attributes: attributes(),
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            attributes: attributes(),
            ..Link::default()
        }],
        status: Some(Status { message: "no".into(), code: 2 }),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span], schema_url: "u".into() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, schema_url: "u".into() }];
    ExportTraceServiceRequest { resource_spans }
}

fn logs_request() -> ExportLogsServiceRequest {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    let record = LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue { value: Some(Value::StringValue("out of memory".into())) }),
        attributes: attributes(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: vec![record], schema_url: "u".into() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, schema_url: "u".into() }];
    ExportLogsServiceRequest { resource_logs }
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    let Some((signal, request)) = bytes.split_first() else { return };
    match signal % 3 {
        0 => metrics(request),
        1 => traces(request),
        _ => logs(request),
    }
});
