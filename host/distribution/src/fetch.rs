//! From where a plugin comes: a file, an HTTPS server, an OCI registry.

use crate::{
    COMPONENT_BYTES_MAX, Digest, SignatureError, SignatureFile,
    artifact::ArtifactError,
    files::{self, FileError},
    http::Http,
    https,
    oci::{self, Credentials, CredentialsError, Reference, ReferenceError},
    signature,
};
use reqwest::{StatusCode, Url};
use std::{fmt, path::PathBuf, str::FromStr};

/// Where a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of this machine; its signature beside it.
    File(PathBuf),
    /// A file behind HTTPS; its signature beside it.
    Https(Url),
    /// An artifact in a registry; its signature under the tag that cosign uses.
    Oci(Reference),
}

/// A text that names no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A URL that is none.
    #[error("`{0}` is no URL")]
    Url(String),
    /// A scheme that is not known.
    #[error("`{0}` is neither a file, nor https://…, nor oci://…")]
    Scheme(String),
    /// No reference into a registry.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let shown = || salve_model::text::escape(text, 200);
        match text.split_once("://") {
            Some(("oci", reference)) => Ok(Self::Oci(reference.parse()?)),
            Some(("https" | "http", _)) => match Url::parse(text) {
                Ok(url) if url.username().is_empty() && url.password().is_none() && url.has_host() => {
                    Ok(Self::Https(url))
                }
                _ => Err(SourceError::Url(shown())),
            },
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(_) => Err(SourceError::Scheme(shown())),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Https(url) => url.fmt(f),
            Self::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

/// How to reach servers.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Speak HTTP without TLS; with loopback only.
    pub plain_http: bool,
    /// Certificate authorities in PEM, in the place of the system's.
    pub authorities_pem: Option<Vec<u8>>,
    /// For registries.
    pub credentials: Option<Credentials>,
}

/// What came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The component.
    pub bytes: Vec<u8>,
    /// What stood beside it. Not verified yet.
    pub signature: Option<SignatureFile>,
    /// From where, exactly: with the digest of what was found under a tag.
    pub source: Source,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No HTTP client.
    #[error("cannot set up TLS: {0}")]
    Client(String),
    /// Without TLS, and not allowed.
    #[error("`{url}` is not encrypted")]
    Plain {
        /// Where to.
        url: String,
    },
    /// Nobody answers, or the answer breaks off.
    #[error("cannot {what}: no answer from `{host}`")]
    Unreachable {
        /// What was to be done.
        what: String,
        /// Who does not answer.
        host: String,
        /// The last attempt's reason.
        #[source]
        source: reqwest::Error,
    },
    /// The server wants to know who asks.
    #[error("cannot {what}: `{host}` {}", if *.had_credentials { "does not accept these credentials" } else { "asks for credentials" })]
    Unauthorized {
        /// What was to be done.
        what: String,
        /// Who asks.
        host: String,
        /// Some were sent.
        had_credentials: bool,
    },
    /// It knows who asks, and says no.
    #[error("cannot {what}: `{host}` does not allow it")]
    Forbidden {
        /// What was to be done.
        what: String,
        /// Who says no.
        host: String,
    },
    /// It is not there.
    #[error("cannot {what}: `{host}` does not have it")]
    NotFound {
        /// What was to be done.
        what: String,
        /// Who does not have it.
        host: String,
    },
    /// Another refusal.
    #[error("cannot {what}: `{host}` answers {status}{detail}")]
    Status {
        /// What was to be done.
        what: String,
        /// Who.
        host: String,
        /// The status.
        status: StatusCode,
        /// The server's words, escaped, after a colon.
        detail: String,
    },
    /// It leads elsewhere.
    #[error("cannot {what}: `{host}` leads to `{to}`")]
    Redirect {
        /// What was to be done.
        what: String,
        /// Who.
        host: String,
        /// Where to.
        to: String,
    },
    /// More than is read.
    #[error("cannot {what}: there are more than {limit_bytes} bytes")]
    TooLarge {
        /// What was to be done.
        what: String,
        /// The most.
        limit_bytes: u64,
    },
    /// Another content than was named: changed on its way, or where it is stored.
    #[error("cannot {what}: the content has digest {found}, not {expected}")]
    Digest {
        /// What was to be done.
        what: String,
        /// What was named.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// An answer that makes no sense.
    #[error("cannot {what}: the answer of `{host}` makes no sense: {detail}")]
    Malformed {
        /// What was to be done.
        what: String,
        /// Who.
        host: String,
        /// Why.
        detail: String,
    },
    /// It is no plugin.
    #[error("cannot {what}")]
    Artifact {
        /// What was to be done.
        what: String,
        /// Why.
        source: ArtifactError,
    },
    /// The signature cannot be read.
    #[error("cannot read the signature from `{host}`")]
    Signature {
        /// Who has it.
        host: String,
        /// Why.
        source: SignatureError,
    },
    /// Credentials are there and cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl FetchError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(error) if error.is_missing() => {
                "If it is in a registry, write oci://HOST/REPOSITORY:TAG.".into()
            }
            Self::Plain { .. } => {
                "Use https://; a server on this machine may do without, if you say --plain-http.".into()
            }
            Self::Unreachable { .. } => {
                "Is the server up, and the name right? A registry without TLS on this machine needs --plain-http; \
                 an own certificate authority needs --ca-file."
                    .into()
            }
            Self::Unauthorized { had_credentials: false, .. } => {
                "Give --username and --password-stdin, or log in by `docker login`.".into()
            }
            Self::Unauthorized { .. } => "Check user name and password.".into(),
            Self::Forbidden { .. } => "Ask the registry's owner for the right to do this.".into(),
            Self::NotFound { .. } => "Check the name, and the tag or digest.".into(),
            Self::Redirect { to, .. } => format!("If that place is right, name it: {to}"),
            Self::Digest { .. } => {
                "Do not use it. Something on the way, or the server's storage, has changed it; tell its owner.".into()
            }
            Self::Signature { source, .. } => return source.hint(),
            Self::Credentials(error) => return error.hint(),
            Self::TooLarge { .. } => {
                "Check the name: it may be something else than a plugin. If it is one, its publisher must make it smaller.".into()
            }
            Self::Status { .. } => {
                "Try again later; if it goes on, tell the server's owner, or get the file in another way and name its path.".into()
            }
            Self::Malformed { .. } => {
                "Is this a registry (oci://) or a plain web server (https://)? A proxy on the way may have answered instead.".into()
            }
            Self::Artifact { .. } => {
                "Check the name and the tag: what is there is another kind of artifact. `salve plugin push` makes the right one.".into()
            }
            Self::File(_) | Self::Client(_) => return None,
        })
    }
}

/// Fetches a component and its signature. Neither is verified yet, but what comes from a registry is what the
/// registry's digests say. `tell` hears what is being done.
///
/// # Errors
/// [`FetchError`] names what could not be fetched, and from whom.
pub async fn fetch(
    source: &Source,
    options: &FetchOptions,
    tell: &dyn Fn(&str),
) -> Result<Fetched, FetchError> {
    match source {
        Source::File(path) => {
            let bytes = files::read_bounded(path, COMPONENT_BYTES_MAX)?;
            let beside = signature::signature_path(path);
            let signature = match files::read_bounded(&beside, signature::FILE_BYTES_MAX) {
                Ok(text) => {
                    let host = beside.display().to_string();
                    Some(
                        SignatureFile::parse(&text)
                            .map_err(|source| FetchError::Signature { host, source })?,
                    )
                }
                Err(error) if error.is_missing() => None,
                Err(error) => return Err(error.into()),
            };
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Ok(Fetched { bytes, signature, source: Source::File(path) })
        }
        Source::Https(url) => https::fetch(url, &Http::new(options, tell)?).await,
        Source::Oci(reference) => oci::fetch(reference, &Http::new(options, tell)?, options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guarantees: each kind of source is known by its scheme, and written as it was read.
    #[test]
    fn sources() {
        for (text, expected) in [
            (
                "oci://registry.example:5000/team/probe:1.0",
                Some("oci://registry.example:5000/team/probe:1.0"),
            ),
            ("https://example.org/a.wasm", Some("https://example.org/a.wasm")),
            ("file:///a/b.wasm", Some("file:///a/b.wasm")),
            ("a/b.wasm", Some("file://a/b.wasm")),
            ("https://user:secret@example.org/a.wasm", None),
            ("https://", None),
            ("ftp://example.org/a.wasm", None),
            ("oci://registry.example", None),
        ] {
            let parsed = text.parse::<Source>().ok().map(|source| source.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        /// Guarantees: no text makes reading a source panic.
        #[test]
        fn survives_noise(text in "(oci|https?|file)?(://)?.{0,60}") {
            drop(text.parse::<Source>());
        }
    }
}
