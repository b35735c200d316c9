//! A server with a sink that remembers, and requests to send to it.

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use salve_ingest::{
    Accepted, Assertions, BoxFuture, CounterValues, IngestConfig, IngestCounters, Refused, Signal, Sink, bind,
};
use salve_model::Tenant;
use std::{
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, Once},
};
use tokio::{sync::oneshot, task::JoinHandle};

/// What reached the sink.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) signal: Signal,
    pub(crate) tenant: Tenant,
    pub(crate) allowed: Option<Arc<Assertions>>,
    pub(crate) request: Bytes,
}

/// Remembers everything, and answers as it is told to.
pub(crate) struct Memory {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Result<Accepted, Refused>>,
    /// A permit for each request that may be answered.
    gate: tokio::sync::Semaphore,
    /// A permit for each request that came to the gate.
    pub(crate) arrivals: tokio::sync::Semaphore,
}

impl Sink for Memory {
    fn accept(
        &self,
        signal: Signal,
        tenant: Tenant,
        allowed: Option<Arc<Assertions>>,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Accepted, Refused>> {
        Box::pin(async move {
            self.seen.lock().unwrap().push(Seen { signal, tenant, allowed, request });
            self.arrivals.add_permits(1);
            drop(self.gate.acquire().await.unwrap());
            self.answer.lock().unwrap().clone()
        })
    }
}

impl Memory {
    /// Everything seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The newest of it.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the sink saw nothing")
    }

    /// From now on the sink answers so.
    pub(crate) fn answer(&self, answer: Result<Accepted, Refused>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Lets requests that wait, and all later ones, go on.
    pub(crate) fn open(&self) {
        self.gate.add_permits(1 << 20);
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) sink: Arc<Memory>,
    pub(crate) counters: Arc<IngestCounters>,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) running: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(config: IngestConfig) -> Self {
        let server = Self::start_closed(config).await;
        server.sink.open();
        server
    }

    /// The sink holds every request until it is opened.
    pub(crate) async fn start_closed(config: IngestConfig) -> Self {
        install_crypto();
        let sink = Arc::new(Memory {
            seen: Mutex::default(),
            answer: Mutex::new(Ok(Accepted { accepted: 1, ..Accepted::default() })),
            gate: tokio::sync::Semaphore::new(0),
            arrivals: tokio::sync::Semaphore::new(0),
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = IngestConfig { grpc_address: any, http_address: any, ..config };
        let ingest = bind(config, sink.clone()).await.unwrap();
        let (grpc, http, counters) = (ingest.grpc_address(), ingest.http_address(), ingest.counters());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
        Self { grpc, http, sink, counters, stop: Some(stop), running }
    }

    pub(crate) fn values(&self) -> CounterValues {
        self.counters.values()
    }

    /// Begins to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Posts `body` to `/v1/metrics` as protobuf.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.request(Signal::Metrics).body(body).send().await.unwrap()
    }

    pub(crate) fn request(&self, signal: Signal) -> reqwest::RequestBuilder {
        reqwest::Client::new()
            .post(self.url(&format!("/v1/{}", signal.name())))
            .header("content-type", "application/x-protobuf")
    }

    /// Guarantees: the server still takes in an ordinary request.
    pub(crate) async fn still_works(&self) {
        let response = self.post(metrics(1.0).encode_to_vec()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(self.sink.last().request, metrics(1.0).encode_to_vec());
    }
}

fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

/// An attribute of text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![text("service.name", "checkout")], ..Resource::default() })
}

/// One gauge with one point.
pub(crate) fn metrics(value: f64) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: 1_700_000_000_000_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    let metric = Metric { name: "queue.length".into(), unit: "{item}".into(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics =
        ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

/// One span.
pub(crate) fn traces() -> ExportTraceServiceRequest {
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], name: "GET /".into(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

/// One record.
pub(crate) fn logs() -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: 5,
        severity_number: 9,
        severity_text: "INFO".into(),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

/// The encoded request of one item.
pub(crate) fn encoded(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Metrics => metrics(1.5).encode_to_vec(),
        Signal::Traces => traces().encode_to_vec(),
        Signal::Logs => logs().encode_to_vec(),
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// `google.rpc.Status` as receivers decode it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) retry: Option<RetryInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) delay: Option<Delay>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Delay {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// A status that asks to retry after `seconds` and `nanos`.
pub(crate) fn retry_status(code: i32, message: &str, seconds: i64, nanos: i32) -> RpcStatus {
    let retry = Some(RetryInfo { delay: Some(Delay { seconds, nanos }) });
    let details = vec![Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), retry }];
    RpcStatus { code, message: message.into(), details }
}
