//! Keys of configuration files (TOML, YAML, JSON, .env). A set is taken back by a set of the value before.

pub use crate::bindings::action::salve::plugin::config::Version;
use crate::{CallError, Capabilities, Receipt, Step, plan};
use serde::{Deserialize, Serialize};

#[cfg(target_arch = "wasm32")]
use crate::bindings::action::salve::plugin::config as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::config as host;

/// `config` in [`Action::Uses`](crate::Action::Uses).
#[derive(Debug, Clone, Copy)]
pub struct Capability;

/// Arguments of `set` as plans state them; fields in the order of their names.
#[derive(Serialize, Deserialize)]
struct SetArguments {
    key: String,
    value: Option<String>,
}

/// The value of a key (a dotted path, for instance `pool.size`); `None` if the key is absent.
///
/// # Errors
/// See [`CallError`].
pub fn get(target: impl AsRef<str>, key: &str) -> Result<Option<String>, CallError> {
    host::get(target.as_ref(), key)
}

/// Versions of a key, newest first; the first is in force.
///
/// # Errors
/// See [`CallError`].
pub fn history(target: impl AsRef<str>, key: &str) -> Result<Vec<Version>, CallError> {
    host::history(target.as_ref(), key)
}

/// Keys that may be read here, with the value in force.
///
/// # Errors
/// See [`CallError`].
pub fn keys(target: impl AsRef<str>) -> Result<Vec<(String, Option<String>)>, CallError> {
    host::keys(target.as_ref())
}

/// Sets one key, keeping the type, comments, owner and mode of the file; `None` removes it.
///
/// # Errors
/// See [`CallError`].
pub fn set(target: impl AsRef<str>, key: &str, value: Option<&str>) -> Result<Receipt, CallError> {
    host::set(target.as_ref(), key, value)
}

/// The step that licenses [`set`] with just this key and value.
#[must_use]
pub fn set_step(target: impl AsRef<str>, key: &str, value: Option<&str>) -> Step {
    plan::step(
        "config",
        "set",
        target.as_ref(),
        &SetArguments { key: key.into(), value: value.map(Into::into) },
    )
}

impl Capabilities for Capability {
    fn perform(step: &Step, _bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>> {
        (step.capability == "config").then(|| {
            if step.verb != "set" {
                return Err(CallError::NotFound(format!("`config` has no write `{}`", step.verb)));
            }
            let SetArguments { key, value } = serde_json::from_str(&step.arguments)
                .map_err(|error| CallError::Failed(format!("arguments of the step: {error}")))?;
            set(&step.target, &key, value.as_deref())
        })
    }
}
