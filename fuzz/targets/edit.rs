//! Configuration files of services, in every format: the file, a key and a value.
//!
//! What must hold: no panic; a set that succeeds changes that key alone, and setting it again changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_capabilities::{ConfigFormat, fuzzing::config_set};

const FORMATS: [ConfigFormat; 4] =
    [ConfigFormat::Toml, ConfigFormat::Json, ConfigFormat::Yaml, ConfigFormat::Env];

fuzz_target!(|bytes: &[u8]| {
    let Some((format, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    // NUL bytes part file, key and value.
    let mut parts = text.splitn(3, '\0');
    let (file, key, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("pool_size"), parts.next());
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    if let Some(changed) = config_set(format, file, key, value) {
        assert_eq!(config_set(format, &changed, key, value).as_ref(), Some(&changed), "setting it again");
    }
});
