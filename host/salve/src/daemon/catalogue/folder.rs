//! The plugin folder, as it is found.

use crate::admission::Admission;
use std::{
    collections::BTreeSet,
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
pub(super) fn list(directory: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
            found.insert(path);
        }
    }
    Ok(found)
}

/// How a file looks now; none if it is not there or no file.
pub(super) fn mark(path: &Path, admission: &Admission) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(FileMark {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
        admission: admission.mark(path),
    })
}
