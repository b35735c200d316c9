//! Bearer tokens, as the large registries ask for them. docker-registry itself takes only tokens that a server with a
//! certificate has made, so a small registry stands in that speaks the token protocol and serves one artifact.

use crate::support::{Author, command, digest, operator, refused, text};
use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

const TOKEN: &str = "a-token-that-nobody-guesses";

#[derive(Clone)]
struct Stub {
    address: SocketAddr,
    /// Where it sends people for a token.
    realm: Arc<Mutex<String>>,
    /// By tag and by digest.
    content: Arc<BTreeMap<String, Vec<u8>>>,
    /// What was asked for.
    queries: Arc<Mutex<Vec<String>>>,
}

async fn token(State(stub): State<Stub>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    stub.queries.lock().unwrap_or_else(PoisonError::into_inner).push(query.unwrap_or_default());
    let basic = format!("Basic {}", STANDARD.encode("me:pass"));
    if headers.get(header::AUTHORIZATION).is_some_and(|value| value == basic.as_str()) {
        return axum::Json(serde_json::json!({ "token": TOKEN })).into_response();
    }
    StatusCode::UNAUTHORIZED.into_response()
}

async fn content(
    State(stub): State<Stub>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let bearer = format!("Bearer {TOKEN}");
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != bearer.as_str()) {
        let realm = stub.realm.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"stub\"");
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    stub.content
        .get(&name)
        .cloned()
        .map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

async fn serve(content_by_name: BTreeMap<String, Vec<u8>>) -> Result<Stub> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let stub = Stub {
        address,
        realm: Arc::new(Mutex::new(format!("http://{address}/token"))),
        content: Arc::new(content_by_name),
        queries: Arc::default(),
    };
    let router = Router::new()
        .route("/token", get(token))
        .route("/v2/probe/{kind}/{name}", get(content))
        .with_state(stub.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(stub)
}

/// Scenario: a registry answers 401 with the address of a token server; that one wants a password. Then the address leads
/// to another machine, without TLS.
/// Guarantees: a password is exchanged for a token of just the needed scope, and the token is used; a wrong password is
/// refused; nothing is sent in the clear to another machine.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_exchanged_for_tokens() -> Result<()> {
    let author = Author::new()?;
    let component = author.signed("probe", "1.0.0", "action")?;
    let bytes = std::fs::read(&component)?;
    let file: Value = serde_json::from_slice(&std::fs::read(component.with_extension("wasm.sig"))?)?;
    let part = |key: &str| STANDARD.decode(file[key].as_str().unwrap_or_default()).context("base64");
    let (manifest, config) = (part("manifest")?, part("config")?);
    let document: Value = serde_json::from_slice(&manifest)?;
    let config_digest = document["config"]["digest"].as_str().context("no digest")?.to_owned();
    let component_digest = digest(&bytes)?;
    let stub = serve(BTreeMap::from([
        ("1".to_owned(), manifest),
        (config_digest, config),
        (component_digest.clone(), bytes),
    ]))
    .await?;
    let operator = operator("")?;
    let pull = |password: &str| {
        command(&[
            "plugin",
            "pull",
            "--plain-http",
            "--sha256",
            &component_digest,
            &format!("oci://{}/probe:1", stub.address),
        ])
        .env("SALVE_CONFIG", operator.path("salve.toml"))
        .env("SALVE_REGISTRY_USERNAME", "me")
        .env("SALVE_REGISTRY_PASSWORD", password)
        .output()
    };
    refused(&pull("wrong")?, &["does not accept these credentials"])?;
    let pulled = pull("pass")?;
    assert!(pulled.status.success(), "{}", text(&pulled));
    assert!(operator.path("plugins/probe.wasm").exists());
    assert!(!text(&pulled).contains(TOKEN));
    // One token serves all calls of a pull.
    assert_eq!(
        *stub.queries.lock().unwrap_or_else(PoisonError::into_inner),
        ["service=stub&scope=repository%3Aprobe%3Apull"; 2]
    );

    *stub.realm.lock().unwrap_or_else(PoisonError::into_inner) = "http://192.0.2.1/token".into();
    refused(&pull("pass")?, &["`http://192.0.2.1/token` is not encrypted"])?;
    Ok(())
}
