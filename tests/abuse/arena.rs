//! One daemon under OTLP load, with a service that is broken and healed all the while: the attacks' surroundings.
//!
//! ## What always holds
//! - the load never stops, and every export is counted: sent, refused, lost
//! - `control` is broken as soon as it was healed, so that its detector, agent, policy, action and verification are at work
//!   during every attack
//! - an attack is looked at only as a person could: command line, log, ledger

use crate::{Attack, server};
use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use salve_tests::{
    daemon::Daemon,
    world::{attribute, client, now_unix_ns},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// No attack takes longer, and no heal of `control` beside it.
pub const WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for. Each starts a `salve`.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// What every victim's file holds before an attack.
pub const VICTIM: &str = "# how many at once\npool_size = 8\nadmin_password = \"do not touch\"\n";
/// The value of a secret key in it.
pub const PASSWORD: &str = "do not touch";
/// A secret that the host adds to calls; it must never be seen anywhere.
pub const SECRET: &str = "Bearer kept-by-the-host-31415";
/// A variable of the daemon's own environment; no guest may see it.
pub const VARIABLE: &str = "abuse-variable-27182";

/// What the load says of a person in its attributes; nobody behind the door sees it.
pub const PERSON: &str = "ada.lovelace-1843@example.org";

/// What the load is sent with; it may say anything.
pub const SENDER: &str = "sender-of-the-load-1618";
/// What a stranger sends with, who may speak of their own services only.
pub const STRANGER: &str = "stranger-next-door-1414";

/// What the sender of another tenant sends with, who may say anything, of services that are called as this tenant's are.
pub const FOREIGN: &str = "foreign-tenant-of-1732";

/// First-party components that are at work, and a detector of the tests.
const PLUGINS: [&str; 4] = ["holt-winters", "analyst", "set-config", "restart-process"];

const CONFIG: &str = r#"
mode = "act"
[otlp]
grpc_address = "127.0.0.1:0"
http_address = "127.0.0.1:0"
[[otlp.tokens]]
token = "SENDER"
[[otlp.tokens]]
token = "STRANGER"
tenant = "stranger"
assert = { "service.name" = ["stranger-*"] }
[[otlp.tokens]]
token = "FOREIGN"
tenant = "foreign"
[health]
address = "127.0.0.1:OWN_HEALTH"
[log]
level = "info"
[signals]
bucket_ms = 200
lateness_ms = 100
redact_attributes = ["user.*"]
[plugins]
dev = DEV
cache_directory = "CACHE"
compile_memory_bytes = 268435456
snapshot_ms = 500
[plugins.limits_of.hold-open]
wall_clock_ms = 2000
[guards]
tick_ms = 50
settle_ms = 100
confirm_points = 2
recover_points = 2
reopen_ms = 0
cooldown_ms = 0
rate_max = 100000
blast_radius_objects_max = 1000
blast_radius_percent_max = 100
attempts_max = 2
correlate_hops_max = 0
verify_within_ms = 4000
verify_within_max_ms = 6000
verify_least_ms = 200
verify_samples_min = 2
wait_ms = 500
incidents_open_max = 500
history_max = 500
[policies.limits]
time_ms_max = 1000
[[secret]]
name = "kept"
file = "@/kept"
[[detector]]
name = "levels"
plugin = "holt-winters"
select = { names = ["abuse.level"] }
parameters = { direction = "up", floor_absolute = 10.0, warmup_points = 7, adapt_after_points = 65000 }
[[process]]
name = "bystander"
command = ["/bin/sleep", "100000"]
log_file = "@/bystander.log"
stop_grace_ms = 200
autostart = true
[[target]]
id = "bystander"
select = { "service.name" = "bystander" }
process = "bystander"
[[target]]
id = "control"
select = { "service.name" = "control" }
config = { file = "@/control.toml", keys = ["*"] }
[[grant]]
plugin = "set-config"
capability = "config"
verbs = ["*"]
targets = ["control"]
arguments.key = { one_of = ["pool_size"] }
arguments.value = { one_of = ["8"] }
"#;

/// `control` is set back; any other service is given to the action of its name.
const POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    let service = incident.services[0];
    let action = service;
    if service.starts_with("crowd-") {
        action = service.sub_string(0, service.len() - 3);
    }
    let parameters = #{};
    if service == "control" {
        action = "set-config";
        parameters = #{ key: "pool_size", value: "8" };
    }
    [#{ verdict: "act", action: action, target: service, parameters: parameters, priority: 10, reason: "test" }]
}
"#;

/// What the sender has done so far.
#[derive(Debug, Default)]
pub struct Load {
    pub exports: AtomicU64,
    pub points: AtomicU64,
    /// Exports that were not answered with 200, or not at all.
    pub lost: AtomicU64,
    /// Points that were not taken.
    pub refused: AtomicU64,
}

/// The daemon and its surroundings.
pub struct Arena {
    pub daemon: Daemon,
    pub load: Arc<Load>,
    /// Where a server means harm, and what it was asked.
    pub nasty: (SocketAddr, server::Requests),
    /// Where nobody may come, and how often somebody did.
    pub forbidden: (SocketAddr, Arc<AtomicU64>),
    /// OTLP over HTTP.
    pub otlp: String,
    pub pid: u64,
    pub bystander: i64,
    pub rss_before: u64,
    sick: Arc<Mutex<BTreeSet<String>>>,
    rounds: Arc<AtomicU64>,
    paused: Arc<AtomicBool>,
    runtime: tokio::runtime::Runtime,
}

impl Arena {
    /// Starts everything and waits until `control` was healed once. `dev`: unsigned plugins load.
    pub fn start(attacks: &[Attack], dev: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (forbidden, nasty) = runtime.block_on(async {
            let forbidden = server::forbidden().await?;
            let nasty = server::nasty(forbidden.0).await?;
            anyhow::Ok((forbidden, nasty))
        })?;
        let [health] = salve_ports::free()?;
        let mut config = CONFIG.to_owned();
        for attack in attacks {
            config.push_str(&attack.config(&nasty.0, &forbidden.0, dev)?);
        }
        let config = config
            .replace("DEV", &dev.to_string())
            .replace("OWN_HEALTH", &health.to_string())
            .replace("\"SENDER\"", &format!("{SENDER:?}"))
            .replace("\"STRANGER\"", &format!("{STRANGER:?}"))
            .replace("\"FOREIGN\"", &format!("{FOREIGN:?}"));
        let mut daemon = Daemon::prepare(&config, POLICY, &PLUGINS)?;
        std::fs::write(daemon.path("kept"), SECRET)?;
        std::fs::write(daemon.path("control.toml"), VICTIM)?;
        for attack in attacks {
            attack.prepare(&daemon, &nasty.0)?;
        }
        // A guest or broker that looks at the environment would go there.
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
            daemon.environment(name, format!("http://{}", forbidden.0));
        }
        daemon.environment("ABUSE_VARIABLE", VARIABLE);
        runtime.block_on(daemon.start())?;
        let status = daemon.json(&["status", "--json"])?;
        let otlp = format!("http://{}", status["otlp_http_address"].as_str().context("no address")?);
        let mut arena = Self {
            pid: status["pid"].as_u64().context("no pid")?,
            bystander: status["processes"][0]["pid"].as_i64().context("the bystander does not run")?,
            rss_before: 0,
            daemon,
            load: Arc::default(),
            nasty,
            forbidden,
            otlp,
            sick: Arc::default(),
            rounds: Arc::default(),
            paused: Arc::default(),
            runtime,
        };
        let services: Vec<String> = attacks.iter().flat_map(Attack::services).collect();
        arena.send(services);
        let mut status = status;
        let warm = arena.wait("detectors are warm", || {
            status = arena.daemon.json(&["status", "--json"])?;
            let levels = &status["detectors"]["levels"];
            ensure!(levels["problem"].is_null(), "{status:#}");
            let count = |name: &str| levels[name].as_u64().unwrap_or_default();
            Ok(count("series") > 0 && count("points") > 12 * count("series"))
        });
        warm.with_context(|| format!("{:#}; {:?}", status["detectors"], arena.load))?;
        arena.keep_control_going();
        arena.wait("control was healed", || Ok(arena.rounds() > 1))?;
        arena.rss_before = arena.rss()?;
        Ok(arena)
    }

    /// Sends levels of all services, a pulse for detectors that are attacked, and a bulk of other series, for ever.
    fn send(&self, services: Vec<String>) {
        let (load, sick, endpoint) = (self.load.clone(), self.sick.clone(), self.otlp.clone());
        let control = self.daemon.path("control.toml");
        self.runtime.spawn(async move {
            let client = client();
            let mut round = 0_u64;
            loop {
                let is_sick =
                    |service: &str| sick.lock().unwrap_or_else(PoisonError::into_inner).contains(service);
                let broken =
                    std::fs::read_to_string(&control).is_ok_and(|text| !text.contains("pool_size = 8"));
                let mut resources =
                    vec![gauge("control", "abuse.level", &[("", if broken { 1_000.0 } else { 1.0 })])];
                for service in &services {
                    let level = if is_sick(service) { 1_000.0 } else { 1.0 };
                    resources.push(gauge(service, "abuse.level", &[("", level)]));
                }
                let pulse: Vec<(String, f64)> = (0..8).map(|id| (id.to_string(), 1.0 + id as f64)).collect();
                let pulse: Vec<(&str, f64)> = pulse.iter().map(|(id, value)| (id.as_str(), *value)).collect();
                resources.push(gauge("pulse", "abuse.pulse", &pulse));
                let poison = [("0", 1.0), ("1", 2.0), ("2", 3.0), ("3", 666.0), ("4", 5.0)];
                resources.push(gauge("pulse", "abuse.poison", &poison));
                let bulk: Vec<(String, f64)> =
                    (0..400).map(|id| (id.to_string(), (round + id) as f64 % 97.0)).collect();
                let bulk: Vec<(&str, f64)> = bulk.iter().map(|(id, value)| (id.as_str(), *value)).collect();
                resources.push(gauge("bulk", "abuse.bulk", &bulk));
                round += 1;
                let points = resources.iter().map(points_of).sum::<u64>();
                let body = ExportMetricsServiceRequest { resource_metrics: resources }.encode_to_vec();
                load.exports.fetch_add(1, Relaxed);
                load.points.fetch_add(points, Relaxed);
                match export(&client, &endpoint, body).await {
                    Ok(refused) => _ = load.refused.fetch_add(refused, Relaxed),
                    Err(_) => _ = load.lost.fetch_add(1, Relaxed),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Breaks `control`, waits until Salve has healed it, and so on.
    fn keep_control_going(&self) {
        let file = self.daemon.path("control.toml");
        let (rounds, paused) = (self.rounds.clone(), self.paused.clone());
        let config = self.daemon.path("salve.toml");
        self.runtime.spawn(async move {
            loop {
                if !paused.load(Relaxed) {
                    drop(write(&file, VICTIM.replace("= 8", "= 3")));
                    let mut healed = true;
                    while let Some(phase) = open_phase_of_control(&config, &file).await {
                        if phase == "escalated" {
                            // Given up, as on a machine that is too busy to verify in time: such a round does not count.
                            healed = false;
                            drop(write(&file, VICTIM));
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    if !healed {
                        continue;
                    }
                    rounds.fetch_add(1, Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// How often `control` was broken and healed.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Relaxed)
    }

    /// `control` is broken and healed anew: detectors, agents, policies and actions are at work.
    pub fn control_goes_on(&self) -> Result<()> {
        // The round under way may have been all but done before.
        for _ in 0..2 {
            let enough = self.rounds() + 1;
            self.wait("control is healed while others are attacked", || Ok(self.rounds() >= enough))?;
        }
        Ok(())
    }

    /// Holds the breaking of `control`, for attacks on the kill switch.
    pub fn pause_control(&self, pause: bool) {
        self.paused.store(pause, Relaxed);
    }

    /// Makes a service sick, or well again.
    pub fn sicken(&self, service: &str, is_sick: bool) {
        let mut sick = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
        if is_sick {
            sick.insert(service.into());
        } else {
            sick.remove(service);
        }
    }

    /// Runs a future on the arena's threads.
    pub fn block_on<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime.block_on(future)
    }

    /// Waits until `condition` holds, for at most [`WITHIN`].
    pub fn wait(&self, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !condition().with_context(|| format!("while waiting until {what}"))? {
            ensure!(begun.elapsed() < WITHIN, "waited in vain until {what}");
            ensure!(
                self.pid == 0 || PathBuf::from(format!("/proc/{}", self.pid)).exists(),
                "the daemon is gone while waiting until {what}\n{}",
                self.daemon.log_end()
            );
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The newest incident of a service: one line of the list.
    pub fn incident_of(&self, service: &str) -> Result<Option<Value>> {
        let list = self.daemon.json(&["incident", "list", "--json"])?;
        let is_of = |incident: &&Value| {
            incident["services"].as_array().is_some_and(|services| services.iter().any(|one| one == service))
        };
        Ok(list.as_array().into_iter().flatten().find(is_of).cloned())
    }

    /// Entries of the ledger that belong to an incident, as JSON lines.
    pub fn ledger_of(&self, incident: &str) -> Result<String> {
        let output =
            self.daemon.salve(&["ledger", "show", "--json", "--limit", "10000", "--incident", incident])?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Notes among the newest entries of the ledger, more than any attack takes, as JSON lines.
    pub fn notes(&self) -> Result<String> {
        const NEWEST: u64 = 10_000;
        let all = self.daemon.json(&["status", "--json"])?["ledger_entries"].as_u64().unwrap_or_default();
        let from = all.saturating_sub(NEWEST).to_string();
        let output =
            self.daemon.salve(&["ledger", "show", "--json", "--limit", "1000000", "--from", &from])?;
        let text = String::from_utf8(output.stdout)?;
        let notes: Vec<&str> = text.lines().filter(|line| line.contains(r#""kind":"note""#)).collect();
        Ok(notes.join("\n"))
    }

    /// What `salve plugin list` says of a plugin: of the version that answers, if one does.
    pub fn plugin(&self, name: &str) -> Result<Option<Value>> {
        Ok(self.versions(name)?.into_iter().next())
    }

    /// What it says of all versions of a plugin.
    pub fn versions(&self, name: &str) -> Result<Vec<Value>> {
        let list = self.daemon.json(&["plugin", "list", "--json"])?;
        Ok(list.as_array().into_iter().flatten().filter(|plugin| plugin["name"] == name).cloned().collect())
    }

    /// Puts a file into the plugin folder, whole.
    pub fn drop_plugin(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write(&self.daemon.path(&format!("plugins/{name}.wasm")), bytes)
    }

    /// Takes a file out of the plugin folder.
    pub fn remove_plugin(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.daemon.path(&format!("plugins/{name}.wasm")))?)
    }

    /// Whether the daemon has noticed that. What it had loaded of it stays listed, and out of use.
    pub fn is_unloaded(&self, name: &str) -> bool {
        let file = format!("plugins/{name}.wasm");
        self.daemon.log().lines().any(|line| line.contains("Plugin unloaded") && line.contains(&file))
    }

    /// The daemon's resident memory, in bytes.
    pub fn rss(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1_024)
    }
}

/// Replaces a file as a whole.
pub fn write(path: &std::path::Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let temporary = path.with_extension("partial");
    std::fs::write(&temporary, bytes)?;
    Ok(std::fs::rename(temporary, path)?)
}

/// How far `control` has come; none if its file is as it was and no incident is open.
async fn open_phase_of_control(config: &std::path::Path, file: &std::path::Path) -> Option<String> {
    let mut command = tokio::process::Command::new(salve_tests::salve());
    command.args(["incident", "list", "--json"]).env("SALVE_CONFIG", config);
    let output = command.output().await.ok();
    let list: Value =
        output.and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default();
    let is_open = |incident: &&Value| {
        let is_own = incident["services"][0] == "control" && incident["tenant"] == "default";
        is_own && incident["closed"].is_null()
    };
    let open = list.as_array().into_iter().flatten().find(is_open);
    let is_whole = std::fs::read_to_string(file).is_ok_and(|text| text == VICTIM);
    match open {
        Some(incident) => Some(incident["phase"].as_str().unwrap_or_default().to_owned()),
        // A list that could not be had says nothing.
        None => (!is_whole || list.is_null()).then(String::new),
    }
}

fn points_of(resource: &ResourceMetrics) -> u64 {
    resource
        .scope_metrics
        .iter()
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match &metric.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.len() as u64,
            _ => 0,
        })
        .sum()
}

/// A gauge of a service, now; one series for each id.
pub fn gauge(service: &str, name: &str, values: &[(&str, f64)]) -> ResourceMetrics {
    let now = now_unix_ns();
    let point = |(id, value): &(&str, f64)| NumberDataPoint {
        time_unix_nano: now,
        attributes: if id.is_empty() {
            vec![attribute("user.email", PERSON)]
        } else {
            vec![attribute("id", id)]
        },
        value: Some(number_data_point::Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: name.into(),
        data: Some(metric::Data::Gauge(Gauge { data_points: values.iter().map(point).collect() })),
        ..Metric::default()
    };
    ResourceMetrics {
        resource: Some(Resource {
            attributes: vec![attribute("service.name", service), attribute("user.name", PERSON)],
            ..Resource::default()
        }),
        scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }
}

/// Sends an export of the load; gives how many points were refused.
pub async fn export(client: &reqwest::Client, endpoint: &str, body: Vec<u8>) -> Result<u64> {
    export_as(SENDER, client, endpoint, body).await
}

/// The same with another token.
pub async fn export_as(token: &str, client: &reqwest::Client, endpoint: &str, body: Vec<u8>) -> Result<u64> {
    let request = client
        .post(format!("{endpoint}/v1/metrics"))
        .bearer_auth(token)
        .header("content-type", "application/x-protobuf")
        .body(body);
    let response = request.send().await?;
    if !response.status().is_success() {
        bail!("status {}", response.status());
    }
    let answer = ExportMetricsServiceResponse::decode(response.bytes().await?)?;
    Ok(answer.partial_success.map_or(0, |partial| partial.rejected_data_points as u64))
}
