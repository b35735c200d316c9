//! Compiled plugins on disk, so that a restart takes a tenth of a millisecond for each instead of up to half a minute.
//!
//! ## What always holds
//! - the folder is this user's and nobody else can write in it; else it is not used
//! - files are written whole and put in place by rename
//! - a file is loaded only if its digest is the one noted when it was written: it is computed again at the first load after each
//!   boot, and whenever the file is not, by inode, size and times, the one for which it was computed since (ADR 12)
//! - a component in here has been admitted: admission stands before compilation, and its rules are part of the key
//!
//! Kept are, too: copies of large components, by which their digest is known (`copies`), and what is known of components' files
//! (`records`).

use crate::{
    contract, copies,
    engine::DENSE_IMAGE_BYTES,
    identity::Identities,
    pack, precompiled,
    records::{self, Record},
};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};
use wasmtime::{Engine, component::Component};

/// Raised when admission, schemas of parameters included, gets stricter, so that what older rules admitted is looked at again.
const ADMISSION_VERSION: u32 = 1;

/// What the names of files of native code end with.
const NATIVE_EXTENSION: &str = "cwasm";
/// Most files of components of which something is known.
const RECORDS_MAX: usize = 1_000;

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
    pub(crate) identities: Identities,
}

/// A component's file as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Seen {
    identity: String,
    record: PathBuf,
}

/// Whether a file must outlast a crash of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Yes,
    /// What is known in this boot alone.
    No,
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
            identities: Identities::new(),
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
        self.write(&path, &[compiled], Lasting::Yes)?;
        // After the artefact: until this stands, nothing is loaded.
        self.write(&digest_file(&path), &[pack::digest(compiled).as_bytes()], Lasting::Yes)
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
        let native = files.iter().filter(|file| file.kind == Kind::Native);
        let native_bytes: u64 = native.map(|file| file.bytes).sum();
        if native_bytes.saturating_add(bytes) > self.bytes_max {
            return Ok(());
        }
        self.make_room(files, bytes)?;
        self.write(&place, &[head.as_bytes(), component], Lasting::Yes)
    }

    /// How a component's file looks now, before it is read; none if that does not tell its bytes.
    pub(crate) fn look(&self, file: &fs::File, metadata: &fs::Metadata) -> Option<Seen> {
        let identity = self.identities.of_component(file, metadata)?;
        Some(Seen { identity, record: records::place(&self.folder, metadata) })
    }

    /// What was noted of a file that looked just like this.
    pub(crate) fn recall(&self, seen: &Seen) -> Option<Record> {
        Record::read(&seen.record, &seen.identity).unwrap_or_else(|error| {
            tracing::debug!(%error, "Cannot read what is known of a component.");
            None
        })
    }

    /// Notes what the bytes are of a file that looked like this before they were read and after they had been brought to the disk. What
    /// is known of the files that were read longest ago leaves.
    pub(crate) fn note(&self, seen: &Seen, record: &Record) -> io::Result<()> {
        let files = self.files()?;
        let mut known: Vec<_> = files.into_iter().filter(|file| file.kind == Kind::Record).collect();
        known.retain(|file| file.path != seen.record);
        known.sort();
        let surplus = (known.len() + 1).saturating_sub(RECORDS_MAX);
        for file in known.iter().take(surplus) {
            fs::remove_file(&file.path).or_else(ignore_missing)?;
        }
        self.write(&seen.record, &[&record.to_bytes(&seen.identity)], Lasting::No)
    }

    /// Removes what was noted of a file.
    pub(crate) fn forget(&self, seen: &Seen) {
        if let Err(error) = fs::remove_file(&seen.record).or_else(ignore_missing) {
            tracing::warn!(path = %seen.record.display(), %error, "Cannot remove what is known of a component.");
        }
    }

    fn artefact(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{NATIVE_EXTENSION}", self.key))
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
        let identity = self.identities.of(&metadata);
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
                self.write(&digest_file(path), &[noted.as_bytes(), b"\n", identity.as_bytes()], Lasting::Yes)
        {
            tracing::debug!(path = %path.display(), %error, "Cannot note that a compiled plugin was checked.");
        }
        Ok(Some(Checked(path)))
    }

    /// Writes a file whole, of these parts, by rename.
    fn write(&self, path: &Path, parts: &[&[u8]], lasting: Lasting) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.part", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        if lasting == Lasting::Yes {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    }

    /// Native code, copies and records.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = match path.extension().and_then(OsStr::to_str) {
                Some(NATIVE_EXTENSION) => Kind::Native,
                Some(copies::EXTENSION) => Kind::Copy,
                Some(records::EXTENSION) => Kind::Record,
                _ => continue,
            };
            let metadata = match entry.metadata() {
                // Another load has replaced or removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_file() {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Kept { kind, written, bytes: metadata.len(), path });
            }
        }
        Ok(files)
    }

    /// Removes files until `bytes` more fit, in the order of kinds, and of each the least recently written.
    fn make_room(&self, mut files: Vec<Kept>, bytes: u64) -> io::Result<()> {
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        files.sort();
        for file in files {
            if total.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            fs::remove_file(digest_file(&file.path)).or_else(ignore_missing)?;
            fs::remove_file(&file.path).or_else(ignore_missing)?;
            total -= file.bytes;
        }
        Ok(())
    }
}

/// A file in the folder, in the order in which they leave.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    kind: Kind,
    written: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// What files are, in the order in which they leave: by what they save and what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Copy,
    Record,
    Native,
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
    use std::time::Duration;

    fn cache(folder: &Path) -> Cache {
        let mut cache = Cache::open(folder, 1 << 20, &Engine::default()).unwrap();
        cache.identities.settled = Duration::ZERO;
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
        cache.identities.boot = Some("another".into());
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

    /// Guarantees: what is known of files leaves after copies and before native code, and is of so many files at most.
    #[test]
    fn records_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        let seen = |n: usize| Seen { identity: "x".into(), record: folder.path().join(format!("{n}.known")) };
        let record = Record { digest: pack::digest(b"x"), manifest: b"{}".to_vec() };
        (0..RECORDS_MAX + 2).for_each(|n| cache.note(&seen(n), &record).unwrap());
        let known =
            |cache: &Cache| (0..RECORDS_MAX + 2).filter(|n| cache.recall(&seen(*n)).is_some()).count();
        assert_eq!(known(&cache), RECORDS_MAX);
        cache.note(&seen(RECORDS_MAX + 1), &record).unwrap();
        assert_eq!(known(&cache), RECORDS_MAX, "one that is written again needs no room");

        cache.bytes_max = 5 << 20;
        let component = |byte: u8| vec![byte; 2 << 20];
        cache.keep_copy(&component(1), &pack::digest(&component(1))).unwrap();
        cache.store(&component(2), "one").unwrap();
        assert!(cache.digest(&component(1)).1 && known(&cache) == RECORDS_MAX);
        cache.store(&component(3), "two").unwrap();
        assert!(!cache.digest(&component(1)).1 && known(&cache) == RECORDS_MAX);
        cache.store(&vec![0; 1 << 20], "three").unwrap();
        assert!(known(&cache) < RECORDS_MAX);
        for digest in ["one", "two", "three"] {
            assert!(is_good(&cache, &cache.artefact(digest)), "{digest}");
        }
    }

    /// Guarantees: a file that was written just now is not known by its times: they may still be those of the next write.
    #[test]
    fn new_files_are_always_computed() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path());
        cache.identities.settled = Duration::from_secs(3_600);
        cache.store(b"native code", "abc").unwrap();
        let path = cache.artefact("abc");
        assert!(is_good(&cache, &path) && is_good(&cache, &path));
        assert_eq!(fs::read_to_string(digest_file(&path)).unwrap(), pack::digest(b"native code"));
    }
}
