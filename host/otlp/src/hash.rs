//! A fast hash of bytes that stays the same across restarts, versions and machines.
//!
//! Two 64-bit words at a time are multiplied to 128 bits and folded. The construction is that of wyhash
//! (Wang Yi, 2019); the constants are the fractional digits of the square roots of the first primes. It is not keyed: a
//! sender who wants two of its own attribute sets to collide can find such a pair.

const SEED: u64 = 0x6a09_e667_f3bc_c908; // √2
const A: u64 = 0xbb67_ae85_84ca_a73b; // √3
const B: u64 = 0x3c6e_f372_fe94_f82b; // √5

/// Running hash of chunks of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher(u64);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(SEED)
    }

    /// Takes in one chunk; its length counts, so that chunks cannot be shifted into each other.
    #[inline]
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        let mut state = fold(self.0 ^ (bytes.len() as u64), A);
        let mut rest = bytes;
        while let Some((block, tail)) = rest.split_first_chunk::<16>() {
            let (low, high) = halves(block);
            state = fold(low ^ A ^ state, high ^ B);
            rest = tail;
        }
        if !rest.is_empty() {
            let mut block = [0; 16];
            if let Some(start) = block.get_mut(..rest.len()) {
                start.copy_from_slice(rest);
            }
            let (low, high) = halves(&block);
            state = fold(low ^ A ^ state, high ^ B);
        }
        self.0 = state;
    }

    #[inline]
    pub(crate) fn finish(self) -> u64 {
        fold(self.0 ^ B, A)
    }
}

#[inline]
fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    (both as u64, (both >> 64) as u64)
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hash(chunks: &[&[u8]]) -> u64 {
        let mut hasher = Hasher::new();
        for chunk in chunks {
            hasher.chunk(chunk);
        }
        hasher.finish()
    }

    /// Guarantees: the values stand in ledgers and history files, so they may never change.
    #[test]
    fn stays_the_same() {
        let values = [hash(&[]), hash(&[b""]), hash(&[b"a"]), hash(&[b"0123456789abcdef", b"xyz"])];
        insta::assert_snapshot!(format!("{values:016x?}"), @"[1c04496ded275e89, 651d5ca034bbf5e9, 06774042570e7633, ff184e1b08152ca0]");
    }

    /// Guarantees: where a chunk ends counts, and so does a trailing zero.
    #[test]
    fn chunks_do_not_shift() {
        let all = [
            hash(&[b"ab", b"c"]),
            hash(&[b"a", b"bc"]),
            hash(&[b"abc"]),
            hash(&[b"abc\0"]),
            hash(&[b"abc", b""]),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    /// Guarantees: a million similar keys, as load generators write them, do not collide.
    #[test]
    fn similar_keys_differ() {
        let hashes: HashSet<u64> = (0..1_000_000)
            .map(|index| hash(&[format!("\n\x07user.id\x12\t\n\x07{index:07}").as_bytes()]))
            .collect();
        assert_eq!(hashes.len(), 1_000_000);
    }
}
