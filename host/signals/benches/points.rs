//! From OTLP bytes to columns for detectors: time per point, and bytes per series with two hours of history.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use salve_model::{Tenant, time::Now};
use salve_signals::{DetectorBinding, SeriesSelector, Signal, Signals, SignalsConfig};
use std::time::Duration;

const START_MS: u64 = 1_800_000_000_000;
/// Series that are known before anything is measured.
const SERIES: u64 = 10_000;

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn resource(number: u64) -> Resource {
    let attributes = vec![
        text("service.name", format!("service-{number}")),
        text("service.instance.id", format!("0b3e8f8e-2a0c-4c37-9c6f-{number:012}")),
        text("host.name", format!("host-{}", number % 7)),
    ];
    Resource { attributes, ..Resource::default() }
}

/// 100 resources, each with ten metrics of ten points with three attributes.
fn metrics(ms: u64, noise: &mut impl FnMut() -> f64) -> Vec<u8> {
    let resource_metrics = (0..SERIES / 100)
        .map(|service| {
            let metrics = (0..10).map(|number| {
                let data_points = (0..10).map(|route| NumberDataPoint {
                    attributes: vec![
                        text("http.request.method", "GET".into()),
                        text("http.route", format!("/api/v1/items/{route}")),
                        text("network.protocol.version", "1.1".into()),
                    ],
                    start_time_unix_nano: START_MS * 1_000_000,
                    time_unix_nano: ms * 1_000_000,
                    value: Some(number_data_point::Value::AsDouble((ms - START_MS) as f64 + noise())),
                    ..NumberDataPoint::default()
                });
                let data_points = data_points.collect();
                let data = if number % 2 == 0 {
                    metric::Data::Gauge(Gauge { data_points })
                } else {
                    let aggregation_temporality = AggregationTemporality::Cumulative.into();
                    metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
                };
                Metric {
                    name: format!("http.server.metric.{number}"),
                    unit: "1".into(),
                    data: Some(data),
                    ..Metric::default()
                }
            });
            let scope_metrics = vec![ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() }];
            ResourceMetrics { resource: Some(resource(service)), scope_metrics, ..ResourceMetrics::default() }
        })
        .collect();
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A thousand requests, each a client span and the server span that it caused.
fn spans(ms: u64) -> Vec<u8> {
    let span = |kind: i32, service: u64, id: u64, parent: u64| Span {
        trace_id: u128::from(ms * 10_000 + id / 2).to_be_bytes().to_vec(),
        span_id: (ms * 10_000 + id).to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { vec![] } else { (ms * 10_000 + parent).to_be_bytes().to_vec() },
        name: format!("GET /items/{}", service % 5),
        kind,
        start_time_unix_nano: (ms - 20 - id % 13) * 1_000_000,
        end_time_unix_nano: ms * 1_000_000,
        attributes: vec![
            text("server.address", format!("10.0.0.{}", service % 20)),
            text("http.request.method", "GET".into()),
        ],
        ..Span::default()
    };
    let resource_spans = (0..20).map(|service| {
        let spans = (0..50).flat_map(|number| {
            let own = service * 200 + number * 2 + 2;
            let called = ((service + 19) % 20) * 200 + number * 2 + 2;
            [span(3, service + 1, own, 0), span(2, service, called + 1, called)]
        });
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
        ResourceSpans { resource: Some(resource(service)), scope_spans, ..ResourceSpans::default() }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}

/// Numbers in 0 to 1, the same in every run.
fn noise() -> impl FnMut() -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Applies requests that were made beforehand, each a second after the other, and takes batches after each.
fn run(
    criterion: &mut Criterion,
    name: &str,
    signal: Signal,
    items: u64,
    detectors: u32,
    requests: &[Vec<u8>],
) {
    let tenant = Tenant::default();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(items * requests.len() as u64)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.bench_function(BenchmarkId::from_parameter(format!("{detectors} detectors")), |bencher| {
        let engine = || {
            let mut signals = Signals::new(SignalsConfig::default());
            for number in 0..detectors {
                signals.bind_detector(DetectorBinding::new(format!("d{number}"), SeriesSelector::default()));
            }
            signals.apply(signal, &tenant, &requests[0], Now(START_MS));
            signals.take_batches(Now(START_MS));
            signals
        };
        bencher.iter_batched_ref(
            engine,
            |signals| {
                for (second, request) in (1..).zip(&requests[1..]) {
                    let now = Now(START_MS + second * 1_000);
                    assert_eq!(signals.apply(signal, &tenant, request, now).rejected, 0);
                    signals.tick(now);
                    std::hint::black_box(signals.take_batches(now));
                }
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn points(criterion: &mut Criterion) {
    let mut noise = noise();
    let requests: Vec<Vec<u8>> =
        (0..11).map(|second| metrics(START_MS + second * 1_000, &mut noise)).collect();
    println!("{} bytes a point", requests[0].len() as u64 / SERIES);
    for detectors in [0, 1, 3] {
        run(criterion, "metric_points", Signal::Metrics, SERIES, detectors, &requests);
    }
    let requests: Vec<Vec<u8>> = (0..11).map(|second| spans(START_MS + second * 1_000)).collect();
    run(criterion, "spans", Signal::Traces, 2_000, 1, &requests);
}

/// Memory that this process has now; 0 where the system does not say.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4_096;
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

/// Not a matter of time: what a series takes with 120 points a minute apart, and where the points are noisy doubles.
fn memory(_: &mut Criterion) {
    let mut noise = noise();
    let before = resident_bytes();
    let mut signals = Signals::new(SignalsConfig::default());
    signals.bind_detector(DetectorBinding::new("d", SeriesSelector::default()));
    for minute in 0..125 {
        let now_ms = START_MS + minute * 60_000;
        signals.apply(Signal::Metrics, &Tenant::default(), &metrics(now_ms, &mut noise), Now(now_ms));
        signals.take_batches(Now(now_ms));
    }
    let series = signals.counters().series;
    let resident = resident_bytes().saturating_sub(before) / series;
    println!("{resident} bytes a series more in memory, allocator's slack included");
    println!(
        "{} bytes a series with two hours of history ({series} series)",
        signals.memory_bytes() as u64 / series
    );
}

criterion_group!(benches, memory, points);
criterion_main!(benches);
