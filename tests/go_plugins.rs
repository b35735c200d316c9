//! Plugins in Go: their runtime inside of long-lived instances, what they cost, and the tests of the SDK and the examples.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use salve_model::{
    Attributes, Target, TargetId, Tenant,
    batch::{Batch, SeriesAdded},
    call::{BoxFuture, CallError, HttpResponse, Read, ReadAnswer, Session, Write, WriteAnswer},
    incident::IncidentId,
    telemetry::{SeriesKey, SeriesRef},
};
use salve_plugins::{ActionRequest, DetectorOptions, GuestLogLine, HostConfig, LogSink, Plugin, PluginHost};
use salve_tests::{at_once::AtOnce, components};
use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Log lines of guests, kept.
#[derive(Default)]
struct Lines(Mutex<Vec<GuestLogLine>>);

impl LogSink for Lines {
    fn write(&self, line: GuestLogLine) {
        self.0.lock().unwrap().push(line);
    }
}

/// Builds the project in `folder` and loads it.
fn load(folder: &str, change: impl FnOnce(&mut HostConfig)) -> (PluginHost, Arc<Plugin>) {
    load_with_logs(folder, Arc::default(), change)
}

fn load_with_logs(
    folder: &str,
    lines: Arc<Lines>,
    change: impl FnOnce(&mut HostConfig),
) -> (PluginHost, Arc<Plugin>) {
    let root = salve_tests::root();
    let component = components::built(&root.join(folder), &[&root.join("sdk/go")]);
    let mut config = HostConfig::new(components::compiled());
    config.limits.wall_clock_ms = Some(120_000);
    change(&mut config);
    let host = PluginHost::with_logs(config, lines).unwrap();
    let plugin = host.load_bytes(Path::new(folder), &component).unwrap();
    (host, plugin)
}

fn series(id: u32) -> SeriesAdded {
    let attributes = Attributes::from([("service.name".to_owned(), format!("shop-{id}"))]);
    SeriesAdded {
        id,
        series: SeriesRef {
            key: SeriesKey(id.into()),
            tenant: Tenant::default(),
            service: format!("shop-{id}"),
            name: "latency".into(),
            unit: "ms".into(),
            attributes: Attributes::new(),
        },
        group: 0,
        limit: None,
        attributes,
    }
}

/// A batch of one point for each of `count` series; `turn` 0 adds them.
fn batch(turn: u32, count: u32) -> Batch {
    let now = 1_767_225_600_000_000_000 + u64::from(turn) * 1_000_000_000;
    Batch {
        sequence: u64::from(turn) + 1,
        now,
        added: if turn == 0 { (0..count).map(series).collect() } else { Vec::new() },
        removed: Vec::new(),
        series: (0..count).collect(),
        offsets: (0..=count).collect(),
        times: vec![now; count as usize],
        values: (0..count).map(|id| 100.0 + f64::from((turn * 7 + id * 3) % 10)).collect(),
        point_flags: vec![0; count as usize],
        scores: false,
    }
}

fn options(parameters: &str) -> DetectorOptions {
    DetectorOptions { name: "stress".into(), parameters_json: parameters.into(), state: None }
}

/// The value in the middle, and the one that 1 % are above.
fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Scenario: one instance, a million batches, each with garbage, goroutines, channels and sleeps.
/// Guarantees: no trap, no series set aside, no lost call; sleeps keep their order and cost no time; the collector ran
/// many times, and what it keeps does not grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_calls_in_one_instance() {
    const CALLS: u32 = 1_000_000;
    let (host, plugin) = load("tests/plugins/go-stress", |config| {
        config.limits.memory_bytes = Some(256 << 20);
        config.limits.cpu_ms = Some(10_000);
    });
    let mut detector = host.detector(&plugin, options("{}")).await.unwrap();
    let mut heap_early = 0.0;
    for turn in 0..CALLS {
        let output = detector.observe(&batch(turn, 1)).await.unwrap();
        let seen = &output.observations[0];
        assert_eq!(seen.value, f64::from(turn) + 1.0);
        if turn == 100_000 {
            heap_early = seen.upper;
        }
        if turn == CALLS - 1_000 {
            let (collections, heap) = (seen.lower, seen.upper);
            assert!(collections > 100.0, "the collector ran {collections} times");
            assert!(heap < heap_early * 2.0 + 8e6, "the heap grew from {heap_early} to {heap} bytes");
            // A tick each 10 ms of the virtual clock, of which each call takes at least 2.
            assert!(seen.expected > f64::from(CALLS) * 0.15, "{} ticks", seen.expected);
        }
    }
    assert_eq!(detector.take_set_aside(), []);
    let counters = plugin.counters();
    assert_eq!((counters.faults_total, counters.instances_total), (0, 1));
}

/// Scenario: a live heap of 100 MiB under a memory limit of 256 MiB, and garbage of several times that.
/// Guarantees: the collector keeps the instance within its limit for as long as it lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_heap_under_a_raised_limit() {
    let (host, plugin) = load("tests/plugins/go-stress", |config| {
        config.limits.memory_bytes = Some(256 << 20);
        config.limits.cpu_ms = Some(30_000);
        config.limits.cpu_setup_ms = Some(60_000);
    });
    let mut detector = host.detector(&plugin, options(r#"{"heap_mib":100}"#)).await.unwrap();
    for turn in 0..1_001 {
        let output = detector.observe(&batch(turn, 1)).await.unwrap();
        if turn == 1_000 {
            let heap = output.observations[0].upper;
            assert!(heap > f64::from(100 << 20), "the heap has {heap} bytes");
        }
    }
    assert_eq!(plugin.counters().faults_total, 0);
    assert_eq!(plugin.counters().instances_total, 1);
}

/// Scenario: an action whose start sleeps for an hour in a goroutine, whose ten goroutines then sleep for 200 ms at one time, that
/// asks for random numbers and files, and that panics.
/// Guarantees: the start ran when the plugin was built, and each instance begins with what it left; sleeps wait for real before
/// the next call to the host, at one time and not one after the other; random numbers are the same in each instance; there are
/// no files, arguments or environment; the words of a panic reach the log.
#[tokio::test(flavor = "multi_thread")]
async fn sleeps_random_numbers_and_panics() {
    let (host, plugin) = load("tests/plugins/go-runtime", |_| {});
    let request = |parameters: &str| ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: Vec::new(),
        parameters: parameters.into(),
        started: 1_767_225_600_000_000_000,
        now: 1_767_225_605_000_000_000,
    };
    let (mut random, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let began = Instant::now();
        let request = request(r#"{"sleep_ms":200}"#);
        let plan = host.plan(&plugin, request, Arc::new(Statistics), Arc::new(AtOnce)).await.unwrap();
        let took = began.elapsed();
        let number = |name: &str| plan.extra[name].parse::<u64>().unwrap();
        assert!((200..400).contains(&number("slept_ms")), "{:?}", plan.extra);
        assert!(number("waited_ms") >= 200 && took >= Duration::from_millis(200), "{:?}", plan.extra);
        assert!(number("waited_ms") < 2_000, "one after the other: {:?}", plan.extra);
        assert!(number("apart_ms") < 1_000, "{:?}", plan.extra);
        assert_eq!((plan.extra["file"].as_str(), plan.extra["environment"].as_str()), ("true", "0"));
        random.push(plan.extra["random"].clone());
        // The start's random number, what its goroutine answered, and that the clock went on from there; and nothing of the
        // call before.
        let start = plan.extra["start"].clone();
        assert!(start.ends_with(" 1 true"), "{start}");
        assert_eq!(plan.extra["calls"], "1");
        starts.push(start);
    }
    assert_eq!(random[0], random[1]);
    assert_eq!(starts[0], starts[1]);

    let lines = Arc::new(Lines::default());
    let (host, plugin) = load_with_logs("tests/plugins/go-runtime", lines.clone(), |_| {});
    let request = request(r#"{"panic":"all is lost"}"#);
    host.plan(&plugin, request, Arc::new(Statistics), Arc::new(AtOnce)).await.unwrap_err();
    assert_eq!(plugin.counters().traps_total, 1);
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines[0].message, "panic: all is lost");
    assert!(lines[0].fields[0].1.contains("main.runtime.Plan"), "{:?}", lines[0].fields);
}

/// Scenario: plugins whose `init` panics, asks the host for the time, or needs more memory than the plugin may have.
/// Guarantees: none becomes a component; the error says that it was the start, why, in Go's words, and what to do.
#[test]
fn starts_that_fail() {
    let sdk = salve_tests::root().join("sdk/go");
    let manifest = "name = 'probe'\nversion = '0.1.0'\nrole = 'agent'\nsummary = 'Probes.'\n";
    for (init, words, hint) in [
        (r#"panic("all is lost")"#, "panic: all is lost", "mend what Go's words name"),
        (
            "kept = clock.Now()",
            "it calls the host (`salve:plugin/clock@0.1.0#now`)",
            "where there is no host",
        ),
        ("kept = make([]byte, 100<<20)", "out of memory", "`limits.memory_bytes`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("plugin.toml", manifest.into());
        let module = "github.com/salve-healing/salve/sdk/go";
        write(
            "go.mod",
            format!(
                "module probe\n\ngo 1.24\n\nrequire {module} v0.1.0\n\nreplace {module} => {}\n",
                sdk.display()
            ),
        );
        write(
            "main.go",
            format!(
                "package main\n\nimport \"{module}/clock\"\n\nvar (\n\tkept any\n\t_ = clock.Now\n)\n\n\
                 func init() {{ {init} }}\n\nfunc main() {{}}\n"
            ),
        );
        let mut build = Command::new(salve_tests::salve());
        build.args(["plugin", "build"]).arg(folder.path()).envs(components::building());
        let output = build.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{init}: {said}");
        for words in ["cannot run Go's start, which is part of the build", words, "hint: ", hint] {
            assert!(said.contains(words), "`{words}` is not said: {said}");
        }
        assert!(!folder.path().join("build/probe.wasm").exists(), "a plugin came out: {init}");
    }
}

/// Answers as HAProxy's statistics page does, at once.
struct Statistics;

impl Session for Statistics {
    fn read(&self, _: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        let body = "# pxname,svname,scur,status\nshop,a,0,UP\nshop,b,0,UP\nshop,BACKEND,0,UP\n";
        let response = HttpResponse { status: 200, headers: Vec::new(), body: body.into() };
        Box::pin(async move { Ok(ReadAnswer::Http(response)) })
    }

    fn write(&self, _: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async { Err(CallError::TimedOut) })
    }
}

/// Guarantees: a fresh instance of the example action makes its plan, and the example detector works off a batch, within
/// ten times of what they should take (600 µs, 20 µs) on a machine that does something else as well. Prints what they took.
#[tokio::test(flavor = "multi_thread")]
async fn what_calls_cost() {
    let (host, plugin) = load("examples/action-go", |_| {});
    let request = || ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: vec![Target {
            id: TargetId("balancer".into()),
            tenant: Tenant::default(),
            attributes: Attributes::new(),
            objects: Vec::new(),
        }],
        parameters: r#"{"backend":"shop","server":"a"}"#.into(),
        started: 1,
        now: 2,
    };
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let began = Instant::now();
        let plan = host.plan(&plugin, request(), Arc::new(Statistics), Arc::new(AtOnce)).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(plan.steps.len(), 1);
    }
    let (p50, p99) = quantiles(times);
    let counters = plugin.counters();
    let cpu_us = counters.cpu_us_total / counters.calls_total;
    println!(
        "Go action, fresh instance and plan with one call to the host: p50 {p50:?}, p99 {p99:?}, CPU {cpu_us} µs"
    );
    assert!(p50 < Duration::from_millis(6), "{p50:?}");

    let (host, plugin) = load("examples/detector-go", |_| {});
    for count in [1, 10, 100, 1_000] {
        let mut detector = host.detector(&plugin, options("{}")).await.unwrap();
        let mut times = Vec::new();
        for turn in 0..5_000 {
            let batch = batch(turn, count);
            let began = Instant::now();
            detector.observe(&batch).await.unwrap();
            times.push(began.elapsed());
        }
        let (p50, p99) = quantiles(times);
        println!("Go detector, a batch of {count} series with a point each: p50 {p50:?}, p99 {p99:?}");
        assert!(count > 1 || p50 < Duration::from_micros(200), "{p50:?}");
    }
    assert_eq!(plugin.counters().faults_total, 0);
}

/// Guarantees: the SDK and the examples pass their own tests, natively, as their authors run them.
#[test]
fn tests_of_authors() {
    for folder in ["sdk/go", "examples/action-go", "examples/detector-go"] {
        let output = Command::new("go")
            .args(["test", "./..."])
            .current_dir(salve_tests::root().join(folder))
            .env("GOTOOLCHAIN", "local")
            .output()
            .unwrap_or_else(|error| panic!("cannot start `go`: {error}\nhint: run `cargo xtask setup`"));
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`go test ./...` in {folder}:\n{said}");
    }
}
