//! Checked telemetry in; bounded series, RED, service map and history out.
//!
//! [`Signals`] is one thread's: requests that passed the check of `salve-otlp` go in by [`Signals::apply`], time by
//! [`Signals::tick`]. Out come columns of new points for detectors ([`Signals::take_batches`]), points under watch
//! ([`Signals::take_watched`]), and answers about the past ([`Signals::of`]).
//!
//! ## What always holds
//! - no locks, no I/O, no clock: the receive time is an argument, and the same calls give the same answers
//! - every number of things has a bound in [`SignalsConfig`]; what is turned away or dropped is counted in
//!   [`SignalsCounters`], and a sender reads why in [`Applied::reason`]
//! - receive time decides what is open, late or idle; event time orders points and names buckets, nothing else
//! - a point older than the newest of its series enters history and sums, and no detector sees it
//! - values are finite
//!
//! ## Series that Salve derives
//! | name | unit | attributes | what |
//! |---|---|---|---|
//! | `salve.span.request_rate` | `{request}/s` | `span.name` per operation, none for the service | server and consumer spans |
//! | `salve.span.error_ratio` | `1` | the same | share of them that failed, by fault of the service |
//! | `salve.span.duration.mean`, `.p50`, `.p95`, `.p99` | `ms` | the same | time to serve |
//! | `salve.edge.request_rate` | `{request}/s` | `peer.service`: the callee | client and producer spans |
//! | `salve.edge.error_ratio` | `1` | the same | share of them that failed |
//! | `salve.edge.duration.mean`, `.p95` | `ms` | the same | time the caller waited |
//! | `salve.log.record_rate` | `{record}/s` | `severity` | log records |
//!
//! One point a bucket, at the time of its end. A bucket without requests has a rate of 0 and nothing else.
//!
//! Not here: decoding and limits of size (`salve-ingest`, `salve-otlp`), what is abnormal (detectors), what to do (the core).
//!
//! ```
//! use salve_model::{Tenant, time::Now};
//! use salve_signals::{DetectorBinding, SeriesSelector, Signal, Signals, SignalsConfig};
//!
//! let mut signals = Signals::new(SignalsConfig { bucket_ms: 1_000, ..SignalsConfig::default() });
//! let select = SeriesSelector { names: vec!["salve.span.*".into()], ..SeriesSelector::default() };
//! let detector = signals.bind_detector(DetectorBinding::new("holt-winters", select));
//!
//! let an_empty_request = [];
//! let applied = signals.apply(Signal::Traces, &Tenant::default(), &an_empty_request, Now(1_000));
//! assert_eq!((applied.accepted, applied.rejected, applied.reason), (0, 0, None));
//! signals.tick(Now(10_000));
//! for (binding, shard, batch) in signals.take_batches(Now(10_000)) {
//!     println!("{} series for shard {shard} of {binding:?}", batch.series.len());
//! }
//! # let _ = detector;
//! ```

mod bindings;
mod config;
mod counters;
mod edges;
mod engine;
mod gorilla;
mod histogram;
mod history;
mod identity;
mod points;
mod queries;
mod records;
mod red;
mod services;
mod sketch;
mod spans;
mod store;
mod streams;
mod watch;

pub use bindings::{BindingId, DetectorBinding, SeriesSelector};
pub use config::{ConfigProblem, LimitRule, SignalsConfig};
pub use counters::SignalsCounters;
pub use engine::{Applied, SeriesPast, Signal, Signals};
pub use queries::{ResourceSeen, TenantView};
pub use services::REPORTED_BY;
pub use watch::ExpectedPoint;
