//! `salve-plugins.lock`: which plugin is whose, which content was chosen, and below which version nothing loads.
//!
//! ## What always holds
//! - one entry a name, in the order of names; equal content gives equal bytes
//! - it is written whole, by one writer at a time
//! - an entry without a publisher is the operator's word for just this content; one with a publisher is only as good as
//!   the signature

use crate::{
    Digest, KeyId,
    files::{self, FileError},
};
use salve_model::text::escape;
use salve_plugins::Role;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs::File, path::Path};

/// Largest lock file that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Most plugins in a lock file.
const ENTRIES_MAX: usize = 10_000;
/// Most digests that stay pinned besides the newest.
pub(crate) const PREVIOUS_MAX: usize = 3;
/// The form of the file.
const FORMAT: u32 = 1;

const HEAD: &str = "\
# Which plugins may load, and whose they are. Written by `salve plugin pull` and `salve plugin pin`; keep it under version
# control. An entry without `publisher` pins unsigned content by its digest.

";

/// What is known of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockEntry {
    /// Its name.
    pub name: String,
    /// The version chosen.
    pub version: String,
    /// Its role, which never changes.
    pub role: Role,
    /// SHA-256 of the component chosen.
    pub digest: Digest,
    /// What was pinned before, newest first, so that there is a way back: unsigned content has no publisher who
    /// vouches for its older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Digest>,
    /// Whose it is. None: unsigned, and pinned by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<KeyId>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Nothing below this version loads.
    pub lowest_version: String,
}

impl LockEntry {
    /// Whether the operator has named just this content.
    #[must_use]
    pub fn pins(&self, digest: Digest) -> bool {
        self.publisher.is_none() && (self.digest == digest || self.previous.contains(&digest))
    }
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    entries: BTreeMap<String, LockEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    #[serde(default, rename = "plugin")]
    plugins: Vec<LockEntry>,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It makes no sense.
    #[error("the lock file `{path}` makes no sense: {what}")]
    Form {
        /// Which.
        path: String,
        /// Why.
        what: String,
    },
}

impl LockError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Form { .. } => Some("Restore it from version control, or correct the line.".into()),
        }
    }
}

impl LockFile {
    /// Reads a lock file; one that is not there is empty.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn load(path: &Path) -> Result<Self, LockError> {
        match files::read_bounded(path, BYTES_MAX) {
            Ok(bytes) => Self::parse(&bytes).map_err(|what| LockError::Form {
                path: path.display().to_string(),
                what: escape(&what, 400),
            }),
            Err(error) if error.is_missing() => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let text: Text = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if text.format != FORMAT {
            return Err(format!("its format is {}, this Salve reads {FORMAT}", text.format));
        }
        if text.plugins.len() > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
        let mut entries = BTreeMap::new();
        for entry in text.plugins {
            if entry.previous.len() > PREVIOUS_MAX {
                return Err(format!("plugin `{}` has more than {PREVIOUS_MAX} previous digests", entry.name));
            }
            for version in [&entry.version, &entry.lowest_version] {
                semver::Version::parse(version)
                    .map_err(|_| format!("`{version}` of plugin `{}` is no version", entry.name))?;
            }
            if let Some(entry) = entries.insert(entry.name.clone(), entry) {
                return Err(format!("plugin `{}` is there twice", entry.name));
            }
        }
        Ok(Self { entries })
    }

    fn to_text(&self, path: &Path) -> Result<String, LockError> {
        let text = Text { format: FORMAT, plugins: self.entries.values().cloned().collect() };
        toml::to_string(&text)
            .map(|body| format!("{HEAD}{body}"))
            .map_err(|error| LockError::Form { path: path.display().to_string(), what: error.to_string() })
    }

    /// Changes a lock file while nobody else does, and writes it if `change` says yes.
    ///
    /// # Errors
    /// [`LockError`]; or what `change` says, and then nothing is written.
    pub fn update<T, E: From<LockError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let (result, staged) = Self::stage(path, change)?;
        staged.commit()?;
        Ok(result)
    }

    /// As [`LockFile::update`], but the new file waits for its name.
    pub(crate) fn stage<T, E: From<LockError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(T, StagedLock), E> {
        let folder = files::folder_of(path);
        let guard = File::open(&folder)
            .and_then(|guard| guard.lock().map(|()| guard))
            .map_err(|source| LockError::from(FileError::new("lock the folder", &folder, source)))?;
        let before = Self::load(path)?;
        let mut lock = before.clone();
        let result = change(&mut lock)?;
        let staged = if lock == before {
            None
        } else {
            let text = lock.to_text(path)?;
            Some(files::Staged::write(path, text.as_bytes()).map_err(LockError::from)?)
        };
        Ok((result, StagedLock { staged, path: path.to_owned(), _guard: guard }))
    }

    /// What is known of a plugin.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LockEntry> {
        self.entries.get(name)
    }

    /// All entries, by name.
    pub fn entries(&self) -> impl Iterator<Item = &LockEntry> {
        self.entries.values()
    }

    /// Puts an entry in the place of that with the same name.
    pub fn insert(&mut self, entry: LockEntry) {
        self.entries.insert(entry.name.clone(), entry);
    }

    /// Keeps the entries that `keep` picks.
    pub fn retain(&mut self, keep: impl Fn(&LockEntry) -> bool) {
        self.entries.retain(|_, entry| keep(entry));
    }
}

/// A lock file that is written and waits for its name; nobody else changes it meanwhile.
pub(crate) struct StagedLock {
    staged: Option<files::Staged>,
    path: std::path::PathBuf,
    _guard: File,
}

impl StagedLock {
    pub(crate) fn commit(self) -> Result<(), LockError> {
        if let Some(staged) = self.staged {
            staged.commit()?;
            files::sync_folder(&self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str) -> LockEntry {
        LockEntry {
            name: name.into(),
            version: "1.2.0".into(),
            role: Role::Action,
            digest: Digest::of(name.as_bytes()),
            previous: Vec::new(),
            publisher: None,
            source: Some("oci://registry.example/a:1".into()),
            lowest_version: "1.0.0".into(),
        }
    }

    fn update(path: &Path, change: impl FnOnce(&mut LockFile)) {
        LockFile::update(path, |lock| {
            change(lock);
            Ok::<_, LockError>(())
        })
        .unwrap();
    }

    /// Guarantees: the file is the same in whatever order entries came, is for people to read, and is not touched by an
    /// update that changes nothing.
    #[test]
    fn order_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        update(&one, |lock| ["b", "a"].iter().for_each(|name| lock.insert(entry(name))));
        update(&two, |lock| lock.insert(entry("a")));
        update(&two, |lock| lock.insert(entry("b")));
        let text = std::fs::read_to_string(&one).unwrap();
        assert_eq!(text, std::fs::read_to_string(&two).unwrap());
        assert!(
            text.contains(
                "\n[[plugin]]\nname = \"a\"\nversion = \"1.2.0\"\nrole = \"action\"\ndigest = \"sha256:"
            ),
            "{text}"
        );
        let written = std::fs::metadata(&one).unwrap().modified().unwrap();
        update(&one, |lock| lock.insert(entry("a")));
        assert_eq!(std::fs::metadata(&one).unwrap().modified().unwrap(), written);
    }

    /// Guarantees: many writers at one time lose no entry.
    #[test]
    fn writers_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || update(path, |lock| lock.insert(entry(&format!("p{writer}")))));
            }
        });
        assert_eq!(LockFile::load(&path).unwrap().entries().count(), 8);
    }

    /// Guarantees: unknown keys, other formats, doubles and senseless versions are refused with a reason.
    #[test]
    fn refuses_nonsense() {
        let digest = Digest::of(b"");
        let plugin = |more: &str| {
            format!(
                "format = 1\n[[plugin]]\nname = 'a'\nversion = '1.0.0'\nrole = 'action'\ndigest = '{digest}'\n\
                 lowest_version = '1.0.0'\n{more}"
            )
        };
        assert!(LockFile::parse(plugin("").as_bytes()).is_ok());
        for (text, expected) in [
            (plugin("lowest = '2'\n"), "unknown field `lowest`"),
            (plugin("").replace("format = 1", "format = 2"), "its format is 2"),
            (
                plugin("").replace("lowest_version = '1.0.0'", "lowest_version = '1'"),
                "`1` of plugin `a` is no version",
            ),
            (plugin(plugin("").trim_start_matches("format = 1\n")), "plugin `a` is there twice"),
            (plugin("").replace(&digest.to_string(), "sha1:00"), "a digest is"),
            ("\u{1b}[31m".to_owned(), ""),
        ] {
            let error = LockFile::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        /// Guarantees: what is written is read back.
        #[test]
        fn round_trip(names in prop::collection::vec("[a-z-]{1,12}", 0..8), publisher: bool) {
            let mut lock = LockFile::default();
            for name in &names {
                let publisher = publisher.then(|| KeyId(Digest::of(name.as_bytes())));
                lock.insert(LockEntry { publisher, ..entry(name) });
            }
            let text = lock.to_text(Path::new("x")).unwrap();
            prop_assert_eq!(LockFile::parse(text.as_bytes()).unwrap(), lock);
        }
    }
}
