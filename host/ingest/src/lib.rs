//! OTLP bytes in, checked telemetry out: the gRPC and HTTP servers.
//!
//! Every request takes the same way, whatever its protocol: who sends it (`auth`), is there room (`admission`), its bytes
//! within bounds (`body`), the bytes checked or JSON turned into protobuf (`export`, `json`), then the [`Sink`]. `grpc`
//! and `http` only translate requests and answers.
//!
//! ## What always holds
//! - the sink sees only protobuf that `salve_otlp::check_*` accepted, with the tenant that the sender's token fixes
//! - bytes of requests in memory stay within [`IngestConfig::bytes_in_flight_max`], decompressed ones included; past it
//!   senders are told to come back, as the protocol says, and nothing is lost silently
//! - a body is read only after its sender was recognised
//! - a sender that is slow, wrong or gone costs others nothing; each refusal is counted by reason
//!
//! Not here: what telemetry means (`salve-signals`), authentication of people (`salve`).

mod admission;
mod auth;
mod body;
mod config;
mod connections;
mod counters;
mod error;
mod export;
mod grpc;
mod http;
mod json;
mod response;
mod server;
mod sink;

pub use auth::Assertions;
pub use config::{IngestConfig, Secret, TlsConfig, TokenConfig};
pub use counters::{CounterValues, IngestCounters};
pub use error::IngestError;
pub use salve_model::call::BoxFuture;
pub use server::{Ingest, bind, check};
pub use sink::{Accepted, Refused, Signal, Sink};

/// The export request that OTLP JSON describes, as protobuf of at most `bytes_max`. None if it describes none, or a longer one.
#[must_use]
pub fn protobuf_of_json(signal: Signal, json: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    json::to_protobuf(json, signal.message(), bytes_max).ok()
}
