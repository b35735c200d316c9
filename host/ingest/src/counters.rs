//! What came in and what was refused, for `salve status` and our own telemetry.

use crate::{Signal, admission::Admission, export::Rejection};
use serde::Serialize;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Running totals since the start. Cheap to read at any time.
        #[derive(Debug)]
        pub struct IngestCounters {
            $(pub(crate) $name: AtomicU64,)*
            admission: Arc<Admission>,
        }

        /// The totals at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
            /// Requests under way now, of `requests_in_flight_max`.
            pub requests_in_flight: u64,
            /// Bytes of them now, of `bytes_in_flight_max`.
            pub bytes_in_flight: u64,
        }

        impl IngestCounters {
            pub(crate) fn new(admission: Arc<Admission>) -> Self {
                Self { $($name: AtomicU64::new(0),)* admission }
            }

            /// The totals now.
            #[must_use]
            pub fn values(&self) -> CounterValues {
                CounterValues {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    requests_in_flight: self.admission.requests(),
                    bytes_in_flight: self.admission.bytes(),
                }
            }
        }
    };
}

counters! {
    /// Export requests of all protocols, refused ones included.
    requests,
    /// Bytes of accepted requests, as protobuf.
    accepted_bytes,
    /// Data points that the sink took in.
    accepted_points,
    /// Spans that the sink took in.
    accepted_spans,
    /// Log records that the sink took in.
    accepted_log_records,
    /// Points, spans and records that the sink rejected within accepted requests.
    rejected_items,
    /// Requests without a known token, or from a browser.
    refused_unauthenticated,
    /// Requests that are not OTLP.
    refused_malformed,
    /// Requests of an unknown content type or encoding.
    refused_unsupported,
    /// Requests longer than the limit, as sent or when decompressed.
    refused_too_large,
    /// Requests for which there was no room.
    refused_overloaded,
    /// Requests that came while stopping.
    refused_stopping,
    /// Requests whose body did not come in time, or never came in full.
    refused_incomplete,
    /// Requests for paths and methods that do not exist.
    refused_unknown,
    /// Connections accepted.
    connections,
    /// Connections closed at once, since there were too many, all of them busy.
    refused_connections,
    /// TLS handshakes that failed.
    failed_handshakes,
    /// Connections closed since they did nothing for too long, or while others needed the room.
    idle_connections_closed,
}

impl IngestCounters {
    pub(crate) fn count(&self, counter: impl Fn(&Self) -> &AtomicU64) {
        counter(self).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self, signal: Signal, bytes: u64, items: u64, rejected: u64) {
        let accepted = match signal {
            Signal::Metrics => &self.accepted_points,
            Signal::Traces => &self.accepted_spans,
            Signal::Logs => &self.accepted_log_records,
        };
        accepted.fetch_add(items, Ordering::Relaxed);
        self.accepted_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rejected_items.fetch_add(rejected, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, rejection: &Rejection) {
        let counter = match rejection {
            Rejection::Unauthenticated | Rejection::Browser => &self.refused_unauthenticated,
            Rejection::Malformed(_) => &self.refused_malformed,
            Rejection::UnknownEncoding(_) | Rejection::UnknownContentType(_) => &self.refused_unsupported,
            Rejection::TooLarge { .. } => &self.refused_too_large,
            Rejection::Overloaded { .. } => &self.refused_overloaded,
            Rejection::Stopping => &self.refused_stopping,
            Rejection::TooSlow { .. } | Rejection::Interrupted => &self.refused_incomplete,
            Rejection::UnknownPath | Rejection::UnknownMethod => &self.refused_unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
