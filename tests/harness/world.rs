//! A small world to be healed: a service called `worker` whose spans fail while something real is wrong.
//!
//! The process and the file are real and Salve's brokers act on them; the spans are sent as real OTLP over HTTP. Whether they
//! fail is looked up in the world each time, so that only a real change heals.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Unix time in nanoseconds.
#[must_use]
pub fn now_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A string attribute.
#[must_use]
pub fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

/// `count` server spans of `service` that end now; they fail if `failing`.
#[must_use]
pub fn spans(service: &str, count: u64, failing: bool) -> ExportTraceServiceRequest {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let end = now_unix_ns();
    let spans = (0..count).map(|_| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Span {
            trace_id: u128::from(number).to_be_bytes().to_vec(),
            span_id: number.to_be_bytes().to_vec(),
            name: "GET /work".into(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: end - 5_000_000,
            end_time_unix_nano: end,
            status: failing.then(|| Status { code: StatusCode::Error.into(), message: "broken".into() }),
            ..Span::default()
        }
    });
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", service)],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// Sends spans of `worker` every 50 ms until it is dropped.
pub struct Sender {
    task: tokio::task::JoinHandle<()>,
    sent: Arc<AtomicU64>,
    failing: Arc<AtomicBool>,
}

impl Sender {
    /// Sends to `endpoint`; `is_broken` looks at the world before each request. Requests that find no daemon are dropped.
    #[must_use]
    pub fn start(endpoint: String, is_broken: impl Fn() -> bool + Send + 'static) -> Self {
        Self::start_as(None, endpoint, is_broken)
    }

    /// The same, by the sender who has this token.
    #[must_use]
    pub fn start_as(
        token: Option<&str>,
        endpoint: String,
        is_broken: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        let token = token.map(str::to_owned);
        let sent = Arc::new(AtomicU64::new(0));
        let failing = Arc::new(AtomicBool::new(false));
        let (sent_now, failing_now) = (sent.clone(), failing.clone());
        let task = tokio::spawn(async move {
            let client = client();
            loop {
                let broken = is_broken();
                failing_now.store(broken, Ordering::Relaxed);
                let body = spans("worker", 4, broken).encode_to_vec();
                let mut request = client
                    .post(format!("{endpoint}/v1/traces"))
                    .header("content-type", "application/x-protobuf")
                    .body(body);
                if let Some(token) = &token {
                    request = request.bearer_auth(token);
                }
                if request.send().await.is_ok_and(|response| response.status().is_success()) {
                    sent_now.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { task, sent, failing }
    }

    /// Requests that the daemon took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the newest spans failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP client without proxies.
#[must_use]
pub fn client() -> reqwest::Client {
    // Already installed if another test of this process was here first.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap_or_default()
}
