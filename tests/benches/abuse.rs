//! What senders notice of attacks: ingest latency at 20 % of what the machine can take, before and during them.
//!
//! `cargo bench --workspace --bench abuse [-- PART OF A NAME …]`. Measures until every attack of every theme is over, and
//! fails if p99 is then neither within twice that of before nor within 5 ms, or if not all are over. Says beside which
//! attacks slow exports were sent. How each attack ends is the test's matter.
//!
//! Who looks how an attack goes on starts a `salve` for each look. So those threads and their programs give way to all others;
//! senders that attack do not.

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

use anyhow::{Result, anyhow};
use arena::{Arena, export, gauge};
use attack::Attack;
use opentelemetry_proto::tonic::{collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::metric};
use prost::Message;
use salve_tests::world::{client, now_unix_ns};
use std::{
    process::{Command, ExitCode},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Points of one export.
const POINTS: usize = 1_000;
/// How long latencies are measured before the attacks, and at least during them.
const MEASURE: Duration = Duration::from_secs(15);
/// All attacks must be over by then.
const MEASURE_MAX: Duration = Duration::from_secs(900);
/// Share of what the machine can take.
const SHARE: f64 = 0.2;

/// Attacks that are named as running beside slow exports.
const BLAMED_MAX: usize = 12;

/// One export: when it was due after the measurement began, and how long it took from then.
type Export = (Duration, Duration);

/// While an attack ran, after the measurement began.
struct Span {
    name: String,
    began: Duration,
    ended: Duration,
}

fn main() -> Result<ExitCode> {
    std::thread::spawn(give_way).join().map_err(|_| anyhow!("`chrt` of util-linux is needed"))?;
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |attack: &Attack| words.is_empty() || words.iter().any(|word| attack.name.contains(word));
    let attacks: Vec<Attack> = themes::attacks().into_iter().filter(is_wanted).collect();
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
    let (measured_since, stop, spans) = (Instant::now(), AtomicBool::new(false), Mutex::new(Vec::new()));
    let over = || spans.lock().unwrap().len();
    let carry_out = |attacks: &[&Attack], next: &AtomicUsize| {
        while let Some(attack) = attacks.get(next.fetch_add(1, Relaxed)).filter(|_| !stop.load(Relaxed)) {
            let began = measured_since.elapsed();
            if let Err(error) = attack.run(&arena) {
                eprintln!("{}: {error:#}", attack.name);
            }
            let span = Span { name: attack.name.clone(), began, ended: measured_since.elapsed() };
            spans.lock().unwrap().push(span);
        }
    };
    let (during, over) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = AtomicUsize::new(0);
            let (senders, others): (Vec<&Attack>, Vec<&Attack>) =
                together.iter().partition(|attack| attack.name.starts_with("sender::"));
            std::thread::scope(|four| {
                four.spawn(|| carry_out(&senders, &AtomicUsize::new(0)));
                for _ in 0..3 {
                    four.spawn(|| {
                        give_way();
                        carry_out(&others, &next);
                    });
                }
            });
            give_way();
            carry_out(&alone, &AtomicUsize::new(0));
        });
        let during = latencies(&arena, every, || over() >= attacks.len());
        stop.store(true, Relaxed);
        during.map(|during| (during, over()))
    })?;
    say("during", &during);
    let (p99_before, p99_during) = (percentile(&before, 0.99), percentile(&during, 0.99));
    let bound = (2 * p99_before).max(Duration::from_millis(5));
    let met = p99_during <= bound && over == attacks.len();
    blame(&during, bound, &spans.into_inner()?);
    println!(
        "p99 during attacks {p99_during:?}, bound {bound:?}: {}; {over} of {} attacks over",
        if met { "met" } else { "MISSED" },
        attacks.len()
    );
    println!("resident before {} MiB, now {} MiB", arena.rss_before >> 20, arena.rss()? >> 20);
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets this thread, and the programs that it starts, run only where nothing else does.
fn give_way() {
    let thread = rustix::thread::gettid().to_string();
    let status = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// Senders that are measured share no thread with those of the attacks.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// An export of now. Only its points' times are new: to make all of it again would take the machine longer than the daemon
/// does to take it in.
fn request() -> Vec<u8> {
    static FIRST: LazyLock<(Vec<u8>, Vec<usize>)> = LazyLock::new(|| {
        let ids: Vec<String> = (0..POINTS).map(|id| format!("bench-{id}")).collect();
        let values: Vec<(&str, f64)> = ids.iter().map(|id| (id.as_str(), 1.0)).collect();
        let metrics = gauge("bench", "abuse.bench", &values);
        let Some(metric::Data::Gauge(points)) = &metrics.scope_metrics[0].metrics[0].data else {
            panic!("a gauge is a gauge")
        };
        let time = points.data_points[0].time_unix_nano.to_le_bytes();
        let bytes = ExportMetricsServiceRequest { resource_metrics: vec![metrics] }.encode_to_vec();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|place| bytes[*place..].starts_with(&time)).collect();
        assert_eq!(places.len(), POINTS);
        (bytes, places)
    });
    let (bytes, places) = &*FIRST;
    let mut bytes = bytes.clone();
    let now = now_unix_ns().to_le_bytes();
    places.iter().for_each(|place| bytes[*place..*place + now.len()].copy_from_slice(&now));
    bytes
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
    let counts = runtime()?.block_on(async { tokio::join!(sender(), sender(), sender(), sender()) });
    let count = counts.0? + counts.1? + counts.2? + counts.3?;
    Ok(f64::from(count) / FOR.as_secs_f64())
}

/// Latencies of exports that are sent at fixed times, however long the one before took, until all is `done`.
fn latencies(arena: &Arena, every: Duration, done: impl Fn() -> bool) -> Result<Vec<Export>> {
    let client = client();
    let mut latencies = runtime()?.block_on(async {
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
                export(&client, &endpoint, body).await.map(|_| (due - begun, due.elapsed()))
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<Vec<_>>>()
    })?;
    latencies.sort_by_key(|(_, took)| *took);
    Ok(latencies)
}

/// Says beside which attacks exports took longer than `bound`. Attacks run four at a time, so each is named with its neighbours.
fn blame(exports: &[Export], bound: Duration, spans: &[Span]) {
    let slow: Vec<_> = exports.iter().filter(|(_, took)| *took > bound).collect();
    let mut blamed: Vec<_> = spans
        .iter()
        .map(|span| {
            let beside = slow.iter().filter(|(due, _)| (span.began..=span.ended).contains(due));
            let (count, longest) = beside
                .fold((0, Duration::ZERO), |(count, longest), (_, took)| (count + 1, longest.max(*took)));
            (longest, count, span)
        })
        .filter(|(_, count, _)| *count > 0)
        .collect();
    blamed.sort_by_key(|(longest, count, _)| std::cmp::Reverse((*longest, *count)));
    println!("{} exports took longer than {bound:?}", slow.len());
    for (longest, count, span) in blamed.iter().take(BLAMED_MAX) {
        let took = span.ended.saturating_sub(span.began);
        println!("  beside {} ({took:.1?}): {count}, longest {longest:.1?}", span.name);
    }
}

fn percentile(sorted: &[Export], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map(|(_, took)| *took).unwrap_or_default()
}

fn say(when: &str, sorted: &[Export]) {
    println!(
        "{when}: {} exports, p50 {:?}, p99 {:?}, longest {:?}",
        sorted.len(),
        percentile(sorted, 0.5),
        percentile(sorted, 0.99),
        percentile(sorted, 1.0)
    );
}
