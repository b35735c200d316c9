//! Versions of plugins, made of the guests in `tests/guests`, and a load of points that can be counted.

use crate::{
    daemon::Daemon,
    world::{attribute, client, now_unix_ns},
};
use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A policy that answers everything with the action `echo` on `shop`.
pub const SET: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [#{ verdict: "act", action: "echo", target: "shop", parameters: #{}, priority: 10, reason: "test" }]
}
"#;

/// Short trials; a busy machine is not the new version's fault.
pub const ROLLOUT: &str = r#"
[plugins]
dev = true
cache_directory = "CACHE"
snapshot_ms = 300
[plugins.limits]
cpu_ms = 5000
[plugins.rollout]
samples_min = 10
calls_min = 1
shadow_ms = 200
canary_ms = 200
canary_share = 0.5
latency_free_us = 1000000
"#;

/// Series of the load.
pub const SERIES: u64 = 20;

/// The component of `tests/guests/GUEST.wat` with some of its text replaced.
///
/// # Errors
/// If a text to be replaced is not there, or this makes no plugin.
pub fn component(guest: &str, manifest: &str, replace: &[(&str, &str)]) -> Result<Vec<u8>> {
    let path = crate::root().join(format!("tests/guests/{guest}.wat"));
    let mut text =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    for (from, to) in replace {
        ensure!(text.contains(from), "`{guest}` has no `{from}`");
        text = text.replace(from, to);
    }
    Ok(salve_plugins::pack::pack(&wat::parse_str(&text)?, manifest)?)
}

/// Puts a component into the plugin folder under this name, in one step, as `salve plugin pack` does.
///
/// # Errors
/// If it cannot be written.
pub fn install(daemon: &Daemon, name: &str, component: &[u8]) -> Result<()> {
    let path = daemon.path(&format!("plugins/{name}.wasm"));
    let temporary = path.with_extension("partial");
    std::fs::write(&temporary, component)?;
    Ok(std::fs::rename(temporary, path)?)
}

/// What the daemon says of one version of a plugin.
///
/// # Errors
/// If the daemon does not answer.
pub fn version(daemon: &Daemon, plugin: &str, version: &str) -> Result<Option<Value>> {
    let list = daemon.json(&["plugin", "list", "--json"])?;
    let versions = list.as_array().context("no list")?;
    Ok(versions.iter().find(|status| status["name"] == plugin && status["version"] == version).cloned())
}

/// Waits until a version is in a stage, and gives what the daemon says of it then.
///
/// # Errors
/// If it does not get there.
pub async fn reaches(daemon: &mut Daemon, plugin: &str, number: &str, stage: &str) -> Result<Value> {
    let waited = daemon
        .wait(&format!("{plugin} {number} is {stage}"), |daemon| {
            Ok(version(daemon, plugin, number)?.is_some_and(|status| status["stage"] == stage))
        })
        .await;
    if waited.is_err() {
        let found = version(daemon, plugin, number)?;
        waited.with_context(|| format!("it is {found:#?}"))?;
    }
    version(daemon, plugin, number)?.context("it is gone")
}

/// What was sent: number of points, their sum and the sum of their squares.
pub type Sums = (f64, f64, f64);

/// Sends one point of each series every `every` until it is told to stop.
pub struct Load {
    task: tokio::task::JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    sums: Mutex<Sums>,
    requests: AtomicU64,
    /// Added to values.
    offset: AtomicU64,
    stop: tokio::sync::watch::Sender<bool>,
    problem: Mutex<Option<String>>,
}

impl Load {
    /// Begins at once. The values of a request are its number.
    #[must_use]
    pub fn start(endpoint: String, every: Duration) -> Self {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let shared = Arc::new(Shared {
            sums: Mutex::default(),
            requests: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            stop,
            problem: Mutex::default(),
        });
        let own = shared.clone();
        let task = tokio::spawn(async move {
            let client = client();
            let mut pace = tokio::time::interval(every);
            while !*stopped.borrow() {
                tokio::select! {
                    _ = pace.tick() => {}
                    _ = stopped.changed() => break,
                }
                let number = own.requests.load(Ordering::Relaxed) + 1;
                let value = (number + own.offset.load(Ordering::Relaxed)) as f64;
                let request = client
                    .post(format!("{endpoint}/v1/metrics"))
                    .header("content-type", "application/x-protobuf")
                    .body(points(value).encode_to_vec());
                match request.send().await {
                    Ok(response) if response.status().is_success() => {
                        let count = SERIES as f64;
                        let mut sums = own.sums.lock().unwrap_or_else(PoisonError::into_inner);
                        sums.0 += count;
                        sums.1 += count * value;
                        sums.2 += count * value * value;
                        own.requests.fetch_add(1, Ordering::Relaxed);
                    }
                    other => {
                        *own.problem.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(format!("{other:?}"));
                        return;
                    }
                }
            }
        });
        Self { task, shared }
    }

    /// Requests that were taken.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// From now on values are larger by this.
    pub fn raise(&self, offset: u64) {
        self.shared.offset.store(offset, Ordering::Relaxed);
    }

    /// Waits for this many more requests.
    ///
    /// # Errors
    /// If a request failed.
    pub async fn more(&self, daemon: &mut Daemon, requests: u64) -> Result<()> {
        let enough = self.requests() + requests;
        daemon
            .wait("more points were sent", |_| {
                let problem = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
                ensure!(problem.is_none(), "a request failed: {problem:?}");
                Ok(self.requests() >= enough)
            })
            .await
    }

    /// Ends the load, lets a request under way finish, and says what was sent.
    ///
    /// # Errors
    /// If a request failed: then nobody knows what the daemon saw.
    pub async fn finish(mut self) -> Result<Sums> {
        _ = self.shared.stop.send(true);
        (&mut self.task).await?;
        let problem = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(problem.is_none(), "a request failed: {problem:?}");
        Ok(*self.shared.sums.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One point of each series `load.value` of the service `load`.
fn points(value: f64) -> ExportMetricsServiceRequest {
    let now = now_unix_ns();
    let data_points = (0..SERIES).map(|number| NumberDataPoint {
        attributes: vec![attribute("number", &number.to_string())],
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    });
    let metric = Metric {
        name: "load.value".into(),
        unit: "1".into(),
        data: Some(metric::Data::Gauge(Gauge { data_points: data_points.collect() })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "load")],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

/// Waits until the detector `binding` has counted as many points as were sent, stops the daemon in good order, and reads what
/// it counted: digest of its version, and sums.
///
/// # Errors
/// If it never counts so many, or the daemon does not end well.
pub async fn counted(daemon: &mut Daemon, binding: &str, sent: Sums) -> Result<(String, Sums)> {
    let waited = daemon
        .wait("all points are counted", |daemon| {
            Ok(snapshot(daemon, binding).is_ok_and(|(_, (count, ..))| count >= sent.0))
        })
        .await;
    if waited.is_err() {
        waited.with_context(|| format!("sent {sent:?}, counted {:?}", snapshot(daemon, binding)))?;
    }
    daemon.signal(rustix::process::Signal::TERM)?;
    let status = daemon.ended().await?;
    ensure!(status.success(), "the daemon ended with {status}");
    snapshot(daemon, binding)
}

/// The newest snapshot of `binding`.
fn snapshot(daemon: &Daemon, binding: &str) -> Result<(String, Sums)> {
    let bytes = std::fs::read(daemon.path(&format!("state/detectors/{binding}-0.snapshot")))?;
    let end = bytes.iter().position(|byte| *byte == b'\n').context("no header")?;
    let header: Value = serde_json::from_slice(&bytes[..end])?;
    let number = |index: usize| -> Result<f64> {
        let start = end + 1 + index * 8;
        Ok(f64::from_le_bytes(bytes.get(start..start + 8).context("short state")?.try_into()?))
    };
    let digest = header["digest"].as_str().context("no digest")?.to_owned();
    Ok((digest, (number(0)?, number(1)?, number(2)?)))
}
