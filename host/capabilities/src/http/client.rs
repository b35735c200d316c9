//! One call, one connection.

use super::{
    address::{AddressPolicy, Origin, is_salves_own},
    resolve::Resolver,
};
use reqwest::{
    Client, Method, Response, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
    redirect::Policy,
};
use salve_model::{call::HttpResponse, text};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// A call that was checked in all but its address.
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) secret: Option<String>,
}

/// Bounds of one call.
pub(crate) struct HttpBounds<'a> {
    pub(crate) policy: &'a AddressPolicy,
    pub(crate) own: &'a [SocketAddr],
    pub(crate) body_max_bytes: usize,
    pub(crate) within: Duration,
}

/// Why a call failed, and whether the server may have seen it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Salve does not send this, whatever is granted.
    #[error("{0}")]
    Refused(String),
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// It may have been received and carried out.
    #[error("{0}")]
    Unclear(String),
    /// No whole answer in time; it may have been carried out.
    #[error("no answer in time")]
    TimedOut,
}

/// Makes HTTP calls.
pub(crate) struct HttpBroker {
    resolver: Arc<dyn Resolver>,
}

impl std::fmt::Debug for HttpBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpBroker")
    }
}

impl HttpBroker {
    pub(crate) fn new(resolver: Arc<dyn Resolver>) -> Self {
        // An error says that the process has a provider already, which will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { resolver }
    }

    /// Sends a request and reads the whole answer, within one time limit.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        outgoing: Outgoing,
        bounds: &HttpBounds<'_>,
    ) -> Result<HttpResponse, HttpError> {
        let deadline = tokio::time::Instant::now() + bounds.within;
        let addresses = tokio::time::timeout_at(deadline, self.checked_addresses(origin, bounds))
            .await
            .map_err(|_| HttpError::NotSent(format!("the name of {origin} was not resolved in time")))??;
        if outgoing.secret.is_some()
            && !origin.tls
            && !addresses.iter().all(|address| address.ip().is_loopback())
        {
            let reason = format!("the secret does not go to {origin}: it needs https, or loopback");
            return Err(HttpError::Refused(reason));
        }
        let secret = outgoing.secret.clone();
        let request = build(origin, outgoing, &addresses, bounds.within)?;
        let exchange = async {
            let response = request.send().await.map_err(|error| send_error(&error))?;
            read(response, bounds.body_max_bytes).await
        };
        let response = tokio::time::timeout_at(deadline, exchange).await.map_err(|_| HttpError::TimedOut)?;
        let words = |error| match error {
            HttpError::Unclear(reason) => HttpError::Unclear(redact_text(&reason, secret.as_deref())),
            other => other,
        };
        Ok(redact(response.map_err(words)?, secret.as_deref()))
    }

    /// All addresses of the host. One that may not be called spoils them all: a name that leads to good and bad
    /// addresses is somebody's trick.
    async fn checked_addresses(
        &self,
        origin: &Origin,
        bounds: &HttpBounds<'_>,
    ) -> Result<Vec<SocketAddr>, HttpError> {
        let found = match origin.literal() {
            Some(address) => vec![address],
            None => self.resolver.resolve(&origin.host).await.map_err(|error| {
                HttpError::NotSent(format!("the name of {origin} cannot be resolved: {error}"))
            })?,
        };
        if found.is_empty() {
            return Err(HttpError::NotSent(format!("the name of {origin} has no address")));
        }
        let mut addresses = Vec::with_capacity(found.len());
        for address in found {
            bounds
                .policy
                .check(address)
                .map_err(|reason| HttpError::Refused(format!("{origin} is refused: {reason}")))?;
            let address = SocketAddr::new(address, origin.port);
            if is_salves_own(address, bounds.own) {
                let reason = format!("{origin} is one of Salve's own listeners, which no broker calls");
                return Err(HttpError::Refused(reason));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn build(
    origin: &Origin,
    outgoing: Outgoing,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<reqwest::RequestBuilder, HttpError> {
    let not_sent = |reason: String| HttpError::NotSent(reason);
    let mut client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
        .timeout(within)
        .user_agent(concat!("salve/", env!("CARGO_PKG_VERSION")));
    if origin.literal().is_none() {
        client = client.resolve_to_addrs(&origin.host, addresses);
    }
    if !origin.tls {
        // No need to load the system's certificates.
        client = client.tls_certs_only(std::iter::empty());
    }
    let client = client.build().map_err(|error| not_sent(format!("no HTTP client: {}", causes(&error))))?;
    let mut url: Url =
        format!("{origin}{}", outgoing.path).parse().map_err(|error| not_sent(format!("no URL: {error}")))?;
    if !outgoing.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&outgoing.query);
    }
    let method =
        Method::from_bytes(outgoing.method.as_bytes()).map_err(|error| not_sent(error.to_string()))?;
    let mut request = client.request(method, url).body(outgoing.body);
    for (name, value) in &outgoing.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| not_sent(error.to_string()))?;
        let value = HeaderValue::from_str(value).map_err(|error| not_sent(error.to_string()))?;
        request = request.header(name, value);
    }
    if let Some(secret) = &outgoing.secret {
        let mut value =
            HeaderValue::from_str(secret).map_err(|_| not_sent("the secret is no header value".into()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn read(mut response: Response, body_max_bytes: usize) -> Result<HttpResponse, HttpError> {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| send_error(&error))? {
        if body.len() + chunk.len() > body_max_bytes {
            return Err(HttpError::Unclear(format!(
                "status {status}, but the answer is larger than {body_max_bytes} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, headers, body })
}

fn send_error(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::TimedOut
    } else if error.is_connect() || error.is_builder() {
        HttpError::NotSent(causes(error))
    } else {
        HttpError::Unclear(causes(error))
    }
}

/// An error's causes on one line, without its own words: those have the URL, and it may hold what plugins wrote.
fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), text::chain)
}

/// Stands in answers where the secret stood.
const REDACTED: &str = "[secret]";

fn redact(mut response: HttpResponse, secret: Option<&str>) -> HttpResponse {
    for (_, value) in &mut response.headers {
        *value = redact_text(value, secret);
    }
    for secret in spellings(secret) {
        response.body = redact_bytes(&response.body, secret.as_bytes());
    }
    response
}

fn redact_text(text: &str, secret: Option<&str>) -> String {
    spellings(secret).fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
}

/// The header's value, and what stands behind its scheme (`Bearer …`).
fn spellings(secret: Option<&str>) -> impl Iterator<Item = &str> {
    secret.into_iter().flat_map(|secret| {
        let credentials = secret.split_once(' ').map(|(_, credentials)| credentials.trim());
        [Some(secret), credentials].into_iter().flatten().filter(|text| !text.is_empty())
    })
}

fn redact_bytes(body: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut redacted = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        redacted.extend_from_slice(rest.get(..at).unwrap_or_default());
        redacted.extend_from_slice(REDACTED.as_bytes());
        rest = rest.get(at + secret.len()..).unwrap_or_default();
    }
    redacted.extend_from_slice(rest);
    redacted
}
