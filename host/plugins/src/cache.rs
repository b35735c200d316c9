//! Compiled plugins on disk, so that a restart takes a tenth of a millisecond for each instead of up to half a minute.
//!
//! ## What always holds
//! - the folder is this user's and nobody else can write in it; else it is not used
//! - files are written whole and put in place by rename
//! - a file is loaded only if its digest is the one noted when it was written: it is computed again at the first load after each
//!   boot, and whenever the file is not, by inode, size and times, the one for which it was computed since (ADR 12)
//! - a component in here has been admitted: admission stands before compilation, and its rules are part of the key
//!
//! Of large components copies are kept, too, by which their digest is known (`copies`).

use crate::{contract, copies, engine::DENSE_IMAGE_BYTES, pack, precompiled};
use sha2::{Digest, Sha256};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};
use wasmtime::{Engine, component::Component};

/// Where Linux names the running boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Raised when admission gets stricter, so that what older rules admitted is looked at again.
const ADMISSION_VERSION: u32 = 1;

/// How long ago a file must have been written for its times to tell it from what is written later: clocks of file systems tick
/// every few milliseconds, some every second.
const SETTLED: Duration = Duration::from_secs(2);

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
    /// The running boot of this machine; none where the kernel does not name it.
    boot: Option<String>,
    settled: Duration,
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
        // Native code knows how its memory is laid out, and the engine does not look at it again.
        DENSE_IMAGE_BYTES.hash(&mut hasher);
        ADMISSION_VERSION.hash(&mut hasher);
        for version in contract::ContractVersion::ALL {
            version.wit().hash(&mut hasher);
        }
        Ok(Self {
            folder: folder.to_owned(),
            bytes_max,
            key: format!("{:016x}", hasher.finish()),
            boot: fs::read_to_string(BOOT_ID).ok().map(|boot| boot.trim().to_owned()),
            settled: SETTLED,
        })
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
        self.make_room(self.files()?, u64::try_from(compiled.len()).unwrap_or(u64::MAX))?;
        self.write(&path, &[compiled])?;
        // After the artefact: until this stands, nothing is loaded.
        self.write(&digest_file(&path), &[pack::digest(compiled).as_bytes()])
    }

    /// The digest of a component, and whether it was found by a copy of it and not computed.
    pub(crate) fn digest(&self, component: &[u8]) -> (String, bool) {
        let known = copies::place(&self.folder, component).map(|place| copies::digest(&place, component));
        match known {
            Some(Ok(Some(digest))) => return (digest, true),
            Some(Err(error)) => tracing::debug!(%error, "Cannot read the copy of a component."),
            Some(Ok(None)) | None => {}
        }
        (pack::digest(component), false)
    }

    /// Keeps a copy of a large component with its digest, if there is room beside native code, which takes longer to make than a
    /// digest; older copies leave.
    pub(crate) fn keep_copy(&self, component: &[u8], digest: &str) -> io::Result<()> {
        let Some(place) = copies::place(&self.folder, component) else { return Ok(()) };
        let head = copies::head(digest);
        let bytes = u64::try_from(head.len() + component.len()).unwrap_or(u64::MAX);
        let files = self.files()?;
        let native_bytes: u64 = files.iter().filter(|file| file.is_native).map(|file| file.bytes).sum();
        if native_bytes.saturating_add(bytes) > self.bytes_max {
            return Ok(());
        }
        self.make_room(files, bytes)?;
        self.write(&place, &[head.as_bytes(), component])
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
        let note = match fs::read_to_string(digest_file(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            note => note?,
        };
        let (noted, noted_identity) = note.split_once('\n').unwrap_or((&note, ""));
        // Before the bytes are read: what is written while they are shows the next time.
        let metadata = file.metadata()?;
        let identity = self.identity(&metadata);
        if identity.as_deref() == Some(noted_identity) {
            return Ok(Some(Checked(path)));
        }
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
        if let Some(identity) = identity
            && let Err(error) =
                self.write(&digest_file(path), &[noted.as_bytes(), b"\n", identity.as_bytes()])
        {
            tracing::debug!(path = %path.display(), %error, "Cannot note that a compiled plugin was checked.");
        }
        Ok(Some(Checked(path)))
    }

    /// What differs as soon as the file's bytes may: another file, another content, another boot. None if it cannot be told yet.
    fn identity(&self, metadata: &fs::Metadata) -> Option<String> {
        let boot = self.boot.as_ref()?;
        let changed =
            Duration::new(u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        if now.checked_sub(changed)? < self.settled {
            return None;
        }
        Some(format!(
            "{boot} {} {} {} {}.{:09} {}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        ))
    }

    /// Writes a file whole, of these parts, by rename.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.part", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    }

    /// Native code and copies.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (metadata, path) = (entry.metadata()?, entry.path());
            let is_native = path.extension().is_some_and(|extension| extension == "cwasm");
            let is_copy = path.extension().is_some_and(|extension| extension == copies::EXTENSION);
            if metadata.is_file() && (is_native || is_copy) {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Kept { is_native, written, bytes: metadata.len(), path });
            }
        }
        Ok(files)
    }

    /// Removes files until `bytes` more fit: copies first, and of each kind the least recently written.
    fn make_room(&self, mut files: Vec<Kept>, bytes: u64) -> io::Result<()> {
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        files.sort();
        for file in files {
            if total.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            fs::remove_file(digest_file(&file.path)).or_else(ignore_missing)?;
            fs::remove_file(&file.path)?;
            total -= file.bytes;
        }
        Ok(())
    }
}

/// A file in the folder, in the order in which they leave.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    is_native: bool,
    written: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// A file that is gone already need not be removed.
fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Where the digest of an artefact is noted.
fn digest_file(artefact: &Path) -> PathBuf {
    artefact.with_extension("sha256")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> Cache {
        let mut cache = Cache::open(folder, 1 << 20, &Engine::default()).unwrap();
        cache.settled = Duration::ZERO;
        cache
    }

    fn is_good(cache: &Cache, path: &Path) -> bool {
        cache.check(path).unwrap().is_some()
    }

    /// Guarantees: the digest of a file is computed once in a boot, as long as nobody touches the file; then again, and what does
    /// not have it is not loaded.
    #[test]
    fn digests_are_computed_once_in_a_boot() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        cache.store(b"native code", "abc").unwrap();
        let path = cache.artefact("abc");
        assert!(is_good(&cache, &path));
        let note = fs::read_to_string(digest_file(&path)).unwrap();
        let (digest, identity) = note.split_once('\n').unwrap();
        assert_eq!(digest, pack::digest(b"native code"));

        // A digest that would not be found shows whether it was looked for.
        let lie = |identity: &str| {
            fs::write(digest_file(&path), format!("{}\n{identity}", "0".repeat(64))).unwrap()
        };
        lie(identity);
        assert!(is_good(&cache, &path));
        lie("");
        assert!(!is_good(&cache, &path));
        lie(identity);
        cache.boot = Some("another".into());
        assert!(!is_good(&cache, &path));
    }

    /// Guarantees: a file that was written to, or replaced by another of its size and times, is computed anew.
    #[test]
    fn what_was_touched_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.store(b"native code", "abc").unwrap();
        let path = cache.artefact("abc");
        assert!(is_good(&cache, &path));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let pretend = |path: &Path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(modified).unwrap();
        };
        let other = folder.path().join("other");
        fs::write(&other, b"native coda").unwrap();
        pretend(&other);
        fs::rename(&other, &path).unwrap();
        assert!(!is_good(&cache, &path));
        fs::write(&path, b"native code").unwrap();
        pretend(&path);
        assert!(is_good(&cache, &path));
        // Longer: the clock of the file system may not have ticked.
        fs::write(&path, b"native code and more").unwrap();
        pretend(&path);
        assert!(!is_good(&cache, &path));
    }

    /// Guarantees: the digest of a component that a copy is kept of is right, and so is that of one that differs where no place shows it.
    #[test]
    fn digests_are_known_by_copies() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        cache.bytes_max = 3 << 20;
        let component = vec![7; 2 << 20];
        let digest = pack::digest(&component);
        assert_eq!(cache.digest(&component), (digest.clone(), false));
        cache.keep_copy(&component, &digest).unwrap();
        assert_eq!(cache.digest(&component), (digest, true));
        let mut other = component;
        other[1 << 20] = 8;
        assert_eq!(cache.digest(&other), (pack::digest(&other), false));
    }

    /// Guarantees: a copy never takes the room of native code, neither when it is written nor when native code needs room, however old
    /// that is; it takes the room of older copies.
    #[test]
    fn copies_leave_before_native_code() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        cache.bytes_max = 5 << 20;
        let component = |byte: u8| vec![byte; 2 << 20];
        let is_known = |cache: &Cache, byte: u8| cache.digest(&component(byte)).1;
        let keep = |cache: &Cache, byte: u8| {
            cache.keep_copy(&component(byte), &pack::digest(&component(byte))).unwrap();
        };
        cache.store(&component(1), "old").unwrap();
        keep(&cache, 2);
        assert!(is_known(&cache, 2));
        keep(&cache, 3);
        assert!(!is_known(&cache, 2) && is_known(&cache, 3));
        cache.store(&component(4), "new").unwrap();
        assert!(!is_known(&cache, 3));
        keep(&cache, 5);
        assert!(!is_known(&cache, 5), "there is no room beside native code");
        for digest in ["old", "new"] {
            assert!(is_good(&cache, &cache.artefact(digest)), "{digest}");
        }
    }

    /// Guarantees: a file that was written just now is not known by its times: they may still be those of the next write.
    #[test]
    fn new_files_are_always_computed() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        cache.settled = Duration::from_secs(3_600);
        cache.store(b"native code", "abc").unwrap();
        let path = cache.artefact("abc");
        assert!(is_good(&cache, &path) && is_good(&cache, &path));
        assert_eq!(fs::read_to_string(digest_file(&path)).unwrap(), pack::digest(b"native code"));
    }
}
