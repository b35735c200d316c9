//! A real server on loopback, which keeps what it was asked.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// One request as a server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) type Log = Arc<Mutex<Vec<Seen>>>;

async fn answer(
    State(log): State<Log>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get("authorization").cloned();
    log.lock().unwrap().push(Seen { method, uri: uri.to_string(), headers, body });
    match uri.path() {
        "/api/moved" => (StatusCode::FOUND, [("location", "/api/elsewhere")], "").into_response(),
        "/api/large" => vec![b'x'; 100_000].into_response(),
        "/api/packed" => ([("content-encoding", "gzip")], vec![0x1f, 0x8b, 8, 0]).into_response(),
        "/api/slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            ().into_response()
        }
        "/api/echo" => {
            let text = authorization.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            ([("x-echo", text.clone())], format!("you said {text}!")).into_response()
        }
        "/api/broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        path if path.starts_with("/api/status/") => {
            let status = path.rsplit('/').next().and_then(|status| status.parse().ok());
            (StatusCode::from_u16(status.unwrap()).unwrap(), "why").into_response()
        }
        _ => "ok".into_response(),
    }
}

pub(crate) async fn server() -> (SocketAddr, Log) {
    let log = Log::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&log));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, log)
}
