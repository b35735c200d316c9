//! `salve.toml`: parsing, checks, hints.
//!
//! What must hold: no panic, whatever stands in the file or in the variables that override it.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::OnceLock;

// The daemon is a program, not a library: its configuration is compiled in from where it stands.
#[allow(dead_code, unreachable_pub, reason = "the daemon uses more of it")]
#[path = "../../host/salve/src/config/mod.rs"]
mod config;

fn folder() -> &'static tempfile::TempDir {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Memory, where there is some: a file is written for each input.
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
    })
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // A NUL byte parts the file from a variable's value.
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (file, value) = (parts.next().unwrap_or_default(), parts.next());
    let path = folder().path().join("salve.toml");
    if std::fs::write(&path, file).is_err() {
        return Corpus::Reject;
    }
    let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
    let environment = value.map(|value| ("SALVE_GUARDS__COOLDOWN_MS".to_owned(), value));
    match config::load(&path, environment) {
        Ok(config) => assert!(config.state_directory.is_absolute()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(config::state_only(&path));
    Corpus::Keep
});
