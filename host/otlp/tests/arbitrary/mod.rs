//! Arbitrary OTLP requests, and damage done to their bytes.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use proptest::{collection::vec, option, prelude::*};
use salve_otlp::schema::{Kind, Message};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![100 => any::<f64>(), 5 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(9_214_646_400_000_000_000), any::<u64>()]
}

fn id(length_bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![]), vec(any::<u8>(), length_bytes)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("service.name".to_owned()), "[a-z.]{1,20}", ".{0,8}"]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        number().prop_map(|value| Some(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..9).prop_map(|value| Some(Value::BytesValue(value))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3)
                .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }),
            vec((text(), option::of(inner)), 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| pair(key, value)).collect();
                AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
            }),
        ]
    })
}

fn pair(key: String, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key, value, ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((text(), option::of(value())).prop_map(|(key, value)| pair(key, value)), 0..4)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of((attributes(), any::<u32>(), vec(text(), 0..3)).prop_map(
        |(attributes, dropped_attributes_count, id_keys)| {
            let entity_refs = vec![EntityRef { id_keys, ..EntityRef::default() }];
            Resource { attributes, dropped_attributes_count, entity_refs }
        },
    ))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of((text(), text(), attributes()).prop_map(|(name, version, attributes)| InstrumentationScope {
        name,
        version,
        attributes,
        dropped_attributes_count: 0,
    }))
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    vec(
        (attributes(), time(), id(8), id(16), number()).prop_map(
            |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
                filtered_attributes,
                time_unix_nano,
                span_id,
                trace_id,
                value: Some(exemplar::Value::AsDouble(value)),
            },
        ),
        0..2,
    )
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = option::of(prop_oneof![
        number().prop_map(number_data_point::Value::AsDouble),
        any::<i64>().prop_map(number_data_point::Value::AsInt)
    ]);
    vec(
        (attributes(), time(), time(), exemplars(), 0..4u32, value).prop_map(
            |(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| NumberDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                exemplars,
                flags,
                value,
            },
        ),
        0..4,
    )
}

fn histogram_points() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let numbers = (
        any::<u64>(),
        option::of(number()),
        vec(any::<u64>(), 0..5),
        vec(number(), 0..5),
        option::of(number()),
    );
    vec(
        (attributes(), time(), time(), numbers, exemplars(), 0..4u32).prop_map(
            |(attributes, start_time_unix_nano, time_unix_nano, numbers, exemplars, flags)| {
                let (count, sum, bucket_counts, explicit_bounds, min) = numbers;
                HistogramDataPoint {
                    attributes,
                    start_time_unix_nano,
                    time_unix_nano,
                    count,
                    sum,
                    bucket_counts,
                    explicit_bounds,
                    exemplars,
                    flags,
                    min,
                    max: sum,
                }
            },
        ),
        0..3,
    )
}

fn buckets() -> impl Strategy<Value = Option<Buckets>> {
    option::of(
        (any::<i32>(), vec(any::<u64>(), 0..5))
            .prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }),
    )
}

fn exponential_points() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let numbers = (any::<u64>(), option::of(number()), any::<i32>(), any::<u64>(), buckets(), buckets());
    vec(
        (attributes(), time(), numbers, exemplars(), 0..4u32).prop_map(
            |(attributes, time_unix_nano, numbers, exemplars, flags)| {
                let (count, sum, scale, zero_count, positive, negative) = numbers;
                ExponentialHistogramDataPoint {
                    attributes,
                    start_time_unix_nano: 1,
                    time_unix_nano,
                    count,
                    sum,
                    scale,
                    zero_count,
                    positive,
                    negative,
                    flags,
                    exemplars,
                    min: sum,
                    max: sum,
                    zero_threshold: 0.5,
                }
            },
        ),
        0..3,
    )
}

fn summary_points() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let quantiles =
        vec((number(), number()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value }), 0..4);
    vec(
        (attributes(), time(), any::<u64>(), number(), quantiles, 0..4u32).prop_map(
            |(attributes, time_unix_nano, count, sum, quantile_values, flags)| SummaryDataPoint {
                attributes,
                start_time_unix_nano: 2,
                time_unix_nano,
                count,
                sum,
                quantile_values,
                flags,
            },
        ),
        0..3,
    )
}

fn metric() -> impl Strategy<Value = Metric> {
    let data = prop_oneof![
        number_points().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (number_points(), 0..4, any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (histogram_points(), 0..4).prop_map(|(data_points, aggregation_temporality)| Data::Histogram(
            Histogram { data_points, aggregation_temporality }
        )),
        (exponential_points(), 0..4).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        summary_points().prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (text(), text(), attributes(), option::of(data)).prop_map(|(name, unit, metadata, data)| Metric {
        name,
        unit,
        description: "d".into(),
        metadata,
        data,
    })
}

/// Any `ExportMetricsServiceRequest`.
pub(crate) fn metrics_request() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scope_metrics = vec(
        (scope(), vec(metric(), 0..3), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
            scope,
            metrics,
            schema_url,
        }),
        0..3,
    );
    vec(
        (resource(), scope_metrics).prop_map(|(resource, scope_metrics)| ResourceMetrics {
            resource,
            scope_metrics,
            schema_url: String::new(),
        }),
        0..3,
    )
    .prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let status = option::of((text(), -1..4).prop_map(|(message, code)| Status { message, code }));
    (ids, text(), -1..8, time(), time(), attributes(), status, any::<u32>()).prop_map(
        |(
            (trace_id, span_id, parent_span_id),
            name,
            kind,
            start_time_unix_nano,
            end_time_unix_nano,
            attributes,
            status,
            flags,
        )| {
            let event =
                span::Event { name: name.clone(), attributes: attributes.clone(), ..span::Event::default() };
            let link = span::Link {
                trace_id: trace_id.clone(),
                span_id: span_id.clone(),
                flags,
                ..span::Link::default()
            };
            Span {
                trace_id,
                span_id,
                trace_state: "a=b".into(),
                parent_span_id,
                flags,
                name,
                kind,
                start_time_unix_nano,
                end_time_unix_nano,
                attributes,
                dropped_attributes_count: 1,
                events: vec![event],
                dropped_events_count: 0,
                links: vec![link],
                dropped_links_count: 0,
                status,
            }
        },
    )
}

/// Any `ExportTraceServiceRequest`.
pub(crate) fn traces_request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = vec(
        (scope(), vec(span(), 0..4)).prop_map(|(scope, spans)| ScopeSpans {
            scope,
            spans,
            schema_url: String::new(),
        }),
        0..3,
    );
    vec(
        (resource(), scope_spans, text()).prop_map(|(resource, scope_spans, schema_url)| ResourceSpans {
            resource,
            scope_spans,
            schema_url,
        }),
        0..3,
    )
    .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    (time(), time(), -1..30, text(), option::of(value()), attributes(), id(16), id(8)).prop_map(
        |(
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            trace_id,
            span_id,
        )| LogRecord {
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            dropped_attributes_count: 0,
            flags: 1,
            trace_id,
            span_id,
            event_name: "event".into(),
        },
    )
}

/// Any `ExportLogsServiceRequest`.
pub(crate) fn logs_request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope_logs = vec(
        (scope(), vec(log_record(), 0..4)).prop_map(|(scope, log_records)| ScopeLogs {
            scope,
            log_records,
            schema_url: String::new(),
        }),
        0..3,
    );
    vec(
        (resource(), scope_logs).prop_map(|(resource, scope_logs)| ResourceLogs {
            resource,
            scope_logs,
            schema_url: String::new(),
        }),
        0..3,
    )
    .prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// What happens to bytes on their way, at places given as fractions of their length.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Set(f64, u8),
    Insert(f64, u8),
    Remove(f64),
    Cut(f64),
}

/// One to three damages.
pub(crate) fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let place = 0.0..1.0f64;
    vec(
        prop_oneof![
            4 => (place.clone(), any::<u8>()).prop_map(|(place, byte)| Damage::Set(place, byte)),
            1 => (place.clone(), any::<u8>()).prop_map(|(place, byte)| Damage::Insert(place, byte)),
            1 => place.clone().prop_map(Damage::Remove),
            1 => place.prop_map(Damage::Cut),
        ],
        1..4,
    )
}

/// `bytes` after all of `damage`.
pub(crate) fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for damage in damage {
        let at = |place: f64| (place * bytes.len() as f64) as usize;
        if bytes.is_empty() {
            break;
        }
        match *damage {
            Damage::Set(place, byte) => {
                let place = at(place);
                bytes[place] = byte;
            }
            Damage::Insert(place, byte) => bytes.insert(at(place), byte),
            Damage::Remove(place) => {
                bytes.remove(at(place));
            }
            Damage::Cut(place) => bytes.truncate(at(place)),
        }
    }
    bytes
}

/// The same message with its fields in reverse order on the wire, and so within.
#[allow(
    clippy::unwrap_used,
    reason = "a helper of tests, whose bytes come from prost; also part of unit tests"
)]
pub(crate) fn reversed(bytes: &[u8], message: &'static Message) -> Vec<u8> {
    use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
    let mut fields = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).unwrap();
        let mut encoded = Vec::new();
        encode_key(number, wire_type, &mut encoded);
        match wire_type {
            WireType::Varint => encode_varint(decode_varint(&mut rest).unwrap(), &mut encoded),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).unwrap() as usize;
                let (inner, tail) = rest.split_at(length);
                rest = tail;
                let inner = match message.field(number).map(|field| field.kind) {
                    Some(Kind::Message(message)) => reversed(inner, message),
                    _ => inner.to_vec(),
                };
                encode_varint(inner.len() as u64, &mut encoded);
                encoded.extend(inner);
            }
            WireType::SixtyFourBit | WireType::ThirtyTwoBit => {
                let (inner, tail) = rest.split_at(if wire_type == WireType::SixtyFourBit { 8 } else { 4 });
                encoded.extend(inner);
                rest = tail;
            }
            _ => unreachable!("prost writes no groups"),
        }
        fields.push(encoded);
    }
    fields.reverse();
    fields.concat()
}
