//! Who may send, and where Salve listens.

use crate::support::{Server, encoded, metrics};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use salve_ingest::{Assertions, IngestConfig, IngestError, Secret, Signal, TlsConfig, TokenConfig, bind};
use salve_model::Tenant;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig},
};

const TOKEN: &str = "correct-horse-battery-staple";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/data").join(name)
}

fn tls() -> Option<TlsConfig> {
    Some(TlsConfig { cert_path: data("test-only.cert.pem"), key_path: data("test-only.key.pem") })
}

fn token() -> TokenConfig {
    let assert = Assertions(BTreeMap::from([("service.name".into(), vec!["cart-*".into()])]));
    TokenConfig {
        token: Some(Secret(TOKEN.into())),
        tenant: Tenant("shop".into()),
        assert: Some(assert),
        ..TokenConfig::default()
    }
}

/// Guarantees: without the token nothing gets in, by any protocol; with it the sender's tenant and assertions go along.
#[tokio::test]
async fn only_known_tokens_get_in() {
    let server = Server::start(IngestConfig { tokens: vec![token()], ..IngestConfig::default() }).await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
    let mut client = MetricsServiceClient::new(channel);
    for wrong in [
        None,
        Some("Bearer wrong-horse-battery-staple"),
        Some("Basic correct-horse-battery-staple"),
        Some(TOKEN),
    ] {
        let request = server.request(Signal::Metrics).body(encoded(Signal::Metrics));
        let request =
            wrong.into_iter().fold(request, |request, value| request.header("authorization", value));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["www-authenticate"].to_str().unwrap()),
            (401, "Bearer")
        );
        let mut request = Request::new(metrics(1.0));
        if let Some(value) = wrong {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        assert_eq!(client.export(request).await.unwrap_err().code(), Code::Unauthenticated);
    }
    assert!(server.sink.seen().is_empty());
    let mut request = Request::new(metrics(1.0));
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    client.export(request).await.unwrap();
    let request = server.request(Signal::Metrics).bearer_auth(TOKEN).body(encoded(Signal::Metrics));
    assert_eq!(request.send().await.unwrap().status(), 200);
    for seen in server.sink.seen() {
        assert_eq!(seen.tenant.0, "shop");
        let allowed = seen.allowed.unwrap();
        assert!(allowed.allows("service.name", "cart-eu") && !allowed.allows("service.name", "pay"));
    }
    assert_eq!((server.values().refused_unauthenticated, server.sink.seen().len()), (8, 2));
}

/// Scenario: a web page that the operator visits posts to loopback, where no token is needed.
/// Guarantees: it is refused.
#[tokio::test]
async fn web_pages_do_not_get_in() {
    let server = Server::start(IngestConfig::default()).await;
    let request = server
        .request(Signal::Metrics)
        .header("origin", "https://example.org")
        .body(encoded(Signal::Metrics));
    assert_eq!(request.send().await.unwrap().status(), 403);
    assert!(server.sink.seen().is_empty());
}

/// Guarantees: both protocols work over TLS; a client without TLS gets nothing, and others go on.
#[tokio::test]
async fn speaks_tls() {
    let server = Server::start(IngestConfig { tls: tls(), ..IngestConfig::default() }).await;
    let pem = std::fs::read(data("test-only.cert.pem")).unwrap();
    let plain = reqwest::Client::new().post(server.url("/v1/metrics")).body("x").send().await;
    assert!(plain.is_err());
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem)).domain_name("localhost");
    let channel =
        Channel::from_shared(format!("https://{}", server.grpc)).unwrap().tls_config(config).unwrap();
    MetricsServiceClient::new(channel.connect().await.unwrap()).export(metrics(1.0)).await.unwrap();
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let request = client.post(format!("https://localhost:{}/v1/metrics", server.http.port()));
    let request = request.header("content-type", "application/x-protobuf").body(encoded(Signal::Metrics));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!((server.sink.seen().len(), server.values().failed_handshakes), (2, 1));
}

/// Guarantees: what could not run, or would be open to forged telemetry, is refused at the start with a hint.
#[tokio::test]
async fn unsafe_and_impossible_configurations_are_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = IngestConfig {
        grpc_address: "127.0.0.1:0".parse().unwrap(),
        http_address: "127.0.0.1:0".parse().unwrap(),
        ..IngestConfig::default()
    };
    let open = IngestConfig { http_address: "0.0.0.0:0".parse().unwrap(), ..free.clone() };
    let cases = [
        open.clone(),
        IngestConfig { tls: tls(), ..open.clone() },
        IngestConfig { tokens: vec![token()], ..open.clone() },
        IngestConfig { connections_max: 0, ..free.clone() },
        IngestConfig { grpc_address: taken.local_addr().unwrap(), ..free.clone() },
        IngestConfig {
            tls: Some(TlsConfig { cert_path: "/nowhere.pem".into(), key_path: "/nowhere.pem".into() }),
            ..free.clone()
        },
        IngestConfig {
            tls: Some(TlsConfig {
                cert_path: data("test-only.key.pem"),
                key_path: data("test-only.key.pem"),
            }),
            ..free.clone()
        },
        IngestConfig { tokens: vec![token(), token()], ..free.clone() },
    ];
    let mut messages = String::new();
    let sink = Server::start(IngestConfig::default()).await.sink;
    for config in cases {
        let error: IngestError = bind(config, sink.clone()).await.err().unwrap();
        messages += &format!("{error}\n  hint: {}\n", error.hint());
    }
    let messages = messages
        .replace(&taken.local_addr().unwrap().to_string(), "TAKEN")
        .replace(env!("CARGO_MANIFEST_DIR"), "");
    insta::assert_snapshot!(messages, @r"
    cannot listen for OTLP on http_address `0.0.0.0:0` without TLS and a token: forged telemetry would trigger actions
      hint: add [otlp.tls] and [[otlp.tokens]], listen on 127.0.0.1, or set `allow_insecure = true` in [otlp] on a network you trust
    cannot listen for OTLP on http_address `0.0.0.0:0` without a token: forged telemetry would trigger actions
      hint: add [[otlp.tokens]], listen on 127.0.0.1, or set `allow_insecure = true` in [otlp] on a network you trust
    cannot listen for OTLP on http_address `0.0.0.0:0` without TLS: forged telemetry would trigger actions
      hint: add [otlp.tls] with cert_path and key_path, listen on 127.0.0.1, or set `allow_insecure = true` in [otlp] on a network you trust
    cannot use the OTLP configuration: `connections_max` is 0: nothing could come in
      hint: change these values, or leave them out for the defaults
    cannot listen for OTLP on grpc_address `TAKEN`
      hint: something else listens there, perhaps an OpenTelemetry Collector: stop it or set another grpc_address
    cannot read the TLS certificate from `/nowhere.pem`
      hint: check that the file exists and that Salve's user may read it
    cannot use the TLS certificate in `/tests/servers/data/test-only.key.pem`
      hint: give a PEM file that holds the TLS certificate
    cannot use the OTLP configuration: `tokens[1]` is the same token as another one
      hint: change these values, or leave them out for the defaults
    ");
    // With both, or when told so, it listens.
    for config in [
        IngestConfig { tls: tls(), tokens: vec![token()], ..open.clone() },
        IngestConfig { allow_insecure: true, ..open },
    ] {
        assert!(bind(config, Arc::clone(&sink) as Arc<_>).await.is_ok());
    }
}
