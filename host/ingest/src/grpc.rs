//! OTLP over gRPC: requests and answers as the protocol frames them.
//!
//! Unary calls need little of gRPC, and its libraries answer a message that is too long with `OUT_OF_RANGE`, which makes OTLP
//! exporters send it again for ever; so the framing is done here.
//!
//! Sources: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>,
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>.

use crate::{
    Accepted, Signal,
    body::Encoding,
    export::{Format, GRPC_PREFIX_BYTES, Rejection, Shared},
    response::{Answer, accepted_protobuf, status_protobuf},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, body::Body, header::CONTENT_TYPE};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Codes of <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// How gRPC, and the `google.rpc.Status` in HTTP answers, name a rejection.
    pub(crate) fn of(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::Unauthenticated => Self::Unauthenticated,
            Rejection::Browser => Self::PermissionDenied,
            Rejection::Malformed(_) => Self::InvalidArgument,
            Rejection::UnknownEncoding(_)
            | Rejection::UnknownContentType(_)
            | Rejection::UnknownPath
            | Rejection::UnknownMethod => Self::Unimplemented,
            // Without a RetryInfo, OTLP's exporters do not send it again.
            Rejection::TooLarge { .. } | Rejection::Overloaded { .. } => Self::ResourceExhausted,
            Rejection::Stopping => Self::Unavailable,
            Rejection::TooSlow { .. } => Self::DeadlineExceeded,
            Rejection::Interrupted => Self::Cancelled,
        }
    }
}

/// Whether an answer refuses its request: of what was taken the status comes after the message.
pub(crate) fn is_refusal(headers: &HeaderMap) -> bool {
    headers.contains_key(STATUS)
}

/// Whether a request is for this module.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Answers one call.
pub(crate) async fn serve<B: Body<Data = Bytes>>(shared: &Shared, request: Request<B>) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let signal = match parts.uri.path() {
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    };
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    // Other codecs are named behind a plus.
    let is_protobuf = content_type.starts_with(b"application/grpc+proto") || !content_type.contains(&b'+');
    let result = match signal {
        None => Err(Rejection::UnknownPath),
        Some(_) if parts.method != Method::POST => Err(Rejection::UnknownMethod),
        Some(_) if !is_protobuf => {
            let name = salve_model::text::escape(&String::from_utf8_lossy(content_type), 60);
            Err(Rejection::UnknownContentType(name))
        }
        Some(signal) => Ok(signal),
    };
    let result = match result {
        Ok(signal) => {
            let name = parts.headers.get(ENCODING);
            let encoding = name.map_or(Ok(Encoding::Identity), |name| Encoding::from_name(name.as_bytes()));
            shared.export(signal, Format::Grpc, encoding, &parts.headers, body).await
        }
        Err(rejection) => {
            shared.refuse(&rejection);
            Err(rejection)
        }
    };
    match result {
        Ok(accepted) => accept(&accepted),
        Err(rejection) => reject(&rejection, shared.config.retry_after_ms),
    }
}

fn response(body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
    response
}

fn accept(accepted: &Accepted) -> Response<Answer> {
    let message = accepted_protobuf(accepted);
    let mut framed = Vec::with_capacity(GRPC_PREFIX_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    response(Answer::new(framed, Some(trailers)))
}

/// A "Trailers-Only" answer.
fn reject(rejection: &Rejection, retry_after_ms: u64) -> Response<Answer> {
    let code = Code::of(rejection) as i32;
    let message = rejection.message();
    let mut response = response(Answer::default());
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(code));
    let mut insert = |name, text: String| {
        // Both texts are ASCII by construction.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    insert(MESSAGE, percent_encoded(&message));
    let delay_ms = match rejection {
        Rejection::Overloaded { retry_after_ms } => Some(*retry_after_ms),
        Rejection::Stopping => Some(retry_after_ms),
        _ => None,
    };
    if delay_ms.is_some() {
        insert(DETAILS, STANDARD_NO_PAD.encode(status_protobuf(code, &message, delay_ms)));
    }
    response
}

/// As `grpc-message` wants it: printable ASCII but `%`, all else as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}
