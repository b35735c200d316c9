//! How a request fails: one type for all services, from the log to the wire.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// A request that cannot be served, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What the caller gets.
    pub status: StatusCode,
    /// `error.type` of spans, metrics and logs: a word from a closed set.
    pub error_type: &'static str,
    /// One sentence.
    pub message: String,
}

impl Failure {
    /// The service itself cannot do it.
    pub(crate) fn internal(error_type: &'static str, message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error_type, message }
    }

    /// All workers are busy.
    pub(crate) fn overloaded(workers: u32) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error_type: "overloaded",
            message: format!("all `{workers}` workers are busy"),
        }
    }
}

/// Put into a response's extensions, so that the server span can name what went wrong.
#[derive(Clone, Copy)]
pub(crate) struct ErrorType(pub &'static str);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.error_type, "message": self.message }));
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(ErrorType(self.error_type));
        response
    }
}
