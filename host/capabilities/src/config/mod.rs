//! Configuration files: reading keys, setting one key, remembering what the values were.
//!
//! ## What always holds
//! - files are opened below their root, and no link on the way is followed
//! - a set is proved by reading the new text again: only that key differs, and it has kept its type
//! - a file that is not what was read is put back as it was found
//! - a back-up lies in the state folder, mode 0600, before the file is touched
//! - every change of a granted key becomes one [`salve_model::telemetry::Change`], whoever made it
//! - values of secret keys leave this module as handles
//!
//! Not here: who may set what (grants, session).

mod broker;
pub(crate) mod file;
mod format;
pub(crate) mod tree;
mod versions;
mod watch;

pub(crate) use broker::ConfigBroker;

/// State of a key that is not there, in the words of plans and receipts.
const ABSENT: &str = "absent";

/// The state of a key in the words of plans and receipts.
pub(crate) fn state_words(value: Option<&str>) -> String {
    value.map_or_else(|| ABSENT.to_owned(), |value| format!("value={value}"))
}

/// Why a configuration key could not be read or set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("`{file}` is not a file that Salve opens: {reason}")]
    Open { file: String, reason: String },
    #[error("`{file}` is never opened: {reason}")]
    Forbidden { file: String, reason: String },
    #[error("`{file}` cannot be read as {format}: {reason}")]
    Parse { file: String, format: &'static str, reason: String },
    #[error("key `{0}` is no dotted path; write for instance `pool.size`")]
    KeySyntax(String),
    #[error("key `{key}` is not among the keys of target `{target}`")]
    KeyNotListed { key: String, target: String },
    #[error("key `{key}` holds a {kind}, and `{value}` is none")]
    Type { key: String, kind: &'static str, value: String },
    #[error("key `{key}` cannot be set: {reason}")]
    Edit { key: String, reason: String },
    #[error("setting `{key}` would have changed more than that key, so nothing was written")]
    MoreThanTheKey { key: String },
    #[error("key `{0}` is secret: it can only be set to a handle that `get` or `history` gave")]
    SecretValue(String),
    #[error("`{file}` was changed by somebody else in this moment; their version stands")]
    Changed { file: String },
    #[error("`{file}` cannot be replaced: {reason}")]
    Swap { file: String, reason: String },
    #[error("cannot keep a back-up or record of `{file}`")]
    Record { file: String, source: std::io::Error },
    #[error("target `{0}` has no configuration file")]
    NoFile(String),
}
