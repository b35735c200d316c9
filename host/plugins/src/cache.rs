//! Compiled plugins on disk, so that a restart takes a tenth of a millisecond for each instead of up to half a minute.
//!
//! ## What always holds
//! - the folder is this user's and nobody else can write in it; else it is not used
//! - files are written whole and put in place by rename
//! - a file is loaded only if its digest is the one noted when it was written
//! - a component in here has been admitted: admission stands before compilation, and its rules are part of the key

use crate::{contract, pack, precompiled};
use sha2::{Digest, Sha256};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};
use wasmtime::{Engine, component::Component};

/// Raised when admission gets stricter, so that what older rules admitted is looked at again.
const ADMISSION_VERSION: u32 = 1;

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made.
    #[error("cannot make the folder `{}` for compiled plugins", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could put native code there.
    #[error("folder `{}` for compiled plugins can be written by others (owner {owner}, mode {mode:o})", path.display())]
    Unsafe {
        /// Where.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    bytes_max: u64,
    /// Engine, contract and admission rules, as hex.
    key: String,
}

/// An artefact that [`Cache`] has checked; the only thing that [`precompiled::map`] takes.
pub(crate) struct Checked<'a>(&'a Path);

impl Checked<'_> {
    pub(crate) fn path(&self) -> &Path {
        self.0
    }
}

impl Cache {
    /// Opens or makes the folder.
    pub(crate) fn open(folder: &Path, bytes_max: u64, engine: &Engine) -> Result<Self, CacheError> {
        let create = |source| CacheError::Create { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(create)?;
        let metadata = fs::metadata(folder).map_err(create)?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
        if owner != rustix::process::geteuid().as_raw() || mode & 0o022 != 0 {
            return Err(CacheError::Unsafe { path: folder.to_owned(), owner, mode });
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        ADMISSION_VERSION.hash(&mut hasher);
        for version in contract::ContractVersion::ALL {
            version.wit().hash(&mut hasher);
        }
        Ok(Self { folder: folder.to_owned(), bytes_max, key: format!("{:016x}", hasher.finish()) })
    }

    /// The compiled form of the component with this digest, if it is there and intact.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.artefact(digest);
        let checked = match self.check(&path) {
            Ok(checked) => checked?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "Compiled plugin cannot be read; compiling it again.");
                return None;
            }
        };
        match precompiled::map(engine, &checked) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "Compiled plugin cannot be used; compiling it again.");
                None
            }
        }
    }

    /// Keeps what was compiled of the component with this digest.
    pub(crate) fn store(&self, compiled: &[u8], digest: &str) -> io::Result<()> {
        let path = self.artefact(digest);
        self.make_room(u64::try_from(compiled.len()).unwrap_or(u64::MAX))?;
        self.write(&path, compiled)?;
        // After the artefact: until this stands, nothing is loaded.
        self.write(&digest_file(&path), pack::digest(compiled).as_bytes())
    }

    fn artefact(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.cwasm", self.key))
    }

    /// None if it is not there, or not as it was written.
    fn check<'a>(&self, path: &'a Path) -> io::Result<Option<Checked<'a>>> {
        let mut file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let noted = match fs::read_to_string(digest_file(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            noted => noted?,
        };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            hasher.update(read);
        }
        if pack::hex(&hasher.finalize()) != noted {
            tracing::warn!(path = %path.display(), "Compiled plugin is not as it was written; compiling it again.");
            return Ok(None);
        }
        Ok(Some(Checked(path)))
    }

    /// Writes a file whole, by rename.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.part", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    }

    /// Removes the least recently written files until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() && entry.path().extension().is_some_and(|extension| extension == "cwasm") {
                files.push((
                    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    metadata.len(),
                    entry.path(),
                ));
            }
        }
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        files.sort();
        for (_, length, path) in files {
            if total.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            fs::remove_file(digest_file(&path)).or_else(ignore_missing)?;
            fs::remove_file(&path)?;
            total -= length;
        }
        Ok(())
    }
}

/// A file that is gone already need not be removed.
fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Where the digest of an artefact is noted.
fn digest_file(artefact: &Path) -> PathBuf {
    artefact.with_extension("sha256")
}
