//! The plugin folder, as it is found.

use crate::admission::Admission;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Enough of a file's metadata to see that it was replaced.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FileMark {
    pub(super) modified: Option<SystemTime>,
    pub(super) length: u64,
    pub(super) inode: u64,
    /// What its admission rests on: signature, lock file, publishers.
    pub(super) admission: u64,
}

/// `*.wasm` files of a folder, links to files included.
pub(super) fn list(directory: &Path, admission: &Admission) -> std::io::Result<BTreeMap<PathBuf, FileMark>> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // A file that vanishes between the two calls is simply not there.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_file() {
            let mark = FileMark {
                modified: metadata.modified().ok(),
                length: metadata.len(),
                inode: metadata.ino(),
                admission: admission.mark(&path),
            };
            found.insert(path, mark);
        }
    }
    Ok(found)
}
