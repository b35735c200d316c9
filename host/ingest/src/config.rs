//! What the operator can set.

use crate::{Assertions, IngestError};
use salve_model::Tenant;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// The OTLP servers.
///
/// The most memory that strangers can make them use is about `bytes_in_flight_max` + `connections_max` × 0.4 MiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Where OTLP over gRPC is expected. Port 0 takes a free one. `127.0.0.1:4317` by default.
    pub grpc_address: SocketAddr,
    /// Where OTLP over HTTP is expected. `127.0.0.1:4318` by default. Both addresses understand both protocols.
    pub http_address: SocketAddr,
    /// Certificate and key. Needed, together with a token, to listen on anything but loopback.
    pub tls: Option<TlsConfig>,
    /// Who may send. Without any, everybody who reaches the address may.
    pub tokens: Vec<TokenConfig>,
    /// Listen beyond loopback without TLS or without tokens. Forged telemetry can then trigger actions.
    pub allow_insecure: bool,
    /// Longest request, in bytes, as sent and again when decompressed. 16 MiB by default.
    pub request_bytes_max: u64,
    /// Most requests at once. 256 by default.
    pub requests_in_flight_max: u64,
    /// Most bytes of requests in memory, decompressed ones included. 256 MiB by default.
    pub bytes_in_flight_max: u64,
    /// Most connections at once. For a further one the idlest is closed, first of those that sent nothing that was taken; the
    /// further one itself if all were busy within a second. 512 by default.
    pub connections_max: u32,
    /// Most requests at once on one HTTP/2 connection. 64 by default.
    pub streams_per_connection_max: u32,
    /// How long a TLS handshake may take. 10 s by default.
    pub tls_handshake_ms: u64,
    /// How long the body of a request may take. 30 s by default.
    pub body_read_ms: u64,
    /// How long a connection may stay without the headers of its first request. 10 s by default.
    pub first_request_ms: u64,
    /// How long a connection may stay without a request under way, until the headers of the next one are there. 5 minutes by
    /// default: exporters come every minute.
    pub idle_ms: u64,
    /// How long requests under way may take to finish when Salve stops. 5 s by default.
    pub stop_grace_ms: u64,
    /// What overloaded senders are told to wait. 1 s by default.
    pub retry_after_ms: u64,
    /// How deep attribute values may nest. 24 by default, also the most.
    pub value_depth_max: u32,
}

/// Files in PEM format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate, followed by those that vouch for it.
    pub cert_path: PathBuf,
    /// Its private key.
    pub key_path: PathBuf,
}

/// One sender, or a group of them. Sent as `authorization: Bearer TOKEN`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// The token, 16 characters at least. This or `token_path`.
    pub token: Option<Secret>,
    /// A file that holds the token, so that it need not stand in the configuration.
    pub token_path: Option<PathBuf>,
    /// The tenant that its telemetry belongs to, whatever the telemetry says. `default` by default.
    pub tenant: Tenant,
    /// The attribute values that it may assert; left out, any. With `{}` its telemetry never selects a target.
    pub assert: Option<Assertions>,
}

/// Text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Serialize for Secret {
    /// Writes `(secret)` instead of the text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            grpc_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)),
            http_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)),
            tls: None,
            tokens: Vec::new(),
            allow_insecure: false,
            request_bytes_max: 16 << 20,
            requests_in_flight_max: 256,
            bytes_in_flight_max: 256 << 20,
            connections_max: 512,
            streams_per_connection_max: 64,
            tls_handshake_ms: 10_000,
            body_read_ms: 30_000,
            first_request_ms: 10_000,
            idle_ms: 300_000,
            stop_grace_ms: 5_000,
            retry_after_ms: 1_000,
            value_depth_max: 24,
        }
    }
}

impl IngestConfig {
    /// Makes relative paths absolute, below `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let tls = self.tls.iter_mut().flat_map(|tls| [&mut tls.cert_path, &mut tls.key_path]);
        let tokens = self.tokens.iter_mut().filter_map(|token| token.token_path.as_mut());
        for path in tls.chain(tokens) {
            *path = folder.join(&*path);
        }
    }

    /// Everything that is wrong with these values by themselves, in words; [`crate::bind`] refuses them.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("request_bytes_max", self.request_bytes_max),
            ("requests_in_flight_max", self.requests_in_flight_max),
            ("connections_max", u64::from(self.connections_max)),
            ("streams_per_connection_max", u64::from(self.streams_per_connection_max)),
            ("tls_handshake_ms", self.tls_handshake_ms),
            ("body_read_ms", self.body_read_ms),
            ("first_request_ms", self.first_request_ms),
            ("idle_ms", self.idle_ms),
            ("value_depth_max", u64::from(self.value_depth_max)),
        ] {
            if value == 0 {
                problems.push(format!("`{name}` is 0: nothing could come in"));
            }
        }
        if self.value_depth_max > 24 {
            problems.push(format!("`value_depth_max` is {}, more than 24", self.value_depth_max));
        }
        if self.request_bytes_max > 1 << 30 {
            problems.push(format!("`request_bytes_max` is {}, more than 1 GiB", self.request_bytes_max));
        }
        if self.bytes_in_flight_max / 3 < self.request_bytes_max {
            problems.push(format!(
                "`bytes_in_flight_max` is {}, less than 3 times `request_bytes_max` ({}): the longest request, its \
                 compressed form and its protobuf form must fit",
                self.bytes_in_flight_max, self.request_bytes_max
            ));
        }
        for (index, token) in self.tokens.iter().enumerate() {
            match (&token.token, &token.token_path) {
                (Some(Secret(text)), None) if !is_token(text) => {
                    problems.push(format!("`tokens[{index}].token` {TOKEN_RULE}"))
                }
                (Some(_), None) | (None, Some(_)) => {}
                _ => problems.push(format!("`tokens[{index}]` needs one of `token` and `token_path`")),
            }
        }
        problems
    }

    /// The addresses that are open to others without TLS and tokens, unless that is allowed.
    pub(crate) fn exposed(&self) -> Option<IngestError> {
        let [what, missing] = match (&self.tls, self.tokens.is_empty()) {
            (Some(_), false) => return None,
            (None, false) => ["TLS", "[otlp.tls] with cert_path and key_path"],
            (Some(_), true) => ["a token", "[[otlp.tokens]]"],
            (None, true) => ["TLS and a token", "[otlp.tls] and [[otlp.tokens]]"],
        };
        [("grpc_address", self.grpc_address), ("http_address", self.http_address)]
            .into_iter()
            .find(|(_, address)| !self.allow_insecure && !address.ip().to_canonical().is_loopback())
            .map(|(name, address)| IngestError::Exposed { name, address, what, missing })
    }

    /// The texts of all tokens, in order.
    pub(crate) fn token_texts(&self) -> Result<Vec<String>, IngestError> {
        let mut texts: Vec<String> = Vec::with_capacity(self.tokens.len());
        for (index, token) in self.tokens.iter().enumerate() {
            let text = match (&token.token, &token.token_path) {
                (_, Some(path)) => {
                    let read = std::fs::read_to_string(path);
                    let text = read.map_err(|source| IngestError::Read {
                        what: "token",
                        path: path.clone(),
                        source,
                    })?;
                    text.trim_end().to_owned()
                }
                (token, None) => token.as_ref().map(|secret| secret.0.clone()).unwrap_or_default(),
            };
            if !is_token(&text) {
                return Err(IngestError::Config {
                    problems: format!("`tokens[{index}].token_path` holds text that {TOKEN_RULE}"),
                });
            }
            if texts.contains(&text) {
                return Err(IngestError::Config {
                    problems: format!("`tokens[{index}]` is the same token as another one"),
                });
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

const TOKEN_RULE: &str = "is not 16 to 4096 printable ASCII characters without spaces";

fn is_token(text: &str) -> bool {
    (16..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: defaults are valid and closed to the network; a misspelt name is refused.
    #[test]
    fn defaults_are_safe_and_names_strict() {
        let config: IngestConfig = toml::from_str("").unwrap();
        assert_eq!(config, IngestConfig::default());
        assert!(config.problems().is_empty() && config.exposed().is_none());
        let error = toml::from_str::<IngestConfig>("request_byte_max = 1").unwrap_err();
        assert!(error.message().contains("unknown field `request_byte_max`"), "{error}");
    }

    /// Guarantees: all bad values are named at once.
    #[test]
    fn problems_are_reported_together() {
        let config: IngestConfig = toml::from_str(
            "connections_max = 0\nbytes_in_flight_max = 1000\nvalue_depth_max = 25\n[[tokens]]\ntoken = \"short\"\n[[tokens]]\n",
        )
        .unwrap();
        insta::assert_snapshot!(config.problems().join("\n"), @r"
    `connections_max` is 0: nothing could come in
    `value_depth_max` is 25, more than 24
    `bytes_in_flight_max` is 1000, less than 3 times `request_bytes_max` (16777216): the longest request, its compressed form and its protobuf form must fit
    `tokens[0].token` is not 16 to 4096 printable ASCII characters without spaces
    `tokens[1]` needs one of `token` and `token_path`
    ");
    }

    /// Guarantees: secrets are printed nowhere, neither by debugging nor by writing the configuration out.
    #[test]
    fn secrets_stay_secret() {
        let config: IngestConfig = toml::from_str("[[tokens]]\ntoken = \"correct-horse-battery\"").unwrap();
        assert!(
            !format!("{config:?}").contains("horse") && !toml::to_string(&config).unwrap().contains("horse")
        );
    }
}
