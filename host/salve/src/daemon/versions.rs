//! Copies of components by digest, so that a version can be gone back to after its file was replaced, and what is known of
//! all versions.
//!
//! ## What always holds
//! - a copy is written whole or not at all, below the state folder that only Salve's user can enter
//! - a copy whose bytes are not those of its digest is not given out
//! - only copies that somebody still needs are kept

use anyhow::{Context, Result, ensure};
use salve_plugins::pack;
use salve_rollout::Plugin;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Shape of the file of records.
const FORMAT: u32 = 1;

/// A folder of copies.
#[derive(Debug, Clone)]
pub struct VersionStore {
    directory: PathBuf,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Records {
    format: u32,
    plugins: BTreeMap<String, Plugin>,
}

impl VersionStore {
    /// Copies in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).with_context(|| {
            format!("cannot make the folder of plugin versions `{}`", directory.display())
        })?;
        Ok(Self { directory })
    }

    /// What was written by [`VersionStore::write_records`]; nothing if there is nothing.
    ///
    /// # Errors
    /// If it cannot be read or understood: what the operator held back must not slip through.
    pub fn records(&self) -> Result<BTreeMap<String, Plugin>> {
        let path = self.records_path();
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let hint = || {
            format!(
                "cannot understand the plugin versions in `{}`\n\nhint: with the file removed, the versions in the plugin \
                 folder become active without a trial",
                path.display()
            )
        };
        let records: Records = serde_json::from_slice(&text).with_context(hint)?;
        ensure!(records.format == FORMAT, "{}: format {} is not known", hint(), records.format);
        Ok(records.plugins)
    }

    /// Writes down what is known of all versions.
    ///
    /// # Errors
    /// If it cannot be written; what was there stays.
    pub fn write_records(&self, plugins: &BTreeMap<String, Plugin>) -> Result<()> {
        let text = serde_json::to_vec(&serde_json::json!({ "format": FORMAT, "plugins": plugins }))?;
        write_whole(&self.records_path(), &text)
    }

    /// Keeps a copy; asks for `bytes` if there is none yet.
    ///
    /// # Errors
    /// If it cannot be written, or the bytes are not to be had.
    pub fn keep<'a>(&self, digest: &str, bytes: impl FnOnce() -> Result<&'a [u8]>) -> Result<()> {
        let path = self.path(digest);
        if path.exists() { Ok(()) } else { write_whole(&path, bytes()?) }
    }

    /// Where the copy with this digest lies.
    ///
    /// # Errors
    /// If it is not there or is not what it was.
    pub fn checked(&self, digest: &str) -> Result<PathBuf> {
        let path = self.path(digest);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("cannot read the kept copy `{}`", path.display()))?;
        ensure!(pack::digest(&bytes) == digest, "the kept copy `{}` is not what was kept", path.display());
        Ok(path)
    }

    /// Removes all other copies.
    pub fn retain(&self, digests: &BTreeSet<String>) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let is_copy = path.extension().is_some_and(|extension| extension == "wasm");
            let digest = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if is_copy && !digests.contains(&digest) {
                // What stays is looked at again the next time.
                drop(std::fs::remove_file(path));
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}.wasm"))
    }

    fn records_path(&self) -> PathBuf {
        self.directory.join("versions.json")
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("partial");
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a copy that was changed on disk is refused, one that nobody needs is removed, and records that cannot be
    /// read are an error and not an empty beginning.
    #[test]
    fn copies_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let store = VersionStore::open(folder.path().join("versions")).unwrap();
        let (one, two) = (pack::digest(b"one"), pack::digest(b"two"));
        store.keep(&one, || Ok(b"one")).unwrap();
        store.keep(&two, || Ok(b"two")).unwrap();
        assert!(store.checked(&one).is_ok());
        std::fs::write(store.path(&one), b"other").unwrap();
        assert!(store.checked(&one).is_err());
        store.retain(&BTreeSet::from([one]));
        assert!(store.checked(&two).is_err());

        assert!(store.records().unwrap().is_empty());
        store.write_records(&BTreeMap::new()).unwrap();
        assert!(store.records().unwrap().is_empty());
        std::fs::write(store.records_path(), b"{").unwrap();
        assert!(store.records().is_err());
    }
}
