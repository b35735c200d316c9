//! Bad input against a running daemon: each gets the status that the OTLP specification names, memory stays bounded, and
//! good senders are served all the while.

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::KeyValue,
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use salve_tests::{
    daemon::Daemon,
    shop::{self, RESTART_POLICY},
    world::{attribute, client, now_unix_ns, spans},
};
use std::io::Write;

const PROTOBUF: &str = "application/x-protobuf";

fn gauge(points: Vec<NumberDataPoint>) -> ExportMetricsServiceRequest {
    let metric = Metric {
        name: "queue.length".into(),
        data: Some(metric::Data::Gauge(Gauge { data_points: points })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "worker")],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn point(time_unix_nano: u64, value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano,
        attributes,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

struct Sender {
    client: reqwest::Client,
    endpoint: String,
}

impl Sender {
    async fn send(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<reqwest::Response> {
        let mut request = self.client.post(format!("{}{path}", self.endpoint)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.send().await?)
    }

    async fn metrics(&self, request: &ExportMetricsServiceRequest) -> Result<(u64, String)> {
        let response =
            self.send("/v1/metrics", &[("content-type", PROTOBUF)], request.encode_to_vec()).await?;
        assert_eq!(response.status(), 200);
        let answer = ExportMetricsServiceResponse::decode(response.bytes().await?)?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok((partial.rejected_data_points as u64, partial.error_message))
    }
}

fn rss_bytes(daemon: &Daemon) -> Result<u64> {
    let pid = daemon.json(&["status", "--json"])?["pid"].as_u64().context("status has no pid")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

/// Scenario: a running daemon gets one bad request after another, of every kind that strangers send.
/// Guarantees: each has the status of the OTLP specification; memory stays bounded; a good request is counted after each.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_has_its_status() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.start().await?;
    let sender = Sender { client: client(), endpoint: daemon.otlp_http()? };
    let good = spans("worker", 1, false).encode_to_vec();
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0_u8; 1 << 20];
        for _ in 0..512 {
            encoder.write_all(&zeros)?;
        }
        encoder.finish()?
    };
    let json = "application/json";
    for (what, path, headers, body, status) in [
        ("garbage as protobuf", "/v1/traces", vec![("content-type", PROTOBUF)], vec![0xff; 100], 400),
        (
            "half a message",
            "/v1/traces",
            vec![("content-type", PROTOBUF)],
            good[..good.len() / 2].to_vec(),
            400,
        ),
        ("garbage as JSON", "/v1/logs", vec![("content-type", json)], b"{\"resourceLogs\": [".to_vec(), 400),
        ("JSON of another shape", "/v1/logs", vec![("content-type", json)], b"[1, 2]".to_vec(), 400),
        ("another content type", "/v1/traces", vec![("content-type", "text/plain")], good.clone(), 415),
        (
            "an unknown encoding",
            "/v1/traces",
            vec![("content-type", PROTOBUF), ("content-encoding", "br")],
            good.clone(),
            415,
        ),
        (
            "not gzip",
            "/v1/traces",
            vec![("content-type", PROTOBUF), ("content-encoding", "gzip")],
            good.clone(),
            400,
        ),
        (
            "a compressed bomb",
            "/v1/traces",
            vec![("content-type", PROTOBUF), ("content-encoding", "gzip")],
            bomb,
            413,
        ),
        ("100 MB", "/v1/traces", vec![("content-type", PROTOBUF)], vec![0; 100_000_000], 413),
        ("another path", "/v1/profiles-of-tomorrow", vec![("content-type", PROTOBUF)], good.clone(), 404),
    ] {
        // A server may close the connection on a body that is too large before all of it was sent.
        match sender.send(path, &headers, body).await {
            Ok(response) => assert_eq!(response.status(), status, "{what}"),
            Err(error) => assert_eq!(status, 413, "{what}: {error:#}"),
        }
        let response = sender.send("/v1/traces", &[("content-type", PROTOBUF)], good.clone()).await?;
        assert_eq!(response.status(), 200, "a good request after {what}");
    }
    let get = sender.client.get(format!("{}/v1/traces", sender.endpoint)).send().await?;
    assert_eq!(get.status(), 405);
    let rss = rss_bytes(&daemon)?;
    assert!(rss < 256 << 20, "{} MiB resident", rss >> 20);
    Ok(())
}

/// Scenario: points that make no sense, among points that do.
/// Guarantees: partial success names how many were refused and why; the others are there.
#[tokio::test(flavor = "multi_thread")]
async fn senseless_points_are_refused_one_by_one() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.start().await?;
    let sender = Sender { client: client(), endpoint: daemon.otlp_http()? };
    let now = now_unix_ns();
    let year_2262 = i64::MAX as u64;
    for (what, request, rejected) in [
        (
            "NaN and infinities",
            gauge(vec![
                point(now, f64::NAN, vec![]),
                point(now + 1, f64::INFINITY, vec![]),
                point(now + 2, 1.0, vec![]),
            ]),
            2,
        ),
        ("the year 2262", gauge(vec![point(year_2262, 1.0, vec![]), point(now + 3, 1.0, vec![])]), 1),
        ("an empty request", ExportMetricsServiceRequest::default(), 0),
        (
            "an empty resource",
            ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics::default()] },
            0,
        ),
        ("the same point twice", gauge(vec![point(now + 4, 1.0, vec![]), point(now + 4, 1.0, vec![])]), 0),
    ] {
        let (refused, why) = sender.metrics(&request).await?;
        assert_eq!(refused, rejected, "{what}: {why}");
        assert_eq!(rejected > 0, !why.is_empty(), "{what}: {why}");
    }
    Ok(())
}

/// Scenario: a label with a million values.
/// Guarantees: what is over the limit is refused and said so, memory stays bounded, and series that exist go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_label_values_are_bounded() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon
        .configure(&shop::config("observe", "").replace("[signals]\n", "[signals]\nseries_max = 20000\n"))?;
    daemon.start().await?;
    let sender = Sender { client: client(), endpoint: daemon.otlp_http()? };
    let first = |time| gauge(vec![point(time, 1.0, vec![attribute("user", "first")])]);
    assert_eq!(sender.metrics(&first(now_unix_ns())).await?.0, 0);
    let mut refused = 0;
    for request in 0..100 {
        let now = now_unix_ns();
        let points = (0..10_000)
            .map(|user| point(now, 1.0, vec![attribute("user", &(request * 10_000 + user).to_string())]));
        refused += sender.metrics(&gauge(points.collect())).await?.0;
    }
    assert!(refused >= 980_000 - 1, "{refused} refused");
    assert_eq!(sender.metrics(&first(now_unix_ns())).await?.0, 0, "a series that exists goes on");
    let rss = rss_bytes(&daemon)?;
    assert!(rss < 256 << 20, "{} MiB resident", rss >> 20);
    Ok(())
}
