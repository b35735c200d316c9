//! From a component's file to its digest and its manifest: by reading it, or by what is known of the file since it was read (ADR 12).
//!
//! ## What always holds
//! - a digest is of bytes that were read; which digest a file's bytes have is remembered only as long as its identity is sure
//! - bytes that are handed out have the digest that was said

use crate::{
    admission,
    cache::Seen,
    host::{LoadError, PluginHost},
    manifest::{self, Manifest},
    records::Record,
};
use std::{
    borrow::Cow,
    fs,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A component whose digest and manifest are known; only [`PluginHost::identify`] says which.
pub struct Identified<'a> {
    host: PluginHost,
    path: PathBuf,
    digest: String,
    manifest: Manifest,
    size_bytes: usize,
    content: Content<'a>,
}

/// Where its bytes are.
enum Content<'a> {
    /// In memory.
    Read {
        bytes: Cow<'a, [u8]>,
        /// The digest was found by a copy.
        from_copy: bool,
        /// The file before it was read, if that tells its bytes from others.
        seen: Option<Seen>,
    },
    /// In a file that is as it was when it was read.
    Known { file: fs::File, seen: Seen, bytes: OnceLock<Vec<u8>> },
}

impl PluginHost {
    /// Finds digest and manifest of a component in a file. Reads it whole, unless it was read in this boot and has not been
    /// touched since.
    ///
    /// # Errors
    /// [`LoadError`]: it cannot be read, is no component, or has no manifest.
    pub fn identify(&self, path: &Path) -> Result<Identified<'static>, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        // A named pipe would make `open` wait for ever.
        if !fs::metadata(path).map_err(read)?.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        let file = fs::File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        let limit_bytes = self.0.config.component_bytes_max;
        if metadata.len() > limit_bytes {
            return Err(LoadError::TooLarge { path: path.to_owned(), limit_bytes });
        }
        let size_bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let cache = &self.0.cache;
        let seen = match cache.look(&file, &metadata) {
            None => None,
            Some(seen) => match cache.recall(&seen) {
                Some(Record { digest, manifest }) => {
                    return Ok(Identified {
                        host: self.clone(),
                        path: path.to_owned(),
                        digest,
                        manifest: read_manifest(path, &manifest)?,
                        size_bytes,
                        content: Content::Known { file, seen, bytes: OnceLock::new() },
                    });
                }
                // From here on, who has a page mapped cannot write to it without being seen.
                None => file.sync_data().is_ok().then_some(seen),
            },
        };
        let bytes = read_bounded(file, size_bytes, limit_bytes).map_err(read)?;
        // It grew while it was read.
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit_bytes {
            return Err(LoadError::TooLarge { path: path.to_owned(), limit_bytes });
        }
        self.identify_read(path, bytes.into(), seen)
    }

    /// The same of a component that was read already; `path` is for messages.
    pub(crate) fn identify_bytes<'a>(
        &self,
        path: &Path,
        bytes: &'a [u8],
    ) -> Result<Identified<'a>, LoadError> {
        self.identify_read(path, bytes.into(), None)
    }

    fn identify_read<'a>(
        &self,
        path: &Path,
        bytes: Cow<'a, [u8]>,
        seen: Option<Seen>,
    ) -> Result<Identified<'a>, LoadError> {
        admission::check_kind(&bytes)
            .map_err(|source| LoadError::Refused { path: path.to_owned(), source })?;
        let section = manifest::section_of(&bytes)
            .map_err(|source| LoadError::Manifest { path: path.to_owned(), source })?;
        let manifest = read_manifest(path, section)?;
        let (digest, from_copy) = self.0.cache.digest(&bytes);
        Ok(Identified {
            host: self.clone(),
            path: path.to_owned(),
            digest,
            manifest,
            size_bytes: bytes.len(),
            content: Content::Read { bytes, from_copy, seen },
        })
    }
}

impl Identified<'_> {
    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the component, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it says about itself. Whether the schema of its parameters is one is seen when it is loaded.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Size of the file.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The component. Reads it, if it was not read yet.
    ///
    /// # Errors
    /// [`LoadError::Read`]; [`LoadError::Changed`] if what is read is something else than was read before.
    pub fn bytes(&self) -> Result<&[u8], LoadError> {
        let (file, seen, bytes) = match &self.content {
            Content::Read { bytes, .. } => return Ok(bytes),
            Content::Known { file, seen, bytes } => (file, seen, bytes),
        };
        if let Some(bytes) = bytes.get() {
            return Ok(bytes);
        }
        let mut read = vec![0; self.size_bytes];
        file.read_exact_at(&mut read, 0)
            .map_err(|source| LoadError::Read { path: self.path.clone(), source })?;
        let cache = &self.host.0.cache;
        if cache.digest(&read).0 != self.digest {
            cache.forget(seen);
            return Err(LoadError::Changed { path: self.path.clone() });
        }
        Ok(bytes.get_or_init(|| read))
    }

    /// Keeps what finding its digest again would cost, now that it has loaded.
    pub(crate) fn keep(&self) {
        let Content::Read { bytes, from_copy, seen } = &self.content else { return };
        let cache = &self.host.0.cache;
        if !from_copy && let Err(error) = cache.keep_copy(bytes, &self.digest) {
            tracing::debug!(%error, "Cannot keep a copy of a component; its digest will be computed again.");
        }
        if let Some(seen) = seen
            && let Ok(manifest) = manifest::section_of(bytes)
            && let Err(error) =
                cache.note(seen, &Record { digest: self.digest.clone(), manifest: manifest.to_vec() })
        {
            tracing::debug!(%error, "Cannot note what is in a component's file; it will be read again.");
        }
    }
}

impl std::fmt::Debug for Identified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identified")
            .field("path", &self.path)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

fn read_manifest(path: &Path, section: &[u8]) -> Result<Manifest, LoadError> {
    Manifest::of_section(section).map_err(|source| LoadError::Manifest { path: path.to_owned(), source })
}

/// Reads a file of about this size, at most one byte more than the limit. What replaces it meanwhile is not seen.
fn read_bounded(file: fs::File, size_bytes: usize, limit_bytes: u64) -> io::Result<Vec<u8>> {
    // One more, so that its end is seen without making more room.
    let mut bytes = Vec::with_capacity(size_bytes.saturating_add(1));
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostConfig, pack};
    use std::{
        os::unix::fs::MetadataExt,
        sync::Arc,
        time::{Duration, SystemTime},
    };

    struct Bench {
        host: PluginHost,
        folder: tempfile::TempDir,
        /// A component, and another one of its length.
        components: [Vec<u8>; 2],
    }

    /// A detector; `version` is one digit.
    fn component(version: u8) -> Vec<u8> {
        let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/detector-loop.wat");
        let manifest =
            format!("name = 'loop'\nversion = '{version}.0.0'\nrole = 'detector'\nsummary = 'Loops.'\n");
        pack::pack(&wat::parse_file(guest).unwrap(), &manifest).unwrap()
    }

    /// A host for which files are known by their times at once, on any file system.
    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut config = HostConfig::new(folder.path().join("cache"));
        config.instances_max = 1;
        config.guest_threads = 1;
        let host = PluginHost::new(config).unwrap();
        let bench = Bench { host, folder, components: [component(1), component(2)] };
        fs::write(bench.file(), &bench.components[0]).unwrap();
        bench.with(|bench| {
            let kind = rustix::fs::statfs(bench.file()).unwrap().f_type;
            let identities = &mut Arc::get_mut(&mut bench.host.0).unwrap().cache.identities;
            identities.component_settled = Duration::ZERO;
            identities.file_systems = vec![u32::try_from(kind).unwrap()];
        })
    }

    impl Bench {
        fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("loop.wasm")
        }

        fn cache(&mut self) -> &mut crate::cache::Cache {
            &mut Arc::get_mut(&mut self.host.0).unwrap().cache
        }

        fn record(&self) -> PathBuf {
            let entries = fs::read_dir(self.folder.path().join("cache")).unwrap();
            let mut records = entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "known"));
            records.next().unwrap()
        }

        fn record_of(&self, metadata: &fs::Metadata) -> PathBuf {
            crate::records::place(&self.folder.path().join("cache"), metadata)
        }

        /// Whether the file is known without reading it; and that what is said of it is right, whether or not.
        fn is_known(&self, which: usize) -> bool {
            let component = self.host.identify(&self.file()).unwrap();
            let bytes = &self.components[which];
            assert_eq!(component.digest(), pack::digest(bytes));
            assert_eq!(component.manifest().version, format!("{}.0.0", which + 1));
            assert_eq!((component.size_bytes(), component.bytes().unwrap()), (bytes.len(), bytes.as_slice()));
            matches!(component.content, Content::Known { .. })
        }

        /// Loads the file; then it is known.
        fn load(&self) {
            self.host.load(&self.file()).unwrap();
            assert!(self.is_known(0));
            // Until the file system's clock has ticked, which is what two seconds are for elsewhere.
            let changed = |path: &Path| {
                let metadata = fs::metadata(path).unwrap();
                (metadata.ctime(), metadata.ctime_nsec())
            };
            let probe = self.folder.path().join("probe");
            while {
                fs::write(&probe, b"x").unwrap();
                changed(&probe) <= changed(&self.file())
            } {}
        }

        fn modified(&self) -> SystemTime {
            fs::metadata(self.file()).unwrap().modified().unwrap()
        }
    }

    fn set_modified(path: &Path, modified: SystemTime) {
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }

    /// Guarantees: a component that has loaded is known by its file until somebody touches it, whatever name it is opened by; what is
    /// known is what reading it gives; and it loads from the cache.
    #[test]
    fn files_are_read_once() {
        let bench = bench();
        assert!(!bench.is_known(0));
        // It was not loaded, so nothing was noted.
        assert!(!bench.is_known(0));
        bench.load();
        let plugin = bench.host.load(&bench.file()).unwrap();
        assert!(plugin.stats().from_cache);
        assert_eq!(plugin.digest(), pack::digest(&bench.components[0]));
        plugin.check_parameters("{}").unwrap();
        plugin.check_parameters("{\"x\": 1}").unwrap_err();
        let moved = bench.folder.path().join("moved");
        fs::rename(bench.file(), &moved).unwrap();
        fs::rename(&moved, bench.file()).unwrap();
        // Its time of change is another one.
        assert!(!bench.is_known(0));
    }

    /// Guarantees: a component that was changed in place is read again, be it of equal length and its time of modification put back;
    /// by its path, by another name of it, or through a descriptor from before it was known.
    #[test]
    fn writes_in_place_are_seen() {
        type Write = fn(&Path, &fs::File, &[u8]);
        let writes: [(&str, Write); 3] = [
            ("path", |path, _, bytes| fs::write(path, bytes).unwrap()),
            ("hard link", |path, _, bytes| {
                let link = path.with_extension("link");
                fs::hard_link(path, &link).unwrap();
                fs::write(link, bytes).unwrap();
            }),
            ("descriptor", |_, file, bytes| file.write_all_at(bytes, 0).unwrap()),
        ];
        for (name, write) in writes {
            let bench = bench();
            let file = fs::File::options().write(true).open(bench.file()).unwrap();
            bench.load();
            let modified = bench.modified();
            write(&bench.file(), &file, &bench.components[1]);
            set_modified(&bench.file(), modified);
            assert!(!bench.is_known(1), "{name}");
        }
    }

    /// Guarantees: a file that was put in the place of a known one is read, be it of equal length and times; so is one that got the
    /// inode of another.
    #[test]
    fn replaced_files_are_seen() {
        let bench = bench();
        bench.load();
        let modified = bench.modified();
        let other = bench.folder.path().join("other");
        fs::write(&other, &bench.components[1]).unwrap();
        set_modified(&other, modified);
        fs::rename(&other, bench.file()).unwrap();
        assert!(!bench.is_known(1));
        fs::remove_file(bench.file()).unwrap();
        fs::write(bench.file(), &bench.components[0]).unwrap();
        set_modified(&bench.file(), modified);
        assert!(!bench.is_known(0));
    }

    /// Guarantees: what is known is not believed after another boot, of a file that is too young, on a file system of another kind, or
    /// if its record is damaged; then the file is read, and what is said is right.
    #[test]
    fn what_is_not_sure_is_read() {
        let mut bench = bench();
        bench.load();
        let record = fs::read(bench.record()).unwrap();
        for damaged in [&record[..record.len() - 1], &record[..70], b"", b"\n\n\n\n"] {
            fs::write(bench.record(), damaged).unwrap();
            assert!(!bench.is_known(0));
        }
        fs::write(bench.record(), &record).unwrap();
        assert!(bench.is_known(0));
        bench.cache().identities.component_settled = Duration::from_secs(3_600);
        assert!(!bench.is_known(0));
        bench.cache().identities.component_settled = Duration::ZERO;
        let kinds = std::mem::take(&mut bench.cache().identities.file_systems);
        assert!(!bench.is_known(0));
        bench.cache().identities.file_systems = kinds;
        let boot = bench.cache().identities.boot.replace("another".into());
        assert!(!bench.is_known(0));
        bench.cache().identities.boot = boot;
        assert!(bench.is_known(0));
    }

    /// Guarantees: if what is known of a file were wrong, the plugin that was read before would load, whole, by its digest and with its
    /// manifest; nothing of the file would be taken for it, and from then on the file is read again.
    #[test]
    fn what_is_known_wrongly_mixes_nothing() {
        let bench = bench();
        bench.load();
        let metadata = fs::metadata(bench.file()).unwrap();
        let other = bench.folder.path().join("other");
        fs::write(&other, &bench.components[1]).unwrap();
        bench.host.load(&other).unwrap();
        let file = fs::File::open(bench.file()).unwrap();
        let identity = bench.host.0.cache.identities.of_component(&file, &metadata).unwrap();
        let manifest = manifest::section_of(&bench.components[1]).unwrap().to_vec();
        let lie = Record { digest: pack::digest(&bench.components[1]), manifest };
        fs::write(bench.record_of(&metadata), lie.to_bytes(&identity)).unwrap();

        let plugin = bench.host.load(&bench.file()).unwrap();
        assert_eq!((plugin.digest(), plugin.manifest().version.as_str()), (lie.digest.as_str(), "2.0.0"));
        assert!(plugin.stats().from_cache);
        let error = bench.host.identify(&bench.file()).unwrap().bytes().unwrap_err();
        assert!(matches!(error, LoadError::Changed { .. }), "{error}");
        assert!(!bench.is_known(0));
    }

    /// Guarantees: of a component that is refused nothing is noted.
    #[test]
    fn nothing_is_kept_of_what_is_refused() {
        let bench = bench();
        let mut config = HostConfig::new(bench.folder.path().join("cache"));
        config.component_bytes_max = 10;
        let host = PluginHost::new(config).unwrap();
        assert!(matches!(host.load(&bench.file()), Err(LoadError::TooLarge { .. })));
        let lie = "name = 'lie'\nversion = '1.0.0'\nrole = 'agent'\nsummary = 'Lies.'\n";
        let lie = Manifest::from_toml(lie).unwrap().to_section().unwrap();
        let mut bytes = wat::parse_str("(component)").unwrap();
        crate::section::append_custom(&mut bytes, manifest::SECTION, &lie);
        fs::write(bench.file(), bytes).unwrap();
        assert!(matches!(bench.host.load(&bench.file()), Err(LoadError::Refused { .. })));
        assert_eq!(fs::read_dir(bench.folder.path().join("cache")).unwrap().count(), 0);
    }
}
