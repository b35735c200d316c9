//! Input that is wrong, hostile or too much: it is refused or bounded, counted, and nothing else is lost.

mod build;

use build::{
    Engine, at, gauge, histogram, histogram_point, logs_of, metrics_of, now, number, quick, resource, span,
    spans_of, sum,
};
use salve_model::Tenant;
use salve_signals::{Signal, Signals, SignalsConfig};

/// Guarantees: numbers that are none are refused with a reason, and the rest of the request is taken.
#[test]
fn not_finite() {
    let mut engine = Engine::quick();
    let applied = engine.metrics(
        1_000,
        vec![
            gauge(
                "a",
                "1",
                vec![number(0, at(1_000), f64::NAN, &[]), number(0, at(1_000), 1.0, &[("k", "v")])],
            ),
            sum("b", false, true, vec![number(0, at(1_000), f64::INFINITY, &[])]),
            histogram("c", false, vec![histogram_point(0, at(1_000), f64::NEG_INFINITY, &[1.0], &[1, 1])]),
            histogram("d", false, vec![histogram_point(0, at(1_000), 1.0, &[2.0, 1.0], &[1, 1, 1])]),
            histogram("e", false, vec![histogram_point(0, at(1_000), 1.0, &[1.0], &[1, 1, 1, 1])]),
            histogram("f", false, vec![histogram_point(0, at(1_000), 1.0, &[f64::NAN], &[1, 1])]),
        ],
    );
    assert_eq!((applied.accepted, applied.rejected), (1, 6));
    insta::assert_snapshot!(applied.reason.unwrap(), @"rejected: 6 not finite or contradicting itself");
    assert_eq!(engine.signals.counters().rejected_not_finite, 6);
}

/// Guarantees: differences that leave the range of numbers are no points.
#[test]
fn overflow_is_no_point() {
    let mut engine = Engine::quick();
    for (ms, value) in [(1_000, -f64::MAX), (2_000, f64::MAX), (3_000, f64::MAX)] {
        engine.metrics(ms, vec![sum("b", false, true, vec![number(0, at(ms), value, &[])])]);
    }
    assert_eq!(engine.fresh(3_000), ["b.rate{service.name=shop}: 0@3000"]);
    assert_eq!(engine.signals.counters().points_overflowed, 1);
}

/// Scenario: times of 0, of year 2262 and of year 2554, in all three signals.
/// Guarantees: the far future is refused and changes nothing for what comes after; no time means now.
#[test]
fn times() {
    let mut engine = Engine::quick();
    let year_2262 = i64::MAX as u64;
    for time in [year_2262, u64::MAX, at(302_000)] {
        let applied = engine.metrics(1_000, vec![gauge("g", "1", vec![number(0, time, 1.0, &[])])]);
        assert_eq!((applied.accepted, applied.rejected), (0, 1), "{time}");
        let spans = spans_of("shop", vec![span(2, "op", (1, 2, 0), time, 1, vec![])]);
        assert_eq!(engine.apply(Signal::Traces, 1_000, &spans).rejected, 1);
        assert_eq!(engine.apply(Signal::Logs, 1_000, &logs_of("shop", &[(time, 9)])).rejected, 1);
    }
    assert_eq!(engine.signals.counters().rejected_future, 9);
    assert_eq!(engine.metrics(1_000, vec![gauge("g", "1", vec![number(0, 0, 7.0, &[])])]).accepted, 1);
    assert_eq!(engine.apply(Signal::Logs, 1_000, &logs_of("shop", &[(0, 9)])).accepted, 1);
    assert_eq!(engine.signals.counters().times_missing, 2);
    assert_eq!(engine.fresh(1_100), ["g{service.name=shop}: 7@1000"]);
    assert_eq!(
        engine.metrics(2_000, vec![gauge("g", "1", vec![number(0, at(2_000), 8.0, &[])])]).accepted,
        1
    );
    assert_eq!(engine.fresh(2_000), ["g{service.name=shop}: 8@2000"]);
}

/// Guarantees: spans that end before they start, or do not say when, are refused.
#[test]
fn span_times() {
    let mut engine = Engine::quick();
    let mut backwards = span(2, "op", (1, 2, 0), at(1_000), 1, vec![]);
    backwards.start_time_unix_nano = at(1_001);
    let mut endless = backwards.clone();
    endless.end_time_unix_nano = 0;
    let good = span(2, "op", (1, 2, 0), at(1_000), 1, vec![]);
    let applied = engine.apply(Signal::Traces, 1_000, &spans_of("shop", vec![backwards, endless, good]));
    assert_eq!((applied.accepted, applied.rejected), (1, 2));
}

/// Scenario: a million values of one label, of which a known series is one.
/// Guarantees: new series stop at the bound, memory stays bounded, the known series and other metrics go on.
#[test]
fn a_million_label_values() {
    let config = SignalsConfig { series_max: 3_000, series_per_metric_max: 2_000, ..quick() };
    let mut engine = Engine::new(config);
    engine.metrics(500, vec![gauge("users", "1", vec![number(0, at(500), 1.0, &[("user", "first")])])]);
    let mut rejected = 0;
    let mut memory_early = 0;
    for part in 0..100_u64 {
        let ms = 1_000 + part;
        let points = (0..10_000)
            .map(|index| number(0, at(ms), 1.0, &[("user", &format!("u{}", part * 10_000 + index))]));
        let applied = engine.metrics(ms, vec![gauge("users", "1", points.collect())]);
        rejected += applied.rejected;
        if part == 1 {
            engine.signals.take_batches(now(ms));
            memory_early = engine.signals.memory_bytes();
            assert!(applied.reason.unwrap().contains("series_per_metric_max"));
        }
    }
    assert_eq!(rejected, 1_000_000 - 1_999);
    assert_eq!(engine.signals.counters().series, 2_000);
    assert!(engine.signals.memory_bytes() <= memory_early + memory_early / 10, "{memory_early}");
    assert!(memory_early < 4_000_000, "{memory_early}");
    let applied = engine.metrics(
        2_000,
        vec![
            gauge("users", "1", vec![number(0, at(2_000), 2.0, &[("user", "first")])]),
            gauge("orders", "1", vec![number(0, at(2_000), 3.0, &[])]),
        ],
    );
    assert_eq!((applied.accepted, applied.rejected), (2, 0), "{:?}", applied.reason);
}

/// Guarantees: each bound on resources, services, operations, edges and spans in flight holds, and says so.
#[test]
fn every_bound_holds() {
    let config = SignalsConfig {
        resources_max: 10,
        services_max: 5,
        operations_per_service_max: 3,
        edges_max: 4,
        spans_in_flight_max: 20,
        ..quick()
    };
    let mut engine = Engine::new(config);
    for index in 0..20_u64 {
        let spans = (0..50_u64)
            .flat_map(|call| {
                let id = index * 1_000 + call * 2 + 1;
                let attributes = vec![build::text("peer.service", &format!("peer{call}"))];
                [
                    span(3, "call", (id, id, 0), at(1_000), 5, attributes),
                    span(2, &format!("op{call}"), (id, id + 1, 7), at(1_000), 5, vec![]),
                ]
            })
            .collect();
        engine.apply(Signal::Traces, 1_200, &spans_of(&format!("service{index}"), spans));
    }
    for ms in [1_300, 5_000, 9_000] {
        engine.signals.tick(now(ms));
    }
    let counters = engine.signals.counters();
    assert_eq!((counters.resources, counters.services, counters.edges), (10, 5, 4));
    assert_eq!(counters.spans_in_flight, 0);
    assert!(counters.rejected_resource_limit > 0 && counters.services_over_limit > 0);
    assert!(
        counters.operations_over_limit > 0 && counters.edges_over_limit > 0 && counters.spans_evicted > 0
    );
    let operations = engine.view().find("service0", "salve.span.request_rate");
    assert_eq!(operations.len(), 1 + 3);
}

/// Guarantees: silent things are forgotten, at the same time everywhere, and their ids are free again.
#[test]
fn silence_is_forgotten() {
    let mut engine = Engine::new(SignalsConfig { series_idle_ms: 60_000, ..quick() });
    engine.metrics(1_000, vec![gauge("g", "1", vec![number(0, at(1_000), 1.0, &[])])]);
    let call = span(3, "call", (1, 1, 0), at(1_000), 5, vec![build::text("peer.service", "db")]);
    let served = span(2, "op", (1, 2, 9), at(1_000), 5, vec![]);
    engine.apply(Signal::Traces, 1_000, &spans_of("shop", vec![call, served]));
    engine.apply(Signal::Logs, 1_000, &logs_of("shop", &[(at(1_000), 17)]));
    engine.signals.tick(now(30_000));
    engine.fresh(30_000);
    // The gauge, twelve of spans, four of the edge, one of logs.
    assert_eq!((engine.names().len(), engine.signals.counters().series), (18, 18));
    engine.signals.tick(now(90_000));
    engine.fresh(90_000);
    let counters = engine.signals.counters();
    assert_eq!((counters.series, counters.services, counters.edges, counters.resources), (0, 0, 0, 0));
    assert!(engine.names().is_empty());
    engine.metrics(91_000, vec![gauge("h", "1", vec![number(0, at(91_000), 1.0, &[])])]);
    assert_eq!(engine.fresh(91_000), ["h{service.name=shop}: 1@91000"]);
}

/// Guarantees: resources without attributes, without a service, and requests with nothing in them are ordinary.
#[test]
fn empty_things() {
    let mut engine = Engine::quick();
    let nobody = opentelemetry_proto::tonic::resource::v1::Resource::default();
    let request = metrics_of(
        nobody,
        vec![gauge("g", "1", vec![number(0, at(1_000), 1.0, &[])]), gauge("e", "", vec![])],
    );
    assert_eq!(engine.apply(Signal::Metrics, 1_000, &request).accepted, 1);
    assert_eq!(engine.fresh(1_000), ["g{}: 1@1000"]);
    for signal in [Signal::Metrics, Signal::Traces, Signal::Logs] {
        assert_eq!(engine.apply(signal, 1_000, &[]), salve_signals::Applied::default());
    }
    let unnamed = engine.metrics(1_000, vec![gauge("", "1", vec![number(0, at(1_000), 1.0, &[])])]);
    assert_eq!((unnamed.rejected, engine.signals.counters().rejected_unnamed), (1, 1));
}

/// Guarantees: bytes that are not OTLP after all are answered with the place, and harm nothing.
#[test]
fn not_otlp() {
    let mut signals = Signals::new(quick());
    let applied = signals.apply(Signal::Metrics, &Tenant::default(), &[0x0a, 0x05, 1], now(0));
    assert!(applied.reason.is_some_and(|reason| !reason.is_empty()));
}

/// Guarantees: what nobody fetches is bounded, and the newest stays.
#[test]
fn nobody_fetches() {
    let mut engine = Engine::new(SignalsConfig { pending_points_max: 100, ..quick() });
    for ms in 1..=1_000 {
        engine.metrics(ms, vec![gauge("g", "1", vec![number(0, at(ms), ms as f64, &[])])]);
    }
    let fresh = engine.fresh(1_000);
    assert!(fresh.len() <= 100);
    assert!(fresh.contains(&"g{service.name=shop}: 1000@1000".to_owned()));
    assert_eq!(engine.signals.counters().pending_dropped + fresh.len() as u64, 1_000);
}

/// Guarantees: dropped attributes make no series, so a series goes on after a restart with another process id.
#[test]
fn dropped_attributes() {
    let mut engine = Engine::new(SignalsConfig { drop_attributes: vec!["process.pid".into()], ..quick() });
    for (ms, pid) in [(1_000, "1"), (2_000, "2")] {
        let metrics = vec![gauge("g", "1", vec![number(0, at(ms), 1.0, &[])])];
        engine.apply(
            Signal::Metrics,
            ms,
            &metrics_of(resource("shop", &[("process.pid", pid), ("host.name", "h")]), metrics),
        );
    }
    assert_eq!(
        engine.fresh(2_000),
        ["g{host.name=h,service.name=shop}: 1@1000", "g{host.name=h,service.name=shop}: 1@2000"]
    );
}

/// Guarantees: private values of resources and points are in no batch and in no answer to a plugin; users that differ in
/// them alone are one series; and what is said of it afterwards holds for what comes from then on.
#[test]
fn redacted_attributes() {
    let private = |pattern: &str| SignalsConfig { redact_attributes: vec![pattern.into()], ..quick() };
    let mut engine = Engine::new(private("user.*"));
    let send = |engine: &mut Engine, ms: u64, user: &str| {
        let point = number(0, at(ms), 1.0, &[("user.email", user), ("id", "1")]);
        let metrics =
            metrics_of(resource("shop", &[("user.name", user)]), vec![gauge("g", "1", vec![point])]);
        engine.apply(Signal::Metrics, ms, &metrics);
    };
    send(&mut engine, 1_000, "ada@example.org");
    send(&mut engine, 2_000, "bob@example.org");
    let one = "g{id=1,service.name=shop,user.email=[redacted],user.name=[redacted]}: 1@";
    assert_eq!(engine.fresh(2_000), [format!("{one}1000"), format!("{one}2000")]);
    let known = engine.signals.of(&Tenant::default()).find("", "");
    assert_eq!(known.iter().filter(|series| series.name == "g").count(), 1, "{known:?}");
    assert!(!format!("{known:?}").contains("example.org"), "{known:?}");

    engine.signals.reconfigure(private("other"));
    send(&mut engine, 3_000, "ada@example.org");
    assert!(engine.fresh(3_000)[0].contains("ada@example.org"));
}

/// Guarantees: what happened long before the engine began, or arrives long after, is counted and harms nothing.
#[test]
fn the_distant_past() {
    let mut engine = Engine::quick();
    let old = span(2, "op", (1, 2, 0), 1_000_000_000, 1, vec![]);
    let recent = span(2, "op", (1, 3, 0), at(100_000), 1, vec![]);
    engine.signals.tick(now(100_000));
    let applied = engine.apply(Signal::Traces, 100_200, &spans_of("shop", vec![old, recent]));
    assert_eq!((applied.accepted, applied.rejected), (2, 0));
    assert_eq!(engine.signals.counters().spans_too_old, 1);
    engine.signals.tick(now(200_000));
    let rates: Vec<String> = engine
        .fresh(200_000)
        .into_iter()
        .filter(|line| line.starts_with("salve.span.request_rate{service") && !line.contains("span.name"))
        .collect();
    assert_eq!(rates.len(), 99, "one a bucket since the first request, none before");
}
