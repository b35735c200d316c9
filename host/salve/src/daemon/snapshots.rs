//! Detectors' state on disk: one file for each binding and shard, replaced whole.

use salve_plugins::State;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
};

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    directory: PathBuf,
}

/// First line of a snapshot file, JSON; the guest's bytes follow it.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Layout of this file.
    version: u32,
    /// SHA-256 of the component that wrote it.
    digest: String,
    /// The guest's own format number.
    format: u32,
}

const VERSION: u32 = 1;
/// Longest first line, in bytes.
const HEADER_BYTES_MAX: u64 = 4_096;

impl SnapshotStore {
    /// Snapshots in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// The state that a component with this digest left; none if there is none, or it is another's or broken.
    pub fn load(&self, binding: &str, shard: u32, digest: &str) -> Option<State> {
        let bytes = std::fs::read(self.path(binding, shard)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at(end);
        let header: Header = serde_json::from_slice(head).ok()?;
        if header.version != VERSION || header.digest != digest {
            return None;
        }
        Some(State { format: header.format, bytes: rest.get(1..)?.to_vec() })
    }

    /// Replaces the state. A failure is logged: it costs a warm-up at the next start, nothing now.
    pub fn save(&self, binding: &str, shard: u32, digest: &str, state: &State) {
        let header = Header { version: VERSION, digest: digest.to_owned(), format: state.format };
        let path = self.path(binding, shard);
        let temporary = path.with_extension("partial");
        let written = serde_json::to_vec(&header).map_err(std::io::Error::other).and_then(|mut bytes| {
            bytes.push(b'\n');
            bytes.extend_from_slice(&state.bytes);
            std::fs::write(&temporary, bytes)?;
            std::fs::rename(&temporary, &path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "Cannot write a detector snapshot.");
        }
    }

    /// Removes what components with these digests left.
    pub fn forget(&self, digests: &BTreeSet<String>) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(file) = std::fs::File::open(&path) else { continue };
            let mut line = Vec::new();
            let read = BufReader::new(file.take(HEADER_BYTES_MAX)).read_until(b'\n', &mut line);
            let header = read.ok().and_then(|_| serde_json::from_slice::<Header>(&line).ok());
            if header.is_some_and(|header| digests.contains(&header.digest)) {
                match std::fs::remove_file(&path) {
                    Ok(()) => {
                        tracing::info!(path = %path.display(), "Detector snapshot removed: its writer is not trusted any more.");
                    }
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "Cannot remove the snapshot of a detector that is not trusted any more.");
                    }
                }
            }
        }
    }

    fn path(&self, binding: &str, shard: u32) -> PathBuf {
        // Binding names come from the operator; keep them from naming another folder.
        let name: String = binding
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
            .collect();
        self.directory.join(format!("{name}-{shard}.snapshot"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what an untrusted writer left is removed, and nothing else is.
    #[test]
    fn the_untrusted_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(folder.path().join("detectors")).unwrap();
        let state = State { format: 1, bytes: vec![0; 100_000] };
        for (binding, digest) in [("one", "abc"), ("two", "def"), ("three", "abc")] {
            store.save(binding, 0, digest, &state);
        }
        std::fs::write(folder.path().join("detectors/other"), vec![b'x'; 1 << 20]).unwrap();
        store.forget(&BTreeSet::from(["abc".to_owned()]));
        assert!(store.load("one", 0, "abc").is_none() && store.load("three", 0, "abc").is_none());
        assert!(store.load("two", 0, "def").is_some());
        assert_eq!(std::fs::read_dir(folder.path().join("detectors")).unwrap().count(), 2);
    }

    /// Guarantees: a snapshot comes back to the component that wrote it, byte for byte, and to no other.
    #[test]
    fn only_the_writer_gets_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(folder.path().join("detectors")).unwrap();
        let state = State { format: 3, bytes: vec![0, 10, 255, b'\n', 1] };
        store.save("errors/../x", 0, "abc", &state);
        let loaded = store.load("errors/../x", 0, "abc").unwrap();
        assert_eq!((loaded.format, loaded.bytes), (3, vec![0, 10, 255, b'\n', 1]));
        assert!(store.load("errors/../x", 0, "def").is_none());
        assert!(store.load("errors/../x", 1, "abc").is_none());
    }
}
