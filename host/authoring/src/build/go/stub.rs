//! What stands in for WASI under Go's runtime, as a core module.

use super::super::BuildError;
use salve_plugins::{Limits, Manifest};

/// The module whose functions it stands in for.
pub(super) const WASI: &str = "wasi_snapshot_preview1";

/// The module as text, with places for what differs between plugins.
const TEXT: &str = include_str!("stub.wat");

/// Globals of the stub, as it exports them.
const MONOTONIC_NS: &str = "monotonic_ns";
const RANDOM: &str = "random";

/// One plugin's stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stub {
    /// The plugin's memory limit, for Go's collector to keep to.
    pub(super) memory_bytes: u64,
    /// Where its monotonic clock begins.
    monotonic_ns: i64,
    /// Where its random numbers begin.
    random: i64,
}

impl Stub {
    /// As it is before Go's start.
    pub(super) fn new(manifest: &Manifest) -> Self {
        let limit = manifest.limits.memory_bytes;
        Self {
            memory_bytes: limit.unwrap_or(Limits::of_role(manifest.role).memory_bytes),
            monotonic_ns: 1_000_000_000,
            random: i64::from_ne_bytes(0x9E37_79B9_7F4A_7C15_u64.to_ne_bytes()),
        }
    }

    /// As it is after Go's start: time and random numbers go on from there. What was slept at the start was slept then.
    /// None if `global`, which reads what the stub exports, does not know one.
    pub(super) fn after(&self, mut global: impl FnMut(&str) -> Option<i64>) -> Option<Self> {
        Some(Self { monotonic_ns: global(MONOTONIC_NS)?, random: global(RANDOM)?, ..*self })
    }

    /// The module.
    pub(super) fn module(&self) -> Result<Vec<u8>, BuildError> {
        wat::parse_str(self.text()).map_err(|error| BuildError::Tool {
            step: "assemble what stands in for WASI".into(),
            command: "wat".into(),
            status: "an error".into(),
            output: error.to_string(),
        })
    }

    fn text(&self) -> String {
        TEXT.replace("MEMORY_BYTES", &self.memory_bytes.to_string())
            .replace("MONOTONIC_NS", &self.monotonic_ns.to_string())
            .replace("RANDOM", &self.random.to_string())
    }
}

#[cfg(test)]
pub(super) fn for_tests() -> Stub {
    Stub { memory_bytes: 64 << 20, monotonic_ns: 1_000_000_000, random: -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the stub is a module that imports memory and nothing else, so that nothing in it can leave the component.
    #[test]
    fn calls_nobody() {
        let text = for_tests().text();
        assert_eq!(text.matches("(import ").count(), 1);
        assert!(text.contains(r#"(import "env" "memory""#));
        for_tests().module().unwrap();
    }

    /// Guarantees: a stub goes on where another stood, and one whose state cannot be read is none.
    #[test]
    fn goes_on() {
        let after = for_tests().after(|name| Some(if name == RANDOM { 7 } else { 5 })).unwrap();
        assert_eq!((after.monotonic_ns, after.random, after.memory_bytes), (5, 7, 64 << 20));
        assert_eq!(for_tests().after(|name| (name != RANDOM).then_some(5)), None);
    }
}
