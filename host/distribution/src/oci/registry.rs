//! Calls to one repository of a registry (OCI distribution-spec 1.1), with its authentication.

use super::{Credentials, Reference};
use crate::{
    Digest, FetchError, FetchOptions,
    artifact::{DOCUMENT_BYTES_MAX, IMAGE_CONFIG_TYPE, MANIFEST_TYPE},
    http::{Answer, Call, Http, host, is_loopback, status_error},
    https::redirected,
};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode, Url,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
    },
};
use salve_model::text::escape;
use serde::Deserialize;
use std::{cell::RefCell, collections::BTreeMap};

/// Largest answer of a token server, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Registries hand out blobs from other servers.
const REDIRECTS_MAX: u32 = 3;

/// One repository.
pub(crate) struct Registry<'h, 't> {
    http: &'h Http<'t>,
    base: Url,
    repository: String,
    /// What a token must allow.
    actions: &'static str,
    credentials: Option<Credentials>,
    /// As the registry asked for it last.
    authorization: RefCell<Option<HeaderValue>>,
}

/// What a registry asks for in a 401.
enum Challenge {
    Basic,
    Bearer(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'h, 't> Registry<'h, 't> {
    /// Nothing is sent yet.
    pub(crate) fn new(
        http: &'h Http<'t>,
        reference: &Reference,
        actions: &'static str,
        options: &FetchOptions,
    ) -> Result<Self, FetchError> {
        let base = reference
            .base(options.plain_http)
            .ok_or_else(|| FetchError::Plain { url: escape(&reference.host, 200) })?;
        let credentials = match &options.credentials {
            Some(credentials) => Some(credentials.clone()),
            None => Credentials::of_docker(&reference.host)?,
        };
        let repository = reference.repository.clone();
        Ok(Self { http, base, repository, actions, credentials, authorization: RefCell::default() })
    }

    /// `host/v2/repository/path`.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{path}", self.repository));
        url
    }

    fn malformed(&self, what: &str, detail: impl Into<String>) -> FetchError {
        FetchError::Malformed { what: what.into(), host: host(&self.base), detail: detail.into() }
    }

    /// A manifest, checked against the digest that was asked for or that the registry names; none if there is none.
    pub(crate) async fn manifest(&self, what: &str, version: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let mut call = Call::get(what, self.url(&format!("manifests/{version}")), DOCUMENT_BYTES_MAX);
        call.headers.push((ACCEPT, HeaderValue::from_static(MANIFEST_TYPE)));
        let answer = self.call(&mut call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.expect(&call, &answer, &[StatusCode::OK])?;
        let named = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        for expected in [Some(version), named].into_iter().flatten().filter_map(|text| text.parse().ok()) {
            matches_digest(what, expected, &answer.body)?;
        }
        Ok(Some(answer.body))
    }

    /// A blob, checked against its digest.
    pub(crate) async fn blob(
        &self,
        what: &str,
        digest: Digest,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let mut call = Call::get(what, self.url(&format!("blobs/{digest}")), limit_bytes);
        let mut answer = self.call(&mut call).await?;
        for _ in 0..REDIRECTS_MAX {
            if !answer.status.is_redirection() {
                break;
            }
            // Without our credentials: the other server is another host, and the address says all it needs. What it
            // gives is checked below.
            let to = location(&answer.headers).and_then(|to| call.url.join(to).ok());
            let to = to.ok_or_else(|| redirected(&call, None))?;
            self.http.check(&to).map_err(|_| redirected(&call, Some(&to)))?;
            call = Call::get(what, to, limit_bytes);
            answer = self.http.call(&call).await?;
        }
        self.expect(&call, &answer, &[StatusCode::OK])?;
        matches_digest(what, digest, &answer.body)?;
        Ok(answer.body)
    }

    /// Uploads a blob, if it is not there.
    pub(crate) async fn push_blob(&self, what: &str, content: &[u8]) -> Result<(), FetchError> {
        let digest = Digest::of(content);
        let mut head = Call::get(what, self.url(&format!("blobs/{digest}")), 0);
        head.method = Method::HEAD;
        let there = self.call(&mut head).await?;
        if there.status.is_success() {
            return Ok(());
        }
        self.expect(&head, &there, &[StatusCode::NOT_FOUND])?;
        let mut start = Call::get(what, self.url("blobs/uploads/"), DOCUMENT_BYTES_MAX);
        start.method = Method::POST;
        let started = self.call(&mut start).await?;
        self.expect(&start, &started, &[StatusCode::ACCEPTED])?;
        let mut to = location(&started.headers)
            .and_then(|to| start.url.join(to).ok())
            .ok_or_else(|| self.malformed(what, "it does not say where to upload"))?;
        // The upload carries our credentials, so it goes to the same server, whatever that answers.
        if host(&to) != host(&self.base) || to.scheme() != self.base.scheme() {
            return Err(redirected(&start, Some(&to)));
        }
        to.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut put = Call::get(what, to, DOCUMENT_BYTES_MAX);
        put.method = Method::PUT;
        put.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")));
        put.body = Bytes::copy_from_slice(content);
        let answer = self.call(&mut put).await?;
        self.expect(&put, &answer, &[StatusCode::CREATED])
    }

    /// Gives a manifest its name.
    pub(crate) async fn push_manifest(
        &self,
        what: &str,
        version: &str,
        content: &[u8],
    ) -> Result<(), FetchError> {
        let mut call = Call::get(what, self.url(&format!("manifests/{version}")), DOCUMENT_BYTES_MAX);
        call.method = Method::PUT;
        call.headers.push((CONTENT_TYPE, HeaderValue::from_static(MANIFEST_TYPE)));
        call.body = Bytes::copy_from_slice(content);
        let answer = self.call(&mut call).await?;
        self.expect(&call, &answer, &[StatusCode::CREATED])
    }

    fn expect(&self, call: &Call<'_>, answer: &Answer, statuses: &[StatusCode]) -> Result<(), FetchError> {
        if statuses.contains(&answer.status) {
            return Ok(());
        }
        if answer.status.is_redirection() {
            return Err(redirected(call, None));
        }
        Err(status_error(call, answer.status, &answer.body, self.credentials.is_some()))
    }

    /// Sends with what the registry asked for before; asks once for a token or sends the password if it says 401.
    async fn call(&self, call: &mut Call<'_>) -> Result<Answer, FetchError> {
        let plain = call.headers.len();
        let authorize = |call: &mut Call<'_>| {
            call.headers.truncate(plain);
            if let Some(value) = self.authorization.borrow().clone() {
                call.headers.push((AUTHORIZATION, value));
            }
        };
        authorize(call);
        let answer = self.http.call(call).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let value = match challenge(&answer.headers) {
            Some(Challenge::Basic) => match &self.credentials {
                Some(credentials) => credentials.basic(),
                None => return Ok(answer),
            },
            Some(Challenge::Bearer(parameters)) => self.token(call.what, &parameters).await?,
            None => {
                return Err(self.malformed(call.what, "it wants authentication of a kind that is not known"));
            }
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| self.malformed(call.what, "its token cannot be sent in a header"))?;
        value.set_sensitive(true);
        *self.authorization.borrow_mut() = Some(value);
        authorize(call);
        self.http.call(call).await
    }

    /// Asks the token server that the registry names.
    ///
    /// Source: "Token Authentication Specification" of the CNCF distribution project.
    async fn token(&self, what: &str, parameters: &BTreeMap<String, String>) -> Result<String, FetchError> {
        let realm = parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
        let mut url = realm.ok_or_else(|| self.malformed(what, "it names no token server"))?;
        self.http.check(&url)?;
        if is_loopback(&url) && !is_loopback(&self.base) {
            return Err(self.malformed(what, "its token server is said to be on this machine"));
        }
        if let Some(service) = parameters.get("service") {
            url.query_pairs_mut().append_pair("service", service);
        }
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        url.query_pairs_mut().append_pair("scope", &scope);
        let mut call = Call::get(what, url, TOKEN_BYTES_MAX);
        if let Some(credentials) = &self.credentials
            && let Ok(mut value) = HeaderValue::from_str(&credentials.basic())
        {
            value.set_sensitive(true);
            call.headers.push((AUTHORIZATION, value));
        }
        let answer = self.http.call(&call).await?;
        self.expect(&call, &answer, &[StatusCode::OK])?;
        let token: Token = serde_json::from_slice(&answer.body)
            .map_err(|_| self.malformed(what, "its token server's answer is not the expected JSON"))?;
        let token = token.token.or(token.access_token);
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| self.malformed(what, "there is no token"))
    }
}

fn location(headers: &HeaderMap) -> Option<&str> {
    headers.get(LOCATION)?.to_str().ok()
}

fn matches_digest(what: &str, expected: Digest, content: &[u8]) -> Result<(), FetchError> {
    let found = Digest::of(content);
    if found == expected {
        return Ok(());
    }
    Err(FetchError::Digest { what: what.into(), expected, found })
}

/// Reads `WWW-Authenticate`. Bearer is preferred: it is what a password is exchanged for.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let name: HeaderName = WWW_AUTHENTICATE;
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let of = |scheme: &str| {
        values.iter().find_map(|value| {
            let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
            first.eq_ignore_ascii_case(scheme).then_some(rest)
        })
    };
    if let Some(rest) = of("bearer") {
        return Some(Challenge::Bearer(parameters(rest)));
    }
    of("basic").map(|_| Challenge::Basic)
}

/// `key="value"` pairs with commas between; commas within quotes belong to the value.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(key.trim().trim_start_matches(',').trim().to_ascii_lowercase(), value.to_owned());
        rest = next;
    }
    found
}

/// Configuration of a signature's manifest: an image with the payloads as layers, so that tools for images read it.
pub(crate) fn signature_config(layers: &[Digest]) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": "", "config": {}, "created": "0001-01-01T00:00:00Z",
        "history": layers.iter().map(|_| serde_json::json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "", "rootfs": { "type": "layers", "diff_ids": layers },
    });
    config.to_string().into_bytes()
}

/// Its media type.
pub(crate) const SIGNATURE_CONFIG_TYPE: &str = IMAGE_CONFIG_TYPE;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guarantees: challenges are read as registries write them.
    #[test]
    fn challenges() {
        let mut headers = HeaderMap::new();
        assert!(challenge(&headers).is_none());
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
        assert!(matches!(challenge(&headers), Some(Challenge::Basic)));
        let bearer = "Bearer realm=\"https://auth.example/token\",service=\"r\", scope=\"repository:a:pull,push\",error=x";
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
        let Some(Challenge::Bearer(found)) = challenge(&headers) else { panic!("not bearer") };
        let pairs: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("error", "x"),
            ("realm", "https://auth.example/token"),
            ("scope", "repository:a:pull,push"),
            ("service", "r"),
        ];
        assert_eq!(pairs, expected);
    }

    proptest! {
        /// Guarantees: no challenge makes reading it panic or go on for ever.
        #[test]
        fn survives_noise(text in "[a-z=\", ]{0,80}") {
            drop(parameters(&text));
        }
    }
}
