//! Who we are to a registry: as said on the command line, or as `docker login` has left it.

use crate::files::{self, FileError};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Largest `config.json` that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(of {})", self.username)
    }
}

/// Credentials that are there and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It makes no sense.
    #[error("`{}` makes no sense: {what}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// They are in the keeping of another program.
    #[error("the credentials for `{host}` are kept by the helper `{helper}`, which Salve does not start")]
    Helper {
        /// For whom.
        host: String,
        /// Which program.
        helper: String,
    },
}

impl CredentialsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helper { .. } => Some("Give --username and --password-stdin.".into()),
            Self::Form { .. } => {
                Some("Log in again by `docker login`, or give --username and --password-stdin.".into())
            }
            Self::File(_) => None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    auth: String,
}

impl Credentials {
    /// `basic` authentication (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }

    /// What `docker login` has left for `host`, if anything.
    pub(crate) fn of_docker(host: &str) -> Result<Option<Self>, CredentialsError> {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
        let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
        match files::read_bounded(&path, BYTES_MAX) {
            Ok(text) => Self::in_docker_config(&text, host).map_err(|error| match error {
                CredentialsError::Form { what, .. } => CredentialsError::Form { path, what },
                other => other,
            }),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn in_docker_config(text: &[u8], host: &str) -> Result<Option<Self>, CredentialsError> {
        let form = |what| CredentialsError::Form { path: PathBuf::new(), what };
        let config: DockerConfig =
            serde_json::from_slice(text).map_err(|_| form("it is not the expected JSON"))?;
        if let Some(helper) = config.helpers.get(host) {
            let helper = salve_model::text::escape(helper, 100);
            return Err(CredentialsError::Helper { host: host.into(), helper });
        }
        // Older versions of Docker wrote whole addresses.
        let is_for = |key: &str| {
            let bare = key.trim_start_matches("https://").trim_start_matches("http://");
            bare == host || bare.split_once('/').is_some_and(|(named, _)| named == host)
        };
        let entry = config
            .auths
            .get(host)
            .or_else(|| config.auths.iter().find(|(key, _)| is_for(key)).map(|(_, auth)| auth));
        let Some(auth) = entry.map(|entry| &entry.auth).filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = decoded
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| form("an `auth` is not base64 of NAME:PASSWORD"))?;
        Ok(Some(Self { username: username.into(), password: password.trim_end_matches('\0').into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a login is found for just its host, in each form that Docker has written; a helper is named, not
    /// started.
    #[test]
    fn docker_logins() {
        let auth = STANDARD.encode("me:pa:ss");
        let text = format!(
            r#"{{"auths": {{"registry.example:5000": {{"auth": "{auth}"}}, "https://old.example/v1/": {{"auth": "{auth}"}},
                "kept.example": {{}}, "broken.example": {{"auth": "%"}}}},
                "credHelpers": {{"helped.example": "pass"}}, "credsStore": "desktop"}}"#
        );
        let of = |host: &str| Credentials::in_docker_config(text.as_bytes(), host);
        let me = Some(Credentials { username: "me".into(), password: "pa:ss".into() });
        assert_eq!(of("registry.example:5000").unwrap(), me);
        assert_eq!(of("old.example").unwrap(), me);
        assert_eq!(of("registry.example").unwrap(), None);
        assert_eq!(of("kept.example").unwrap(), None);
        assert!(of("broken.example").is_err());
        let helped = of("helped.example").unwrap_err();
        assert!(helped.to_string().contains("`pass`") && helped.hint().is_some(), "{helped}");
        assert!(Credentials::in_docker_config(b"[", "a").is_err());
    }

    /// Guarantees: a password is not in what `Debug` prints.
    #[test]
    fn debug_tells_no_secret() {
        let credentials = Credentials { username: "me".into(), password: "secret".into() };
        assert_eq!(format!("{credentials:?}"), "Credentials(of me)");
        assert_eq!(credentials.basic(), "Basic bWU6c2VjcmV0");
    }
}
