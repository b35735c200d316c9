//! Brokers: the only part of Salve that changes anything outside of it.
//!
//! An action (a sandboxed plugin) asks for a write through a [`ActionSession`]; the brokers check it against the pause
//! file, the operator's grants, the approved plan and the state of the target, write it down through the [`Journal`],
//! carry it out, and write down what became of it.
//!
//! ## What always holds
//! - no write starts without a journalled intent that has the state before it, and none without its result afterwards,
//!   unless Salve dies in between; then [`Brokers::reconcile`] asks what is true, repeats nothing, and starts again what a
//!   restart has only stopped
//! - a write is licensed by exactly one step of an approved plan, and each step licenses one write
//! - the state of the target is what the plan's step says it was, or nothing happens
//! - a set of objects is in the hands of one incident at a time
//! - Salve's own files, sockets, listeners and process are refused, whatever is granted
//! - a refusal never traps, is recorded, and says which TOML would allow it where a grant is missing
//!
//! Not here: who decides (`salve-core`), how plugins speak (`salve-plugins`), where the journal lies (`salve-ledger`).

mod brokers;
mod config;
mod grants;
mod http;
mod journal;
mod locks;
mod notify;
mod pause;
mod planning;
mod process;
mod reconcile;
mod registry;
mod session;
mod settings;
mod storage;

pub use brokers::{Brokers, BrokersError};
pub use http::resolve::{Resolver, SystemResolver};
pub use journal::{Intent, Journal, JournalError, Refusal, WriteOutcome};
pub use pause::{KillSwitch, Pause};
pub use planning::RawStep;
pub use process::{ProcessEvent, ProcessEventKind, UnitState};
pub use registry::{SettingsError, problems, unreadable_secrets};
pub use session::{ActionSession, Phase, RunSummary, SessionSpec};
pub use settings::{
    BrokersConfig, ChannelConfig, ConfigFormat, ConfigTarget, HttpTarget, SecretConfig, TargetConfig,
    UnitConfig,
};

/// Doors for `fuzz/`, which are not there otherwise.
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::{
        ConfigFormat,
        config::tree::{Kind, parse_key},
    };

    /// `file` with `value` at `key`; none if it is refused.
    #[must_use]
    pub fn config_set(format: ConfigFormat, file: &str, key: &str, value: Option<&str>) -> Option<String> {
        let path = parse_key(key).ok()?;
        format.set(file, &path, value, value.map_or(Kind::String, Kind::of_text)).ok()
    }
}
