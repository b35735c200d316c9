//! What is refused, and in which words.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use salve_otlp::{Limits, check_metrics, check_traces};

/// A metric request whose third point of the second metric carries `attribute`.
fn with_attribute(attribute: KeyValue) -> Vec<u8> {
    let bad =
        NumberDataPoint { attributes: vec![KeyValue::default(), attribute], ..NumberDataPoint::default() };
    let data_points = vec![NumberDataPoint::default(), NumberDataPoint::default(), bad];
    let metric = Metric { data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() };
    let scope_metrics =
        vec![ScopeMetrics { metrics: vec![Metric::default(), metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn nested(depth: usize) -> AnyValue {
    (1..depth).fold(AnyValue { value: Some(Value::BoolValue(true)) }, |inner, _| AnyValue {
        value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
    })
}

/// Guarantees: an error says where in the request, what is wrong there, and nothing that a stranger wrote.
#[test]
fn messages_name_the_place() {
    let text = KeyValue {
        key: "k".into(),
        value: Some(AnyValue { value: Some(Value::StringValue("ab".into())) }),
        ..KeyValue::default()
    };
    let mut not_utf8 = with_attribute(text);
    let length = not_utf8.len();
    not_utf8[length - 1] = 0xff;
    let span = Span { trace_id: vec![1; 15], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(), span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let short_id = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let limits = Limits::default();
    let messages = [
        check_metrics(&not_utf8, &limits).unwrap_err(),
        check_traces(&short_id, &limits).unwrap_err(),
        // Two resources within one ResourceMetrics.
        check_metrics(&[0x0a, 4, 0x0a, 0, 0x0a, 0], &limits).unwrap_err(),
        // resource_metrics as a varint.
        check_metrics(&[0x08, 1], &limits).unwrap_err(),
        // A group.
        check_metrics(&[0x0a, 1, 0x13], &limits).unwrap_err(),
        check_metrics(&[0x0a, 9, 0x0a], &limits).unwrap_err(),
        // bucket_counts of 7 bytes in the data point of a histogram.
        check_metrics(
            &[0x0a, 17, 0x12, 15, 0x12, 13, 0x4a, 11, 0x0a, 9, 0x32, 7, 0, 0, 0, 0, 0, 0, 0],
            &limits,
        )
        .unwrap_err(),
    ]
    .map(|error| error.to_string())
    .join("\n");
    insta::assert_snapshot!(messages, @r"
    cannot decode `resource_metrics[0].scope_metrics[0].metrics[1].gauge.data_points[2].attributes[1].value`: field 1 is not UTF-8
    cannot decode `resource_spans[0].scope_spans[0].spans[1]`: the id in field 1 has 15 bytes instead of 16
    cannot decode `resource_metrics[0]`: field 1 comes more than once
    cannot decode `request`: field 1 has wire type 0 where OTLP has 2
    cannot decode `resource_metrics[0]`: field 2 is a group, which OTLP does not use
    cannot decode `request`: it ends in the middle of a field
    cannot decode `resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]`: field 6 is packed and 7 bytes long, not a multiple of 8
    ");
}

/// Guarantees: values nest as deep as the limit says and no deeper, and a hundred thousand levels do no harm.
#[test]
fn nesting_is_bounded() {
    let with_depth = |depth: usize| {
        let bytes =
            with_attribute(KeyValue { key: "k".into(), value: Some(nested(depth)), ..KeyValue::default() });
        check_metrics(&bytes, &Limits { value_depth_max: 5 })
            .map(|counts| counts.items)
            .map_err(|error| error.problem().to_string())
    };
    assert_eq!(with_depth(5), Ok(3));
    assert_eq!(with_depth(6), Err("values are nested deeper than 5".into()));
    // Too deep to be built by a library that recurses: each level wraps the one before in two headers.
    let mut bytes = vec![];
    for _ in 0..100_000 {
        for tag in [0x0a, 0x2a] {
            let mut header = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut header);
            // Kept reversed, since headers are put in front.
            header.reverse();
            bytes.extend(header);
        }
    }
    bytes.reverse();
    // As the body of a log record.
    for tag in [0x2a, 0x12, 0x12, 0x0a] {
        let mut header = vec![tag];
        prost::encoding::encode_varint(bytes.len() as u64, &mut header);
        bytes.splice(0..0, header);
    }
    let error = salve_otlp::check_logs(&bytes, &Limits::default()).unwrap_err();
    assert_eq!(error.problem().to_string(), "values are nested deeper than 24");
}

/// Guarantees: fields that OTLP does not know are skipped, whatever their number and type.
#[test]
fn unknown_fields_are_skipped() {
    let known = with_attribute(KeyValue::default());
    let mut bytes = vec![
        0x98, 0x06, 1, 0x9a, 0x06, 2, 0xff, 0xff, 0x9d, 0x06, 1, 2, 3, 4, 0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    bytes.extend(&known);
    // Number 4 stands in a gap of OTLP's own numbers.
    bytes.extend([0x0a, 2, 0x20, 1]);
    let limits = Limits::default();
    let (with, without) = (check_metrics(&bytes, &limits).unwrap(), check_metrics(&known, &limits).unwrap());
    assert_eq!((with.items, with.resources), (without.items, without.resources + 1));
}
