//! How long calls of Go, JavaScript and Python plugins take: a fresh instance for an action, a batch for a long-lived detector.
//!
//! `cargo bench -p salve-tests --bench languages -- go` measures the plugins whose names have `go` in them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot go on has failed; it prints what it measured"
)]

#[path = "../support/languages.rs"]
mod support;

use salve_plugins::DetectorOptions;
use std::{
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
    println!("{what}: p50 {:?}, p99 {:?}", samples[count / 2], samples[count * 99 / 100]);
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (example, parameters, found) in [
        ("action-go", r#"{"backend":"shop","server":"a"}"#, Some(STATISTICS)),
        ("action-javascript", r#"{"tracker":"tracker"}"#, None),
        ("action-python", r#"{"key":"workers.concurrency","to":8}"#, None),
    ] {
        if !example.contains(&wanted) {
            continue;
        }
        let bench = Bench::new(example);
        println!("{example}: {:?}", bench.plugin.stats());
        let tracker = Arc::new(Tracker::default());
        *tracker.found.lock().unwrap() = found.map(str::to_owned);
        let asked = request(parameters);
        block_on(async {
            let mut samples = Vec::with_capacity(SAMPLES);
            for round in 0..WARM_UP + SAMPLES {
                let began = Instant::now();
                bench.plan(&asked, &tracker).await.unwrap();
                if round >= WARM_UP {
                    samples.push(began.elapsed());
                }
            }
            show(&format!("{example}, fresh instance and plan"), samples);
        });
    }
    for example in ["detector-go", "detector-javascript", "detector-python"] {
        if !example.contains(&wanted) {
            continue;
        }
        let bench = Bench::new(example);
        println!("{example}: {:?}", bench.plugin.stats());
        for series in [0, 1, 10, 100] {
            let options = DetectorOptions { name: example.into(), parameters_json: "{}".into(), state: None };
            block_on(async {
                let mut instance = bench.host.detector(&bench.plugin, options).await.unwrap();
                let values = vec![5.0; series];
                instance.observe(&points(&values, true)).await.unwrap();
                let batch = points(&values, false);
                let mut samples = Vec::with_capacity(SAMPLES);
                for round in 0..WARM_UP + SAMPLES {
                    let began = Instant::now();
                    instance.observe(&batch).await.unwrap();
                    if round >= WARM_UP {
                        samples.push(began.elapsed());
                    }
                }
                show(&format!("{example}, batch of {series} points"), samples);
            });
        }
    }
}
