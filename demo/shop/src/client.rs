//! The client side of HTTP: one CLIENT span for every call, and the trace context in its headers.

use crate::{failure::Failure, telemetry::Telemetry};
use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Injector, TextMapPropagator},
    trace::{SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// Calls other services.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    telemetry: Arc<Telemetry>,
}

impl Client {
    /// Makes a client that keeps connections open between calls.
    ///
    /// # Errors
    /// If TLS cannot be set up. The shop speaks plain HTTP, but the library asks for it.
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> anyhow::Result<Self> {
        // Fails only if it was installed before, which is just as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http, telemetry })
    }

    /// POSTs `body` as JSON to `base` + `path` and reads a JSON answer, all within `timeout`.
    ///
    /// # Errors
    /// 502 if the callee cannot be reached or answers with an error of its own, 504 if it does not answer in time.
    pub(crate) async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        base: &str,
        path: &'static str,
        body: &B,
        timeout: Duration,
    ) -> Result<A, Failure> {
        let url = reqwest::Url::parse(base).and_then(|base| base.join(path)).map_err(|error| {
            Failure::internal(
                "invalid_url",
                format!("cannot call `{base}`: {error}; hint: correct the URL in the configuration"),
            )
        })?;
        let address = url.host_str().unwrap_or_default().to_owned();
        let port = i64::from(url.port_or_known_default().unwrap_or_default());
        let span = self
            .telemetry
            .tracer
            .span_builder(format!("POST {path}"))
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("url.full", url.to_string()),
                KeyValue::new("url.template", path),
                KeyValue::new("server.address", address),
                KeyValue::new("server.port", port),
            ])
            .start(&self.telemetry.tracer);
        let context = Context::current_with_span(span);
        let mut headers = HeaderMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut Headers(&mut headers));

        let result = self.send(url, headers, body, timeout).await;
        let span = context.span();
        match &result {
            Ok(_) => span.set_attribute(KeyValue::new("http.response.status_code", 200)),
            Err(call) => {
                if let Some(status) = call.answered {
                    span.set_attribute(KeyValue::new(
                        "http.response.status_code",
                        i64::from(status.as_u16()),
                    ));
                }
                span.set_attribute(KeyValue::new("error.type", call.failure.error_type));
                span.set_status(Status::error(call.failure.message.clone()));
            }
        }
        span.end();
        result.map_err(|call| call.failure)
    }

    async fn send<B: Serialize, A: DeserializeOwned>(
        &self,
        url: reqwest::Url,
        headers: HeaderMap,
        body: &B,
        timeout: Duration,
    ) -> Result<A, CallFailed> {
        let callee = url.authority().to_owned();
        let failed = |error: &reqwest::Error| CallFailed::new(&callee, error, timeout);
        let response = self
            .http
            .post(url)
            .headers(headers)
            .timeout(timeout)
            .json(body)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(CallFailed::answered(&callee, status));
        }
        response.json().await.map_err(|error| failed(&error))
    }
}

/// A call that failed, and the status if there was an answer.
struct CallFailed {
    failure: Failure,
    answered: Option<StatusCode>,
}

impl CallFailed {
    fn new(callee: &str, error: &reqwest::Error, timeout: Duration) -> Self {
        let (status, error_type, message) = if error.is_timeout() {
            let message = format!("`{callee}` did not answer within {} ms", timeout.as_millis());
            (StatusCode::GATEWAY_TIMEOUT, "timeout", message)
        } else if error.is_connect() {
            (StatusCode::BAD_GATEWAY, "connection_refused", format!("cannot connect to `{callee}`"))
        } else {
            (StatusCode::BAD_GATEWAY, "connection_lost", format!("lost the connection to `{callee}`"))
        };
        Self { failure: Failure { status, error_type, message }, answered: None }
    }

    fn answered(callee: &str, status: StatusCode) -> Self {
        let failure = Failure {
            status: StatusCode::BAD_GATEWAY,
            error_type: "upstream_error",
            message: format!("`{callee}` answered with status `{}`", status.as_u16()),
        };
        Self { failure, answered: Some(status) }
    }
}

/// Request headers, as the propagator writes them.
struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_str(&value))
        {
            self.0.insert(name, value);
        }
    }
}
