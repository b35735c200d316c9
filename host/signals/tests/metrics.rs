//! Metric points of every kind, through the whole engine.

mod build;

use build::{
    Engine, at, exponential, exponential_point, gauge, histogram, histogram_point, number, sum, summary,
};
use proptest::prelude::*;
use salve_signals::SignalsConfig;

fn only(engine: &mut Engine, now_ms: u64) -> String {
    engine
        .fresh(now_ms)
        .iter()
        .map(|line| line.replace("{service.name=shop}", ""))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Guarantees: gauges and sums that may fall are their values, with both temporalities.
#[test]
fn values() {
    let mut engine = Engine::quick();
    for (second, gauged, total, delta) in [(1, 5.0, 10.0, 3.0), (2, -1.0, 8.0, -2.0), (3, 0.5, 9.0, 4.0)] {
        let time = at(second * 1_000);
        let applied = engine.metrics(
            second * 1_000,
            vec![
                gauge("temperature", "Cel", vec![number(0, time, gauged, &[])]),
                sum("connections", false, false, vec![number(at(0), time, total, &[])]),
                sum("queue", true, false, vec![number(time - 1_000_000_000, time, delta, &[])]),
            ],
        );
        assert_eq!((applied.accepted, applied.rejected), (3, 0));
    }
    insta::assert_snapshot!(only(&mut engine, 3_000), @"connections: 10@1000 connections: 8@2000 connections: 9@3000 queue: 1@2000 queue: 3@1000 queue: 5@3000 temperature: -1@2000 temperature: 0.5@3000 temperature: 5@1000");
}

/// Guarantees: a counter is a rate; it begins anew when its start time changes or it falls, and says so.
#[test]
fn counters() {
    let mut engine = Engine::quick();
    let send = |engine: &mut Engine, start_ms: u64, time_ms: u64, value: f64| {
        engine.metrics(
            time_ms,
            vec![sum("io", false, true, vec![number(at(start_ms), at(time_ms), value, &[])])],
        );
        only(engine, time_ms)
    };
    let lines = [
        send(&mut engine, 0, 1_000, 100.0),
        send(&mut engine, 0, 2_000, 150.0),
        send(&mut engine, 0, 4_000, 150.0),
        // Started again at 4.5 s: 20 in half a second.
        send(&mut engine, 4_500, 5_000, 20.0),
        // Fell without a new start: 10 since the point before.
        send(&mut engine, 4_500, 6_000, 10.0),
        // Older than the newest: nothing can be said.
        send(&mut engine, 4_500, 5_500, 15.0),
        send(&mut engine, 4_500, 7_000, 13.0),
    ];
    let lines = lines.map(|line| if line.is_empty() { "nothing".into() } else { line });
    insta::assert_snapshot!(lines.join("\n"), @r"
    nothing
    io.rate: 50@2000
    io.rate: 0@4000
    io.rate: 40@5000!
    io.rate: 10@6000!
    nothing
    io.rate: 3@7000
    ");
    assert_eq!((engine.signals.counters().resets, engine.signals.counters().points_out_of_order), (2, 1));
}

/// Guarantees: deltas are rates over the time that they speak for; without a start time, over the time since the last.
#[test]
fn delta_counters() {
    let mut engine = Engine::quick();
    for (start, time_ms, value) in [(at(0), 2_000, 10.0), (0, 3_000, 10.0), (at(3_000), 3_500, 10.0)] {
        engine.metrics(time_ms, vec![sum("io", true, true, vec![number(start, at(time_ms), value, &[])])]);
    }
    insta::assert_snapshot!(only(&mut engine, 4_000), @"io.rate: 10@3000 io.rate: 20@3500 io.rate: 5@2000");
}

/// Guarantees: histograms give rate, mean and quantiles of what was added since the point before; alike for both
/// temporalities.
#[test]
fn histograms() {
    let mut engine = Engine::quick();
    let bounds = [10.0, 20.0, 40.0];
    let first = [5, 5, 0, 0];
    let second = [5, 15, 10, 0];
    let (zero, one, three) = (at(0), at(1_000), at(3_000));
    engine.metrics(
        1_000,
        vec![
            histogram("cumulative", false, vec![histogram_point(zero, one, 100.0, &bounds, &first)]),
            histogram("delta", true, vec![histogram_point(zero, one, 100.0, &bounds, &first)]),
        ],
    );
    engine.metrics(
        3_000,
        vec![
            histogram("cumulative", false, vec![histogram_point(zero, three, 600.0, &bounds, &second)]),
            histogram("delta", true, vec![histogram_point(one, three, 500.0, &bounds, &[0, 10, 10, 0])]),
        ],
    );
    insta::assert_snapshot!(engine.fresh(3_000).join("\n").replace("{service.name=shop}", ""), @r"
    cumulative.mean: 25@3000
    cumulative.p50: 20@3000
    cumulative.p95: 38@3000
    cumulative.p99: 39.6@3000
    cumulative.rate: 10@3000
    delta.mean: 10@1000
    delta.mean: 25@3000
    delta.p50: 10@1000
    delta.p50: 20@3000
    delta.p95: 19@1000
    delta.p95: 38@3000
    delta.p99: 19.8@1000
    delta.p99: 39.6@3000
    delta.rate: 10@1000
    delta.rate: 10@3000
    ");
}

/// Guarantees: a histogram that begins anew is counted from nothing; one whose bounds change keeps number and sum.
#[test]
fn histogram_resets() {
    let mut engine = Engine::quick();
    let send = |engine: &mut Engine, start_ms, time_ms, bounds: &[f64], counts: &[u64]| {
        let total = counts.iter().sum::<u64>() as f64;
        let point = histogram_point(at(start_ms), at(time_ms), total * 10.0, bounds, counts);
        engine.metrics(time_ms, vec![histogram("h", false, vec![point])]);
        let lines = engine.fresh(time_ms);
        lines
            .into_iter()
            .filter(|line| line.contains(".rate") || line.contains(".mean"))
            .collect::<Vec<_>>()
            .join(" ")
            .replace("{service.name=shop}", "")
    };
    let lines = [
        send(&mut engine, 0, 1_000, &[1.0, 2.0], &[10, 10, 0]),
        send(&mut engine, 0, 2_000, &[1.0, 2.0], &[11, 11, 0]),
        send(&mut engine, 2_500, 3_000, &[1.0, 2.0], &[1, 3, 0]),
        send(&mut engine, 2_500, 4_000, &[1.0, 3.0], &[2, 4, 0]),
        send(&mut engine, 2_500, 5_000, &[1.0, 3.0], &[1, 4, 0]),
    ];
    insta::assert_snapshot!(lines[1..].join("\n"), @r"
    h.mean: 10@2000 h.rate: 2@2000
    h.mean: 10@3000! h.rate: 8@3000!
    h.mean: 10@4000 h.rate: 2@4000
    h.mean: 10@5000! h.rate: 5@5000!
    ");
    assert_eq!(engine.signals.counters().resets, 2);
}

/// Guarantees: exponential histograms are compared across a loss of resolution.
#[test]
fn exponential_histograms() {
    let mut engine = Engine::quick();
    // Scale 1: buckets are half a power of two wide; (1, 1.41], (1.41, 2], …
    let first = exponential_point(at(0), at(1_000), 3.0, 1, 0, &[1, 1]);
    // Scale 0: (1, 2] and (2, 4].
    let second = exponential_point(at(0), at(2_000), 15.0, 0, 0, &[2, 4]);
    engine.metrics(1_000, vec![exponential("e", false, vec![first])]);
    engine.metrics(2_000, vec![exponential("e", false, vec![second])]);
    let delta = exponential_point(at(2_000), at(3_000), 12.0, 0, 1, &[4]);
    engine.metrics(3_000, vec![exponential("d", true, vec![delta])]);
    insta::assert_snapshot!(engine.fresh(3_000).join("\n").replace("{service.name=shop}", ""), @r"
    d.mean: 3@3000
    d.p50: 2.828427@3000
    d.p95: 3.863745@3000
    d.p99: 3.97237@3000
    d.rate: 4@3000
    e.mean: 3@2000
    e.p50: 2.828427@2000
    e.p95: 3.863745@2000
    e.p99: 3.97237@2000
    e.rate: 4@2000
    ");
}

/// Guarantees: a summary gives its quantiles, and rate and mean from its count and sum.
#[test]
fn summaries() {
    let mut engine = Engine::quick();
    let quantiles = [(0.0, 1.0), (0.5, 3.0), (0.95, f64::NAN), (1.0, 9.0)];
    engine.metrics(1_000, vec![summary("s", at(1_000), 10, 30.0, &quantiles)]);
    engine.metrics(3_000, vec![summary("s", at(3_000), 20, 80.0, &quantiles)]);
    insta::assert_snapshot!(engine.fresh(3_000).join("\n").replace("{service.name=shop}", ""), @r"
    s.max: 9@1000
    s.max: 9@3000
    s.mean: 5@3000
    s.min: 1@1000
    s.min: 1@3000
    s.p50: 3@1000
    s.p50: 3@3000
    s.rate: 5@3000
    ");
}

/// Guarantees: order of attributes makes no other series; a point that comes twice counts once; an older one enters
/// history and no detector sees it.
#[test]
fn order_and_duplicates() {
    let mut engine = Engine::new(SignalsConfig { history_step_ms: 1, ..build::quick() });
    let point = |ms: u64, value: f64, attributes: &[(&str, &str)]| {
        vec![gauge("g", "1", vec![number(0, at(ms), value, attributes)])]
    };
    engine.metrics(1_000, point(1_000, 1.0, &[("a", "1"), ("b", "2")]));
    engine.metrics(3_000, point(3_000, 3.0, &[("b", "2"), ("a", "1")]));
    engine.metrics(3_001, point(2_000, 2.0, &[("a", "1"), ("b", "2")]));
    engine.metrics(3_002, point(3_000, 3.0, &[("a", "1"), ("b", "2")]));
    engine.metrics(3_003, point(2_000, 2.0, &[("a", "1"), ("b", "2")]));
    insta::assert_snapshot!(engine.fresh(3_100).join("\n"), @r"
    g{a=1,b=2,service.name=shop}: 1@1000
    g{a=1,b=2,service.name=shop}: 3@3000
    ");
    let counters = engine.signals.counters();
    assert_eq!((counters.points_duplicate, counters.points_out_of_order, counters.series), (2, 1, 1));
    let series = engine.view().find("shop", "g");
    let values: Vec<f64> =
        engine.view().points(series[0].id, at(0), at(9_000)).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
}

/// Guarantees: a pause much longer than usual is flagged, once.
#[test]
fn gaps() {
    let mut engine = Engine::quick();
    for ms in [1_000, 2_000, 3_000, 4_000, 14_000, 15_000, 16_000] {
        engine.metrics(ms, vec![gauge("g", "1", vec![number(0, at(ms), 1.0, &[])])]);
    }
    let flagged: Vec<String> = engine.fresh(16_000).into_iter().filter(|line| line.ends_with('!')).collect();
    assert_eq!(flagged, ["g{service.name=shop}: 1@14000!"]);
}

proptest! {
    /// Guarantees: nothing that was counted is lost or counted twice: rate times time, over all points, is what the counter
    /// rose by, restarts included, and whichever of the two temporalities says it.
    #[test]
    fn rates_conserve_counts(steps in prop::collection::vec((1_u64..5_000, 0_u32..1_000, any::<bool>()), 1..40)) {
        let mut engine = Engine::quick();
        let (mut ms, mut start, mut total, mut expected) = (1_000, 500, 0.0, 0.0);
        let send = |engine: &mut Engine, start: u64, since: u64, ms: u64, total: f64, added: f64| {
            engine.metrics(ms, vec![
                sum("cumulative", false, true, vec![number(at(start), at(ms), total, &[])]),
                sum("delta", true, true, vec![number(at(since), at(ms), added, &[])]),
            ]);
        };
        send(&mut engine, start, 500, ms, total, 0.0);
        engine.fresh(ms);
        let mut since = ms;
        let mut sums = [0.0, 0.0];
        for (pause, added, restarts) in steps {
            let before = ms;
            ms += pause;
            if restarts && pause > 1 {
                start = before + pause / 2;
                since = start;
                total = 0.0;
            }
            total += f64::from(added);
            expected += f64::from(added);
            send(&mut engine, start, since, ms, total, f64::from(added));
            let seconds = (ms - since) as f64 / 1e3;
            for (_, _, batch) in engine.signals.take_batches(build::now(ms)) {
                for (index, value) in batch.values.iter().enumerate() {
                    sums[index] += value * seconds;
                }
            }
            since = ms;
        }
        for sum in sums {
            prop_assert!((sum - expected).abs() < 1e-6 * expected.max(1.0), "{sum} of {expected}");
        }
    }
}
