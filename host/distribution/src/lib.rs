//! Whose plugin it is, whether it may load, and how it gets here: keys, signatures, the lock file, admission, sources.
//!
//! ## What always holds
//! - an identity is a publisher's key and a plugin's name; what is unsigned loads only if the operator named its digest,
//!   or in development
//! - verifying needs no network: the component, the signature beside it and the publisher's key suffice
//! - what is fetched is checked before it is anywhere in the plugin folder; files appear whole or not at all
//! - every answer of a server has a bound in bytes and time; credentials go to the registry that they are for, and to the
//!   token server that it names, in the clear to neither
//!
//! Not here: whether a component is what its manifest says, and compiling it (`salve-plugins`); when plugins are
//! loaded (`salve`).

mod artifact;
mod content_signature;
mod digest;
mod fetch;
mod files;
mod http;
mod https;
mod install;
mod key;
mod lock;
mod oci;
mod pem;
mod refusal;
mod sealed;
mod signature;
mod trust;

pub use artifact::ArtifactError;
pub use digest::{Digest, DigestError};
pub use fetch::{FetchError, FetchOptions, Fetched, Source, SourceError, fetch};
pub use files::{FileError, read_bounded, write_private, write_whole};
pub use install::{InstallError, InstallOptions, Installed, install, pin};
pub use key::{KeyError, KeyId, PrivateKey, PublicKey, SealError};
pub use lock::{LockEntry, LockError, LockFile};
pub use oci::{Credentials, CredentialsError, Pushed, Reference, ReferenceError, push};
pub use refusal::Refusal;
pub use signature::{KnownComponent, SignatureError, SignatureFile, signature_path};
pub use trust::{Basis, Identity, Publisher, Trust};

/// Largest component that is fetched, in bytes; what the plugin host reads by default.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
