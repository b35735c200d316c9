//! Builds OTLP requests with the owned types of `opentelemetry-proto`, which Salve's own walker does not share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test file uses its part, and a test may panic"
)]

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, exponential_histogram_data_point::Buckets, metric, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message;
use salve_model::{Tenant, batch::Batch, time::Now};
use salve_signals::{
    Applied, BindingId, DetectorBinding, SeriesSelector, Signal, Signals, SignalsConfig, TenantView,
};
use std::{collections::BTreeMap, sync::LazyLock};

/// A second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// When the tests begin, in Unix seconds: on no special boundary but that of a minute.
pub const START: u64 = 1_800_000_000;

/// Unix nanoseconds, so many milliseconds after the start.
pub fn at(ms: u64) -> u64 {
    START * SECOND + ms * 1_000_000
}

/// Receive time, so many milliseconds after the start.
pub fn now(ms: u64) -> Now {
    Now(START * 1_000 + ms)
}

pub fn text(name: &str, value: &str) -> KeyValue {
    any(name, any_value::Value::StringValue(value.into()))
}

pub fn int(name: &str, value: i64) -> KeyValue {
    any(name, any_value::Value::IntValue(value))
}

fn any(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub fn resource(service: &str, more: &[(&str, &str)]) -> Resource {
    let mut attributes = vec![text("service.name", service)];
    attributes.extend(more.iter().map(|(name, value)| text(name, value)));
    Resource { attributes, ..Resource::default() }
}

pub fn metrics_of(resource: Resource, metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

pub fn spans_of(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource(service, &[])),
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

pub fn logs_of(service: &str, records: &[(u64, i32)]) -> Vec<u8> {
    let log_records = records
        .iter()
        .map(|(time, severity)| LogRecord {
            time_unix_nano: *time,
            severity_number: *severity,
            ..LogRecord::default()
        })
        .collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource(service, &[])), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

pub fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Metric::default() }
}

pub fn number(start: u64, time: u64, value: f64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.iter().map(|(name, value)| text(name, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

pub fn gauge(name: &str, unit: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, unit, metric::Data::Gauge(Gauge { data_points: points }))
}

pub fn sum(name: &str, delta: bool, monotonic: bool, points: Vec<NumberDataPoint>) -> Metric {
    let sum =
        Sum { data_points: points, aggregation_temporality: temporality(delta), is_monotonic: monotonic };
    metric(name, "By", metric::Data::Sum(sum))
}

fn temporality(delta: bool) -> i32 {
    let temporality = if delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative };
    temporality.into()
}

pub fn histogram(name: &str, delta: bool, points: Vec<HistogramDataPoint>) -> Metric {
    let histogram = Histogram { data_points: points, aggregation_temporality: temporality(delta) };
    metric(name, "ms", metric::Data::Histogram(histogram))
}

pub fn histogram_point(
    start: u64,
    time: u64,
    sum: f64,
    bounds: &[f64],
    counts: &[u64],
) -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum: Some(sum),
        explicit_bounds: bounds.to_vec(),
        bucket_counts: counts.to_vec(),
        ..HistogramDataPoint::default()
    }
}

pub fn exponential(name: &str, delta: bool, points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let histogram = ExponentialHistogram { data_points: points, aggregation_temporality: temporality(delta) };
    metric(name, "ms", metric::Data::ExponentialHistogram(histogram))
}

pub fn exponential_point(
    start: u64,
    time: u64,
    sum: f64,
    scale: i32,
    offset: i32,
    counts: &[u64],
) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum: Some(sum),
        scale,
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        ..ExponentialHistogramDataPoint::default()
    }
}

pub fn summary(name: &str, time: u64, count: u64, sum: f64, quantiles: &[(f64, f64)]) -> Metric {
    let quantile_values = quantiles
        .iter()
        .map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value })
        .collect();
    let point =
        SummaryDataPoint { time_unix_nano: time, count, sum, quantile_values, ..SummaryDataPoint::default() };
    metric(name, "ms", metric::Data::Summary(Summary { data_points: vec![point] }))
}

/// Kinds of spans as the protocol numbers them.
pub const SERVER: i32 = 2;
pub const CLIENT: i32 = 3;

/// A span of so many milliseconds. `ids`: of trace, span and parent (0: none).
pub fn span(
    kind: i32,
    name: &str,
    ids: (u64, u64, u64),
    end: u64,
    duration_ms: u64,
    attributes: Vec<KeyValue>,
) -> Span {
    let (trace, span, parent) = ids;
    Span {
        trace_id: u128::from(trace).to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        name: name.into(),
        kind,
        start_time_unix_nano: end - duration_ms * 1_000_000,
        end_time_unix_nano: end,
        attributes,
        ..Span::default()
    }
}

pub fn failed(mut span: Span) -> Span {
    span.status = Some(Status { code: 2, ..Status::default() });
    span
}

/// Whose telemetry an [`Engine`] takes.
pub static OWN: LazyLock<Tenant> = LazyLock::new(Tenant::default);

/// An engine with one detector that sees everything.
pub struct Engine {
    pub signals: Signals,
    pub detector: BindingId,
    names: BTreeMap<u32, String>,
}

impl Engine {
    pub fn new(config: SignalsConfig) -> Self {
        let mut signals = Signals::new(config);
        signals.tick(now(0));
        let detector = signals.bind_detector(DetectorBinding::new("all", SeriesSelector::default()));
        Self { signals, detector, names: BTreeMap::new() }
    }

    /// Buckets of a second that close half a second after their end.
    pub fn quick() -> Self {
        Self::new(quick())
    }

    /// What the tenant whose telemetry this is may see.
    pub fn view(&self) -> TenantView<'_> {
        self.signals.of(&OWN)
    }

    pub fn metrics(&mut self, now_ms: u64, metrics: Vec<Metric>) -> Applied {
        self.apply(Signal::Metrics, now_ms, &metrics_of(resource("shop", &[]), metrics))
    }

    pub fn apply(&mut self, signal: Signal, now_ms: u64, request: &[u8]) -> Applied {
        let check = match signal {
            Signal::Metrics => salve_otlp::check_metrics,
            Signal::Traces => salve_otlp::check_traces,
            Signal::Logs => salve_otlp::check_logs,
        };
        check(request, &salve_otlp::Limits::default()).expect("requests of tests are OTLP");
        self.signals.apply(signal, &Tenant::default(), request, now(now_ms))
    }

    /// New points as lines `name{attributes}: value@ms!`, sorted; `!` for a gap or reset.
    pub fn fresh(&mut self, now_ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for (_, _, batch) in self.signals.take_batches(now(now_ms)) {
            self.learn(&batch);
            for (index, id) in batch.series.iter().enumerate() {
                for point in batch.offsets[index] as usize..batch.offsets[index + 1] as usize {
                    let ms = (batch.times[point] - START * SECOND) / 1_000_000;
                    let flag = if batch.point_flags[point] == 0 { "" } else { "!" };
                    lines.push(format!("{}: {}@{ms}{flag}", self.names[id], rounded(batch.values[point])));
                }
            }
        }
        lines.sort();
        lines
    }

    fn learn(&mut self, batch: &Batch) {
        for removed in &batch.removed {
            self.names.remove(removed);
        }
        for added in &batch.added {
            let attributes: Vec<String> =
                added.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let limit = added.limit.map_or(String::new(), |limit| format!(" limit {limit}"));
            self.names.insert(added.id, format!("{}{{{}}}{limit}", added.series.name, attributes.join(",")));
        }
    }

    /// Names of the series that the detector knows.
    pub fn names(&self) -> Vec<&str> {
        self.names.values().map(String::as_str).collect()
    }
}

/// Buckets of a second that close half a second after their end.
pub fn quick() -> SignalsConfig {
    SignalsConfig { bucket_ms: 1_000, lateness_ms: 500, ..SignalsConfig::default() }
}

/// Six digits are enough to compare.
pub fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
