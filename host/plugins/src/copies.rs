//! The digest of a large component without computing it: by its bytes, compared with a copy whose digest is known.
//!
//! ## What always holds
//! - every byte of the component is looked at, each time: equal bytes have equal digests, and nothing else is taken for equal
//! - copies stand in the folder of compiled plugins, which only this user can write; who could forge one could put native code there
//! - a copy that is cut off or damaged costs the computing of a digest, and is never the reason for a wrong one
//!
//! Comparing takes a fifth of the time of SHA-256 (ADR 12).

use crate::pack;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Smallest component of which a copy is kept, in bytes: the digest of a smaller one is computed as fast.
const COPY_BYTES_MIN: usize = 1 << 20;
/// Bytes at each end of a component by which its copy is found.
const EDGE_BYTES: usize = 16 << 10;
/// Compared at a time: little enough to stay in a core's own cache.
const BLOCK_BYTES: usize = 64 << 10;
/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

/// Where the copy of a component stands: by its length, its beginning, and its end, where the manifest is. None for a small one.
/// Another component may have the same place; then the newer one stands there.
pub(crate) fn place(folder: &Path, component: &[u8]) -> Option<PathBuf> {
    if component.len() < COPY_BYTES_MIN {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update(component.len().to_le_bytes());
    hasher.update(component.get(..EDGE_BYTES)?);
    hasher.update(component.get(component.len() - EDGE_BYTES..)?);
    Some(folder.join(format!("{}.{EXTENSION}", pack::hex(&hasher.finalize()))))
}

/// What the names of copies end with.
pub(crate) const EXTENSION: &str = "component";

/// What is written before the bytes: the digest, and a digest of it, so that a disk's error in it shows.
pub(crate) fn head(digest: &str) -> String {
    format!("{digest}{}", pack::digest(digest.as_bytes()))
}

/// The digest of `component`, if the copy at `place` is of the same bytes.
pub(crate) fn digest(place: &Path, component: &[u8]) -> io::Result<Option<String>> {
    let mut file = match fs::File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let whole = u64::try_from(component.len() + 2 * DIGITS).unwrap_or(u64::MAX);
    if file.metadata()?.len() != whole {
        return Ok(None);
    }
    let mut noted = [0; 2 * DIGITS];
    file.read_exact(&mut noted)?;
    let mut block = vec![0; BLOCK_BYTES];
    for part in component.chunks(BLOCK_BYTES) {
        let Some(copied) = block.get_mut(..part.len()) else { return Ok(None) };
        file.read_exact(copied)?;
        if copied != part {
            return Ok(None);
        }
    }
    let digest = noted.get(..DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(digest.filter(|digest| head(digest).as_bytes() == noted).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn copy(folder: &Path, component: &[u8]) -> PathBuf {
        let place = place(folder, component).unwrap();
        fs::write(&place, [head(&pack::digest(component)).as_bytes(), component].concat()).unwrap();
        place
    }

    /// Guarantees: a component that differs in any block from the copy that stands in its place, or in length, has no digest from it.
    #[test]
    fn only_equal_bytes_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let good = component(COPY_BYTES_MIN + BLOCK_BYTES / 2);
        let place = copy(folder.path(), &good);
        assert_eq!(digest(&place, &good).unwrap(), Some(pack::digest(&good)));
        // Edges, too: whoever calls this may have found the place by other bytes.
        for at in (0..good.len()).step_by(BLOCK_BYTES / 2 - 1).chain([good.len() - 1]) {
            let mut other = good.clone();
            other[at] ^= 1;
            assert_eq!(digest(&place, &other).unwrap(), None, "byte {at}");
        }
        assert_eq!(digest(&place, &good[..good.len() - 1]).unwrap(), None);
        assert_eq!(digest(&place, &[good.as_slice(), b"x"].concat()).unwrap(), None);
    }

    /// Guarantees: a copy that is damaged anywhere, cut off or grown is not believed.
    #[test]
    fn damaged_copies_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let good = component(COPY_BYTES_MIN);
        let place = copy(folder.path(), &good);
        let intact = fs::read(&place).unwrap();
        for at in [0, DIGITS - 1, DIGITS, 2 * DIGITS - 1, 2 * DIGITS, intact.len() - 1] {
            let mut damaged = intact.clone();
            damaged[at] ^= 1;
            fs::write(&place, damaged).unwrap();
            assert_eq!(digest(&place, &good).unwrap(), None, "byte {at}");
        }
        for length in [0, 10, 2 * DIGITS, intact.len() - 1] {
            fs::write(&place, &intact[..length]).unwrap();
            assert_eq!(digest(&place, &good).unwrap(), None, "cut at {length}");
        }
        fs::write(&place, [intact.as_slice(), b"x"].concat()).unwrap();
        assert_eq!(digest(&place, &good).unwrap(), None);
        fs::remove_file(&place).unwrap();
        assert_eq!(digest(&place, &good).unwrap(), None);
    }

    /// Guarantees: components that differ in length or at an edge have places of their own, and small ones have none.
    #[test]
    fn places() {
        let folder = Path::new("/x");
        let good = component(COPY_BYTES_MIN);
        let mut others = vec![component(COPY_BYTES_MIN + 1), good.clone(), good.clone()];
        others[1][0] ^= 1;
        *others[2].last_mut().unwrap() ^= 1;
        for other in others {
            assert_ne!(place(folder, &good), place(folder, &other));
        }
        assert_eq!(place(folder, &component(COPY_BYTES_MIN - 1)), None);
    }
}
