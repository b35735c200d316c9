//! OTLP over HTTP, status by status.

use crate::support::{RpcStatus, Server, encoded, gzip, logs, metrics, retry_status, traces, zstd};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest,
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use salve_ingest::{Accepted, IngestConfig, Refused, Signal};
use serde_json::{Value, json};

/// Guarantees: all signals arrive, byte for byte, in each encoding, and are answered in the type they came in.
#[tokio::test]
async fn takes_protobuf_in_all_encodings() {
    let server = Server::start(IngestConfig::default()).await;
    for signal in Signal::ALL {
        let plain = encoded(signal);
        for (encoding, body) in [
            (None, plain.clone()),
            (Some("identity"), plain.clone()),
            (Some("gzip"), gzip(&plain)),
            (Some("zstd"), zstd(&plain)),
        ] {
            let request = server.request(signal);
            let request =
                encoding.into_iter().fold(request, |request, name| request.header("content-encoding", name));
            let response = request.body(body).send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-type"]),
                (200, &"application/x-protobuf".parse().unwrap())
            );
            assert!(response.bytes().await.unwrap().is_empty(), "full success is an empty message");
            let seen = server.sink.last();
            assert_eq!((seen.signal, &seen.request[..]), (signal, &plain[..]), "{encoding:?}");
            assert_eq!((seen.tenant.0.as_str(), seen.allowed), ("default", None));
        }
    }
    let values = server.values();
    assert_eq!(
        (values.requests, values.accepted_points, values.accepted_spans, values.accepted_log_records),
        (12, 4, 4, 4)
    );
}

/// Guarantees: the JSON of other SDKs is taken in all encodings and reaches the sink as the same request in protobuf.
#[tokio::test]
async fn takes_json() {
    let server = Server::start(IngestConfig::default()).await;
    let requests = [
        (Signal::Metrics, serde_json::to_vec(&metrics(1.5)).unwrap()),
        (Signal::Traces, serde_json::to_vec(&traces()).unwrap()),
        (Signal::Logs, serde_json::to_vec(&logs()).unwrap()),
    ];
    for (signal, json) in requests {
        for (encoding, body) in [("identity", json.clone()), ("gzip", gzip(&json)), ("zstd", zstd(&json))] {
            let request = reqwest::Client::new().post(server.url(&format!("/v1/{}", signal.name())));
            let request = request
                .header("content-type", "application/json; charset=utf-8")
                .header("content-encoding", encoding);
            let response = request.body(body).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/json");
            assert_eq!(response.text().await.unwrap(), "{}");
            let seen = server.sink.last();
            match signal {
                Signal::Metrics => {
                    assert_eq!(ExportMetricsServiceRequest::decode(seen.request).unwrap(), metrics(1.5))
                }
                Signal::Traces => {
                    assert_eq!(ExportTraceServiceRequest::decode(seen.request).unwrap(), traces())
                }
                Signal::Logs => assert_eq!(ExportLogsServiceRequest::decode(seen.request).unwrap(), logs()),
            }
        }
    }
}

/// Guarantees: each wrong request gets the status that the specification names, a `google.rpc.Status` in the type it came
/// in, and a message that says what to do; none reaches the sink.
#[tokio::test]
async fn names_what_is_wrong() {
    let server = Server::start(IngestConfig { request_bytes_max: 1_000, ..IngestConfig::default() }).await;
    let good = encoded(Signal::Metrics);
    let cases: [(&str, &str, &str, &str, Vec<u8>); 12] = [
        ("POST", "/v1/metrics", "application/x-protobuf", "identity", b"\x0a\x05no".to_vec()),
        ("POST", "/v1/metrics", "application/json", "identity", b"{\"resourceMetrics\":[{]}".to_vec()),
        (
            "POST",
            "/v1/traces",
            "application/json",
            "identity",
            br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102"}]}]}]}"#.to_vec(),
        ),
        ("POST", "/v1/metrics", "application/x-protobuf", "gzip", good.clone()),
        ("POST", "/v1/metrics", "application/x-protobuf", "zstd", good.clone()),
        ("POST", "/v1/metrics", "application/x-protobuf", "br", good.clone()),
        ("POST", "/v1/metrics", "text/plain", "identity", good.clone()),
        ("POST", "/v1/metrics", "", "identity", good.clone()),
        ("GET", "/v1/metrics", "application/x-protobuf", "identity", vec![]),
        ("POST", "/v1/profiles", "application/x-protobuf", "identity", good.clone()),
        ("POST", "/v1/metrics", "application/x-protobuf", "identity", vec![0; 1_001]),
        ("POST", "/v1/metrics", "application/x-protobuf", "gzip", gzip(&[0; 100_000])),
    ];
    let mut answers = String::new();
    for (method, path, content_type, encoding, body) in cases {
        let request = reqwest::Client::new().request(method.parse().unwrap(), server.url(path));
        let request = request.header("content-type", content_type).header("content-encoding", encoding);
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let answer_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let extra: Vec<_> = ["allow", "accept-encoding"]
            .into_iter()
            .filter_map(|name| response.headers().get(name))
            .cloned()
            .collect();
        let body = response.bytes().await.unwrap();
        let RpcStatus { code, message, .. } = match answer_type.as_str() {
            "application/json" => {
                let status: Value = serde_json::from_slice(&body).unwrap();
                RpcStatus {
                    code: status["code"].as_i64().unwrap() as i32,
                    message: status["message"].as_str().unwrap().into(),
                    details: vec![],
                }
            }
            _ => RpcStatus::decode(body).unwrap(),
        };
        answers += &format!("{status} {code} {answer_type} {extra:?} {message}\n");
    }
    insta::assert_snapshot!(answers, @r#"
    400 3 application/x-protobuf [] cannot decode `request`: it ends in the middle of a field
    400 3 application/json [] cannot decode the JSON: key must be a string at line 1 column 22
    400 3 application/json [] cannot decode `resource_spans[0].scope_spans[0].spans[0]`: the id in field 1 has 2 bytes instead of 16
    400 3 application/x-protobuf [] cannot decode the gzip: invalid gzip header
    400 3 application/x-protobuf [] cannot decode the zstd: no zstd frame
    415 12 application/x-protobuf ["identity, gzip, zstd"] encoding `br` is not known; use `identity`, `gzip` or `zstd`
    415 12 application/json [] content type `text/plain` is not known; use `application/x-protobuf`, `application/json`, or `application/grpc` over HTTP/2
    415 12 application/json [] content type `` is not known; use `application/x-protobuf`, `application/json`, or `application/grpc` over HTTP/2
    405 12 application/json ["POST"] only POST is taken here
    404 12 application/json [] no such path; OTLP is taken at `/v1/metrics`, `/v1/traces` and `/v1/logs`, and as gRPC of its three services
    413 8 application/x-protobuf [] the request is longer than 1000 bytes; send smaller batches or raise `otlp.request_bytes_max`
    413 8 application/x-protobuf [] the request is longer than 1000 bytes; send smaller batches or raise `otlp.request_bytes_max`
    "#);
    assert!(server.sink.seen().is_empty());
    let values = server.values();
    assert_eq!(
        (
            values.refused_malformed,
            values.refused_unsupported,
            values.refused_unknown,
            values.refused_too_large
        ),
        (5, 3, 2, 2)
    );
    server.still_works().await;
}

/// Guarantees: what the sink does not take is told in the answer, in both formats, under the signal's own name.
#[tokio::test]
async fn tells_of_partial_success() {
    let server = Server::start(IngestConfig::default()).await;
    server.sink.answer(Ok(Accepted {
        accepted: 7,
        rejected: 3,
        reason: Some("3 points from the future".into()),
    }));
    let response = server.post(encoded(Signal::Metrics)).await;
    assert_eq!(response.status(), 200);
    let expected = ExportMetricsPartialSuccess {
        rejected_data_points: 3,
        error_message: "3 points from the future".into(),
    };
    let answer = ExportMetricsServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.partial_success, Some(expected));
    for (signal, body, name) in [
        (Signal::Metrics, serde_json::to_vec(&metrics(1.0)).unwrap(), "rejectedDataPoints"),
        (Signal::Traces, serde_json::to_vec(&traces()).unwrap(), "rejectedSpans"),
        (Signal::Logs, serde_json::to_vec(&logs()).unwrap(), "rejectedLogRecords"),
    ] {
        let request = reqwest::Client::new()
            .post(server.url(&format!("/v1/{}", signal.name())))
            .header("content-type", "application/json");
        let answer: Value = request.body(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(
            answer,
            json!({ "partialSuccess": { name: "3", "errorMessage": "3 points from the future" } })
        );
    }
    let values = server.values();
    assert_eq!((values.accepted_points, values.rejected_items), (14, 12));
}

/// Guarantees: an overloaded sink means 429 and when to come back, rounded up; a stopping one 503.
#[tokio::test]
async fn asks_to_come_back() {
    let server = Server::start(IngestConfig::default()).await;
    for (refused, status, header, expected) in [
        (
            Refused::Overloaded { retry_after_ms: 1_200 },
            429,
            "2",
            retry_status(8, "no room for more requests; send again in 1200 ms", 1, 200_000_000),
        ),
        (Refused::Stopping, 503, "1", retry_status(14, "Salve is stopping; send again", 1, 0)),
    ] {
        server.sink.answer(Err(refused));
        let response = server.post(encoded(Signal::Metrics)).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()),
            (status, header)
        );
        assert_eq!(RpcStatus::decode(response.bytes().await.unwrap()).unwrap(), expected);
    }
}

/// Guarantees: empty requests and empty resources are fine, and NaN and infinities arrive as they are, in both formats.
#[tokio::test]
async fn passes_on_odd_but_valid_requests() {
    let server = Server::start(IngestConfig::default()).await;
    for body in [vec![], vec![0x0a, 0], vec![0x0a, 2, 0x0a, 0], vec![0x0a, 2, 0x12, 0]] {
        assert_eq!(server.post(body.clone()).await.status(), 200);
        assert_eq!(server.sink.last().request, body);
    }
    for (value, json) in
        [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (f64::NEG_INFINITY, "\"-Infinity\"")]
    {
        let expected = metrics(value).encode_to_vec();
        assert_eq!(server.post(expected.clone()).await.status(), 200);
        assert_eq!(server.sink.last().request, expected);
        let body = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"checkout"}}}}]}},
            "scopeMetrics":[{{"metrics":[{{"name":"queue.length","unit":"{{item}}","gauge":{{"dataPoints":[
            {{"timeUnixNano":"1700000000000000000","asDouble":{json}}}]}}}}]}}]}}]}}"#
        );
        let request =
            reqwest::Client::new().post(server.url("/v1/metrics")).header("content-type", "application/json");
        assert_eq!(request.body(body).send().await.unwrap().status(), 200);
        let seen = ExportMetricsServiceRequest::decode(server.sink.last().request).unwrap();
        // NaN is not equal to itself; its writing is.
        assert_eq!(format!("{seen:?}"), format!("{:?}", metrics(value)));
    }
}
