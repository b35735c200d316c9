//! OTLP over HTTP: requests and answers in protobuf and JSON.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use crate::{
    Accepted, Signal,
    body::Encoding,
    export::{Format, Rejection, Shared},
    grpc::Code,
    response::{Answer, accepted_json, accepted_protobuf, status_json, status_protobuf},
};
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::Body,
    header::{self, HeaderValue},
};
use std::{pin::Pin, time::Duration};

/// How long the rest of a refused body is read and thrown away. Closing at once would make the client's system throw away
/// the answer.
const LINGER: Duration = Duration::from_secs(5);

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers one request.
pub(crate) async fn serve<B: Body<Data = Bytes> + Unpin>(
    shared: &Shared,
    request: Request<B>,
) -> Response<Answer> {
    let (parts, mut body) = request.into_parts();
    let headers = &parts.headers;
    let (signal, format) = match target(&parts.method, parts.uri.path(), headers) {
        Ok(target) => target,
        Err(rejection) => {
            shared.refuse(&rejection);
            linger(&mut body, parts.version, headers).await;
            return reject(&rejection, Format::Json, shared.config.retry_after_ms);
        }
    };
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map_or(Ok(Encoding::Identity), |name| Encoding::from_name(name.as_bytes()));
    let result = shared.export(signal, format, encoding, headers, &mut body).await;
    match result {
        Ok(accepted) => accept(&accepted, signal, format),
        Err(rejection) => {
            // Whoever was slow before gets no more time.
            if !matches!(rejection, Rejection::TooSlow { .. } | Rejection::Interrupted) {
                linger(&mut body, parts.version, headers).await;
            }
            reject(&rejection, format, shared.config.retry_after_ms)
        }
    }
}

/// Which signal a request is for, and what its body is.
fn target(method: &Method, path: &str, headers: &HeaderMap) -> Result<(Signal, Format), Rejection> {
    let name = path.strip_prefix("/v1/").unwrap_or_default();
    let signal =
        Signal::ALL.into_iter().find(|signal| signal.name() == name).ok_or(Rejection::UnknownPath)?;
    if method != Method::POST {
        return Err(Rejection::UnknownMethod);
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let format = match essence.to_ascii_lowercase().as_slice() {
        b"application/x-protobuf" | b"application/protobuf" => Format::Protobuf,
        b"application/json" => Format::Json,
        _ => {
            let name = salve_model::text::escape(&String::from_utf8_lossy(content_type), 60);
            return Err(Rejection::UnknownContentType(name));
        }
    };
    Ok((signal, format))
}

/// Throws away what is left of a body. HTTP/2 can refuse one stream by itself and needs this not; nor does a client that
/// waits to be told to go on.
async fn linger<B: Body<Data = Bytes> + Unpin>(body: &mut B, version: Version, headers: &HeaderMap) {
    if version >= Version::HTTP_2 || headers.contains_key(header::EXPECT) || body.is_end_stream() {
        return;
    }
    let rest = async {
        while let Some(Ok(_)) = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
        {
        }
    };
    // Past that time the client gets whatever the connection still carries.
    drop(tokio::time::timeout(LINGER, rest).await);
}

fn accept(accepted: &Accepted, signal: Signal, format: Format) -> Response<Answer> {
    let (content_type, body) = match format {
        Format::Json => (JSON, accepted_json(accepted, signal)),
        Format::Protobuf | Format::Grpc => (PROTOBUF, accepted_protobuf(accepted)),
    };
    let mut response = Response::new(Answer::new(body, None));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn reject(rejection: &Rejection, format: Format, retry_after_ms: u64) -> Response<Answer> {
    let status = match rejection {
        Rejection::Unauthenticated => StatusCode::UNAUTHORIZED,
        Rejection::Browser => StatusCode::FORBIDDEN,
        Rejection::Malformed(_) | Rejection::Interrupted => StatusCode::BAD_REQUEST,
        Rejection::UnknownEncoding(_) | Rejection::UnknownContentType(_) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        Rejection::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Rejection::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
        Rejection::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Rejection::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
        Rejection::UnknownPath => StatusCode::NOT_FOUND,
        Rejection::UnknownMethod => StatusCode::METHOD_NOT_ALLOWED,
    };
    let delay_ms = match rejection {
        Rejection::Overloaded { retry_after_ms } => Some(*retry_after_ms),
        Rejection::Stopping => Some(retry_after_ms),
        _ => None,
    };
    let (code, message) = (Code::of(rejection) as i32, rejection.message());
    let (content_type, body) = match format {
        Format::Json => (JSON, status_json(code, &message, delay_ms)),
        Format::Protobuf | Format::Grpc => (PROTOBUF, status_protobuf(code, &message, delay_ms)),
    };
    let mut response = Response::new(Answer::new(body, None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Some(delay_ms) = delay_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(delay_ms.div_ceil(1_000).max(1)));
    }
    match rejection {
        Rejection::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        }
        Rejection::UnknownEncoding(_) => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity, gzip, zstd"))
        }
        Rejection::UnknownMethod => headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
        _ => None,
    };
    response
}
