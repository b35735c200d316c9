//! What `restart-process` does in `plan`, as an Extism plugin: reads the state of each target and proposes a restart.

use extism_pdk::{FnResult, Json, host_fn, plugin_fn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As it comes to `restart-process`.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read, as by any plugin, but not needed by this one")]
struct Request {
    incident: String,
    targets: Vec<Target>,
    parameters: Parameters,
    started: u64,
    now: u64,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, as by any plugin, but not needed by this one")]
struct Target {
    id: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    expect: Vec<String>,
}

#[derive(Deserialize)]
struct Status {
    pid: Option<u32>,
    state: String,
}

#[derive(Serialize)]
struct Proposal {
    summary: String,
    steps: Vec<Step>,
    expect: Vec<String>,
}

#[derive(Serialize)]
struct Step {
    capability: &'static str,
    verb: &'static str,
    target: String,
    arguments: &'static str,
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
        let Json(status) = unsafe { status(target.id.clone())? };
        let pid = status.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        states.push(format!("`{}` ({}{pid})", target.id, status.state));
    }
    let step =
        |target: Target| Step { capability: "process", verb: "restart", target: target.id, arguments: "{}" };
    Ok(Json(Proposal {
        summary: format!("Restart {}", states.join(", ")),
        steps: request.targets.into_iter().map(step).collect(),
        expect: request.parameters.expect,
    }))
}
