//! Starts the real daemon in a folder of its own, feeds it real OTLP about a real process and a real file, and looks at
//! it only as a person could: command line, logs, ledger.
//!
//! What is needed is built by `cargo xtask build`; a part that is missing fails the test and says so.

pub mod at_once;
pub mod components;
pub mod daemon;
pub mod registry;
pub mod shop;
pub mod versions;
pub mod world;

use std::path::PathBuf;

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Where cargo puts what it builds.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A built part, below the target folder.
///
/// # Panics
/// If it is not there.
#[must_use]
#[expect(clippy::panic, reason = "a test that lacks its subject must fail, loudly")]
pub fn built(path: &str) -> PathBuf {
    let path = target().join(path);
    if !path.exists() {
        panic!(
            "`{}` is missing\n\nhint: run `cargo xtask build` first; `cargo xtask test` does it",
            path.display()
        );
    }
    path
}

/// The daemon and command line.
#[must_use]
pub fn salve() -> PathBuf {
    built("release/salve")
}

/// What compiles plugins where the installed Rust cannot: environment variables, as `cargo xtask test` found them.
#[must_use]
pub fn guest_environment() -> Vec<(String, String)> {
    let text = std::env::var("SALVE_TEST_GUEST_ENVIRONMENT").unwrap_or_default();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// First-party and example components.
#[must_use]
pub fn plugins() -> PathBuf {
    built("dist/plugins")
}
