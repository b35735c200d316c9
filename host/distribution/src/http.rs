//! HTTP to servers of strangers.
//!
//! ## What always holds
//! - an answer has a bound in bytes and in time; a failure that may pass is tried again, at most [`ATTEMPTS`] times
//! - nothing is followed that a caller has not looked at
//! - without TLS only loopback is spoken to, and only if the user said so

use crate::{FetchError, FetchOptions};
use bytes::Bytes;
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use salve_model::text::{chain, escape};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// Attempts of one call.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; each further one is four times as long.
const PAUSE: Duration = Duration::from_millis(200);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A server may be silent for so long.
const SILENT_AT_MOST: Duration = Duration::from_secs(30);
/// A whole call, body included.
const CALL_WITHIN: Duration = Duration::from_secs(600);
/// How much of an error's body is looked at.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// Time between two words on how far a download is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What is to be sent.
pub(crate) struct Call<'a> {
    /// For messages: `fetch the manifest`.
    pub(crate) what: &'a str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// Most bytes of the answer.
    pub(crate) limit_bytes: u64,
}

impl<'a> Call<'a> {
    pub(crate) fn get(what: &'a str, url: Url, limit_bytes: u64) -> Self {
        Self { what, method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), limit_bytes }
    }

    /// For messages.
    pub(crate) fn host(&self) -> String {
        host(&self.url)
    }
}

/// What came back, whatever the status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Host and port, for messages and for keeping credentials where they belong.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A name or address of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) struct Http<'t> {
    /// To loopback: a proxy would be another machine.
    direct: Client,
    /// To elsewhere: proxies of the environment are the user's will.
    outward: Client,
    plain_http: bool,
    tell: &'t dyn Fn(&str),
}

/// How one attempt failed.
enum Attempt {
    /// It may go better next time.
    Passing(FetchError),
    Final(FetchError),
}

impl<'t> Http<'t> {
    pub(crate) fn new(options: &FetchOptions, tell: &'t dyn Fn(&str)) -> Result<Self, FetchError> {
        // Already installed if this process has spoken TLS before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let refused = |error: reqwest::Error| FetchError::Client(escape(&chain(&error), 400));
        let authorities = match &options.authorities_pem {
            None => None,
            Some(pem) => match reqwest::Certificate::from_pem_bundle(pem) {
                Ok(authorities) if !authorities.is_empty() => Some(authorities),
                Ok(_) => return Err(FetchError::Client("there is no certificate in the CA file".into())),
                Err(error) => return Err(refused(error)),
            },
        };
        let client = |direct: bool| {
            let mut builder = Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT_WITHIN)
                .read_timeout(SILENT_AT_MOST)
                .timeout(CALL_WITHIN)
                .user_agent(concat!("salve/", env!("CARGO_PKG_VERSION")));
            if direct {
                builder = builder.no_proxy();
            }
            if let Some(authorities) = &authorities {
                builder = builder.tls_certs_only(authorities.iter().cloned());
            }
            builder.build().map_err(refused)
        };
        Ok(Self { direct: client(true)?, outward: client(false)?, plain_http: options.plain_http, tell })
    }

    pub(crate) fn tell(&self, what: &str) {
        (self.tell)(what);
    }

    /// Refuses addresses that would be spoken to in the clear.
    pub(crate) fn check(&self, url: &Url) -> Result<(), FetchError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.plain_http && is_loopback(url) => Ok(()),
            _ => Err(FetchError::Plain { url: escape(url.as_str(), 200) }),
        }
    }

    /// Sends, and again if the failure may pass.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Answer, FetchError> {
        self.check(&call.url)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Passing(error)) if attempt >= ATTEMPTS => return Err(error),
                Err(Attempt::Passing(error)) => {
                    self.tell(&format!("{error}; trying again ({attempt} of {})", ATTEMPTS - 1));
                    tokio::time::sleep(pause).await;
                    pause *= 4;
                }
            }
        }
        // The loop ends by returning.
        Err(FetchError::Client("no attempt was made".into()))
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Attempt> {
        let unreachable = |error: reqwest::Error| {
            Attempt::Passing(FetchError::Unreachable {
                what: call.what.to_owned(),
                host: call.host(),
                source: error.without_url(),
            })
        };
        let client = if is_loopback(&call.url) { &self.direct } else { &self.outward };
        let mut request = client.request(call.method.clone(), call.url.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if call.method != Method::GET && call.method != Method::HEAD {
            request = request.body(call.body.clone());
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let limit_bytes = if status.is_success() { call.limit_bytes } else { ERROR_BYTES_MAX };
        let too_large = || {
            Attempt::Final(FetchError::TooLarge { what: call.what.to_owned(), limit_bytes: call.limit_bytes })
        };
        let expected = response.content_length();
        if status.is_success()
            && call.method != Method::HEAD
            && expected.is_some_and(|length| length > limit_bytes)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let mut told = Instant::now();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // What an error says is good to know, no more: not every server ends it well.
                Err(_) if !status.is_success() => break,
                Err(error) => return Err(unreachable(error)),
            };
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                if status.is_success() {
                    return Err(too_large());
                }
                // Of an error the beginning is enough.
                break;
            }
            body.extend_from_slice(&chunk);
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let of = expected.map_or_else(String::new, |bytes| format!(" of {}", bytes >> 10));
                self.tell(&format!("{} KiB{of} so far", body.len() >> 10));
            }
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Attempt::Passing(status_error(call, status, &body, false)));
        }
        Ok(Answer { status, headers, body })
    }
}

/// What a status that is no success means.
pub(crate) fn status_error(
    call: &Call<'_>,
    status: StatusCode,
    body: &[u8],
    had_credentials: bool,
) -> FetchError {
    let (what, host) = (call.what.to_owned(), call.host());
    match status {
        StatusCode::UNAUTHORIZED => FetchError::Unauthorized { what, host, had_credentials },
        StatusCode::FORBIDDEN => FetchError::Forbidden { what, host },
        StatusCode::NOT_FOUND => FetchError::NotFound { what, host },
        _ => FetchError::Status { what, host, status, detail: detail(body) },
    }
}

/// What an OCI registry says in an error: `{"errors": [{"code": …, "message": …}]}`.
fn detail(body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = parsed.as_ref().and_then(|parsed| parsed.get("errors")?.get(0));
    let text = |key: &str| error.and_then(|error| error.get(key)?.as_str()).unwrap_or_default();
    match (text("code"), text("message")) {
        ("", "") => String::new(),
        (code, message) => escape(&format!(": {code} {message}"), 200),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: TLS can be left out on this machine alone, and only if the user said so.
    #[test]
    fn plain_http_stays_at_home() {
        for (url, plain_http, allowed) in [
            ("https://example.org/", false, true),
            ("http://example.org/", false, false),
            ("http://example.org/", true, false),
            ("http://127.0.0.1:5000/", false, false),
            ("http://127.0.0.1:5000/", true, true),
            ("http://[::1]:5000/", true, true),
            ("http://localhost:5000/", true, true),
            ("http://localhost.example.org/", true, false),
            ("http://127.0.0.1.example.org/", true, false),
            ("ftp://127.0.0.1/", true, false),
        ] {
            let options = FetchOptions { plain_http, ..FetchOptions::default() };
            let http = Http::new(&options, &|_| ()).unwrap();
            assert_eq!(http.check(&Url::parse(url).unwrap()).is_ok(), allowed, "{url} {plain_http}");
        }
    }

    /// Guarantees: a registry's own words are shown, without control characters.
    #[test]
    fn registry_errors_are_shown_escaped() {
        let body = br#"{"errors":[{"code":"MANIFEST_INVALID","message":"no \u001b[31m way"}]}"#;
        assert_eq!(detail(body), ": MANIFEST_INVALID no \\u{1b}[31m way");
        assert_eq!(detail(b"<html>"), "");
    }
}
