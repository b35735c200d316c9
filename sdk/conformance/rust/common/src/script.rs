//! Scripts, as JSON has them.

use salve_plugin::log::{self, Level};
use serde::Deserialize;

/// Ordered pairs.
pub type Pairs = Vec<(String, String)>;

/// A line to log.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub level: String,
    pub message: String,
    #[serde(default)]
    pub fields: Pairs,
}

/// A call to make.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    pub call: String,
    pub target: String,
    pub key: String,
    pub value: Option<String>,
    pub method: String,
    pub path: String,
    pub query: Pairs,
    pub headers: Pairs,
    pub body: String,
    pub idempotency_key: Option<String>,
    pub fields: Pairs,
    pub from: String,
    pub to: String,
    pub service: String,
    pub name_prefix: String,
    pub series: u32,
    pub duration_ms: u32,
}

/// Writes the lines.
pub fn log(lines: &[Line]) {
    for line in lines {
        let level = match line.level.as_str() {
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" => Level::Warn,
            _ => Level::Error,
        };
        log::write(level, &line.message, &line.fields);
    }
}

/// A 64-bit integer; a script that is wrong ends the call.
#[must_use]
pub fn integer(text: &str) -> u64 {
    text.parse().expect("a 64-bit integer")
}

/// Bytes of hexadecimal text.
#[must_use]
pub fn bytes(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
