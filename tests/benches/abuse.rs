//! What senders notice of attacks: ingest latency at 20 % of what the machine can take, before and during them.
//!
//! `cargo bench -p salve-tests --bench abuse`. Prints figures and checks nothing: what holds at any time is checked by the
//! test of the same name. The bound to compare with: p99 during attacks within twice that of before, or 5 ms.

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
#[path = "../abuse/server.rs"]
mod server;

use anyhow::Result;
use arena::{Arena, export, gauge};
use attack::Attack;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use salve_tests::world::client;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Points of one export.
const POINTS: usize = 1_000;
/// How long each measurement takes.
const MEASURE: Duration = Duration::from_secs(15);
/// Share of what the machine can take.
const SHARE: f64 = 0.2;

fn main() -> Result<()> {
    let attacks: Vec<Attack> =
        [detectors::attacks(), actions::attacks(), loading::attacks()].into_iter().flatten().collect();
    let arena = Arena::start(&attacks)?;
    let most = exports_per_second(&arena)?;
    let every = Duration::from_secs_f64(1.0 / (most * SHARE));
    println!(
        "at most {:.0} points/s; load {:.0} points/s",
        most * POINTS as f64,
        most * SHARE * POINTS as f64
    );
    let before = latencies(&arena, every)?;
    say("before", &before);

    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let during = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let Some(attack) = attacks.get(next.fetch_add(1, Relaxed)) else { return };
                    // Whether it ends as it should is the test's matter.
                    if let Err(error) = attack.run(&arena) {
                        eprintln!("{}: {error:#}", attack.name);
                    }
                }
            });
        }
        let during = latencies(&arena, every);
        stop.store(true, Relaxed);
        during
    })?;
    say("during", &during);
    let (p99_before, p99_during) = (percentile(&before, 0.99), percentile(&during, 0.99));
    let bound = (2 * p99_before).max(Duration::from_millis(5));
    println!(
        "p99 during attacks {p99_during:?}, bound {bound:?}: {}; {} attacks begun",
        if p99_during <= bound { "met" } else { "MISSED" },
        next.load(Relaxed).min(attacks.len())
    );
    println!("resident before {} MiB, now {} MiB", arena.rss_before >> 20, arena.rss()? >> 20);
    Ok(())
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

/// Latencies of exports that are sent at fixed times, however long the one before took.
fn latencies(arena: &Arena, every: Duration) -> Result<Vec<Duration>> {
    let client = client();
    let mut latencies = arena.block_on(async {
        let begun = tokio::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        let mut due = begun;
        while begun.elapsed() < MEASURE {
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
