//! Listeners and connections.

use crate::{
    IngestConfig, IngestCounters, IngestError, Sink,
    admission::Admission,
    auth::Senders,
    connections::{Active, Activity, Connections, Place},
    export::Shared,
    grpc, http,
    response::Answer,
};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

/// Bytes that an HTTP/2 client may send ahead on one stream, and on all of a connection. Memory for these is not counted as
/// in flight, so they are small.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Longest headers of a request.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How long a connection that was asked to close may take.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Both servers, listening but not yet serving.
pub struct Ingest {
    grpc: TcpListener,
    http: TcpListener,
    addresses: [SocketAddr; 2],
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// Checks `config` and listens on both addresses.
///
/// # Errors
/// [`IngestError`] with a hint: values that cannot be, an address open to others without TLS and tokens, files that cannot
/// be used, an address that is taken.
pub async fn bind(config: IngestConfig, sink: Arc<dyn Sink>) -> Result<Ingest, IngestError> {
    let (senders, tls) = prepare(&config)?;
    let (grpc, grpc_address) = listen("grpc_address", config.grpc_address).await?;
    let (http, http_address) = listen("http_address", config.http_address).await?;
    let admission = Admission::new(&config);
    let shared = Shared {
        config,
        senders,
        sink,
        counters: Arc::new(IngestCounters::new(admission.clone())),
        admission,
        stopping: AtomicBool::new(false),
    };
    Ok(Ingest { grpc, http, addresses: [grpc_address, http_address], tls, shared: Arc::new(shared) })
}

/// Says whether [`bind`] would take these values, reading the files that they name, without listening.
///
/// # Errors
/// As [`bind`], but for an address that is taken.
pub fn check(config: &IngestConfig) -> Result<(), IngestError> {
    prepare(config).map(drop)
}

fn prepare(config: &IngestConfig) -> Result<(Senders, Option<TlsAcceptor>), IngestError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(IngestError::Config { problems: problems.join("; ") });
    }
    if let Some(error) = config.exposed() {
        return Err(error);
    }
    let senders = Senders::new(&config.tokens, config.token_texts()?);
    let tls = config.tls.as_ref().map(|tls| acceptor(&tls.cert_path, &tls.key_path)).transpose()?;
    Ok((senders, tls))
}

async fn listen(name: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), IngestError> {
    let bind = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind.await.map_err(|source| IngestError::Bind { name, address, source })
}

fn acceptor(cert_path: &Path, key_path: &Path) -> Result<TlsAcceptor, IngestError> {
    let read = |what, path: &Path| {
        std::fs::read(path).map_err(|source| IngestError::Read { what, path: path.to_owned(), source })
    };
    let tls = |what, path: &Path, source: Box<dyn std::error::Error + Send + Sync>| IngestError::Tls {
        what,
        path: path.to_owned(),
        source,
    };
    let (certificate, private_key) = ("TLS certificate", "TLS private key");
    let pem = read(certificate, cert_path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| tls(certificate, cert_path, error.into()))?;
    if chain.is_empty() {
        return Err(tls(certificate, cert_path, "the file holds no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(private_key, key_path)?)
        .map_err(|error| tls(private_key, key_path, error.into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(certificate, cert_path, error.into()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| tls(private_key, key_path, error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Ingest {
    /// Where gRPC is expected; the port is the real one.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where HTTP is expected; the port is the real one.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Totals of what came in and what was refused, and what is in flight; stays readable while serving and after.
    #[must_use]
    pub fn counters(&self) -> Arc<IngestCounters> {
        self.shared.counters.clone()
    }

    /// Serves until `shutdown` ends. Then nothing new is accepted, requests under way get
    /// [`IngestConfig::stop_grace_ms`] to finish, new ones on open connections are told to come again, and all
    /// connections are closed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let acceptor = Acceptor {
            tls: self.tls,
            connections: Connections::new(self.shared.config.connections_max),
            stop: watch::Sender::new(false),
            shared: self.shared,
        };
        tokio::select! {
            () = shutdown => {}
            () = acceptor.accept(&self.grpc) => {}
            () = acceptor.accept(&self.http) => {}
        }
        drop((self.grpc, self.http));
        acceptor.shared.stopping.store(true, Ordering::Relaxed);
        acceptor.stop.send_replace(true);
        // Each connection ends within the grace time by itself.
        acceptor.connections.all_closed().await;
        let (requests, bytes) = (acceptor.shared.admission.requests(), acceptor.shared.admission.bytes());
        if requests > 0 {
            tracing::warn!(
                requests,
                bytes,
                "OTLP requests were cut off while stopping; their senders will send them again."
            );
        }
    }
}

struct Acceptor {
    tls: Option<TlsAcceptor>,
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

impl Acceptor {
    /// Accepts connections for ever.
    async fn accept(&self, listener: &TcpListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept an OTLP connection.");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.connections.place().await else {
                self.shared.counters.count(|counters| &counters.refused_connections);
                continue;
            };
            self.shared.counters.count(|counters| &counters.connections);
            let (tls, shared, stop) = (self.tls.clone(), self.shared.clone(), self.stop.subscribe());
            tokio::spawn(connect(stream, place, tls, shared, stop));
        }
    }
}

async fn connect(
    stream: TcpStream,
    place: Place,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small: do not hold them back. A failure here shows again on first use.
    drop(stream.set_nodelay(true));
    let Some(tls) = tls else {
        return serve(stream, &place.activity, shared, stop).await;
    };
    let handshake_within = Duration::from_millis(shared.config.tls_handshake_ms);
    let handshake = tokio::select! {
        handshake = timeout(handshake_within, tls.accept(stream)) => handshake,
        () = place.activity.asked_to_leave() => {
            return shared.counters.count(|counters| &counters.idle_connections_closed);
        }
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match handshake {
        Ok(Ok(stream)) => serve(stream, &place.activity, shared, stop).await,
        failed => {
            let error = failed.map_or_else(
                |_| "it took too long".to_owned(),
                |failed| failed.err().map_or_else(String::new, |error| error.to_string()),
            );
            tracing::debug!(error, "TLS handshake failed.");
            shared.counters.count(|counters| &counters.failed_handshakes);
        }
    }
}

/// Serves one connection until it ends, does nothing for too long, or is told to stop.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    activity: &Arc<Activity>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let config = &shared.config;
    let service = service_fn({
        let (shared, activity) = (shared.clone(), activity.clone());
        move |request| answer(shared.clone(), activity.begin(), request)
    });
    let builder = builder(config);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let stop_grace = Duration::from_millis(config.stop_grace_ms);
    let mut deadline = Instant::now() + Duration::from_millis(config.first_request_ms);
    let mut closing = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "OTLP connection ended.");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                (closing, stopping) = (true, true);
                connection.as_mut().graceful_shutdown();
                deadline = Instant::now() + stop_grace;
            }
            () = activity.asked_to_leave() => {
                if !closing {
                    shared.counters.count(|counters| &counters.idle_connections_closed);
                }
                return;
            }
            () = sleep_until(deadline) => {
                if closing {
                    return;
                }
                match activity.idle_since() {
                    Some(since) if since + Duration::from_millis(config.idle_ms) <= Instant::now() || !activity.began() => {
                        shared.counters.count(|counters| &counters.idle_connections_closed);
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                        deadline = Instant::now() + CLOSE_GRACE;
                    }
                    since => deadline = since.unwrap_or_else(Instant::now) + Duration::from_millis(config.idle_ms),
                }
            }
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    active: Active,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    // gRPC lives on HTTP/2 only; what claims otherwise is told so by its content type.
    let is_grpc = request.version() >= hyper::Version::HTTP_2 && grpc::is_grpc(request.headers());
    let response =
        if is_grpc { grpc::serve(&shared, request).await } else { http::serve(&shared, request).await };
    if response.status().is_success() && !grpc::is_refusal(response.headers()) {
        active.is_welcome();
    }
    Ok(response)
}

fn builder(config: &IngestConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Its own time for headers runs while a connection is idle too; `Activity` tells both apart.
        .header_read_timeout(None)
        .max_buf_size(HEADERS_BYTES_MAX as usize * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_per_connection_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX);
    builder
}
