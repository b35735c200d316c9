//! How long calls of Go, JavaScript and Python plugins take: a fresh instance for an action, a batch for a long-lived detector. First
//! the work of `restart-process` with its three host calls and a detector that says nothing (`same-work`), then the examples.
//!
//! Of each also its instructions, as wasmtime counts fuel: they do not depend on how busy the machine is. Of an action they are those
//! of a call on a fresh instance, of a detector those of a batch like the ones before it. Points change from batch to batch, as
//! counts do.
//!
//! `cargo bench --workspace --bench languages -- go` measures the plugins whose names have `go` in them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot go on has failed; it prints what it measured"
)]

#[path = "../support/languages.rs"]
mod support;

use salve_model::{
    Attributes, Target, TargetId, Tenant,
    batch::Batch,
    call::{Session, Telemetry},
};
use salve_plugins::{ActionRequest, DetectorOptions};
use salve_tests::at_once::AtOnce;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use support::{Bench, Tracker, block_on, points, request};

const WARM_UP: usize = 200;
const SAMPLES: usize = 3_000;

/// HAProxy's statistics, for the action in Go.
const STATISTICS: &str = "# pxname,svname,scur,status\nshop,a,0,UP\nshop,b,0,UP\nshop,BACKEND,0,UP\n";

fn show(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let count = samples.len();
    let part = |of_100: usize| samples[count * of_100 / 100];
    println!("{what}: p5 {:.1?}, p50 {:.1?}, p99 {:.1?}", part(5), part(50), part(99));
}

/// Times of what `call` does, on a guest thread, so that a change of thread is not measured.
async fn timed<F: Future<Output = ()> + Send>(
    bench: &Bench,
    mut call: impl FnMut() -> F + Send + 'static,
) -> Vec<Duration> {
    let run = async move {
        let mut samples = Vec::with_capacity(SAMPLES);
        for round in 0..WARM_UP + SAMPLES {
            let began = Instant::now();
            call().await;
            if round >= WARM_UP {
                samples.push(began.elapsed());
            }
        }
        samples
    };
    bench.host.guest_threads().spawn(run).await.unwrap()
}

fn action<S: Session + Telemetry + 'static>(
    name: &str,
    folder: &Path,
    asked: &ActionRequest,
    answers: &Arc<S>,
) {
    let bench = &Bench::of(folder);
    println!("{name}: {:?}", bench.plugin.stats());
    block_on(async {
        let counting = Bench::counting(folder);
        let counted = counting.host.plan(&counting.plugin, asked.clone(), answers.clone(), answers.clone());
        drop(counted.await.unwrap());
        println!("{name}, plan: {} instructions", counting.fuel());
        let (host, plugin) = (bench.host.clone(), bench.plugin.clone());
        let made = timed(bench, move || {
            let (host, plugin) = (host.clone(), plugin.clone());
            async move { host.instantiate(&plugin).await.unwrap() }
        });
        show(&format!("{name}, fresh instance"), made.await);
        let (host, plugin, asked) = (bench.host.clone(), bench.plugin.clone(), asked.clone());
        let answers = answers.clone();
        let called = timed(bench, move || {
            let (host, plugin, asked, answers) =
                (host.clone(), plugin.clone(), asked.clone(), answers.clone());
            async move { drop(host.plan(&plugin, asked, answers.clone(), answers).await.unwrap()) }
        });
        show(&format!("{name}, fresh instance and plan"), called.await);
    });
}

/// As many batches as come before points repeat, the first of which adds the series.
fn batches(series: usize) -> Vec<Batch> {
    let value = |batch: usize, series: usize| [4.0, 7.0, 5.0, 3.0, 6.0, 5.0, 8.0][(batch * 3 + series) % 7];
    let of = |batch| points(&(0..series).map(|series| value(batch, series)).collect::<Vec<_>>(), batch == 0);
    (0..=7).map(of).collect()
}

fn detector(name: &str, folder: &Path) {
    let (bench, counting) = (&Bench::of(folder), &Bench::counting(folder));
    println!("{name}: {:?}", bench.plugin.stats());
    for series in [0, 1, 10, 100] {
        let options = DetectorOptions { name: name.into(), parameters_json: "{}".into(), state: None };
        let samples = block_on(async {
            let mut instance = bench.host.detector(&bench.plugin, options.clone()).await.unwrap();
            let batches = batches(series);
            instance.observe(&batches[0]).await.unwrap();
            let mut counted = counting.host.detector(&counting.plugin, options).await.unwrap();
            counted.observe(&batches[0]).await.unwrap();
            for batch in batches[1..].iter().cycle().take(WARM_UP) {
                counted.observe(batch).await.unwrap();
            }
            let before = counting.fuel();
            for batch in &batches[1..] {
                counted.observe(batch).await.unwrap();
            }
            println!("{name}, batch of {series} points: {} instructions", (counting.fuel() - before) / 7);
            let run = async move {
                let mut samples = Vec::with_capacity(SAMPLES);
                for round in 0..WARM_UP + SAMPLES {
                    let batch = &batches[1 + round % 7];
                    let began = Instant::now();
                    instance.observe(batch).await.unwrap();
                    if round >= WARM_UP {
                        samples.push(began.elapsed());
                    }
                }
                samples
            };
            bench.host.guest_threads().spawn(run).await.unwrap()
        });
        show(&format!("{name}, batch of {series} points"), samples);
    }
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let (same_work, examples) =
        (salve_tests::root().join("tests/benches/same-work"), salve_tests::root().join("examples"));
    let three = ActionRequest {
        targets: ["worker-1", "worker-2", "worker-3"]
            .map(|id| Target {
                id: TargetId(id.into()),
                tenant: Tenant::default(),
                attributes: Attributes::new(),
                objects: Vec::new(),
            })
            .to_vec(),
        ..request("{}")
    };
    for name in ["restart-go", "restart-javascript", "restart-python"] {
        if name.contains(&wanted) {
            action(name, &same_work.join(name), &three, &Arc::new(AtOnce));
        }
    }
    for name in ["silent-javascript", "silent-python"] {
        if name.contains(&wanted) {
            detector(name, &same_work.join(name));
        }
    }
    for (example, parameters, found) in [
        ("action-go", r#"{"backend":"shop","server":"a"}"#, Some(STATISTICS)),
        ("action-javascript", r#"{"tracker":"tracker"}"#, None),
        ("action-python", r#"{"key":"workers.concurrency","to":8}"#, None),
    ] {
        if !example.contains(&wanted) {
            continue;
        }
        let tracker = Arc::new(Tracker::default());
        *tracker.found.lock().unwrap() = found.map(str::to_owned);
        action(example, &examples.join(example), &request(parameters), &tracker);
    }
    for example in ["detector-go", "detector-javascript", "detector-python"] {
        if example.contains(&wanted) {
            detector(example, &examples.join(example));
        }
    }
}
