//! Why a component may not load, and what the operator can do about it.

use crate::{Digest, KeyId, SignatureError, files};
use salve_model::text::chain;
use salve_plugins::Role;

/// Why a component may not load.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody vouches for it.
    #[error("plugin `{name}` is not signed by a trusted publisher, and its digest {digest} is named nowhere")]
    Unsigned {
        /// Its name.
        name: String,
        /// Its digest.
        digest: Digest,
        /// Why a signature that is there does not count.
        #[source]
        signature: Option<Box<SignatureError>>,
    },
    /// The signature is bad.
    #[error("the signature of plugin `{name}` is not accepted")]
    Signature {
        /// Its name.
        name: String,
        /// Why.
        source: SignatureError,
    },
    /// The signature cannot be read.
    #[error("the signature of plugin `{name}` cannot be read")]
    SignatureFile {
        /// Its name.
        name: String,
        /// Why.
        source: files::FileError,
    },
    /// The name is another's.
    #[error("the name `{name}` belongs to the publisher with key {owner}, and this plugin is {}", by(found.as_deref()))]
    WrongPublisher {
        /// The name.
        name: String,
        /// Whose it is.
        owner: KeyId,
        /// Who has signed this one.
        found: Option<String>,
    },
    /// It was something else before.
    #[error("plugin `{name}` was of role {before} and is now of role {now}; a plugin keeps its role")]
    RoleChanged {
        /// Its name.
        name: String,
        /// Role known.
        before: Role,
        /// Role of this component.
        now: Role,
    },
    /// It is too old.
    #[error("plugin `{name}` has version {version}, and nothing below {lowest} may load")]
    BelowLowest {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The lowest that is allowed.
        lowest: String,
    },
    /// Its version cannot be compared.
    #[error("plugin `{name}` has version `{version}`, which is no semantic version")]
    Version {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// A grant is for another content.
    #[error("plugin `{name}` has digest {digest}, and its grants name another")]
    OtherThanGranted {
        /// Its name.
        name: String,
        /// Its digest.
        digest: Digest,
    },
}

fn by(publisher: Option<&str>) -> String {
    publisher.map_or_else(|| "unsigned".to_owned(), |name| format!("signed by `{name}`"))
}

impl Refusal {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unsigned { signature: Some(unknown), .. } => return unknown.hint(),
            Self::Unsigned { .. } => {
                "Sign it (`salve plugin sign`) with the key of a [[publisher]]; or, if you have \
                 looked at it, pin just this content (`salve plugin pin FILE`)."
                    .into()
            }
            Self::Signature { source, .. } => return source.hint(),
            Self::WrongPublisher { name, .. } => format!(
                "Give it another name. If `{name}` has changed hands, remove its entry from the lock file, and from \
                 `plugins-seen.lock` in the state folder."
            ),
            Self::RoleChanged { name, .. } => {
                format!(
                    "Give it another name. If this is meant, remove `{name}` from the lock file, and from \
                     `plugins-seen.lock` in the state folder."
                )
            }
            Self::BelowLowest { .. } => {
                "Take a newer version, or lower `lowest_version` in the lock file if this is meant.".into()
            }
            Self::Version { .. } => "Use three numbers with dots, for instance 1.2.0.".into(),
            Self::OtherThanGranted { digest, .. } => {
                format!("If this version is meant, write digest = \"{digest}\" into the grant.")
            }
            Self::SignatureFile { .. } => return None,
        })
    }

    /// Message, causes and hint on one line each, for a log or a table.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = chain(self);
        if let Some(hint) = self.hint() {
            text.push_str(&format!(". {hint}"));
        }
        text
    }
}
