//! What detectors and watches are given.

mod build;

use build::{Engine, SERVER, at, gauge, metrics_of, now, number, quick, resource, span, spans_of};
use proptest::prelude::*;
use salve_model::{
    Attributes, Tenant,
    batch::{Batch, DetectorOutput, RawObservation},
    incident::IncidentId,
    plan::Expectation,
    telemetry::{Change, ObservationKind, SeriesKey},
    time::EventTime,
};
use salve_signals::{DetectorBinding, LimitRule, SeriesSelector, Signal, Signals, SignalsConfig};
use std::collections::{BTreeMap, BTreeSet};

fn patterns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn gauges(signals: &mut Signals, service: &str, ms: u64, names: &[&str]) {
    let metrics =
        names.iter().map(|name| gauge(name, "1", vec![number(0, at(ms), ms as f64, &[])])).collect();
    signals.apply(
        Signal::Metrics,
        &Tenant::default(),
        &metrics_of(resource(service, &[("host.name", "h1")]), metrics),
        now(ms),
    );
}

/// Guarantees: a detector sees what it selects, by name, service and attributes, whether made before or after it.
#[test]
fn selection() {
    let mut signals = Signals::new(quick());
    gauges(&mut signals, "shop", 1_000, &["a.usage", "b.usage", "a.limit"]);
    for (select, expected) in [
        (SeriesSelector::default(), 5),
        (SeriesSelector { names: patterns(&["*.usage"]), ..SeriesSelector::default() }, 3),
        (
            SeriesSelector {
                names: patterns(&["a.*", "b.*"]),
                services: patterns(&["shop"]),
                ..SeriesSelector::default()
            },
            3,
        ),
        (SeriesSelector { services: patterns(&["other*"]), ..SeriesSelector::default() }, 2),
        (
            SeriesSelector {
                attributes: [("host.name".into(), "h*".into())].into(),
                ..SeriesSelector::default()
            },
            5,
        ),
        (
            SeriesSelector {
                attributes: [("host.name".into(), "x".into())].into(),
                ..SeriesSelector::default()
            },
            0,
        ),
        (
            SeriesSelector {
                attributes: [("missing".into(), "*".into())].into(),
                ..SeriesSelector::default()
            },
            0,
        ),
    ] {
        let mut signals = Signals::new(quick());
        gauges(&mut signals, "shop", 1_000, &["a.usage", "b.usage", "a.limit"]);
        let binding = signals.bind_detector(DetectorBinding::new("d", select.clone()));
        gauges(&mut signals, "other", 2_000, &["a.usage", "c"]);
        let batches = signals.take_batches(now(2_000));
        let added: usize = batches.iter().map(|(_, _, batch)| batch.added.len()).sum();
        assert_eq!(added, expected, "{select:?}");
        signals.unbind_detector(binding);
        gauges(&mut signals, "other", 3_000, &["a.usage", "c"]);
        assert_eq!(signals.take_batches(now(3_000)), []);
    }
}

/// Guarantees: batches are numbered, tell the time, come empty as ticks, and columns belong together.
#[test]
fn columns() {
    let mut signals = Signals::new(quick());
    signals.bind_detector(DetectorBinding {
        scores: true,
        ..DetectorBinding::new("d", SeriesSelector::default())
    });
    gauges(&mut signals, "shop", 1_000, &["a", "b"]);
    gauges(&mut signals, "shop", 2_000, &["b"]);
    let (_, shard, batch) = signals.take_batches(now(2_500)).remove(0);
    assert_eq!((shard, batch.sequence, batch.now, batch.scores), (0, 1, at(2_500), true));
    assert_eq!((batch.series, batch.offsets), (vec![0, 1], vec![0, 1, 3]));
    assert_eq!((batch.values, batch.times), (vec![1e3, 1e3, 2e3], vec![at(1_000), at(1_000), at(2_000)]));
    assert_eq!(batch.added[0].attributes["service.name"], "shop");
    assert_ne!(batch.added[0].group, batch.added[1].group);
    let (_, _, tick) = signals.take_batches(now(3_000)).remove(0);
    let expected = Batch { sequence: 2, now: at(3_000), offsets: vec![0], scores: true, ..Batch::default() };
    assert_eq!(tick, expected);
}

/// Guarantees: shards are bounded, peers stay together, and what finds no room is counted.
#[test]
fn shards() {
    let mut signals = Signals::new(quick());
    let binding =
        DetectorBinding { shard_series_max: 4, ..DetectorBinding::new("d", SeriesSelector::default()) };
    signals.bind_detector(binding);
    for service in 0..6 {
        for host in 0..2 {
            let metrics =
                vec![gauge("g", "1", vec![number(0, at(1_000), 1.0, &[("host", &format!("h{host}"))])])];
            let request = metrics_of(resource(&format!("s{service}"), &[]), metrics);
            signals.apply(Signal::Metrics, &Tenant::default(), &request, now(1_000));
        }
    }
    let batches = signals.take_batches(now(1_000));
    assert_eq!(
        batches.iter().map(|(_, shard, batch)| (*shard, batch.added.len())).collect::<Vec<_>>(),
        [(0, 4), (1, 4), (2, 4)]
    );
    for (_, _, batch) in &batches {
        let groups: BTreeMap<&str, Vec<u32>> =
            batch.added.iter().fold(BTreeMap::new(), |mut groups, added| {
                groups.entry(&added.series.service).or_insert_with(Vec::new).push(added.group);
                groups
            });
        assert!(groups.values().all(|numbers| numbers.len() == 2 && numbers[0] == numbers[1]), "{groups:?}");
    }
    let metrics = vec![gauge("g", "1", vec![number(0, at(2_000), 1.0, &[("host", "h2")])])];
    signals.apply(Signal::Metrics, &Tenant::default(), &metrics_of(resource("s0", &[]), metrics), now(2_000));
    assert_eq!(signals.counters().series_unscored, 1);
}

/// Guarantees: what a detector says of an id is said of the right series; of an id without one, nothing is.
#[test]
fn observations() {
    let mut signals = Signals::new(quick());
    let id = signals.bind_detector(DetectorBinding::new("band", SeriesSelector::default()));
    gauges(&mut signals, "shop", 1_000, &["a", "b"]);
    signals.take_batches(now(1_000));
    let raw = |series| RawObservation {
        series,
        time: at(1_000),
        kind: ObservationKind::Point,
        rising: true,
        score: 0.9,
        confidence: 0.8,
        value: 1.0,
        expected: 0.5,
        lower: 0.4,
        upper: 0.6,
        reason: "high".into(),
    };
    let output = DetectorOutput { observations: vec![raw(1), raw(7)], ..DetectorOutput::default() };
    let observations = signals.observations(id, 0, &output);
    assert_eq!(observations.len(), 1);
    assert_eq!(
        (&*observations[0].detector, &*observations[0].series.name, &*observations[0].series.service),
        ("band", "b", "shop")
    );
    assert_eq!(observations[0].series, signals.series_ref(id, 0, 1).unwrap());
    assert_eq!(signals.series_ref(id, 1, 0), None);
}

fn limited(fixed: Option<f64>) -> SignalsConfig {
    let rule = LimitRule {
        metric: "memory.usage".into(),
        limit_metric: Some("memory.limit".into()),
        fixed,
        attributes: Attributes::new(),
    };
    SignalsConfig { limits: vec![rule], ..quick() }
}

/// Guarantees: a limit is known when its metric came before, after or not at all; the series is described again when it
/// changes, and only then; other resources' limits are not its own.
#[test]
fn limits() {
    let mut engine = Engine::new(limited(Some(10.0)));
    let usage = |ms| gauge("memory.usage", "By", vec![number(0, at(ms), 5.0, &[])]);
    let limit = |ms, value| gauge("memory.limit", "By", vec![number(0, at(ms), value, &[])]);
    let usage_names = |engine: &Engine| {
        engine
            .names()
            .iter()
            .filter(|name| name.starts_with("memory.usage"))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    engine.metrics(1_000, vec![usage(1_000)]);
    engine.fresh(1_000);
    assert_eq!(usage_names(&engine), ["memory.usage{service.name=shop} limit 10"]);
    engine.metrics(2_000, vec![limit(2_000, 64.0)]);
    engine.fresh(2_000);
    assert_eq!(usage_names(&engine), ["memory.usage{service.name=shop} limit 64"]);
    engine.metrics(3_000, vec![limit(3_000, 64.0)]);
    let batches = engine.signals.take_batches(now(3_000));
    assert!(batches.iter().all(|(_, _, batch)| batch.added.is_empty()), "nothing has changed");
    let other = metrics_of(resource("other", &[]), vec![limit(4_000, 1.0)]);
    engine.apply(Signal::Metrics, 4_000, &other);
    assert_eq!(engine.view().find("shop", "memory.usage")[0].limit, Some(64.0));
    engine.signals.reconfigure(quick());
    engine.fresh(5_000);
    assert_eq!(usage_names(&engine), ["memory.usage{service.name=shop}"]);
}

/// Guarantees: an instance that was started anew hears of all its series again.
#[test]
fn descriptions_again() {
    let mut engine = Engine::quick();
    gauges(&mut engine.signals, "shop", 1_000, &["a", "b"]);
    let first = engine.signals.take_batches(now(1_000)).remove(0).2.added;
    assert_eq!(engine.signals.take_batches(now(1_000)).remove(0).2.added, []);
    engine.signals.describe_again(engine.detector, 0);
    assert_eq!(engine.signals.take_batches(now(1_000)).remove(0).2.added, first);
}

fn expectation(service: &str, signal: &str) -> Expectation {
    Expectation {
        service: service.into(),
        signal: signal.into(),
        lower: None,
        upper: Some(1.0),
        within_ms: 1,
        hold_ms: 1,
        samples_min: 1,
    }
}

/// Scenario: two incidents watch; one expects something of a service whose operations have the same series.
/// Guarantees: each new point of a watched series is told once, of expectations to each incident; only of the whole
/// service; nothing after the watch has ended; also of series that come later.
#[test]
fn watches() {
    let mut signals = Signals::new(quick());
    signals.tick(now(0));
    let (first, second) = (IncidentId("inc-1".into()), IncidentId("inc-2".into()));
    gauges(&mut signals, "shop", 500, &["a"]);
    let binding = signals.bind_detector(DetectorBinding::new("d", SeriesSelector::default()));
    signals.take_batches(now(500));
    let key: SeriesKey = signals.series_ref(binding, 0, 0).unwrap().key;
    signals.watch(
        &first,
        &Tenant::default(),
        &[key],
        &[expectation("shop", "salve.span.error_ratio"), expectation("shop", "b")],
    );
    signals.watch(&second, &Tenant::default(), &[key], &[expectation("shop", "a")]);
    gauges(&mut signals, "shop", 1_000, &["a", "b"]);
    let request = spans_of("shop", vec![span(SERVER, "op", (1, 2, 0), at(1_100), 5, vec![])]);
    signals.apply(Signal::Traces, &Tenant::default(), &request, now(1_200));
    signals.tick(now(2_600));
    let (measured, expected) = signals.take_watched();
    assert_eq!(
        measured.iter().map(|point| (point.series, point.value, point.abnormal)).collect::<Vec<_>>(),
        [(key, 1e3, false)]
    );
    let expected: Vec<(&str, u32, f64)> =
        expected.iter().map(|(id, index, _, value)| (&*id.0, *index, *value)).collect();
    assert_eq!(expected, [("inc-2", 0, 1e3), ("inc-1", 1, 1e3), ("inc-1", 0, 0.0)]);
    signals.watch(&first, &Tenant::default(), &[], &[]);
    signals.watch(&second, &Tenant::default(), &[], &[]);
    gauges(&mut signals, "shop", 3_000, &["a", "b"]);
    assert_eq!(signals.take_watched(), (vec![], vec![]));
}

/// Scenario: two tenants have a service, a signal and changes of the same names; one of them is heard of more.
/// Guarantees: an expectation means the service of its incident's tenant alone; of each tenant the newest changes stay, however
/// many the other has; a shard's owner is told, and its number among the owner's shards.
#[test]
fn tenants_watch_their_own() {
    let mut signals = Signals::new(SignalsConfig { changes_max: 2, ..quick() });
    let (own, other) = (Tenant::default(), Tenant("other".into()));
    let binding = signals.bind_detector(DetectorBinding::new("d", SeriesSelector::default()));
    let metrics = |value: f64| {
        metrics_of(resource("shop", &[]), vec![gauge("a", "1", vec![number(0, at(1_000), value, &[])])])
    };
    signals.watch(&IncidentId("inc-1".into()), &own, &[], &[expectation("shop", "a")]);
    signals.watch(&IncidentId("inc-2".into()), &other, &[], &[expectation("shop", "a")]);
    signals.apply(Signal::Metrics, &other, &metrics(7.0), now(1_000));
    signals.apply(Signal::Metrics, &own, &metrics(3.0), now(1_000));
    let expected = signals.take_watched().1;
    let seen: Vec<(&str, f64)> = expected.iter().map(|(id, _, _, value)| (&*id.0, *value)).collect();
    assert_eq!(seen, [("inc-2", 7.0), ("inc-1", 3.0)]);
    assert_eq!(signals.shard_owner(binding, 0), Some((other.clone(), 0)));
    assert_eq!(signals.shard_owner(binding, 1), Some((own.clone(), 0)));
    assert_eq!(signals.shard_owner(binding, 2), None);
    assert_eq!(signals.tenants(), BTreeSet::from([own.clone(), other.clone()]));

    let change = |what: u64| Change {
        time: EventTime(what),
        service: None,
        target: None,
        kind: "config".into(),
        what: what.to_string(),
        before: None,
        after: None,
        author: "other".into(),
    };
    signals.record_change(&own, change(1));
    (2..9).for_each(|what| signals.record_change(&other, change(what)));
    let of = |tenant| {
        signals.of(tenant).changes(0, u64::MAX).into_iter().map(|change| change.what).collect::<Vec<_>>()
    };
    assert_eq!((of(&own), of(&other)), (vec!["1".to_owned()], vec!["8".to_owned(), "7".to_owned()]));
}

/// Guarantees: the same calls give the same answers, so that a recorded run can be told again.
#[test]
fn deterministic() {
    let run = || {
        let mut engine = Engine::quick();
        for ms in (1_000..8_000).step_by(250) {
            gauges(&mut engine.signals, &format!("s{}", ms % 7), ms, &["a", "b"]);
            let request = spans_of(
                &format!("s{}", ms % 5),
                vec![span(SERVER, "op", (ms, ms, 0), at(ms), ms % 90, vec![])],
            );
            engine.apply(Signal::Traces, ms, &request);
            engine.signals.tick(now(ms));
        }
        (
            engine.signals.take_batches(now(9_000)),
            engine.view().services(0, u64::MAX),
            engine.signals.counters(),
        )
    };
    assert_eq!(run(), run());
}

/// Guarantees: keys stand in ledgers: the same telemetry has the same keys in every run and version.
#[test]
fn keys_last() {
    let mut signals = Signals::new(quick());
    gauges(&mut signals, "shop", 1_000, &["a"]);
    let request = spans_of("shop", vec![span(SERVER, "op", (1, 2, 0), at(1_000), 5, vec![])]);
    signals.apply(Signal::Traces, &Tenant::default(), &request, now(1_000));
    signals.bind_detector(DetectorBinding::new("d", SeriesSelector::default()));
    let batch = signals.take_batches(now(1_000)).remove(0).2;
    let keys: Vec<String> = batch
        .added
        .iter()
        .take(2)
        .map(|added| format!("{} {:016x}", added.series.name, added.series.key.0))
        .collect();
    insta::assert_snapshot!(keys.join("\n"), @r"
    a 58f6770093550881
    salve.span.request_rate 16ca5b5a11612efd
    ");
}

proptest! {
    /// Guarantees: whatever comes and goes, a batch is well formed and an id means one series from `added` to `removed`.
    #[test]
    fn batches_are_well_formed(steps in prop::collection::vec((0_u8..12, 0_u8..4), 1..120)) {
        let mut signals = Signals::new(SignalsConfig { series_idle_ms: 60_000, ..quick() });
        signals.bind_detector(DetectorBinding { shard_series_max: 5, ..DetectorBinding::new("d", SeriesSelector::default()) });
        let mut known: BTreeMap<(u32, u32), SeriesKey> = BTreeMap::new();
        let mut ms = 1_000;
        for (name, pause) in steps {
            ms += [1, 1_000, 20_000, 80_000][usize::from(pause)];
            gauges(&mut signals, "shop", ms, &[&format!("g{name}")]);
            signals.tick(now(ms));
            if pause == 1 { continue; }
            for (_, shard, batch) in signals.take_batches(now(ms)) {
                for id in &batch.removed {
                    prop_assert!(known.remove(&(shard, *id)).is_some(), "removed without being added");
                }
                for added in &batch.added {
                    let before = known.insert((shard, added.id), added.series.key);
                    prop_assert!(before.is_none_or(|key| key == added.series.key), "an id was used twice");
                }
                prop_assert!(batch.series.iter().all(|id| known.contains_key(&(shard, *id))));
                prop_assert_eq!(batch.offsets.len(), batch.series.len() + 1);
                prop_assert!(batch.offsets.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert_eq!(batch.offsets.last().copied(), Some(batch.values.len() as u32));
                prop_assert!(batch.times.len() == batch.values.len() && batch.point_flags.len() == batch.values.len());
                prop_assert!(batch.values.iter().all(|value| value.is_finite()));
                prop_assert!(batch.added.len() <= 5);
            }
        }
    }
}
