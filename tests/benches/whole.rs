//! The whole at work, with the components that ship: from OTLP bytes to observations, a detector in WebAssembly against the same
//! one compiled natively, a fresh action call, and what a daemon that does nothing weighs. Ratios come from one run, the two
//! sides in turn.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use anyhow::{Context, Result};
use holt_winters::HoltWinters;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use salve_model::{
    Attributes, Target, TargetId, Tenant,
    batch::{Batch, SeriesAdded},
    incident::IncidentId,
    telemetry::{SeriesKey, SeriesRef},
    time::Now,
};
use salve_plugin::Detector;
use salve_plugins::{ActionRequest, DetectorInstance, DetectorOptions, HostConfig, Plugin, PluginHost};
use salve_signals::{DetectorBinding, SeriesSelector, Signal, Signals, SignalsConfig};
use salve_tests::{at_once::AtOnce, plugins, shop, world::attribute};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const START_MS: u64 = 1_800_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
const PARAMETERS: &str = "{}";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    // Words pick parts, as with other benchmarks: `cargo xtask bench -p salve-tests --bench whole -- action`.
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| part.contains(word.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cache = tempfile::tempdir()?;
        let host = PluginHost::new(HostConfig::new(cache.path()))?;
        if wanted("ingest") {
            bytes_to_observations(&host).await?;
        }
        if wanted("detector") {
            wasm_and_native(&host).await?;
        }
        if wanted("swap") {
            hot_swap(&host).await?;
        }
        if wanted("action") {
            fresh_action(&host).await?;
        }
        if wanted("idle") {
            idle_daemon().await?;
        }
        Ok(())
    })
}

/// Median of what `samples` gives.
fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn noise(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

async fn holt_winters(host: &PluginHost) -> Result<DetectorInstance> {
    let plugin = host.load(&plugins().join("holt-winters.wasm"))?;
    let options = DetectorOptions { name: "bench".into(), parameters_json: PARAMETERS.into(), state: None };
    Ok(host.detector(&plugin, options).await?)
}

/// 10,000 series, one point each a request: 100 resources with 100 points of three attributes.
fn request(ms: u64, state: &mut u64) -> Vec<u8> {
    let resource_metrics = (0..100).map(|service| {
        let points = (0..100).map(|route| NumberDataPoint {
            attributes: vec![
                attribute("http.request.method", "GET"),
                attribute("http.route", &format!("/api/v1/items/{route}")),
                attribute("network.protocol.version", "1.1"),
            ],
            time_unix_nano: ms * NS_PER_MS,
            value: Some(number_data_point::Value::AsDouble(100.0 + noise(state))),
            ..NumberDataPoint::default()
        });
        let gauge = metric::Data::Gauge(Gauge { data_points: points.collect() });
        let metrics = vec![Metric { name: "queue.length".into(), data: Some(gauge), ..Metric::default() }];
        let name = attribute("service.name", &format!("service-{service}"));
        ResourceMetrics {
            resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }.encode_to_vec()
}

async fn bytes_to_observations(host: &PluginHost) -> Result<()> {
    const ROUNDS: u64 = 60;
    const POINTS: u64 = 10_000;
    let mut signals = Signals::new(SignalsConfig::default());
    signals.bind_detector(DetectorBinding::new("bench", SeriesSelector::default()));
    let mut detector = holt_winters(host).await?;
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let requests: Vec<_> = (0..ROUNDS)
        .map(|round| (START_MS + round * 1_000, request(START_MS + round * 1_000, &mut state)))
        .collect();
    let mut rounds = Vec::new();
    for (ms, request) in &requests {
        let begun = Instant::now();
        let limits = salve_otlp::Limits::default();
        salve_otlp::check_metrics(request, &limits)?;
        let applied = signals.apply(Signal::Metrics, &Tenant::default(), request, Now(*ms));
        anyhow::ensure!(applied.accepted == POINTS, "{applied:?}");
        signals.tick(Now(*ms));
        for (_, _, batch) in signals.take_batches(Now(*ms)) {
            detector.observe(&batch).await?;
        }
        rounds.push(begun.elapsed().as_secs_f64());
    }
    // The first rounds make the series.
    let seconds = median(rounds.split_off(10));
    println!("OTLP bytes to observations: {:.2} M points/s on one core", POINTS as f64 / seconds / 1e6);
    Ok(())
}

fn batch(sequence: u64, series: u32, state: &mut u64) -> Batch {
    let added = if sequence == 0 { (0..series).map(added).collect() } else { Vec::new() };
    let now = (START_MS + sequence * 1_000) * NS_PER_MS;
    Batch {
        sequence,
        now,
        added,
        series: (0..series).collect(),
        offsets: (0..=series).collect(),
        times: vec![now; series as usize],
        values: (0..series).map(|_| 100.0 + noise(state)).collect(),
        point_flags: vec![0; series as usize],
        ..Batch::default()
    }
}

fn added(id: u32) -> SeriesAdded {
    let attributes = Attributes::from([("http.route".into(), format!("/items/{id}"))]);
    let series = SeriesRef {
        key: SeriesKey(id.into()),
        tenant: Tenant::default(),
        service: "bench".into(),
        name: "queue.length".into(),
        unit: "1".into(),
        attributes: attributes.clone(),
    };
    SeriesAdded { id, series, group: id, limit: None, attributes }
}

/// The same batch as the native detector takes it.
fn native(batch: &Batch) -> salve_plugin::Batch {
    salve_plugin::Batch {
        sequence: batch.sequence,
        now: batch.now,
        added: batch
            .added
            .iter()
            .map(|added| salve_plugin::Series {
                id: added.id,
                name: added.series.name.clone(),
                unit: added.series.unit.clone(),
                group: added.group,
                limit: added.limit,
                attributes: added.attributes.clone().into_iter().collect(),
            })
            .collect(),
        removed: batch.removed.clone(),
        series: batch.series.clone(),
        offsets: batch.offsets.clone(),
        times: batch.times.clone(),
        values: batch.values.clone(),
        point_flags: batch.point_flags.clone(),
        scores: batch.scores,
    }
}

async fn wasm_and_native(host: &PluginHost) -> Result<()> {
    for series in [1_000, 10_000] {
        let mut guest = holt_winters(host).await?;
        let parameters = serde_json::from_str(PARAMETERS)?;
        let mut own = HoltWinters::new(parameters).map_err(anyhow::Error::msg)?;
        let mut state = 1;
        let (mut in_wasm, mut natively) = (Vec::new(), Vec::new());
        for sequence in 0..300 {
            let batch = batch(sequence, series, &mut state);
            let lent = native(&batch);
            let begun = Instant::now();
            guest.observe(&batch).await?;
            in_wasm.push(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            own.observe(&lent).map_err(anyhow::Error::msg)?;
            natively.push(begun.elapsed().as_secs_f64());
        }
        let points = f64::from(series) * 1e-9;
        let (wasm_ns, native_ns) =
            (median(in_wasm.split_off(50)) / points, median(natively.split_off(50)) / points);
        println!(
            "holt-winters, batch of {series} series × 1 point: {wasm_ns:.0} ns a point in wasm, {native_ns:.0} natively, ratio {:.2}",
            wasm_ns / native_ns
        );
    }
    Ok(())
}

/// What a hot swap does between two batches: state out of one instance and into another, and all series described to it again.
async fn hot_swap(host: &PluginHost) -> Result<()> {
    const SERIES: u32 = 10_000;
    const LEARNT: u64 = 100;
    let plugin = host.load(&plugins().join("holt-winters.wasm"))?;
    let mut active = holt_winters(host).await?;
    let mut state = 1;
    for sequence in 0..LEARNT {
        active.observe(&batch(sequence, SERIES, &mut state)).await?;
    }
    let next_batch = Batch { added: (0..SERIES).map(added).collect(), ..batch(LEARNT, SERIES, &mut state) };
    let mut times = Vec::new();
    for _ in 0..30 {
        let begun = Instant::now();
        let snapshot = active.snapshot().await?;
        let options = DetectorOptions {
            name: "next".into(),
            parameters_json: PARAMETERS.into(),
            state: Some(snapshot),
        };
        let mut next = host.detector(&plugin, options).await?;
        anyhow::ensure!(next.restore_failure().is_none());
        next.observe(&next_batch).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "hot swap of holt-winters with {SERIES} series, its first batch included: {:.1} ms",
        median(times)
    );
    Ok(())
}

/// Times of so many plans, in microseconds.
async fn calls(
    host: &PluginHost,
    plugin: &Arc<Plugin>,
    request: &ActionRequest,
    count: u32,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        host.plan(plugin, request.clone(), Arc::new(AtOnce), Arc::new(AtOnce)).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

async fn fresh_action(host: &PluginHost) -> Result<()> {
    let path = plugins().join("restart-process.wasm");
    let begun = Instant::now();
    host.load(&path)?;
    let compiled = begun.elapsed();
    println!("restart-process: compiled in {compiled:.0?}");
    let plugin = host.load(&path)?;
    let request = ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: ["worker-1", "worker-2", "worker-3"]
            .map(|id| Target {
                id: TargetId(id.into()),
                tenant: Tenant::default(),
                attributes: Attributes::new(),
                objects: Vec::new(),
            })
            .to_vec(),
        parameters: "{}".into(),
        started: START_MS * NS_PER_MS,
        now: START_MS * NS_PER_MS,
    };
    const CALLS: u32 = 20_000;
    // As the daemon calls it: from another thread than the guests', which costs two wake-ups; and without those.
    let from_outside = calls(host, &plugin, &request, CALLS).await?;
    let (host, of_call) = (host.clone(), plugin.clone());
    let threads = host.guest_threads().clone();
    let inside = threads.spawn(async move { calls(&host, &of_call, &request, CALLS).await }).await??;
    for (what, mut times) in [("from another thread", from_outside), ("on a guest thread", inside)] {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!(
            "fresh instance and `plan` of restart-process, three broker calls, {what}: p50 {:.1} µs, p99 {:.1} µs",
            at(0.5),
            at(0.99)
        );
    }
    Ok(())
}

async fn idle_daemon() -> Result<()> {
    let mut daemon = shop::prepare("observe", shop::RESTART_POLICY, "")?;
    daemon.start().await?;
    let pid = daemon.json(&["status", "--json"])?["pid"].as_u64().context("status has no pid")?;
    // Compilation at the start leaves memory behind that goes back only after a while; a second start is from the cache.
    daemon.signal(rustix::process::Signal::TERM)?;
    daemon.ended().await?;
    daemon.start().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid_now = daemon.json(&["status", "--json"])?["pid"].as_u64().unwrap_or(pid);
    let status = std::fs::read_to_string(format!("/proc/{pid_now}/status"))?;
    for name in ["VmRSS", "RssAnon"] {
        let line = status.lines().find(|line| line.starts_with(name)).context("no such line")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        println!("idle daemon with four plugins: {name} {:.1} MiB", kib as f64 / 1024.0);
    }
    Ok(())
}
