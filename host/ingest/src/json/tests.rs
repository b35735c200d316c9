//! JSON compared with what the SDK writes, and by hand where it writes only one of several ways.

use super::*;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use proptest::prelude::*;
use salve_otlp::schema::{LOGS, METRICS, TRACES};

#[expect(dead_code, reason = "shared with the tests of salve-otlp, which also damage requests")]
#[path = "../../../otlp/tests/arbitrary/mod.rs"]
mod arbitrary;

fn convert<R: prost::Message + Default>(json: &str, message: &'static Message) -> Result<R, String> {
    let bytes = to_protobuf(json.as_bytes(), message, 1 << 20).map_err(|rejection| rejection.message())?;
    Ok(R::decode(&bytes[..]).unwrap())
}

/// serde_json writes NaN and infinities as `null`, which means absence; what others write is tested by hand below.
fn has_such_numbers(request: &impl std::fmt::Debug) -> bool {
    let written = format!("{request:?}");
    written.contains("NaN") || written.contains("inf")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// Guarantees: JSON written by the OpenTelemetry SDK for Rust means what its protobuf means.
    #[test]
    fn metrics_mean_the_same(request in arbitrary::metrics_request()) {
        let json = serde_json::to_string(&request).unwrap();
        prop_assume!(!has_such_numbers(&request));
        prop_assert_eq!(convert::<ExportMetricsServiceRequest>(&json, &METRICS).unwrap(), request, "{}", json);
    }

    /// Guarantees: the same for spans.
    #[test]
    fn traces_mean_the_same(request in arbitrary::traces_request()) {
        let json = serde_json::to_string(&request).unwrap();
        prop_assume!(!has_such_numbers(&request));
        prop_assert_eq!(convert::<ExportTraceServiceRequest>(&json, &TRACES).unwrap(), request, "{}", json);
    }

    /// Guarantees: the same for log records.
    #[test]
    fn logs_mean_the_same(request in arbitrary::logs_request()) {
        let json = serde_json::to_string(&request).unwrap();
        prop_assume!(!has_such_numbers(&request));
        prop_assert_eq!(convert::<ExportLogsServiceRequest>(&json, &LOGS).unwrap(), request, "{}", json);
    }

    /// Guarantees: no text makes it panic, and its output keeps within its limit.
    #[test]
    fn noise_does_no_harm(noise in "[\\[\\]{}\",:0-9a-zA-Z]{0,60}", place in 0..200usize) {
        drop(to_protobuf(noise.as_bytes(), &METRICS, 1_000));
        let mut json = ODD.to_owned();
        let place = (0..=place.min(json.len())).rev().find(|place| json.is_char_boundary(*place)).unwrap();
        json.insert_str(place, &noise);
        if let Ok(bytes) = to_protobuf(json.as_bytes(), &LOGS, 200) {
            prop_assert!(bytes.len() <= 200);
        }
    }
}

/// Everything that JSON may write in more than one way.
const ODD: &str = r#"{"unknown": {"deep": [1, {"x": null}]}, "resourceLogs": [{"resource": null, "scopeLogs": [{"logRecords": [{
    "timeUnixNano": 1544712660300000000, "observedTimeUnixNano": "1544712660300000001", "severityNumber": 1e1,
    "traceId": "5B8EFFF798038103d269b633813fc60c", "spanId": "", "droppedAttributesCount": "7", "severityText": null,
    "body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "-3"}}, {"key": "b", "value": {"intValue": 4}}]}},
    "attributes": [
        {"key": "nan", "value": {"doubleValue": "NaN"}}, {"key": "inf", "value": {"doubleValue": "-Infinity"}},
        {"key": "text", "value": {"doubleValue": "1.5"}}, {"key": "whole", "value": {"doubleValue": 2}},
        {"key": "base64", "value": {"bytesValue": "-_8"}}, {"key": "padded", "value": {"bytesValue": "+/8="}},
        {"key": "escaped", "value": {"stringValue": "\u00e9\n\ud83d\ude00"}}, {"value": {"new_kind": 1}, "key": "unknown"},
        {"key": "array", "value": {"arrayValue": {"values": [{"boolValue": true}, {}]}}}],
    "severity_text": "a name in snake case is unknown"}]}]}]}"#;

/// Guarantees: both ways of numbers, all ways of base64, hexadecimal in both cases, `null`, and unknown fields at any
/// place are understood.
#[test]
fn understands_what_the_specification_allows() {
    let request: ExportLogsServiceRequest = convert(ODD, &LOGS).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(request.resource_logs[0].resource, None);
    assert_eq!(
        (record.time_unix_nano, record.observed_time_unix_nano),
        (1_544_712_660_300_000_000, 1_544_712_660_300_000_001)
    );
    assert_eq!(
        (record.severity_number, record.severity_text.as_str(), record.dropped_attributes_count),
        (10, "", 7)
    );
    assert_eq!(
        record.trace_id,
        [0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c]
    );
    let values: Vec<_> = record
        .attributes
        .iter()
        .map(|pair| format!("{}: {:?}", pair.key, pair.value.as_ref().and_then(|value| value.value.as_ref())))
        .collect();
    insta::assert_snapshot!(values.join("\n"), @r#"
    nan: Some(DoubleValue(NaN))
    inf: Some(DoubleValue(-inf))
    text: Some(DoubleValue(1.5))
    whole: Some(DoubleValue(2.0))
    base64: Some(BytesValue([251, 255]))
    padded: Some(BytesValue([251, 255]))
    escaped: Some(StringValue("é\n😀"))
    unknown: None
    array: Some(ArrayValue(ArrayValue { values: [AnyValue { value: Some(BoolValue(true)) }, AnyValue { value: None }] }))
    "#);
}

/// Guarantees: what is not OTLP in JSON is refused with the place and what was expected, in printable text.
#[test]
fn refusals_name_the_place() {
    let messages: Vec<String> = [
        "",
        "[]",
        "{} x",
        r#"{"resourceMetrics": {}}"#,
        r#"{"resourceMetrics": [1]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 1}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"timeUnixNano": "-1"}]}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"asDouble": "\u001b[31m"}]}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"aggregationTemporality": "DELTA"}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"isMonotonic": 1}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"flags": 4294967296}]}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"asInt": 1.5}]}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"exemplars": [{"traceId": "xy"}]}]}}]}]}]}"#,
    ]
    .into_iter()
    .map(|json| convert::<ExportMetricsServiceRequest>(json, &METRICS).unwrap_err())
    .collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    cannot decode the JSON: EOF while parsing a value at line 1 column 0
    cannot decode the JSON: invalid type: sequence, expected an object of type ExportMetricsServiceRequest at line 1 column 0
    cannot decode the JSON: trailing characters at line 1 column 4
    cannot decode the JSON: invalid type: map, expected an array in `resource_metrics` at line 1 column 22
    cannot decode the JSON: invalid type: a number, expected an object in `resource_metrics` at line 1 column 22
    cannot decode the JSON: invalid type: a number, expected text in `name` at line 1 column 62
    cannot decode the JSON: invalid value: a number out of range, expected an unsigned number of 64 bits in `time_unix_nano` at line 1 column 99
    cannot decode the JSON: invalid value: string "\u{1b}[31m", expected a number, `NaN` or `Infinity` in `as_double` at line 1 column 103
    cannot decode the JSON: invalid type: string "DELTA", expected the number of an enumeration in `aggregation_temporality` at line 1 column 94
    cannot decode the JSON: invalid type: a number, expected true or false in `is_monotonic` at line 1 column 77
    cannot decode the JSON: invalid value: a number out of range, expected an unsigned number of 32 bits in `flags` at line 1 column 98
    cannot decode the JSON: invalid type: floating point `1.5`, expected a whole number of 64 bits in `as_int` at line 1 column 91
    cannot decode the JSON: invalid value: string "xy", expected text in hexadecimal in `trace_id` at line 1 column 109
    "#);
}

/// Guarantees: nesting of any depth does no harm, whether its fields are known or not.
#[test]
fn nesting_is_bounded() {
    let unknown = format!(r#"{{"unknown": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(convert(&unknown, &METRICS), Ok(ExportMetricsServiceRequest::default()));
    let open = r#"{"arrayValue": {"values": ["#.repeat(10_000);
    let known = format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"body": {open}"#);
    let error = convert::<ExportLogsServiceRequest>(&known, &LOGS).unwrap_err();
    assert!(error.contains("recursion limit exceeded"), "{error}");
}

/// Scenario: JSON whose protobuf is several times longer, the worst there is.
/// Guarantees: the output stops at the limit.
#[test]
fn output_is_bounded() {
    let zeros = "0,".repeat(10_000);
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{zeros}0]}}]}}}}]}}]}}]}}"#
    );
    let whole = to_protobuf(json.as_bytes(), &METRICS, 1 << 20).unwrap();
    assert!(whole.len() < json.len() * crate::export::JSON_GROWTH as usize);
    let refused = to_protobuf(json.as_bytes(), &METRICS, whole.len() as u64 - 1);
    assert_eq!(refused, Err(Rejection::TooLarge { bytes_max: whole.len() as u64 - 1 }));
}
