//! Native tests of plugins: a scripted host that keeps the rules of the real one.
//!
//! - [`ActionTest`] plans, executes and undoes an action against a [`FakeHost`] with processes, configuration, HTTP
//!   answers and messages. A write that the plan does not license is refused, as it would be.
//! - [`DetectorTest`] feeds a detector points, a second apart, and gives back what it observed.
//! - [`AgentTest`] asks an agent about an incident over scripted telemetry.
//!
//! Exists in native builds only.

mod action;
mod agent;
mod detector;
pub mod host;

pub use action::ActionTest;
pub use agent::AgentTest;
pub use detector::DetectorTest;
pub use host::FakeHost;
