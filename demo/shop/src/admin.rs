//! What a person (or the demo's runner) may ask of a service: how it is, and to misbehave. On loopback only.

use crate::memory::{self, Leak};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a process is. Answer to `GET /admin/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// `service.name`.
    pub service: &'static str,
    /// Process id.
    pub pid: u32,
    /// Rises with each configuration that was taken.
    pub config_version: u64,
    /// Resident memory.
    pub memory_usage_bytes: Option<u64>,
    /// `RLIMIT_DATA`.
    pub memory_limit_bytes: Option<u64>,
    /// The leak's pace.
    pub leak_bytes_per_second: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeakRequest {
    bytes_per_second: u64,
}

/// What the routes need to know.
pub(crate) struct Admin {
    /// `service.name`.
    pub service: &'static str,
    /// The version of the configuration in force.
    pub config_version: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The leak of this process.
    pub leak: Arc<Leak>,
}

impl Admin {
    fn status(&self) -> Status {
        Status {
            service: self.service,
            pid: std::process::id(),
            config_version: (self.config_version)(),
            memory_usage_bytes: memory::usage_bytes(),
            memory_limit_bytes: memory::limit_bytes(),
            leak_bytes_per_second: self.leak.bytes_per_second(),
        }
    }

    /// `GET /admin/status`, `POST /admin/leak`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/admin/status", get(|State(admin): State<Arc<Self>>| async move { Json(admin.status()) }))
            .route(
                "/admin/leak",
                post(|State(admin): State<Arc<Self>>, Json(request): Json<LeakRequest>| async move {
                    admin.leak.set(request.bytes_per_second);
                    Json(admin.status())
                }),
            )
            .with_state(Arc::new(self))
    }
}
