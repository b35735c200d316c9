//! Detectors' state on disk: one file for each binding, tenant and shard, replaced whole.
//!
//! ## What always holds
//! - a state goes back to the tenant from whose telemetry it comes, and to the component that wrote it; to nobody else

use salve_model::Tenant;
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

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the detector binding.
    pub binding: String,
    /// Whose series.
    pub tenant: Tenant,
    /// Which of the tenant's shards of the binding.
    pub shard: u32,
}

/// First line of a snapshot file, JSON; the guest's bytes follow it.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Layout of this file.
    version: u32,
    /// SHA-256 of the component that wrote it.
    digest: String,
    /// Whose telemetry it has learnt from.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    tenant: Tenant,
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
    pub fn load(&self, place: &Place, digest: &str) -> Option<State> {
        let bytes = std::fs::read(self.path(place)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at(end);
        let header: Header = serde_json::from_slice(head).ok()?;
        if header.version != VERSION || header.digest != digest || header.tenant != place.tenant {
            return None;
        }
        Some(State { format: header.format, bytes: rest.get(1..)?.to_vec() })
    }

    /// Replaces the state. A failure is logged: it costs a warm-up at the next start, nothing now.
    pub fn save(&self, place: &Place, digest: &str, state: &State) {
        let tenant = place.tenant.clone();
        let header = Header { version: VERSION, digest: digest.to_owned(), tenant, format: state.format };
        let path = self.path(place);
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

    fn path(&self, place: &Place) -> PathBuf {
        // These names come from the operator; keep them from naming another folder.
        let plain = |name: &str| -> String {
            name.chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
                .collect()
        };
        let (name, shard) = (plain(&place.binding), place.shard);
        if place.tenant.is_default() {
            return self.directory.join(format!("{name}-{shard}.snapshot"));
        }
        self.directory.join(format!("{name}-{shard}.{}.snapshot", plain(&place.tenant.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(binding: &str, tenant: &str, shard: u32) -> Place {
        Place { binding: binding.into(), tenant: Tenant(tenant.into()), shard }
    }

    /// Guarantees: what an untrusted writer left is removed, and nothing else is.
    #[test]
    fn the_untrusted_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(folder.path().join("detectors")).unwrap();
        let state = State { format: 1, bytes: vec![0; 100_000] };
        for (binding, digest) in [("one", "abc"), ("two", "def"), ("three", "abc")] {
            store.save(&place(binding, "default", 0), digest, &state);
        }
        std::fs::write(folder.path().join("detectors/other"), vec![b'x'; 1 << 20]).unwrap();
        store.forget(&BTreeSet::from(["abc".to_owned()]));
        let load = |binding, digest| store.load(&place(binding, "default", 0), digest);
        assert!(load("one", "abc").is_none() && load("three", "abc").is_none());
        assert!(load("two", "def").is_some());
        assert_eq!(std::fs::read_dir(folder.path().join("detectors")).unwrap().count(), 2);
    }

    /// Guarantees: a snapshot comes back to the component that wrote it and to the tenant, byte for byte, and to no other; also
    /// where the names of two tenants make the same file name, and if it was written before there were tenants.
    #[test]
    fn only_the_writer_gets_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(folder.path().join("detectors")).unwrap();
        let state = State { format: 3, bytes: vec![0, 10, 255, b'\n', 1] };
        for tenant in ["default", "shop.a"] {
            let own = place("errors/../x", tenant, 0);
            store.save(&own, "abc", &state);
            let loaded = store.load(&own, "abc").unwrap();
            assert_eq!((loaded.format, loaded.bytes), (3, vec![0, 10, 255, b'\n', 1]));
            assert!(store.load(&own, "def").is_none());
            assert!(store.load(&place("errors/../x", tenant, 1), "abc").is_none());
            assert!(store.load(&place("errors/../x", "other", 0), "abc").is_none());
        }
        assert!(store.load(&place("errors/../x", "shop_a", 0), "abc").is_none());
        let before = b"{\"version\":1,\"digest\":\"abc\",\"format\":3}\nx";
        std::fs::write(folder.path().join("detectors/old-0.snapshot"), before).unwrap();
        assert_eq!(store.load(&place("old", "default", 0), "abc").unwrap().bytes, b"x");
    }
}
