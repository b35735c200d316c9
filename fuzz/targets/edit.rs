//! Configuration files of services, in every format: the file, a key and a value.
//!
//! What must hold: no panic; a set that succeeds changes that key alone, and setting it again changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_capabilities::{ConfigFormat, fuzzing::config_set};
use salve_fuzz::seeds;

const FORMATS: [ConfigFormat; 4] =
    [ConfigFormat::Toml, ConfigFormat::Json, ConfigFormat::Yaml, ConfigFormat::Env];

/// A file of each format, with a key of it and without.
fn make_seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (format, text, key) in [
        (
            0,
            "# pool\npool_size = 8 # now\nurl = \"a\\u00e4\"\n[db]\nhost = 'a'\nports = [1, 2.5, true]\n[[list]]\na.b = 1979-05-27\n",
            "db.host",
        ),
        (
            1,
            "{ // pool\n  \"pool_size\": 8, \"db\": { \"host\": \"a\\n\", \"l\": [1, null, -2.5e3,] } /* x */ }\n",
            "db.l.2",
        ),
        (
            2,
            "# pool\npool_size: 8\ndb: &d\n  host: 'a'\n  text: |\n    x\n    y\nlist:\n- 1\n- {a: \"b\", c: [~, true]}\n- *d\n",
            "list.1.a",
        ),
        (2, "--- # one\n\"pool_size\" : 0x10\n? k\n: >-\n  folded\n...\n", "k"),
        (3, "# pool\npool_size=8\nexport HOST='a b'\nQ=\"x\\n$y\" # z\nEMPTY=\n", "HOST"),
    ] {
        let format_of = FORMATS[usize::from(format)];
        assert!(config_set(format_of, text, "pool_size", Some("16")).is_some(), "{text}");
        for (key, value) in
            [("pool_size", Some("16")), (key, Some("b c")), (key, None), ("new.key", Some("true"))]
        {
            let value = value.map_or_else(String::new, |value| format!("\0{value}"));
            all.push([&[format], text.as_bytes(), b"\0", key.as_bytes(), value.as_bytes()].concat());
        }
    }
    all
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
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
