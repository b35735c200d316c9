//! `salve.toml`: parsing, checks, hints.
//!
//! What must hold: no panic, whatever stands in the file or in the variables that override it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_fuzz::seeds;
use std::{path::PathBuf, sync::OnceLock};

// The daemon is a program, not a library: its configuration, and the reading of keys that belongs to it, are compiled in from
// where they stand.
#[allow(dead_code, unreachable_pub, reason = "the daemon uses more of it")]
#[path = "../../host/salve/src/admission.rs"]
mod admission;
#[allow(dead_code, unreachable_pub, reason = "the daemon uses more of it")]
#[path = "../../host/salve/src/config/mod.rs"]
mod config;

/// Where the input stands as a file.
fn path() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(seeds::folder).path().join("salve.toml")
}

/// The file of the examples, and one with something of each table.
fn make_seeds() -> Vec<Vec<u8>> {
    let example = std::fs::read(seeds::workspace("examples/salve.toml")).expect("the example");
    let mut all = vec![example, EVERY_TABLE.as_bytes().to_vec()];
    for text in &all {
        std::fs::write(path(), text).expect("the file can be written");
        if let Err(error) = config::load(&path(), None) {
            panic!("a seed is a configuration: {error}");
        }
    }
    all.push([EVERY_TABLE.as_bytes(), b"\x007"].concat());
    all
}

const EVERY_TABLE: &str = r#"
mode = "act"
state_directory = "state"
stop_children = true
[log]
level = "debug"
format = "text"
[health]
address = "127.0.0.1:1"
[otlp]
grpc_address = "127.0.0.1:4317"
[[detector]]
name = "d"
plugin = "holt-winters"
select = { names = ["m"] }
parameters = { season_seconds = 0 }
[plugins]
dev = true
agents = ["analyst"]
limits = { memory_bytes = 1048576 }
limits_of.a = { cpu_ms = 5 }
[policies]
limits = { rows_max = 5 }
[guards]
cooldown_ms = 5
tick_ms = 100
[escalation]
channel = "n"
[[process]]
name = "a"
command = ["/bin/true"]
log_file = "a.log"
[[target]]
id = "a"
process = "a"
select = { "service.name" = "a" }
[[target]]
id = "h"
select = { "service.name" = "h" }
http = { base_url = "http://127.0.0.1:2/" }
[[target]]
id = "n"
select = { "service.name" = "n" }
notify = "n"
[[notify]]
name = "n"
url = "http://localhost:3/"
template = '{"text": "{summary}"}'
[[secret]]
name = "s"
file = "s"
[[grant]]
plugin = "p"
capability = "config"
verbs = ["*"]
targets = ["a"]
arguments.key = { one_of = ["k"] }
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"#;

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    // A NUL byte parts the file from a variable's value.
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (file, value) = (parts.next().unwrap_or_default(), parts.next());
    let path = path();
    std::fs::write(&path, file).expect("the file can be written");
    let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
    let environment = value.map(|value| ("SALVE_GUARDS__COOLDOWN_MS".to_owned(), value));
    match config::load(&path, environment) {
        Ok(config) => assert!(config.state_directory.is_absolute()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(config::state_only(&path));
});
