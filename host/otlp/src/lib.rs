//! Walks OTLP protobuf without allocating: bytes in, borrowed points, spans and records out.
//!
//! Visitors are told of a resource, then of a scope, then of what is in it, whatever the order of the fields on the
//! wire. [`check_metrics`] and its siblings walk without a visitor, so that what they accept cannot fail later.

mod visit;

pub use visit::*;
