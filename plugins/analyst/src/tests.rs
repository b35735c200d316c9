//! Scenarios on a shop of three services, `gateway` -> `checkout` -> `inventory`, and beyond.

mod faults;

use super::*;
use faults::faults;
use salve_plugin::{
    agent::Symptom,
    telemetry::{Change, EdgeStats, ServiceStats},
    testing::{AgentTest, FakeHost, host::EPOCH_NS},
};
use view::Map;

const SECOND: u64 = 1_000_000_000;
/// The first symptom; the question comes 2 s later, the fault was 1.5 s before.
const STARTED: u64 = EPOCH_NS + 600 * SECOND;
const NOW: u64 = STARTED + 2 * SECOND;
const FAULT: u64 = STARTED - 3 * SECOND / 2;

const GATEWAY: &str = "gateway";
const CHECKOUT: &str = "checkout";
const INVENTORY: &str = "inventory";

fn service(name: &str, rate: f64, errors: f64, mean_ms: f64) -> ServiceStats {
    ServiceStats {
        service: name.into(),
        requests_per_second: rate,
        error_ratio: errors,
        duration_mean_ms: mean_ms,
        duration_p95_ms: 2.0 * mean_ms,
        last_seen: NOW - SECOND / 4,
    }
}

fn edge(caller: &str, callee: &str, rate: f64, errors: f64, mean_ms: f64) -> EdgeStats {
    EdgeStats {
        caller: caller.into(),
        callee: callee.into(),
        requests_per_second: rate,
        error_ratio: errors,
        duration_mean_ms: mean_ms,
    }
}

fn symptom(service: &str, signal: &str, kind: Kind, rising: bool) -> Symptom {
    Symptom {
        service: service.into(),
        signal: signal.into(),
        attributes: Vec::new(),
        kind,
        rising,
        since: STARTED,
        score: 0.8,
        value: 1.0,
        expected: 0.0,
        reason: "it is abnormal".into(),
    }
}

fn errors_at(service: &str) -> Symptom {
    symptom(service, "salve.span.error_ratio", Kind::Point, true)
}

fn slow_at(service: &str) -> Symptom {
    symptom(service, "salve.span.duration.p95", Kind::Point, true)
}

fn less_at(service: &str) -> Symptom {
    symptom(service, "salve.span.request_rate", Kind::Point, false)
}

fn change(service: &str, key: &str, time: u64, author: &str) -> Change {
    Change {
        time,
        service: Some(service.into()),
        target: Some(service.into()),
        kind: "config".into(),
        what: key.into(),
        before: Some("16".into()),
        after: Some("1".into()),
        author: author.into(),
    }
}

/// The shop with everything in order, 50 orders a second.
fn healthy() -> Map {
    Map::new(
        vec![
            service(GATEWAY, 50.0, 0.002, 30.0),
            service(CHECKOUT, 50.0, 0.002, 22.0),
            service(INVENTORY, 50.0, 0.001, 8.0),
        ],
        vec![edge(GATEWAY, CHECKOUT, 50.0, 0.002, 24.0), edge(CHECKOUT, INVENTORY, 50.0, 0.001, 10.0)],
    )
}

/// A view whose `during` is this.
fn view(services: Vec<ServiceStats>, edges: Vec<EdgeStats>, symptoms: Vec<Symptom>) -> View {
    View {
        now: NOW,
        started: STARTED,
        symptoms,
        before: healthy(),
        during: Map::new(services, edges),
        changes: vec![],
    }
}

/// Lets a service fall silent when the fault came: the host knows it from the reference only.
fn silent(mut view: View, name: &str) -> View {
    view.during.services.remove(name);
    if let Some(stats) = view.before.services.get_mut(name) {
        stats.last_seen = FAULT;
    }
    view
}

fn changed(mut view: View, change: Change) -> View {
    view.changes.push(change);
    view
}

fn with_healthy_map(symptoms: Vec<Symptom>) -> View {
    View { during: healthy(), ..view(vec![], vec![], symptoms) }
}

/// Scenario: each fault of the shop at each of its services. Guarantees: the service at fault comes first, with more than
/// half of all probability, and the mechanism is right.
#[test]
fn the_cause_is_named() {
    let mut wrong = Vec::new();
    for (fault, view, suspect, mechanism) in faults() {
        let hypotheses = rank::rank(&view);
        let right = hypotheses.first().is_some_and(|first| {
            first.suspect == suspect && first.mechanism == mechanism && first.probability > 0.5
        });
        if !right {
            let words = |one: &Hypothesis| {
                let evidence: Vec<_> =
                    one.evidence.iter().map(|piece| format!("{:+.1} {}", piece.weight, piece.text)).collect();
                format!("{} {} {:.2} {evidence:?}", one.suspect, one.mechanism, one.probability)
            };
            wrong.push(format!("{fault}: {:#?}", hypotheses.iter().map(words).collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Guarantees: probabilities add up to at most 1, every hypothesis has evidence, and equal views give equal answers.
#[test]
fn answers_make_sense() {
    for (fault, view, ..) in faults() {
        let hypotheses = rank::rank(&view);
        let sum: f64 = hypotheses.iter().map(|one| one.probability).sum();
        assert!(sum > 0.0 && sum <= 1.0, "{fault}: {sum}");
        assert!(hypotheses.iter().all(|one| !one.evidence.is_empty()), "{fault}");
        assert!(hypotheses.is_sorted_by(|left, right| left.probability >= right.probability), "{fault}");
        assert_eq!(rank::rank(&view), hypotheses, "{fault}");
    }
}

/// Scenario: load triples, and all takes twice as long. Guarantees: load is the cause; no service is half as sure to be
/// slow.
#[test]
fn a_surge_is_nobodys_fault() {
    let view = view(
        vec![
            service(GATEWAY, 150.0, 0.002, 60.0),
            service(CHECKOUT, 150.0, 0.002, 44.0),
            service(INVENTORY, 150.0, 0.001, 16.0),
        ],
        vec![edge(GATEWAY, CHECKOUT, 150.0, 0.002, 48.0), edge(CHECKOUT, INVENTORY, 150.0, 0.001, 20.0)],
        vec![slow_at(GATEWAY)],
    );
    let hypotheses = rank::rank(&view);
    assert_eq!((hypotheses[0].suspect.as_str(), hypotheses[0].mechanism.as_str()), (GATEWAY, "overload"));
    assert!(hypotheses.iter().skip(1).all(|one| one.probability < 0.25), "{hypotheses:?}");
}

/// A surge in which what is beyond the usual load fails: checkout turns it away, waits are long.
fn surge(load: f64, failing: f64) -> View {
    let rate = 50.0 * load;
    view(
        vec![
            // Customers send telemetry, and serve nobody.
            service("customers", 0.0, 0.0, 0.0),
            service(GATEWAY, rate, failing, 300.0),
            service(CHECKOUT, rate, failing, 220.0),
            service(INVENTORY, rate * (1.0 - failing), 0.001, 80.0),
        ],
        vec![
            edge("customers", GATEWAY, rate, failing, 310.0),
            edge(GATEWAY, CHECKOUT, rate, failing, 280.0),
            edge(CHECKOUT, INVENTORY, rate * (1.0 - failing), 0.001, 100.0),
        ],
        vec![errors_at(GATEWAY), errors_at(CHECKOUT), slow_at(GATEWAY)],
    )
}

/// Scenario: load rises so far that checkout turns away what is too much. Guarantees: load is the cause, and no service is
/// sure enough to be treated (half), even if it fails a little more than the load beyond the usual.
#[test]
fn a_surge_explains_failures() {
    for (load, failing) in [(1.6, 0.3), (2.0, 0.5), (2.5, 0.52), (2.5, 0.65)] {
        let hypotheses = rank::rank(&surge(load, failing));
        let first = &hypotheses[0];
        assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (GATEWAY, "overload"), "{first:?}");
        assert!(hypotheses.iter().skip(1).all(|one| one.probability < 0.4), "{hypotheses:?}");
    }
    // Nothing fails, and all waits for long.
    let first = rank::rank(&surge(2.5, 0.0)).remove(0);
    assert_eq!(first.mechanism, "overload");
}

/// Scenario: during a surge somebody breaks checkout's configuration, checkout dies, or nearly all fails at a load that is only
/// half as high again. Guarantees: load hides none of them.
#[test]
fn a_surge_hides_no_fault() {
    let bad = changed(surge(2.5, 0.5), change(CHECKOUT, "tax_table", FAULT, "other"));
    let mut dead = silent(surge(2.5, 0.7), CHECKOUT);
    dead.during.edges.values_mut().for_each(|calls| calls.duration_mean_ms = 3.0);
    for (view, mechanism) in [(bad, "config-change"), (dead, "absent"), (surge(1.5, 1.0), "errors")] {
        let first = rank::rank(&view).remove(0);
        assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (CHECKOUT, mechanism), "{first:?}");
        assert!(first.probability > 0.5, "{first:?}");
    }
}

/// Scenario: others take most of the machine on which all services run, so that each takes many times as long. Guarantees: no
/// service is sure enough to be treated for it.
#[test]
fn a_slow_machine_is_nobodys_fault() {
    let shop = |own: [f64; 3]| {
        let (inventory, checkout) = (own[2], own[1] + own[2]);
        Map::new(
            vec![
                service(GATEWAY, 50.0, 0.002, own[0] + checkout),
                service(CHECKOUT, 50.0, 0.002, checkout),
                service(INVENTORY, 50.0, 0.001, inventory),
            ],
            vec![
                edge(GATEWAY, CHECKOUT, 50.0, 0.002, checkout),
                edge(CHECKOUT, INVENTORY, 50.0, 0.001, inventory),
            ],
        )
    };
    for own in [[6.0, 12.0, 8.0], [6.0, 80.0, 8.0], [6.0, 12.0, 200.0]] {
        for times in [2.0, 3.0, 5.0, 8.0] {
            let mut view = with_healthy_map(vec![slow_at(GATEWAY), slow_at(CHECKOUT)]);
            view.before = shop(own);
            view.during = shop(own.map(|ms| ms * times));
            let hypotheses = rank::rank(&view);
            assert!(hypotheses.iter().all(|one| one.probability < 0.25), "{own:?} {times}: {hypotheses:#?}");
            // One that is far slower than the others is named all the same.
            view.during = shop([own[0] * times, own[1] * times, own[2] * times * 10.0]);
            let first = rank::rank(&view).remove(0);
            assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (INVENTORY, "slow"));
            assert!(first.probability > 0.5, "{own:?} {times}: {first:?}");
        }
    }
}

/// Scenario: inventory is starved and tells of the newest calls late, so that part of them is on no edge yet; the entry has no time
/// of its own that could be compared; a few orders fail meanwhile. Guarantees: inventory is named all the same.
#[test]
fn calls_that_are_not_known_yet_make_no_caller_slow() {
    let mut view = with_healthy_map(vec![slow_at(GATEWAY), slow_at(CHECKOUT)]);
    let shop = |inventory: f64, calls: f64, failing: f64| {
        let checkout = 3.5 + inventory;
        Map::new(
            vec![
                service(GATEWAY, 50.0, failing, 0.3 + checkout),
                service(CHECKOUT, 50.0, failing, checkout),
                service(INVENTORY, calls, 0.001, inventory),
            ],
            vec![
                edge(GATEWAY, CHECKOUT, 50.0, failing, checkout),
                edge(CHECKOUT, INVENTORY, calls, 0.001, inventory),
            ],
        )
    };
    view.before = shop(10.0, 50.0, 0.001);
    for calls in [50.0, 40.0, 30.0] {
        view.during = shop(215.0, calls, 0.04);
        let first = rank::rank(&view).remove(0);
        assert_eq!(
            (first.suspect.as_str(), first.mechanism.as_str()),
            (INVENTORY, "slow"),
            "{calls}: {first:?}"
        );
        assert!(first.probability > 0.5, "{calls}: {first:?}");
    }
}

/// Scenario: one of twenty services is a third slower than before. Guarantees: that names nobody.
#[test]
fn a_weak_sign_is_weak_among_many() {
    let mut view = with_healthy_map(vec![slow_at(GATEWAY)]);
    for map in [&mut view.before, &mut view.during] {
        for number in 0..17 {
            let name = format!("worker-{number}");
            map.services.insert(name.clone(), service(&name, 5.0, 0.0, 20.0));
        }
    }
    view.during.services.insert(INVENTORY.into(), service(INVENTORY, 50.0, 0.001, 13.4));
    assert!(rank::rank(&view).iter().all(|one| one.probability < 0.3));
}

/// Scenario: a small entry doubles what it asks of checkout, which fails for reasons of its own and gets hardly more; and customers
/// who try again once or twice, since most of their orders fail. Guarantees: neither rise of load hides that checkout fails.
#[test]
fn more_requests_explain_only_what_they_bring() {
    let mut small = view(
        vec![
            service(GATEWAY, 500.0, 0.5, 30.0),
            service("back-office", 10.0, 0.5, 30.0),
            service(CHECKOUT, 510.0, 0.5, 22.0),
        ],
        vec![edge(GATEWAY, CHECKOUT, 500.0, 0.5, 24.0), edge("back-office", CHECKOUT, 10.0, 0.5, 24.0)],
        vec![errors_at(GATEWAY), errors_at(CHECKOUT)],
    );
    small.before = Map::new(
        vec![
            service(GATEWAY, 500.0, 0.002, 30.0),
            service("back-office", 5.0, 0.002, 30.0),
            service(CHECKOUT, 505.0, 0.002, 22.0),
        ],
        vec![edge(GATEWAY, CHECKOUT, 500.0, 0.002, 24.0), edge("back-office", CHECKOUT, 5.0, 0.002, 24.0)],
    );
    let again = |load: f64| {
        let mut view = surge(load, 0.6);
        for name in [GATEWAY, CHECKOUT] {
            let stats = view.during.services.get_mut(name).unwrap();
            stats.duration_mean_ms = view.before.services[name].duration_mean_ms;
        }
        view.during.services.get_mut(INVENTORY).unwrap().duration_mean_ms = 8.0;
        view.during.edges.values_mut().for_each(|edge| edge.duration_mean_ms = 10.0);
        view
    };
    for view in [small, again(1.6)] {
        let first = rank::rank(&view).remove(0);
        assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (CHECKOUT, "errors"), "{first:?}");
        assert!(first.probability > 0.5, "{first:?}");
    }
}

/// Scenario: a surge, in which checkout also calls gateway back. Guarantees: requests still come in at gateway.
#[test]
fn a_callback_hides_no_entry() {
    let mut view = surge(2.5, 0.5);
    let back = edge(CHECKOUT, GATEWAY, 5.0, 0.0, 2.0);
    for map in [&mut view.before, &mut view.during] {
        map.edges.insert((back.caller.clone(), back.callee.clone()), back.clone());
    }
    let first = rank::rank(&view).remove(0);
    assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (GATEWAY, "overload"), "{first:?}");
}

/// Scenario: load triples at one entry while a service that another entry calls begins to fail. Guarantees: it is at fault.
#[test]
fn a_surge_elsewhere_explains_nothing() {
    let mut view = surge(3.0, 0.0);
    for (map, failing) in [(&mut view.before, 0.0), (&mut view.during, 0.4)] {
        for name in ["back-office", "stock"] {
            map.services.insert(name.into(), service(name, 5.0, failing, 20.0));
        }
        let calls = edge("back-office", "stock", 5.0, failing, 10.0);
        map.edges.insert((calls.caller.clone(), calls.callee.clone()), calls);
    }
    view.symptoms.push(errors_at("stock"));
    let first = rank::rank(&view).remove(0);
    assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), ("stock", "errors"), "{first:?}");
}

/// Scenario: symptoms, and a map on which nothing is wrong. Guarantees: nobody is accused.
#[test]
fn nothing_found_is_an_answer() {
    let hypotheses = rank::rank(&with_healthy_map(vec![less_at(GATEWAY), slow_at(CHECKOUT)]));
    assert!(hypotheses.iter().all(|one| one.probability < 0.25), "{hypotheses:?}");
}

/// Scenario: traffic stops at its source, so that the series of all services end; all send metrics. Guarantees: none is
/// called absent.
#[test]
fn no_traffic_is_not_absence() {
    let idle = |name| service(name, 0.0, 0.0, 0.0);
    let missing = |name| symptom(name, "salve.span.duration.p95", Kind::Missing, true);
    let view = view(
        vec![idle(GATEWAY), idle(CHECKOUT), idle(INVENTORY)],
        vec![],
        vec![missing(GATEWAY), missing(CHECKOUT), missing(INVENTORY)],
    );
    assert_eq!(rank::rank(&view), []);
}

/// Scenario: nothing comes from anybody. Guarantees: nobody is half as sure: the way of the telemetry may be cut.
#[test]
fn silence_of_all_accuses_nobody() {
    let mut view = view(vec![], vec![], vec![symptom(GATEWAY, "process.cpu.time", Kind::Missing, true)]);
    view.before.services.values_mut().for_each(|stats| stats.last_seen = STARTED - 10 * SECOND);
    view.now = STARTED + 30 * SECOND;
    assert!(rank::rank(&view).iter().all(|one| one.probability < 0.5));
}

/// Scenario: checkout dies a minute after somebody changed gateway's settings, and seconds after checkout's. Guarantees:
/// the dead service is named, and as dead: taking a change back would not revive it.
#[test]
fn a_change_does_not_hide_a_dead_service() {
    let (_, dead, ..) = faults().into_iter().find(|(fault, ..)| *fault == "kill checkout").unwrap();
    for change in
        [change(GATEWAY, "color", STARTED - 60 * SECOND, "other"), change(CHECKOUT, "color", FAULT, "other")]
    {
        let hypotheses = rank::rank(&changed(dead.clone(), change));
        assert_eq!((hypotheses[0].suspect.as_str(), hypotheses[0].mechanism.as_str()), (CHECKOUT, "absent"));
        assert!(hypotheses[0].probability > 0.5);
    }
}

/// Scenario: errors begin at checkout after Salve set a value there, or after somebody did four minutes ago. Guarantees:
/// neither is taken for the cause.
#[test]
fn old_changes_and_own_ones_weigh_little() {
    let (_, mut bad, ..) =
        faults().into_iter().find(|(fault, ..)| *fault == "bad config of checkout").unwrap();
    for (time, author) in [(STARTED - 20 * SECOND, "salve"), (STARTED - 240 * SECOND, "other")] {
        bad.changes = vec![change(CHECKOUT, "pool.size", time, author)];
        let hypotheses = rank::rank(&bad);
        assert_eq!((hypotheses[0].suspect.as_str(), hypotheses[0].mechanism.as_str()), (CHECKOUT, "errors"));
    }
}

/// Scenario: while an incident is open, for instance since everything is slow, somebody breaks a service's configuration.
/// Guarantees: the change is named if the service has a symptom that began after it; not if it was as ill before, and not what
/// Salve changed.
#[test]
fn a_change_in_an_incident_can_be_the_cause_of_more() {
    let (_, bad, ..) = faults().into_iter().find(|(fault, ..)| *fault == "bad config of checkout").unwrap();
    let first = |after_s: u64, since_s: u64, author: &str| {
        let mut view = bad.clone();
        view.symptoms[0].since = STARTED;
        view.symptoms[1].since = STARTED + since_s * SECOND;
        view.changes = vec![change(CHECKOUT, "pool.size", STARTED + after_s * SECOND, author)];
        let first = rank::rank(&view).remove(0);
        assert_eq!(first.suspect, CHECKOUT);
        let texts: Vec<_> = first.evidence.into_iter().map(|piece| piece.text).collect();
        (first.mechanism, texts.join(". "))
    };
    let (mechanism, text) = first(5, 6, "other");
    assert_eq!(mechanism, "config-change");
    assert!(text.contains("1 s before a symptom of its own"), "{text}");
    for (after_s, since_s, author) in [(5, 6, "salve"), (5, 0, "other")] {
        let (mechanism, text) = first(after_s, since_s, author);
        assert_ne!(mechanism, "config-change", "{text}");
    }
}

/// Scenario: the agent is asked by the host about a bad configuration. Guarantees: the windows that it asks for hold
/// reference and incident; key, values and target are there for policies.
#[test]
fn asks_the_host_and_answers() {
    let (_, bad, ..) = faults().into_iter().find(|(fault, ..)| *fault == "bad config of checkout").unwrap();
    let mut host = FakeHost::new();
    for (map, from, to) in [(&bad.before, STARTED - 600 * SECOND, FAULT), (&bad.during, FAULT, NOW)] {
        host = map.services.values().cloned().fold(host, |host, stats| host.service(from, to, stats));
        host = map.edges.values().cloned().fold(host, |host, stats| host.edge(from, to, stats));
    }
    // The host knows the target of a change, and the targets tell which service that is.
    let host = host.change(Change { service: None, ..bad.changes[0].clone() });
    let incident = Incident {
        id: "inc-1".into(),
        started: STARTED,
        now: NOW,
        symptoms: bad.symptoms.clone(),
        targets: vec![Target {
            id: CHECKOUT.into(),
            attributes: vec![("service.name".into(), CHECKOUT.into())],
        }],
        catalogue: Vec::new(),
    };
    let findings = AgentTest::<Analyst>::new(host).cause(&incident).unwrap();
    let first = &findings.hypotheses[0];
    assert_eq!((first.suspect.as_str(), first.mechanism.as_str()), (CHECKOUT, "config-change"));
    let extra: Vec<(&str, &str)> =
        first.extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(extra, [("key", "pool.size"), ("before", "16"), ("after", "1"), ("target", "checkout")]);
    insta::assert_snapshot!(findings.text, @"checkout (config-change), 98 % sure. `pool.size` was changed from `16` to `1`, 2 s before the first symptom.");
    let other = salve_plugin::testing::AgentTest::<Analyst>::new(FakeHost::new());
    assert_eq!(other.cause(&incident).unwrap().text, "Nothing points at any service.");
}

/// Scenario: a third of the reference lies in earlier incidents. Guarantees: the reference is what is usual.
#[test]
fn earlier_incidents_are_outvoted() {
    let mut bad = healthy();
    bad.services.values_mut().for_each(|stats| stats.duration_mean_ms = 900.0);
    bad.edges.values_mut().for_each(|stats| stats.error_ratio = 0.8);
    let maps: Vec<Map> = (0..20).map(|n| if n % 3 == 0 { bad.clone() } else { healthy() }).collect();
    assert_eq!(Map::median(&maps).services, healthy().services);
    assert_eq!(Map::median(&maps).edges, healthy().edges);
}
