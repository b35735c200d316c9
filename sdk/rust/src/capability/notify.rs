//! Messages to people. The template is the operator's; the host escapes the fields for the channel.

use crate::{CallError, Capabilities, Receipt, Step, plan};
use serde::{Deserialize, Serialize};

#[cfg(target_arch = "wasm32")]
use crate::bindings::action::salve::plugin::notify as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::notify as host;

/// `notify` in [`Action::Uses`](crate::Action::Uses).
#[derive(Debug, Clone, Copy)]
pub struct Capability;

/// Arguments of `send` as plans state them.
#[derive(Serialize, Deserialize)]
struct SendArguments {
    fields: Vec<(String, String)>,
}

/// Sends a message whose template has these fields.
///
/// # Errors
/// See [`CallError`]. After [`CallError::TimedOut`] nobody knows whether it arrived; do not repeat it.
pub fn send(target: impl AsRef<str>, fields: &[(String, String)]) -> Result<Receipt, CallError> {
    host::send(target.as_ref(), fields)
}

/// The step that licenses [`send`] with just these fields.
#[must_use]
pub fn send_step(target: impl AsRef<str>, fields: &[(String, String)]) -> Step {
    plan::step("notify", "send", target.as_ref(), &SendArguments { fields: fields.to_vec() })
}

impl Capabilities for Capability {
    fn perform(step: &Step, _bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>> {
        (step.capability == "notify").then(|| {
            if step.verb != "send" {
                return Err(CallError::NotFound(format!("`notify` has no write `{}`", step.verb)));
            }
            let SendArguments { fields } = serde_json::from_str(&step.arguments)
                .map_err(|error| CallError::Failed(format!("arguments of the step: {error}")))?;
            send(&step.target, &fields)
        })
    }
}
