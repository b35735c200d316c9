//! Processes that Salve supervises. None of the writes can be undone.

pub use crate::bindings::action::salve::plugin::process::ProcessStatus;
use crate::{CallError, Capabilities, Receipt, Step, plan};
use serde::Serialize;

#[cfg(target_arch = "wasm32")]
use crate::bindings::action::salve::plugin::process as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::process as host;

/// `process` in [`Action::Uses`](crate::Action::Uses).
#[derive(Debug, Clone, Copy)]
pub struct Capability;

#[derive(Serialize)]
struct NoArguments {}

/// How the target's process is.
///
/// # Errors
/// [`CallError::NotFound`] if the target has no process; `Denied` if this is not granted.
pub fn status(target: impl AsRef<str>) -> Result<ProcessStatus, CallError> {
    host::status(target.as_ref())
}

/// Starts the process.
///
/// # Errors
/// See [`CallError`].
pub fn start(target: impl AsRef<str>) -> Result<Receipt, CallError> {
    host::start(target.as_ref())
}

/// Ends the process and leaves it ended.
///
/// # Errors
/// See [`CallError`].
pub fn stop(target: impl AsRef<str>) -> Result<Receipt, CallError> {
    host::stop(target.as_ref())
}

/// Ends the process (SIGTERM, then SIGKILL after the unit's grace time) and starts it again.
///
/// # Errors
/// See [`CallError`].
pub fn restart(target: impl AsRef<str>) -> Result<Receipt, CallError> {
    host::restart(target.as_ref())
}

/// The step that licenses [`start`].
#[must_use]
pub fn start_step(target: impl AsRef<str>) -> Step {
    plan::step("process", "start", target.as_ref(), &NoArguments {})
}

/// The step that licenses [`stop`].
#[must_use]
pub fn stop_step(target: impl AsRef<str>) -> Step {
    plan::step("process", "stop", target.as_ref(), &NoArguments {})
}

/// The step that licenses [`restart`].
#[must_use]
pub fn restart_step(target: impl AsRef<str>) -> Step {
    plan::step("process", "restart", target.as_ref(), &NoArguments {})
}

impl Capabilities for Capability {
    fn perform(step: &Step, _bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>> {
        (step.capability == "process").then(|| match step.verb.as_str() {
            "start" => start(&step.target),
            "stop" => stop(&step.target),
            "restart" => restart(&step.target),
            verb => Err(CallError::NotFound(format!("`process` has no verb `{verb}`"))),
        })
    }
}
