//! Files that appear whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A step on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{}`", path.display())]
pub struct FileError {
    /// What was to be done, for instance `read`.
    pub step: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn new(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self { step, path: path.to_owned(), source }
    }

    /// The file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Reads a regular file of at most `limit_bytes`.
///
/// # Errors
/// [`FileError`]: it is not there, not regular, or larger.
pub fn read_bounded(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::new("read", path, source);
    // A named pipe would make `open` wait for ever.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        let what = format!("it is larger than {limit_bytes} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, what)));
    }
    Ok(bytes)
}

/// Writes a file whole: beside it, synced, renamed.
///
/// # Errors
/// [`FileError`]; what was there before stays.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    Staged::write(path, bytes)?.commit()?;
    sync_folder(path)
}

/// Writes a file that only its owner may read, and that is not there yet.
///
/// # Errors
/// [`FileError`], also if it is there already: a private key is not overwritten by accident.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::new("write", path, source);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// A file that is written and synced under another name. Dropped without [`Staged::commit`], it is gone.
pub(crate) struct Staged {
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Staged {
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}-{number}.partial", std::process::id()));
        let staged = Self { temporary, path: path.to_owned(), committed: false };
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&staged.temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|source| FileError::new("write", path, source))?;
        Ok(staged)
    }

    /// Gives it its name.
    pub(crate) fn commit(mut self) -> Result<(), FileError> {
        fs::rename(&self.temporary, &self.path)
            .map_err(|source| FileError::new("write", &self.path, source))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            // It may never have been there.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Makes the names in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder_of(path);
    File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| FileError::new("write the folder", &folder, source))
}

/// The folder in which a file is or will be.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Guarantees: a file is replaced whole, and a failure leaves the old one and nothing else.
    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"old").unwrap();
        drop(Staged::write(&path, b"half").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        assert!(write_whole(&folder.path().join("none/a"), b"x").is_err());
    }

    /// Guarantees: a private file is its owner's alone, and an existing one is not overwritten.
    #[test]
    fn private_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"k").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&path, b"other").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"k");
    }

    /// Guarantees: what is too large, or no file, is refused.
    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"1234").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"1234");
        assert!(read_bounded(&path, 3).is_err());
        assert!(read_bounded(folder.path(), 3).is_err());
        assert!(read_bounded(&folder.path().join("b"), 3).unwrap_err().is_missing());
    }
}
