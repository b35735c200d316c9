//! May this component load, and whose is it? One question, asked by the daemon at load and by the command line before
//! anything is put into the plugin folder.
//!
//! ## What always holds
//! - a signature that is there must fit: a bad one is never the same as none
//! - a name belongs to the key that had it first, and keeps its role
//! - nothing below the lowest version loads, pinned or not

use crate::{
    Digest, KeyId, KnownComponent, LockEntry, LockFile, PublicKey, Refusal, SignatureError, SignatureFile,
    files, signature,
};
use salve_plugins::{Manifest, Role};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// One whose plugins the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The operator's name for them.
    pub name: String,
    /// Their key.
    pub key: PublicKey,
}

/// Why a component was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A trusted publisher has signed it.
    Signed,
    /// A grant names its digest.
    PinnedByGrant,
    /// The lock file names its digest, unsigned.
    PinnedByLock,
    /// It is unsigned, and this is a system for development.
    Development,
}

/// Whose a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// From its manifest.
    pub name: String,
    /// From its manifest.
    pub version: String,
    /// From its manifest.
    pub role: Role,
    /// SHA-256 of it.
    pub digest: Digest,
    /// The publisher who has signed it, by the operator's name.
    pub publisher: Option<String>,
    /// The publisher's key.
    pub key: Option<KeyId>,
    /// Why it was let in.
    pub basis: Basis,
}

/// What the operator and earlier loads say about plugins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trust {
    /// `[[publisher]]`
    pub publishers: Vec<Publisher>,
    /// Digests that grants name, by plugin. Where there are any, nothing else loads under that name.
    pub pins: BTreeMap<String, BTreeSet<Digest>>,
    /// `plugins.dev`: what is unsigned may load.
    pub dev: bool,
    /// The operator's lock file.
    pub lock: LockFile,
    /// What has loaded here before: keys and roles of names that the lock file does not have.
    pub seen: LockFile,
}

impl Trust {
    /// May the component at `path` load, and whose is it? `bytes` is the file's content, read once; the signature is
    /// looked for beside it.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and what to do.
    pub fn admit(&self, bytes: &[u8], manifest: &Manifest, path: &Path) -> Result<Identity, Refusal> {
        let signature = Self::signature_beside(path, manifest)?;
        self.judge(bytes, manifest, signature.as_ref())
    }

    /// The signature beside the component at `path`, not verified; none if there is none.
    ///
    /// # Errors
    /// [`Refusal`] if it is there and cannot be read.
    pub fn signature_beside(path: &Path, manifest: &Manifest) -> Result<Option<SignatureFile>, Refusal> {
        let name = || manifest.name.0.clone();
        match files::read_bounded(&signature::signature_path(path), signature::FILE_BYTES_MAX) {
            Ok(text) => SignatureFile::parse(&text)
                .map(Some)
                .map_err(|source| Refusal::Signature { name: name(), source }),
            Err(error) if error.is_missing() => Ok(None),
            Err(source) => Err(Refusal::SignatureFile { name: name(), source }),
        }
    }

    /// As [`Trust::admit`], of what is in memory.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and what to do.
    pub fn judge(
        &self,
        bytes: &[u8],
        manifest: &Manifest,
        signature: Option<&SignatureFile>,
    ) -> Result<Identity, Refusal> {
        self.judge_known(&KnownComponent::of(bytes, &|| Ok(bytes)), manifest, signature)
    }

    /// As [`Trust::judge`], of a component whose digest the caller has found out.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and what to do.
    pub fn judge_known(
        &self,
        component: &KnownComponent<'_>,
        manifest: &Manifest,
        signature: Option<&SignatureFile>,
    ) -> Result<Identity, Refusal> {
        let name = manifest.name.0.clone();
        let digest = component.digest;
        let pins = self.pins.get(&name);
        if pins.is_some_and(|pins| !pins.contains(&digest)) {
            return Err(Refusal::OtherThanGranted { name, digest });
        }
        let (signer, why_not) = match signature.map(|file| file.verify_known(component, &self.publishers)) {
            None => (None, None),
            Some(Ok(publisher)) => (Some(publisher), None),
            Some(Err(unknown @ SignatureError::UnknownKey { .. })) => (None, Some(Box::new(unknown))),
            Some(Err(source)) => return Err(Refusal::Signature { name, source }),
        };
        let locked = self.lock.get(&name);
        if let Some(locked) = locked {
            not_below(manifest, &locked.lowest_version)?;
        }
        let owner = locked.or_else(|| self.seen.get(&name));
        if let Some(owner) = owner.filter(|owner| owner.role != manifest.role) {
            return Err(Refusal::RoleChanged { name, before: owner.role, now: manifest.role });
        }
        let pinned_by_lock = locked.is_some_and(|locked| locked.pins(digest));
        let identity = |basis| Identity {
            name: name.clone(),
            version: manifest.version.clone(),
            role: manifest.role,
            digest,
            publisher: signer.map(|publisher| publisher.name.clone()),
            key: signer.map(|publisher| publisher.key.id()),
            basis,
        };
        let owner_key = owner.and_then(|owner| owner.publisher);
        match signer {
            Some(publisher) => match owner_key {
                Some(owner) if owner != publisher.key.id() => {
                    Err(Refusal::WrongPublisher { name, owner, found: Some(publisher.name.clone()) })
                }
                _ => Ok(identity(Basis::Signed)),
            },
            None if pins.is_some() => Ok(identity(Basis::PinnedByGrant)),
            None if pinned_by_lock => Ok(identity(Basis::PinnedByLock)),
            None => match owner_key {
                // Also in development: what had a publisher does not lose them by accident.
                Some(owner) if why_not.is_none() => Err(Refusal::WrongPublisher { name, owner, found: None }),
                None if self.dev => Ok(identity(Basis::Development)),
                _ => Err(Refusal::Unsigned { name, digest, signature: why_not }),
            },
        }
    }

    /// What is to be remembered of a component that has loaded, so that its name stays its publisher's; none if the
    /// lock file or an earlier load says as much already.
    #[must_use]
    pub fn to_remember(&self, identity: &Identity) -> Option<LockEntry> {
        if self.lock.get(&identity.name).is_some() || identity.basis == Basis::Development {
            return None;
        }
        let known = self.seen.get(&identity.name);
        let publisher = identity.key.or_else(|| known.and_then(|entry| entry.publisher));
        if known.is_some_and(|entry| entry.publisher == publisher) {
            return None;
        }
        Some(LockEntry {
            name: identity.name.clone(),
            version: identity.version.clone(),
            role: identity.role,
            digest: identity.digest,
            previous: Vec::new(),
            publisher,
            source: None,
            // Only the operator's lock file sets a lowest version.
            lowest_version: "0.0.0".into(),
        })
    }
}

/// Refuses what is older than the lowest version.
pub(crate) fn not_below(manifest: &Manifest, lowest: &str) -> Result<(), Refusal> {
    let (name, version) = (manifest.name.0.clone(), manifest.version.clone());
    let Ok(this) = semver::Version::parse(&version) else {
        return Err(Refusal::Version { name, version });
    };
    // The lock file was checked when it was read.
    match semver::Version::parse(lowest) {
        Ok(least) if this.cmp_precedence(&least).is_ge() => Ok(()),
        _ => Err(Refusal::BelowLowest { name, version, lowest: lowest.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::PrivateKey,
        signature::tests::{component, publisher},
    };

    fn locked(name: &str, role: Role, digest: Digest, publisher: Option<KeyId>, lowest: &str) -> LockFile {
        let mut lock = LockFile::default();
        lock.insert(LockEntry {
            name: name.into(),
            version: "1.0.0".into(),
            role,
            digest,
            previous: vec![Digest::of(b"before")],
            publisher,
            source: None,
            lowest_version: lowest.into(),
        });
        lock
    }

    fn signed(bytes: &[u8], manifest: &Manifest, key: &PrivateKey) -> SignatureFile {
        SignatureFile::sign(bytes, manifest, key).unwrap()
    }

    /// What, signature, digests of grants, development, lock file, seen before, expected.
    type Row<'a> = (
        &'a str,
        Option<&'a SignatureFile>,
        BTreeMap<String, BTreeSet<Digest>>,
        bool,
        LockFile,
        LockFile,
        Result<Basis, &'a str>,
    );

    /// Scenario: every way in which a component can be vouched for, or not, as a table.
    /// Guarantees: only a trusted signature, a digest that the operator named, or development lets it in; what belongs
    /// to somebody stays theirs.
    #[test]
    fn who_may_load() {
        let ((key, ours), (other_key, theirs)) = (publisher("ours"), publisher("theirs"));
        let (stranger, _) = publisher("stranger");
        let (bytes, manifest) = component("probe", "1.5.0", "action");
        let digest = Digest::of(&bytes);
        let (by_us, by_them, by_stranger) = (
            signed(&bytes, &manifest, &key),
            signed(&bytes, &manifest, &other_key),
            signed(&bytes, &manifest, &stranger),
        );
        let none = || LockFile::default();
        let lock = |publisher: Option<&Publisher>, lowest: &str| {
            locked("probe", Role::Action, digest, publisher.map(|publisher| publisher.key.id()), lowest)
        };
        let other_digest = || locked("probe", Role::Action, Digest::of(b"other"), None, "0.1.0");
        let before = || {
            let mut lock = other_digest();
            let entry = lock.get("probe").unwrap().clone();
            lock.insert(LockEntry { previous: vec![digest], ..entry });
            lock
        };
        let other_role = || locked("probe", Role::Agent, digest, None, "0.1.0");
        let pin = |digest: Digest| BTreeMap::from([("probe".to_owned(), BTreeSet::from([digest]))]);
        let none_pinned = BTreeMap::new;
        let both = || vec![ours.clone(), theirs.clone()];
        let rows: Vec<Row<'_>> = vec![
            ("nothing", None, none_pinned(), false, none(), none(), Err("is not signed")),
            ("development", None, none_pinned(), true, none(), none(), Ok(Basis::Development)),
            ("signed", Some(&by_us), none_pinned(), false, none(), none(), Ok(Basis::Signed)),
            ("a stranger's", Some(&by_stranger), none_pinned(), false, none(), none(), Err("is not signed")),
            ("grant", None, pin(digest), false, none(), none(), Ok(Basis::PinnedByGrant)),
            (
                "a stranger's, granted",
                Some(&by_stranger),
                pin(digest),
                false,
                none(),
                none(),
                Ok(Basis::PinnedByGrant),
            ),
            (
                "grant of another",
                None,
                pin(Digest::of(b"other")),
                false,
                none(),
                none(),
                Err("grants name another"),
            ),
            (
                "signed, grant of another",
                Some(&by_us),
                pin(Digest::of(b"other")),
                true,
                none(),
                none(),
                Err("grants name another"),
            ),
            ("lock", None, none_pinned(), false, lock(None, "1.0.0"), none(), Ok(Basis::PinnedByLock)),
            ("lock of one before", None, none_pinned(), false, before(), none(), Ok(Basis::PinnedByLock)),
            ("lock of another", None, none_pinned(), false, other_digest(), none(), Err("is not signed")),
            (
                "lock of another, signed",
                Some(&by_us),
                none_pinned(),
                false,
                other_digest(),
                none(),
                Ok(Basis::Signed),
            ),
            (
                "locked to us, by us",
                Some(&by_us),
                none_pinned(),
                false,
                lock(Some(&ours), "1.0.0"),
                none(),
                Ok(Basis::Signed),
            ),
            (
                "locked to us, by them",
                Some(&by_them),
                none_pinned(),
                false,
                lock(Some(&ours), "1.0.0"),
                none(),
                Err("belongs to the publisher"),
            ),
            (
                "locked to us, by a stranger",
                Some(&by_stranger),
                none_pinned(),
                false,
                lock(Some(&ours), "1.0.0"),
                none(),
                Err("is not signed"),
            ),
            (
                "locked to us, unsigned",
                None,
                none_pinned(),
                true,
                lock(Some(&ours), "1.0.0"),
                none(),
                Err("belongs to the publisher"),
            ),
            (
                "seen of us, by them",
                Some(&by_them),
                none_pinned(),
                false,
                none(),
                lock(Some(&ours), "1.0.0"),
                Err("belongs to the publisher"),
            ),
            (
                "seen of them, locked to us",
                Some(&by_us),
                none_pinned(),
                false,
                lock(Some(&ours), "1.0.0"),
                lock(Some(&theirs), "1.0.0"),
                Ok(Basis::Signed),
            ),
            (
                "too old",
                Some(&by_us),
                none_pinned(),
                false,
                lock(Some(&ours), "1.5.1"),
                none(),
                Err("nothing below 1.5.1"),
            ),
            (
                "too old, pinned",
                None,
                pin(digest),
                true,
                lock(None, "2.0.0"),
                none(),
                Err("nothing below 2.0.0"),
            ),
            (
                "just new enough",
                Some(&by_us),
                none_pinned(),
                false,
                lock(Some(&ours), "1.5.0"),
                none(),
                Ok(Basis::Signed),
            ),
            (
                "a pre-release is older",
                Some(&by_us),
                none_pinned(),
                false,
                lock(Some(&ours), "1.5.0-rc.1"),
                none(),
                Ok(Basis::Signed),
            ),
            (
                "another role in the lock",
                Some(&by_us),
                none_pinned(),
                false,
                other_role(),
                none(),
                Err("keeps its role"),
            ),
            (
                "another role before",
                Some(&by_us),
                none_pinned(),
                false,
                none(),
                other_role(),
                Err("keeps its role"),
            ),
        ];
        for (what, signature, pins, dev, lock, seen, expected) in rows {
            let trust = Trust { publishers: both(), pins, dev, lock, seen };
            match (trust.judge(&bytes, &manifest, signature), expected) {
                (Ok(identity), Ok(basis)) => assert_eq!(identity.basis, basis, "{what}"),
                (Err(refusal), Err(part)) => {
                    assert!(refusal.to_string().contains(part), "{what}: {refusal}");
                    assert!(refusal.hint().is_some(), "{what}");
                }
                (found, expected) => panic!("{what}: {found:?}, expected {expected:?}"),
            }
        }
    }

    /// Guarantees: a signature file that is damaged is refused, even where unsigned plugins may load.
    #[test]
    fn damaged_is_not_unsigned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.wasm");
        let (bytes, manifest) = component("probe", "1.0.0", "action");
        let trust = Trust { dev: true, ..Trust::default() };
        assert_eq!(trust.admit(&bytes, &manifest, &path).unwrap().basis, Basis::Development);
        std::fs::write(folder.path().join("probe.wasm.sig"), "{").unwrap();
        let refusal = trust.admit(&bytes, &manifest, &path).unwrap_err();
        assert!(refusal.explain().contains("damaged"), "{}", refusal.explain());
    }

    /// Guarantees: what has loaded signed is remembered once, and then belongs to its publisher.
    #[test]
    fn first_load_is_remembered() {
        let ((key, ours), (other_key, theirs)) = (publisher("ours"), publisher("theirs"));
        let (bytes, manifest) = component("probe", "1.0.0", "action");
        let mut trust = Trust { publishers: vec![ours, theirs], ..Trust::default() };
        let by_us = signed(&bytes, &manifest, &key);
        let identity = trust.judge(&bytes, &manifest, Some(&by_us)).unwrap();
        trust.seen.insert(trust.to_remember(&identity).unwrap());
        assert_eq!(trust.to_remember(&identity), None);
        assert!(trust.judge(&bytes, &manifest, Some(&by_us)).is_ok());
        let by_them = signed(&bytes, &manifest, &other_key);
        assert!(matches!(
            trust.judge(&bytes, &manifest, Some(&by_them)),
            Err(Refusal::WrongPublisher { .. })
        ));
    }
}
