//! OTLP in JSON. The first byte says which signal the rest is.
//!
//! What must hold: no panic; memory stays near the input's length; what comes out is protobuf.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_fuzz::seeds;
use salve_ingest::{Signal, protobuf_of_json};

const BYTES_MAX: u64 = 1 << 20;

/// Every kind of value and of point.
fn make_seeds() -> Vec<Vec<u8>> {
    let resource = r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a\u00e4\ud83d\ude00"}},
        {"key":"l","value":{"arrayValue":{"values":[{"intValue":"-1"},{"intValue":2},{"boolValue":true},{"doubleValue":1e-3}]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"b","value":{"bytesValue":"AP8="}},null]}}}],"droppedAttributesCount":0}"#;
    let scope =
        r#""scope":{"name":"s","version":"1","attributes":[]},"schemaUrl":"u","unknown":{"a":[1,{}]}"#;
    let metrics = r#"[{"name":"g","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"1","asDouble":"NaN","flags":1,
        "exemplars":[{"asInt":"3","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]},{"time_unix_nano":2,"asInt":-7}]}},
        {"name":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asDouble":-1.5e300}]}},
        {"name":"h","histogram":{"dataPoints":[{"count":"3","sum":2.5,"bucketCounts":["1","2"],"explicitBounds":[0.5],"min":0,"max":2}]}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-2,"zeroCount":"1","positive":{"offset":1,"bucketCounts":["1"]},
        "negative":{}}]}},{"name":"q","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":2}]}]}}]"#;
    let span = r#"{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"","name":"n","kind":2,
        "startTimeUnixNano":"1","endTimeUnixNano":"2","status":{"code":2,"message":"x"},"events":[{"name":"e","timeUnixNano":"1"}],
        "links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}"#;
    let record = r#"{"timeUnixNano":"1","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"x"},"attributes":[]}"#;
    let texts = [
        format!(
            "{{\"resourceMetrics\":[{{{resource},\"scopeMetrics\":[{{{scope},\"metrics\":{metrics}}}]}}]}}"
        ),
        format!("{{\"resourceSpans\":[{{{resource},\"scopeSpans\":[{{{scope},\"spans\":[{span}]}}]}}]}}"),
        format!(
            "{{\"resourceLogs\":[{{{resource},\"scopeLogs\":[{{{scope},\"logRecords\":[{record}]}}]}}]}}"
        ),
    ];
    let mut all = Vec::new();
    for (signal, text) in (0..).zip(texts) {
        let protobuf =
            protobuf_of_json(signal_of(signal), text.as_bytes(), BYTES_MAX).expect("a seed is OTLP in JSON");
        check(signal, &protobuf).expect("a seed is OTLP");
        all.push([&[signal], text.as_bytes()].concat());
    }
    all
}

fn signal_of(byte: u8) -> Signal {
    Signal::ALL[usize::from(byte) % Signal::ALL.len()]
}

fn check(signal: u8, protobuf: &[u8]) -> Result<salve_otlp::Counts, salve_otlp::DecodeError> {
    let limits = salve_otlp::Limits::default();
    match signal {
        0 => salve_otlp::check_metrics(protobuf, &limits),
        1 => salve_otlp::check_traces(protobuf, &limits),
        _ => salve_otlp::check_logs(protobuf, &limits),
    }
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    let Some((signal, json)) = bytes.split_first() else { return };
    let Some(protobuf) = protobuf_of_json(signal_of(*signal), json, BYTES_MAX) else { return };
    assert!(protobuf.len() as u64 <= BYTES_MAX + 64, "{} bytes", protobuf.len());
    // Ids of a wrong length and deep nesting are the check's to refuse; that it does not panic is what counts.
    drop(check(signal % 3, &protobuf));
});
