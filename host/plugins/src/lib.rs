//! The wasmtime host under detectors, agents and actions: components in, checked answers out.
//!
//! ## What always holds
//! - nothing of a plugin runs before its manifest and type have been checked; a plugin is linked to its role's
//!   interfaces and to the capabilities that its manifest names, and to nothing else
//! - every call has limits on memory, CPU time, time, calls, output and log; each is configured, counted and has an
//!   error of its own ([`GuestErrorKind`])
//! - whatever a guest does ends that guest's call at most: a trap is an answer, not an accident
//! - what guests say is data from strangers: numbers are checked, lists bounded, text escaped
//! - a call to a broker that has begun ends, even if the guest that made it is gone
//!
//! Not here: grants, plans, dry-run and the kill switch (behind [`salve_model::call::Session`]), which plugins are
//! loaded and when (`salve`).
//!
//! The way of a plugin: [`pack`] makes a component of a core module and `plugin.toml`; [`PluginHost::load`] reads,
//! checks and compiles it; [`PluginHost::detector`], [`PluginHost::consult`], [`PluginHost::plan`],
//! [`PluginHost::execute`] and [`PluginHost::undo`] call it.

mod action;
mod adapters;
mod admission;
mod agent;
mod bindings;
mod cache;
mod call;
mod capabilities;
mod compiler;
mod computing;
mod config;
mod contract;
mod copies;
mod counters;
mod detector;
mod engine;
mod error;
mod guest;
mod guest_log;
mod host;
mod identified;
mod identity;
mod imports;
mod manifest;
mod measure;
mod meter;
pub mod pack;
mod parameters;
mod precompiled;
mod records;
mod section;
mod stolen;
mod turns;
mod writes;

pub use action::{ActionRequest, RawOutcome, RawProposal, RawStep};
pub use admission::{Interfaces, Refusal};
pub use agent::Question;
pub use cache::CacheError;
pub use compiler::{CompilerProgram, compile_as_told};
pub use config::{HostConfig, LimitSettings, Limits};
pub use contract::{CAPABILITIES, Capability, OWN_WORLD, SERVED, is_telemetry, wit_files};
pub use counters::Counters;
pub use detector::{DetectorInstance, DetectorOptions, SetAside, State};
pub use error::{ActionError, GuestError, GuestErrorKind};
pub use guest_log::{GuestLogLevel, GuestLogLine, LogSink, TracingSink};
pub use host::{LoadError, LoadStats, Plugin, PluginError, PluginHost};
pub use identified::Identified;
pub use manifest::{CapabilityRequest, Manifest, ManifestError, Role};
