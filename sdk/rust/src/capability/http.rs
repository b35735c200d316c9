//! HTTP calls to a target. The target has scheme, host and port; the grant has methods, paths, headers and secrets.

pub use crate::bindings::action::salve::plugin::http::{Request, Response};
use crate::{CallError, Capabilities, Receipt, Step, plan};
use serde::{Deserialize, Serialize};

#[cfg(target_arch = "wasm32")]
use crate::bindings::action::salve::plugin::http as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::http as host;

/// `http` in [`Action::Uses`](crate::Action::Uses).
#[derive(Debug, Clone, Copy)]
pub struct Capability;

/// Arguments of `send` as plans state them; fields in the order of their names.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SendArguments {
    body_sha256: String,
    headers: Vec<(String, String)>,
    idempotency_key: Option<String>,
    method: String,
    path: String,
    query: Vec<(String, String)>,
}

/// A request without query, headers, body and idempotency key. `method`: upper-case; `path`: absolute.
#[must_use]
pub fn request(target: impl AsRef<str>, method: &str, path: &str) -> Request {
    Request {
        target: target.as_ref().into(),
        method: method.into(),
        path: path.into(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
        idempotency_key: None,
    }
}

/// Makes a GET or HEAD.
///
/// # Errors
/// See [`CallError`]. A status of 400 and above is an answer, not an error.
pub fn get(request: &Request) -> Result<Response, CallError> {
    host::get(request)
}

/// Makes a call of any other method.
///
/// # Errors
/// See [`CallError`]. A status of 400 and above is an answer, not an error.
pub fn send(request: &Request) -> Result<(Response, Receipt), CallError> {
    host::send(request)
}

/// The step that licenses [`send`] with just this request; its body by digest.
#[must_use]
pub fn send_step(request: &Request) -> Step {
    plan::step(
        "http",
        "send",
        &request.target,
        &SendArguments {
            body_sha256: plan::body_sha256(&request.body),
            headers: request.headers.clone(),
            idempotency_key: request.idempotency_key.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
        },
    )
}

impl Capabilities for Capability {
    fn perform(step: &Step, bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>> {
        (step.capability == "http").then(|| {
            if step.verb != "send" {
                return Err(CallError::NotFound(format!("`http` has no write `{}`", step.verb)));
            }
            let arguments: SendArguments = serde_json::from_str(&step.arguments)
                .map_err(|error| CallError::Failed(format!("arguments of the step: {error}")))?;
            let none: &[u8] = &[];
            let body = std::iter::once(none)
                .chain(bodies.iter().copied())
                .find(|body| plan::body_sha256(body) == arguments.body_sha256)
                .ok_or_else(|| {
                    CallError::NotFound(format!("no body has the digest {}", arguments.body_sha256))
                })?;
            let (response, receipt) = send(&Request {
                target: step.target.clone(),
                method: arguments.method,
                path: arguments.path,
                query: arguments.query,
                headers: arguments.headers,
                body: body.to_vec(),
                idempotency_key: arguments.idempotency_key,
            })?;
            match response.status {
                400.. => Err(CallError::Failed(format!("the answer was status {}", response.status))),
                _ => Ok(receipt),
            }
        })
    }
}
