//! What is known of a component's file: its digest and its manifest, so that it need not be read again in this boot (ADR 12).
//!
//! ## What always holds
//! - a record is believed only for the identity (`identity`) that the file had before its bytes were read
//! - a record that is cut off or damaged is none
//! - records stand in the folder of compiled plugins, which only this user can write; who could forge one could put native code there

use crate::{manifest, pack};
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What the names of records end with.
pub(crate) const EXTENSION: &str = "known";
/// Hex digits of a SHA-256.
const DIGITS: usize = 64;
/// Longest record: a manifest, and room for what stands before it.
const BYTES_MAX: u64 = manifest::BYTES_MAX as u64 + 1024;

/// What follows from a component's bytes alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// SHA-256, lower-case hex.
    pub(crate) digest: String,
    /// Its manifest section.
    pub(crate) manifest: Vec<u8>,
}

/// Where the record of a file stands: by its inode, whatever names it has.
pub(crate) fn place(folder: &Path, metadata: &fs::Metadata) -> PathBuf {
    folder.join(format!("{:x}-{:x}.{EXTENSION}", metadata.dev(), metadata.ino()))
}

impl Record {
    /// As it is written for the file with this identity: a digest of what follows, so that a disk's error shows; then identity,
    /// digest and manifest.
    pub(crate) fn to_bytes(&self, identity: &str) -> Vec<u8> {
        let known = [identity.as_bytes(), b"\n", self.digest.as_bytes(), b"\n", &self.manifest].concat();
        [pack::digest(&known).as_bytes(), b"\n", &known].concat()
    }

    /// The record at `place`, if there is one and it is of this identity.
    pub(crate) fn read(place: &Path, identity: &str) -> io::Result<Option<Self>> {
        let file = match fs::File::open(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::with_capacity(4 << 10);
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes, identity))
    }

    fn parse(bytes: &[u8], identity: &str) -> Option<Self> {
        let (sum, known) = line(bytes)?;
        if pack::digest(known).as_bytes() != sum {
            return None;
        }
        let (of, known) = line(known)?;
        let (digest, manifest) = line(known)?;
        let is_digest = digest.len() == DIGITS && digest.iter().all(u8::is_ascii_hexdigit);
        (of == identity.as_bytes() && is_digest).then(|| Self {
            digest: String::from_utf8_lossy(digest).into_owned(),
            manifest: manifest.to_vec(),
        })
    }
}

/// The first line, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "boot 1 2 3 4.5 6.7";

    fn record() -> Record {
        Record { digest: pack::digest(b"component"), manifest: b"{\n\"name\": \"x\"}".to_vec() }
    }

    /// Guarantees: a record says what was written, of this identity and of none that is longer, shorter or another.
    #[test]
    fn records_are_of_one_identity() {
        let bytes = record().to_bytes(IDENTITY);
        assert_eq!(Record::parse(&bytes, IDENTITY), Some(record()));
        for other in
            ["boot 1 2 3 4.5 6.8", "boot 1 2 3 4.5 6.", "boot 1 2 3 4.5 6.77", "other 1 2 3 4.5 6.7", ""]
        {
            assert_eq!(Record::parse(&bytes, other), None, "{other}");
        }
    }

    /// Guarantees: a record that is damaged at any byte, cut off anywhere, grown, or longer than one can be, is none.
    #[test]
    fn damaged_records_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        let read = |bytes: &[u8]| {
            fs::write(&place, bytes).unwrap();
            Record::read(&place, IDENTITY).unwrap()
        };
        let intact = record().to_bytes(IDENTITY);
        for at in 0..intact.len() {
            let mut damaged = intact.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged), None, "byte {at}");
            assert_eq!(read(&intact[..at]), None, "cut at {at}");
        }
        assert_eq!(read(&[intact.as_slice(), b"x"].concat()), None);
        let large = Record { manifest: vec![b' '; manifest::BYTES_MAX], ..record() };
        assert_eq!(read(&large.to_bytes(IDENTITY)), Some(large));
        let too_large = Record { manifest: vec![b' '; manifest::BYTES_MAX + 1024], ..record() };
        assert_eq!(read(&too_large.to_bytes(IDENTITY)), None);
        assert_eq!(read(&intact), Some(record()));
        fs::remove_file(&place).unwrap();
        assert_eq!(Record::read(&place, IDENTITY).unwrap(), None);
    }
}
