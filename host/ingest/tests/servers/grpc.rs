//! OTLP over gRPC, with tonic as the client.

use crate::support::{RpcStatus, Server, encoded, logs, metrics, retry_status, traces};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::logs_service_client::LogsServiceClient,
        metrics::v1::metrics_service_client::MetricsServiceClient,
        trace::v1::trace_service_client::TraceServiceClient,
    },
    common::v1::KeyValue,
};
use prost::Message;
use salve_ingest::{Accepted, IngestConfig, Refused, Signal};
use tonic::{Code, codec::CompressionEncoding, transport::Channel};

async fn channel(server: &Server) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

/// Posts raw bytes as a gRPC call and gives the headers of the answer.
async fn raw(
    server: &Server,
    path: &str,
    content_type: &str,
    encoding: &str,
    body: Vec<u8>,
) -> reqwest::Response {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = client.post(format!("http://{}{path}", server.grpc)).header("content-type", content_type);
    request.header("te", "trailers").header("grpc-encoding", encoding).body(body).send().await.unwrap()
}

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(length).unwrap().to_be_bytes(), message].concat()
}

/// Guarantees: all signals arrive, byte for byte, in each encoding.
#[tokio::test]
async fn takes_all_signals_in_all_encodings() {
    let server = Server::start(IngestConfig::default()).await;
    let channel = channel(&server).await;
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut metrics_client = MetricsServiceClient::new(channel.clone());
        let mut traces_client = TraceServiceClient::new(channel.clone());
        let mut logs_client = LogsServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            metrics_client = metrics_client.send_compressed(encoding).accept_compressed(encoding);
            traces_client = traces_client.send_compressed(encoding);
            logs_client = logs_client.send_compressed(encoding);
        }
        let answer = metrics_client.export(metrics(1.5)).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        assert_eq!(
            (server.sink.last().signal, server.sink.last().request.to_vec()),
            (Signal::Metrics, encoded(Signal::Metrics))
        );
        traces_client.export(traces()).await.unwrap();
        assert_eq!(
            (server.sink.last().signal, server.sink.last().request.to_vec()),
            (Signal::Traces, encoded(Signal::Traces))
        );
        logs_client.export(logs()).await.unwrap();
        assert_eq!(
            (server.sink.last().signal, server.sink.last().request.to_vec()),
            (Signal::Logs, encoded(Signal::Logs))
        );
    }
}

/// Guarantees: what the sink does not take is told in the answer.
#[tokio::test]
async fn tells_of_partial_success() {
    let server = Server::start(IngestConfig::default()).await;
    server.sink.answer(Ok(Accepted { accepted: 0, rejected: 1, reason: Some("from the future".into()) }));
    let answer = TraceServiceClient::new(channel(&server).await).export(traces()).await.unwrap().into_inner();
    let partial = answer.partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "from the future"));
}

/// Guarantees: no room is RESOURCE_EXHAUSTED with a RetryInfo, which makes OTLP's exporters send again; stopping is
/// UNAVAILABLE.
#[tokio::test]
async fn asks_to_come_back() {
    let server = Server::start(IngestConfig::default()).await;
    let mut client = MetricsServiceClient::new(channel(&server).await);
    server.sink.answer(Err(Refused::Overloaded { retry_after_ms: 2_500 }));
    let status = client.export(metrics(1.0)).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "no room for more requests; send again in 2500 ms")
    );
    assert_eq!(
        RpcStatus::decode(status.details()).unwrap(),
        retry_status(8, status.message(), 2, 500_000_000)
    );
    server.sink.answer(Err(Refused::Stopping));
    assert_eq!(client.export(metrics(1.0)).await.unwrap_err().code(), Code::Unavailable);
}

/// Guarantees: a request over the limit is RESOURCE_EXHAUSTED *without* RetryInfo, so that nobody sends it for ever, as sent
/// or as decompressed; the connection goes on working.
#[tokio::test]
async fn too_long_requests_are_not_asked_for_again() {
    let server = Server::start(IngestConfig { request_bytes_max: 10_000, ..IngestConfig::default() }).await;
    let mut long = metrics(1.0);
    let padding = KeyValue { key: "k".repeat(20_000), ..KeyValue::default() };
    long.resource_metrics[0].resource.as_mut().unwrap().attributes.push(padding);
    let channel = channel(&server).await;
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let client = MetricsServiceClient::new(channel.clone());
        let mut client =
            encoding.into_iter().fold(client, |client, encoding| client.send_compressed(encoding));
        let status = client.export(long.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("longer than 10000 bytes") && status.details().is_empty(),
            "{status:?}"
        );
        client.export(metrics(1.0)).await.unwrap();
    }
    assert_eq!(server.values().refused_too_large, 3);
}

/// Guarantees: each wrong call gets the code that gRPC and OTLP name, with a message, and none reaches the sink.
#[tokio::test]
async fn names_what_is_wrong() {
    let server = Server::start(IngestConfig { request_bytes_max: 1_000, ..IngestConfig::default() }).await;
    let good = encoded(Signal::Metrics);
    let whole = framed(0, good.len(), &good);
    let cases: [(&str, &str, &str, Vec<u8>); 10] = [
        (METRICS, "application/grpc", "identity", framed(0, 4, b"\x0a\x05no")),
        (METRICS, "application/grpc", "identity", vec![]),
        (METRICS, "application/grpc", "identity", framed(0, 900, &good)),
        (METRICS, "application/grpc", "identity", [whole.clone(), whole.clone()].concat()),
        (METRICS, "application/grpc", "identity", framed(1, good.len(), &good)),
        (METRICS, "application/grpc+proto", "gzip", framed(1, good.len(), &good)),
        (METRICS, "application/grpc", "snappy", whole.clone()),
        (METRICS, "application/grpc", "identity", framed(0, 5_000, &good)),
        (METRICS, "application/grpc+json", "identity", whole.clone()),
        (
            "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
            "application/grpc",
            "identity",
            whole.clone(),
        ),
    ];
    let mut answers = String::new();
    for (path, content_type, encoding, body) in cases {
        let response = raw(&server, path, content_type, encoding, body).await;
        let header = |name: &str| response.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        answers += &format!(
            "{} {} {} {} {}\n",
            response.status().as_u16(),
            header("grpc-status"),
            header("content-type"),
            header("grpc-accept-encoding"),
            header("grpc-message")
        );
    }
    insta::assert_snapshot!(answers, @r"
    200 3 application/grpc identity,gzip,zstd cannot decode `request`: it ends in the middle of a field
    200 3 application/grpc identity,gzip,zstd cannot decode the gRPC request: it has no message
    200 3 application/grpc identity,gzip,zstd cannot decode the gRPC request: 80 bytes follow where it states 900
    200 3 application/grpc identity,gzip,zstd cannot decode the gRPC request: 165 bytes follow where it states 80
    200 3 application/grpc identity,gzip,zstd cannot decode the gRPC request: its message is marked as compressed, but `grpc-encoding` names nothing
    200 3 application/grpc identity,gzip,zstd cannot decode the gzip: invalid gzip header
    200 12 application/grpc identity,gzip,zstd encoding `snappy` is not known; use `identity`, `gzip` or `zstd`
    200 8 application/grpc identity,gzip,zstd the request is longer than 1000 bytes; send smaller batches or raise `otlp.request_bytes_max`
    200 12 application/grpc identity,gzip,zstd content type `application/grpc+json` is not known; use `application/x-protobuf`, `application/json`, or `application/grpc` over HTTP/2
    200 12 application/grpc identity,gzip,zstd no such path; OTLP is taken at `/v1/metrics`, `/v1/traces` and `/v1/logs`, and as gRPC of its three services
    ");
    assert!(server.sink.seen().is_empty());
    MetricsServiceClient::new(channel(&server).await).export(metrics(1.0)).await.unwrap();
}

/// Guarantees: a message that is not compressed is taken even if the call names an encoding, as gRPC allows; and a
/// sender that took the other port is understood.
#[tokio::test]
async fn is_generous_where_it_can() {
    let server = Server::start(IngestConfig::default()).await;
    let good = encoded(Signal::Metrics);
    let response = raw(&server, METRICS, "application/grpc", "zstd", framed(0, good.len(), &good)).await;
    assert_eq!((response.status().as_u16(), response.headers().get("grpc-status")), (200, None));
    let channel = Channel::from_shared(format!("http://{}", server.http)).unwrap().connect().await.unwrap();
    MetricsServiceClient::new(channel).export(metrics(1.0)).await.unwrap();
    let url = format!("http://{}/v1/metrics", server.grpc);
    let request = reqwest::Client::new().post(url).header("content-type", "application/x-protobuf");
    assert_eq!(request.body(good).send().await.unwrap().status(), 200);
    assert_eq!(server.sink.seen().len(), 3);
}
