//! Puts a component that came from somewhere into the plugin folder, and writes it into the lock file.
//!
//! ## What always holds
//! - nothing is in the folder that would not load there: the host's checks and the trust in its author come first
//! - component, signature and lock file are written whole beside their places before the first of them gets its name

use crate::{
    Digest, Fetched, Identity, LockEntry, LockError, LockFile, Refusal, SignatureError, Trust,
    files::{self, FileError},
    signature,
    trust::{self, Basis},
};
use salve_plugins::{Manifest, ManifestError, pack};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What the operator says about an installation.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// The content must have this digest; unsigned, it is pinned by it.
    pub digest: Option<Digest>,
    /// Unsigned content is pinned by the digest that it has.
    pub accept_unsigned: bool,
    /// From now on nothing below this version loads.
    pub lowest_version: Option<String>,
    /// The lock file stays as it is, and only what stands there is installed.
    pub locked: bool,
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Whose it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// Where it is now.
    pub path: PathBuf,
    /// Where it came from.
    pub source: String,
    /// The version that the lock file had before.
    pub version_before: Option<String>,
    /// Nothing below this version loads.
    pub lowest_version: String,
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The lock file.
    #[error("cannot use the lock file")]
    Lock(#[from] LockError),
    /// Another file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No component with a manifest.
    #[error("`{source_name}` is no plugin")]
    Manifest {
        /// Where it came from.
        source_name: String,
        /// Why.
        source: ManifestError,
    },
    /// It would not be admitted.
    #[error("the host would not load `{name}`: {objection}")]
    Objection {
        /// Its name.
        name: String,
        /// Why, with a way out.
        objection: String,
    },
    /// It is not to be trusted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not what was asked for.
    #[error("`{source_name}` has digest {found}, not {expected}")]
    Digest {
        /// Where it came from.
        source_name: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A lowest version that makes no sense.
    #[error("`{0}` is no version")]
    Version(String),
    /// `locked`, and the lock file does not have it.
    #[error("the lock file has no plugin `{0}`")]
    NotLocked(String),
    /// The signature cannot be written.
    #[error("cannot write the signature")]
    Signature(#[source] SignatureError),
}

impl InstallError {
    /// What to do about it. Causes have hints of their own.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Digest { .. } => Some("Do not use it, unless you know why it changed.".into()),
            Self::Refused(Refusal::Unsigned { signature: None, .. }) => Some(
                "Ask its author for a signature; or, if you have looked at it, take just this content: --sha256 DIGEST."
                    .into(),
            ),
            Self::Refused(refusal) => refusal.hint(),
            Self::Manifest { source, .. } => source.hint(),
            Self::Lock(error) => error.hint(),
            Self::Version(_) => Some("Use three numbers with dots, for instance 1.2.0.".into()),
            Self::NotLocked(_) => Some("Pull it without --locked first.".into()),
            Self::File(_) | Self::Objection { .. } | Self::Signature(_) => None,
        }
    }
}

/// Checks what was fetched and puts it into `folder`. `trust` is the operator's; its lock file is read from `lock_path`
/// again, under a lock.
///
/// # Errors
/// [`InstallError`]; folder and lock file are as they were.
pub fn install(
    fetched: &Fetched,
    trust: &Trust,
    folder: &Path,
    lock_path: &Path,
    options: &InstallOptions,
) -> Result<Installed, InstallError> {
    let source = fetched.source.to_string();
    let manifest = checked(&fetched.bytes, &source, options.digest)?;
    let name = manifest.name.0.clone();
    let path = folder.join(format!("{name}.wasm"));
    let (installed, lock) = LockFile::stage(lock_path, |lock| {
        let before = lock.get(&name).cloned();
        let accept = options.accept_unsigned || options.digest.is_some();
        let identity = decide(fetched, &manifest, &Trust { lock: lock.clone(), ..trust.clone() }, accept)?;
        let entry = if options.locked {
            before
                .clone()
                .filter(|entry| entry.digest == identity.digest)
                .ok_or(InstallError::NotLocked(name.clone()))?
        } else {
            entry(&identity, &manifest, before.as_ref(), options, Some(source.clone()))?
        };
        lock.insert(entry.clone());
        Ok::<_, InstallError>(Installed {
            identity,
            path: path.clone(),
            source: source.clone(),
            version_before: before.map(|entry| entry.version),
            lowest_version: entry.lowest_version,
        })
    })?;
    let beside = signature::signature_path(&path);
    let signature = match &fetched.signature {
        Some(file) => {
            Some(files::Staged::write(&beside, &file.to_bytes().map_err(InstallError::Signature)?)?)
        }
        None => None,
    };
    let component = files::Staged::write(&path, &fetched.bytes)?;
    lock.commit()?;
    match signature {
        Some(signature) => signature.commit()?,
        // The signature of what was there before would be one of something else.
        None => match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::new("remove", &beside, error).into());
            }
            _ => {}
        },
    }
    component.commit()?;
    files::sync_folder(&path)?;
    Ok(installed)
}

/// Pins the content of files that are where they are, signed or not. `afresh` forgets what the lock file said before.
///
/// # Errors
/// [`InstallError`]; the lock file is as it was.
pub fn pin(
    paths: &[PathBuf],
    trust: &Trust,
    lock_path: &Path,
    afresh: bool,
) -> Result<Vec<Identity>, InstallError> {
    LockFile::update(lock_path, |lock| {
        if afresh {
            lock.retain(|_| false);
        }
        let mut pinned = Vec::new();
        for path in paths {
            let bytes = files::read_bounded(path, crate::COMPONENT_BYTES_MAX)?;
            let manifest = checked(&bytes, &path.display().to_string(), None)?;
            let name = manifest.name.0.clone();
            let signature = Trust::signature_beside(path, &manifest)?;
            let source = crate::Source::File(path.clone());
            let fetched = Fetched { bytes, signature, source };
            let identity = decide(&fetched, &manifest, &Trust { lock: lock.clone(), ..trust.clone() }, true)?;
            let before = lock.get(&name).cloned();
            lock.insert(entry(&identity, &manifest, before.as_ref(), &InstallOptions::default(), None)?);
            pinned.push(identity);
        }
        Ok(pinned)
    })
}

/// Reads the manifest of a component that the host would load and that has the digest asked for.
fn checked(bytes: &[u8], source_name: &str, expected: Option<Digest>) -> Result<Manifest, InstallError> {
    let source_name = || salve_model::text::escape(source_name, 300);
    let found = Digest::of(bytes);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(InstallError::Digest { source_name: source_name(), expected, found });
    }
    let manifest = Manifest::of_component(bytes)
        .map_err(|source| InstallError::Manifest { source_name: source_name(), source })?;
    let objection = match pack::inspect(bytes) {
        Ok(inspection) => inspection.objection,
        Err(refusal) => Some(refusal.to_string()),
    };
    match objection {
        Some(objection) => Err(InstallError::Objection { name: manifest.name.0.clone(), objection }),
        None => Ok(manifest),
    }
}

/// Whose it is, with the operator's yes to unsigned content.
fn decide(
    fetched: &Fetched,
    manifest: &Manifest,
    trust: &Trust,
    accept_unsigned: bool,
) -> Result<Identity, InstallError> {
    // What may load in development alone is not installed: the next start may be another.
    let trust = Trust { dev: false, ..trust.clone() };
    match trust.judge(&fetched.bytes, manifest, fetched.signature.as_ref()) {
        Ok(identity) => Ok(identity),
        Err(Refusal::Unsigned { name, digest, .. }) if accept_unsigned => Ok(Identity {
            name,
            version: manifest.version.clone(),
            role: manifest.role,
            digest,
            publisher: None,
            key: None,
            basis: Basis::PinnedByLock,
        }),
        Err(refusal) => Err(refusal.into()),
    }
}

/// What the lock file will say.
fn entry(
    identity: &Identity,
    manifest: &Manifest,
    before: Option<&LockEntry>,
    options: &InstallOptions,
    source: Option<String>,
) -> Result<LockEntry, InstallError> {
    let lowest = options.lowest_version.as_ref().or(before.map(|entry| &entry.lowest_version));
    let lowest = lowest.unwrap_or(&identity.version).clone();
    if semver::Version::parse(&lowest).is_err() {
        return Err(InstallError::Version(salve_model::text::escape(&lowest, 64)));
    }
    trust::not_below(manifest, &lowest)?;
    let mut previous = Vec::new();
    if let Some(before) = before.filter(|before| identity.key.is_none() && before.publisher.is_none()) {
        previous.push(before.digest);
        previous.extend(&before.previous);
        previous.retain(|digest| *digest != identity.digest);
        previous.truncate(crate::lock::PREVIOUS_MAX);
    }
    Ok(LockEntry {
        name: identity.name.clone(),
        version: identity.version.clone(),
        role: identity.role,
        digest: identity.digest,
        previous,
        publisher: identity.key,
        source,
        lowest_version: lowest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SignatureFile, Source,
        signature::tests::{component, publisher},
    };

    fn fetched(version: &str, role: &str, key: Option<&crate::PrivateKey>) -> Fetched {
        let (bytes, manifest) = component("probe", version, role);
        let signature = key.map(|key| SignatureFile::sign(&bytes, &manifest, key).unwrap());
        Fetched { bytes, signature, source: Source::File("/somewhere/probe.wasm".into()) }
    }

    fn manifest_of(fetched: &Fetched) -> Manifest {
        Manifest::of_component(&fetched.bytes).unwrap()
    }

    struct Place {
        folder: tempfile::TempDir,
        trust: Trust,
    }

    impl Place {
        fn lock(&self) -> PathBuf {
            self.folder.path().join("salve-plugins.lock")
        }

        fn install(&self, fetched: &Fetched, options: &InstallOptions) -> Result<Installed, InstallError> {
            install(fetched, &self.trust, self.folder.path(), &self.lock(), options)
        }

        /// Names and contents of all files.
        fn files(&self) -> Vec<(String, Vec<u8>)> {
            let mut files: Vec<_> = self
                .folder
                .path()
                .read_dir()
                .unwrap()
                .map(|item| item.unwrap())
                .map(|item| (item.file_name().into_string().unwrap(), std::fs::read(item.path()).unwrap()))
                .collect();
            files.sort();
            files
        }
    }

    /// Guarantees: what is installed loads there, the lock file says what it is, and an older version that is still
    /// allowed can come back.
    #[test]
    fn installs_and_goes_back() {
        let (key, ours) = publisher("ours");
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            trust: Trust { publishers: vec![ours], ..Trust::default() },
        };
        for version in ["1.0.0", "1.1.0", "1.0.0"] {
            let installed =
                place.install(&fetched(version, "action", Some(&key)), &InstallOptions::default()).unwrap();
            assert_eq!(installed.lowest_version, "1.0.0");
            let lock = LockFile::load(&place.lock()).unwrap();
            let entry = lock.get("probe").unwrap();
            assert_eq!((entry.version.as_str(), entry.publisher), (version, Some(key.public().id())));
            let bytes = std::fs::read(&installed.path).unwrap();
            let trust = Trust { lock, ..place.trust.clone() };
            trust.admit(&bytes, &Manifest::of_component(&bytes).unwrap(), &installed.path).unwrap();
        }
        let names: Vec<_> = place.files().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["probe.wasm", "probe.wasm.sig", "salve-plugins.lock"]);
    }

    /// Guarantees: whatever is refused leaves every file as it was, and nothing beside.
    #[test]
    fn refusals_change_nothing() {
        let ((key, ours), (other_key, theirs)) = (publisher("ours"), publisher("theirs"));
        let trust = Trust { publishers: vec![ours, theirs], dev: true, ..Trust::default() };
        let place = Place { folder: tempfile::tempdir().unwrap(), trust };
        let lowest = InstallOptions { lowest_version: Some("1.1.0".into()), ..InstallOptions::default() };
        let plain = InstallOptions::default();
        let unsigned = InstallOptions { accept_unsigned: true, ..InstallOptions::default() };
        assert!(place.install(&fetched("1.1.0", "action", None), &plain).is_err());
        assert!(place.files().is_empty());
        place.install(&fetched("1.2.0", "action", Some(&key)), &lowest).unwrap();
        let before = place.files();
        let mut tampered = fetched("1.3.0", "action", Some(&key));
        tampered.bytes = fetched("1.4.0", "action", None).bytes;
        let other_digest = InstallOptions { digest: Some(Digest::of(b"")), ..InstallOptions::default() };
        let too_high = InstallOptions { lowest_version: Some("9.0.0".into()), ..InstallOptions::default() };
        let locked = InstallOptions { locked: true, ..InstallOptions::default() };
        for (what, fetched, options, expected) in [
            ("older than allowed", fetched("1.0.0", "action", Some(&key)), &plain, "nothing below 1.1.0"),
            (
                "another publisher",
                fetched("1.3.0", "action", Some(&other_key)),
                &plain,
                "belongs to the publisher",
            ),
            ("unsigned", fetched("1.3.0", "action", None), &unsigned, "belongs to the publisher"),
            ("another role", fetched("1.3.0", "agent", Some(&key)), &plain, "keeps its role"),
            ("tampered", tampered, &unsigned, "is not accepted"),
            ("another digest", fetched("1.3.0", "action", Some(&key)), &other_digest, "not sha256:e3b0c442"),
            ("lowest above itself", fetched("1.3.0", "action", Some(&key)), &too_high, "nothing below 9.0.0"),
            ("not what is locked", fetched("1.3.0", "action", Some(&key)), &locked, "has no plugin `probe`"),
        ] {
            let error = place.install(&fetched, options).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(expected), "{what}: {text}");
            assert!(error.hint().is_some(), "{what}");
            assert_eq!(place.files(), before, "{what}");
        }
    }

    /// Guarantees: unsigned content is pinned only if the operator names it, and its predecessor's signature goes.
    #[test]
    fn pins_unsigned_content() {
        let place = Place { folder: tempfile::tempdir().unwrap(), trust: Trust::default() };
        let unsigned = fetched("1.0.0", "action", None);
        let by_digest =
            InstallOptions { digest: Some(Digest::of(&unsigned.bytes)), ..InstallOptions::default() };
        let installed = place.install(&unsigned, &by_digest).unwrap();
        assert_eq!(installed.identity.basis, Basis::PinnedByLock);
        let path = installed.path.clone();
        std::fs::write(&path, fetched("1.0.1", "action", None).bytes).unwrap();
        let trust = Trust { lock: LockFile::load(&place.lock()).unwrap(), ..Trust::default() };
        let bytes = std::fs::read(&path).unwrap();
        let manifest = Manifest::of_component(&bytes).unwrap();
        assert!(matches!(trust.admit(&bytes, &manifest, &path), Err(Refusal::Unsigned { .. })));
        pin(std::slice::from_ref(&path), &Trust::default(), &place.lock(), false).unwrap();
        let trust = Trust { lock: LockFile::load(&place.lock()).unwrap(), ..Trust::default() };
        assert_eq!(trust.admit(&bytes, &manifest, &path).unwrap().version, "1.0.1");
        // There is a way back, at most three versions.
        assert_eq!(trust.judge(&unsigned.bytes, &manifest_of(&unsigned), None).unwrap().version, "1.0.0");
        for version in ["1.0.2", "1.0.3", "1.0.4"] {
            std::fs::write(&path, fetched(version, "action", None).bytes).unwrap();
            pin(std::slice::from_ref(&path), &Trust::default(), &place.lock(), false).unwrap();
        }
        let trust = Trust { lock: LockFile::load(&place.lock()).unwrap(), ..Trust::default() };
        assert!(trust.judge(&unsigned.bytes, &manifest_of(&unsigned), None).is_err());
    }
}
