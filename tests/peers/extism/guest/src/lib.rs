//! What `restart-process` does in `plan`, as an Extism plugin: reads the state of each target and proposes a restart.

use extism_pdk::{FnResult, Json, host_fn, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Status {
    pid: Option<u32>,
    state: String,
}

#[derive(Serialize)]
struct Step {
    capability: &'static str,
    verb: &'static str,
    target: String,
    arguments: &'static str,
}

#[derive(Serialize)]
struct Proposal {
    summary: String,
    steps: Vec<Step>,
}

#[host_fn]
extern "ExtismHost" {
    fn status(target: String) -> Json<Status>;
}

/// The plan for a request.
#[plugin_fn]
pub fn plan(Json(request): Json<Request>) -> FnResult<Json<Proposal>> {
    let mut states = Vec::new();
    for target in &request.targets {
        let Json(status) = unsafe { status(target.clone())? };
        let pid = status.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        states.push(format!("`{target}` ({}{pid})", status.state));
    }
    let step = |target| Step { capability: "process", verb: "restart", target, arguments: "{}" };
    Ok(Json(Proposal {
        summary: format!("Restart {}", states.join(", ")),
        steps: request.targets.into_iter().map(step).collect(),
    }))
}
