//! The host's log. It adds the plugin's name and the incident's id.
//!
//! [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error!) take what
//! `format!` takes. At most 64 KiB a call of the plugin; what is over is counted and dropped by the host.

pub use crate::bindings::action::salve::plugin::log::Level;

/// Writes one message with named fields.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::action::salve::plugin::log::write(level, message, fields);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host::log(level, message, fields);
}

/// Writes to the host's log at level `debug`.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+), &[]) };
}

/// Writes to the host's log at level `info`.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+), &[]) };
}

/// Writes to the host's log at level `warn`.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)+), &[]) };
}

/// Writes to the host's log at level `error`.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+), &[]) };
}
