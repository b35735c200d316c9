//! The configuration and policy that most tests share: one service `worker` with a process and a file.

use crate::{daemon::Daemon, world::Sender};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Fast times, free ports, one process, one file. `mode` is put in by [`config`].
const CONFIG: &str = r#"
stop_children = false
[otlp]
grpc_address = "127.0.0.1:0"
http_address = "127.0.0.1:0"
[health]
address = "127.0.0.1:0"
[log]
level = "info"
[signals]
bucket_ms = 200
lateness_ms = 100
[plugins]
# Tests drop in what they have just made. What ships is pinned by its lock file all the same.
dev = true
cache_directory = "CACHE"
snapshot_ms = 300
[guards]
tick_ms = 50
settle_ms = 200
resettle_ms = 2000
confirm_points = 2
recover_points = 3
reopen_ms = 0
cooldown_ms = 0
verify_within_ms = 4000
verify_least_ms = 500
[[detector]]
name = "errors"
plugin = "holt-winters"
select = { names = ["salve.span.error_ratio"] }
parameters = { direction = "up", floor_absolute = 0.05, warmup_points = 8 }
[[process]]
name = "worker"
command = ["/bin/sleep", "100000"]
log_file = "@/worker.log"
stop_grace_ms = 500
autostart = true
[[target]]
id = "worker"
select = { "service.name" = "worker" }
process = "worker"
config = { file = "@/worker.toml", keys = ["*"] }
[[grant]]
plugin = "restart-process"
capability = "process"
verbs = ["*"]
targets = ["worker"]
[[grant]]
plugin = "set-config"
capability = "config"
verbs = ["*"]
targets = ["worker"]
arguments.key = { one_of = ["pool_size"] }
arguments.value = { min = 0, max = 64 }
"#;

/// Restarts whatever the analyst suspects most.
pub const RESTART_POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    let proposals = [];
    for hypothesis in findings.hypotheses {
        for target in hypothesis.targets {
            proposals.push(#{ verdict: "act", action: "restart-process", target: target, parameters: #{},
                              priority: 10, reason: "restart " + target });
        }
        break;
    }
    proposals
}
"#;

/// A change of configuration that does not help, then a restart.
pub const CHANGE_THEN_RESTART: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [
        #{ verdict: "act", action: "set-config", target: "worker", parameters: #{ key: "pool_size", value: "16" },
           priority: 20, reason: "a larger pool may help" },
        #{ verdict: "act", action: "restart-process", target: "worker", parameters: #{}, priority: 10, reason: "restart" },
    ]
}
"#;

/// All components that a heal needs.
pub const PLUGINS: [&str; 4] = ["holt-winters", "analyst", "restart-process", "set-config"];

/// The shared configuration in this mode, with `more` at its end.
#[must_use]
pub fn config(mode: &str, more: &str) -> String {
    format!("mode = \"{mode}\"\n{CONFIG}{more}")
}

/// A folder with the shared configuration, ready to start.
///
/// # Errors
/// If it cannot be filled.
pub fn prepare(mode: &str, policy: &str, more: &str) -> Result<Daemon> {
    let daemon = Daemon::prepare(&config(mode, more), policy, &PLUGINS)?;
    std::fs::write(daemon.path("worker.toml"), "# how many at once\npool_size = 8\n")?;
    Ok(daemon)
}

/// The pid of the supervised process.
///
/// # Errors
/// If the daemon does not answer.
pub fn worker_pid(daemon: &Daemon) -> Result<Option<i64>> {
    let status = daemon.json(&["status", "--json"])?;
    let processes = status["processes"].as_array().context("status has no processes")?;
    Ok(processes
        .iter()
        .find(|process| process["name"] == "worker")
        .and_then(|process| process["pid"].as_i64()))
}

/// Whether a process with this pid is there.
#[must_use]
pub fn is_alive(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A sender whose spans fail while `marker` names the process that runs: what is broken is this one process, and a new one
/// is well.
#[must_use]
pub fn sender_for_process(endpoint: String, marker: PathBuf) -> Sender {
    Sender::start(endpoint, move || {
        let pid = std::fs::read_to_string(&marker).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some_and(is_alive)
    })
}

/// Waits until the detectors are past their warm-up on healthy spans.
///
/// # Errors
/// If they do not get there.
pub async fn warm_up(daemon: &mut Daemon, points: u64) -> Result<()> {
    daemon
        .wait("detectors have seen enough", |daemon| {
            let status = daemon.json(&["status", "--json"])?;
            Ok(status["detectors"]["errors"]["points"].as_u64().unwrap_or(0) >= points)
        })
        .await
}
