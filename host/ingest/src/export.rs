//! The way of a request from its headers to the sink, the same for all protocols.

use crate::{
    Accepted, IngestConfig, IngestCounters, Refused, Signal, Sink,
    admission::{Admission, Full, Permit},
    auth::{Sender, Senders},
    body::{self, Encoding},
    json,
};
use bytes::{Buf, Bytes};
use hyper::{HeaderMap, body::Body, header::ORIGIN};
use salve_otlp::{Counts, DecodeError, Limits};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Requests longer than this are decompressed and checked on a thread of their own kind, so that they hold up no others.
const BLOCKING_BYTES: usize = 128 << 10;

/// The most that protobuf can be longer than its JSON: `0,` becomes a tag and eight bytes.
pub(crate) const JSON_GROWTH: u64 = 5;

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
    /// One protobuf message behind a flag and a length.
    Grpc,
}

/// A flag and four bytes of length.
pub(crate) const GRPC_PREFIX_BYTES: usize = 5;

/// Why a request was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejection {
    Unauthenticated,
    Browser,
    Malformed(String),
    UnknownEncoding(String),
    UnknownContentType(String),
    TooLarge { bytes_max: u64 },
    Overloaded { retry_after_ms: u64 },
    Stopping,
    TooSlow { body_read_ms: u64 },
    Interrupted,
    UnknownPath,
    UnknownMethod,
}

impl Rejection {
    pub(crate) fn malformed(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Malformed(format!(
            "cannot decode the {what}: {}",
            salve_model::text::escape(&error.to_string(), 300)
        ))
    }

    /// In words, for the sender's operator.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unauthenticated => {
                "no known token; send `authorization: Bearer TOKEN` with one of [[otlp.tokens]]".into()
            }
            Self::Browser => "requests from web pages are not taken".into(),
            Self::Malformed(message) => message.clone(),
            Self::UnknownEncoding(name) => {
                format!("encoding `{name}` is not known; use `identity`, `gzip` or `zstd`")
            }
            Self::UnknownContentType(name) => {
                format!(
                    "content type `{name}` is not known; use `application/x-protobuf`, `application/json`, or \
                     `application/grpc` over HTTP/2"
                )
            }
            Self::TooLarge { bytes_max } => {
                format!(
                    "the request is longer than {bytes_max} bytes; send smaller batches or raise `otlp.request_bytes_max`"
                )
            }
            Self::Overloaded { retry_after_ms } => {
                format!("no room for more requests; send again in {retry_after_ms} ms")
            }
            Self::Stopping => "Salve is stopping; send again".into(),
            Self::TooSlow { body_read_ms } => format!("the body took longer than {body_read_ms} ms"),
            Self::Interrupted => "the body ended early".into(),
            Self::UnknownPath => {
                {
                "no such path; OTLP is taken at `/v1/metrics`, `/v1/traces` and `/v1/logs`, and as gRPC of its three services"
                    .into()
            }
            }
            Self::UnknownMethod => "only POST is taken here".into(),
        }
    }
}

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        Self::Overloaded { retry_after_ms: full.retry_after_ms }
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: IngestConfig,
    pub(crate) senders: Senders,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) counters: Arc<IngestCounters>,
    pub(crate) stopping: AtomicBool,
}

impl Shared {
    /// Takes in one request, or says why not; counts it either way.
    pub(crate) async fn export(
        &self,
        signal: Signal,
        format: Format,
        encoding: Result<Encoding, Rejection>,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Result<Accepted, Rejection> {
        self.counters.count(|counters| &counters.requests);
        let result = self.try_export(signal, format, encoding, headers, body).await;
        if let Err(rejection) = &result {
            self.refuse(rejection);
        }
        result
    }

    /// Counts and logs a refusal.
    pub(crate) fn refuse(&self, rejection: &Rejection) {
        self.counters.refused(rejection);
        tracing::debug!(reason = rejection.message(), "OTLP request refused.");
    }

    async fn try_export(
        &self,
        signal: Signal,
        format: Format,
        encoding: Result<Encoding, Rejection>,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Result<Accepted, Rejection> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::Stopping);
        }
        let sender = self.sender(headers)?;
        let encoding = encoding?;
        let mut permit = self.admission.enter()?;
        let prefix_bytes = if format == Format::Grpc { GRPC_PREFIX_BYTES as u64 } else { 0 };
        let body_read_ms = self.config.body_read_ms;
        let body = body::read(body, self.config.request_bytes_max.saturating_add(prefix_bytes), &mut permit);
        let body = tokio::time::timeout(Duration::from_millis(body_read_ms), body)
            .await
            .map_err(|_| Rejection::TooSlow { body_read_ms })?
            .map_err(|rejection| self.with_request_limit(rejection))?;
        let work = Work {
            signal,
            format,
            encoding,
            bytes_max: self.config.request_bytes_max,
            limits: Limits { value_depth_max: self.config.value_depth_max },
        };
        let (request, _, permit) = if body.len() > BLOCKING_BYTES || encoding != Encoding::Identity {
            let done = tokio::task::spawn_blocking(move || work.run(body, permit)).await;
            // The work does not panic; if it did, or the runtime stops, the sender may try again.
            done.unwrap_or(Err(Rejection::Stopping))?
        } else {
            work.run(body, permit)?
        };
        let length = request.len() as u64;
        let accepted =
            self.sink.accept(signal, sender.tenant, sender.allowed, request).await.map_err(|refused| {
                match refused {
                    Refused::Overloaded { retry_after_ms } => Rejection::Overloaded { retry_after_ms },
                    Refused::Stopping => Rejection::Stopping,
                }
            })?;
        drop(permit);
        self.counters.accepted(signal, length, accepted.accepted, accepted.rejected);
        Ok(accepted)
    }

    fn sender(&self, headers: &HeaderMap) -> Result<Sender, Rejection> {
        // A web page can reach loopback; browsers always name the page's origin in such requests.
        if self.senders.is_open() && headers.contains_key(ORIGIN) {
            return Err(Rejection::Browser);
        }
        self.senders.recognise(headers).ok_or(Rejection::Unauthenticated)
    }

    /// States the limit that the operator set, without gRPC's prefix.
    fn with_request_limit(&self, rejection: Rejection) -> Rejection {
        match rejection {
            Rejection::TooLarge { .. } => Rejection::TooLarge { bytes_max: self.config.request_bytes_max },
            other => other,
        }
    }
}

/// What is to be done with the bytes of a body.
struct Work {
    signal: Signal,
    format: Format,
    encoding: Encoding,
    bytes_max: u64,
    limits: Limits,
}

impl Work {
    /// Unpacks, decompresses, turns into protobuf and checks. The permit comes back with room for the result alone.
    fn run(self, body: Bytes, mut permit: Permit) -> Result<(Bytes, Counts, Permit), Rejection> {
        let (body, encoding) = match self.format {
            Format::Grpc => grpc_message(body, self.encoding, self.bytes_max)?,
            Format::Protobuf | Format::Json => (body, self.encoding),
        };
        let plain = body::decompress(body, encoding, self.bytes_max, &mut permit)?;
        let request = match self.format {
            Format::Json => {
                permit.grow((plain.len() as u64).saturating_mul(JSON_GROWTH).min(self.bytes_max))?;
                Bytes::from(json::to_protobuf(&plain, self.signal.message(), self.bytes_max)?)
            }
            Format::Protobuf | Format::Grpc => plain,
        };
        let counts = match self.signal {
            Signal::Metrics => salve_otlp::check_metrics(&request, &self.limits),
            Signal::Traces => salve_otlp::check_traces(&request, &self.limits),
            Signal::Logs => salve_otlp::check_logs(&request, &self.limits),
        }?;
        permit.shrink_to(request.len() as u64);
        Ok((request, counts, permit))
    }
}

/// The only message of a gRPC request, and whether it is compressed.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, Length-Prefixed-Message.
fn grpc_message(mut body: Bytes, encoding: Encoding, bytes_max: u64) -> Result<(Bytes, Encoding), Rejection> {
    if body.len() < GRPC_PREFIX_BYTES {
        return Err(Rejection::Malformed("cannot decode the gRPC request: it has no message".into()));
    }
    let (compressed, length) = (body.get_u8(), body.get_u32());
    let encoding = match (compressed, encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Gzip | Encoding::Zstd) => encoding,
        _ => {
            let message = "cannot decode the gRPC request: its message is marked as compressed, but `grpc-encoding` names nothing";
            return Err(Rejection::Malformed(message.into()));
        }
    };
    if u64::from(length) > bytes_max {
        return Err(Rejection::TooLarge { bytes_max });
    }
    if body.len() as u64 != u64::from(length) {
        let message =
            format!("cannot decode the gRPC request: {} bytes follow where it states {length}", body.len());
        return Err(Rejection::Malformed(message));
    }
    Ok((body, encoding))
}
