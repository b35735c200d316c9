//! `HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`.
//!
//! Source: OCI distribution-spec 1.1, "Pulling manifests" (names and tags).

use crate::{Digest, http::is_loopback};
use reqwest::Url;
use std::{fmt, str::FromStr};

const REPOSITORY_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

/// Names an artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, and port if one is given.
    pub host: String,
    /// Path of the repository.
    pub repository: String,
    /// A name that can move.
    pub tag: Option<String>,
    /// The manifest's digest, which cannot.
    pub digest: Option<Digest>,
}

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no reference into a registry: {problem}")]
pub struct ReferenceError {
    /// The text, escaped.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |problem| ReferenceError { text: salve_model::text::escape(text, 200), problem };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) if digest.starts_with("sha256:") => {
                (rest, Some(digest.parse().map_err(|_| wrong("its digest is no SHA-256"))?))
            }
            Some(_) => return Err(wrong("its digest is no SHA-256")),
        };
        let (host, rest) =
            rest.split_once('/').ok_or_else(|| wrong("it has no repository; write HOST/REPOSITORY:TAG"))?;
        let parsed = Url::parse(&format!("https://{host}/"));
        let same = parsed.as_ref().is_ok_and(|url| crate::http::host(url) == host.trim_end_matches(":443"));
        if !same || !(host.contains(['.', ':']) || host == "localhost") {
            return Err(wrong("it does not begin with a host name"));
        }
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if repository.len() > REPOSITORY_CHARS_MAX || !repository.split('/').all(is_component) {
            return Err(wrong(
                "its repository has other than lower-case letters, digits and single `.`, `_`, `-`",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag has other than letters, digits, `.`, `_` and `-`"));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Letters and digits, with separators only between them.
fn is_component(text: &str) -> bool {
    let alphanumeric =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
        && text.bytes().all(|byte| alphanumeric(Some(byte)) || matches!(byte, b'.' | b'_' | b'-'))
        && !text.contains("..")
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG_CHARS_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

impl Reference {
    /// What a manifest is asked for by: the digest if there is one, the tag, or `latest`.
    pub(crate) fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".into(),
        }
    }

    /// The registry's root, with or without TLS.
    pub(crate) fn base(&self, plain_http: bool) -> Option<Url> {
        let url = |scheme: &str| Url::parse(&format!("{scheme}://{}/", self.host)).ok();
        url("http").filter(|url| plain_http && is_loopback(url)).or_else(|| url("https"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guarantees: what the specification allows is read and written the same; what it does not allow is refused, path
    /// tricks among it.
    #[test]
    fn references() {
        let digest = Digest::of(b"");
        let pinned = format!("ghcr.io/a/b:1@{digest}");
        for text in [
            "ghcr.io/a/b",
            "ghcr.io/a/b:1.0",
            "localhost/a:x",
            "127.0.0.1:5000/a/b-c_d:v1",
            "[::1]:5000/a:1",
            &pinned,
        ] {
            assert_eq!(text.parse::<Reference>().map(|reference| reference.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a",
            "a/b",
            "ghcr.io/",
            "ghcr.io/A",
            "ghcr.io/a/../b",
            "ghcr.io/a//b",
            "ghcr.io/a:",
            "ghcr.io/a:-x",
            "ghcr.io/a:b:c",
            "ghcr.io/a@sha512:00",
            "ghcr.io/a@sha256:00",
            "user@ghcr.io/a",
            "ghcr.io/a?x=1",
            "ghcr.io/a#x",
            "ghcr.io\\a/b",
            "ghcr.io/a b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Guarantees: no text makes reading panic, and what is read is written back the same.
        #[test]
        fn survives_noise(text in "[a-z0-9.:/@_#?%\\\\ -]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
                prop_assert!(reference.base(true).is_some());
            }
        }
    }
}
