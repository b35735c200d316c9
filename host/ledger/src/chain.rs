//! The hash chain: what exactly is hashed.
//!
//! `digest = SHA-256(salt ‖ payload)` with a salt of 16 random bytes and the payload's stored JSON text. Without the
//! salt nobody can guess a short payload from its digest, so erasing payload and salt together erases the content.
//!
//! `hash = SHA-256(` these fields, one after the other `)`:
//!
//! | field | bytes |
//! |---|---|
//! | `salve-ledger-1\n` | 15, the encoding's name |
//! | `prev_hash` | 32, the hash of the entry before; zeros for the first |
//! | `seq` | 8, big-endian |
//! | `now_ms` | 8, big-endian |
//! | `schema_version` | 4, big-endian |
//! | `answers` | 1 (0 or 1), and if 1: 8, big-endian |
//! | `tenant` | 8 for its length in bytes, big-endian, then UTF-8 |
//! | `incident` | 1 (0 or 1), and if 1: as `tenant` |
//! | `kind` | as `tenant` |
//! | `digest` | 32 |
//!
//! Each field has a fixed length or says its own, so two different entries never give the same bytes.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What stands before the first entry.
pub const GENESIS: Hash = [0; 32];

/// Length of a salt in bytes.
pub const SALT_BYTES: usize = 16;

/// The fields of an entry that its hash covers.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Hash of the entry before.
    pub prev_hash: &'a Hash,
    /// Number.
    pub seq: u64,
    /// Receive time.
    pub now_ms: u64,
    /// Version of the payload's shape.
    pub schema_version: u32,
    /// Entry that it answers.
    pub answers: Option<u64>,
    /// Owner.
    pub tenant: &'a str,
    /// Incident.
    pub incident: Option<&'a str>,
    /// Kind, in its stored form.
    pub kind: &'a str,
    /// Digest of salt and payload.
    pub digest: &'a Hash,
}

impl Link<'_> {
    /// The entry's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"salve-ledger-1\n");
        hasher.update(self.prev_hash);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.now_ms.to_be_bytes());
        hasher.update(self.schema_version.to_be_bytes());
        match self.answers {
            None => hasher.update([0]),
            Some(answers) => {
                hasher.update([1]);
                hasher.update(answers.to_be_bytes());
            }
        }
        text(&mut hasher, self.tenant);
        match self.incident {
            None => hasher.update([0]),
            Some(incident) => {
                hasher.update([1]);
                text(&mut hasher, incident);
            }
        }
        text(&mut hasher, self.kind);
        hasher.update(self.digest);
        hasher.finalize().into()
    }
}

fn text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

/// The digest of a payload.
#[must_use]
pub fn digest(salt: &[u8; SALT_BYTES], payload: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(payload.as_bytes());
    hasher.finalize().into()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINK: Link<'static> = Link {
        prev_hash: &GENESIS,
        seq: 1,
        now_ms: 1_700_000_000_000,
        schema_version: 1,
        answers: None,
        tenant: "default",
        incident: Some("inc-1"),
        kind: "note",
        digest: &GENESIS,
    };

    /// Guarantees: the encoding does not change unnoticed; ledgers written before would no longer verify.
    #[test]
    fn encoding_is_frozen() {
        let mut bytes = b"salve-ledger-1\n".to_vec();
        bytes.extend([0; 32]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(1_700_000_000_000_u64.to_be_bytes());
        bytes.extend([0, 0, 0, 1]);
        bytes.push(0);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend(b"default");
        bytes.push(1);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 5]);
        bytes.extend(b"inc-1");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 4]);
        bytes.extend(b"note");
        bytes.extend([0; 32]);
        let expected: Hash = Sha256::digest(&bytes).into();
        assert_eq!(hex(&LINK.hash()), hex(&expected));
    }

    proptest! {
        /// Guarantees: moving bytes between neighbouring texts, or between absent and empty, changes the hash.
        #[test]
        fn texts_do_not_run_into_each_other(texts in "[a-c]{0,6}", at in 0usize..7, other in 0usize..7) {
            let (at, other) = (at.min(texts.len()), other.min(texts.len()));
            let split = |at: usize| {
                let (tenant, kind) = texts.split_at(at);
                Link { tenant, incident: None, kind, ..LINK }.hash()
            };
            prop_assert_eq!(split(at) == split(other), at == other);
            let (tenant, incident) = texts.split_at(at);
            prop_assert_ne!(
                Link { tenant, incident: Some(incident), ..LINK }.hash(),
                Link { tenant: &texts, incident: None, ..LINK }.hash()
            );
        }
    }
}
