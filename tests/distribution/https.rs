//! The HTTPS source, against a real TLS server with an authority that no system knows.

use crate::support::{Author, command, component, digest, files, operator, refused, text};
use anyhow::{Context, Result};
use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Redirect},
    routing::get,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use salve_tests::daemon::Daemon;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, process::Output, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not trust us hangs up here.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn fixture(name: &str) -> PathBuf {
    salve_tests::root().join("tests/fixtures/tls").join(name)
}

/// Serves files, and some addresses that lead elsewhere.
async fn serve(files: BTreeMap<String, Vec<u8>>) -> Result<SocketAddr> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let certificates =
        CertificateDer::pem_file_iter(fixture("test-only.cert.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(fixture("test-only.key.pem"))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let files = Arc::new(files);
    let file = move |Path(name): Path<String>| {
        let found = files.get(&name).cloned();
        async move { found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response) }
    };
    let huge = async || vec![0_u8; (64 << 20) + 1];
    let router = Router::new()
        .route("/files/{name}", get(file))
        .route(
            "/moved/{name}",
            get(async |Path(name): Path<String>| Redirect::temporary(&format!("/files/{name}"))),
        )
        .route(
            "/away/{name}",
            get(async |Path(name): Path<String>| Redirect::temporary(&format!("https://localhost:1/{name}"))),
        )
        .route("/round", get(async || Redirect::temporary("/round")))
        .route("/huge.wasm", get(huge))
        .route("/broken.wasm", get(async || StatusCode::INTERNAL_SERVER_ERROR));
    let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    tokio::spawn(async move { axum::serve(tls, router).await });
    Ok(address)
}

fn pull(daemon: &Daemon, arguments: &[&str]) -> Result<Output> {
    let mut pull = command(&["plugin", "pull"]);
    pull.args(arguments).env("SALVE_CONFIG", daemon.path("salve.toml"));
    Ok(pull.output()?)
}

/// Scenario: signed and unsigned components behind HTTPS, redirects, a file that is too large, a server that fails, and no
/// TLS at all.
/// Guarantees: a signature or a digest lets in, nothing else does; redirects stay with the host; sizes are bounded; an
/// authority is trusted only if it is named.
#[tokio::test(flavor = "multi_thread")]
async fn components_from_https() -> Result<()> {
    let author = Author::new()?;
    let signed = author.signed("probe", "1.0.0", "action")?;
    let bare = component("bare", "1.0.0", "action")?;
    let bare_digest = digest(&bare)?;
    let mut served = BTreeMap::from([("bare.wasm".to_owned(), bare)]);
    for (name, path) in
        [("probe.wasm", signed.clone()), ("probe.wasm.sig", signed.with_extension("wasm.sig"))]
    {
        served.insert(name.to_owned(), std::fs::read(path)?);
    }
    let address = serve(served).await?;
    let authority = fixture("test-only.ca.pem");
    let authority = authority.to_str().context("path")?;
    let operator = operator(&author.publisher("ours"))?;
    let url = |path: &str| format!("https://{address}/{path}");

    let unknown = pull(&operator, &[&url("files/probe.wasm")])?;
    refused(&unknown, &["no answer from", "--ca-file"])?;
    for (path, expected) in [
        ("files/bare.wasm", "is not signed by a trusted publisher"),
        ("files/none.wasm", "does not have it"),
        ("away/probe.wasm", "leads to `https://localhost:1/probe.wasm`"),
        ("round", "leads to"),
        ("huge.wasm", "there are more than"),
        ("broken.wasm", "answers 500"),
    ] {
        let output = pull(&operator, &["--ca-file", authority, &url(path)])?;
        assert!(!output.status.success() && text(&output).contains(expected), "{path}: {}", text(&output));
        assert!(files(&operator)?.is_empty(), "{path}");
    }
    refused(&pull(&operator, &[&format!("http://{address}/files/probe.wasm")])?, &["is not encrypted"])?;
    let other = digest(&std::fs::read(&signed)?)?;
    refused(
        &pull(&operator, &["--ca-file", authority, "--sha256", &other, &url("files/bare.wasm")])?,
        &[&format!("has digest {bare_digest}")],
    )?;
    assert!(files(&operator)?.is_empty());

    for path in ["files/probe.wasm", "moved/probe.wasm"] {
        let pulled = pull(&operator, &["--ca-file", authority, &url(path)])?;
        assert!(pulled.status.success() && text(&pulled).contains("signed by ours"), "{}", text(&pulled));
    }
    let pinned =
        pull(&operator, &["--ca-file", authority, "--sha256", &bare_digest, &url("files/bare.wasm")])?;
    assert!(pinned.status.success(), "{}", text(&pinned));
    assert_eq!(files(&operator)?, ["bare.wasm", "probe.wasm", "probe.wasm.sig", "salve-plugins.lock"]);
    let again = pull(&operator, &["--ca-file", authority, "--locked"])?;
    assert!(again.status.success(), "{}", text(&again));

    // Beside the configuration, for a look.
    let out = operator.path("looked-at.wasm");
    let key = author.path("key.pub");
    let key = key.to_str().context("path")?;
    let seen = pull(
        &operator,
        &[
            "--ca-file",
            authority,
            "--key",
            key,
            "--out",
            out.to_str().context("path")?,
            &url("files/probe.wasm"),
        ],
    )?;
    assert!(seen.status.success(), "{}", text(&seen));
    assert_eq!(std::fs::read(out)?, std::fs::read(signed)?);
    Ok(())
}
