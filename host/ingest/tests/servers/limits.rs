//! Bombs, giants, crowds and the slow: each costs only itself.

use crate::support::{Server, encoded, metrics};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message;
use salve_ingest::{IngestConfig, Signal};
use std::{io::Write, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::Channel};

/// A gibibyte of zeros, compressed.
fn bomb(encoding: &str) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let write = |encoder: &mut dyn Write| (0..1_024).for_each(|_| encoder.write_all(&zeros).unwrap());
    if encoding == "gzip" {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write(&mut encoder);
        encoder.finish().unwrap()
    } else {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        write(&mut encoder);
        encoder.finish().unwrap()
    }
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

/// Guarantees: bombs of 1 GiB, eight at a time, are refused as too long; memory grows by a fraction of what they hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_do_no_harm() {
    let server = Server::start(IngestConfig::default()).await;
    for encoding in ["gzip", "zstd"] {
        let bomb = bomb(encoding);
        let before = peak_mib();
        let throws = (0..8).map(|_| {
            server.request(Signal::Metrics).header("content-encoding", encoding).body(bomb.clone()).send()
        });
        for throw in throws.map(tokio::spawn).collect::<Vec<_>>() {
            assert_eq!(throw.await.unwrap().unwrap().status(), 413);
        }
        let grown = peak_mib() - before;
        assert!(grown < 400, "{encoding}: {grown} MiB");
        server.still_works().await;
    }
}

/// Guarantees: a request of 100 MB is refused, whether it states its length or not, and the client gets to read why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giants_are_refused() {
    let server = Server::start(IngestConfig::default()).await;
    let giant = bytes::Bytes::from(vec![0x0a; 100_000_000]);
    assert_eq!(server.post(giant.clone()).await.status(), 413);
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in giant.chunks(1 << 20) {
        stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
        stream.write_all(part).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(status_line(&mut stream).await, "HTTP/1.1 413 Payload Too Large");
    // The same by gRPC.
    let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
    let mut giant = metrics(1.0);
    giant.resource_metrics[0].schema_url = "x".repeat(100_000_000);
    let status = MetricsServiceClient::new(channel).export(giant).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    server.still_works().await;
}

async fn status_line(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 1_024];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

/// Scenario: the sink is busy, and as many requests wait as there is room for.
/// Guarantees: one more is told to come back; when the sink goes on, all that waited are answered, and there is room again.
#[tokio::test]
async fn waiting_requests_are_bounded() {
    let server =
        Server::start_closed(IngestConfig { requests_in_flight_max: 3, ..IngestConfig::default() }).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| tokio::spawn(server.request(Signal::Metrics).body(encoded(Signal::Metrics)).send()))
        .collect();
    server.sink.arrivals.acquire_many(3).await.unwrap().forget();
    let refused = server.post(encoded(Signal::Metrics)).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    server.sink.open();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    server.still_works().await;
    assert_eq!(server.values().refused_overloaded, 1);
}

/// Scenario: the sink is busy, and the bytes that wait for it leave no room for another request.
/// Guarantees: that one is told to come back; a small one still gets in.
#[tokio::test]
async fn waiting_bytes_are_bounded() {
    let config =
        IngestConfig { request_bytes_max: 100_000, bytes_in_flight_max: 300_000, ..IngestConfig::default() };
    let server = Server::start_closed(config).await;
    let mut long = metrics(1.0);
    long.resource_metrics[0].schema_url = "x".repeat(95_000);
    let long = long.encode_to_vec();
    let waiting: Vec<_> =
        (0..3).map(|_| tokio::spawn(server.request(Signal::Metrics).body(long.clone()).send())).collect();
    server.sink.arrivals.acquire_many(3).await.unwrap().forget();
    assert_eq!(server.post(long.clone()).await.status(), 429);
    assert_eq!(
        (server.values().requests_in_flight, server.values().bytes_in_flight),
        (3, 3 * long.len() as u64)
    );
    let small = tokio::spawn(server.request(Signal::Metrics).body(encoded(Signal::Metrics)).send());
    server.sink.arrivals.acquire().await.unwrap().forget();
    server.sink.open();
    assert_eq!(small.await.unwrap().unwrap().status(), 200);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(server.post(long).await.status(), 200);
    assert_eq!((server.values().requests_in_flight, server.values().bytes_in_flight), (0, 0));
}

/// Guarantees: whoever sends headers or a body drop by drop, or nothing at all, is shown out; others go on meanwhile.
#[tokio::test]
async fn the_slow_are_shown_out() {
    let config = IngestConfig {
        tls_handshake_ms: 1_000,
        body_read_ms: 300,
        first_request_ms: 1_000,
        idle_ms: 1_000,
        ..IngestConfig::default()
    };
    let server = Server::start(config).await;
    let mut silent = TcpStream::connect(server.http).await.unwrap();
    let mut headers = TcpStream::connect(server.http).await.unwrap();
    headers.write_all(b"POST /v1/metrics HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut preface = TcpStream::connect(server.grpc).await.unwrap();
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    let mut body = TcpStream::connect(server.http).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 10\r\n\r\n";
    body.write_all(head.as_bytes()).await.unwrap();
    body.write_all(b"\x0a").await.unwrap();
    server.still_works().await;
    assert_eq!(status_line(&mut body).await, "HTTP/1.1 408 Request Timeout");
    let mut rest = Vec::new();
    for (name, stream) in [("silent", &mut silent), ("preface", &mut preface), ("headers", &mut headers)] {
        // Ends only when the server closes.
        drop(stream.read_to_end(&mut rest).await);
        assert!(rest.len() < 200, "{name}: {rest:?}");
    }
    server.still_works().await;
    let values = server.values();
    assert!(values.idle_connections_closed >= 2 && values.refused_incomplete == 1, "{values:?}");
}

/// Scenario: an exporter that comes more rarely than a handshake may take, on the connection that it has.
/// Guarantees: the connection is still there, and its next request is answered.
#[tokio::test]
async fn exporters_keep_their_connection() {
    let server = Server::start(IngestConfig { tls_handshake_ms: 50, ..IngestConfig::default() }).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let ask = b"GET /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = [0; 4_096];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    // Nothing comes while nothing is asked, not even the end.
    let quiet = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    stream.write_all(ask).await.unwrap();
    assert!(stream.read(&mut answer).await.unwrap() > 0);
}

/// Scenario: all connections are open, and one of them never sent anything that was taken.
/// Guarantees: somebody else comes in all the same; that one is closed for it, and the sender keeps its own.
#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    // Nothing else closes a connection while this test lasts.
    let config = IngestConfig { connections_max: 2, first_request_ms: 600_000, ..IngestConfig::default() };
    let server = Server::start(config).await;
    let mut sender = TcpStream::connect(server.http).await.unwrap();
    let body = encoded(Signal::Metrics);
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let export = [head.as_bytes(), &body].concat();
    sender.write_all(&export).await.unwrap();
    assert_eq!(status_line(&mut sender).await, "HTTP/1.1 200 OK");
    let mut unwelcome = TcpStream::connect(server.http).await.unwrap();
    unwelcome.write_all(b"GET /v1/metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status_line(&mut unwelcome).await, "HTTP/1.1 405 Method Not Allowed");
    let next = reqwest::Client::new();
    let begun = std::time::Instant::now();
    while next.get(server.url("/")).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody made room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut rest = Vec::new();
    // Ends since the server closed it, though the sender's has done nothing for longer.
    assert_eq!(unwelcome.read_to_end(&mut rest).await.unwrap_or_default(), 0);
    assert_eq!(server.values().idle_connections_closed, 1);
    sender.write_all(&export).await.unwrap();
    assert_eq!(status_line(&mut sender).await, "HTTP/1.1 200 OK");
}

/// Scenario: on each connection a request is under way.
/// Guarantees: connections past the limit are closed at once and counted; when others leave, there is room again.
#[tokio::test]
async fn connections_are_bounded() {
    let server = Server::start_closed(IngestConfig { connections_max: 2, ..IngestConfig::default() }).await;
    let request = || tokio::spawn(server.request(Signal::Metrics).body(encoded(Signal::Metrics)).send());
    let waiting = [request(), request()];
    server.sink.arrivals.acquire_many(2).await.unwrap().forget();
    let mut refused = TcpStream::connect(server.http).await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset, whichever the system reports first.
    drop(refused.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    assert_eq!(server.values().refused_connections, 1);
    server.sink.open();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    // The server notices the end of their connections in its own time.
    while reqwest::Client::new().get(server.url("/")).send().await.is_err() {
        tokio::task::yield_now().await;
    }
    server.still_works().await;
}

/// Scenario: Salve stops while a request waits for the sink and a connection is open.
/// Guarantees: the request is answered, the connection is closed, nothing new is accepted, and `run` ends.
#[tokio::test]
async fn stops_gracefully() {
    let mut server = Server::start_closed(IngestConfig::default()).await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
    let mut client = MetricsServiceClient::new(channel);
    let waiting = tokio::spawn(async move { client.export(metrics(1.0)).await });
    server.sink.arrivals.acquire().await.unwrap().forget();
    let mut open = TcpStream::connect(server.http).await.unwrap();
    open.write_all(b"GET /v1/metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status_line(&mut open).await, "HTTP/1.1 405 Method Not Allowed");
    server.stop();
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(server.http).await.is_err());
    assert!(!server.running.is_finished());
    server.sink.open();
    waiting.await.unwrap().unwrap();
    (&mut server.running).await.unwrap();
}

/// Scenario: Salve stops while the sink never answers.
/// Guarantees: `run` ends after the grace time all the same.
#[tokio::test]
async fn stops_even_if_the_sink_hangs() {
    let mut server =
        Server::start_closed(IngestConfig { stop_grace_ms: 50, ..IngestConfig::default() }).await;
    let waiting = tokio::spawn(server.request(Signal::Metrics).body(encoded(Signal::Metrics)).send());
    server.sink.arrivals.acquire().await.unwrap().forget();
    server.stop();
    (&mut server.running).await.unwrap();
    assert!(waiting.await.unwrap().is_err());
}
