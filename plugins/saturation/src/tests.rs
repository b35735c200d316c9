//! Scenarios. Limits are 1,000, points a second apart unless said otherwise.

use super::*;
use proptest::prelude::*;
use salve_plugin::{series::Persist, testing::DetectorTest};

struct Noise(u64);

impl Noise {
    /// From -1 to 1 (Steele, Lea and Flood's SplitMix64).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn detector() -> (DetectorTest<Saturation>, u32) {
    let mut test = DetectorTest::new("{}").unwrap();
    let id = test.add("process.memory.usage", &[], Some(1_000.0));
    (test, id)
}

fn feed(
    test: &mut DetectorTest<Saturation>,
    id: u32,
    values: impl IntoIterator<Item = f64>,
) -> Vec<Observation> {
    values.into_iter().flat_map(|value| test.push(&[(id, value)]).unwrap()).collect()
}

/// Scenario: a leak of 5, 10 and 20 % of the limit a second, sampled every 0.5 and every 1 s, after a quiet minute at 20 %.
/// Guarantees: observed when it passes half of the limit, at the latest two points later, and at every point until the end.
#[test]
fn leaks_are_seen_at_half() {
    for step_ms in [500, 1_000] {
        for pace in [0.05, 0.1, 0.2] {
            let (mut test, id) = detector();
            test.step_ms = step_ms;
            let mut noise = Noise(1);
            assert_eq!(feed(&mut test, id, (0..60).map(|_| 200.0 + 5.0 * noise.next())), []);
            let per_point = 1_000.0 * pace * step_ms as f64 / 1_000.0;
            let values: Vec<f64> =
                (1..).map(|n| 200.0 + per_point * f64::from(n)).take_while(|v| *v < 990.0).collect();
            let half = values.iter().filter(|value| **value < 500.0).count();
            let seen = feed(&mut test, id, values.iter().copied());
            assert!(
                seen.len() + 2 >= values.len() - half,
                "{pace} {step_ms}: {} of {}",
                seen.len(),
                values.len()
            );
            assert!(
                seen.iter().all(|observation| observation.score >= 0.5 && observation.kind == Kind::Trend)
            );
        }
    }
}

/// Scenario: a leak of 10 % a second reaches 60 %. Guarantees: the sentence has usage and time to the limit, and `extra`
/// has the number.
#[test]
fn reason_has_the_time_left() {
    let (mut test, id) = detector();
    feed(&mut test, id, [200.0; 20]);
    let seen = feed(&mut test, id, [300.0, 400.0, 500.0, 600.0]);
    let last = seen.last().unwrap();
    assert_eq!(last.reason, "at 60 % of its limit and full in 4 s, at the present pace");
    assert_eq!(last.extra, [("eta_ms".to_string(), "4000".to_string())]);
}

/// Scenario: an hour at 60 % with 1, 5 and 10 % noise, and a slow wave. Guarantees: nothing is observed.
#[test]
fn flat_and_noisy_series_are_quiet() {
    for amplitude in [0.0, 10.0, 50.0, 100.0] {
        for seed in 0..5 {
            let (mut test, id) = detector();
            let mut noise = Noise(seed);
            let seen = feed(&mut test, id, (0..3_600).map(|_| 600.0 + amplitude * noise.next()));
            assert!(
                seen.is_empty(),
                "amplitude {amplitude}, seed {seed}: {} of 3600, {:?}",
                seen.len(),
                seen[0]
            );
        }
    }
}

/// Scenario: a heap that climbs from 40 to 75 % in 30 s and is collected, again and again; then one that is not.
/// Guarantees: once the habit is known it is quiet, until the heap passes where it usually turns.
#[test]
fn sawtooth_is_a_habit() {
    let (mut test, id) = detector();
    let tooth = |n: u32| 400.0 + 350.0 * f64::from(n) / 30.0;
    for _ in 0..6 {
        feed(&mut test, id, (0..30).map(tooth));
    }
    for _ in 0..20 {
        assert_eq!(feed(&mut test, id, (0..30).map(tooth)), []);
    }
    let seen = feed(&mut test, id, (0..45).map(tooth));
    assert!(!seen.is_empty() && (735.0..800.0).contains(&seen[0].value), "{:?}", seen.first());
}

/// Scenario: a leak is healed by a restart, and comes again, whenever it likes. Guarantees: repairs are no habit; the
/// last is seen as early as the first.
#[test]
fn repairs_are_no_habit() {
    let (mut test, id) = detector();
    let mut first = Vec::new();
    for quiet in [20, 100, 15, 300, 60] {
        feed(&mut test, id, vec![200.0; quiet]);
        let seen = feed(&mut test, id, (1..=14).map(|n| 200.0 + 50.0 * f64::from(n)));
        first.push(seen[0].value);
    }
    assert!(first.iter().all(|value| *value <= 600.0), "{first:?}");
}

/// Scenario: nearly full for good. Guarantees: observed at every point, without a pace.
#[test]
fn critical_usage_is_observed() {
    let (mut test, id) = detector();
    let seen = feed(&mut test, id, [950.0; 10]);
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[9].reason, "at 95 % of its limit");
    assert!(seen[9].score >= 0.5);
}

/// Scenario: series without a limit, or with one that makes no sense. Guarantees: nothing is observed.
#[test]
fn series_without_limit_are_left_alone() {
    for limit in [None, Some(0.0), Some(-1.0), Some(f64::NAN)] {
        let mut test = DetectorTest::<Saturation>::new("{}").unwrap();
        let id = test.add("any", &[], limit);
        assert_eq!(feed(&mut test, id, (0..50).map(|n| f64::from(n) * 100.0)), []);
    }
}

/// Scenario: a restart of the host in the middle of a leak. Guarantees: the answers go on as if there had been none.
#[test]
fn snapshot_continues() {
    let run = |restart: bool| {
        let (mut test, id) = detector();
        feed(&mut test, id, [200.0; 20]);
        feed(&mut test, id, [300.0, 400.0, 500.0]);
        if restart {
            let state = test.snapshot().unwrap();
            test.restart_from(&state).unwrap();
        }
        feed(&mut test, id, [600.0, 700.0])
    };
    assert_eq!(run(true), run(false));
    assert_eq!(run(true).len(), 2);
    let (mut test, _) = detector();
    assert!(test.restart_from(&State { format: 1, bytes: vec![0; 11] }).is_err());
}

/// Scenario: snapshots in which some bytes are others, as on a broken disk. Guarantees: refused, or taken, and then what comes
/// out is finite, scores lie within 0 to 1, and nothing panics.
#[test]
fn damaged_snapshots_do_no_harm() {
    let (mut test, id) = detector();
    feed(&mut test, id, [200.0; 20]);
    feed(&mut test, id, [300.0, 400.0, 500.0]);
    let state = test.snapshot().unwrap();
    let taken = test.survive_damage(&state, id).unwrap();
    assert!(taken > 100, "{taken}");
}

/// Scenario: a snapshot with a peak and a turn that no series has, as on a broken disk, and then a fall. Guarantees: what is
/// known is finite, so that it can be saved and taken again.
#[test]
fn impossible_numbers_of_a_snapshot_do_not_grow() {
    const SECOND_NS: u64 = 1_000_000_000;
    let saved = |usage: &Usage| {
        let mut to = Writer::new();
        usage.write(&mut to);
        to.into_bytes()
    };
    let mut before = Usage::new(Some(1.0));
    for second in 1..=3 {
        before.observe(&Parameters::default(), second * SECOND_NS, 0.5, false).unwrap();
    }
    let mut bytes = saved(&before);
    // Step, peak, usual turn, usual time between turns, time of the last, points, turns.
    for (offset, number) in [(8, f64::MAX), (16, -f64::MAX), (24, 4.0)] {
        bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
    }
    bytes[44] = 3;
    let mut usage = Usage::read(&mut Reader::new(&bytes)).unwrap();
    usage.limit = Some(1.0);
    usage.observe(&Parameters::default(), 4 * SECOND_NS, 0.1, false).unwrap();
    let mut again = Usage::read(&mut Reader::new(&saved(&usage))).unwrap();
    again.limit = usage.limit;
    assert_eq!(again, usage);
}

proptest! {
    /// Guarantees: whatever finite values and times come, all that goes out is finite and scores lie within 0 to 1.
    #[test]
    fn output_is_finite(values in prop::collection::vec((any::<f64>(), any::<u64>()), 1..60)) {
        let (mut test, id) = detector();
        for (value, time) in values.into_iter().filter(|(value, _)| value.is_finite()) {
            let output = test.push_columns(&[(id, time, value, 0)], true).unwrap();
            let scores = output.scores.unwrap();
            prop_assert!((0.0..=1.0).contains(&scores.score[0]));
            for observation in output.observations {
                prop_assert!((0.5..=1.0).contains(&observation.score));
                prop_assert!(observation.expected.is_finite() && observation.upper.is_finite());
            }
        }
    }
}
