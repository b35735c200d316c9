//! Liveness and readiness over HTTP.
//!
//! ## What always holds
//! - a connection gets one answer and ends within [`CONNECTION_MAX`]
//! - no more than [`CONNECTIONS_MAX`] are open; who comes then waits in the system's queue

use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

const CONNECTION_MAX: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 32;
/// Before the next try when no connection can be taken, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `/livez` and `/readyz` until `stopping` says so. Returns the bound address.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = accept(listener, ready) => {}
        }
    });
    Ok(bound)
}

async fn accept(listener: TcpListener, ready: Arc<AtomicBool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Fails only if the semaphore is closed, which nobody does.
    while let Ok(permit) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let ready = ready.clone();
                tokio::spawn(async move {
                    drop(timeout(CONNECTION_MAX, answer_once(stream, &ready)).await);
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot accept a connection to the health listener.");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_once(stream: TcpStream, ready: &AtomicBool) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, ready)) });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "A connection to the health listener ended early.");
    }
}

fn answer(request: &Request<Incoming>, ready: &AtomicBool) -> Response<String> {
    let (status, text) = match request.uri().path() {
        "/livez" => (StatusCode::OK, "live\n"),
        "/readyz" if ready.load(Ordering::Relaxed) => (StatusCode::OK, "ready\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => (StatusCode::NOT_FOUND, "ask for /livez or /readyz\n"),
    };
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    response
}
