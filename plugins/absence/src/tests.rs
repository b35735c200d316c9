//! Scenarios. Batches come once a second.

use super::*;
use salve_plugin::{series::Persist, testing::DetectorTest};

fn detector(parameters: &str) -> DetectorTest<Absence> {
    DetectorTest::new(parameters).unwrap()
}

/// Sends a point of each series with every batch.
fn feed(test: &mut DetectorTest<Absence>, ids: &[u32], batches: u32) {
    let points: Vec<_> = ids.iter().map(|id| (*id, 1.0)).collect();
    for _ in 0..batches {
        assert_eq!(test.push(&points).unwrap(), []);
    }
}

/// Seconds of silence until the first observation, if one comes within `within_s`.
fn silent_until(test: &mut DetectorTest<Absence>, within_s: u32) -> Option<(u32, Observation)> {
    (1..=within_s).find_map(|second| test.push(&[]).unwrap().into_iter().next().map(|seen| (second, seen)))
}

/// Scenario: a point a second, then none. Guarantees: missing once more than `k` intervals have passed, at every batch
/// from then on with a rising score, and over at the first point.
#[test]
fn silence_is_noticed_until_it_ends() {
    let mut test = detector("{}");
    let id = test.add("heartbeat", &[], None);
    feed(&mut test, &[id], 20);
    let (second, seen) = silent_until(&mut test, 10).unwrap();
    assert_eq!(second, 5);
    assert_eq!((seen.kind, seen.value, seen.expected, seen.upper), (Kind::Missing, 5.0, 1.0, 4.0));
    assert_eq!(seen.reason, "no point for 5.0 s, one every 1.0 s is usual");
    assert!(seen.score >= 0.5 && seen.confidence >= 0.5);
    let mut score = seen.score;
    for _ in 0..10 {
        let seen = test.push(&[]).unwrap();
        assert!(seen.len() == 1 && seen[0].score > score);
        score = seen[0].score;
    }
    feed(&mut test, &[id], 3);
}

/// Scenario: a point every 500 ms, two with each batch. Guarantees: the minimum holds, since four intervals are too
/// short to tell.
#[test]
fn minimum_holds() {
    let mut test = detector(r#"{"minimum_ms":3000}"#);
    let id = test.add("heartbeat", &[], None);
    for _ in 0..10 {
        let now = test.now();
        let points = [(id, now - 500_000_000, 1.0, 0), (id, now, 1.0, 0)];
        assert_eq!(test.push_columns(&points, false).unwrap().observations, []);
    }
    let (second, seen) = silent_until(&mut test, 10).unwrap();
    assert_eq!((second, seen.expected, seen.upper), (4, 0.5, 3.0));
}

/// Scenario: a point a minute. Guarantees: a silence of three minutes is nothing, of five is one.
#[test]
fn slow_series_have_their_own_pace() {
    let mut test = detector("{}");
    let id = test.add("batch", &[], None);
    for second in 0..1_200 {
        let points: &[(u32, f64)] = if second % 60 == 0 { &[(id, 1.0)] } else { &[] };
        assert_eq!(test.push(points).unwrap(), [], "second {second}");
    }
    let (second, _) = silent_until(&mut test, 300).unwrap();
    assert_eq!(59 + second, 241);
}

/// Scenario: few points, then none. Guarantees: not missing; nobody knows its pace.
#[test]
fn few_points_are_not_enough() {
    let mut test = detector("{}");
    let id = test.add("rare", &[], None);
    feed(&mut test, &[id], 9);
    assert_eq!(silent_until(&mut test, 100), None);
}

/// Scenario: a job that sends for 30 s and then rests for 60 s, again and again; at last it stays away. Guarantees: once
/// this is a habit it is quiet; staying away for twice the usual rest is not.
#[test]
fn habits_are_learned() {
    let mut test = detector("{}");
    let id = test.add("job", &[], None);
    let mut alarms = Vec::new();
    for round in 0..8 {
        for _ in 0..30 {
            test.push(&[(id, 1.0)]).unwrap();
        }
        let seen: usize = (0..60).map(|_| test.push(&[]).unwrap().len()).sum();
        if seen > 0 {
            alarms.push(round);
        }
    }
    assert!(alarms.iter().all(|round| *round <= 3), "{alarms:?}");
    for _ in 0..30 {
        test.push(&[(id, 1.0)]).unwrap();
    }
    let (second, _) = silent_until(&mut test, 200).unwrap();
    assert!((115..=130).contains(&second), "{second}");
}

/// Scenario: a service dies after a minute, comes back, dies after five, comes back, dies after one. Guarantees: faults
/// are no habit; each is noticed as fast as the first.
#[test]
fn faults_are_no_habit() {
    let mut test = detector("{}");
    let id = test.add("heartbeat", &[], None);
    for up in [60, 300, 60, 250, 45] {
        feed(&mut test, &[id], up);
        let (second, _) = silent_until(&mut test, 20).unwrap();
        assert_eq!(second, 5);
        for _ in 0..5 {
            test.push(&[]).unwrap();
        }
    }
}

/// Scenario: a process comes back and sends under a new instance id. Guarantees: the old series is missing until the new
/// one's first point, and no longer.
#[test]
fn a_successor_ends_it() {
    let mut test = detector("{}");
    let old = test.add("heartbeat", &[("service.instance.id", "a")], None);
    feed(&mut test, &[old], 20);
    assert!(silent_until(&mut test, 10).is_some());
    let new = test.add("heartbeat", &[("service.instance.id", "b")], None);
    feed(&mut test, &[new], 30);
}

/// Scenario: two peers, one of which falls silent. Guarantees: a peer that was there before is no successor.
#[test]
fn peers_do_not_hide_it() {
    let mut test = detector("{}");
    let ids = [test.add("heartbeat", &[("host", "a")], None), test.add("heartbeat", &[("host", "b")], None)];
    feed(&mut test, &ids, 20);
    let seen = (0..10).find_map(|_| test.push(&[(ids[0], 1.0)]).unwrap().into_iter().next()).unwrap();
    assert_eq!(seen.series, ids[1]);
}

/// Scenario: the series is removed. Guarantees: nothing more is observed.
#[test]
fn removal_ends_it() {
    let mut test = detector("{}");
    let id = test.add("heartbeat", &[], None);
    feed(&mut test, &[id], 20);
    assert!(silent_until(&mut test, 10).is_some());
    test.remove(id);
    assert_eq!(silent_until(&mut test, 10), None);
}

/// Scenario: the host sleeps for an hour. Guarantees: nothing is missing when it wakes.
#[test]
fn sleep_of_the_host_does_not_count() {
    let mut test = detector(r#"{"batch_gap_max_ms":2000}"#);
    let id = test.add("heartbeat", &[], None);
    feed(&mut test, &[id], 20);
    test.wait_ms(3_600_000);
    assert_eq!(test.push(&[]).unwrap(), []);
    feed(&mut test, &[id], 5);
}

/// Scenario: a restart of the host during a silence. Guarantees: the silence goes on, without the time that the host
/// was away.
#[test]
fn snapshot_continues() {
    let mut test = detector("{}");
    let id = test.add("heartbeat", &[], None);
    feed(&mut test, &[id], 20);
    assert_eq!(silent_until(&mut test, 3), None);
    let state = test.snapshot().unwrap();
    test.wait_ms(600_000);
    test.restart_from(&state).unwrap();
    let (second, _) = silent_until(&mut test, 10).unwrap();
    assert_eq!(second, 3, "a batch to set the clock, and two more seconds");
    let cut = State { format: 1, bytes: state.bytes[..20].to_vec() };
    assert!(test.restart_from(&cut).is_err());
}

/// Scenario: snapshots in which some bytes are others, as on a broken disk. Guarantees: refused, or taken, and then what comes
/// out is finite, scores lie within 0 to 1, and nothing panics.
#[test]
fn damaged_snapshots_do_no_harm() {
    let mut test = detector("{}");
    let id = test.add("heartbeat", &[], None);
    feed(&mut test, &[id], 20);
    let state = test.snapshot().unwrap();
    let taken = test.survive_damage(&state, id).unwrap();
    assert!(taken > 100, "{taken}");
}

/// Scenario: a snapshot with numbers that no series has, as on a broken disk. Guarantees: what is known after further points is
/// finite, so that it can be saved and taken again.
#[test]
fn impossible_numbers_of_a_snapshot_do_not_grow() {
    let saved = |arrivals: &Arrivals| {
        let mut to = Writer::new();
        arrivals.write(&mut to);
        to.into_bytes()
    };
    for number in [-f64::MAX, f64::MAX] {
        let mut bytes = saved(&Arrivals::new(0));
        // Points, time, then interval, points of a burst, usual burst and silence, and how many of these.
        bytes[0] = 20;
        for offset in [12, 24, 32] {
            bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        }
        let mut arrivals = Arrivals::read(&mut Reader::new(&bytes)).unwrap();
        for second in [1, 2, 3, 60, 61, 120] {
            arrivals.arrive(&Parameters::default(), second * 1_000, 1);
        }
        assert_eq!(Arrivals::read(&mut Reader::new(&saved(&arrivals))).as_ref(), Ok(&arrivals), "{number}");
    }
}
