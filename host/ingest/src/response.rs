//! The bodies of answers.

use crate::{Accepted, Signal};
use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
};
use prost::Message;
use serde_json::json;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// At most one part, then perhaps trailers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn new(data: Vec<u8>, trailers: Option<HeaderMap>) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()).map(Bytes::from), trailers }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// `ExportMetricsServiceResponse` and its siblings: their wire forms are the same.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The response to an accepted request, in protobuf. Empty if everything was taken in without a word.
pub(crate) fn accepted_protobuf(accepted: &Accepted) -> Vec<u8> {
    let partial_success = (accepted.rejected > 0 || accepted.reason.is_some()).then(|| PartialSuccess {
        rejected: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
        error_message: accepted.reason.clone().unwrap_or_default(),
    });
    ExportResponse { partial_success }.encode_to_vec()
}

/// The same in JSON.
pub(crate) fn accepted_json(accepted: &Accepted, signal: Signal) -> Vec<u8> {
    if accepted.rejected == 0 && accepted.reason.is_none() {
        return b"{}".to_vec();
    }
    let rejected = match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
    };
    let reason = accepted.reason.clone().unwrap_or_default();
    json!({ "partialSuccess": { rejected: accepted.rejected.to_string(), "errorMessage": reason } })
        .to_string()
        .into_bytes()
}

/// A `google.rpc.Status` in protobuf, with a `RetryInfo` if the sender may come again.
pub(crate) fn status_protobuf(code: i32, message: &str, retry_after_ms: Option<u64>) -> Vec<u8> {
    let details = retry_after_ms.map(|delay_ms| {
        let retry_delay = Delay {
            seconds: i64::try_from(delay_ms / 1_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(delay_ms % 1_000 * 1_000_000).unwrap_or(0),
        };
        Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: RetryInfo { retry_delay: Some(retry_delay) }.encode_to_vec(),
        }
    });
    Status { code, message: message.into(), details: details.into_iter().collect() }.encode_to_vec()
}

/// The same in JSON.
pub(crate) fn status_json(code: i32, message: &str, retry_after_ms: Option<u64>) -> Vec<u8> {
    let mut status = json!({ "code": code, "message": message });
    if let (Some(delay_ms), Some(status)) = (retry_after_ms, status.as_object_mut()) {
        let delay = format!("{}.{:03}s", delay_ms / 1_000, delay_ms % 1_000);
        let detail = json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }]);
        status.insert("details".into(), detail);
    }
    status.to_string().into_bytes()
}
