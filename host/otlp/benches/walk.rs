//! Time to check, to walk and to walk with hashed attributes, for a point of three attributes and about 121 bytes.
//!
//! `cargo bench -p salve-otlp`; the number of elements is the number of points.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
    },
};
use prost::Message;
use salve_otlp::{
    ExponentialHistogramPoint, HistogramPoint, Limits, MetricsVisitor, NumberPoint, Resource, Scope,
    SummaryPoint, check_metrics, walk_metrics,
};
use std::hint::black_box;

const POINTS: u64 = 10_000;

fn request() -> Vec<u8> {
    let text = |key: &str, value: String| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    let point = |index: u64| NumberDataPoint {
        attributes: vec![
            text("http.request.method", "GET".into()),
            text("http.route", format!("/orders/{index:04}")),
            text("http.response.status_code", "200".into()),
        ],
        start_time_unix_nano: 1_700_000_000_000_000_000,
        time_unix_nano: 1_700_000_060_000_000_000,
        value: Some(number_data_point::Value::AsDouble(index as f64)),
        ..NumberDataPoint::default()
    };
    let metrics = (0..POINTS / 100)
        .map(|metric| Metric {
            name: "http.server.requests".into(),
            unit: "{request}".into(),
            data: Some(Data::Gauge(Gauge {
                data_points: (metric * 100..metric * 100 + 100).map(point).collect(),
            })),
            ..Metric::default()
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
    .encode_to_vec()
}

/// Adds up what it is told, so that nothing is optimised away.
#[derive(Default)]
struct Sum<const HASHED: bool> {
    values: f64,
    hashes: u64,
}

impl<const HASHED: bool> MetricsVisitor for Sum<HASHED> {
    fn resource(&mut self, _: Resource<'_>) {}
    fn scope(&mut self, _: Scope<'_>) {}
    fn metric(&mut self, _: salve_otlp::Metric<'_>) {}
    fn number(&mut self, point: NumberPoint<'_>) {
        self.values += point.value.unwrap_or_default();
        if HASHED {
            self.hashes ^= point.attributes.hash64();
        }
    }
    fn histogram(&mut self, _: HistogramPoint<'_>) {}
    fn exponential_histogram(&mut self, _: ExponentialHistogramPoint<'_>) {}
    fn summary(&mut self, _: SummaryPoint<'_>) {}
}

fn walk(criterion: &mut Criterion) {
    let bytes = request();
    let mut group = criterion.benchmark_group("points");
    group.throughput(Throughput::Elements(POINTS));
    group.bench_function("check", |bencher| {
        bencher.iter(|| check_metrics(black_box(&bytes), &Limits::default()))
    });
    group.bench_function("walk", |bencher| {
        bencher.iter(|| {
            let mut sum = Sum::<false>::default();
            let walked = walk_metrics(black_box(&bytes), &mut sum);
            (walked, sum.values)
        });
    });
    group.bench_function("walk_and_hash", |bencher| {
        bencher.iter(|| {
            let mut sum = Sum::<true>::default();
            let walked = walk_metrics(black_box(&bytes), &mut sum);
            (walked, sum.values, sum.hashes)
        });
    });
    group.bench_function("prost_owned", |bencher| {
        bencher.iter(|| ExportMetricsServiceRequest::decode(black_box(&bytes[..])));
    });
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
