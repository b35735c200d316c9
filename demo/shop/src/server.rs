//! The server side of HTTP: one SERVER span, one point of each metric for every request.
//!
//! Names follow the OpenTelemetry semantic conventions for HTTP (stable since 1.23).

use crate::{failure::ErrorType, telemetry::Telemetry};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    Context, KeyValue,
    metrics::{Counter, Histogram, UpDownCounter},
    propagation::{Extractor, TextMapPropagator},
    trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::{net::SocketAddr, sync::Arc, time::Instant};

/// Boundaries in seconds that the conventions advise for `http.server.request.duration`.
const DURATION_BOUNDARIES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// `http.route` of paths that the service does not have: strangers' words would make new series.
const UNKNOWN_ROUTE: &str = "_OTHER";

/// What every request of a service is measured with.
pub(crate) struct Instruments {
    telemetry: Arc<Telemetry>,
    route: &'static str,
    requests: Counter<u64>,
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
}

impl Instruments {
    /// Makes the instruments of a service with one `route`, for instance `/orders`.
    pub(crate) fn new(telemetry: Arc<Telemetry>, route: &'static str) -> Arc<Self> {
        let meter = &telemetry.meter;
        let requests = meter
            .u64_counter("shop.requests")
            .with_unit("{request}")
            .with_description("Requests served, by status.")
            .build();
        let duration = meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Duration of HTTP server requests.")
            .with_boundaries(DURATION_BOUNDARIES.to_vec())
            .build();
        let active = meter
            .i64_up_down_counter("http.server.active_requests")
            .with_unit("{request}")
            .with_description("Requests in progress.")
            .build();
        Arc::new(Self { requests, duration, active, telemetry, route })
    }
}

/// `router` with a span and metrics for each request.
pub(crate) fn instrumented(router: Router, instruments: Arc<Instruments>) -> Router {
    router.layer(axum::middleware::from_fn_with_state(instruments, observe))
}

/// Serves until `stop` comes true.
///
/// # Errors
/// If the socket fails.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> std::io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that whoever could say "stop" is gone: stop as well.
            let _stopped = stop.wait_for(|stop| *stop).await;
        })
        .await
}

/// Binds a listener, with the address in the error.
///
/// # Errors
/// If the address is taken or not local.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let bound = tokio::net::TcpListener::bind(address).await;
    anyhow::Context::with_context(bound, || format!("cannot listen on `{address}`"))
}

async fn observe(State(instruments): State<Arc<Instruments>>, request: Request, next: Next) -> Response {
    let method = known_method(request.method());
    let route = if request.uri().path() == instruments.route { instruments.route } else { UNKNOWN_ROUTE };
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(request.headers()));
    let mut attributes =
        vec![KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
    let span = instruments
        .telemetry
        .tracer
        .span_builder(format!("{method} {route}"))
        .with_kind(SpanKind::Server)
        .with_attributes(attributes.iter().cloned().chain([
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", request.uri().path().to_owned()),
        ]))
        .start_with_context(&instruments.telemetry.tracer, &parent);
    let context = parent.with_span(span);
    // Ends the measurement also if the caller hangs up and the request is dropped half-way.
    let active = Active::begin(&instruments.active, method);
    let started = Instant::now();

    let response = next.run(request).with_context(context.clone()).await;

    drop(active);
    let status = response.status();
    attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    let span = context.span();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        let error_type = response.extensions().get::<ErrorType>().map_or("500", |error| error.0);
        attributes.push(KeyValue::new("error.type", error_type));
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(error_type));
    }
    instruments.duration.record(started.elapsed().as_secs_f64(), &attributes);
    instruments.requests.add(1, &attributes);
    span.end();
    response
}

/// Methods as the conventions want them: any other word would let strangers make new series.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "_OTHER",
    }
}

struct Active<'a> {
    counter: &'a UpDownCounter<i64>,
    attributes: [KeyValue; 1],
}

impl<'a> Active<'a> {
    fn begin(counter: &'a UpDownCounter<i64>, method: &'static str) -> Self {
        let attributes = [KeyValue::new("http.request.method", method)];
        counter.add(1, &attributes);
        Self { counter, attributes }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.counter.add(-1, &self.attributes);
    }
}

/// Request headers, as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
