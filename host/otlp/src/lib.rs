//! Walks OTLP protobuf without allocating: bytes in, borrowed points, spans and records out.
//!
//! Visitors are told of a resource, then of a scope, then of what is in it, whatever the order of the fields on the
//! wire. [`check_metrics`] and its siblings read a request to its last byte first.
//!
//! ## What always holds
//! - no bytes make it panic, loop or recurse without bound; nothing is allocated but for an error
//! - what a `check_` function accepted, the `walk_` function of the same signal walks without error, and owned protobuf
//!   decoders read with the same meaning
//! - fields may come in any order; fields that OTLP does not know are skipped
//!
//! Not here: compression, JSON and limits of size (`salve-ingest`), the meaning of what is told (`salve-signals`).
//!
//! ```
//! use salve_otlp::{Limits, LogRecord, LogsVisitor, Resource, Scope, check_logs, walk_logs};
//!
//! struct Errors(u64);
//! impl LogsVisitor for Errors {
//!     fn resource(&mut self, _: Resource<'_>) {}
//!     fn scope(&mut self, _: Scope<'_>) {}
//!     fn log_record(&mut self, record: LogRecord<'_>) {
//!         self.0 += u64::from(record.severity_number >= 17);
//!     }
//! }
//!
//! // One record with severity 17 (ERROR).
//! let request = [0x0a, 6, 0x12, 4, 0x12, 2, 0x10, 17];
//! assert_eq!(check_logs(&request, &Limits::default())?.items, 1);
//! let mut errors = Errors(0);
//! walk_logs(&request, &mut errors)?;
//! assert_eq!(errors.0, 1);
//! # Ok::<(), salve_otlp::DecodeError>(())
//! ```

mod attributes;
mod check;
mod error;
mod hash;
mod logs;
mod metrics;
pub mod schema;
mod traces;
mod visit;
mod walk;
mod wire;

pub use check::{Counts, Limits, check_logs, check_metrics, check_traces};
pub use error::{DecodeError, Problem};
pub use logs::walk_logs;
pub use metrics::walk_metrics;
pub use traces::walk_traces;
pub use visit::*;
