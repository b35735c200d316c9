//! Where checked telemetry goes.

use crate::Assertions;
use bytes::Bytes;
use salve_model::{Tenant, call::BoxFuture};
use salve_otlp::schema::{self, Message};
use std::sync::Arc;

/// The kind of telemetry in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// An `ExportMetricsServiceRequest`.
    Metrics,
    /// An `ExportTraceServiceRequest`.
    Traces,
    /// An `ExportLogsServiceRequest`.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// As in HTTP paths: `metrics`, `traces`, `logs`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    /// Its export request.
    pub(crate) const fn message(self) -> &'static Message {
        match self {
            Self::Metrics => &schema::METRICS,
            Self::Traces => &schema::TRACES,
            Self::Logs => &schema::LOGS,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Points, spans or records taken in.
    pub accepted: u64,
    /// Points, spans or records not taken in. The sender must not send them again.
    pub rejected: u64,
    /// Why some were rejected, or a warning, in words for the sender's operator.
    pub reason: Option<String>,
}

/// Why nothing of a request was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No room now; the sender is asked to send the same again.
    Overloaded {
        /// When, in milliseconds.
        retry_after_ms: u64,
    },
    /// The daemon stops; the sender is asked to send the same again, here or elsewhere.
    Stopping,
}

/// Takes in checked requests.
pub trait Sink: Send + Sync + 'static {
    /// Takes in `request`, which `salve_otlp::check_*` of `signal` accepted.
    ///
    /// `allowed` says which attribute values the sender may assert; `None` is any. Its bytes count as in flight until
    /// the future ends. When the sender goes away the future is dropped.
    fn accept(
        &self,
        signal: Signal,
        tenant: Tenant,
        allowed: Option<Arc<Assertions>>,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Accepted, Refused>>;
}
