//! What senders notice of attacks: ingest latency at 20 % of what the machine can take, before and during them.
//!
//! `cargo bench -p salve-tests --bench abuse`. Measures until every attack of every theme was begun, and fails if p99 is then
//! neither within twice that of before nor within 5 ms, or if not all could be begun. How each attack ends is the test's matter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "a benchmark that cannot go on has failed; it uses a part of the attacks"
)]

#[path = "../abuse/actions.rs"]
mod actions;
#[path = "../abuse/agents.rs"]
mod agents;
#[path = "../abuse/arena.rs"]
mod arena;
#[path = "../abuse/attack.rs"]
mod attack;
#[path = "../abuse/detectors.rs"]
mod detectors;
#[path = "../abuse/fairness.rs"]
mod fairness;
#[path = "../abuse/guest.rs"]
mod guest;
#[path = "../abuse/loading.rs"]
mod loading;
#[path = "../abuse/network.rs"]
mod network;
#[path = "../abuse/operator.rs"]
mod operator;
#[path = "../abuse/privacy.rs"]
mod privacy;
#[path = "../abuse/senders.rs"]
mod senders;
#[path = "../abuse/server.rs"]
mod server;
#[path = "../abuse/systems.rs"]
mod systems;
#[path = "../abuse/themes.rs"]
mod themes;
#[path = "../abuse/trust.rs"]
mod trust;

use anyhow::Result;
use arena::{Arena, export, gauge};
use attack::Attack;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use salve_tests::world::client;
use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Points of one export.
const POINTS: usize = 1_000;
/// How long latencies are measured before the attacks, and at least during them.
const MEASURE: Duration = Duration::from_secs(15);
/// All attacks must have been begun by then.
const MEASURE_MAX: Duration = Duration::from_secs(900);
/// Share of what the machine can take.
const SHARE: f64 = 0.2;

fn main() -> Result<ExitCode> {
    let attacks: Vec<Attack> = themes::attacks();
    let arena = Arena::start(&attacks, true)?;
    let most = exports_per_second(&arena)?;
    let every = Duration::from_secs_f64(1.0 / (most * SHARE));
    println!(
        "at most {:.0} points/s; load {:.0} points/s",
        most * POINTS as f64,
        most * SHARE * POINTS as f64
    );
    let before = latencies(&arena, every, || true)?;
    say("before", &before);

    // Those on what all others share come last, one by one.
    let (alone, together): (Vec<&Attack>, Vec<&Attack>) =
        attacks.iter().partition(|attack| attack.is_alone());
    let (begun, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let carry_out = |attacks: &[&Attack], next: &AtomicUsize| {
        while let Some(attack) = attacks.get(next.fetch_add(1, Relaxed)).filter(|_| !stop.load(Relaxed)) {
            begun.fetch_add(1, Relaxed);
            if let Err(error) = attack.run(&arena) {
                eprintln!("{}: {error:#}", attack.name);
            }
        }
    };
    let during = std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = AtomicUsize::new(0);
            std::thread::scope(|four| {
                for _ in 0..4 {
                    four.spawn(|| carry_out(&together, &next));
                }
            });
            carry_out(&alone, &AtomicUsize::new(0));
        });
        let during = latencies(&arena, every, || begun.load(Relaxed) >= attacks.len());
        stop.store(true, Relaxed);
        during
    })?;
    say("during", &during);
    let (p99_before, p99_during) = (percentile(&before, 0.99), percentile(&during, 0.99));
    let bound = (2 * p99_before).max(Duration::from_millis(5));
    let begun = begun.load(Relaxed);
    let met = p99_during <= bound && begun == attacks.len();
    println!(
        "p99 during attacks {p99_during:?}, bound {bound:?}: {}; {begun} of {} attacks begun",
        if met { "met" } else { "MISSED" },
        attacks.len()
    );
    println!("resident before {} MiB, now {} MiB", arena.rss_before >> 20, arena.rss()? >> 20);
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn request() -> Vec<u8> {
    let ids: Vec<String> = (0..POINTS).map(|id| format!("bench-{id}")).collect();
    let values: Vec<(&str, f64)> = ids.iter().map(|id| (id.as_str(), 1.0)).collect();
    ExportMetricsServiceRequest { resource_metrics: vec![gauge("bench", "abuse.bench", &values)] }
        .encode_to_vec()
}

/// Exports that four senders get through in a second, each as fast as it can.
fn exports_per_second(arena: &Arena) -> Result<f64> {
    const FOR: Duration = Duration::from_secs(3);
    let sender = || async {
        let (client, begun, mut count) = (client(), Instant::now(), 0_u32);
        while begun.elapsed() < FOR {
            export(&client, &arena.otlp, request()).await?;
            count += 1;
        }
        anyhow::Ok(count)
    };
    let counts = arena.block_on(async { tokio::join!(sender(), sender(), sender(), sender()) });
    let count = counts.0? + counts.1? + counts.2? + counts.3?;
    Ok(f64::from(count) / FOR.as_secs_f64())
}

/// Latencies of exports that are sent at fixed times, however long the one before took, until all is `done`.
fn latencies(arena: &Arena, every: Duration, done: impl Fn() -> bool) -> Result<Vec<Duration>> {
    let client = client();
    let mut latencies = arena.block_on(async {
        let begun = tokio::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        let mut due = begun;
        while begun.elapsed() < MEASURE || (!done() && begun.elapsed() < MEASURE_MAX) {
            due += every;
            tokio::time::sleep_until(due).await;
            let (client, endpoint) = (client.clone(), arena.otlp.clone());
            let body = request();
            tasks.spawn(async move {
                // From when it was due: what waits for its turn waits for the server.
                export(&client, &endpoint, body).await.map(|_| due.elapsed())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<Vec<_>>>()
    })?;
    latencies.sort();
    Ok(latencies)
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn say(when: &str, sorted: &[Duration]) {
    println!(
        "{when}: {} exports, p50 {:?}, p99 {:?}, longest {:?}",
        sorted.len(),
        percentile(sorted, 0.5),
        percentile(sorted, 0.99),
        sorted.last().copied().unwrap_or_default()
    );
}
