//! How long a call into a guest takes: a fresh instance for an action, a batch of 1,000 series for a detector.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Notes, Silence, batch, bench, request};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

/// Calls for the percentiles that criterion does not give.
const SAMPLES: usize = 5_000;

fn dispatch(criterion: &mut Criterion) {
    let bench = bench();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let plugin = bench.load("action-echo");
    let session = Arc::new(Notes::default());
    let call = || bench.host.plan(&plugin, request(), session.clone(), Arc::new(Silence));
    runtime.block_on(call()).unwrap();

    let mut samples: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            runtime.block_on(call()).unwrap();
            began.elapsed()
        })
        .collect();
    samples.sort();
    println!("fresh action call: p50 {:?}, p99 {:?}", samples[SAMPLES / 2], samples[SAMPLES * 99 / 100]);
    criterion.bench_function("fresh action call", |bencher| {
        bencher.iter(|| runtime.block_on(call()).unwrap());
    });

    let mut detector = runtime.block_on(bench.detector("detector-threshold")).unwrap();
    let values = vec![1.0; 1_000];
    let points = batch(&values, false);
    runtime.block_on(detector.observe(&batch(&values, true))).unwrap_or_default();
    criterion.bench_function("detector batch of 1,000 series", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(detector.observe(&points)).unwrap()));
    });
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
