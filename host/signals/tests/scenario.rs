//! A shop of three services, `gateway` → `checkout` → `inventory`: what Salve sees of it when it is well and when it is not.

mod build;

use build::{
    CLIENT, Engine, OWN, SERVER, at, failed, int, logs_of, now, quick, rounded, span, spans_of, text,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use salve_model::{call::EdgeStats, telemetry::Change, time::EventTime};
use salve_signals::Signal;

/// How the shop is in one second.
#[derive(Clone, Copy, PartialEq)]
enum Health {
    Well,
    /// `inventory` answers 500.
    InventoryFails,
    /// `inventory` is dead: it sends nothing, and `checkout` cannot connect.
    InventoryDead,
    /// `inventory` takes ten times as long.
    InventorySlow,
}

/// Spans of each service for one request that ends at `end`.
fn request(id: u64, end: u64, health: Health) -> [(&'static str, Vec<Span>); 3] {
    let base = id * 10;
    let slow = if health == Health::InventorySlow { 180 } else { 0 };
    let fails = matches!(health, Health::InventoryFails | Health::InventoryDead);
    let status = |fails: bool| vec![int("http.response.status_code", if fails { 500 } else { 200 })];
    let to = |name: &str, port: i64| vec![text("server.address", name), int("server.port", port)];
    let mark = |span: Span| if fails { failed(span) } else { span };
    let gateway = vec![
        mark(span(SERVER, "GET /buy", (id, base, 0), end, 40 + slow, status(fails))),
        mark(span(CLIENT, "POST", (id, base + 1, base), end, 35 + slow, to("127.0.0.1", 8081))),
    ];
    let checkout = vec![
        mark(span(SERVER, "POST /checkout", (id, base + 2, base + 1), end, 30 + slow, status(fails))),
        mark(span(CLIENT, "GET", (id, base + 3, base + 2), end, 25 + slow, to("127.0.0.1", 8082))),
    ];
    let inventory = match health {
        Health::InventoryDead => Vec::new(),
        _ => vec![mark(span(SERVER, "GET /stock", (id, base + 4, base + 3), end, 20 + slow, status(fails)))],
    };
    [("gateway", gateway), ("checkout", checkout), ("inventory", inventory)]
}

/// Runs the shop for a second at ten requests; each service sends its own spans, the callee's sometimes first.
fn run(engine: &mut Engine, second: u64, health: Health) {
    for index in 0..10 {
        let end = at(second * 1_000 + index * 100);
        let mut parts = request(second * 100 + index + 1, end, health);
        if index % 2 == 0 {
            parts.reverse();
        }
        for (service, spans) in parts {
            if !spans.is_empty() {
                engine.apply(Signal::Traces, second * 1_000 + index * 100 + 50, &spans_of(service, spans));
            }
        }
    }
    engine.signals.tick(now(second * 1_000 + 1_600));
}

fn lines(edges: &[EdgeStats]) -> String {
    let line = |edge: &EdgeStats| {
        format!(
            "{} → {}: {}/s, errors {}, {} ms",
            edge.caller,
            edge.callee,
            edge.requests_per_second,
            edge.error_ratio,
            rounded(edge.duration_mean_ms)
        )
    };
    edges.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn services(engine: &Engine, from_ms: u64, to_ms: u64) -> String {
    let services = engine.view().services(at(from_ms), at(to_ms));
    let line = |stats: &salve_model::call::ServiceStats| {
        let seen_ms = (stats.last_seen - at(0)) / 1_000_000;
        format!(
            "{}: {}/s, errors {}, mean {} ms, p95 within {} ms, seen at {seen_ms}",
            stats.service,
            stats.requests_per_second,
            stats.error_ratio,
            rounded(stats.duration_mean_ms),
            stats.duration_p95_ms.round(),
        )
    };
    services.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Scenario: a second of the shop when all is well.
/// Guarantees: the golden list of derived series and their values.
#[test]
fn a_healthy_second() {
    let mut engine = Engine::quick();
    run(&mut engine, 1, Health::Well);
    engine.signals.tick(now(2_500));
    insta::assert_snapshot!(engine.fresh(2_500).join("\n"), @r"
    salve.edge.duration.mean{peer.service=checkout,service.name=gateway}: 35@2000
    salve.edge.duration.mean{peer.service=inventory,service.name=checkout}: 25@2000
    salve.edge.duration.p95{peer.service=checkout,service.name=gateway}: 34.476298@2000
    salve.edge.duration.p95{peer.service=inventory,service.name=checkout}: 25.033862@2000
    salve.edge.error_ratio{peer.service=checkout,service.name=gateway}: 0@2000
    salve.edge.error_ratio{peer.service=inventory,service.name=checkout}: 0@2000
    salve.edge.request_rate{peer.service=checkout,service.name=gateway}: 10@2000
    salve.edge.request_rate{peer.service=inventory,service.name=checkout}: 10@2000
    salve.span.duration.mean{service.name=checkout,span.name=POST /checkout}: 30@2000
    salve.span.duration.mean{service.name=checkout}: 30@2000
    salve.span.duration.mean{service.name=gateway,span.name=GET /buy}: 40@2000
    salve.span.duration.mean{service.name=gateway}: 40@2000
    salve.span.duration.mean{service.name=inventory,span.name=GET /stock}: 20@2000
    salve.span.duration.mean{service.name=inventory}: 20@2000
    salve.span.duration.p50{service.name=checkout,span.name=POST /checkout}: 30.577244@2000
    salve.span.duration.p50{service.name=checkout}: 30.577244@2000
    salve.span.duration.p50{service.name=gateway,span.name=GET /buy}: 40.459174@2000
    salve.span.duration.p50{service.name=gateway}: 40.459174@2000
    salve.span.duration.p50{service.name=inventory,span.name=GET /stock}: 19.691703@2000
    salve.span.duration.p50{service.name=inventory}: 19.691703@2000
    salve.span.duration.p95{service.name=checkout,span.name=POST /checkout}: 30.577244@2000
    salve.span.duration.p95{service.name=checkout}: 30.577244@2000
    salve.span.duration.p95{service.name=gateway,span.name=GET /buy}: 40.459174@2000
    salve.span.duration.p95{service.name=gateway}: 40.459174@2000
    salve.span.duration.p95{service.name=inventory,span.name=GET /stock}: 19.691703@2000
    salve.span.duration.p95{service.name=inventory}: 19.691703@2000
    salve.span.duration.p99{service.name=checkout,span.name=POST /checkout}: 30.577244@2000
    salve.span.duration.p99{service.name=checkout}: 30.577244@2000
    salve.span.duration.p99{service.name=gateway,span.name=GET /buy}: 40.459174@2000
    salve.span.duration.p99{service.name=gateway}: 40.459174@2000
    salve.span.duration.p99{service.name=inventory,span.name=GET /stock}: 19.691703@2000
    salve.span.duration.p99{service.name=inventory}: 19.691703@2000
    salve.span.error_ratio{service.name=checkout,span.name=POST /checkout}: 0@2000
    salve.span.error_ratio{service.name=checkout}: 0@2000
    salve.span.error_ratio{service.name=gateway,span.name=GET /buy}: 0@2000
    salve.span.error_ratio{service.name=gateway}: 0@2000
    salve.span.error_ratio{service.name=inventory,span.name=GET /stock}: 0@2000
    salve.span.error_ratio{service.name=inventory}: 0@2000
    salve.span.request_rate{service.name=checkout,span.name=POST /checkout}: 10@2000
    salve.span.request_rate{service.name=checkout}: 10@2000
    salve.span.request_rate{service.name=gateway,span.name=GET /buy}: 10@2000
    salve.span.request_rate{service.name=gateway}: 10@2000
    salve.span.request_rate{service.name=inventory,span.name=GET /stock}: 10@2000
    salve.span.request_rate{service.name=inventory}: 10@2000
    ");
    assert_eq!(
        engine.view().topology(),
        [("checkout".to_owned(), "inventory".to_owned()), ("gateway".to_owned(), "checkout".to_owned())]
    );
    let counters = engine.signals.counters();
    assert_eq!((counters.edges_matched, counters.edges_by_name, counters.spans_late), (20, 0, 0));
}

/// Guarantees: windows are true sums, over the seconds they span.
#[test]
fn windows() {
    let mut engine = Engine::quick();
    for second in 1..=6 {
        run(&mut engine, second, if second > 3 { Health::InventorySlow } else { Health::Well });
    }
    insta::assert_snapshot!(services(&engine, 1_000, 4_000), @r"
    checkout: 10/s, errors 0, mean 30 ms, p95 within 31 ms, seen at 6950
    gateway: 10/s, errors 0, mean 40 ms, p95 within 40 ms, seen at 6950
    inventory: 10/s, errors 0, mean 20 ms, p95 within 20 ms, seen at 6950
    ");
    insta::assert_snapshot!(services(&engine, 4_000, 7_000), @r"
    checkout: 10/s, errors 0, mean 210 ms, p95 within 209 ms, seen at 6950
    gateway: 10/s, errors 0, mean 220 ms, p95 within 217 ms, seen at 6950
    inventory: 10/s, errors 0, mean 200 ms, p95 within 200 ms, seen at 6950
    ");
    insta::assert_snapshot!(lines(&engine.view().edges(at(4_000), at(7_000))), @r"
    checkout → inventory: 10/s, errors 0, 205 ms
    gateway → checkout: 10/s, errors 0, 215 ms
    ");
    assert_eq!(engine.view().edges(at(50_000), at(60_000)), []);
}

/// Scenario: `inventory` answers 500.
/// Guarantees: the failures are on every service and edge on the way.
#[test]
fn failures_are_conserved() {
    let mut engine = Engine::quick();
    run(&mut engine, 1, Health::Well);
    run(&mut engine, 2, Health::InventoryFails);
    insta::assert_snapshot!(services(&engine, 2_000, 3_000), @r"
    checkout: 10/s, errors 1, mean 30 ms, p95 within 31 ms, seen at 2950
    gateway: 10/s, errors 1, mean 40 ms, p95 within 40 ms, seen at 2950
    inventory: 10/s, errors 1, mean 20 ms, p95 within 20 ms, seen at 2950
    ");
    insta::assert_snapshot!(lines(&engine.view().edges(at(2_000), at(3_000))), @r"
    checkout → inventory: 10/s, errors 1, 25 ms
    gateway → checkout: 10/s, errors 1, 35 ms
    ");
}

/// Scenario: `inventory` is killed, so no server span of it comes any more.
/// Guarantees: `checkout`'s failed calls still stand on the edge to `inventory`, its request rate falls to 0, and
/// no edge to its bare address appears.
#[test]
fn a_dead_callee_keeps_its_edge() {
    let mut engine = Engine::quick();
    for second in 1..=3 {
        run(&mut engine, second, Health::Well);
    }
    let version = engine.signals.topology_version();
    run(&mut engine, 4, Health::InventoryDead);
    engine.signals.tick(now(6_000));
    insta::assert_snapshot!(lines(&engine.view().edges(at(4_000), at(5_000))), @r"
    checkout → inventory: 10/s, errors 1, 25 ms
    gateway → checkout: 10/s, errors 1, 35 ms
    ");
    insta::assert_snapshot!(services(&engine, 4_000, 5_000), @r"
    checkout: 10/s, errors 1, mean 30 ms, p95 within 31 ms, seen at 4950
    gateway: 10/s, errors 1, mean 40 ms, p95 within 40 ms, seen at 4950
    ");
    assert_eq!(engine.signals.topology_version(), version, "the service map is as it was");
    assert_eq!(engine.signals.counters().edges_by_name, 10);
    let rate = &engine.view().find("inventory", "salve.span.request_rate")[0];
    assert_eq!(rate.attributes.len(), 0, "the whole service's comes first");
    let points: Vec<f64> =
        engine.view().points(rate.id, at(0), at(9_000)).iter().map(|point| point.1).collect();
    assert_eq!(points, [10.0, 10.0, 10.0, 0.0]);
}

/// Scenario: a call to what never sends spans, first by address alone, then answered once.
/// Guarantees: it stands for itself until a service is known to answer there; then the edge to the bare address goes.
#[test]
fn names_are_learnt() {
    let mut engine = Engine::quick();
    let call = |trace: u64, ms: u64| {
        let attributes = vec![text("server.address", "10.0.0.7"), int("server.port", 5432)];
        spans_of("checkout", vec![span(CLIENT, "query", (trace, 1, 0), at(ms), 5, attributes)])
    };
    engine.apply(Signal::Traces, 1_000, &call(1, 1_000));
    engine.signals.tick(now(2_600));
    assert_eq!(engine.view().topology(), [("checkout".to_owned(), "10.0.0.7:5432".to_owned())]);
    engine.apply(Signal::Traces, 3_000, &call(2, 3_000));
    engine.apply(
        Signal::Traces,
        3_000,
        &spans_of("stock", vec![span(SERVER, "q", (2, 2, 1), at(3_000), 4, vec![])]),
    );
    assert_eq!(engine.view().topology(), [("checkout".to_owned(), "stock".to_owned())]);
    engine.apply(Signal::Traces, 4_000, &call(3, 4_000));
    engine.signals.tick(now(6_000));
    assert_eq!(engine.view().topology(), [("checkout".to_owned(), "stock".to_owned())]);
    let edges = engine.view().edges(at(3_000), at(5_000));
    assert_eq!((edges.len(), edges[0].requests_per_second), (1, 1.0));
}

/// Guarantees: late spans enter the sums and no series; a bucket gives its points once.
#[test]
fn late_spans() {
    let mut engine = Engine::quick();
    run(&mut engine, 1, Health::Well);
    engine.signals.tick(now(2_500));
    engine.fresh(2_500);
    let late = span(SERVER, "GET /buy", (9, 9, 0), at(1_500), 40, vec![]);
    engine.apply(Signal::Traces, 2_600, &spans_of("gateway", vec![late]));
    engine.signals.tick(now(2_700));
    assert_eq!(engine.fresh(2_700), Vec::<String>::new());
    assert_eq!(engine.signals.counters().spans_late, 1);
    let stats = &engine.view().services(at(1_000), at(2_000))[1];
    assert_eq!((&*stats.service, stats.requests_per_second), ("gateway", 11.0));
}

/// Guarantees: log records are counted by severity, with 0 while a service is silent.
#[test]
fn logs() {
    let mut engine = Engine::quick();
    let records = [(at(1_000), 9), (at(1_100), 9), (at(1_200), 17), (at(1_300), 0)];
    engine.apply(Signal::Logs, 1_400, &logs_of("checkout", &records));
    engine.signals.tick(now(3_500));
    insta::assert_snapshot!(engine.fresh(3_500).join("\n"), @r"
    salve.log.record_rate{service.name=checkout,severity=error}: 0@3000
    salve.log.record_rate{service.name=checkout,severity=error}: 1@2000
    salve.log.record_rate{service.name=checkout,severity=info}: 0@3000
    salve.log.record_rate{service.name=checkout,severity=info}: 2@2000
    salve.log.record_rate{service.name=checkout,severity=unspecified}: 0@3000
    salve.log.record_rate{service.name=checkout,severity=unspecified}: 1@2000
    ");
    assert_eq!(engine.view().service_names(), ["checkout"]);
    let stats = engine.view().services(at(1_000), at(2_000));
    assert_eq!(
        (stats[0].requests_per_second, stats[0].last_seen),
        (0.0, at(1_400)),
        "it lives, though it serves nobody"
    );
}

/// Guarantees: changes are answered newest first, within the window, and the oldest give way.
#[test]
fn changes() {
    let mut engine = Engine::new(salve_signals::SignalsConfig { changes_max: 3, ..quick() });
    for (ms, key) in [(1_000, "a"), (3_000, "b"), (2_000, "c"), (4_000, "d")] {
        engine.signals.record_change(
            &OWN,
            Change {
                time: EventTime(at(ms)),
                service: Some("checkout".into()),
                target: None,
                kind: "config".into(),
                what: key.into(),
                before: None,
                after: None,
                author: "other".into(),
            },
        );
    }
    let keys = |from, to| {
        engine.view().changes(at(from), at(to)).into_iter().map(|change| change.what).collect::<String>()
    };
    assert_eq!((keys(0, 9_000), keys(2_000, 4_000)), ("dbc".to_owned(), "bc".to_owned()));
    assert_eq!(engine.signals.counters().changes_dropped, 1);
}

/// Guarantees: two tenants share nothing, whatever their services are called.
#[test]
fn tenants_share_nothing() {
    let mut engine = Engine::quick();
    let other = salve_model::Tenant("other".into());
    let request =
        |trace| spans_of("gateway", vec![span(SERVER, "op", (trace, trace, 0), at(1_000), 5, vec![])]);
    engine.apply(Signal::Traces, 1_000, &request(1));
    for trace in 2..4 {
        engine.signals.apply(Signal::Traces, &other, &request(trace), now(1_000));
    }
    engine.signals.tick(now(3_000));
    let rate = |stats: Vec<salve_model::call::ServiceStats>| stats[0].requests_per_second;
    assert_eq!(rate(engine.view().services(at(1_000), at(2_000))), 1.0);
    assert_eq!(rate(engine.signals.of(&other).services(at(1_000), at(2_000))), 2.0);
    let batches = engine.signals.take_batches(now(3_000));
    assert_eq!(batches.len(), 2, "a shard has one tenant");
    let theirs = &engine.signals.of(&other).find("gateway", "")[0];
    assert_eq!(engine.view().points(theirs.id, 0, u64::MAX), [], "an id of another's series tells nothing");
}

proptest! {
    /// Scenario: spans that end at any time of twenty seconds, and come at any time after.
    /// Guarantees: windows count every span of their closed buckets, late or not; series count those that were in time,
    /// each once.
    #[test]
    fn requests_are_conserved(spans in prop::collection::vec((0_u64..20_000, 0_u64..4_000, 1_u64..300, any::<bool>()), 1..80)) {
        let mut engine = Engine::quick();
        let mut arrivals = spans.clone();
        arrivals.sort_by_key(|(end, delay, ..)| end + delay);
        let mut in_time = 0.0;
        for (number, (end, delay, duration, is_error)) in (1..).zip(&arrivals) {
            let mut one = span(SERVER, "op", (number, number, 0), at(*end), *duration, vec![]);
            if *is_error {
                one = failed(one);
            }
            engine.signals.tick(now(end + delay));
            engine.apply(Signal::Traces, end + delay, &spans_of("shop", vec![one]));
            in_time += f64::from(u8::from(end + delay < (end / 1_000 + 1) * 1_000 + 500));
        }
        engine.signals.tick(now(30_000));
        let stats = engine.view().services(at(0), at(30_000)).remove(0);
        let first = arrivals.iter().map(|(end, ..)| end / 1_000).min().unwrap();
        // Up to the newest closed bucket.
        let seconds = (29 - first) as f64;
        prop_assert!((stats.requests_per_second * seconds - arrivals.len() as f64).abs() < 1e-6);
        let errors = arrivals.iter().filter(|(.., is_error)| *is_error).count() as f64;
        prop_assert!((stats.error_ratio * arrivals.len() as f64 - errors).abs() < 1e-6);
        let total: u64 = arrivals.iter().map(|(_, _, duration, _)| duration).sum();
        prop_assert!((stats.duration_mean_ms * arrivals.len() as f64 - total as f64).abs() < 1e-3);
        let rate = engine.view().find("shop", "salve.span.request_rate").remove(0);
        let counted: f64 = engine.view().points(rate.id, 0, u64::MAX).iter().map(|(_, value)| value).sum();
        prop_assert_eq!(counted, in_time);
        prop_assert_eq!(engine.signals.counters().spans_late as f64, arrivals.len() as f64 - in_time);
    }
}
